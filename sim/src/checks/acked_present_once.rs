//! Every acknowledged change is in the final order exactly once (docs/SEMANTICS.md; S0-060, X-12).
//!
//! The store counts its changes densely, so counting is proof. In a group whose order ends at
//! sequence `s`, with `acked` changes acknowledged and `unknown` ones unanswered:
//! - no two acknowledged changes have the same place, and none a place beyond `s`;
//! - `acked <= s <= acked + unknown`: a change that ran twice or got lost breaks one of the two;
//! - of one life of an actor, each version was written once, by the one who was told so;
//! - the last acknowledged change of an actor is what the final state shows, unless an unknown one
//!   may have come after it.

use std::collections::BTreeMap;

use understudy_core::{Outcome, Sequence};

use super::Violation;
use super::replicas_equal::Dump;
use crate::history::{self, Entry, Fate};

/// Judges the entries of one namespace, whose final rows are `dump` and whose order ends at `end`.
///
/// # Errors
/// The first contradiction.
pub fn check(entries: &[&Entry], dump: &Dump, end: Sequence) -> Result<(), Violation> {
    let violation = |why: String| Violation::safety("acked_present_once", why);
    let mut places: BTreeMap<Sequence, &Entry> = BTreeMap::new();
    let mut versions = BTreeMap::new();
    for &entry in entries {
        let Some(sequence) = entry.sequence() else { continue };
        if sequence > end {
            let why = format!("lost: {entry}, but the final order ends at {end}");
            return Err(violation(why));
        }
        if let Some(other) = places.insert(sequence, entry) {
            return Err(violation(format!("two changes at one place: {other} and {entry}")));
        }
        if let Some(token) = entry.token()
            && let Some(other) = versions.insert((entry.actor, token), entry)
        {
            return Err(violation(format!("one version, two writers: {other} and {entry}")));
        }
    }
    let acked = places.len() as u64;
    let unknown = entries.iter().filter(|entry| entry.is_unknown_write()).count() as u64;
    if end.0 < acked || end.0 > acked + unknown {
        return Err(violation(format!(
            "the final order has {end} changes, but {acked} were acknowledged and {unknown} are \
             unknown: a change ran twice or was lost"
        )));
    }
    last_words(&places, entries, dump)
}

fn last_words(
    places: &BTreeMap<Sequence, &Entry>,
    entries: &[&Entry],
    dump: &Dump,
) -> Result<(), Violation> {
    let mut last: BTreeMap<u64, &Entry> = BTreeMap::new();
    for entry in places.values() {
        last.insert(entry.actor, entry);
    }
    for (&actor, entry) in &last {
        if entries.iter().any(|other| other.actor == actor && other.is_unknown_write()) {
            continue;
        }
        let id = history::actor(actor);
        let found = dump.iter().find(|(row, _)| *row == id).map(|(_, record)| record);
        let as_acked = match (&entry.fate, found) {
            (Fate::Outcome(Outcome::Written { token, .. }), Some(record)) => {
                record.token == *token && history::written_by(&record.value) == Some(entry.number)
            }
            (Fate::Outcome(Outcome::Deleted { .. }), None) => true,
            _ => false,
        };
        if !as_acked {
            let why = format!("the last acknowledged change is {entry}, the store has {found:?}");
            return Err(Violation::safety("acked_present_once", why));
        }
    }
    Ok(())
}
