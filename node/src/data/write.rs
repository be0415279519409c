//! One write.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use understudy_client::{Client, Content, Error, Written};

use super::{AskArgs, expected, print_raw, value};
use crate::config::Span;
use crate::say::say;

/// Which write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Create or replace.
    Put,
    /// Refused if it exists.
    Create,
    /// Refused if it does not.
    Update,
    /// Only if as expected.
    Cas,
}

/// One actor and what it is to hold.
#[derive(Debug, Args)]
pub struct ValueArgs {
    /// The namespace.
    namespace: String,
    /// The actor's id; `-` for one that the store makes (create only).
    id: String,
    /// JSON; `-` is standard input, `@FILE` a file.
    value: String,
    /// Only if the actor is so (update, cas): a token such as `17-3`, or a bare version; 0 means
    /// absent.
    #[arg(long, value_name = "TOKEN")]
    expect: Option<String>,
    /// A pair kept beside the document; once for each.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// The actor goes by itself so long after this.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Span>,
    /// A name for the operation: under the same one it happens once, however often it is run.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

/// One actor that is to go.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The namespace.
    namespace: String,
    /// The actor's id.
    id: String,
    /// Only if the actor is so: a token such as `17-3`, or a bare version.
    #[arg(long, value_name = "TOKEN")]
    expect: Option<String>,
    /// A name for the operation: under the same one it happens once, however often it is run.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
}

impl ValueArgs {
    /// Makes the change, exactly once, and says what came of it.
    pub(super) async fn run(self, verb: Verb) -> anyhow::Result<ExitCode> {
        let content = value(&self.value)?;
        match self.write(verb, content).await {
            Ok(written) => {
                self.print(verb, &written);
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Ok(self.ask.failed(&error)),
        }
    }

    async fn write(&self, verb: Verb, mut content: Content) -> Result<Written, Error> {
        let expected = self.expect.as_deref().map(expected).transpose()?;
        for pair in &self.metadata {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::Invalid(format!("`--metadata {pair}` is not KEY=VALUE")))?;
            content = content.metadata(key, value);
        }
        if let Some(Span(ttl)) = self.ttl {
            content = content.ttl(ttl);
        }
        let takes_expected = matches!(verb, Verb::Update | Verb::Cas);
        if expected.is_some() && !takes_expected {
            return Err(Error::Invalid("`--expect` is for `update` and `cas`".to_owned()));
        }
        let client = named(self.ask.connect().await?, self.idempotency_key.as_deref());
        let (namespace, id) = (&self.namespace, &self.id);
        match (verb, expected) {
            (Verb::Create, _) if id == "-" => client.create_anonymous(namespace, content).await,
            (Verb::Create, _) => client.create(namespace, id, content).await,
            (Verb::Put, _) => client.put(namespace, id, content).await,
            (Verb::Update, None) => client.update(namespace, id, content).await,
            (Verb::Update, Some(expected)) => {
                client.update_if(namespace, id, content, expected).await
            }
            (Verb::Cas, Some(expected)) => {
                client.compare_and_swap(namespace, id, content, expected).await
            }
            (Verb::Cas, None) => {
                Err(Error::Invalid("`cas` needs `--expect TOKEN`; 0 means absent".to_owned()))
            }
        }
    }

    fn print(&self, verb: Verb, written: &Written) {
        let Written { id, token, .. } = written;
        if self.ask.json {
            say!(
                "{}",
                json!({
                    "namespace": self.namespace,
                    "id": id,
                    "version": token.version,
                    "token": token.to_string(),
                    "sequence": written.sequence,
                    "operation": written.receipt.operation,
                    "replayed": written.receipt.replayed,
                })
            );
            return;
        }
        let verb = if verb == Verb::Create { "created" } else { "stored" };
        say!("{verb} {id} version {} (token {token})", token.version);
    }
}

impl DeleteArgs {
    /// Removes it, exactly once, and prints what it was.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let deleted = match self.delete().await {
            Ok(deleted) => deleted,
            Err(error) => return Ok(self.ask.failed(&error)),
        };
        let record = deleted.record.as_ref();
        if self.ask.json {
            let value = record.map(|record| serde_json::from_slice(&record.value)).transpose()?;
            let value: Option<Box<serde_json::value::RawValue>> = value;
            say!(
                "{}",
                json!({
                    "namespace": self.namespace,
                    "id": self.id,
                    "version": record.map(|record| record.token.version),
                    "token": record.map(|record| record.token.to_string()),
                    "value": value,
                    "sequence": deleted.sequence,
                    "operation": deleted.receipt.operation,
                    "replayed": deleted.receipt.replayed,
                })
            );
        } else if let Some(record) = record {
            print_raw(&record.value)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn delete(&self) -> Result<understudy_client::Deleted, Error> {
        let expected = self.expect.as_deref().map(expected).transpose()?;
        let client = named(self.ask.connect().await?, self.idempotency_key.as_deref());
        match expected {
            None => client.delete(&self.namespace, &self.id).await,
            Some(expected) => client.delete_if(&self.namespace, &self.id, expected).await,
        }
    }
}

fn named(client: Client, key: Option<&str>) -> Client {
    match key {
        Some(key) => client.under(key),
        None => client,
    }
}
