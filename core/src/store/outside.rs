//! A store whose rows are in a [`Backend`](crate::backend::Backend): prefetch, then apply.
//!
//! The op-log and the meta row are in memory, and of the rows those that are needed. The owner
//!
//! 1. asks [`Store::missing`] which rows a batch needs, reads them, hands them to [`Store::fill`],
//!    and asks again until none is missing;
//! 2. applies;
//! 3. writes what [`Store::take_changes`] gives, one batch with all that changed, in order;
//! 4. says [`Store::written`] when a batch is visible.
//!
//! Reads and writes of the backend must run in the order they were asked for: a row that is read is
//! then never older than one that was written before and has been forgotten since.

use super::cache::Cache;
use super::ends::Ends;
use super::feed::{self, Feed};
use super::keys::{self, Kind, Origin, Place, Root};
use super::{Meta, Rows, Store, count};
use crate::backend::{BackendError, Change, Row, View, WriteBatch};
use crate::change::{Change as ChangeOfActor, Changes};
use crate::codec::{self, Corrupt};
use crate::command::{Batch, Write};
use crate::oplog::{OpLog, Remembered};
use crate::query::Scan;
use crate::snapshot::{damaged, each_row, state_of};
use crate::types::{ActorId, GroupId, OpId, Record, Sequence, Timestamp};

/// The part of a store that knows the backend.
#[derive(Debug)]
pub(super) struct Outside {
    place: Place,
    pub(super) cache: Cache,
    /// To be written with the first batch: nothing is there yet.
    root: Option<Root>,
    /// Something was applied since the last take.
    pub(super) changed: bool,
}

impl Store {
    /// A store over the rows of a generation that are in a backend; `meta` and `oplog` are what is
    /// there with them, nothing for a new group.
    ///
    /// # Errors
    /// [`Corrupt`] when the op-log is not the one that `meta` speaks of.
    pub fn cached(
        root: Root,
        meta: Meta,
        oplog: impl IntoIterator<Item = (OpId, Remembered)>,
        cache_bytes: usize,
    ) -> Result<Store, Corrupt> {
        let mut restored = OpLog::with_floors(meta.floor, meta.session_floor);
        for (op, row) in oplog {
            restored.restore(op, row)?;
        }
        Store::over(root, meta, restored, cache_bytes)
    }

    /// The same, of an op-log that was put together already.
    ///
    /// # Errors
    /// [`Corrupt`] when it is not the one that `meta` speaks of.
    pub fn over(
        root: Root,
        meta: Meta,
        mut restored: OpLog,
        cache_bytes: usize,
    ) -> Result<Store, Corrupt> {
        if count(restored.len()) != meta.outcomes {
            return Err(Corrupt("the op-log is not the one it was written with".to_owned()));
        }
        restored.track();
        let place = Place { group: root.origin.group, generation: root.generation };
        let is_new = meta.applied.is_none();
        let outside = Outside {
            place,
            cache: Cache::new(cache_bytes),
            root: is_new.then_some(root),
            changed: false,
        };
        let rows = Rows::Outside(Box::new(outside));
        Ok(Store::with(rows, restored, Feed::outside(), meta))
    }

    /// The same store over the generation that `root` names: a snapshot's rows have gone there.
    pub fn moved_to(mut self, root: &Root) -> Store {
        if let Rows::Outside(outside) = &mut self.rows {
            outside.place.generation = root.generation;
            outside.root = None;
            self.ends = Ends::outside();
        }
        self
    }

    /// A store for a group of which a backend holds nothing.
    pub fn new_cached(origin: Origin, cache_bytes: usize) -> Store {
        let root = Root { generation: 0, origin };
        let store = Store::cached(root, Meta::default(), [], cache_bytes);
        store.expect("nothing_is_restored: an empty op-log is empty")
    }

    /// The state of `group` as `view` shows it; `None` when it holds nothing of the group.
    ///
    /// # Errors
    /// What the view said, or what is wrong with the rows.
    pub fn load(
        view: &dyn View,
        group: GroupId,
        cache_bytes: usize,
    ) -> Result<Option<Store>, BackendError> {
        let Some((root, meta)) = state_of(view, group)? else { return Ok(None) };
        let place = Place { group, generation: root.generation };
        let mut oplog = Vec::new();
        each_row(view, place.range(Kind::Outcome), &mut |rest, value| {
            let row = keys::outcome_from(rest).and_then(|op| Ok((op, codec::decode(value)?)));
            oplog.push(row.map_err(|error| damaged(&error.0))?);
            Ok(())
        })?;
        let store = Store::cached(root, meta, oplog, cache_bytes);
        store.map(Some).map_err(|error| damaged(&error.0))
    }

    /// The rows are in a backend.
    pub fn is_cached(&self) -> bool {
        matches!(self.rows, Rows::Outside(_))
    }

    /// The rows that `batch` needs and that are not at hand. None of them, nor any other that it
    /// needs, is dropped before the next apply.
    pub fn missing(&mut self, batch: &Batch) -> Vec<ActorId> {
        let Rows::Outside(outside) = &mut self.rows else { return Vec::new() };
        let mut missing = Vec::new();
        let writes = batch.commands.iter().flat_map(|command| command.work.writes());
        let due = batch.due.iter().map(|due| &due.id);
        for id in due.chain(writes.map(|Write { id, .. }| id)) {
            #[cfg(sim_mutant)]
            let id = &crate::mutant::sabotage::row_key(id);
            outside.cache.want(id);
            if !outside.cache.touch(id) {
                missing.push(id.clone());
            }
        }
        missing.sort();
        missing.dedup();
        missing
    }

    /// Whether one actor is not at hand, so that [`Store::get`] cannot tell.
    pub fn is_missing(&mut self, id: &ActorId) -> bool {
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        match &mut self.rows {
            Rows::Whole(_) => false,
            Rows::Outside(outside) => !outside.cache.touch(id),
        }
    }

    /// The key of an actor's row in the backend.
    pub fn key(&self, id: &ActorId) -> Option<Vec<u8>> {
        match &self.rows {
            Rows::Whole(_) => None,
            Rows::Outside(outside) => Some(outside.place.actor(id)),
        }
    }

    /// The keys of the rows that may be on a page, and the generation they are of. The backend shows
    /// the state as it is now to whoever asks it now: all that was applied is on its way to it.
    ///
    /// # Panics
    /// `changes_are_written_at_once`: something was applied since [`Store::take_changes`].
    pub fn scan_keys(&self, scan: &Scan) -> Option<(Vec<u8>, Vec<u8>)> {
        let Rows::Outside(outside) = &self.rows else { return None };
        assert!(!outside.changed, "changes_are_written_at_once");
        Some(outside.place.scan(scan))
    }

    /// The keys of the ends of actors, of which the backend is to show the first; as for
    /// [`Store::scan_keys`].
    ///
    /// # Panics
    /// As [`Store::scan_keys`].
    pub fn ask_ends(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let Rows::Outside(outside) = &self.rows else { return None };
        assert!(!outside.changed, "changes_are_written_at_once");
        self.ends.ask();
        Some(outside.place.range(Kind::End))
    }

    /// The keys of the changes that may be on a page which begins behind `after`; as for
    /// [`Store::scan_keys`]. `None` when there are none, and where they are not in a backend.
    ///
    /// # Panics
    /// As [`Store::scan_keys`].
    pub fn changes_keys(&self, after: Sequence) -> Option<(Vec<u8>, Vec<u8>)> {
        let Rows::Outside(outside) = &self.rows else { return None };
        assert!(!outside.changed, "changes_are_written_at_once");
        let (_, until) = outside.place.range(Kind::Change);
        let is_there = (self.meta.compacted..self.meta.sequence).contains(&after);
        is_there.then(|| (outside.place.change(Sequence(after.0 + 1)), until))
    }

    /// The key of a change in the backend.
    pub fn change_key(&self, sequence: Sequence) -> Option<Vec<u8>> {
        match &self.rows {
            Rows::Whole(_) => None,
            Rows::Outside(outside) => Some(outside.place.change(sequence)),
        }
    }

    /// The change of a row.
    ///
    /// # Errors
    /// [`Corrupt`] when it is none.
    pub fn change_row((key, value): &Row) -> Result<ChangeOfActor, Corrupt> {
        keys::change_from(key.get(keys::PREFIX..).unwrap_or_default(), value)
    }

    /// A page of changes that begins behind `after`, as of now, of those that were read.
    pub fn changes_page(&self, after: Sequence, changes: Vec<ChangeOfActor>) -> Changes {
        feed::found(&self.meta, after, changes)
    }

    /// Behind which change those of a time begin, the last one before it being `last`.
    pub fn since_time(&self, time: Timestamp, last: Sequence) -> Sequence {
        feed::since_time(&self.meta, time, last)
    }

    /// The actor of a row.
    ///
    /// # Errors
    /// [`Corrupt`] when it is none.
    pub fn actor_row((key, value): &Row) -> Result<(ActorId, Record), Corrupt> {
        let rest = key.get(keys::PREFIX..).unwrap_or_default();
        Ok((keys::actor_from(rest)?, codec::decode(value)?))
    }

    /// Takes in rows as they were read; `None` where there is none. All of them are at hand until
    /// the next call or the next apply.
    pub fn fill(&mut self, rows: Vec<(ActorId, Option<Record>)>) {
        if let Rows::Outside(outside) = &mut self.rows {
            outside.cache.fill(rows);
        }
    }

    /// Everything that changed since the last call, as one batch: rows, operations recorded
    /// and forgotten, the meta row. Empty when nothing did; an empty one need not be written, and
    /// [`Store::written`] is not said of it.
    pub fn take_changes(&mut self) -> WriteBatch {
        let meta = self.meta();
        let Rows::Outside(outside) = &mut self.rows else { return WriteBatch::default() };
        if !std::mem::take(&mut outside.changed) {
            return WriteBatch::default();
        }
        let place = outside.place;
        let change = |key, value: Option<Vec<u8>>| match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        };
        let rows = outside.cache.take_changed().into_iter();
        let rows = rows.map(|(id, row)| change(place.actor(&id), row.as_ref().map(codec::encode)));
        let oplog = self.oplog.take_touched().into_iter();
        let oplog =
            oplog.map(|(op, row)| change(place.outcome(&op), row.as_ref().map(codec::encode)));
        let mut changes: Vec<_> = rows.chain(oplog).collect();
        changes.extend(self.ends.take_changes(place));
        changes.extend(self.feed.take_row_changes(place));
        changes.push(Change::Put(place.meta(), codec::encode(&meta)));
        if let Some(root) = outside.root.take() {
            changes.push(Change::Put(keys::root(place.group), codec::encode(&root)));
        }
        WriteBatch { changes }
    }

    /// The oldest batch that [`Store::take_changes`] gave and that was not visible yet is so now.
    pub fn written(&mut self) {
        if let Rows::Outside(outside) = &mut self.rows {
            outside.cache.written();
        }
    }

    /// Bytes of rows at hand, about; for a store with all rows in memory this is not counted.
    pub fn cache_bytes(&self) -> usize {
        match &self.rows {
            Rows::Whole(_) => 0,
            Rows::Outside(outside) => outside.cache.bytes(),
        }
    }
}
