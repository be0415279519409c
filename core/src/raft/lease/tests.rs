use std::time::Duration;

use super::*;
use crate::limits;
use crate::raft::executor::Executor;
use crate::seed::Seed;
use crate::types::{Incarnation, NodeId, Now};

/// Runs `body` as a step at `ms` of its own clock.
fn at<R>(executor: &mut Option<Box<Executor>>, ms: u64, body: impl FnOnce() -> R) -> R {
    let mono = Instant(ms * 1_000_000);
    Executor::enter(executor, Now { mono, ..Now::default() }, body)
}

fn executor() -> Option<Box<Executor>> {
    Some(Box::new(Executor::new(Seed(1))))
}

fn replica(node: u64) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(1) }
}

fn instant(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

fn ask(term: u64, transfer: bool) -> AskVote {
    let vote = Vote { term, node: replica(3), committed: false };
    AskVote { vote, last: None, transfer }
}

fn members(configs: &[&[u64]]) -> Members {
    let voters = |config: &&[u64]| config.iter().copied().map(replica).collect();
    Members { configs: configs.iter().map(voters).collect(), nodes: Vec::new() }
}

fn new() -> Lease {
    Lease::new(Timing::production(), None)
}

/// The bound that the documents state: what a slow clock takes for the lease is over before a fast
/// one takes the promise to be.
#[test]
fn a_lease_on_a_slow_clock_ends_before_a_promise_on_a_fast_one() {
    let timing = Timing::production();
    let drift = u64::from(limits::CLOCK_DRIFT_PERCENT);
    let true_nanos =
        |time: Duration, percent: u64| u64::try_from(time.as_nanos()).unwrap() * 100 / percent;
    let lease = true_nanos(timing.lease(), 100 - drift);
    let promise = true_nanos(timing.promise(), 100 + drift);
    assert!(lease <= promise, "{lease} {promise}");
    assert!(timing.lease() >= timing.heartbeat * 3, "a lost heartbeat does not end a lease");
}

#[test]
fn who_has_answered_a_leader_votes_for_nobody_until_the_promise_is_over() {
    let (mut executor, lease) = (executor(), new());
    assert!(at(&mut executor, 5, || lease.allows(&ask(8, false))));
    at(&mut executor, 10, || lease.promise(7));
    assert!(!at(&mut executor, 309, || lease.allows(&ask(8, false))));
    assert!(at(&mut executor, 310, || lease.allows(&ask(8, false))));
}

/// Only the leader that it was promised to can give the promise back, and only for the next term.
#[test]
fn a_promise_is_given_back_by_the_leader_of_its_term() {
    let (mut executor, lease) = (executor(), new());
    at(&mut executor, 10, || lease.promise(7));
    assert!(at(&mut executor, 20, || lease.allows(&ask(8, true))));
    assert!(!at(&mut executor, 20, || lease.allows(&ask(9, true))));
    at(&mut executor, 30, || lease.promise(8));
    assert!(!at(&mut executor, 40, || lease.allows(&ask(8, true))), "a late question");
}

#[test]
fn a_restarted_replica_keeps_what_it_may_have_promised_and_a_new_one_has_promised_nothing() {
    let mut executor = executor();
    let vote = Vote { term: 7, node: replica(1), committed: true };
    let timing = Timing::production();
    let lease = at(&mut executor, 1_000, || Lease::new(timing, Some(vote)));
    assert!(!at(&mut executor, 1_299, || lease.allows(&ask(8, false))));
    assert!(at(&mut executor, 1_299, || lease.allows(&ask(8, true))));
    assert!(at(&mut executor, 1_300, || lease.allows(&ask(8, false))));
    assert!(at(&mut executor, 1_300, || new().allows(&ask(1, false))));
}

#[test]
fn a_lease_is_a_quorum_of_young_answers_in_every_set_of_voters() {
    let (mut executor, lease) = (executor(), new());
    let ms = u64::try_from(Timing::production().lease().as_millis()).unwrap();
    let three = members(&[&[1, 2, 3]]);
    let held = |executor: &mut _, ms, members: &Members| {
        at(executor, ms, || lease.is_held(7, replica(1), members))
    };
    assert!(!held(&mut executor, 100, &three));
    lease.acknowledged(7, replica(2), instant(100));
    assert!(held(&mut executor, 100 + ms, &three));
    assert!(!held(&mut executor, 101 + ms, &three));
    // An answer that was overtaken makes nothing older.
    lease.acknowledged(7, replica(3), instant(300));
    lease.acknowledged(7, replica(3), instant(200));
    assert!(held(&mut executor, 300 + ms, &three));
    let joint = members(&[&[1, 2, 3], &[1, 4, 5]]);
    assert!(!held(&mut executor, 301, &joint));
    lease.acknowledged(7, replica(4), instant(301));
    assert!(held(&mut executor, 302, &joint));
    assert!(!held(&mut executor, 302, &members(&[&[1, 2, 3, 4, 5, 6, 7]])));
    // Removed itself, so its own word does not count.
    assert!(!held(&mut executor, 302, &members(&[&[4, 5]])));
    assert!(!held(&mut executor, 302, &members(&[])), "before there are members");
    assert!(held(&mut executor, 9_000, &members(&[&[1]])), "alone it is its own quorum");
}

#[test]
fn answers_of_another_term_and_a_leader_that_hands_over_hold_nothing() {
    let (mut executor, lease) = (executor(), new());
    let three = members(&[&[1, 2, 3]]);
    lease.acknowledged(8, replica(2), instant(100));
    lease.acknowledged(7, replica(3), instant(100));
    assert!(!at(&mut executor, 101, || lease.is_held(7, replica(1), &three)));
    assert!(at(&mut executor, 101, || lease.is_held(8, replica(1), &three)));
    lease.hands_over(8);
    lease.acknowledged(8, replica(2), instant(110));
    assert!(!at(&mut executor, 111, || lease.is_held(8, replica(1), &three)));
    lease.acknowledged(9, replica(2), instant(120));
    assert!(at(&mut executor, 121, || lease.is_held(9, replica(1), &three)));
}
