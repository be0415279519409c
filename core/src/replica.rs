//! The one door: everything that happens to a node's state goes through [`Replica::step`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::backend::{Backend, BackendError};
use crate::command::Command;
use crate::config::{ClusterConfig, LogSizes};
use crate::disk::{DiskImage, DiskOp, FileName, Folder};
use crate::effect::{Answer, Effect, Failure, Queue};
use crate::event::{DropReason, Event};
use crate::formation::Formation;
use crate::input::{Input, IoId, ReadLevel, Request, RequestId, StoreDone};
use crate::limits;
use crate::message::{Body, Exchange, LogPosition, Message, Vote};
use crate::query::{Query, Scan};
use crate::raft::executor::{self, Executor, lock};
use crate::raft::group::{Group, Start};
use crate::raft::shared::{Shared, mono};
use crate::recovery::{self, Groups};
use crate::seed::Seed;
use crate::startup;
use crate::status::{GroupStatus, Status};
use crate::store::StoreView;
use crate::types::{
    ActorId, Boot, GroupId, Identity, Incarnation, Instant, NodeId, Now, OpId, Record, ReplicaId,
};
use crate::wal::frame::{self, Record as WalRecord, SegmentHeader};
use crate::wal::recover::{Unusable, recover};
use crate::wal::writer::{SegmentWork, Writer};

/// Why a replica does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverError {
    /// One line. Unless the folder is damaged, it says what to do.
    pub reason: String,
    /// A promise that this data folder has made may be lost: it must never be started again. The
    /// driver sets it aside and starts with a new one, of another incarnation (ADR 9).
    pub damaged: bool,
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RecoverError {}

impl From<Unusable> for RecoverError {
    fn from(unusable: Unusable) -> RecoverError {
        match unusable {
            Unusable::Damaged(what) => {
                RecoverError { reason: format!("the data is damaged: {what}"), damaged: true }
            }
            Unusable::Unreadable(reason) => RecoverError { reason, damaged: false },
        }
    }
}

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
    /// From whom alone each group takes its first members, while it has none here.
    founders: BTreeMap<GroupId, ReplicaId>,
    /// What the others say of groups without members, or in which this replica has no vote.
    formation: Formation,
    /// There is such a group: this replica shows itself to the others.
    greets: bool,
    /// The data folder that each peer has shown last, and when: a group that does not have it among
    /// its voters may take it in.
    shown: BTreeMap<NodeId, (Incarnation, Instant)>,
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

    /// What makes the log of a data folder that takes the place of `lost`, which was damaged and set
    /// aside. Its groups have begun already, for all it knows: it neither begins them anew nor
    /// promises anybody to do so, also when every member's folder was set aside.
    pub fn format_replacement(
        config: &ClusterConfig,
        identity: &Identity,
        lost: Incarnation,
    ) -> Vec<DiskOp> {
        let mut ops = Replica::format(identity, &config.log);
        if let Some(DiskOp::Write { bytes, .. }) = ops.get_mut(1) {
            let seed = frame::seed(identity);
            let lost = ReplicaId { node: identity.node, incarnation: lost };
            for (group, _) in config.groups() {
                let end = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                frame::encode(bytes, seed, end, 0, &WalRecord::Founder(group, lost));
            }
        }
        ops
    }

    /// What makes the log of the first node of a cluster that goes on from a backup. Each of `groups`
    /// has its state in the folder already, as a snapshot that ends at the given position (see
    /// [`crate::snapshot::Rehome`]), and this replica as its only voter; the others are taken in by
    /// repair. A group that is not among them is a new one, and begins as any other.
    pub fn format_restored(
        config: &ClusterConfig,
        identity: &Identity,
        groups: &[(GroupId, LogPosition)],
    ) -> Vec<DiskOp> {
        let mut ops = Replica::format(identity, &config.log);
        if let Some(DiskOp::Write { bytes, .. }) = ops.get_mut(1) {
            let seed = frame::seed(identity);
            let mut push = |record: &WalRecord| {
                let end = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                frame::encode(bytes, seed, end, 0, record);
            };
            for (group, namespace) in config.groups() {
                let restored = groups.iter().find(|(restored, _)| *restored == group);
                let Some(&(_, position)) = restored else { continue };
                let vote = Vote { term: position.term, node: identity.replica(), committed: false };
                push(&WalRecord::Namespace(group, namespace.clone()));
                // With a vote a group is not new: nobody will be asked to begin it.
                push(&WalRecord::Vote(group, vote));
                push(&WalRecord::Purge(group, position));
            }
        }
        ops
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
        let refused = |reason| RecoverError { reason, damaged: false };
        config.validate().map_err(refused)?;
        let mut recovered = recover(disk, identity).map_err(RecoverError::from)?;
        startup::check(config, identity, &recovered).map_err(refused)?;
        let founders = recovered.groups.iter();
        let founders = founders.filter_map(|(&group, image)| Some((group, image.founder?)));
        let founders = founders.collect();
        let boot = Boot(seed.child("boot").0);
        let writer = Writer::new(boot, &recovered);
        let found = recovery::groups(config, identity, &mut recovered, disk, backend);
        let Groups { starts, records, removals } = found.map_err(RecoverError::from)?;
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
                founders,
                formation: Formation::new(identity.replica(), &config.nodes),
                greets: false,
                shown: BTreeMap::new(),
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
                // What comes after a failed write is about a log or rows that nobody knows any more.
                if node.fatal {
                    return;
                }
            }
            for group in node.groups.values() {
                group.end_turn();
            }
            node.shared.expire(mono());
            node.look_at_the_disk();
            node.found();
            node.repair();
            node.groups.values().for_each(Group::expire);
            node.groups.values().for_each(Group::retain);
            node.run();
            node.greet();
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
        let formation = self.node.formation.deadline().filter(|_| self.node.greets);
        [executor, writer, shared.deadline(), formation].into_iter().flatten().min()
    }

    /// Plain numbers, the same names as the metrics.
    pub fn status(&self) -> Status {
        let shared = &self.node.shared;
        let (writer, health) = (lock(&shared.writer), lock(&shared.health));
        Status {
            identity: shared.identity.clone(),
            boot: shared.boot,
            wal_begin: writer.begin(),
            wal_end: writer.end(),
            wal_durable: writer.durable(),
            formed: !self.node.groups.is_empty() && self.node.unfounded().next().is_none(),
            unmet: self.node.unmet(),
            disk_free: health.free(),
            disk_low: health.is_low(),
            requests_live: shared.requests_live().0,
            groups: self.node.groups.values().map(|group| self.node.group_status(group)).collect(),
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

    /// A look at the whole state of a group, as this replica has applied it, in O(1). `None` where the
    /// rows are in a backend, whose own snapshot shows them, or when the group has not started.
    pub fn view(&self, group: GroupId) -> Option<StoreView> {
        self.node.groups.get(&group)?.view()
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
    }

    /// Takes in the groups that have started. One whose rows are outside the core reads some of
    /// them first, to apply again what was committed.
    fn take_started(&mut self) {
        let started = std::mem::take(&mut *lock(&self.starting));
        for group in started {
            match group {
                Ok(group) => {
                    self.groups.insert(group.id, Arc::new(group));
                }
                Err(reason) => {
                    self.shared.emit(Effect::Fatal { reason, damaged: self.shared.is_damaged() })
                }
            }
        }
    }

    /// Groups of which this replica holds nothing, and nobody else either as far as it knows.
    fn unfounded(&self) -> impl Iterator<Item = &Arc<Group>> {
        let held = |id| self.formation.is_held(id);
        self.groups.values().filter(move |group| group.is_pristine() && !held(group.id))
    }

    /// Whether this replica does not know better than that nobody has begun the group.
    fn may_begin(&self, group: GroupId) -> bool {
        let founder = self.founders.get(&group);
        founder.is_none_or(|founder| founder.node != self.shared.replica.node)
    }

    fn unmet(&self) -> Vec<NodeId> {
        let unmet = |group: &Arc<Group>| match self.may_begin(group.id) {
            true => self.formation.unmet(group.id),
            false => self.formation.others().to_vec(),
        };
        let unmet: BTreeSet<NodeId> = self.unfounded().flat_map(unmet).collect();
        unmet.into_iter().collect()
    }

    fn group_status(&self, group: &Group) -> GroupStatus {
        let mut status = group.status();
        status.joining |= group.is_pristine() && self.formation.is_held(group.id);
        status
    }

    /// Writes the first members of the groups that this replica may found (ADR 9).
    fn found(&self) {
        for group in self.unfounded().filter(|group| self.may_begin(group.id)) {
            if let Some(voters) = self.formation.voters(group.id) {
                self.shared.emit(Effect::Event(Event::Formed { group: group.id }));
                group.found(voters);
            }
        }
    }

    /// Lets the groups that this replica leads take in the data folders that are shown.
    fn repair(&mut self) {
        self.shown.retain(|_, (_, at)| mono().since(*at) < limits::SHOWN_FOR);
        let shown = self.shown.iter().map(|(&node, &(incarnation, _))| (node, incarnation));
        let shown = shown.collect();
        self.groups.values().for_each(|group| group.repair(&shown));
    }

    /// Shows this replica to every peer while it has no vote in some group.
    fn greet(&mut self) {
        self.greets = self.groups.values().any(|group| !group.is_voter());
        if self.greets {
            for peer in self.formation.due(mono()) {
                self.shared.hello(peer);
            }
        }
    }

    /// Answers a peer that shows itself. What the answer promises is on the disk before it leaves.
    fn welcome(&mut self, peer: ReplicaId, exchange: Exchange) {
        self.shown.insert(peer.node, (peer.incarnation, mono()));
        let (empty, held): (Vec<&Arc<Group>>, Vec<&Arc<Group>>) =
            self.groups.values().partition(|group| group.is_pristine());
        let held = held.into_iter().map(|group| group.id).collect();
        let mut promised = Vec::new();
        if peer.node == self.formation.founder() {
            for group in empty.into_iter().map(|group| group.id) {
                let founder = *self.founders.entry(group).or_insert_with(|| {
                    if !planted!(PinNotPersisted) {
                        lock(&self.shared.writer).push(&WalRecord::Founder(group, peer));
                    }
                    peer
                });
                // Another folder of the founder: it has lost the one that may have begun the group.
                if founder == peer {
                    promised.push(group);
                }
            }
        }
        let shared = Arc::downgrade(&self.shared);
        let answer = move || {
            if let Some(shared) = shared.upgrade() {
                let body = Body::HelloReply { held, promised };
                shared.answer(peer, GroupId::META, exchange, body);
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
        // Session reads wait for what was just applied, and may have to read it from a store.
        while self.groups.values().any(Group::release) {
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
                    let from = from.node;
                    self.shared.emit(Effect::Event(Event::Dropped { from, reason }));
                }
            }
            Input::Space { free } => self.space(free),
            Input::Io { io, result: Ok(()) } => {
                self.look_at_the_disk();
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
                    // Perhaps whole: the next start reads it.
                    self.end(reason, false);
                }
            }
            Input::Files { io, result: Err(failed) } if failed.lost_names => {
                if io.boot == self.shared.boot {
                    let reason = format!(
                        "a folder could not be synced ({}); which files it holds is unknown: mend \
                         the disk, then start the node again",
                        failed.reason
                    );
                    self.end(reason, false);
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
            Input::Store { io, result } => self.stored(io, result),
            Input::Wake => {}
        }
    }

    /// After a failed write nothing that the store shows is the state it is said to be, not even what
    /// is heard in the same turn.
    fn stored(&mut self, io: IoId, result: Result<StoreDone, BackendError>) {
        let Some(asked) = lock(&self.shared.files).stored(io) else { return };
        let group = asked.group;
        match result {
            Err(BackendError { reason, damaged: true }) => {
                self.end(format!("the store of group {group} is damaged: {reason}"), true);
            }
            Err(BackendError { reason, .. }) if !asked.may_fail => {
                let reason = format!(
                    "the store of group {group} failed ({reason}); what it holds is unknown: mend \
                     the disk, then start the node again",
                );
                self.end(reason, false);
            }
            result => (asked.then)(result),
        }
    }

    /// What comes later in this turn is not looked at any more.
    fn end(&mut self, reason: String, damaged: bool) {
        self.shared.emit(Effect::Fatal { reason, damaged });
        self.fatal = true;
    }

    fn space(&self, free: u64) {
        let checkpoints = self.groups.values().map(|group| group.snapshots().bytes());
        let (checkpoint, segment) =
            (checkpoints.max().unwrap_or(0), lock(&self.shared.writer).segment_bytes());
        lock(&self.shared.health).space(free, segment, checkpoint);
    }

    /// Notes a write that takes long: before it is done, and when it is.
    fn look_at_the_disk(&self) {
        let age = lock(&self.shared.writer).age(mono());
        lock(&self.shared.health).wrote(mono(), age);
    }

    fn request(&self, request: RequestId, deadline: Instant, body: Request) -> Result<(), Failure> {
        let group = self.shared.config.group(body.namespace()).ok_or(Failure::UnknownNamespace)?;
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
            Request::Read { id, level, .. } => {
                let query = Query::Actor(id);
                room(query.bytes())?;
                self.read(group, (request, deadline), query, level);
            }
            Request::Scan { prefix, after, limit, level, .. } => {
                let query = Query::Scan(Scan { prefix, after, limit });
                room(query.bytes())?;
                self.read(group, (request, deadline), query, level);
            }
            Request::Changes { query, level, .. } => {
                let query = Query::Changes(query);
                room(query.bytes())?;
                self.read(group, (request, deadline), query, level);
            }
            Request::Session { .. } => {
                let response = Ok(Answer::Session(group.session()));
                self.shared.emit(Effect::Reply { request, response });
            }
            Request::Write { op, work, .. } => {
                let op = match op {
                    Some(op) => not_from_future(op)?,
                    None => group.name(),
                };
                let command = Command { op, work };
                let bytes = room(command.bytes())?;
                if let Some(queue) = self.shared.no_room_for([&command].into_iter()) {
                    return Err(busy(queue));
                }
                self.shared.admit(request, deadline, bytes);
                group.write(request, command);
            }
        }
        Ok(())
    }

    fn read(
        &self,
        group: &Arc<Group>,
        (request, deadline): (RequestId, Instant),
        query: Query,
        level: ReadLevel,
    ) {
        let lease = match level {
            ReadLevel::Eventual => return group.read_local((request, deadline), query, None),
            ReadLevel::Session { min } => {
                return group.read_local((request, deadline), query, Some(min));
            }
            ReadLevel::Lease => true,
            ReadLevel::Linearizable => false,
        };
        self.shared.admit(request, deadline, query.bytes());
        group.read(request, query, lease);
    }

    fn message(&mut self, message: Message) -> Result<(), DropReason> {
        if message.to != self.shared.replica.node {
            return Err(DropReason::NotForUs);
        }
        // Meant for a data folder that is lost: what it had promised, this one has not (M25).
        let meant = message.incarnation.filter(|_| !planted!(LostFolderAnswers));
        if meant.is_some_and(|meant| meant != self.shared.replica.incarnation) {
            return Err(DropReason::OtherIncarnation);
        }
        let from = message.from;
        if from.node == message.to || !self.shared.config.nodes.contains(&from.node) {
            return Err(DropReason::Stranger);
        }
        if !message.is_plausible() {
            return Err(DropReason::Implausible);
        }
        lock(&self.shared.health).heard(from, message.ailing);
        match message.body {
            Body::Hello => self.welcome(from, message.exchange),
            Body::HelloReply { .. } if !self.shared.is_ours(message.exchange) => {
                return Err(DropReason::Stale);
            }
            Body::HelloReply { held, promised } => {
                self.formation.answered(from, held, promised);
            }
            _ => self.group_message(message)?,
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
            | Body::TransferReply
            | Body::ForwardWriteReply(_)
            | Body::ForwardReadReply(_)) => {
                let waited = self.shared.answered(from, message.exchange, body);
                if waited { Ok(()) } else { Err(DropReason::Stale) }
            }
            Body::Append(_)
            | Body::AskVote(_)
            | Body::AskPreVote(_)
            | Body::Snapshot(_)
            | Body::Transfer(_)
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
