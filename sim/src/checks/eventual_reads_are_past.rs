//! Every read shows the state after some prefix of the order, and its applied index says which
//! (docs/SEMANTICS.md, reads: what the asked replica has, with its applied index).
//!
//! The applied index counts the entries of the group's log, so it names the same prefix on every
//! node. Reads of all levels take part; `linearizable` asks more of some, this asks what holds for
//! all, over all nodes and over all actors of a namespace:
//! - the record seen was written by a change that had been called before the read returned, and is
//!   at the version which that change was told;
//! - ordered by applied index, what reads show of an actor never goes back: its token rises, one index
//!   shows one thing, and a life that was seen to be over is over. An absent actor was not there yet
//!   or is not there any more; that alone says nothing;
//! - each read bounds the sequence its prefix reaches: the changes it must contain (those it shows,
//!   those before them; for a linearizable or lease read also those acknowledged before it was called) and
//!   those it cannot contain (the next change of an actor than what it shows; those called after it
//!   returned). A prefix with a higher index reaches at least as far;
//! - a linearizable or lease read has applied at least what any read had that returned before it was called.
//!
//! Which index a change has is not known to clients, and one index may hold several changes.

use std::collections::BTreeMap;

use understudy_core::{Outcome, ReadLevel, Record, Sequence};

use super::{About, Violation};
use crate::history::{self, Ask, Entry, Fate};
use crate::oracle::by_namespace;

/// Judges every read.
///
/// # Errors
/// The first read that shows no prefix of the order.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    let by_number: BTreeMap<u64, &Entry> = entries.iter().map(|e| (e.number, e)).collect();
    for entries in by_namespace(entries).values() {
        let mut reads: Vec<Read> = entries.iter().copied().filter_map(Read::of).collect();
        reads.sort_by_key(|read| (read.applied, read.entry.number));
        reads.iter().try_for_each(|read| was_written(read, &by_number))?;
        let mut actors: BTreeMap<u64, Vec<&Read>> = BTreeMap::new();
        for read in &reads {
            actors.entry(read.entry.actor).or_default().push(read);
        }
        actors.values().try_for_each(|reads| never_goes_back(reads))?;
        bounds_agree(&reads, entries)?;
        linearizable_reads_move_on(&reads)?;
    }
    Ok(())
}

/// A read with its answer.
struct Read<'a> {
    entry: &'a Entry,
    level: ReadLevel,
    record: Option<&'a Record>,
    applied: u64,
}

impl<'a> Read<'a> {
    fn of(entry: &'a Entry) -> Option<Read<'a>> {
        match (&entry.ask, &entry.fate) {
            (Ask::Read { level }, Fate::Saw { record, applied, .. }) => {
                Some(Read { entry, level: *level, record: record.as_ref(), applied: *applied })
            }
            (Ask::Read { .. } | Ask::Write { .. } | Ask::Scan { .. }, _) => None,
        }
    }

    /// The read in words, with its place.
    fn words(&self) -> String {
        format!("{} with {} entries applied", self.entry, self.applied)
    }
}

fn violation(why: String, about: &[&Entry]) -> Violation {
    let about = About::of(about.iter().copied());
    Violation::safety("eventual_reads_are_past", why).about(about)
}

/// That a writer exists and was not refused is for `refused_never_happens`.
fn was_written(read: &Read, by_number: &BTreeMap<u64, &Entry>) -> Result<(), Violation> {
    let Some(record) = read.record else { return Ok(()) };
    let number = history::writer(record);
    let Some(&writer) = number.and_then(|number| by_number.get(&number)) else { return Ok(()) };
    if read.entry.is_before(writer) {
        let why = format!("{}; but op {} was called only later", read.words(), writer.number);
        return Err(violation(why, &[read.entry, writer]));
    }
    match writer.token() {
        Some(token) if token != record.token => {
            Err(violation(format!("{}; but {writer}", read.words()), &[read.entry, writer]))
        }
        Some(_) | None => Ok(()),
    }
}

/// Judges the reads of one actor, by applied index.
fn never_goes_back(reads: &[&Read]) -> Result<(), Violation> {
    let contradiction = |first: &Read, second: &Read, what: &str| {
        let why = format!("{}; {}: {what}", first.words(), second.words());
        Err(violation(why, &[first.entry, second.entry]))
    };
    for pair in reads.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first.applied == second.applied && first.record != second.record {
            return contradiction(first, second, "one index shows two things");
        }
    }
    // The last read that showed the actor, and the one that showed its life to be over.
    let mut present: Option<(&Read, &Record)> = None;
    let mut over: Option<&Read> = None;
    for &read in reads {
        let Some(record) = read.record else {
            over = over.or(Some(read));
            continue;
        };
        if let Some((before, shown)) = present {
            if record.token < shown.token {
                return contradiction(before, read, "a later index shows an earlier version");
            }
            if record.token == shown.token && record.value() != shown.value() {
                return contradiction(before, read, "one version has two documents");
            }
            if let Some(over) = over
                && record.token.created == shown.token.created
            {
                return contradiction(over, read, "that life was over, as an earlier read shows");
            }
        }
        (present, over) = (Some((read, record)), None);
    }
    Ok(())
}

/// A sequence that a read's prefix holds or does not hold, and the change that says so, if it is not
/// the token itself.
#[derive(Clone, Copy)]
struct Bound<'a> {
    sequence: Sequence,
    read: &'a Read<'a>,
    change: Option<&'a Entry>,
}

impl Bound<'_> {
    fn words(&self) -> String {
        match self.change {
            Some(change) => format!("sequence {} ({})", self.sequence, change.asked()),
            None => format!("sequence {}", self.sequence),
        }
    }
}

/// Goes up the applied indexes: the highest sequence held so far is below every one not held.
fn bounds_agree(reads: &[Read], entries: &[&Entry]) -> Result<(), Violation> {
    let changes: Vec<&Entry> =
        entries.iter().copied().filter(|entry| entry.sequence().is_some()).collect();
    let mut held: Option<Bound> = None;
    for same_index in reads.chunk_by(|a, b| a.applied == b.applied) {
        for read in same_index {
            let holds = holds(read, &changes);
            held = held.into_iter().chain(holds).max_by_key(|bound| bound.sequence);
        }
        let Some(held) = held else { continue };
        for read in same_index {
            let Some(lacks) = lacks(read, &changes) else { continue };
            if lacks.sequence <= held.sequence {
                let why = format!(
                    "{} holds {}; but {} does not hold {}",
                    held.read.words(),
                    held.words(),
                    read.words(),
                    lacks.words()
                );
                let about = [Some(read.entry), Some(held.read.entry), lacks.change, held.change];
                let about: Vec<&Entry> = about.into_iter().flatten().collect();
                return Err(violation(why, &about));
            }
        }
    }
    Ok(())
}

/// The highest sequence that the read's prefix must hold.
fn holds<'a>(read: &'a Read, changes: &[&'a Entry]) -> Option<Bound<'a>> {
    let by_change = changes.iter().filter(|change| {
        let is_acked = history::is_strong(read.level) && change.is_before(read.entry);
        is_acked || shows_after(read, change) == Some(true)
    });
    let bound = |change: &&'a Entry| {
        change.sequence().map(|sequence| Bound { sequence, read, change: Some(change) })
    };
    // Version v of a life is at least v - 1 changes behind its beginning.
    let by_token = read.record.map(|record| Bound {
        sequence: Sequence(record.token.created.0 + record.token.version.0 - 1),
        read,
        change: None,
    });
    by_change.filter_map(bound).chain(by_token).max_by_key(|bound| bound.sequence)
}

/// The lowest sequence that the read's prefix cannot hold.
fn lacks<'a>(read: &'a Read, changes: &[&'a Entry]) -> Option<Bound<'a>> {
    let by_change = changes
        .iter()
        .filter(|change| read.entry.is_before(change) || shows_after(read, change) == Some(false));
    let bound = |change: &&'a Entry| {
        change.sequence().map(|sequence| Bound { sequence, read, change: Some(change) })
    };
    by_change.filter_map(bound).min_by_key(|bound| bound.sequence)
}

/// Whether what the read shows of the change's actor is from after the change. `None`: unknown.
fn shows_after(read: &Read, change: &Entry) -> Option<bool> {
    let shown = read.record.filter(|_| read.entry.actor == change.actor)?.token;
    match &change.fate {
        Fate::Outcome(Outcome::Written { token, .. }) => Some(*token <= shown),
        Fate::Outcome(Outcome::Deleted { record, .. }) => {
            Some(record.token.created < shown.created)
        }
        Fate::Outcome(Outcome::Removed { token, .. }) => Some(token.created < shown.created),
        Fate::Outcome(Outcome::Refused(_) | Outcome::Batch(_))
        | Fate::Unknown
        | Fate::DidNotHappen
        | Fate::Saw { .. }
        | Fate::Listed { .. } => None,
    }
}

/// By return, the highest applied index so far is no higher than that of a linearizable read called
/// after it.
fn linearizable_reads_move_on(reads: &[Read]) -> Result<(), Violation> {
    for read in reads.iter().filter(|read| history::is_strong(read.level)) {
        // The reads are in order of index, so those with a higher one are behind it.
        let ahead = reads.iter().rev().take_while(|other| other.applied > read.applied);
        if let Some(before) = ahead.into_iter().find(|other| other.entry.is_before(read.entry)) {
            let why = format!("{}; but before it was called: {}", read.words(), before.words());
            return Err(violation(why, &[read.entry, before.entry]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
