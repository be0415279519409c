//! A node's clocks: the monotonic one runs fast or slow, may jump ahead and never goes back; the
//! wall one is off and may jump. Integers only.

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

    /// From now on the clock ticks at another rate.
    pub fn set_rate(&mut self, true_ns: u64, rate_ppm: u64) {
        self.jump_mono(true_ns, 0);
        self.rate_ppm = rate_ppm;
    }

    /// Moves the monotonic clock ahead, as a machine does that was suspended.
    pub fn jump_mono(&mut self, true_ns: u64, by_ns: u64) {
        self.base_mono = self.now(true_ns).mono.0.saturating_add(by_ns);
        self.base_true = true_ns;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_fast_clock_gains_and_a_changed_rate_counts_from_the_change() {
        let mut clock = Clock::new(1_050_000, 0);
        assert_eq!(clock.now(SECOND).mono.0, 1_050_000_000);
        clock.set_rate(SECOND, 950_000);
        assert_eq!(clock.now(2 * SECOND).mono.0, 2_000_000_000);
    }

    #[test]
    fn the_monotonic_clock_jumps_ahead_and_never_back() {
        let mut clock = Clock::new(1_000_000, 0);
        clock.jump_mono(SECOND, 5 * SECOND);
        assert_eq!(clock.now(SECOND).mono.0, 6 * SECOND);
        assert_eq!(clock.now(2 * SECOND).mono.0, 7 * SECOND);
    }

    #[test]
    fn when_is_the_first_moment_the_clock_has_reached_an_instant() {
        for rate in [950_000, 1_000_000, 1_050_000] {
            let mut clock = Clock::new(rate, 0);
            clock.jump_mono(SECOND, 3);
            let due = Instant(3 * SECOND + 7);
            let at = clock.when(due);
            assert!(clock.now(at).mono >= due, "too early at rate {rate}");
            assert!(clock.now(at - 10).mono < due, "too late at rate {rate}");
        }
    }

    #[test]
    fn the_wall_clock_may_be_days_ahead_and_hardly_behind() {
        let mut clock = Clock::new(1_000_000, 0);
        clock.jump_wall(3 * 24 * 60 * 60 * 1_000);
        assert_eq!(clock.now(0).wall.0, EPOCH_MS + 3 * 24 * 60 * 60 * 1_000);
        clock.jump_wall(-30 * 24 * 60 * 60 * 1_000);
        assert_eq!(clock.now(0).wall.0, EPOCH_MS - 120_000);
    }
}
