//! Every refusal as `application/problem+json` (RFC 9457), with a word for programs and whether the
//! request took effect.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use understudy_core::{Certainty, Failure, Refusal};

/// The media type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    outcome: Certainty,
    allow: Option<&'static str>,
    retry_after: Option<Duration>,
    instance: Option<String>,
}

#[derive(Serialize)]
struct Page<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

impl Problem {
    /// A request that is refused before it reaches the replica.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            status,
            code,
            title,
            detail: detail.into(),
            outcome: Certainty::Refused,
            allow: None,
            retry_after: None,
            instance: None,
        }
    }

    /// A request that breaks a rule of its form.
    pub fn bad(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, "The request is malformed", detail)
    }

    /// A path that leads nowhere.
    pub fn route() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_route",
            "There is no such path",
            "actors are at `/v1/namespaces/{namespace}/actors/{id}`; write `/` inside an id as `%2F`",
        )
    }

    /// A method that the path does not know.
    pub fn method(method: &Method, allow: &'static str) -> Problem {
        let detail = format!("`{method}` is not possible here; use one of {allow}");
        let title = "The method is not allowed";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Problem { allow: Some(allow), ..Problem::new(status, "method_not_allowed", title, detail) }
    }

    /// A request whose rest did not come.
    pub fn late(detail: &str) -> Problem {
        let title = "The request did not arrive in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", title, detail)
    }

    /// A limit of this node is reached; it says when to ask again.
    pub fn busy(detail: &str, retry_after: Duration) -> Problem {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let problem = Problem::new(status, "busy", "The node is busy", detail);
        Problem { retry_after: Some(retry_after), ..problem }
    }

    /// Names the path it happened at.
    #[must_use]
    pub fn at(self, instance: String) -> Problem {
        Problem { instance: Some(instance), ..self }
    }

    fn page(&self) -> Vec<u8> {
        let page = Page {
            r#type: format!("urn:understudy:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            outcome: match self.outcome {
                Certainty::Refused => "refused",
                Certainty::Unknown => "unknown",
            },
            retry_after_ms: self
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            instance: self.instance.as_deref(),
        };
        let mut bytes = serde_json::to_vec(&page).expect("problem_total: a problem always prints");
        bytes.push(b'\n');
        bytes
    }

    /// The whole answer as it goes over the wire, for refusals made outside the router.
    pub fn to_http1(&self) -> Vec<u8> {
        let page = self.page();
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.status.as_u16(),
            page.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&page);
        bytes
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let (status, title) = match &failure {
            Failure::Refused(Refusal::AlreadyExists { .. }) => {
                (StatusCode::CONFLICT, "The actor exists")
            }
            Failure::Refused(Refusal::NotFound) => {
                (StatusCode::NOT_FOUND, "There is no such actor")
            }
            Failure::Refused(Refusal::Conflict { .. }) => {
                (StatusCode::PRECONDITION_FAILED, "The actor is not as expected")
            }
            Failure::Refused(Refusal::OpIdReused) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key was used before")
            }
            Failure::Refused(Refusal::InBatch { .. }) => {
                (StatusCode::CONFLICT, "An operation of the batch was refused")
            }
            Failure::Refused(Refusal::SessionExpired) => {
                (StatusCode::CONFLICT, "The idempotency key has expired")
            }
            Failure::OpIdFromFuture => {
                (StatusCode::UNPROCESSABLE_ENTITY, "The idempotency key is from the future")
            }
            Failure::UnknownNamespace => (StatusCode::NOT_FOUND, "There is no such namespace"),
            Failure::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "The node is busy"),
            Failure::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "No leader in time"),
            Failure::Behind { .. } => (StatusCode::SERVICE_UNAVAILABLE, "The node is behind"),
            Failure::Unknown => (StatusCode::GATEWAY_TIMEOUT, "No answer in time"),
        };
        let retry_after = match &failure {
            Failure::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        };
        let outcome = failure.certainty();
        let problem = Problem::new(status, failure.code(), title, failure.to_string());
        Problem { outcome, retry_after, ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.page()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
