//! Bearer tokens (biscuit): made with a root key, narrowed offline by whoever holds one, verified with
//! the public key alone.
//!
//! A token's first block *grants*: `grant("read", "orders", "2026/")` is the right to read what is in
//! namespace `orders` and begins with `2026/`. Every block, the first one too, may *check*; a check
//! only ever takes away. What is asked is put to the checks as these facts:
//!
//! | fact | when |
//! |---|---|
//! | `operation("read")` | always: the right that is needed |
//! | `namespace("orders")` | unless the node itself is asked, as for its status |
//! | `within("2026/7")` | with a namespace: what all touched ids begin with; an id begins with itself |
//! | `id("2026/7")` | when exactly this actor is touched |
//! | `time(2026-11-24T14:00:00Z)` | always |
//!
//! Holders are not trusted, so no Datalog of theirs is ever run: a block may hold the checks that
//! [`form`] knows, which are decided in a time that grows with their length and nothing else.
//! (biscuit's own engine looks at its limits between rounds only; one rule that joins a few facts with
//! themselves keeps it busy for as long as it likes. `tests/refused.rs` shows one.) Within that form the
//! answers are those of the engine; `tests/same.rs` compares.
//!
//! What is deliberately absent: nothing here knows HTTP, gRPC, files or the clock.
#![forbid(unsafe_code)]

mod cache;
pub mod form;
mod mint;
mod read;
mod revoked;
mod right;
mod verify;

use std::fmt;

pub use cache::Cache;
pub use mint::{Narrowing, RootKey, Terms, attenuate, describe, revocation_ids};
pub use revoked::{RevocationId, Revoked};
pub use right::{Access, Grant, Right};
pub use verify::{Keys, Token};

/// Bytes of a token, as text.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Blocks of a token: the first one, and one for each time it was narrowed. Each costs a signature.
pub const BLOCKS_MAX: usize = 16;
/// Grants of a token.
pub const GRANTS_MAX: usize = 64;
/// Root keys that are believed at the same time.
pub const KEYS_MAX: usize = 8;
/// Revoked tokens that are known.
pub const REVOKED_MAX: usize = 100_000;

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no token, or none that can be believed.
    Unauthenticated,
    /// Its time is over.
    Expired,
    /// It, or one that it was made from, was revoked.
    Revoked,
    /// It is good, but not for this.
    Forbidden,
}

/// A refusal: the request did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Its kind.
    pub why: Why,
    /// A sentence for people; it holds nothing of the token that is secret.
    pub detail: String,
}

impl Denied {
    /// A refusal.
    pub fn new(why: Why, detail: impl Into<String>) -> Denied {
        Denied { why, detail: detail.into() }
    }

    fn invalid(detail: impl Into<String>) -> Denied {
        Denied::new(Why::Unauthenticated, detail)
    }

    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self.why {
            Why::Unauthenticated => "unauthenticated",
            Why::Expired => "token_expired",
            Why::Revoked => "token_revoked",
            Why::Forbidden => "forbidden",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Denied {}
