//! The network between replicas. Pure: it says when a message arrives, if at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use understudy_core::{NodeId, Rng, Seed};

use crate::dice::{Dice, fold, link};
use crate::faults::{Counts, Fault};

/// What the network does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// Shortest way, in nanoseconds.
    pub latency_min: u64,
    /// Longest ordinary way.
    pub latency_max: u64,
    /// Messages in a million that are held up.
    pub delay_ppm: u64,
    /// Longest time a message is held up.
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

/// The latest that a copy arrives after the first.
const LATE_COPY_MAX: u64 = 800_000_000;

/// All links. A link has a direction.
pub struct Network {
    weather: Weather,
    seed: Seed,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Every message takes so much longer, up to the given time.
    spike: (u64, u64),
}

struct Link {
    rng: Rng,
    latest_arrival: u64,
    /// No message passes before this.
    cut_until: u64,
    /// So much longer, up to the given time.
    slow: (u64, u64),
}

impl Network {
    /// A network without cuts.
    pub fn new(weather: Weather, seed: Seed) -> Network {
        Network { weather, seed, links: BTreeMap::new(), spike: (0, 0) }
    }

    /// When a message sent now arrives: never, once or twice.
    pub fn carry(
        &mut self,
        now: u64,
        (from, to): (NodeId, NodeId),
        dice: &mut Dice,
        counts: &mut Counts,
    ) -> [Option<u64>; 2] {
        let (weather, place) = (self.weather, link(from, to));
        if now < self.link(from, to).cut_until {
            counts.fired(Fault::Cut);
            return [None, None];
        }
        let lost = dice.roll(Fault::Loss, place, weather.loss_ppm, counts);
        let delayed = dice.roll(Fault::Delay, place, weather.delay_ppm, counts);
        let twice = dice.roll(Fault::Duplicate, place, weather.duplicate_ppm, counts);
        let first = self.arrival(now, from, to, delayed, counts);
        if lost.is_some() {
            return [None, None];
        }
        // A copy may be late by much more than any message.
        let late = |value: u64| match value % 3 {
            0 => fold(value, 0, LATE_COPY_MAX),
            _ => fold(value, 0, weather.latency_max),
        };
        [Some(first), twice.map(|value| first + late(value))]
    }

    /// Cuts the way from each of `from` to each of `to` for a while.
    pub fn cut(&mut self, from: &[u64], to: &[u64], until: u64) {
        for &a in from {
            for &b in to.iter().filter(|&&b| a != b) {
                let link = self.link(NodeId(a), NodeId(b));
                link.cut_until = link.cut_until.max(until);
            }
        }
    }

    /// A link is slow for a while.
    pub fn slow_link(&mut self, from: NodeId, to: NodeId, extra: u64, until: u64) {
        self.link(from, to).slow = (extra, until);
    }

    /// All links are slow for a while.
    pub fn spike(&mut self, extra: u64, until: u64) {
        self.spike = (extra, until);
    }

    /// No more trouble.
    pub fn calm(&mut self) {
        self.weather = Weather::CALM;
        self.spike = (0, 0);
        for link in self.links.values_mut() {
            (link.cut_until, link.slow) = (0, (0, 0));
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let seed = self.seed;
        self.links.entry((from, to)).or_insert_with(|| Link {
            rng: seed.child(&format!("link/{from}/{to}")).rng(),
            latest_arrival: 0,
            cut_until: 0,
            slow: (0, 0),
        })
    }

    fn arrival(
        &mut self,
        now: u64,
        from: NodeId,
        to: NodeId,
        delayed: Option<u64>,
        counts: &mut Counts,
    ) -> u64 {
        let (weather, spike) = (self.weather, self.spike);
        let link = self.link(from, to);
        let mut arrival = now + link.rng.between(weather.latency_min, weather.latency_max);
        for (extra, until) in [spike, link.slow] {
            arrival += if now < until { extra } else { 0 };
        }
        if let Some(value) = delayed {
            arrival += fold(value, 1_000_000, weather.delay_max);
        }
        if arrival < link.latest_arrival {
            counts.fired(Fault::Reorder);
        }
        link.latest_arrival = arrival.max(link.latest_arrival);
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    /// When each of 1,000 messages arrives, one sent each microsecond.
    fn arrivals(
        weather: Weather,
        way: (NodeId, NodeId),
        prepare: impl Fn(&mut Network),
    ) -> (Vec<[Option<u64>; 2]>, Counts) {
        let mut network = Network::new(weather, Seed(3));
        let (mut dice, mut counts) = (Dice::new(Seed(3), None), Counts::default());
        prepare(&mut network);
        let sent = 0..1_000;
        let carry = |n: u64| network.carry(n * 1_000, way, &mut dice, &mut counts);
        (sent.map(carry).collect(), counts)
    }

    #[test]
    fn in_calm_weather_each_message_arrives_once_in_time() {
        let (arrivals, counts) = arrivals(Weather::CALM, (A, B), |_| {});
        for (n, arrival) in (0u64..).zip(arrivals) {
            let [Some(at), None] = arrival else { panic!("{arrival:?}") };
            assert!((n * 1_000 + 100_000..=n * 1_000 + 400_000).contains(&at));
        }
        assert!(counts.of(Fault::Reorder) > 0, "there is no order between messages");
    }

    #[test]
    fn loss_duplicates_and_delays_fire_at_their_rates() {
        let weather = Weather {
            loss_ppm: 100_000,
            duplicate_ppm: 200_000,
            delay_ppm: 50_000,
            delay_max: 9_000_000,
            ..Weather::CALM
        };
        let (arrivals, counts) = arrivals(weather, (A, B), |_| {});
        let lost = arrivals.iter().filter(|arrival| arrival[0].is_none()).count();
        assert!((60..140).contains(&lost), "about 100 are lost, not {lost}");
        assert_eq!(counts.of(Fault::Loss), lost as u64);
        assert!((150..250).contains(&counts.of(Fault::Duplicate)));
        assert!((25..75).contains(&counts.of(Fault::Delay)));
    }

    #[test]
    fn a_cut_has_a_direction_and_an_end() {
        let cut = |network: &mut Network| network.cut(&[1], &[2, 3], 500_000);
        let (there, counts) = arrivals(Weather::CALM, (A, B), cut);
        assert!(there[..500].iter().all(|arrival| arrival[0].is_none()));
        assert!(there[500..].iter().all(|arrival| arrival[0].is_some()));
        assert_eq!(counts.of(Fault::Cut), 500);
        let (back, _) = arrivals(Weather::CALM, (B, A), cut);
        assert!(back.iter().all(|arrival| arrival[0].is_some()));
    }

    #[test]
    fn a_slow_link_and_a_spike_add_to_the_way_while_they_last() {
        let slow = |network: &mut Network| {
            network.slow_link(A, B, 10_000_000, 500_000);
            network.spike(20_000_000, 300_000);
        };
        let (arrivals, _) = arrivals(Weather::CALM, (A, B), slow);
        let way = |n: usize| arrivals[n][0].expect("nothing is lost") - n as u64 * 1_000;
        assert!(way(0) > 30_000_000);
        assert!((10_000_000..11_000_000).contains(&way(400)));
        assert!(way(600) < 1_000_000);
    }
}
