//! The op-log as it was first written, with two sorted indexes: easy to follow, and the measure
//! for the small one.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Admission, Bounds, Remembered};
use crate::command::{Command, Outcome, Refusal};
use crate::types::{OpId, Timestamp};

#[derive(Default)]
pub struct OpLog {
    pub entries: BTreeMap<OpId, Entry>,
    /// By the name's own time: forgotten from the front when there are too many.
    by_time: BTreeSet<(Timestamp, OpId)>,
    pub bytes: usize,
    pub floor: Timestamp,
    pub replays: u64,
    pub bounds: Bounds,
}

pub struct Entry {
    payload: u64,
    outcome: Outcome,
    bytes: usize,
    recorded: Timestamp,
    time: Timestamp,
}

impl OpLog {
    pub fn new(bounds: Bounds) -> OpLog {
        OpLog { bounds, ..OpLog::default() }
    }

    pub fn admit(&mut self, command: &Command, payload: u64) -> Admission {
        match self.entries.get(&command.op) {
            Some(entry) if entry.payload == payload => {
                self.replays += 1;
                Admission::Done { outcome: entry.outcome.clone(), recorded: entry.recorded }
            }
            Some(_) => Admission::Refused(Refusal::OpIdReused),
            None if command.op.time().is_some_and(|time| time <= self.floor) => {
                Admission::Refused(Refusal::SessionExpired)
            }
            None => Admission::New,
        }
    }

    pub fn record(&mut self, command: &Command, payload: u64, outcome: Outcome, now: Timestamp) {
        let time = command.op.time().unwrap_or(now);
        let kept = match &outcome {
            Outcome::Deleted { record, .. } => record.bytes(),
            Outcome::Batch(outcomes) => 64 * outcomes.len(),
            Outcome::Written { .. } | Outcome::Removed { .. } | Outcome::Refused(_) => 0,
        };
        let name = match &command.op {
            OpId::Timed(_) | OpId::Session { .. } => 0,
            OpId::Named(name) => 3 * name.len(),
        };
        let bytes = 240 + name + kept;
        self.bytes += bytes;
        self.by_time.insert((time, command.op.clone()));
        let entry = Entry { payload, outcome, bytes, recorded: now, time };
        self.entries.insert(command.op.clone(), entry);
        self.forget(now);
    }

    fn forget(&mut self, now: Timestamp) {
        let too_old = Timestamp(now.0.saturating_sub(self.bounds.age));
        let timed = |op: &OpId| matches!(op, OpId::Timed(_));
        let old = |(op, entry): &(&OpId, &Entry)| !timed(op) && entry.recorded < too_old;
        let named: Vec<_> = self.entries.iter().filter(old).map(|(op, _)| op.clone()).collect();
        let young = |(op, entry): &(&OpId, &Entry)| timed(op) && entry.recorded < too_old;
        let front = self.entries.iter().take_while(young).map(|(op, _)| op.clone());
        for op in named.into_iter().chain(front.collect::<Vec<_>>()) {
            self.remove(&op);
        }
        while self.entries.len() > self.bounds.entries || self.bytes > self.bounds.bytes {
            let Some((_, op)) = self.by_time.first().cloned() else { return };
            self.remove(&op);
        }
    }

    fn remove(&mut self, op: &OpId) {
        let Some(entry) = self.entries.remove(op) else { return };
        self.bytes -= entry.bytes;
        self.by_time.remove(&(entry.time, op.clone()));
        self.floor = self.floor.max(op.time().unwrap_or_default());
    }

    pub fn rows(&self) -> Vec<(OpId, Remembered)> {
        let row = |entry: &Entry| {
            let (payload, recorded) = (entry.payload, entry.recorded);
            Remembered { payload, recorded, outcome: entry.outcome.clone() }
        };
        self.entries.iter().map(|(op, entry)| (op.clone(), row(entry))).collect()
    }
}
