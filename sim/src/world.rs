//! The world: replicas, their disks, clocks and links, and one heap of what happens next.
//!
//! Pure but for its waker map: it is told the time and draws from its schedule. Whatever happens to
//! a replica happens at its own nanosecond, in the order (time, number). The heap is pumped by one
//! task of the runtime; clients and the nemesis are other tasks, which speak to it through [`ask`]
//! and the verbs of [`harm`].
//!
//! [`ask`]: World::ask

mod harm;
mod node;
mod server;
mod start;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use understudy_core::message::{Body, LogPosition};
use understudy_core::{
    ClusterConfig, Failure, GroupId, Input, Message, NodeId, OpId, ReadLevel, ReplicaId, Request,
    RequestId, Response, ResumeToken, Rng, Role, Seed, Sequence, Tail, codec,
};

use crate::atlas::Atlas;
use crate::checks::Violation;
use crate::checks::changes_are_final::{ChangesAreFinal, Told};
use crate::checks::committed_is_final::CommittedIsFinal;
use crate::checks::expired_when_due::ExpiredWhenDue;
use crate::checks::one_leader_per_term::OneLeaderPerTerm;
use crate::dice::Dice;
use crate::faults::{Counts, Fault};
use crate::marks::{Mark, Marks};
use crate::network::Network;
use crate::plan::{Plan, TRUE_RATE};
use crate::recording::{Kind, Line, State};
use crate::schedule::Schedule;
use crate::simulation::Judges;
use crate::trace::Trace;
use crate::words;

pub use node::Node;
pub use server::Totals;

/// Everything but the clients.
pub struct World {
    /// The knobs.
    pub plan: Plan,
    /// What every node is configured with.
    pub cluster: ClusterConfig,
    /// What fired so far.
    pub counts: Counts,
    /// Which rare situations were met.
    pub marks: Marks,
    /// What happens by chance.
    pub dice: Dice,
    /// What happened so far.
    pub trace: Trace,
    /// Sums over the run.
    pub totals: Totals,
    /// The first broken promise; the world stands still from then on.
    pub violation: Option<Violation>,
    judges: Judges,
    seed: Seed,
    now: u64,
    number: u64,
    /// Boxed: what happens is large, and the map moves it about.
    heap: BTreeMap<(u64, u64), Box<Happening>>,
    nodes: Vec<Node>,
    network: Network,
    atlas: Atlas,
    /// Each client's way to the nodes.
    ways: BTreeMap<u64, Rng>,
    asked: BTreeMap<RequestId, Asked>,
    /// The highest term when each operation was first sent.
    first_sent: BTreeMap<OpId, u64>,
    calm: bool,
    ended: bool,
    pump: Option<Waker>,
    leaders: OneLeaderPerTerm,
    committed: CommittedIsFinal,
    pub(crate) expired: ExpiredWhenDue,
    pub(crate) changes: ChangesAreFinal,
    /// Where each subscriber is, as far as it is known.
    pub(crate) subscribers: BTreeMap<u64, (GroupId, Option<ResumeToken>)>,
    /// What each node that is up has said it is.
    roles: BTreeMap<(GroupId, NodeId), (Role, u64)>,
    /// The highest term anybody has spoken of.
    terms: BTreeMap<GroupId, u64>,
    /// Who took in each new data folder.
    repairs: BTreeMap<(GroupId, ReplicaId), NodeId>,
    /// The chunks of snapshots that have reached each node.
    chunks: BTreeMap<(NodeId, GroupId), BTreeSet<(LogPosition, u64)>>,
}

/// Something that will happen.
enum Happening {
    /// A message's bytes reach a node.
    Deliver { to: NodeId, bytes: Vec<u8>, sent: u64 },
    /// A client's request reaches a node.
    Request { to: NodeId, request: RequestId, timeout: Duration, body: Request },
    /// A client hears.
    Hear { request: RequestId, heard: Heard },
    /// A node's disk has done something.
    Disk { node: NodeId, life: u64 },
    /// A node's store has done something.
    Rows { node: NodeId, life: u64 },
    /// A node takes what is waiting.
    Turn { node: NodeId, life: u64 },
    /// A node's deadline has come.
    Wake { node: NodeId, life: u64 },
    /// A dead node starts.
    Start { node: NodeId, life: u64 },
}

/// What a client hears of a request, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The node's answer.
    Response(Response),
    /// The node is down: the request was not taken.
    NotConnected,
    /// The connection broke after the request was sent.
    Reset,
    /// Nothing, for as long as the client would wait.
    Silence,
}

/// Who asks, and for which of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client.
    pub client: u64,
    /// The operation's number.
    pub op: u64,
}

struct Asked {
    asker: Asker,
    /// The actor, for a reader.
    actor: Option<String>,
    heard: Option<Heard>,
    waker: Option<Waker>,
    /// What the marks want to know of the question.
    kind: Question,
}

enum Question {
    Read(GroupId),
    /// A session's read, of what the node had not applied when it came.
    Early,
    Write(GroupId, OpId),
}

/// More steps than any sane world takes; beyond it something spins.
const STEPS_MAX: u64 = 2_000_000;
/// Nothing reaches a client, or comes from one, faster than this.
const CLIENT_LATENCY_MIN: u64 = 50_000;
const CLIENT_LATENCY_MAX: u64 = 2_000_000;

impl World {
    /// The world of `schedule`, before anything happens. [`World::start_all`] begins it.
    pub fn new(schedule: &Schedule, judges: Judges, keeps_lines: bool) -> World {
        let (plan, seed) = (schedule.plan.clone(), schedule.seed());
        let cluster = plan.cluster();
        cluster.validate().expect("cluster_is_valid");
        let mut counts = Counts::default();
        let node = |&id: &NodeId| Node::new(seed, &plan, id);
        let nodes: Vec<Node> = cluster.nodes.iter().map(node).collect();
        if plan.clocks.iter().any(|&(rate, _)| rate != TRUE_RATE) {
            counts.fired(Fault::ClockSkew);
        }
        World {
            network: Network::new(plan.weather, seed.child("network")),
            dice: Dice::new(seed, schedule.chances.as_deref()),
            trace: Trace::new(keeps_lines),
            atlas: Atlas::new(plan.damage_max),
            plan,
            cluster,
            counts,
            marks: Marks::default(),
            totals: Totals::default(),
            violation: None,
            judges,
            seed,
            now: 0,
            number: 0,
            heap: BTreeMap::new(),
            nodes,
            ways: BTreeMap::new(),
            asked: BTreeMap::new(),
            first_sent: BTreeMap::new(),
            calm: false,
            ended: false,
            pump: None,
            leaders: OneLeaderPerTerm::default(),
            committed: CommittedIsFinal::default(),
            expired: ExpiredWhenDue::default(),
            changes: ChangesAreFinal::default(),
            subscribers: BTreeMap::new(),
            roles: BTreeMap::new(),
            terms: BTreeMap::new(),
            repairs: BTreeMap::new(),
            chunks: BTreeMap::new(),
        }
    }

    /// What all of this was drawn from.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Nanoseconds since the world began.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The next place in the order of all that happens: later calls get greater ones.
    pub fn tick(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// When something happens next.
    pub fn next_deadline(&self) -> Option<u64> {
        self.heap.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Lets everything happen that is due by `until`, each at its own time.
    pub fn advance(&mut self, until: u64) {
        while !self.is_over() && self.next_deadline().is_some_and(|at| at <= until) {
            let Some(((at, _), happening)) = self.heap.pop_first() else { break };
            self.now = self.now.max(at);
            self.happen(*happening);
        }
        self.now = self.now.max(until);
    }

    /// The faults stop: every node up, every link and disk well.
    pub fn calm(&mut self) {
        self.calm = true;
        self.note(0, Kind::World, &[], |line| line.text = "the faults stop".to_owned());
        self.network.calm();
        self.dice.calm();
        for node in 0..self.nodes.len() {
            self.nodes[node].calm();
            let id = self.nodes[node].id;
            self.plan_disk(id);
            if !self.nodes[node].is_up() {
                self.start(id);
            }
        }
    }

    /// Whether the faults have stopped.
    pub fn is_calm(&self) -> bool {
        self.calm
    }

    /// Nothing more will be asked of this world. Its replicas are dropped here, in order.
    pub fn end(&mut self) {
        self.ended = true;
        self.nodes.clear();
        self.heap.clear();
        self.wake_everybody();
    }

    /// Whether the world has ended, well or not.
    pub fn is_over(&self) -> bool {
        self.ended || self.violation.is_some()
    }

    /// `asker` sends `body` to `to` and waits at most `timeout`.
    pub fn ask(&mut self, asker: Asker, to: NodeId, timeout: Duration, body: Request) -> RequestId {
        let (request, client) = (RequestId(self.tick()), asker.client);
        let kind = self.question(&body);
        let actor = self.trace.keeps().then(|| words::actor(&body));
        self.asked.insert(request, Asked { asker, actor, heard: None, waker: None, kind });
        let silence = self.now + self.patience(client, timeout);
        self.schedule(silence, Happening::Hear { request, heard: Heard::Silence });
        let lost = self.plan.request_loss_ppm;
        let lost = self.dice.roll(Fault::RequestLost, client, lost, &mut self.counts);
        let at = self.now + self.client_latency(client);
        if lost.is_some() {
            self.note_fault(0, || format!("a request of client {client} to N{to} is lost"));
        } else {
            self.schedule(at, Happening::Request { to, request, timeout, body });
        }
        self.kick();
        request
    }

    fn question(&mut self, body: &Request) -> Question {
        let group = self.cluster.group(body.namespace()).unwrap_or(GroupId(0));
        let Request::Write { op: Some(op), .. } = body else { return Question::Read(group) };
        let term = self.terms.get(&group).copied().unwrap_or(0);
        self.first_sent.entry(op.clone()).or_insert(term);
        Question::Write(group, op.clone())
    }

    /// Whether a session's read comes to a node that has not come so far.
    fn is_early(&self, node: NodeId, body: &Request) -> bool {
        let (Request::Read { level: ReadLevel::Session { min }, .. }
        | Request::Scan { level: ReadLevel::Session { min }, .. }) = body
        else {
            return false;
        };
        let group = self.cluster.group(body.namespace());
        let replica = self.nodes[place(node)].replica.as_ref();
        let groups = replica.map(|replica| replica.status().groups).unwrap_or_default();
        groups.iter().any(|status| Some(status.group) == group && status.sequence < *min)
    }

    /// Waits for the answer; may be polled from one task.
    pub fn poll_heard(&mut self, request: RequestId, context: &Context<'_>) -> Poll<Heard> {
        let Some(asked) = self.asked.get_mut(&request) else {
            return Poll::Ready(Heard::Silence);
        };
        match asked.heard.take() {
            Some(heard) => {
                self.asked.remove(&request);
                Poll::Ready(heard)
            }
            None => {
                asked.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Who is woken when something new is due.
    pub fn pump_waits(&mut self, waker: &Waker) {
        self.pump = Some(waker.clone());
    }

    /// Ends the run with a broken promise; the first one counts, and only of a judge that sits.
    pub fn fail(&mut self, violation: Violation) {
        if self.violation.is_none() && self.judges.hear(&violation) {
            self.note(0, Kind::World, &[], |line| line.text = violation.to_string());
            self.violation = Some(violation);
            self.wake_everybody();
        }
    }

    /// The world is over: nobody may wait for it any more.
    fn wake_everybody(&mut self) {
        self.kick();
        for asked in self.asked.values_mut() {
            if let Some(waker) = asked.waker.take() {
                waker.wake();
            }
        }
    }

    fn kick(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        if self.is_over() {
            return;
        }
        self.number += 1;
        self.heap.insert((at, self.number), Box::new(happening));
    }

    /// How long a client listens: some give up when the node may just be answering, others hear
    /// also what comes at the deadline, from a node whose clock is slow.
    fn patience(&mut self, client: u64, timeout: Duration) -> u64 {
        let longer = self.client_latency(client).is_multiple_of(2);
        let asked = nanos(timeout);
        if longer { 2 * asked + 2 * CLIENT_LATENCY_MAX } else { asked }
    }

    fn client_latency(&mut self, client: u64) -> u64 {
        let seed = self.seed;
        let new = || seed.child(&format!("way/{client}")).rng();
        let way = self.ways.entry(client).or_insert_with(new);
        way.between(CLIENT_LATENCY_MIN, CLIENT_LATENCY_MAX)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { to, bytes, sent } => self.deliver(to, &bytes, sent),
            Happening::Request { to, request, timeout, body } => {
                if self.nodes[place(to)].is_up() {
                    self.nodes[place(to)].waiting.insert(request);
                    let content = request.0.to_le_bytes();
                    let number = self.note(to.0, Kind::Asked, &content, |line| {
                        line.text = words::request(&body);
                    });
                    self.sign(number, request);
                    if self.is_early(to, &body)
                        && let Some(asked) = self.asked.get_mut(&request)
                    {
                        asked.kind = Question::Early;
                    }
                    self.hand(to, Input::Request { request, timeout, body });
                } else {
                    self.hear_later(request, Heard::NotConnected);
                }
            }
            Happening::Hear { request, heard } => self.hear(request, heard),
            Happening::Disk { node, life } => self.disk_done(node, life),
            Happening::Rows { node, life } => self.rows_done(node, life),
            Happening::Turn { node, life } => self.turn(node, life),
            Happening::Wake { node, life } => self.wake(node, life),
            Happening::Start { node, life } => {
                if self.nodes[place(node)].life == life && !self.nodes[place(node)].is_up() {
                    self.start(node);
                }
            }
        }
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8], sent: u64) {
        if !self.nodes[place(to)].is_up() {
            return;
        }
        let message: Message = codec::decode(bytes).expect("messages_survive_the_codec");
        match &message.body {
            Body::Append(append) if append.entries.len() >= 8 => self.marks.met(Mark::LongCatchUp),
            Body::ForwardWrite { .. } => self.marks.met(Mark::WriteForwarded),
            Body::Snapshot(chunk) => self.mark_chunk(to, message.group, chunk),
            _ => {}
        }
        self.note(to.0, Kind::Receive, bytes, |line| {
            line.group = u64::from(message.group.0);
            line.message = Some(sent);
            line.text = format!("from N{}: {}", message.from, words::message(&message));
        });
        self.hand(to, Input::Message(message));
    }

    fn hear(&mut self, request: RequestId, heard: Heard) {
        let Some(asked) = self.asked.get_mut(&request) else { return };
        if asked.heard.is_some() {
            return;
        }
        if matches!(heard, Heard::Response(Err(Failure::Unknown)) | Heard::Silence | Heard::Reset) {
            self.totals.unknown_answers += 1;
        }
        asked.heard = Some(heard);
        if let Some(waker) = asked.waker.take() {
            waker.wake();
        }
    }

    fn hear_later(&mut self, request: RequestId, heard: Heard) {
        let client = self.asked.get(&request).map_or(0, |asked| asked.asker.client);
        let at = self.now + self.client_latency(client);
        self.schedule(at, Happening::Hear { request, heard });
    }

    /// Adds a line to the trace: about `node` (0 for the world), with all of its content for the
    /// hash. `tell` fills in what a reader sees. Returns the line's number.
    pub fn note(
        &mut self,
        node: u64,
        kind: Kind,
        content: &[u8],
        tell: impl FnOnce(&mut Line),
    ) -> u64 {
        let number = self.trace.count(self.now, node, kind, content);
        if self.trace.keeps() {
            let mut line = Line::new(number, self.now, node, kind);
            tell(&mut line);
            line.state = self.state_of(node, line.group.max(1));
            self.trace.keep(line);
        }
        number
    }

    /// Says on the last line whose request it is about.
    fn sign(&mut self, number: u64, request: RequestId) {
        let Some(Asked { asker, actor, .. }) = self.asked.get(&request) else { return };
        self.trace.amend(number, |line| {
            (line.client, line.op) = (Some(asker.client), Some(asker.op));
            line.actor.clone_from(actor);
        });
    }

    /// Adds a line about a fault.
    fn note_fault(&mut self, node: u64, text: impl FnOnce() -> String) {
        self.note(node, Kind::Fault, &[], |line| line.text = text());
    }

    fn state_of(&self, node: u64, group: u64) -> Option<State> {
        let index = usize::try_from(node.checked_sub(1)?).ok()?;
        let status = self.nodes.get(index)?.status()?;
        let group = status.groups.iter().find(|status| u64::from(status.group.0) == group)?;
        let role = match group.role {
            Role::Leader => '/',
            Role::Follower => '\\',
            Role::Candidate => '?',
            Role::Learner => '.',
        };
        let (term, head, commit, applied) = (group.term, group.head, group.commit, group.applied);
        Some(State { role, term, head, commit, applied })
    }

    /// The node's life: another one after every death and every start.
    pub fn life_of(&self, node: NodeId) -> u64 {
        self.nodes.get(place(node)).map_or(0, |node| node.life)
    }

    /// Nodes that have not told of everything that they have applied, and subscribers that have not heard
    /// everything yet.
    pub fn behind(&self) -> Vec<String> {
        let mut ends: BTreeMap<GroupId, Sequence> = BTreeMap::new();
        let mut behind = Vec::new();
        for node in &self.nodes {
            for status in node.status().map(|status| status.groups).unwrap_or_default() {
                let end = ends.entry(status.group).or_default();
                *end = status.sequence.max(*end);
                let told = node.tails.get(&status.group).map(Tail::last).unwrap_or_default();
                if told != status.sequence {
                    let (group, sequence) = (status.group, status.sequence);
                    behind.push(format!(
                        "N{} has told of group {group} up to {told}, not {sequence}",
                        node.id
                    ));
                }
            }
        }
        let is_behind = |&(_, (group, token)): &(&u64, &(GroupId, Option<ResumeToken>))| {
            let told = self.changes.of(*group).map(Told::last).unwrap_or_default();
            let last = ends.get(group).copied().unwrap_or_default().max(told);
            token.as_ref().is_none_or(|at| at.scanned.is_some() || at.sequence < last)
        };
        let words = |(id, (group, token)): (&u64, &(GroupId, Option<ResumeToken>))| {
            let at = token.as_ref().map_or("nowhere".to_owned(), ToString::to_string);
            format!("subscriber {id} of group {group} is at {at}")
        };
        behind.extend(self.subscribers.iter().filter(is_behind).map(words));
        behind
    }

    /// Whether the node runs.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.nodes.get(place(node)).is_some_and(Node::is_up)
    }

    /// The newest changes of a group at a node, for subscribers.
    pub fn tail(&mut self, node: NodeId, group: GroupId) -> &Tail {
        self.nodes[place(node)].tails.entry(group).or_default()
    }

    /// All nodes.
    pub fn ids(&self) -> Vec<NodeId> {
        self.cluster.nodes.clone()
    }

    /// All groups.
    pub fn groups(&self) -> Vec<GroupId> {
        self.cluster.groups().map(|(group, _)| group).collect()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where a node stands in `nodes`.
fn place(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("few_nodes")
}
