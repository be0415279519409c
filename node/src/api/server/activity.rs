//! What one connection is doing, so that half requests, silent clients and clients that read nothing
//! do not hold it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// Shared by a connection's bytes, its requests and whoever watches over it.
#[derive(Debug)]
pub struct Activity {
    since: Instant,
    /// Requests whose answer is not yet sent.
    in_flight: AtomicUsize,
    /// When the last answer was sent, in ms since the beginning.
    idle: AtomicU64,
    /// When the first byte of a header came that is not yet whole; 0 when there is none.
    begun: AtomicU64,
    /// Since when the client takes nothing of what is sent; 0 when it does.
    stuck: AtomicU64,
    /// The rest of a header did not come.
    late: AtomicBool,
}

/// One request that is being answered.
#[derive(Debug)]
pub struct InFlight(Arc<Activity>);

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing was asked for long: it may close.
    Idle,
    /// The rest of a header did not come: tell the client, and close.
    Late,
    /// The client reads nothing: close.
    Stuck,
}

impl Activity {
    /// Of a connection that was just accepted.
    pub fn new() -> Arc<Activity> {
        Arc::new(Activity {
            since: Instant::now(),
            in_flight: AtomicUsize::new(0),
            idle: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            late: AtomicBool::new(false),
        })
    }

    /// Milliseconds since the beginning, from 1.
    fn count(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.since).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Bytes came. Between two requests of HTTP/1 they begin a header.
    pub fn received(&self) {
        self.received_at(Instant::now());
    }

    fn received_at(&self, now: Instant) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) == 0 {
            self.begun.store(self.count(now), Ordering::Relaxed);
        }
    }

    /// The client took bytes, or none although there are some.
    pub fn sent(&self, some: bool) {
        self.sent_at(Instant::now(), some);
    }

    fn sent_at(&self, now: Instant, some: bool) {
        match some {
            true => self.stuck.store(0, Ordering::Relaxed),
            false if self.stuck.load(Ordering::Relaxed) == 0 => {
                self.stuck.store(self.count(now), Ordering::Relaxed);
            }
            false => {}
        }
    }

    /// A header is whole: its request is being answered until the guard is dropped.
    pub fn request(self: &Arc<Activity>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.store(0, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Whether the rest of a header did not come.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// What to do now. `headers`: whether bytes between requests are a header, as in HTTP/1; in HTTP/2
    /// they may be anything.
    pub fn verdict(&self, headers: bool) -> Verdict {
        self.verdict_at(Instant::now(), headers)
    }

    fn verdict_at(&self, now: Instant, headers: bool) -> Verdict {
        let at = |begin: u64, wait: Duration| self.since + Duration::from_millis(begin) + wait;
        let (begun, stuck) =
            (self.begun.load(Ordering::Relaxed), self.stuck.load(Ordering::Relaxed));
        let mut next = now + limits::API_IDLE_TIMEOUT;
        if stuck != 0 {
            let end = at(stuck, limits::API_STALL_TIMEOUT);
            if end <= now {
                return Verdict::Stuck;
            }
            next = next.min(end);
        }
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Verdict::Wait(next.min(now + limits::API_WATCH_EVERY));
        }
        if headers && begun != 0 {
            let end = at(begun, limits::API_HEADER_TIMEOUT);
            if end <= now {
                self.late.store(true, Ordering::Relaxed);
                return Verdict::Late;
            }
            next = next.min(end);
        }
        let end = at(self.idle.load(Ordering::Relaxed), limits::API_IDLE_TIMEOUT);
        if end <= now {
            return Verdict::Idle;
        }
        Verdict::Wait(next.min(end).min(now + limits::API_WATCH_EVERY))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle.store(self.0.count(Instant::now()), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_header_is_late_and_a_silent_connection_idle() {
        let activity = Activity::new();
        let begin = activity.since;
        assert!(matches!(activity.verdict_at(begin, true), Verdict::Wait(_)));
        let first = begin + Duration::from_secs(1);
        activity.received_at(first);
        let almost = first + limits::API_HEADER_TIMEOUT;
        // More of it does not help.
        activity.received_at(almost);
        assert!(matches!(activity.verdict_at(almost, false), Verdict::Wait(_)));
        assert_eq!(activity.verdict_at(almost, true), Verdict::Wait(almost + MS));
        assert!(!activity.is_late());
        assert_eq!(activity.verdict_at(almost + MS, true), Verdict::Late);
        assert!(activity.is_late());
        let end = begin + limits::API_IDLE_TIMEOUT;
        assert_eq!(activity.verdict_at(end, false), Verdict::Idle);
    }

    #[test]
    fn a_request_is_never_idle_and_its_body_no_header() {
        let activity = Activity::new();
        let begin = activity.since;
        activity.received_at(begin);
        let request = activity.request();
        activity.received_at(begin + MS);
        let later = begin + 10 * limits::API_IDLE_TIMEOUT;
        assert!(matches!(activity.verdict_at(later, true), Verdict::Wait(_)));
        drop(request);
        let now = Instant::now();
        assert!(matches!(activity.verdict_at(now, true), Verdict::Wait(_)));
        let later = now + limits::API_IDLE_TIMEOUT + MS;
        assert_eq!(activity.verdict_at(later, true), Verdict::Idle);
    }

    #[test]
    fn a_client_that_takes_nothing_is_stuck() {
        let activity = Activity::new();
        let begin = activity.since;
        let _request = activity.request();
        activity.sent_at(begin, false);
        activity.sent_at(begin + MS, true);
        let later = begin + 2 * limits::API_STALL_TIMEOUT;
        assert!(matches!(activity.verdict_at(later, true), Verdict::Wait(_)));
        activity.sent_at(later, false);
        let end = later + limits::API_STALL_TIMEOUT + MS;
        activity.sent_at(end, false);
        assert_eq!(activity.verdict_at(end, true), Verdict::Stuck);
    }
}
