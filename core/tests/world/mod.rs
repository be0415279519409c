//! The smallest driver: an instant network and disks that complete at once, unless told otherwise.

// Each test file needs only a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use understudy_core::backend::{self, Backend, BackendError, MemoryBackend, View};
use understudy_core::effect::StoreOp;
use understudy_core::input::StoreDone;
use understudy_core::*;

pub const GROUP: GroupId = GroupId(1);

pub struct World {
    config: ClusterConfig,
    seed: Seed,
    nodes: Vec<Node>,
    /// Links that lose everything, in this direction.
    cuts: BTreeSet<(usize, usize)>,
    now: u64,
    next_request: u64,
    replies: BTreeMap<RequestId, Response>,
    /// Whether every effect of every step is kept.
    pub traces: bool,
    /// Every effect of every step.
    pub trace: String,
    /// Messages dropped because their sender's folder was made anew.
    pub dropped_other_incarnation: usize,
    /// Messages dropped because no replica says such a thing.
    pub dropped_implausible: usize,
    /// Bytes of the largest message sent.
    pub largest_message: usize,
    /// Whether what hands leadership over is lost.
    pub lose_transfers: bool,
    /// Chunks of snapshots that were sent, and which of them are lost.
    pub chunks: usize,
    pub lost_chunks: std::ops::Range<usize>,
    /// Bytes of snapshots that were sent.
    pub sent_snapshot_bytes: u64,
    /// Bytes of the last snapshot that was sent.
    pub snapshot_bytes: u64,
    /// How long clients wait.
    pub timeout: Duration,
}

struct Node {
    identity: Identity,
    replica: Option<Replica>,
    disk: MemoryDisk,
    segment_bytes: u64,
    backend: MemoryBackend,
    disk_fails: bool,
    store_fails: bool,
    folder_fails: bool,
    /// Writes that do not complete until the disk is let go on.
    disk_held: Option<Vec<(IoId, u64, Vec<u8>)>>,
    inbox: VecDeque<Input>,
    boots: u64,
    wall_ahead_ms: u64,
    /// The changes that the node has told of since it started, and how often it has jumped.
    told: Vec<Change>,
    last: Sequence,
    jumps: usize,
}

fn formatted(identity: &Identity, sizes: &LogSizes) -> MemoryDisk {
    let mut disk = MemoryDisk::default();
    disk.apply(&Replica::format(identity, sizes)).unwrap();
    disk
}

pub fn id(id: &str) -> ActorId {
    ActorId::new(id).unwrap()
}

pub fn json(text: &str) -> Json {
    Json::new(text.as_bytes())
}

pub fn create(actor: &str, value: &str) -> (ActorId, Operation) {
    (id(actor), Operation::Create { content: json(value).into() })
}

pub fn put(actor: &str, value: &str) -> (ActorId, Operation) {
    (id(actor), Operation::Put { content: json(value).into() })
}

pub fn op(n: u128) -> OpId {
    OpId::timed(Timestamp(1_000_000), n)
}

impl Node {
    fn store(&mut self, group: GroupId, op: StoreOp) -> Result<StoreDone, BackendError> {
        match op {
            StoreOp::Read(keys) => {
                let rows = keys.iter().map(|key| self.backend.get(key));
                return Ok(StoreDone::Rows(rows.collect::<Result<_, _>>()?));
            }
            StoreOp::Scan { from, until, limit, bytes } => {
                let (rows, more) = backend::scan(&self.backend, &from, &until, limit, bytes)?;
                return Ok(StoreDone::Scanned(rows, more));
            }
            StoreOp::Write(_) if self.store_fails => {
                return Err(BackendError { reason: "no space".to_owned(), damaged: false });
            }
            StoreOp::Write(batch) => self.backend.write(&batch)?,
            StoreOp::Flush => self.backend.flush()?,
            StoreOp::Export(file) => {
                let mut bytes = Vec::new();
                snapshot::export(&self.backend, group, &mut |block| {
                    bytes.extend_from_slice(block);
                    Ok(())
                })?;
                let length = bytes.len() as u64;
                let ops =
                    [DiskOp::Create { file, size: 0 }, DiskOp::Write { file, offset: 0, bytes }];
                self.disk.apply(&ops).unwrap();
                return Ok(StoreDone::Exported(length));
            }
            StoreOp::Import(file) => {
                let disk = &self.disk;
                snapshot::import(&self.backend, group, &mut |offset, length| {
                    Ok(disk.read(file, offset, length).unwrap())
                })?;
            }
        }
        Ok(StoreDone::Done)
    }
}

impl Node {
    fn tell(&mut self, after: Sequence, changes: Vec<Change>) {
        if after != self.last {
            self.told.clear();
            self.jumps += 1;
        }
        self.last = after;
        for change in changes {
            self.last.0 += 1;
            assert_eq!(change.sequence, self.last, "changes are told in order, without gap");
            self.told.push(change);
        }
    }
}

impl World {
    pub fn new(nodes: u64, seed: u64) -> World {
        let sizes = LogSizes { segment_bytes: 16 * 1024 * 1024, ..LogSizes::production() };
        World::with(nodes, seed, sizes, Storage::Memory)
    }

    pub fn with(nodes: u64, seed: u64, log: LogSizes, storage: Storage) -> World {
        World::retaining(nodes, seed, log, storage, Retention::production())
    }

    pub fn retaining(
        nodes: u64,
        seed: u64,
        log: LogSizes,
        storage: Storage,
        retention: Retention,
    ) -> World {
        let cluster = ClusterId("test".to_owned());
        let config = ClusterConfig {
            cluster: cluster.clone(),
            nodes: (1..=nodes).map(NodeId).collect(),
            namespaces: vec![Namespace::new("things").unwrap()],
            storage: [(Namespace::new("things").unwrap(), storage)]
                .into_iter()
                .filter(|(_, storage)| *storage != Storage::Memory)
                .collect(),
            timing: Timing::production(),
            log,
            retention,
        };
        let mut world = World {
            seed: Seed(seed),
            nodes: Vec::new(),
            cuts: BTreeSet::new(),
            now: 0,
            next_request: 0,
            replies: BTreeMap::new(),
            traces: true,
            trace: String::new(),
            dropped_other_incarnation: 0,
            dropped_implausible: 0,
            largest_message: 0,
            lose_transfers: false,
            chunks: 0,
            lost_chunks: 0..0,
            sent_snapshot_bytes: 0,
            snapshot_bytes: 0,
            timeout: Duration::from_secs(2),
            config,
        };
        let config_sizes = world.config.log.clone();
        for node in 1..=nodes {
            let identity = Identity {
                cluster: cluster.clone(),
                node: NodeId(node),
                incarnation: Incarnation(node),
            };
            let disk = formatted(&identity, &config_sizes);
            let (replica, inbox) = (None, VecDeque::new());
            let node = Node {
                identity,
                replica,
                disk,
                segment_bytes: config_sizes.segment_bytes,
                backend: MemoryBackend::default(),
                disk_fails: false,
                store_fails: false,
                folder_fails: false,
                disk_held: None,
                inbox,
                boots: 0,
                wall_ahead_ms: 0,
                told: Vec::new(),
                last: Sequence(0),
                jumps: 0,
            };
            world.nodes.push(node);
            world.restart(world.nodes.len() - 1);
        }
        world
    }

    pub fn restart(&mut self, at: usize) {
        self.try_restart(at).unwrap();
    }

    pub fn config_mut(&mut self) -> &mut ClusterConfig {
        &mut self.config
    }

    pub fn move_wall(&mut self, at: usize, ahead_ms: u64) {
        self.nodes[at].wall_ahead_ms = ahead_ms;
    }

    /// As if the node's member had also started with another data folder.
    pub fn show(&mut self, at: usize, from: ReplicaId) {
        let exchange = message::Exchange { boot: Boot(0), number: 1 };
        let (to, group, body) = (self.nodes[at].identity.node, GroupId::META, message::Body::Hello);
        let message = Message { from, to, incarnation: None, group, exchange, ailing: false, body };
        self.nodes[at].inbox.push_back(Input::Message(message));
    }

    /// A message that nobody has sent.
    pub fn inject(&mut self, at: usize, from: &Identity, body: message::Body) {
        let exchange = message::Exchange { boot: Boot(0), number: 1 };
        let Identity { node: to, incarnation, .. } = self.nodes[at].identity;
        let (from, incarnation) = (from.replica(), Some(incarnation));
        let message =
            Message { from, to, incarnation, group: GROUP, exchange, ailing: false, body };
        self.nodes[at].inbox.push_back(Input::Message(message));
    }

    pub fn try_restart(&mut self, at: usize) -> Result<(), RecoverError> {
        let node = &mut self.nodes[at];
        node.boots += 1;
        let seed = self.seed.child(&format!("node/{at}/{}", node.boots));
        let mut replica = {
            let (disk, backend) = (&node.disk, Some(&node.backend as &dyn backend::Backend));
            Replica::recover(&self.config, &node.identity, seed, disk, backend)?
        };
        node.disk.apply(&replica.take_repairs()).unwrap();
        node.segment_bytes = replica.segment_bytes();
        node.replica = Some(replica);
        node.inbox.push_back(Input::Wake);
        Ok(())
    }

    pub fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.replica = None;
        node.disk_held = None;
        node.store_fails = false;
        node.folder_fails = false;
        node.inbox.clear();
    }

    /// All at once: nobody is left who remembers.
    pub fn restart_all(&mut self) {
        let nodes = 0..self.nodes.len();
        nodes.clone().for_each(|at| self.crash(at));
        nodes.for_each(|at| self.restart(at));
    }

    pub fn wipe(&mut self, at: usize) {
        self.crash(at);
        let node = &mut self.nodes[at];
        node.identity.incarnation = Incarnation(node.identity.incarnation.0 + 100);
        node.disk = formatted(&node.identity, &self.config.log);
        self.restart(at);
    }

    /// A backup of the group, as the node has applied it: the bytes of its snapshot.
    pub fn backup(&self, at: usize) -> Vec<u8> {
        let node = &self.nodes[at];
        let origin = store::keys::Origin {
            cluster: self.config.cluster.clone(),
            group: GROUP,
            namespace: self.config.namespaces[0].clone(),
        };
        if let Some(view) = self.replica(at).view(GROUP) {
            return snapshot::Encoder::new(origin, view).flatten().collect();
        }
        let mut bytes = Vec::new();
        let view = node.backend.snapshot().unwrap();
        snapshot::export(view.as_ref(), GROUP, &mut |block| {
            bytes.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        bytes
    }

    /// Gives the node the folder that a restore of `backup` makes, and starts it.
    pub fn restore(&mut self, at: usize, backup: &[u8]) {
        self.crash(at);
        let node = &mut self.nodes[at];
        let origin = store::keys::Origin {
            cluster: self.config.cluster.clone(),
            group: GROUP,
            namespace: self.config.namespaces[0].clone(),
        };
        let mut rehome = snapshot::Rehome::new(origin, node.identity.replica());
        let mut bytes = Vec::new();
        for piece in backup.chunks(10_000) {
            bytes.extend(rehome.push(piece).unwrap());
        }
        let (end, position) = rehome.finish().unwrap();
        bytes.extend(end);
        let file = FileName::Snapshot(GROUP, position);
        let groups = [(GROUP, position)];
        let log = Replica::format_restored(&self.config, &node.identity, &groups);
        let ops = [DiskOp::Create { file, size: 0 }, DiskOp::Write { file, offset: 0, bytes }];
        node.disk = MemoryDisk::default();
        node.backend = MemoryBackend::default();
        node.disk.apply(&log).unwrap();
        node.disk.apply(&ops).unwrap();
        self.restart(at);
    }

    pub fn disk(&mut self, at: usize) -> &mut MemoryDisk {
        &mut self.nodes[at].disk
    }

    /// Finds the node's log damaged, sets its folder aside, and starts it with a new one.
    pub fn damage(&mut self, at: usize) {
        self.crash(at);
        let log = self.nodes[at].disk.bytes_mut(FileName::Segment(0)).unwrap();
        let middle = log.len() / 2;
        log[middle] ^= 1;
        let error = self.try_restart(at).unwrap_err();
        assert!(error.damaged, "{error}");
        let (node, config) = (&mut self.nodes[at], &self.config);
        let lost = node.identity.incarnation;
        node.identity.incarnation = Incarnation(lost.0 + 100);
        node.disk = MemoryDisk::default();
        node.backend = MemoryBackend::default();
        node.disk.apply(&Replica::format_replacement(config, &node.identity, lost)).unwrap();
        self.restart(at);
    }

    /// A copy of a node's data folder.
    pub fn folder(&self, at: usize) -> (Identity, MemoryDisk) {
        (self.nodes[at].identity.clone(), self.nodes[at].disk.clone())
    }

    /// Puts a copy of a data folder in the place of the node's own, and starts the node.
    pub fn put_folder(&mut self, at: usize, (identity, disk): (Identity, MemoryDisk)) {
        self.crash(at);
        (self.nodes[at].identity, self.nodes[at].disk) = (identity, disk);
        self.restart(at);
    }

    /// Who the node is with its present data folder.
    pub fn id_of(&self, at: usize) -> ReplicaId {
        self.nodes[at].identity.replica()
    }

    /// The voters of the group, as the node has applied them.
    pub fn voters(&self, at: usize) -> Vec<ReplicaId> {
        self.group(at).voters
    }

    /// Everybody's present data folder, which are the voters of a group that is whole.
    pub fn everybody(&self) -> Vec<ReplicaId> {
        (0..self.nodes.len()).map(|at| self.id_of(at)).collect()
    }

    pub fn fail_disk(&mut self, at: usize) {
        self.nodes[at].disk_fails = true;
    }

    /// Until the node crashes the names of its files do not become durable.
    pub fn fail_folder(&mut self, at: usize) {
        self.nodes[at].folder_fails = true;
    }

    /// Until the node crashes its store takes no writes; reads it answers.
    pub fn fail_store(&mut self, at: usize) {
        self.nodes[at].store_fails = true;
    }

    /// Writes are not durable from here on; a crash loses them.
    pub fn hold_disk(&mut self, at: usize) {
        self.nodes[at].disk_held = Some(Vec::new());
    }

    /// The node's disk has so much room.
    pub fn tell_space(&mut self, at: usize, free: u64) {
        self.nodes[at].inbox.push_back(Input::Space { free });
    }

    /// Loses everything that goes from one node to another.
    /// The held writes end in one turn: the first fails, the later ones are reported as synced.
    pub fn fail_first_held(&mut self, at: usize) -> usize {
        let node = &mut self.nodes[at];
        let held = node.disk_held.take().unwrap_or_default();
        for (place, (io, ..)) in held.iter().enumerate() {
            let failed = IoFailed::new("input/output error");
            let result = if place == 0 { Err(failed) } else { Ok(()) };
            node.inbox.push_back(Input::Io { io: *io, result });
        }
        held.len()
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    pub fn replica(&self, at: usize) -> &Replica {
        self.nodes[at].replica.as_ref().unwrap()
    }

    pub fn group(&self, at: usize) -> GroupStatus {
        self.replica(at).status().groups.remove(0)
    }

    /// Steps everybody until nothing is left to do at this time, then jumps to the next deadline.
    fn tick(&mut self, until: u64) -> bool {
        let mut busy = false;
        for at in 0..self.nodes.len() {
            busy |= self.step(at);
        }
        if busy {
            return true;
        }
        let replicas = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let next = replicas.filter_map(Replica::deadline).map(|due| due.0).min();
        let next = next.unwrap_or(until).max(self.now + 1);
        if next > until {
            self.now = until;
            return false;
        }
        self.now = next;
        true
    }

    fn step(&mut self, at: usize) -> bool {
        let mono = Instant(self.now);
        let node = &mut self.nodes[at];
        let wall = Timestamp(1_000_000 + self.now / 1_000_000 + node.wall_ahead_ms);
        let now = Now { mono, wall };
        let Some(replica) = &mut node.replica else { return false };
        let due = replica.deadline().is_some_and(|due| due <= mono);
        if node.inbox.is_empty() && !due {
            return false;
        }
        let mut effects = Vec::new();
        replica.step(now, std::mem::take(&mut node.inbox), &mut effects);
        replica.check();
        for effect in effects {
            if self.traces {
                self.trace.push_str(&format!("{at} {effect:?}\n"));
            }
            self.effect(at, effect);
        }
        true
    }

    fn effect(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.largest_message = self.largest_message.max(codec::encode(&message).len());
                if self.lose_transfers && matches!(message.body, message::Body::Transfer(_)) {
                    return;
                }
                if let message::Body::Snapshot(chunk) = &message.body {
                    self.sent_snapshot_bytes += chunk.bytes.0.len() as u64;
                    self.snapshot_bytes = chunk.length;
                    self.chunks += 1;
                    if self.lost_chunks.contains(&self.chunks) {
                        return;
                    }
                }
                let to = self.nodes.iter().position(|node| node.identity.node == to).unwrap();
                if self.nodes[to].replica.is_some() && !self.cuts.contains(&(at, to)) {
                    self.nodes[to].inbox.push_back(Input::Message(message));
                }
            }
            Effect::WalWrite { io, offset, bytes } => {
                let node = &mut self.nodes[at];
                if let Some(held) = &mut node.disk_held {
                    return held.push((io, offset, bytes));
                }
                let result = if node.disk_fails {
                    Err(IoFailed::new("input/output error"))
                } else {
                    node.disk.write_log(node.segment_bytes, offset, bytes)
                };
                node.inbox.push_back(Input::Io { io, result });
            }
            Effect::Files { io, ops } => {
                let node = &mut self.nodes[at];
                let result = node.disk.apply(&ops);
                let syncs = ops.iter().any(|op| matches!(op, DiskOp::SyncFolder { .. }));
                let lost = IoFailed { lost_names: true, ..IoFailed::new("input/output error") };
                let result = if node.folder_fails && syncs { Err(lost) } else { result };
                node.inbox.push_back(Input::Files { io, result });
            }
            Effect::FileRead { io, file, offset, length } => {
                let node = &mut self.nodes[at];
                let result = node.disk.read(file, offset, length);
                node.inbox.push_back(Input::FileRead { io, result });
            }
            Effect::Store { io, group, op } => {
                let result = self.nodes[at].store(group, op);
                self.nodes[at].inbox.push_back(Input::Store { io, result });
            }
            Effect::Reply { request, response } => {
                let twice = self.replies.insert(request, response);
                assert!(twice.is_none(), "one reply per request");
            }
            Effect::Event(Event::Dropped { reason: DropReason::OtherIncarnation, .. }) => {
                self.dropped_other_incarnation += 1;
            }
            Effect::Event(Event::Dropped { reason: DropReason::Implausible, .. }) => {
                self.dropped_implausible += 1;
            }
            Effect::Changes { after, changes, .. } => self.nodes[at].tell(after, changes),
            Effect::Event(_) | Effect::Fatal { .. } => {}
        }
    }

    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration.as_nanos() as u64;
        while self.tick(until) {}
    }

    /// Runs until `done`, for at most `limit`; looks after every turn of the nodes.
    #[track_caller]
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&World) -> bool) {
        let until = self.now + limit.as_nanos() as u64;
        while !done(self) {
            assert!(self.tick(until), "it has not come about");
        }
    }

    pub fn settle(&mut self) {
        self.run_for(Duration::from_millis(500));
    }

    /// Runs until somebody leads and can write.
    pub fn elect(&mut self) -> usize {
        for _ in 0..100 {
            self.run_for(Duration::from_millis(50));
            let leader = (0..self.nodes.len()).find(|&at| {
                self.nodes[at].replica.is_some()
                    && self.group(at).role == Role::Leader
                    && self.group(at).applied > 0
            });
            if let Some(leader) = leader {
                return leader;
            }
        }
        panic!("nobody was elected in 5 s of virtual time");
    }

    fn request(&mut self, at: usize, body: Request) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let timeout = self.timeout;
        self.nodes[at].inbox.push_back(Input::Request { request, timeout, body });
        request
    }

    pub fn answer(&mut self, request: RequestId) -> Response {
        for _ in 0..300 {
            if let Some(response) = self.replies.remove(&request) {
                return response;
            }
            self.run_for(Duration::from_millis(10));
        }
        panic!("no answer in 3 s of virtual time");
    }

    /// Asks anything, and waits.
    pub fn ask(&mut self, at: usize, body: Request) -> Response {
        let request = self.request(at, body);
        self.answer(request)
    }

    fn write_request(
        &mut self,
        at: usize,
        op: Option<OpId>,
        what: (ActorId, Operation),
    ) -> RequestId {
        let namespace = self.config.namespaces[0].clone();
        let (id, operation) = what;
        self.request(at, Request::write(namespace, id, op, operation))
    }

    pub fn send(&mut self, at: usize, what: (ActorId, Operation)) -> RequestId {
        self.write_request(at, None, what)
    }

    pub fn cancel(&mut self, at: usize, request: RequestId) {
        self.nodes[at].inbox.push_back(Input::Cancel { request });
    }

    pub fn has_answer(&self, request: RequestId) -> bool {
        self.replies.contains_key(&request)
    }

    pub fn write(&mut self, at: usize, what: (ActorId, Operation)) -> Response {
        let request = self.write_request(at, None, what);
        self.answer(request)
    }

    pub fn write_named(&mut self, at: usize, op: OpId, what: (ActorId, Operation)) -> Response {
        let request = self.write_request(at, Some(op), what);
        self.answer(request)
    }

    pub fn write_together(
        &mut self,
        at: usize,
        what: impl IntoIterator<Item = (ActorId, Operation)>,
    ) -> Vec<Response> {
        let what: Vec<_> = what.into_iter().collect();
        let requests: Vec<_> =
            what.into_iter().map(|what| self.write_request(at, None, what)).collect();
        requests.into_iter().map(|request| self.answer(request)).collect()
    }

    pub fn read_at(&mut self, at: usize, actor: &str, level: ReadLevel) -> Response {
        let request = self.send_read(at, actor, level);
        self.answer(request)
    }

    pub fn send_read(&mut self, at: usize, actor: &str, level: ReadLevel) -> RequestId {
        let namespace = self.config.namespaces[0].clone();
        self.request(at, Request::Read { namespace, id: id(actor), level })
    }

    /// A page behind `after` of the actors that begin with `prefix`.
    pub fn scan(
        &mut self,
        at: usize,
        page: (&str, Option<&str>, usize),
        level: ReadLevel,
    ) -> Response {
        let request = self.send_scan(at, page, level);
        self.answer(request)
    }

    pub fn send_scan(
        &mut self,
        at: usize,
        (prefix, after, limit): (&str, Option<&str>, usize),
        level: ReadLevel,
    ) -> RequestId {
        let namespace = self.config.namespaces[0].clone();
        let (prefix, after) = (prefix.to_owned(), after.map(id));
        self.request(at, Request::Scan { namespace, prefix, after, limit, level })
    }

    /// A page of changes.
    pub fn changes(
        &mut self,
        at: usize,
        since: Since,
        limit: usize,
        level: ReadLevel,
    ) -> (Changes, Sequence) {
        let namespace = self.config.namespaces[0].clone();
        let query = ChangesQuery { since, limit };
        let request = self.request(at, Request::Changes { namespace, query, level });
        match self.answer(request) {
            Ok(Answer::Changes { changes, sequence, .. }) => (changes, sequence),
            other => panic!("no changes: {other:?}"),
        }
    }

    /// What a node has told of since it started or last jumped, and how often it has jumped.
    pub fn told(&self, at: usize) -> (&[Change], usize) {
        (&self.nodes[at].told, self.nodes[at].jumps)
    }

    pub fn read_together(
        &mut self,
        at: usize,
        actors: impl IntoIterator<Item = String>,
    ) -> Vec<Response> {
        let namespace = self.config.namespaces[0].clone();
        let level = ReadLevel::Linearizable;
        let requests: Vec<_> = actors
            .into_iter()
            .map(|actor| {
                let namespace = namespace.clone();
                self.request(at, Request::Read { namespace, id: id(&actor), level })
            })
            .collect();
        requests.into_iter().map(|request| self.answer(request)).collect()
    }

    pub fn read(&mut self, at: usize, actor: &str) -> Response {
        self.read_at(at, actor, ReadLevel::Linearizable)
    }

    pub fn read_eventual(&mut self, at: usize, actor: &str) -> Response {
        self.read_at(at, actor, ReadLevel::Eventual)
    }
}
