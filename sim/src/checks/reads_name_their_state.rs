//! Every read, and every page of a scan, shows the state at the sequence it names (S0-072, X-11;
//! docs/SEMANTICS.md, sessions and scans).
//!
//! Scans come here taken apart: all that a page shows, and whom it leaves out, names one state. Over
//! all nodes and actors of a namespace:
//! - the applied index and the sequence name the same prefix: a higher index, no lower sequence;
//! - a change up to the sequence shows, unless a later one of that actor does, and one behind it does
//!   not; whoever was written last and not deleted is there;
//! - a session's read names no lower sequence than the session holds: it reads its own writes, and
//!   never goes back;
//! - a linearizable or lease read holds all that was acknowledged before it was called, and no read
//!   what was called after it had returned.

use understudy_core::{Operation, Outcome, ReadLevel, Record, Sequence};

use super::{About, Violation};
use crate::history::{Ask, Entry, Fate, is_strong};
use crate::oracle::by_namespace;

/// Judges every look.
///
/// # Errors
/// The first that is not of the state it names.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    for entries in by_namespace(entries).values() {
        let mut looks: Vec<Look> = entries.iter().filter_map(|entry| Look::of(entry)).collect();
        looks.sort_by_key(|look| (look.applied, look.sequence, look.entry.number));
        for pair in looks.windows(2) {
            let same = pair[0].applied == pair[1].applied;
            if pair[1].sequence < pair[0].sequence || same && pair[0].sequence != pair[1].sequence {
                let why = format!("{}; but {}", pair[0].words(), pair[1].words());
                return Err(violation(why, &[pair[0].entry, pair[1].entry]));
            }
        }
        let changes: Vec<(&Entry, Sequence)> =
            entries.iter().filter_map(|entry| Some((*entry, entry.sequence()?))).collect();
        for look in &looks {
            look.holds_the_session()?;
            changes.iter().try_for_each(|&(change, at)| look.agrees(change, at))?;
            look.leaves_nobody_out(entries, &changes)?;
        }
    }
    Ok(())
}

/// A look at one actor, and the state it names.
struct Look<'a> {
    entry: &'a Entry,
    level: ReadLevel,
    record: Option<&'a Record>,
    applied: u64,
    sequence: Sequence,
}

impl<'a> Look<'a> {
    fn of(entry: &'a Entry) -> Option<Look<'a>> {
        let (Ask::Read { level }, Fate::Saw { record, applied, sequence }) =
            (&entry.ask, &entry.fate)
        else {
            return None;
        };
        let (level, record) = (*level, record.as_ref());
        Some(Look { entry, level, record, applied: *applied, sequence: *sequence })
    }

    fn words(&self) -> String {
        let Look { entry, applied, sequence, .. } = self;
        format!("{entry} at sequence {sequence} with {applied} entries applied")
    }

    fn holds_the_session(&self) -> Result<(), Violation> {
        match self.level {
            ReadLevel::Session { min } if self.sequence < min => {
                let why = format!("{}; but its session had come to {min}", self.words());
                Err(violation(why, &[self.entry]))
            }
            _ => Ok(()),
        }
    }

    /// Whether the look holds `change`, which was the `at`th, as it should.
    fn agrees(&self, change: &Entry, at: Sequence) -> Result<(), Violation> {
        let is_acked = is_strong(self.level) && change.is_before(self.entry);
        let (held, shows) = (at <= self.sequence, self.shows(change));
        let what = if is_acked && !held {
            "was acknowledged before that was called"
        } else if held && self.entry.is_before(change) {
            "was called only later"
        } else if held && shows == Some(false) {
            "is part of that state and does not show"
        } else if !held && shows == Some(true) {
            "is no part of that state and shows"
        } else {
            return Ok(());
        };
        Err(violation(format!("{}; but {change}: {what}", self.words()), &[self.entry, change]))
    }

    /// Whether what it shows of the change's actor is from after the change; `None`: unknown.
    fn shows(&self, change: &Entry) -> Option<bool> {
        let shown = self.record.filter(|_| change.actor == self.entry.actor)?.token;
        match &change.fate {
            Fate::Outcome(Outcome::Written { token, .. }) => Some(*token <= shown),
            Fate::Outcome(Outcome::Deleted { record, .. }) => {
                Some(record.token.created < shown.created)
            }
            _ => None,
        }
    }

    /// Nobody saw a deletion, and nobody can have made one in secret: then the actor is there.
    fn leaves_nobody_out(
        &self,
        entries: &[&Entry],
        changes: &[(&Entry, Sequence)],
    ) -> Result<(), Violation> {
        let mine = |entry: &Entry| entry.actor == self.entry.actor;
        let held = changes.iter().filter(|(change, at)| mine(change) && *at <= self.sequence);
        let last = held.max_by_key(|(_, at)| *at);
        let Some((last, _)) = last.filter(|(last, _)| last.token().is_some()) else {
            return Ok(());
        };
        let is_secret = |entry: &&&Entry| {
            mine(entry)
                && entry.is_unknown_write()
                && deletes(entry)
                && !self.entry.is_before(entry)
        };
        if self.record.is_some() || entries.iter().any(|entry| is_secret(&entry)) {
            return Ok(());
        }
        let why = format!("{}; but {last}, and nobody deleted it", self.words());
        Err(violation(why, &[self.entry, last]))
    }
}

fn deletes(entry: &Entry) -> bool {
    matches!(&entry.ask, Ask::Write { operation: Operation::Delete { .. }, .. })
}

fn violation(why: String, about: &[&Entry]) -> Violation {
    let about = About::of(about.iter().copied());
    Violation::safety("reads_name_their_state", why).about(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{
        deleted, expired, listed, peeked, put, rejected, saw, unheard, written,
    };
    use crate::history::looks;

    #[track_caller]
    fn rejects(entries: &[Entry], words: &str) {
        rejected(check(&looks(entries)), "reads_name_their_state", words);
    }

    #[track_caller]
    fn accepts(entries: &[Entry]) {
        check(&looks(entries)).unwrap();
    }

    /// Two versions of actor 0, one of actor 1, which is deleted again.
    fn and(more: &[Entry]) -> Vec<Entry> {
        let changes = [
            put(1, 0, (1, 2), written(1, 1, 1)),
            put(2, 0, (3, 4), written(1, 2, 2)),
            put(3, 1, (5, 6), written(3, 1, 3)),
            deleted(4, 1, (7, 8), (3, 1, 3), 4),
        ];
        [&changes[..], more].concat()
    }

    fn in_session(min: u64, read: Entry) -> Entry {
        Entry { ask: Ask::Read { level: ReadLevel::Session { min: Sequence(min) } }, ..read }
    }

    // The helpers give a read as many changes as entries.
    #[test]
    fn a_read_shows_what_its_sequence_says() {
        accepts(&and(&[
            peeked(5, 0, (9, 10), Some((1, 1, 1)), 1),
            peeked(6, 1, (9, 10), None, 1),
            peeked(7, 1, (9, 10), Some((3, 1, 3)), 3),
            peeked(8, 1, (9, 10), None, 4),
            saw(9, 0, (9, 10), Some((1, 2, 2)), 4),
            in_session(2, peeked(10, 0, (9, 10), Some((1, 2, 2)), 2)),
        ]));
        rejects(&and(&[peeked(5, 0, (9, 10), Some((1, 1, 1)), 2)]), "does not show");
        rejects(&and(&[peeked(5, 0, (9, 10), Some((1, 2, 2)), 1)]), "no part of that state");
        rejects(&and(&[peeked(5, 0, (9, 10), None, 3)]), "nobody deleted it");
        rejects(&and(&[peeked(5, 0, (3, 4), Some((1, 2, 2)), 3)]), "called only later");
        rejects(&and(&[saw(5, 0, (9, 10), Some((1, 2, 2)), 3)]), "was acknowledged before");
    }

    #[test]
    fn a_session_that_goes_back_is_found() {
        let back = in_session(2, peeked(5, 0, (9, 10), Some((1, 1, 1)), 1));
        rejects(&and(&[back]), "its session had come to 2");
    }

    /// The store removes an actor at its end: a change like any other, also if nobody asked for it.
    #[test]
    fn an_actor_whose_end_has_come_is_gone_from_there_on() {
        let and = |more: &[Entry]| {
            let changes = [put(1, 0, (1, 2), written(1, 1, 1)), expired(2, 0, 3, (1, 1, 1), 2)];
            [&changes[..], more].concat()
        };
        accepts(&and(&[
            peeked(3, 0, (4, 5), Some((1, 1, 1)), 1),
            peeked(4, 0, (4, 5), None, 2),
            listed(5, (6, 7), &[], false, 2),
        ]));
        rejects(&and(&[peeked(3, 0, (4, 5), Some((1, 1, 1)), 2)]), "does not show");
        rejects(&and(&[peeked(3, 0, (4, 5), None, 1)]), "nobody deleted it");
        rejects(&and(&[saw(3, 0, (4, 5), Some((1, 1, 1)), 1)]), "was acknowledged before");
        rejects(&and(&[listed(3, (4, 5), &[(0, (1, 1, 1))], false, 2)]), "does not show");
    }

    #[test]
    fn one_index_has_one_sequence_and_higher_ones_no_lower() {
        let at = |number, applied, sequence| {
            let mut read = peeked(number, 9, (9, 10), None, applied);
            read.fate = Fate::Saw { record: None, applied, sequence: Sequence(sequence) };
            read
        };
        accepts(&and(&[at(5, 7, 2), at(6, 8, 2), at(7, 9, 3)]));
        rejects(&and(&[at(5, 7, 2), at(6, 7, 3)]), "at sequence 3");
        rejects(&and(&[at(5, 7, 3), at(6, 8, 2)]), "at sequence 2");
    }

    #[test]
    fn a_page_is_of_one_state_also_by_whom_it_leaves_out() {
        let (both, first) = ([(0, (1, 2, 2)), (1, (3, 1, 3))], [(0, (1, 2, 2))]);
        accepts(&and(&[listed(5, (9, 10), &both, false, 3)]));
        accepts(&and(&[listed(5, (9, 10), &first, false, 4)]));
        accepts(&and(&[listed(5, (9, 10), &first, true, 3)]));
        rejects(&and(&[listed(5, (9, 10), &first, false, 3)]), "nobody deleted it");
        // Half of it is older.
        let torn = [(0, (1, 1, 1)), (1, (3, 1, 3))];
        rejects(&and(&[listed(5, (9, 10), &torn, false, 3)]), "does not show");
        rejects(&and(&[listed(5, (9, 10), &[], false, 2)]), "nobody deleted it");
        let perhaps = Entry {
            ask: Ask::Write {
                op: understudy_core::OpId::Named("5".to_owned()),
                operation: Operation::Delete { expected: None },
            },
            ..unheard(5, 0, 5)
        };
        accepts(&and(&[perhaps, listed(6, (9, 10), &[], false, 2)]));
    }
}
