//! A closed loop over some clients, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::target::Target;

/// Before counting begins: connections are warm, a leader is known.
const WARM_UP: Duration = Duration::from_millis(500);
/// Latencies up to a minute, in microseconds, to three digits.
const HIGHEST: u64 = 60_000_000;

/// What each client does.
#[derive(Clone, Copy)]
pub struct Load {
    /// Writes, or linearizable reads.
    pub write: bool,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Keys, drawn at random.
    pub keys: u64,
    /// Operations that each client has under way at once.
    pub in_flight: usize,
    /// How long is counted.
    pub run: Duration,
}

/// Operations a second, and the latencies of half and of 99 of 100, in milliseconds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Operations a second.
    pub rate: f64,
    /// Median latency.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Load {
    /// Runs it.
    ///
    /// # Errors
    /// The first operation that failed.
    pub async fn run(self, targets: Vec<Target>) -> anyhow::Result<Measured> {
        let begin = Instant::now() + WARM_UP;
        let mut loops = Vec::new();
        for (number, target) in targets.into_iter().enumerate() {
            let target = Arc::new(target);
            for lane in 0..self.in_flight {
                let random = Random::new((number * self.in_flight + lane) as u64);
                loops.push(tokio::spawn(self.one_loop(target.clone(), random, begin)));
            }
        }
        let mut all = histogram()?;
        for one in loops {
            all.add(one.await.context("a client panicked")??)?;
        }
        let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
        let rate = all.len() as f64 / self.run.as_secs_f64();
        Ok(Measured { rate, p50: ms(0.5), p99: ms(0.99) })
    }

    async fn one_loop(
        self,
        target: Arc<Target>,
        mut random: Random,
        begin: Instant,
    ) -> anyhow::Result<Histogram<u64>> {
        let mut latencies = histogram()?;
        let value = format!("\"{}\"", "v".repeat(self.value_bytes.saturating_sub(2)));
        loop {
            let key = format!("key-{:08}", random.next() % self.keys);
            let asked = Instant::now();
            if asked >= begin + self.run {
                return Ok(latencies);
            }
            if self.write {
                target.write(&key, value.as_bytes()).await?;
            } else {
                target.read(&key).await?;
            }
            // Answered in time: what came later belongs to no second of the run.
            let answered = Instant::now();
            if asked >= begin && answered < begin + self.run {
                let micros = u64::try_from((answered - asked).as_micros()).unwrap_or(HIGHEST);
                latencies.saturating_record(micros);
            }
        }
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, HIGHEST, 3).context("right bounds")
}

/// `SplitMix64`: the same keys in every run, and no dependency for it.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
