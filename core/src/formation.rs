//! Who writes a group's first entry, its voters (ADR 9).
//!
//! One data folder may: that of the group's founder, the lowest member of the configuration. It
//! writes the entry when every other member has promised, in this life of the founder, that it holds
//! nothing of the group and takes its first members from this folder alone. A promise is on the disk
//! before it is given, and never taken back: a founder that has lost its folder gets none from
//! whoever has promised before, so a group never begins twice while one such folder is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::types::{GroupId, Incarnation, Instant, NodeId, ReplicaId};

/// What the other members have said about groups of which this one holds nothing, or in which it
/// has no vote.
pub struct Formation {
    me: ReplicaId,
    others: Vec<NodeId>,
    /// The last answer of each of them in this life.
    answers: BTreeMap<NodeId, Answer>,
    /// When they are greeted again.
    next: Instant,
}

struct Answer {
    incarnation: Incarnation,
    held: BTreeSet<GroupId>,
    promised: BTreeSet<GroupId>,
}

impl Formation {
    /// Of a replica that has heard from nobody yet.
    pub fn new(me: ReplicaId, nodes: &[NodeId]) -> Formation {
        let others = nodes.iter().copied().filter(|&node| node != me.node).collect();
        Formation { me, others, answers: BTreeMap::new(), next: Instant(0) }
    }

    /// The other members.
    pub fn others(&self) -> &[NodeId] {
        &self.others
    }

    /// The member that founds groups.
    pub fn founder(&self) -> NodeId {
        self.others.iter().copied().fold(self.me.node, NodeId::min)
    }

    /// `peer` holds something of the groups `held`, and takes the first members of `promised` from us
    /// alone.
    pub fn answered(&mut self, peer: ReplicaId, held: Vec<GroupId>, promised: Vec<GroupId>) {
        let (held, promised) = (held.into_iter().collect(), promised.into_iter().collect());
        let answer = Answer { incarnation: peer.incarnation, held, promised };
        self.answers.insert(peer.node, answer);
    }

    /// The first voters of `group`, once this replica is to write them.
    pub fn voters(&self, group: GroupId) -> Option<Vec<ReplicaId>> {
        if self.founder() != self.me.node {
            return None;
        }
        let promised = |node: &NodeId| {
            let answer = self.answers.get(node).filter(|answer| answer.promised.contains(&group));
            answer.map(|answer| ReplicaId { node: *node, incarnation: answer.incarnation })
        };
        let mut voters: Vec<ReplicaId> = self.others.iter().filter_map(promised).collect();
        if planted!(FormsWithMajority) && voters.len() >= self.others.len().div_ceil(2) {
            let unknown = |&node: &NodeId| ReplicaId { node, ..ReplicaId::default() };
            let missing = self.others.iter().filter(|node| promised(node).is_none());
            voters.extend(missing.map(unknown).collect::<Vec<_>>());
        }
        voters.push(self.me);
        voters.sort_unstable();
        (voters.len() == self.others.len() + 1).then_some(voters)
    }

    /// Whether some other member holds something of `group`.
    pub fn is_held(&self, group: GroupId) -> bool {
        self.answers.values().any(|answer| answer.held.contains(&group))
    }

    /// Whom `group`, of which nobody holds anything, waits for: those that have not answered, or else
    /// have not promised; or the founder, who may know more.
    pub fn unmet(&self, group: GroupId) -> Vec<NodeId> {
        let without = |wanted: fn(&Answer, GroupId) -> bool| {
            let has =
                |node: &NodeId| self.answers.get(node).is_some_and(|answer| wanted(answer, group));
            self.others.iter().copied().filter(|node| !has(node)).collect::<Vec<_>>()
        };
        let silent = without(|_, _| true);
        if !silent.is_empty() {
            return silent;
        }
        match self.founder() == self.me.node {
            true => without(|answer, group| answer.promised.contains(&group)),
            false => vec![self.founder()],
        }
    }

    /// Whom to greet now. Again after [`limits::HELLO_EVERY`].
    pub fn due(&mut self, now: Instant) -> Vec<NodeId> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.after(limits::HELLO_EVERY);
        self.others.clone()
    }

    /// When somebody is to be greeted next, if there is anybody.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.others.is_empty()).then_some(self.next)
    }
}
