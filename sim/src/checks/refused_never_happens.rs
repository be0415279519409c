//! What was refused, or said not to have happened, is never seen (docs/SEMANTICS.md: every failure says
//! `Refused` or `Unknown`); and nobody sees a document that no client wrote.

use std::collections::BTreeMap;

use understudy_core::{ActorId, Outcome, Record};

use super::Violation;
use super::replicas_equal::Dump;
use crate::history::{self, Ask, Entry, Fate};

/// Judges every record that a read, a deletion or the final state shows.
///
/// # Errors
/// A record whose writer was refused, or wrote to another actor, or does not exist.
pub fn check(entries: &[Entry], dumps: &[Dump]) -> Result<(), Violation> {
    let writers: BTreeMap<u64, &Entry> =
        entries.iter().map(|entry| (entry.number, entry)).collect();
    for entry in entries {
        let record = match &entry.fate {
            Fate::Saw(Some(record)) | Fate::Outcome(Outcome::Deleted { record, .. }) => record,
            Fate::Saw(None) | Fate::Outcome(_) | Fate::Unknown | Fate::DidNotHappen => continue,
        };
        let (namespace, actor) = (entry.namespace, history::actor(entry.actor));
        judge(&writers, namespace, &actor, record).map_err(|why| {
            Violation::safety("refused_never_happens", format!("{why}; seen by {entry}"))
        })?;
    }
    for (namespace, dump) in dumps.iter().enumerate() {
        for (actor, record) in dump {
            judge(&writers, namespace, actor, record).map_err(|why| {
                Violation::safety("refused_never_happens", format!("{why}; in the final state"))
            })?;
        }
    }
    Ok(())
}

fn judge(
    writers: &BTreeMap<u64, &Entry>,
    namespace: usize,
    actor: &ActorId,
    record: &Record,
) -> Result<(), String> {
    let writer = history::written_by(&record.value).and_then(|number| writers.get(&number));
    let Some(writer) = writer else { return Err(format!("nobody wrote {record:?}")) };
    if (writer.namespace, &history::actor(writer.actor)) != (namespace, actor) {
        return Err(format!("{record:?} of {namespace}/{actor} was written to another: {writer}"));
    }
    match (&writer.ask, &writer.fate) {
        (Ask::Read { .. }, _) => Err(format!("{record:?} was written by a read: {writer}")),
        (Ask::Write { .. }, Fate::DidNotHappen | Fate::Outcome(Outcome::Refused(_))) => {
            Err(format!("{record:?} was written by an operation that did not happen: {writer}"))
        }
        (Ask::Write { .. }, _) => Ok(()),
    }
}
