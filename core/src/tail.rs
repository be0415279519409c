//! The newest changes of a shard, ready for subscribers that are level with it.

use std::collections::VecDeque;

use crate::change::Change;
use crate::limits;
use crate::types::Sequence;

/// Recent changes of one shard, dense, and where the shard is. A node has one per group and feeds it
/// with each [`crate::Effect::Changes`](crate::Effect); whoever is further behind reads what the store
/// retains.
///
/// Holds [`limits::TAIL_CHANGES_MAX`] changes and [`limits::TAIL_BYTES_MAX`] bytes at most.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Behind this one they begin.
    after: Sequence,
    changes: VecDeque<Change>,
    bytes: usize,
}

impl Tail {
    /// Takes the changes behind `after`, perhaps none. Where they do not follow on the last one, the
    /// store has jumped: what was here is forgotten.
    pub fn push(&mut self, after: Sequence, changes: Vec<Change>) {
        if after != self.last() {
            *self = Tail { after, ..Tail::default() };
        }
        for change in changes {
            let next = self.last().0 + 1;
            assert_eq!(change.sequence.0, next, "changes_are_dense");
            self.bytes += change.bytes();
            self.changes.push_back(change);
        }
        while self.changes.len() > limits::TAIL_CHANGES_MAX || self.bytes > limits::TAIL_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.after = oldest.sequence;
        }
    }

    /// The last change that the store has applied.
    pub fn last(&self) -> Sequence {
        Sequence(self.after.0 + u64::try_from(self.changes.len()).unwrap_or(u64::MAX))
    }

    /// How many changes are here.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The change at a place; `None` when it is too old to be here, or has yet to come.
    pub fn get(&self, sequence: Sequence) -> Option<&Change> {
        let place = sequence.0.checked_sub(self.after.0)?.checked_sub(1)?;
        self.changes.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::change;

    fn held(tail: &Tail) -> Vec<u64> {
        (0..=tail.last().0 + 1)
            .filter_map(|at| tail.get(Sequence(at)))
            .map(|change| change.sequence.0)
            .collect()
    }

    #[test]
    fn it_follows_the_store_and_a_jump_clears_it() {
        let mut tail = Tail::default();
        assert_eq!((tail.last(), held(&tail)), (Sequence(0), vec![]));
        tail.push(Sequence(0), vec![change(1, "a"), change(2, "b")]);
        tail.push(Sequence(2), vec![]);
        tail.push(Sequence(2), vec![change(3, "a")]);
        assert_eq!((tail.last(), held(&tail)), (Sequence(3), vec![1, 2, 3]));
        tail.push(Sequence(7), vec![]);
        assert_eq!((tail.last(), held(&tail)), (Sequence(7), vec![]));
        tail.push(Sequence(9), vec![change(10, "a")]);
        assert_eq!((tail.last(), held(&tail)), (Sequence(10), vec![10]));
        assert_eq!(tail.bytes, change(10, "a").bytes());
    }

    #[test]
    #[should_panic(expected = "changes_are_dense")]
    fn a_gap_is_never_taken() {
        Tail::default().push(Sequence(0), vec![change(1, "a"), change(3, "a")]);
    }

    #[test]
    fn it_is_bounded_by_count_and_by_bytes() {
        let mut tail = Tail::default();
        for at in 1..=12_000 {
            tail.push(Sequence(at - 1), vec![change(at, "a")]);
        }
        assert_eq!(tail.changes.len(), limits::TAIL_CHANGES_MAX);
        assert_eq!((tail.last(), tail.after), (Sequence(12_000), Sequence(2_000)));
        assert!(tail.get(Sequence(2_000)).is_none());
        assert_eq!(tail.get(Sequence(2_001)).unwrap().sequence, Sequence(2_001));

        let long = |at| crate::subscription::tests::sized(at, "a", 1024 * 1024);
        tail.push(Sequence(12_000), (12_001..=12_040).map(long).collect());
        assert!(tail.bytes <= limits::TAIL_BYTES_MAX);
        assert_eq!((tail.changes.len(), tail.last()), (15, Sequence(12_040)));
    }
}
