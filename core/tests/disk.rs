//! Disks that are nearly full, slow, or stand still: what goes on, and who leads.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{World, put};

const PLENTY: u64 = 1 << 40;

fn delete(actor: &str) -> (ActorId, Operation) {
    (world::id(actor), Operation::Delete { expected: None })
}

/// PEERS C 6: no alarm to disarm, and the way out is never closed.
#[test]
fn full_disks_refuse_writes_but_not_reads_and_deletes_and_clear_by_themselves() {
    let mut world = World::new(3, 31);
    let leader = world.elect();
    world.write(leader, put("a", "1")).unwrap();
    (0..3).for_each(|at| world.tell_space(at, 1024));
    world.run_for(Duration::from_millis(100));
    // Each believed the others' disks to be well, so somebody else may lead by now.
    world.run_for(Duration::from_secs(1));
    let leader = world.elect();
    let busy = world.write(leader, put("b", "1")).unwrap_err();
    assert!(matches!(busy, Failure::Busy { queue: Queue::Disk, .. }), "{busy}");
    assert!(busy.to_string().starts_with("disk full"), "{busy}");
    let read = world.read(leader, "a");
    assert!(matches!(read, Ok(Answer::Read { record: Some(_), .. })), "{read:?}");
    assert!(world.replica(leader).status().disk_low);
    // Room for a segment and a checkpoint: entries are taken, so a delete goes through.
    (0..3).for_each(|at| world.tell_space(at, 40 * 1024 * 1024));
    world.run_for(Duration::from_millis(100));
    assert!(world.write(leader, put("b", "1")).is_err());
    world.write(leader, delete("a")).unwrap();
    (0..3).for_each(|at| world.tell_space(at, PLENTY));
    world.run_for(Duration::from_millis(100));
    world.write(leader, put("b", "1")).unwrap();
}

#[test]
fn a_leader_whose_disk_is_nearly_full_hands_leadership_over() {
    let mut world = World::new(3, 32);
    let leader = world.elect();
    world.write(leader, put("a", "1")).unwrap();
    (0..3).for_each(|at| world.tell_space(at, PLENTY));
    world.settle();
    world.tell_space(leader, 1024);
    world.run_for(Duration::from_secs(1));
    let next = world.elect();
    assert_ne!(next, leader);
    // It is a follower like any other for whom there is room: what it cannot take it catches up with.
    world.write(next, put("b", "1")).unwrap();
    world.tell_space(leader, PLENTY);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.group(leader).state_hash, world.group(next).state_hash);
    assert_eq!(world.elect(), next, "nobody takes it back");
}

/// PEERS C 7: a leader on a slow disk is replaced, not waited for.
#[test]
fn a_leader_whose_disk_is_slow_hands_leadership_over() {
    let mut world = World::new(3, 33);
    let leader = world.elect();
    world.settle();
    world.hold_disk(leader);
    world.write(leader, put("a", "1")).unwrap();
    world.run_for(Duration::from_secs(2));
    assert!(world.trace.contains("HandsOver"));
    let followers: Vec<usize> = (0..3).filter(|&at| at != leader).collect();
    let leads = |world: &World, at| world.group(at).role == Role::Leader;
    assert!(followers.iter().any(|&at| leads(&world, at)));
}

#[test]
fn a_leader_sends_and_commits_while_its_own_disk_stands_still() {
    let mut world = World::new(3, 34);
    let leader = world.elect();
    world.settle();
    world.hold_disk(leader);
    for n in 0..5 {
        world.write(leader, put(&format!("a{n}"), "1")).unwrap();
    }
}

#[test]
fn a_follower_whose_disk_stands_still_notices_that_its_leader_is_gone() {
    let mut world = World::new(3, 35);
    let leader = world.elect();
    let (stuck, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.hold_disk(stuck);
    world.write(leader, put("a", "1")).unwrap();
    world.crash(leader);
    world.crash(other);
    world.trace.clear();
    world.run_for(Duration::from_millis(700));
    let asks = format!("{stuck} Send");
    let asked =
        world.trace.lines().any(|line| line.starts_with(&asks) && line.contains("AskPreVote"));
    assert!(asked, "its election timer waits for no disk");
}

/// From its word on the leader serves nobody. If the word is lost, the others must not wait for ever.
#[test]
fn a_hand_over_whose_message_is_lost_ends_in_an_election() {
    let mut world = World::new(3, 36);
    let leader = world.elect();
    (0..3).for_each(|at| world.tell_space(at, PLENTY));
    world.write(leader, put("a", "1")).unwrap();
    world.settle();
    world.lose_transfers = true;
    world.tell_space(leader, 1024);
    world.run_for(Duration::from_secs(2));
    let next = world.elect();
    assert_ne!(next, leader);
    world.write(next, put("b", "1")).unwrap();
}

/// What is written to a file whose name may go away is lost with it, also when a later sync of the
/// folder reports success.
#[test]
fn a_node_whose_folder_could_not_be_synced_ends() {
    let mut world = World::new(3, 35);
    let leader = world.elect();
    world.write(leader, put("a", "1")).unwrap();
    let node = (leader + 1) % 3;
    world.crash(node);
    world.restart(node);
    // Its first step makes the next segment.
    world.fail_folder(node);
    world.settle();
    assert!(world.replica(node).status().fatal);
    world.write(leader, put("a", "2")).unwrap();
    world.crash(node);
    world.restart(node);
    world.settle();
    assert_eq!(world.group(node).state_hash, world.group(leader).state_hash);
}
