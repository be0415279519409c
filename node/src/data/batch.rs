//! Many writes from a file, one JSON object a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use understudy_client::{Change, Client, Content, Error, Write};

use super::{AskArgs, exit_code, expected, problem};
use crate::limits;
use crate::say::say;
use crate::tools::table::plain;

/// Many writes.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The namespace.
    namespace: String,
    /// The file; `-` is standard input.
    #[arg(default_value = "-")]
    file: String,
    /// All of them as one change, or none.
    #[arg(long)]
    atomic: bool,
    #[command(flatten)]
    ask: AskArgs,
}

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    op: Op,
    id: String,
    value: Option<Box<RawValue>>,
    expect: Option<Expect>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    ttl_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Put,
    Create,
    Update,
    Cas,
    Delete,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expect {
    Version(u64),
    Text(String),
}

/// What came of all of it.
#[derive(Default)]
struct Tally {
    done: u64,
    refused: u64,
    /// Of the worst failure.
    code: Option<ExitCode>,
}

impl BatchArgs {
    /// Writes all lines; stops at the first that is not one, before anything of its part is sent.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let reader: Box<dyn BufRead> = match self.file.as_str() {
            "-" => Box::new(io::stdin().lock()),
            path => {
                let file = File::open(path).with_context(|| format!("cannot read `{path}`"))?;
                Box::new(BufReader::new(file))
            }
        };
        let client = match self.ask.connect().await {
            Ok(client) => client,
            Err(error) => return Ok(self.ask.failed(&error)),
        };
        let mut tally = Tally::default();
        let mut part = Vec::new();
        for (number, line) in (1..).zip(reader.lines()) {
            let line = line.with_context(|| format!("cannot read line {number}"))?;
            if line.trim().is_empty() {
                continue;
            }
            part.push(parse(&line).with_context(|| format!("line {number}"))?);
            if self.atomic {
                let max = limits::CLI_ATOMIC_MAX;
                ensure!(part.len() <= max, "an atomic batch has at most {max} lines");
            } else if part.len() == limits::CLI_BATCH_PART {
                self.send(&client, std::mem::take(&mut part), &mut tally).await;
                if tally.code.is_some() && tally.done == 0 {
                    break;
                }
            }
        }
        if !part.is_empty() {
            self.send(&client, part, &mut tally).await;
        }
        let Tally { done, refused, code } = tally;
        if !self.ask.json {
            say!("{done} done, {refused} not");
        }
        Ok(code.unwrap_or(ExitCode::SUCCESS))
    }

    async fn send(&self, client: &Client, part: Vec<(String, Write)>, tally: &mut Tally) {
        let ids: Vec<String> = part.iter().map(|(id, _)| id.clone()).collect();
        let results = if self.atomic {
            let changes = client.batch_write_atomic(&self.namespace, part).await;
            changes.map(|changes| changes.into_iter().map(Ok).collect())
        } else {
            client.batch_write(&self.namespace, part).await
        };
        match results {
            Ok(results) => {
                for (id, result) in ids.iter().zip(results) {
                    self.tell(id, result, tally);
                }
            }
            Err(error) => {
                tally.refused += ids.len() as u64;
                tally.code = Some(self.ask.failed(&error));
            }
        }
    }

    fn tell(&self, id: &str, result: Result<Change, Error>, tally: &mut Tally) {
        let line = match result {
            Ok(change) => {
                tally.done += 1;
                if !self.ask.json {
                    return;
                }
                match change {
                    Change::Written(written) => json!({
                        "id": id,
                        "version": written.token.version,
                        "token": written.token.to_string(),
                        "replayed": written.receipt.replayed,
                    }),
                    Change::Deleted(deleted) => json!({
                        "id": id,
                        "deleted": true,
                        "replayed": deleted.receipt.replayed,
                    }),
                }
            }
            Err(error) => {
                tally.refused += 1;
                tally.code = Some(exit_code(&error));
                if !self.ask.json {
                    eprintln!("understudy: `{}`: {error} ({})", plain(id), error.code());
                    return;
                }
                let mut line = problem(&error);
                line["id"] = json!(id);
                line
            }
        };
        say!("{line}");
    }
}

fn parse(line: &str) -> anyhow::Result<(String, Write)> {
    let Line { op, id, value, expect, metadata, ttl_ms } = serde_json::from_str(line)?;
    let expect = match expect {
        None => None,
        Some(Expect::Version(version)) => Some(understudy_client::Expected::Version(version)),
        Some(Expect::Text(text)) => Some(expected(&text)?),
    };
    let content = value.map(|value| {
        let bytes = String::from(Box::<str>::from(value)).into_bytes();
        Content { metadata, ttl: ttl_ms.map(Duration::from_millis), ..Content::raw(bytes) }
    });
    let write = match (op, content, expect) {
        (Op::Put, Some(content), None) => Write::Put(content),
        (Op::Create, Some(content), None) => Write::Create(content),
        (Op::Update, Some(content), expect) => Write::Update(content, expect),
        (Op::Cas, Some(content), Some(expect)) => Write::CompareAndSwap(content, expect),
        (Op::Delete, None, expect) => Write::Delete(expect),
        (Op::Cas, Some(_), None) => anyhow::bail!("`cas` needs `expect`; 0 means absent"),
        (Op::Delete, Some(_), _) => anyhow::bail!("`delete` takes no `value`"),
        (Op::Put | Op::Create, Some(_), Some(_)) => {
            anyhow::bail!("`expect` is for update, cas and delete")
        }
        (_, None, _) => anyhow::bail!("`value` is missing"),
    };
    Ok((id, write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_client::Expected;

    #[test]
    fn a_line_is_a_write_and_its_value_stays_byte_for_byte() {
        let (id, write) = parse(r#"{"op":"put","id":"1","value":{"b":1.0,  "a":2}}"#).unwrap();
        assert_eq!(id, "1");
        assert_eq!(write, Write::Put(Content::raw(r#"{"b":1.0,  "a":2}"#)));
        let (_, write) = parse(r#"{"op":"delete","id":"1","expect":3}"#).unwrap();
        assert_eq!(write, Write::Delete(Some(Expected::Version(3))));
        let (_, write) =
            parse(r#"{"op":"cas","id":"1","value":1,"expect":"17-3","ttl_ms":50}"#).unwrap();
        let content = Content::raw("1").ttl(Duration::from_millis(50));
        let token = Expected::Token("17-3".parse().unwrap());
        assert_eq!(write, Write::CompareAndSwap(content, token));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        for line in [
            r#"{"op":"put","id":"1"}"#,
            r#"{"op":"put","id":"1","value":1,"expect":1}"#,
            r#"{"op":"cas","id":"1","value":1}"#,
            r#"{"op":"delete","id":"1","value":1}"#,
            r#"{"op":"fly","id":"1","value":1}"#,
            r#"{"op":"put","id":"1","value":1,"typo":1}"#,
            "{}",
            "not json",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
