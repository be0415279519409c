//! A look at a group's state that any thread may keep.

use std::ops::Bound;

use imbl::{OrdMap, Vector};

use super::Meta;
use crate::change::Change;
use crate::oplog::OpLog;
use crate::query::{Page, Scan};
use crate::types::{ActorId, Record};

/// Rows, op-log and meta as they were at one applied index (S0-027).
///
/// Making one is O(1), and so is a clone. It stays as it was while writes go on: what they change is
/// copied, a path of the tree at a time. No lock is held, so reads from any number of threads hold
/// up nobody.
#[derive(Clone, Debug)]
pub struct StoreView {
    pub(super) meta: Meta,
    pub(super) rows: OrdMap<ActorId, Record>,
    pub(super) oplog: OpLog,
    pub(super) changes: Vector<Change>,
}

const _: () = {
    const fn crosses_threads<T: Clone + Send + Sync>() {}
    crosses_threads::<StoreView>();
};

pub(super) fn page(rows: &OrdMap<ActorId, Record>, scan: &Scan) -> Page {
    scan.page(rows.range::<_, str>((Bound::Included(scan.from()), Bound::Unbounded)))
}

impl StoreView {
    /// Which state this is.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// One actor.
    pub fn get(&self, id: &ActorId) -> Option<&Record> {
        #[cfg(sim_mutant)]
        let id = &crate::mutant::sabotage::row_key(id);
        self.rows.get(id)
    }

    /// The actors behind `after`, in order of id.
    pub fn rows(&self, after: Option<&ActorId>) -> impl Iterator<Item = (&ActorId, &Record)> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.rows.range((from, Bound::Unbounded))
    }

    /// A page of actors.
    pub fn scan(&self, scan: &Scan) -> Page {
        page(&self.rows, scan)
    }

    /// The changes that are retained, in order.
    pub fn changes(&self) -> &Vector<Change> {
        &self.changes
    }

    /// Actors.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No actor is there.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What has run.
    pub fn oplog(&self) -> &OpLog {
        &self.oplog
    }
}
