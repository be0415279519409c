//! The core thread: it owns the `Replica`, feeds it everything that waits as one turn, and carries
//! out what it asks for.
//!
//! Batching comes from load: while one turn runs the next gathers, so its log entries share one
//! sync and its messages to a peer share one frame.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select_biased};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};
use understudy_core::store::StoreView;
use understudy_core::{
    Effect, Event, Failure, GroupId, Input, Message, Namespace, NodeId, Options, Queue, Replica,
    Request, RequestId, Response, Status,
};

use crate::abort::AbortOnPanic;
use crate::clock::Clock;
use crate::files::{FileThread, Job};
use crate::hub::{ChangesStatus, Hub, Outlet, Refused, Subscriber};
use crate::limits;
use crate::peer::{Batch, Peer};
use crate::store::{self, Store};
use crate::wal::{Completion, Wal, WalWrite};

/// The exit code of a process whose replica or disk is not to be trusted further.
pub const EXIT_FATAL: i32 = 70;

/// What happens when the replica or its disk is not to be trusted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFatal {
    /// The process ends with [`EXIT_FATAL`].
    Exit,
    /// The core thread ends and answers nothing more; the process is not ours to end.
    Stop,
}

/// What the API may ask of the core thread.
#[derive(Debug)]
enum Ask {
    Request {
        request: Request,
        timeout: Duration,
        arrived: Instant,
        reply: oneshot::Sender<Response>,
    },
    Status(oneshot::Sender<Status>),
    View(GroupId, oneshot::Sender<Option<StoreView>>),
    Stop,
}

/// The API's way to the core thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Core {
    asks: Sender<Ask>,
    hub: Hub,
    steps: Arc<AtomicU64>,
    failed: Arc<OnceLock<String>>,
}

/// Everything the core thread owns or reads from.
#[derive(Debug)]
pub struct Parts {
    /// The groups of the cluster.
    pub groups: Vec<(GroupId, Namespace)>,
    /// Its clock.
    pub clock: Clock,
    /// The way to the WAL thread.
    pub wal: Wal,
    /// The way to the file thread.
    pub files: FileThread,
    /// The way to the storage thread, if a namespace keeps its rows outside the core.
    pub store: Option<Store>,
    /// What peers sent.
    pub inbox: Receiver<Batch>,
    /// What is sent to peers.
    pub outgoing: BTreeMap<NodeId, Box<dyn Peer>>,
    /// Where damaged data is noted for the next start.
    pub suspect: PathBuf,
    /// What the end of the replica means for the process.
    pub on_fatal: OnFatal,
}

struct Driver {
    replica: Replica,
    clock: Clock,
    writes: Sender<WalWrite>,
    jobs: Sender<Job>,
    store: Option<Sender<store::Operation>>,
    changes: Outlet,
    outgoing: BTreeMap<NodeId, Box<dyn Peer>>,
    suspect: PathBuf,
    on_fatal: OnFatal,
    failed: Arc<OnceLock<String>>,
    /// Whoever waits. At most [`understudy_core::limits::REQUESTS_MAX`]: the core refuses more.
    waiting: HashMap<u64, oneshot::Sender<Response>>,
    requests: u64,
    steps: Arc<AtomicU64>,
    turn: Vec<Input>,
    effects: Vec<Effect>,
    swept: Instant,
    stopping: bool,
}

struct Inlets {
    completions: Receiver<Completion>,
    /// What the file thread has done.
    done: Receiver<Input>,
    /// What the storage thread has done.
    stored: Receiver<store::Completion>,
    inbox: Receiver<Batch>,
    asks: Receiver<Ask>,
}

/// Starts the core thread on a recovered replica whose log file has been cut.
///
/// # Errors
/// When the system gives no thread.
pub fn start(replica: Replica, parts: Parts) -> std::io::Result<(Core, JoinHandle<()>)> {
    let Parts { groups, clock, wal, files, store, inbox, outgoing, suspect, on_fatal } = parts;
    let (asks, asked) = bounded(limits::SUBMIT_QUEUE_MAX);
    let steps = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(OnceLock::new());
    let (hub, changes, hub_thread) = Hub::start(groups)?;
    let driver = Driver {
        replica,
        clock,
        writes: wal.writes,
        jobs: files.jobs,
        store: store.as_ref().map(|store| store.ops.clone()),
        changes,
        outgoing,
        suspect,
        on_fatal,
        failed: failed.clone(),
        waiting: HashMap::new(),
        requests: 0,
        steps: steps.clone(),
        turn: Vec::new(),
        effects: Vec::new(),
        swept: Instant::now(),
        stopping: false,
    };
    let (stored, store_thread) = match store {
        Some(Store { completions, thread, ops: _ }) => (completions, Some(thread)),
        None => (crossbeam_channel::never(), None),
    };
    let inlets =
        Inlets { completions: wal.completions, done: files.done, stored, inbox, asks: asked };
    let threads = [wal.thread, files.thread, hub_thread].into_iter().chain(store_thread);
    let thread = thread::Builder::new().name("core".to_owned()).spawn(move || {
        AbortOnPanic::run(|| driver.run(&inlets));
        // Their queues are gone with the driver, so they end when what was in them is done.
        threads.for_each(|thread| drop(thread.join()));
    })?;
    Ok((Core { asks, hub, steps, failed }, thread))
}

impl Core {
    /// Asks the replica and waits for its answer.
    ///
    /// Dropping the future gives the place back: a client that went away holds none.
    ///
    /// # Errors
    /// As the replica says; [`Failure::Busy`] when too many ask, [`Failure::Unknown`] when the node
    /// is stopping.
    pub async fn ask(&self, request: Request, timeout: Duration) -> Response {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Request { request, timeout, arrived: Instant::now(), reply };
        if self.asks.try_send(ask).is_err() {
            let retry_after = limits::SUBMIT_RETRY_AFTER;
            return Err(Failure::Busy { queue: Queue::Requests, retry_after });
        }
        match tokio::time::timeout(timeout + limits::API_GRACE, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
        }
    }

    /// What the replica says of itself; `None` when the core thread does not answer.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask::Status(reply)).ok()?;
        tokio::time::timeout(limits::API_GRACE, answer).await.ok()?.ok()
    }

    /// A look at the whole state of a group in memory; `None` when there is none, or the core thread
    /// does not answer.
    pub async fn view(&self, group: GroupId) -> Option<StoreView> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(Ask::View(group, reply)).ok()?;
        tokio::time::timeout(limits::API_GRACE, answer).await.ok()?.ok()?
    }

    /// A subscription to the changes of a namespace. Nothing of it is heard before
    /// [`Subscriber::open`].
    ///
    /// # Errors
    /// There is no such namespace, or no room.
    pub fn subscribe(
        &self,
        namespace: &Namespace,
        options: Options,
    ) -> Result<Subscriber, Refused> {
        self.hub.subscribe(self, namespace, options)
    }

    /// What there is to say of a namespace's change stream.
    pub fn changes(&self, namespace: &Namespace) -> Option<ChangesStatus> {
        self.hub.status(namespace)
    }

    /// Why the core thread has ended, if it did so by itself ([`OnFatal::Stop`]).
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Turns stepped since the start.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Ends the core thread after the turns that wait.
    pub fn stop(&self) {
        let _ = self.asks.send(Ask::Stop);
    }
}

impl Driver {
    fn run(mut self, inlets: &Inlets) {
        self.turn.push(Input::Wake);
        let _ = self.jobs.try_send(Job::Space);
        loop {
            self.step();
            self.perform();
            if self.stopping {
                return;
            }
            self.housekeeping();
            self.gather(inlets);
        }
    }

    fn step(&mut self) {
        let now = self.clock.now();
        self.replica.step(now, self.turn.drain(..), &mut self.effects);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until something is there or the replica's deadline comes, then takes all of it.
    fn gather(&mut self, inlets: &Inlets) {
        let Inlets { completions, done, stored, inbox, asks } = inlets;
        self.take_waiting(inlets);
        if !self.turn.is_empty() || self.stopping {
            return;
        }
        let deadline = self.replica.deadline();
        let wait = deadline.map_or(limits::HOUSEKEEPING_EVERY, |at| self.clock.until(at));
        select_biased! {
            recv(completions) -> completion => self.take_completion(completion.ok()),
            recv(done) -> input => self.take_done(input.ok()),
            recv(stored) -> completion => self.take_stored(completion.ok()),
            recv(inbox) -> batch => self.take_batch(batch.ok()),
            recv(asks) -> ask => self.take_ask(ask.ok()),
            default(wait.min(limits::HOUSEKEEPING_EVERY)) => {}
        }
        self.take_waiting(inlets);
        let due = self.replica.deadline().is_some_and(|at| self.clock.until(at).is_zero());
        if due || self.turn.is_empty() {
            self.turn.push(Input::Wake);
        }
    }

    fn take_waiting(&mut self, inlets: &Inlets) {
        // Completions first and without a limit: they are what everybody waits for.
        for completion in inlets.completions.try_iter() {
            self.take_completion(Some(completion));
        }
        self.turn.extend(inlets.done.try_iter());
        let stored = inlets.stored.try_iter();
        self.turn.extend(stored.map(|(io, result)| Input::Store { io, result }));
        for batch in inlets.inbox.try_iter().take(limits::TURN_BATCHES_MAX) {
            self.take_batch(Some(batch));
        }
        for _ in 0..limits::TURN_REQUESTS_MAX {
            match inlets.asks.try_recv() {
                Ok(ask) => self.take_ask(Some(ask)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// `None`: the WAL thread is gone. It reports why before it goes, so there is nothing to add.
    fn take_completion(&mut self, completion: Option<Completion>) {
        match completion {
            Some((ids, result)) => {
                self.turn.extend(ids.into_iter().map(|io| Input::Io { io, result: result.clone() }))
            }
            None => self.fatal("the log thread has ended; start the node again"),
        }
    }

    /// `None`: the file thread is gone.
    fn take_done(&mut self, input: Option<Input>) {
        match input {
            Some(input) => self.turn.push(input),
            None => self.fatal("the file thread has ended; start the node again"),
        }
    }

    /// `None`: the storage thread is gone.
    fn take_stored(&mut self, completion: Option<store::Completion>) {
        match completion {
            Some((io, result)) => self.turn.push(Input::Store { io, result }),
            None => self.fatal("the storage thread has ended; start the node again"),
        }
    }

    /// `None`: no listener is left, which happens only while the process stops.
    fn take_batch(&mut self, batch: Option<Batch>) {
        match batch {
            Some(batch) => self.turn.extend(batch.messages.into_iter().map(Input::Message)),
            None => self.stopping = true,
        }
    }

    fn take_ask(&mut self, ask: Option<Ask>) {
        match ask {
            None | Some(Ask::Stop) => self.stopping = true,
            Some(Ask::Status(reply)) => {
                let _ = reply.send(self.replica.status());
            }
            Some(Ask::View(group, reply)) => {
                let _ = reply.send(self.replica.view(group));
            }
            // Whoever asked has gone: the place is free again before the core hears of it.
            Some(Ask::Request { reply, .. }) if reply.is_closed() => {}
            Some(Ask::Request { request: body, timeout, arrived, reply }) => {
                self.requests += 1;
                let request = RequestId(self.requests);
                self.waiting.insert(self.requests, reply);
                let timeout = timeout.saturating_sub(arrived.elapsed());
                self.turn.push(Input::Request { request, timeout, body });
            }
        }
    }

    /// Carries out every effect of the turn.
    fn perform(&mut self) {
        let mut frames: BTreeMap<NodeId, Vec<Message>> = BTreeMap::new();
        let mut ended = None;
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send { to, message } => frames.entry(to).or_default().push(message),
                Effect::WalWrite { io, offset, bytes } => {
                    // Fails only when the thread is gone; its last completion says why.
                    let _ = self.writes.send(WalWrite { io, offset, bytes });
                }
                // Fails only when the thread is gone, which is noticed above.
                Effect::Files { io, ops } => drop(self.jobs.send(Job::Work(io, ops))),
                Effect::FileRead { io, file, offset, length } => {
                    drop(self.jobs.send(Job::Read(io, file, offset, length)));
                }
                Effect::Store { io, group, op } => {
                    if let Some(store) = &self.store {
                        drop(store.send(store::Operation { io, group, op }));
                    }
                }
                Effect::Reply { request, response } => {
                    if let Some(reply) = self.waiting.remove(&request.0) {
                        let _ = reply.send(response);
                    }
                }
                Effect::Changes { group, after, changes } => {
                    self.changes.push(group, after, changes);
                }
                Effect::Event(event) => log(&event),
                Effect::Fatal { reason, damaged } => {
                    if damaged {
                        note(&self.suspect, &reason);
                    }
                    ended = Some(reason);
                    break;
                }
            }
        }
        if let Some(reason) = ended {
            return self.fatal(&reason);
        }
        for (to, messages) in frames {
            if let Some(peer) = self.outgoing.get(&to) {
                peer.send(messages);
            }
        }
    }

    /// Nothing is cleaned up: what the replica holds is not to be trusted, and the log was synced
    /// before anything was promised. Nothing that comes after in this turn is carried out.
    fn fatal(&mut self, reason: &str) {
        match self.on_fatal {
            OnFatal::Exit => {
                error!("the node stops: {reason}");
                std::process::exit(EXIT_FATAL)
            }
            OnFatal::Stop => {
                error!("the store stops: {reason}");
                let _ = self.failed.set(reason.to_owned());
                self.stopping = true;
            }
        }
    }

    fn housekeeping(&mut self) {
        if self.swept.elapsed() < limits::HOUSEKEEPING_EVERY {
            return;
        }
        self.swept = Instant::now();
        let turn = &mut self.turn;
        self.waiting.retain(|&request, reply| {
            let gone = reply.is_closed();
            if gone {
                turn.push(Input::Cancel { request: RequestId(request) });
            }
            !gone
        });
        self.replica.check();
        // The file thread may be behind; then this look is left out.
        let _ = self.jobs.try_send(Job::Space);
    }
}

fn log(event: &Event) {
    match event {
        Event::Role { .. }
        | Event::Truncated { .. }
        | Event::Formed { .. }
        | Event::Repair { .. } => info!("{event}"),
        Event::SnapshotInstalled { .. } => info!("{event}"),
        Event::Checkpoint { .. } => debug!("{event}"),
        Event::HandsOver { .. }
        | Event::CheckpointFailed { .. }
        | Event::SnapshotRefused { .. } => warn!("{event}"),
        Event::Diverged { .. } => error!("{event}"),
        Event::Dropped { .. } => debug!("{event}"),
        Event::Expired { .. } => debug!("{event}"),
        Event::Applied { .. } | Event::LeaseReads { .. } => tracing::trace!("{event}"),
    }
}

/// Notes for the next start that the data is damaged. A note that cannot be written is no loss of
/// safety: whatever is damaged will be found again.
fn note(suspect: &Path, reason: &str) {
    let written = fs::write(suspect, reason).and_then(|()| fs::File::open(suspect)?.sync_all());
    if let Err(failed) = written {
        error!("cannot write `{}`: {failed}", suspect.display());
    }
}
