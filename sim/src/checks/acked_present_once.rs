//! Every acknowledged change is in the final order exactly once (docs/SEMANTICS.md, acknowledged
//! means; S0-060, X-12): the answers held against the rows and the end of the order in the end.
//!
//! The store counts its changes densely, so counting is proof. In a group whose order ends at
//! sequence `s`, with `acked` changes acknowledged and `unknown` ones unanswered:
//! - no acknowledged change stands beyond `s`;
//! - `acked <= s <= acked + unknown`: a change that ran twice or got lost breaks one of the two;
//! - the last acknowledged change of an actor is what its row shows, unless an unknown one may have
//!   come after it.

use std::collections::BTreeMap;

use understudy_core::{Outcome, Record, Sequence};

use super::replicas_equal::Dump;
use super::{About, Violation};
use crate::history::{self, Entry, Fate};
use crate::words;

/// Judges the entries of one namespace, whose final rows are `dump` and whose order ends at `end`.
///
/// # Errors
/// The first contradiction.
pub fn check(entries: &[&Entry], dump: &Dump, end: Sequence) -> Result<(), Violation> {
    let violation = |why: String| Violation::safety("acked_present_once", why);
    let mut last: BTreeMap<u64, &Entry> = BTreeMap::new();
    let mut acked = 0;
    for &entry in entries {
        let Some(sequence) = entry.sequence() else { continue };
        acked += 1;
        if sequence > end {
            let why = format!("lost: {entry}; but the final order ends at sequence {end}");
            return Err(violation(why).about(About::of([entry])));
        }
        let last = last.entry(entry.actor).or_insert(entry);
        if last.sequence() < Some(sequence) {
            *last = entry;
        }
    }
    let unknown = entries.iter().filter(|entry| entry.is_unknown_write()).count() as u64;
    if end.0 < acked || end.0 > acked + unknown {
        let what = if end.0 < acked { "one was lost" } else { "one has run twice" };
        return Err(violation(format!(
            "the final order has {end} changes, but {acked} were acknowledged and {unknown} are of \
             unknown outcome: {what}"
        )));
    }
    last.values().try_for_each(|entry| last_word(entry, entries, dump))
}

/// Whether the row is what the last acknowledged change of its actor left.
fn last_word(entry: &Entry, entries: &[&Entry], dump: &Dump) -> Result<(), Violation> {
    if entries.iter().any(|other| other.actor == entry.actor && other.is_unknown_write()) {
        return Ok(());
    }
    let id = history::actor(entry.actor);
    let row = dump.iter().find(|(actor, _)| *actor == id).map(|(_, record)| record);
    if is_left_by(entry, row) {
        return Ok(());
    }
    let row = row.map_or("absent".to_owned(), words::record);
    let why = format!("the last acknowledged change is {entry}; but in the end the actor is {row}");
    Err(Violation::safety("acked_present_once", why).about(About::of([entry])))
}

fn is_left_by(entry: &Entry, row: Option<&Record>) -> bool {
    match (&entry.fate, row) {
        (Fate::Outcome(Outcome::Written { token, .. }), Some(record)) => {
            record.token == *token && history::writer(record) == Some(entry.number)
        }
        (Fate::Outcome(Outcome::Deleted { .. } | Outcome::Removed { .. }), row) => row.is_none(),
        (Fate::Outcome(Outcome::Written { .. } | Outcome::Batch(_) | Outcome::Refused(_)), _)
        | (Fate::Unknown | Fate::DidNotHappen | Fate::Saw { .. } | Fate::Listed { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{deleted, put, rejected, row, unheard, written};

    fn judge(entries: &[Entry], dump: Dump, end: u64) -> Result<(), Violation> {
        let entries: Vec<&Entry> = entries.iter().collect();
        check(&entries, &dump, Sequence(end))
    }

    #[track_caller]
    fn rejects(entries: &[Entry], dump: Dump, end: u64, words: &str) {
        rejected(judge(entries, dump, end), "acked_present_once", words);
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let acked = [put(1, 0, (1, 2), written(1, 1, 1)), put(2, 1, (3, 4), written(2, 1, 2))];
        rejects(&acked, vec![row(0, (1, 1, 1))], 1, "lost: op 2");
        // The end of the order is right, but the row is gone.
        rejects(&acked, vec![row(0, (1, 1, 1))], 2, "in the end the actor is absent");
        // The row is there, but of another writer.
        rejects(&acked, vec![row(0, (1, 1, 1)), row(1, (2, 1, 1))], 2, "document 1 at 2-1");
        judge(&acked, vec![row(0, (1, 1, 1)), row(1, (2, 1, 2))], 2).unwrap();
    }

    #[test]
    fn a_write_applied_twice_is_found() {
        let acked = [put(1, 0, (1, 2), written(1, 1, 1))];
        rejects(&acked, vec![row(0, (1, 2, 1))], 2, "one has run twice");
        let perhaps = [acked[0].clone(), unheard(2, 0, 1)];
        judge(&perhaps, vec![row(0, (1, 2, 2))], 2).expect("the unknown change happened");
        judge(&perhaps, vec![row(0, (1, 1, 1))], 1).expect("the unknown change did not happen");
    }

    #[test]
    fn a_deleted_actor_that_is_back_is_found() {
        let acked = [put(1, 0, (1, 2), written(1, 1, 1)), deleted(2, 0, (3, 4), (1, 1, 1), 2)];
        rejects(&acked, vec![row(0, (1, 1, 1))], 2, "the last acknowledged change is op 2");
        judge(&acked, Vec::new(), 2).unwrap();
    }
}
