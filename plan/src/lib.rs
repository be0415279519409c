//! The pure half of the client: whom to ask, when to try again, under which name, and what a caller
//! may be told in the end.
//!
//! It takes the time, chance and what was heard as values and returns what to do. So the client and
//! the simulator run the same decisions, and the simulator can show what a wrong one costs.
//!
//! What is deliberately absent: clocks, IO, threads and entropy (`clippy.toml` keeps it so), and any
//! knowledge of documents or protocols.
#![forbid(unsafe_code)]

pub mod attempts;
pub mod limits;
#[cfg(sim_mutant)]
pub mod mutant;
pub mod names;
pub mod routes;

pub use attempts::{Attempts, Heard, Kind, Step};
pub use names::{Name, Names};
pub use routes::Routes;

use std::time::Duration;

/// True where the planted bug `name` is to be acted out; never in a production build.
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(sim_mutant)]
        let planted = crate::mutant::is_planted($name);
        #[cfg(not(sim_mutant))]
        let planted = false;
        planted
    }};
}
pub(crate) use planted;

/// Nanoseconds on the caller's monotonic clock, from wherever it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Instant {
    /// This instant and `duration` more; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Whether an operation that failed took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It did not happen and will not.
    Refused,
    /// It may have happened, or may yet.
    Unknown,
}
