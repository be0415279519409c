//! The files lane in time: its order, its cost, where a crash can come, and what fails.

use super::*;

/// A snapshot's operations, one of which must not work on a full disk.
fn ops() -> Vec<DiskOp> {
    snapshot(snap(1), &[5; 5_000])
}

#[test]
fn every_operation_is_a_moment_at_which_a_node_can_die() {
    let mut bench = Bench::new();
    let io = bench.files(&ops());
    let mut last = 0;
    for (number, op) in ops().iter().enumerate() {
        let at = bench.disk.deadline().expect("there is more to do");
        assert!(at > last, "each takes its time");
        last = at;
        assert_eq!(bench.disk.due(at - 1), None);
        let io = IoId { boot: Boot(1), number: io };
        assert_eq!(bench.disk.due(at), Some(Due::Op { io, number, of: 5, op: Some(op) }));
        let before = bench.disk.image().disk;
        let done = bench.tick().expect("it is due");
        let expected: &[Completion] = &[Completion::Files { io, result: Ok(()) }];
        assert_eq!(done, if number == 4 { expected } else { &[] });
        let changes = !matches!(op, DiskOp::Sync { .. } | DiskOp::SyncFolder { .. });
        let changed = before != bench.disk.image().disk;
        assert_eq!(changed, changes, "one at a time: {op:?}");
    }
    assert_eq!(bench.disk.deadline(), None);
    assert_eq!(bench.disk.due(u64::MAX), None);
}

#[test]
fn a_crash_between_any_two_operations_leaves_the_old_state_or_the_new() {
    let look = |bench: &Bench| (bench.found(snap(1)), bench.found(PART).map(|bytes| bytes.len()));
    let mut seen = BTreeSet::new();
    for done in 0..=5 {
        let make = || {
            let mut bench = Bench::new();
            bench.files(&ops());
            for _ in 0..done {
                bench.tick();
            }
            bench
        };
        for (snapshot, part) in outcomes(make, look) {
            let whole = snapshot == Some(vec![5; 5_000]);
            assert!(snapshot.is_none() || whole, "synced before it was renamed");
            assert!(done < 5 || whole, "it was reported as durable");
            assert!(!(whole && part.is_some()), "a rename is atomic");
            assert!(done >= 4 || !whole, "it was not renamed yet");
            seen.insert((done, whole));
        }
    }
    assert!(seen.contains(&(4, true)) && seen.contains(&(4, false)), "before the folder's sync");
}

#[test]
fn a_snapshot_that_was_not_synced_before_its_name_is_torn() {
    let make = || {
        let mut bench = Bench::new();
        let unsynced: Vec<DiskOp> = ops().into_iter().filter(|op| *op != sync(PART)).collect();
        bench.run(&unsynced);
        bench
    };
    let found = outcomes(make, |bench| bench.found(snap(1)));
    assert!(!found.contains(&None), "its name is durable");
    assert!(found.len() > 10, "its bytes are not");
}

#[test]
fn effects_run_one_after_the_other_and_reads_see_what_was_before_them() {
    let mut bench = Bench::new();
    bench.files(&[create(PART, 0), write(PART, 0, b"old")]);
    let io = bench.io();
    bench.disk.read(bench.now, io, PART, 1, 100);
    bench.files(&[write(PART, 0, b"new"), delete(PART)]);
    let mut done = Vec::new();
    while let Some(completions) = bench.tick() {
        done.extend(completions);
    }
    let [Completion::Files { .. }, read, Completion::Files { .. }] = &done[..] else {
        panic!("{done:?}")
    };
    let expected = Completion::Read { io, result: Ok(b"ld".to_vec()), damaged: false };
    assert_eq!(read, &expected);
}

#[test]
fn a_sync_takes_long_and_longer_for_more_bytes_and_a_write_hardly_any_time() {
    let takes = |ops: &[DiskOp]| {
        let mut bench = Bench::new();
        bench.run(&[create(PART, 0)]);
        bench.now = 1_000_000;
        bench.files(ops);
        for _ in 1..ops.len() {
            bench.tick();
        }
        bench.disk.deadline().expect("it runs") - bench.now
    };
    assert_eq!(takes(&[write(PART, 0, &[1; 100])]), 20 + 20);
    assert_eq!(takes(&[rename(PART, snap(1))]), 20);
    assert_eq!(takes(&[sync_folder(Folder::Snap)]), 1_000);
    assert_eq!(takes(&[sync(PART)]), 1_000);
    assert_eq!(takes(&[write(PART, 0, &[1; 5_000]), sync(PART)]), 1_000 + 50_000);
}

#[test]
fn the_lanes_do_not_wait_for_each_other() {
    let mut bench = Bench::new();
    bench.files(&[create(PART, 0), write(PART, 0, &[1; 100_000]), sync(PART)]);
    bench.tick();
    bench.tick();
    bench.write(50);
    let wal = bench.now + 1_000;
    assert_eq!(bench.disk.due(wal), Some(Due::WalSync));
    assert!(matches!(bench.tick().as_deref(), Some([Completion::Wal { result: Ok(()), .. }])));
    assert_eq!(bench.now, wal);
    assert!(bench.disk.deadline().is_some_and(|at| at > wal + 500_000), "the sync still runs");
    assert!(matches!(bench.tick().as_deref(), Some([Completion::Files { result: Ok(()), .. }])));
}

#[test]
fn a_stalled_disk_completes_nothing_until_it_goes_on() {
    let mut bench = Bench::new();
    bench.write(50);
    bench.files(&[create(PART, 0)]);
    bench.disk.stall(5_000_000);
    assert_eq!(bench.disk.due(4_999_999), None);
    assert_eq!(bench.disk.complete(4_999_999, &mut bench.counts), []);
    assert_eq!(bench.disk.deadline(), Some(5_000_000));
    assert_eq!(bench.pass(), [true, true]);
    assert_eq!(bench.now, 5_000_000);
}

#[test]
fn a_slow_disk_takes_as_long_as_it_is_told() {
    let mut bench = Bench::new();
    bench.disk.slow_down(Latency { min: 3_000_000, max: 3_000_000 }, 1);
    bench.files(&[sync(FileName::Segment(0))]);
    assert_eq!(bench.disk.deadline(), Some(3_000_000));
    bench.pass();
    bench.files(&[sync(FileName::Segment(0))]);
    assert_eq!(bench.disk.deadline(), Some(3_001_000), "it is quick again");
}

#[test]
fn an_operation_that_fails_ends_its_effect_and_no_other() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Lane::Files, Fail::Write);
    let first = bench.files(&[create(PART, 0), create(snap(2), 0)]);
    bench.files(&[create(snap(3), 0)]);
    bench.write(10);
    assert_eq!(bench.pass(), [false, true, true]);
    assert_eq!(bench.failures, [first]);
    assert_eq!(
        [PART, snap(2), snap(3)].map(|file| bench.found(file).is_some()),
        [false, false, true]
    );
    assert_eq!(bench.counts.of(Fault::WriteFailed), 1);
}

#[test]
fn a_sync_is_not_what_a_failing_write_waits_for() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Lane::Files, Fail::Write);
    bench.run(&[sync_folder(Folder::Snap)]);
    bench.files(&[delete(PART)]);
    assert_eq!(bench.pass(), [false]);
}

#[test]
fn what_is_not_there_cannot_be_worked_on_but_deleted() {
    let mut bench = Bench::new();
    for op in [
        write(PART, 0, b"x"),
        DiskOp::Resize { file: PART, size: 1 },
        sync(PART),
        rename(PART, snap(1)),
    ] {
        bench.files(&[op]);
    }
    let io = bench.io();
    bench.disk.read(bench.now, io, PART, 0, 1);
    bench.files(&[delete(PART)]);
    assert_eq!(bench.pass(), [false, false, false, false, false, true]);
    assert!(bench.disk.peek(PART, 0, 1).is_err());
}

#[test]
fn what_does_not_fit_fails_and_what_is_deleted_makes_room() {
    let mut bench = Bench::with(&snapshot(snap(1), &[5; 5_000]));
    assert_eq!(bench.disk.used(), SEGMENT_BYTES + 5_000);
    bench.disk.set_capacity(SEGMENT_BYTES + 6_000);
    assert_eq!((bench.disk.free(0), bench.disk.capacity()), (1_000, SEGMENT_BYTES + 6_000));
    for op in [
        create(snap(2), 1_001),
        write(snap(1), 4_000, &[6; 2_001]),
        DiskOp::Resize { file: snap(1), size: 6_001 },
    ] {
        bench.files(&[op]);
        assert_eq!(bench.pass(), [false]);
    }
    assert_eq!(bench.counts.of(Fault::DiskFull), 3);
    assert_eq!(bench.found(snap(1)), Some(vec![5; 5_000]), "nothing of it was written");
    bench.run(&[write(snap(1), 4_000, &[6; 2_000])]);
    assert_eq!(bench.disk.free(0), 0);
    bench.write(50);
    bench.files(&[write(snap(1), 0, &[7; 100]), DiskOp::Resize { file: snap(1), size: 10 }]);
    assert_eq!(bench.pass(), [true, true], "this needs no space");
    bench.run(&[delete(snap(1))]);
    assert_eq!(bench.disk.free(0), 6_000);
    bench.run(&[create(snap(2), 6_000)]);
}

#[test]
fn while_the_disk_is_full_only_what_needs_no_space_works() {
    let mut bench = Bench::with(&snapshot(snap(1), &[5; 10]));
    bench.disk.fill_up(Lane::Wal, 1_000_000);
    assert_eq!((bench.disk.free(999_999), bench.disk.free(1_000_000) > 0), (0, true));
    bench.files(&[create(snap(2), 0)]);
    bench.files(&[write(snap(1), 0, &[1])]);
    bench.files(&[sync(snap(1)), delete(snap(1)), sync_folder(Folder::Snap)]);
    assert_eq!(bench.pass(), [false, false, true]);
    assert_eq!(bench.counts.of(Fault::DiskFull), 2);
    bench.now = 1_000_000;
    bench.run(&[create(snap(2), 0)]);
}

#[test]
fn a_calm_disk_has_no_trouble_left() {
    let mut bench = Bench::new();
    bench.disk.stall(u64::MAX);
    bench.disk.fill_up(Lane::Wal, u64::MAX);
    bench.disk.slow_down(Latency { min: u64::MAX, max: u64::MAX }, u64::MAX);
    for lane in [Lane::Wal, Lane::Files] {
        bench.disk.fail_next(lane, Fail::Write);
        bench.disk.lie(Lie::LoseWrite, lane, 0, &mut bench.counts);
    }
    bench.disk.calm();
    bench.write(50);
    bench.files(&ops());
    assert_eq!(bench.pass(), [true, true]);
    assert_eq!(bench.counts.of(Fault::LostWrite), 0);
}

#[test]
fn recovery_is_durable_at_once_and_stops_at_what_does_not_work() {
    let mut bench = Bench::new();
    bench.disk.set_capacity(SEGMENT_BYTES + 10);
    let ops = [create(snap(1), 4), create(snap(2), 100), create(snap(3), 1)];
    assert!(bench.disk.apply_recovery(&ops).is_err());
    bench.crash(None);
    assert_eq!(bench.found(snap(1)).map(|bytes| bytes.len()), Some(4));
    assert_eq!(bench.found(snap(3)), None);
}
