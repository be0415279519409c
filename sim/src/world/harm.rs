//! What the nemesis can do to the world.

use understudy_core::{GroupId, NodeId};

use super::{World, place};
use crate::faults::Fault;
use crate::files::{Fail, Lane, Latency, Lie};
use crate::plan::Plan;

impl World {
    /// `node` dies of `fault` and starts again after a while, if it is up.
    pub fn crash_by(&mut self, fault: Fault, node: NodeId, start_after: u64) {
        if self.nodes[place(node)].is_up() {
            self.counts.fired(fault);
            self.crash(node, start_after);
        }
    }

    /// `node`'s process stands still for a while.
    pub fn pause(&mut self, node: NodeId, lasts: u64) {
        self.counts.fired(Fault::Pause);
        self.nodes[place(node)].paused_until = self.now + lasts;
    }

    /// `node`'s disk is slow for a while.
    pub fn slow_disk(&mut self, node: NodeId, latency: Latency, lasts: u64) {
        self.counts.fired(Fault::SlowDisk);
        self.nodes[place(node)].disk.slow_down(latency, self.now + lasts);
    }

    /// No sync of `node` ends for a while.
    pub fn stall_disk(&mut self, node: NodeId, lasts: u64) {
        self.counts.fired(Fault::StalledDisk);
        self.nodes[place(node)].disk.stall(self.now + lasts);
        self.plan_disk(node);
    }

    /// `node`'s disk takes no writes for a while, or only those of the log.
    pub fn fill_disk(&mut self, node: NodeId, lane: Lane, lasts: u64) {
        self.nodes[place(node)].disk.fill_up(lane, self.now + lasts);
    }

    /// `node`'s next write or sync fails.
    pub fn fail_disk(&mut self, node: NodeId, lane: Lane, fail: Fail) {
        self.nodes[place(node)].disk.fail_next(lane, fail);
    }

    /// The next write or flush of `node`'s store fails, while this process lives. A start that fails
    /// would only be tried again.
    pub fn fail_store(&mut self, node: NodeId) {
        if self.nodes[place(node)].is_up() {
            self.nodes[place(node)].rows.store.fail_next();
        }
    }

    /// `node`'s disk lies, if the atlas allows it.
    pub fn damage_disk(&mut self, node: NodeId, lane: Lane, lie: Lie, value: u64) -> bool {
        let allowed = self.may_damage(node);
        if allowed {
            self.nodes[place(node)].disk.lie(lie, lane, value, &mut self.counts);
        }
        allowed
    }

    /// `node`'s store is damaged, if there is one and the atlas allows it.
    pub fn damage_store(&mut self, node: NodeId) -> bool {
        let allowed = self.plan.outside().next().is_some() && self.may_damage(node);
        if allowed {
            self.nodes[place(node)].rows.store.set_damaged(true);
        }
        allowed
    }

    /// `node` comes back with an empty disk, if the atlas allows it.
    pub fn wipe_disk(&mut self, node: NodeId, down: u64) -> bool {
        // With all nodes wiped there would be a new cluster, which nothing tells from the old one.
        let others = self.nodes.iter().any(|other| other.id != node && other.is_intact());
        let allowed = others && self.may_damage(node);
        if allowed {
            self.counts.fired(Fault::WipedDisk);
            if self.nodes[place(node)].is_up() {
                self.kill(node);
            }
            let plan: &Plan = &self.plan;
            self.nodes[place(node)].wipe(plan, false);
            self.start_later(node, down);
        }
        allowed
    }

    /// Nothing is damaged before every group has committed its members: until then the node that
    /// begins groups is needed.
    fn may_damage(&mut self, node: NodeId) -> bool {
        let begun = |group: &GroupId| self.committed.highest(*group).is_some();
        self.groups().iter().all(begun) && self.atlas.allows(node)
    }

    /// `node`'s wall clock jumps.
    pub fn jump_wall(&mut self, node: NodeId, by_ms: i64) {
        self.counts.fired(Fault::WallJump);
        self.nodes[place(node)].clock.jump_wall(by_ms);
    }

    /// `node`'s monotonic clock jumps ahead.
    pub fn jump_clock(&mut self, node: NodeId, by_ns: u64) {
        self.counts.fired(Fault::ClockJump);
        let now = self.now;
        self.nodes[place(node)].clock.jump_mono(now, by_ns);
        self.plan_wake(node);
    }

    /// `node`'s clocks change their rate.
    pub fn set_rate(&mut self, node: NodeId, ppm: u64) {
        self.counts.fired(Fault::ClockSkew);
        let now = self.now;
        self.nodes[place(node)].clock.set_rate(now, ppm);
        self.plan_wake(node);
    }

    /// Cuts links for a while.
    pub fn cut(&mut self, from: &[u64], to: &[u64], both_ways: bool, lasts: u64) {
        let until = self.now + lasts;
        self.network.cut(from, to, until);
        if both_ways {
            self.network.cut(to, from, until);
        }
        let all = from.len() + to.len() >= self.nodes.len();
        self.counts.fired(match (both_ways, all) {
            (false, _) => Fault::OneWay,
            (true, true) => Fault::Partition,
            (true, false) => Fault::PartialCut,
        });
    }

    /// One link is slow for a while.
    pub fn slow_link(&mut self, from: NodeId, to: NodeId, extra: u64, lasts: u64) {
        self.counts.fired(Fault::SlowLink);
        self.network.slow_link(from, to, extra, self.now + lasts);
    }

    /// Every link is slow for a while.
    pub fn latency_spike(&mut self, extra: u64, lasts: u64) {
        self.counts.fired(Fault::LatencySpike);
        self.network.spike(extra, self.now + lasts);
    }

    /// A fault that the nemesis counts itself.
    pub fn fired(&mut self, fault: Fault) {
        self.counts.fired(fault);
    }

    /// Tells the trace's reader what the nemesis does.
    pub fn announce(&mut self, node: u64, text: impl FnOnce() -> String) {
        self.note_fault(node, text);
    }
}
