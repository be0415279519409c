//! The world: replicas, their disks, clocks and links, and one heap of what happens next.
//!
//! Pure but for its waker map: it is told the time and draws from its seed. Whatever happens to a
//! replica happens at its own nanosecond, in the order (time, number). The heap is pumped by one
//! task of the runtime; clients and the nemesis are other tasks, which speak to it through [`ask`]
//! and the verbs of [`node`].
//!
//! [`ask`]: World::ask

mod node;
mod server;

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use understudy_core::{
    ClusterConfig, Failure, GroupId, Input, Message, NodeId, Request, RequestId, Response, Rng,
    Seed, codec,
};

use crate::checks::Violation;
use crate::checks::committed_is_final::CommittedIsFinal;
use crate::checks::one_leader_per_term::OneLeaderPerTerm;
use crate::faults::{Counts, Fault};
use crate::network::Network;
use crate::plan::Plan;
use crate::trace::{Reader, Trace};
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
    /// What happened so far.
    pub trace: Trace,
    /// What to print of it.
    pub totals: Totals,
    /// The first broken promise; the world stands still from then on.
    pub violation: Option<Violation>,
    seed: Seed,
    rng: Rng,
    now: u64,
    number: u64,
    heap: BTreeMap<(u64, u64), Happening>,
    nodes: Vec<Node>,
    network: Network,
    asked: BTreeMap<RequestId, Asked>,
    calm: bool,
    ended: bool,
    pump: Option<Waker>,
    leaders: OneLeaderPerTerm,
    committed: CommittedIsFinal,
}

/// Something that will happen.
enum Happening {
    /// A message's bytes reach a node.
    Deliver { to: NodeId, bytes: Vec<u8> },
    /// A client's request reaches a node.
    Request { to: NodeId, request: RequestId, timeout: Duration, body: Request },
    /// A client hears.
    Hear { request: RequestId, heard: Heard },
    /// A node's running sync is done.
    Sync { node: NodeId, life: u64 },
    /// A node takes what is waiting.
    Turn { node: NodeId, life: u64 },
    /// A node's deadline has come.
    Wake { node: NodeId, life: u64 },
    /// A dead node starts.
    Start { node: NodeId, life: u64 },
    /// All links work again.
    Heal,
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

struct Asked {
    heard: Option<Heard>,
    waker: Option<Waker>,
}

/// More steps than any sane world takes; beyond it something spins.
const STEPS_MAX: u64 = 2_000_000;
/// Nothing reaches a client, or comes from one, faster than this.
const CLIENT_LATENCY_MIN: u64 = 50_000;
const CLIENT_LATENCY_MAX: u64 = 2_000_000;

impl World {
    /// The world of `seed`, before anything happens. [`World::start_all`] begins it.
    pub fn new(seed: Seed, reader: Reader) -> World {
        let plan = Plan::draw(seed);
        let cluster = plan.cluster();
        cluster.validate().expect("cluster_is_valid");
        let mut counts = Counts::default();
        let node = |index: usize| Node::new(seed, &plan, NodeId(index as u64 + 1));
        let nodes: Vec<Node> = (0..plan.disks.len()).map(node).collect();
        if plan.clocks.iter().any(|&(rate, _)| rate != 1_000_000) {
            counts.fired(Fault::ClockSkew);
        }
        World {
            network: Network::new(plan.weather, seed.child("network").rng()),
            rng: seed.child("world").rng(),
            trace: Trace::new(reader),
            plan,
            cluster,
            counts,
            totals: Totals::default(),
            violation: None,
            seed,
            now: 0,
            number: 0,
            heap: BTreeMap::new(),
            nodes,
            asked: BTreeMap::new(),
            calm: false,
            ended: false,
            pump: None,
            leaders: OneLeaderPerTerm::default(),
            committed: CommittedIsFinal::default(),
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
        while self.violation.is_none() && self.next_deadline().is_some_and(|at| at <= until) {
            let Some(((at, _), happening)) = self.heap.pop_first() else { break };
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    /// The faults stop: every node up, every link and disk well.
    pub fn calm(&mut self) {
        self.calm = true;
        self.trace.line(self.now, 0, '=', &[], || "the faults stop".to_owned());
        self.network.calm();
        for node in 0..self.nodes.len() {
            self.nodes[node].calm();
            let id = self.nodes[node].id;
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

    /// A client sends `body` to `to` and waits at most `timeout`.
    pub fn ask(&mut self, to: NodeId, timeout: Duration, body: Request) -> RequestId {
        let request = RequestId(self.tick());
        self.asked.insert(request, Asked { heard: None, waker: None });
        let silence = self.now + nanos(timeout);
        self.schedule(silence, Happening::Hear { request, heard: Heard::Silence });
        if !self.calm && self.rng.ppm(self.plan.request_loss_ppm) {
            self.counts.fired(Fault::RequestLost);
        } else {
            let at = self.now + self.client_latency();
            self.schedule(at, Happening::Request { to, request, timeout, body });
        }
        self.kick();
        request
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

    /// Ends the run with a broken promise; the first one counts.
    pub fn fail(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.trace.line(self.now, 0, '!', &[], || violation.to_string());
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
        self.number += 1;
        self.heap.insert((at, self.number), happening);
    }

    fn client_latency(&mut self) -> u64 {
        self.rng.between(CLIENT_LATENCY_MIN, CLIENT_LATENCY_MAX)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { to, bytes } => self.deliver(to, &bytes),
            Happening::Request { to, request, timeout, body } => {
                if self.nodes[place(to)].is_up() {
                    self.nodes[place(to)].waiting.insert(request);
                    let input = Input::Request { request, timeout, body };
                    self.trace_debug(to, '?', &input);
                    self.hand(to, input);
                } else {
                    self.hear_later(request, Heard::NotConnected);
                }
            }
            Happening::Hear { request, heard } => self.hear(request, heard),
            Happening::Sync { node, life } => self.sync_done(node, life),
            Happening::Turn { node, life } => self.turn(node, life),
            Happening::Wake { node, life } => self.wake(node, life),
            Happening::Start { node, life } => {
                if self.nodes[place(node)].life == life && !self.nodes[place(node)].is_up() {
                    self.start(node);
                }
            }
            Happening::Heal => {
                self.trace.line(self.now, 0, '=', &[], || "all links work".to_owned());
                self.network.heal();
            }
        }
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8]) {
        if !self.nodes[place(to)].is_up() {
            return;
        }
        let message: Message = codec::decode(bytes).expect("messages_survive_the_codec");
        self.trace.line(self.now, to.0, '<', bytes, || {
            format!("from N{} {}", message.from, words::message(&message))
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
        let at = self.now + self.client_latency();
        self.schedule(at, Happening::Hear { request, heard });
    }

    fn trace_debug(&mut self, who: NodeId, mark: char, what: &impl std::fmt::Debug) {
        let text = format!("{what:?}");
        self.trace.line(self.now, who.0, mark, text.as_bytes(), || text.clone());
    }

    /// Cuts links for a while.
    pub fn cut(&mut self, from: &[NodeId], to: &[NodeId], both_ways: bool, heal_after: u64) {
        let arrow = if both_ways { "both ways" } else { "one way" };
        self.trace.line(self.now, 0, '=', &[], || {
            format!("cut {from:?} -> {to:?}, {arrow}, for {} ms", heal_after / 1_000_000)
        });
        self.network.cut(from, to);
        if both_ways {
            self.network.cut(to, from);
            self.counts.fired(Fault::Partition);
        } else {
            self.counts.fired(Fault::OneWay);
        }
        self.schedule(self.now + heal_after, Happening::Heal);
        self.kick();
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
