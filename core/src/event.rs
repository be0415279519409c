//! What happened inside, in the words of the trace, the metrics and the tests.

use std::fmt;

use crate::message::LogPosition;
use crate::store::Expired;
use crate::types::{GroupId, NodeId, ReplicaId};

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The replica's role, term or known leader in a group changed.
    Role {
        /// The group.
        group: GroupId,
        /// The role now.
        role: Role,
        /// The term now.
        term: u64,
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// An entry was applied.
    Applied {
        /// The group.
        group: GroupId,
        /// Its term.
        term: u64,
        /// Its index.
        index: u64,
        /// A hash over everything applied up to here: equal on all replicas at equal index.
        state_hash: u64,
    },
    /// An actor was removed because its end had come.
    Expired {
        /// The group.
        group: GroupId,
        /// Which, and when.
        expired: Expired,
    },
    /// This leader answers reads without asking a quorum: nobody else can lead now (ADR 14).
    LeaseReads {
        /// The group.
        group: GroupId,
        /// How many.
        reads: usize,
    },
    /// A conflicting end of the log was removed: entries that no quorum had.
    Truncated {
        /// The group.
        group: GroupId,
        /// Entries that stay.
        keep: u64,
        /// Entries there were.
        head: u64,
    },
    /// A group's state is on the disk as a checkpoint.
    Checkpoint {
        /// The group.
        group: GroupId,
        /// The last entry that is in it.
        position: LogPosition,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A checkpoint could not be written; it is tried again.
    CheckpointFailed {
        /// The group.
        group: GroupId,
        /// What the system said.
        reason: String,
    },
    /// A leader's snapshot was installed in place of the group's state.
    SnapshotInstalled {
        /// The group.
        group: GroupId,
        /// The last entry that is in it.
        position: LogPosition,
    },
    /// A snapshot was not what it should be; the leader begins again.
    SnapshotRefused {
        /// The group.
        group: GroupId,
        /// The last entry that should be in it.
        position: LogPosition,
        /// What is wrong.
        reason: String,
    },
    /// This leader's disk is slow or nearly full; it asks another one to lead.
    HandsOver {
        /// The group.
        group: GroupId,
        /// Who is to lead.
        to: NodeId,
    },
    /// Two replicas differ at an index at which they must be equal: one of them is wrong.
    Diverged {
        /// The group.
        group: GroupId,
        /// The index.
        index: u64,
        /// This replica's state hash there.
        ours: u64,
        /// The leader's.
        theirs: u64,
        /// The leader.
        leader: NodeId,
    },
    /// This node writes the group's first entry, its members: every other has promised to take them
    /// from it (ADR 9).
    Formed {
        /// The group.
        group: GroupId,
    },
    /// This node leads the group, and a step of a repair is committed (ADR 9).
    Repair {
        /// The group.
        group: GroupId,
        /// The step.
        step: RepairStep,
    },
    /// A message was dropped before it reached Raft.
    Dropped {
        /// The sender.
        from: NodeId,
        /// Why.
        reason: DropReason,
    },
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Meant for another node.
    NotForUs,
    /// Not a member, or no such group.
    Stranger,
    /// An answer to a question of an earlier life, or one already answered.
    Stale,
    /// Well formed, but no replica says such a thing.
    Implausible,
    /// The group works on as many questions as it may.
    Busy,
    /// Meant for another data folder of this node, one that it has lost.
    OtherIncarnation,
}

/// What a repair has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairStep {
    /// A new data folder of a member gets the log, and has no vote.
    Added(ReplicaId),
    /// It is level and has the vote of the lost one.
    Promoted(ReplicaId),
    /// A learner that will not come back is out.
    Dropped(ReplicaId),
    /// A change that an earlier leader had begun is done.
    Settled,
}

/// What a replica is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has no vote.
    Learner,
    /// Follows or waits.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Role { group, role, term, leader } => {
                let leader = leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                write!(f, "group {group} role {role:?} term {term} leader {leader}")
            }
            Event::Applied { group, term, index, state_hash } => {
                write!(f, "group {group} applied {term}.{index} hash {state_hash:016x}")
            }
            Event::Expired { group, expired } => write!(
                f,
                "group {group} expired {} {}, due at {}, at {} as change {}",
                expired.id,
                expired.record.token,
                expired.record.expires().unwrap_or_default().0,
                expired.time.0,
                expired.sequence
            ),
            Event::LeaseReads { group, reads } => {
                write!(f, "group {group}: {reads} reads under the lease")
            }
            Event::Truncated { group, keep, head } => {
                write!(f, "group {group} truncated from {head} to {keep} entries")
            }
            Event::Checkpoint { group, position: LogPosition { term, index }, bytes } => {
                write!(f, "group {group} checkpoint at {term}.{index}, {bytes} bytes")
            }
            Event::CheckpointFailed { group, reason } => {
                write!(f, "group {group} could not write a checkpoint and tries again: {reason}")
            }
            Event::SnapshotInstalled { group, position: LogPosition { term, index } } => {
                write!(f, "group {group} installed a snapshot of {term}.{index}")
            }
            Event::SnapshotRefused { group, position: LogPosition { term, index }, reason } => {
                write!(f, "group {group} refused a snapshot of {term}.{index}: {reason}")
            }
            Event::HandsOver { group, to } => {
                write!(f, "group {group}: this disk is slow or nearly full, node {to} should lead")
            }
            Event::Diverged { group, index, ours, theirs, leader } => write!(
                f,
                "ALARM: group {group} differs from node {leader} at index {index}: state hash \
                 {ours:016x} here, {theirs:016x} there; compare backups of both nodes"
            ),
            Event::Formed { group } => {
                write!(f, "group {group} begins: every other node was met")
            }
            Event::Repair { group, step } => write!(f, "group {group} repair: {step}"),
            Event::Dropped { from, reason } => write!(f, "dropped from {from}: {reason:?}"),
        }
    }
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepairStep::Added(replica) => write!(f, "{replica} gets the log, without a vote"),
            RepairStep::Promoted(replica) => {
                write!(f, "{replica} is level and votes in place of the lost one")
            }
            RepairStep::Dropped(replica) => write!(f, "{replica} will not come back, and is out"),
            RepairStep::Settled => f.write_str("a change begun by an earlier leader is done"),
        }
    }
}
