use super::{Recovered, Remains, Unusable, Verdict, recover};
use crate::disk::{DiskOp, FileName, MemoryDisk};
use crate::effect::Effect;
use crate::message::{LogEntry, LogPosition, Payload, Vote};
use crate::types::{
    Boot, ClusterId, GroupId, Identity, Incarnation, Instant, Namespace, NodeId, ReplicaId,
};
use crate::wal::frame::{Record, SegmentHeader, encode, seed};
use crate::wal::writer::{SegmentWork, Writer};

const GROUP: GroupId = GroupId(1);
const SEGMENT: u64 = 64 * 1024;

fn identity() -> Identity {
    let cluster = ClusterId("c".to_owned());
    Identity { cluster, node: NodeId(1), incarnation: Incarnation(9) }
}

/// One segment, and how many there are before it.
struct File {
    bytes: Vec<u8>,
    number: u64,
}

impl File {
    fn new() -> File {
        File::segment(0)
    }

    fn segment(number: u64) -> File {
        let header = SegmentHeader { identity: identity(), number, segment_bytes: SEGMENT };
        File { bytes: header.encode(), number }
    }

    fn end(&self) -> u64 {
        self.number * SEGMENT + self.bytes.len() as u64
    }

    /// Appends a frame; returns where it starts in the segment.
    fn push(&mut self, attested: usize, record: &Record) -> usize {
        let (at, offset) = (self.bytes.len(), self.end());
        encode(&mut self.bytes, seed(&identity()), offset, attested as u64, record);
        at
    }

    fn entry(&mut self, attested: usize, term: u64, index: u64) -> usize {
        let entry = LogEntry { position: LogPosition { term, index }, payload: Payload::Blank };
        self.push(attested, &Record::Entry(GROUP, entry))
    }

    fn recover(&self) -> Recovered {
        try_recover(&[self]).unwrap()
    }
}

fn try_recover(files: &[&File]) -> Result<Recovered, Unusable> {
    recover(&disk(files), &identity())
}

fn disk(files: &[&File]) -> MemoryDisk {
    let mut disk = MemoryDisk::default();
    for File { bytes, number } in files {
        let (file, bytes) = (FileName::Segment(*number), bytes.clone());
        let ops = [DiskOp::Create { file, size: 0 }, DiskOp::Write { file, offset: 0, bytes }];
        disk.apply(&ops).unwrap();
    }
    disk
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.groups[&GROUP].entries.iter().map(|entry| entry.position.index).collect()
}

#[test]
fn the_verdict_table_holds_for_every_combination() {
    for bits in 0..32_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let remains = Remains {
            some: bit(0),
            all_zero: bit(1),
            later_frame: bit(2),
            later_attests: bit(3),
            next_begins: bit(4),
        };
        let expected = if remains.next_begins {
            Verdict::Next
        } else if remains.later_frame && remains.later_attests {
            Verdict::Corrupt
        } else if remains.later_frame {
            Verdict::Tail
        } else if !remains.some || remains.all_zero {
            Verdict::Clean
        } else {
            Verdict::Tail
        };
        assert_eq!(remains.verdict(), expected, "{remains:?}");
    }
}

/// B-07: the seed's replay refused to start after a torn write.
#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_rest_replayed() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    let last = file.entry(0, 1, 1);
    for torn_at in last + 1..file.bytes.len() {
        let torn = File { bytes: file.bytes[..torn_at].to_vec(), number: 0 };
        let recovered = torn.recover();
        assert_eq!(indexes(&recovered), [0]);
        assert_eq!(recovered.end, last as u64);
        assert!(recovered.cut <= (torn_at - last).next_multiple_of(8) as u64);
    }
}

#[test]
fn preallocated_zeros_are_the_end() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    let end = file.bytes.len();
    file.bytes.resize(end + 4096, 0);
    let recovered = file.recover();
    assert_eq!((recovered.end, recovered.cut), (end as u64, 0));
}

#[test]
fn pending_writes_that_landed_out_of_order_are_cut() {
    let mut file = File::new();
    let first = file.entry(0, 1, 0);
    let lost = file.entry(first, 1, 1);
    let after = file.entry(first, 1, 2);
    file.bytes[lost..after].fill(0);
    let recovered = file.recover();
    assert_eq!(indexes(&recovered), [0]);
    assert_eq!(recovered.end, lost as u64);
}

#[test]
fn damage_below_an_attested_place_is_corruption_wherever_it_lies() {
    let mut file = File::new();
    let first = file.entry(0, 1, 0);
    let second = file.entry(first, 1, 1);
    let trailer = file.push(second + 48, &Record::Trailer);
    assert!(trailer >= second + 40);
    for at in first..second {
        let mut damaged = File { bytes: file.bytes.clone(), number: 0 };
        damaged.bytes[at] ^= 0x10;
        let refused = try_recover(&[&damaged]);
        assert!(matches!(refused, Err(Unusable::Damaged(_))), "byte {at} was synced");
    }
}

/// The documented limit: without a later attestation, rot looks like a torn write.
#[test]
fn damage_that_nothing_attests_is_taken_for_a_tail() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    let second = file.entry(0, 1, 1);
    file.bytes[second + 20] ^= 1;
    assert_eq!(indexes(&file.recover()), [0]);
}

#[test]
fn truncation_votes_peers_and_commits_are_replayed() {
    let mut file = File::new();
    for index in 0..4 {
        file.entry(0, 1, index);
    }
    let keep = LogPosition { term: 1, index: 1 };
    file.push(0, &Record::Truncate(GROUP, Some(keep)));
    file.entry(0, 2, 2);
    let founder = ReplicaId { node: NodeId(3), incarnation: Incarnation(5) };
    let vote = Vote { term: 2, node: founder, committed: true };
    file.push(0, &Record::Vote(GROUP, vote));
    file.push(0, &Record::Founder(GROUP, founder));
    file.push(0, &Record::Commit(GROUP, LogPosition { term: 2, index: 2 }));
    let recovered = file.recover();
    assert_eq!(indexes(&recovered), [0, 1, 2]);
    let image = &recovered.groups[&GROUP];
    assert!(image.has(LogPosition { term: 2, index: 2 }));
    assert_eq!(image.vote, Some(vote));
    assert_eq!(image.committed, Some(LogPosition { term: 2, index: 2 }));
    assert_eq!(recovered.groups[&GROUP].founder, Some(founder));
}

#[test]
fn a_commit_mark_above_the_recovered_log_is_not_believed() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    file.push(0, &Record::Commit(GROUP, LogPosition { term: 1, index: 7 }));
    assert_eq!(file.recover().groups[&GROUP].committed, None);
}

#[test]
fn a_gap_between_intact_entries_is_corruption() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    file.entry(0, 1, 2);
    let error = try_recover(&[&file]).unwrap_err();
    assert!(error.to_string().contains("wal_contiguous"), "{error}");
}

/// An intact checksum proves that it was written whole.
#[test]
fn an_intact_record_of_an_unknown_kind_is_refused_and_never_cut() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    let at = file.push(0, &Record::Trailer);
    file.bytes[at + 8] = 99;
    let crc = crate::wal::frame::frame_crc(seed(&identity()), at as u64, &file.bytes[at..]);
    file.bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    let error = try_recover(&[&file]).unwrap_err();
    assert!(matches!(&error, Unusable::Unreadable(what) if what.contains("another version")));
}

#[test]
fn purged_entries_are_gone_and_the_mark_stays() {
    let mut file = File::new();
    for index in 0..3 {
        file.entry(0, 1, index);
    }
    let mark = LogPosition { term: 1, index: 1 };
    file.push(0, &Record::Purge(GROUP, mark));
    let recovered = file.recover();
    assert_eq!(indexes(&recovered), [2]);
    assert_eq!(recovered.groups[&GROUP].purged, Some(mark));
}

/// Two full segments and one that has just begun: entries 0 to 2, 3 and 4, 5.
fn three_segments() -> [File; 3] {
    let mut first = File::segment(0);
    for index in 0..3 {
        first.entry(0, 1, index);
    }
    let mut second = File::segment(1);
    second.push(first.bytes.len(), &Record::Begin(first.end()));
    second.entry(first.bytes.len(), 1, 3);
    second.entry(first.bytes.len(), 1, 4);
    let mut third = File::segment(2);
    third.push(first.bytes.len(), &Record::Begin(second.end()));
    third.entry(first.bytes.len(), 1, 5);
    [first, second, third]
}

#[test]
fn segments_follow_each_other_and_the_index_is_rebuilt() {
    let [first, second, third] = three_segments();
    let made_ahead = File::segment(3);
    let recovered = try_recover(&[&first, &second, &third, &made_ahead]).unwrap();
    assert_eq!(indexes(&recovered), [0, 1, 2, 3, 4, 5]);
    assert_eq!(recovered.end, third.end());
    let highest = |number: u64| recovered.segments[&number].get(&GROUP).copied();
    assert_eq!((highest(0), highest(1), highest(2)), (Some(2), Some(4), Some(5)));
    assert!(!recovered.segments.contains_key(&3), "it was made ahead and says nothing");
    let gone = DiskOp::Delete { file: FileName::Segment(3) };
    assert!(recovered.repairs.contains(&gone), "{:?}", recovered.repairs);
}

#[test]
fn a_segment_made_ahead_may_be_torn_anywhere() {
    let [first, second, third] = three_segments();
    let whole = File::segment(3).bytes;
    for torn_at in 0..whole.len() {
        let torn = File { bytes: whole[..torn_at].to_vec(), number: 3 };
        let recovered = try_recover(&[&first, &second, &third, &torn]).unwrap();
        assert_eq!((indexes(&recovered).len(), recovered.end), (6, third.end()));
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let [first, second, third] = three_segments();
    let error = try_recover(&[&first, &third]).unwrap_err();
    assert_eq!(error, Unusable::Damaged("`wal/0000000000000001.wal` is missing".to_owned()));
    let error = try_recover(&[&second, &third]).unwrap_err();
    assert!(error.to_string().contains("entries 0 to 2"), "nothing says that they went: {error}");
}

#[test]
fn the_end_of_a_full_segment_that_was_synced_is_not_taken_for_unused_space() {
    let [mut first, second, third] = three_segments();
    let last = first.bytes.len() - 40;
    first.bytes[last..].fill(0);
    let error = try_recover(&[&first, &second, &third]).unwrap_err();
    assert!(matches!(error, Unusable::Damaged(_)), "{error}");
}

#[test]
fn a_full_segment_whose_end_was_never_synced_is_cut_with_all_behind_it() {
    let mut first = File::segment(0);
    first.entry(0, 1, 0);
    let lost = first.entry(0, 1, 1);
    let mut second = File::segment(1);
    second.push(lost, &Record::Begin(first.end()));
    second.entry(lost, 1, 2);
    first.bytes[lost..].fill(0);
    let recovered = try_recover(&[&first, &second]).unwrap();
    assert_eq!((indexes(&recovered), recovered.end), (vec![0], lost as u64));
    let mut disk = disk(&[&first, &second]);
    disk.apply(&recovered.repairs).unwrap();
    let again = recover(&disk, &identity()).unwrap();
    assert_eq!((indexes(&again), again.end, again.cut), (vec![0], lost as u64, 0));
}

#[test]
fn entries_that_went_with_their_segment_are_not_missed_once_a_mark_says_so() {
    let [_, mut second, mut third] = three_segments();
    let vote = Vote {
        term: 1,
        node: ReplicaId { node: NodeId(1), incarnation: Incarnation(9) },
        committed: true,
    };
    second.push(0, &Record::Vote(GROUP, vote));
    let purged = LogPosition { term: 1, index: 3 };
    third.push(0, &Record::Purge(GROUP, purged));
    // What the second segment's end is, the third said before these were added.
    let mut third_again = File::segment(2);
    third_again.push(0, &Record::Begin(second.end()));
    third_again.entry(0, 1, 5);
    third_again.push(0, &Record::Purge(GROUP, purged));
    let recovered = try_recover(&[&second, &third_again]).unwrap();
    assert_eq!(indexes(&recovered), [4, 5]);
    assert_eq!(recovered.groups[&GROUP].purged, Some(purged));
    assert_eq!(recovered.groups[&GROUP].vote, Some(vote));
}

/// The bar of issue 4: a flip anywhere in an attested segment is found.
#[test]
fn every_flipped_byte_of_an_attested_segment_is_found() {
    let [first, second, mut third] = three_segments();
    let end = third.end() as usize;
    third.push(end, &Record::Trailer);
    let whole = [&first, &second, &third];
    for (place, file) in whole.iter().enumerate() {
        let upto = if place == 2 { end - 2 * SEGMENT as usize } else { file.bytes.len() };
        for at in 0..upto {
            let mut bytes = file.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            let damaged = File { bytes, number: file.number };
            let mut files = whole;
            files[place] = &damaged;
            let refused = try_recover(&files);
            assert!(refused.is_err(), "byte {at} of segment {place}");
        }
    }
}

/// Frames of a segment may end anywhere, but not with it: the next one would begin without a header.
#[test]
fn what_is_written_is_recovered_wherever_a_segment_ends() {
    for shift in 1..=16 {
        let mut disk = disk(&[&File::new()]);
        let resize = DiskOp::Resize { file: FileName::Segment(0), size: SEGMENT };
        disk.apply(&[resize]).unwrap();
        let mut writer = Writer::new(Boot(1), &recover(&disk, &identity()).unwrap());
        // Eight bytes more each time: frames are aligned to that.
        let name = Namespace::new("n".repeat(8 * shift)).unwrap();
        writer.push(&Record::Namespace(GROUP, name));
        let mut next = 0;
        while writer.end() < 2 * SEGMENT + SEGMENT / 2 {
            let position = LogPosition { term: 1, index: next };
            let entry = LogEntry { position, payload: Payload::Blank };
            writer.push(&Record::Entry(GROUP, entry));
            next += 1;
            write_all(&mut writer, &mut disk);
        }
        let recovered = recover(&disk, &identity()).unwrap();
        assert_eq!(indexes(&recovered), (0..next).collect::<Vec<_>>(), "shift {shift}");
        assert_eq!(recovered.end, writer.end());
    }
}

/// Does everything that a writer asks for.
fn write_all(writer: &mut Writer, disk: &mut MemoryDisk) {
    let now = Instant(0);
    loop {
        let writes = writer.take_writes(now);
        let work = writer.segment_work(now);
        if writes.is_empty() && work.is_none() {
            return;
        }
        for write in writes {
            let Effect::WalWrite { io, offset, bytes } = write else { continue };
            disk.write_log(SEGMENT, offset, bytes).unwrap();
            writer.complete(now, io);
        }
        if let Some(SegmentWork::Make(ops)) = work {
            writer.made(now, &disk.apply(&ops));
        }
    }
}
