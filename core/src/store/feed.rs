//! The changes that a store retains: what a reader of the change stream that is late still gets.
//!
//! They are a part of the state like the rows, in the same batch and in every snapshot, so
//! they are the same on every replica at the same index, and none is there without what it tells of.
//! Which are forgotten stands in the log ([`Batch::compact`](crate::command::Batch)): the leader
//! proposes it, by its clock and its retention, and apply does it.

use imbl::Vector;

use super::keys::Place;
use super::{Meta, count};
use crate::backend::Change as RowChange;
use crate::change::{Change, Changes, ChangesQuery, Since};
use crate::codec::{self, Corrupt};
use crate::limits;
use crate::types::{Sequence, Timestamp};

/// See the module. The numbers are in [`Meta`].
#[derive(Clone, Debug)]
pub(super) struct Feed {
    kept: Kept,
    /// Those since the last [`Feed::take_fresh`].
    fresh: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Kept {
    /// All of them, and the bytes that they take.
    Here(Vector<Change>, u64),
    /// In a backend, but for what is not written yet.
    Outside {
        written: Vec<Change>,
        /// Forgotten, and not removed there yet: behind the first, up to the second.
        forgotten: Option<(Sequence, Sequence)>,
    },
}

impl Default for Feed {
    fn default() -> Feed {
        Feed::of(Vector::new())
    }
}

impl Feed {
    /// Of these, all of them.
    pub fn of(changes: Vector<Change>) -> Feed {
        let bytes = changes.iter().map(|change| count(change.bytes())).sum();
        Feed { kept: Kept::Here(changes, bytes), fresh: Vec::new() }
    }

    /// Of those that a backend has.
    pub fn outside() -> Feed {
        let kept = Kept::Outside { written: Vec::new(), forgotten: None };
        Feed { kept, fresh: Vec::new() }
    }

    /// All that are retained, where they are here.
    pub fn here(&self) -> Option<&Vector<Change>> {
        match &self.kept {
            Kept::Here(changes, _) => Some(changes),
            Kept::Outside { .. } => None,
        }
    }

    /// Adds the next change.
    pub fn push(&mut self, meta: &mut Meta, change: Change) {
        let size = count(change.bytes());
        meta.change_bytes += size;
        self.fresh.push(change.clone());
        match &mut self.kept {
            Kept::Here(changes, bytes) => {
                *bytes += size;
                changes.push_back(change);
            }
            Kept::Outside { written, .. } => written.push(change),
        }
    }

    /// Those that were added since the last call.
    pub fn take_fresh(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.fresh)
    }

    /// Forgets everything up to `upto`.
    pub fn compact(&mut self, meta: &mut Meta, upto: Sequence) {
        let upto = upto.min(meta.sequence);
        if upto <= meta.compacted {
            return;
        }
        match &mut self.kept {
            Kept::Here(changes, bytes) => {
                while let Some(first) = changes.front().filter(|first| first.sequence <= upto) {
                    *bytes -= count(first.bytes());
                    changes.pop_front();
                }
            }
            Kept::Outside { forgotten, .. } => {
                let from = forgotten.map_or(meta.compacted, |(from, _)| from);
                *forgotten = Some((from, upto));
            }
        }
        // What each of them takes is not known everywhere: the mean, then, so that it is the same
        // number wherever they are kept.
        let (gone, all) = (upto.0 - meta.compacted.0, meta.sequence.0 - meta.compacted.0);
        let part = u128::from(meta.change_bytes) * u128::from(gone) / u128::from(all);
        meta.change_bytes -= u64::try_from(part).unwrap_or(meta.change_bytes);
        meta.compacted = upto;
    }

    /// Up to where all are to be forgotten when more than `bytes` are retained: a little more than
    /// has to go, so that it need not be said of each change.
    pub fn over(&self, meta: &Meta, bytes: u64) -> Option<Sequence> {
        let held = match &self.kept {
            Kept::Here(_, held) => *held,
            Kept::Outside { .. } => meta.change_bytes,
        };
        let over = held.checked_sub(bytes).filter(|over| *over > 0)?;
        if planted!(RetentionForgetsAll) {
            return Some(meta.sequence);
        }
        let mut over = over + bytes / 16;
        let most = meta.compacted.0 + limits::COMPACT_CHANGES_MAX;
        let upto = match &self.kept {
            Kept::Here(changes, _) => {
                let mut upto = meta.compacted;
                for change in changes {
                    upto = change.sequence;
                    over = over.saturating_sub(count(change.bytes()));
                    if over == 0 || upto.0 >= most {
                        break;
                    }
                }
                upto
            }
            Kept::Outside { .. } => {
                let all = meta.sequence.0 - meta.compacted.0;
                let (over, bytes) = (u128::from(over), u128::from(meta.change_bytes));
                let part = over * u128::from(all) / bytes;
                Sequence(meta.compacted.0 + u64::try_from(part).unwrap_or(all) + 1)
            }
        };
        Some(Sequence(upto.0.min(most).min(meta.sequence.0)))
    }

    /// A page, where they are here.
    pub fn page(&self, meta: &Meta, query: &ChangesQuery) -> Option<Changes> {
        let changes = self.here()?;
        let after = match query.since {
            Since::After(after) => after,
            Since::Last => meta.sequence,
            Since::Time(time) => since_time(meta, time, self.last_before(meta, time)?),
        };
        let skip =
            after.0.checked_sub(meta.compacted.0).and_then(|skip| usize::try_from(skip).ok());
        #[cfg(sim_mutant)]
        let (after, skip) = crate::mutant::sabotage::skip(meta, after, skip);
        let page = match skip {
            Some(skip) if skip < changes.len() => {
                take(changes.focus().narrow(skip..).into_iter().cloned(), query.limit())
            }
            Some(_) | None => Vec::new(),
        };
        Some(found(meta, after, page))
    }

    /// The last change before `time`, where they are here.
    pub fn last_before(&self, meta: &Meta, time: Timestamp) -> Option<Sequence> {
        let at = self.here()?.binary_search_by(|change| (change.time, 1).cmp(&(time, 0)));
        let before = at.unwrap_or_else(|place| place);
        Some(Sequence(meta.compacted.0 + count(before)))
    }

    /// Which rows of a backend change, in order.
    pub fn take_row_changes(&mut self, place: Place) -> Vec<RowChange> {
        let Kept::Outside { written, forgotten } = &mut self.kept else { return Vec::new() };
        let put =
            |change: &Change| RowChange::Put(place.change(change.sequence), codec::encode(change));
        let mut rows: Vec<_> = written.iter().map(put).collect();
        written.clear();
        if let Some((Sequence(behind), Sequence(upto))) = forgotten.take() {
            let [from, until] = [behind + 1, upto + 1].map(|at| place.change(Sequence(at)));
            rows.push(RowChange::DeleteRange(from, until));
        }
        rows
    }

    /// Named invariants.
    pub fn check(&self, meta: &Meta) {
        assert!(meta.compacted <= meta.sequence, "compacted_le_sequence");
        let Some(changes) = self.here() else { return };
        let dense = count(changes.len()) == meta.sequence.0 - meta.compacted.0;
        assert!(dense, "changes_are_dense: {} behind {}", changes.len(), meta.compacted);
        let ends = [changes.front(), changes.back()].map(|end| end.map(|end| end.sequence));
        let right = [Sequence(meta.compacted.0 + 1), meta.sequence];
        assert!(ends == right.map(Some) || changes.is_empty(), "changes_are_dense: {ends:?}");
    }
}

/// A page of changes in a state.
pub(super) fn found(meta: &Meta, after: Sequence, changes: Vec<Change>) -> Changes {
    let first = Sequence(meta.compacted.0 + 1);
    Changes { lineage: meta.lineage, first, after, changes }
}

/// Behind which change those of a time begin, `last` being the last before it that is retained; of a
/// time to come, behind the last one. When none is, one of that time or later may be among those that
/// are forgotten.
pub(super) fn since_time(meta: &Meta, time: Timestamp, last: Sequence) -> Sequence {
    if time > meta.committed_time {
        return meta.sequence;
    }
    if last > meta.compacted { last } else { Sequence(meta.compacted.0.saturating_sub(1)) }
}

/// As many as fit onto a page.
pub(super) fn take(changes: impl Iterator<Item = Change>, limit: usize) -> Vec<Change> {
    let mut bytes = 0;
    let fits = |change: &Change| {
        let fits = bytes < limits::CHANGES_BYTES_MAX;
        bytes += change.sent_bytes();
        fits
    };
    changes.take(limit).take_while(fits).collect()
}

/// Checks that changes are those that `meta` speaks of.
///
/// # Errors
/// [`Corrupt`] when they are not.
pub(super) fn verify(meta: &Meta, changes: &Vector<Change>) -> Result<(), Corrupt> {
    let wrong = || Corrupt("its changes are not those it was written with".to_owned());
    let all = meta.sequence.0.checked_sub(meta.compacted.0).ok_or_else(wrong)?;
    let places = changes.iter().map(|change| change.sequence.0);
    let is_dense = count(changes.len()) == all && places.eq(meta.compacted.0 + 1..=meta.sequence.0);
    if is_dense { Ok(()) } else { Err(wrong()) }
}
