//! The commands that read and write actors of a running cluster, through the client library.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | this command itself failed: a file, a terminal |
//! | 2 | wrong usage; nothing was asked |
//! | 3 | refused: it did not happen and asking again brings the same; a token that does not do, too |
//! | 4 | unknown: it may or may not have happened |
//! | 5 | nobody could do it in time: it did not happen, and may work later |

use std::io::{Read, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use understudy_client::{Certainty, Client, Content, Error, Expected, Level};
use understudy_core::limits as core_limits;

use crate::config::Span;
use crate::endpoints::EndpointArgs;
use crate::say::say;

mod batch;
mod read;
mod write;

pub use batch::BatchArgs;
pub use read::{GetArgs, ScanArgs};
pub use write::{DeleteArgs, ValueArgs};

/// Refused: it did not happen and asking again brings the same.
pub const EXIT_REFUSED: u8 = 3;
/// It may or may not have happened.
pub const EXIT_UNKNOWN: u8 = 4;
/// Nobody could do it in time: it did not happen, and may work later.
pub const EXIT_UNAVAILABLE: u8 = 5;

/// One actor, or several.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Print actors.
    Get(GetArgs),
    /// Print the actors of a namespace in the order of their ids.
    Scan(ScanArgs),
    /// Create or replace an actor.
    Put(ValueArgs),
    /// Create an actor; refused if it exists.
    Create(ValueArgs),
    /// Replace an actor; refused if there is none, or it is not as expected.
    Update(ValueArgs),
    /// Replace an actor if it is as expected.
    Cas(ValueArgs),
    /// Remove an actor and print what it was.
    Delete(DeleteArgs),
    /// Write many actors: one JSON object a line, such as {"op":"put","id":"1","value":{}}.
    ///
    /// `op` is put, create, update, cas or delete; beside it may stand `expect` (a token such as
    /// "17-3", or a version), `metadata` (an object of strings) and `ttl_ms`.
    Batch(BatchArgs),
}

/// Whom to ask, and how to answer.
#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    cluster: EndpointArgs,
    /// How long to try.
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    pub timeout: Span,
    /// Print JSON: one object a line.
    #[arg(long)]
    pub json: bool,
}

impl AskArgs {
    /// A client, if somebody answers. Made for few operations: it asks for no session.
    ///
    /// # Errors
    /// As the library says.
    pub async fn connect(&self) -> Result<Client, Error> {
        let options = self.cluster.options();
        let options = options.map_err(|error| Error::Invalid(format!("{error:#}")))?;
        let options = options.deadline(self.timeout.0).without_session();
        Client::connect_with(self.cluster.endpoints.clone(), options).await
    }

    /// Says why it failed, for people or programs, and with which code to end.
    pub fn failed(&self, error: &Error) -> ExitCode {
        if self.json {
            say!("{}", problem(error));
        } else {
            eprintln!("understudy: {error} ({})", error.code());
        }
        exit_code(error)
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LevelWord {
    /// Sees everything acknowledged before; a quorum confirms the leader.
    Linearizable,
    /// The same, resting on clocks.
    Lease,
    /// Not older than what this command has seen.
    Session,
    /// One node's view, which may be behind.
    Eventual,
}

impl From<LevelWord> for Level {
    fn from(word: LevelWord) -> Level {
        match word {
            LevelWord::Linearizable => Level::Linearizable,
            LevelWord::Lease => Level::Lease,
            LevelWord::Session => Level::Session,
            LevelWord::Eventual => Level::Eventual,
        }
    }
}

/// Runs one command.
///
/// # Errors
/// One line, for what is not the cluster's answer.
pub async fn run(command: DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Get(args) => args.run().await,
        DataCommand::Scan(args) => args.run().await,
        DataCommand::Put(args) => args.run(write::Verb::Put).await,
        DataCommand::Create(args) => args.run(write::Verb::Create).await,
        DataCommand::Update(args) => args.run(write::Verb::Update).await,
        DataCommand::Cas(args) => args.run(write::Verb::Cas).await,
        DataCommand::Delete(args) => args.run().await,
        DataCommand::Batch(args) => args.run().await,
    }
}

/// With which code to end.
fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(match (error, error.certainty()) {
        (_, Certainty::Unknown) => EXIT_UNKNOWN,
        (Error::NoAnswer { .. }, Certainty::Refused) => EXIT_UNAVAILABLE,
        (Error::Invalid(_), Certainty::Refused) => 2,
        (_, Certainty::Refused) => EXIT_REFUSED,
    })
}

/// An error as programs read it, with the names of HTTP's problems.
fn problem(error: &Error) -> serde_json::Value {
    json!({
        "code": error.code(),
        "detail": error.to_string(),
        "outcome": match error.certainty() {
            Certainty::Refused => "refused",
            Certainty::Unknown => "unknown",
        },
        "found": error.found().map(|token| token.to_string()),
    })
}

/// The document in an argument: the text itself, `-` for standard input, `@FILE` for a file.
///
/// # Errors
/// When it cannot be read.
fn value(argument: &str) -> anyhow::Result<Content> {
    // One byte more than allowed is enough for the cluster to say that it is too much.
    let max = core_limits::VALUE_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    match argument.strip_prefix('@') {
        Some(path) => {
            let cannot = || format!("cannot read `{path}`");
            let file = std::fs::File::open(path).with_context(cannot)?;
            file.take(max).read_to_end(&mut bytes).with_context(cannot)?;
        }
        None if argument == "-" => {
            let read = std::io::stdin().take(max).read_to_end(&mut bytes);
            read.context("cannot read standard input")?;
        }
        None => bytes.extend_from_slice(argument.as_bytes()),
    }
    Ok(Content::raw(bytes))
}

/// A token if it has a hyphen, a bare version if not.
fn expected(text: &str) -> Result<Expected, Error> {
    match text.parse::<u64>() {
        Ok(version) => Ok(Expected::Version(version)),
        Err(_) => text.trim_matches('"').parse().map(Expected::Token),
    }
}

/// Prints a document as it is, and ends its line.
fn print_raw(value: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(value)?;
    if value.last() != Some(&b'\n') {
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precondition_is_a_token_or_a_version() {
        assert_eq!(expected("3").unwrap(), Expected::Version(3));
        let token = understudy_client::Token { created: 17, version: 3 };
        assert_eq!(expected("17-3").unwrap(), Expected::Token(token));
        assert_eq!(expected("\"17-3\"").unwrap(), Expected::Token(token));
        assert!(expected("x").is_err());
    }

    #[test]
    fn what_may_have_happened_has_a_code_of_its_own() {
        let no_answer = |certainty| Error::NoAnswer {
            code: "unknown".to_owned(),
            certainty,
            heard: String::new(),
            tries: 1,
        };
        let codes = [
            (no_answer(Certainty::Unknown), EXIT_UNKNOWN),
            (no_answer(Certainty::Refused), EXIT_UNAVAILABLE),
            (Error::NotFound, EXIT_REFUSED),
            (Error::Invalid(String::new()), 2),
        ];
        for (error, code) in codes {
            assert_eq!(exit_code(&error), ExitCode::from(code), "{error:?}");
        }
    }
}
