//! `understudy watch`: what happens in a namespace, line by line, from whichever node answers.
//!
//! Asks for one answer of lines after the other, each from where the one before ended, so a node that
//! is lost is no more than a question that is put to another.

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::value::RawValue;
use understudy_core::ChangeKind;

use crate::api::actor::SEGMENT;
use crate::client::{Call, Client, Reply};
use crate::config::Span;
use crate::data::{EXIT_REFUSED, EXIT_UNAVAILABLE};
use crate::endpoints::EndpointArgs;
use crate::limits;
use crate::tools::table::plain;

/// Characters of a document on a line for people.
const SHOWN_MAX: usize = 60;

/// What is watched, and how it is shown.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The namespace.
    namespace: String,
    /// `now`, `beginning`, a resume token, `time:UNIX_MS` or `after:SEQUENCE`.
    #[arg(long, default_value = "now")]
    start: String,
    /// Only ids that begin so; may be given several times.
    #[arg(long)]
    prefix: Vec<String>,
    /// Only changes of this kind: create, update, delete or expire; may be given several times.
    #[arg(long)]
    kind: Vec<ChangeKind>,
    /// What happens while this command takes nothing.
    #[arg(long, value_enum, default_value = "pause")]
    policy: PolicyWord,
    /// End after so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How long to try when no node answers.
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    timeout: Span,
    #[command(flatten)]
    endpoints: EndpointArgs,
    /// Print JSON: one object a line, each with its resume token.
    #[arg(long, conflicts_with = "cloudevents")]
    json: bool,
    /// Print CloudEvents 1.0: one a line.
    #[arg(long)]
    cloudevents: bool,
}

/// What happens to a subscriber that takes nothing.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyWord {
    /// It reads later, from what is retained.
    Pause,
    /// It ends, and can go on.
    Disconnect,
    /// It hears the latest change of each actor.
    Conflate,
}

/// What has to be known of a line, in either format.
#[derive(Deserialize)]
struct Line<'a> {
    /// Of our own form.
    kind: Option<&'a str>,
    /// Of CloudEvents.
    r#type: Option<&'a str>,
    #[serde(alias = "resumetoken")]
    resume_token: String,
}

/// What people see of a change.
#[derive(Deserialize)]
struct Shown<'a> {
    kind: &'a str,
    id: Option<String>,
    sequence: u64,
    #[serde(borrow)]
    before: Option<Held<'a>>,
    #[serde(borrow)]
    after: Option<Held<'a>>,
}

#[derive(Deserialize)]
struct Held<'a> {
    token: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl WatchArgs {
    /// Runs until the limit, Ctrl-C, or an end that asking again does not change.
    ///
    /// # Errors
    /// One line that says what to do.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let client = self.endpoints.client()?;
        let (mut start, mut left) = (self.start.clone(), self.limit.unwrap_or(usize::MAX));
        // The first answer comes at once, and says where it begins: what was asked for as `now` is not
        // asked for again later.
        let mut wait = Duration::ZERO;
        while left > 0 {
            let call = Call::get(self.path(&start, left, wait));
            wait = limits::WATCH_WAIT;
            let reply = self.ask(&client, &call).await?;
            if !reply.status.is_success() {
                let refusal = reply.refusal();
                eprintln!("understudy: {} ({})", refusal.detail, refusal.code);
                return Ok(ExitCode::from(match reply.status.as_u16() {
                    500.. => EXIT_UNAVAILABLE,
                    _ => EXIT_REFUSED,
                }));
            }
            let text = std::str::from_utf8(&reply.body).context("the answer is not UTF-8")?;
            for line in text.lines() {
                let known: Line<'_> = serde_json::from_str(line).context("no line of changes")?;
                start = known.resume_token;
                let word = known.kind.or(known.r#type).unwrap_or_default();
                if matches!(word, "progress" | "understudy.progress") {
                    continue;
                }
                left = left.saturating_sub(1);
                // Whoever read this has gone.
                if self.show(line).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// One answer, from whichever node gives one.
    async fn ask(&self, client: &Client, call: &Call) -> anyhow::Result<Reply> {
        let begin = Instant::now();
        let wait = limits::WATCH_WAIT + limits::API_TIMEOUT;
        let mut pause = limits::ATTEMPT_BACKOFF_MIN;
        loop {
            let mut heard = String::new();
            for endpoint in client.endpoints() {
                match client.attempt(endpoint, call, wait).await {
                    Ok(reply) if !reply.status.is_server_error() && reply.status != 429 => {
                        return Ok(reply);
                    }
                    Ok(reply) => heard = reply.refusal().detail,
                    Err(error) => heard = format!("{endpoint}: {error:#}"),
                }
            }
            if begin.elapsed() > self.timeout.0 {
                bail!(
                    "no node answers ({heard}); start the cluster, or name others with `--endpoints`"
                );
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn path(&self, start: &str, left: usize, wait: Duration) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let mut path = format!(
            "/v1/namespaces/{}/changes?start={}&limit={}&wait_ms={}",
            encoded(&self.namespace),
            encoded(start),
            left.min(limits::WATCH_LIMIT_MAX),
            wait.as_millis()
        );
        for prefix in &self.prefix {
            path.push_str(&format!("&prefix={}", encoded(prefix)));
        }
        for kind in &self.kind {
            path.push_str(&format!("&kind={kind}"));
        }
        path.push_str(match self.policy {
            PolicyWord::Pause => "&policy=pause",
            PolicyWord::Disconnect => "&policy=disconnect",
            PolicyWord::Conflate => "&policy=conflate",
        });
        if self.cloudevents {
            path.push_str("&format=cloudevents");
        }
        path
    }

    fn show(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json || self.cloudevents {
            return writeln!(out, "{line}");
        }
        let shown: Shown<'_> = serde_json::from_str(line)?;
        writeln!(out, "{}", pretty(&shown, out.is_terminal()))?;
        out.flush()
    }
}

/// A line for people: sequence, what happened, to whom, and what it is now.
fn pretty(shown: &Shown<'_>, colours: bool) -> String {
    let (code, held) = match shown.kind {
        "create" | "snapshot" => ("32", &shown.after),
        "delete" | "expire" => ("31", &shown.before),
        _ => ("33", &shown.after),
    };
    let kind = format!("{:<12}", shown.kind);
    let kind = if colours { format!("\x1b[{code}m{kind}\x1b[0m") } else { kind };
    let mut line = format!("{:>8}  {kind}", shown.sequence);
    if let Some(id) = &shown.id {
        line.push_str(&format!("  {}", plain(id)));
    }
    if let Some(Held { token, value }) = held {
        let value = plain(value.get());
        let mut short: String = value.chars().take(SHOWN_MAX).collect();
        if value.chars().nth(SHOWN_MAX).is_some() {
            short.push('…');
        }
        line.push_str(&format!("  {token}  {short}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_obeys_nobody() {
        let text = r#"{"kind":"update","id":"a\u001b[2J","sequence":17,
            "before":{"token":"16-1","value":1},"after":{"token":"16-2","value":{"n": 2}}}"#;
        let shown: Shown<'_> = serde_json::from_str(text).unwrap();
        let line = pretty(&shown, false);
        assert_eq!(line, "      17  update        a\\u{1b}[2J  16-2  {\"n\": 2}");
    }
}
