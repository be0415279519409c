//! What the nemesis does on purpose: each act with its time and everything about it decided.

use std::fmt;

use serde::{Deserialize, Serialize};
use understudy_core::{Rng, Seed};

use crate::files::{Fail, Lane, Latency, Lie};
use crate::plan::{MILLI, Plan, TRUE_RATE, Work};

/// An act and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimedAct {
    /// True time since the world began; later if the act before takes longer.
    pub at_ns: u64,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
}

/// Whom an act concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// This node.
    Node(u64),
    /// A node that says it leads some group, when the time has come.
    Leader,
}

/// One act. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The fields say what they are.
pub enum Act {
    /// Kill a node, start it again.
    Crash { node: u64, down_ns: u64 },
    /// Wait until the leader has unsynced writes and a bit longer, kill it, start it soon.
    LeaderBounce { wait_ms: u64, then_ns: u64, down_ns: u64 },
    /// The same, with several or all nodes: each with the time it is down.
    CrashAll { wait_ms: u64, then_ns: u64, nodes: Vec<(u64, u64)> },
    /// Cut the links from some nodes to others; and back, if both ways.
    Cut { from: Vec<u64>, to: Vec<u64>, both_ways: bool, lasts_ns: u64 },
    /// Cut a node off from all others.
    Isolate { whom: Whom, both_ways: bool, lasts_ns: u64 },
    /// Cut links, coming and going.
    Flap { from: Vec<u64>, to: Vec<u64>, both_ways: bool, cut_ns: u64, open_ns: u64, times: u64 },
    /// One link is slow for a while.
    SlowLink { from: u64, to: u64, extra_ns: u64, lasts_ns: u64 },
    /// Every link is.
    LatencySpike { extra_ns: u64, lasts_ns: u64 },
    /// A process stands still for a while.
    Pause { whom: Whom, lasts_ns: u64 },
    /// A disk is slow for a while.
    SlowDisk { whom: Whom, latency: Latency, lasts_ns: u64 },
    /// A disk ends no sync for a while.
    StallDisk { whom: Whom, lasts_ns: u64 },
    /// A disk takes no writes for a while; in the files' lane, no new bytes: the log has its space.
    FillDisk { node: u64, lane: Lane, lasts_ns: u64 },
    /// A disk fails the next write or sync.
    FailDisk { whom: Whom, lane: Lane, fail: Fail },
    /// A disk lies, and then the node restarts so that it is seen.
    DamageDisk { node: u64, lane: Lane, lie: Lie, place: u64, restart_after_ns: u64, down_ns: u64 },
    /// A store fails the next write or flush.
    FailStore { whom: Whom },
    /// A store finds that it is damaged, and then the node restarts, if it still runs.
    DamageStore { node: u64, restart_after_ns: u64, down_ns: u64 },
    /// A node comes back with an empty disk, under a new incarnation.
    WipeDisk { node: u64, down_ns: u64 },
    /// A node's wall clock jumps.
    JumpWall { node: u64, by_ms: i64 },
    /// A node's monotonic clock jumps ahead.
    JumpClock { node: u64, by_ns: u64 },
    /// A node's clocks change their rate: ticks in a true million.
    SetRate { node: u64, ppm: u64 },
}

macro_rules! kinds {
    ($($variant:ident $weight:literal,)*) => {
        /// The kinds of act a plan switches on and off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // Named as the acts are.
        pub enum Kind { $($variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// How often it is drawn, if it is on.
            pub fn weight(self) -> u64 {
                match self { $(Kind::$variant => $weight,)* }
            }
        }
    };
}

kinds! {
    Crash 8, LeaderBounce 8, CrashAll 6,
    Partition 5, OneWay 4, PartialCut 3, Isolate 5, Flap 3, SlowLink 3, LatencySpike 2,
    Pause 4, SlowDisk 4, StallDisk 2, FillDisk 2, FailWrite 2, FailSync 2,
    Rot 2, LoseWrite 2, MisdirectWrite 2, Wipe 2,
    JumpWall 4, JumpClock 2, SetRate 2,
    FailStore 2, DamageStore 2,
}

impl Kind {
    /// Whether a monotonic clock jumps.
    pub fn jumps(self) -> bool {
        matches!(self, Kind::JumpClock)
    }

    /// Whether it takes away what a node had synced.
    pub fn damages(self) -> bool {
        matches!(
            self,
            Kind::Rot | Kind::LoseWrite | Kind::MisdirectWrite | Kind::Wipe | Kind::DamageStore
        )
    }
}

/// The acts of a whole run.
pub fn draw(seed: Seed, plan: &Plan, work: &Work) -> Vec<TimedAct> {
    let rng = &mut seed.child("nemesis").rng();
    let total: u64 = work.weights.iter().sum();
    let mut acts = Vec::new();
    let mut at_ns = 0;
    if work.nemesis_pause_max == 0 || total == 0 {
        return acts;
    }
    loop {
        at_ns += rng.between(5 * MILLI, work.nemesis_pause_max);
        if at_ns > plan.safety_ns {
            return acts;
        }
        let mut place = rng.below(total);
        let drawn = Kind::ALL.iter().zip(&work.weights).find(|&(_, &weight)| {
            let hit = place < weight;
            place = place.saturating_sub(weight);
            hit
        });
        let (&kind, _) = drawn.expect("a_draw_below_the_sum_hits");
        acts.push(TimedAct { at_ns, act: Drawer { rng, plan }.act(kind) });
    }
}

struct Drawer<'a> {
    rng: &'a mut Rng,
    plan: &'a Plan,
}

impl Drawer<'_> {
    fn act(&mut self, kind: Kind) -> Act {
        let node = self.rng.between(1, self.plan.nodes);
        match kind {
            Kind::Crash => Act::Crash { node, down_ns: self.down() },
            Kind::LeaderBounce => {
                let (wait_ms, then_ns) = (self.rng.below(60), self.rng.below(4) * MILLI);
                Act::LeaderBounce { wait_ms, then_ns, down_ns: self.millis(1, 30) }
            }
            Kind::CrashAll => self.crash_all(),
            Kind::Partition => self.cut(true),
            Kind::OneWay => self.cut(false),
            Kind::PartialCut => {
                let (from, to) = self.pair();
                let lasts_ns = self.millis(50, 1_500);
                Act::Cut { from: vec![from], to: vec![to], both_ways: true, lasts_ns }
            }
            Kind::Isolate => {
                let both_ways = self.rng.ppm(700_000);
                Act::Isolate { whom: self.whom(node), both_ways, lasts_ns: self.millis(200, 1_500) }
            }
            Kind::Flap => {
                let (from, to) = self.split();
                let both_ways = self.rng.ppm(500_000);
                let (cut_ns, open_ns) = (self.millis(10, 300), self.millis(10, 300));
                let times = self.rng.between(2, 6);
                Act::Flap { from, to, both_ways, cut_ns, open_ns, times }
            }
            Kind::SlowLink => {
                let (from, to) = self.pair();
                let (extra_ns, lasts_ns) = (self.millis(5, 300), self.millis(50, 1_500));
                Act::SlowLink { from, to, extra_ns, lasts_ns }
            }
            Kind::LatencySpike => {
                let (extra_ns, lasts_ns) = (self.millis(5, 150), self.millis(20, 800));
                Act::LatencySpike { extra_ns, lasts_ns }
            }
            Kind::Pause => Act::Pause { whom: self.whom(node), lasts_ns: self.millis(20, 700) },
            Kind::SlowDisk => {
                let min = self.millis(5, 80);
                let latency = Latency { min, max: min + self.millis(1, 150) };
                Act::SlowDisk { whom: self.whom(node), latency, lasts_ns: self.millis(100, 1_500) }
            }
            Kind::StallDisk => {
                Act::StallDisk { whom: self.whom(node), lasts_ns: self.millis(100, 2_000) }
            }
            Kind::FillDisk => {
                Act::FillDisk { node, lane: self.lane(), lasts_ns: self.millis(20, 1_000) }
            }
            Kind::FailWrite => self.fail(node, Fail::Write),
            Kind::FailSync => self.fail(node, Fail::Sync),
            Kind::Rot => self.damage(node, Lie::Rot),
            Kind::LoseWrite => self.damage(node, Lie::LoseWrite),
            Kind::MisdirectWrite => self.damage(node, Lie::MisdirectWrite),
            Kind::Wipe => Act::WipeDisk { node, down_ns: self.down() },
            Kind::JumpWall => {
                // Now and then days ahead: what one node takes for the time must not age what all
                // of them remember.
                let days = if self.rng.ppm(500_000) { self.rng.between(1, 3) } else { 0 };
                let ahead = days * 24 * 60 * 60 * 1_000 + self.rng.below(240_000);
                Act::JumpWall { node, by_ms: i64::try_from(ahead).unwrap_or(0) - 120_000 }
            }
            Kind::JumpClock => Act::JumpClock { node, by_ns: self.millis(1, 3_000) },
            Kind::SetRate => Act::SetRate { node, ppm: self.rng.between(900_000, 1_100_000) },
            Kind::FailStore => Act::FailStore { whom: self.whom(node) },
            Kind::DamageStore => {
                let restart_after_ns = self.millis(0, 300);
                Act::DamageStore { node, restart_after_ns, down_ns: self.down() }
            }
        }
    }

    fn crash_all(&mut self) -> Act {
        let (wait_ms, then_ns) = (self.rng.below(60), self.rng.below(4) * MILLI);
        let mut nodes: Vec<u64> = (1..=self.plan.nodes).collect();
        if self.rng.ppm(300_000) {
            let survivor = self.rng.below(self.plan.nodes) as usize;
            nodes.remove(survivor);
        }
        let down_max = if self.rng.ppm(500_000) { 20 } else { 400 };
        let nodes = nodes.into_iter().map(|node| (node, self.millis(1, down_max))).collect();
        Act::CrashAll { wait_ms, then_ns, nodes }
    }

    fn cut(&mut self, both_ways: bool) -> Act {
        let (from, to) = self.split();
        Act::Cut { from, to, both_ways, lasts_ns: self.millis(50, 1_500) }
    }

    fn lane(&mut self) -> Lane {
        if self.rng.ppm(500_000) { Lane::Wal } else { Lane::Files }
    }

    fn fail(&mut self, node: u64, fail: Fail) -> Act {
        Act::FailDisk { whom: self.whom(node), lane: self.lane(), fail }
    }

    fn damage(&mut self, node: u64, lie: Lie) -> Act {
        // Soon, where a lie about the very last write is to be seen.
        let restart_after_max = if self.plan.disks_lie { 15 } else { 800 };
        let (place, restart_after_ns) = (self.rng.u64(), self.millis(0, restart_after_max));
        // What `lying` is about is the log.
        let lane = if self.plan.disks_lie { Lane::Wal } else { self.lane() };
        Act::DamageDisk { node, lane, lie, place, restart_after_ns, down_ns: self.down() }
    }

    fn millis(&mut self, low: u64, high: u64) -> u64 {
        self.rng.between(low, high) * MILLI
    }

    fn down(&mut self) -> u64 {
        match self.rng.below(3) {
            0 => self.millis(1, 20),
            1 => self.millis(20, 300),
            _ => self.millis(300, 1_500),
        }
    }

    fn whom(&mut self, node: u64) -> Whom {
        if self.rng.ppm(500_000) { Whom::Leader } else { Whom::Node(node) }
    }

    fn shuffled(&mut self) -> Vec<u64> {
        let mut nodes: Vec<u64> = (1..=self.plan.nodes).collect();
        for place in (1..nodes.len()).rev() {
            nodes.swap(place, self.rng.below(place as u64 + 1) as usize);
        }
        nodes
    }

    fn pair(&mut self) -> (u64, u64) {
        let nodes = self.shuffled();
        (nodes[0], nodes[1])
    }

    /// Some nodes and the others.
    fn split(&mut self) -> (Vec<u64>, Vec<u64>) {
        let mut nodes = self.shuffled();
        let some = self.rng.between(1, nodes.len() as u64 - 1) as usize;
        let others = nodes.split_off(some);
        (nodes, others)
    }
}

impl Act {
    /// The nodes it names.
    pub fn nodes(&self) -> Vec<u64> {
        match self {
            Act::Crash { node, .. }
            | Act::FillDisk { node, .. }
            | Act::DamageDisk { node, .. }
            | Act::DamageStore { node, .. }
            | Act::WipeDisk { node, .. }
            | Act::JumpWall { node, .. }
            | Act::JumpClock { node, .. }
            | Act::SetRate { node, .. } => vec![*node],
            Act::CrashAll { nodes, .. } => nodes.iter().map(|&(node, _)| node).collect(),
            Act::Cut { from, to, .. } | Act::Flap { from, to, .. } => [&from[..], to].concat(),
            Act::SlowLink { from, to, .. } => vec![*from, *to],
            Act::Pause { whom, .. }
            | Act::Isolate { whom, .. }
            | Act::SlowDisk { whom, .. }
            | Act::StallDisk { whom, .. }
            | Act::FailDisk { whom, .. }
            | Act::FailStore { whom } => match whom {
                Whom::Node(node) => vec![*node],
                Whom::Leader => Vec::new(),
            },
            Act::LeaderBounce { .. } | Act::LatencySpike { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Node(node) => write!(f, "N{node}"),
            Whom::Leader => f.write_str("the leader"),
        }
    }
}

fn of(lane: Lane) -> &'static str {
    match lane {
        Lane::Wal => "",
        Lane::Files => ", beside the log",
    }
}

fn nodes(nodes: &[u64]) -> String {
    nodes.iter().map(|node| format!("N{node}")).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: &u64| ns / MILLI;
        match self {
            Act::Crash { node, down_ns } => write!(f, "kill N{node}, down {} ms", ms(down_ns)),
            Act::LeaderBounce { down_ns, .. } => {
                write!(f, "kill the leader with unsynced writes, down {} ms", ms(down_ns))
            }
            Act::CrashAll { nodes, .. } => {
                let each = nodes.iter().map(|(node, down)| format!("N{node} {} ms", ms(down)));
                write!(f, "kill together, down: {}", each.collect::<Vec<_>>().join(", "))
            }
            Act::Cut { from, to, both_ways, lasts_ns } => {
                let way = if *both_ways { "from" } else { "towards" };
                write!(f, "cut {} off {way} {} for {} ms", nodes(from), nodes(to), ms(lasts_ns))
            }
            Act::Isolate { whom, both_ways, lasts_ns } => {
                let ways = if *both_ways { "is cut off from" } else { "cannot be heard by" };
                write!(f, "{whom} {ways} all others for {} ms", ms(lasts_ns))
            }
            Act::Flap { from, to, cut_ns, open_ns, times, both_ways } => write!(
                f,
                "cut {} off {} {}, {times} times for {} ms, {} ms apart",
                nodes(from),
                if *both_ways { "from" } else { "towards" },
                nodes(to),
                ms(cut_ns),
                ms(open_ns)
            ),
            Act::SlowLink { from, to, extra_ns, lasts_ns } => {
                write!(f, "N{from} to N{to} {} ms slower for {} ms", ms(extra_ns), ms(lasts_ns))
            }
            Act::LatencySpike { extra_ns, lasts_ns } => {
                write!(f, "all links {} ms slower for {} ms", ms(extra_ns), ms(lasts_ns))
            }
            Act::Pause { whom, lasts_ns } => write!(f, "stop {whom} for {} ms", ms(lasts_ns)),
            Act::SlowDisk { whom, latency, lasts_ns } => write!(
                f,
                "syncs of {whom} take {} to {} ms for {} ms",
                ms(&latency.min),
                ms(&latency.max),
                ms(lasts_ns)
            ),
            Act::StallDisk { whom, lasts_ns } => {
                write!(f, "no sync of {whom} ends for {} ms", ms(lasts_ns))
            }
            Act::FillDisk { node, lane, lasts_ns } => {
                write!(f, "the disk of N{node} is full for {} ms{}", ms(lasts_ns), of(*lane))
            }
            Act::FailDisk { whom, lane, fail: Fail::Write } => {
                write!(f, "the next write of {whom} fails{}", of(*lane))
            }
            Act::FailDisk { whom, lane, fail: Fail::Sync } => {
                write!(f, "the next sync of {whom} fails{}", of(*lane))
            }
            Act::DamageDisk { node, lie, lane, .. } => match lie {
                Lie::Rot => write!(f, "a bit on the disk of N{node} flips{}", of(*lane)),
                Lie::LoseWrite => {
                    write!(f, "the disk of N{node} loses a page of its next write{}", of(*lane))
                }
                Lie::MisdirectWrite => {
                    write!(f, "the disk of N{node} misdirects its next write{}", of(*lane))
                }
            },
            Act::FailStore { whom } => write!(f, "the next write of the store of {whom} fails"),
            Act::DamageStore { node, .. } => write!(f, "the store of N{node} is damaged"),
            Act::WipeDisk { node, .. } => write!(f, "N{node} comes back with an empty disk"),
            Act::JumpWall { node, by_ms } => write!(f, "N{node}'s wall clock jumps {by_ms} ms"),
            Act::JumpClock { node, by_ns } => {
                write!(f, "N{node}'s monotonic clock jumps {} ms ahead", ms(by_ns))
            }
            Act::SetRate { node, ppm } => {
                let off = ppm.abs_diff(TRUE_RATE) / 10_000;
                let word = if *ppm < TRUE_RATE { "slow" } else { "fast" };
                write!(f, "N{node}'s clocks run {off} % {word}")
            }
        }
    }
}
