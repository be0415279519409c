//! The nemesis: one task that does harm on purpose while the faults are on.

use std::rc::Rc;

use understudy_core::{NodeId, Rng, Seed};

use crate::disk::Latency;
use crate::faults::Fault;
use crate::plan::{Act, Plan};
use crate::stage::Stage;

const MILLI: u64 = 1_000_000;

/// Draws and does harm.
pub struct Nemesis {
    stage: Rc<Stage>,
    plan: Plan,
    rng: Rng,
}

impl Nemesis {
    /// A nemesis with a stream of numbers of its own.
    pub fn new(stage: &Rc<Stage>, plan: &Plan, seed: Seed) -> Nemesis {
        let rng = seed.child("nemesis").rng();
        Nemesis { stage: Rc::clone(stage), plan: plan.clone(), rng }
    }

    /// Works until the faults stop.
    pub async fn work(mut self) {
        let weights: u64 = self.plan.acts.iter().sum();
        if self.plan.nemesis_pause_max == 0 || weights == 0 {
            return;
        }
        loop {
            let pause = self.rng.between(5 * MILLI, self.plan.nemesis_pause_max);
            self.stage.sleep(pause).await;
            {
                let world = self.stage.world();
                if world.is_calm() || world.is_over() {
                    return;
                }
            }
            let mut draw = self.rng.below(weights);
            let drawn = Act::ALL.into_iter().zip(self.plan.acts).find(|&(_, weight)| {
                let hit = draw < weight;
                draw = draw.saturating_sub(weight);
                hit
            });
            if let Some((act, _)) = drawn {
                self.act(act).await;
            }
        }
    }

    async fn act(&mut self, act: Act) {
        let node = NodeId(self.rng.between(1, self.plan.nodes));
        match act {
            Act::Crash => {
                let down = self.down_time();
                let mut world = self.stage.world();
                world.counts.fired(Fault::Crash);
                world.crash(node, down);
            }
            Act::LeaderBounce => self.bounce_leader().await,
            Act::CrashAll => self.crash_many().await,
            Act::Partition | Act::OneWay => {
                let (some, others) = self.split();
                let lasts = self.rng.between(50, 1_500) * MILLI;
                self.stage.world().cut(&some, &others, act == Act::Partition, lasts);
            }
            Act::Pause => {
                let lasts = self.rng.between(20, 700) * MILLI;
                self.stage.world().pause(node, lasts);
            }
            Act::SlowDisk => {
                let leader = self.stage.world().leader();
                let node = leader.filter(|_| self.rng.ppm(500_000)).unwrap_or(node);
                let min = self.rng.between(5, 80) * MILLI;
                let latency = Latency { min, max: min + self.rng.between(1, 150) * MILLI };
                let lasts = self.rng.between(100, 1_500) * MILLI;
                self.stage.world().slow_disk(node, latency, lasts);
            }
            Act::FailSync => self.stage.world().fail_sync(node),
            Act::WallJump => {
                // Now and then days ahead: what one node takes for the time must not age what all
                // of them remember.
                let days = if self.rng.ppm(300_000) { self.rng.between(1, 3) } else { 0 };
                let ahead = days * 24 * 60 * 60 * 1_000 + self.rng.below(240_000);
                let by_ms = i64::try_from(ahead).unwrap_or(0) - 120_000;
                self.stage.world().jump_wall(node, by_ms);
            }
        }
    }

    /// The worst moment for a leader to die is when others may count what it has not synced; the
    /// worst moment to come back is before they have given it up.
    async fn bounce_leader(&mut self) {
        let leader = self.stage.world().leader();
        let Some(leader) = leader else { return };
        self.wait_for_unsynced(leader).await;
        let down = self.rng.between(MILLI, 30 * MILLI);
        let mut world = self.stage.world();
        if world.is_calm() || world.is_over() {
            return;
        }
        world.counts.fired(Fault::LeaderBounce);
        world.crash(leader, down);
    }

    async fn crash_many(&mut self) {
        let leader = self.stage.world().leader();
        if let Some(leader) = leader {
            self.wait_for_unsynced(leader).await;
        }
        let mut nodes = self.stage.world().ids();
        if self.rng.ppm(300_000) {
            let survivor = self.rng.below(nodes.len() as u64) as usize;
            nodes.remove(survivor);
        }
        let quick = self.rng.ppm(500_000);
        let mut world = self.stage.world();
        if world.is_calm() || world.is_over() {
            return;
        }
        world.counts.fired(Fault::CrashAll);
        for node in nodes {
            let down = self.rng.between(1, if quick { 20 } else { 400 }) * MILLI;
            world.crash(node, down);
        }
    }

    async fn wait_for_unsynced(&mut self, node: NodeId) {
        for _ in 0..self.rng.below(60) {
            {
                let world = self.stage.world();
                let waits = world.nodes().iter().any(|n| n.id == node && n.has_unsynced());
                if waits || world.is_over() {
                    break;
                }
            }
            self.stage.sleep(MILLI).await;
        }
        // Long enough for followers to have answered.
        let more = self.rng.below(4) * MILLI;
        self.stage.sleep(more).await;
    }

    fn down_time(&mut self) -> u64 {
        match self.rng.below(3) {
            0 => self.rng.between(1, 20) * MILLI,
            1 => self.rng.between(20, 300) * MILLI,
            _ => self.rng.between(300, 1_500) * MILLI,
        }
    }

    /// Some nodes and the others; now and then a single link.
    fn split(&mut self) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut nodes = self.stage.world().ids();
        for place in (1..nodes.len()).rev() {
            nodes.swap(place, self.rng.below(place as u64 + 1) as usize);
        }
        if self.rng.ppm(250_000) {
            return (vec![nodes[0]], vec![nodes[1]]);
        }
        let some = self.rng.between(1, nodes.len() as u64 - 1) as usize;
        let others = nodes.split_off(some);
        (nodes, others)
    }
}
