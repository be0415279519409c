//! At most one node leads a group in a term (Raft §5.2, Election Safety).

use std::collections::BTreeMap;

use understudy_core::{GroupId, NodeId};

use super::Violation;

/// Who has led which term of which group.
#[derive(Default)]
pub struct OneLeaderPerTerm {
    leaders: BTreeMap<(GroupId, u64), NodeId>,
}

impl OneLeaderPerTerm {
    /// `node` says that it leads.
    ///
    /// # Errors
    /// Another node led the same term.
    pub fn leads(&mut self, group: GroupId, term: u64, node: NodeId) -> Result<(), Violation> {
        let first = *self.leaders.entry((group, term)).or_insert(node);
        if first == node {
            return Ok(());
        }
        let explanation = format!("N{first} and N{node} both lead term {term} of group {group}");
        Err(Violation::safety("one_leader_per_term", explanation))
    }

    /// How many leaders there have been, over all groups.
    pub fn elected(&self) -> u64 {
        self.leaders.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_in_one_term_are_found() {
        let mut leaders = OneLeaderPerTerm::default();
        let mut leads = |group, term, node| leaders.leads(GroupId(group), term, NodeId(node));
        leads(1, 7, 1).unwrap();
        leads(1, 7, 1).expect("it says so again");
        leads(1, 8, 2).expect("another term");
        leads(2, 7, 2).expect("another group");
        assert_eq!(leads(1, 7, 2).unwrap_err().property, "one_leader_per_term");
        assert_eq!(leaders.elected(), 3);
    }
}
