//! Replicas in one thread, with a network and disks that do as they are told.

mod world;

use std::time::Duration;

use understudy_core::message::{Append, AskVote, Body, LogEntry, LogPosition, Payload, Vote};
use understudy_core::{
    Answer, Expected, Failure, Incarnation, Namespace, NodeId, OpId, Operation, Outcome, Refusal,
    ReplicaId, Role, Token, Version, limits,
};
use world::{World, create, id, json, put};

#[test]
fn three_replicas_elect_one_leader_and_serve_writes_and_reads() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    let written = world.write(leader, create("a", "1")).unwrap();
    assert_eq!(written.version(), Version(1));
    let follower = (0..3).find(|&node| node != leader).unwrap();
    let forwarded = world.write(follower, put("a", "2")).unwrap();
    assert_eq!(forwarded.version(), Version(2));
    for node in 0..3 {
        let Answer::Read { record: Some(record), .. } = world.read(node, "a").unwrap() else {
            panic!("the actor is there")
        };
        assert_eq!(record.value(), &json("2"));
    }
    world.settle();
    assert_eq!(world.replica(0).dump(world::GROUP), world.replica(1).dump(world::GROUP));
    assert_eq!(world.replica(0).dump(world::GROUP), world.replica(2).dump(world::GROUP));
}

/// S0-060: the recorded outcome, whoever leads by then.
#[test]
fn a_repeat_after_failover_returns_the_recorded_outcome() {
    let mut world = World::new(3, 2);
    let leader = world.elect();
    let op = world::op(1);
    let first = world.write_named(leader, op.clone(), create("a", "1")).unwrap();
    world.crash(leader);
    let next = world.elect();
    assert_ne!(leader, next);
    let Answer::Done { outcome, replayed, .. } =
        world.write_named(next, op.clone(), create("a", "1")).unwrap()
    else {
        panic!("a write's answer")
    };
    assert!(replayed);
    let Answer::Done { outcome: recorded, replayed: false, .. } = first else {
        panic!("the first is no replay")
    };
    assert_eq!(outcome, recorded);
    let reused = world.write_named(next, op, create("b", "1"));
    assert_eq!(reused, Err(Failure::Refused(Refusal::OpIdReused)));
}

/// the token of a former life does not match.
#[test]
fn a_stale_token_does_not_match_after_delete_and_create() {
    let mut world = World::new(1, 3);
    let node = world.elect();
    let token = world.write(node, create("a", "1")).unwrap().token().unwrap();
    world.write(node, (id("a"), Operation::Delete { expected: None })).unwrap();
    let again = world.write(node, create("a", "2")).unwrap().token().unwrap();
    assert_eq!((again.version, token.version), (Version(1), Version(1)));
    let expected = Expected::Token(token);
    let stale = Operation::CompareAndSwap { content: json("3").into(), expected };
    let refusal = Refusal::Conflict { expected, found: Some(again) };
    assert_eq!(world.write(node, (id("a"), stale)), Err(Failure::Refused(refusal)));
}

#[test]
fn everything_acknowledged_is_there_after_all_crash_and_restart() {
    let mut world = World::new(3, 4);
    let leader = world.elect();
    for n in 0..50 {
        world.write(leader, create(&format!("a{n}"), "1")).unwrap();
    }
    for node in 0..3 {
        world.crash(node);
    }
    for node in 0..3 {
        world.restart(node);
    }
    let leader = world.elect();
    for n in 0..50 {
        let Answer::Read { record, .. } = world.read(leader, &format!("a{n}")).unwrap() else {
            panic!("a read's answer")
        };
        assert!(record.is_some(), "a{n} was acknowledged");
    }
}

/// without a quorum nothing strong is answered, and eventual reads go on, with their age.
#[test]
fn a_minority_refuses_what_is_strong_and_serves_eventual_reads() {
    let mut world = World::new(3, 5);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    world.settle();
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    for &node in &others {
        world.crash(node);
    }
    world.run_for(Duration::from_secs(2));
    let read = world.read(leader, "a");
    assert_eq!(read, Err(Failure::Unavailable));
    let write = world.write(leader, put("a", "2"));
    assert!(matches!(write, Err(Failure::Unavailable | Failure::Unknown)), "{write:?}");
    let Ok(Answer::Read { record: Some(_), age: Some(age), .. }) = world.read_eventual(leader, "a")
    else {
        panic!("eventual reads go on")
    };
    assert!(age >= Duration::from_secs(1), "{age:?} since it was level");
}

#[test]
fn commands_waiting_in_one_turn_become_one_entry() {
    let mut world = World::new(1, 6);
    let node = world.elect();
    let before = world.group(node).head;
    let answers = world.write_together(node, (0..100).map(|n| create(&format!("b{n}"), "1")));
    assert_eq!(answers.len(), 100);
    let mut sequences: Vec<u64> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Answer::Done { outcome: Outcome::Written { token, sequence }, .. }) => {
                assert_eq!(*token, Token { created: *sequence, version: Version(1) });
                sequence.0
            }
            other => panic!("{other:?}"),
        })
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>(), "dense, one each");
    assert_eq!(world.group(node).head, before + 1);
}

/// B-01, S1-014.
#[test]
fn create_on_an_existing_actor_changes_nothing() {
    let mut world = World::new(1, 7);
    let node = world.elect();
    let found = world.write(node, create("a", "1")).unwrap().token().unwrap();
    let refused = Err(Failure::Refused(Refusal::AlreadyExists { found }));
    assert_eq!(world.write(node, create("a", "2")), refused);
    let Answer::Read { record: Some(record), .. } = world.read(node, "a").unwrap() else {
        panic!("the actor is there")
    };
    assert_eq!((record.value(), record.token), (&json("1"), found));
}

/// A leader that was alone comes back: what no quorum had goes, and says so.
#[test]
fn a_conflicting_end_of_the_log_is_removed() {
    let mut world = World::new(3, 20);
    let old = world.elect();
    world.settle();
    let others: Vec<usize> = (0..3).filter(|&node| node != old).collect();
    for &other in &others {
        world.cut(old, other);
        world.cut(other, old);
    }
    let lost = world.write(old, create("a", "1"));
    assert_eq!(lost, Err(Failure::Unknown));
    world.write(others[0], create("b", "1")).unwrap();
    let head = world.group(old).head;
    world.heal();
    world.settle();
    let event = format!("Truncated {{ group: GroupId(1), keep: {}, head: {head} }}", head - 1);
    assert!(world.trace.contains(&format!("{old} Event({event})")), "no {event}");
    assert_eq!(world.replica(old).dump(world::GROUP), world.replica(others[0]).dump(world::GROUP));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(3, seed);
        let leader = world.elect();
        for n in 0..20 {
            world.write(leader, put("a", &n.to_string())).unwrap();
        }
        world.crash(leader);
        world.elect();
        world.trace
    };
    let first = trace(9);
    assert!(first.len() > 100);
    assert!(first == trace(9));
    assert!(first != trace(10));
}

#[test]
fn a_failed_write_ends_the_replica() {
    let mut world = World::new(1, 11);
    let node = world.elect();
    world.fail_disk(node);
    world.send(node, create("a", "1"));
    world.run_for(Duration::from_millis(50));
    assert!(world.replica(node).status().fatal);
    assert_ne!(world.group(node).role, Role::Learner);
}

/// As Linux does: a sync fails, and the next one succeeds although the pages are gone.
#[test]
fn what_completes_after_a_failed_write_counts_for_nothing() {
    let mut world = World::new(1, 11);
    let node = world.elect();
    world.hold_disk(node);
    let first = world.send(node, create("a", "1"));
    world.run_for(Duration::from_millis(5));
    let second = world.send(node, create("b", "1"));
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.fail_first_held(node), 2);
    world.run_for(Duration::from_millis(50));
    assert!(world.replica(node).status().fatal);
    assert!(!world.has_answer(first) && !world.has_answer(second));
}

#[test]
fn a_canceled_request_frees_its_place_and_gets_no_answer() {
    let mut world = World::new(3, 12);
    let leader = world.elect();
    for node in (0..3).filter(|&node| node != leader) {
        world.crash(node);
    }
    let request = world.send(leader, create("a", "1"));
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.replica(leader).status().requests_live, 1);
    world.cancel(leader, request);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.replica(leader).status().requests_live, 0);
    assert!(!world.has_answer(request));
}

/// One fast wall clock must not make everybody's names old, nor a recorded one run again.
#[test]
fn a_leader_with_a_clock_days_ahead_expires_nobody() {
    let mut world = World::new(3, 13);
    let leader = world.elect();
    let named = OpId::Named("k".to_owned());
    world.write_named(leader, named.clone(), put("n", "1")).unwrap();
    world.write(leader, (id("n"), Operation::Delete { expected: None })).unwrap();
    world.crash(leader);
    for node in 0..3 {
        world.move_wall(node, 2 * 24 * 60 * 60 * 1000);
    }
    let fast = world.elect();
    world.write(fast, put("m", "1")).unwrap();
    for node in 0..3 {
        world.move_wall(node, 0);
    }
    let again = world.write_named(fast, named, put("n", "1")).unwrap();
    assert!(matches!(again, Answer::Done { replayed: true, .. }), "{again:?}");
    world.write(fast, put("m", "2")).unwrap();
    world.write_named(fast, world::op(7), put("m", "3")).unwrap();
}

/// nobody would listen to a voter that is not listed. One that is listed and has no vote is
/// taken in by the group's own decision, so more may be listed than there are.
#[test]
fn a_member_list_without_a_voter_is_refused_and_a_longer_one_is_not() {
    let mut world = World::new(3, 14);
    world.elect();
    world.config_mut().nodes = vec![NodeId(1), NodeId(2)];
    let error = world.try_restart(0).unwrap_err().to_string();
    assert!(error.contains("members cannot be removed by editing"), "{error}");
    world.config_mut().nodes = vec![NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
    world.try_restart(0).unwrap();
}

#[test]
fn a_namespace_under_another_name_is_refused() {
    let mut world = World::new(1, 15);
    world.elect();
    world.config_mut().namespaces = vec![Namespace::new("others").unwrap()];
    let error = world.try_restart(0).unwrap_err().to_string();
    assert!(error.contains("the log holds namespace `things`"), "{error}");
}

/// More than fits into one message comes in several.
#[test]
fn many_large_documents_are_read_and_deleted_through_a_follower() {
    let mut world = World::new(3, 16);
    let leader = world.elect();
    let follower = (0..3).find(|&node| node != leader).unwrap();
    let document = format!("\"{}\"", "x".repeat(300_000));
    for n in 0..130 {
        world.write(leader, create(&format!("d{n}"), &document)).unwrap();
        world.trace.clear();
    }
    let records = world.read_together(follower, (0..130).map(|n| format!("d{n}")));
    for (n, answer) in records.into_iter().enumerate() {
        let Ok(Answer::Read { record: Some(record), .. }) = answer else {
            panic!("d{n}: {answer:?}")
        };
        assert_eq!(record.value().as_bytes().len(), document.len());
    }
    let delete = |n| (id(&format!("d{n}")), Operation::Delete { expected: None });
    for answer in world.write_together(follower, (0..130).map(delete)) {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert!(world.largest_message < limits::FRAME_BYTES_MAX / 2);
    assert_eq!(world.group(leader).actors, 0);
}

/// Well formed, but nothing a replica would say: dropped before it can reach an assertion.
#[test]
fn implausible_messages_are_dropped_and_the_replica_goes_on() {
    let mut world = World::new(3, 17);
    let leader = world.elect();
    let from = world.replica((leader + 1) % 3).status().identity;
    let vote = |term, committed| Vote { term, node: from.replica(), committed };
    let position = |term, index| LogPosition { term, index };
    let append = |vote, previous, entries, commit| {
        Body::Append(Append { vote, previous, entries, commit, mark: None })
    };
    let entry = |term, index| LogEntry { position: position(term, index), payload: Payload::Blank };
    let ask = |vote| AskVote { vote, last: None, transfer: true };
    let incarnation = Incarnation(1 << 40);
    let stranger = ReplicaId { incarnation, ..from.replica() };
    let other = Vote { term: 9, node: stranger, committed: true };
    let bodies = vec![
        append(vote(9, true), None, vec![entry(9, 100_000)], None),
        append(vote(9, true), Some(position(1, 3)), vec![entry(1, 4), entry(1, 6)], None),
        append(vote(9, true), Some(position(1, 3)), vec![entry(10, 4)], None),
        append(vote(9, true), None, vec![], Some(position(1, u64::MAX))),
        append(vote(9, false), None, vec![], None),
        append(other, None, vec![], None),
        append(vote(u64::MAX, true), None, vec![], None),
        Body::AskVote(ask(vote(u64::MAX, false))),
        Body::AskPreVote(ask(vote(9, true))),
        Body::ForwardWrite { commands: vec![] },
        Body::ForwardRead { queries: vec![], lease: false },
    ];
    let count = bodies.len();
    for body in bodies {
        world.inject(leader, &from, body);
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.dropped_implausible, count);
    world.write(leader, create("a", "1")).unwrap();
}

/// A replica without followers is level with itself.
#[test]
fn a_single_node_is_never_behind() {
    let mut world = World::new(1, 18);
    let node = world.elect();
    world.write(node, create("a", "1")).unwrap();
    world.run_for(Duration::from_secs(30));
    let Ok(Answer::Read { age: Some(age), .. }) = world.read_eventual(node, "a") else {
        panic!("a read's answer")
    };
    assert!(age < Duration::from_secs(1), "{age:?}");
}

/// The network may repeat what was forwarded, when whoever refused it leads again.
#[test]
fn a_write_that_was_forwarded_is_never_said_not_to_have_happened() {
    let mut world = World::new(3, 19);
    let leader = world.elect();
    world.settle();
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    world.crash(others[1]);
    world.crash(leader);
    world.restart(leader);
    world.timeout = Duration::from_millis(60);
    // It still takes the restarted node for the leader, and is told that it is not.
    let write = world.write(others[0], create("a", "1"));
    assert_eq!(write, Err(Failure::Unknown));
}
