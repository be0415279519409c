//! Every refusal: as `application/problem+json` (RFC 9457) over HTTP, as a status with details over
//! gRPC, with a word for programs and whether the request took effect.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use understudy_auth::{Denied, Why};
use understudy_core::{Certainty, Failure, Refusal, ResumeToken, Sequence, Token};
use understudy_proto::v1;

pub mod codes;
pub mod pages;

use codes::Code;

/// The media type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One refusal. Boxed: it is the smaller half of every result.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: &'static Code,
    detail: String,
    certainty: Certainty,
    allow: Option<String>,
    retry_after: Option<Duration>,
    found: Option<Token>,
    failed: Option<(u32, &'static str)>,
    first: Option<Sequence>,
    resume: Option<String>,
    instance: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    certainty: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_place: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

impl Problem {
    /// A request that is refused before it reaches the replica.
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            code,
            detail: detail.into(),
            certainty: Certainty::Refused,
            allow: None,
            retry_after: None,
            found: None,
            failed: None,
            first: None,
            resume: None,
            instance: None,
        }))
    }

    /// A path that leads nowhere.
    pub fn route() -> Problem {
        Problem::new(
            &codes::UNKNOWN_ROUTE,
            "actors are at `/v1/namespaces/{namespace}/actors/{id}`; write `/` inside an id as `%2F`",
        )
    }

    /// A method that the path does not know.
    pub fn method(method: &Method, allow: String) -> Problem {
        let detail = format!("`{method}` is not possible here; use one of {allow}");
        let mut problem = Problem::new(&codes::METHOD_NOT_ALLOWED, detail);
        problem.0.allow = Some(allow);
        problem
    }

    /// A limit of this node is reached; it says when to ask again.
    pub fn busy(detail: impl Into<String>, retry_after: Duration) -> Problem {
        let mut problem = Problem::new(&codes::BUSY, detail);
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// Names the first change that is retained.
    #[must_use]
    pub fn first(mut self, first: Sequence) -> Problem {
        self.0.first = Some(first);
        self
    }

    /// Says where a change stream that has ended can go on.
    #[must_use]
    pub fn resume(mut self, token: &ResumeToken) -> Problem {
        self.0.resume = Some(token.to_string());
        self
    }

    /// Names the path it happened at.
    #[must_use]
    pub fn at(mut self, instance: String) -> Problem {
        self.0.instance = Some(instance);
        self
    }

    /// Its kind.
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The body of the answer, without a line break at its end.
    pub fn json(&self) -> Vec<u8> {
        let page = Page {
            r#type: pages::path(self.0.code),
            title: self.0.code.title,
            status: self.0.code.http.as_u16(),
            detail: &self.0.detail,
            code: self.0.code.word,
            certainty: match self.0.certainty {
                Certainty::Refused => "refused",
                Certainty::Unknown => "unknown",
            },
            retry_after_ms: self.0.retry_after.map(milliseconds),
            found: self.0.found.map(|token| token.to_string()),
            failed_place: self.0.failed.map(|(place, _)| place),
            cause: self.0.failed.map(|(_, cause)| cause),
            first_sequence: self.0.first.map(|first| first.0),
            resume_token: self.0.resume.as_deref(),
            instance: self.0.instance.as_deref(),
        };
        serde_json::to_vec(&page).expect("problem_total: a problem always prints")
    }

    /// The whole answer as it goes over the wire, for refusals made outside the router.
    pub fn to_http1(&self) -> Vec<u8> {
        let page = self.json();
        let reason = self.0.code.http.canonical_reason().unwrap_or_default();
        let retry = self.retry_after_seconds().map(|wait| format!("retry-after: {wait}\r\n"));
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\
             {}connection: close\r\n\r\n",
            self.0.code.http.as_u16(),
            page.len() + 1,
            retry.unwrap_or_default()
        )
        .into_bytes();
        bytes.extend_from_slice(&page);
        bytes.push(b'\n');
        bytes
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.0.retry_after?;
        Some(u64::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Where a failure stands in the table.
fn code(failure: &Failure) -> &'static Code {
    match failure {
        Failure::Refused(refusal) => refusal_code(refusal),
        Failure::OpIdFromFuture => &codes::IDEMPOTENCY_KEY_FROM_FUTURE,
        Failure::UnknownNamespace => &codes::UNKNOWN_NAMESPACE,
        Failure::Busy { .. } => &codes::BUSY,
        Failure::Unavailable | Failure::Behind { .. } => &codes::UNAVAILABLE,
        Failure::Unknown => &codes::UNKNOWN,
    }
}

fn refusal_code(refusal: &Refusal) -> &'static Code {
    match refusal {
        Refusal::AlreadyExists { .. } => &codes::ALREADY_EXISTS,
        Refusal::NotFound => &codes::NOT_FOUND,
        Refusal::Conflict { .. } => &codes::CONFLICT,
        Refusal::OpIdReused => &codes::IDEMPOTENCY_KEY_REUSED,
        Refusal::SessionExpired => &codes::SESSION_EXPIRED,
        Refusal::InBatch { .. } => &codes::BATCH_REFUSED,
    }
}

fn found(refusal: &Refusal) -> Option<Token> {
    match refusal {
        Refusal::AlreadyExists { found } => Some(*found),
        Refusal::Conflict { found, .. } => *found,
        Refusal::InBatch { refusal, .. } => found(refusal),
        Refusal::NotFound | Refusal::OpIdReused | Refusal::SessionExpired => None,
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let mut problem = Problem::new(code(&failure), failure.to_string());
        problem.0.certainty = failure.certainty();
        match &failure {
            Failure::Busy { retry_after, .. } => problem.0.retry_after = Some(*retry_after),
            Failure::Refused(refusal) => {
                problem.0.found = found(refusal);
                if let Refusal::InBatch { place, refusal } = refusal {
                    problem.0.failed = Some((*place, refusal_code(refusal).word));
                }
            }
            _ => {}
        }
        problem
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        let code = match denied.why {
            Why::Unauthenticated => &codes::UNAUTHENTICATED,
            Why::Expired => &codes::TOKEN_EXPIRED,
            Why::Revoked => &codes::TOKEN_REVOKED,
            Why::Forbidden => &codes::FORBIDDEN,
        };
        Problem::new(code, denied.detail)
    }
}

/// What a client is told in `WWW-Authenticate` (RFC 6750).
fn challenge(code: &Code) -> Option<&'static str> {
    match code.word {
        "unauthenticated" => Some("Bearer realm=\"understudy\""),
        "token_expired" | "token_revoked" => {
            Some("Bearer realm=\"understudy\", error=\"invalid_token\"")
        }
        "forbidden" => Some("Bearer realm=\"understudy\", error=\"insufficient_scope\""),
        _ => None,
    }
}

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> v1::Problem {
        let certainty = match problem.0.certainty {
            Certainty::Refused => v1::Certainty::Refused,
            Certainty::Unknown => v1::Certainty::Unknown,
        };
        v1::Problem {
            code: problem.0.code.word.to_owned(),
            certainty: certainty.into(),
            message: problem.0.detail,
            retry_after_ms: problem.0.retry_after.map(milliseconds),
            found: problem.0.found.map(|Token { created, version }| v1::Token {
                created: created.0,
                version: version.0,
            }),
            failed_place: problem.0.failed.map(|(place, _)| place),
            cause: problem.0.failed.map(|(_, cause)| cause.to_owned()),
            first_sequence: problem.0.first.map(|first| first.0),
            resume_token: problem.0.resume,
        }
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> tonic::Status {
        understudy_proto::status(problem.0.code.grpc, problem.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let challenge = challenge(self.code());
        let mut page = self.json();
        page.push(b'\n');
        let mut response = Response::new(Body::from(page));
        *response.status_mut() = self.0.code.http;
        let retry_after = self.retry_after_seconds();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.0.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
