use std::sync::Arc;

use super::{ALIGN, Record, SegmentHeader, decode, encode, seed};
use crate::command::{Batch, Command, Due, Operation};
use crate::message::{LogEntry, LogPosition, Members, Payload, Vote};
use crate::types::{
    ActorId, ClusterId, GroupId, Identity, Incarnation, Json, Namespace, NodeId, OpId, ReplicaId,
    Sequence, Timestamp, Token, Version,
};

fn identity() -> Identity {
    Identity {
        cluster: ClusterId("theatre".to_owned()),
        node: NodeId(2),
        incarnation: Incarnation(0x1122_3344_5566_7788),
    }
}

fn every_record() -> Vec<Record> {
    let group = GroupId(3);
    let position = LogPosition { term: 4, index: 9 };
    let replica = |node| ReplicaId { node: NodeId(node), incarnation: Incarnation(node << 40 | 7) };
    let op = OpId::timed(Timestamp(1_700_000_000_000), 5);
    let create = Operation::Create { content: Json::new(*b"{\"n\":1}").into() };
    let command = Command::one(op, ActorId::new("a").unwrap(), create);
    let due = Due {
        id: ActorId::new("a").unwrap(),
        token: Token { created: Sequence(1), version: Version(2) },
    };
    let time = Timestamp(1_700_000_000_001);
    let (commands, due) = (Arc::new([command]), Arc::new([due]));
    let batch = Batch { time, commands, due, compact: Sequence(3) };
    let entry = |payload| Record::Entry(group, LogEntry { position, payload });
    vec![
        entry(Payload::Blank),
        entry(Payload::Batch(batch)),
        entry(Payload::Membership(Members {
            configs: vec![vec![replica(1)]],
            nodes: vec![replica(1), replica(2)],
        })),
        Record::Vote(group, Vote { term: 4, node: replica(2), committed: true }),
        Record::Truncate(group, Some(position)),
        Record::Truncate(group, None),
        Record::Purge(group, position),
        Record::Commit(group, position),
        Record::Founder(group, replica(3)),
        Record::Trailer,
        Record::Namespace(group, Namespace::new("actors").unwrap()),
        Record::Begin(77),
    ]
}

#[test]
fn every_record_survives_the_round_trip() {
    let header = SegmentHeader { identity: identity(), number: 3, segment_bytes: 1 << 16 };
    let mut file = header.encode();
    let length = file.len();
    assert_eq!(SegmentHeader::decode(&file).unwrap(), (header, length));
    let (base, seed) = (3 << 16, seed(&identity()));
    let mut at = vec![];
    for record in every_record() {
        at.push(file.len());
        let offset = base + file.len() as u64;
        encode(&mut file, seed, offset, 77, &record);
        assert_eq!(file.len() % ALIGN, 0);
    }
    for (at, record) in at.into_iter().zip(every_record()) {
        let frame = decode(&file, seed, base, at).unwrap();
        assert_eq!((frame.record, frame.attested), (Some(record), 77));
    }
}

#[test]
fn any_flipped_bit_unmakes_the_frame() {
    for record in every_record() {
        let mut bytes = vec![0; 64];
        encode(&mut bytes, 99, 64, 64, &record);
        assert!(decode(&bytes, 99, 0, 64).is_some());
        for bit in 64 * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged, 99, 0, 64), None, "bit {bit} of {record:?}");
        }
    }
}

#[test]
fn a_frame_in_the_wrong_place_or_file_is_no_frame() {
    let mut bytes = vec![];
    encode(&mut bytes, 99, 64, 64, &Record::Trailer);
    assert_eq!(decode(&bytes, 99, 0, 0), None, "it was written for offset 64");
    assert!(decode(&bytes, 99, 64, 0).is_some(), "the first of a segment that begins there");
    let mut moved = vec![0; 64];
    moved.extend(&bytes);
    assert!(decode(&moved, 99, 0, 64).is_some());
    assert_eq!(decode(&moved, 98, 0, 64), None, "it was written for another file");
}

/// Format version 4, frozen. If this fails, the format has changed: give it a new version.
#[test]
fn version_4_bytes_are_frozen() {
    let header = SegmentHeader { identity: identity(), number: 3, segment_bytes: 1 << 16 };
    let mut file = header.encode();
    for record in every_record() {
        let offset = (3 << 16) + file.len() as u64;
        encode(&mut file, seed(&identity()), offset, 24, &record);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/v4/wal.bin");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(path, &file).unwrap();
    }
    let frozen = std::fs::read(path).unwrap();
    assert!(file == frozen, "the WAL's bytes have changed: that is a new format version");
}

/// No release has written versions 1 to 3; a log of them is refused by its version, never taken for damage.
#[test]
fn a_log_of_an_older_version_is_refused_by_its_version() {
    let olds = [
        (1, include_bytes!("../../../tests/frozen/v1/wal.bin").as_slice()),
        (2, include_bytes!("../../../tests/frozen/v2/wal.bin")),
        (3, include_bytes!("../../../tests/frozen/v3/wal.bin")),
    ];
    for (version, old) in olds {
        let error = SegmentHeader::decode(old).unwrap_err().0;
        let said = format!("its format is version {version}, not 4; run the version that wrote it");
        assert_eq!(error, said);
    }
}
