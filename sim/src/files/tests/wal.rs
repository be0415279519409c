//! The WAL lane.

use super::*;

#[test]
fn a_crash_keeps_what_was_synced_and_loses_what_was_not() {
    let mut bench = Bench::new();
    bench.write(50);
    assert_eq!(bench.pass(), [true]);
    bench.write(5_000);
    assert!(bench.disk.has_unsynced());
    assert_eq!(bench.crash(None).wal_end, 150);
    assert!(!bench.disk.has_unsynced());
    let wal = bench.wal();
    assert_eq!((&wal[..100], &wal[100..150]), (&[9; 100][..], &[7; 50][..]));
    assert!(wal[150..].iter().all(|&byte| byte == 0), "what was there before");
    assert_eq!(wal.len() as u64, SEGMENT_BYTES);
    assert_eq!(bench.counts.of(Fault::UnsyncedLoss), 1);
}

#[test]
fn a_torn_write_leaves_some_pages_and_never_touches_synced_bytes() {
    let mut ends = BTreeSet::new();
    let mut holes = 0;
    for value in 0..400 {
        let mut bench = Bench::new();
        bench.write(50);
        bench.pass();
        bench.write(14_000);
        assert_eq!(bench.crash(Some(value)).wal_end, 150);
        let wal = bench.wal();
        assert_eq!(wal[100..150], [7; 50], "synced");
        assert!(wal[150..].iter().all(|byte| [0, 7].contains(byte)));
        assert!(wal[14_150..].iter().all(|&byte| byte == 0), "never written");
        let end = wal.iter().rposition(|&byte| byte != 0).expect("the header is there") + 1;
        holes += u64::from(wal[150..end].contains(&0));
        for page in 1..4 {
            let page =
                &wal[page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(end.max(page * PAGE_BYTES))];
            assert!(page.is_sorted_by(|a, b| a >= b), "a page is torn once");
        }
        ends.insert(end);
    }
    assert!(ends.len() > 50, "torn at any byte");
    assert!(ends.contains(&14_150), "now and then all of it survives");
    assert!(ends.contains(&150), "or nothing");
    assert!(holes > 40, "pages are lost inside");
}

#[test]
fn one_sync_covers_what_was_queued_when_it_started_over_all_segments() {
    let make = || {
        let mut bench = Bench::with(&segment(1));
        bench.write(10);
        bench.write(20);
        bench.write_at(SEGMENT_BYTES + HEADER as u64, 30);
        bench.tick();
        bench.write(40);
        bench
    };
    let mut bench = make();
    let ends = |completions: Vec<Completion>| -> Vec<u64> {
        let end = |completion| match completion {
            Completion::Wal { end, result: Ok(()), .. } => end,
            other => panic!("{other:?}"),
        };
        completions.into_iter().map(end).collect()
    };
    let first = SEGMENT_BYTES + HEADER as u64 + 30;
    assert_eq!(ends(bench.tick().expect("a sync runs")), [130, first]);
    assert_eq!(ends(bench.tick().expect("another one")), [first + 40]);
    assert_eq!(bench.disk.deadline(), None);

    let mut bench = make();
    bench.tick();
    assert_eq!(bench.crash(None).wal_end, first);
    let second = bench.found(FileName::Segment(1)).expect("it is there");
    assert_eq!(bench.wal()[100..131], [&[7; 30][..], &[0]].concat());
    assert_eq!(second[100..131], [&[7; 30][..], &[0]].concat());
}

#[test]
fn the_rest_of_a_full_segment_stays_zero() {
    let mut bench = Bench::with(&segment(1));
    bench.write(10);
    bench.write_at(SEGMENT_BYTES + HEADER as u64, 10);
    bench.pass();
    assert!(bench.wal()[110..].iter().all(|&byte| byte == 0));
}

#[test]
#[should_panic(expected = "wal_offsets_grow")]
fn a_log_that_writes_backwards_is_found() {
    let mut bench = Bench::new();
    bench.write(10);
    bench.write_at(105, 10);
}

#[test]
#[should_panic(expected = "wal_write_in_one_segment")]
fn a_log_that_writes_across_a_border_is_found() {
    Bench::with(&segment(1)).write_at(SEGMENT_BYTES - 1, 2);
}

#[test]
#[should_panic(expected = "wal_segment_is_there")]
fn a_log_that_writes_to_no_segment_is_found() {
    Bench::new().write_at(SEGMENT_BYTES, 1);
}

#[test]
fn a_failed_sync_leaves_a_hole_and_later_syncs_succeed() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Lane::Wal, Fail::Sync);
    bench.run(&[delete(PART)]);
    bench.write(50);
    assert_eq!(bench.pass(), [false], "the other lane took nothing of it");
    bench.write(30);
    assert_eq!(bench.pass(), [true], "as Linux does");
    assert_eq!(bench.wal()[100..150], [7; 50], "the process still sees it");
    for torn in [None, Some(3)] {
        assert_eq!(bench.crash(torn).wal_end, 100, "nothing behind it is promised");
        assert_eq!(bench.wal()[100..180], [[0; 50].as_slice(), &[7; 30]].concat());
    }
    assert_eq!(bench.counts.of(Fault::SyncFailed), 1);
}

#[test]
fn a_write_fails_alone_and_a_full_disk_fails_every_write() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Lane::Wal, Fail::Write);
    bench.write(50);
    bench.write(50);
    assert_eq!(bench.pass(), [false, true]);
    assert_eq!(bench.wal()[100..200], [[0; 50], [7; 50]].concat());
    bench.disk.fill_up(Lane::Wal, bench.now + 10);
    bench.write(50);
    bench.write(50);
    assert_eq!(bench.pass(), [false, false]);
    bench.write(50);
    assert_eq!(bench.pass(), [true], "there is space again");
    assert_eq!(bench.disk.promised().wal_end, 100);
    assert_eq!(bench.counts.of(Fault::WriteFailed), 1);
    assert_eq!(bench.counts.of(Fault::DiskFull), 2);
}

#[test]
fn a_killed_process_leaves_its_writes_in_the_cache_where_the_next_one_must_sync_them() {
    for syncs in [false, true] {
        let mut bench = Bench::new();
        bench.write(50);
        assert_eq!(bench.disk.kill().wal_end, 100);
        assert_eq!(bench.wal()[100..150], [7; 50], "the next process finds it");
        let recovery: &[DiskOp] = if syncs { &[sync(FileName::Segment(0))] } else { &[] };
        bench.disk.apply_recovery(recovery).expect("it works");
        bench.disk.started(150);
        bench.crash(None);
        assert_eq!(bench.wal()[100..150], [if syncs { 7 } else { 0 }; 50]);
    }
}
