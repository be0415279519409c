//! A leader's lease: until when nobody else can lead (ADR 14).
//!
//! A replica that acknowledges an append promises: for [`Timing::promise`] on my clock, counted from
//! when it came, I vote for nobody else, nor ask for votes. The leader counts from when it asked. So
//! while a quorum's answers are younger than [`Timing::lease`] on its own clock, which is shorter by
//! what two clocks may differ in, nobody else leads, and what it has applied is all there is.
//!
//! openraft has such a promise too, and forgets it at a restart; its own lease reads take clocks to
//! be equal and go on while leadership is handed over. So neither is relied upon here: what is
//! promised is kept at the edge of openraft, where its questions come in and go out.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::executor::lock;
use super::shared::mono;
use crate::config::Timing;
use crate::message::{AskVote, Members, Vote};
use crate::types::{Instant, ReplicaId};

/// Both sides of it, for one group.
#[derive(Debug)]
pub struct Lease {
    timing: Timing,
    promise: Mutex<Promise>,
    answers: Mutex<Answers>,
}

/// What this replica has promised, last.
#[derive(Debug, Default)]
struct Promise {
    /// To the leader of this term, or of an earlier one.
    term: u64,
    until: Instant,
}

/// What others have promised this replica.
#[derive(Debug, Default)]
struct Answers {
    /// In this term, which it leads.
    term: u64,
    /// When each was asked what it answered last.
    asked: BTreeMap<ReplicaId, Instant>,
    /// The last term in which it told others that they may vote for somebody else.
    handed_over: Option<u64>,
}

impl Lease {
    /// With `vote` on the disk: in an earlier life this replica may have promised something to the
    /// leader of that term, a moment before it ended.
    pub fn new(timing: Timing, vote: Option<Vote>) -> Lease {
        let promise = match vote {
            Some(vote) if !planted!(PromiseForgotten) => {
                Promise { term: vote.term, until: mono().after(timing.promise()) }
            }
            Some(_) | None => Promise::default(),
        };
        Lease { timing, promise: Mutex::new(promise), answers: Mutex::default() }
    }

    /// The leader of `term` is about to be answered.
    pub fn promise(&self, term: u64) {
        let mut promise = lock(&self.promise);
        promise.term = promise.term.max(term);
        promise.until = promise.until.max(mono().after(self.timing.promise()));
    }

    /// Whether this replica may vote so: nothing is promised, or the leader it was promised to has
    /// asked for this very election. A leader that does so has no lease any more.
    pub fn allows(&self, ask: &AskVote) -> bool {
        let promise = lock(&self.promise);
        mono() >= promise.until || ask.transfer && ask.vote.term == promise.term + 1
    }

    /// `from` was asked at `asked` as the leader of `term`, and has acknowledged.
    pub fn acknowledged(&self, term: u64, from: ReplicaId, asked: Instant) {
        let mut answers = lock(&self.answers);
        if answers.term < term {
            answers.term = term;
            answers.asked.clear();
        }
        if answers.term == term {
            let last = answers.asked.entry(from).or_default();
            *last = asked.max(*last);
        }
    }

    /// As the leader of `term`, this replica is about to let others vote for somebody else. The word
    /// may arrive at any time, so there is no lease in that term any more.
    pub fn hands_over(&self, term: u64) {
        let mut answers = lock(&self.answers);
        answers.handed_over = answers.handed_over.max(Some(term));
    }

    /// Whether nobody but `me` can lead now, if `me` leads in `term`.
    pub fn is_held(&self, term: u64, me: ReplicaId, members: &Members) -> bool {
        let answers = lock(&self.answers);
        let handed_over = answers.handed_over == Some(term) && !planted!(LeaseOutlivesLeader);
        if handed_over || members.configs.is_empty() {
            return false;
        }
        let lease = self.timing.lease();
        let is_bound = |voter: &ReplicaId| {
            let asked = answers.asked.get(voter).filter(|_| answers.term == term);
            let bound = |asked: &Instant| planted!(LeaseWithoutEnd) || mono() < asked.after(lease);
            *voter == me || asked.is_some_and(bound)
        };
        let has_quorum = |voters: &Vec<ReplicaId>| {
            let bound = voters.iter().filter(|voter| is_bound(voter)).count();
            bound > voters.len() / 2
        };
        members.configs.iter().all(has_quorum)
    }
}

#[cfg(test)]
mod tests;
