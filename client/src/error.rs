//! Why an operation failed, and whether it may have happened.

use std::fmt;
use std::time::Duration;

pub use understudy_plan::Certainty;
use understudy_proto::v1;

use crate::types::Token;

/// Why an operation failed. [`Error::certainty`] says whether it may have happened all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Create met an actor.
    AlreadyExists {
        /// What is there.
        found: Option<Token>,
    },
    /// There is no such actor.
    NotFound,
    /// The precondition did not hold.
    Conflict {
        /// What is there; `None` if nothing.
        found: Option<Token>,
    },
    /// Nothing of an atomic batch happened, because of one of its operations.
    BatchRefused {
        /// Its place, from 0.
        place: u32,
        /// Why, in words.
        message: String,
    },
    /// No answer in time; or the cluster is busy, or has no quorum.
    NoAnswer {
        /// A stable word: `unknown`, `unavailable`, `busy`.
        code: String,
        /// Whether it may have happened, or may yet. Repeat it under the same key to learn which.
        certainty: Certainty,
        /// The last thing heard.
        heard: String,
        /// Attempts made.
        tries: u32,
    },
    /// A change stream cannot go on where it was: those changes are not retained any more. Begin at
    /// [`crate::Start::Beginning`], or skip them.
    Compacted {
        /// The first change that is retained.
        first: u64,
    },
    /// A change stream has ended because this client was slow, as its policy says. Nothing is lost.
    Lagged {
        /// Where to go on.
        resume_token: String,
    },
    /// Another refusal, such as of a request that breaks a rule or is not allowed.
    Refused {
        /// A stable word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// The call itself makes no sense; nothing was sent.
    Invalid(String),
    /// The document is there and not of the type that was asked for.
    Decode {
        /// The actor.
        id: String,
        /// What does not fit.
        why: String,
    },
}

impl Error {
    pub(crate) fn invalid(why: impl Into<String>) -> Error {
        Error::Invalid(why.into())
    }

    /// A stable word for programs, as in the problem pages.
    pub fn code(&self) -> &str {
        match self {
            Error::AlreadyExists { .. } => "already_exists",
            Error::NotFound => "not_found",
            Error::Conflict { .. } => "conflict",
            Error::BatchRefused { .. } => "batch_refused",
            Error::NoAnswer { code, .. } | Error::Refused { code, .. } => code,
            Error::Compacted { .. } => "compacted",
            Error::Lagged { .. } => "lagged",
            Error::Invalid(_) => "invalid",
            Error::Decode { .. } => "decode",
        }
    }

    /// Whether the operation may have happened. A read or a call that makes no sense never has.
    pub fn certainty(&self) -> Certainty {
        match self {
            Error::NoAnswer { certainty, .. } => *certainty,
            _ => Certainty::Refused,
        }
    }

    /// The token of what is there, where that is why.
    pub fn found(&self) -> Option<Token> {
        match self {
            Error::AlreadyExists { found } | Error::Conflict { found } => *found,
            _ => None,
        }
    }

    /// The error in the words of the protocol, for one of several results.
    #[cfg(feature = "embedded")]
    pub(crate) fn problem(&self) -> v1::Problem {
        let certainty = match self.certainty() {
            Certainty::Refused => v1::Certainty::Refused,
            Certainty::Unknown => v1::Certainty::Unknown,
        };
        let found = self.found();
        v1::Problem {
            code: self.code().to_owned(),
            certainty: certainty.into(),
            message: self.to_string(),
            found: found.map(|Token { created, version }| v1::Token { created, version }),
            ..v1::Problem::default()
        }
    }

    /// What a settled problem means.
    pub(crate) fn of(problem: v1::Problem) -> Error {
        let found = problem.found.map(Token::from);
        let certainty = certainty(&problem);
        match problem.code.as_str() {
            "already_exists" => Error::AlreadyExists { found },
            "not_found" => Error::NotFound,
            "conflict" => Error::Conflict { found },
            "batch_refused" => Error::BatchRefused {
                place: problem.failed_place.unwrap_or(0),
                message: problem.message,
            },
            "compacted" => Error::Compacted { first: problem.first_sequence.unwrap_or(0) },
            "lagged" => Error::Lagged { resume_token: problem.resume_token.unwrap_or_default() },
            "busy" | "unavailable" | "unknown" => {
                Error::NoAnswer { code: problem.code, certainty, heard: problem.message, tries: 1 }
            }
            _ if certainty == Certainty::Unknown => {
                Error::NoAnswer { code: problem.code, certainty, heard: problem.message, tries: 1 }
            }
            _ => Error::Refused { code: problem.code, message: problem.message },
        }
    }
}

/// What a problem says of itself; one that does not say may have happened.
pub(crate) fn certainty(problem: &v1::Problem) -> Certainty {
    match problem.certainty() {
        v1::Certainty::Refused => Certainty::Refused,
        v1::Certainty::Unknown | v1::Certainty::Unspecified => Certainty::Unknown,
    }
}

/// When to come again, as the node says.
pub(crate) fn retry_after(problem: &v1::Problem) -> Option<Duration> {
    problem.retry_after_ms.map(Duration::from_millis)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::AlreadyExists { found: Some(found) } => {
                write!(f, "the actor exists (token {found}); read it or use update")
            }
            Error::AlreadyExists { found: None } => {
                f.write_str("the actor exists; read it or use update")
            }
            Error::NotFound => f.write_str("there is no such actor; create it first"),
            Error::Conflict { found: Some(found) } => {
                write!(f, "the actor has changed (token is now {found}); read it again")
            }
            Error::Conflict { found: None } => {
                f.write_str("the actor does not exist any more; read it again")
            }
            Error::BatchRefused { place, message } => {
                write!(f, "nothing of the batch happened because of operation {place}: {message}")
            }
            Error::NoAnswer { certainty, heard, tries, .. } => {
                let may = match certainty {
                    Certainty::Refused => "it did not happen",
                    Certainty::Unknown => "it may or may not have happened",
                };
                write!(f, "no answer in time after {tries} tries ({heard}); {may}")
            }
            Error::Compacted { first } => write!(
                f,
                "the changes are not retained any more, {first} is the first that is; begin with \
                 what is there, or at a later place"
            ),
            Error::Lagged { resume_token } => {
                write!(f, "this subscriber was too slow; go on from `{resume_token}`, and faster")
            }
            Error::Refused { message, .. } => f.write_str(message),
            Error::Invalid(why) => f.write_str(why),
            Error::Decode { id, why } => {
                write!(f, "the document of `{id}` is not of the type asked for: {why}")
            }
        }
    }
}

impl std::error::Error for Error {}
