//! Checkpoints, snapshots on their way to a follower, and how the log is cut behind them.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{World, put};

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Backend];

/// As tiny, with room for large documents.
fn roomy() -> LogSizes {
    let (segment_bytes, checkpoint_bytes) = (16 * 1024 * 1024, 2 * 1024 * 1024);
    LogSizes { segment_bytes, checkpoint_bytes, ..LogSizes::tiny() }
}

/// `count` writes over a few actors, `bytes` long.
fn fill(world: &mut World, at: usize, count: usize, bytes: usize) {
    let value = format!("\"{}\"", "x".repeat(bytes));
    for round in 0..count / 20 {
        let writes = (0..20).map(|n| put(&format!("actor {}", (round * 20 + n) % 50), &value));
        for answer in world.write_together(at, writes) {
            answer.unwrap();
        }
    }
}

fn assert_level(world: &World, nodes: usize) {
    let first = world.group(0);
    for at in 1..nodes {
        let group = world.group(at);
        assert_eq!((group.applied, group.state_hash), (first.applied, first.state_hash));
        assert_eq!((group.actors, group.oplog_live), (first.actors, first.oplog_live));
        assert_eq!(group.diverged, None);
    }
}

#[test]
fn the_log_is_cut_behind_checkpoints_and_a_restart_begins_from_one() {
    for storage in BOTH {
        let mut world = World::with(3, 11, LogSizes::tiny(), storage);
        let leader = world.elect();
        fill(&mut world, leader, 2_000, 200);
        world.settle();
        assert_level(&world, 3);
        for at in 0..3 {
            let (status, group) = (world.replica(at).status(), world.group(at));
            assert!(group.checkpoint > 0 && group.first > 0, "{storage:?}: {group:?}");
            let segments = (status.wal_end - status.wal_begin) / LogSizes::tiny().segment_bytes;
            assert!(status.wal_begin > 0 && segments < 6, "{storage:?}: {segments} segments");
        }
        let before = world.group(0);
        world.restart_all();
        world.elect();
        world.settle();
        assert_level(&world, 3);
        let after = world.group(0);
        assert_eq!((after.actors, after.sequence), (before.actors, before.sequence));
        assert!(after.checkpoint >= before.checkpoint);
    }
}

#[test]
fn a_follower_that_was_away_for_long_is_sent_a_snapshot() {
    for storage in BOTH {
        let mut world = World::with(3, 12, roomy(), storage);
        let leader = world.elect();
        let away = (leader + 1) % 3;
        world.crash(away);
        // More than one chunk.
        fill(&mut world, leader, 400, 30_000);
        let first = world.group(leader).first;
        assert!(first > 10, "the entries it needs are purged");
        world.restart(away);
        world.run_for(Duration::from_secs(3));
        assert_level(&world, 3);
        assert!(world.trace.contains("SnapshotInstalled"), "{storage:?}");
        // What it was sent, it starts from again, and an operation is still known.
        world.crash(away);
        world.restart(away);
        world.run_for(Duration::from_secs(1));
        assert_level(&world, 3);
    }
}

#[test]
fn a_transfer_that_is_cut_off_goes_on_where_it_was() {
    let mut world = World::with(3, 13, roomy(), Storage::Memory);
    let leader = world.elect();
    let away = (leader + 1) % 3;
    world.crash(away);
    fill(&mut world, leader, 400, 60_000);
    world.settle();
    world.trace.clear();
    world.lost_chunks = 3..6;
    world.restart(away);
    world.run_for(Duration::from_secs(9));
    assert_level(&world, 3);
    assert!(world.chunks > 8, "{} chunks", world.chunks);
    let (sent, length) = (world.sent_snapshot_bytes, world.snapshot_bytes);
    let lost = 3 * 512 * 1024;
    assert!(sent <= length + lost, "{sent} bytes were sent of a snapshot of {length}");
}

#[test]
fn an_operation_is_known_after_a_snapshot_was_installed() {
    let mut world = World::with(3, 14, LogSizes::tiny(), Storage::Memory);
    let leader = world.elect();
    let away = (leader + 1) % 3;
    let op = world::op(77);
    let first = world.write_named(leader, op.clone(), world::create("once", "1"));
    world.crash(away);
    fill(&mut world, leader, 400, 300);
    world.restart(away);
    world.run_for(Duration::from_secs(2));
    assert!(world.trace.contains("SnapshotInstalled"));
    world.crash(leader);
    world.elect();
    let again = world.write_named(away, op, world::create("once", "1"));
    let (Ok(Answer::Done { outcome, .. }), Ok(Answer::Done { outcome: same, replayed, .. })) =
        (first, again)
    else {
        panic!("both are answered")
    };
    assert_eq!((outcome, replayed), (same, true));
}

#[test]
fn a_damaged_checkpoint_is_found_at_the_start() {
    let mut world = World::with(1, 15, LogSizes::tiny(), Storage::Memory);
    world.elect();
    fill(&mut world, 0, 400, 200);
    world.settle();
    world.crash(0);
    let disk = world.disk(0).clone();
    let files = disk.files().unwrap().into_iter();
    let snaps: Vec<_> = files.filter(|(file, _)| matches!(file, FileName::Snapshot(..))).collect();
    let [(file, size)] = snaps[..] else { panic!("one checkpoint: {snaps:?}") };
    for at in (0..size as usize).step_by(64) {
        *world.disk(0) = disk.clone();
        world.disk(0).bytes_mut(file).unwrap()[at] ^= 1 << (at / 64 % 8);
        let error = world.try_restart(0).unwrap_err().to_string();
        assert!(error.contains(&file.to_string()), "byte {at}: {error}");
    }
    *world.disk(0) = disk;
    world.disk(0).apply(&[DiskOp::Delete { file }]).unwrap();
    assert!(world.try_restart(0).unwrap_err().to_string().contains("is missing"));
}
