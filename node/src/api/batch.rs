//! Batches and pages over HTTP: several actors in one body of JSON, each document in it as it is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use understudy_core::{
    Content, Expected, Namespace, Operation, Outcome, Record, Token, Version, Write,
};

use crate::api::ops::{self, At, Done, Found};
use crate::api::problem::{Problem, codes};
use crate::api::{Api, document, metadata, request, status};
use crate::limits;

/// An actor in a list.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    token: String,
    version: u64,
    value: &'a RawValue,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

impl<'a> Listed<'a> {
    pub(super) fn new(id: Option<&'a str>, record: &'a Record) -> Listed<'a> {
        let value = serde_json::from_slice(record.value().as_bytes());
        Listed {
            id,
            token: record.token.to_string(),
            version: record.token.version.0,
            value: value.unwrap_or(RawValue::NULL),
            metadata: record.metadata().pairs().collect(),
            expires_at_ms: record.expires().map(|time| time.0),
        }
    }
}

/// Of which state an answer is.
#[derive(Serialize)]
struct State {
    applied_index: u64,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
}

impl From<At> for State {
    fn from(at: At) -> State {
        let age = at.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        State { applied_index: at.applied, sequence: at.sequence.0, age_ms: age }
    }
}

fn problem_value(problem: &Problem) -> Box<RawValue> {
    let text = String::from_utf8(problem.json()).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

// ---- a page

/// `GET …/actors`: a page of a scan.
///
/// # Errors
/// A problem.
pub async fn scan(
    api: &Api,
    namespace: Namespace,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let known = ["prefix", "after", "limit", "level", "min_sequence", "timeout_ms"];
    let pairs = request::query(uri, &known)?;
    let text = |name| request::parameter(&pairs, name).unwrap_or_default();
    let limit = request::parameter(&pairs, "limit").map(|limit| limit.parse().unwrap_or(0));
    let scan = ops::Scan {
        namespace,
        prefix: request::prefix(text("prefix").to_owned())?,
        after: request::after(text("after"))?,
        limit: request::limit(limit)?,
        level: request::level(&pairs)?,
    };
    let page = ops::scan(api, scan, request::wait(headers, &pairs)?).await?;

    #[derive(Serialize)]
    struct Body<'a> {
        actors: Vec<Listed<'a>>,
        /// `after` of the next page.
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a str>,
        #[serde(flatten)]
        state: State,
    }
    let records = &page.records;
    let actors = records.iter().map(|(id, record)| Listed::new(Some(id.as_str()), record));
    let next = records.last().filter(|_| page.more).map(|(id, _)| id.as_str());
    Ok(status::json(&Body { actors: actors.collect(), next, state: page.at.into() }))
}

/// A field that may be left away, but is not null: for a document, null is a value.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

// ---- reads

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reads {
    items: Vec<ReadItem>,
    #[serde(default, deserialize_with = "some")]
    level: Option<String>,
    #[serde(default, deserialize_with = "some")]
    min_sequence: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadItem {
    id: String,
    #[serde(default, deserialize_with = "some")]
    level: Option<String>,
    #[serde(default, deserialize_with = "some")]
    min_sequence: Option<u64>,
}

/// `POST …/actors:batchRead`.
///
/// # Errors
/// A problem with the batch; those of its items are in the answer.
pub async fn read(
    api: &Api,
    namespace: Namespace,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let wait = wait(&request)?;
    let bytes = request::json_bytes(request, limits::BATCH_BODY_BYTES_MAX).await?;
    let reads: Reads = parse(&bytes)?;
    let common = (reads.level, reads.min_sequence);
    let mut items = Vec::with_capacity(reads.items.len());
    for item in &reads.items {
        let own = (item.level.clone(), item.min_sequence);
        let (level, min) = if own == (None, None) { common.clone() } else { own };
        let level = request::level_of(level.as_deref(), min)?;
        items.push(ops::Item { id: request::actor_id(&item.id)?, level });
    }
    let found = ops::batch_read(api, namespace, items, wait).await?;

    #[derive(Serialize)]
    struct Result<'a> {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        found: Option<Listed<'a>>,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Box<RawValue>>,
    }
    let results = reads.items.iter().zip(&found).map(|(item, found)| match found {
        Ok(Found { record, at }) => Result {
            id: &item.id,
            found: Some(Listed::new(None, record)),
            state: Some((*at).into()),
            problem: None,
        },
        Err(problem) => {
            let problem = Some(problem_value(problem));
            Result { id: &item.id, found: None, state: None, problem }
        }
    });
    Ok(answer(&results.collect::<Vec<_>>(), None))
}

// ---- writes

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Writes<'a> {
    #[serde(default, deserialize_with = "some")]
    atomic: Option<bool>,
    #[serde(borrow)]
    operations: Vec<WriteItem<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteItem<'a> {
    op: Kind,
    id: String,
    #[serde(borrow, default, deserialize_with = "some")]
    value: Option<&'a RawValue>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "some")]
    ttl_ms: Option<u64>,
    #[serde(default, deserialize_with = "some")]
    expected: Option<String>,
    #[serde(default, deserialize_with = "some")]
    expected_version: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Create,
    Put,
    Update,
    CompareAndSwap,
    Delete,
}

impl WriteItem<'_> {
    fn operation(&self) -> Result<Operation, Problem> {
        let expected = self.expected()?;
        if self.op == Kind::Delete {
            if self.value.is_some() || !self.metadata.is_empty() || self.ttl_ms.is_some() {
                return Err(bad_batch("a delete has neither value nor metadata nor ttl_ms"));
            }
            return Ok(Operation::Delete { expected });
        }
        let value = self.value.ok_or_else(|| bad_batch("a write has a `value`"))?;
        let content = Content {
            value: document::checked(value.get().as_bytes())?,
            metadata: metadata::checked(self.metadata.clone())?,
            ttl: self.ttl_ms.map(request::ttl).transpose()?,
        };
        match (self.op, expected) {
            (Kind::Create, None) => Ok(Operation::Create { content }),
            (Kind::Put, None) => Ok(Operation::Put { content }),
            (Kind::Update, expected) => Ok(Operation::Update { content, expected }),
            (Kind::CompareAndSwap, Some(expected)) => {
                Ok(Operation::CompareAndSwap { content, expected })
            }
            _ => {
                let detail = "create and put have no precondition, and compare_and_swap needs one";
                Err(Problem::new(&codes::BAD_PRECONDITION, detail))
            }
        }
    }

    fn expected(&self) -> Result<Option<Expected>, Problem> {
        match (&self.expected, self.expected_version) {
            (None, None) => Ok(None),
            (Some(token), None) => request::token(token).map(|token| Some(Expected::Token(token))),
            (None, Some(version)) => Ok(Some(Expected::Version(Version(version)))),
            (Some(_), Some(_)) => {
                let detail = "give one of `expected` and `expected_version`";
                Err(Problem::new(&codes::BAD_PRECONDITION, detail))
            }
        }
    }
}

fn bad_batch(detail: &str) -> Problem {
    Problem::new(&codes::BAD_BATCH, detail)
}

/// One result of a batch of writes.
#[derive(Serialize, Default)]
struct Written<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<bool>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<RawValue>>,
}

/// What is recorded of a write.
#[derive(Serialize)]
pub struct Receipt {
    operation: String,
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered_until_ms: Option<u64>,
}

impl From<&Done> for Receipt {
    fn from(done: &Done) -> Receipt {
        Receipt {
            operation: done.op.to_string(),
            replayed: done.replayed,
            remembered_until_ms: done.remembered_until.map(|time| time.0),
        }
    }
}

impl<'a> Written<'a> {
    fn of(id: &'a str, outcome: &'a Outcome) -> Written<'a> {
        let of = |token: Token, sequence: u64| Written {
            id,
            token: Some(token.to_string()),
            version: Some(token.version.0),
            sequence: Some(sequence),
            ..Written::default()
        };
        match outcome {
            Outcome::Written { token, sequence } => of(*token, sequence.0),
            Outcome::Removed { token, sequence } => {
                Written { removed: Some(true), ..of(*token, sequence.0) }
            }
            Outcome::Deleted { record, sequence } => {
                Written { deleted: Some(Listed::new(None, record)), ..of(record.token, sequence.0) }
            }
            // Never inside a batch that happened.
            Outcome::Batch(_) | Outcome::Refused(_) => Written { id, ..Written::default() },
        }
    }
}

/// `POST …/actors:batchWrite`.
///
/// # Errors
/// A problem with the batch, an atomic one's refusal among them; those of the operations of another
/// one are in the answer.
pub async fn write(
    api: &Api,
    namespace: Namespace,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let wait = wait(&request)?;
    let op = request::op_id(request.headers())?;
    let bytes = request::json_bytes(request, limits::BATCH_BODY_BYTES_MAX).await?;
    let batch: Writes<'_> = parse(&bytes)?;
    let atomic = batch.atomic.ok_or_else(|| {
        bad_batch("state `atomic`: true for all or nothing, false for each operation by itself")
    })?;
    let mut writes = Vec::with_capacity(batch.operations.len());
    for item in &batch.operations {
        let id = request::actor_id(&item.id)?;
        writes.push(Write { id, operation: item.operation()? });
    }
    let ttls: Vec<_> = writes.iter().map(ops::ttl).collect();
    let ids = batch.operations.iter().map(|item| item.id.as_str());
    if atomic {
        let (done, outcomes) = ops::write_atomic(api, namespace, op, writes, wait).await?;
        let results = ids.zip(&outcomes).zip(ttls).map(|((id, outcome), ttl)| Written {
            expires_at_ms: ops::expires(done.recorded, ttl).map(|time| time.0),
            ..Written::of(id, outcome)
        });
        return Ok(answer(&results.collect::<Vec<_>>(), Some((&done).into())));
    }
    let done = ops::write_each(api, namespace, op, writes, wait).await?;
    let results = ids.zip(&done).zip(ttls).map(|((id, done), ttl)| match done {
        Ok(done) => Written {
            expires_at_ms: ops::expires(done.recorded, ttl).map(|time| time.0),
            receipt: Some(done.into()),
            ..Written::of(id, &done.outcome)
        },
        Err(problem) => Written { id, problem: Some(problem_value(problem)), ..Written::default() },
    });
    Ok(answer(&results.collect::<Vec<_>>(), None))
}

fn answer(results: &impl Serialize, receipt: Option<Receipt>) -> Response {
    #[derive(Serialize)]
    struct Body<'a, T> {
        results: &'a T,
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        receipt: Option<Receipt>,
    }
    status::json(&Body { results, receipt })
}

fn wait(request: &Request<Body>) -> Result<Duration, Problem> {
    let pairs = request::query(request.uri(), &["timeout_ms"])?;
    request::wait(request.headers(), &pairs)
}

/// The body as what it should be.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // Not even JSON is told apart from JSON of another shape.
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            bad_batch(&format!("the body is not as described: {error}"))
        }
        _ => Problem::new(&codes::INVALID_JSON, format!("the body is not JSON: {error}")),
    })
}
