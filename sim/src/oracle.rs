//! The client oracle: all that clients asked and heard, and what they may conclude from it.

use std::collections::BTreeMap;

use understudy_core::store::Expired;
use understudy_core::{OpId, Outcome, Sequence};

use crate::checks::one_outcome_per_op::OneOutcomePerOp;
use crate::checks::replicas_equal::Dump;
use crate::checks::{
    About, Violation, acked_once, acked_present_once, eventual_reads_are_past, linearizable,
    reads_name_their_state, refused_never_happens, rows_have_writers, walks_miss_nobody,
};
use crate::history::{self, Ask, Entry, Fate, looks};

/// The history of one run.
#[derive(Default)]
pub struct Oracle {
    entries: Vec<Entry>,
    outcomes: OneOutcomePerOp,
}

/// What the client judge could not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Actors whose history was too entangled to order.
    pub entangled: u64,
}

/// The entries of each namespace, in their order.
pub fn by_namespace(entries: &[Entry]) -> BTreeMap<usize, Vec<&Entry>> {
    let mut namespaces: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        namespaces.entry(entry.namespace).or_default().push(entry);
    }
    namespaces
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
        self.outcomes.heard(op, outcome).map_err(|violation| violation.about(self.about(op)))
    }

    /// The operation of that name, for the card.
    pub fn about(&self, op: &OpId) -> Option<About> {
        let is_named =
            |entry: &&Entry| matches!(&entry.ask, Ask::Write { op: name, .. } if name == op);
        About::of(self.entries.iter().find(is_named))
    }

    /// Takes in what the store did by itself: it removed an actor whose end had come. `tick` is when
    /// that was first seen, which is before anybody can have been told of it. For the judges it is a
    /// deletion like any other.
    pub fn expired(&mut self, namespace: usize, tick: u64, expired: &Expired) {
        let number = self.next_number();
        if let Some(entry) = history::expiry(number, namespace, tick, expired) {
            self.begin(entry);
        }
    }

    /// All operations.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The client judge: the history by itself. One line for each property.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn judge_client(&self) -> Result<Verdicts, Violation> {
        let looks = looks(&self.entries);
        refused_never_happens::check(&looks)?;
        acked_once::check(&looks)?;
        let entangled = linearizable::check(&looks)?;
        eventual_reads_are_past::check(&looks)?;
        reads_name_their_state::check(&looks)?;
        walks_miss_nobody::check(&self.entries)?;
        Ok(Verdicts { entangled })
    }

    /// The server judge: the history against the final rows and the end of the order of each
    /// namespace.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn judge_server(&self, state: &[(Dump, Sequence)]) -> Result<(), Violation> {
        let namespaces = by_namespace(&self.entries);
        for (namespace, (dump, end)) in state.iter().enumerate() {
            let entries = namespaces.get(&namespace).map_or(&[][..], Vec::as_slice);
            acked_present_once::check(entries, dump, *end)?;
        }
        let dumps: Vec<&Dump> = state.iter().map(|(dump, _)| dump).collect();
        rows_have_writers::check(&self.entries, &dumps)
    }

    /// The highest place of a change in a namespace that was answered.
    pub fn highest_acked(&self, namespace: usize) -> Sequence {
        let mine = self.entries.iter().filter(|entry| entry.namespace == namespace);
        mine.filter_map(Entry::sequence).max().unwrap_or_default()
    }

    /// Changes that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.sequence().is_some()).count() as u64
    }

    /// Operations with and without a known outcome.
    pub fn tally(&self) -> (u64, u64) {
        let unknown = self.entries.iter().filter(|entry| entry.is_unknown_write()).count() as u64;
        let answered = |entry: &&Entry| {
            matches!(entry.fate, Fate::Outcome(_) | Fate::Saw { .. } | Fate::Listed { .. })
        };
        (self.entries.iter().filter(answered).count() as u64, unknown)
    }
}
