use super::{Recovered, Remains, Verdict, recover};
use crate::message::{LogEntry, LogPosition, Payload, Vote};
use crate::types::{ClusterId, GroupId, Identity, Incarnation, NodeId, ReplicaId};
use crate::wal::frame::{FileHeader, Record, Unreadable, encode};

const GROUP: GroupId = GroupId(1);

struct File {
    bytes: Vec<u8>,
    seed: u32,
}

impl File {
    fn new() -> File {
        let identity = Identity {
            cluster: ClusterId("c".to_owned()),
            node: NodeId(1),
            incarnation: Incarnation(9),
        };
        let bytes = FileHeader::encode(&identity);
        let seed = FileHeader::decode(&bytes).unwrap().seed;
        File { bytes, seed }
    }

    /// Appends a frame; returns where it starts.
    fn push(&mut self, attested: usize, record: &Record) -> usize {
        let at = self.bytes.len();
        encode(&mut self.bytes, self.seed, at as u64, attested as u64, record);
        at
    }

    fn entry(&mut self, attested: usize, term: u64, index: u64) -> usize {
        let entry = LogEntry { position: LogPosition { term, index }, payload: Payload::Blank };
        self.push(attested, &Record::Entry(GROUP, entry))
    }

    fn recover(&self) -> Recovered {
        recover(&self.bytes).unwrap()
    }
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.groups[&GROUP].entries.iter().map(|entry| entry.position.index).collect()
}

#[test]
fn the_verdict_table_holds_for_every_combination() {
    for bits in 0..16_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let remains =
            Remains { some: bit(0), all_zero: bit(1), later_frame: bit(2), later_attests: bit(3) };
        let expected = if !remains.some || remains.all_zero {
            Verdict::Clean
        } else if remains.later_frame && remains.later_attests {
            Verdict::Corrupt
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
        let torn = File { bytes: file.bytes[..torn_at].to_vec(), seed: file.seed };
        let recovered = torn.recover();
        assert_eq!(indexes(&recovered), [0]);
        assert_eq!(recovered.end, last as u64);
        assert_eq!(recovered.cut, (torn_at - last) as u64);
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
        let mut bytes = file.bytes.clone();
        bytes[at] ^= 0x10;
        assert!(recover(&bytes).is_err(), "byte {at} was synced");
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
    assert_eq!(image.last(), Some(LogPosition { term: 2, index: 2 }));
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
    let error = recover(&file.bytes).unwrap_err();
    let Unreadable::Damaged(what) = error else { panic!("{error:?}") };
    assert!(what.contains("wal_contiguous"), "{what}");
}

/// An intact checksum proves that it was written whole.
#[test]
fn an_intact_record_of_an_unknown_kind_is_refused_and_never_cut() {
    let mut file = File::new();
    file.entry(0, 1, 0);
    let at = file.push(0, &Record::Trailer);
    file.bytes[at + 8] = 99;
    let crc = crate::wal::frame::frame_crc(file.seed, at as u64, &file.bytes[at..]);
    file.bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    let error = recover(&file.bytes).unwrap_err();
    let Unreadable::OtherVersion(what) = error else { panic!("{error:?}") };
    assert!(what.contains("another version"), "{what}");
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
