//! A node's clocks: the monotonic one runs fast or slow and never backwards, the wall one is off and
//! may jump. Integers only.

use understudy_core::{Instant, Now, Rng, Timestamp};

/// The wall time at which every world begins, in Unix milliseconds.
pub const EPOCH_MS: u64 = 1_760_000_000_000;

/// One node's clocks as functions of true time, in nanoseconds since the world began.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Nanoseconds of this clock in a million true ones.
    rate_ppm: u64,
    base_true: u64,
    base_mono: u64,
    wall_ahead_ms: i64,
}

impl Clock {
    /// A clock that ticks `rate_ppm` in a true million and whose wall time is ahead (or behind).
    pub fn new(rate_ppm: u64, wall_ahead_ms: i64) -> Clock {
        Clock { rate_ppm, base_true: 0, base_mono: 0, wall_ahead_ms }
    }

    /// The machine starts: its monotonic clock begins anywhere.
    pub fn reboot(&mut self, true_ns: u64, rng: &mut Rng) {
        self.base_true = true_ns;
        self.base_mono = rng.below(1_000_000_000_000);
    }

    /// Moves the wall clock: days ahead, but never so far behind that the names of young operations
    /// are refused as coming from the future.
    pub fn jump_wall(&mut self, by_ms: i64) {
        const BEHIND_MAX_MS: i64 = 120_000;
        const AHEAD_MAX_MS: i64 = 10 * 24 * 60 * 60 * 1_000;
        self.wall_ahead_ms = (self.wall_ahead_ms + by_ms).clamp(-BEHIND_MAX_MS, AHEAD_MAX_MS);
    }

    /// What a step at `true_ns` is told.
    pub fn now(&self, true_ns: u64) -> Now {
        let passed = scale(true_ns - self.base_true, self.rate_ppm, MILLION);
        let wall = (EPOCH_MS + true_ns / MILLION).saturating_add_signed(self.wall_ahead_ms);
        Now { mono: Instant(self.base_mono + passed), wall: Timestamp(wall) }
    }

    /// The first true time at which the monotonic clock has reached `instant`.
    pub fn when(&self, instant: Instant) -> u64 {
        let left = instant.0.saturating_sub(self.base_mono);
        self.base_true.saturating_add(scale(left, MILLION, self.rate_ppm)).saturating_add(1)
    }
}

const MILLION: u64 = 1_000_000;

fn scale(value: u64, multiplier: u64, divisor: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(multiplier) / u128::from(divisor);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
