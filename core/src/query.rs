//! What a read looks at, and what it finds: one actor, a page of them in the order of their ids, or a
//! page of changes in the order in which they happened.

use serde::{Deserialize, Serialize};

use crate::change::{Changes, ChangesQuery, Since};
use crate::limits;
use crate::types::{ActorId, Record, Sequence};

/// What a read looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One actor.
    Actor(ActorId),
    /// A page of actors.
    Scan(Scan),
    /// A page of changes.
    Changes(ChangesQuery),
}

/// A page of the actors whose ids begin with a prefix, in the order of the ids' bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// What the ids begin with; empty for all actors.
    pub prefix: String,
    /// Only ids behind this one: the last of the page before.
    pub after: Option<ActorId>,
    /// Actors at most; see [`Scan::limit`].
    pub limit: usize,
}

/// A page of a scan, as the actors were at one applied index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their ids.
    pub records: Vec<(ActorId, Record)>,
    /// There are others behind the last one.
    pub more: bool,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The actor, if it exists.
    Actor(Option<Record>),
    /// The page.
    Page(Page),
    /// The page of changes.
    Changes(Changes),
}

/// What a query found, and in which state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What was found.
    pub found: Found,
    /// The log entries that were applied.
    pub applied: u64,
    /// The last change that was applied.
    pub sequence: Sequence,
}

impl Query {
    /// Bytes this query holds in queues, about.
    pub fn bytes(&self) -> usize {
        match self {
            Query::Actor(id) => id.as_str().len(),
            Query::Scan(Scan { prefix, after, .. }) => {
                prefix.len() + after.as_ref().map_or(0, |after| after.as_str().len())
            }
            Query::Changes(_) => size_of::<ChangesQuery>(),
        }
    }

    /// Whether `found` is an answer to it.
    pub fn fits(&self, found: &Found) -> bool {
        match (self, found) {
            (Query::Actor(_), Found::Actor(_)) => true,
            (Query::Scan(scan), Found::Page(page)) => {
                let ids = page.records.iter().map(|(id, _)| id);
                page.records.len() <= scan.limit()
                    && ids.clone().is_sorted()
                    && ids.into_iter().all(|id| scan.wants(id))
            }
            (Query::Changes(query), Found::Changes(found)) => {
                let places = found.changes.iter().map(|change| change.sequence.0);
                let is_asked = match query.since {
                    Since::After(after) => found.after == after,
                    Since::Time(_) | Since::Last => true,
                };
                let is_page = found.changes.len() <= query.limit() && is_asked;
                let behind =
                    places.zip(1..).all(|(place, n)| found.after.0.checked_add(n) == Some(place));
                is_page && behind
            }
            (Query::Actor(_), Found::Page(_) | Found::Changes(_))
            | (Query::Scan(_), Found::Actor(_) | Found::Changes(_))
            | (Query::Changes(_), Found::Actor(_) | Found::Page(_)) => false,
        }
    }
}

impl Scan {
    /// How many actors a page has at most: what was asked for, from 1 to
    /// [`limits::SCAN_RECORDS_MAX`].
    pub fn limit(&self) -> usize {
        self.limit.clamp(1, limits::SCAN_RECORDS_MAX)
    }

    /// Whether the actor is among those that are looked for.
    pub fn wants(&self, id: &ActorId) -> bool {
        let is_behind = self.after.as_ref().is_none_or(|after| after < id);
        is_behind && id.as_str().starts_with(&self.prefix)
    }

    /// The page, of rows in the order of their ids, the first of them at or behind [`Scan::from`].
    pub fn page<'a>(&self, rows: impl IntoIterator<Item = (&'a ActorId, &'a Record)>) -> Page {
        let (mut page, mut bytes, mut skipped) = (Page::default(), 0, false);
        for (id, record) in rows {
            if self.after.as_ref() == Some(id) {
                continue;
            }
            if planted!(ScanSkipsFirst)
                && self.after.is_some()
                && !std::mem::replace(&mut skipped, true)
            {
                continue;
            }
            if !self.wants(id) {
                break;
            }
            if page.records.len() == self.limit() || bytes >= limits::SCAN_BYTES_MAX {
                page.more = true;
                break;
            }
            bytes += record_bytes(id, record);
            page.records.push((id.clone(), record.clone()));
        }
        page
    }

    /// The least id that can be on the page, but for [`Scan::after`] itself.
    pub fn from(&self) -> &str {
        let after = self.after.as_ref().map_or("", ActorId::as_str);
        after.max(&self.prefix)
    }
}

/// Bytes of a record with its id in an answer, about.
pub(crate) fn record_bytes(id: &ActorId, record: &Record) -> usize {
    64 + id.as_str().len() + record.bytes()
}

impl Found {
    /// Bytes of it in an answer, about.
    pub fn bytes(&self) -> usize {
        match self {
            Found::Actor(record) => 128 + record.as_ref().map_or(0, |record| record.bytes()),
            Found::Page(page) => {
                128 + page
                    .records
                    .iter()
                    .map(|(id, record)| record_bytes(id, record))
                    .sum::<usize>()
            }
            Found::Changes(changes) => changes.bytes(),
        }
    }
}
