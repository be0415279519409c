//! How steadily writes were acknowledged: what a client feels of a failover.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// Counts acknowledgements and keeps the pauses between them.
#[derive(Debug)]
pub struct Pace(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    acknowledged: u64,
    replayed: u64,
    retries: u64,
    last: Option<Instant>,
    longest: Duration,
    /// Start and length of every pause of at least [`limits::GAP_MIN`].
    pauses: Vec<(Instant, Duration)>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Of them, answered from the record of an earlier try.
    pub replayed: u64,
    /// Tries that brought no answer.
    pub retries: u64,
    /// The longest time between two acknowledgements.
    pub longest_pause: Duration,
}

impl Pace {
    /// Nothing acknowledged yet.
    pub fn new() -> Pace {
        Pace(Mutex::new(Record::default()))
    }

    /// A write was acknowledged after `retries` tries that were not.
    pub fn acknowledge(&self, retries: u32, replayed: bool) {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        record.acknowledged += 1;
        record.replayed += u64::from(replayed);
        record.retries += u64::from(retries);
        if let Some(last) = record.last.replace(now) {
            let pause = now.saturating_duration_since(last);
            record.longest = record.longest.max(pause);
            if pause >= limits::GAP_MIN && record.pauses.len() < limits::GAPS_MAX {
                record.pauses.push((last, pause));
            }
        }
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            acknowledged: record.acknowledged,
            replayed: record.replayed,
            retries: record.retries,
            longest_pause: record.longest,
        }
    }

    /// The longest pause that ended after `moment`; below [`limits::GAP_MIN`] it counts as that.
    pub fn pause_since(&self, moment: Instant) -> Duration {
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = record.pauses.iter().filter(|(start, pause)| *start + *pause > moment);
        after.map(|(_, pause)| *pause).max().unwrap_or(limits::GAP_MIN)
    }

    /// The time of the last acknowledgement.
    pub fn last(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_belongs_to_the_moments_inside_it() {
        let pace = Pace::new();
        let start = Instant::now();
        pace.acknowledge(0, false);
        std::thread::sleep(3 * limits::GAP_MIN);
        let inside = Instant::now();
        std::thread::sleep(limits::GAP_MIN);
        pace.acknowledge(2, true);
        let after = Instant::now();
        assert!(pace.pause_since(start) >= 4 * limits::GAP_MIN);
        assert!(pace.pause_since(inside) >= 4 * limits::GAP_MIN);
        assert_eq!(pace.pause_since(after), limits::GAP_MIN);
        let Counts { acknowledged, replayed, retries, .. } = pace.counts();
        assert_eq!((acknowledged, replayed, retries), (2, 1, 2));
    }
}
