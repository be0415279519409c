//! What the clients did and heard: the client oracle's only source.
//!
//! An operation is acknowledged, refused, known not to have happened, or unknown; never "failed".

use std::fmt;

use understudy_core::{
    ActorId, Json, Namespace, OpId, Operation, Outcome, ReadLevel, Record, Request, Sequence, Token,
};

use crate::plan::NAMESPACES;
use crate::words;

/// A document that tells which operation wrote it.
pub fn value(number: u64) -> Json {
    Json::new(format!("{{\"written_by\":{number}}}").into_bytes())
}

/// Which operation wrote `json`; `None` if no client ever did.
pub fn written_by(json: &Json) -> Option<u64> {
    let text = std::str::from_utf8(json.as_bytes()).ok()?;
    text.strip_prefix("{\"written_by\":")?.strip_suffix('}')?.parse().ok()
}

/// The name of actor `number`.
pub fn actor(number: u64) -> ActorId {
    ActorId::new(format!("a{number}")).expect("names_are_legal")
}

/// The name of actor `number` with that of its namespace, such as `carts/a1`.
pub fn place(namespace: usize, number: u64) -> String {
    let namespace = NAMESPACES.get(namespace).map_or(namespace.to_string(), ToString::to_string);
    format!("{namespace}/{}", actor(number))
}

/// One operation of one client, over all its attempts.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number, counted over all clients from 1.
    pub number: u64,
    /// Who asked.
    pub client: u64,
    /// The place of the namespace in the configuration, from 0.
    pub namespace: usize,
    /// The actor.
    pub actor: u64,
    /// What was asked.
    pub ask: Ask,
    /// When it was first sent, as a place in the order of all that happened.
    pub call: u64,
    /// When the fate was heard.
    pub ret: Option<u64>,
    /// What came of it.
    pub fate: Fate,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A change.
    Write {
        /// Under this name.
        op: OpId,
        /// The change.
        operation: Operation,
    },
    /// A look.
    Read {
        /// How fresh.
        level: ReadLevel,
    },
}

impl Ask {
    /// The request as a node takes it.
    pub fn request(&self, namespace: &Namespace, id: &ActorId) -> Request {
        let (namespace, id) = (namespace.clone(), id.clone());
        match self {
            Ask::Write { op, operation } => {
                Request::write(namespace, id, Some(op.clone()), operation.clone())
            }
            Ask::Read { level } => Request::Read { namespace, id, level: *level },
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet, or the client gave up: it may have happened, or may yet.
    Unknown,
    /// No attempt reached the log.
    DidNotHappen,
    /// The recorded outcome, a refusal included.
    Outcome(Outcome),
    /// What a read saw.
    Saw {
        /// The actor, if it existed.
        record: Option<Record>,
        /// The log index that the answering replica had applied.
        applied: u64,
    },
}

impl Entry {
    /// The place in the shard's order, if the operation is known to have changed something.
    pub fn sequence(&self) -> Option<Sequence> {
        match &self.fate {
            Fate::Outcome(
                Outcome::Written { sequence, .. }
                | Outcome::Deleted { sequence, .. }
                | Outcome::Removed { sequence, .. },
            ) => Some(*sequence),
            Fate::Outcome(Outcome::Refused(_) | Outcome::Batch(_))
            | Fate::Unknown
            | Fate::DidNotHappen
            | Fate::Saw { .. } => None,
        }
    }

    /// The token the operation is known to have written.
    pub fn token(&self) -> Option<Token> {
        match &self.fate {
            Fate::Outcome(Outcome::Written { token, .. }) => Some(*token),
            Fate::Outcome(_) | Fate::Unknown | Fate::DidNotHappen | Fate::Saw { .. } => None,
        }
    }

    /// Whether it is a change whose outcome nobody knows.
    pub fn is_unknown_write(&self) -> bool {
        matches!((&self.ask, &self.fate), (Ask::Write { .. }, Fate::Unknown))
    }
}

impl Entry {
    /// The record that its answer shows: what a read saw, or what a deletion removed.
    pub fn shows(&self) -> Option<&Record> {
        match &self.fate {
            Fate::Saw { record, .. } => record.as_ref(),
            Fate::Outcome(Outcome::Deleted { record, .. }) => Some(record),
            Fate::Outcome(
                Outcome::Written { .. }
                | Outcome::Removed { .. }
                | Outcome::Batch(_)
                | Outcome::Refused(_),
            )
            | Fate::Unknown
            | Fate::DidNotHappen => None,
        }
    }

    /// Whether its answer had come before `other` was called.
    pub fn is_before(&self, other: &Entry) -> bool {
        self.ret.is_some_and(|ret| ret < other.call)
    }

    /// The operation without its fate.
    pub fn asked(&self) -> String {
        let place = place(self.namespace, self.actor);
        format!(
            "op {} of client {} ({} on {place})",
            self.number,
            self.client,
            words::ask(&self.ask)
        )
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.asked(), words::fate(&self.fate))
    }
}
