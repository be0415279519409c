//! The five operations on one actor.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use understudy_core::{
    self as core, ActorId, Expected, Namespace, OpId, Operation, Outcome, ReadLevel, Record,
    Sequence, Token, Version, Write,
};

use crate::api::metadata;
use crate::api::ops::{self, Done, Found};
use crate::api::problem::{Problem, codes};
use crate::api::request::{self, Precondition, Target};
use crate::api::{Api, status};

/// The bare version, from 1.
pub const VERSION: HeaderName = HeaderName::from_static("understudy-version");
/// The change's place in its namespace's order; of a read, the last change that the answering node
/// had applied.
pub const SEQUENCE: HeaderName = HeaderName::from_static("understudy-sequence");
/// The log index that the answering replica had applied.
pub const APPLIED: HeaderName = HeaderName::from_static("understudy-applied-index");
/// How old an eventual or session read may be.
pub const AGE: HeaderName = HeaderName::from_static("understudy-age-ms");
/// The name under which the outcome of a write is recorded.
pub const OPERATION: HeaderName = HeaderName::from_static("understudy-operation");
/// `true` when the outcome was recorded before this request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The committed time until which a repeat is recognised.
pub const REMEMBERED: HeaderName = HeaderName::from_static("idempotency-expires");
/// The committed time from which the actor may go by itself, in Unix milliseconds.
pub const EXPIRES_AT: HeaderName = HeaderName::from_static("understudy-expires-at-ms");

/// What a path segment may hold as it is (RFC 3986 §2.3).
pub const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Create, with the id of `?id=` or a new one.
///
/// # Errors
/// A problem.
pub async fn create(
    api: &Api,
    namespace: Namespace,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let pairs = request::query(request.uri(), &["id", "timeout_ms"])?;
    if request::precondition(request.headers(), &[])? != Precondition::Any {
        let detail = "a create has no precondition: it fails if the actor exists";
        return Err(Problem::new(&codes::BAD_PRECONDITION, detail));
    }
    let terms = Terms::of(&request, &pairs)?;
    let id = match request::parameter(&pairs, "id") {
        Some(id) => request::actor_id(id)?,
        None => api.ids.next(terms.op.as_ref())?,
    };
    let content = request::content(request).await?;
    write(api, Target { namespace, id }, terms, Operation::Create { content }).await
}

/// Put, create, update or compare-and-swap: the precondition says which.
///
/// # Errors
/// A problem.
pub async fn put(api: &Api, target: Target, request: Request<Body>) -> Result<Response, Problem> {
    let pairs = request::query(request.uri(), &["expected_version", "timeout_ms"])?;
    let precondition = request::precondition(request.headers(), &pairs)?;
    let terms = Terms::of(&request, &pairs)?;
    let content = request::content(request).await?;
    let operation = match precondition {
        Precondition::Any => Operation::Put { content },
        Precondition::Absent => Operation::Create { content },
        Precondition::Present => Operation::Update { content, expected: None },
        Precondition::Equals(expected) => Operation::CompareAndSwap { content, expected },
    };
    write(api, target, terms, operation).await
}

/// Delete; answers with the old document.
///
/// # Errors
/// A problem.
pub async fn delete(
    api: &Api,
    target: Target,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let pairs = request::query(request.uri(), &["expected_version", "timeout_ms"])?;
    let expected = match request::precondition(request.headers(), &pairs)? {
        Precondition::Any | Precondition::Present => None,
        Precondition::Equals(Expected::Version(Version(0))) | Precondition::Absent => {
            let detail = "an absent actor cannot be deleted; expect a version of 1 or more";
            return Err(Problem::new(&codes::BAD_PRECONDITION, detail));
        }
        Precondition::Equals(expected) => Some(expected),
    };
    let terms = Terms::of(&request, &pairs)?;
    write(api, target, terms, Operation::Delete { expected }).await
}

/// Read.
///
/// # Errors
/// A problem.
pub async fn read(
    api: &Api,
    target: Target,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let pairs = request::query(uri, &["level", "min_sequence", "timeout_ms"])?;
    let level = request::level(&pairs)?;
    let wait = request::wait(headers, &pairs)?;
    let Target { namespace, id } = target;
    let Found { record, at } = ops::read(api, namespace, id, level, wait).await?;
    let token = record.token;
    let seen = request::has(headers, token)?;
    let mut response = if seen {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        document(StatusCode::OK, &record)
    };
    let headers = response.headers_mut();
    version_headers(headers, token);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(APPLIED, HeaderValue::from(at.applied));
    headers.insert(SEQUENCE, HeaderValue::from(at.sequence.0));
    if let (ReadLevel::Session { .. } | ReadLevel::Eventual, Some(age)) = (level, at.age) {
        headers.insert(AGE, HeaderValue::from(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    }
    Ok(response)
}

/// What every write may say.
struct Terms {
    op: Option<OpId>,
    wait: Duration,
}

impl Terms {
    fn of(request: &Request<Body>, pairs: &[(String, String)]) -> Result<Terms, Problem> {
        let headers = request.headers();
        Ok(Terms { op: request::op_id(headers)?, wait: request::wait(headers, pairs)? })
    }
}

async fn write(
    api: &Api,
    target: Target,
    terms: Terms,
    operation: Operation,
) -> Result<Response, Problem> {
    let Target { namespace, id } = target;
    let location = location(&namespace, &id);
    let one = Write { id, operation };
    let ttl = ops::ttl(&one);
    let done = ops::write(api, namespace, terms.op, one, terms.wait).await?;
    let mut response = match &done.outcome {
        Outcome::Written { token, sequence } => written(*token, *sequence, &location),
        Outcome::Deleted { record, sequence } => deleted(record, *sequence),
        // Of a batch, which is not asked for here; refusals are problems already.
        Outcome::Removed { .. } | Outcome::Batch(_) | Outcome::Refused(_) => {
            return Err(core::Failure::Unknown.into());
        }
    };
    let headers = response.headers_mut();
    if let Some(expires) = ops::expires(done.recorded, ttl) {
        headers.insert(EXPIRES_AT, HeaderValue::from(expires.0));
    }
    receipt(headers, &done);
    Ok(response)
}

/// What is recorded of a write.
fn receipt(headers: &mut HeaderMap, done: &Done) {
    if let Ok(value) = HeaderValue::from_str(&done.op.to_string()) {
        headers.insert(OPERATION, value);
    }
    if done.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let until = done.remembered_until.map(|time| UNIX_EPOCH + Duration::from_millis(time.0));
    let until = until.map(|time| HeaderValue::from_str(&httpdate::fmt_http_date(time)));
    if let Some(Ok(value)) = until {
        headers.insert(REMEMBERED, value);
    }
}

fn written(token: Token, sequence: Sequence, location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    version_headers(headers, token);
    headers.insert(SEQUENCE, HeaderValue::from(sequence.0));
    if let Ok(value) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, value);
    }
    // The first version is the one that created the actor.
    if token.version == Version(1) {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

fn deleted(record: &Record, sequence: Sequence) -> Response {
    let mut response = document(StatusCode::OK, record);
    let headers = response.headers_mut();
    version_headers(headers, record.token);
    headers.insert(SEQUENCE, HeaderValue::from(sequence.0));
    response
}

/// The document of a record, with what is beside it in headers.
fn document(status: StatusCode, record: &Record) -> Response {
    let mut response = Response::new(Body::from(record.value().as_bytes().to_vec()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    metadata::write(headers, record.metadata());
    if let Some(expires) = record.expires() {
        headers.insert(EXPIRES_AT, HeaderValue::from(expires.0));
    }
    response
}

fn version_headers(headers: &mut HeaderMap, token: Token) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{token}\"")) {
        headers.insert(ETAG, value);
    }
    headers.insert(VERSION, HeaderValue::from(token.version.0));
}

/// The path of an actor.
pub fn location(namespace: &Namespace, id: &ActorId) -> String {
    // Clients and proxies remove segments that are dots, so those are encoded too.
    let id = match id.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        id => utf8_percent_encode(id, SEGMENT).to_string(),
    };
    format!("/v1/namespaces/{namespace}/actors/{id}")
}

/// `POST …/sessions`.
///
/// # Errors
/// A problem.
pub async fn open_session(
    api: &Api,
    namespace: Namespace,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let pairs = request::query(request.uri(), &["timeout_ms"])?;
    let wait = request::wait(request.headers(), &pairs)?;
    let session = ops::open_session(api, namespace, wait).await?;
    let mut response = status::json(&serde_json::json!({ "session": session.to_string() }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
