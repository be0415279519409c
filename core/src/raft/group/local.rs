//! Reads of what this replica has, without a word to anybody: eventual ones at once, those of a
//! session once it has applied what the session has seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::Group;
use crate::effect::{Answer, Effect, Failure, Response};
use crate::input::RequestId;
use crate::limits;
use crate::query::{Query, Seen};
use crate::raft::executor::{self, lock};
use crate::raft::shared::{Shared, mono};
use crate::types::{Instant, Sequence};

/// Reads that wait, by what must be applied first. Those whose clients have gone stay until there
/// are many.
pub type Behind = Mutex<BTreeMap<(Sequence, RequestId), Query>>;

impl Group {
    /// A client's eventual read, refused while this replica knows less than before it started, or
    /// less than the group did when it was taken in; with `min`, one of a session, which waits for
    /// that and for `min`.
    pub fn read_local(
        self: &Arc<Group>,
        (request, deadline): (RequestId, Instant),
        query: Query,
        min: Option<Sequence>,
    ) {
        let is_ready = planted!(SessionReadEarly) || min.is_none_or(|min| self.has(min));
        if is_ready && let Some(seen) = self.rows.look_now(&query) {
            let response = self.local(seen);
            return self.shared.emit(Effect::Reply { request, response });
        }
        self.shared.admit(request, deadline, query.bytes());
        match min.filter(|_| !is_ready) {
            Some(min) => self.wait(min, request, query),
            None => self.look(request, query),
        }
    }

    fn look(self: &Arc<Group>, request: RequestId, query: Query) {
        if let Some(seen) = self.rows.look_now(&query) {
            return self.shared.reply(request, self.local(seen));
        }
        let group = self.clone();
        executor::spawn(async move {
            // A store that cannot be read ends the replica; nobody gets an answer from it.
            match group.rows.look(&query).await {
                Ok(seen) => group.shared.reply(request, group.local(seen)),
                Err(error) => group.unreadable(&error),
            }
        });
    }

    fn local(&self, seen: Seen) -> Response {
        let age = lock(&self.level).at.map(|at| mono().since(at));
        match self.knows(seen.applied) {
            true => Ok(Answer::saw(seen, age)),
            false => Err(Failure::Unavailable),
        }
    }

    /// Whether a state with so many entries is one that this replica may show.
    fn knows(&self, applied: u64) -> bool {
        let me = self.shared.replica;
        let is_member = lock(&self.membership).nodes().any(|(member, _)| *member == me);
        is_member && applied >= self.recovered
    }

    fn has(&self, min: Sequence) -> bool {
        let (applied, sequence) = self.applied();
        sequence >= min && self.knows(applied)
    }

    fn wait(&self, min: Sequence, request: RequestId, query: Query) {
        self.shared.waits_for(request, min);
        let mut behind = lock(&self.behind);
        if behind.len() >= 2 * limits::REQUESTS_MAX {
            behind.retain(|(_, request), _| self.shared.is_live(*request));
        }
        behind.insert((min, request), query);
    }

    /// Answers the session reads that have waited for what is applied now. True if there are any.
    pub fn release(self: &Arc<Group>) -> bool {
        let ready = {
            let mut behind = lock(&self.behind);
            let first = behind.first_key_value().map(|(&(min, _), _)| min);
            if !first.is_some_and(|min| self.has(min)) {
                return false;
            }
            let (_, sequence) = self.applied();
            let later = behind.split_off(&(Sequence(sequence.0 + 1), RequestId(0)));
            std::mem::replace(&mut *behind, later)
        };
        for ((_, request), query) in ready {
            if self.shared.is_live(request) {
                self.look(request, query);
            }
        }
        true
    }

    /// Named invariants.
    pub(super) fn check_behind(&self, shared: &Shared) {
        let behind = lock(&self.behind);
        assert!(behind.len() <= 2 * limits::REQUESTS_MAX, "session_reads_le_limit");
        let forgotten =
            |(min, request): &(Sequence, RequestId)| self.has(*min) && shared.is_live(*request);
        let first = behind.first_key_value().map(|(key, _)| key);
        assert!(!first.is_some_and(forgotten), "session_reads_are_woken");
    }
}
