//! A run as a list of lines: what the card, the timeline and the trace are made of.

use serde::Serialize;

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A node sends a message.
    Send,
    /// A message reaches a node.
    Receive,
    /// A node issues a write to its log.
    Write,
    /// A write is durable, or failed.
    Synced,
    /// A client's request reaches a node.
    Asked,
    /// A node answers a client.
    Answered,
    /// A client begins an operation, or learns what came of it.
    Client,
    /// A node says what happened inside: a role, an applied entry, a dropped message.
    Event,
    /// A node dies.
    Dies,
    /// A node starts.
    Starts,
    /// A fault, on purpose or by chance.
    Fault,
    /// The run's own marks: phases, the broken promise.
    World,
}

impl Kind {
    /// One character for the trace's column.
    pub fn mark(self) -> char {
        match self {
            Kind::Send => '>',
            Kind::Receive => '<',
            Kind::Write => 'W',
            Kind::Synced => 'w',
            Kind::Asked => '?',
            Kind::Answered => '.',
            Kind::Client => 'c',
            Kind::Event => '*',
            Kind::Dies => '!',
            Kind::Starts => '^',
            Kind::Fault => '=',
            Kind::World => '#',
        }
    }
}

/// What a node is in a group, after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// `/` leader, `\` follower, `?` candidate, `.` learner.
    pub role: char,
    /// The term.
    pub term: u64,
    /// Entries in its log.
    pub head: u64,
    /// Entries it knows to be committed.
    pub commit: u64,
    /// Entries applied.
    pub applied: u64,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// True time in nanoseconds since the world began.
    pub at: u64,
    /// The node it is about; 0 for the world and its clients.
    pub node: u64,
    /// What it tells of.
    pub kind: Kind,
    /// The group it is about; 0 for none.
    pub group: u64,
    /// In words.
    pub text: String,
    /// The node's state in the group (in the first group if the line is about none).
    pub state: Option<State>,
    /// For a send its own number, for a receive that of its send: an arrow.
    pub message: Option<u64>,
    /// The receiver of a send.
    pub to: Option<u64>,
    /// The client.
    pub client: Option<u64>,
    /// The client's operation.
    pub op: Option<u64>,
    /// The actor, as `namespace/id`.
    pub actor: Option<String>,
}

/// A whole run, and what a reader must know of it.
#[derive(Clone, Debug, Serialize)]
pub struct Recording {
    /// The seed, as typed.
    pub seed: String,
    /// The commit it is valid with.
    pub commit: String,
    /// The kind of failure and the property; empty for a green run.
    pub verdict: String,
    /// How we know; empty for a green run.
    pub explanation: String,
    /// The world's knobs, one line each.
    pub world: Vec<String>,
    /// The faults that fired, with counts.
    pub faults: String,
    /// The command that does it again.
    pub replay: String,
    /// Nodes are 1 to this.
    pub nodes: u64,
    /// The groups' namespaces: group n is at n - 1.
    pub groups: Vec<String>,
    /// What happened.
    pub lines: Vec<Line>,
}

impl Line {
    /// A line that says nothing yet.
    pub fn new(number: u64, at: u64, node: u64, kind: Kind) -> Line {
        Line {
            number,
            at,
            node,
            kind,
            group: 0,
            text: String::new(),
            state: None,
            message: None,
            to: None,
            client: None,
            op: None,
            actor: None,
        }
    }
}
