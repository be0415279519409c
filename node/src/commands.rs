//! The commands that ask a running cluster: one actor at a time, and its status.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use understudy_core::{ActorId, Namespace, Token, limits as core_limits};

use crate::api::actor::{AGE, APPLIED, OPERATION, REPLAYED, VERSION, location};
use crate::api::request::EXPECTED_VERSION;
use crate::api::status::{GroupPage, StatusPage};
use crate::client::{self, Call, Client, Reply};
use crate::limits;
use crate::say::say;

/// The exit code when a write may or may not have happened.
pub const EXIT_UNKNOWN: u8 = 3;

/// One actor and how to ask for it.
#[derive(Debug)]
pub struct Ask {
    /// The cluster.
    pub client: Client,
    /// The collection.
    pub namespace: Namespace,
    /// The actor.
    pub id: ActorId,
    /// How long to try.
    pub timeout: Duration,
    /// Print one JSON object.
    pub json: bool,
}

/// A change from the command line.
#[derive(Debug)]
pub enum Change {
    /// Create or replace.
    Put(Bytes),
    /// Fails if it exists.
    Create(Bytes),
    /// Replaces what is as expected: a token `17-3` or a bare version `3`.
    Cas(Bytes, String),
    /// Remove.
    Delete(Option<String>),
}

/// The document in an argument: the text itself, `-` for standard input, `@FILE` for a file.
///
/// # Errors
/// When it cannot be read.
pub fn value(argument: &str) -> anyhow::Result<Bytes> {
    // One byte more than allowed is enough for the cluster to say that it is too much.
    let max = core_limits::VALUE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    match argument.strip_prefix('@') {
        Some(path) => {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read `{path}`"))?;
            file.take(max)
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read `{path}`"))?;
        }
        None if argument == "-" => {
            let read = std::io::stdin().take(max).read_to_end(&mut bytes);
            read.context("cannot read standard input")?;
        }
        None => bytes.extend_from_slice(argument.as_bytes()),
    }
    Ok(bytes.into())
}

impl Ask {
    /// Reads the actor and prints it.
    ///
    /// # Errors
    /// When the cluster does not answer in time.
    pub async fn get(&self, eventual: bool) -> anyhow::Result<ExitCode> {
        let level = if eventual { "?level=eventual" } else { "" };
        let call = Call::get(format!("{}{level}", location(&self.namespace, &self.id)));
        let reply = self.client.call(&call, Instant::now() + self.timeout, None).await?;
        if !reply.status.is_success() {
            return Ok(refused(&reply, self.json));
        }
        if self.json {
            let value: Box<serde_json::value::RawValue> =
                serde_json::from_slice(&reply.body).context("the answer is not JSON")?;
            say!(
                "{}",
                serde_json::json!({
                    "namespace": self.namespace.as_str(),
                    "id": self.id.as_str(),
                    "version": reply.number(&VERSION),
                    "token": reply.token(),
                    "applied_index": reply.number(&APPLIED),
                    "age_ms": reply.number(&AGE),
                    "value": value,
                })
            );
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(&reply.body)?;
            if reply.body.last() != Some(&b'\n') {
                out.write_all(b"\n")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes the change, exactly once, and says what came of it.
    ///
    /// # Errors
    /// When the cluster does not answer in time: the change may have happened.
    pub async fn change(&self, change: Change) -> anyhow::Result<ExitCode> {
        let path = location(&self.namespace, &self.id);
        let key = client::new_key()?;
        let put = |body| Call::write(Method::PUT, path.clone(), body, &key);
        let (verb, call) = match change {
            Change::Put(body) => ("stored", put(body)),
            Change::Create(body) => ("created", put(body).with(IF_NONE_MATCH, "*")),
            Change::Cas(body, expected) => ("stored", expecting(put(body), &expected)?),
            Change::Delete(expected) => {
                let call = Call::write(Method::DELETE, path.clone(), Bytes::new(), &key);
                ("deleted", expected.map_or(Ok(call.clone()), |text| expecting(call, &text))?)
            }
        };
        let reply = self.client.call(&call, Instant::now() + self.timeout, None).await?;
        if !reply.status.is_success() {
            return Ok(refused(&reply, self.json));
        }
        let (version, token) = (reply.number(&VERSION).unwrap_or(0), reply.token().unwrap_or("?"));
        if self.json {
            say!(
                "{}",
                serde_json::json!({
                    "namespace": self.namespace.as_str(),
                    "id": self.id.as_str(),
                    "version": version,
                    "token": token,
                    "operation": reply.header(&OPERATION),
                    "replayed": reply.header(&REPLAYED).is_some(),
                    "retries": reply.retries,
                })
            );
        } else {
            say!("{verb} {} version {version} (token {token})", self.id);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A token if it has a hyphen, a bare version if not.
fn expecting(call: Call, expected: &str) -> anyhow::Result<Call> {
    if expected.parse::<u64>().is_ok() {
        return Ok(call.with(EXPECTED_VERSION, expected));
    }
    let token: Token = expected.trim_matches('"').parse().map_err(anyhow::Error::msg)?;
    Ok(call.with(IF_MATCH, format!("\"{token}\"")))
}

fn refused(reply: &Reply, json: bool) -> ExitCode {
    let refusal = reply.refusal();
    if json {
        say!("{}", String::from_utf8_lossy(&reply.body).trim_end());
    } else {
        eprintln!("understudy: {} ({})", refusal.detail, refusal.code);
    }
    match refusal.certainty.as_str() {
        "refused" => ExitCode::FAILURE,
        _ => ExitCode::from(EXIT_UNKNOWN),
    }
}

/// The status page of one node.
///
/// # Errors
/// When it does not answer in time.
pub async fn status_of(client: &Client, endpoint: &str) -> anyhow::Result<StatusPage> {
    let reply = client.attempt(endpoint, &Call::get("/v1/status"), limits::ATTEMPT_TIMEOUT).await?;
    if !reply.status.is_success() {
        bail!("{}", reply.refusal().detail);
    }
    serde_json::from_slice(&reply.body).context("its status is not understood; is it a node?")
}

/// Prints what every endpoint says of itself.
///
/// # Errors
/// When no endpoint answers.
pub async fn status(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let mut pages = Vec::new();
    for endpoint in client.endpoints() {
        pages.push((endpoint, status_of(client, endpoint).await));
    }
    if json {
        let all = pages.iter().map(|(endpoint, page)| match page {
            Ok(page) => serde_json::json!({ "endpoint": endpoint, "status": page }),
            Err(error) => {
                serde_json::json!({ "endpoint": endpoint, "error": format!("{error:#}") })
            }
        });
        say!("{}", serde_json::Value::Array(all.collect()));
    } else {
        print!("{}", table(&pages));
    }
    if pages.iter().all(|(_, page)| page.is_err()) {
        bail!("no endpoint answers; start the cluster, or name others with `--endpoints`");
    }
    Ok(ExitCode::SUCCESS)
}

fn table(pages: &[(&String, anyhow::Result<StatusPage>)]) -> String {
    let mut rows = vec![
        ["NODE", "API", "NAMESPACE", "ROLE", "TERM", "LEADER", "APPLIED", "ACTORS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (endpoint, page) in pages {
        match page {
            Ok(page) => rows.extend(page.groups.iter().map(|group| row(page, endpoint, group))),
            Err(error) => rows.push(vec!["?".into(), (*endpoint).clone(), format!("{error:#}")]),
        }
    }
    let columns = rows[0].len();
    let width = |column: usize| {
        // The last cell of a short row is a sentence and may stand across the columns.
        let cells = rows.iter().filter(|row| row.len() == columns || column + 1 < row.len());
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The role, or what the node waits for.
fn role(page: &StatusPage, group: &GroupPage) -> String {
    if group.joining {
        return "joining".to_owned();
    }
    if page.formed {
        return group.role.clone();
    }
    let unmet: Vec<String> = page.unmet.iter().map(u64::to_string).collect();
    format!("waits for {}", unmet.join(","))
}

fn row(page: &StatusPage, endpoint: &str, group: &GroupPage) -> Vec<String> {
    vec![
        page.node.to_string(),
        endpoint.to_owned(),
        group.namespace.clone(),
        role(page, group),
        group.term.to_string(),
        group.leader.map_or("none".to_owned(), |leader| leader.to_string()),
        group.applied.to_string(),
        group.actors.to_string(),
    ]
}
