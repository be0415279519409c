//! What clients were told of their changes fits one order in which each change stands once
//! (docs/SEMANTICS.md, exactly once; S0-060, X-12). The answers alone show it, because the store
//! counts its changes densely and names each version. In each namespace:
//! - no two acknowledged changes have the same sequence, and sequences follow real time: a change
//!   called after another was answered stands behind it;
//! - a change stands at sequence `s` only if there are `s` changes that can have run by then, those
//!   of unknown outcome included: a change that ran twice leaves too few;
//! - each version of an actor was written by one operation, and each operation wrote one version, as
//!   far as answers, reads and deletions show.

use std::collections::BTreeMap;

use understudy_core::{Sequence, Token};

use super::{About, Violation};
use crate::history::{self, Entry};
use crate::oracle::by_namespace;

/// Judges all operations.
///
/// # Errors
/// The first contradiction.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    for entries in by_namespace(entries).values() {
        let places = places(entries)?;
        real_time(&places)?;
        enough_changes(entries, &places)?;
        versions(entries)?;
    }
    Ok(())
}

fn violation(why: String, about: &[&Entry]) -> Violation {
    Violation::safety("acked_once", why).about(About::of(about.iter().copied()))
}

/// The acknowledged changes by their sequences.
fn places<'a>(entries: &[&'a Entry]) -> Result<BTreeMap<Sequence, &'a Entry>, Violation> {
    let mut places: BTreeMap<Sequence, &Entry> = BTreeMap::new();
    for &entry in entries {
        let Some(sequence) = entry.sequence() else { continue };
        if let Some(other) = places.insert(sequence, entry) {
            let why = format!("two changes at sequence {sequence}: {other}; {entry}");
            return Err(violation(why, &[other, entry]));
        }
    }
    Ok(places)
}

/// From the end of the order backwards, the first return so far is never before a call.
fn real_time(places: &BTreeMap<Sequence, &Entry>) -> Result<(), Violation> {
    let mut first: Option<&Entry> = None;
    for &entry in places.values().rev() {
        if let Some(later) = first.filter(|later| later.is_before(entry)) {
            let why = format!("{entry}; it was called after {later} had been answered");
            return Err(violation(why, &[later, entry]));
        }
        if first.is_none_or(|first| entry.ret < first.ret) {
            first = Some(entry);
        }
    }
    Ok(())
}

/// The changes up to a sequence are acknowledged ones up to it and unknown ones called by its answer.
fn enough_changes(
    entries: &[&Entry],
    places: &BTreeMap<Sequence, &Entry>,
) -> Result<(), Violation> {
    let unknown = || entries.iter().filter(|entry| entry.is_unknown_write());
    for (acked, (sequence, entry)) in (1..).zip(places) {
        let perhaps = unknown().filter(|unknown| !entry.is_before(unknown)).count() as u64;
        if sequence.0 > acked + perhaps {
            let why = format!(
                "{entry}; but at most {} changes had happened: {acked} were acknowledged up to \
                 there, and {perhaps} are of unknown outcome; one has run twice",
                acked + perhaps
            );
            return Err(violation(why, &[entry]));
        }
    }
    Ok(())
}

/// Who wrote which version of an actor, by their answers and by what anybody saw.
fn versions(entries: &[&Entry]) -> Result<(), Violation> {
    let mut writers: BTreeMap<(u64, Token), (u64, &Entry)> = BTreeMap::new();
    let mut tokens: BTreeMap<u64, (Token, &Entry)> = BTreeMap::new();
    for &entry in entries {
        let written = entry.token().map(|token| (entry.number, token));
        let shown = entry
            .shows()
            .and_then(|record| history::writer(record).map(|writer| (writer, record.token)));
        for (writer, token) in written.into_iter().chain(shown) {
            let (first, witness) = *writers.entry((entry.actor, token)).or_insert((writer, entry));
            if first != writer {
                let why = format!(
                    "version {token} has two writers: op {first} by {witness}; op {writer} by {entry}"
                );
                return Err(violation(why, &[witness, entry]));
            }
            let (first, witness) = *tokens.entry(writer).or_insert((token, entry));
            if first != token {
                let why = format!(
                    "op {writer} wrote two versions: {first} by {witness}; {token} by {entry}"
                );
                return Err(violation(why, &[witness, entry]));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{deleted, put, rejected, saw, unheard, written};

    #[track_caller]
    fn rejects(entries: &[Entry], words: &str) {
        let violation = rejected(check(entries), "acked_once", words);
        assert!(violation.about.is_some());
    }

    #[test]
    fn a_sequence_given_twice_is_found() {
        let twice = [put(1, 0, (1, 2), written(1, 1, 1)), put(2, 1, (3, 4), written(1, 1, 1))];
        rejects(&twice, "two changes at sequence 1");
        check(&[put(1, 0, (1, 2), written(1, 1, 1)), put(2, 1, (3, 4), written(2, 1, 2))]).unwrap();
    }

    #[test]
    fn an_order_against_real_time_is_found() {
        let of = |second| {
            let first = put(1, 0, (1, 2), written(2, 1, 2));
            [first, put(2, 1, second, written(1, 1, 1)), put(3, 2, (1, 9), written(3, 1, 3))]
        };
        rejects(&of((3, 4)), "it was called after op 1");
        check(&of((2, 4))).expect("they overlap");
    }

    #[test]
    fn a_change_that_ran_twice_is_found() {
        // Nobody saw the second run, but the next change stands one too far behind.
        let twice = [put(1, 0, (1, 2), written(1, 1, 1)), put(2, 1, (3, 4), written(3, 1, 3))];
        rejects(&twice, "at most 2 changes had happened");
        let late = [&twice[..], &[unheard(3, 0, 5)]].concat();
        rejects(&late, "at most 2 changes had happened");
        let perhaps = [&twice[..], &[unheard(3, 0, 1)]].concat();
        check(&perhaps).expect("the unknown change stands between them");
    }

    #[test]
    fn a_version_given_twice_is_found() {
        let first = put(1, 0, (1, 2), written(1, 1, 1));
        let again = put(2, 0, (3, 4), written(1, 1, 2));
        rejects(&[first.clone(), again], "version 1-1 has two writers: op 1");
        let seen = saw(2, 0, (3, 4), Some((1, 1, 7)), 1);
        rejects(&[first.clone(), seen], "version 1-1 has two writers: op 1");
        check(&[first, saw(2, 0, (3, 4), Some((1, 1, 1)), 1)]).unwrap();
    }

    #[test]
    fn a_document_seen_at_two_versions_is_found() {
        let entries = [
            unheard(1, 0, 1),
            saw(2, 0, (2, 3), Some((1, 1, 1)), 1),
            deleted(3, 0, (4, 5), (1, 2, 1), 3),
            unheard(4, 0, 1),
        ];
        rejects(&entries, "op 1 wrote two versions: 1-1");
        let mut legal = entries;
        legal[2] = deleted(3, 0, (4, 5), (1, 1, 1), 3);
        check(&legal).unwrap();
    }
}
