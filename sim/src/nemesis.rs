//! The nemesis: one task that does harm on purpose, as the schedule says, while the faults are on.

use std::rc::Rc;

use understudy_core::NodeId;

use crate::acts::{Act, TimedAct, Whom};
use crate::faults::Fault;
use crate::plan::MILLI;
use crate::stage::Stage;

/// Does harm.
pub struct Nemesis {
    stage: Rc<Stage>,
    acts: Vec<TimedAct>,
}

impl Nemesis {
    /// A nemesis that does `acts`.
    pub fn new(stage: &Rc<Stage>, acts: &[TimedAct]) -> Nemesis {
        Nemesis { stage: Rc::clone(stage), acts: acts.to_vec() }
    }

    /// Works until the faults stop.
    pub async fn work(self) {
        for TimedAct { at_ns, act } in &self.acts {
            let now = self.stage.world().now();
            self.stage.sleep(at_ns.saturating_sub(now)).await;
            if self.is_over() {
                return;
            }
            // What the atlas may refuse is announced when it is done.
            if !matches!(
                act,
                Act::DamageDisk { .. } | Act::DamageStore { .. } | Act::WipeDisk { .. }
            ) {
                self.announce(act);
            }
            self.act(act).await;
        }
    }

    fn announce(&self, act: &Act) {
        let node = act.nodes().first().copied().filter(|_| act.nodes().len() == 1);
        self.stage.world().announce(node.unwrap_or(0), || act.to_string());
    }

    fn is_over(&self) -> bool {
        let world = self.stage.world();
        world.is_calm() || world.is_over()
    }

    async fn act(&self, act: &Act) {
        match act {
            Act::LeaderBounce { wait_ms, then_ns, down_ns } => {
                self.bounce_leader(*wait_ms, *then_ns, *down_ns).await;
            }
            Act::CrashAll { wait_ms, then_ns, nodes } => {
                self.crash_all(*wait_ms, *then_ns, nodes).await;
            }
            Act::Flap { from, to, both_ways, cut_ns, open_ns, times } => {
                self.stage.world().fired(Fault::Flapping);
                for _ in 0..*times {
                    if self.is_over() {
                        return;
                    }
                    self.stage.world().cut(from, to, *both_ways, *cut_ns);
                    self.stage.sleep(cut_ns + open_ns).await;
                }
            }
            Act::DamageDisk { node, lane, lie, place, restart_after_ns, down_ns } => {
                if self.stage.world().damage_disk(NodeId(*node), *lane, *lie, *place) {
                    self.restart_damaged(act, NodeId(*node), *restart_after_ns, *down_ns).await;
                }
            }
            Act::DamageStore { node, restart_after_ns, down_ns } => {
                if self.stage.world().damage_store(NodeId(*node)) {
                    self.restart_damaged(act, NodeId(*node), *restart_after_ns, *down_ns).await;
                }
            }
            Act::WipeDisk { node, down_ns } => {
                let wiped = self.stage.world().wipe_disk(NodeId(*node), *down_ns);
                if wiped {
                    self.announce(act);
                }
            }
            other => self.at_once(other),
        }
    }

    async fn restart_damaged(&self, act: &Act, node: NodeId, after: u64, down: u64) {
        self.announce(act);
        self.stage.sleep(after).await;
        if !self.is_over() {
            self.stage.world().crash_by(Fault::Crash, node, down);
        }
    }

    /// What takes no time.
    fn at_once(&self, act: &Act) {
        let leader = self.stage.world().leader();
        let who = |whom: &Whom| match whom {
            Whom::Node(node) => Some(NodeId(*node)),
            Whom::Leader => leader,
        };
        let mut world = self.stage.world();
        match act {
            Act::Crash { node, down_ns } => {
                world.crash_by(Fault::Crash, NodeId(*node), *down_ns);
            }
            Act::Cut { from, to, both_ways, lasts_ns } => {
                world.cut(from, to, *both_ways, *lasts_ns);
            }
            Act::Isolate { whom, both_ways, lasts_ns } => {
                if let Some(node) = who(whom) {
                    let others: Vec<u64> = world.ids().iter().map(|id| id.0).collect();
                    world.cut(&[node.0], &others, *both_ways, *lasts_ns);
                }
            }
            Act::SlowLink { from, to, extra_ns, lasts_ns } => {
                world.slow_link(NodeId(*from), NodeId(*to), *extra_ns, *lasts_ns);
            }
            Act::LatencySpike { extra_ns, lasts_ns } => world.latency_spike(*extra_ns, *lasts_ns),
            Act::Pause { whom, lasts_ns } => {
                who(whom).into_iter().for_each(|node| world.pause(node, *lasts_ns));
            }
            Act::SlowDisk { whom, latency, lasts_ns } => {
                who(whom).into_iter().for_each(|node| world.slow_disk(node, *latency, *lasts_ns));
            }
            Act::StallDisk { whom, lasts_ns } => {
                who(whom).into_iter().for_each(|node| world.stall_disk(node, *lasts_ns));
            }
            Act::FailDisk { whom, lane, fail } => {
                who(whom).into_iter().for_each(|node| world.fail_disk(node, *lane, *fail));
            }
            Act::FailStore { whom } => {
                who(whom).into_iter().for_each(|node| world.fail_store(node));
            }
            Act::FillDisk { node, lane, lasts_ns } => {
                world.fill_disk(NodeId(*node), *lane, *lasts_ns);
            }
            Act::JumpWall { node, by_ms } => world.jump_wall(NodeId(*node), *by_ms),
            Act::JumpClock { node, by_ns } => world.jump_clock(NodeId(*node), *by_ns),
            Act::SetRate { node, ppm } => world.set_rate(NodeId(*node), *ppm),
            Act::LeaderBounce { .. }
            | Act::CrashAll { .. }
            | Act::Flap { .. }
            | Act::WipeDisk { .. }
            | Act::DamageDisk { .. }
            | Act::DamageStore { .. } => {}
        }
    }

    /// The worst moment for a leader to die is when others may count what it has not synced; the
    /// worst moment to come back is before they have given it up.
    async fn bounce_leader(&self, wait_ms: u64, then_ns: u64, down_ns: u64) {
        let leader = self.stage.world().leader();
        let Some(leader) = leader else { return };
        self.wait_for_unsynced(leader, wait_ms).await;
        self.stage.sleep(then_ns).await;
        if !self.is_over() {
            let mut world = self.stage.world();
            world.crash_by(Fault::LeaderBounce, leader, down_ns);
        }
    }

    async fn crash_all(&self, wait_ms: u64, then_ns: u64, nodes: &[(u64, u64)]) {
        let leader = self.stage.world().leader();
        if let Some(leader) = leader {
            self.wait_for_unsynced(leader, wait_ms).await;
        }
        self.stage.sleep(then_ns).await;
        if !self.is_over() {
            let mut world = self.stage.world();
            world.fired(Fault::CrashAll);
            for &(node, down_ns) in nodes {
                world.crash(NodeId(node), down_ns);
            }
        }
    }

    async fn wait_for_unsynced(&self, node: NodeId, wait_ms: u64) {
        for _ in 0..wait_ms {
            {
                let world = self.stage.world();
                let waits = world.nodes().iter().any(|n| n.id == node && n.has_unsynced());
                if waits || world.is_over() {
                    return;
                }
            }
            self.stage.sleep(MILLI).await;
        }
    }
}
