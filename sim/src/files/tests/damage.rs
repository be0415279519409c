//! Disks that lie.

use understudy_core::disk::DiskImage;

use super::*;

const PAGE: u64 = PAGE_BYTES as u64;

/// Two segments, of which all is attested up to the third page of the second, with one page more
/// that is synced; and a durable snapshot of two and a half pages.
fn attested() -> Bench {
    let ops = [segment(1), snapshot(snap(1), &[5; 5 * PAGE_BYTES / 2])].concat();
    let mut bench = Bench::with(&ops);
    let second = SEGMENT_BYTES + HEADER as u64;
    for (offset, length) in [(100, 2 * PAGE), (second, PAGE), (second + PAGE, PAGE)] {
        bench.write_at(offset, length as usize);
        bench.pass();
    }
    bench
}

/// Up to here the log of [`attested`] is.
const ATTESTED: u64 = SEGMENT_BYTES + HEADER as u64 + PAGE;

fn lie(bench: &mut Bench, lie: Lie, lane: Lane, value: u64) {
    bench.disk.lie(lie, lane, value, &mut bench.counts);
}

/// How a file differs from what is right: the first place, and the number of bits.
fn differs(bench: &Bench, right: &FolderImage) -> Vec<(FileName, usize, u32)> {
    let found = bench.disk.image().disk;
    let files = found.files.iter().filter_map(|(&file, found)| {
        let pairs = || found.iter().zip(&right.files[&file]);
        let first = pairs().position(|(found, right)| found != right)?;
        Some((file, first, pairs().map(|(found, right)| (found ^ right).count_ones()).sum()))
    });
    files.collect()
}

#[test]
fn rot_of_the_log_flips_one_bit_of_what_is_attested() {
    let mut segments = BTreeSet::new();
    for value in 0..300 {
        let mut bench = attested();
        let right = bench.disk.image().disk;
        lie(&mut bench, Lie::Rot, Lane::Wal, Seed(value).rng().u64());
        let [(file, at, 1)] = differs(&bench, &right)[..] else { panic!("one bit of one file") };
        let FileName::Segment(number) = file else { panic!("of the log, not {file}") };
        let (at, wal_at) = (at as u64, Some(number * SEGMENT_BYTES + at as u64));
        assert!(wal_at < Some(ATTESTED));
        let image = bench.disk.image();
        assert_eq!(image.damaged, [Damaged { file, at, wal_at, forsaken: false }]);
        assert_eq!(image.wal_damaged_at(), wal_at);
        segments.insert((number, at / PAGE));
        assert_eq!(bench.counts.of(Fault::BitRot), 1);
    }
    let pages = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)];
    assert_eq!(segments, BTreeSet::from(pages), "headers and unused space too");
}

#[test]
fn rot_of_snapshots_strikes_durable_ones() {
    let part = [create(PART, 0), write(PART, 0, &[5; 100]), sync(PART)];
    let unnamed = [create(snap(2), 0), write(snap(2), 0, &[5; 100]), sync(snap(2))];
    let mut places = BTreeSet::new();
    for value in 0..200 {
        let mut bench = attested();
        bench.run(&[&part[..], &unnamed].concat());
        let right = bench.disk.image().disk;
        lie(&mut bench, Lie::Rot, Lane::Files, Seed(value).rng().u64());
        let [(file, at, 1)] = differs(&bench, &right)[..] else { panic!("one bit of one file") };
        let damaged = Damaged { file, at: at as u64, wal_at: None, forsaken: false };
        assert_eq!((file, bench.disk.image().damaged), (snap(1), vec![damaged]));
        places.insert(at / 1_024);
    }
    assert_eq!(places, (0..10).collect(), "any byte");
}

#[test]
fn rot_finds_nothing_where_there_is_nothing() {
    let mut bench = Bench::new();
    lie(&mut bench, Lie::Rot, Lane::Files, 7);
    lie(&mut bench, Lie::Rot, Lane::Wal, 7);
    assert_eq!(bench.counts.of(Fault::BitRot), 0, "the header is not attested yet");
    assert_eq!(bench.disk.image().damaged, []);
}

#[test]
fn a_lost_write_of_the_log_is_seen_once_a_later_write_attests_it() {
    let mut bench = attested();
    lie(&mut bench, Lie::LoseWrite, Lane::Wal, 0);
    let place = bench.disk.wal_end();
    bench.write(50);
    assert_eq!(bench.pass(), [true], "it is reported as synced");
    assert_eq!(bench.disk.image().damaged, [], "the disk is lucky so far");
    bench.write(50);
    bench.pass();
    assert_eq!(bench.disk.image().wal_damaged_at(), Some(place));
    let second = bench.found(FileName::Segment(1)).expect("it is there");
    let at = (place - SEGMENT_BYTES) as usize;
    assert_eq!(second[at..at + 100], [[0; 50], [7; 50]].concat(), "what was there before");
    assert_eq!(bench.counts.of(Fault::LostWrite), 1);
}

#[test]
fn a_lost_write_that_nothing_attests_is_forgiven_at_a_crash_unless_the_disk_lies() {
    for lies in [false, true] {
        let mut bench = attested();
        if lies {
            bench.disk.lie_about_young_writes();
        }
        lie(&mut bench, Lie::LoseWrite, Lane::Wal, 0);
        bench.write(50);
        bench.pass();
        bench.crash(None);
        assert_eq!(bench.disk.image().wal_damaged_at().is_some(), lies);
    }
}

#[test]
fn a_misdirected_write_of_the_log_damages_its_place_and_another_page() {
    let mut targets = BTreeSet::new();
    for value in 0..100 {
        let mut bench = attested();
        lie(&mut bench, Lie::MisdirectWrite, Lane::Wal, value << 16);
        let place = bench.disk.wal_end();
        bench.write_at(place, 50);
        bench.pass();
        bench.write(50);
        bench.pass();
        let damaged = bench.disk.image().damaged;
        let own = damaged.iter().any(|damaged| damaged.wal_at == Some(place));
        let mut others = damaged.iter().filter(|damaged| damaged.wal_at != Some(place));
        assert!(own || others.clone().any(|damaged| damaged.file == FileName::Segment(1)));
        targets.extend(others.next().map(|damaged| (damaged.file, damaged.at / PAGE)));
        assert_eq!(bench.counts.of(Fault::MisdirectedWrite), 1);
    }
    assert!(targets.iter().any(|&(file, _)| file == FileName::Segment(0)), "{targets:?}");
    assert!(targets.iter().any(|&(file, _)| file == snap(1)), "{targets:?}");
}

#[test]
fn a_lost_write_of_a_snapshot_is_damage_once_its_name_is_durable() {
    let mut bench = Bench::new();
    lie(&mut bench, Lie::LoseWrite, Lane::Files, 1);
    bench.files(&snapshot(snap(1), &[5; 3 * PAGE_BYTES]));
    let mut seen = Vec::new();
    while bench.tick().is_some() {
        let damaged = bench.disk.image().damaged;
        seen.push((damaged.len(), damaged.iter().filter(|damaged| !damaged.forsaken).count()));
    }
    // A part does not count; what has a name that may go may be noticed, and need not be: a process that
    // is killed then finds it.
    assert_eq!(seen, [(0, 0), (0, 0), (0, 0), (1, 0), (1, 1)]);
    assert_eq!(bench.counts.of(Fault::LostWrite), 1);
    let damaged = Damaged { file: snap(1), at: PAGE, wal_at: None, forsaken: false };
    bench.crash(None);
    let image = bench.disk.image();
    assert_eq!((image.damaged, image.disk.files[&snap(1)][PAGE_BYTES]), (vec![damaged], 0));
}

#[test]
fn damage_to_a_snapshot_whose_name_was_not_durable_is_forgiven_at_a_crash() {
    for torn in (0..50).map(Some).chain([None]) {
        let mut bench = Bench::new();
        lie(&mut bench, Lie::LoseWrite, Lane::Files, 1);
        bench.files(&snapshot(snap(1), &[5; 3 * PAGE_BYTES])[..4]);
        bench.pass();
        assert_eq!(bench.counts.of(Fault::LostWrite), 1);
        bench.crash(torn);
        let image = bench.disk.image();
        assert_eq!(image.damaged, []);
        let found = image.disk.files.get(&snap(1));
        assert!(found.is_none_or(|bytes| *bytes == [5; 3 * PAGE_BYTES]));
    }
}

#[test]
fn a_read_of_damaged_bytes_says_so() {
    let mut bench = Bench::with(&snapshot(snap(1), &[5; 100]));
    lie(&mut bench, Lie::Rot, Lane::Files, 10);
    for (offset, expected) in [(0, true), (11, false)] {
        let io = bench.io();
        bench.disk.read(bench.now, io, snap(1), offset, 50);
        let done = bench.tick();
        let Some([Completion::Read { result: Ok(bytes), damaged, .. }]) = done.as_deref() else {
            panic!("the read is done")
        };
        assert_eq!((bytes == &[5; 50], *damaged), (!expected, expected));
    }
    assert_eq!(bench.disk.peek(snap(1), 10, 1), Ok(vec![5 ^ 1]));
}

#[test]
fn what_is_written_over_or_cut_off_or_deleted_is_not_damaged_any_more() {
    let repairs: [(&[DiskOp], Option<&[u8]>); 3] = [
        (&[write(snap(1), 0, &[6; 100]), sync(snap(1))], Some(&[6])),
        (&[DiskOp::Resize { file: snap(1), size: 5 }, sync(snap(1))], Some(&[])),
        (&[delete(snap(1)), sync_folder(Folder::Snap)], None),
    ];
    for (repair, reads) in repairs {
        let mut bench = Bench::with(&snapshot(snap(1), &[5; 100]));
        lie(&mut bench, Lie::Rot, Lane::Files, 10);
        assert_eq!(bench.disk.image().damaged.len(), 1);
        bench.run(&repair[..1]);
        assert_eq!(bench.disk.peek(snap(1), 10, 1).ok().as_deref(), reads, "seen at once");
        bench.run(&repair[1..]);
        bench.crash(None);
        assert_eq!(bench.disk.image().damaged, []);
        assert_eq!(bench.disk.peek(snap(1), 10, 1).ok().as_deref(), reads);
    }
}

#[test]
fn a_damaged_file_that_comes_back_after_its_removal_is_told_apart() {
    let mut bench = attested();
    lie(&mut bench, Lie::Rot, Lane::Wal, 50);
    bench.run(&[delete(FileName::Segment(0))]);
    bench.crash(None);
    let image = bench.disk.image();
    assert_eq!(image.damaged.len(), 1);
    assert!(image.damaged[0].forsaken);
    assert_eq!(image.wal_damaged_at(), None);
    bench.disk.started(ATTESTED + PAGE);
    assert!(!bench.disk.image().damaged[0].forsaken, "the next process has let it be");
}

#[test]
fn damage_stays_until_somebody_does_something_about_it() {
    let mut bench = attested();
    lie(&mut bench, Lie::Rot, Lane::Wal, 50);
    for _ in 0..3 {
        bench.crash(Some(1));
        bench.disk.started(ATTESTED + PAGE);
        assert_eq!(bench.disk.image().wal_damaged_at(), Some(50));
    }
}

#[test]
fn an_image_is_read_as_a_folder_is() {
    let mut bench = attested();
    bench.run(&[create(PART, 3)]);
    let folder = bench.disk.image().disk;
    let files = folder.files().expect("it can be listed");
    let size = SEGMENT_BYTES;
    let expected = [
        (FileName::Segment(0), size),
        (FileName::Segment(1), size),
        (snap(1), 5 * PAGE / 2),
        (PART, 3),
    ];
    assert_eq!(files, expected, "in order");
    assert_eq!(folder.read(FileName::Segment(0), 98, 4), Ok(vec![9, 9, 7, 7]));
    assert_eq!(folder.read(PART, 1, 100), Ok(vec![0, 0]), "fewer where the file ends");
    assert_eq!(folder.read(PART, 9, 100), Ok(vec![]));
    assert!(folder.read(snap(2), 0, 1).is_err());
}
