//! What goes in and what comes out, the same for a cluster and an embedded store.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use understudy_proto::v1;

use crate::error::Error;

/// What a conditional write compares with: delete and create again cannot fool it. Text form
/// `created-version`, as HTTP's ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The sequence at which this life of the actor began.
    pub created: u64,
    /// The version within it, from 1.
    pub version: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created, self.version)
    }
}

impl FromStr for Token {
    type Err = Error;
    fn from_str(text: &str) -> Result<Token, Error> {
        let parse = || {
            let (created, version) = text.split_once('-')?;
            Some(Token { created: created.parse().ok()?, version: version.parse().ok()? })
        };
        parse().ok_or_else(|| Error::invalid(format!("`{text}` is not a token such as `17-3`")))
    }
}

/// A precondition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this life and version.
    Token(Token),
    /// The bare version, an explicit weaker form; 0 means that there is no such actor.
    Version(u64),
}

impl From<Token> for Expected {
    fn from(token: Token) -> Expected {
        Expected::Token(token)
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Sees everything acknowledged before the read began; a quorum confirms the leader.
    #[default]
    Linearizable,
    /// The same, resting on the leader's lease and so on a bound for the drift of clocks.
    Lease,
    /// Any replica, not older than what this client and its clones have seen or written.
    Session,
    /// What the asked replica has; the answer says how old that may be.
    Eventual,
}

/// What a write stores. A write replaces all three together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// JSON.
    pub value: Bytes,
    /// Pairs kept beside the document and returned with it.
    pub metadata: BTreeMap<String, String>,
    /// The actor goes by itself so long after this write.
    pub ttl: Option<Duration>,
}

impl Content {
    /// A value as JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it has no JSON form.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Content, Error> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::invalid(format!("the value has no JSON form: {error}")))?;
        Ok(Content::raw(bytes))
    }

    /// JSON text as it is; the store checks it and keeps it byte for byte.
    pub fn raw(value: impl Into<Bytes>) -> Content {
        Content { value: value.into(), metadata: BTreeMap::new(), ttl: None }
    }

    /// With a pair beside the document.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Content {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// With an end.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Content {
        self.ttl = Some(ttl);
        self
    }
}

/// What can be stored: a reference to anything with a JSON form, or a [`Content`] with more to it.
pub trait IntoContent {
    /// As stored.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it has no JSON form.
    fn into_content(self) -> Result<Content, Error>;
}

impl<T: Serialize + ?Sized> IntoContent for &T {
    fn into_content(self) -> Result<Content, Error> {
        Content::json(self)
    }
}

impl IntoContent for Content {
    fn into_content(self) -> Result<Content, Error> {
        Ok(self)
    }
}

/// One actor as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<T = Bytes> {
    /// Its name.
    pub id: String,
    /// For the next conditional write.
    pub token: Token,
    /// The document.
    pub value: T,
    /// What was stored beside it.
    pub metadata: BTreeMap<String, String>,
    /// Not before this time does it go by itself.
    pub expires_at: Option<SystemTime>,
    /// The namespace's sequence that the answering replica had applied.
    pub sequence: u64,
    /// Time since it last knew that it was level with its leader; `None` if it has not been since it
    /// started.
    pub age: Option<Duration>,
}

impl Record<Bytes> {
    /// The document as a value.
    ///
    /// # Errors
    /// [`Error::Decode`] when it is not of that type.
    pub fn json<T: DeserializeOwned>(self) -> Result<Record<T>, Error> {
        let value = serde_json::from_slice(&self.value)
            .map_err(|error| Error::Decode { id: self.id.clone(), why: error.to_string() })?;
        let Record { id, token, metadata, expires_at, sequence, age, .. } = self;
        Ok(Record { id, token, value, metadata, expires_at, sequence, age })
    }

    pub(crate) fn of(id: String, record: v1::Record, at: Option<v1::ReadAt>) -> Record<Bytes> {
        let at = at.unwrap_or_default();
        Record {
            id,
            token: token(record.token),
            value: record.value,
            metadata: record.metadata.into_iter().collect(),
            expires_at: record.expires_at_ms.map(time),
            sequence: at.sequence,
            age: at.age_ms.map(Duration::from_millis),
        }
    }
}

/// A change that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The actor; made by the store where none was given.
    pub id: String,
    /// For the next conditional write.
    pub token: Token,
    /// The change's place in its namespace's order.
    pub sequence: u64,
    /// Not before this time does it go by itself.
    pub expires_at: Option<SystemTime>,
    /// How it is recorded.
    pub receipt: Receipt,
}

impl Written {
    /// The version, from 1.
    pub fn version(&self) -> u64 {
        self.token.version
    }

    pub(crate) fn of(answer: v1::WriteResponse) -> Written {
        Written {
            id: answer.id,
            token: token(answer.token),
            sequence: answer.sequence,
            expires_at: answer.expires_at_ms.map(time),
            receipt: Receipt::of(answer.receipt),
        }
    }
}

/// A removal that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// What was there; `None` for one of an atomic batch, which does not bring it back.
    pub record: Option<Record>,
    /// The change's place in its namespace's order.
    pub sequence: u64,
    /// How it is recorded.
    pub receipt: Receipt,
}

impl Deleted {
    pub(crate) fn of(id: String, answer: v1::DeleteResponse) -> Deleted {
        let at = v1::ReadAt { sequence: answer.sequence, ..v1::ReadAt::default() };
        Deleted {
            record: answer.record.map(|record| Record::of(id, record, Some(at))),
            sequence: answer.sequence,
            receipt: Receipt::of(answer.receipt),
        }
    }
}

/// How a change is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The name of the operation.
    pub operation: String,
    /// The outcome was recorded before this request came: a repeat, by this client or another.
    pub replayed: bool,
}

impl Receipt {
    pub(crate) fn of(receipt: Option<v1::Receipt>) -> Receipt {
        let v1::Receipt { operation, replayed, .. } = receipt.unwrap_or_default();
        Receipt { operation, replayed }
    }
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Fails if the actor is there.
    Create(Content),
    /// Creates or replaces.
    Put(Content),
    /// Replaces; fails if there is none, or it is not as expected.
    Update(Content, Option<Expected>),
    /// Replaces if as expected; version 0 creates.
    CompareAndSwap(Content, Expected),
    /// Removes.
    Delete(Option<Expected>),
}

/// What came of one write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Written(Written),
    /// It was removed.
    Deleted(Deleted),
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T = Bytes> {
    /// In the order of their ids' bytes; all of one moment.
    pub records: Vec<Record<T>>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// What a scan visits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Ids that begin so; empty for all.
    pub prefix: String,
    /// Only behind this id; empty from the beginning.
    pub after: String,
    /// Actors on a page at most; 0 for the store's choice.
    pub page: u32,
    /// How fresh.
    pub level: Level,
}

impl Scan {
    /// Everything.
    pub fn all() -> Scan {
        Scan::default()
    }

    /// Ids that begin with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Scan {
        Scan { prefix: prefix.into(), ..Scan::default() }
    }
}

// ---- as messages

fn token(token: Option<v1::Token>) -> Token {
    let v1::Token { created, version } = token.unwrap_or_default();
    Token { created, version }
}

pub(crate) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}

impl From<v1::Token> for Token {
    fn from(v1::Token { created, version }: v1::Token) -> Token {
        Token { created, version }
    }
}

impl From<Content> for v1::Content {
    fn from(Content { value, metadata, ttl }: Content) -> v1::Content {
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        v1::Content { value, metadata: metadata.into_iter().collect(), ttl_ms }
    }
}

impl From<Expected> for v1::Expected {
    fn from(expected: Expected) -> v1::Expected {
        use v1::expected::Kind;
        let kind = match expected {
            Expected::Token(Token { created, version }) => {
                Kind::Token(v1::Token { created, version })
            }
            Expected::Version(version) => Kind::Version(version),
        };
        v1::Expected { kind: Some(kind) }
    }
}

impl Level {
    pub(crate) fn freshness(self, seen: u64) -> v1::Freshness {
        let (level, min_sequence) = match self {
            Level::Linearizable => (v1::ReadLevel::Linearizable, 0),
            Level::Lease => (v1::ReadLevel::Lease, 0),
            Level::Session => (v1::ReadLevel::Session, seen),
            Level::Eventual => (v1::ReadLevel::Eventual, 0),
        };
        v1::Freshness { level: level.into(), min_sequence }
    }
}

impl Write {
    pub(crate) fn message(self, id: String) -> v1::BatchOperation {
        use v1::batch_operation::Kind;
        let conditional = |content: Content, expected: Option<Expected>| v1::ConditionalContent {
            content: Some(content.into()),
            expected: expected.map(Into::into),
        };
        let kind = match self {
            Write::Create(content) => Kind::Create(content.into()),
            Write::Put(content) => Kind::Put(content.into()),
            Write::Update(content, expected) => Kind::Update(conditional(content, expected)),
            Write::CompareAndSwap(content, expected) => {
                Kind::CompareAndSwap(conditional(content, Some(expected)))
            }
            Write::Delete(expected) => {
                Kind::Delete(v1::Removal { expected: expected.map(Into::into) })
            }
        };
        v1::BatchOperation { id, kind: Some(kind) }
    }
}
