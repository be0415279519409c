//! The nouns of the store: who, where, which version, when.
//!
//! Newtypes without `Deref`: a `Version` is never mistaken for a `Sequence`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;

pub use crate::content::{Content, Metadata, Record, Ttl};
pub use crate::op_id::OpId;

/// A member of the cluster: a name and an address. Its data folder may be replaced ([`ReplicaId`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

/// One Raft group. Group 0 is kept for the meta group; namespaces start at 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct GroupId(pub u32);

impl GroupId {
    /// Kept for the meta group; also the group of what nodes say to each other as nodes.
    pub const META: GroupId = GroupId(0);
}

/// Names a cluster; two clusters that meet by accident refuse each other by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClusterId(pub String);

/// Drawn once per data folder. A wiped folder gets another one, so it cannot pass for the old node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// One data folder of one member: what votes, what acknowledges, what a group's voters are (ADR 9).
///
/// A folder that is lost takes its id with it, so nobody can break a promise that it has made.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ReplicaId {
    /// The member.
    pub node: NodeId,
    /// Its data folder.
    pub incarnation: Incarnation,
}

impl fmt::Display for ReplicaId {
    /// The member and the end of its folder's number, enough to tell two of its folders apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:04x}", self.node, self.incarnation.0 & 0xffff)
    }
}

/// Drawn at every start of a replica: an answer to a question asked before a crash is not taken
/// for a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Boot(pub u64);

/// Who this replica is. Created by `init` or `dev`, never by `serve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster the data belongs to.
    pub cluster: ClusterId,
    /// The member.
    pub node: NodeId,
    /// The data folder.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The member with its data folder.
    pub fn replica(&self) -> ReplicaId {
        let incarnation = if planted!(WipedNodeVotes) { Incarnation(0) } else { self.incarnation };
        ReplicaId { node: self.node, incarnation }
    }
}

/// A collection of actors, by type name (S0-041). 1 to [`limits::NAMESPACE_BYTES_MAX`] bytes of
/// `a-z A-Z 0-9 _ - .`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Namespace(String);

impl Namespace {
    /// Checks the alphabet and the length.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken.
    pub fn new(name: impl Into<String>) -> Result<Namespace, String> {
        let name = name.into();
        if name.is_empty() || name.len() > limits::NAMESPACE_BYTES_MAX {
            return Err(format!(
                "a namespace name has 1 to {} bytes, this one has {}",
                limits::NAMESPACE_BYTES_MAX,
                name.len()
            ));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match name.chars().find(|&c| !legal(c)) {
            Some(c) => {
                Err(format!("a namespace name has letters, digits, `_`, `-`, `.`; not {c:?}"))
            }
            None => Ok(Namespace(name)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of an actor inside its namespace: any UTF-8 of 1 to [`limits::ID_BYTES_MAX`] bytes.
///
/// Identity is the pair (namespace, id), kept as two values, never joined by a separator: the
/// pairs ("a:b", "c") and ("a", "b:c") differ (B-08, X-46).
///
/// Cheap to clone: the store keeps each id once, however many looks at it there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(Arc<str>);

impl ActorId {
    /// Checks the length.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken (S1-013: an empty id is refused).
    pub fn new(id: impl Into<String>) -> Result<ActorId, String> {
        let id = id.into();
        if id.is_empty() {
            return Err("an actor id may not be empty".to_owned());
        }
        if id.len() > limits::ID_BYTES_MAX {
            return Err(format!(
                "an actor id has at most {} bytes, this one has {}",
                limits::ID_BYTES_MAX,
                id.len()
            ));
        }
        Ok(ActorId(id.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// A range of ids can be given by parts of them; the order is that of the texts.
impl std::borrow::Borrow<str> for ActorId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// By hand, with the bytes of a string: serde's own for `Arc` is a feature that would be switched on
// for everybody.
impl Serialize for ActorId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ActorId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ActorId, D::Error> {
        String::deserialize(deserializer).map(|id| ActorId(id.into()))
    }
}

/// JSON text as bytes. Parsed and checked at the edge; the core never looks inside (B-05).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Json(Arc<[u8]>);

impl Json {
    /// Wraps bytes that the edge has already checked.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Json {
        Json(bytes.into())
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 48;
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(SHOWN)]);
        let more = if self.0.len() > SHOWN { "…" } else { "" };
        write!(f, "{text}{more}")
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Json, E> {
                Ok(Json(bytes.into()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Json, E> {
                Ok(Json(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Bytes that are nobody's JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        Json::deserialize(deserializer).map(|Json(bytes)| Blob(bytes.to_vec()))
    }
}

/// How often an actor has been written since it was created. The first is 1; 0 means absent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version(pub u64);

/// Position in a shard's dense count of applied changes, from 1: no gaps, same on every replica.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Sequence(pub u64);

/// What a compare-and-swap compares: delete and create again cannot fool it.
/// Text form `created-version`, used as the HTTP ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The sequence at which this life of the actor began.
    pub created: Sequence,
    /// The version inside this life.
    pub version: Version,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created.0, self.version.0)
    }
}

impl std::str::FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> Result<Token, String> {
        let parse = || {
            let (created, version) = text.split_once('-')?;
            let created = Sequence(created.parse().ok()?);
            Some(Token { created, version: Version(version.parse().ok()?) })
        };
        parse().ok_or_else(|| format!("`{text}` is not a version token such as `17-3`"))
    }
}

/// Nanoseconds on the replica's monotonic clock. It may run fast or slow, never backwards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// This instant and `duration` more; saturates at the end of time.
    pub fn after(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since the Unix epoch. The wall clock may jump; nothing safe rests on it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// The clocks as the driver read them for this step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What timers and leases run on.
    pub mono: Instant,
    /// What committed time is stamped from.
    pub wall: Timestamp,
}

macro_rules! plain_display {
    ($($name:ident $prefix:literal),* $(,)?) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}
plain_display!(NodeId "", GroupId "", ClusterId "", Namespace "", ActorId "", Version "", Sequence "");
