//! A group begins once, with the members that have all promised it (ADR 9).

mod world;

use std::time::Duration;

use understudy_core::{Answer, Event, Failure, GroupId, Namespace, NodeId, Role};
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

/// Nothing that a promise to a group, or an answer to a client, could be made of.
fn assert_silent(world: &mut World, at: usize) {
    for body in ["AppendReply", "VoteReply", "PreVoteReply", "AskVote", "AskPreVote", "Forward"] {
        assert_eq!(sent(world, at, body), 0, "{body} of a node that is no member");
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
    assert!(!formed(&world, 0) && !formed(&world, 1));
    assert_eq!(world.replica(0).status().unmet, [NodeId(3)]);
    assert_eq!(world.replica(1).status().unmet, [NodeId(3)]);
    assert_silent(&mut world, 0);
    assert_silent(&mut world, 1);
    world.restart(2);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    assert!((0..3).all(|at| formed(&world, at)));
    assert_eq!(world.voters(leader), world.everybody());
}

#[test]
fn a_single_node_forms_at_once() {
    let mut world = World::new(1, 2);
    world.run_for(Duration::from_millis(1));
    assert!(formed(&world, 0));
    assert!(world.trace.contains(&format!("{:?}", Event::Formed { group: GROUP })));
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

/// NATS 7567: a peer that was cut off from the beginning has never heard of the old folder, but one
/// that has is enough. Its promise outlives a restart.
#[test]
fn a_founder_wiped_after_a_promise_keeps_the_group_from_beginning() {
    let mut world = World::new(3, 4);
    world.cut(0, 2);
    world.cut(2, 0);
    world.run_for(LONG);
    assert!(!(0..3).any(|at| formed(&world, at)), "two have not met");
    world.crash(1);
    world.restart(1);
    world.wipe(0);
    world.heal();
    world.run_for(LONG);
    assert_eq!(world.replica(0).status().unmet, [NodeId(2)]);
    (0..3).for_each(|at| assert_silent(&mut world, at));
}

/// It has promised something, but nobody has promised it anything.
#[test]
fn another_member_may_be_wiped_before_the_group_begins() {
    let mut world = World::new(3, 9);
    world.crash(1);
    world.run_for(LONG);
    world.wipe(2);
    world.restart(1);
    let leader = world.elect();
    assert_eq!(world.voters(leader), world.everybody());
}

#[test]
fn two_wiped_nodes_of_three_elect_nobody() {
    let mut world = World::new(3, 5);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    world.settle();
    for wiped in 0..2 {
        world.wipe(wiped);
    }
    world.trace.clear();
    world.run_for(3 * LONG);
    assert_silent(&mut world, 0);
    assert_silent(&mut world, 1);
    assert!(world.group(0).joining && world.group(1).joining, "they know that there is a group");
    let alone = world.write(2, put("a", "2"));
    assert!(matches!(alone, Err(Failure::Unavailable | Failure::Unknown)), "{alone:?}");
    let Ok(Answer::Read { record: Some(record), .. }) = world.read_eventual(2, "a") else {
        panic!("the intact node still has it")
    };
    assert_eq!(record.value(), &json("1"));
    assert!(!world.trace.contains("role: Leader"));
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
fn a_promise_is_given_only_when_it_is_on_the_disk() {
    let mut world = World::new(3, 7);
    world.hold_disk(1);
    world.run_for(LONG);
    assert_eq!(sent(&world, 1, "HelloReply"), 0);
    assert!(sent(&world, 2, "HelloReply") > 0);
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

/// Whoever may begin the group, and whoever is lost just then: what was acknowledged stays.
#[test]
fn a_late_node_that_is_wiped_is_refused_by_those_who_never_heard_of_it() {
    for (f, b, g) in [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)] {
        let mut world = World::new(3, 41);
        world.crash(b);
        world.settle();
        cuts(&mut world, &[(f, g), (b, g)]);
        world.restart(b);
        world.run_for(Duration::from_millis(5));
        world.heal();
        world.run_for(Duration::from_millis(60));
        cuts(&mut world, &[(f, g), (b, g)]);
        world.run_for(LONG);
        let acknowledged = world.write(f, create("a", "1")).is_ok();
        world.wipe(b);
        cuts(&mut world, &[(f, b), (f, g)]);
        world.run_for(LONG);
        let read = world.read(g, "a");
        let lost = matches!(read, Ok(Answer::Read { record: None, .. }));
        assert!(!(acknowledged && lost), "gone: {:?}", world.replica(f).dump(GROUP));
    }
}

/// The third has the group's first members from whoever leads.
#[test]
fn a_late_node_gets_the_members_by_replication() {
    let mut world = World::new(3, 8);
    world.run_for(Duration::from_millis(1));
    assert!(formed(&world, 0), "all have promised");
    world.crash(2);
    world.elect();
    world.crash(1);
    world.restart(2);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
}

/// One that is added later begins with the data folders of that day.
#[test]
fn a_namespace_that_is_appended_begins_with_the_folders_in_use() {
    let mut world = World::new(3, 10);
    world.elect();
    for lost in [0, 1] {
        world.wipe(lost);
        world.run_for(2 * LONG);
    }
    world.config_mut().namespaces.push(Namespace::new("others").unwrap());
    for at in 0..3 {
        world.crash(at);
        world.restart(at);
    }
    world.run_for(LONG);
    let group = |at: usize| world.replica(at).status().groups.remove(1);
    for at in 0..3 {
        assert_eq!(group(at).group, GroupId(2));
        assert_eq!(group(at).voters, world.everybody());
        assert!(group(at).leader.is_some());
    }
}
