//! The replicated actor store as one pure state machine.
//!
//! [`Replica::step`] takes what happened and returns what to do. It performs no IO, reads no clock,
//! starts no thread and draws no OS randomness: the same seed and the same inputs give the same
//! effects, bit for bit. `docs/ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]
#![deny(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::unwrap_used
)]
// Tests may: they are no part of a replica.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::as_conversions, clippy::unwrap_used))]

/// Whether a planted bug is in: `false`, but in the build that tests the simulator.
macro_rules! planted {
    ($mutant:ident) => {{
        #[cfg(sim_mutant)]
        let planted = crate::mutant::Mutant::$mutant.is_planted();
        #[cfg(not(sim_mutant))]
        let planted = false;
        planted
    }};
}

mod apply;
pub mod backend;
pub mod change;
pub mod codec;
pub mod command;
pub mod config;
pub mod content;
pub mod disk;
pub mod effect;
pub mod event;
mod files;
pub mod filter;
mod formation;
mod health;
pub mod input;
pub mod inspect;
pub mod limits;
pub mod message;
#[cfg(sim_mutant)]
pub mod mutant;
pub mod op_id;
pub mod oplog;
pub mod query;
mod raft;
mod recovery;
mod repair;
pub mod replica;
pub mod seed;
pub mod snapshot;
mod startup;
pub mod status;
pub mod store;
pub mod subscription;
pub mod tail;
pub mod types;
mod wal;

pub use change::{
    Change, ChangeKind, Changes, ChangesQuery, EventId, Lineage, ResumeToken, Scanned, Since,
};
pub use command::{Batch, Command, Due, Expected, Operation, Outcome, Refusal, Work, Write};
pub use config::{ClusterConfig, LogSizes, Retention, Storage, Timing};
pub use content::{Content, Metadata, Record, Ttl};
pub use disk::{DiskImage, DiskOp, FileName, MemoryDisk};
pub use effect::{Answer, Certainty, Effect, Failure, Queue, Response};
pub use event::{DropReason, Event, RepairStep, Role};
pub use filter::Filter;
pub use input::{Input, IoFailed, IoId, ReadLevel, Request, RequestId};
pub use message::Message;
pub use op_id::OpId;
pub use replica::{RecoverError, Replica};
pub use seed::{Rng, Seed};
pub use status::{GroupStatus, Status};
pub use subscription::{Ask, Delivery, End, Item, Options, Policy, Start, Step, Subscription};
pub use tail::Tail;
pub use types::{
    ActorId, Boot, ClusterId, GroupId, Identity, Incarnation, Instant, Json, Namespace, NodeId,
    Now, ReplicaId, Sequence, Timestamp, Token, Version,
};
