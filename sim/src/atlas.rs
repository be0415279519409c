//! The fault atlas: which nodes may lose or damage what they had synced, so that what is asked of the
//! cluster stays possible (after TigerBeetle's `ClusterFaultAtlas`). A node that was repaired gives
//! its place back, so over a run all may be harmed, one after the other.
//!
//! The contract of a profile is a number of nodes. Within it the cluster must go on and lose nothing;
//! beyond it the cluster may stop, but must never lie.

use std::collections::BTreeSet;

use understudy_core::NodeId;

/// Hands out damage.
#[derive(Debug)]
pub struct Atlas {
    nodes_max: u64,
    harmed: BTreeSet<NodeId>,
}

impl Atlas {
    /// An atlas that lets up to `nodes_max` nodes be harmed.
    pub fn new(nodes_max: u64) -> Atlas {
        Atlas { nodes_max, harmed: BTreeSet::new() }
    }

    /// Whether `node` may be harmed; if so it counts as harmed from now on.
    pub fn allows(&mut self, node: NodeId) -> bool {
        let allowed = self.harmed.contains(&node) || (self.harmed.len() as u64) < self.nodes_max;
        if allowed {
            self.harmed.insert(node);
        }
        allowed
    }

    /// `node` has all that it promises again: another one may be harmed.
    pub fn heals(&mut self, node: NodeId) {
        self.harmed.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_stays_within_the_budget() {
        let mut atlas = Atlas::new(2);
        assert!(atlas.allows(NodeId(3)) && atlas.allows(NodeId(1)));
        assert!(!atlas.allows(NodeId(2)), "a third one");
        assert!(atlas.allows(NodeId(3)), "again the first one");
        atlas.heals(NodeId(1));
        assert!(atlas.allows(NodeId(2)), "another one is well again");
        assert!(!atlas.allows(NodeId(1)));
    }
}
