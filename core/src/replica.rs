//! The one door: everything that happens to a node's state goes through [`Replica::step`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::backend::Backend;
use crate::command::Command;
use crate::config::{ClusterConfig, LogSizes};
use crate::disk::{DiskImage, DiskOp, FileName, Folder};
use crate::effect::{Effect, Failure, Queue};
use crate::event::{DropReason, Event};
use crate::formation::Formation;
use crate::input::{Input, ReadLevel, Request, RequestId};
use crate::limits;
use crate::message::{Body, Exchange, Message};
use crate::raft::executor::{self, Executor, lock};
use crate::raft::group::{Group, Start};
use crate::raft::shared::{Shared, mono};
use crate::recovery::{self, Groups};
use crate::seed::Seed;
use crate::startup;
use crate::status::Status;
use crate::types::{
    ActorId, Boot, GroupId, Identity, Incarnation, Instant, NodeId, Now, OpId, Record,
};
use crate::wal::frame::{Record as WalRecord, SegmentHeader};
use crate::wal::recover::{GroupImage, Unusable, recover};

use crate::wal::writer::{SegmentWork, Writer};

/// Why a replica does not start. One line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverError(pub String);

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RecoverError {}

/// One node's whole state: its groups, its log, its clients' requests.
pub struct Replica {
    /// Taken out while a step runs.
    executor: Option<Box<Executor>>,
    node: Node,
}

/// Everything but the executor, which a step lends to a thread-local.
struct Node {
    shared: Arc<Shared>,
    /// What recovery found; groups start from it in the first step.
    starts: Option<BTreeMap<GroupId, Start>>,
    /// What the log is told first.
    records: Vec<WalRecord>,
    /// Groups whose start was waited for and that are ready, or not.
    starting: Arc<Mutex<Vec<Result<Group, String>>>>,
    /// What the driver has to do before the first step.
    repairs: Vec<DiskOp>,
    groups: BTreeMap<GroupId, Arc<Group>>,
    /// Each peer's data folder as first heard of.
    peers: BTreeMap<NodeId, Incarnation>,
    /// Until it is complete, this node takes no part.
    formation: Option<Formation>,
    fatal: bool,
}

impl Replica {
    /// What makes a new, empty log. Done by `init` and `dev`, never by `serve`: a node whose disk
    /// was wiped must not come back under its old name.
    pub fn format(identity: &Identity, sizes: &LogSizes) -> Vec<DiskOp> {
        let (identity, segment_bytes) = (identity.clone(), sizes.segment_bytes);
        let file = FileName::Segment(0);
        let bytes = SegmentHeader { identity, number: 0, segment_bytes }.encode();
        vec![
            DiskOp::Create { file, size: segment_bytes },
            DiskOp::Write { file, offset: 0, bytes },
            DiskOp::Sync { file },
            DiskOp::SyncFolder { folder: Folder::Wal },
        ]
    }

    /// The only fallible door: what the disk says may be damaged, or somebody else's.
    ///
    /// The driver then does what [`Replica::take_repairs`] says, and makes the first step. `seed`
    /// must be new in every life; in a simulation it comes from the world's seed.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub fn recover(
        config: &ClusterConfig,
        identity: &Identity,
        seed: Seed,
        disk: &dyn DiskImage,
        backend: Option<&dyn Backend>,
    ) -> Result<Replica, RecoverError> {
        config.validate().map_err(RecoverError)?;
        let unusable = |unusable| match unusable {
            Unusable::Unreadable(what) => RecoverError(what),
            Unusable::Damaged(what) => RecoverError(format!(
                "the data is damaged: {what}; do not start this node again: replace it with a new \
                 one, the others have its data"
            )),
        };
        let mut recovered = recover(disk, identity).map_err(unusable)?;
        startup::check(config, identity, &recovered).map_err(RecoverError)?;
        // Whoever has promised or stored anything was formed when it did.
        let pristine =
            recovered.groups.values().all(GroupImage::is_pristine) && !planted!(WipedNodeVotes);
        let others = config.nodes.iter().copied().filter(|&node| node != identity.node);
        let formation = pristine.then(|| Formation::new(others));
        let boot = Boot(seed.child("boot").0);
        let writer = Writer::new(boot, &recovered);
        let found = recovery::groups(config, identity, &mut recovered, disk, backend);
        let Groups { starts, records, removals } = found.map_err(unusable)?;
        let mut repairs = recovered.repairs;
        repairs.extend(removals);
        let shared = Shared::new(identity.clone(), boot, config.clone(), writer);
        Ok(Replica {
            executor: Some(Box::new(Executor::new(seed.child("executor")))),
            node: Node {
                shared: Arc::new(shared),
                starts: Some(starts),
                records,
                repairs,
                starting: Arc::default(),
                groups: BTreeMap::new(),
                peers: recovered.peers,
                formation,
                fatal: false,
            },
        })
    }

    /// What the driver must do to the files, durably, between [`Replica::recover`] and the first
    /// step: bytes behind the end of the log are a torn write, and must never be taken for part of
    /// it later. Empty when asked again.
    pub fn take_repairs(&mut self) -> Vec<DiskOp> {
        std::mem::take(&mut self.node.repairs)
    }

    /// Where the WAL ends now, as an offset of the log.
    pub fn wal_end(&self) -> u64 {
        lock(&self.node.shared.writer).end()
    }

    /// Bytes of each segment of the log: what an offset of [`Effect::WalWrite`] is divided by.
    pub fn segment_bytes(&self) -> u64 {
        lock(&self.node.shared.writer).segment_bytes()
    }

    /// Advances by one turn: everything that has happened since the last. Total: it never fails,
    /// waits, or reads a clock. What is to be done is added to `effects`.
    pub fn step(
        &mut self,
        now: Now,
        turn: impl IntoIterator<Item = Input>,
        effects: &mut Vec<Effect>,
    ) {
        if self.node.fatal {
            return;
        }
        let Replica { executor, node } = self;
        Executor::enter(executor, now, || {
            node.start();
            for input in turn {
                node.input(input);
                // What comes after a failed write is about a log that nobody knows any more.
                if node.fatal {
                    return;
                }
            }
            for group in node.groups.values() {
                group.end_turn();
            }
            node.shared.expire(mono());
            node.form();
            node.greet();
            node.run();
        });
        for effect in node.shared.take_effects() {
            node.fatal |= matches!(effect, Effect::Fatal { .. });
            effects.push(effect);
        }
    }

    /// When the next step is due if nothing happens before: step then with [`Input::Wake`].
    pub fn deadline(&self) -> Option<Instant> {
        if self.node.fatal {
            return None;
        }
        if self.node.starts.is_some() {
            return Some(Instant(0));
        }
        let executor = self.executor.as_deref().and_then(Executor::deadline);
        let shared = &self.node.shared;
        let writer = lock(&shared.writer).deadline();
        let formation = self.node.formation.as_ref().map(Formation::deadline);
        [executor, writer, shared.deadline(), formation].into_iter().flatten().min()
    }

    /// Plain numbers, the same names as the metrics.
    pub fn status(&self) -> Status {
        let shared = &self.node.shared;
        let writer = lock(&shared.writer);
        Status {
            identity: shared.identity.clone(),
            boot: shared.boot,
            wal_begin: writer.begin(),
            wal_end: writer.end(),
            wal_durable: writer.durable(),
            formed: self.node.formation.is_none(),
            unmet: self.node.formation.as_ref().map_or(Vec::new(), Formation::unmet),
            requests_live: shared.requests_live().0,
            groups: self.node.groups.values().map(|group| group.status()).collect(),
            fatal: self.node.fatal,
        }
    }

    /// Panics with an invariant's name if one is broken. Cheap: the simulator calls it after every
    /// step, the node now and then.
    pub fn check(&self) {
        self.node.shared.check();
        for group in self.node.groups.values() {
            group.check();
        }
    }

    /// Every actor of a group, in order of id.
    pub fn dump(&self, group: GroupId) -> Vec<(ActorId, Record)> {
        self.node.groups.get(&group).map(|group| group.dump()).unwrap_or_default()
    }
}

impl Drop for Replica {
    /// As a crash would: the tasks end where they are, inside their own context.
    fn drop(&mut self) {
        if self.executor.is_none() || std::thread::panicking() {
            return;
        }
        let Replica { executor, node } = self;
        Executor::enter(executor, Now::default(), || {
            executor::drop_tasks();
            node.groups.clear();
        });
    }
}

impl Node {
    /// In the first step: openraft looks at the clock when it starts, so not in `recover`.
    fn start(&mut self) {
        let Some(mut starts) = self.starts.take() else { return };
        let records = std::mem::take(&mut self.records);
        records.iter().for_each(|record| lock(&self.shared.writer).push(record));
        for (id, namespace) in self.shared.config.groups() {
            let start = starts.remove(&id).unwrap_or_default();
            let group = Group::start(id, namespace.clone(), self.shared.clone(), start);
            let slot = self.starting.clone();
            executor::spawn(async move {
                let group = group.await;
                lock(&slot).push(group);
            });
        }
        executor::run_until_stalled();
        self.take_started();
        self.form();
    }

    /// Takes in the groups that have started. One whose rows are outside the core reads some of
    /// them first, to apply again what was committed.
    fn take_started(&mut self) {
        let started = std::mem::take(&mut *lock(&self.starting));
        for group in started {
            match group {
                Ok(group) => {
                    let group = Arc::new(group);
                    // A namespace may have been appended to the configuration: its group is new,
                    // the node is not.
                    if self.formation.is_none() {
                        group.initialize();
                    }
                    self.groups.insert(group.id, group);
                }
                Err(reason) => self.shared.emit(Effect::Fatal { reason }),
            }
        }
    }

    /// Takes part from here on, if every other node was met.
    fn form(&mut self) {
        let shared = &self.shared;
        let durable = || lock(&shared.writer).durable();
        if self.formation.take_if(|formation| formation.is_complete(durable())).is_some() {
            self.shared.emit(Effect::Event(Event::Formed));
            self.groups.values().for_each(|group| group.initialize());
        }
    }

    /// Asks every peer, while this node is not formed.
    fn greet(&mut self) {
        let due = self.formation.as_mut().map(|formation| formation.due(mono()));
        for peer in due.into_iter().flatten() {
            self.shared.hello(peer);
        }
    }

    /// Answers a peer's hello once its data folder is on the disk: the answer is a promise.
    fn welcome(&self, peer: NodeId, exchange: Exchange) {
        let shared = Arc::downgrade(&self.shared);
        let pins = self.peers.iter().map(|(&node, &pin)| (node, pin)).collect();
        let reply = Body::HelloReply { formed: self.formation.is_none(), pins };
        let answer = move || {
            if let Some(shared) = shared.upgrade() {
                shared.answer(peer, GroupId::META, exchange, reply);
            }
        };
        let mut writer = lock(&self.shared.writer);
        if writer.durable() == writer.end() {
            drop(writer);
            answer();
        } else {
            writer.when_durable(Box::new(answer));
        }
    }

    fn met(
        &mut self,
        peer: NodeId,
        exchange: Exchange,
        formed: bool,
        pins: &[(NodeId, Incarnation)],
    ) -> Result<(), DropReason> {
        let formation = self.formation.as_mut().filter(|_| self.shared.is_ours(exchange));
        let formation = formation.ok_or(DropReason::Stale)?;
        let mut known = self.peers.clone();
        known.insert(self.shared.identity.node, self.shared.identity.incarnation);
        formation.met(peer, formed, pins, &known);
        self.form();
        Ok(())
    }

    /// Polls until nothing is left to do, and collects the step's write.
    fn run(&mut self) {
        executor::run_until_stalled();
        self.take_started();
        #[cfg(sim_mutant)]
        while planted!(AckBeforeSync) {
            let waiting = lock(&self.shared.writer).take_waiting();
            if waiting.is_empty() {
                break;
            }
            waiting.into_iter().for_each(|action| action());
            executor::run_until_stalled();
        }
        for group in self.groups.values() {
            group.end_step();
        }
        let writes = lock(&self.shared.writer).take_writes(mono());
        writes.into_iter().for_each(|write| self.shared.emit(write));
        self.segments();
    }

    /// Has segments made before they are needed, and removed when nobody needs them.
    fn segments(&self) {
        let work = lock(&self.shared.writer).segment_work(mono());
        let shared = Arc::downgrade(&self.shared);
        match work {
            None => {}
            Some(SegmentWork::Make(ops)) => self.shared.work(ops, move |result| {
                if let Some(shared) = shared.upgrade() {
                    lock(&shared.writer).made(mono(), &result);
                }
            }),
            Some(SegmentWork::Remove(ops)) => self.shared.work(ops, move |result| {
                if let Some(shared) = shared.upgrade() {
                    lock(&shared.writer).removed(mono(), &result);
                }
            }),
        }
    }

    fn input(&mut self, input: Input) {
        #[cfg(sim_mutant)]
        let input = crate::mutant::sabotage::forgive(input);
        match input {
            Input::Request { request, timeout, body } => {
                let deadline = mono().after(timeout.min(limits::REQUEST_TIMEOUT_MAX));
                if let Err(failure) = self.request(request, deadline, body) {
                    self.shared.emit(Effect::Reply { request, response: Err(failure) });
                }
            }
            Input::Cancel { request } => self.shared.cancel(request),
            Input::Message(message) => {
                let from = message.from;
                if let Err(reason) = self.message(message) {
                    self.shared.emit(Effect::Event(Event::Dropped { from, reason }));
                }
            }
            Input::Io { io, result: Ok(()) } => {
                let actions = lock(&self.shared.writer).complete(mono(), io);
                actions.into_iter().for_each(|action| action());
            }
            Input::Io { io, result: Err(failed) } => {
                if io.boot == self.shared.boot {
                    let reason = format!(
                        "the log could not be written ({}); what is on the disk is unknown: mend \
                         the disk, then start the node again",
                        failed.reason
                    );
                    self.shared.emit(Effect::Fatal { reason });
                    self.fatal = true;
                }
            }
            Input::Files { io, result } => {
                let waiter = lock(&self.shared.files).worked(io);
                waiter.into_iter().for_each(|then| then(result.clone()));
            }
            Input::FileRead { io, result } => {
                let waiter = lock(&self.shared.files).has_read(io);
                waiter.into_iter().for_each(|then| then(result.clone()));
            }
            Input::Store { io, result } => {
                let waiter = lock(&self.shared.files).stored(io);
                waiter.into_iter().for_each(|then| then(result.clone()));
            }
            Input::Wake => {}
        }
    }

    fn request(&self, request: RequestId, deadline: Instant, body: Request) -> Result<(), Failure> {
        let (Request::Write { namespace, .. } | Request::Read { namespace, .. }) = &body;
        let group = self.shared.config.group(namespace).ok_or(Failure::UnknownNamespace)?;
        // One that has not started yet.
        let group = self.groups.get(&group).ok_or(Failure::Unavailable)?;
        let (live, live_bytes) = self.shared.requests_live();
        let busy = |queue| Failure::Busy { queue, retry_after: BUSY_RETRY_AFTER };
        if live >= limits::REQUESTS_MAX {
            return Err(busy(Queue::Requests));
        }
        let room = |bytes| match live_bytes + bytes > limits::REQUEST_BYTES_MAX {
            true => Err(busy(Queue::RequestBytes)),
            false => Ok(bytes),
        };
        match body {
            Request::Read { id, level: ReadLevel::Eventual, .. } => {
                if self.formation.is_some() {
                    return Err(Failure::Unavailable);
                }
                room(id.as_str().len())?;
                group.read_eventual(request, deadline, id);
            }
            Request::Read { id, level: ReadLevel::Linearizable, .. } => {
                self.shared.admit(request, deadline, room(id.as_str().len())?);
                group.read(request, id);
            }
            Request::Write { id, op, operation, .. } => {
                let op = match op {
                    Some(op) => not_from_future(op)?,
                    None => group.name(),
                };
                let command = Command { op, id, operation };
                let bytes = room(command.bytes())?;
                if self.shared.log_is_full() {
                    return Err(busy(Queue::Wal));
                }
                self.shared.admit(request, deadline, bytes);
                group.write(request, command);
            }
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), DropReason> {
        if message.to != self.shared.identity.node {
            return Err(DropReason::NotForUs);
        }
        let from = message.from;
        if from == message.to || !self.shared.config.nodes.contains(&from) {
            return Err(DropReason::Stranger);
        }
        if !message.is_plausible() {
            return Err(DropReason::Implausible);
        }
        self.pin(from, message.incarnation)?;
        match message.body {
            Body::Hello => self.welcome(from, message.exchange),
            Body::HelloReply { formed, pins } => {
                self.met(from, message.exchange, formed, &pins)?;
            }
            _ if self.formation.is_some() => return Err(DropReason::Unformed),
            _ => self.group_message(message)?,
        }
        Ok(())
    }

    /// Listens to one data folder under a peer's name, the first that was heard of.
    fn pin(&mut self, peer: NodeId, incarnation: Incarnation) -> Result<(), DropReason> {
        match self.peers.get(&peer) {
            Some(known) if *known == incarnation || planted!(WipedNodeVotes) => {}
            // The peer's folder was wiped and made anew: what it promised under its name is gone,
            // so it must not vote or acknowledge under it (NATS 7567; M25).
            Some(_) => return Err(DropReason::OtherIncarnation),
            None => {
                self.peers.insert(peer, incarnation);
                let mut writer = lock(&self.shared.writer);
                if !planted!(PinNotPersisted) {
                    writer.push(&WalRecord::Peer(peer, incarnation));
                }
                let end = writer.end();
                self.formation.iter_mut().for_each(|formation| formation.pinned_upto = end);
            }
        }
        Ok(())
    }

    fn group_message(&self, message: Message) -> Result<(), DropReason> {
        let from = message.from;
        let group = self.groups.get(&message.group).ok_or(DropReason::Stranger)?;
        match message.body {
            body @ (Body::AppendReply(_)
            | Body::VoteReply(_)
            | Body::PreVoteReply(_)
            | Body::SnapshotReply(_)
            | Body::ForwardWriteReply(_)
            | Body::ForwardReadReply(_)) => {
                let waited = self.shared.answered(from, message.exchange, body);
                if waited { Ok(()) } else { Err(DropReason::Stale) }
            }
            Body::Append(_)
            | Body::AskVote(_)
            | Body::AskPreVote(_)
            | Body::Snapshot(_)
            | Body::ForwardWrite { .. }
            | Body::ForwardRead { .. }
            | Body::Hello
            | Body::HelloReply { .. } => group.message(message),
        }
    }
}

fn not_from_future(op: OpId) -> Result<OpId, Failure> {
    let ahead = u64::try_from(limits::OP_TIME_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
    let latest = executor::now().wall.0.saturating_add(ahead);
    match op.time() {
        Some(time) if time.0 > latest => Err(Failure::OpIdFromFuture),
        Some(_) | None => Ok(op),
    }
}

/// The hint that goes with [`Failure::Busy`].
const BUSY_RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(50);
