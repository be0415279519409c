//! The state of one group: rows, op-log, sequence, committed time, applied position.
//!
//! All of it changes together, entry by entry; nothing of it may exist without the rest.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::apply::{Row, apply};
use crate::codec;
use crate::command::{Batch, Command, Outcome};
use crate::message::{Applied, LogPosition};
use crate::oplog::{Admission, OpLog, payload_hash};
use crate::types::{ActorId, Record, Sequence, Timestamp};

/// See the module.
#[derive(Debug, Default)]
pub struct Store {
    rows: BTreeMap<ActorId, Record>,
    oplog: OpLog,
    sequence: Sequence,
    committed_time: Timestamp,
    applied: Option<LogPosition>,
    state_hash: u64,
    /// For planted bugs.
    #[cfg(sim_mutant)]
    pub sabotage: crate::mutant::sabotage::Sabotage,
}

impl Store {
    /// Applies one entry; `batch` is `None` for blank and membership entries.
    ///
    /// # Panics
    /// `apply_in_order`: entries are applied one after the other, without gap.
    pub fn apply(&mut self, position: LogPosition, batch: Option<&Batch>) -> Vec<Applied> {
        let next = self.applied.map_or(0, |applied| applied.index + 1);
        assert!(position.index == next, "apply_in_order: {} after {next}", position.index);
        let mut results = Vec::new();
        if let Some(batch) = batch {
            let time = batch.time;
            #[cfg(sim_mutant)]
            let time = crate::mutant::sabotage::time_of_apply(time);
            self.committed_time = self.committed_time.max(time);
            results = self.run_all(&batch.commands);
        }
        self.applied = Some(position);
        let mark = codec::encode(&(position, &results, self.sequence, self.committed_time));
        self.state_hash = xxh3_64_with_seed(&mark, self.state_hash);
        results
    }

    fn run_all(&mut self, commands: &[Command]) -> Vec<Applied> {
        #[cfg(sim_mutant)]
        if planted!(UnorderedApply) {
            let order = self.sabotage.order(commands.len());
            return crate::mutant::sabotage::run(order, |place| self.run(&commands[place]));
        }
        commands.iter().map(|command| self.run(command)).collect()
    }

    fn run(&mut self, command: &Command) -> Applied {
        let payload = payload_hash(command);
        self.state_hash = xxh3_64_with_seed(&payload.to_le_bytes(), self.state_hash);
        match self.oplog.admit(command, payload) {
            Admission::Done(outcome) => Applied { outcome, replayed: true },
            Admission::Refused(refusal) => {
                Applied { outcome: Outcome::Refused(refusal), replayed: false }
            }
            Admission::New => {
                let outcome = self.change(command);
                #[cfg(sim_mutant)]
                if self.sabotage.forgets(self.applied, &outcome) {
                    return Applied { outcome, replayed: false };
                }
                self.oplog.record(command, payload, outcome.clone(), self.committed_time);
                Applied { outcome, replayed: false }
            }
        }
    }

    fn change(&mut self, command: &Command) -> Outcome {
        let next = Sequence(self.sequence.0 + 1);
        let id = &command.id;
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        let (outcome, row) = apply(&command.operation, self.rows.get(id), next);
        #[cfg(sim_mutant)]
        let row = if self.sabotage.skips(self.applied) { Row::Keep } else { row };
        match row {
            Row::Keep => {}
            Row::Put(record) => {
                self.rows.insert(id.clone(), record);
            }
            Row::Remove => {
                self.rows.remove(id);
            }
        }
        match outcome {
            Outcome::Written { .. } | Outcome::Deleted { .. } => self.sequence = next,
            Outcome::Refused(_) => {}
        }
        outcome
    }

    /// One actor.
    pub fn get(&self, id: &ActorId) -> Option<&Record> {
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        self.rows.get(id)
    }

    /// Every actor, in order of id.
    pub fn rows(&self) -> &BTreeMap<ActorId, Record> {
        &self.rows
    }

    /// What has run.
    pub fn oplog(&self) -> &OpLog {
        &self.oplog
    }

    /// The last change's place in the shard's order.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The leaders' clocks, made monotone.
    pub fn committed_time(&self) -> Timestamp {
        self.committed_time
    }

    /// The last applied entry.
    pub fn applied(&self) -> Option<LogPosition> {
        self.applied
    }

    /// A hash over everything applied and what came of it: equal on all replicas at equal index.
    pub fn state_hash(&self) -> u64 {
        self.state_hash
    }
}
