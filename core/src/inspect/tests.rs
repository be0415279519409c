use super::*;
use crate::disk::{DiskOp, Folder, MemoryDisk};
use crate::message::LogEntry;
use crate::seed::Seed;
use crate::wal::frame::encode;

const SEGMENT: u64 = 16 * 1024;
const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(2)];

fn identity() -> Identity {
    let cluster = ClusterId("c".to_owned());
    Identity { cluster, node: NodeId(1), incarnation: Incarnation(9) }
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

fn blank(group: GroupId, term: u64, index: u64) -> Record {
    Record::Entry(group, LogEntry { position: at(term, index), payload: Payload::Blank })
}

/// Three segments of frames that attest what stands before them, and a fourth that is prepared.
struct Made {
    disk: MemoryDisk,
    /// Where each frame begins, and ends.
    frames: Vec<(u64, Range<u64>)>,
}

fn made() -> Made {
    let mut disk = MemoryDisk::default();
    let mut frames = Vec::new();
    let (mut end, mut index) = (0, 0);
    for number in 0..4 {
        let file = FileName::Segment(number);
        let header = SegmentHeader { identity: identity(), number, segment_bytes: SEGMENT };
        let mut bytes = header.encode();
        let mut records = Vec::new();
        if number > 0 {
            records.push(Record::Begin(end));
        }
        for group in GROUPS {
            let name = Namespace::new(format!("n{group}")).unwrap();
            records.push(Record::Namespace(group, name));
            if number == 1 {
                records.push(Record::Purge(group, at(1, 2)));
            }
        }
        let vote = Vote { term: number + 1, node: identity().replica(), committed: number == 1 };
        records.push(Record::Vote(GROUPS[0], vote));
        for _ in 0..5 {
            records.extend(GROUPS.map(|group| blank(group, 1, index)));
            index += 1;
        }
        records.push(Record::Commit(GROUPS[1], at(1, index - 1)));
        for record in records.iter().filter(|_| number < 3) {
            let (start, offset) = (bytes.len() as u64, number * SEGMENT + bytes.len() as u64);
            encode(&mut bytes, frame::seed(&identity()), offset, offset, record);
            frames.push((number, start..bytes.len() as u64));
        }
        end = number * SEGMENT + bytes.len() as u64;
        let ops = [
            DiskOp::Create { file, size: SEGMENT },
            DiskOp::Write { file, offset: 0, bytes },
            DiskOp::SyncFolder { folder: Folder::Wal },
        ];
        disk.apply(&ops).unwrap();
    }
    Made { disk, frames }
}

fn look(disk: &MemoryDisk) -> Log {
    log(disk, Some(&identity()), &mut |_| {}).unwrap()
}

#[test]
fn a_whole_log_is_seen_whole() {
    let made = made();
    let mut seen = Vec::new();
    let log = log(&made.disk, None, &mut |frame| {
        assert!(frame.follows);
        let FileName::Segment(number) = frame.place.file else { panic!("{frame:?}") };
        seen.push((number, frame.place.byte..frame.place.byte + frame.bytes));
    });
    let log = log.unwrap();
    assert_eq!(seen, made.frames);
    assert_eq!((log.identity, log.segment_bytes), (Some(identity()), SEGMENT));
    assert_eq!(log.verdict, Verdict::Clean);
    let (number, last) = made.frames.last().unwrap();
    assert_eq!(log.end, Some(Place { file: FileName::Segment(*number), byte: last.end }));
    let segments: Vec<_> = log.segments.iter().map(|s| (s.number, s.frames > 0, s.tail)).collect();
    assert_eq!(segments, [(0, true, 0), (1, true, 0), (2, true, 0), (3, false, 0)]);
    let entries = log.segments[1].entries[&GROUPS[0]];
    assert_eq!((entries.count, entries.first, entries.last), (5, 5, 9));
    assert!(log.segments.iter().all(|segment| segment.header.is_ok() && segment.gaps.is_empty()));
}

/// The walk counts without keeping entries; recovery keeps them.
#[test]
fn the_groups_are_those_that_recovery_starts_from() {
    let groups = [GroupId(1), GroupId(2), GroupId(3)];
    for seed in 0..200 {
        let mut rng = Seed(seed).child("inspect").rng();
        let header = SegmentHeader { identity: identity(), number: 0, segment_bytes: SEGMENT };
        let mut bytes = header.encode();
        let mut next = BTreeMap::new();
        for _ in 0..60 {
            let group = groups[rng.below(3) as usize];
            let (first, end) = next.entry(group).or_insert((0_u64, 0_u64));
            let record = match rng.below(8) {
                0 if *first < *end => {
                    *end = *first + rng.below(*end - *first);
                    Record::Truncate(group, end.checked_sub(1).map(|index| at(1, index)))
                }
                1 if *first < *end => {
                    let purged = *first + rng.below(*end - *first);
                    *first = purged + 1;
                    Record::Purge(group, at(1, purged))
                }
                2 => Record::Commit(group, at(1, *first + rng.below(4))),
                3 => {
                    let configs = vec![vec![identity().replica()]];
                    let nodes = vec![identity().replica()];
                    let payload = Payload::Membership(Members { configs, nodes });
                    *end += 1;
                    Record::Entry(group, LogEntry { position: at(1, *end - 1), payload })
                }
                _ => {
                    *end += 1;
                    blank(group, 1, *end - 1)
                }
            };
            let offset = bytes.len() as u64;
            encode(&mut bytes, frame::seed(&identity()), offset, 0, &record);
        }
        let mut disk = MemoryDisk::default();
        let file = FileName::Segment(0);
        let ops =
            [DiskOp::Create { file, size: SEGMENT }, DiskOp::Write { file, offset: 0, bytes }];
        disk.apply(&ops).unwrap();
        let recovered = recover(&disk, &identity()).unwrap();
        let log = look(&disk);
        assert!(log.groups.keys().eq(recovered.groups.keys()));
        for (group, image) in &recovered.groups {
            let seen = &log.groups[group];
            let first = image.entries.front().map(|entry| entry.position.index);
            let last = image.entries.back().map(|entry| entry.position);
            assert_eq!((seen.first, seen.last), (first, last), "seed {seed} group {group}");
            assert_eq!(seen.entries(), image.entries.len() as u64, "seed {seed} group {group}");
            assert_eq!(seen.members(), image.members(), "seed {seed} group {group}");
            let marks = (seen.purged, seen.committed, seen.vote);
            assert_eq!(marks, (image.purged, image.committed, image.vote), "seed {seed}");
        }
    }
}

/// Every bit of every frame but the last, and of every header: nothing attests the last frame.
#[test]
fn a_flip_in_an_attested_place_is_damage_and_is_found_where_it_is() {
    let mut made = made();
    let (last, _) = made.frames.split_last().map(|(last, rest)| (last.clone(), rest)).unwrap();
    let first: BTreeMap<u64, u64> =
        made.frames.iter().rev().map(|(number, frame)| (*number, frame.start)).collect();
    for number in 0..3 {
        let file = FileName::Segment(number);
        let whole = made.disk.bytes_mut(file).unwrap().clone();
        for place in 0..whole.len() {
            let bit = place % 8;
            made.disk.bytes_mut(file).unwrap()[place] ^= 1 << bit;
            let log = look(&made.disk);
            *made.disk.bytes_mut(file).unwrap() = whole.clone();
            let at = place as u64;
            if number == last.0 && last.1.contains(&at) {
                assert!(matches!(log.verdict, Verdict::TornTail { .. }), "{log:?}");
                continue;
            }
            assert!(matches!(log.verdict, Verdict::Damaged(_)), "{file} {place}: {log:?}");
            let found = log.end.unwrap();
            // A segment that does not begin is not there for the one before it.
            if at >= first[&number] {
                let frame =
                    made.frames.iter().find(|(of, frame)| *of == number && frame.contains(&at));
                let expected = frame.unwrap().1.start;
                let begin = number > 0 && expected == first[&number];
                assert!(
                    found == Place { file, byte: expected } || begin,
                    "{file} {place}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn a_log_cut_anywhere_is_no_panic() {
    for number in 0..4 {
        let file = FileName::Segment(number);
        for size in (0..SEGMENT).step_by(61) {
            let mut disk = made().disk;
            disk.apply(&[DiskOp::Resize { file, size }]).unwrap();
            let log = look(&disk);
            assert_eq!(log.segments.len(), 4);
        }
    }
}

#[test]
fn files_that_are_no_log_are_no_panic() {
    let mut rng = Seed(3).child("garbage").rng();
    for length in [0, 1, 7, 8, 16, 40, 4096, 20_000] {
        for number in [0, 7, u64::MAX - 1, u64::MAX] {
            let file = FileName::Segment(number);
            let bytes: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
            let mut disk = MemoryDisk::default();
            let ops = [DiskOp::Create { file, size: 0 }, DiskOp::Write { file, offset: 0, bytes }];
            disk.apply(&ops).unwrap();
            for owner in [None, Some(&identity())] {
                let log = log(&disk, owner, &mut |frame| panic!("{frame:?}")).unwrap();
                assert!(!matches!(log.verdict, Verdict::Clean | Verdict::TornTail { .. }));
            }
        }
    }
    let log = look(&MemoryDisk::default());
    assert!(matches!(log.verdict, Verdict::Damaged(_)) && log.segments.is_empty());
}

#[test]
fn another_nodes_log_is_not_damaged() {
    let other = Identity { incarnation: Incarnation(10), ..identity() };
    let log = log(&made().disk, Some(&other), &mut |_| {}).unwrap();
    assert!(matches!(log.verdict, Verdict::Unreadable(_)));
    assert_eq!(log.identity, Some(identity()));
}
