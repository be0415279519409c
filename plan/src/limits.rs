//! Every maximum of the client in one place.

use std::time::Duration;

/// Sequences of a session between the lowest that has no answer yet and the highest that was sent:
/// what the store remembers of a session, at least.
pub const SESSION_WINDOW: u64 = 1024;
/// Operations of one client under way at once; more wait for their turn.
pub const IN_FLIGHT_MAX: usize = 1024;
/// How long an operation is tried unless the caller says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for one answer before the operation is tried elsewhere.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// To make a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The first wait between two tries is chance between nothing and this.
pub const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// No wait is longer, but where a node says so itself.
pub const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// A node's hint when to come again is believed up to here.
pub const HINT_MAX: Duration = Duration::from_secs(5);
/// How long an endpoint that did not answer is asked last.
pub const SHUNNED_FOR: Duration = Duration::from_secs(1);
/// How old what is known of the leaders may be before somebody is asked again.
pub const ROUTES_AGE_MAX: Duration = Duration::from_secs(5);
/// Pause between two such questions, however much goes wrong.
pub const ROUTES_EVERY_MIN: Duration = Duration::from_millis(50);
/// Endpoints of one client.
pub const ENDPOINTS_MAX: usize = 64;
/// Namespaces whose leader is remembered.
pub const NAMESPACES_MAX: usize = 1024;
/// How often an operation that did not happen may get another name.
pub const RENAMES_MAX: u32 = 3;
/// Calls in one message of a pipeline.
pub const MESSAGE_CALLS_MAX: usize = 256;
/// Bytes of documents in one message of a pipeline (soft: the call that crosses it still goes in).
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one message that is received.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

const _: () = {
    assert!(IN_FLIGHT_MAX as u64 <= SESSION_WINDOW);
    assert!(ATTEMPT_TIMEOUT.as_nanos() < DEADLINE.as_nanos());
    assert!(BACKOFF_MIN.as_nanos() < BACKOFF_MAX.as_nanos());
};
