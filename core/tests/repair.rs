//! A node that has lost its data folder comes back with another one, as another replica (ADR 9).

mod world;

use std::time::Duration;

use understudy_core::{Answer, Event, Failure, Incarnation, RepairStep, ReplicaId, Role, limits};
use world::{GROUP, World, create, json, put};

const LONG: Duration = Duration::from_secs(5);

fn other(leader: usize) -> usize {
    if leader == 0 { 1 } else { 0 }
}

fn repaired(world: &World, at: usize, step: RepairStep) -> usize {
    let event = format!("{at} Event({:?})", Event::Repair { group: GROUP, step });
    world.trace.lines().filter(|line| **line == event).count()
}

fn is_whole(world: &World) -> bool {
    let everybody = world.everybody();
    (0..everybody.len()).all(|at| {
        // There are none before its first step.
        let groups = world.replica(at).status().groups;
        groups.first().is_some_and(|group| group.voters == everybody && group.learners.is_empty())
    })
}

#[test]
fn a_wiped_node_comes_back_as_a_learner_and_votes_again() {
    let mut world = World::new(3, 1);
    let leader = world.elect();
    for n in 0..200 {
        world.write(leader, create(&format!("a{n}"), "1")).unwrap();
    }
    let lost = other(leader);
    world.wipe(lost);
    assert_eq!(world.read_eventual(lost, "a0"), Err(Failure::Unavailable), "it knows nothing");
    world.run_until(LONG, |world| world.group(lost).learners == [world.id_of(lost)]);
    assert_eq!(world.group(lost).role, Role::Learner);
    assert!(world.group(lost).joining);
    world.run_until(LONG, is_whole);
    assert!(!world.group(lost).joining);
    assert_eq!(repaired(&world, leader, RepairStep::Added(world.id_of(lost))), 1);
    assert_eq!(repaired(&world, leader, RepairStep::Promoted(world.id_of(lost))), 1);
    // Its vote counts: with it a majority goes on without a third.
    let third = 3 - leader - lost;
    world.crash(third);
    world.write(leader, put("a0", "2")).unwrap();
    let read = world.read(lost, "a0");
    assert!(matches!(read, Ok(Answer::Read { record: Some(r), .. }) if *r.value() == json("2")));
    assert_eq!(world.group(lost).actors, 200);
}

#[test]
fn a_damaged_node_comes_back_as_a_learner_and_votes_again() {
    let mut world = World::new(3, 31);
    let leader = world.elect();
    for n in 0..20 {
        world.write(leader, create(&format!("a{n}"), "1")).unwrap();
    }
    world.settle();
    let lost = other(leader);
    world.damage(lost);
    world.run_until(2 * LONG, is_whole);
    world.crash(3 - leader - lost);
    world.write(leader, put("a0", "2")).unwrap();
    assert_eq!(world.group(lost).actors, 20);
}

/// Whatever made all logs look damaged at once, say a bad memory or a bad program: the copies that were
/// set aside may hold everything, and an empty cluster must not take their place.
#[test]
fn when_every_folder_is_set_aside_nothing_begins_anew() {
    for nodes in [1, 3] {
        let mut world = World::new(nodes, 32);
        let leader = world.elect();
        for n in 0..20 {
            world.write(leader, create(&format!("a{n}"), "1")).unwrap();
        }
        world.settle();
        (0..nodes as usize).for_each(|at| world.damage(at));
        world.run_for(2 * LONG);
        for at in 0..nodes as usize {
            assert!(!world.replica(at).status().formed);
            assert_eq!(world.group(at).head, 0);
        }
    }
}

#[test]
fn five_nodes_with_two_damaged_one_after_the_other() {
    let mut world = World::new(5, 33);
    let leader = world.elect();
    for n in 0..20 {
        world.write(leader, create(&format!("a{n}"), "1")).unwrap();
    }
    world.settle();
    let lost: Vec<usize> = (0..5).filter(|&at| at != leader).take(2).collect();
    for &at in &lost {
        world.damage(at);
        world.run_for(Duration::from_millis(700));
    }
    world.run_until(2 * LONG, is_whole);
    for at in (0..5).filter(|at| *at != leader && !lost.contains(at)) {
        world.crash(at);
    }
    world.write(leader, put("a0", "2")).unwrap();
}

/// A wiped leader, while others go on.
#[test]
fn a_wiped_leader_is_replaced_by_the_next() {
    let mut world = World::new(3, 2);
    let lost = world.elect();
    world.write(lost, create("a", "1")).unwrap();
    world.wipe(lost);
    world.run_until(2 * LONG, is_whole);
    world.settle();
    assert_eq!(world.group(lost).actors, 1);
}

#[test]
fn all_nodes_are_wiped_one_after_the_other_and_nothing_is_lost() {
    for nodes in [3, 5] {
        let mut world = World::new(nodes, 3);
        let leader = world.elect();
        world.write(leader, create("a", "1")).unwrap();
        for at in 0..nodes as usize {
            world.wipe(at);
            world.run_until(2 * LONG, is_whole);
        }
        let leader = world.elect();
        let read = world.read(leader, "a");
        assert!(matches!(read, Ok(Answer::Read { record: Some(_), .. })), "{read:?}");
    }
}

#[test]
fn two_of_five_are_wiped_at_once_and_come_back() {
    let mut world = World::new(5, 4);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    let lost: Vec<usize> = (0..5).filter(|&at| at != leader).take(2).collect();
    lost.iter().for_each(|&at| world.wipe(at));
    world.run_until(2 * LONG, is_whole);
    world.write(leader, put("a", "2")).unwrap();
}

/// Whatever step its leader dies at, the next one goes on.
#[test]
fn a_leader_that_dies_in_the_middle_of_a_repair() {
    type When = fn(&World, usize, usize) -> bool;
    let moments: [When; 4] = [
        |world, _, lost| world.group(lost).head > 0,
        |world, leader, _| !world.group(leader).learners.is_empty(),
        |world, leader, _| world.voters(leader).len() > 5,
        |world, leader, lost| world.voters(leader).contains(&world.id_of(lost)),
    ];
    for (place, moment) in moments.into_iter().enumerate() {
        for back_after in [10, 1_000] {
            let mut world = World::new(5, 5 + place as u64);
            let leader = world.elect();
            world.write(leader, create("a", "1")).unwrap();
            let lost = other(leader);
            world.wipe(lost);
            world.run_for(Duration::from_millis(1));
            world.run_until(LONG, |world| moment(world, leader, lost));
            world.crash(leader);
            world.run_for(Duration::from_millis(back_after));
            world.restart(leader);
            world.run_until(2 * LONG, is_whole);
            let leader = world.elect();
            world.write(leader, put("a", "2")).unwrap();
        }
    }
}

/// A change that was begun is finished by somebody else.
#[test]
fn a_joint_membership_is_settled_by_the_next_leader() {
    let mut world = World::new(5, 21);
    let leader = world.elect();
    let lost = other(leader);
    world.wipe(lost);
    world.run_until(LONG, |world| world.voters(leader).len() > 5);
    world.crash(leader);
    world.trace.clear();
    let next = world.elect();
    world.run_until(LONG, |world| repaired(world, next, RepairStep::Settled) == 1);
    assert!(world.voters(next).contains(&world.id_of(lost)));
    assert_eq!(world.voters(next).len(), 5);
}

#[test]
fn the_old_incarnation_alive_is_not_replaced() {
    let mut world = World::new(3, 6);
    let leader = world.elect();
    let member = world.id_of(other(leader));
    let twin = ReplicaId { incarnation: Incarnation(77), ..member };
    let before = world.voters(leader);
    world.trace.clear();
    for _ in 0..200 {
        (0..3).filter(|&at| at != other(leader)).for_each(|at| world.show(at, twin));
        world.run_for(limits::HELLO_EVERY);
    }
    assert_eq!(world.voters(leader), before);
    assert!(world.group(leader).learners.is_empty());
    assert!(!world.trace.contains("Repair"));
}

/// It believes that it votes, and asks: those that hear their leader do not listen.
#[test]
fn a_removed_incarnation_disturbs_nobody() {
    let mut world = World::new(3, 7);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    world.settle();
    let lost = other(leader);
    let old = world.folder(lost);
    world.wipe(lost);
    world.run_until(LONG, is_whole);
    let new = world.folder(lost);
    world.put_folder(lost, old);
    let (term, voters) = (world.group(leader).term, world.voters(leader));
    world.trace.clear();
    world.run_for(LONG);
    assert!(world.trace.contains(&format!("{lost} Send")), "it asks for votes");
    assert_eq!(world.group(leader).role, Role::Leader);
    assert_eq!((world.group(leader).term, world.voters(leader)), (term, voters));
    world.write(leader, put("a", "2")).unwrap();
    world.put_folder(lost, new);
    world.run_until(LONG, is_whole);
}

#[test]
fn repair_waits_for_a_healthy_majority() {
    let mut world = World::new(3, 8);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    let lost = other(leader);
    let third = 3 - leader - lost;
    world.crash(third);
    world.wipe(lost);
    world.trace.clear();
    world.run_for(2 * LONG);
    assert!(!world.trace.contains("Repair"), "with one voter of three");
    assert!(world.group(lost).joining || world.group(lost).head == 0);
    world.restart(third);
    world.run_until(2 * LONG, is_whole);
}

/// The folder that was being taken in is lost as well.
#[test]
fn a_learner_that_is_wiped_is_dropped_and_the_next_one_taken_in() {
    let mut world = World::new(3, 9);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    let lost = other(leader);
    world.wipe(lost);
    world.run_until(LONG, |world| !world.group(leader).learners.is_empty());
    let first = world.id_of(lost);
    world.wipe(lost);
    world.run_until(2 * LONG, is_whole);
    assert_eq!(repaired(&world, leader, RepairStep::Dropped(first)), 1);
}

/// What was promised under the old folder is not expected of the new one.
#[test]
fn a_wiped_node_does_not_answer_for_its_old_folder() {
    let mut world = World::new(3, 10);
    let leader = world.elect();
    let lost = other(leader);
    world.wipe(lost);
    world.run_for(Duration::from_secs(1));
    assert!(world.dropped_other_incarnation > 0);
    assert_eq!(world.group(lost).head, 0);
    world.write(leader, create("a", "2")).unwrap();
}
