//! Bytes are law: what peers say to each other is frozen, and garbage is an error, never a panic.

// Reads and writes frozen bytes; it is no part of a replica.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use understudy_core::change::Fields;
use understudy_core::codec::{FORMAT, decode, encode};
use understudy_core::message::{
    Append, AppendReply, Applied, AskVote, Blob, Body, Exchange, ForwardFailed, LogEntry,
    LogPosition, Members, Payload, SnapshotChunk, SnapshotReply, StateMark, Transfer, Vote,
    VoteReply,
};
use understudy_core::query::{Found, Page, Query, Scan, Seen};
use understudy_core::*;

#[allow(clippy::too_many_lines, reason = "a list")]
fn every_message() -> Vec<Message> {
    let position = LogPosition { term: 3, index: 7 };
    let replica = |node| ReplicaId { node: NodeId(node), incarnation: Incarnation(node << 50 | 9) };
    let vote = Vote { term: 3, node: replica(2), committed: true };
    let token = Token { created: Sequence(5), version: Version(2) };
    let metadata = Metadata::new([("k".to_owned(), "v".to_owned())]).unwrap();
    let record = Record::plain(token, Json::new(*b"[1]"));
    let more = Record::new(token, Json::new(*b"2"), metadata.clone(), Some(Timestamp(70)));
    let id = ActorId::new("a:b").unwrap();
    let content = Content::from(Json::new(*b"{}"));
    let full = Content { metadata, ttl: Some(Ttl::new(60_000).unwrap()), ..content.clone() };
    let expected = Expected::Token(token);
    let operations = [
        Operation::Create { content: content.clone() },
        Operation::Put { content: full },
        Operation::Update {
            content: content.clone(),
            expected: Some(Expected::Version(Version(0))),
        },
        Operation::CompareAndSwap { content, expected },
        Operation::Delete { expected: None },
    ];
    let one = |operation| Command::one(OpId::Named("n".to_owned()), id.clone(), operation);
    let mut commands: Vec<Command> = operations.clone().map(one).into();
    let op = OpId::Session { session: 0x0123_4567_89ab_7000_8000_0000_0000_0001, sequence: 300 };
    let writes = operations.map(|operation| Write { id: id.clone(), operation });
    commands.push(Command { op, work: Work::Batch(writes.into()) });
    let outcomes = [
        Outcome::Written { token, sequence: Sequence(9) },
        Outcome::Deleted { record: more, sequence: Sequence(9) },
        Outcome::Batch(vec![Outcome::Removed { token, sequence: Sequence(9) }]),
        Outcome::Refused(Refusal::AlreadyExists { found: token }),
        Outcome::Refused(Refusal::NotFound),
        Outcome::Refused(Refusal::Conflict { expected, found: None }),
        Outcome::Refused(Refusal::OpIdReused),
        Outcome::Refused(Refusal::SessionExpired),
        Outcome::Refused(Refusal::InBatch { place: 3, refusal: Box::new(Refusal::NotFound) }),
    ];
    let recorded = Timestamp(1_700_000_000_000);
    let applied = |outcome| Applied { outcome, replayed: true, recorded };
    let applied: Vec<_> = outcomes.into_iter().map(applied).collect();
    let due = Arc::from([Due { id: id.clone(), token }]);
    let (time, compact) = (Timestamp(1_700_000_000_000), Sequence(7));
    let batch = Batch { time, commands: Arc::from(commands.clone()), due, compact };
    let voters = vec![replica(1), replica(2)];
    let entries = [
        Payload::Blank,
        Payload::Batch(batch),
        Payload::Membership(Members { configs: vec![voters.clone()], nodes: voters }),
    ]
    .into_iter()
    .map(|payload| LogEntry { position, payload })
    .collect();
    let ask = AskVote { vote, last: Some(position), transfer: false };
    let granted = VoteReply { vote, granted: true, last: None };
    let bodies = vec![
        Body::Append(Append {
            vote,
            previous: Some(position),
            entries,
            commit: None,
            mark: Some(StateMark { index: 256, hash: 99 }),
        }),
        Body::AppendReply(AppendReply::Success),
        Body::AppendReply(AppendReply::Partial(None)),
        Body::AppendReply(AppendReply::Conflict),
        Body::AppendReply(AppendReply::HigherVote(vote)),
        Body::AppendReply(AppendReply::Failed),
        Body::AskVote(ask.clone()),
        Body::VoteReply(granted.clone()),
        Body::AskPreVote(ask),
        Body::PreVoteReply(granted),
        Body::ForwardWrite { commands },
        Body::ForwardRead { queries: queries(&id), lease: true },
        Body::ForwardWriteReply(Ok(applied)),
        Body::ForwardWriteReply(Err(ForwardFailed::NotLeader { hint: Some(replica(1)) })),
        Body::ForwardWriteReply(Err(ForwardFailed::Busy)),
        Body::ForwardReadReply(Err(ForwardFailed::Unknown)),
        Body::ForwardReadReply(Ok(seen(&id, &record))),
    ];
    let message = |group, body| Message {
        from: replica(1),
        to: NodeId(2),
        incarnation: Some(Incarnation(0x0123_4567_89ab_cdef)),
        group,
        exchange: Exchange { boot: Boot(77), number: 300 },
        ailing: false,
        body,
    };
    let bodies = bodies.into_iter().chain(about_snapshots(vote, position));
    let hellos = hellos().map(|body| Message { incarnation: None, ..message(GroupId::META, body) });
    bodies.map(|body| message(GroupId(1), body)).chain(hellos).collect()
}

fn about_snapshots(vote: Vote, position: LogPosition) -> impl Iterator<Item = Body> {
    let (length, offset, bytes) = (600_000, 524_288, Blob(b"UNDRSNAP".to_vec()));
    let snapshot = Body::Snapshot(SnapshotChunk { vote, position, length, offset, bytes });
    let replies =
        [SnapshotReply::Have(7), SnapshotReply::Installed(vote), SnapshotReply::HigherVote(vote)];
    let transfer = Transfer { vote, to: vote.node, last: Some(position) };
    let others = [snapshot, Body::Transfer(transfer), Body::TransferReply];
    others.into_iter().chain(replies.map(Body::SnapshotReply))
}

fn queries(id: &ActorId) -> Vec<Query> {
    let scan = Scan { prefix: "a".to_owned(), after: Some(id.clone()), limit: 300 };
    let sinces = [Since::After(Sequence(3)), Since::Time(Timestamp(4)), Since::Last];
    let changes = sinces.map(|since| Query::Changes(ChangesQuery { since, limit: 300 }));
    [Query::Actor(id.clone()), Query::Scan(scan)].into_iter().chain(changes).collect()
}

fn seen(id: &ActorId, record: &Record) -> Vec<Seen> {
    let page = Page { records: vec![(id.clone(), record.clone())], more: true };
    let change = Fields {
        sequence: Sequence(6),
        id: id.clone(),
        kind: ChangeKind::Update,
        event: EventId::new(Lineage(1), Some(&OpId::Timed(7)), Sequence(6)),
        time: Timestamp(1_700_000_000_000),
        position: LogPosition { term: 2, index: 7 },
        before: Some(record.clone()),
        after: Some(record.clone()),
    };
    let changes = Changes {
        lineage: Lineage(9),
        first: Sequence(3),
        after: Sequence(5),
        changes: vec![change.into()],
    };
    let found = [
        Found::Actor(Some(record.clone())),
        Found::Actor(None),
        Found::Page(page),
        Found::Changes(changes),
    ];
    found.map(|found| Seen { found, applied: 8, sequence: Sequence(6) }).to_vec()
}

fn hellos() -> [Body; 2] {
    let (held, promised) = (vec![GroupId(1), GroupId(3)], vec![GroupId(2)]);
    [Body::Hello, Body::HelloReply { held, promised }]
}

/// Codec format 3, frozen. If this fails, the format has changed: give it a new format byte.
#[test]
fn format_3_messages_are_frozen() {
    let bytes = encode(&every_message());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v3/messages.bin");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(bytes == std::fs::read(&path).unwrap(), "the bytes of messages have changed");
    assert_eq!(decode::<Vec<Message>>(&bytes).unwrap(), every_message());
}

/// No release has spoken formats 1 and 2.
#[test]
fn older_formats_are_refused_by_their_number() {
    let olds = [
        (1, include_bytes!("frozen/v1/messages.bin").as_slice()),
        (2, include_bytes!("frozen/v2/messages.bin")),
    ];
    for (format, old) in olds {
        let error = decode::<Vec<Message>>(old).unwrap_err();
        assert_eq!(error.0, format!("format {format} is not the known format 3"));
    }
}

#[test]
fn cut_or_altered_bytes_never_panic_and_cut_ones_never_decode() {
    let mut rng = Seed(1).rng();
    for message in every_message() {
        let bytes = encode(&message);
        for length in 0..bytes.len() {
            assert!(decode::<Message>(&bytes[..length]).is_err(), "cut to {length}");
        }
        for _ in 0..2_000 {
            let mut altered = bytes.clone();
            let at = rng.below(altered.len() as u64) as usize;
            altered[at] = rng.u32() as u8;
            // Whether it still means something is the checksum's business, not the codec's.
            decode::<Message>(&altered).ok();
        }
    }
    for _ in 0..20_000 {
        let mut garbage = vec![0; rng.below(200) as usize];
        rng.fill(&mut garbage);
        if let Some(first) = garbage.first_mut() {
            *first = FORMAT;
        }
        decode::<Vec<Message>>(&garbage).ok();
    }
}

/// A length field is not believed: nothing is allocated on its word alone.
#[test]
fn an_absurd_length_is_refused() {
    // The format, then a bincode length of 2^63 bytes for the value of a record.
    let mut bytes = vec![FORMAT, 0, 0, 253];
    bytes.extend((1_u64 << 63).to_le_bytes());
    assert!(decode::<Record>(&bytes).is_err());
    let mut bytes = vec![FORMAT, 253];
    bytes.extend((1_u64 << 40).to_le_bytes());
    assert!(decode::<Vec<Message>>(&bytes).is_err());
}

/// Any byte of a real log altered: it starts with less, or refuses, but does not panic.
#[test]
fn a_log_altered_anywhere_is_recovered_or_refused() {
    let identity = Identity {
        cluster: ClusterId("c".to_owned()),
        node: NodeId(1),
        incarnation: Incarnation(3),
    };
    let config = ClusterConfig {
        cluster: ClusterId("c".to_owned()),
        nodes: vec![NodeId(1)],
        namespaces: vec![Namespace::new("n").unwrap()],
        storage: Default::default(),
        timing: Timing::production(),
        log: LogSizes::tiny(),
        retention: Retention::tiny(),
    };
    let disk = real_log(&config, &identity);
    let file = FileName::Segment(0);
    let length = disk.clone().bytes_mut(file).unwrap().len();
    assert!(length > 1_000);
    let (mut started, mut refused) = (0, 0);
    for at in 0..length {
        let mut altered = disk.clone();
        altered.bytes_mut(file).unwrap()[at] ^= 0x41;
        match Replica::recover(&config, &identity, Seed(1), &altered, None) {
            Ok(replica) => {
                assert!(replica.wal_end() <= at as u64, "what was altered is not replayed");
                started += 1;
            }
            Err(error) => {
                assert_eq!(error.to_string().lines().count(), 1);
                refused += 1;
            }
        }
    }
    assert!(refused > started, "{refused} refused, {started} cut as a tail");
}

fn real_log(config: &ClusterConfig, identity: &Identity) -> MemoryDisk {
    let mut disk = MemoryDisk::default();
    disk.apply(&Replica::format(identity, &config.log)).unwrap();
    let mut replica = Replica::recover(config, identity, Seed(1), &disk, None).unwrap();
    let mut turn = vec![Input::Wake];
    let mut now = Now::default();
    for round in 0..200_u64 {
        let mut effects = Vec::new();
        now.mono = Instant(round * 10_000_000);
        if round > 100 && round % 10 == 0 {
            let namespace = config.namespaces[0].clone();
            let operation = Operation::Put { content: Json::new(*b"1").into() };
            let id = ActorId::new("a").unwrap();
            let body = Request::write(namespace, id, None, operation);
            let timeout = std::time::Duration::from_secs(1);
            turn.push(Input::Request { request: RequestId(round), timeout, body });
        }
        replica.step(now, std::mem::take(&mut turn), &mut effects);
        for effect in effects {
            match effect {
                Effect::WalWrite { io, offset, bytes } => {
                    let result = disk.write_log(replica.segment_bytes(), offset, bytes);
                    turn.push(Input::Io { io, result });
                }
                Effect::Files { io, ops } => {
                    turn.push(Input::Files { io, result: disk.apply(&ops) });
                }
                _ => {}
            }
        }
    }
    disk
}
