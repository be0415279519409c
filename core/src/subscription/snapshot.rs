//! A snapshot for one subscriber: it holds no view of the store, and takes as much memory as one page.
//!
//! `snapshot_prefix`: of the actors up to [`Scanned`], what was told is their exact state at the
//! token's sequence. Each page of the scan is of one state of the store, later than the one before.
//! So when the page behind `a` comes, of state `s`:
//!
//! 1. the changes up to `s` of the actors up to `a` are told. Those of other actors are not: either
//!    the page has what they led to, or a later page will;
//! 2. the page's rows are told, which takes the cursor from `a` to its end.
//!
//! After the last page what was told is the whole state, at the sequence of that page.

use std::collections::VecDeque;

use super::step::{Ask, Batch, Item};
use super::{Read, Subscription, read};
use crate::change::{Change, Scanned};
use crate::input::ReadLevel;
use crate::limits;
use crate::query::{Page, Scan};
use crate::tail::Tail;
use crate::types::{ActorId, Record, Sequence};

/// A page of the scan, as far as it is not told yet.
#[derive(Clone, Debug)]
pub(super) struct Portion {
    /// What was asked for.
    prefix: String,
    rows: VecDeque<(ActorId, Record)>,
    more: bool,
    /// The last change in it.
    sequence: Sequence,
}

impl Portion {
    /// Of an answer.
    pub fn new(prefix: String, page: Page, sequence: Sequence) -> Portion {
        Portion { prefix, rows: page.records.into(), more: page.more, sequence }
    }
}

#[cfg(sim_mutant)]
impl Portion {
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl Subscription {
    pub(super) fn begin_portion(&mut self, portion: Portion) {
        if self.scanned == Some(Scanned::Nothing) {
            self.at = portion.sequence;
        }
        self.portion = Some(portion);
    }

    /// A page of other ids than those that are wanted now is asked for anew, from where the scan is.
    pub(super) fn drop_unfit_portion(&mut self) {
        let wanted = self.filter.prefix();
        self.portion.take_if(|portion| !wanted.starts_with(&portion.prefix));
    }

    pub(super) fn scan(&mut self, tail: &Tail, batch: &mut Batch) {
        while self.may_tell(batch) {
            let Some(sequence) = self.portion.as_ref().map(|portion| portion.sequence) else {
                self.asked = Some(self.next_page());
                return;
            };
            if self.at < sequence {
                self.catch_up(sequence, tail, batch);
                if self.asked.is_some() {
                    return;
                }
            } else if self.tell_row(batch) {
                return;
            }
        }
    }

    /// Tells the next change up to `sequence` of the actors that were told.
    fn catch_up(&mut self, sequence: Sequence, tail: &Tail, batch: &mut Batch) {
        let Some(Scanned::UpTo(last)) = &self.scanned else { return };
        if planted!(SnapshotWithoutCatchUp) {
            self.at = sequence;
            return;
        }
        let wanted = |change: &Change| change.id <= *last && self.filter.wants(change);
        match read([tail, &self.history], &mut self.at, sequence, wanted) {
            Read::Wanted(change) => self.tell(batch, Item::Change { change, conflated: 0 }),
            Read::Elsewhere => self.ask_behind(self.at, sequence),
            Read::Nothing => {}
        }
    }

    /// Tells the next row of the page, or the end of the snapshot; whether that was it.
    fn tell_row(&mut self, batch: &mut Batch) -> bool {
        let Some(portion) = &mut self.portion else { return false };
        if let Some((id, record)) = portion.rows.pop_front() {
            self.scanned = Some(Scanned::UpTo(id.clone()));
            if self.filter.wants_id(&id) {
                self.tell(batch, Item::Snapshot { id, record });
            }
            return false;
        }
        let is_last = !portion.more;
        self.portion = None;
        if is_last {
            self.scanned = None;
            self.tell(batch, Item::SnapshotEnd { sequence: self.at });
        }
        is_last
    }

    fn next_page(&self) -> Ask {
        let after = match &self.scanned {
            Some(Scanned::UpTo(id)) => Some(id.clone()),
            Some(Scanned::Nothing) | None => None,
        };
        // What there is no credit for would only wait; but who knows how many rows a filter passes.
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        let wanted = if self.filter.is_one_prefix() { credit } else { usize::MAX };
        let limit = wanted.min(limits::SUBSCRIBER_ACTORS_MAX);
        let scan = Scan { prefix: self.filter.prefix().to_owned(), after, limit };
        Ask::Page { scan, level: ReadLevel::Session { min: self.at } }
    }
}

#[cfg(test)]
impl Portion {
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}
