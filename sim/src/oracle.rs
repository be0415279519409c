//! The client oracle: all that clients asked and heard, and what they may conclude from it.

use understudy_core::{OpId, Outcome, Refusal};

use crate::checks::one_outcome_per_op::OneOutcomePerOp;
use crate::checks::replicas_equal::Dump;
use crate::checks::{Violation, acked_present_once, linearizable, refused_never_happens};
use crate::history::{Entry, Fate};

/// The history of one run.
#[derive(Default)]
pub struct Oracle {
    entries: Vec<Entry>,
    outcomes: OneOutcomePerOp,
}

impl Oracle {
    /// The number of the next operation.
    pub fn next_number(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// A client begins an operation.
    pub fn begin(&mut self, entry: Entry) {
        assert!(entry.number == self.next_number(), "entries_are_numbered");
        self.entries.push(entry);
    }

    /// A client knows its operation's fate.
    pub fn end(&mut self, number: u64, ret: u64, fate: Fate) {
        let entry = &mut self.entries[usize::try_from(number - 1).expect("few_entries")];
        entry.ret = Some(ret);
        entry.fate = fate;
    }

    /// A node answered `op`.
    ///
    /// # Errors
    /// The answer contradicts an earlier one, or refuses a name that every node must accept.
    pub fn heard(&mut self, op: &OpId, outcome: &Outcome) -> Result<(), Violation> {
        let Outcome::Refused(refusal) = outcome else { return self.outcomes.heard(op, outcome) };
        match refusal {
            Refusal::AlreadyExists { .. } | Refusal::NotFound | Refusal::Conflict { .. } => {
                self.outcomes.heard(op, outcome)
            }
            Refusal::OpIdReused | Refusal::SessionExpired => {
                let why = format!("{op} is young, and has one payload, but was refused: {refusal}");
                Err(Violation::safety("one_outcome_per_op", why))
            }
        }
    }

    /// All operations.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Judges the history against the final state of each namespace.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn judge_server(
        &self,
        state: &[(Dump, understudy_core::Sequence)],
    ) -> Result<(), Violation> {
        for (namespace, (dump, end)) in state.iter().enumerate() {
            let here = |entry: &&Entry| entry.namespace == namespace;
            let entries: Vec<&Entry> = self.entries.iter().filter(here).collect();
            acked_present_once::check(&entries, dump, *end)?;
        }
        let dumps: Vec<Dump> = state.iter().map(|(dump, _)| dump.clone()).collect();
        refused_never_happens::check(&self.entries, &dumps)
    }

    /// Judges the history by itself. Returns how many actors' histories were too entangled.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn judge_client(&self) -> Result<u64, Violation> {
        refused_never_happens::check(&self.entries, &[])?;
        linearizable::check(&self.entries)
    }

    /// Changes that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.sequence().is_some()).count() as u64
    }

    /// Operations with and without a known outcome.
    pub fn tally(&self) -> (u64, u64) {
        let unknown = self.entries.iter().filter(|entry| entry.is_unknown_write()).count() as u64;
        let answered = |entry: &&Entry| matches!(entry.fate, Fate::Outcome(_) | Fate::Saw(_));
        (self.entries.iter().filter(answered).count() as u64, unknown)
    }
}
