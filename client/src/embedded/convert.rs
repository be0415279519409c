//! The calls of the API in the core's words, and its answers back.

use std::time::Duration;

use futures_util::future::join_all;
use understudy_core::{
    ActorId, Answer as Came, Content, Expected, Failure, Json, Metadata, Namespace, OpId,
    Operation, Outcome, ReadLevel, Record, Refusal, Request, Sequence, Token, Ttl, Version, Work,
    Write, limits,
};
use understudy_driver::{clock, document, folder};
use understudy_plan::{Certainty, Instant};
use understudy_proto::v1::batch_operation::Kind;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::{self, operation_name};
use uuid::{Uuid, Variant};

use super::Embedded;
use crate::error::Error;

/// What the store reads of a page where the caller does not say.
const PAGE: usize = 100;

/// Performs one call.
pub(super) async fn perform(
    store: &Embedded,
    call: Call,
    deadline: Instant,
) -> Result<Answer, Error> {
    match call {
        Call::Create(v1::CreateRequest { namespace, id, content: value, name }) => {
            let id = match id {
                Some(id) => id,
                None => new_id()?,
            };
            let operation = Operation::Create { content: content(value)? };
            write(store, namespace, id, name, operation, deadline).await
        }
        Call::Put(v1::PutRequest { namespace, id, content: value, name }) => {
            let operation = Operation::Put { content: content(value)? };
            write(store, namespace, id, name, operation, deadline).await
        }
        Call::Update(v1::UpdateRequest {
            namespace,
            id,
            content: value,
            name,
            expected: if_so,
        }) => {
            let operation =
                Operation::Update { content: content(value)?, expected: expected(if_so) };
            write(store, namespace, id, name, operation, deadline).await
        }
        Call::CompareAndSwap(request) => {
            let if_so = expected(request.expected).ok_or_else(|| missing("expected"))?;
            let content = content(request.content)?;
            let operation = Operation::CompareAndSwap { content, expected: if_so };
            write(store, request.namespace, request.id, request.name, operation, deadline).await
        }
        Call::Delete(v1::DeleteRequest { namespace, id, name, expected: if_so }) => {
            let operation = Operation::Delete { expected: expected(if_so) };
            write(store, namespace, id, name, operation, deadline).await
        }
        Call::Read(v1::ReadRequest { namespace, id, freshness }) => {
            read(store, namespace, id, freshness, deadline).await.map(Answer::Read)
        }
        Call::BatchRead(request) => batch_read(store, request, deadline).await,
        Call::BatchWrite(request) if request.atomic == Some(true) => {
            atomic(store, request, deadline).await
        }
        Call::BatchWrite(request) => each(store, request, deadline).await,
        Call::Scan(request) => scan(store, request, deadline).await,
        Call::OpenSession(_) => Err(Error::invalid("an embedded store needs no session")),
    }
}

async fn write(
    store: &Embedded,
    namespace: String,
    id: String,
    name: Option<v1::OperationName>,
    operation: Operation,
    deadline: Instant,
) -> Result<Answer, Error> {
    let (namespace, op) = (namespace_of(namespace)?, op(name)?);
    let work = Work::One(Write { id: actor(id.clone())?, operation });
    let came = store.ask(Request::Write { namespace, op, work }, deadline).await?;
    let (receipt, outcome) = done(came)?;
    changed(id, outcome, receipt)
}

/// What one write came to.
fn changed(id: String, outcome: Outcome, receipt: v1::Receipt) -> Result<Answer, Error> {
    let receipt = Some(receipt);
    match outcome {
        Outcome::Written { token, sequence } => Ok(Answer::Written(v1::WriteResponse {
            id,
            token: Some(token_of(token)),
            sequence: sequence.0,
            expires_at_ms: None,
            receipt,
        })),
        Outcome::Deleted { record, sequence } => Ok(Answer::Deleted(v1::DeleteResponse {
            record: Some(record_of(&record)),
            sequence: sequence.0,
            receipt,
        })),
        Outcome::Removed { sequence, .. } => {
            Ok(Answer::Deleted(v1::DeleteResponse { record: None, sequence: sequence.0, receipt }))
        }
        Outcome::Refused(refusal) => Err(Error::of(problem(&Failure::Refused(refusal)))),
        Outcome::Batch(_) => Err(other_answer()),
    }
}

async fn atomic(
    store: &Embedded,
    request: v1::BatchWriteRequest,
    deadline: Instant,
) -> Result<Answer, Error> {
    let (namespace, op) = (namespace_of(request.namespace)?, op(request.name)?);
    let writes: Result<Vec<Write>, Error> = request.operations.into_iter().map(one).collect();
    let writes = writes?;
    let ids: Vec<String> = writes.iter().map(|write| write.id.as_str().to_owned()).collect();
    let work = Work::batch(writes).map_err(Error::Invalid)?;
    let came = store.ask(Request::Write { namespace, op, work }, deadline).await?;
    let (receipt, outcome) = done(came)?;
    let outcomes = match outcome {
        Outcome::Batch(outcomes) => outcomes,
        Outcome::Refused(refusal) => {
            return Err(Error::of(problem(&Failure::Refused(refusal))));
        }
        _ => return Err(other_answer()),
    };
    let items = ids.into_iter().zip(outcomes);
    let results = items.map(|(id, outcome)| item(changed(id, outcome, receipt.clone()))).collect();
    Ok(Answer::BatchWrite(v1::BatchWriteResponse { results, receipt: Some(receipt) }))
}

/// Each for itself, side by side: those of one actor stay in order, because the core takes them so.
async fn each(
    store: &Embedded,
    request: v1::BatchWriteRequest,
    deadline: Instant,
) -> Result<Answer, Error> {
    let (namespace, op) = (namespace_of(request.namespace)?, op(request.name)?);
    let mut asks = Vec::new();
    for (place, operation) in (0..).zip(request.operations) {
        let write = one(operation)?;
        let (namespace, id) = (namespace.clone(), write.id.as_str().to_owned());
        let op = op.as_ref().map(|op| op.item(place));
        let body = Request::Write { namespace, op, work: Work::One(write) };
        asks.push(async move {
            let (receipt, outcome) = done(store.ask(body, deadline).await?)?;
            changed(id, outcome, receipt)
        });
    }
    let results = join_all(asks).await.into_iter().map(item).collect();
    Ok(Answer::BatchWrite(v1::BatchWriteResponse { results, receipt: None }))
}

fn item(changed: Result<Answer, Error>) -> v1::BatchWriteResult {
    use v1::batch_write_result::Result as Came;
    let result = match changed {
        Ok(Answer::Written(answer)) => Some(Came::Written(answer)),
        Ok(Answer::Deleted(answer)) => Some(Came::Deleted(answer)),
        Ok(_) => None,
        Err(error) => Some(Came::Problem(error.problem())),
    };
    v1::BatchWriteResult { result }
}

fn one(operation: v1::BatchOperation) -> Result<Write, Error> {
    let id = actor(operation.id)?;
    let operation = match operation.kind.ok_or_else(|| missing("kind"))? {
        Kind::Create(value) => Operation::Create { content: content(Some(value))? },
        Kind::Put(value) => Operation::Put { content: content(Some(value))? },
        Kind::Update(write) => Operation::Update {
            content: content(write.content)?,
            expected: expected(write.expected),
        },
        Kind::CompareAndSwap(write) => Operation::CompareAndSwap {
            content: content(write.content)?,
            expected: expected(write.expected).ok_or_else(|| missing("expected"))?,
        },
        Kind::Delete(removal) => Operation::Delete { expected: expected(removal.expected) },
    };
    Ok(Write { id, operation })
}

async fn read(
    store: &Embedded,
    namespace: String,
    id: String,
    freshness: Option<v1::Freshness>,
    deadline: Instant,
) -> Result<v1::ReadResponse, Error> {
    let level = level(freshness);
    let request = Request::Read { namespace: namespace_of(namespace)?, id: actor(id)?, level };
    match store.ask(request, deadline).await? {
        Came::Read { record: Some(record), applied, sequence, age } => Ok(v1::ReadResponse {
            record: Some(record_of(&record)),
            at: Some(at(applied, sequence, age)),
        }),
        Came::Read { record: None, .. } => Err(Error::NotFound),
        _ => Err(other_answer()),
    }
}

async fn batch_read(
    store: &Embedded,
    request: v1::BatchReadRequest,
    deadline: Instant,
) -> Result<Answer, Error> {
    let v1::BatchReadRequest { namespace, items, freshness } = request;
    let asks = items.into_iter().map(|item| {
        let (namespace, freshness) = (namespace.clone(), item.freshness.or(freshness));
        async move {
            use v1::batch_read_result::Result as Came;
            let result = match read(store, namespace, item.id.clone(), freshness, deadline).await {
                Ok(found) => Came::Found(found),
                Err(error) => Came::Problem(error.problem()),
            };
            v1::BatchReadResult { id: item.id, result: Some(result) }
        }
    });
    Ok(Answer::BatchRead(v1::BatchReadResponse { results: join_all(asks).await }))
}

async fn scan(
    store: &Embedded,
    request: v1::ScanRequest,
    deadline: Instant,
) -> Result<Answer, Error> {
    let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
        0 => PAGE,
        limit => limit.min(limits::SCAN_RECORDS_MAX),
    };
    let after = (!request.after.is_empty()).then(|| actor(request.after)).transpose()?;
    let namespace = namespace_of(request.namespace)?;
    let (prefix, level) = (request.prefix, level(request.freshness));
    let ask = Request::Scan { namespace, prefix, after, limit, level };
    let Came::Scan { records, more, applied, sequence, age } = store.ask(ask, deadline).await?
    else {
        return Err(other_answer());
    };
    let next = records.last().filter(|_| more).map(|(id, _)| id.as_str().to_owned());
    let items = records.iter().map(|(id, record)| v1::ScanItem {
        id: id.as_str().to_owned(),
        record: Some(record_of(record)),
    });
    let (items, at) = (items.collect(), Some(at(applied, sequence, age)));
    Ok(Answer::Scan(v1::ScanResponse { items, next, at }))
}

// ---- in

fn namespace_of(name: String) -> Result<Namespace, Error> {
    Namespace::new(name).map_err(Error::Invalid)
}

fn actor(id: String) -> Result<ActorId, Error> {
    ActorId::new(id).map_err(Error::Invalid)
}

fn missing(what: &str) -> Error {
    Error::invalid(format!("`{what}` is missing"))
}

fn content(content: Option<v1::Content>) -> Result<Content, Error> {
    let v1::Content { value, metadata, ttl_ms } = content.ok_or_else(|| missing("content"))?;
    if value.len() > limits::VALUE_BYTES_MAX {
        let max = limits::VALUE_BYTES_MAX;
        let message = format!("a document has at most {max} bytes, this one has {}", value.len());
        return Err(Error::Refused { code: "value_too_large".to_owned(), message });
    }
    let invalid = |message| Error::Refused { code: "invalid_json".to_owned(), message };
    document::check(&value).map_err(invalid)?;
    let metadata = Metadata::new(metadata).map_err(Error::Invalid)?;
    let ttl = ttl_ms.map(Ttl::new).transpose().map_err(Error::Invalid)?;
    Ok(Content { value: Json::new(value.as_ref()), metadata, ttl })
}

fn expected(expected: Option<v1::Expected>) -> Option<Expected> {
    match expected?.kind? {
        v1::expected::Kind::Token(v1::Token { created, version }) => {
            Some(Expected::Token(Token { created: Sequence(created), version: Version(version) }))
        }
        v1::expected::Kind::Version(version) => Some(Expected::Version(Version(version))),
    }
}

/// A key of the caller's.
fn op(name: Option<v1::OperationName>) -> Result<Option<OpId>, Error> {
    match name.and_then(|name| name.kind) {
        None => Ok(None),
        Some(operation_name::Kind::IdempotencyKey(key)) => op_of_key(key).map(Some),
        Some(operation_name::Kind::Session(_)) => {
            Err(Error::invalid("an embedded store needs no session"))
        }
    }
}

/// The same rule as a node's: a UUID of version 7 carries its time.
fn op_of_key(key: String) -> Result<OpId, Error> {
    let max = limits::OP_NAME_BYTES_MAX;
    if key.is_empty() || key.len() > max || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("an idempotency key has 1 to {max} visible ASCII characters");
        return Err(Error::Refused { code: "bad_idempotency_key".to_owned(), message });
    }
    const HYPHENATED: usize = 36;
    let uuid = Uuid::try_parse(&key).ok().filter(|uuid| {
        let timed = uuid.get_version_num() == 7 && uuid.get_variant() == Variant::RFC4122;
        timed && key.len() == HYPHENATED
    });
    Ok(uuid.map_or(OpId::Named(key), |uuid| OpId::Timed(uuid.as_u128())))
}

fn level(freshness: Option<v1::Freshness>) -> ReadLevel {
    let freshness = freshness.unwrap_or_default();
    match freshness.level() {
        v1::ReadLevel::Unspecified | v1::ReadLevel::Linearizable => ReadLevel::Linearizable,
        v1::ReadLevel::Lease => ReadLevel::Lease,
        v1::ReadLevel::Session => ReadLevel::Session { min: Sequence(freshness.min_sequence) },
        v1::ReadLevel::Eventual => ReadLevel::Eventual,
    }
}

/// An id for an actor that is created without one: time, node and random bits.
fn new_id() -> Result<String, Error> {
    let random = folder::random().map_err(|error| Error::invalid(format!("{error:#}")))?;
    Ok(format!("{:012x}-{}-{random:016x}", clock::wall().0, super::NODE))
}

// ---- out

fn done(came: Came) -> Result<(v1::Receipt, Outcome), Error> {
    let until = came.remembered_until();
    match came {
        Came::Done { op, outcome, replayed, .. } => {
            let remembered_until_ms = until.map(|until| until.0);
            let operation = op.to_string();
            Ok((v1::Receipt { operation, replayed, remembered_until_ms }, outcome))
        }
        _ => Err(other_answer()),
    }
}

fn other_answer() -> Error {
    Error::invalid("the answer fits another question")
}

fn token_of(token: Token) -> v1::Token {
    v1::Token { created: token.created.0, version: token.version.0 }
}

pub(super) fn record_of(record: &Record) -> v1::Record {
    let pairs = record.metadata().pairs();
    v1::Record {
        token: Some(token_of(record.token)),
        value: record.value().as_bytes().to_vec().into(),
        metadata: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        expires_at_ms: record.expires().map(|at| at.0),
    }
}

fn at(applied: u64, sequence: Sequence, age: Option<Duration>) -> v1::ReadAt {
    let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    v1::ReadAt { applied_index: applied, sequence: sequence.0, age_ms }
}

pub(super) fn certainty(failure: &Failure) -> Certainty {
    match failure.certainty() {
        understudy_core::Certainty::Refused => Certainty::Refused,
        understudy_core::Certainty::Unknown => Certainty::Unknown,
    }
}

/// A failure in the API's words.
pub(super) fn problem(failure: &Failure) -> v1::Problem {
    let (found, place) = match failure {
        Failure::Refused(refusal) => match refusal {
            Refusal::AlreadyExists { found } => (Some(*found), None),
            Refusal::Conflict { found, .. } => (*found, None),
            Refusal::InBatch { place, .. } => (None, Some(*place)),
            _ => (None, None),
        },
        _ => (None, None),
    };
    let retry_after_ms = match failure {
        Failure::Busy { retry_after, .. } => u64::try_from(retry_after.as_millis()).ok(),
        _ => None,
    };
    let certainty = match certainty(failure) {
        Certainty::Refused => v1::Certainty::Refused,
        Certainty::Unknown => v1::Certainty::Unknown,
    };
    v1::Problem {
        code: failure.code().to_owned(),
        certainty: certainty.into(),
        message: failure.to_string(),
        retry_after_ms,
        found: found.map(token_of),
        failed_place: place,
        ..v1::Problem::default()
    }
}
