//! What a client may ask of an actor, and every outcome and refusal.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::types::{ActorId, Content, OpId, Record, Sequence, Timestamp, Token, Version};

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
        /// What it holds then.
        content: Content,
    },
    /// Creates or replaces.
    Put {
        /// What it holds then.
        content: Content,
    },
    /// Replaces; fails if the actor is absent or is not as expected (S0-057).
    Update {
        /// What it holds then.
        content: Content,
        /// The precondition, if any.
        expected: Option<Expected>,
    },
    /// Replaces if the actor is as expected; `Version(0)` creates if absent.
    CompareAndSwap {
        /// What it holds then.
        content: Content,
        /// The precondition.
        expected: Expected,
    },
    /// Removes and returns the old record.
    Delete {
        /// The precondition, if any.
        expected: Option<Expected>,
    },
}

impl Operation {
    /// What it puts there, if it is no delete.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Operation::Create { content }
            | Operation::Put { content }
            | Operation::Update { content, .. }
            | Operation::CompareAndSwap { content, .. } => Some(content),
            Operation::Delete { .. } => None,
        }
    }
}

/// One operation on one actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The actor.
    pub id: ActorId,
    /// The change.
    pub operation: Operation,
}

impl Write {
    /// Bytes it holds in queues; a close lower bound of its encoding.
    pub fn bytes(&self) -> usize {
        32 + self.id.as_str().len() + self.operation.content().map_or(0, Content::bytes)
    }
}

/// What is done under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// One operation.
    One(Write),
    /// All of these, in order, or none: each sees what those before it did. 1 to
    /// [`limits::BATCH_WRITES_MAX`] of them.
    Batch(Vec<Write>),
}

impl Work {
    /// An atomic batch of all of these.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken.
    pub fn batch(writes: Vec<Write>) -> Result<Work, String> {
        let (count, bytes) = (writes.len(), writes.iter().map(Write::bytes).sum::<usize>());
        if !(1..=limits::BATCH_WRITES_MAX).contains(&count) {
            let most = limits::BATCH_WRITES_MAX;
            return Err(format!(
                "an atomic batch has 1 to {most} operations, this one has {count}"
            ));
        }
        if bytes > limits::BATCH_WRITES_BYTES_MAX {
            return Err(format!(
                "an atomic batch has at most {} bytes, this one has {bytes}",
                limits::BATCH_WRITES_BYTES_MAX
            ));
        }
        Ok(Work::Batch(writes))
    }

    /// What is to be done, in order.
    pub fn writes(&self) -> &[Write] {
        match self {
            Work::One(write) => std::slice::from_ref(write),
            Work::Batch(writes) => writes,
        }
    }
}

/// One named piece of work, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The name under which its outcome is recorded.
    pub op: OpId,
    /// What is done.
    pub work: Work,
}

impl Command {
    /// One operation on one actor.
    pub fn one(op: OpId, id: ActorId, operation: Operation) -> Command {
        Command { op, work: Work::One(Write { id, operation }) }
    }

    /// Whether this is how room is made: deletes alone.
    pub fn makes_room(&self) -> bool {
        self.work.writes().iter().all(|write| matches!(write.operation, Operation::Delete { .. }))
    }

    /// Bytes this command holds in queues; a close lower bound of its encoding.
    pub fn bytes(&self) -> usize {
        let op = match &self.op {
            OpId::Timed(_) => 16,
            OpId::Session { .. } => 24,
            OpId::Named(name) => name.len(),
        };
        32 + op + self.work.writes().iter().map(Write::bytes).sum::<usize>()
    }
}

/// What one Raft entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's stamp; apply makes it monotone.
    pub time: Timestamp,
    /// In order of arrival.
    pub commands: Arc<[Command]>,
    /// Actors whose end has come, as their leader sees it; they are dealt with before the commands.
    pub due: Arc<[Due]>,
    /// Changes up to this one are forgotten; 0 for none. Dealt with last.
    pub compact: Sequence,
}

impl Batch {
    /// Bytes it holds in queues; a close lower bound of its encoding.
    pub fn bytes(&self) -> usize {
        let commands = self.commands.iter().map(Command::bytes).sum::<usize>();
        commands + self.due.iter().map(Due::bytes).sum::<usize>()
    }
}

/// An actor whose end may have come: apply removes it if it is still as it was when this was
/// proposed, and its end is not after committed time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The actor.
    pub id: ActorId,
    /// Which state of it.
    pub token: Token,
}

impl Due {
    /// Bytes it holds in queues.
    pub fn bytes(&self) -> usize {
        32 + self.id.as_str().len()
    }
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
    /// The actor is gone, by an operation of an atomic batch: those do not return what was there.
    Removed {
        /// The token it had.
        token: Token,
        /// The change's place in the shard's order.
        sequence: Sequence,
    },
    /// All operations of an atomic batch happened: [`Outcome::Written`] or [`Outcome::Removed`] of
    /// each.
    Batch(Vec<Outcome>),
    /// Nothing changed.
    Refused(Refusal),
}

impl Outcome {
    /// The place of its last change in the shard's order.
    pub fn sequence(&self) -> Option<Sequence> {
        match self {
            Outcome::Written { sequence, .. }
            | Outcome::Deleted { sequence, .. }
            | Outcome::Removed { sequence, .. } => Some(*sequence),
            Outcome::Batch(outcomes) => outcomes.last().and_then(Outcome::sequence),
            Outcome::Refused(_) => None,
        }
    }
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
    /// Nothing of an atomic batch happened, because this operation of it was refused.
    InBatch {
        /// Its place, from 0: the first one that was refused.
        place: u32,
        /// Why.
        refusal: Box<Refusal>,
    },
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
            Refusal::InBatch { place, refusal } => write!(
                f,
                "nothing of the batch happened, because of its operation {place} (counted from 0): \
                 {refusal}"
            ),
        }
    }
}
