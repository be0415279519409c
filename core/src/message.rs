//! What replicas say to each other, in our own structs: openraft's layout may change any week.

use serde::{Deserialize, Serialize};

use crate::command::{Batch, Command, Outcome};
use crate::limits;
use crate::query::{Query, Seen};
pub use crate::types::Blob;
use crate::types::{Boot, GroupId, Incarnation, NodeId, ReplicaId, Timestamp};

/// One message between two replicas. May be lost, repeated, reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: NodeId,
    /// The receiver's data folder, where the sender means one: another one drops the message.
    pub incarnation: Option<Incarnation>,
    /// The Raft group; [`GroupId::META`] for what concerns no group.
    pub group: GroupId,
    /// Which exchange this belongs to; the asker's boot keeps late answers apart.
    pub exchange: Exchange,
    /// The sender's disk is slow or nearly full: it should not lead.
    pub ailing: bool,
    /// Question or answer.
    pub body: Body,
}

/// Ties an answer to its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exchange {
    /// The asker's life.
    pub boot: Boot,
    /// Counted from 1 in that life.
    pub number: u64,
}

/// Question or answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Raft AppendEntries (Raft §5.3).
    Append(Append),
    /// Its answer.
    AppendReply(AppendReply),
    /// Raft RequestVote (Raft §5.2).
    AskVote(AskVote),
    /// Its answer.
    VoteReply(VoteReply),
    /// Would you vote for me? Changes nothing (Raft dissertation §9.6).
    AskPreVote(AskVote),
    /// Its answer.
    PreVoteReply(VoteReply),
    /// Raft InstallSnapshot, a chunk of it (Raft §7); without bytes, a question how much is there.
    Snapshot(SnapshotChunk),
    /// Its answer.
    SnapshotReply(SnapshotReply),
    /// The leader wants `to` to lead instead: nobody is bound to the leader any more, and `to` asks
    /// for votes (Raft dissertation §3.10).
    Transfer(Transfer),
    /// Its answer.
    TransferReply,
    /// Client writes received by a node that does not lead.
    ForwardWrite {
        /// The commands, each with its name.
        commands: Vec<Command>,
    },
    /// Linearizable reads received by a node that does not lead.
    ForwardRead {
        /// What is looked at.
        queries: Vec<Query>,
        /// The leader's lease will do.
        lease: bool,
    },
    /// The answer to a forwarded write.
    ForwardWriteReply(Result<Vec<Applied>, ForwardFailed>),
    /// The answer to forwarded reads: to the first of them, as many as fit.
    ForwardReadReply(Result<Vec<Seen>, ForwardFailed>),
    /// Here I am, and in some group I have no vote yet (ADR 9).
    Hello,
    /// What the answering node has of each group.
    HelloReply {
        /// Groups of which it holds something: they have their first members.
        held: Vec<GroupId>,
        /// Groups of which it holds nothing, and whose first members it takes from the asker alone;
        /// that is on its disk.
        promised: Vec<GroupId>,
    },
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The recorded outcome.
    pub outcome: Outcome,
    /// It was in the op-log before this attempt.
    pub replayed: bool,
    /// The committed time at which it was recorded.
    pub recorded: Timestamp,
}

/// Why a forwarded request was not answered with results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardFailed {
    /// The receiver does not lead; nothing was done.
    NotLeader {
        /// Who may lead.
        hint: Option<ReplicaId>,
    },
    /// The receiver is full; nothing was done.
    Busy,
    /// The receiver proposed it and does not know what became of it.
    Unknown,
}

/// A position in a Raft log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The leader's term.
    pub term: u64,
    /// The log index, from 0.
    pub index: u64,
}

/// Whom a replica supports (Raft `votedFor`, with whether a quorum did too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The candidate or leader.
    pub node: ReplicaId,
    /// A quorum granted it: the node leads.
    pub committed: bool,
}

/// See [`Body::Append`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry before the first.
    pub previous: Option<LogPosition>,
    /// New entries; none in a heartbeat.
    pub entries: Vec<LogEntry>,
    /// What a quorum has.
    pub commit: Option<LogPosition>,
    /// What the leader's state was at a recent index.
    pub mark: Option<StateMark>,
}

/// See [`Body::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The leader's vote.
    pub vote: Vote,
    /// The last entry that is in the snapshot.
    pub position: LogPosition,
    /// Bytes of the whole.
    pub length: u64,
    /// Where these bytes belong.
    pub offset: u64,
    /// Some of the file, whose blocks carry their own checksums.
    pub bytes: Blob,
}

/// See [`Body::SnapshotReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotReply {
    /// So many bytes of it are there: go on with the next.
    Have(u64),
    /// All of it is on the receiver's disk and installed, or not needed; the receiver's vote.
    Installed(Vote),
    /// Another leader or candidate is ahead.
    HigherVote(Vote),
}

/// See [`Body::Transfer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The leader's vote.
    pub vote: Vote,
    /// Who is to lead.
    pub to: ReplicaId,
    /// What it must have.
    pub last: Option<LogPosition>,
}

/// The hash of a group's state at an index, to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMark {
    /// The last entry applied.
    pub index: u64,
    /// See [`crate::GroupStatus::state_hash`].
    pub hash: u64,
}

/// One entry of a Raft log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Where.
    pub position: LogPosition,
    /// What.
    pub payload: Payload,
}

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A new leader's no-op (S0-098).
    Blank,
    /// Client commands.
    Batch(Batch),
    /// The members of the group from here on.
    Membership(Members),
}

impl Payload {
    /// Whether it takes more than the reserve of a disk that is nearly full can give: a new leader's
    /// first entry, a change of members and deletes do not.
    pub fn needs_room(&self) -> bool {
        match self {
            Payload::Blank | Payload::Membership(_) => false,
            Payload::Batch(batch) => !batch.commands.iter().all(Command::makes_room),
        }
    }
}

/// Who has a say in a group, and who only listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Each is a set of voters, and all must agree: one set, or two while a joint change runs.
    pub configs: Vec<Vec<ReplicaId>>,
    /// Voters and learners.
    pub nodes: Vec<ReplicaId>,
}

impl Members {
    /// Whether `replica` has a vote.
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.configs.iter().any(|voters| voters.contains(&replica))
    }

    /// Those without a vote.
    pub fn learners(&self) -> impl Iterator<Item = ReplicaId> {
        self.nodes.iter().copied().filter(|&replica| !self.is_voter(replica))
    }
}

/// See [`Body::AppendReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendReply {
    /// All entries are on the receiver's disk.
    Success,
    /// Entries up to here are.
    Partial(Option<LogPosition>),
    /// The entry before the first is not there.
    Conflict,
    /// Another leader or candidate is ahead.
    HigherVote(Vote),
    /// The receiver could not handle it; the asker treats it as lost.
    Failed,
}

impl AppendReply {
    /// Whether the receiver keeps to the leader that asked.
    pub fn acknowledges(&self) -> bool {
        match self {
            AppendReply::Success | AppendReply::Partial(_) | AppendReply::Conflict => true,
            AppendReply::HigherVote(_) | AppendReply::Failed => false,
        }
    }
}

/// See [`Body::AskVote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskVote {
    /// The candidate's vote.
    pub vote: Vote,
    /// The candidate's last entry.
    pub last: Option<LogPosition>,
    /// The leader itself asked for this election.
    pub transfer: bool,
}

/// See [`Body::VoteReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteReply {
    /// The voter's vote after the question.
    pub vote: Vote,
    /// It was granted and is on the voter's disk.
    pub granted: bool,
    /// The voter's last entry.
    pub last: Option<LogPosition>,
}

/// Terms and indexes beyond this are garbage; nothing counts so far.
const COUNT_MAX: u64 = 1 << 62;

impl Message {
    /// Whether a replica could have said this. What is dropped here cannot reach an assertion.
    pub fn is_plausible(&self) -> bool {
        match &self.body {
            Body::Append(append) => append.is_plausible(self.from),
            Body::AskVote(ask) | Body::AskPreVote(ask) => {
                let Vote { term, node, committed } = ask.vote;
                term < COUNT_MAX && node == self.from && !committed && is_counted(ask.last)
            }
            Body::VoteReply(reply) | Body::PreVoteReply(reply) => {
                reply.vote.term < COUNT_MAX && is_counted(reply.last)
            }
            Body::AppendReply(AppendReply::HigherVote(vote)) => vote.term < COUNT_MAX,
            Body::AppendReply(AppendReply::Partial(upto)) => is_counted(*upto),
            Body::AppendReply(
                AppendReply::Success | AppendReply::Conflict | AppendReply::Failed,
            ) => true,
            Body::ForwardWrite { commands } => {
                let bytes: usize = commands.iter().map(Command::bytes).sum();
                let writes = commands.iter().map(|command| command.work.writes().len());
                let (writes, least) =
                    writes.fold((0, 1), |(sum, least), n| (sum + n, n.min(least)));
                least > 0
                    && !commands.is_empty()
                    && writes <= 2 * limits::BATCH_COMMANDS_MAX
                    && bytes <= limits::FORWARD_BYTES_MAX
            }
            Body::ForwardRead { queries, .. } => {
                !queries.is_empty()
                    && queries.len() <= limits::REQUESTS_MAX
                    && queries.iter().all(|query| query.bytes() <= 2 * limits::ID_BYTES_MAX)
            }
            Body::Snapshot(chunk) => chunk.is_plausible(self.from),
            Body::SnapshotReply(SnapshotReply::Have(_)) => true,
            Body::SnapshotReply(
                SnapshotReply::Installed(vote) | SnapshotReply::HigherVote(vote),
            ) => vote.term < COUNT_MAX,
            Body::Transfer(Transfer { vote, last, .. }) => {
                vote.term < COUNT_MAX
                    && vote.node == self.from
                    && vote.committed
                    && is_counted(*last)
            }
            Body::ForwardWriteReply(_) | Body::ForwardReadReply(_) | Body::TransferReply => true,
            Body::Hello => self.group == GroupId::META,
            Body::HelloReply { held, promised } => {
                self.group == GroupId::META
                    && held.len() <= limits::NAMESPACES_MAX
                    && promised.len() <= limits::NAMESPACES_MAX
            }
        }
    }
}

impl Append {
    /// From the leader its vote names; entries follow each other, none of a later term than it.
    fn is_plausible(&self, from: ReplicaId) -> bool {
        let Vote { term, node, committed } = self.vote;
        let mut last = self.previous;
        let follows = |entry: &LogEntry| {
            let LogPosition { term, index } = entry.position;
            let next = last.map_or(0, |last| last.index + 1);
            let fits = index == next && last.is_none_or(|last| last.term <= term);
            last = Some(entry.position);
            fits
        };
        term < COUNT_MAX
            && node == from
            && committed
            && is_counted(self.previous)
            && is_counted(self.commit)
            && self.entries.iter().all(follows)
            && last.is_none_or(|last| last.term <= term)
    }
}

impl SnapshotChunk {
    /// From the leader its vote names, of no later term than it, and inside the whole.
    fn is_plausible(&self, from: ReplicaId) -> bool {
        let Vote { term, node, committed } = self.vote;
        let end = u64::try_from(self.bytes.0.len()).ok().and_then(|n| n.checked_add(self.offset));
        term < COUNT_MAX
            && node == from
            && committed
            && is_counted(Some(self.position))
            && self.position.term <= term
            && end.is_some_and(|end| end <= self.length)
    }
}

fn is_counted(position: Option<LogPosition>) -> bool {
    position.is_none_or(|LogPosition { term, index }| term < COUNT_MAX && index < COUNT_MAX)
}
