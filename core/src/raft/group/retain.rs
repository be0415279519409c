//! Which changes are forgotten: the leader says so, in entries of the log, by how much is retained
//! and how old it is; apply does it, the same on every replica.

use std::sync::Arc;

use super::Group;
use crate::command::Batch;
use crate::limits;
use crate::raft::executor;
use crate::raft::executor::lock;
use crate::raft::runtime::timeout_at;
use crate::raft::shared::mono;
use crate::types::{Instant, Sequence, Timestamp};

/// What a leader remembers of it.
#[derive(Default)]
pub struct Retaining {
    /// When it looks for changes that are too old again.
    next: Instant,
    /// Held by the look that is under way.
    call: Arc<()>,
}

impl Group {
    /// Up to where changes are to be forgotten because there are too many; goes with an entry that is
    /// proposed anyway, since only entries add changes.
    pub(super) fn too_many_changes(&self) -> Sequence {
        let config = &self.shared.config;
        let bytes = config.retention.bytes(config.storage(&self.namespace));
        lock(&self.store).too_many_changes(bytes).unwrap_or_default()
    }

    /// Forgets the changes that are too old, if this replica leads and there are any.
    pub fn retain(self: &Arc<Group>) {
        let mut retaining = lock(&self.retaining);
        if mono() < retaining.next || Arc::strong_count(&retaining.call) > 1 {
            return;
        }
        let age = self.shared.config.retention.age;
        retaining.next = mono().after((age / 64).max(limits::RETAIN_EVERY_MIN));
        if lock(&self.store).meta().changes() == 0 || self.may_propose().is_err() {
            return;
        }
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let Some(oldest) = self.stamp().0.checked_sub(age) else { return };
        let (group, call) = (self.clone(), retaining.call.clone());
        drop(retaining);
        executor::spawn(async move {
            match group.rows.last_before(Timestamp(oldest)).await {
                Ok(upto) => while group.forget(upto).await {},
                Err(error) => group.unreadable(&error),
            }
            drop(call);
        });
    }

    /// Forgets some of the changes up to `upto`. False when none is left, or when it is not known what
    /// came of it: what is still there is proposed again at the next look.
    async fn forget(&self, upto: Sequence) -> bool {
        let compacted = lock(&self.store).meta().compacted;
        if upto <= compacted || self.may_propose().is_err() {
            return false;
        }
        let upto = upto.min(Sequence(compacted.0 + limits::COMPACT_CHANGES_MAX));
        let (commands, due) = (Arc::new([]), Arc::new([]));
        let batch = Batch { time: self.stamp(), commands, due, compact: upto };
        let deadline = mono().after(limits::EXPIRE_TIMEOUT);
        matches!(timeout_at(deadline, self.raft.client_write(batch)).await, Ok(Ok(_)))
    }
}
