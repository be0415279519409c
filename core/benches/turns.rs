//! What batching buys: writes one at a time and many to a turn, three replicas, the network and the
//! disks in one thread. Prints figures and their ratio; asserts nothing about time.
//!
//! `cargo bench -p understudy-core`

// It measures; it is no part of a replica.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use world::{World, put};

fn main() {
    let one = rate(1);
    println!("writes/s, 1 to a turn      {one:>9}");
    for together in [16, 256] {
        let rate = rate(together);
        println!("writes/s, {together:>3} to a turn    {rate:>9}   ratio {}", rate / one.max(1));
    }
    idle();
}

/// Acknowledged writes per second of real time.
fn rate(together: u64) -> u64 {
    let mut world = World::new(3, 1);
    world.traces = false;
    let leader = world.elect();
    let start = Instant::now();
    let mut writes = 0;
    while start.elapsed() < Duration::from_secs(2) {
        for answer in
            world.write_together(leader, (0..together).map(|n| put(&format!("a{n}"), "1")))
        {
            answer.expect("a write without faults");
            writes += 1;
        }
        world.trace.clear();
    }
    writes * 1_000_000 / u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What a cluster at rest costs.
fn idle() {
    let mut world = World::new(3, 2);
    world.elect();
    world.trace.clear();
    let start = Instant::now();
    world.run_for(Duration::from_secs(60));
    let share = start.elapsed().as_micros() * 100 / 60_000_000 / 3;
    let messages = world.trace.matches("Send {").count() / 60;
    println!("at rest: {share} % of a core a node, {messages} messages/s in the cluster");
}
