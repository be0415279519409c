//! Everything that can happen to a replica.

use std::time::Duration;

use crate::backend::{BackendError, Row};
use crate::change::ChangesQuery;
use crate::command::{Operation, Work, Write};
use crate::message::Message;
use crate::types::{ActorId, Boot, Namespace, OpId, Sequence};

/// One thing that happened. The driver hands over all that is waiting as one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client asks something of this node.
    Request {
        /// Chosen by the driver, never used twice.
        request: RequestId,
        /// How long the client waits; clamped to [`crate::limits::REQUEST_TIMEOUT_MAX`].
        timeout: Duration,
        /// What is asked.
        body: Request,
    },
    /// Nobody waits for `request` any more: no answer is owed, and its place is free. What was
    /// proposed may still happen.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// A peer's message arrived. It may be late, repeated or out of order.
    Message(Message),
    /// The write `io` is durable, or it failed and the disk's state is unknown.
    Io {
        /// The write.
        io: IoId,
        /// What came of it.
        result: Result<(), IoFailed>,
    },
    /// The operations of an [`crate::Effect::Files`] are done, or one failed and the rest were left.
    Files {
        /// Which.
        io: IoId,
        /// What came of them.
        result: Result<(), IoFailed>,
    },
    /// What an [`crate::Effect::FileRead`] read.
    FileRead {
        /// Which.
        io: IoId,
        /// The bytes.
        result: Result<Vec<u8>, IoFailed>,
    },
    /// What came of an [`crate::Effect::Store`].
    Store {
        /// Which.
        io: IoId,
        /// What came of it.
        result: Result<StoreDone, BackendError>,
    },
    /// How much room the file system of the data folder has. Told at the start and every second or
    /// so; without it no disk counts as full before a write fails.
    Space {
        /// Bytes.
        free: u64,
    },
    /// The time of [`crate::Replica::deadline`] has come. Early or needless ones do no harm.
    Wake,
}

/// What a [`crate::effect::StoreOp`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreDone {
    /// The values of the keys, in the order asked.
    Rows(Vec<Option<Vec<u8>>>),
    /// The rows of a range, and whether there are others behind the last one.
    Scanned(Vec<Row>, bool),
    /// The state is in the file, which has so many bytes.
    Exported(u64),
    /// It is done.
    Done,
}

/// A client's request, as checked by the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change one actor, or several together.
    Write {
        /// The collection.
        namespace: Namespace,
        /// The operation's name; without one the core gives it a name and there is no promise
        /// about a repeat by the client.
        op: Option<OpId>,
        /// What is to be done.
        work: Work,
    },
    /// Mint a session ([`OpId::Session`]); any node does, without asking another.
    Session {
        /// The collection.
        namespace: Namespace,
    },
    /// Read one actor.
    Read {
        /// The collection.
        namespace: Namespace,
        /// The actor.
        id: ActorId,
        /// How fresh.
        level: ReadLevel,
    },
    /// Read a page of actors, in the order of their ids' bytes. All of a page is as it was at one
    /// applied index; the next page may be newer.
    Scan {
        /// The collection.
        namespace: Namespace,
        /// What the ids begin with; empty for all.
        prefix: String,
        /// Only ids behind this one: the last of the page before.
        after: Option<ActorId>,
        /// Actors at most; from 1 to [`crate::limits::SCAN_RECORDS_MAX`], and fewer come when they
        /// are large ([`crate::limits::SCAN_BYTES_MAX`]).
        limit: usize,
        /// How fresh.
        level: ReadLevel,
    },
    /// Read a page of changes, in the order in which they happened.
    Changes {
        /// The collection.
        namespace: Namespace,
        /// Which.
        query: ChangesQuery,
        /// How fresh.
        level: ReadLevel,
    },
}

impl Request {
    /// The collection it is about.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Request::Write { namespace, .. }
            | Request::Read { namespace, .. }
            | Request::Scan { namespace, .. }
            | Request::Changes { namespace, .. }
            | Request::Session { namespace } => namespace,
        }
    }

    /// One operation on one actor.
    pub fn write(
        namespace: Namespace,
        id: ActorId,
        op: Option<OpId>,
        operation: Operation,
    ) -> Request {
        Request::Write { namespace, op, work: Work::One(Write { id, operation }) }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// Sees every write acknowledged before it began: a read index.
    Linearizable,
    /// The same without asking a quorum for each read, as long as clocks run within a stated bound.
    Lease,
    /// Not older than what the client has seen or written, at any replica; waits for it.
    Session {
        /// The highest sequence of the answers that the client had from this namespace.
        min: Sequence,
    },
    /// What this replica has, with its applied index and age.
    Eventual,
}

/// Names a waiting client; the driver owns the map to whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a write to the WAL; the boot keeps completions of an earlier life apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IoId {
    /// The life of the replica that asked.
    pub boot: Boot,
    /// Counted from 1 in that life.
    pub number: u64,
}

/// An operation on files failed. A write of the log is never retried as if it had worked: the process
/// ends. Any other file is begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoFailed {
    /// What the system said.
    pub reason: String,
    /// It was [`crate::DiskOp::SyncFolder`]: no later one makes the folder's names durable, whatever
    /// it reports, so the process ends.
    pub lost_names: bool,
}

impl IoFailed {
    /// Any operation but the sync of a folder.
    pub fn new(reason: impl Into<String>) -> IoFailed {
        IoFailed { reason: reason.into(), lost_names: false }
    }
}
