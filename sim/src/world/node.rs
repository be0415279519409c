//! One node's life: start, turns, syncs, death.

use std::collections::{BTreeMap, BTreeSet};

use understudy_core::{
    Answer, Change, DiskOp, Effect, Failure, GroupId, Identity, Incarnation, Input, NodeId,
    Outcome, Refusal, Replica, ReplicaId, RequestId, Response, Rng, Role, Seed, Sequence, Status,
    Tail, codec,
};

use super::storage::Rows;
use super::{Happening, Heard, Question, STEPS_MAX, World, place};
use crate::checks::{Violation, failed_sync_is_fatal, fatal_has_a_cause, reply_at_most_once};
use crate::clock::Clock;
use crate::dice::fold;
use crate::faults::Fault;
use crate::files::{FileDisk, Promised};
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
    pub(super) disk: FileDisk,
    /// When the disk does something next, as far as it is planned.
    pub(super) disk_at: Option<u64>,
    /// Its store outside the core.
    pub(super) rows: Rows,
    pub(super) clock: Clock,
    pub(super) paused_until: u64,
    pub(super) identity: Identity,
    pub(super) replica: Option<Replica>,
    pub(super) rng: Rng,
    pub(super) seed: Seed,
    inbox: Vec<Input>,
    turn_due: bool,
    /// Whether the process was last told that its disk is full.
    pub(super) told_full: Option<bool>,
    wake_at: Option<u64>,
    /// Where the last write ends that the next turn hears of.
    pub(super) heard_end: u64,
    /// The newest changes of each group, for subscribers.
    pub(super) tails: BTreeMap<GroupId, Tail>,
    /// A write or sync of its log, or its store, failed in this life: the replica may end.
    pub(super) disk_failed: bool,
    /// What was promised to stay when the node died.
    pub(super) promised: Promised,
    /// What it has seen of each group, in all of its lives with this disk.
    pub(super) seen: BTreeMap<GroupId, Seen>,
    /// How often it came back with an empty disk.
    wiped: u64,
    /// It has an empty disk, or had one, and is no voter of every group yet.
    pub(super) outside: bool,
    /// It died while it recovered.
    pub(super) died_in_recovery: bool,
    /// Its first turn in this life will be cut short.
    pub(super) first_turn_dies: bool,
}

/// A replica has ended itself.
#[derive(Clone, Copy, Debug)]
struct Fatal {
    /// Its folder must not be started again.
    damaged: bool,
}

/// What a node has seen of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The highest index it has applied.
    pub applied: Option<u64>,
    /// Its store has lost batches since, which it has not applied again.
    pub lost_batches: bool,
    /// A checkpoint failed in this life.
    pub checkpoint_failed: bool,
    /// A snapshot was installed since its disk is new.
    pub installed: bool,
}

impl Node {
    /// A node as `init` leaves it.
    pub fn new(seed: Seed, plan: &Plan, id: NodeId) -> Node {
        let seed = seed.child(&format!("node/{id}"));
        let incarnation = Incarnation(seed.child("incarnation").0);
        let identity = Identity { cluster: plan.cluster().cluster, node: id, incarnation };
        let (rate, wall_ahead) = plan.clocks[place(id)];
        let ops = Replica::format(&identity, &plan.log);
        let disk = new_disk(plan, id, seed.child("disk"), &ops);
        let rows = Rows::new(plan.disks[place(id)], seed.child("rows").rng());
        Node {
            id,
            life: 0,
            waiting: BTreeSet::new(),
            promised: disk.promised().clone(),
            disk,
            disk_at: None,
            rows,
            clock: Clock::new(rate, wall_ahead),
            paused_until: 0,
            identity,
            replica: None,
            rng: seed.child("machine").rng(),
            seed,
            inbox: Vec::new(),
            turn_due: false,
            told_full: None,
            wake_at: None,
            heard_end: 0,
            disk_failed: false,
            tails: BTreeMap::new(),
            seen: BTreeMap::new(),
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
        let ops = match set_aside {
            true => Replica::format_replacement(&plan.cluster(), &self.identity, lost),
            false => Replica::format(&self.identity, &plan.log),
        };
        self.disk = new_disk(plan, self.id, seed.child("disk"), &ops);
        self.promised = self.disk.promised().clone();
        self.rows = Rows::new(plan.disks[place(self.id)], seed.child("rows").rng());
        self.seen.clear();
    }

    pub(super) fn calm(&mut self) {
        self.disk.calm();
        self.paused_until = 0;
    }
}

/// A disk with a new folder on it.
fn new_disk(plan: &Plan, id: NodeId, seed: Seed, ops: &[DiskOp]) -> FileDisk {
    let mut disk = FileDisk::new(plan.log.segment_bytes, plan.disks[place(id)], seed);
    disk.apply_recovery(ops).expect("a_new_disk_has_space");
    if plan.disks_lie {
        disk.lie_about_young_writes();
    }
    disk
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
        let has_unsynced = self.nodes[place(id)].has_unsynced();
        let (mut killed, mut torn) = (None, None);
        if has_unsynced {
            let rate = self.plan.process_kill_ppm;
            killed = self.dice.roll(Fault::ProcessKilled, id.0, rate, &mut self.counts);
        }
        if has_unsynced && killed.is_none() {
            let rate = self.plan.torn_write_ppm;
            torn = self.dice.roll(Fault::TornWrite, id.0, rate, &mut self.counts);
        }
        let state = if self.trace.keeps() { self.state_of(id.0, 1) } else { None };
        let node = &mut self.nodes[place(id)];
        let written = node.disk.wal_end();
        node.replica = None;
        node.tails.clear();
        node.told_full = None;
        node.life += 1;
        node.inbox.clear();
        node.turn_due = false;
        node.wake_at = None;
        node.disk_at = None;
        node.disk_failed = false;
        node.promised = match killed {
            Some(_) => node.disk.kill(),
            None => node.disk.crash(torn, &mut self.counts),
        };
        let (synced, waiting) = (node.promised.wal_end, std::mem::take(&mut node.waiting));
        let lost = node.rows.crash();
        for (group, seen) in &mut node.seen {
            let outside = self.plan.outside().any(|(outside, _)| outside == *group);
            seen.lost_batches |= lost > 0 && outside;
            seen.checkpoint_failed = false;
        }
        if lost > 0 {
            self.counts.fired(Fault::LostBatches);
        }
        self.roles.retain(|&(_, node), _| node != id);
        let content = [written, synced, lost as u64].map(u64::to_le_bytes).concat();
        let number = self.note(id.0, Kind::Dies, &content, |line| {
            let log = match written.saturating_sub(synced) {
                0 => format!("all {synced} bytes of its log were synced"),
                unsynced => format!("{synced} bytes of its log were synced, {unsynced} were not"),
            };
            let how = if killed.is_some() { "is killed" } else { "dies" };
            let store = match lost {
                0 => String::new(),
                lost => format!(", {lost} batches of its store are lost"),
            };
            line.text = format!("{how}; {log}{store}");
        });
        self.trace.amend(number, |line| line.state = state);
        self.committed.restarts(id);
        self.changes.restarts(id);
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
        let mut inputs = std::mem::take(&mut node.inbox);
        // The driver looks now and then; here it is told as soon as it changes.
        let free = node.disk.free(self.now);
        if node.told_full.replace(free == 0) != Some(free == 0) {
            inputs.insert(0, Input::Space { free });
        }
        let saw_failure = inputs.iter().any(must_end);
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
        let mut fatal: Option<Fatal> = None;
        for (number, effect) in effects.into_iter().enumerate() {
            match effect {
                effect if dies_after.is_none_or(|last| number < last) => {
                    fatal = self.run(id, effect).or(fatal);
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

    fn after_turn(&mut self, id: NodeId, fatal: Option<Fatal>, saw_failure: bool, cut_short: bool) {
        let damaged = fatal.is_some_and(|fatal| fatal.damaged);
        let fatal = fatal.is_some();
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
        if damaged {
            self.kill(id);
            self.set_aside(id);
        } else if cut_short || fatal {
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

    /// Runs one effect; says so if the process must end.
    fn run(&mut self, id: NodeId, effect: Effect) -> Option<Fatal> {
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
            Effect::WalWrite { io, offset, bytes } => self.write_wal(id, io, offset, bytes),
            Effect::Files { io, ops } => self.work_on_files(id, io, ops),
            Effect::FileRead { io, file, offset, length } => {
                self.read_file(id, io, (file, offset, length));
            }
            Effect::Store { io, group, op } => self.work_on_rows(id, io, group, op),
            Effect::Reply { request, response } => self.reply(id, request, response),
            Effect::Changes { group, after, changes } => self.tell(id, group, after, changes),
            Effect::Event(event) => {
                let text = event.to_string();
                self.note(id.0, Kind::Event, text.as_bytes(), |line| {
                    line.group = words::group(&event);
                    line.text.clone_from(&text);
                });
                self.observe(id, &event);
            }
            Effect::Fatal { reason, damaged } => {
                self.note(id.0, Kind::Event, reason.as_bytes(), |line| {
                    line.text = format!("gives up: {reason}");
                });
                return Some(Fatal { damaged });
            }
        }
        None
    }

    /// A node tells of changes.
    fn tell(&mut self, id: NodeId, group: GroupId, after: Sequence, changes: Vec<Change>) {
        let (count, content) = (changes.len(), codec::encode(&(group, after, &changes)));
        self.note(id.0, Kind::Event, &content, |line| {
            line.group = u64::from(group.0);
            line.text = format!("group {group}: {count} changes behind {after}");
        });
        if let Err(violation) = self.changes.told(id, group, after, &changes) {
            return self.fail(violation);
        }
        let tail = self.nodes[place(id)].tails.entry(group).or_default();
        tail.push(after, changes);
        // A short one, so that many subscribers read what the store retains.
        let (last, most) = (tail.last().0, self.plan.tail_changes);
        let kept = last.saturating_sub(most);
        if tail.get(Sequence(kept)).is_some() {
            let newest = (kept + 1..=last).filter_map(|at| tail.get(Sequence(at)).cloned());
            let (newest, mut short) = (newest.collect(), Tail::default());
            short.push(Sequence(kept), newest);
            *tail = short;
        }
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
            (Question::Write(..), Ok(Answer::Done { outcome: Outcome::Batch(all), .. }))
                if all.len() > 1 =>
            {
                Some(Mark::BatchDone)
            }
            (Question::Write(..), Err(Failure::Refused(Refusal::InBatch { .. }))) => {
                Some(Mark::BatchRefused)
            }
            (Question::Write(..), Err(Failure::Refused(Refusal::SessionExpired))) => {
                Some(Mark::SessionLeftBehind)
            }
            (Question::Write(..), Err(Failure::Refused(Refusal::OpIdReused))) => {
                Some(Mark::OpIdReused)
            }
            (Question::Write(..), Err(Failure::Refused(refusal))) => {
                words::of_former_life(refusal).then_some(Mark::FormerLifeRefused)
            }
            (Question::Early, Ok(_)) => Some(Mark::SessionReadWaited),
            (_, Err(Failure::Behind { .. })) => Some(Mark::SessionReadGaveUp),
            (_, Ok(Answer::Scan { more: true, .. })) => Some(Mark::ScanPaged),
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

/// Whether the node must end of it.
fn must_end(input: &Input) -> bool {
    match input {
        Input::Io { result, .. } => result.is_err(),
        Input::Files { result: Err(failed), .. } => failed.lost_names,
        _ => false,
    }
}
