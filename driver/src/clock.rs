//! The one place where the node reads its clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use understudy_core as core;
use understudy_core::{Now, Timestamp};

/// Counts from the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Begins at 0 now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { mono: core::Instant(nanos), wall: wall() }
    }

    /// From now to `deadline`; zero when it is past.
    pub fn until(&self, deadline: core::Instant) -> Duration {
        deadline.since(self.now().mono)
    }
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
