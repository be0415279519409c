//! What a crash leaves of names.

use super::*;

/// Whether each of some files is there.
fn there<const N: usize>(files: [FileName; N]) -> impl Fn(&Bench) -> [bool; N] {
    move |bench| files.map(|file| bench.found(file).is_some())
}

/// Operations that came to their end before the crash, on a disk with `before`.
fn after(before: &[DiskOp], ops: &[DiskOp]) -> impl Fn() -> Bench {
    let (before, ops) = (before.to_vec(), ops.to_vec());
    move || {
        let mut bench = Bench::with(&before);
        bench.run(&ops);
        bench
    }
}

#[test]
fn a_new_name_is_durable_with_its_folder_and_not_with_its_file() {
    let look = there([snap(1)]);
    let made = [create(snap(1), 10), sync(snap(1)), sync_folder(Folder::Wal)];
    assert_eq!(outcomes(after(&[], &made), &look), BTreeSet::from([[false], [true]]));
    let durable = [&made[..], &[sync_folder(Folder::Snap)]].concat();
    assert_eq!(outcomes(after(&[], &durable), &look), BTreeSet::from([[true]]));
}

#[test]
fn names_go_different_ways() {
    let made = [create(snap(1), 0), create(snap(2), 0)];
    let found = outcomes(after(&[], &made), there([snap(1), snap(2)]));
    assert_eq!(found.len(), 4, "also the later one without the earlier");
}

#[test]
fn the_changes_of_one_name_are_kept_in_order() {
    let ops = [
        delete(snap(1)),
        create(snap(1), 1),
        delete(snap(1)),
        create(snap(1), 2),
        // The sizes are durable, the names are not.
        sync(snap(1)),
    ];
    let make = || {
        let mut bench = Bench::with(&snapshot(snap(1), &[7; 3]));
        bench.run(&ops[..2]);
        bench.run(&[sync(snap(1))]);
        bench.run(&ops[2..]);
        bench
    };
    let found = outcomes(make, |bench| bench.found(snap(1)).map(|bytes| bytes.len()));
    assert_eq!(found, BTreeSet::from([None, Some(1), Some(2), Some(3)]));
}

#[test]
fn a_rename_is_atomic() {
    let before = [create(PART, 4), create(snap(2), 5)];
    let look =
        |bench: &Bench| [PART, snap(2)].map(|file| bench.found(file).map(|bytes| bytes.len()));
    let renamed = [rename(PART, snap(2))];
    let found = outcomes(after(&before, &renamed), look);
    assert_eq!(found, BTreeSet::from([[Some(4), Some(5)], [None, Some(4)]]), "old or new, no mix");
    let durable = [&renamed[..], &[sync_folder(Folder::Snap)]].concat();
    assert_eq!(outcomes(after(&before, &durable), look), BTreeSet::from([[None, Some(4)]]));
}

#[test]
fn a_rename_does_not_outlive_the_name_it_gave_away() {
    let ops = [create(PART, 4), rename(PART, snap(1)), create(PART, 5), delete(PART)];
    let found = outcomes(after(&[], &ops), there([PART, snap(1)]));
    let legal = [[false, false], [true, false], [false, true], [true, true]];
    assert_eq!(found, BTreeSet::from(legal));
    let look = |bench: &Bench| {
        let size = |file| bench.found(file).map_or(0, |bytes| bytes.len());
        (size(PART), size(snap(1)))
    };
    let synced = [create(PART, 4), sync(PART), rename(PART, snap(1)), create(PART, 5), sync(PART)];
    let found = outcomes(after(&[], &synced), look);
    assert_eq!(
        found,
        BTreeSet::from([(0, 0), (4, 0), (0, 4), (5, 4)]),
        "never twice the same file"
    );
}

#[test]
fn a_deleted_file_may_come_back_with_its_old_content() {
    let before = snapshot(snap(1), &[7; 5_000]);
    let look = |bench: &Bench| bench.found(snap(1));
    let found = outcomes(after(&before, &[delete(snap(1))]), look);
    assert_eq!(found, BTreeSet::from([None, Some(vec![7; 5_000])]));
    let durable = [delete(snap(1)), sync_folder(Folder::Snap)];
    assert_eq!(outcomes(after(&before, &durable), look), BTreeSet::from([None]));
}

#[test]
fn a_segment_that_was_removed_comes_back_or_not() {
    let before = segment(1);
    let look = there([FileName::Segment(0), FileName::Segment(1)]);
    let found = outcomes(after(&before, &[delete(FileName::Segment(0))]), look);
    assert_eq!(found, BTreeSet::from([[false, true], [true, true]]));
}

#[test]
fn a_failed_sync_of_a_folder_is_not_made_up_for_by_a_later_one() {
    let make = || {
        let mut bench = Bench::with(&[create(PART, 4)]);
        bench.disk.fail_next(Lane::Files, Fail::Sync);
        bench.files(&[rename(PART, snap(1)), sync_folder(Folder::Snap)]);
        assert_eq!(bench.pass(), [false]);
        bench.run(&[create(snap(2), 0), rename(snap(1), snap(3)), sync_folder(Folder::Snap)]);
        let promised: Vec<FileName> = bench.disk.promised().files.keys().copied().collect();
        assert_eq!(promised, [FileName::Segment(0), snap(2)]);
        bench
    };
    let found = outcomes(make, there([PART, snap(1), snap(2), snap(3)]));
    let legal =
        [[true, false, true, false], [false, true, true, false], [false, false, true, true]];
    assert_eq!(found, BTreeSet::from(legal));
}

#[test]
fn a_crash_that_tears_nothing_undoes_every_change() {
    let mut bench = Bench::with(&snapshot(snap(1), &[7]));
    bench.run(&[delete(snap(1)), create(snap(2), 1)]);
    bench.crash(None);
    assert_eq!(there([snap(1), snap(2)])(&bench), [true, false]);
    assert_eq!(bench.counts.of(Fault::UnsyncedLoss), 1);
}

#[test]
fn a_killed_process_leaves_its_names_where_a_later_crash_may_undo_them() {
    let mut bench = Bench::new();
    bench.run(&[create(snap(1), 1)]);
    bench.disk.kill();
    bench.disk.started(HEADER as u64);
    assert_eq!(there([snap(1)])(&bench), [true]);
    bench.crash(None);
    assert_eq!(there([snap(1)])(&bench), [false]);
}

#[test]
#[should_panic(expected = "rename_in_one_folder")]
fn a_rename_into_another_folder_is_found() {
    let mut bench = Bench::with(&[create(PART, 0)]);
    bench.run(&[rename(PART, FileName::Segment(9))]);
}
