//! Checkpoints, snapshots and the cut log on real disks, with sizes so small that a short load meets
//! them all.

use std::fs;

use understudy_node::config::{ConfigFile, LogSection, StorageWord};

use crate::world::{World, eventually};

const DOCUMENTS: u64 = 4000;

fn storages() -> Vec<StorageWord> {
    let outside = cfg!(feature = "rocksdb").then_some(StorageWord::RocksDb);
    [StorageWord::Memory].into_iter().chain(outside).collect()
}

/// A cluster that checkpoints every 128 KiB of log and keeps next to nothing behind a checkpoint.
pub fn start_small(storage: StorageWord) -> World {
    let mut world = World::initialised(3);
    for node in &world.cluster.nodes {
        let path = node.config();
        let mut file: ConfigFile = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        file.cluster.log = LogSection {
            checkpoint_bytes: Some(128 * 1024),
            keep_entries: Some(5),
            keep_bytes: Some(4 * 1024),
            ..LogSection::default()
        };
        file.cluster.storage.insert("default".to_owned(), storage);
        fs::write(&path, toml::to_string(&file).unwrap()).unwrap();
    }
    world.cluster.start().unwrap();
    world.wait_for_leader();
    world
}

pub fn load(world: &World, documents: u64) {
    let count = documents.to_string();
    let summary = world.json(&["load", "--generate", &count, "--json"]);
    assert_eq!(summary["documents"], documents, "{summary}");
}

fn assert_complete(world: &World, documents: u64) {
    let count = documents.to_string();
    let verdict = world.json(&["verify", "--generate", &count, "--json"]);
    assert_eq!(verdict["same"], documents, "{verdict}");
    world.assert_replicas_equal();
}

#[test]
fn a_node_that_was_away_is_sent_a_snapshot_and_starts_from_it() {
    for storage in storages() {
        let mut world = start_small(storage);
        let away = (world.leader() + 1) % 3;
        world.cluster.kill(away).unwrap();
        load(&world, DOCUMENTS);
        eventually("the entries that the node lacks are purged", || {
            world.pages().iter().any(|page| page.groups[0].first > 20)
        });
        world.restart(away);
        assert_complete(&world, DOCUMENTS);
        let log = world.cluster.nodes[away].config().with_file_name("log");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("installed a snapshot"), "{log}");
        world.cluster.kill(away).unwrap();
        world.restart(away);
        assert_complete(&world, DOCUMENTS);
    }
}

/// The index at which each node wrote its last checkpoint, once all answer and all have one.
pub fn checkpoints(world: &World) -> Vec<u64> {
    let mut found = Vec::new();
    eventually("every node has a checkpoint", || {
        found = world.pages().iter().map(|page| page.groups[0].checkpoint).collect();
        found.len() == 3 && found.iter().all(|at| *at > 0)
    });
    found
}

#[test]
fn nodes_that_die_between_checkpoints_start_from_the_last_one() {
    for storage in storages() {
        let mut world = start_small(storage);
        for round in 1..=4 {
            // The earlier ones are written again.
            load(&world, round * 700);
            // They are written beside the writes: nodes killed at once might have none yet.
            let before = checkpoints(&world);
            for place in 0..3 {
                world.cluster.kill(place).unwrap();
            }
            world.cluster.start().unwrap();
            let after = checkpoints(&world);
            let kept = after.iter().zip(&before).all(|(after, before)| after >= before);
            assert!(kept, "round {round}: from {before:?} to {after:?}");
        }
        assert_complete(&world, 2800);
    }
}
