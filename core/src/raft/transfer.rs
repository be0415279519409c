//! A snapshot on its way from a leader to a replica that needs entries which are purged.
//!
//! The leader reads its file a chunk at a time and holds no more of it. The receiver says how much it
//! has, so a lost chunk, a new connection or a new leader with the same snapshot goes on from there:
//! equal states have equal bytes. It checks every block as it comes, keeps the bytes in a part file,
//! and when all of it is checked and synced, hands it to openraft: a crash at any point leaves the
//! old state or the new.

use std::future::Future;
use std::sync::Arc;

use openraft::alias::SnapshotOf;
use openraft::errors::ReplicationClosed;

use super::executor::Sleep;
use super::group::Group;
use super::shared::mono;
use super::snapshot::{Handle, Snapshots, Whole, snapshot_meta};
use super::{TypeConfig, convert};
use crate::disk::{DiskOp, FileName};
use crate::effect::Effect;
use crate::event::Event;
use crate::limits;
use crate::message::{Blob, Body, LogPosition, SnapshotChunk, SnapshotReply, Vote};
use crate::raft::shared::Shared;
use crate::snapshot::Assembler;
use crate::types::{GroupId, ReplicaId};

/// What this replica is being sent.
#[derive(Default)]
pub enum Incoming {
    /// Nothing.
    #[default]
    None,
    /// Somebody works on a chunk at this moment; others are not heard.
    Busy,
    /// This much.
    Some(Box<Received>),
}

/// The beginning of a snapshot.
pub struct Received {
    position: LogPosition,
    length: u64,
    /// Bytes that are in the part file and were checked, as far as whole blocks go.
    have: u64,
    part: FileName,
    assembler: Assembler,
}

/// Why a transfer ended without the receiver having it all.
pub enum Failed {
    /// The receiver follows somebody else by now.
    HigherVote(Vote),
    /// Nothing was heard for a while, or what was read here was not right: begin again.
    Again,
}

/// Sends `whole` to `target`, and returns the vote of the receiver, who has installed it.
pub async fn send(
    shared: &Shared,
    group: GroupId,
    target: ReplicaId,
    vote: Vote,
    whole: &Whole,
) -> Result<Vote, Failed> {
    let position = whole.position().ok_or(Failed::Again)?;
    // Asks first: the receiver may have some of it.
    let (mut offset, mut silent) = (0, 0);
    let mut bytes = Vec::new();
    loop {
        let length = whole.length;
        let sent = !bytes.is_empty();
        let chunk = SnapshotChunk { vote, position, length, offset, bytes: Blob(bytes) };
        let deadline = mono().after(limits::SNAPSHOT_CHUNK_TIMEOUT);
        let reply = shared.ask(target, group, Body::Snapshot(chunk), deadline).await;
        match reply {
            Some(Body::SnapshotReply(SnapshotReply::Have(have))) if have <= length => {
                if sent && have <= offset {
                    refused(shared, whole).await;
                    return Err(Failed::Again);
                }
                (offset, silent) = (have, 0);
            }
            Some(Body::SnapshotReply(SnapshotReply::Installed(vote))) => return Ok(vote),
            Some(Body::SnapshotReply(SnapshotReply::HigherVote(vote))) => {
                return Err(Failed::HigherVote(vote));
            }
            Some(_) | None => silent += 1,
        }
        if silent > limits::SNAPSHOT_SILENT_MAX {
            return Err(Failed::Again);
        }
        let read = shared.read_file(whole.file(), offset, shared.config.log.chunk_bytes()).await;
        bytes = read.map_err(|_| Failed::Again)?;
    }
}

/// The receiver threw away what it was sent: its disk takes no writes, or the bytes are wrong. Whose
/// checkpoint is damaged must not go on: what was before it is purged.
async fn refused(shared: &Shared, whole: &Whole) {
    let is_checkpoint = matches!(whole.file(), FileName::Snapshot(..));
    match verify(shared, whole).await {
        Some(damage) if is_checkpoint => {
            shared.set_damaged();
            let reason = format!("the data is damaged: `{}`: {damage}", whole.file());
            shared.emit(Effect::Fatal { reason, damaged: true });
        }
        _ => Sleep::until(mono().after(limits::SNAPSHOT_REFUSED_PAUSE)).await,
    }
}

/// The snapshot of a store could not be written; perhaps there is room later.
pub async fn not_exported() {
    Sleep::until(mono().after(limits::SNAPSHOT_REFUSED_PAUSE)).await;
}

/// What is wrong with a snapshot of this replica's.
async fn verify(shared: &Shared, whole: &Whole) -> Option<String> {
    let (mut assembler, mut offset) = (Assembler::outside(), 0);
    while offset < whole.length {
        let read = shared.read_file(whole.file(), offset, shared.config.log.chunk_bytes()).await;
        let bytes = read.ok().filter(|bytes| !bytes.is_empty())?;
        if let Err(error) = assembler.push(&bytes) {
            return Some(error.to_string());
        }
        offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    assembler.finish().err().map(|error| error.to_string())
}

/// `send`, unless `cancel` comes first.
pub async fn send_until(
    sending: impl Future<Output = Result<Vote, Failed>> + Send,
    cancel: impl Future<Output = ReplicationClosed> + Send,
) -> Result<Result<Vote, Failed>, ReplicationClosed> {
    use openraft::async_runtime::{AsyncRuntime, Select2};
    match super::runtime::Runtime::select2(sending, cancel).await {
        Select2::First(sent) => Ok(sent),
        Select2::Second(closed) => Err(closed),
    }
}

/// Takes a chunk; `None` when it is not answered.
pub async fn receive(group: &Group, chunk: SnapshotChunk) -> Option<SnapshotReply> {
    let snapshots = group.snapshots();
    if let Some(vote) = group.higher_vote(chunk.vote) {
        return Some(SnapshotReply::HigherVote(vote));
    }
    let incoming = snapshots.take_incoming();
    let received = match incoming {
        Incoming::Busy => {
            snapshots.put_incoming(Incoming::Busy);
            return None;
        }
        Incoming::Some(received)
            if (received.position, received.length) == (chunk.position, chunk.length) =>
        {
            received
        }
        other => begin(snapshots, other, &chunk),
    };
    snapshots.put_incoming(Incoming::Busy);
    let (vote, position) = (chunk.vote, chunk.position);
    match take(snapshots, received, chunk).await {
        Took::More(received) => {
            let have = received.have;
            snapshots.put_incoming(Incoming::Some(received));
            Some(SnapshotReply::Have(have))
        }
        Took::Bad(reason) => {
            snapshots.put_incoming(Incoming::None);
            let event = Event::SnapshotRefused { group: group.id, position, reason };
            snapshots.shared.emit(Effect::Event(event));
            Some(SnapshotReply::Have(0))
        }
        Took::All(handle) => {
            let installed = install(group, vote, handle).await;
            snapshots.put_incoming(Incoming::None);
            installed.map(SnapshotReply::Installed)
        }
    }
}

enum Took {
    More(Box<Received>),
    Bad(String),
    All(Handle),
}

fn begin(snapshots: &Snapshots, before: Incoming, chunk: &SnapshotChunk) -> Box<Received> {
    if let Incoming::Some(before) = before {
        snapshots.shared.work(vec![DiskOp::Delete { file: before.part }], |_| {});
    }
    let part = snapshots.next_part();
    snapshots.shared.work(vec![DiskOp::Create { file: part, size: 0 }], |_| {});
    let (position, length) = (chunk.position, chunk.length);
    Box::new(Received { position, length, have: 0, part, assembler: snapshots.assembler() })
}

async fn take(snapshots: &Snapshots, mut received: Box<Received>, chunk: SnapshotChunk) -> Took {
    let bytes = chunk.bytes.0;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if chunk.offset != received.have || bytes.is_empty() {
        // Late, repeated, or only a question.
        return Took::More(received);
    }
    let drop_part = |part| snapshots.shared.work(vec![DiskOp::Delete { file: part }], |_| {});
    if let Err(error) = received.assembler.push(&bytes) {
        drop_part(received.part);
        return Took::Bad(error.to_string());
    }
    let (file, offset) = (received.part, received.have);
    received.have += length;
    let written = snapshots.shared.worked(vec![DiskOp::Write { file, offset, bytes }]).await;
    if let Err(failed) = written {
        drop_part(file);
        return Took::Bad(failed.reason);
    }
    if received.have < received.length {
        return Took::More(received);
    }
    match finish(snapshots, *received).await {
        Ok(handle) => Took::All(handle),
        Err(reason) => {
            drop_part(file);
            Took::Bad(reason)
        }
    }
}

/// Checks the whole before it gets its name: what has that name is believed at the next start.
async fn finish(snapshots: &Snapshots, received: Received) -> Result<Handle, String> {
    let Received { position, length, part, assembler, .. } = received;
    let (header, store) = assembler.finish().map_err(|error| error.to_string())?;
    if header.origin != snapshots.origin || header.meta.applied != Some(position) {
        return Err("it is another group's, or of another index".to_owned());
    }
    let name = snapshots.name(position);
    let named = snapshots.shared.worked(Snapshots::finish(part, name.file).into()).await;
    named.map_err(|failed| failed.reason)?;
    let whole = Whole::new(name, length, header.meta);
    Ok(Handle::Received(Arc::new(whole), Box::new(store)))
}

async fn install(group: &Group, vote: Vote, handle: Handle) -> Option<Vote> {
    let Handle::Received(whole, _) = &handle else { return None };
    let meta = snapshot_meta(&whole.meta);
    // One that contradicts what is committed here is nobody's honest snapshot; openraft would panic.
    let position = whole.position()?;
    if group.contradicts(position) {
        return None;
    }
    let snapshot = SnapshotOf::<TypeConfig, Handle> { meta, snapshot: handle };
    group.install(convert::raft_vote(vote), snapshot).await
}
