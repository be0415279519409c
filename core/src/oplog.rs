//! Exactly once: which operations have run, and what came of them (S0-031, S0-032, S0-060).
//!
//! Part of the replicated state: the same on every replica, so a repeat gets the recorded outcome
//! whoever leads by then. Bounded by count, bytes and committed time. A time-ordered name at or
//! below the floor, the highest time ever forgotten, is refused as expired and never run again; a
//! name without a time is deduplicated for as long as it is remembered.
//!
//! A copy is O(1) and stays as it was while the original goes on.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{self, Corrupt};
use crate::command::{Command, Outcome, Refusal};
use crate::limits;
use crate::types::{OpId, Sequence, Timestamp, Token, Version};

/// The operations one group remembers.
///
/// A time-ordered name begins with its time, so the order of the names is the order of the times. A
/// name without one counts from the committed time of its recording, so its age is its time.
///
/// Time-ordered names are forgotten in the order of their times, so the floor is below every name
/// that is remembered. One with an early time that was recorded late (a client's clock was slow)
/// holds back those behind it until it is too old itself: they are remembered for longer than
/// promised, within the limits by count and bytes.
#[derive(Clone, Debug, Default)]
pub struct OpLog {
    timed: OrdMap<Halves, Entry>,
    named: OrdMap<Arc<str>, Entry>,
    /// By the committed time of recording: forgotten from the front when too old.
    named_by_age: OrdSet<(Timestamp, Arc<str>)>,
    bytes: usize,
    bounds: Bounds,
    /// Time-ordered names at or below this may have been forgotten.
    floor: Timestamp,
    /// Repeats answered since this replica started.
    replays: u64,
    /// Names recorded or forgotten since [`OpLog::take_touched`], where somebody asks for them.
    touched: Option<BTreeSet<OpId>>,
    sessions: Sessions,
}

/// A [`OpId::Timed`] in two words: as one it would be aligned to 16 bytes.
type Halves = (u64, u64);

/// Small: there are up to a million.
#[derive(Clone, Debug)]
struct Entry {
    payload: u64,
    recorded: Timestamp,
    kept: Kept,
}

/// An outcome; the rare ones are kept apart.
#[derive(Clone, Debug)]
enum Kept {
    /// A token apart, with a version that is never 0, leaves no byte for telling the two kinds.
    Written {
        created: Sequence,
        version: NonZeroU64,
        sequence: Sequence,
    },
    Other(Arc<Outcome>),
}

const _: () = assert!(size_of::<Entry>() <= 40);

/// What is remembered of one operation, as it stands in files and in a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// [`payload_hash`] of the command.
    pub payload: u64,
    /// The committed time at which it ran.
    pub recorded: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    entries: usize,
    bytes: usize,
    age: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            entries: limits::OPLOG_ENTRIES_MAX,
            bytes: limits::OPLOG_BYTES_MAX,
            age: u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether a command may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Never seen.
    New,
    /// Already ran; this came of it.
    Done {
        /// The outcome.
        outcome: Outcome,
        /// The committed time at which it ran.
        recorded: Timestamp,
    },
    /// Must not run.
    Refused(Refusal),
}

impl OpLog {
    /// An op-log that has forgotten names up to `floor`, and sessions up to `sessions`, to be filled
    /// by [`OpLog::restore`].
    pub fn with_floors(floor: Timestamp, sessions: Timestamp) -> OpLog {
        OpLog { floor, sessions: Sessions::with_floor(sessions), ..OpLog::default() }
    }

    /// Takes in one operation, as read back from a file or a backend.
    ///
    /// # Errors
    /// [`Corrupt`] when its name is there already, or there are more than any op-log holds.
    pub fn restore(&mut self, op: OpId, row: Remembered) -> Result<(), Corrupt> {
        let Remembered { payload, recorded, outcome } = row;
        if self.insert(&op, Entry { payload, recorded, kept: Kept::new(outcome) }).is_some() {
            return Err(Corrupt(format!("operation {op} is remembered twice")));
        }
        if self.is_full() || !self.sessions.is_in_bounds() {
            return Err(Corrupt("more operations are remembered than may be".to_owned()));
        }
        Ok(())
    }

    /// Looks a command up. `payload` is [`payload_hash`] of it.
    pub fn admit(&mut self, command: &Command, payload: u64) -> Admission {
        match self.entry(&command.op) {
            Some(entry) if entry.payload == payload || planted!(PayloadNotCompared) => {
                let (outcome, recorded) = (entry.kept.outcome(), entry.recorded);
                self.replays += 1;
                Admission::Done { outcome, recorded }
            }
            Some(_) => Admission::Refused(Refusal::OpIdReused),
            None if let OpId::Session { session, sequence } = command.op => {
                self.sessions.admit_new(session, sequence)
            }
            None if command.op.time().is_some_and(|time| time <= self.floor) => {
                Admission::Refused(Refusal::SessionExpired)
            }
            None => Admission::New,
        }
    }

    /// Records what came of a new command at committed time `now`, and forgets what is over the
    /// limits.
    pub fn record(&mut self, command: &Command, payload: u64, outcome: Outcome, now: Timestamp) {
        if planted!(OpLogForgets) {
            return;
        }
        let entry = Entry { payload, recorded: now, kept: Kept::new(outcome) };
        let previous = self.insert(&command.op, entry);
        assert!(previous.is_none(), "oplog_records_once: an operation has one outcome");
        self.touch(&command.op);
        let touched = &mut self.touched;
        let mut forgot = |op| {
            if let Some(touched) = touched {
                touched.insert(op);
            }
        };
        if let OpId::Session { session, .. } = command.op {
            self.sessions.slide(session, &mut forgot);
        }
        self.sessions.forget(now, &mut forgot);
        self.forget(now);
    }

    fn insert(&mut self, op: &OpId, entry: Entry) -> Option<Entry> {
        if !matches!(op, OpId::Session { .. }) {
            self.bytes += entry_bytes(op, &entry.kept.outcome());
        }
        match op {
            OpId::Session { session, sequence } => self.sessions.insert(*session, *sequence, entry),
            OpId::Timed(uuid) => self.timed.insert(halves(*uuid), entry),
            OpId::Named(name) => {
                let name: Arc<str> = name.as_str().into();
                self.named_by_age.insert((entry.recorded, name.clone()));
                self.named.insert(name, entry)
            }
        }
    }

    /// Forgets what is too old, and the names of the earliest time while there are too many.
    fn forget(&mut self, now: Timestamp) {
        let too_old = Timestamp(now.0.saturating_sub(self.bounds.age));
        while let Some((name, entry)) = self.timed.get_min()
            && entry.recorded < too_old
        {
            let name = OpId::Timed(whole(*name));
            self.remove(&name);
        }
        while let Some((recorded, name)) = self.named_by_age.get_min()
            && *recorded < too_old
        {
            let name = OpId::Named(name.to_string());
            self.remove(&name);
        }
        while self.is_full() {
            let Some(op) = self.earliest() else { return };
            self.remove(&op);
        }
    }

    fn is_full(&self) -> bool {
        self.timed.len() + self.named.len() > self.bounds.entries || self.bytes > self.bounds.bytes
    }

    /// The name of the earliest time.
    fn earliest(&self) -> Option<OpId> {
        let timed = self.timed.get_min().map(|(name, _)| OpId::Timed(whole(*name)));
        let timed = timed.map(|op| (op.time().unwrap_or_default(), op));
        let named = self.named_by_age.get_min();
        let named = named.map(|(recorded, name)| (*recorded, OpId::Named(name.to_string())));
        timed.into_iter().chain(named).min().map(|(_, op)| op)
    }

    fn remove(&mut self, op: &OpId) {
        let entry = match op {
            OpId::Timed(uuid) => self.timed.remove(&halves(*uuid)),
            OpId::Named(name) => self.named.remove(name.as_str()),
            // They go by rules of their own.
            OpId::Session { .. } => None,
        };
        let Some(entry) = entry else { return };
        if let OpId::Named(name) = op {
            self.named_by_age.remove(&(entry.recorded, name.as_str().into()));
        }
        self.bytes -= entry_bytes(op, &entry.kept.outcome());
        self.floor = self.floor.max(op.time().unwrap_or_default());
        self.touch(op);
    }

    fn touch(&mut self, op: &OpId) {
        if let Some(touched) = &mut self.touched {
            touched.insert(op.clone());
        }
    }

    /// From now on, remember what [`OpLog::take_touched`] tells.
    pub(crate) fn track(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// Every name recorded or forgotten since the last call, with what is remembered of it now.
    pub(crate) fn take_touched(&mut self) -> Vec<(OpId, Option<Remembered>)> {
        let touched = self.touched.as_mut().map(std::mem::take).unwrap_or_default();
        let with_entry = |op| {
            let entry = self.get(&op);
            (op, entry)
        };
        touched.into_iter().map(with_entry).collect()
    }

    fn entry(&self, op: &OpId) -> Option<&Entry> {
        match op {
            OpId::Timed(uuid) => self.timed.get(&halves(*uuid)),
            OpId::Named(name) => self.named.get(name.as_str()),
            OpId::Session { session, sequence } => self.sessions.get(*session, *sequence),
        }
    }

    /// What is remembered of one operation.
    pub fn get(&self, op: &OpId) -> Option<Remembered> {
        self.entry(op).map(Entry::remembered)
    }

    /// Everything remembered behind `after`, in order of names.
    pub fn rows(&self, after: Option<&OpId>) -> impl Iterator<Item = (OpId, Remembered)> + '_ {
        let timed = match after {
            None => Some(Bound::Unbounded),
            Some(OpId::Timed(uuid)) => Some(Bound::Excluded(halves(*uuid))),
            Some(OpId::Named(_) | OpId::Session { .. }) => None,
        };
        let named: Option<Bound<Arc<str>>> = match after {
            Some(OpId::Named(name)) => Some(Bound::Excluded(name.as_str().into())),
            None | Some(OpId::Timed(_)) => Some(Bound::Unbounded),
            Some(OpId::Session { .. }) => None,
        };
        let session = match after {
            Some(OpId::Session { session, sequence }) => Some((*session, *sequence)),
            None | Some(OpId::Timed(_) | OpId::Named(_)) => None,
        };
        let timed = timed.map(|from| self.timed.range((from, Bound::Unbounded)));
        let timed = timed.into_iter().flatten();
        let timed = timed.map(|(name, entry)| (OpId::Timed(whole(*name)), entry.remembered()));
        let named = named.map(|from| self.named.range((from, Bound::Unbounded)));
        let named = named.into_iter().flatten();
        let named = named.map(|(name, entry)| (OpId::Named(name.to_string()), entry.remembered()));
        let sessions = self.sessions.rows(session).map(|(op, entry)| (op, entry.remembered()));
        timed.chain(named).chain(sessions)
    }

    /// The highest time of a name that was forgotten.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Outcomes remembered.
    pub fn len(&self) -> usize {
        self.timed.len() + self.named.len() + self.sessions.len()
    }

    /// The highest time of a session that was forgotten.
    pub fn session_floor(&self) -> Timestamp {
        self.sessions.floor()
    }

    /// Sessions that are known.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Repeats answered since this replica started.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    /// Named invariants.
    pub fn check(&self) {
        assert!(self.named.len() == self.named_by_age.len(), "oplog_indexes_agree");
        assert!(!self.is_full(), "oplog_live_le_limit");
        self.sessions.check();
    }
}

impl Entry {
    fn remembered(&self) -> Remembered {
        let (payload, recorded) = (self.payload, self.recorded);
        Remembered { payload, recorded, outcome: self.kept.outcome() }
    }
}

impl Kept {
    fn new(outcome: Outcome) -> Kept {
        match outcome {
            Outcome::Written { token, sequence }
                if let Some(version) = NonZeroU64::new(token.version.0) =>
            {
                Kept::Written { created: token.created, version, sequence }
            }
            other => Kept::Other(Arc::new(other)),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Kept::Written { created, version, sequence } => {
                let token = Token { created: *created, version: Version(version.get()) };
                Outcome::Written { token, sequence: *sequence }
            }
            Kept::Other(outcome) => Outcome::clone(outcome),
        }
    }
}

/// What an entry counts for in the limit by bytes. A rule of the replicated state: changing it
/// would make replicas forget differently. What it takes in memory is less.
fn entry_bytes(op: &OpId, outcome: &Outcome) -> usize {
    const ENTRY_BYTES: usize = 240;
    /// Of an operation of an atomic batch.
    const ITEM_BYTES: usize = 64;
    let kept = match outcome {
        Outcome::Deleted { record, .. } => record.bytes(),
        Outcome::Written { .. } | Outcome::Removed { .. } | Outcome::Refused(_) => 0,
        Outcome::Batch(outcomes) => outcomes.len() * ITEM_BYTES,
    };
    let name = match op {
        OpId::Timed(_) | OpId::Session { .. } => 0,
        OpId::Named(name) => 3 * name.len(),
    };
    ENTRY_BYTES + name + kept
}

fn halves(uuid: u128) -> Halves {
    let low = uuid & u128::from(u64::MAX);
    let word = |word| u64::try_from(word).expect("halves_fit: 64 of 128 bits");
    (word(uuid >> 64), word(low))
}

fn whole((high, low): Halves) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Tells a repeat from another request under the same name.
pub fn payload_hash(command: &Command) -> u64 {
    xxh3_64(&codec::encode(&command.work))
}

mod sessions;

use sessions::Sessions;

#[cfg(test)]
mod tests;
