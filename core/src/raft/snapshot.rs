//! A group's snapshot on the disk: how it is made without stopping anything, and kept.
//!
//! For a namespace in memory it is also its checkpoint: what a restart begins from, and what lets the
//! log before it go. It is written from a view of the store, which costs nothing and never changes,
//! a chunk at a time between other steps, under a name that is worth nothing after a crash; it gets
//! its own name when all of it is synced. So a crash leaves the old one or the new one.
//!
//! A namespace outside the core is durable by itself: its checkpoint is a flush, and a snapshot is
//! written only when a follower needs one.
//!
//! openraft hears of a snapshot only when it is on the disk: an error while it builds one would end
//! the replica, and a disk that is full for a while must not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use openraft::StoredMembership;
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};

use super::executor::lock;
use super::rows::Rows;
use super::shared::{Shared, mono};
use super::transfer::Incoming;
use super::{TypeConfig, convert};
use crate::disk::{DiskOp, FileName, Folder};
use crate::effect::{Effect, StoreOp};
use crate::event::Event;
use crate::input::{IoFailed, StoreDone};
use crate::limits;
use crate::message::LogPosition;
use crate::snapshot::{Assembler, Encoder};
use crate::store::keys::Origin;
use crate::store::{Meta, Store, StoreView};
use crate::types::{GroupId, Instant};

/// See the module.
pub struct Snapshots {
    pub origin: Origin,
    pub shared: Arc<Shared>,
    store: Arc<Mutex<Store>>,
    rows: Rows,
    users: Users,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest whole one, of a store in memory.
    current: Option<Arc<Whole>>,
    /// What is durable of a store outside the core.
    flushed: Option<Meta>,
    /// A snapshot of that which is being sent.
    exported: Weak<Whole>,
    parts: u64,
    building: bool,
    /// Building failed; not again before this.
    retry_at: Option<Instant>,
    /// What a leader is sending.
    incoming: Incoming,
    /// What is being sent to followers: the last entry in it, and when it arrived.
    sending: BTreeMap<u64, (u64, Option<Instant>)>,
    sendings: u64,
}

/// A snapshot on its way to a follower.
pub struct Sending<'a> {
    snapshots: &'a Snapshots,
    number: u64,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some((_, ended)) = lock(&self.snapshots.state).sending.get_mut(&self.number) {
            *ended = Some(mono());
        }
    }
}

/// A snapshot on the disk, whole and synced. Its file goes when it was replaced and the last
/// transfer that reads it has ended.
pub struct Whole {
    name: Name,
    pub length: u64,
    pub meta: Meta,
}

/// Who uses each file. Two snapshots of one state have one name: a checkpoint, and what a leader has
/// sent meanwhile.
type Users = Arc<Mutex<BTreeMap<FileName, usize>>>;

/// A name in use, from before the file gets it; the file goes with the last user.
pub struct Name {
    shared: Weak<Shared>,
    users: Users,
    pub file: FileName,
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut users = lock(&self.users);
        let left = users.get(&self.file).map_or(0, |count| count.saturating_sub(1));
        if left > 0 && !planted!(SnapshotNameShared) {
            users.insert(self.file, left);
            return;
        }
        users.remove(&self.file);
        drop(users);
        if let Some(shared) = self.shared.upgrade() {
            shared.work(vec![DiskOp::Delete { file: self.file }], |_| {});
        }
    }
}

/// What openraft hands to and fro.
pub enum Handle {
    /// On this replica's disk.
    Whole(Arc<Whole>),
    /// In this replica's store, to be written to the disk when somebody needs it.
    Outside,
    /// A leader's, on this replica's disk by now, and the store made of it.
    Received(Arc<Whole>, Box<Store>),
}

impl Snapshots {
    /// The group's snapshots; `current` is what recovery found.
    pub fn new(
        origin: Origin,
        shared: Arc<Shared>,
        store: Arc<Mutex<Store>>,
        current: Option<u64>,
    ) -> Snapshots {
        let (group, meta) = (origin.group, lock(&store).meta());
        let rows = Rows::new(group, shared.clone(), store.clone());
        let (users, state) = Default::default();
        let snapshots = Snapshots { origin, shared, store, rows, users, state };
        if snapshots.is_outside() {
            lock(&snapshots.state).flushed = meta.applied.is_some().then_some(meta);
        } else {
            let current = current.zip(meta.applied).map(|(length, position)| {
                let name = snapshots.name(position);
                Arc::new(Whole { name, length, meta })
            });
            lock(&snapshots.state).current = current;
        }
        snapshots
    }

    /// The rows are in a backend.
    pub fn is_outside(&self) -> bool {
        lock(&self.store).is_cached()
    }

    /// A follower is sent a snapshot that ends at `index`: the entries behind it stay until it has
    /// arrived and replication has gone on from there. Else a follower of a busy leader would be
    /// sent one snapshot after the other.
    pub fn sending(&self, index: u64) -> Sending<'_> {
        let mut state = lock(&self.state);
        state.sendings += 1;
        let number = state.sendings;
        state.sending.insert(number, (index, None));
        Sending { snapshots: self, number }
    }

    /// The first entry, as an index, that a follower will ask for after what it is being sent.
    pub fn awaited(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let recent = |at: Instant| mono().since(at) < limits::AFTER_SNAPSHOT;
        state.sending.retain(|_, (_, ended)| ended.is_none_or(recent));
        state.sending.values().map(|(index, _)| index + 1).min()
    }

    /// What checks a snapshot and makes a store of it.
    pub fn assembler(&self) -> Assembler {
        if self.is_outside() { Assembler::outside() } else { Assembler::default() }
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.origin.group
    }

    /// What the newest one says of itself, and its bytes; none where it is no file.
    fn newest(&self) -> Option<(Meta, u64)> {
        let state = lock(&self.state);
        let current = state.current.as_ref().map(|whole| (whole.meta.clone(), whole.length));
        current.or_else(|| state.flushed.clone().map(|meta| (meta, 0)))
    }

    /// Entries up to here are in the newest one, as a count.
    pub fn covers(&self) -> u64 {
        self.newest().and_then(|(meta, _)| meta.applied).map_or(0, |at| at.index + 1)
    }

    /// Bytes of the newest one's file.
    pub fn bytes(&self) -> u64 {
        self.newest().map_or(0, |(_, bytes)| bytes)
    }

    /// The name of a snapshot that ends at `position`, in use from now on.
    pub fn name(&self, position: LogPosition) -> Name {
        self.use_file(FileName::Snapshot(self.group(), position))
    }

    fn use_file(&self, file: FileName) -> Name {
        *lock(&self.users).entry(file).or_default() += 1;
        Name { shared: Arc::downgrade(&self.shared), users: self.users.clone(), file }
    }

    /// A name for a file that is being written.
    pub fn next_part(&self) -> FileName {
        let mut state = lock(&self.state);
        state.parts += 1;
        FileName::Part(self.group(), state.parts)
    }

    /// Whether one may be begun now: one at a time, not right after a failure.
    pub fn may_build(&self) -> bool {
        let state = lock(&self.state);
        !state.building && state.retry_at.is_none_or(|at| at <= mono())
    }

    /// What is being received; taken out while it is worked on.
    pub fn take_incoming(&self) -> Incoming {
        std::mem::take(&mut lock(&self.state).incoming)
    }

    /// Puts it back.
    pub fn put_incoming(&self, incoming: Incoming) {
        lock(&self.state).incoming = incoming;
    }

    /// Makes the state as it is now durable. False when there is nothing to write, or it failed.
    pub async fn checkpoint(&self) -> bool {
        let meta = lock(&self.store).meta();
        let Some(position) = meta.applied else { return false };
        let group = self.group();
        lock(&self.state).building = true;
        if self.is_outside() {
            let flushed = if planted!(FlushNotWaited) { Ok(()) } else { self.rows.flush().await };
            let mut state = lock(&self.state);
            state.building = false;
            if flushed.is_ok() {
                state.flushed = Some(meta);
            }
            return flushed.is_ok();
        }
        let view = lock(&self.store).view();
        let part = self.next_part();
        let written = self.write(part, position, view).await;
        let mut state = lock(&self.state);
        state.building = false;
        match written {
            Ok(whole) => {
                drop(state);
                let bytes = whole.length;
                self.adopt(Arc::new(whole));
                self.shared.emit(Effect::Event(Event::Checkpoint { group, position, bytes }));
                true
            }
            Err(IoFailed { reason, .. }) => {
                state.retry_at = Some(mono().after(limits::CHECKPOINT_RETRY_AFTER));
                drop(state);
                self.shared.work(vec![DiskOp::Delete { file: part }], |_| {});
                self.shared.emit(Effect::Event(Event::CheckpointFailed { group, reason }));
                false
            }
        }
    }

    async fn write(
        &self,
        part: FileName,
        position: LogPosition,
        view: StoreView,
    ) -> Result<Whole, IoFailed> {
        let meta = view.meta().clone();
        let mut ops = vec![DiskOp::Create { file: part, size: 0 }];
        let (mut offset, mut bytes) = (0, Vec::new());
        for block in Encoder::new(self.origin.clone(), view) {
            bytes.extend(block);
            if bytes.len() >= self.shared.config.log.chunk_bytes() {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let bytes = std::mem::take(&mut bytes);
                ops.push(DiskOp::Write { file: part, offset, bytes });
                offset += length;
                self.shared.worked(std::mem::take(&mut ops)).await?;
            }
        }
        let length = offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        ops.push(DiskOp::Write { file: part, offset, bytes });
        let name = self.name(position);
        ops.extend(Snapshots::finish(part, name.file));
        self.shared.worked(ops).await?;
        Ok(Whole { name, length, meta })
    }

    /// What gives a written part its own name, durably.
    pub fn finish(part: FileName, to: FileName) -> [DiskOp; 3] {
        let sync = DiskOp::Sync { file: part };
        let sync = if planted!(SnapshotNotSynced) {
            DiskOp::SyncFolder { folder: Folder::Snap }
        } else {
            sync
        };
        [sync, DiskOp::Rename { from: part, to }, DiskOp::SyncFolder { folder: Folder::Snap }]
    }

    /// Keeps `whole` if it is newer than the one there is; else its file goes.
    pub fn adopt(&self, whole: Arc<Whole>) {
        let outside = self.is_outside();
        let mut state = lock(&self.state);
        if outside {
            // Its rows are in the store by now, durably; the file goes.
            state.flushed = Some(whole.meta.clone());
            return;
        }
        let newer = state.current.as_ref().is_none_or(|current| {
            current.position().map(|at| at.index) < whole.position().map(|at| at.index)
        });
        let replaced = if newer { state.current.replace(whole) } else { Some(whole) };
        drop(state);
        drop(replaced);
    }

    /// The newest one, as openraft wants it.
    pub fn snapshot(&self) -> Option<SnapshotOf<TypeConfig, Handle>> {
        let meta = snapshot_meta(&self.newest()?.0);
        let current = lock(&self.state).current.clone();
        let snapshot = current.map_or(Handle::Outside, Handle::Whole);
        Some(SnapshotOf::<TypeConfig, Handle> { meta, snapshot })
    }

    /// A file of the state of a store outside the core: one that is being sent already, or a new
    /// one of the state as it is now. It is never older than `told`, what openraft was told of: from
    /// there it will go on.
    ///
    /// # Errors
    /// What the store said.
    pub async fn export(&self, told: Option<u64>) -> std::io::Result<Arc<Whole>> {
        let exported = lock(&self.state).exported.upgrade();
        let recent = |whole: &Arc<Whole>| {
            whole.position().map(|at| at.index) >= told || planted!(ExportTooOld)
        };
        if let Some(whole) = exported.filter(recent) {
            return Ok(whole);
        }
        // Nothing is applied between these two: the file holds what `meta` says.
        let (file, meta) = (self.next_part(), lock(&self.store).meta());
        let exported = self.rows.ask(StoreOp::Export(file)).await;
        let name = self.use_file(file);
        let StoreDone::Exported(length) = exported? else {
            return Err(std::io::Error::other("an answer to another question"));
        };
        let whole = Arc::new(Whole { name, length, meta });
        lock(&self.state).exported = Arc::downgrade(&whole);
        Ok(whole)
    }
}

impl Whole {
    /// One that has its name by now.
    pub fn new(name: Name, length: u64, meta: Meta) -> Whole {
        Whole { name, length, meta }
    }

    /// Where it is.
    pub fn file(&self) -> FileName {
        self.name.file
    }

    /// The last entry that is in it.
    pub fn position(&self) -> Option<LogPosition> {
        self.meta.applied
    }
}

/// What openraft wants to know of a snapshot.
pub fn snapshot_meta(meta: &Meta) -> SnapshotMetaOf<TypeConfig> {
    SnapshotMetaOf::<TypeConfig> {
        last_log_id: meta.applied.map(convert::log_id),
        last_membership: stored_membership(meta),
    }
}

/// The last applied members, as openraft wants them.
pub fn stored_membership(meta: &Meta) -> StoredMembershipOf<TypeConfig> {
    let members = meta.members.clone().and_then(|(position, members)| {
        Some(StoredMembership::new(Some(convert::log_id(position)), convert::membership(members)?))
    });
    members.unwrap_or_default()
}
