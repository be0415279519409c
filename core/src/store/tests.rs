use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::command::{Expected, Operation, Work, Write};
use crate::op_id::uuid7;
use crate::seed::{Rng, Seed};
use crate::types::{
    Content, Incarnation, Json, Metadata, NodeId, OpId, ReplicaId, Token, Ttl, Version,
};

pub fn position(index: u64) -> LogPosition {
    LogPosition { term: 1, index }
}

pub fn id(number: u64) -> ActorId {
    ActorId::new(format!("a{number}")).unwrap()
}

/// Any operation on one of `actors` actors, sometimes under a name that was used before.
pub fn random_command(rng: &mut Rng, now: u64, actors: u64, bytes: u64) -> Command {
    let length = usize::try_from(rng.below(bytes)).unwrap();
    let value = Json::new(vec![b'1' + u8::try_from(rng.below(9)).unwrap(); length + 1]);
    let content = random_content(rng, value);
    let version = Version(rng.below(3));
    let token = Token { created: Sequence(rng.below(50)), version };
    let operation = match rng.below(7) {
        0 => Operation::Create { content },
        1 | 2 => Operation::Put { content },
        3 => Operation::Update { content, expected: None },
        4 => Operation::CompareAndSwap { content, expected: Expected::Version(version) },
        5 => Operation::CompareAndSwap { content, expected: Expected::Token(token) },
        _ => Operation::Delete { expected: None },
    };
    let op = match rng.below(10) {
        0 => OpId::Named(format!("n{}", rng.below(40))),
        2 => OpId::Session {
            session: uuid7(Timestamp(now / 300 * 300), u128::from(rng.below(3))),
            sequence: now / 10 + rng.below(20),
        },
        1 => OpId::timed(Timestamp(now.saturating_sub(rng.below(100))), 7),
        _ => OpId::timed(Timestamp(now), rng.u128()),
    };
    let actor = id(rng.below(actors));
    Command { op, work: random_work(rng, actor, operation, actors) }
}

/// Some with metadata, some with an end.
pub fn random_content(rng: &mut Rng, value: Json) -> Content {
    let pairs = match rng.below(3) {
        0 => rng.below(4),
        _ => 0,
    };
    let pairs = (0..pairs).map(|n| (format!("k{n}"), "v".repeat(usize::try_from(n).unwrap())));
    let metadata = Metadata::new(pairs).unwrap();
    let ttl = rng.ppm(200_000).then(|| Ttl::new(1 + rng.below(400)).unwrap());
    Content { value, metadata, ttl }
}

/// The operation alone, or with others in a batch.
fn random_work(rng: &mut Rng, first: ActorId, operation: Operation, actors: u64) -> Work {
    let first = Write { id: first, operation };
    if !rng.ppm(150_000) {
        return Work::One(first);
    }
    let mut writes = vec![first];
    for _ in 0..rng.below(4) {
        let operation = match rng.below(3) {
            0 => Operation::Delete { expected: None },
            _ => Operation::Put { content: Json::new(*b"7").into() },
        };
        writes.push(Write { id: id(rng.below(actors)), operation });
    }
    Work::batch(writes).unwrap()
}

pub fn random_batch(rng: &mut Rng, now: u64, actors: u64, bytes: u64) -> Batch {
    let commands = 1 + rng.below(8);
    let commands = (0..commands).map(|_| random_command(rng, now, actors, bytes)).collect();
    let some = 1 + now.saturating_sub(1_000) / 10;
    let compact = if rng.ppm(200_000) { Sequence(rng.below(some)) } else { Sequence(0) };
    Batch { time: Timestamp(now), commands, due: Arc::new([]), compact }
}

/// A store with something of everything.
pub fn random_store(seed: u64, entries: u64, bytes: u64) -> Store {
    let mut rng = Seed(seed).child("store").rng();
    let mut store = Store::default();
    store.apply(position(0), None);
    let replica = |node| ReplicaId { node: NodeId(node), incarnation: Incarnation(node) };
    let (configs, nodes) = (vec![vec![replica(1)]], vec![replica(1), replica(2)]);
    let members = Members { configs, nodes };
    store.set_members(crate::types::GroupId(3), position(0), members);
    for index in 1..entries {
        let batch = random_batch(&mut rng, 1_000 + 10 * index, 60, bytes);
        store.apply(position(index), Some(&batch));
        store.check();
    }
    store
}

fn store_of(view: &StoreView, rows: OrdMap<ActorId, Record>) -> Result<Store, Corrupt> {
    Store::whole(view.meta.clone(), rows, view.oplog.clone(), view.changes.clone())
}

#[test]
fn the_running_hash_is_the_hash_of_the_rows() {
    let store = random_store(1, 200, 40);
    let view = store.view();
    let hashes = view.rows(None).map(|(id, record)| row_hash(id, record));
    assert_eq!(hashes.fold(0, u64::wrapping_add), store.meta().rows_hash);
    assert!(store.actors() > 10);
    let again = store_of(&view, view.rows.clone()).unwrap();
    assert_eq!(again.meta(), store.meta());
}

#[test]
fn a_row_that_was_altered_dropped_or_moved_is_found() {
    let view = random_store(2, 100, 40).view();
    let whole = |rows| store_of(&view, rows);
    assert!(whole(view.rows.clone()).is_ok());
    let (id, record) = view.rows(None).next().unwrap();
    let mut version = record.clone();
    version.token.version.0 += 1;
    let mut created = record.clone();
    created.token.created.0 ^= 1 << 40;
    let (metadata, expires) = (record.metadata().clone(), record.expires());
    let value = Record::new(record.token, Json::new(*b"0"), metadata.clone(), expires);
    let more = Metadata::new([("altered".to_owned(), String::new())]).unwrap();
    let pairs = Record::new(record.token, record.value().clone(), more, expires);
    let other = Some(Timestamp(expires.map_or(1, |time| time.0 + 1)));
    let end = Record::new(record.token, record.value().clone(), metadata, other);
    for altered in [version, created, value, pairs, end] {
        let mut rows = view.rows.clone();
        rows.insert(id.clone(), altered);
        assert!(whole(rows).is_err());
    }
    let mut rows = view.rows.clone();
    rows.remove(id);
    assert!(whole(rows.clone()).is_err());
    rows.insert(ActorId::new("elsewhere").unwrap(), record.clone());
    assert!(whole(rows).is_err());
}

#[test]
fn replicas_with_other_rows_have_another_state_hash() {
    let (mut one, mut other) = (Store::default(), Store::default());
    one.apply(position(0), None);
    other.apply(position(0), None);
    assert_eq!(one.state_hash(), other.state_hash());
    other.meta.rows_hash ^= 1;
    one.apply(position(1), None);
    other.apply(position(1), None);
    assert_ne!(one.state_hash(), other.state_hash());
}

/// S0-027: a view never changes, and readers on other threads need no lock while writes go on.
#[test]
fn threads_read_a_view_while_the_store_is_written() {
    let mut store = random_store(3, 50, 40);
    let view = Arc::new(store.view());
    let done = Arc::new(AtomicBool::new(false));
    let sum = |view: &StoreView| {
        let hashes = view.rows(None).map(|(id, record)| row_hash(id, record));
        (hashes.fold(0, u64::wrapping_add), view.oplog().rows(None).count(), view.len())
    };
    let expected = sum(&view);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (view, done) = (view.clone(), done.clone());
            std::thread::spawn(move || {
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) || rounds == 0 {
                    assert_eq!(sum(&view), expected);
                    rounds += 1;
                }
            })
        })
        .collect();
    let mut rng = Seed(4).rng();
    for index in 50..1_500 {
        let batch = random_batch(&mut rng, 2_000 + index, 60, 40);
        store.apply(position(index), Some(&batch));
    }
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(view.meta().rows_hash, expected.0);
    assert_ne!(store.meta().rows_hash, expected.0);
}

mod cached;
