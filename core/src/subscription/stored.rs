//! Subscriptions of real stores: what apply, the feed and the scan of a replica say, with batches of
//! several changes, ends of actors, and changes that the log forgets.

use std::collections::BTreeMap;

use crate::command::{Batch as Entry, Due};
use crate::message::Members;
use crate::seed::Seed;
use crate::store::Store;
use crate::store::tests::{position, random_batch};
use crate::types::{Incarnation, NodeId, ReplicaId};
use crate::{
    ActorId, Ask, ChangeKind, Delivery, End, Filter, Item, Options, Policy, ReadLevel, Record,
    ResumeToken, Sequence, Start, Step, Subscription, Tail, Timestamp,
};

type Rows = BTreeMap<ActorId, Record>;

/// A replica: it has applied so many entries of the log, and its node has a tail.
struct Node<'a> {
    log: &'a [Entry],
    applied: usize,
    store: Store,
    tail: Tail,
}

impl<'a> Node<'a> {
    /// One that has no entry yet, not even the one that makes the shard's history.
    fn blank(log: &'a [Entry]) -> Node<'a> {
        Node { log, applied: 0, store: Store::default(), tail: Tail::default() }
    }

    /// One that was just started with so many entries: its tail holds none of them.
    fn started(log: &'a [Entry], entries: usize) -> Node<'a> {
        let mut node = Node::blank(log);
        node.apply(entries);
        node.tail = Tail::default();
        node.tail.push(node.store.sequence(), Vec::new());
        node
    }

    fn apply(&mut self, upto: usize) {
        if self.store.applied().is_none() {
            self.store = founded();
        }
        while self.applied < upto {
            let index = self.applied as u64 + 1;
            self.store.apply(position(index), Some(&self.log[self.applied]));
            self.applied += 1;
            let (after, fresh) = self.store.take_fresh();
            self.tail.push(after, fresh);
        }
    }

    /// Applies what a read of this level has to see.
    fn reach(&mut self, level: ReadLevel) {
        match level {
            ReadLevel::Linearizable => self.apply(self.log.len()),
            ReadLevel::Session { min } => {
                while self.store.sequence() < min {
                    assert!(self.applied < self.log.len(), "waits for what never comes: {min}");
                    self.apply(self.applied + 1);
                }
            }
            ReadLevel::Lease | ReadLevel::Eventual => panic!("{level:?}"),
        }
    }

    fn answer(&mut self, ask: &Ask, subscription: &mut Subscription) {
        let (Ask::Changes { level, .. } | Ask::Page { level, .. }) = ask;
        self.reach(*level);
        match ask {
            Ask::Changes { query, .. } => {
                subscription.answered_changes(self.store.changes(query).unwrap());
            }
            Ask::Page { scan, .. } => {
                let page = self.store.scan(scan).unwrap();
                subscription.answered_page(page, self.store.sequence());
            }
        }
    }

    /// All that is told until there is nothing more, and the end if that is why.
    fn hear(&mut self, subscription: &mut Subscription) -> (Vec<Delivery>, Option<End>) {
        let mut heard = Vec::new();
        for _ in 0..10_000 {
            match subscription.step(&self.tail) {
                Step::Deliver(deliveries) => heard.extend(deliveries),
                Step::Ask(ask) => self.answer(&ask, subscription),
                Step::Idle => return (heard, None),
                Step::End(end) => return (heard, Some(end)),
            }
        }
        panic!("it does not come to rest: {subscription:?}");
    }
}

/// A store with the entry that makes its history.
fn founded() -> Store {
    let replica = ReplicaId { node: NodeId(1), incarnation: Incarnation(1) };
    let (configs, nodes) = (vec![vec![replica]], vec![replica]);
    let mut store = Store::default();
    store.apply(position(0), None);
    store.set_members(position(0), Members { configs, nodes });
    store
}

/// Entries with something of everything, ends of actors too.
fn log(seed: u64, entries: u64) -> Vec<Entry> {
    let mut rng = Seed(seed).rng();
    let mut store = founded();
    let mut log = Vec::new();
    for index in 1..=entries {
        let now = 1_000 + 20 * index;
        let ended = store.ended(Timestamp(now), 10).unwrap();
        let token = |id: &ActorId| store.get(id).unwrap().token;
        let due = ended.into_iter().map(|id| Due { token: token(&id), id }).collect();
        let entry = Entry { due, compact: Sequence(0), ..random_batch(&mut rng, now, 24, 12) };
        store.apply(position(index), Some(&entry));
        log.push(entry);
    }
    log
}

fn fold(rows: &mut Rows, item: &Item) {
    let (id, record) = match item {
        Item::Change { change, .. } => (&change.id, change.after.as_ref()),
        Item::Snapshot { id, record } => (id, Some(record)),
        Item::SnapshotEnd { .. } | Item::Progress => return,
    };
    match record {
        Some(record) => drop(rows.insert(id.clone(), record.clone())),
        None => drop(rows.remove(id)),
    }
}

fn subscribe(start: Start, filter: &Filter, policy: Policy, credit: u64) -> Subscription {
    let mut subscription = Subscription::new(Options { start, filter: filter.clone(), policy });
    subscription.grant(credit);
    subscription
}

/// A run from the beginning while the shard changes, with little credit: what was told, each with
/// what the consumer had made of it.
fn run(log: &[Entry], filter: &Filter, policy: Policy) -> Vec<(Delivery, Rows)> {
    let mut node = Node::started(log, 30);
    // The first question is linearizable: the log has no more than the node, at first.
    node.log = &log[..30];
    let mut subscription = subscribe(Start::Beginning, filter, policy, 0);
    let (mut rows, mut all, mut granted) = (Rows::new(), Vec::new(), 0_usize);
    for entries in 30..=log.len() {
        node.log = &log[..entries];
        node.apply(entries);
        subscription.grant(4);
        granted += 4;
        let (heard, end) = node.hear(&mut subscription);
        assert_eq!(end, None);
        granted = granted.checked_sub(heard.len()).expect("more than granted");
        let heard: Vec<_> = heard.into_iter().chain(subscription.progress()).collect();
        for delivery in heard {
            fold(&mut rows, &delivery.item);
            all.push((delivery, rows.clone()));
        }
    }
    all
}

fn filters() -> [Filter; 3] {
    let some = |prefixes: &[&str]| {
        Filter::new(prefixes.iter().map(|prefix| (*prefix).to_owned()), []).unwrap()
    };
    [Filter::default(), some(&["a1"]), some(&["a1", "a3", "a22"])]
}

/// S0-079, S0-080, S0-088, S0-089, X-18: whoever goes on from any token of a run, on a replica in any
/// other state, comes to hold what the store holds; without `conflate` each change is told once.
#[test]
fn every_token_of_a_run_leads_any_replica_to_the_state_of_its_store() {
    let log = log(11, 90);
    let mut whole = Node::blank(&log);
    whole.apply(log.len());
    let (last, view) = (whole.store.sequence(), whole.store.view());
    let changes: Vec<_> = view.changes().iter().cloned().collect();
    assert!(ChangeKind::ALL.iter().all(|kind| changes.iter().any(|change| change.kind == *kind)));
    let mut rng = Seed(12).rng();
    let mut in_snapshot = 0;
    for filter in &filters() {
        let wanted = |id: &ActorId| filter.wants_id(id);
        let rows: Rows = view.rows(None).map(|(id, row)| (id.clone(), row.clone())).collect();
        let rows: Rows = rows.into_iter().filter(|(id, _)| wanted(id)).collect();
        for policy in [Policy::Pause, Policy::Disconnect, Policy::Conflate] {
            for (delivery, mut held) in run(&log, filter, policy) {
                let token = delivery.token;
                in_snapshot += u64::from(token.scanned.is_some());
                let mut node = match rng.below(4) {
                    0 => Node::blank(&log),
                    1 => Node::started(&log, log.len()),
                    _ => Node::started(&log, rng.between(0, log.len() as u64) as usize),
                };
                let start = Start::Resume(token.clone());
                let mut subscription = subscribe(start, filter, policy, u64::MAX);
                let mut heard = Vec::new();
                for _ in 0..2 {
                    heard.extend(node.hear(&mut subscription).0);
                    node.apply(log.len());
                }
                heard.iter().for_each(|delivery| fold(&mut held, &delivery.item));
                assert_eq!(held, rows, "from {token}, {policy:?}");
                let end = subscription.token().unwrap();
                assert_eq!((end.sequence, end.scanned), (last, None));
                if token.scanned.is_none() {
                    let told = heard.iter().map(|delivery| match &delivery.item {
                        Item::Change { change, .. } => change,
                        other => panic!("{other:?} behind the snapshot"),
                    });
                    let behind = changes.iter().filter(|one| one.sequence > token.sequence);
                    assert!(told.eq(behind.filter(|one| filter.wants(one))), "from {token}");
                }
            }
        }
    }
    assert!(in_snapshot > 50, "{in_snapshot} tokens within a snapshot");
}

/// S0-078, S0-080, X-18, PEERS.md C 1-2: at the edges of what a real store retains.
#[test]
fn a_start_meets_the_edges_of_what_the_store_retains() {
    let mut log = log(21, 60);
    let mut node = Node::blank(&log);
    node.apply(40);
    let gone = node.store.sequence().0;
    log[40].compact = Sequence(gone);
    let mut node = Node::blank(&log);
    node.apply(60);
    let last = node.store.sequence().0;
    let filter = Filter::default();
    let tell = |start| {
        let mut node = Node::started(&log, 60);
        let mut subscription = subscribe(start, &filter, Policy::Pause, u64::MAX);
        let (heard, end) = node.hear(&mut subscription);
        let places: Vec<_> = heard.iter().map(|delivery| delivery.token.sequence.0).collect();
        (places, end)
    };
    let lineage = node.store.meta().lineage;
    let token = |sequence| ResumeToken { lineage, sequence: Sequence(sequence), scanned: None };
    let starts = |at| [Start::After(Sequence(at)), Start::Resume(token(at))];
    for (at, asked) in [(0, 1), (gone - 1, gone)] {
        for start in starts(at) {
            let end = End::Compacted { first: Sequence(gone + 1), asked: Sequence(asked) };
            assert_eq!(tell(start), (vec![], Some(end)));
        }
    }
    for at in [gone, gone + 1, last - 1, last, last + 1, u64::MAX] {
        for start in starts(at) {
            let behind = (gone + 1..=last).filter(|place| *place > at).collect();
            assert_eq!(tell(start), (behind, None), "behind {at} of {gone}..={last}");
        }
    }
    let changes: Vec<_> = node.store.view().changes().iter().cloned().collect();
    assert!(matches!(tell(Start::Time(Timestamp(0))).1, Some(End::Compacted { .. })));
    for change in &changes {
        let first = changes.iter().find(|one| one.time >= change.time).unwrap().sequence.0;
        // Something of that very time may be among those that are forgotten.
        if first > gone + 1 {
            let expected = ((first..=last).collect(), None);
            assert_eq!(tell(Start::Time(change.time)), expected);
        }
    }
    assert_eq!(tell(Start::Now), (vec![], None));
    assert_eq!(tell(Start::Time(Timestamp(u64::MAX))), (vec![], None));
    let (snapshot, end) = tell(Start::Beginning);
    assert_eq!((snapshot.len() as u64, end), (node.store.actors() + 1, None));
}

/// of each actor the latest change that is wanted, from before the first one; a change that
/// stands for itself alone is told word for word.
#[test]
fn conflate_tells_each_actor_once_and_the_whole_way() {
    let log = log(31, 60);
    let kinds = [ChangeKind::Create, ChangeKind::Expire];
    let filter = Filter::new([], kinds).unwrap();
    let mut node = Node::started(&log, 0);
    let start = Start::After(Sequence(0));
    let mut subscription = subscribe(start, &filter, Policy::Conflate, 0);
    assert_eq!(node.hear(&mut subscription), (vec![], None));
    node.apply(60);
    assert_eq!(node.hear(&mut subscription), (vec![], None));
    let all: Vec<_> = node.store.view().changes().iter().cloned().collect();
    subscription.grant(u64::MAX);
    let (heard, _) = node.hear(&mut subscription);
    let mut told = 0;
    for Delivery { item, token } in heard {
        let Item::Change { change, conflated } = item else { panic!("{item:?}") };
        let latest = &all[change.sequence.0 as usize - 1];
        let of_actor = all.iter().filter(|one| one.id == change.id && filter.wants(one));
        let of_actor: Vec<_> = of_actor.collect();
        assert_eq!(token.sequence, change.sequence);
        assert_eq!(of_actor.last().unwrap().sequence, change.sequence);
        assert_eq!(of_actor.len() as u64, conflated + 1);
        assert_eq!((&change.before, &change.after), (&of_actor[0].before, &latest.after));
        assert_eq!((change.event, change.time), (latest.event, latest.time));
        assert!(conflated > 0 || change == *latest);
        told += 1;
    }
    let actors: std::collections::BTreeSet<_> =
        all.iter().filter(|one| filter.wants(one)).map(|one| &one.id).collect();
    assert_eq!(told, actors.len());
}
