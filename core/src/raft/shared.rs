//! What all groups of one replica share: the effects of the step, the end of the WAL, the
//! questions that wait for an answer and the clients that wait for theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use openraft::async_runtime::OneshotSender as _;

use super::channel::{OneshotSender, oneshot};
use super::executor::{self, lock};
use super::runtime::timeout_at;
use crate::command::Command;
use crate::config::ClusterConfig;
use crate::disk::{DiskOp, FileName};
#[cfg(sim_mutant)]
use crate::effect::Answer;
use crate::effect::{Effect, Failure, Queue, Response};
use crate::files::Files;
use crate::health::Health;
use crate::input::IoFailed;
use crate::input::RequestId;
use crate::limits;
use crate::message::{Body, Exchange, Message};
use crate::types::{Boot, GroupId, Identity, Incarnation, Instant, NodeId, ReplicaId, Sequence};
use crate::wal::writer::Writer;

/// See the module. Behind mutexes only because openraft wants `Send`: one thread uses it.
pub struct Shared {
    pub identity: Identity,
    /// The identity as Raft knows it.
    pub replica: ReplicaId,
    pub boot: Boot,
    pub config: ClusterConfig,
    pub writer: Mutex<Writer>,
    pub files: Mutex<Files>,
    pub health: Mutex<Health>,
    effects: Mutex<Vec<Effect>>,
    exchanges: Mutex<Exchanges>,
    requests: Mutex<Requests>,
    /// Requests that peers have forwarded here and that have no answer yet.
    forwarded: AtomicUsize,
    /// A store said that what it holds is damaged.
    damaged: AtomicBool,
}

#[derive(Default)]
struct Exchanges {
    asked: u64,
    open: BTreeMap<u64, (ReplicaId, OneshotSender<Body>)>,
}

#[derive(Default)]
struct Requests {
    live: BTreeMap<RequestId, Live>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
    bytes: usize,
}

impl Requests {
    /// False when it had its answer already.
    fn remove(&mut self, request: RequestId) -> bool {
        let Some(live) = self.live.remove(&request) else { return false };
        self.by_deadline.remove(&(live.deadline, request));
        self.bytes -= live.bytes;
        true
    }
}

struct Live {
    deadline: Instant,
    bytes: usize,
    /// An attempt is under way, or has ended without an answer: it may have happened.
    maybe: bool,
    /// A session's read that waits until so much is applied here.
    behind: Option<Sequence>,
}

impl Live {
    /// What it hears at its deadline.
    fn late(&self) -> Failure {
        match self.behind {
            _ if self.maybe && !planted!(UnknownCalledRefused) => Failure::Unknown,
            Some(min) => Failure::Behind { min },
            None => Failure::Unavailable,
        }
    }
}

impl Shared {
    pub fn new(identity: Identity, boot: Boot, config: ClusterConfig, writer: Writer) -> Shared {
        Shared {
            replica: identity.replica(),
            identity,
            boot,
            config,
            writer: Mutex::new(writer),
            files: Mutex::new(Files::new(boot)),
            health: Mutex::default(),
            effects: Mutex::default(),
            exchanges: Mutex::default(),
            requests: Mutex::default(),
            forwarded: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
        }
    }

    // ---- effects ------------------------------------------------------------------------------

    pub fn emit(&self, effect: Effect) {
        lock(&self.effects).push(effect);
    }

    pub fn take_effects(&self) -> Vec<Effect> {
        std::mem::take(&mut lock(&self.effects))
    }

    fn send(
        &self,
        (to, incarnation): (NodeId, Option<Incarnation>),
        group: GroupId,
        exchange: Exchange,
        body: Body,
    ) {
        let ailing = lock(&self.health).is_ailing(mono());
        let from = self.replica;
        let message = Message { from, to, incarnation, group, exchange, ailing, body };
        self.emit(Effect::Send { to, message });
    }

    /// Why these commands cannot be taken now: there is no room for them.
    pub fn no_room_for<'a>(
        &self,
        mut commands: impl Iterator<Item = &'a Command>,
    ) -> Option<Queue> {
        let full = {
            let writer = lock(&self.writer);
            writer.end() - writer.begin() > limits::WAL_BYTES_MAX
        };
        let low = lock(&self.health).is_low();
        match full {
            true => Some(Queue::Wal),
            false => (low && !commands.all(Command::makes_room)).then_some(Queue::Disk),
        }
    }

    /// A store said that what it holds is damaged: whatever ends the replica now, it must not come
    /// back with this data folder.
    pub fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Whether one did.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    // ---- files --------------------------------------------------------------------------------

    /// Works on files; `then` hears what came of it.
    pub fn work(&self, ops: Vec<DiskOp>, then: impl FnOnce(Result<(), IoFailed>) + Send + 'static) {
        let effect = lock(&self.files).work(ops, Box::new(then));
        self.emit(effect);
    }

    /// Works on files, and waits.
    ///
    /// # Errors
    /// What failed; the operations after it were left.
    pub async fn worked(&self, ops: Vec<DiskOp>) -> Result<(), IoFailed> {
        let (sender, receiver) = oneshot();
        self.work(ops, move |result| drop(sender.send(result)));
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Up to `length` bytes of `file` at `offset`.
    ///
    /// # Errors
    /// What the system said.
    pub async fn read_file(
        &self,
        file: FileName,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, IoFailed> {
        let (sender, receiver) = oneshot();
        let then = Box::new(move |result| drop(sender.send(result)));
        let effect = lock(&self.files).read(file, offset, length, then);
        self.emit(effect);
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    // ---- questions and answers ----------------------------------------------------------------

    fn exchange(&self) -> Exchange {
        let mut exchanges = lock(&self.exchanges);
        exchanges.asked += 1;
        Exchange { boot: self.boot, number: exchanges.asked }
    }

    /// Whether the question was asked in this life.
    pub fn is_ours(&self, exchange: Exchange) -> bool {
        exchange.boot == self.boot
    }

    /// Shows itself to a member, whatever its data folder. Nobody waits: any answer to this life
    /// counts.
    pub fn hello(&self, to: NodeId) {
        self.send((to, None), GroupId::META, self.exchange(), Body::Hello);
    }

    /// Asks a peer; `None` when no answer came by `deadline`.
    pub async fn ask(
        &self,
        to: ReplicaId,
        group: GroupId,
        body: Body,
        deadline: Instant,
    ) -> Option<Body> {
        let (sender, receiver) = oneshot();
        let exchange = self.exchange();
        let number = exchange.number;
        lock(&self.exchanges).open.insert(number, (to, sender));
        // Also when the asker is dropped: its question must not stay open for ever.
        let _forget = Forget { shared: self, number };
        self.send((to.node, Some(to.incarnation)), group, exchange, body);
        if planted!(NoAnswerDeadline) {
            return receiver.await.ok();
        }
        timeout_at(deadline, receiver).await.ok()?.ok()
    }

    /// Answers a peer's question.
    pub fn answer(&self, to: ReplicaId, group: GroupId, exchange: Exchange, body: Body) {
        self.send((to.node, Some(to.incarnation)), group, exchange, body);
    }

    /// Hands an answer to whoever asked; false when nobody waits for it (any more).
    pub fn answered(&self, from: ReplicaId, exchange: Exchange, body: Body) -> bool {
        #[cfg(sim_mutant)]
        let exchange = self.misread(from, exchange);
        if !self.is_ours(exchange) {
            return false;
        }
        let asked = {
            let mut exchanges = lock(&self.exchanges);
            match exchanges.open.get(&exchange.number) {
                Some((to, _)) if *to == from || is_taken_for(*to, from) => {
                    exchanges.open.remove(&exchange.number)
                }
                Some(_) | None => None,
            }
        };
        asked.is_some_and(|(_, sender)| sender.send(body).is_ok())
    }

    /// `stale_answer_taken`.
    #[cfg(sim_mutant)]
    fn misread(&self, from: ReplicaId, exchange: Exchange) -> Exchange {
        let exchanges = lock(&self.exchanges);
        let oldest = exchanges.open.iter().find(|(_, (to, _))| *to == from);
        match oldest {
            Some((&number, _)) if planted!(StaleAnswerTaken) && !self.is_ours(exchange) => {
                Exchange { boot: self.boot, number }
            }
            _ => exchange,
        }
    }

    /// Room for `count` forwarded requests, or `None` when there is none. Freed when dropped.
    pub fn forwarded(self: &Arc<Shared>, count: usize) -> Option<Forwarded> {
        let live = self.forwarded.load(Ordering::Relaxed);
        (live + count <= limits::FORWARDED_MAX).then(|| {
            self.forwarded.store(live + count, Ordering::Relaxed);
            Forwarded { shared: self.clone(), count }
        })
    }

    // ---- waiting clients ----------------------------------------------------------------------

    pub fn requests_live(&self) -> (usize, usize) {
        let requests = lock(&self.requests);
        (requests.live.len(), requests.bytes)
    }

    pub fn admit(&self, request: RequestId, deadline: Instant, bytes: usize) {
        let mut requests = lock(&self.requests);
        requests.bytes += bytes;
        requests.by_deadline.insert((deadline, request));
        let before =
            requests.live.insert(request, Live { deadline, bytes, maybe: false, behind: None });
        assert!(before.is_none(), "request_ids_are_unique: the driver reused {request:?}");
    }

    /// Answers a client, unless it has its answer or has gone.
    pub fn reply(&self, request: RequestId, response: Response) {
        if lock(&self.requests).remove(request) {
            #[cfg(sim_mutant)]
            if planted!(AnswersTwice) && matches!(response, Ok(Answer::Done { replayed: true, .. }))
            {
                self.emit(Effect::Reply { request, response: response.clone() });
            }
            self.emit(Effect::Reply { request, response });
        }
    }

    /// The client has gone.
    pub fn cancel(&self, request: RequestId) {
        lock(&self.requests).remove(request);
    }

    /// Whether the client still waits.
    pub fn is_live(&self, request: RequestId) -> bool {
        lock(&self.requests).live.contains_key(&request)
    }

    /// Says whether the request may have happened, for the answer at its deadline.
    pub fn mark(&self, request: RequestId, maybe: bool) {
        if let Some(live) = lock(&self.requests).live.get_mut(&request) {
            live.maybe = maybe;
        }
    }

    /// The request waits until `min` is applied here.
    pub fn waits_for(&self, request: RequestId, min: Sequence) {
        if let Some(live) = lock(&self.requests).live.get_mut(&request) {
            live.behind = Some(min);
        }
    }

    /// Answers the clients whose deadline has come.
    pub fn expire(&self, now: Instant) {
        loop {
            let expired = {
                let requests = lock(&self.requests);
                let first = requests.by_deadline.first().copied();
                first.filter(|(deadline, _)| *deadline <= now).map(|(_, request)| {
                    (request, requests.live.get(&request).map_or(Failure::Unavailable, Live::late))
                })
            };
            let Some((request, failure)) = expired else { return };
            self.reply(request, Err(failure));
        }
    }

    /// When the next client's deadline comes.
    pub fn deadline(&self) -> Option<Instant> {
        lock(&self.requests).by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Named invariants.
    pub fn check(&self) {
        lock(&self.writer).check();
        let requests = lock(&self.requests);
        assert!(requests.live.len() == requests.by_deadline.len(), "requests_indexes_agree");
        assert!(requests.live.len() <= limits::REQUESTS_MAX, "requests_live_le_limit");
        assert!(requests.bytes <= limits::REQUEST_BYTES_MAX, "request_bytes_le_limit");
        let forwarded = self.forwarded.load(Ordering::Relaxed);
        assert!(forwarded <= limits::FORWARDED_MAX, "forwarded_live_le_limit");
    }
}

fn stopped() -> IoFailed {
    IoFailed::new("the replica has stopped")
}

/// `lost_folder_answers`.
fn is_taken_for(asked: ReplicaId, from: ReplicaId) -> bool {
    planted!(LostFolderAnswers) && asked.node == from.node
}

/// Requests of a peer that are being worked on.
pub struct Forwarded {
    shared: Arc<Shared>,
    count: usize,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.shared.forwarded.fetch_sub(self.count, Ordering::Relaxed);
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let open = lock(&self.shared.exchanges).open.remove(&self.number);
        drop(open);
    }
}

/// The step's monotonic clock.
pub fn mono() -> Instant {
    executor::now().mono
}
