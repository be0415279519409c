//! A store with its rows in a backend does what one with all of them in memory does.

use std::collections::VecDeque;

use super::*;
use crate::backend::{Backend, MemoryBackend, View, WriteBatch};
use crate::snapshot::Encoder;
use crate::snapshot::tests::exported;
use crate::store::keys::{Origin, Place};
use crate::types::{ClusterId, GroupId, Incarnation, Namespace, NodeId, ReplicaId};

const GROUP: GroupId = GroupId(7);

fn origin() -> Origin {
    let namespace = Namespace::new("n").unwrap();
    Origin { cluster: ClusterId("c".to_owned()), group: GROUP, namespace }
}

/// A cached store and the backend's queue: what was asked of it and is not done yet.
struct Outside {
    store: Store,
    backend: MemoryBackend,
    queue: VecDeque<Asked>,
    bytes: usize,
    reads: usize,
}

enum Asked {
    Read(Vec<ActorId>),
    Write(WriteBatch),
}

impl Outside {
    fn new(bytes: usize) -> Outside {
        let store = Store::new_cached(origin(), bytes);
        let (backend, queue) = Default::default();
        Outside { store, backend, queue, bytes, reads: 0 }
    }

    fn read(&mut self, ids: Vec<ActorId>) {
        self.reads += ids.len();
        self.queue.push_back(Asked::Read(ids));
    }

    /// Does the oldest thing that was asked of the backend.
    fn work(&mut self) -> bool {
        match self.queue.pop_front() {
            None => return false,
            Some(Asked::Read(ids)) => {
                let row = |id: ActorId| {
                    let row = self.backend.get(&self.store.key(&id).unwrap()).unwrap();
                    (id, row.map(|row| codec::decode(&row).unwrap()))
                };
                let rows = ids.into_iter().map(row).collect();
                self.store.fill(rows);
            }
            Some(Asked::Write(batch)) => {
                self.backend.write(&batch).unwrap();
                self.store.written();
            }
        }
        true
    }

    fn apply(&mut self, index: u64, batch: &Batch) -> Vec<Applied> {
        loop {
            let missing = self.store.missing(batch);
            if missing.is_empty() {
                return self.store.apply(position(index), Some(batch));
            }
            self.read(missing);
            while self.work() {}
        }
    }

    fn take(&mut self) {
        let batch = self.store.take_changes();
        if !batch.changes.is_empty() {
            self.queue.push_back(Asked::Write(batch));
        }
    }

    fn check(&self) {
        self.store.check();
        let Rows::Outside(outside) = &self.store.rows else { panic!("it is cached") };
        outside.cache.check();
    }

    /// Loses everything but what the backend has; the rest is applied again from the log.
    fn restart(&mut self, log: &[Batch]) {
        self.queue.clear();
        let found = Store::load(&self.backend, GROUP, self.bytes).unwrap();
        self.store = found.unwrap_or_else(|| Store::new_cached(origin(), self.bytes));
        let from = self.store.applied().map_or(0, |applied| applied.index + 1);
        for (index, batch) in log.iter().enumerate().skip(usize::try_from(from).unwrap()) {
            self.apply(u64::try_from(index).unwrap(), batch);
        }
    }
}

#[test]
fn the_same_commands_give_the_same_outcomes_rows_and_hashes() {
    let mut reads = 0;
    for seed in 0..12 {
        let mut rng = Seed(seed).child("cached").rng();
        let bytes = usize::try_from([0, 700, 3_000, 1 << 20][usize::try_from(seed % 4).unwrap()]);
        let mut outside = Outside::new(bytes.unwrap());
        let (mut whole, mut log) = (Store::default(), Vec::new());
        for index in 0..300 {
            let batch = random_batch(&mut rng, 1_000 + 10 * index, 40, 60);
            log.push(batch.clone());
            let expected = whole.apply(position(index), Some(&batch));
            assert_eq!(outside.apply(index, &batch), expected);
            assert_eq!(outside.store.meta(), whole.meta());
            outside.check();
            for _ in 0..rng.below(3) {
                outside.work();
            }
            if rng.ppm(400_000) {
                outside.take();
            }
            let asked = id(rng.below(40));
            if outside.store.is_missing(&asked) {
                outside.read(vec![asked]);
            } else {
                assert_eq!(outside.store.get(&asked), whole.get(&asked));
            }
            if rng.ppm(20_000) {
                outside.restart(&log);
                assert_eq!(outside.store.meta(), whole.meta());
            }
            outside.check();
        }
        outside.take();
        while outside.work() {}
        outside.check();
        // What was read last stays until something else is.
        outside.store.fill(Vec::new());
        assert!(outside.store.cache_bytes() <= outside.bytes);
        let expected: Vec<u8> = Encoder::new(origin(), whole.view()).flatten().collect();
        assert_eq!(exported(&outside.backend, GROUP), expected, "X-19: all of it, and together");
        reads += outside.reads;
    }
    assert!(reads > 3_000, "{reads} rows were read: the cache was not under pressure");
}

/// whatever part of the batches is there, it is a state, of one applied index.
#[test]
fn every_prefix_of_the_batches_is_a_state() {
    let mut rng = Seed(77).rng();
    let mut outside = Outside::new(500);
    let (mut whole, mut states) = (Store::default(), Vec::new());
    for index in 0..80 {
        let batch = random_batch(&mut rng, 1_000 + 10 * index, 20, 60);
        whole.apply(position(index), Some(&batch));
        let voter = ReplicaId { node: NodeId(index), incarnation: Incarnation(1) };
        let members = Members { configs: vec![vec![voter]], nodes: vec![] };
        outside.apply(index, &batch);
        for store in [&mut whole, &mut outside.store] {
            store.set_members(GROUP, position(index), members.clone());
        }
        outside.take();
        while outside.work() {}
        let loaded = Store::load(&outside.backend, GROUP, 0).unwrap().unwrap();
        assert_eq!(loaded.meta(), whole.meta());
        states.push(exported(&outside.backend, GROUP));
        let expected: Vec<u8> = Encoder::new(origin(), whole.view()).flatten().collect();
        assert!(states.last() == Some(&expected));
    }
    assert!(outside.store.take_changes().changes.is_empty(), "nothing changed since");
}

#[test]
#[should_panic(expected = "rows_are_prefetched")]
fn applying_without_the_rows_is_a_broken_invariant() {
    let mut store = Store::new_cached(origin(), 1 << 20);
    let operation = Operation::Put { content: Json::new(*b"1").into() };
    let command = Command::one(OpId::Timed(1 << 90), id(1), operation);
    store.apply(
        position(0),
        Some(&Batch {
            time: Timestamp(1),
            commands: [command].into(),
            due: [].into(),
            compact: Sequence(0),
        }),
    );
}

#[test]
fn rows_that_do_not_belong_together_are_not_loaded() {
    let mut outside = Outside::new(0);
    let mut rng = Seed(5).rng();
    assert!(Store::load(&outside.backend, GROUP, 0).unwrap().is_none());
    outside.apply(0, &random_batch(&mut rng, 1_000, 20, 60));
    outside.take();
    while outside.work() {}
    let place = Place { group: GROUP, generation: 0 };
    let op = outside.store.oplog().rows(None).next().unwrap().0;
    let meta = outside.backend.get(&place.meta()).unwrap().unwrap();
    use crate::backend::Change::{Delete, Put};
    for change in [
        Delete(place.outcome(&op)),
        Put(place.outcome(&op), vec![1]),
        Put(place.outcome(&OpId::Named("x".to_owned())), vec![]),
        Put(place.meta(), meta[..meta.len() - 1].to_vec()),
        Delete(place.meta()),
        Put(keys::root(GROUP), vec![9]),
    ] {
        let altered = MemoryBackend::default();
        let rows = outside.backend.scan(&[], &[0xff], usize::MAX).unwrap();
        let mut changes: Vec<_> = rows.into_iter().map(|(key, value)| Put(key, value)).collect();
        changes.push(change);
        altered.write(&WriteBatch { changes }).unwrap();
        let error = Store::load(&altered, GROUP, 0).unwrap_err();
        assert!(error.damaged, "{error}");
    }
}
