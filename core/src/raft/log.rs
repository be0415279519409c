//! openraft's log storage: entries in memory for reading, frames to the WAL for keeping.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};

use openraft::async_runtime::OneshotSender as _;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};

use super::channel::oneshot;
use super::executor::lock;
use super::shared::Shared;
use super::{Entry, LogId, RaftVote, TypeConfig, convert};
use crate::config::LogSizes;
use crate::effect::Effect;
use crate::event::Event;
use crate::limits;
use crate::message::{LogPosition, Vote};
use crate::types::GroupId;
use crate::wal::frame::Record;
use crate::wal::recover::GroupImage;

/// One group's log. Clones share it: openraft reads it from several tasks.
#[derive(Clone)]
pub struct Log {
    group: GroupId,
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Without gap (`wal_contiguous`), from the purge mark on.
    entries: VecDeque<Entry>,
    purged: Option<LogId>,
    vote: Option<RaftVote>,
    committed: Option<LogId>,
    /// Bytes of all entries that are there.
    bytes: usize,
    /// Bytes of entries that came since the last checkpoint was begun.
    unsaved: usize,
}

impl State {
    fn first(&self) -> u64 {
        self.entries.front().map_or_else(|| self.next(), |entry| entry.log_id.index)
    }

    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn read(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = &Entry> {
        let first = self.first();
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let place = |index: u64| {
            usize::try_from(index.saturating_sub(first))
                .unwrap_or(usize::MAX)
                .min(self.entries.len())
        };
        let (start, end) = (place(start), place(end));
        self.entries.range(start..end.max(start))
    }
}

impl Log {
    /// The log as recovered.
    ///
    /// # Errors
    /// A clause for an entry that openraft would not accept.
    pub fn new(
        group: GroupId,
        shared: Arc<Shared>,
        image: GroupImage,
        saved: u64,
    ) -> Result<Log, String> {
        let entries: VecDeque<Entry> = image
            .entries
            .into_iter()
            .map(|entry| {
                let index = entry.position.index;
                convert::entry(entry).ok_or_else(|| format!("entry {index} has no legal voters"))
            })
            .collect::<Result<_, String>>()?;
        let unsaved = entries.iter().filter(|entry| entry.log_id.index >= saved);
        let state = State {
            unsaved: unsaved.map(entry_bytes).sum(),
            bytes: entries.iter().map(entry_bytes).sum(),
            entries,
            purged: image.purged.map(convert::log_id),
            vote: image.vote.map(convert::raft_vote),
            committed: image.committed.map(convert::log_id),
        };
        Ok(Log { group, shared, state: Arc::new(Mutex::new(state)) })
    }

    /// Whether nothing was ever written: a new group.
    pub fn is_pristine(&self) -> bool {
        let state = lock(&self.state);
        state.last().is_none() && state.vote.is_none()
    }

    /// The commit index on record, as a count of entries.
    pub fn committed(&self) -> u64 {
        lock(&self.state).committed.map_or(0, |committed| committed.index + 1)
    }

    /// Where that is.
    pub fn committed_at(&self) -> Option<LogPosition> {
        lock(&self.state).committed.as_ref().map(convert::position)
    }

    /// The vote, if there was one.
    pub fn vote(&self) -> Option<Vote> {
        lock(&self.state).vote.as_ref().map(convert::vote)
    }

    /// Bytes of entries since the last checkpoint, of those that are in memory.
    pub fn unsaved(&self) -> usize {
        lock(&self.state).unsaved
    }

    /// A checkpoint that was begun when `bytes` were unsaved is on the disk.
    pub fn saved(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.unsaved = state.unsaved.saturating_sub(bytes);
    }

    /// Up to which index, as a count, the log may be purged when the first `covered` entries are in
    /// a snapshot: some stay for followers that are a little late, within both limits.
    pub fn purgeable(&self, covered: u64, sizes: &LogSizes) -> u64 {
        let state = lock(&self.state);
        let mut bytes = 0;
        let keeps = state.read(..covered).rev().take_while(|entry| {
            bytes += u64::try_from(entry_bytes(entry)).unwrap_or(u64::MAX);
            bytes <= sizes.keep_bytes
        });
        let keeps = u64::try_from(keeps.count()).unwrap_or(u64::MAX).min(sizes.keep_entries);
        covered.saturating_sub(keeps)
    }

    /// Whether more entries are in memory than even a follower that catches up may hold.
    pub fn is_long(&self, sizes: &LogSizes) -> bool {
        let bytes = u64::try_from(lock(&self.state).bytes).unwrap_or(u64::MAX);
        bytes / limits::AWAITED_CHECKPOINTS_MAX > sizes.checkpoint_bytes
    }

    /// Whether the entry at `position` is there.
    pub fn has(&self, position: LogPosition) -> bool {
        let state = lock(&self.state);
        let entry = state.read(position.index..=position.index).next();
        entry.is_some_and(|entry| convert::position(&entry.log_id) == position)
    }

    /// The first entry that is there, as an index.
    pub fn first(&self) -> u64 {
        lock(&self.state).first()
    }

    /// A snapshot that ends at `position` was installed: so far everything is committed.
    pub fn installed(&self, position: LogPosition) {
        let mut state = lock(&self.state);
        let installed = convert::log_id(position);
        if state.committed.is_none_or(|committed| committed.index < installed.index) {
            state.committed = Some(installed);
            lock(&self.shared.writer).commit(self.group, position);
        }
        state.unsaved = 0;
    }

    /// The last index plus one.
    pub fn head(&self) -> u64 {
        lock(&self.state).next()
    }

    /// Named invariants; only the ends, it runs after every step.
    pub fn check(&self) {
        let state = lock(&self.state);
        let length = u64::try_from(state.entries.len()).unwrap_or(u64::MAX);
        assert!(state.first() + length == state.next(), "wal_contiguous");
        if let (Some(purged), Some(front)) = (state.purged, state.entries.front()) {
            assert!(purged.index < front.log_id.index, "purged_lt_first");
        }
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(lock(&self.state).read(range).cloned().collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let state = lock(&self.state);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in state.read(start..end) {
            entries.push(entry.clone());
            bytes += entry_bytes(entry);
            if bytes >= limits::APPEND_BYTES_MAX {
                break;
            }
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(lock(&self.state).vote)
    }
}

/// A vote is never taken back: not in a lower term, not for another candidate of the same term. A
/// voter may come to follow the leader of its term though it had voted for somebody else: a quorum
/// has granted that one, so nobody else can win the term.
fn assert_vote_follows(before: &RaftVote, after: &RaftVote) {
    let (old, new) = (before.leader_id, after.leader_id);
    assert!(new.term >= old.term, "term_monotone: {before} then {after}");
    if new.term == old.term && (before.committed || !after.committed) {
        assert!(new.voted_for == old.voted_for, "vote_once_per_term: {before} then {after}");
        assert!(after.committed || !before.committed, "vote_once_per_term: {before} then {after}");
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.bytes(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = lock(&self.state);
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last() })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    /// Durable before it returns: whoever asked for this vote hears of it only then.
    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let (sender, receiver) = oneshot();
        {
            let mut state = lock(&self.state);
            if let Some(before) = state.vote {
                assert_vote_follows(&before, vote);
            }
            state.vote = Some(*vote);
            let mut writer = lock(&self.shared.writer);
            if !planted!(VoteNotPersisted) {
                writer.push(&Record::Vote(self.group, convert::vote(vote)));
            }
            writer.when_durable(Box::new(move || {
                sender.send(()).ok();
            }));
        }
        receiver.await.map_err(|_| io::Error::other("the replica has stopped"))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        lock(&self.state).committed = committed;
        #[cfg(sim_mutant)]
        let committed =
            if planted!(CommitMarkAhead) { lock(&self.state).last() } else { committed };
        if let Some(committed) = committed {
            lock(&self.shared.writer).commit(self.group, convert::position(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(lock(&self.state).committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = lock(&self.state);
        let mut writer = lock(&self.shared.writer);
        for entry in entries {
            let (index, next) = (entry.log_id.index, state.next());
            assert!(index == next, "wal_contiguous: append {index} where {next} should be");
            writer.push(&Record::Entry(self.group, convert::log_entry(&entry)));
            state.unsaved += entry_bytes(&entry);
            state.bytes += entry_bytes(&entry);
            state.entries.push_back(entry);
        }
        writer.when_durable(Box::new(move || callback.io_completed(Ok(()))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut state = lock(&self.state);
        let keep = last.map_or(0, |last| last.index + 1);
        let committed = state.committed.map_or(0, |committed| committed.index + 1);
        assert!(committed <= keep, "committed_is_kept: truncate to {keep}, committed {committed}");
        let (group, head) = (self.group, state.next());
        while let Some(last) = state.entries.pop_back_if(|last| last.log_id.index >= keep) {
            state.bytes -= entry_bytes(&last);
        }
        self.shared.emit(Effect::Event(Event::Truncated { group, keep, head }));
        let keep = last.as_ref().map(convert::position);
        if !planted!(TruncateNotWritten) {
            lock(&self.shared.writer).push(&Record::Truncate(self.group, keep));
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut state = lock(&self.state);
        while let Some(first) = state.entries.pop_front_if(|first| first.log_id.index <= upto.index)
        {
            state.bytes -= entry_bytes(&first);
        }
        state.purged = Some(upto);
        let (group, index) = (self.group, upto.index);
        let shared = Arc::downgrade(&self.shared);
        let mut writer = lock(&self.shared.writer);
        writer.push(&Record::Purge(group, convert::position(&upto)));
        // Only a mark: files go when it is on the disk, and nobody waits for that.
        writer.when_durable(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                lock(&shared.writer).purged(group, index);
            }
        }));
        Ok(())
    }
}
