//! The command line's side of the HTTP API: one request, tried at one endpoint after the other
//! until an answer settles it.
//!
//! Every write carries an idempotency key, so trying again is safe: the cluster answers a repeat
//! with the recorded outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use understudy_core::OpId;

use crate::api::request::{IDEMPOTENCY_KEY, TIMEOUT_MS};
use crate::credentials::Credentials;
use crate::{clock, folder, limits};

mod connector;

pub(crate) use connector::Connector;

/// Knows the endpoints of one cluster.
#[derive(Debug)]
pub struct Client {
    http: Http<Connector, Full<Bytes>>,
    endpoints: Vec<String>,
    /// Of endpoints that name none.
    scheme: &'static str,
    /// The token, marked as secret.
    bearer: Option<HeaderValue>,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
}

/// One request, the same at every try.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

/// The answer that settled a call.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Tries before this one.
    pub retries: u32,
}

/// What a problem says, as far as a client needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Refusal {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// `refused` or `unknown`.
    pub certainty: String,
}

impl Client {
    /// A client of the cluster at `endpoints`, each `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// When there is none, or one is not an address.
    pub fn new(endpoints: &[String]) -> anyhow::Result<Client> {
        Client::with(endpoints, Credentials::default())
    }

    /// The same, with TLS or a token; endpoints may be `https://host:port`.
    ///
    /// # Errors
    /// When there is none, or one is not an address.
    pub fn with(endpoints: &[String], credentials: Credentials) -> anyhow::Result<Client> {
        ensure!(!endpoints.is_empty(), "no endpoint; give `--endpoints host:port,host:port`");
        let Credentials { tls, bearer } = credentials;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let http = Http::builder(TokioExecutor::new())
            .pool_max_idle_per_host(limits::CONCURRENCY_MAX)
            .build(Connector::new(tls));
        let endpoints: anyhow::Result<Vec<String>> = endpoints
            .iter()
            .map(|endpoint| {
                let address = endpoint.trim().trim_end_matches('/');
                let uri: Result<hyper::Uri, _> = base(scheme, address).parse();
                let valid = uri.is_ok_and(|uri| {
                    uri.port().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
                });
                ensure!(valid, "`{endpoint}` is not an endpoint such as `127.0.0.1:7401`");
                Ok(address.to_owned())
            })
            .collect();
        Ok(Client { http, endpoints: endpoints?, scheme, bearer, preferred: AtomicUsize::new(0) })
    }

    /// The endpoints, as they were given.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Tries until an answer settles `call` or `deadline` comes. `place` spreads callers over the
    /// endpoints; `None` follows whoever answered last.
    ///
    /// # Errors
    /// When the deadline came first: the last thing heard, and that a write may have happened.
    pub async fn call(
        &self,
        call: &Call,
        deadline: Instant,
        place: Option<usize>,
    ) -> anyhow::Result<Reply> {
        let start = place.unwrap_or_else(|| self.preferred.load(Ordering::Relaxed));
        let mut backoff = limits::ATTEMPT_BACKOFF_MIN;
        let mut retries = 0_u32;
        loop {
            let at = start.wrapping_add(retries as usize) % self.endpoints.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(limits::ATTEMPT_TIMEOUT);
            let heard = match self.attempt(&self.endpoints[at], call, wait).await {
                Ok(reply) if settles(reply.status) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(Reply { retries, ..reply });
                }
                Ok(reply) => reply.refusal().detail,
                Err(error) => format!("{}: {error:#}", self.endpoints[at]),
            };
            retries += 1;
            if Instant::now() + backoff >= deadline {
                let unknown = match call.method {
                    Method::GET => "",
                    _ => "; the write may or may not have happened",
                };
                bail!("no answer in time after {retries} tries ({heard}){unknown}");
            }
            // A whole round of endpoints is tried before the wait grows.
            tokio::time::sleep(backoff).await;
            if (retries as usize).is_multiple_of(self.endpoints.len()) {
                backoff = (backoff * 2).min(limits::ATTEMPT_BACKOFF_MAX);
            }
        }
    }

    /// One try at one endpoint.
    ///
    /// # Errors
    /// When no answer came within `wait`.
    pub async fn attempt(
        &self,
        endpoint: &str,
        call: &Call,
        wait: Duration,
    ) -> anyhow::Result<Reply> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", base(self.scheme, endpoint), call.path))
            .header(TIMEOUT_MS, wait.as_millis().max(1).to_string());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(call.body.clone())).context("not a request")?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(root)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limits::ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            Ok(Reply { status: parts.status, headers: parts.headers, body, retries: 0 })
        };
        match tokio::time::timeout(wait, exchange).await {
            Ok(reply) => reply,
            Err(_) => bail!("no answer within {} ms", wait.as_millis()),
        }
    }
}

impl Client {
    /// Asks one endpoint after the other, once each, for an answer that is read as it comes.
    ///
    /// # Errors
    /// When none of them gives one: what each said.
    pub async fn stream(&self, call: &Call) -> anyhow::Result<Incoming> {
        let mut heard = Vec::new();
        for endpoint in &self.endpoints {
            match self.open(endpoint, call).await {
                Ok(body) => return Ok(body),
                Err(error) => heard.push(format!("{endpoint}: {error:#}")),
            }
        }
        bail!("no endpoint gives it ({})", heard.join("; "))
    }

    async fn open(&self, endpoint: &str, call: &Call) -> anyhow::Result<Incoming> {
        let mut request = Request::builder().method(&call.method).uri(format!(
            "{}{}",
            base(self.scheme, endpoint),
            call.path
        ));
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(call.body.clone())).context("not a request")?;
        let asked = tokio::time::timeout(limits::STREAM_TIMEOUT, self.http.request(request)).await;
        let Ok(response) = asked else {
            bail!("no answer within {} s", limits::STREAM_TIMEOUT.as_secs());
        };
        let (parts, body) = response.map_err(root)?.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let body = Limited::new(body, limits::ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        let reply = Reply { status: parts.status, headers: parts.headers, body, retries: 0 };
        bail!("{}", reply.refusal().detail)
    }
}

/// `endpoint` with a scheme.
pub(crate) fn base(scheme: &str, endpoint: &str) -> String {
    match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("{scheme}://{endpoint}"),
    }
}

/// The innermost reason: "connection refused" and not four layers around it.
fn root(error: hyper_util::client::legacy::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", anyhow::Error::new(error).root_cause())
}

/// Whether asking again could bring another answer.
fn settles(status: StatusCode) -> bool {
    !(status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT)
}

impl Call {
    /// A request without a body.
    pub fn get(path: impl Into<String>) -> Call {
        Call { method: Method::GET, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A write with its name.
    pub fn write(method: Method, path: String, body: Bytes, key: &OpId) -> Call {
        let mut headers = vec![(IDEMPOTENCY_KEY, key.to_string())];
        if !body.is_empty() {
            headers.push((CONTENT_TYPE, "application/json".to_owned()));
        }
        Call { method, path, headers, body }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }
}

impl Reply {
    /// The problem in the body; its bare status when there is none.
    pub fn refusal(&self) -> Refusal {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Refusal {
            code: "http".to_owned(),
            detail: format!("the answer was HTTP {}", self.status),
            certainty: "unknown".to_owned(),
        })
    }

    /// A header as text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The version token, without quotes.
    pub fn token(&self) -> Option<&str> {
        self.header(&ETAG).map(|tag| tag.trim_matches('"'))
    }

    /// A header that is a number.
    pub fn number(&self, name: &HeaderName) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

/// A fresh idempotency key: a UUID of version 7.
///
/// # Errors
/// When the system has no random bytes.
pub fn new_key() -> anyhow::Result<OpId> {
    let random = (u128::from(folder::random()?) << 64) | u128::from(folder::random()?);
    Ok(OpId::timed(clock::wall(), random))
}
