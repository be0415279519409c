//! Actors whose end has come: the leader proposes their removal, a few at a time, and apply decides
//! (ADR 15). Nothing is removed but by an entry of the log, so nothing ends early because somebody's
//! clock, or who leads, has changed.

use std::sync::Arc;

use super::Group;
use crate::command::{Batch, Due};
use crate::limits;
use crate::raft::executor::{self, lock};
use crate::raft::runtime::timeout_at;
use crate::raft::shared::mono;
use crate::types::{Instant, Timestamp};

/// What a leader remembers of it.
#[derive(Default)]
pub struct Expiry {
    /// When it looks again.
    next: Instant,
    /// Held by the proposal that is under way.
    call: Arc<()>,
}

impl Group {
    /// Removes the actors whose end has come, if this replica leads and there are any.
    pub fn expire(self: &Arc<Group>) {
        let mut expiry = lock(&self.expiry);
        if mono() < expiry.next || Arc::strong_count(&expiry.call) > 1 {
            return;
        }
        // Also: without an end nobody's clock is asked.
        let Some(earliest) = lock(&self.store).earliest_end() else { return };
        if self.may_propose().is_err() {
            return;
        }
        let now = self.expiry_time();
        if earliest > now {
            return;
        }
        expiry.next = mono().after(limits::EXPIRE_PAUSE);
        let (group, call) = (self.clone(), expiry.call.clone());
        drop(expiry);
        executor::spawn(async move {
            match group.due(now).await {
                Ok(due) if due.is_empty() => {}
                Ok(due) => group.propose_due(due).await,
                Err(error) => group.unreadable(&error),
            }
            drop(call);
        });
    }

    /// What committed time would be if it were stamped now.
    fn expiry_time(&self) -> Timestamp {
        let now = self.stamp();
        if planted!(ExpiresEarly) { Timestamp(now.0.saturating_add(2_000)) } else { now }
    }

    /// Whether it is applied shows in the state: what is still there is proposed again.
    async fn propose_due(&self, due: Vec<Due>) {
        let deadline = mono().after(limits::EXPIRE_TIMEOUT);
        let (time, compact) = (self.stamp(), self.too_many_changes());
        let batch = Batch { time, commands: Arc::new([]), due: due.into(), compact };
        timeout_at(deadline, self.raft.client_write(batch)).await.ok();
    }

    /// Some of the actors whose end is at or before `now`.
    async fn due(&self, now: Timestamp) -> std::io::Result<Vec<Due>> {
        let segment = lock(&self.shared.writer).segment_bytes();
        let quarter = usize::try_from(segment / 4).unwrap_or(usize::MAX);
        let (mut due, mut bytes) = (Vec::new(), 0);
        for id in self.rows.ended(now, limits::EXPIRE_BATCH_MAX).await? {
            self.rows.fetch(&id).await?;
            let Some(record) = lock(&self.store).get(&id).cloned() else { continue };
            if record.expires().is_some_and(|end| end <= now) {
                let one = Due { id, token: record.token };
                bytes += one.bytes();
                due.push(one);
            }
            if bytes >= quarter {
                break;
            }
        }
        Ok(due)
    }
}
