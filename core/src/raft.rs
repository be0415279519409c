//! openraft, made sans-IO.
//!
//! [`executor`] and [`runtime`] run it inside a step; [`log`], [`machine`] and [`network`] are its
//! storage and network traits, thin; [`group`] is one Raft group as the replica sees it.

pub(crate) mod channel;
pub(crate) mod convert;
pub(crate) mod executor;
pub(crate) mod group;
pub(crate) mod lease;
mod log;
pub(crate) mod machine;
pub(crate) mod marks;
pub(crate) mod network;
pub(crate) mod rows;
pub(crate) mod runtime;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod transfer;

use crate::command::Batch;
use crate::message::Applied;
use crate::types::ReplicaId;

openraft::declare_raft_types!(
    /// openraft's types, ours where we have a choice. One leader per term (Raft §5.2).
    pub TypeConfig:
        D = Batch,
        R = Vec<Applied>,
        NodeId = ReplicaId,
        Node = openraft::EmptyNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, ReplicaId>,
        AsyncRuntime = runtime::Runtime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, machine::Machine>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type RaftMembership = openraft::Membership<ReplicaId, openraft::EmptyNode>;
pub(crate) type RaftVote = openraft::alias::VoteOf<TypeConfig>;

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} commands at {}", self.commands.len(), self.time.0)
    }
}
