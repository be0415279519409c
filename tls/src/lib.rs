//! TLS for the node and its clients (rustls): certificates come from files, are checked before they
//! are used, are replaced while the process runs, and every refusal says what to do.
//!
//! What is deliberately absent: no certificate is ever accepted unseen, no version below TLS 1.2, no
//! revocation lists (issue short-lived certificates instead), no system trust store (name the CA).
#![forbid(unsafe_code)]

#[cfg(feature = "authority")]
pub mod authority;
mod certificate;
mod client;
mod peer;
mod reload;
mod server;
mod stream;

use std::fmt;
use std::sync::Arc;

pub use certificate::Facts;
pub use client::{ClientPems, Pem, client_config, connect};
pub use peer::{PeerFiles, Peers};
pub use reload::{Change, Report};
pub use server::{Server, ServerFiles};
pub use stream::{Stream, accept_failure};

/// Re-exported, so that all name the same version.
pub use rustls;

/// Bytes of one file of certificates or of a key.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no TLS: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsError {
    fn new(line: impl Into<String>) -> TlsError {
        TlsError(line.into())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The cryptography of every connection.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
