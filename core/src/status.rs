//! What a replica says of itself: plain numbers, the same names as the metrics.

use crate::event::Role;
use crate::types::{Boot, GroupId, Identity, Namespace, NodeId, ReplicaId, Sequence, Timestamp};

/// A replica at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who.
    pub identity: Identity,
    /// This life.
    pub boot: Boot,
    /// Where the WAL begins: what was before is purged. Offsets of the log, in bytes.
    pub wal_begin: u64,
    /// Where it ends: what is before is written or being written.
    pub wal_end: u64,
    /// What is before is known to be durable.
    pub wal_durable: u64,
    /// Every group has its first members, as far as this replica knows (ADR 9).
    pub formed: bool,
    /// The nodes that a group without members waits for.
    pub unmet: Vec<NodeId>,
    /// Bytes free on the file system of the data folder, as the driver last said.
    pub disk_free: Option<u64>,
    /// That is too little: writes but for deletes are refused until there is room.
    pub disk_low: bool,
    /// Client requests not yet answered.
    pub requests_live: usize,
    /// Its groups, by number.
    pub groups: Vec<GroupStatus>,
    /// Set once the replica has emitted [`crate::Effect::Fatal`].
    pub fatal: bool,
}

/// One group of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupId,
    /// The collection it holds.
    pub namespace: Namespace,
    /// What this replica is in it.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Those with a vote, by the last membership applied here; while a joint change runs, of both
    /// sides.
    pub voters: Vec<ReplicaId>,
    /// Those that get the log and have no vote.
    pub learners: Vec<ReplicaId>,
    /// The group has members and this replica is none of its voters: it waits for the leader to take
    /// it in (ADR 9).
    pub joining: bool,
    /// Entries of the log: the last index plus one, so 0 is an empty log.
    pub head: u64,
    /// Committed entries, as far as it knows.
    pub commit: u64,
    /// Applied entries.
    pub applied: u64,
    /// The last change's place in the shard's order.
    pub sequence: Sequence,
    /// Committed time.
    pub committed_time: Timestamp,
    /// Live actors.
    pub actors: usize,
    /// Outcomes the op-log remembers.
    pub oplog_live: usize,
    /// Repeats answered from the op-log since the start of this life.
    pub oplog_replays: u64,
    /// Sessions that are known.
    pub sessions: usize,
    /// Entries that are in the last checkpoint.
    pub checkpoint: u64,
    /// The first entry that the log still has.
    pub first: u64,
    /// The index at which this replica was first seen to differ from its leader: an alarm.
    pub diverged: Option<u64>,
    /// A hash over everything applied: equal on all replicas at equal `applied`.
    pub state_hash: u64,
}
