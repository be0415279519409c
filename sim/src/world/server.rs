//! What the world sees of all replicas together: the checks at every event, and at the end.

use understudy_core::event::Role;
use understudy_core::{Event, GroupId, GroupStatus, NodeId, Sequence};

use super::{World, place};
use crate::checks::Violation;
use crate::checks::replicas_equal::{self, Dump};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Steps of all replicas.
    pub steps: u64,
    /// Starts of all replicas.
    pub starts: u64,
    /// Answers from the op-log.
    pub replays: u64,
    /// Attempts whose client did not learn the outcome.
    pub unknown_answers: u64,
    /// Entries applied, over all replicas and lives.
    pub applied: u64,
    /// Client operations with an outcome.
    pub answered: u64,
    /// Client operations left unknown.
    pub unknown: u64,
    /// Actors whose history was too entangled to order.
    pub entangled: u64,
}

impl World {
    /// Checks an event against all that other nodes have said.
    pub(super) fn observe(&mut self, node: NodeId, event: &Event) {
        let verdict = match event {
            Event::Role { group, role: Role::Leader, term, .. } => {
                self.leaders.leads(*group, *term, node)
            }
            Event::Role { .. } | Event::Dropped { .. } => Ok(()),
            Event::Applied { group, term, index, state_hash } => {
                self.totals.applied += 1;
                self.committed.applied(node, *group, *term, *index, *state_hash)
            }
        };
        if let Err(violation) = verdict {
            self.fail(violation);
        }
    }

    /// Leaders elected so far.
    pub fn elected(&self) -> u64 {
        self.leaders.elected()
    }

    /// A node that says it leads some group.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |group: &GroupStatus| group.role == Role::Leader;
        let mut nodes = self.nodes().iter();
        let leader = nodes.find(|node| node.status().is_some_and(|s| s.groups.iter().any(leads)));
        leader.map(|node| node.id)
    }

    /// Why the replicas have not converged yet; `None` when they have.
    pub fn pending(&self) -> Option<String> {
        let mut reasons = Vec::new();
        for group in self.groups() {
            let statuses: Vec<_> =
                self.nodes().iter().map(|node| group_of(node.status(), group)).collect();
            if statuses.iter().any(Option::is_none) {
                reasons.push(format!("group {group}: a node is down"));
                continue;
            }
            let statuses: Vec<GroupStatus> = statuses.into_iter().flatten().collect();
            let settled = statuses.iter().all(|status| {
                status.applied == statuses[0].applied
                    && status.head == status.applied
                    && status.commit == status.applied
            });
            if !settled || !statuses.iter().any(|status| status.role == Role::Leader) {
                let each = statuses.iter().zip(self.ids()).map(|(status, node)| {
                    format!(
                        "N{node} {:?} term {} head {} commit {} applied {}",
                        status.role, status.term, status.head, status.commit, status.applied
                    )
                });
                reasons.push(format!("group {group}: {}", each.collect::<Vec<_>>().join(", ")));
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The rows of every group and the end of its order, once the replicas have converged.
    ///
    /// # Errors
    /// Replicas at the same index that differ.
    pub fn final_state(&self) -> Result<Vec<(Dump, Sequence)>, Violation> {
        let mut states = Vec::new();
        for group in self.groups() {
            let dumps: Vec<(NodeId, Dump)> = self
                .nodes()
                .iter()
                .filter_map(|node| node.replica().map(|replica| (node.id, replica.dump(group))))
                .collect();
            replicas_equal::compare(group, &dumps)?;
            let status = group_of(self.nodes()[place(dumps[0].0)].status(), group);
            let end = status.map_or(Sequence(0), |status| status.sequence);
            states.extend(dumps.into_iter().next().map(|(_, dump)| (dump, end)));
        }
        Ok(states)
    }
}

fn group_of(status: Option<understudy_core::Status>, group: GroupId) -> Option<GroupStatus> {
    status?.groups.into_iter().find(|status| status.group == group)
}
