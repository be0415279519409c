//! What the world sees of all replicas together: the checks at every event, and at the end.

use understudy_core::event::Role;
use understudy_core::message::SnapshotChunk;
use understudy_core::{
    DropReason, Event, GroupId, GroupStatus, NodeId, RepairStep, ReplicaId, Sequence, limits,
};

use super::{Node, World, place};
use crate::checks::Violation;
use crate::checks::replicas_equal::{self, Dump};
use crate::checks::replicas_never_diverge;
use crate::marks::Mark;

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
    /// Changes that replicas told, over all replicas and lives: each was held against the others.
    pub changes: u64,
    /// Changes and rows of snapshots that subscribers heard: each was held against what they were to
    /// hear.
    pub heard: u64,
}

impl World {
    /// Checks an event against all that other nodes have said.
    pub(super) fn observe(&mut self, node: NodeId, event: &Event) {
        self.mark_event(node, event);
        let verdict = match event {
            Event::Role { group, role, term, .. } => self.role(node, *group, *role, *term),
            Event::Applied { group, term, index, state_hash } => {
                self.totals.applied += 1;
                self.committed.applied(node, *group, *term, *index, *state_hash)
            }
            Event::SnapshotInstalled { group, position } => {
                self.committed.installed(node, *group, *position)
            }
            Event::Diverged { group, index, leader, .. } => {
                replicas_never_diverge::check(node, *leader, *group, *index)
            }
            Event::Expired { group, expired } => {
                let tick = self.tick();
                self.expired.expired(node, *group, tick, expired)
            }
            Event::Formed { .. }
            | Event::Repair { .. }
            | Event::Dropped { .. }
            | Event::Checkpoint { .. }
            | Event::CheckpointFailed { .. }
            | Event::HandsOver { .. }
            | Event::LeaseReads { .. }
            | Event::SnapshotRefused { .. }
            | Event::Truncated { .. } => Ok(()),
        };
        if let Err(violation) = verdict {
            self.fail(violation);
        }
    }

    fn role(
        &mut self,
        node: NodeId,
        group: GroupId,
        role: Role,
        term: u64,
    ) -> Result<(), Violation> {
        let highest = self.terms.entry(group).or_default();
        *highest = term.max(*highest);
        self.roles.insert((group, node), (role, term));
        if role == Role::Leader { self.leaders.leads(group, term, node) } else { Ok(()) }
    }

    fn mark_event(&mut self, node: NodeId, event: &Event) {
        let mark = match event {
            Event::Role { group, role, term, .. } => self.mark_role(node, *group, *role, *term),
            Event::Applied { group, term, index, .. } => {
                self.mark_applied(node, *group, *index);
                let first = self.committed.highest(*group).is_none_or(|highest| highest < *index);
                let led = self.roles.get(&(*group, node));
                let up = self.nodes.iter().filter(|node| node.is_up()).count();
                if first && led.is_some_and(|&(role, now)| role == Role::Leader && now > *term) {
                    Some(Mark::OldTermCommitted)
                } else {
                    (first && up == self.nodes.len() / 2 + 1).then_some(Mark::BareMajority)
                }
            }
            Event::Dropped { reason: DropReason::OtherIncarnation, .. } => {
                Some(Mark::LostFolderAsked)
            }
            Event::Dropped { reason: DropReason::Stale, .. } => Some(Mark::StaleAnswerDropped),
            Event::Dropped { .. } => None,
            Event::Checkpoint { group, .. } => {
                let seen = self.nodes[place(node)].seen.entry(*group).or_default();
                if std::mem::take(&mut seen.checkpoint_failed) {
                    self.marks.met(Mark::CheckpointFailedAndRetried);
                }
                Some(Mark::CheckpointMade)
            }
            Event::CheckpointFailed { group, .. } => {
                let seen = self.nodes[place(node)].seen.entry(*group).or_default();
                seen.checkpoint_failed = true;
                None
            }
            Event::SnapshotInstalled { group, position } => {
                self.mark_applied(node, *group, position.index);
                self.nodes[place(node)].seen.entry(*group).or_default().installed = true;
                None
            }
            Event::SnapshotRefused { .. } | Event::Diverged { .. } => None,
            Event::HandsOver { .. } => Some(Mark::LeadershipHandedOver),
            Event::LeaseReads { .. } => Some(Mark::LeaseRead),
            Event::Truncated { .. } => Some(Mark::SuffixTruncated),
            Event::Expired { group, .. } => {
                let led = self.roles.get(&(*group, node)).map(|&(_, term)| term);
                let later = led.is_some_and(|term| term > 1);
                later.then_some(Mark::ExpiredAfterFailover).or(Some(Mark::Expired))
            }
            Event::Repair { group, step } => self.mark_repair(node, *group, *step),
            Event::Formed { .. } => {
                (self.nodes[place(node)].life > 1).then_some(Mark::RestartedUnformed)
            }
        };
        if let Some(mark) = mark {
            self.marks.met(mark);
        }
    }

    fn mark_applied(&mut self, node: NodeId, group: GroupId, index: u64) {
        let seen = self.nodes[place(node)].seen.entry(group).or_default();
        if seen.applied.is_none_or(|applied| applied < index) {
            seen.applied = Some(index);
            seen.lost_batches = false;
        } else if std::mem::take(&mut seen.lost_batches) {
            self.marks.met(Mark::StoreBatchesReplayed);
        }
    }

    /// A chunk of a snapshot reaches a node.
    pub(super) fn mark_chunk(&mut self, to: NodeId, group: GroupId, chunk: &SnapshotChunk) {
        if chunk.bytes.0.is_empty() {
            return;
        }
        self.marks.met(Mark::SnapshotSent);
        let chunks = self.chunks.entry((to, group)).or_default();
        let again = chunk.offset > 0 && !chunks.insert((chunk.position, chunk.offset));
        if again {
            self.marks.met(Mark::SnapshotResumed);
        }
    }

    fn mark_role(&mut self, node: NodeId, group: GroupId, role: Role, term: u64) -> Option<Mark> {
        let others = |wanted: Role| {
            let all = self
                .roles
                .iter()
                .filter(move |&(&(g, n), &(role, _))| g == group && n != node && role == wanted);
            all.map(|(_, &(_, term))| term)
        };
        match role {
            Role::Leader if others(Role::Leader).any(|other| other != term) => {
                Some(Mark::TwoLeaders)
            }
            Role::Leader => (self.leaders.elected() > 1).then_some(Mark::LeaderChanged),
            Role::Candidate => {
                others(Role::Candidate).any(|other| other == term).then_some(Mark::SplitVote)
            }
            Role::Follower | Role::Learner => {
                let led = self.roles.get(&(group, node));
                led.is_some_and(|&(role, _)| role == Role::Leader).then_some(Mark::LeaderDeposed)
            }
        }
    }

    fn mark_repair(&mut self, node: NodeId, group: GroupId, step: RepairStep) -> Option<Mark> {
        match step {
            RepairStep::Added(replica) => {
                self.repairs.insert((group, replica), node);
                None
            }
            RepairStep::Promoted(replica) => {
                let other = self.repairs.get(&(group, replica)).is_some_and(|adder| *adder != node);
                other.then_some(Mark::LeaderChangedInRepair)
            }
            RepairStep::Settled => Some(Mark::LeaderChangedInRepair),
            RepairStep::Dropped(_) => Some(Mark::LearnerDropped),
        }
    }

    /// Leaders elected so far.
    pub fn elected(&self) -> u64 {
        self.leaders.elected()
    }

    /// A node that says it leads some group.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |&(_, &(role, _)): &(_, &(Role, u64))| role == Role::Leader;
        self.roles.iter().find(leads).map(|(&(_, node), _)| node)
    }

    /// Whether enough nodes are intact for the cluster to go on.
    pub fn has_quorum(&self) -> bool {
        let intact = self.nodes.iter().filter(|node| node.is_intact()).count();
        intact > self.nodes.len() / 2
    }

    /// Why the replicas have not converged yet, those included that had to be repaired; `None` when
    /// they have.
    pub fn pending(&self) -> Option<String> {
        let mut reasons = Vec::new();
        let voters: Vec<ReplicaId> = self.nodes.iter().map(Node::replica_id).collect();
        for group in self.groups() {
            let statuses: Vec<(NodeId, Option<GroupStatus>)> =
                self.nodes.iter().map(|node| (node.id, group_of(node.status(), group))).collect();
            if let Some((node, _)) = statuses.iter().find(|(_, status)| status.is_none()) {
                reasons.push(format!("group {group}: N{node} is down"));
                continue;
            }
            let statuses: Vec<(NodeId, GroupStatus)> =
                statuses.into_iter().filter_map(|(node, status)| Some((node, status?))).collect();
            let settled = statuses.iter().all(|(_, status)| {
                status.applied == statuses[0].1.applied
                    && status.head == status.applied
                    && status.commit == status.applied
                    && status.voters == voters
            });
            if !settled || !statuses.iter().any(|(_, status)| status.role == Role::Leader) {
                let each = statuses.iter().map(|(node, status)| {
                    let voters: Vec<_> = status.voters.iter().map(ReplicaId::to_string).collect();
                    format!(
                        "N{node} {:?} term {} head {} commit {} applied {} voters {}",
                        status.role,
                        status.term,
                        status.head,
                        status.commit,
                        status.applied,
                        voters.join(" ")
                    )
                });
                reasons.push(format!("group {group}: {}", each.collect::<Vec<_>>().join(", ")));
            }
        }
        reasons.extend(self.nodes.iter().filter_map(|node| self.long_log(node)));
        let behind = self.nodes.iter().filter(|node| !node.rows.is_idle());
        reasons.extend(behind.map(|node| format!("N{}'s store is at work", node.id)));
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// A node's log that is longer than it may stay: when nobody waits for entries any more, all but
    /// the last few segments are purged and gone.
    fn long_log(&self, node: &Node) -> Option<String> {
        let status = node.status()?;
        let segment = self.plan.log.segment_bytes;
        let segments = status.wal_end.div_ceil(segment) - status.wal_begin / segment;
        let long = segments > limits::SEGMENTS_BEFORE_CHECKPOINT + 1;
        long.then(|| format!("N{} still keeps {segments} segments of log", node.id))
    }

    /// What a node that runs has of a group; `None` if its store cannot be read.
    fn dump(&self, node: &Node, group: GroupId) -> Option<Dump> {
        match self.plan.outside().any(|(outside, _)| outside == group) {
            true => node.replica().and_then(|_| node.rows.dump(group)),
            false => node.replica().map(|replica| replica.dump(group)),
        }
    }

    /// The rows of every group and the end of its order, once the replicas have converged.
    ///
    /// # Errors
    /// Replicas at the same index that differ.
    pub fn final_state(&self) -> Result<Vec<(Dump, Sequence)>, Violation> {
        let mut states = Vec::new();
        for group in self.groups() {
            let dumps: Vec<(NodeId, Dump)> = (self.nodes.iter())
                .filter_map(|node| Some((node.id, self.dump(node, group)?)))
                .collect();
            replicas_equal::compare(group, &dumps)?;
            let Some((first, _)) = dumps.first() else { continue };
            let status = group_of(self.nodes[place(*first)].status(), group);
            let end = status.map_or(Sequence(0), |status| status.sequence);
            states.extend(dumps.into_iter().next().map(|(_, dump)| (dump, end)));
        }
        Ok(states)
    }
}

fn group_of(status: Option<understudy_core::Status>, group: GroupId) -> Option<GroupStatus> {
    status?.groups.into_iter().find(|status| status.group == group)
}
