use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::command::{Expected, Operation};
use crate::seed::{Rng, Seed};
use crate::types::{Json, NodeId, OpId, Token, Version};

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
    let version = Version(rng.below(3));
    let token = Token { created: Sequence(rng.below(50)), version };
    let operation = match rng.below(7) {
        0 => Operation::Create { value },
        1 | 2 => Operation::Put { value },
        3 => Operation::Update { value, expected: None },
        4 => Operation::CompareAndSwap { value, expected: Expected::Version(version) },
        5 => Operation::CompareAndSwap { value, expected: Expected::Token(token) },
        _ => Operation::Delete { expected: None },
    };
    let op = match rng.below(10) {
        0 => OpId::Named(format!("n{}", rng.below(40))),
        1 => OpId::timed(Timestamp(now.saturating_sub(rng.below(100))), 7),
        _ => OpId::timed(Timestamp(now), rng.u128()),
    };
    Command { op, id: id(rng.below(actors)), operation }
}

pub fn random_batch(rng: &mut Rng, now: u64, actors: u64, bytes: u64) -> Batch {
    let commands = 1 + rng.below(8);
    let commands = (0..commands).map(|_| random_command(rng, now, actors, bytes)).collect();
    Batch { time: Timestamp(now), commands }
}

/// A store with something of everything.
pub fn random_store(seed: u64, entries: u64, bytes: u64) -> Store {
    let mut rng = Seed(seed).child("store").rng();
    let mut store = Store::default();
    store.apply(position(0), None);
    let members = Members { configs: vec![vec![NodeId(1)]], nodes: vec![NodeId(1), NodeId(2)] };
    store.set_members(position(0), members);
    for index in 1..entries {
        let batch = random_batch(&mut rng, 1_000 + 10 * index, 60, bytes);
        store.apply(position(index), Some(&batch));
        store.check();
    }
    store
}

#[test]
fn the_running_hash_is_the_hash_of_the_rows() {
    let store = random_store(1, 200, 40);
    let view = store.view();
    let hashes = view.rows(None).map(|(id, record)| row_hash(id, record));
    assert_eq!(hashes.fold(0, u64::wrapping_add), store.meta().rows_hash);
    assert!(store.actors() > 10);
    let again = Store::whole(store.meta(), view.rows.clone(), view.oplog.clone()).unwrap();
    assert_eq!(again.meta(), store.meta());
}

#[test]
fn a_row_that_was_altered_dropped_or_moved_is_found() {
    let view = random_store(2, 100, 40).view();
    let whole = |rows| Store::whole(view.meta.clone(), rows, view.oplog.clone());
    assert!(whole(view.rows.clone()).is_ok());
    let (id, record) = view.rows(None).next().unwrap();
    let mut version = record.clone();
    version.token.version.0 += 1;
    let mut created = record.clone();
    created.token.created.0 ^= 1 << 40;
    let value = Record { value: Json::new(*b"0"), ..record.clone() };
    for altered in [version, created, value] {
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
