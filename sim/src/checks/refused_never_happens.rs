//! What was refused, or said not to have happened, is never seen; and nobody sees a document that no
//! client wrote to that actor (docs/SEMANTICS.md, failures: refused or unknown).
//!
//! This is the clients' half; `rows_have_writers` asks the same of the rows in the end.

use std::collections::BTreeMap;

use understudy_core::{ActorId, Outcome, Record};

use super::{About, Violation};
use crate::history::{self, Ask, Entry, Fate};
use crate::words;

/// Judges every record that a read or a deletion shows.
///
/// # Errors
/// A record whose writer was refused, or wrote to another actor, or does not exist.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    let writers = Writers::of(entries);
    for entry in entries {
        let Some(record) = entry.shows() else { continue };
        let id = history::actor(entry.actor);
        writers.judge(entry.namespace, &id, record).map_err(|Guilty { why, writer }| {
            let about = About::of([entry].into_iter().chain(writer));
            Violation::safety("refused_never_happens", format!("{entry}; {why}")).about(about)
        })?;
    }
    Ok(())
}

/// All operations, by number.
pub(super) struct Writers<'a>(BTreeMap<u64, &'a Entry>);

/// Why a record may not be there.
pub(super) struct Guilty<'a> {
    pub(super) why: String,
    pub(super) writer: Option<&'a Entry>,
}

impl<'a> Writers<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Writers<'a> {
        Writers(entries.iter().map(|entry| (entry.number, entry)).collect())
    }

    /// Whether an operation that may have happened wrote `record` there.
    pub(super) fn judge(
        &self,
        namespace: usize,
        actor: &ActorId,
        record: &Record,
    ) -> Result<(), Guilty<'a>> {
        let number = history::writer(record);
        let Some(writer) = number.and_then(|number| self.0.get(&number)).copied() else {
            let why = format!("nobody wrote {}", words::record(record));
            return Err(Guilty { why, writer: None });
        };
        let guilty = |what: &str| {
            let why = format!("{} {what}: {writer}", words::record(record));
            Err(Guilty { why, writer: Some(writer) })
        };
        if (writer.namespace, &history::actor(writer.actor)) != (namespace, actor) {
            return guilty("was written to another actor");
        }
        match (&writer.ask, &writer.fate) {
            (Ask::Read { .. } | Ask::Scan { .. }, _) => guilty("was written by a read"),
            (Ask::Write { .. }, Fate::DidNotHappen | Fate::Outcome(Outcome::Refused(_))) => {
                guilty("was written by an operation that did not happen")
            }
            (
                Ask::Write { .. },
                Fate::Outcome(
                    Outcome::Written { .. }
                    | Outcome::Deleted { .. }
                    | Outcome::Removed { .. }
                    | Outcome::Batch(_),
                )
                | Fate::Unknown
                | Fate::Saw { .. }
                | Fate::Listed { .. },
            ) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{create, deleted, exists, put, rejected, saw, unheard, written};

    #[track_caller]
    fn rejects(entries: &[Entry], words: &str) {
        rejected(check(entries), "refused_never_happens", words);
    }

    #[test]
    fn a_refused_write_seen_later_is_found() {
        let of = |fate| [create(1, 0, (1, 2), fate), saw(2, 0, (3, 4), Some((1, 1, 1)), 1)];
        rejects(&of(exists(1, 1)), "an operation that did not happen: op 1");
        rejects(&of(Fate::DidNotHappen), "an operation that did not happen: op 1");
        check(&of(written(1, 1, 1))).unwrap();
        check(&of(Fate::Unknown)).unwrap();
    }

    #[test]
    fn a_refused_write_that_a_deletion_shows_is_found() {
        let of = |fate| [create(1, 0, (1, 2), fate), deleted(2, 0, (3, 4), (1, 1, 1), 2)];
        rejects(&of(exists(1, 1)), "an operation that did not happen: op 1");
        check(&of(written(1, 1, 1))).unwrap();
    }

    #[test]
    fn a_document_from_nowhere_or_elsewhere_is_found() {
        rejects(&[saw(1, 0, (1, 2), Some((1, 1, 9)), 1)], "nobody wrote document 9");
        let other = put(1, 1, (1, 2), written(1, 1, 1));
        rejects(&[other, saw(2, 0, (3, 4), Some((1, 1, 1)), 1)], "to another actor: op 1");
        check(&[unheard(1, 0, 1), saw(2, 0, (3, 4), Some((1, 1, 1)), 1)]).unwrap();
    }
}
