//! Names for operations: places in a session that the store minted, each given out once.

use std::collections::BTreeSet;

use crate::limits;

/// A place in a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Which of the client's sessions, counted from 1: an answer for an old one moves nothing.
    pub generation: u64,
    /// The first sequence.
    pub sequence: u64,
    /// Sequences that belong to it; one, or as many as a batch has operations.
    pub count: u64,
}

/// The names of one session.
#[derive(Clone, Debug, Default)]
pub struct Names {
    generation: u64,
    next: u64,
    /// Given out and not yet given back. At most [`limits::SESSION_WINDOW`] of them.
    open: BTreeSet<u64>,
}

impl Names {
    /// No session yet: none can be taken before [`Names::begin`].
    pub fn new() -> Names {
        Names::default()
    }

    /// Goes on with a new session. What is open of the one before is forgotten here, and its
    /// operations keep their names.
    pub fn begin(&mut self) -> u64 {
        self.generation += 1;
        self.next = 1;
        self.open.clear();
        self.generation
    }

    /// Which session this is; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All sequences up to this one were given back: the client has their answers, or will never ask
    /// for them again.
    pub fn acknowledged(&self) -> u64 {
        self.open.first().map_or(self.next, |&first| first).saturating_sub(1)
    }

    /// Takes `count` sequences in a row; `None` while that would reach beyond what the store
    /// remembers of the session, or before there is one.
    pub fn take(&mut self, count: u64) -> Option<Name> {
        let count = count.max(1);
        let last = self.next.checked_add(count - 1)?;
        if self.generation == 0 || last - self.acknowledged() > limits::SESSION_WINDOW {
            return None;
        }
        let name = Name { generation: self.generation, sequence: self.next, count };
        self.open.extend(self.next..=last);
        self.next = last + 1;
        Some(name)
    }

    /// Gives a name back: its operation is over for the caller. True when that made room.
    pub fn give_back(&mut self, name: &Name) -> bool {
        if name.generation != self.generation {
            return false;
        }
        let before = self.acknowledged();
        for sequence in name.sequence..name.sequence.saturating_add(name.count) {
            self.open.remove(&sequence);
        }
        self.acknowledged() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_given_out_once_and_never_beyond_the_window() {
        let mut names = Names::new();
        assert_eq!(names.take(1), None, "there is no session yet");
        names.begin();
        let mut given: Vec<Name> = std::iter::from_fn(|| names.take(1)).collect();
        assert_eq!(given.len() as u64, limits::SESSION_WINDOW);
        assert_eq!((given[0].sequence, names.acknowledged()), (1, 0));
        // The oldest without an answer holds the window, however many behind it are answered.
        let oldest = given.remove(0);
        assert!(given.iter().all(|name| !names.give_back(name)));
        assert_eq!(names.take(1), None);
        assert!(names.give_back(&oldest));
        assert_eq!(names.acknowledged(), limits::SESSION_WINDOW);
        assert_eq!(names.take(1).map(|name| name.sequence), Some(limits::SESSION_WINDOW + 1));
    }

    #[test]
    fn a_batch_takes_its_sequences_in_a_row() {
        let mut names = Names::new();
        names.begin();
        let batch = names.take(5).unwrap();
        let next = names.take(1).unwrap();
        assert_eq!((batch.sequence, batch.count, next.sequence), (1, 5, 6));
        assert_eq!(names.take(limits::SESSION_WINDOW), None);
        names.give_back(&next);
        assert_eq!(names.acknowledged(), 0);
        names.give_back(&batch);
        assert_eq!(names.acknowledged(), 6);
    }

    #[test]
    fn a_name_of_an_old_session_moves_nothing_in_the_new_one() {
        let mut names = Names::new();
        names.begin();
        let old = names.take(1).unwrap();
        names.begin();
        let new = names.take(1).unwrap();
        assert!(!names.give_back(&old));
        assert_eq!(names.acknowledged(), 0);
        assert!(names.give_back(&new));
    }
}
