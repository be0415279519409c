//! How a client names its changes: half of the clients by time, half in a session.

use understudy_core::{OpId, Rng, Timestamp, limits};

/// See the module.
pub enum Names {
    /// A UUID of version 7 for each.
    ByTime,
    /// The next numbers of a session.
    InSession(Session),
}

/// A client's session.
pub struct Session {
    id: u128,
    /// Numbers that may be used next, in any order: pipelines arrive as they like.
    open: Vec<u64>,
    next: u64,
    /// Numbers used since the last leap.
    used: u64,
}

/// Numbers that may be used out of order.
const BLOCK: u64 = 8;

impl Names {
    /// The names of client `id`, whose clock shows `wall`.
    pub fn of(id: u64, wall: Timestamp, rng: &mut Rng) -> Names {
        match OpId::timed(wall, rng.u128()) {
            OpId::Timed(session) if id.is_multiple_of(2) => {
                Names::InSession(Session { id: session, open: Vec::new(), next: 1, used: 0 })
            }
            _ => Names::ByTime,
        }
    }

    /// The name of the next change.
    pub fn next(&mut self, wall: Timestamp, rng: &mut Rng) -> OpId {
        match self {
            Names::ByTime => OpId::timed(wall, rng.u128()),
            Names::InSession(session) => session.next(rng),
        }
    }

    /// Leaves the window behind, now and then: says that all changes so far were answered or given
    /// up.
    pub fn leap(&mut self, rng: &mut Rng) -> bool {
        match self {
            Names::InSession(session) if session.used >= BLOCK && rng.ppm(150_000) => {
                session.open.clear();
                session.next += limits::SESSION_WINDOW + BLOCK;
                session.used = 0;
                true
            }
            Names::InSession(_) | Names::ByTime => false,
        }
    }
}

impl Session {
    fn next(&mut self, rng: &mut Rng) -> OpId {
        if self.open.is_empty() {
            self.open.extend(self.next..self.next + BLOCK);
            self.next += BLOCK;
        }
        let place = rng.below(self.open.len() as u64);
        let sequence = self.open.swap_remove(usize::try_from(place).expect("few_numbers"));
        self.used += 1;
        OpId::Session { session: self.id, sequence }
    }
}
