//! A subscriber: hears of changes at one node and another, grants credit or none, crashes and goes on
//! from what it had written down, changes its mind.
//!
//! The node's half is [`Subscription`], the very code that a node runs, beside the node's tail; what it
//! asks its replica goes the way of any request. The consumer's half is a model that is held against
//! what the replicas told: [`Hearing`].

use std::rc::Rc;
use std::time::Duration;

use understudy_core::query::Page;
use understudy_core::{
    Answer, Ask, Change, ChangeKind, Delivery, End, Filter, GroupId, Item, NodeId, Options, Policy,
    Request, ResumeToken, Rng, Seed, Sequence, Start, Step, Storage, Subscription, Timestamp,
};

use crate::checks::subscribers_hear_all::Hearing;
use crate::checks::{Violation, subscribers_hear_all};
use crate::clock::EPOCH_MS;
use crate::marks::Mark;
use crate::plan::{MILLI, Plan};
use crate::stage::Stage;
use crate::world::{Asker, Heard};

/// One subscriber.
pub struct Subscriber {
    id: u64,
    stage: Rc<Stage>,
    plan: Plan,
    rng: Rng,
    namespace: usize,
    group: GroupId,
    /// What it wants, while it has heard nothing.
    wish: Wish,
    /// Where it is subscribed, in which life of that node, and the node's half.
    node: NodeId,
    life: u64,
    subscription: Subscription,
    /// Its own half, once it has begun.
    hearing: Option<Hearing>,
    /// What it finds after a crash.
    written_down: Option<Hearing>,
    /// What was answered to writers before it subscribed.
    acked: Sequence,
    /// It grants nothing before this.
    stalls_until: u64,
}

/// How a subscription begins.
#[derive(Clone)]
struct Wish {
    start: Start,
    filter: Filter,
    policy: Policy,
    /// A snapshot, or all from the first change on, of every kind.
    whole: bool,
}

impl Subscriber {
    /// One that is not subscribed yet.
    pub fn new(id: u64, stage: &Rc<Stage>, plan: &Plan, seed: Seed) -> Subscriber {
        let mut rng = seed.child(&format!("subscriber/{id}")).rng();
        let namespace = usize::try_from(id % plan.namespaces).unwrap_or(0);
        let group = GroupId(u32::try_from(namespace + 1).unwrap_or(1));
        let wish = Wish::draw(&mut rng);
        let subscription = Subscription::new(wish.options());
        let node = NodeId(rng.between(1, plan.nodes));
        let (stage, plan) = (Rc::clone(stage), plan.clone());
        let (hearing, written_down, acked, stalls_until, life) = Default::default();
        Subscriber {
            id,
            stage,
            plan,
            rng,
            namespace,
            group,
            wish,
            node,
            life,
            subscription,
            hearing,
            written_down,
            acked,
            stalls_until,
        }
    }

    /// Subscribes, and hears until the world ends.
    pub async fn work(mut self) {
        let later = self.rng.below(1_500) * MILLI;
        self.stage.sleep(later).await;
        self.connect();
        loop {
            if self.stage.world().is_over() {
                return;
            }
            self.grant();
            let pause = match self.step() {
                Some(Step::Deliver(deliveries)) => {
                    self.hear(deliveries);
                    0
                }
                Some(Step::Ask(ask)) => {
                    self.ask(ask).await;
                    0
                }
                Some(Step::End(end)) => {
                    self.ended(&end);
                    20 * MILLI
                }
                Some(Step::Idle) => {
                    self.idle();
                    5 * MILLI
                }
                // The connection broke.
                None => {
                    self.connect();
                    20 * MILLI
                }
            };
            self.trouble();
            if pause > 0 {
                let pause = self.rng.between(1, pause);
                self.stage.sleep(pause).await;
            }
        }
    }

    fn now(&self) -> u64 {
        self.stage.world().now()
    }

    /// Subscribes at some node, from where it is.
    fn connect(&mut self) {
        let before =
            std::mem::replace(&mut self.node, NodeId(self.rng.between(1, self.plan.nodes)));
        if self.hearing.is_some() && before != self.node {
            self.stage.world().marks.met(Mark::SubscriberMoved);
        }
        self.life = self.stage.world().life_of(self.node);
        let options = match &self.hearing {
            Some(hearing) => Options {
                start: Start::Resume(hearing.token().clone()),
                filter: hearing.filter.clone(),
                policy: self.wish.policy,
            },
            None => self.wish.options(),
        };
        if self.hearing.is_none() {
            self.acked = self.stage.oracle().highest_acked(self.namespace);
        }
        self.subscription = Subscription::new(options);
        self.stage.world().subscribers.insert(self.id, (self.group, None));
    }

    /// Some credit, more or less; none while it stalls.
    fn grant(&mut self) {
        let is_calm = self.stage.world().is_calm();
        if is_calm || self.now() >= self.stalls_until {
            let credit = self.rng.below(4);
            self.subscription.grant(credit);
        }
        if !is_calm && self.rng.ppm(10_000) {
            self.stalls_until = self.now() + self.rng.between(10, 900) * MILLI;
        }
    }

    /// `None` when the node has died since.
    fn step(&mut self) -> Option<Step> {
        let mut world = self.stage.world();
        let is_there = world.life_of(self.node) == self.life && world.is_up(self.node);
        is_there.then(|| self.subscription.step(world.tail(self.node, self.group)))
    }

    async fn ask(&mut self, ask: Ask) {
        let namespace = self.stage.world().cluster.namespaces[self.namespace].clone();
        let body = match ask {
            Ask::Changes { query, level } => Request::Changes { namespace, query, level },
            Ask::Page { scan, level } => {
                let (prefix, after, limit) = (scan.prefix, scan.after, scan.limit);
                Request::Scan { namespace, prefix, after, limit, level }
            }
        };
        let asker = Asker { client: self.id, op: 0 };
        let timeout = Duration::from_millis(self.rng.between(50, 500));
        let heard = self.stage.ask(asker, self.node, timeout, body).await;
        match heard {
            Heard::Response(Ok(Answer::Changes { changes, .. })) => {
                if changes.is_compacted() {
                    self.check_compacted(changes.after);
                }
                let mut world = self.stage.world();
                world.marks.met(Mark::HistoryRead);
                let (node, group) = (self.node, self.group);
                if let Err(violation) = world.changes.shown(node, group, &changes.changes) {
                    return world.fail(violation);
                }
                drop(world);
                self.subscription.answered_changes(changes);
            }
            Heard::Response(Ok(Answer::Scan { records, more, sequence, .. })) => {
                let page = Page { records, more };
                self.subscription.answered_page(page, sequence);
            }
            Heard::Response(_) | Heard::NotConnected | Heard::Reset | Heard::Silence => {
                let pause = self.rng.below(20) * MILLI;
                self.stage.sleep(pause).await;
            }
        }
        self.begin();
    }

    /// The subscription knows where it begins: so does the consumer.
    fn begin(&mut self) {
        if self.hearing.is_some() || !self.subscription.is_open() {
            return;
        }
        let Some(token) = self.subscription.token() else { return };
        let Wish { filter, policy, whole, start } = self.wish.clone();
        if let Err(violation) = self.begins_right(&start, &token) {
            self.stage.world().fail(violation);
        }
        self.hearing = Some(Hearing::begin(filter, policy, token, whole));
        self.written_down = self.hearing.clone();
    }

    /// `now` is behind everything that was answered before; a time is between two changes.
    fn begins_right(&self, start: &Start, token: &ResumeToken) -> Result<(), Violation> {
        let at = token.sequence;
        let world = self.stage.world();
        let time = |at: u64| {
            let told = world.changes.of(self.group)?;
            told.get(Sequence(at)).map(|change| change.time)
        };
        let is_right = match start {
            Start::Now => self.acked <= at,
            Start::Time(from) => {
                let is_end = self.acked <= at;
                let first = time(at.0 + 1).is_none_or(|first| first >= *from);
                time(at.0).is_none_or(|before| before < *from) && (first || is_end)
            }
            Start::Beginning | Start::After(_) | Start::Resume(_) => true,
        };
        subscribers_hear_all::begins(is_right, &format!("{start:?}"), token)
    }

    fn hear(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let Some(hearing) = &mut self.hearing else { return };
            let mut world = self.stage.world();
            let verdict = match world.changes.of(self.group) {
                Some(told) => hearing.hear(told, &delivery),
                None => Ok(()),
            };
            world.totals.heard += 1;
            let mark = match &delivery.item {
                Item::SnapshotEnd { .. } => Some(Mark::SnapshotHeard),
                Item::Change { conflated: 1.., .. } => Some(Mark::ChangesConflated),
                Item::Change { .. } if delivery.token.scanned.is_some() => {
                    Some(Mark::ChangedWhileScanned)
                }
                _ => None,
            };
            mark.into_iter().for_each(|mark| world.marks.met(mark));
            if let Err(violation) = verdict {
                return world.fail(violation);
            }
            drop(world);
            if self.rng.ppm(300_000) {
                self.written_down = self.hearing.clone();
            }
        }
    }

    fn idle(&mut self) {
        let token = self.subscription.token().filter(|_| self.hearing.is_some());
        let mut world = self.stage.world();
        if let (Some(at), Some(hearing)) = (&token, &self.hearing)
            && let Some(told) = world.changes.of(self.group)
            && at.scanned.is_none()
            && at.sequence == told.last()
            && let Some(rows) = told.rows_at(at.sequence)
            && let Err(violation) = hearing.is_state(&rows, at.sequence)
        {
            return world.fail(violation);
        }
        world.subscribers.insert(self.id, (self.group, token));
        drop(world);
        if self.rng.ppm(100_000)
            && let Some(mark) = self.subscription.progress()
        {
            self.begin();
            self.hear(vec![mark]);
        }
    }

    fn ended(&mut self, end: &End) {
        let is_ours = match end {
            End::Compacted { .. } => {
                self.stage.world().marks.met(Mark::SubscriberCompacted);
                true
            }
            End::Lagged { .. } => self.wish.policy == Policy::Disconnect,
            // There is one history in a run.
            End::OtherLineage { .. } => false,
        };
        let verdict = subscribers_hear_all::ends(is_ours, end);
        if let Err(violation) = verdict {
            return self.stage.world().fail(violation);
        }
        if matches!(end, End::Compacted { .. }) {
            // What a consumer does then: begin with a snapshot.
            self.wish = Wish { start: Start::Beginning, ..self.wish.clone() };
            self.wish.whole = self.wish.is_of_every_kind();
            (self.hearing, self.written_down) = (None, None);
        }
        self.connect();
    }

    /// Changes go by size or by age; where age cannot be, size must be the reason.
    fn check_compacted(&self, after: Sequence) {
        let retention = &self.plan.retention;
        let storage = self.plan.storage.get(self.namespace).copied().unwrap_or_default();
        if retention.age < Duration::from_secs(3_600) || storage != Storage::Memory {
            return;
        }
        let mut world = self.stage.world();
        let Some(told) = world.changes.of(self.group) else { return };
        let bytes: usize = told.behind(after).map(Change::bytes).sum();
        // A little more than had to go was let go.
        let least = retention.memory_bytes - retention.memory_bytes / 8;
        let verdict = subscribers_hear_all::compacts(bytes as u64, least, after);
        if let Err(violation) = verdict {
            world.fail(violation);
        }
    }

    /// The consumer crashes, goes to another node, or wants something else.
    fn trouble(&mut self) {
        if self.stage.world().is_calm() {
            return;
        }
        if self.rng.ppm(10_000) {
            self.hearing = self.written_down.clone();
            self.connect();
        } else if self.rng.ppm(10_000) {
            self.connect();
        } else if self.rng.ppm(3_000) {
            let filter = Wish::filter(&mut self.rng);
            // It holds from where the subscription is, which may be further than the consumer knows.
            if let Some(mark) = self.subscription.progress() {
                self.hear(vec![mark]);
            }
            self.subscription.set_filter(filter.clone());
            self.wish.filter = filter.clone();
            self.wish.whole = false;
            if let Some(hearing) = &mut self.hearing {
                hearing.refilter(filter);
                self.written_down = self.hearing.clone();
            }
        }
    }
}

impl Wish {
    fn draw(rng: &mut Rng) -> Wish {
        let start = match rng.below(6) {
            0 => Start::Now,
            1 => Start::Time(Timestamp(EPOCH_MS + rng.below(5_000))),
            2 => Start::After(Sequence(0)),
            _ => Start::Beginning,
        };
        let policy = match rng.below(4) {
            0 => Policy::Conflate,
            1 => Policy::Disconnect,
            _ => Policy::Pause,
        };
        let filter = Wish::filter(rng);
        let mut wish = Wish { start, filter, policy, whole: false };
        let from_the_first = matches!(wish.start, Start::Beginning | Start::After(_));
        wish.whole = from_the_first && wish.is_of_every_kind();
        wish
    }

    fn is_of_every_kind(&self) -> bool {
        self.filter.kinds().is_empty()
    }

    fn filter(rng: &mut Rng) -> Filter {
        let (prefixes, kinds): (&[&str], &[ChangeKind]) = match rng.below(6) {
            0 => (&["a1"], &[]),
            1 => (&["a0", "a2", "b"], &[]),
            2 => (&[], &[ChangeKind::Update, ChangeKind::Delete]),
            3 => (&["a"], &[ChangeKind::Create, ChangeKind::Expire]),
            _ => (&[], &[]),
        };
        let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned());
        Filter::new(prefixes, kinds.iter().copied()).expect("filters_are_legal")
    }

    fn options(&self) -> Options {
        let Wish { start, filter, policy, .. } = self.clone();
        Options { start, filter, policy }
    }
}
