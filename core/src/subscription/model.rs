//! A seeded random schedule of everything that can happen to a subscription, against a plain model of
//! the shard: whatever the consumer hears must make it equal to the model, at every place.

use std::collections::BTreeMap;

use imbl::OrdMap;

use super::*;
use crate::change::{ChangeKind, EventId, Fields};
use crate::message::LogPosition;
use crate::query::Scan;
use crate::seed::{Rng, Seed};
use crate::types::{ActorId, Json, Record, Token, Version};

type Rows = OrdMap<ActorId, Record>;

pub(super) const LINEAGE: Lineage = Lineage(77);
const IDS: [&str; 8] = ["a", "a/1", "a/2", "b", "b/1", "c", "ca", "d"];

/// What the log holds: every state, every change, and which changes were forgotten when.
pub(super) struct Shard {
    states: Vec<Rows>,
    pub changes: Vec<Change>,
    pub compacted: BTreeMap<Sequence, Sequence>,
}

/// One replica: how much it has applied, and what its node has heard of that.
pub(super) struct Replica {
    applied: Sequence,
    pub tail: Tail,
}

impl Shard {
    pub fn new() -> Shard {
        let (states, changes) = (vec![Rows::new()], Vec::new());
        Shard { states, changes, compacted: BTreeMap::new() }
    }

    pub fn last(&self) -> Sequence {
        Sequence(self.changes.len() as u64)
    }

    pub fn state(&self, at: Sequence) -> &Rows {
        &self.states[at.0 as usize]
    }

    /// The first retained change of a replica that has applied so much.
    fn first(&self, applied: Sequence) -> Sequence {
        let upto = self.compacted.range(..=applied).map(|(_, &upto)| upto).max();
        Sequence(upto.unwrap_or_default().0 + 1)
    }

    fn between(&self, after: Sequence, upto: Sequence) -> &[Change] {
        self.changes.get(after.0 as usize..upto.0 as usize).unwrap_or_default()
    }

    /// Writes an actor anew.
    pub fn put(&mut self, id: &str) {
        let next = self.last().0 + 1;
        let token = Token { created: Sequence(1), version: Version(next) };
        let record = Record::plain(token, Json::new(next.to_string().into_bytes()));
        self.change(ActorId::new(id).unwrap(), Some(record));
    }

    /// Deletes an actor, if it is there.
    pub fn delete(&mut self, id: &str) {
        let id = ActorId::new(id).unwrap();
        if self.state(self.last()).contains_key(&id) {
            self.change(id, None);
        }
    }

    fn change(&mut self, id: ActorId, after: Option<Record>) {
        let (mut rows, next) = (self.state(self.last()).clone(), self.last().0 + 1);
        let before = match &after {
            Some(record) => rows.insert(id.clone(), record.clone()),
            None => rows.remove(&id),
        };
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Create,
            (Some(_), Some(_)) => ChangeKind::Update,
            (Some(_), None) => ChangeKind::Delete,
        };
        self.states.push(rows);
        self.changes.push(Change::from(Fields {
            sequence: Sequence(next),
            id,
            kind,
            event: EventId::new(None, Sequence(next)),
            time: Timestamp(next / 3),
            position: LogPosition { term: 1, index: next },
            before,
            after,
        }));
    }
}

impl Replica {
    pub fn new(applied: Sequence) -> Replica {
        let mut tail = Tail::default();
        tail.push(applied, Vec::new());
        Replica { applied, tail }
    }

    pub fn apply(&mut self, shard: &Shard, upto: Sequence) {
        self.applied = self.applied.max(upto);
        if self.tail.last() < self.applied {
            let changes = shard.between(self.tail.last(), self.applied).to_vec();
            self.tail.push(self.tail.last(), changes);
        }
    }

    /// Installs a snapshot.
    pub fn jump(&mut self, upto: Sequence) {
        self.applied = self.applied.max(upto);
        self.tail.push(self.applied, Vec::new());
    }

    /// Applies what a read has to see; the node may hear of it only later. Whether it can.
    fn reaches(&mut self, shard: &Shard, level: ReadLevel) -> bool {
        let min = match level {
            ReadLevel::Session { min } => min,
            ReadLevel::Linearizable => shard.last(),
            ReadLevel::Lease | ReadLevel::Eventual => panic!("{level:?}"),
        };
        self.applied = self.applied.max(min.min(shard.last()));
        self.applied >= min
    }

    /// Answers with a page of at most `limit`, if it can answer.
    pub fn answer(
        &mut self,
        shard: &Shard,
        ask: Ask,
        limit: usize,
        subscription: &mut Subscription,
    ) -> bool {
        let (Ask::Changes { level, .. } | Ask::Page { level, .. }) = &ask;
        if !self.reaches(shard, *level) {
            return false;
        }
        match ask {
            Ask::Changes { query, .. } => {
                subscription.answered_changes(self.changes(shard, query, limit));
            }
            Ask::Page { scan, .. } => {
                subscription.answered_page(self.page(shard, &scan, limit), self.applied);
            }
        }
        true
    }

    fn changes(&self, shard: &Shard, query: ChangesQuery, limit: usize) -> Changes {
        let first = shard.first(self.applied);
        let after = match query.since {
            Since::After(after) => after,
            Since::Last => self.applied,
            Since::Time(time) => {
                let kept = shard.between(Sequence(first.0 - 1), self.applied);
                let before = kept.iter().take_while(|change| change.time < time).count() as u64;
                Sequence((first.0 - 1 + before).saturating_sub(u64::from(before == 0)))
            }
        };
        let page = if after.0 < first.0 - 1 { &[] } else { shard.between(after, self.applied) };
        let changes = page.iter().take(query.limit().min(limit)).cloned().collect();
        Changes { lineage: LINEAGE, first, after, changes }
    }

    fn page(&self, shard: &Shard, scan: &Scan, limit: usize) -> Page {
        let scan = Scan { limit: scan.limit.min(limit), ..scan.clone() };
        scan.page(shard.state(self.applied).iter().filter(|(id, _)| scan.wants(id)))
    }
}

/// A subscriber, and what it has made of what it heard.
struct World {
    rng: Rng,
    shard: Shard,
    replicas: [Replica; 2],
    at: usize,
    options: Options,
    subscription: Subscription,
    ask: Option<Ask>,
    granted: u64,
    rows: BTreeMap<ActorId, Record>,
    token: Option<ResumeToken>,
    /// What a change tells of before is what the consumer holds.
    is_chained: bool,
    heard: u64,
    restarts: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Seed(seed).rng();
        let mut shard = Shard::new();
        (0..rng.below(40)).for_each(|_| write(&mut shard, &mut rng));
        let mut replica = || Replica::new(Sequence(rng.below(shard.last().0 + 1)));
        let replicas = [replica(), replica()];
        let start = match rng.below(8) {
            0 => Start::Now,
            1 => Start::Time(Timestamp(rng.below(15))),
            2 => Start::After(Sequence(rng.below(shard.last().0 + 1))),
            _ => Start::Beginning,
        };
        let policy = [Policy::Pause, Policy::Disconnect, Policy::Conflate][rng.below(3) as usize];
        let options = Options { start, filter: random_filter(&mut rng), policy };
        let subscription = Subscription::new(options.clone());
        World {
            rng,
            shard,
            replicas,
            at: 0,
            options,
            subscription,
            ask: None,
            granted: 0,
            rows: BTreeMap::new(),
            token: None,
            is_chained: true,
            heard: 0,
            restarts: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..120 {
            let last = self.shard.last();
            let replica = self.rng.below(2) as usize;
            match self.rng.below(100) {
                0..25 => {
                    let count = self.rng.between(1, 4);
                    (0..count).for_each(|_| write(&mut self.shard, &mut self.rng));
                }
                25..40 => {
                    let upto = Sequence(self.rng.between(self.replicas[replica].applied.0, last.0));
                    self.replicas[replica].apply(&self.shard, upto);
                }
                40..42 => {
                    let upto = Sequence(self.rng.between(self.replicas[replica].applied.0, last.0));
                    self.replicas[replica].jump(upto);
                }
                42..44 => {
                    let upto = Sequence(self.rng.below(last.0 + 1));
                    let compacted = self.shard.compacted.entry(last).or_default();
                    *compacted = upto.max(*compacted);
                }
                44..54 => self.grant(),
                54..57 => self.restart(),
                57..59 => self.change_filter(),
                59..63 => {
                    let mark = self.subscription.progress();
                    mark.into_iter().for_each(|mark| self.hear(mark));
                }
                63..75 => self.answer(),
                _ => drop(self.step()),
            }
            self.check_bounds();
        }
        self.settle();
    }

    fn grant(&mut self) {
        let credit = [1, 1, 2, 3, 5, 40][self.rng.below(6) as usize];
        self.granted += credit;
        self.subscription.grant(credit);
    }

    fn step(&mut self) -> bool {
        match self.subscription.step(&self.replicas[self.at].tail) {
            Step::Idle => return false,
            Step::Ask(ask) => {
                assert!(self.ask.as_ref().is_none_or(|asked| *asked == ask), "another question");
                self.ask = Some(ask);
            }
            Step::Deliver(deliveries) => {
                assert!(!deliveries.is_empty() && deliveries.len() <= limits::DELIVERIES_MAX);
                for delivery in deliveries {
                    self.granted = self.granted.checked_sub(1).expect("one more than granted");
                    self.hear(delivery);
                    if self.rng.below(40) == 0 {
                        self.restart();
                        break;
                    }
                }
            }
            Step::End(End::Compacted { first, asked }) => {
                let shard = &self.shard;
                assert!(asked < first && first <= shard.first(self.replicas[self.at].applied));
                self.options.start = Start::Beginning;
                self.token = None;
                self.restart();
            }
            Step::End(end) => panic!("{end}"),
        }
        true
    }

    fn answer(&mut self) {
        let Some(ask) = self.ask.clone() else { return };
        let (limit, replica) = (self.rng.between(1, 12), &mut self.replicas[self.at]);
        if replica.answer(&self.shard, ask, limit as usize, &mut self.subscription) {
            self.ask = None;
            self.open();
        }
    }

    /// Once it is known where it begins, the consumer has the state there, unless it will be told.
    fn open(&mut self) {
        let token = self.subscription.token();
        if self.token.is_none() && self.subscription.is_open {
            let at = token.as_ref().unwrap();
            let told =
                if at.scanned.is_none() { self.shard.state(at.sequence) } else { &Rows::new() };
            self.rows = told.iter().map(|(id, record)| (id.clone(), record.clone())).collect();
            self.rows.retain(|id, _| self.options.filter.wants_id(id));
            self.token = token;
        }
    }

    /// The consumer's process, or the node, dies; it goes on from its last token, perhaps elsewhere.
    fn restart(&mut self) {
        self.restarts += 1;
        self.at = self.rng.below(2) as usize;
        if self.rng.below(3) == 0 {
            self.replicas[self.at] = Replica::new(self.replicas[self.at].applied);
        }
        let start = self.token.clone().map_or(self.options.start.clone(), Start::Resume);
        let filter = self.options.filter.clone();
        self.subscription = Subscription::new(Options { start, filter, ..self.options });
        (self.ask, self.granted) = (None, 0);
        self.is_chained &= self.options.policy != Policy::Conflate;
    }

    /// The consumer gets the rows that it comes to want from elsewhere, as they are at its token.
    fn change_filter(&mut self) {
        if self.token.is_none() {
            return;
        }
        let (old, new) = (self.options.filter.clone(), random_filter(&mut self.rng));
        self.subscription.set_filter(new.clone());
        let token = self.subscription.token().unwrap();
        if self.options.policy == Policy::Conflate {
            self.is_chained = false;
        }
        self.rows.retain(|id, _| new.wants_id(id));
        for (id, record) in self.shard.state(token.sequence) {
            if !old.wants_id(id) && new.wants_id(id) && is_told(&token, id) {
                self.rows.insert(id.clone(), record.clone());
            }
        }
        self.options.filter = new;
        self.token = Some(token);
    }

    fn hear(&mut self, Delivery { token, item }: Delivery) {
        self.heard += 1;
        let before = self.token.clone().expect("it is open");
        match item {
            Item::Change { change, conflated } => {
                assert!(self.options.filter.wants(&change), "{change:?}");
                assert!(conflated == 0 || self.options.policy == Policy::Conflate);
                assert!(change.sequence > before.sequence, "told twice: {change:?} at {before}");
                assert_eq!(change.sequence, token.sequence);
                assert_eq!(change.after.as_ref(), self.shard.state(token.sequence).get(&change.id));
                if self.is_chained {
                    assert_eq!(change.before.as_ref(), self.rows.get(&change.id), "a gap");
                }
                match &change.after {
                    Some(record) => drop(self.rows.insert(change.id.clone(), record.clone())),
                    None => drop(self.rows.remove(&change.id)),
                }
            }
            Item::Snapshot { id, record } => {
                assert_eq!(token.scanned, Some(Scanned::UpTo(id.clone())));
                assert!(!is_told(&before, &id), "{id} is told twice");
                self.rows.insert(id, record);
            }
            Item::SnapshotEnd { sequence } => {
                assert!(before.scanned.is_some());
                assert_eq!((sequence, &token.scanned), (token.sequence, &None));
            }
            Item::Progress => assert!(token.sequence >= before.sequence, "back to {token}"),
        }
        self.token = Some(token);
        self.compare();
    }

    /// What the consumer holds is what the shard held at the token, of the actors that were told.
    fn compare(&self) {
        let token = self.token.as_ref().unwrap();
        let (filter, state) = (&self.options.filter, self.shard.state(token.sequence));
        let is_conflated = self.options.policy == Policy::Conflate && token.scanned.is_none();
        for id in IDS.map(|id| ActorId::new(id).unwrap()) {
            let is_held = filter.wants_id(&id) && is_told(token, &id);
            let wanted = state.get(&id).filter(|_| is_held);
            let later = self.shard.between(token.sequence, self.shard.last());
            let is_superseded = is_conflated && later.iter().any(|change| change.id == id);
            assert!(self.rows.get(&id) == wanted || is_superseded, "{id} at {token}");
        }
    }

    fn check_bounds(&self) {
        let Subscription { portion, waiting, history, .. } = &self.subscription;
        assert!(portion.as_ref().is_none_or(|portion| portion.len() <= 128));
        assert!(waiting.len() <= IDS.len() && (waiting.is_empty() == (waiting.bytes() == 0)));
        assert!(history.last().0 == 0 || history.last() >= self.subscription.at);
    }

    /// With credit, and replicas that have it all, the consumer comes to hold what the shard holds.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.replicas.iter_mut().for_each(|one| one.apply(&self.shard, self.shard.last()));
            self.granted += 1;
            self.subscription.grant(1);
            let is_busy = self.step();
            self.answer();
            if !is_busy && self.ask.is_none() {
                let mark = self.subscription.progress();
                mark.into_iter().for_each(|mark| self.hear(mark));
                let token = self.token.as_ref().unwrap();
                assert_eq!((token.sequence, &token.scanned), (self.shard.last(), &None));
                self.options.policy = Policy::Pause;
                return self.compare();
            }
        }
        panic!("it does not come to an end: {:?}", self.subscription);
    }
}

fn is_told(token: &ResumeToken, id: &ActorId) -> bool {
    match &token.scanned {
        None => true,
        Some(Scanned::Nothing) => false,
        Some(Scanned::UpTo(last)) => id <= last,
    }
}

fn write(shard: &mut Shard, rng: &mut Rng) {
    let id = IDS[rng.below(8) as usize];
    if rng.below(3) > 0 { shard.put(id) } else { shard.delete(id) }
}

fn random_filter(rng: &mut Rng) -> Filter {
    let prefixes: &[&str] =
        [&[][..], &[], &["a"], &["a/"], &["b", "ca"], &["a", "d"], &["x"]][rng.below(7) as usize];
    Filter::new(prefixes.iter().map(|prefix| (*prefix).to_owned()), []).unwrap()
}

/// S0-079, S0-080, S0-085, S0-087, X-17, X-18: no gap, no duplicate, whatever happens.
#[test]
fn whatever_happens_the_consumer_equals_the_model() {
    let (mut heard, mut restarts) = (0, 0);
    for seed in 0..3_000 {
        let mut world = World::new(seed);
        let run = std::panic::AssertUnwindSafe(|| world.run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}, {:?}", world.options);
            std::panic::resume_unwind(panic);
        }
        (heard, restarts) = (heard + world.heard, restarts + world.restarts);
    }
    assert!(heard > 50_000 && restarts > 10_000, "{heard} items, {restarts} restarts");
}
