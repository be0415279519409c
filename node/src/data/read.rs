//! Reading: some actors by their ids, or all in order.

use std::process::ExitCode;

use clap::Args;
use serde_json::{json, value::RawValue};
use understudy_client::{Error, Level, Page, Record, Scan};

use super::{AskArgs, EXIT_REFUSED, LevelWord, print_raw};
use crate::say::say;
use crate::tools::table::{Table, plain};

/// Characters of a document in a table.
const SHOWN_MAX: usize = 60;

/// Some actors.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The namespace.
    namespace: String,
    /// The actors' ids.
    #[arg(required = true)]
    ids: Vec<String>,
    /// How fresh.
    #[arg(long, value_enum, default_value = "linearizable")]
    level: LevelWord,
    /// The same as `--level eventual`.
    #[arg(long, conflicts_with = "level")]
    eventual: bool,
    #[command(flatten)]
    ask: AskArgs,
}

/// All actors, or those behind an id, or with a prefix.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// The namespace.
    namespace: String,
    /// Only ids that begin so.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only ids behind this one.
    #[arg(long, default_value = "", value_name = "ID", hide_default_value = true)]
    after: String,
    /// So many at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How fresh.
    #[arg(long, value_enum, default_value = "linearizable")]
    level: LevelWord,
    #[command(flatten)]
    ask: AskArgs,
}

impl GetArgs {
    /// Reads and prints them; one that is not there is a refusal.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let level = if self.eventual { Level::Eventual } else { self.level.into() };
        let records = match self.read(level).await {
            Ok(records) => records,
            Err(error) => return Ok(self.ask.failed(&error)),
        };
        let mut missing = false;
        for (id, record) in self.ids.iter().zip(records) {
            match record {
                Some(record) if self.ask.json => say!("{}", as_json(&self.namespace, &record)?),
                Some(record) => print_raw(&record.value)?,
                None => {
                    missing = true;
                    self.say_missing(id);
                }
            }
        }
        Ok(if missing { ExitCode::from(EXIT_REFUSED) } else { ExitCode::SUCCESS })
    }

    async fn read(&self, level: Level) -> Result<Vec<Option<Record>>, Error> {
        let client = self.ask.connect().await?;
        match self.ids.as_slice() {
            [id] => Ok(vec![client.get_raw(&self.namespace, id, level).await?]),
            ids => client.batch_read_raw(&self.namespace, ids, level).await,
        }
    }

    fn say_missing(&self, id: &str) {
        if self.ids.len() == 1 {
            let _ = self.ask.failed(&Error::NotFound);
        } else if self.ask.json {
            say!("{}", json!({ "namespace": self.namespace, "id": id, "code": "not_found" }));
        } else {
            eprintln!("understudy: there is no `{}` (not_found)", plain(id));
        }
    }
}

impl ScanArgs {
    /// Prints page after page.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = match self.ask.connect().await {
            Ok(client) => client,
            Err(error) => return Ok(self.ask.failed(&error)),
        };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let (prefix, after) = (self.prefix.clone(), self.after.clone());
        let mut scan = Scan { prefix, after, page: 0, level: self.level.into() };
        let mut seen = 0;
        while left > 0 {
            scan.page = u32::try_from(left).unwrap_or(0).min(1_000);
            let Page { records, next } = match client.page_raw(&self.namespace, &scan).await {
                Ok(page) => page,
                Err(error) => return Ok(self.ask.failed(&error)),
            };
            left = left.saturating_sub(records.len());
            seen += records.len();
            self.print(&records)?;
            match next {
                Some(after) => scan.after = after,
                None => break,
            }
        }
        if !self.ask.json {
            say!("{seen} actors");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, records: &[Record]) -> anyhow::Result<()> {
        if self.ask.json {
            for record in records {
                say!("{}", as_json(&self.namespace, record)?);
            }
            return Ok(());
        }
        let mut table = Table::new(&["ID", ">VERSION", ">TOKEN", ">BYTES", "VALUE"]);
        for record in records {
            let text = String::from_utf8_lossy(&record.value);
            let mut shown: String = text.chars().take(SHOWN_MAX).collect();
            if text.chars().nth(SHOWN_MAX).is_some() {
                shown.push('…');
            }
            table.push([
                record.id.clone(),
                record.token.version.to_string(),
                record.token.to_string(),
                record.value.len().to_string(),
                shown,
            ]);
        }
        table.say();
        Ok(())
    }
}

/// A record as programs read it.
fn as_json(namespace: &str, record: &Record) -> anyhow::Result<serde_json::Value> {
    let value: Box<RawValue> = serde_json::from_slice(&record.value)?;
    let expires = record.expires_at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(json!({
        "namespace": namespace,
        "id": record.id,
        "version": record.token.version,
        "token": record.token.to_string(),
        "sequence": record.sequence,
        "age_ms": record.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "expires_at_ms": expires.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
        "metadata": record.metadata,
        "value": value,
    }))
}
