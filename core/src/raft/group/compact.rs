//! The log behind checkpoints: when one is made, what of the log goes then, and what a follower is sent
//! instead of it.

use openraft::alias::SnapshotOf;
use openraft::async_runtime::watch::WatchReceiver as _;

use super::{Group, applied_count};
use crate::limits;
use crate::message::{LogPosition, Vote};
use crate::raft::executor::{self, lock};
use crate::raft::snapshot::{Handle, Snapshots};
use crate::raft::{RaftVote, TypeConfig, convert};

/// What openraft was last asked to purge.
#[derive(Default)]
pub struct Asked {
    /// Entries that were in a snapshot then.
    covered: u64,
    /// All of those, none was to stay.
    all: bool,
}

impl Group {
    /// The group's snapshots.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// This replica's vote, if it is ahead of a leader's.
    pub fn higher_vote(&self, leader: Vote) -> Option<Vote> {
        let ahead = |ours: &Vote| {
            ours.term > leader.term || ours.term == leader.term && ours.committed && *ours != leader
        };
        self.log.vote().filter(ahead)
    }

    /// Whether a snapshot that ends at `position` cannot be true, given what is committed here.
    pub fn contradicts(&self, position: LogPosition) -> bool {
        let committed = self.log.committed_at();
        committed.is_some_and(|ours| position > ours && position.index <= ours.index)
    }

    /// Hands a received snapshot to openraft; the vote of this replica, once it is installed.
    pub async fn install(
        &self,
        vote: RaftVote,
        snapshot: SnapshotOf<TypeConfig, Handle>,
    ) -> Option<Vote> {
        let response = self.raft.install_full_snapshot(vote, snapshot).await.ok()?;
        Some(convert::vote(&response.vote))
    }

    /// Makes a checkpoint when the log has grown enough since the last, and lets go of entries that
    /// are in one.
    pub(super) fn compact(&self) {
        if self.wants_checkpoint() && self.snapshots.may_build() {
            let (snapshots, raft, log) =
                (self.snapshots.clone(), self.raft.clone(), self.log.clone());
            executor::spawn(async move {
                let unsaved = log.unsaved();
                if snapshots.checkpoint().await {
                    log.saved(unsaved);
                    raft.trigger().snapshot().await.ok();
                }
            });
        }
        let covered = self.metrics.borrow_watched().snapshot.map_or(0, |last| last.index + 1);
        let mut asked = lock(&self.purge_asked);
        let pinned = self.pins_segments();
        if covered <= asked.covered && (!pinned || asked.all) {
            return;
        }
        let (sizes, first) = (&self.shared.config.log, self.log.first());
        let kept = || self.log.purgeable(covered, sizes);
        let upto = if pinned { covered } else { kept() };
        let awaited = self.snapshots.awaited().filter(|&awaited| awaited < upto);
        if awaited.is_some() && !self.log.is_long(sizes) {
            return;
        }
        *asked = Asked { covered, all: pinned };
        if upto > first {
            let raft = self.raft.clone();
            executor::spawn(async move {
                raft.trigger().purge_log(upto - 1).await.ok();
            });
        }
    }

    fn wants_checkpoint(&self) -> bool {
        let sizes = &self.shared.config.log;
        let applied = applied_count(lock(&self.store).applied());
        let new = applied.saturating_sub(self.snapshots.covers());
        let unsaved = u64::try_from(self.log.unsaved()).unwrap_or(u64::MAX);
        // Writing a large state again for a little log would be most of the work.
        let enough = sizes.checkpoint_bytes.max(self.snapshots.bytes() / 2);
        let grown = unsaved >= enough || new >= sizes.checkpoint_entries;
        new > 0 && (grown || self.pins_segments())
    }

    /// Whether the log has grown long and this group's entries are what holds its oldest segment.
    fn pins_segments(&self) -> bool {
        let writer = lock(&self.shared.writer);
        let segments = (writer.end() - writer.begin()) / writer.segment_bytes();
        segments >= limits::SEGMENTS_BEFORE_CHECKPOINT && writer.holders().contains(&self.id)
    }
}
