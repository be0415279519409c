//! openraft's state machine: hands committed entries to the store, in order.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, StoredMembership};

use super::executor::lock;
use super::shared::Shared;
use super::{LogId, TypeConfig, convert};
use crate::effect::Effect;
use crate::event::Event;
use crate::store::Store;
use crate::types::GroupId;

/// One group's state machine.
pub struct Machine {
    pub group: GroupId,
    pub shared: Arc<Shared>,
    pub store: Arc<Mutex<Store>>,
    pub membership: StoredMembershipOf<TypeConfig>,
}

/// Log compaction is off (`SnapshotPolicy::Never`, nothing is ever purged), so openraft never asks
/// for one. Should it ask all the same, it gets an error, which stops the replica.
pub struct NoSnapshots;

fn no_snapshots() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this version keeps the whole log")
}

impl RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Vec<u8>>, io::Error> {
        Err(no_snapshots())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembershipOf<TypeConfig>), io::Error> {
        let applied = lock(&self.store).applied().map(convert::log_id);
        Ok((applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let position = convert::position(&entry.log_id);
            let (batch, members) = match &entry.payload {
                EntryPayload::Blank => (None, None),
                EntryPayload::Normal(batch) => (Some(batch), None),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    (None, Some(convert::members(membership)))
                }
            };
            let (results, state_hash) = {
                let mut store = lock(&self.store);
                let results = store.apply(position, batch);
                if let Some(members) = members {
                    store.set_members(position, members);
                }
                (results, store.state_hash())
            };
            let (group, term, index) = (self.group, position.term, position.index);
            self.shared.emit(Effect::Event(Event::Applied { group, term, index, state_hash }));
            if let Some(responder) = responder {
                responder.send(results);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        _snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, Vec<u8>>>, io::Error> {
        Ok(None)
    }
}
