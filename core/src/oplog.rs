//! Exactly once: which operations have run, and what came of them (S0-031, S0-032, S0-060).
//!
//! Part of the replicated state: the same on every replica, so a repeat gets the recorded outcome
//! whoever leads by then. Bounded by count, bytes and committed time. A time-ordered name at or
//! below the floor, the highest time ever forgotten, is refused as expired and never run again; a
//! name without a time is deduplicated for as long as it is remembered.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::codec;
use crate::command::{Command, Outcome, Refusal};
use crate::limits;
use crate::types::{OpId, Timestamp};

/// The operations one group remembers.
#[derive(Debug, Default)]
pub struct OpLog {
    entries: BTreeMap<OpId, Entry>,
    /// By the committed time of recording: forgotten from the front when too old.
    by_age: BTreeSet<(Timestamp, OpId)>,
    /// By the name's own time: forgotten from the front when there are too many.
    by_time: BTreeSet<(Timestamp, OpId)>,
    bytes: usize,
    /// Time-ordered names at or below this may have been forgotten.
    floor: Timestamp,
    /// Repeats answered since this replica started.
    replays: u64,
}

#[derive(Debug)]
struct Entry {
    payload: u64,
    outcome: Outcome,
    bytes: usize,
    recorded: Timestamp,
    time: Timestamp,
}

/// Whether a command may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Never seen.
    New,
    /// Already ran; this came of it.
    Done(Outcome),
    /// Must not run.
    Refused(Refusal),
}

impl OpLog {
    /// Looks a command up. `payload` is [`payload_hash`] of it.
    pub fn admit(&mut self, command: &Command, payload: u64) -> Admission {
        match self.entries.get(&command.op) {
            Some(entry) if entry.payload == payload || planted!(PayloadNotCompared) => {
                self.replays += 1;
                Admission::Done(entry.outcome.clone())
            }
            Some(_) => Admission::Refused(Refusal::OpIdReused),
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
        let time = command.op.time().unwrap_or(now);
        let kept = match &outcome {
            Outcome::Deleted { record, .. } => record.value.as_bytes().len(),
            Outcome::Written { .. } | Outcome::Refused(_) => 0,
        };
        let name = match &command.op {
            OpId::Timed(_) => 0,
            OpId::Named(name) => 3 * name.len(),
        };
        let bytes = ENTRY_BYTES + name + kept;
        self.bytes += bytes;
        self.by_age.insert((now, command.op.clone()));
        self.by_time.insert((time, command.op.clone()));
        let entry = Entry { payload, outcome, bytes, recorded: now, time };
        let previous = self.entries.insert(command.op.clone(), entry);
        assert!(previous.is_none(), "oplog_records_once: an operation has one outcome");
        self.forget(now);
    }

    /// Forgets what is too old, and the names of the earliest time while there are too many.
    fn forget(&mut self, now: Timestamp) {
        let age = u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let too_old = Timestamp(now.0.saturating_sub(age));
        while let Some((recorded, op)) = self.by_age.first().cloned()
            && recorded < too_old
        {
            self.remove(&op);
        }
        while self.entries.len() > limits::OPLOG_ENTRIES_MAX || self.bytes > limits::OPLOG_BYTES_MAX
        {
            let Some((_, op)) = self.by_time.first().cloned() else { return };
            self.remove(&op);
        }
    }

    fn remove(&mut self, op: &OpId) {
        let Some(entry) = self.entries.remove(op) else { return };
        self.bytes -= entry.bytes;
        self.by_age.remove(&(entry.recorded, op.clone()));
        self.by_time.remove(&(entry.time, op.clone()));
        self.floor = self.floor.max(op.time().unwrap_or_default());
    }

    /// The highest time of a name that was forgotten.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Outcomes remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Repeats answered since this replica started.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    /// Named invariants.
    pub fn check(&self) {
        assert!(self.entries.len() == self.by_time.len(), "oplog_indexes_agree");
        assert!(self.entries.len() == self.by_age.len(), "oplog_indexes_agree");
        assert!(self.entries.len() <= limits::OPLOG_ENTRIES_MAX, "oplog_live_le_limit");
        assert!(self.bytes <= limits::OPLOG_BYTES_MAX, "oplog_bytes_le_limit");
    }
}

/// About what an entry takes in memory besides its variable parts.
const ENTRY_BYTES: usize = 240;

/// Tells a repeat from another request under the same name.
pub fn payload_hash(command: &Command) -> u64 {
    xxh3_64(&codec::encode(&(&command.id, &command.operation)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Operation;
    use crate::types::{ActorId, Json};

    fn command(op: OpId, value: &str) -> Command {
        let operation = Operation::Put { value: Json::new(value.as_bytes()) };
        Command { op, id: ActorId::new("a").unwrap(), operation }
    }

    fn timed(ms: u64) -> OpId {
        OpId::timed(Timestamp(ms), 1)
    }

    fn run(oplog: &mut OpLog, command: &Command, now: u64) -> Admission {
        let payload = payload_hash(command);
        let admission = oplog.admit(command, payload);
        if admission == Admission::New {
            let outcome = Outcome::Refused(Refusal::NotFound);
            oplog.record(command, payload, outcome, Timestamp(now));
        }
        oplog.check();
        let bytes: usize = oplog.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(bytes, oplog.bytes);
        assert!(oplog.by_time.iter().all(|(_, op)| oplog.entries.contains_key(op)));
        admission
    }

    #[test]
    fn a_repeat_gets_the_recorded_outcome_and_another_payload_is_refused() {
        let mut oplog = OpLog::default();
        for op in [timed(5), OpId::Named("n".to_owned())] {
            assert_eq!(run(&mut oplog, &command(op.clone(), "1"), 5), Admission::New);
            let recorded = Outcome::Refused(Refusal::NotFound);
            assert_eq!(run(&mut oplog, &command(op.clone(), "1"), 6), Admission::Done(recorded));
            let reused = Admission::Refused(Refusal::OpIdReused);
            assert_eq!(run(&mut oplog, &command(op, "2"), 7), reused);
        }
        assert_eq!(oplog.replays(), 2);
    }

    #[test]
    fn a_forgotten_operation_is_refused_and_never_run_again() {
        let day = u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap();
        let mut oplog = OpLog::default();
        let old = command(timed(1_000), "1");
        assert_eq!(run(&mut oplog, &old, 1_000), Admission::New);
        let new = command(timed(day + 2_000), "1");
        assert_eq!(run(&mut oplog, &new, day + 2_000), Admission::New);
        assert_eq!(oplog.len(), 1, "the old one is over the age limit");
        let expired = Admission::Refused(Refusal::SessionExpired);
        assert_eq!(run(&mut oplog, &old, day + 2_000), expired);
        assert_eq!(run(&mut oplog, &command(timed(999), "1"), day + 2_000), expired);
        let young_here = command(timed(1_001), "1");
        assert_eq!(run(&mut oplog, &young_here, day + 2_000), Admission::New);
        let recorded = Outcome::Refused(Refusal::NotFound);
        assert_eq!(run(&mut oplog, &young_here, day + 3_000), Admission::Done(recorded));
    }
}
