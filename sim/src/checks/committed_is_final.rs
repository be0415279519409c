//! What anybody has applied at an index is what everybody applies there, for ever: the same entry
//! (Raft §5.4, Leader Completeness) and the same state after it (§5.4.3, State Machine Safety).

use std::collections::BTreeMap;

use understudy_core::message::LogPosition;
use understudy_core::{GroupId, NodeId};

use super::Violation;

/// The first witness of each applied index.
#[derive(Default)]
pub struct CommittedIsFinal {
    applied: BTreeMap<(GroupId, u64), Witness>,
    /// The last index each node has applied in this life.
    last: BTreeMap<(NodeId, GroupId), u64>,
}

struct Witness {
    term: u64,
    state_hash: u64,
    node: NodeId,
}

impl CommittedIsFinal {
    /// `node` has died: it will apply its log again.
    pub fn restarts(&mut self, node: NodeId) {
        self.last.retain(|&(who, _), _| who != node);
    }

    /// `node` has applied an entry.
    ///
    /// # Errors
    /// Another node, or the same one earlier, applied something else there.
    pub fn applied(
        &mut self,
        node: NodeId,
        group: GroupId,
        term: u64,
        index: u64,
        state_hash: u64,
    ) -> Result<(), Violation> {
        if let Some(last) = self.last.insert((node, group), index)
            && index != last + 1
        {
            let explanation = format!("N{node} applied {index} after {last} in group {group}");
            return Err(Violation::safety("committed_is_final", explanation));
        }
        let witness =
            self.applied.entry((group, index)).or_insert(Witness { term, state_hash, node });
        let first = witness.node;
        if witness.term != term {
            let explanation = format!(
                "index {index} of group {group} has two contents: N{first} applied that of term \
                 {}, N{node} that of term {term}",
                witness.term
            );
            return Err(Violation::safety("committed_is_final", explanation));
        }
        if witness.state_hash != state_hash {
            let explanation = format!(
                "after {term}.{index} of group {group} the state of N{first} has hash {:016x}, \
                 that of N{node} {state_hash:016x}",
                witness.state_hash
            );
            return Err(Violation::safety("replicas_equal", explanation));
        }
        Ok(())
    }

    /// `node` has taken a snapshot in place of its state.
    ///
    /// # Errors
    /// Somebody has applied something else at its last index.
    pub fn installed(
        &mut self,
        node: NodeId,
        group: GroupId,
        position: LogPosition,
    ) -> Result<(), Violation> {
        let LogPosition { term, index } = position;
        self.last.insert((node, group), index);
        match self.applied.get(&(group, index)) {
            Some(witness) if witness.term == term => Ok(()),
            Some(Witness { term: theirs, node: first, .. }) => {
                let explanation = format!(
                    "N{node} installed a snapshot that ends with {term}.{index} of group {group}, \
                     where N{first} applied an entry of term {theirs}"
                );
                Err(Violation::safety("committed_is_final", explanation))
            }
            None => {
                let explanation = format!(
                    "N{node} installed a snapshot that ends with {term}.{index} of group {group}, \
                     which nobody has applied"
                );
                Err(Violation::safety("committed_is_final", explanation))
            }
        }
    }

    /// The highest index anybody has applied in `group`.
    pub fn highest(&self, group: GroupId) -> Option<u64> {
        let all = (group, 0)..=(group, u64::MAX);
        self.applied.range(all).next_back().map(|(&(_, index), _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);

    /// N1 has applied two entries.
    fn applied() -> CommittedIsFinal {
        let mut committed = CommittedIsFinal::default();
        committed.applied(NodeId(1), GROUP, 3, 1, 0xa).unwrap();
        committed.applied(NodeId(1), GROUP, 3, 2, 0xb).unwrap();
        committed
    }

    #[track_caller]
    fn is_found(property: &str, node: u64, term: u64, index: u64, state_hash: u64) {
        let verdict = applied().applied(NodeId(node), GROUP, term, index, state_hash);
        assert_eq!(verdict.expect_err("it must be rejected").property, property);
    }

    #[test]
    fn an_applied_entry_that_changed_is_found() {
        is_found("committed_is_final", 2, 4, 2, 0xb);
        applied().applied(NodeId(2), GROUP, 3, 1, 0xa).expect("the same entry");
    }

    #[test]
    fn a_gap_or_a_repeat_is_found() {
        is_found("committed_is_final", 1, 3, 4, 0xc);
        is_found("committed_is_final", 1, 3, 2, 0xb);
        applied().applied(NodeId(1), GROUP, 3, 3, 0xc).expect("the next one");
        let mut committed = applied();
        committed.restarts(NodeId(1));
        committed.applied(NodeId(1), GROUP, 3, 1, 0xa).expect("it applies its log again");
        assert_eq!(committed.highest(GROUP), Some(2));
    }

    #[test]
    fn a_snapshot_of_what_nobody_applied_is_found() {
        let install = |term, index| {
            let position = LogPosition { term, index };
            applied().installed(NodeId(2), GROUP, position)
        };
        for (term, index) in [(4, 2), (3, 3)] {
            assert_eq!(install(term, index).unwrap_err().property, "committed_is_final");
        }
        install(3, 2).expect("the state after the last entry");
        let mut committed = applied();
        committed.installed(NodeId(2), GROUP, LogPosition { term: 3, index: 1 }).unwrap();
        committed.applied(NodeId(2), GROUP, 3, 2, 0xb).expect("it goes on from the snapshot");
    }

    #[test]
    fn another_state_after_the_same_entry_is_found() {
        is_found("replicas_equal", 2, 3, 2, 0xff);
    }
}
