//! Everything a replica can ask of its driver.

use std::fmt;
use std::time::Duration;

use crate::backend::WriteBatch;
use crate::change::{Change, Changes};
use crate::command::{Outcome, Refusal};
use crate::disk::{DiskOp, FileName};
use crate::event::Event;
use crate::input::{IoId, RequestId};
use crate::limits;
use crate::message::Message;
use crate::query::{Found, Page, Seen};
use crate::types::{ActorId, GroupId, NodeId, OpId, Record, Sequence, Timestamp, Token, Version};

/// One thing the driver must do. No effect's correctness depends on the order in which the driver
/// runs them, but that writes stay in the order issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// May be lost, repeated, reordered.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Write into the log at `offset`, sync, then come back as [`crate::Input::Io`]. Writes complete
    /// in the order issued; a crash keeps every completed one and any part of the pending ones.
    WalWrite {
        /// Names the completion.
        io: IoId,
        /// Where the bytes go, as an offset of the log: into segment `offset / segment_bytes`
        /// ([`crate::Replica::segment_bytes`]), whose file was made by an [`Effect::Files`] that
        /// has completed. At or behind the end of the write before; never across segments.
        offset: u64,
        /// One or more whole frames.
        bytes: Vec<u8>,
    },
    /// Work on files that are not the log, in order, one effect after the other; then come back as
    /// [`crate::Input::Files`]. Nothing is durable but what the operations themselves sync. It may
    /// take long and must hold up neither steps nor the log.
    Files {
        /// Names the completion.
        io: IoId,
        /// In order.
        ops: Vec<DiskOp>,
    },
    /// Read a file, after all [`Effect::Files`] before it; then come back as
    /// [`crate::Input::FileRead`].
    FileRead {
        /// Names the completion.
        io: IoId,
        /// The file.
        file: FileName,
        /// From which byte.
        offset: u64,
        /// Bytes; fewer come only where the file ends.
        length: usize,
    },
    /// Work on the store of a group that has one outside the core, in the order issued; then come
    /// back as [`crate::Input::Store`].
    Store {
        /// Names the completion.
        io: IoId,
        /// Whose rows.
        group: GroupId,
        /// What.
        op: StoreOp,
    },
    /// At most once per request.
    Reply {
        /// Who waits.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// What a group's changes have come to: these, dense, behind `after`. They are in the store by
    /// now, and no replica will ever tell them otherwise. Told of every change that is applied, in
    /// order; also, with none, of where the group begins at a start, and of where an installed
    /// snapshot has brought it: then `after` is not where the last one ended.
    Changes {
        /// The group.
        group: GroupId,
        /// The change before them.
        after: Sequence,
        /// In order; perhaps none.
        changes: Vec<Change>,
    },
    /// Something worth a trace line or a counter.
    Event(Event),
    /// The process must end: its state is not to be trusted further.
    Fatal {
        /// Why, in one line.
        reason: String,
        /// Something on the disk is not what was written there: this data folder must never be
        /// started again. The driver marks it so that the next start sets it aside (ADR 9).
        damaged: bool,
    },
}

/// What a replica asks of a group's [`crate::backend::Backend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Reads rows; sees every write issued before. Comes back as [`crate::input::StoreDone::Rows`].
    Read(Vec<Vec<u8>>),
    /// Reads the rows of a range in the order of their keys, as they are after every write issued
    /// before and none issued later; see [`crate::backend::scan`]. Comes back as
    /// [`crate::input::StoreDone::Scanned`].
    Scan {
        /// The first key that may be among them.
        from: Vec<u8>,
        /// The first key that may not.
        until: Vec<u8>,
        /// Rows at most.
        limit: usize,
        /// Bytes after which no other row is added.
        bytes: usize,
    },
    /// Writes a batch; done when it is visible. Durable only after a [`StoreOp::Flush`].
    Write(WriteBatch),
    /// Makes everything written before durable.
    Flush,
    /// Writes the group's state, as it is when this runs, to a file by
    /// [`crate::snapshot::export`], syncs it and its folder. Later operations need not wait for it.
    Export(FileName),
    /// Replaces the group's state by a file's, by [`crate::snapshot::import`], durably.
    Import(FileName),
}

/// What a client hears.
pub type Response = Result<Answer, Failure>;

/// A request that did what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The write happened: now, or when the same operation was first received.
    Done {
        /// The operation's name.
        op: OpId,
        /// What happened; never [`Outcome::Refused`], that is a [`Failure`].
        outcome: Outcome,
        /// The outcome was recorded before this request ran (S0-060).
        replayed: bool,
        /// The committed time at which it was recorded: see [`Answer::remembered_until`].
        recorded: Timestamp,
    },
    /// A session to name operations with, of one namespace.
    Session(u128),
    /// The read's result.
    Read {
        /// The actor, if it exists.
        record: Option<Record>,
        /// The log entries that the answering replica had applied.
        applied: u64,
        /// The last change that it had applied: what a [`crate::ReadLevel::Session`] goes on from.
        sequence: Sequence,
        /// Time since it last knew that it was level with its leader; zero for a linearizable or
        /// lease read, `None` when it has not been level since it started.
        age: Option<Duration>,
    },
    /// A page of a scan.
    Scan {
        /// In the order of their ids' bytes.
        records: Vec<(ActorId, Record)>,
        /// There are others behind the last one: go on with it as `after`.
        more: bool,
        /// As for a read.
        applied: u64,
        /// As for a read. To go on from it in a session makes the next page no older than this one.
        sequence: Sequence,
        /// As for a read.
        age: Option<Duration>,
    },
    /// A page of changes.
    Changes {
        /// The page.
        changes: Changes,
        /// As for a read.
        applied: u64,
        /// As for a read: the last change that there is, on this page or behind it.
        sequence: Sequence,
        /// As for a read.
        age: Option<Duration>,
    },
}

/// A request that did not, or that may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Apply decided against it. Did not happen.
    Refused(Refusal),
    /// No namespace of that name. Did not happen.
    UnknownNamespace,
    /// The operation's name carries a time more than [`limits::OP_TIME_AHEAD_MAX`] ahead of this
    /// node's clock. Did not happen.
    OpIdFromFuture,
    /// A queue is full. Did not happen; try again after the hint.
    Busy {
        /// Which limit.
        queue: Queue,
        /// When to try again.
        retry_after: Duration,
    },
    /// No leader with a quorum in time, and nothing was sent. Did not happen.
    Unavailable,
    /// This replica had not applied in time what a session has seen. Nothing was read.
    Behind {
        /// What it had to have applied.
        min: Sequence,
    },
    /// The answer did not come in time. It may have happened, or may yet.
    Unknown,
}

/// Whether a request that failed took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It did not happen and will not.
    Refused,
    /// It may have happened, or may yet happen.
    Unknown,
}

/// The queues that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// [`limits::REQUESTS_MAX`].
    Requests,
    /// [`limits::REQUEST_BYTES_MAX`].
    RequestBytes,
    /// [`limits::WAL_BYTES_MAX`].
    Wal,
    /// The file system of the data folder is nearly full.
    Disk,
}

impl Failure {
    /// Whether the request took effect.
    pub fn certainty(&self) -> Certainty {
        match self {
            // The first attempt of an expired or reused name may well have happened, this one not.
            Failure::Refused(_)
            | Failure::UnknownNamespace
            | Failure::OpIdFromFuture
            | Failure::Busy { .. }
            | Failure::Unavailable
            | Failure::Behind { .. } => Certainty::Refused,
            Failure::Unknown => Certainty::Unknown,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Refused(Refusal::AlreadyExists { .. }) => "already_exists",
            Failure::Refused(Refusal::NotFound) => "not_found",
            Failure::Refused(Refusal::Conflict { .. }) => "conflict",
            Failure::Refused(Refusal::OpIdReused) => "idempotency_key_reused",
            Failure::Refused(Refusal::SessionExpired) => "session_expired",
            Failure::Refused(Refusal::InBatch { .. }) => "batch_refused",
            Failure::OpIdFromFuture => "idempotency_key_from_future",
            Failure::UnknownNamespace => "unknown_namespace",
            Failure::Busy { .. } => "busy",
            Failure::Unavailable | Failure::Behind { .. } => "unavailable",
            Failure::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => refusal.fmt(f),
            Failure::UnknownNamespace => f.write_str(
                "there is no such namespace; add it to the cluster configuration of every node",
            ),
            Failure::OpIdFromFuture => f.write_str(
                "this idempotency key carries a time too far ahead; set the client's clock",
            ),
            Failure::Busy { queue, retry_after } => {
                let limit = match queue {
                    Queue::Requests => format!("{} requests are waiting", limits::REQUESTS_MAX),
                    Queue::RequestBytes => {
                        format!("{} bytes of requests are waiting", limits::REQUEST_BYTES_MAX)
                    }
                    Queue::Wal => format!("the log holds {} bytes", limits::WAL_BYTES_MAX),
                    Queue::Disk => "disk full: reads and deletes go on; make room".to_owned(),
                };
                write!(f, "{limit}; retry in {} ms", retry_after.as_millis())
            }
            Failure::Unavailable => {
                f.write_str("no leader with a quorum answered in time; nothing was done, retry")
            }
            Failure::Behind { min } => write!(
                f,
                "this node had not applied sequence {min} in time, which the session has seen; \
                 ask another node, or wait longer. A sequence of another life of the cluster may \
                 never come: then begin a new session"
            ),
            Failure::Unknown => f.write_str(
                "no answer in time: the operation may or may not have happened; retry it with the \
                 same idempotency key to learn which",
            ),
        }
    }
}

impl Answer {
    /// The answer to a read.
    pub(crate) fn saw(seen: Seen, age: Option<Duration>) -> Answer {
        let Seen { found, applied, sequence } = seen;
        match found {
            Found::Actor(record) => Answer::Read { record, applied, sequence, age },
            Found::Page(Page { records, more }) => {
                Answer::Scan { records, more, applied, sequence, age }
            }
            Found::Changes(changes) => Answer::Changes { changes, applied, sequence, age },
        }
    }

    /// The committed time until which a repeat of this write gets the recorded outcome, unless more
    /// than the op-log's limits comes in between. `None` for an operation of a session, whose
    /// memory is counted in operations, and for a read.
    pub fn remembered_until(&self) -> Option<Timestamp> {
        match self {
            Answer::Done { op: OpId::Timed(_) | OpId::Named(_), recorded, .. } => {
                let age = u64::try_from(limits::OPLOG_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
                Some(Timestamp(recorded.0.saturating_add(age)))
            }
            Answer::Done { op: OpId::Session { .. }, .. }
            | Answer::Session(_)
            | Answer::Read { .. }
            | Answer::Changes { .. }
            | Answer::Scan { .. } => None,
        }
    }

    /// The token after a write, if there is one.
    pub fn token(&self) -> Option<Token> {
        match self {
            Answer::Done { outcome: Outcome::Written { token, .. }, .. } => Some(*token),
            Answer::Done { .. }
            | Answer::Scan { .. }
            | Answer::Changes { .. }
            | Answer::Session(_) => None,
            Answer::Read { record, .. } => record.as_ref().map(|record| record.token),
        }
    }

    /// Up to where the answer proves the shard's order to have come: what a
    /// [`crate::ReadLevel::Session`] read is to be no older than, to see what this answer tells.
    pub fn sequence(&self) -> Option<Sequence> {
        match self {
            Answer::Done { outcome, .. } => outcome.sequence(),
            Answer::Session(_) => None,
            Answer::Read { sequence, .. }
            | Answer::Scan { sequence, .. }
            | Answer::Changes { sequence, .. } => Some(*sequence),
        }
    }

    /// The version after a write or of a read; 0 when the actor is absent.
    pub fn version(&self) -> Version {
        self.token().map_or(Version(0), |token| token.version)
    }
}
