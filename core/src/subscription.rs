//! One subscriber's way through the changes of a shard: where it begins, what it hears, and when it
//! has to wait. Pure: the driver feeds the [`Tail`], puts the questions to its own replica and sends
//! what is delivered.
//!
//! Where a subscription is, is its [`ResumeToken`] and nothing else, so one that goes on from a token
//! does, on any replica, what the one that gave the token would have done. What it holds beside that
//! is bounded, whatever the consumer does: a page of the store, and what waits.
//!
//! Live, it reads the tail, or the store where the tail does not reach back that far; it changes from
//! one to the other, both ways, between any two changes.

mod conflate;
#[cfg(test)]
mod model;
mod snapshot;
mod step;
#[cfg(test)]
mod stored;
#[cfg(test)]
pub(crate) mod tests;

use self::conflate::Waiting;
use self::snapshot::Portion;
use self::step::Batch;
pub use self::step::{Ask, Delivery, End, Item, Step};
use crate::change::{Change, Changes, ChangesQuery, Lineage, ResumeToken, Scanned, Since};
use crate::filter::Filter;
use crate::input::ReadLevel;
use crate::limits;
use crate::query::Page;
use crate::tail::Tail;
use crate::types::{Sequence, Timestamp};

/// Where a subscription begins (S0-078).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next change.
    Now,
    /// With a snapshot of all actors, then the changes since (S0-079, X-18).
    Beginning,
    /// With the first change at or after this committed time; with the next one if none is.
    Time(Timestamp),
    /// Where another subscription was (S0-080).
    Resume(ResumeToken),
    /// Behind this change, in whatever history the shard has: a token says which one is meant.
    After(Sequence),
}

/// What happens when changes come faster than the subscriber grants credit (S0-084, X-17). Writes
/// never wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It reads them later, as long as they are retained.
    #[default]
    Pause,
    /// Once it has been level with the shard, it is ended when more than
    /// [`limits::SUBSCRIBER_CHANGES_MAX`] changes that it wants wait for credit.
    Disconnect,
    /// It hears the latest of each actor.
    Conflate,
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where it begins.
    pub start: Start,
    /// What it wants to hear of.
    pub filter: Filter,
    /// What happens when it is slow.
    pub policy: Policy,
}

/// One subscription. See the module.
#[derive(Clone, Debug)]
pub struct Subscription {
    start: Start,
    filter: Filter,
    policy: Policy,
    credit: u64,
    /// The shard has said where the subscription begins.
    is_open: bool,
    /// The replica that was asked did not know its history yet.
    is_blank: bool,
    /// The token's parts. The lineage is known from the opening on, or from the token that was given.
    lineage: Option<Lineage>,
    at: Sequence,
    scanned: Option<Scanned>,
    /// The token that the subscriber has.
    told: Option<ResumeToken>,
    /// The question that is under way.
    asked: Option<Ask>,
    /// A page of changes that the tail does not have.
    history: Tail,
    /// A page of the snapshot.
    portion: Option<Portion>,
    /// It was level with the tail once.
    is_level: bool,
    /// How far was read without credit.
    ahead: Sequence,
    /// Wanted changes behind `at`, up to `ahead`; kept by [`Policy::Disconnect`].
    lag: usize,
    /// Those that are yet to be told; kept by [`Policy::Conflate`].
    waiting: Waiting,
    ended: Option<End>,
}

impl Subscription {
    /// A subscription that has no credit yet.
    pub fn new(options: Options) -> Subscription {
        let Options { start, filter, policy } = options;
        let told = match &start {
            Start::Resume(token) => Some(token.clone()),
            Start::Now | Start::Beginning | Start::Time(_) | Start::After(_) => None,
        };
        let (at, scanned) = match &start {
            Start::Resume(token) if planted!(ResumeTellsTwice) => {
                (Sequence(token.sequence.0.saturating_sub(1)), token.scanned.clone())
            }
            Start::Resume(token) => (token.sequence, token.scanned.clone()),
            Start::After(sequence) => (*sequence, None),
            Start::Beginning => (Sequence(0), Some(Scanned::Nothing)),
            Start::Now | Start::Time(_) => (Sequence(0), None),
        };
        Subscription {
            is_level: start == Start::Now,
            start,
            filter,
            policy,
            credit: 0,
            is_open: false,
            is_blank: false,
            lineage: told.as_ref().map(|token| token.lineage),
            at,
            scanned,
            told,
            asked: None,
            history: Tail::default(),
            portion: None,
            ahead: at,
            lag: 0,
            waiting: Waiting::default(),
            ended: None,
        }
    }

    /// Goes on as far as it can; `tail` is that of the subscription's shard.
    pub fn step(&mut self, tail: &Tail) -> Step {
        let mut batch = Batch::default();
        if self.ended.is_none() {
            self.tell_waiting(&mut batch);
            if self.asked.is_none() {
                self.go_on(tail, &mut batch);
            }
        }
        if self.history.last() <= self.at {
            self.history = Tail::default();
        }
        if !batch.deliveries.is_empty() {
            return Step::Deliver(batch.deliveries);
        }
        match (&self.ended, &self.asked) {
            (Some(end), _) => Step::End(end.clone()),
            (None, Some(ask)) => Step::Ask(ask.clone()),
            (None, None) => Step::Idle,
        }
    }

    /// Takes the answer to [`Ask::Changes`].
    pub fn answered_changes(&mut self, changes: Changes) {
        if !matches!(self.asked, Some(Ask::Changes { .. })) {
            return;
        }
        self.asked = None;
        if changes.lineage == Lineage::default() {
            self.is_blank = true;
            return;
        }
        let asked = *self.lineage.get_or_insert(changes.lineage);
        if asked != changes.lineage {
            self.ended = Some(End::OtherLineage { asked, found: changes.lineage });
            return;
        }
        if changes.is_compacted() && planted!(CompactionUnnoticed) {
            self.at = Sequence(changes.first.0 - 1);
            self.is_open = true;
            return;
        }
        if changes.is_compacted() {
            let asked = Sequence(changes.after.0.saturating_add(1));
            self.ended = Some(End::Compacted { first: changes.first, asked });
            return;
        }
        if !self.is_open {
            self.is_open = true;
            self.at = changes.after;
        }
        self.history = Tail::default();
        self.history.push(changes.after, changes.changes);
    }

    /// Takes the answer to [`Ask::Page`]; `sequence` is the last change in it.
    pub fn answered_page(&mut self, page: Page, sequence: Sequence) {
        let Some(Ask::Page { scan, .. }) = &self.asked else { return };
        let prefix = scan.prefix.clone();
        self.asked = None;
        // A filter that came in the meantime may want what was not asked for.
        let is_whole = self.filter.prefix().starts_with(&prefix);
        if is_whole && sequence >= self.at {
            self.begin_portion(Portion::new(prefix, page, sequence));
        }
    }

    /// Allows `credit` more items.
    pub fn grant(&mut self, credit: u64) {
        self.credit = self.credit.saturating_add(credit);
    }

    /// Takes back all credit that was not used: the way to the subscriber is full.
    pub fn withdraw(&mut self) {
        self.credit = 0;
    }

    /// Wants something else from the next change on: what was read without credit is read again. A
    /// snapshot does not go back: of actors that it has passed, only changes are told.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = filter;
        self.drop_unfit_portion();
        self.waiting = Waiting::default();
        (self.ahead, self.lag) = (self.at, 0);
    }

    /// A mark of where the subscription is, if that is further than the subscriber knows; the driver
    /// asks for it from time to time.
    pub fn progress(&mut self) -> Option<Delivery> {
        let token = self.token().filter(|_| self.is_open)?;
        if self.told.as_ref() == Some(&token) {
            return None;
        }
        self.told = Some(token.clone());
        Some(Delivery { token, item: Item::Progress })
    }

    /// Where it is: what a subscriber that has dealt with everything goes on from. `None` until it is
    /// known where it begins.
    pub fn token(&self) -> Option<ResumeToken> {
        let (scanned, sequence) = (self.scanned.clone(), self.at);
        #[cfg(sim_mutant)]
        let sequence = self.too_far(sequence);
        self.lineage.map(|lineage| ResumeToken { lineage, sequence, scanned })
    }

    /// `snapshot_token_too_far`.
    #[cfg(sim_mutant)]
    fn too_far(&self, at: Sequence) -> Sequence {
        let page = self.portion.as_ref().filter(|_| planted!(SnapshotTokenTooFar));
        page.map_or(at, Portion::sequence)
    }

    /// Whether it is known where it begins.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    fn go_on(&mut self, tail: &Tail, batch: &mut Batch) {
        if !self.is_open {
            self.asked = Some(self.opening());
        } else if self.scanned.is_some() {
            self.scan(tail, batch);
        } else {
            self.live(tail, batch);
        }
    }

    /// Asks where the subscription begins, and in which history.
    fn opening(&self) -> Ask {
        let (since, is_fresh) = match (&self.start, &self.scanned) {
            // Nothing was told: what was missed is of no interest.
            (Start::Now | Start::Beginning, _) | (Start::Resume(_), Some(Scanned::Nothing)) => {
                (Since::Last, true)
            }
            (Start::Time(time), _) => (Since::Time(*time), true),
            (Start::Resume(_) | Start::After(_), _) => (Since::After(self.at), self.is_blank),
        };
        let limit = if since == Since::Last { 0 } else { limits::DELIVERIES_MAX };
        // A place needs no fresh state: what lies behind it comes in its time, and a token of another
        // history must not be waited for.
        let any = ReadLevel::Session { min: Sequence(0) };
        let level = if is_fresh { ReadLevel::Linearizable } else { any };
        Ask::Changes { query: ChangesQuery { since, limit }, level }
    }

    fn live(&mut self, tail: &Tail, batch: &mut Batch) {
        let upto = tail.last().max(self.history.last());
        while self.waiting.is_empty() && self.may_tell(batch) {
            match read([tail, &self.history], &mut self.at, upto, |one| self.filter.wants(one)) {
                Read::Wanted(change) => {
                    if self.at <= self.ahead {
                        self.lag = self.lag.saturating_sub(1);
                    }
                    self.tell(batch, Item::Change { change, conflated: 0 });
                }
                Read::Elsewhere => return self.ask_behind(self.at, Sequence(self.at.0 + 1)),
                Read::Nothing => break,
            }
        }
        self.is_level |= self.at >= upto;
        if self.credit == 0 {
            self.read_ahead(tail, upto);
        }
    }

    /// What the policy does with changes that there is no credit for.
    fn read_ahead(&mut self, tail: &Tail, upto: Sequence) {
        if self.ahead < self.at {
            (self.ahead, self.lag) = (self.at, 0);
        }
        while self.reads_ahead() {
            match read([tail, &self.history], &mut self.ahead, upto, |one| self.filter.wants(one)) {
                Read::Wanted(change) if self.policy == Policy::Conflate => {
                    self.waiting.push(change);
                }
                Read::Wanted(_) => {
                    self.lag += 1;
                    if self.lag > limits::SUBSCRIBER_CHANGES_MAX {
                        self.ended = self.token().map(|token| End::Lagged { token });
                    }
                }
                Read::Elsewhere => {
                    self.ask_behind(self.ahead, Sequence(self.ahead.0 + 1));
                    break;
                }
                Read::Nothing => break,
            }
        }
        if self.policy == Policy::Conflate {
            self.settle();
        }
    }

    fn reads_ahead(&self) -> bool {
        match self.policy {
            Policy::Pause => false,
            Policy::Disconnect => self.is_level && self.ended.is_none(),
            Policy::Conflate => !self.waiting.is_full(),
        }
    }

    fn tell_waiting(&mut self, batch: &mut Batch) {
        while self.may_tell(batch)
            && let Some((change, conflated)) = self.waiting.pop()
        {
            self.at = change.sequence;
            self.tell(batch, Item::Change { change, conflated });
            self.settle();
        }
    }

    /// Whatever was read ahead of the first change that waits was told, or is not wanted, or comes
    /// with a later change of its actor.
    fn settle(&mut self) {
        let settled = self.waiting.first().map_or(self.ahead, |first| Sequence(first.0 - 1));
        let settled = if planted!(ConflateTokenTooFar) { self.ahead } else { settled };
        self.at = self.at.max(settled);
    }

    fn ask_behind(&mut self, after: Sequence, min: Sequence) {
        let query = ChangesQuery { since: Since::After(after), limit: limits::DELIVERIES_MAX };
        self.asked = Some(Ask::Changes { query, level: ReadLevel::Session { min } });
    }

    fn may_tell(&self, batch: &Batch) -> bool {
        self.credit > 0 && !batch.is_full()
    }

    fn tell(&mut self, batch: &mut Batch, item: Item) {
        let Some(token) = self.token() else { return };
        self.credit -= 1;
        self.told = Some(token.clone());
        batch.push(Delivery { token, item });
    }
}

/// What was found behind a place.
enum Read {
    /// The next change that is wanted.
    Wanted(Change),
    /// There is none up to where it was looked for.
    Nothing,
    /// Only the store knows.
    Elsewhere,
}

/// Moves `at` to the next change that is `wanted`, `upto` at most.
fn read(
    sources: [&Tail; 2],
    at: &mut Sequence,
    upto: Sequence,
    wanted: impl Fn(&Change) -> bool,
) -> Read {
    while *at < upto {
        let next = Sequence(at.0 + 1);
        let Some(change) = sources.into_iter().find_map(|source| source.get(next)) else {
            return Read::Elsewhere;
        };
        *at = next;
        if wanted(change) {
            return Read::Wanted(change.clone());
        }
    }
    Read::Nothing
}
