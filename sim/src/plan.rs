//! Every knob of one world, drawn from its seed: which faults, how strong, how much work.
//!
//! Each kind of fault is on or off by a coin of its own (swarm testing, Groce et al. 2012): a world
//! without crashes reaches places that one with every fault at once never does.

use std::fmt;

use understudy_core::{ClusterConfig, ClusterId, Namespace, NodeId, Rng, Seed, Timing};

use crate::disk::Latency;
use crate::network::Weather;

/// One world's knobs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Replicas.
    pub nodes: u64,
    /// Clients.
    pub clients: u64,
    /// Actors in each namespace.
    pub actors: u64,
    /// Namespaces, each a Raft group.
    pub namespaces: u64,
    /// Operations of each client.
    pub operations: u64,
    /// Longest pause of a client between two operations, in nanoseconds.
    pub think_max: u64,
    /// When the faults stop at the latest.
    pub safety_ns: u64,
    /// What the network does.
    pub weather: Weather,
    /// Each node's disk.
    pub disks: Vec<Latency>,
    /// Each node's clock: ticks in a true million, and wall time ahead in milliseconds.
    pub clocks: Vec<(u64, i64)>,
    /// Longest time between an input's arrival and the step that takes it.
    pub turn_max: u64,
    /// Steps in a million that die between two effects.
    pub crash_mid_turn_ppm: u64,
    /// Requests in a million that are lost on the way to a node.
    pub request_loss_ppm: u64,
    /// Answers in a million that are lost on the way to a client.
    pub reply_loss_ppm: u64,
    /// Operations in a million whose client gives up while the outcome is unknown.
    pub abandon_ppm: u64,
    /// Longest pause of the nemesis between two of its acts; 0 is no nemesis.
    pub nemesis_pause_max: u64,
    /// The weight of each act of the nemesis, in the order of [`Act::ALL`].
    pub acts: [u64; Act::ALL.len()],
}

/// What the nemesis does on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Kill a node, start it again.
    Crash,
    /// Kill the leader with unsynced writes, start it within milliseconds.
    LeaderBounce,
    /// Kill several or all nodes, start them one by one.
    CrashAll,
    /// Cut nodes off in both directions.
    Partition,
    /// Cut nodes off in one direction.
    OneWay,
    /// Stop a process for a while.
    Pause,
    /// Slow a disk down for a while.
    SlowDisk,
    /// Fail a sync.
    FailSync,
    /// Move a wall clock.
    WallJump,
}

impl Act {
    /// Every act.
    pub const ALL: [Act; 9] = [
        Act::Crash,
        Act::LeaderBounce,
        Act::CrashAll,
        Act::Partition,
        Act::OneWay,
        Act::Pause,
        Act::SlowDisk,
        Act::FailSync,
        Act::WallJump,
    ];
}

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

impl Plan {
    /// The knobs of `seed`'s world.
    pub fn draw(seed: Seed) -> Plan {
        let rng = &mut seed.child("plan").rng();
        let nodes = if rng.ppm(750_000) { 3 } else { 5 };
        let weights = [4, 4, 3, 3, 2, 2, 2, 1, 1];
        let strength = rng.between(1, 20);
        Plan {
            nodes,
            clients: rng.between(2, 6),
            actors: rng.between(1, 4),
            namespaces: rng.between(1, 2),
            operations: rng.between(20, 80),
            think_max: rng.between(1, 30) * MILLI,
            safety_ns: rng.between(2_000, 6_000) * MILLI,
            weather: Plan::weather(rng),
            disks: (0..nodes).map(|_| Plan::disk(rng)).collect(),
            clocks: (0..nodes).map(|_| Plan::clock(rng)).collect(),
            turn_max: rng.between(2, 200) * MICRO,
            crash_mid_turn_ppm: if rng.ppm(300_000) { rng.between(50, 1_000) } else { 0 },
            request_loss_ppm: if rng.ppm(500_000) { rng.between(1_000, 50_000) } else { 0 },
            reply_loss_ppm: if rng.ppm(700_000) { rng.between(1_000, 100_000) } else { 0 },
            abandon_ppm: if rng.ppm(500_000) { rng.between(10_000, 300_000) } else { 0 },
            nemesis_pause_max: if rng.ppm(50_000) { 0 } else { 40 * MILLI * strength },
            acts: weights.map(|weight| if rng.ppm(600_000) { weight } else { 0 }),
        }
    }

    /// The cluster as its nodes see it.
    pub fn cluster(&self) -> ClusterConfig {
        let namespace = |n| Namespace::new(["carts", "users"][n]).expect("names_are_legal");
        ClusterConfig {
            cluster: ClusterId("sim".to_owned()),
            nodes: (1..=self.nodes).map(NodeId).collect(),
            namespaces: (0..self.namespaces as usize).map(namespace).collect(),
            timing: Timing::production(),
        }
    }

    fn weather(rng: &mut Rng) -> Weather {
        let latency_min = rng.between(20, 1_000) * MICRO;
        let on = |rng: &mut Rng, max: u64| if rng.ppm(600_000) { rng.between(100, max) } else { 0 };
        Weather {
            latency_min,
            latency_max: latency_min + rng.between(10, 5_000) * MICRO,
            delay_ppm: on(rng, 30_000),
            delay_max: rng.between(5, 500) * MILLI,
            loss_ppm: on(rng, 80_000),
            duplicate_ppm: on(rng, 50_000),
        }
    }

    fn disk(rng: &mut Rng) -> Latency {
        let max = match rng.below(4) {
            0 => 500 * MICRO,
            1 => 4 * MILLI,
            2 => 15 * MILLI,
            _ => 40 * MILLI,
        };
        let min = rng.between(50 * MICRO, max / 2);
        Latency { min, max }
    }

    fn clock(rng: &mut Rng) -> (u64, i64) {
        let ppm = if rng.ppm(300_000) { 1_000_000 } else { rng.between(950_000, 1_050_000) };
        let wall = i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000;
        (ppm, wall)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
        let micros = |ns: u64| format!("{} µs", ns / MICRO);
        writeln!(
            f,
            "nodes {}, clients {} x {} operations, {} actors in {} namespaces",
            self.nodes, self.clients, self.operations, self.actors, self.namespaces
        )?;
        writeln!(
            f,
            "network {} to {}, loss {}, twice {}, held up {} by {} ms; requests lost {}, replies {}",
            micros(self.weather.latency_min),
            micros(self.weather.latency_max),
            percent(self.weather.loss_ppm),
            percent(self.weather.duplicate_ppm),
            percent(self.weather.delay_ppm),
            self.weather.delay_max / MILLI,
            percent(self.request_loss_ppm),
            percent(self.reply_loss_ppm),
        )?;
        let disks: Vec<_> = self
            .disks
            .iter()
            .map(|disk| format!("{}-{}", disk.min / MICRO, disk.max / MICRO))
            .collect();
        writeln!(f, "syncs in µs {}", disks.join(", "))?;
        let clocks: Vec<_> = self.clocks.iter().map(|(rate, _)| rate.to_string()).collect();
        writeln!(f, "clock ticks in a true million {}", clocks.join(", "))?;
        let acts = Act::ALL.iter().zip(self.acts).filter(|&(_, weight)| weight > 0);
        let acts: Vec<_> = acts.map(|(act, weight)| format!("{act:?} {weight}")).collect();
        write!(
            f,
            "nemesis every {} ms at most: {}; crash between effects {}",
            self.nemesis_pause_max / MILLI,
            acts.join(", "),
            percent(self.crash_mid_turn_ppm)
        )
    }
}
