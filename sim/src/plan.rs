//! Every knob of one world, drawn from its seed: which faults, how strong, how much work.
//!
//! Each kind of fault is on or off by a coin of its own (swarm testing, Groce et al. 2012): a world
//! without crashes reaches places that one with every fault at once never does.

use std::fmt;

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use understudy_core::{
    ClusterConfig, ClusterId, GroupId, LogSizes, Namespace, NodeId, Retention, Rng, Seed, Storage,
    Timing,
};

use crate::files::Latency;
use crate::network::Weather;

/// Which worlds are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A random subset of the faults at random strengths. Damage stays within the budget: fewer than
    /// half of the nodes lose or damage what they had synced, so the cluster must go on.
    #[default]
    Swarm,
    /// 3 nodes, 4 clients, 200 operations, every fault on. What speed is measured with.
    Standard,
    /// Damage beyond the budget, up to all nodes but one. The cluster may stop. It must not lie.
    Beyond,
    /// Disks lie about the last writes before a crash, which no log can tell from a torn write. What
    /// was acknowledged does get lost; this profile shows that the judges see it.
    Lying,
}

/// One world's knobs. Times are in nanoseconds, rates in a million.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Replicas.
    pub nodes: u64,
    /// Actors in each namespace.
    pub actors: u64,
    /// Namespaces, each a Raft group.
    pub namespaces: u64,
    /// When the faults stop at the latest.
    pub safety_ns: u64,
    /// Longest time between an input's arrival and the step that takes it.
    pub turn_max: u64,
    /// Clients do all their jobs, also when the faults have stopped.
    pub all_jobs: bool,
    /// Clients may read under a lease: no monotonic clock jumps, and none is further off than the
    /// lease allows.
    pub lease_reads: bool,
    /// Nodes that may lose or damage what they had synced.
    pub damage_max: u64,
    /// How long a leader waits for a lost data folder, in milliseconds.
    pub join_silence_ms: u64,
    /// Damage may concern what nothing attests yet.
    pub disks_lie: bool,
    /// When the log is cut, and how much of it stays.
    pub log: LogSizes,
    /// Which changes stay.
    #[serde(default = "Retention::production")]
    pub retention: Retention,
    /// The newest changes that a node keeps for subscribers that are level.
    #[serde(default)]
    pub tail_changes: u64,
    /// Subscribers of each namespace.
    #[serde(default)]
    pub subscribers: u64,
    /// Where each namespace keeps its rows.
    pub storage: Vec<Storage>,
    /// What the network does.
    pub weather: Weather,
    /// Each node's disk.
    pub disks: Vec<Latency>,
    /// When each node starts for the first time.
    pub starts: Vec<u64>,
    /// Each node's clock: ticks in a true million, and wall time ahead in milliseconds.
    pub clocks: Vec<(u64, i64)>,
    /// Steps that die between two effects.
    pub crash_mid_turn_ppm: u64,
    /// Syncs at which the node dies.
    pub crash_at_io_ppm: u64,
    /// Operations on files at which the node dies.
    pub crash_at_file_ppm: u64,
    /// Crashes that kill only the process: what it had written is still in the page cache.
    pub process_kill_ppm: u64,
    /// Starts that die while the node recovers.
    pub crash_in_recovery_ppm: u64,
    /// Crashes that keep some of the unsynced pages.
    pub torn_write_ppm: u64,
    /// Requests that are lost on the way to a node.
    pub request_loss_ppm: u64,
    /// Answers that are lost on the way to a client.
    pub reply_loss_ppm: u64,
    /// Operations whose client gives up while the outcome is unknown.
    pub abandon_ppm: u64,
}

/// The shape of the work and of the nemesis: drawn with the plan, spent in drawing the schedule.
pub struct Work {
    /// Clients.
    pub clients: u64,
    /// Operations of each.
    pub operations: u64,
    /// Longest pause of a client between two operations.
    pub think_max: u64,
    /// Longest pause of the nemesis between two acts; 0 is no nemesis.
    pub nemesis_pause_max: u64,
    /// The weight of each kind of act, in the order of [`crate::acts::Kind::ALL`].
    pub weights: Vec<u64>,
}

pub(crate) const MICRO: u64 = 1_000;
pub(crate) const MILLI: u64 = 1_000_000;

impl Plan {
    /// The knobs of `seed`'s world.
    pub fn draw(seed: Seed, profile: Profile) -> (Plan, Work) {
        let rng = &mut seed.child("plan").rng();
        let standard = profile == Profile::Standard;
        let nodes = if standard || rng.ppm(750_000) { 3 } else { 5 };
        let minority = (nodes - 1) / 2;
        let mut on = |share: u64, low: u64, high: u64| {
            let (coin, strength) = (rng.ppm(share), rng.between(low, high));
            if standard || coin { strength } else { 0 }
        };
        let chances = [
            on(300_000, 50, 1_000),
            on(300_000, 100, 3_000),
            on(400_000, 10_000, 300_000),
            on(700_000, 200_000, 900_000),
            on(500_000, 1_000, 50_000),
            on(700_000, 1_000, 100_000),
            on(500_000, 10_000, 300_000),
            on(500_000, 500, 10_000),
            on(600_000, 100_000, 600_000),
        ];
        let late = on(300_000, 1, 2_000) * MILLI;
        let plan = Plan {
            starts: (1..=nodes).map(|node| if node == nodes { late } else { 0 }).collect(),
            nodes,
            actors: rng.between(1, 4),
            namespaces: if standard { 1 } else { rng.between(1, 2) },
            safety_ns: rng.between(2_000, 6_000) * MILLI,
            turn_max: rng.between(2, 200) * MICRO,
            all_jobs: standard,
            lease_reads: !standard && rng.ppm(800_000),
            damage_max: match profile {
                Profile::Swarm | Profile::Standard => minority,
                Profile::Beyond | Profile::Lying => nodes - 1,
            },
            join_silence_ms: rng.between(600, 2_000),
            disks_lie: profile == Profile::Lying,
            log: Plan::log(rng),
            retention: Plan::retention(&mut seed.child("retention").rng()),
            tail_changes: seed.child("tail").rng().below(40),
            subscribers: seed.child("subscribers").rng().between(1, 3),
            storage: (0..NAMESPACES.len()).map(|_| Plan::storage(rng)).collect(),
            weather: Plan::weather(rng, standard),
            disks: (0..nodes).map(|_| Plan::disk(rng)).collect(),
            clocks: (0..nodes).map(|_| Plan::clock(rng)).collect(),
            crash_mid_turn_ppm: chances[0],
            crash_at_io_ppm: chances[1],
            crash_in_recovery_ppm: chances[2],
            torn_write_ppm: chances[3],
            request_loss_ppm: chances[4],
            reply_loss_ppm: chances[5],
            abandon_ppm: chances[6],
            crash_at_file_ppm: chances[7],
            process_kill_ppm: chances[8],
        };
        let mut work = Plan::work(rng, profile);
        if plan.lease_reads {
            let kinds = crate::acts::Kind::ALL.iter().zip(&mut work.weights);
            kinds.filter(|(kind, _)| kind.jumps()).for_each(|(_, weight)| *weight = 0);
        }
        (plan, work)
    }

    fn work(rng: &mut Rng, profile: Profile) -> Work {
        let strength = rng.between(1, 20);
        let think_max = rng.between(1, 30) * MILLI;
        let no_nemesis = rng.ppm(50_000);
        let (clients, operations) = (rng.between(2, 6), rng.between(20, 80));
        let weights = crate::acts::Kind::ALL.iter().map(|kind| {
            let on = rng.ppm(600_000);
            let wanted = match profile {
                Profile::Standard => true,
                Profile::Swarm => on,
                Profile::Beyond | Profile::Lying => on || kind.damages(),
            };
            let often = match (profile, kind) {
                (Profile::Lying, crate::acts::Kind::LoseWrite) => 40,
                (Profile::Beyond, kind) if kind.damages() => 4,
                _ => 1,
            };
            if wanted { kind.weight() * often } else { 0 }
        });
        let weights = weights.collect();
        match profile {
            Profile::Standard => Work {
                clients: 4,
                operations: 50,
                think_max: 20 * MILLI,
                nemesis_pause_max: 600 * MILLI,
                weights,
            },
            Profile::Swarm | Profile::Beyond | Profile::Lying => {
                let calm = no_nemesis && profile == Profile::Swarm;
                let nemesis_pause_max = if calm { 0 } else { 40 * MILLI * strength };
                Work { clients, operations, think_max, nemesis_pause_max, weights }
            }
        }
    }

    /// The cluster as its nodes see it.
    pub fn cluster(&self) -> ClusterConfig {
        let namespace = |&name: &&str| Namespace::new(name).expect("names_are_legal");
        let namespaces = NAMESPACES.iter().take(usize::try_from(self.namespaces).unwrap_or(1));
        ClusterConfig {
            cluster: ClusterId("sim".to_owned()),
            nodes: (1..=self.nodes).map(NodeId).collect(),
            namespaces: namespaces.map(namespace).collect(),
            storage: self.outside().map(|(_, name)| (name, Storage::Backend)).collect(),
            timing: Timing {
                join_silence: Duration::from_millis(self.join_silence_ms),
                ..Timing::production()
            },
            log: self.log.clone(),
            retention: self.retention.clone(),
        }
    }

    /// The namespaces whose rows are outside the core, with their groups.
    pub fn outside(&self) -> impl Iterator<Item = (GroupId, Namespace)> {
        let all = NAMESPACES.iter().take(usize::try_from(self.namespaces).unwrap_or(1));
        let outside = (1..).zip(all).zip(&self.storage);
        outside.filter(|(_, storage)| **storage == Storage::Backend).map(|((group, name), _)| {
            (GroupId(group), Namespace::new(*name).expect("names_are_legal"))
        })
    }

    /// Small enough that most runs begin and remove segments, make checkpoints and send snapshots.
    fn log(rng: &mut Rng) -> LogSizes {
        LogSizes {
            segment_bytes: 4096 << rng.below(3),
            checkpoint_bytes: 1024 << rng.below(5),
            checkpoint_entries: rng.between(10, 100),
            keep_entries: rng.below(17),
            keep_bytes: rng.below(4) * 1024,
        }
    }

    /// Small enough that most runs forget some changes, and large enough that not all do.
    fn retention(rng: &mut Rng) -> Retention {
        Retention {
            memory_bytes: 2048 << rng.below(6),
            backend_bytes: 2048 << rng.below(6),
            age: match rng.below(2) {
                0 => Retention::production().age,
                _ => Duration::from_millis(rng.between(500, 10_000)),
            },
        }
    }

    fn storage(rng: &mut Rng) -> Storage {
        if rng.ppm(400_000) { Storage::Backend } else { Storage::Memory }
    }

    fn weather(rng: &mut Rng, all: bool) -> Weather {
        let latency_min = rng.between(20, 1_000) * MICRO;
        let on = |rng: &mut Rng, max: u64| {
            let (coin, rate) = (rng.ppm(600_000), rng.between(100, max));
            if coin || all { rate } else { 0 }
        };
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
        let ppm = if rng.ppm(300_000) { TRUE_RATE } else { rng.between(950_000, 1_050_000) };
        let wall = i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000;
        (ppm, wall)
    }
}

/// The namespaces' names, in the order of their groups.
pub const NAMESPACES: [&str; 2] = ["carts", "users"];
/// Ticks in a million of a clock that is right.
pub const TRUE_RATE: u64 = 1_000_000;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
        let micros = |ns: u64| format!("{} µs", ns / MICRO);
        let weather = &self.weather;
        writeln!(
            f,
            "network {} to {}, loss {}, twice {}, held up {} by {} ms; requests lost {}, replies {}",
            micros(weather.latency_min),
            micros(weather.latency_max),
            percent(weather.loss_ppm),
            percent(weather.duplicate_ppm),
            percent(weather.delay_ppm),
            weather.delay_max / MILLI,
            percent(self.request_loss_ppm),
            percent(self.reply_loss_ppm),
        )?;
        let disks: Vec<_> = self
            .disks
            .iter()
            .map(|disk| format!("{}-{}", disk.min / MICRO, disk.max / MICRO))
            .collect();
        let LogSizes { segment_bytes, checkpoint_bytes, checkpoint_entries, .. } = self.log;
        let outside: Vec<_> = self.outside().map(|(_, name)| name.to_string()).collect();
        writeln!(
            f,
            "changes stay up to {} or {} bytes, for {} ms; segments of {segment_bytes} bytes, checkpoints each {checkpoint_bytes} bytes or \
             {checkpoint_entries} entries, {} entries or {} bytes stay; in a store: {}",
            self.retention.memory_bytes,
            self.retention.backend_bytes,
            self.retention.age.as_millis(),
            self.log.keep_entries,
            self.log.keep_bytes,
            if outside.is_empty() { "none".to_owned() } else { outside.join(", ") }
        )?;
        let clocks: Vec<_> = self.clocks.iter().map(|(rate, _)| rate.to_string()).collect();
        writeln!(
            f,
            "syncs in µs {}; clock ticks in a true million {}",
            disks.join(", "),
            clocks.join(", ")
        )?;
        write!(
            f,
            "dies between effects {}, at a sync {}, at a file {}, in recovery {}; torn writes {} of \
             crashes, {} kill the process only; damaged disks {} at most",
            percent(self.crash_mid_turn_ppm),
            percent(self.crash_at_io_ppm),
            percent(self.crash_at_file_ppm),
            percent(self.crash_in_recovery_ppm),
            percent(self.torn_write_ppm),
            percent(self.process_kill_ppm),
            self.damage_max,
        )
    }
}
