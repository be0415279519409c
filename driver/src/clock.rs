//! The one place where the node reads its clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use understudy_core as core;
use understudy_core::{Now, Timestamp};

/// Counts from the start of the process, also while the machine is suspended: a leader that wakes
/// up must not take its lease for young (ADR 14).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

/// Where there is none that runs on, the monotonic clock.
#[cfg(any(target_os = "linux", target_os = "android"))]
const RUNS_ON: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RUNS_ON: ClockId = ClockId::Monotonic;

fn running() -> Duration {
    let time = clock_gettime(RUNS_ON);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl Clock {
    /// Begins at 0 now.
    pub fn start() -> Clock {
        Clock { start: running() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let nanos =
            u64::try_from(running().saturating_sub(self.start).as_nanos()).unwrap_or(u64::MAX);
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
