//! A new node takes part only when it has met every other (ADR 7).

mod world;

use std::time::Duration;

use understudy_core::{Answer, Failure, Role};
use world::{GROUP, World, create, json, put};

const LONG: Duration = Duration::from_secs(3);

fn formed(world: &World, at: usize) -> bool {
    world.replica(at).status().formed
}

/// What node `at` has sent since the trace was cleared, by the name of the message's body.
fn sent(world: &World, at: usize, body: &str) -> usize {
    let from = format!("{at} Send");
    let is_it = |line: &&str| line.starts_with(&from) && line.contains(&format!("body: {body}"));
    world.trace.lines().filter(is_it).count()
}

/// Nothing that a promise or an answer could be made of.
fn assert_silent(world: &mut World, at: usize) {
    assert!(!formed(world, at));
    for body in ["AppendReply", "VoteReply", "PreVoteReply", "AskVote", "AskPreVote", "Forward"] {
        assert_eq!(sent(world, at, body), 0, "{body} of an unformed node");
    }
    assert_eq!((world.group(at).head, world.group(at).term), (0, 0));
    assert_eq!(world.group(at).role, Role::Learner);
    assert_eq!(world.read(at, "a"), Err(Failure::Unavailable));
    assert_eq!(world.read_eventual(at, "a"), Err(Failure::Unavailable));
    assert_eq!(world.write(at, put("a", "9")), Err(Failure::Unavailable));
}

#[test]
fn three_nodes_form_only_when_all_have_met() {
    let mut world = World::new(3, 1);
    world.crash(2);
    world.run_for(LONG);
    assert_silent(&mut world, 0);
    assert_silent(&mut world, 1);
    world.restart(2);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    assert!((0..3).all(|at| formed(&world, at)));
}

#[test]
fn a_single_node_is_formed_at_once() {
    let mut world = World::new(1, 2);
    world.run_for(Duration::from_millis(1));
    assert!(formed(&world, 0));
}

#[test]
fn a_node_that_was_formed_needs_nobody_after_a_restart() {
    let mut world = World::new(3, 3);
    world.elect();
    for at in 0..3 {
        world.crash(at);
    }
    world.restart(0);
    world.run_for(Duration::from_millis(1));
    assert!(formed(&world, 0));
}

/// NATS 7567: a peer that was cut off from the beginning has never heard of the old folder.
#[test]
fn a_node_wiped_before_all_have_met_keeps_the_cluster_from_forming() {
    let mut world = World::new(3, 4);
    world.cut(0, 2);
    world.cut(2, 0);
    world.run_for(LONG);
    assert!(!(0..3).any(|at| formed(&world, at)), "two have not met");
    world.wipe(0);
    world.heal();
    world.run_for(LONG);
    (0..3).for_each(|at| assert_silent(&mut world, at));
}

#[test]
fn two_wiped_nodes_of_three_never_form_nor_answer() {
    let mut world = World::new(3, 5);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    world.settle();
    for wiped in 0..2 {
        world.wipe(wiped);
    }
    world.trace.clear();
    world.run_for(LONG);
    assert_silent(&mut world, 0);
    assert_silent(&mut world, 1);
    let alone = world.write(2, put("a", "2"));
    assert!(matches!(alone, Err(Failure::Unavailable | Failure::Unknown)), "{alone:?}");
    let Ok(Answer::Read { record: Some(record), .. }) = world.read_eventual(2, "a") else {
        panic!("the intact node still has it")
    };
    assert_eq!(record.value, json("1"));
}

#[test]
fn a_node_that_crashed_between_meeting_and_forming_forms_later() {
    let mut world = World::new(3, 6);
    world.crash(2);
    world.run_for(LONG);
    assert!(!formed(&world, 0));
    world.crash(0);
    world.restart(2);
    world.run_for(LONG);
    world.restart(0);
    world.settle();
    assert!(formed(&world, 0));
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
}

#[test]
fn a_hello_is_answered_only_when_the_asker_is_on_the_disk() {
    let mut world = World::new(3, 7);
    world.hold_disk(1);
    world.run_for(LONG);
    assert_eq!(sent(&world, 1, "HelloReply"), 0);
    assert!(sent(&world, 0, "HelloReply") > 0);
    assert!(!formed(&world, 0) && !formed(&world, 2));
    world.crash(1);
    world.restart(1);
    world.settle();
    assert!((0..3).all(|at| formed(&world, at)));
}

/// Only these pairs are cut off from each other.
fn cuts(world: &mut World, pairs: &[(usize, usize)]) {
    world.heal();
    for &(a, b) in pairs {
        world.cut(a, b);
        world.cut(b, a);
    }
}

/// What a formed node vouched for must be known to all: here G had met F, but never B.
#[test]
fn a_late_node_that_is_wiped_is_refused_by_those_who_never_heard_of_it() {
    let (f, b, g) = (0, 1, 2);
    let mut world = World::new(3, 41);
    world.crash(b);
    world.settle();
    cuts(&mut world, &[(f, g), (b, g)]);
    // B's first hello is lost, so that F's reaches it first.
    world.cut(b, f);
    world.run_for(Duration::from_millis(20));
    world.restart(b);
    world.run_for(Duration::from_millis(5));
    cuts(&mut world, &[(f, g), (b, g)]);
    world.run_for(LONG);
    let acknowledged = world.write(f, create("a", "1")).is_ok();
    world.wipe(b);
    cuts(&mut world, &[(f, b), (f, g)]);
    world.run_for(LONG);
    let read = world.read(g, "a");
    let lost = matches!(read, Ok(Answer::Read { record: None, .. }));
    assert!(!(acknowledged && lost), "acknowledged, then gone: {:?}", world.replica(f).dump(GROUP));
}

/// One node is formed, another is lost for good before the third could form.
#[test]
fn a_late_node_forms_on_the_word_of_a_formed_one() {
    let mut world = World::new(3, 8);
    // 2 hears of everybody, but no answer reaches it.
    world.cut(0, 2);
    world.cut(1, 2);
    world.run_for(Duration::from_millis(30));
    world.heal();
    world.elect();
    assert!(formed(&world, 0) || formed(&world, 1));
    world.crash(1);
    world.run_for(LONG);
    assert!(formed(&world, 0) && formed(&world, 2));
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
}
