//! One node's life: start, turns, syncs, death.

use std::collections::BTreeSet;

use understudy_core::{
    Answer, Effect, Failure, GroupId, GroupStatus, Identity, Incarnation, Input, NodeId, Refusal,
    Replica, ReplicaId, RequestId, Response, Rng, Role, Seed, Status, codec,
};

use super::{Happening, Heard, Question, STEPS_MAX, World, place};
use crate::checks::{
    Violation, damage_is_noticed, failed_sync_is_fatal, fatal_has_a_cause, reply_at_most_once,
    synced_bytes_survive,
};
use crate::clock::Clock;
use crate::dice::fold;
use crate::disk::{Disk, Image};
use crate::faults::Fault;
use crate::marks::Mark;
use crate::plan::Plan;
use crate::recording::Kind;
use crate::words;

/// A replica and its machine.
pub struct Node {
    /// Who.
    pub id: NodeId,
    /// Counted up at every start and every death.
    pub(super) life: u64,
    /// Clients that wait for an answer.
    pub(super) waiting: BTreeSet<RequestId>,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    pub(super) paused_until: u64,
    identity: Identity,
    replica: Option<Replica>,
    rng: Rng,
    seed: Seed,
    inbox: Vec<Input>,
    turn_due: bool,
    wake_at: Option<u64>,
    /// Where the last write ends that the next turn hears of.
    heard_end: u64,
    /// A write or sync failed in this life: the replica must end.
    disk_failed: bool,
    /// Bytes that were promised to stay when the node died.
    synced: usize,
    /// How often it came back with an empty disk.
    wiped: u64,
    /// It has an empty disk, or had one, and is no voter of every group yet.
    outside: bool,
    /// It died while it recovered.
    died_in_recovery: bool,
    /// Its first turn in this life will be cut short.
    first_turn_dies: bool,
}

impl Node {
    /// A node as `init` leaves it.
    pub fn new(seed: Seed, plan: &Plan, id: NodeId) -> Node {
        let seed = seed.child(&format!("node/{id}"));
        let incarnation = Incarnation(seed.child("incarnation").0);
        let identity = Identity { cluster: plan.cluster().cluster, node: id, incarnation };
        let wal = Replica::format_wal(&identity);
        let (rate, wall_ahead) = plan.clocks[place(id)];
        let synced = wal.len();
        let mut disk = Disk::new(wal, plan.disks[place(id)], seed.child("disk").rng());
        if plan.disks_lie {
            disk.lie_about_young_writes();
        }
        Node {
            id,
            life: 0,
            waiting: BTreeSet::new(),
            disk,
            clock: Clock::new(rate, wall_ahead),
            paused_until: 0,
            identity,
            replica: None,
            rng: seed.child("machine").rng(),
            seed,
            inbox: Vec::new(),
            turn_due: false,
            wake_at: None,
            heard_end: synced as u64,
            disk_failed: false,
            synced,
            wiped: 0,
            outside: false,
            died_in_recovery: false,
            first_turn_dies: false,
        }
    }

    /// Whether its process runs.
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether it has a vote in every group, and all that it ever promised for it, as far as it has
    /// looked.
    pub fn is_intact(&self) -> bool {
        !self.outside
    }

    /// Who it is with its present disk.
    pub fn replica_id(&self) -> ReplicaId {
        self.identity.replica()
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

    /// The disk is thrown away and replaced: with a new member's folder by an operator, or after its
    /// folder was found damaged and set aside.
    pub(super) fn wipe(&mut self, plan: &Plan, set_aside: bool) {
        self.wiped += 1;
        self.outside = true;
        let lost = self.identity.incarnation;
        let seed = self.seed.child(&format!("wiped/{}", self.wiped));
        self.identity.incarnation = Incarnation(seed.child("incarnation").0);
        let wal = match set_aside {
            true => Replica::format_replacement_wal(&plan.cluster(), &self.identity, lost),
            false => Replica::format_wal(&self.identity),
        };
        self.synced = wal.len();
        self.disk = Disk::new(wal, plan.disks[place(self.id)], seed.child("disk").rng());
        if plan.disks_lie {
            self.disk.lie_about_young_writes();
        }
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

    /// Every node starts for the first time, some later than others.
    pub fn start_all(&mut self) {
        for (node, late) in self.ids().into_iter().zip(self.plan.starts.clone()) {
            if late == 0 {
                self.start(node);
            } else {
                self.counts.fired(Fault::LateStart);
                self.start_later(node, late);
            }
        }
        self.kick();
    }

    /// `node` dies and starts again after a while.
    pub fn crash(&mut self, node: NodeId, start_after: u64) {
        if self.nodes[place(node)].is_up() {
            self.kill(node);
            self.start_later(node, start_after);
        }
    }

    pub(super) fn start_later(&mut self, node: NodeId, start_after: u64) {
        let life = self.nodes[place(node)].life;
        self.schedule(self.now + start_after, Happening::Start { node, life });
        self.kick();
    }

    pub(super) fn kill(&mut self, id: NodeId) {
        let rate = self.plan.torn_write_ppm;
        let mut torn = None;
        if self.nodes[place(id)].has_unsynced() {
            torn = self.dice.roll(Fault::TornWrite, id.0, rate, &mut self.counts);
        }
        let state = if self.trace.keeps() { self.state_of(id.0, 1) } else { None };
        let node = &mut self.nodes[place(id)];
        let written = node.disk.written();
        node.replica = None;
        node.life += 1;
        node.inbox.clear();
        node.turn_due = false;
        node.wake_at = None;
        node.disk_failed = false;
        node.synced = node.disk.crash(torn, &mut self.counts);
        let left = node.disk.written();
        let (synced, waiting) = (node.synced, std::mem::take(&mut node.waiting));
        self.roles.retain(|&(_, node), _| node != id);
        let number = self.note(id.0, Kind::Dies, &left.to_le_bytes(), |line| {
            line.text = match written - synced {
                0 => format!("dies; all {synced} bytes of its log were synced"),
                unsynced => format!(
                    "dies; {synced} bytes of its log were synced, of {unsynced} more {} are left",
                    left - synced
                ),
            };
        });
        self.trace.amend(number, |line| line.state = state);
        self.committed.restarts(id);
        if self.nodes.iter().all(|node| !node.is_up()) {
            self.marks.met(Mark::AllDown);
        }
        for request in waiting {
            // Some connections break at once, others just fall silent.
            if request.0 % 10 < 7 {
                self.hear_later(request, Heard::Reset);
            }
        }
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let rate = self.plan.crash_in_recovery_ppm;
        let dies = self.dice.roll(Fault::CrashInRecovery, id.0, rate, &mut self.counts);
        let now = self.now;
        let node = &mut self.nodes[place(id)];
        node.life += 1;
        node.clock.reboot(now, &mut node.rng);
        let seed = node.seed.child(&format!("boot/{}", node.life));
        let Image { disk, damaged } = node.disk.image();
        let found = disk.wal.len();
        let replica = Replica::recover(&self.cluster, &node.identity, seed, disk);
        let replica = match self.judge_recovery(id, replica, found, damaged) {
            Some(replica) => replica,
            None => return,
        };
        let stage = dies.map(|value| value % 3);
        if stage == Some(0) {
            return self.die_in_recovery(id, "before it cuts its log", dies);
        }
        let (node, kept) = (&mut self.nodes[place(id)], replica.wal_len());
        node.disk.truncate(kept);
        if stage == Some(1) {
            return self.die_in_recovery(id, "after it cut its log", dies);
        }
        node.heard_end = kept;
        node.replica = Some(replica);
        node.first_turn_dies = stage == Some(2);
        let recovered_at_last = std::mem::replace(&mut node.died_in_recovery, stage == Some(2));
        if recovered_at_last && stage.is_none() {
            self.marks.met(Mark::RecoveredAfterCrashInRecovery);
        }
        if kept < found as u64 {
            self.marks.met(Mark::TornTailCut);
        }
        self.note(id.0, Kind::Starts, &kept.to_le_bytes(), |line| {
            line.text = format!("starts with {kept} of {found} bytes of log");
        });
        self.totals.starts += 1;
        self.hand(id, Input::Wake);
    }

    /// What recovery must and must not accept. `None` if the node does not start.
    fn judge_recovery(
        &mut self,
        id: NodeId,
        recovered: Result<Replica, understudy_core::RecoverError>,
        found: usize,
        damaged: Option<u64>,
    ) -> Option<Replica> {
        let synced = self.nodes[place(id)].synced as u64;
        match recovered {
            Err(error) => {
                if let Err(violation) = synced_bytes_survive::check_refusal(id, &error, damaged) {
                    self.fail(violation);
                }
                self.note(id.0, Kind::Dies, &[], |line| line.text = format!("refuses: {error}"));
                if error.damaged {
                    self.set_aside(id);
                }
                None
            }
            Ok(replica) => {
                let (kept, found) = (replica.wal_len(), found as u64);
                // Of a disk that lies about young writes nobody can expect that it is noticed.
                if !(self.plan.disks_lie && damaged.is_some()) {
                    let noticed = damage_is_noticed::check(id, true, damaged, kept);
                    let kept = synced_bytes_survive::check(id, kept, found, synced);
                    if let Err(violation) = noticed.and(kept) {
                        self.fail(violation);
                    }
                }
                (!self.is_over()).then_some(replica)
            }
        }
    }

    /// The node's damaged folder is set aside, and it starts with a new one after a while.
    fn set_aside(&mut self, id: NodeId) {
        self.marks.met(Mark::DamageSetAside);
        let plan = &self.plan;
        let node = &mut self.nodes[place(id)];
        node.wipe(plan, true);
        let start_after = node.rng.between(1_000_000, 400_000_000);
        self.start_later(id, start_after);
    }

    /// Whether the node has got back a vote in every group, with its present disk.
    fn look_inside(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let Some(status) = node.status().filter(|_| node.outside) else { return };
        let (me, members) = (node.replica_id(), self.cluster.nodes.len());
        let votes =
            |group: &GroupStatus| group.voters.contains(&me) && group.voters.len() == members;
        if status.groups.iter().all(votes) {
            node.outside = false;
            self.atlas.heals(id);
            self.marks.met(Mark::Repaired);
            self.note(id.0, Kind::World, &[], |line| {
                line.text = format!("N{id} votes again, as {me}");
            });
        }
    }

    fn die_in_recovery(&mut self, id: NodeId, when: &str, value: Option<u64>) {
        self.nodes[place(id)].died_in_recovery = true;
        self.note(id.0, Kind::Dies, &[], |line| line.text = format!("dies {when}"));
        let down = fold(value.unwrap_or(0) >> 8, 1_000_000, 200_000_000);
        self.start_later(id, down);
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
        if self.nodes[place(id)].life != life {
            return;
        }
        let rate = self.plan.crash_at_io_ppm;
        let dies = self.dice.roll(Fault::CrashAtIo, id.0, rate, &mut self.counts);
        let before = dies.is_some_and(|value| value % 2 == 0);
        if !before {
            self.complete_writes(id, life);
        }
        if let Some(value) = dies {
            let when =
                if before { "just before its sync is done" } else { "before it hears of it" };
            self.note_fault(id.0, || format!("crash at a sync: {when}"));
            self.crash(id, fold(value >> 8, 1_000_000, 300_000_000));
        }
    }

    fn complete_writes(&mut self, id: NodeId, life: u64) {
        let node = &mut self.nodes[place(id)];
        let completions = node.disk.complete(self.now, &mut self.counts);
        node.disk_failed |= completions.iter().any(|done| done.result.is_err());
        let next = node.disk.deadline();
        for done in completions {
            let (io, failed) = (done.io, done.result.is_err());
            let content = [io.number, u64::from(failed)].map(u64::to_le_bytes).concat();
            self.note(id.0, Kind::Synced, &content, |line| {
                let what = if failed { "failed" } else { "is durable" };
                line.text = format!("write {} {what}", io.number);
            });
            if !failed {
                self.nodes[place(id)].heard_end = done.end;
            }
            self.hand(id, Input::Io { io, result: done.result });
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
        node.disk.told(node.heard_end);
        let now = node.clock.now(self.now);
        let Some(replica) = node.replica.as_mut() else { return };
        let mut effects = Vec::new();
        replica.step(now, inputs, &mut effects);
        if self.judges.server {
            replica.check();
        }
        self.totals.steps += 1;
        if self.totals.steps > STEPS_MAX {
            let why = format!("{STEPS_MAX} steps and no end: something spins on N{id}");
            return self.fail(Violation::liveness("converges", why));
        }
        let dies_after = self.dies_after(id, effects.len());
        self.plan_wake(id);
        let mut fatal = false;
        for (number, effect) in effects.into_iter().enumerate() {
            match effect {
                effect if dies_after.is_none_or(|last| number < last) => {
                    fatal |= self.run(id, effect);
                }
                // It has happened inside, and others may have heard of it already.
                Effect::Event(event) => self.observe(id, &event),
                _ => {}
            }
        }
        self.look_inside(id);
        self.after_turn(id, fatal, saw_failure, dies_after.is_some());
    }

    /// After how many of its effects the node dies, if it does.
    fn dies_after(&mut self, id: NodeId, effects: usize) -> Option<usize> {
        let rate = self.plan.crash_mid_turn_ppm;
        let cut_short = self.dice.roll(Fault::CrashMidTurn, id.0, rate, &mut self.counts);
        let node = &mut self.nodes[place(id)];
        let first = std::mem::take(&mut node.first_turn_dies).then_some(node.life);
        let value = cut_short.or(first)?;
        Some(fold(value, 0, effects as u64) as usize)
    }

    fn after_turn(&mut self, id: NodeId, fatal: bool, saw_failure: bool, cut_short: bool) {
        let disk_failed = self.nodes[place(id)].disk_failed;
        if cut_short {
            self.note_fault(id.0, || "crash between two effects of a step".to_owned());
        } else {
            let caused = fatal_has_a_cause::check(id, fatal, disk_failed);
            let heeded = failed_sync_is_fatal::check(id, saw_failure, fatal);
            if let Err(violation) = caused.and(heeded) {
                self.fail(violation);
            }
        }
        if self.is_over() {
            return;
        }
        if fatal && self.roles.iter().any(|(&(_, n), &(role, _))| n == id && role == Role::Leader) {
            self.marks.met(Mark::LeaderDiskFailed);
        }
        if cut_short || fatal {
            let start_after = self.nodes[place(id)].rng.between(1_000_000, 400_000_000);
            self.crash(id, start_after);
            if self.calm {
                self.start(id);
            }
        }
    }

    /// Schedules the replica's next deadline, as its clock stands now.
    pub(super) fn plan_wake(&mut self, id: NodeId) {
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
                let sent = self.note(id.0, Kind::Send, &bytes, |line| {
                    line.group = u64::from(message.group.0);
                    (line.message, line.to) = (Some(line.number), Some(to.0));
                    line.text = format!("to N{to}: {}", words::message(&message));
                });
                let (dice, counts) = (&mut self.dice, &mut self.counts);
                let arrivals = self.network.carry(self.now, (id, to), dice, counts);
                for at in arrivals.into_iter().flatten() {
                    self.schedule(at, Happening::Deliver { to, bytes: bytes.clone(), sent });
                }
            }
            Effect::WalWrite { io, offset, bytes } => {
                self.note(id.0, Kind::Write, &bytes, |line| {
                    let length = bytes.len();
                    line.text = format!("write {} of {length} bytes at {offset}", io.number);
                });
                let node = &mut self.nodes[place(id)];
                let before = node.disk.deadline();
                node.disk.write(self.now, io, offset, bytes, &mut self.counts);
                let (after, life) = (node.disk.deadline(), node.life);
                if let Some(at) = after.filter(|_| before.is_none()) {
                    self.schedule(at, Happening::Sync { node: id, life });
                }
            }
            Effect::Files { .. } | Effect::FileRead { .. } | Effect::Store { .. } => {
                unreachable!("the core does not ask for it yet")
            }
            Effect::Reply { request, response } => self.reply(id, request, response),
            Effect::Event(event) => {
                let text = event.to_string();
                self.note(id.0, Kind::Event, text.as_bytes(), |line| {
                    line.group = words::group(&event);
                    line.text.clone_from(&text);
                });
                self.observe(id, &event);
            }
            Effect::Fatal { reason, .. } => {
                self.note(id.0, Kind::Event, reason.as_bytes(), |line| {
                    line.text = format!("gives up: {reason}");
                });
                return true;
            }
        }
        false
    }

    fn reply(&mut self, id: NodeId, request: RequestId, response: Response) {
        let content = format!("{request:?} {response:?}");
        let number = self.note(id.0, Kind::Answered, content.as_bytes(), |line| {
            line.text = words::response(&response);
        });
        self.sign(number, request);
        let was_waiting = self.nodes[place(id)].waiting.remove(&request);
        if let Err(violation) = reply_at_most_once::check(id, request, was_waiting) {
            return self.fail(violation);
        }
        self.mark_reply(id, request, &response);
        let rate = self.plan.reply_loss_ppm;
        if self.dice.roll(Fault::ReplyLost, id.0, rate, &mut self.counts).is_some() {
            self.note_fault(id.0, || "the answer is lost on its way".to_owned());
        } else {
            self.hear_later(request, Heard::Response(response));
        }
    }

    fn mark_reply(&mut self, id: NodeId, request: RequestId, response: &Response) {
        let Some(asked) = self.asked.get(&request) else { return };
        let mark = match (&asked.kind, response) {
            (Question::Write(group, op), Ok(Answer::Done { replayed: true, .. })) => {
                self.totals.replays += 1;
                self.marks.met(Mark::OpLogHit);
                let term = self.terms.get(group).copied().unwrap_or(0);
                let later = self.first_sent.get(op).is_some_and(|&first| first < term);
                later.then_some(Mark::OpLogHitAfterFailover)
            }
            (Question::Write(..), Err(Failure::Unknown)) => Some(Mark::WriteUnknown),
            (Question::Write(..), Err(Failure::Refused(Refusal::OpIdReused))) => {
                Some(Mark::OpIdReused)
            }
            (Question::Write(..), Err(Failure::Refused(refusal))) => {
                words::of_former_life(refusal).then_some(Mark::FormerLifeRefused)
            }
            (&Question::Read(group), Err(Failure::Unavailable)) => {
                self.leads_elsewhere(group, id).then_some(Mark::ReadRefusedInMinority)
            }
            _ => None,
        };
        if let Some(mark) = mark {
            self.marks.met(mark);
        }
    }

    fn leads_elsewhere(&self, group: GroupId, than: NodeId) -> bool {
        self.roles
            .iter()
            .any(|(&(g, node), &(role, _))| g == group && node != than && role == Role::Leader)
    }
}
