//! Sessions: what each client's numbered operations came to.
//!
//! A session is known from its first operation on. It is the flat run of its entries, so the rows of
//! the op-log are all there is to keep: the rest of this is made of them again.
//!
//! - An operation more than [`limits::SESSION_WINDOW`] behind its session's highest was answered, so
//!   the client promised; its entry goes, and it never runs again.
//! - A session goes as a whole: when its last operation is too old, or, the one used longest ago
//!   first, when there are too many. The floor rises to its time. One that is not known and whose
//!   time is at or below the floor may be one that was forgotten, and is never begun again.

use imbl::{OrdMap, OrdSet};

use super::{Admission, Entry, Halves, entry_bytes, halves, whole};
use crate::command::{Outcome, Refusal};
use crate::limits;
use crate::op_id::uuid_time;
use crate::types::{OpId, Timestamp};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    entries: OrdMap<(Halves, u64), Entry>,
    heads: OrdMap<Halves, Head>,
    /// By [`Head::stays_until_then`], so that not every operation moves its session.
    by_use: OrdSet<(Timestamp, Halves)>,
    bytes: usize,
    pub bounds: Bounds,
    /// Sessions at or below this may have been forgotten.
    floor: Timestamp,
}

/// What a session's entries come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    /// The highest sequence that ran.
    highest: u64,
    /// When the last of its operations ran.
    used: Timestamp,
}

impl Head {
    /// `used`, rounded up.
    fn stays_until_then(&self) -> Timestamp {
        let grain = u64::try_from(limits::SESSION_USE_GRAIN.as_millis()).unwrap_or(1);
        Timestamp(self.used.0.div_ceil(grain).saturating_mul(grain))
    }
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub sessions: usize,
    pub entries: usize,
    pub bytes: usize,
    pub age: u64,
    pub window: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            sessions: limits::SESSIONS_MAX,
            entries: limits::SESSION_ENTRIES_MAX,
            bytes: limits::SESSION_BYTES_MAX,
            age: u64::try_from(limits::SESSION_AGE_MAX.as_millis()).unwrap_or(u64::MAX),
            window: limits::SESSION_WINDOW,
        }
    }
}

impl Sessions {
    pub fn with_floor(floor: Timestamp) -> Sessions {
        Sessions { floor, ..Sessions::default() }
    }

    /// Whether an operation that is not remembered may run.
    pub fn admit_new(&self, session: u128, sequence: u64) -> Admission {
        let expired = match self.heads.get(&halves(session)) {
            Some(_) if planted!(SessionForgetsItsFloor) => false,
            Some(head) => sequence.saturating_add(self.bounds.window) <= head.highest,
            None => uuid_time(session) <= self.floor,
        };
        match expired {
            true => Admission::Refused(Refusal::SessionExpired),
            false => Admission::New,
        }
    }

    pub fn get(&self, session: u128, sequence: u64) -> Option<&Entry> {
        self.entries.get(&(halves(session), sequence))
    }

    /// Takes an entry in; returns the one that was there.
    pub fn insert(&mut self, session: u128, sequence: u64, entry: Entry) -> Option<Entry> {
        let key = halves(session);
        let before = self.heads.get(&key).copied();
        let known = before.unwrap_or_default();
        let head =
            Head { highest: known.highest.max(sequence), used: known.used.max(entry.recorded) };
        let moved = before.is_none_or(|b| b.stays_until_then() != head.stays_until_then());
        if moved {
            if let Some(before) = before {
                self.by_use.remove(&(before.stays_until_then(), key));
            }
            self.by_use.insert((head.stays_until_then(), key));
        }
        self.heads.insert(key, head);
        self.bytes += bytes(session, sequence, &entry.kept.outcome());
        self.entries.insert((key, sequence), entry)
    }

    /// Forgets what has left the window of a session in which something has just run. `forgot` hears
    /// of each entry.
    pub fn slide(&mut self, session: u128, forgot: &mut dyn FnMut(OpId)) {
        let key = halves(session);
        let Some(head) = self.heads.get(&key) else { return };
        let Some(last) = head.highest.checked_sub(self.bounds.window) else { return };
        self.remove(key, last, forgot);
    }

    /// Forgets sessions that are too old, and those used longest ago while there is too much.
    pub fn forget(&mut self, now: Timestamp, forgot: &mut dyn FnMut(OpId)) {
        let too_old = Timestamp(now.0.saturating_sub(self.bounds.age));
        while let Some(&(used, key)) = self.by_use.get_min() {
            let is_full = self.heads.len() > self.bounds.sessions
                || self.entries.len() > self.bounds.entries
                || self.bytes > self.bounds.bytes;
            if used >= too_old && !is_full {
                return;
            }
            self.remove(key, u64::MAX, forgot);
            self.heads.remove(&key);
            self.by_use.remove(&(used, key));
            self.floor = self.floor.max(uuid_time(whole(key)));
        }
    }

    /// Removes the entries of a session up to `last`.
    fn remove(&mut self, key: Halves, last: u64, forgot: &mut dyn FnMut(OpId)) {
        while let Some((&(_, sequence), entry)) = self.entries.range((key, 0)..=(key, last)).next()
        {
            let session = whole(key);
            self.bytes -= bytes(session, sequence, &entry.kept.outcome());
            self.entries.remove(&(key, sequence));
            forgot(OpId::Session { session, sequence });
        }
    }

    /// Everything behind `after`, in order.
    pub fn rows(&self, after: Option<(u128, u64)>) -> impl Iterator<Item = (OpId, &Entry)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |(session, sequence)| {
            Bound::Excluded((halves(session), sequence))
        });
        self.entries.range((from, Bound::Unbounded)).map(|(&(key, sequence), entry)| {
            (OpId::Session { session: whole(key), sequence }, entry)
        })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The highest time of a session that was forgotten.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Sessions that are known.
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// Named invariants.
    pub fn check(&self) {
        assert!(self.heads.len() == self.by_use.len(), "sessions_indexes_agree");
        assert!(self.heads.len() <= self.entries.len(), "sessions_have_entries");
        assert!(self.is_in_bounds(), "sessions_live_le_limit");
    }

    pub fn is_in_bounds(&self) -> bool {
        self.heads.len() <= self.bounds.sessions
            && self.entries.len() <= self.bounds.entries
            && self.bytes <= self.bounds.bytes
    }
}

fn bytes(session: u128, sequence: u64, outcome: &Outcome) -> usize {
    entry_bytes(&OpId::Session { session, sequence }, outcome)
}
