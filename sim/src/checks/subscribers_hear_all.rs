//! A subscriber hears what its filter wants and nothing else, in order, without gap and without
//! repetition; a snapshot comes to the state that it names; and what it holds then goes on being the
//! state at every change (S0-078…S0-085, X-14…X-18). An independent model of each consumer is held
//! against what the replicas told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use understudy_core::{
    ActorId, Change, Delivery, End, Filter, Item, Lineage, Policy, Record, ResumeToken, Scanned,
    Sequence,
};

use super::Violation;
use super::changes_are_final::Told;

/// What a consumer has heard, and what it holds: also what it writes down, to go on from after a crash.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// What it wants.
    pub filter: Filter,
    policy: Policy,
    token: ResumeToken,
    rows: BTreeMap<ActorId, Record>,
    /// Its rows are those of the wanted actors, up to where the snapshot has come.
    whole: bool,
    /// What it wants is the same since here.
    since: Sequence,
    /// The last change of each actor that it heard.
    last: BTreeMap<ActorId, Sequence>,
    /// Items heard.
    pub heard: u64,
}

fn violation<T>(why: String) -> Result<T, Violation> {
    Err(Violation::safety("subscribers_hear_all", why))
}

/// Whether a subscription began where it should.
///
/// # Errors
/// It did not.
pub fn begins(is_right: bool, start: &str, token: &ResumeToken) -> Result<(), Violation> {
    if is_right { Ok(()) } else { violation(format!("asked for {start}, began at {token}")) }
}

/// Whether a subscription may end so.
///
/// # Errors
/// Nothing has happened that ends it.
pub fn ends(is_ours: bool, end: &End) -> Result<(), Violation> {
    if is_ours { Ok(()) } else { violation(format!("ended without cause: {end}")) }
}

/// Whether changes behind `after` may be gone, which have `bytes` of the `least` that are retained.
///
/// # Errors
/// All of them are to be retained.
pub fn compacts(bytes: u64, least: u64, after: Sequence) -> Result<(), Violation> {
    if bytes > least {
        return Ok(());
    }
    violation(format!("{bytes} bytes of changes behind {after} are gone, and {least} are to stay"))
}

impl Hearing {
    /// A consumer whose subscription begins at `token`. `whole`: it holds the wanted actors as of
    /// there, none.
    pub fn begin(filter: Filter, policy: Policy, token: ResumeToken, whole: bool) -> Hearing {
        let (rows, last, heard) = Default::default();
        let since = token.sequence;
        Hearing { filter, policy, token, rows, whole, since, last, heard }
    }

    /// Where it is.
    pub fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// It wants something else from where it is: what it holds is no state any more.
    pub fn refilter(&mut self, filter: Filter) {
        self.filter = filter;
        self.since = self.token.sequence;
        self.whole = false;
    }

    /// Takes the next delivery.
    ///
    /// # Errors
    /// It is not what comes next.
    pub fn hear(&mut self, told: &Told, delivery: &Delivery) -> Result<(), Violation> {
        self.heard += 1;
        let Delivery { token, item } = delivery;
        self.goes_on(token)?;
        match item {
            Item::Change { change, conflated } if self.token.scanned.is_none() => {
                self.live(told, change, *conflated)?;
            }
            Item::Change { change, .. } => self.catch_up(told, change)?,
            Item::Snapshot { id, record } => self.row(told, token.sequence, id, record)?,
            Item::SnapshotEnd { sequence } => self.end(told, *sequence)?,
            Item::Progress => self.passes(told, token)?,
        }
        self.token = token.clone();
        Ok(())
    }

    fn goes_on(&self, token: &ResumeToken) -> Result<(), Violation> {
        let same = token.lineage == self.token.lineage && token.lineage != Lineage::default();
        let (was, is) = (&self.token.scanned, &token.scanned);
        let scans_on = is.is_none() || (was.is_some() && was <= is);
        if same && scans_on && self.token.sequence <= token.sequence {
            return Ok(());
        }
        violation(format!("{token} comes behind {}", self.token))
    }

    fn wants(&self, change: &Change) -> bool {
        let is_passed = match &self.token.scanned {
            None => true,
            Some(Scanned::Nothing) => false,
            Some(Scanned::UpTo(last)) => change.id <= *last,
        };
        is_passed && self.filter.wants(change)
    }

    /// The first change behind where it is that it is to hear, up to `upto`.
    fn next<'a>(&self, told: &'a Told, upto: Sequence) -> Option<&'a Change> {
        let mut behind = self.token.sequence.0 + 1..=upto.0;
        behind.find_map(|at| told.get(Sequence(at)).filter(|change| self.wants(change)))
    }

    fn live(&mut self, told: &Told, change: &Change, conflated: u64) -> Result<(), Violation> {
        if self.policy == Policy::Conflate {
            return self.latest(told, change, conflated);
        }
        self.is_next(told, change)?;
        self.take(change)
    }

    fn catch_up(&mut self, told: &Told, change: &Change) -> Result<(), Violation> {
        self.is_next(told, change)?;
        self.take(change)
    }

    fn is_next(&self, told: &Told, change: &Change) -> Result<(), Violation> {
        let next = self.next(told, change.sequence);
        if next == Some(change) {
            return Ok(());
        }
        violation(format!("heard {change:?} behind {}, where {next:?} comes next", self.token))
    }

    /// The latest of an actor's changes: what is between was left out, and any other actor's that it
    /// has passed has a later one that is still to come.
    fn latest(&mut self, told: &Told, change: &Change, conflated: u64) -> Result<(), Violation> {
        let passed = self.token.sequence.0 + 1..change.sequence.0;
        let passed = passed.filter_map(|at| told.get(Sequence(at)));
        let passed: Vec<_> = passed.filter(|change| self.wants(change)).collect();
        if let Some(lost) = passed.iter().find(|passed| {
            let later = told.behind(change.sequence);
            let mut later = later.filter(|later| self.filter.wants(later));
            passed.id != change.id && !later.any(|later| later.id == passed.id)
        }) {
            return violation(format!("heard {change:?} and never {lost:?}"));
        }
        // Those of the actor that it has not heard; some of them may be before where it is.
        let heard = self.last.get(&change.id).copied().unwrap_or_default();
        let from = heard.max(self.since);
        let mine = told.between(from, change.sequence).filter(|earlier| earlier.id == change.id);
        let left_out: Vec<_> = mine.filter(|earlier| self.filter.wants(earlier)).collect();
        let first = left_out.first().unwrap_or(&change);
        let exact = told.get(change.sequence);
        let is_right = exact.is_some_and(|exact| {
            let same = exact.event == change.event && exact.id == change.id;
            same && exact.after == change.after && self.filter.wants(exact)
        });
        // Alone it is told as it is.
        let is_right = is_right && (conflated > 0 || exact == Some(change));
        let fits = conflated <= left_out.len() as u64;
        let whole = conflated < left_out.len() as u64 || first.before == change.before;
        if is_right && fits && whole {
            return self.take(change);
        }
        violation(format!(
            "heard {change:?} for {conflated} others, behind {} and {} of its actor left out",
            self.token,
            left_out.len()
        ))
    }

    fn take(&mut self, change: &Change) -> Result<(), Violation> {
        self.last.insert(change.id.clone(), change.sequence);
        let before = match &change.after {
            Some(after) => self.rows.insert(change.id.clone(), after.clone()),
            None => self.rows.remove(&change.id),
        };
        if self.whole && self.policy != Policy::Conflate && before != change.before {
            return violation(format!("heard {change:?}, where the consumer had {before:?}"));
        }
        Ok(())
    }

    fn row(
        &mut self,
        told: &Told,
        at: Sequence,
        id: &ActorId,
        record: &Record,
    ) -> Result<(), Violation> {
        self.has_caught_up(told, at)?;
        let Some(rows) = told.rows_at(at) else { return Ok(()) };
        if self.ahead(&rows).next() != Some((id, record)) {
            let next = self.ahead(&rows).next();
            return violation(format!("heard {id} {record:?} at {at}, where {next:?} comes next"));
        }
        self.rows.insert(id.clone(), record.clone());
        self.last.insert(id.clone(), at);
        Ok(())
    }

    /// The actors that the snapshot has not passed.
    fn ahead<'a>(
        &self,
        rows: &'a BTreeMap<ActorId, Record>,
    ) -> impl Iterator<Item = (&'a ActorId, &'a Record)> {
        let from = match &self.token.scanned {
            Some(Scanned::UpTo(last)) => Bound::Excluded(last.clone()),
            Some(Scanned::Nothing) | None => Bound::Unbounded,
        };
        let filter = self.filter.clone();
        rows.range((from, Bound::Unbounded)).filter(move |(id, _)| filter.wants_id(id))
    }

    fn has_caught_up(&self, told: &Told, upto: Sequence) -> Result<(), Violation> {
        match self.next(told, upto) {
            None => Ok(()),
            Some(missed) => {
                violation(format!("at {upto} and behind {}: no {missed:?}", self.token))
            }
        }
    }

    fn end(&mut self, told: &Told, at: Sequence) -> Result<(), Violation> {
        self.has_caught_up(told, at)?;
        let Some(rows) = told.rows_at(at) else { return Ok(()) };
        if let Some(missed) = self.ahead(&rows).next() {
            return violation(format!("the snapshot ends at {at}, without {missed:?}"));
        }
        self.is_state(&rows, at)
    }

    /// A mark of where it is: what it was to hear up to there, it has.
    fn passes(&self, told: &Told, token: &ResumeToken) -> Result<(), Violation> {
        if self.policy == Policy::Conflate {
            return Ok(());
        }
        if token.scanned != self.token.scanned {
            // Rows that no filter wants were passed, or the snapshot begins.
            return Ok(());
        }
        self.has_caught_up(told, token.sequence)
    }

    /// What it holds is the state at `at`.
    ///
    /// # Errors
    /// It is not.
    pub fn is_state(
        &self,
        rows: &BTreeMap<ActorId, Record>,
        at: Sequence,
    ) -> Result<(), Violation> {
        let wanted = rows.iter().filter(|(id, _)| self.filter.wants_id(id));
        if !self.whole || self.rows.iter().eq(wanted) {
            return Ok(());
        }
        let held: BTreeSet<_> = self.rows.keys().collect();
        violation(format!("at {at} the consumer holds {held:?}, which is not the state"))
    }
}
