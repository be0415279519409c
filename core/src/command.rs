//! What a client may ask of an actor, and every outcome and refusal.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{ActorId, Json, OpId, Record, Sequence, Timestamp, Token, Version};

/// What a conditional write compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// The exact token: safe across delete and create again.
    Token(Token),
    /// The bare version, an explicit weaker form; 0 means absent.
    Version(Version),
}

/// One change of one actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Fails if the actor exists, and then changes nothing (S0-058, B-01).
    Create {
        /// The document.
        value: Json,
    },
    /// Creates or replaces.
    Put {
        /// The document.
        value: Json,
    },
    /// Replaces; fails if the actor is absent or is not as expected (S0-057).
    Update {
        /// The document.
        value: Json,
        /// The precondition, if any.
        expected: Option<Expected>,
    },
    /// Replaces if the actor is as expected; `Version(0)` creates if absent.
    CompareAndSwap {
        /// The document.
        value: Json,
        /// The precondition.
        expected: Expected,
    },
    /// Removes and returns the old record.
    Delete {
        /// The precondition, if any.
        expected: Option<Expected>,
    },
}

/// One named operation on one actor, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The name under which its outcome is recorded.
    pub op: OpId,
    /// The actor.
    pub id: ActorId,
    /// The change.
    pub operation: Operation,
}

impl Command {
    /// Whether this is how room is made: a delete.
    pub fn makes_room(&self) -> bool {
        matches!(self.operation, Operation::Delete { .. })
    }

    /// Bytes this command holds in queues; a close lower bound of its encoding.
    pub fn bytes(&self) -> usize {
        let value = match &self.operation {
            Operation::Create { value }
            | Operation::Put { value }
            | Operation::Update { value, .. }
            | Operation::CompareAndSwap { value, .. } => value.as_bytes().len(),
            Operation::Delete { .. } => 0,
        };
        let op = match &self.op {
            OpId::Timed(_) => 16,
            OpId::Named(name) => name.len(),
        };
        64 + op + self.id.as_str().len() + value
    }
}

/// The commands of one Raft entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's stamp; apply makes it monotone.
    pub time: Timestamp,
    /// In order of arrival.
    pub commands: Arc<[Command]>,
}

/// What applying a command came to. Recorded in the op-log and returned to every repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The actor now has this token.
    Written {
        /// The new token.
        token: Token,
        /// The change's place in the shard's order.
        sequence: Sequence,
    },
    /// The actor is gone; this is what it was.
    Deleted {
        /// The record before.
        record: Record,
        /// The change's place in the shard's order.
        sequence: Sequence,
    },
    /// Nothing changed.
    Refused(Refusal),
}

/// Why apply changed nothing. Decided at apply only, the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Create met an existing actor.
    AlreadyExists {
        /// What is there.
        found: Token,
    },
    /// Update or delete met no actor.
    NotFound,
    /// The precondition did not hold.
    Conflict {
        /// What the caller expected.
        expected: Expected,
        /// What is there.
        found: Option<Token>,
    },
    /// The same operation name came with another payload.
    OpIdReused,
    /// The operation's name is older than what the op-log remembers: it may have run already.
    SessionExpired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::AlreadyExists { found } => {
                write!(f, "the actor exists (version token `{found}`); read it or use update")
            }
            Refusal::NotFound => f.write_str("there is no such actor; create it first"),
            Refusal::Conflict { found: Some(found), .. } => {
                write!(f, "the actor has changed (version token is now `{found}`); read it again")
            }
            Refusal::Conflict { found: None, .. } => {
                f.write_str("the actor does not exist any more; read it again")
            }
            Refusal::OpIdReused => f.write_str(
                "this idempotency key was used for another request; use a new key for a new request",
            ),
            Refusal::SessionExpired => f.write_str(
                "this idempotency key is older than the store remembers, so the operation may have \
                 happened; read the actor, then retry with a new key",
            ),
        }
    }
}
