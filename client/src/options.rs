//! How a client behaves.

use std::time::Duration;

use understudy_plan::limits;
use understudy_tls::{ClientPems, Pem};

/// How a client behaves; what is not set is as usual.
#[derive(Clone)]
pub struct Options {
    pub(crate) deadline: Duration,
    pub(crate) in_flight: usize,
    pub(crate) token: Option<String>,
    pub(crate) pems: ClientPems,
    pub(crate) sessions: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            deadline: limits::DEADLINE,
            in_flight: limits::IN_FLIGHT_MAX,
            token: None,
            pems: ClientPems::default(),
            sessions: true,
        }
    }
}

impl Options {
    /// As usual.
    pub fn new() -> Options {
        Options::default()
    }

    /// How long each operation is tried.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Options {
        self.deadline = deadline;
        self
    }

    /// Operations under way at once; more wait for their turn.
    #[must_use]
    pub fn in_flight(mut self, in_flight: usize) -> Options {
        self.in_flight = in_flight.clamp(1, limits::IN_FLIGHT_MAX);
        self
    }

    /// The bearer token that says what this client may do. It is the client's for good: when it is
    /// about to expire, make a client with the next one.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Options {
        self.token = Some(token.into());
        self
    }

    /// Who signs the certificates of the nodes; several certificates are fine. With it every
    /// connection is TLS, and a node must show a certificate that names the host it is asked at.
    ///
    /// Files are read when the client is made and again for each new connection, so a client that
    /// lives long takes what was put in their place; connections that are open go on as they are.
    /// Files that cannot be used then change nothing, and a log line says why. Text stays as given.
    #[must_use]
    pub fn ca(mut self, ca: Pem) -> Options {
        self.pems.ca = Some(ca);
        self
    }

    /// A certificate of this client, the certificate first and then those that lead to its CA, and
    /// its private key: for nodes that want one (mutual TLS). Read as [`Options::ca`] is.
    #[must_use]
    pub fn identity(mut self, cert: Pem, key: Pem) -> Options {
        self.pems.cert = Some(cert);
        self.pems.key = Some(key);
        self
    }

    /// Names writes by time-ordered keys instead of places in a session. A process that makes few
    /// writes and ends, such as a command line, saves the question for a session.
    #[must_use]
    pub fn without_session(mut self) -> Options {
        self.sessions = false;
        self
    }
}

impl std::fmt::Debug for Options {
    /// Without the token: it is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { deadline, in_flight, token, pems, sessions } = self;
        let mut debug = f.debug_struct("Options");
        debug.field("deadline", deadline).field("in_flight", in_flight);
        debug.field("token", &token.is_some()).field("pems", pems);
        debug.field("sessions", sessions).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_shows() {
        let key = Pem::text("-----BEGIN PRIVATE KEY-----");
        let options = Options::new().token("sEcReT").identity(Pem::file("ann.pem"), key);
        let shown = format!("{options:?}");
        assert!(shown.contains("ann.pem"), "{shown}");
        assert!(!shown.contains("sEcReT") && !shown.contains("BEGIN"), "{shown}");
    }
}
