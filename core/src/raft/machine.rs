//! openraft's state machine: hands committed entries to the store, in order.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, StoredMembership};

use super::executor::lock;
use super::log::Log;
use super::marks::Marks;
use super::rows::Rows;
use super::shared::Shared;
use super::snapshot::{Handle, Snapshots};
use super::{Entry, LogId, TypeConfig, convert};
use crate::command::Batch;
use crate::effect::Effect;
use crate::event::Event;
use crate::message::Applied;
use crate::store::Store;
use crate::types::GroupId;

/// One group's state machine.
pub struct Machine {
    pub group: GroupId,
    pub shared: Arc<Shared>,
    pub store: Arc<Mutex<Store>>,
    pub log: Log,
    pub rows: Rows,
    pub snapshots: Arc<Snapshots>,
    pub marks: Arc<Marks>,
    /// The last membership applied.
    pub membership: Arc<Mutex<StoredMembershipOf<TypeConfig>>>,
}

/// Tells openraft of the snapshot that is on the disk already; see [`super::snapshot`].
pub struct Builder(Arc<Snapshots>);

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Handle;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Handle>, io::Error> {
        let none = || io::Error::other("no checkpoint is on the disk");
        self.0.snapshot().ok_or_else(none)
    }
}

/// Entries that are applied together: one batch for a store outside the core.
const TOGETHER_MAX: usize = 64;

type Waiting = openraft::storage::ApplyResponder<TypeConfig>;

impl Machine {
    fn batch(entry: &Entry) -> Option<&Batch> {
        match &entry.payload {
            EntryPayload::Normal(batch) => Some(batch),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        }
    }

    /// Prefetches, applies, writes; answers only what everybody can read.
    async fn apply_together(
        &mut self,
        entries: Vec<(Entry, Option<Waiting>)>,
    ) -> Result<(), io::Error> {
        let batches = entries.iter().filter_map(|(entry, _)| Machine::batch(entry));
        self.rows.fetch_for(batches).await?;
        let mut answers = Vec::new();
        for (entry, responder) in entries {
            let results = self.apply_one(&entry);
            answers.extend(responder.map(|responder| (responder, results)));
        }
        self.rows.write_changes().await?;
        self.tell();
        for (responder, results) in answers {
            responder.send(results);
        }
        Ok(())
    }

    /// Tells where the changes begin.
    pub fn begin(&self) {
        let (group, after) = (self.group, lock(&self.store).sequence());
        self.shared.emit(Effect::Changes { group, after, changes: Vec::new() });
    }

    /// Tells of the changes that everybody can read by now.
    fn tell(&self) {
        let (after, changes) = lock(&self.store).take_fresh();
        if !changes.is_empty() {
            self.shared.emit(Effect::Changes { group: self.group, after, changes });
        }
    }

    fn apply_one(&mut self, entry: &Entry) -> Vec<Applied> {
        let position = convert::position(&entry.log_id);
        let mut store = lock(&self.store);
        let results = store.apply(position, Machine::batch(entry));
        if let EntryPayload::Membership(membership) = &entry.payload {
            let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
            *lock(&self.membership) = stored;
            store.set_members(self.group, position, convert::members(membership));
        }
        let (state_hash, expired) = (store.state_hash(), store.take_expired());
        drop(store);
        let (group, term, index) = (self.group, position.term, position.index);
        for expired in expired {
            self.shared.emit(Effect::Event(Event::Expired { group: self.group, expired }));
        }
        self.shared.emit(Effect::Event(Event::Applied { group, term, index, state_hash }));
        self.marks.applied(&self.shared, group, index, state_hash);
        results
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Handle;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembershipOf<TypeConfig>), io::Error> {
        let applied = lock(&self.store).applied().map(convert::log_id);
        Ok((applied, lock(&self.membership).clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let together = if lock(&self.store).is_cached() { TOGETHER_MAX } else { 1 };
        let mut waiting = Vec::new();
        while let Some(next) = entries.next().await {
            waiting.push(next?);
            if waiting.len() >= together {
                self.apply_together(std::mem::take(&mut waiting)).await?;
            }
        }
        if waiting.is_empty() { Ok(()) } else { self.apply_together(waiting).await }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.snapshots.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Handle,
    ) -> Result<(), io::Error> {
        // openraft restores from its own snapshot only what is older than it, and nothing is: the
        // store was recovered from the same file.
        let Handle::Received(whole, received) = snapshot else { return Ok(()) };
        let Some(position) = whole.position() else { return Ok(()) };
        let replacing = self.rows.replace();
        let received = self.rows.take_over(&whole, *received).await?;
        {
            let mut store = lock(&self.store);
            #[cfg(sim_mutant)]
            let received = crate::mutant::sabotage::after_install(&store, received);
            *store = received;
        }
        drop(replacing);
        *lock(&self.membership) = meta.last_membership.clone();
        self.log.installed(position);
        self.snapshots.adopt(whole);
        let event = Event::SnapshotInstalled { group: self.group, position };
        self.shared.emit(Effect::Event(event));
        self.begin();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Handle>>, io::Error> {
        Ok(self.snapshots.snapshot())
    }
}
