//! Between the messages of the .proto and the core's words. What a message says is checked here by the
//! same rules as in HTTP.

use std::time::Duration;

use understudy_core::message::LogPosition;
use understudy_core::{
    ActorId, Change, ChangeKind, Content, Expected, OpId, ReadLevel, Record, Sequence, Token,
    Version,
};
use understudy_proto::v1::{self as proto, expected, operation_name};

use crate::api::ops::{At, Found};
use crate::api::problem::{Problem, codes};
use crate::api::request;
use crate::api::{document, metadata};

/// What is missing in a message.
pub fn missing(what: &str) -> Problem {
    Problem::new(&codes::BAD_REQUEST, format!("`{what}` is missing"))
}

/// A document with what is beside it.
pub fn content(content: Option<proto::Content>) -> Result<Content, Problem> {
    let proto::Content { value, metadata, ttl_ms } = content.ok_or_else(|| missing("content"))?;
    Ok(Content {
        value: document::checked(&value)?,
        metadata: metadata::checked(metadata)?,
        ttl: ttl_ms.map(request::ttl).transpose()?,
    })
}

/// A precondition; `None` when there is none.
pub fn expected(expected: Option<proto::Expected>) -> Result<Option<Expected>, Problem> {
    let Some(expected) = expected else { return Ok(None) };
    match expected.kind {
        Some(expected::Kind::Token(token)) => Ok(Some(Expected::Token(Token {
            created: Sequence(token.created),
            version: Version(token.version),
        }))),
        Some(expected::Kind::Version(version)) => Ok(Some(Expected::Version(Version(version)))),
        None => {
            let detail = "`expected` is empty: give `token` or `version`, or leave it away";
            Err(Problem::new(&codes::BAD_PRECONDITION, detail))
        }
    }
}

/// An operation's name; `None` when the client gave none.
pub fn name(name: Option<proto::OperationName>) -> Result<Option<OpId>, Problem> {
    match name.and_then(|name| name.kind) {
        None => Ok(None),
        Some(operation_name::Kind::IdempotencyKey(key)) => request::idempotency_key(&key).map(Some),
        Some(operation_name::Kind::Session(place)) => {
            request::session_op(&place.session, place.sequence).map(Some)
        }
    }
}

/// How fresh a read must be.
pub fn level(freshness: Option<proto::Freshness>) -> Result<ReadLevel, Problem> {
    let freshness = freshness.unwrap_or_default();
    let bad = |detail: &str| Err(Problem::new(&codes::BAD_LEVEL, detail));
    if freshness.min_sequence != 0 && freshness.level() != proto::ReadLevel::Session {
        return bad("`min_sequence` is for READ_LEVEL_SESSION only");
    }
    match proto::ReadLevel::try_from(freshness.level) {
        Ok(proto::ReadLevel::Unspecified | proto::ReadLevel::Linearizable) => {
            Ok(ReadLevel::Linearizable)
        }
        Ok(proto::ReadLevel::Eventual) => Ok(ReadLevel::Eventual),
        Ok(proto::ReadLevel::Lease) => Ok(ReadLevel::Lease),
        Ok(proto::ReadLevel::Session) => {
            Ok(ReadLevel::Session { min: Sequence(freshness.min_sequence) })
        }
        Err(_) => bad("there is no such level"),
    }
}

/// An id.
pub fn id(id: &str) -> Result<ActorId, Problem> {
    request::actor_id(id)
}

pub fn token(token: Token) -> proto::Token {
    proto::Token { created: token.created.0, version: token.version.0 }
}

pub fn record(record: &Record) -> proto::Record {
    let pairs = record.metadata().pairs().map(|(key, value)| (key.to_owned(), value.to_owned()));
    proto::Record {
        token: Some(token(record.token)),
        value: record.value().as_bytes().to_vec().into(),
        metadata: pairs.collect(),
        expires_at_ms: record.expires().map(|time| time.0),
    }
}

pub fn change(change: &Change, conflated: u64) -> proto::Change {
    let kind = match change.kind {
        ChangeKind::Create => proto::ChangeKind::Create,
        ChangeKind::Update => proto::ChangeKind::Update,
        ChangeKind::Delete => proto::ChangeKind::Delete,
        ChangeKind::Expire => proto::ChangeKind::Expire,
    };
    let LogPosition { term, index, .. } = change.position;
    proto::Change {
        id: change.id.as_str().to_owned(),
        kind: kind.into(),
        event_id: change.event.to_string(),
        sequence: change.sequence.0,
        time_ms: change.time.0,
        position: Some(proto::LogPosition { term, index }),
        before: change.before.as_ref().map(record),
        after: change.after.as_ref().map(record),
        conflated,
    }
}

pub fn found(found: &Found) -> proto::ReadResponse {
    proto::ReadResponse { record: Some(record(&found.record)), at: Some(at(found.at)) }
}

pub fn at(at: At) -> proto::ReadAt {
    proto::ReadAt {
        applied_index: at.applied,
        sequence: at.sequence.0,
        age_ms: at.age.map(milliseconds),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
