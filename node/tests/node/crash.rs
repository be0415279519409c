//! `kill -9` at any time during a load: every document is there once, and nothing acknowledged is
//! lost.

use std::process::Child;

use rustix::process::{Signal, kill_process};

use crate::world::{World, eventually, json_of};

const DOCUMENTS: u64 = 6000;

/// Starts a load and waits until `acknowledged` of its documents are stored.
fn start_load(world: &World, acknowledged: usize) -> Child {
    let count = DOCUMENTS.to_string();
    let load = world.command(&["load", "--generate", &count, "--json"]).spawn().unwrap();
    wait_stored(world, acknowledged);
    load
}

fn wait_stored(world: &World, documents: usize) {
    eventually("documents are being stored", || {
        world.pages().iter().any(|page| page.groups[0].actors >= documents)
    });
}

#[track_caller]
fn assert_complete(world: &World, load: Child) {
    let summary = json_of(load.wait_with_output().unwrap());
    assert_eq!(summary["documents"], DOCUMENTS, "{summary}");
    assert_eq!(summary["created"], DOCUMENTS, "{summary}");
    let count = DOCUMENTS.to_string();
    let verdict = world.json(&["verify", "--generate", &count, "--json"]);
    assert_eq!(verdict["same"], DOCUMENTS, "{verdict}");
    assert_eq!(verdict["rewritten"], 0, "{verdict}");
    world.assert_replicas_equal();
    for page in world.pages() {
        assert_eq!(page.groups[0].actors as u64, DOCUMENTS);
    }
}

#[test]
fn a_load_survives_the_death_of_the_leader() {
    let mut world = World::start(3);
    let load = start_load(&world, 1000);
    let leader = world.leader();
    world.cluster.kill(leader).unwrap();
    wait_stored(&world, 2500);
    world.restart(leader);
    assert_complete(&world, load);
}

#[test]
fn a_load_survives_the_death_of_every_node_in_turn() {
    let mut world = World::start(3);
    let load = start_load(&world, 500);
    for place in 0..3 {
        world.cluster.kill(place).unwrap();
        wait_stored(&world, 1200 + 1200 * place);
        world.restart(place);
    }
    assert_complete(&world, load);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_die_at_once() {
    let mut world = World::start(3);
    let load = start_load(&world, 1500);
    for place in 0..3 {
        world.cluster.kill(place).unwrap();
    }
    world.cluster.start().unwrap();
    world.wait_for_leader();
    assert_complete(&world, load);
}

#[test]
fn a_load_survives_a_leader_that_freezes_and_wakes_up() {
    let mut world = World::start(3);
    let load = start_load(&world, 1000);
    let leader = world.leader();
    let frozen = world.cluster.nodes[leader].running().unwrap();
    kill_process(frozen, Signal::STOP).unwrap();
    wait_stored(&world, 2500);
    // It still believes that it leads, and must find out otherwise before it answers anything.
    kill_process(frozen, Signal::CONT).unwrap();
    assert_complete(&world, load);
}

#[test]
fn a_node_stops_in_order_and_comes_back() {
    let mut world = World::start(3);
    world.json(&["load", "--generate", "500", "--json"]);
    world.cluster.stop();
    world.cluster.start().unwrap();
    world.wait_for_leader();
    let verdict = world.json(&["verify", "--generate", "500", "--json"]);
    assert_eq!(verdict["same"], 500);
    world.assert_replicas_equal();
}
