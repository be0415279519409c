//! What the clients did and heard: the client oracle's only source.
//!
//! An operation is acknowledged, refused, known not to have happened, or unknown; never "failed".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use understudy_core::query::{Page, Scan};
use understudy_core::store::Expired;
use understudy_core::{
    ActorId, Content, Expected, Json, Metadata, Namespace, OpId, Operation, Outcome, ReadLevel,
    Record, Request, Sequence, Token,
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

/// What operation `number` writes: its document, and for every third one metadata too.
pub fn content(number: u64) -> Content {
    Content { metadata: metadata(number), ..value(number).into() }
}

/// The metadata that operation `number` writes.
pub fn metadata(number: u64) -> Metadata {
    let pairs = (number.is_multiple_of(3)).then(|| ("op".to_owned(), number.to_string()));
    Metadata::new(pairs).expect("pairs_are_legal")
}

/// Which operation wrote `record`; `None` if no client ever wrote it so.
pub fn writer(record: &Record) -> Option<u64> {
    written_by(record.value()).filter(|&number| *record.metadata() == metadata(number))
}

/// The name of actor `number`.
pub fn actor(number: u64) -> ActorId {
    ActorId::new(format!("a{number}")).expect("names_are_legal")
}

/// The number of the actor of that name.
pub fn actor_number(id: &ActorId) -> Option<u64> {
    id.as_str().strip_prefix('a')?.parse().ok()
}

/// What the store did by itself, as the deletion that it is for every judge: it removed an actor whose
/// end had come, which was first seen at `tick`. `None`: nobody ever wrote to an actor of that name.
pub fn expiry(number: u64, namespace: usize, tick: u64, expired: &Expired) -> Option<Entry> {
    let actor = actor_number(&expired.id)?;
    let (record, sequence) = (expired.record.clone(), expired.sequence);
    let op = OpId::Named(format!("expired {namespace}/{sequence}"));
    let operation = Operation::Delete { expected: Some(Expected::Token(record.token)) };
    let fate = Fate::Outcome(Outcome::Deleted { record, sequence });
    let (client, ask, ret) = (0, Ask::Write { op, operation }, Some(tick));
    Some(Entry { number, client, namespace, actor, ask, call: tick, ret, fate })
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
    /// A look at several actors, a page of a walk over all of them.
    Scan {
        /// The number of the walk's first page.
        walk: u64,
        /// Which page.
        scan: Scan,
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
            Ask::Scan { scan: Scan { prefix, after, limit }, level, .. } => Request::Scan {
                namespace,
                prefix: prefix.clone(),
                after: after.clone(),
                limit: *limit,
                level: *level,
            },
        }
    }

    /// How fresh a look must be.
    pub fn level(&self) -> Option<ReadLevel> {
        match self {
            Ask::Write { .. } => None,
            Ask::Read { level } | Ask::Scan { level, .. } => Some(*level),
        }
    }
}

/// Whether a look at this level has a place in the order of all operations.
pub fn is_strong(level: ReadLevel) -> bool {
    match level {
        ReadLevel::Linearizable | ReadLevel::Lease => true,
        ReadLevel::Session { .. } | ReadLevel::Eventual => false,
    }
}

/// The same operations, but each page of a scan taken apart: one read for each actor that it would
/// have shown, all of one state.
pub fn looks(entries: &[Entry]) -> Vec<Entry> {
    let mut actors: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for entry in entries {
        actors.entry(entry.namespace).or_default().insert(entry.actor);
    }
    let mut looks = Vec::with_capacity(entries.len());
    for entry in entries {
        match (&entry.ask, &entry.fate) {
            (Ask::Scan { scan, level, .. }, Fate::Listed { page, applied, sequence }) => {
                let last = page.records.last().map(|(id, _)| id);
                let known = actors[&entry.namespace].iter().copied();
                let wanted = known.filter(|&actor| {
                    let id = self::actor(actor);
                    scan.wants(&id) && (!page.more || last.is_some_and(|last| id <= *last))
                });
                looks.extend(wanted.map(|actor| {
                    let shown = page.records.iter().find(|(id, _)| *id == self::actor(actor));
                    let record = shown.map(|(_, record)| record.clone());
                    let fate = Fate::Saw { record, applied: *applied, sequence: *sequence };
                    Entry { actor, ask: Ask::Read { level: *level }, fate, ..entry.clone() }
                }));
            }
            _ => looks.push(entry.clone()),
        }
    }
    looks
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
        /// The last change that it had applied.
        sequence: Sequence,
    },
    /// What a scan saw.
    Listed {
        /// The page.
        page: Page,
        /// As above.
        applied: u64,
        /// As above.
        sequence: Sequence,
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
            | Fate::Saw { .. }
            | Fate::Listed { .. } => None,
        }
    }

    /// The token the operation is known to have written.
    pub fn token(&self) -> Option<Token> {
        match &self.fate {
            Fate::Outcome(Outcome::Written { token, .. }) => Some(*token),
            Fate::Outcome(_)
            | Fate::Unknown
            | Fate::DidNotHappen
            | Fate::Saw { .. }
            | Fate::Listed { .. } => None,
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
            | Fate::Listed { .. }
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
        let place = match self.ask {
            Ask::Scan { .. } => NAMESPACES.get(self.namespace).copied().unwrap_or("?").to_owned(),
            Ask::Write { .. } | Ask::Read { .. } => place(self.namespace, self.actor),
        };
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
