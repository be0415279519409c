//! Replicas in one thread, with a network and disks that do as they are told.

mod world;

use std::time::Duration;

use understudy_core::{
    Answer, Expected, Failure, Operation, Outcome, Refusal, Role, Token, Version,
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
        assert_eq!(record.value, json("2"));
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
    let stale = Operation::CompareAndSwap { value: json("3"), expected };
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
    assert_eq!((record.value, record.token), (json("1"), found));
}

/// M25, NATS 7567: what it promised under its old name is gone.
#[test]
fn a_node_with_a_wiped_disk_is_not_heard_under_its_old_name() {
    let mut world = World::new(3, 8);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    let wiped = (0..3).find(|&node| node != leader).unwrap();
    world.settle();
    world.wipe(wiped);
    world.run_for(Duration::from_secs(1));
    assert!(world.dropped_other_incarnation > 0);
    assert_eq!(world.replica(wiped).status().groups[0].applied, 0);
    world.write(leader, put("a", "2")).unwrap();
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
