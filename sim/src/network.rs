//! The network between replicas. Pure: it says when a message arrives, if at all.

use std::collections::{BTreeMap, BTreeSet};

use understudy_core::{NodeId, Rng};

use crate::faults::{Counts, Fault};

/// What the network does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Shortest way, in nanoseconds.
    pub latency_min: u64,
    /// Longest ordinary way.
    pub latency_max: u64,
    /// Messages in a million that are held up, and for how long at most.
    pub delay_ppm: u64,
    /// Longest delay.
    pub delay_max: u64,
    /// Messages in a million that are lost.
    pub loss_ppm: u64,
    /// Messages in a million that arrive twice.
    pub duplicate_ppm: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Weather = Weather {
        latency_min: 100_000,
        latency_max: 400_000,
        delay_ppm: 0,
        delay_max: 0,
        loss_ppm: 0,
        duplicate_ppm: 0,
    };
}

/// All links.
pub struct Network {
    weather: Weather,
    rng: Rng,
    cut: BTreeSet<(NodeId, NodeId)>,
    latest_arrival: BTreeMap<(NodeId, NodeId), u64>,
}

impl Network {
    /// A network without cuts.
    pub fn new(weather: Weather, rng: Rng) -> Network {
        Network { weather, rng, cut: BTreeSet::new(), latest_arrival: BTreeMap::new() }
    }

    /// When a message sent now arrives: never, once or twice.
    pub fn carry(
        &mut self,
        now: u64,
        from: NodeId,
        to: NodeId,
        counts: &mut Counts,
    ) -> [Option<u64>; 2] {
        if self.cut.contains(&(from, to)) {
            counts.fired(Fault::Cut);
            return [None, None];
        }
        if self.rng.ppm(self.weather.loss_ppm) {
            counts.fired(Fault::Loss);
            return [None, None];
        }
        let first = self.arrival(now, from, to, counts);
        let second = self.rng.ppm(self.weather.duplicate_ppm).then(|| {
            counts.fired(Fault::Duplicate);
            self.arrival(now, from, to, counts)
        });
        [Some(first), second]
    }

    /// Cuts the way from each of `from` to each of `to`.
    pub fn cut(&mut self, from: &[NodeId], to: &[NodeId]) {
        for &a in from {
            self.cut.extend(to.iter().filter(|&&b| a != b).map(|&b| (a, b)));
        }
    }

    /// Restores every way.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// No more trouble.
    pub fn calm(&mut self) {
        self.heal();
        self.weather = Weather::CALM;
    }

    /// The cut ways.
    pub fn cuts(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        self.cut.iter().copied()
    }

    fn arrival(&mut self, now: u64, from: NodeId, to: NodeId, counts: &mut Counts) -> u64 {
        let weather = self.weather;
        let mut arrival = now + self.rng.between(weather.latency_min, weather.latency_max);
        if self.rng.ppm(weather.delay_ppm) {
            arrival += self.rng.between(1_000_000, weather.delay_max.max(1_000_000));
            counts.fired(Fault::Delay);
        }
        let latest = self.latest_arrival.entry((from, to)).or_default();
        if arrival < *latest {
            counts.fired(Fault::Reorder);
        }
        *latest = arrival.max(*latest);
        arrival
    }
}
