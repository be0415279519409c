//! How a client behaves.

use std::time::Duration;

use understudy_plan::limits;

/// How a client behaves; what is not set is as usual.
#[derive(Clone)]
pub struct Options {
    pub(crate) deadline: Duration,
    pub(crate) in_flight: usize,
    pub(crate) token: Option<String>,
    pub(crate) sessions: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            deadline: limits::DEADLINE,
            in_flight: limits::IN_FLIGHT_MAX,
            token: None,
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

    /// The bearer token that says what this client may do.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Options {
        self.token = Some(token.into());
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
        let Options { deadline, in_flight, token, sessions } = self;
        let mut debug = f.debug_struct("Options");
        debug.field("deadline", deadline).field("in_flight", in_flight);
        debug.field("token", &token.is_some()).field("sessions", sessions).finish()
    }
}
