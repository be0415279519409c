//! One node's life: start, turns, syncs, death.

use std::collections::BTreeSet;

use understudy_core::{
    Answer, Effect, Identity, Incarnation, Input, NodeId, Replica, RequestId, Response, Rng, Seed,
    Status, codec,
};

use super::{Happening, Heard, STEPS_MAX, World, place};
use crate::checks::{Class, Violation};
use crate::clock::Clock;
use crate::disk::{Disk, Latency};
use crate::faults::Fault;
use crate::plan::Plan;
use crate::words;

/// A replica and its machine.
pub struct Node {
    /// Who.
    pub id: NodeId,
    /// Counted up at every start and every death.
    pub(super) life: u64,
    /// Clients that wait for an answer.
    pub(super) waiting: BTreeSet<RequestId>,
    identity: Identity,
    replica: Option<Replica>,
    disk: Disk,
    clock: Clock,
    rng: Rng,
    seed: Seed,
    inbox: Vec<Input>,
    turn_due: bool,
    wake_at: Option<u64>,
    paused_until: u64,
    /// A sync failed in this life: the replica must end.
    sync_failed: bool,
    /// Bytes that were durable when the node died.
    synced: usize,
}

impl Node {
    /// A node as `init` leaves it.
    pub fn new(seed: Seed, plan: &Plan, id: NodeId) -> Node {
        let seed = seed.child(&format!("node/{id}"));
        let incarnation = Incarnation(seed.child("incarnation").0);
        let identity = Identity { cluster: plan.cluster().cluster, node: id, incarnation };
        let wal = Replica::format_wal(&identity);
        let (rate, wall_ahead) = plan.clocks[place(id)];
        Node {
            id,
            life: 0,
            waiting: BTreeSet::new(),
            identity,
            replica: None,
            synced: wal.len(),
            disk: Disk::new(wal, plan.disks[place(id)], seed.child("disk").rng()),
            clock: Clock::new(rate, wall_ahead),
            rng: seed.child("machine").rng(),
            seed,
            inbox: Vec::new(),
            turn_due: false,
            wake_at: None,
            paused_until: 0,
            sync_failed: false,
        }
    }

    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Its replica's own words.
    pub fn status(&self) -> Option<Status> {
        self.replica.as_ref().map(Replica::status)
    }

    /// Its replica.
    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Whether a crash could lose writes.
    pub fn has_unsynced(&self) -> bool {
        self.disk.has_unsynced()
    }

    pub(super) fn calm(&mut self) {
        self.disk.calm();
        self.paused_until = 0;
    }
}

impl World {
    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every node starts for the first time.
    pub fn start_all(&mut self) {
        for node in self.ids() {
            self.start(node);
        }
        self.kick();
    }

    /// `node` dies and starts again after a while.
    pub fn crash(&mut self, node: NodeId, start_after: u64) {
        if self.nodes[place(node)].is_up() {
            self.kill(node);
            let life = self.nodes[place(node)].life;
            self.schedule(self.now + start_after, Happening::Start { node, life });
            self.kick();
        }
    }

    /// `node`'s process stands still for a while.
    pub fn pause(&mut self, node: NodeId, pause: u64) {
        self.counts.fired(Fault::Pause);
        self.trace
            .line(self.now, node.0, '=', &[], || format!("stands for {} ms", pause / 1_000_000));
        self.nodes[place(node)].paused_until = self.now + pause;
    }

    /// `node`'s disk is slow for a while.
    pub fn slow_disk(&mut self, node: NodeId, latency: Latency, lasts: u64) {
        self.counts.fired(Fault::SlowDisk);
        self.trace.line(self.now, node.0, '=', &[], || {
            format!("syncs take {} to {} ms", latency.min / 1_000_000, latency.max / 1_000_000)
        });
        self.nodes[place(node)].disk.slow_down(latency, self.now + lasts);
    }

    /// `node`'s next sync fails.
    pub fn fail_sync(&mut self, node: NodeId) {
        self.nodes[place(node)].disk.fail_next_sync();
    }

    /// `node`'s wall clock jumps.
    pub fn jump_wall(&mut self, node: NodeId, by_ms: i64) {
        self.counts.fired(Fault::WallJump);
        self.trace.line(self.now, node.0, '=', &[], || format!("wall clock jumps {by_ms} ms"));
        self.nodes[place(node)].clock.jump_wall(by_ms);
    }

    pub(super) fn kill(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        node.replica = None;
        node.life += 1;
        node.inbox.clear();
        node.turn_due = false;
        node.wake_at = None;
        node.sync_failed = false;
        node.synced = node.disk.crash(&mut self.counts);
        let left = node.disk.image().wal.len();
        let (synced, waiting) = (node.synced, std::mem::take(&mut node.waiting));
        self.trace.line(self.now, id.0, '!', &left.to_le_bytes(), || {
            format!("dies; {synced} bytes of its log were synced, {left} are left")
        });
        self.committed.restarts(id);
        for request in waiting {
            // Some connections break at once, others just fall silent.
            if self.rng.ppm(700_000) {
                self.hear_later(request, Heard::Reset);
            }
        }
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[place(id)];
        node.life += 1;
        node.clock.reboot(now, &mut node.rng);
        let seed = node.seed.child(&format!("boot/{}", node.life));
        let image = node.disk.image();
        let (found, synced) = (image.wal.len(), node.synced);
        let recovered = Replica::recover(&self.cluster, &node.identity, seed, image);
        let replica = match recovered {
            Ok(replica) => replica,
            Err(error) => {
                let why = format!("N{id} does not start after a crash: {error}");
                return self.fail(Violation::safety("synced_bytes_survive", why));
            }
        };
        let kept = replica.wal_len();
        let node = &mut self.nodes[place(id)];
        node.replica = Some(replica);
        node.disk.truncate(kept);
        self.trace.line(now, id.0, '^', &kept.to_le_bytes(), || {
            format!("starts with {kept} of {found} bytes of log")
        });
        if kept < synced as u64 || kept > found as u64 {
            let why = format!("N{id} kept {kept} of {found} bytes, {synced} had been synced");
            return self.fail(Violation::safety("synced_bytes_survive", why));
        }
        self.totals.starts += 1;
        self.hand(id, Input::Wake);
    }

    /// `input` waits for the node's next turn.
    pub(super) fn hand(&mut self, id: NodeId, input: Input) {
        let node = &mut self.nodes[place(id)];
        node.inbox.push(input);
        if node.turn_due {
            return;
        }
        node.turn_due = true;
        let work = node.rng.between(1_000, self.plan.turn_max);
        let (at, life) = ((self.now + work).max(node.paused_until), node.life);
        self.schedule(at, Happening::Turn { node: id, life });
    }

    pub(super) fn wake(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        if node.life == life && node.wake_at.take_if(|at| *at == self.now).is_some() {
            self.hand(id, Input::Wake);
        }
    }

    pub(super) fn sync_done(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        if node.life != life {
            return;
        }
        let completions = node.disk.complete(self.now, &mut self.counts);
        node.sync_failed |= completions.iter().any(|(_, result)| result.is_err());
        let next = node.disk.deadline();
        for (io, result) in completions {
            let failed = result.is_err();
            let content = [io.number, u64::from(failed)].map(u64::to_le_bytes).concat();
            self.trace.line(self.now, id.0, 'w', &content, || {
                format!("write {} {}", io.number, if failed { "failed" } else { "is durable" })
            });
            self.hand(id, Input::Io { io, result });
        }
        if let Some(at) = next {
            self.schedule(at, Happening::Sync { node: id, life });
        }
    }

    /// One step of one replica, its check, and its effects.
    pub(super) fn turn(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        if node.life != life {
            return;
        }
        if node.paused_until > self.now {
            let at = node.paused_until;
            return self.schedule(at, Happening::Turn { node: id, life });
        }
        node.turn_due = false;
        let inputs = std::mem::take(&mut node.inbox);
        let saw_failure =
            inputs.iter().any(|input| matches!(input, Input::Io { result: Err(_), .. }));
        let now = node.clock.now(self.now);
        let Some(replica) = node.replica.as_mut() else { return };
        let mut effects = Vec::new();
        replica.step(now, inputs, &mut effects);
        replica.check();
        self.totals.steps += 1;
        if self.totals.steps > STEPS_MAX {
            let why = format!("{STEPS_MAX} steps and no end: something spins on N{id}");
            return self.fail(Violation {
                class: Class::Liveness,
                property: "converges".to_owned(),
                explanation: why,
            });
        }
        let cut_short = !self.calm && node.rng.ppm(self.plan.crash_mid_turn_ppm);
        let dies_after = cut_short.then(|| node.rng.below(effects.len() as u64 + 1) as usize);
        self.plan_wake(id);
        let mut fatal = false;
        for effect in effects.into_iter().take(dies_after.unwrap_or(usize::MAX)) {
            fatal |= self.run(id, effect);
        }
        self.after_turn(id, fatal, saw_failure, dies_after.is_some());
    }

    fn after_turn(&mut self, id: NodeId, fatal: bool, saw_failure: bool, cut_short: bool) {
        let sync_failed = self.nodes[place(id)].sync_failed;
        if cut_short {
            self.counts.fired(Fault::CrashMidTurn);
        } else if fatal && !sync_failed {
            let why = format!("N{id} gave up though its disk never failed");
            return self.fail(Violation::safety("fatal_has_a_cause", why));
        } else if saw_failure && !fatal {
            let why = format!("N{id} goes on after a failed sync");
            return self.fail(Violation::safety("failed_sync_is_fatal", why));
        }
        if cut_short || fatal {
            let start_after = self.rng.between(1_000_000, 400_000_000);
            self.crash(id, start_after);
            if self.calm {
                self.start(id);
            }
        }
    }

    fn plan_wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let Some(deadline) = node.replica.as_ref().and_then(Replica::deadline) else {
            node.wake_at = None;
            return;
        };
        let at = node.clock.when(deadline).max(self.now + 1_000);
        if node.wake_at != Some(at) {
            node.wake_at = Some(at);
            let life = node.life;
            self.schedule(at, Happening::Wake { node: id, life });
        }
    }

    /// Runs one effect; true if the process must end.
    fn run(&mut self, id: NodeId, effect: Effect) -> bool {
        match effect {
            Effect::Send { to, message } => {
                let bytes = codec::encode(&message);
                self.trace.line(self.now, id.0, '>', &bytes, || {
                    format!("to N{to} {}", words::message(&message))
                });
                let arrivals = self.network.carry(self.now, id, to, &mut self.counts);
                for at in arrivals.into_iter().flatten() {
                    self.schedule(at, Happening::Deliver { to, bytes: bytes.clone() });
                }
            }
            Effect::WalWrite { io, offset, bytes } => {
                self.trace.line(self.now, id.0, 'W', &bytes, || {
                    format!("write {} of {} bytes at {offset}", io.number, bytes.len())
                });
                let node = &mut self.nodes[place(id)];
                let before = node.disk.deadline();
                node.disk.write(self.now, io, offset, bytes);
                let (after, life) = (node.disk.deadline(), node.life);
                if let Some(at) = after.filter(|_| before.is_none()) {
                    self.schedule(at, Happening::Sync { node: id, life });
                }
            }
            Effect::Reply { request, response } => self.reply(id, request, response),
            Effect::Event(event) => {
                let text = event.to_string();
                self.trace.line(self.now, id.0, '*', text.as_bytes(), || text.clone());
                self.observe(id, &event);
            }
            Effect::Fatal { reason } => {
                self.trace.line(self.now, id.0, '!', reason.as_bytes(), || reason.clone());
                return true;
            }
        }
        false
    }

    fn reply(&mut self, id: NodeId, request: RequestId, response: Response) {
        self.trace_debug(id, '.', &(request, &response));
        if !self.nodes[place(id)].waiting.remove(&request) {
            let why = format!("N{id} answers request {} twice, or unasked", request.0);
            return self.fail(Violation::safety("reply_at_most_once", why));
        }
        if let Ok(Answer::Done { replayed: true, .. }) = response {
            self.totals.replays += 1;
        }
        if !self.calm && self.rng.ppm(self.plan.reply_loss_ppm) {
            self.counts.fired(Fault::ReplyLost);
        } else {
            self.hear_later(request, Heard::Response(response));
        }
    }
}
