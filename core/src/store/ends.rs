//! Which actors have an end, in the order of their ends.
//!
//! An index made of the rows: with the rows in memory it is here whole; with the rows in a backend it
//! is there too, and only its earliest end is known here.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::Place;
use crate::backend::Change;
use crate::types::{ActorId, Record, Timestamp};

/// See the module.
#[derive(Debug)]
pub(super) enum Ends {
    /// All of them.
    Whole(BTreeSet<(Timestamp, ActorId)>),
    /// In a backend.
    Outside(Known),
}

/// What is known of an index in a backend.
#[derive(Debug)]
pub(super) struct Known {
    /// No end is before this; `None`: there is none.
    earliest: Option<Timestamp>,
    /// Ends that came (true) or went since the last take.
    touched: BTreeMap<(Timestamp, ActorId), bool>,
}

impl Default for Ends {
    fn default() -> Ends {
        Ends::Whole(BTreeSet::new())
    }
}

impl Ends {
    /// The index of these rows.
    pub fn of<'a>(rows: impl Iterator<Item = (&'a ActorId, &'a Record)>) -> Ends {
        let ends = rows.filter_map(|(id, record)| Some((record.expires()?, id.clone())));
        Ends::Whole(ends.collect())
    }

    /// An index in a backend of which nothing is known yet.
    pub fn outside() -> Ends {
        Ends::Outside(Known { earliest: Some(Timestamp(0)), touched: BTreeMap::new() })
    }

    /// An actor's end was `old` and is `new`.
    pub fn moved(&mut self, id: &ActorId, old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        match self {
            Ends::Whole(ends) => {
                old.map(|old| ends.remove(&(old, id.clone())));
                new.map(|new| ends.insert((new, id.clone())));
            }
            Ends::Outside(Known { earliest, touched }) => {
                old.map(|old| touched.insert((old, id.clone()), false));
                if let Some(new) = new {
                    touched.insert((new, id.clone()), true);
                    *earliest = Some(earliest.map_or(new, |earliest| earliest.min(new)));
                }
            }
        }
    }

    /// No end is before this; `None`: there is none.
    pub fn earliest(&self) -> Option<Timestamp> {
        match self {
            Ends::Whole(ends) => ends.first().map(|(end, _)| *end),
            Ends::Outside(known) => known.earliest,
        }
    }

    /// The first of the actors that end at or before `now`; `None` where a backend must be asked.
    pub fn due(&self, now: Timestamp, limit: usize) -> Option<Vec<ActorId>> {
        match self {
            Ends::Whole(ends) => {
                let due = ends.iter().take_while(|(end, _)| *end <= now).take(limit);
                Some(due.map(|(_, id)| id.clone()).collect())
            }
            Ends::Outside(_) => None,
        }
    }

    /// The backend is being asked for the first ends: only those that come from now on are not in
    /// its answer.
    pub fn ask(&mut self) {
        if let Ends::Outside(known) = self {
            known.earliest = None;
        }
    }

    /// This is the first end in its answer.
    pub fn saw(&mut self, first: Timestamp) {
        if let Ends::Outside(known) = self {
            known.earliest = Some(known.earliest.map_or(first, |earliest| earliest.min(first)));
        }
    }

    /// What became of the index since the last call.
    pub fn take_changes(&mut self, place: Place) -> Vec<Change> {
        let Ends::Outside(known) = self else { return Vec::new() };
        let touched = std::mem::take(&mut known.touched).into_iter();
        let change = |((end, id), came): ((Timestamp, ActorId), bool)| match came {
            true => Change::Put(place.end(end, &id), Vec::new()),
            false => Change::Delete(place.end(end, &id)),
        };
        touched.map(change).collect()
    }

    /// How many, where they are here.
    pub fn len(&self) -> Option<usize> {
        match self {
            Ends::Whole(ends) => Some(ends.len()),
            Ends::Outside(_) => None,
        }
    }
}
