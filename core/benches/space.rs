//! What a long run leaves on the disk: ten million writes over 100,000 actors through one replica,
//! with the sizes of production. Prints how long the log and the files ever were; asserts that they
//! stay within what the configuration says.
//!
//! `cargo bench -p understudy-core --bench space [-- WRITES]`

// It measures; it is no part of a replica.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;

use understudy_core::{DiskImage, LogSizes, Storage};
use world::{World, put};

const TOGETHER: u64 = 1000;
const ACTORS: u64 = 100_000;

fn main() {
    let writes = std::env::args().filter_map(|word| word.parse().ok()).next();
    let writes: u64 = writes.unwrap_or(10_000_000);
    let sizes = LogSizes::production();
    for storage in [Storage::Memory, Storage::Backend] {
        let mut world = World::with(1, 1, sizes.clone(), storage);
        world.traces = false;
        world.elect();
        let value = format!("\"{}\"", "x".repeat(198));
        let (start, mut log_max, mut files_max) = (Instant::now(), 0, 0);
        for round in 0..writes / TOGETHER {
            let id = |n: u64| format!("actor-{}", (round * TOGETHER + n * 7919) % ACTORS);
            for answer in world.write_together(0, (0..TOGETHER).map(|n| put(&id(n), &value))) {
                answer.expect("a write without faults");
            }
            let status = world.replica(0).status();
            log_max = log_max.max(status.wal_end - status.wal_begin);
            let files = world.disk(0).files().expect("a disk without faults");
            files_max = files_max.max(files.iter().map(|(_, size)| size).sum::<u64>());
        }
        let status = world.replica(0).status();
        let seconds = start.elapsed().as_secs().max(1);
        println!(
            "{storage:?}: {writes} writes of 200 bytes, {} writes/s; log written {} MiB, at most {} MiB \
             of it kept; files at most {} MiB; {} outcomes remembered",
            writes / seconds,
            status.wal_end >> 20,
            log_max >> 20,
            files_max >> 20,
            status.groups[0].oplog_live,
        );
        // A checkpoint's worth, as much again while one is written, and the segments around both.
        let bound = 6 * sizes.checkpoint_bytes.max(sizes.segment_bytes);
        assert!(log_max <= bound, "the log grew to {log_max} bytes, {bound} were expected at most");
    }
}
