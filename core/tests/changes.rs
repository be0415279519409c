//! The change stream as replicas keep and tell it: dense, the same everywhere, forgotten by the log.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{World, create, put};

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Backend];
const EVENTUAL: ReadLevel = ReadLevel::Eventual;

fn roomy() -> LogSizes {
    LogSizes { segment_bytes: 16 * 1024 * 1024, ..LogSizes::production() }
}

fn delete(id: &str) -> (ActorId, Operation) {
    (ActorId::new(id).unwrap(), Operation::Delete { expected: None })
}

/// What a change says of its kind, its actor and the versions before and since.
fn told(change: &Change) -> (u64, ChangeKind, &str, u64, u64) {
    let version = |record: &Option<Record>| record.as_ref().map_or(0, |r| r.token.version.0);
    let (before, after) = (version(&change.before), version(&change.after));
    (change.sequence.0, change.kind, change.id.as_str(), before, after)
}

/// All that a node retains, asked for in small pages.
fn all(world: &mut World, at: usize) -> Vec<Change> {
    let (page, last) = world.changes(at, Since::After(Sequence(0)), 1, EVENTUAL);
    let mut after = Sequence(page.first.0 - 1);
    let mut changes = Vec::new();
    while after < last {
        let (page, _) = world.changes(at, Since::After(after), 3, EVENTUAL);
        assert!(!page.is_compacted() && (1..=3).contains(&page.changes.len()));
        changes.extend(page.changes);
        after = changes.last().unwrap().sequence;
    }
    changes
}

/// S0-074…S0-077, S1-015…S1-017: one event for each change, none for what was refused.
#[test]
fn every_change_is_told_with_what_it_did_and_nothing_else_is() {
    for storage in BOTH {
        let mut world = World::with(3, 1, roomy(), storage);
        let leader = world.elect();
        let op = OpId::timed(Timestamp(1_000), 7);
        world.write_named(leader, op.clone(), create("a", "1")).unwrap();
        world.write_named(leader, op.clone(), create("a", "1")).unwrap();
        world.write(leader, create("a", "2")).unwrap_err();
        world.write(leader, put("a", "3")).unwrap();
        world.write(leader, delete("b")).unwrap_err();
        world.write(leader, create("b", "4")).unwrap();
        world.write(leader, delete("a")).unwrap();
        world.write(leader, create("a", "5")).unwrap();
        world.settle();
        let (create, update, delete) = (ChangeKind::Create, ChangeKind::Update, ChangeKind::Delete);
        let expected = [
            (1, create, "a", 0, 1),
            (2, update, "a", 1, 2),
            (3, create, "b", 0, 1),
            (4, delete, "a", 2, 0),
            (5, create, "a", 0, 1),
        ];
        let changes = all(&mut world, leader);
        assert_eq!(changes.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(changes[0].event, EventId::new(Some(&op), Sequence(1)));
        assert_eq!(changes[3].before, changes[1].after);
        assert!(changes.is_sorted_by_key(|change| (change.time, change.position)));
        let min = Sequence(5);
        for level in [ReadLevel::Linearizable, ReadLevel::Lease, ReadLevel::Session { min }] {
            for at in 0..3 {
                let (page, last) = world.changes(at, Since::After(Sequence(2)), 9, level);
                assert_eq!((page.changes.as_slice(), last), (&changes[2..], min));
            }
        }
        for at in 0..3 {
            assert_eq!(all(&mut world, at), changes, "the same, word for word, on every replica");
            assert_eq!(world.told(at).0, changes);
        }
        let mut ids: Vec<_> = changes.iter().map(|change| change.event).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), changes.len());
    }
}

/// S0-080, PEERS.md C 1-2: the first, the last, just before and behind what is forgotten, the future.
#[test]
fn a_page_begins_exactly_where_it_is_asked_to_or_says_what_is_left() {
    for storage in BOTH {
        let retention = Retention { age: Duration::from_secs(1), ..Retention::production() };
        let mut world = World::retaining(1, 2, roomy(), storage, retention);
        world.elect();
        for n in 0..4 {
            world.write(0, put("a", &n.to_string())).unwrap();
        }
        world.run_for(Duration::from_secs(4));
        let (gone, last) = world.changes(0, Since::After(Sequence(0)), 9, EVENTUAL);
        assert!(gone.is_compacted() && gone.changes.is_empty());
        assert_eq!((gone.first, last), (Sequence(5), Sequence(4)));
        for n in 4..7 {
            world.write(0, put("a", &n.to_string())).unwrap();
        }
        let mut ask = |since| {
            let (page, last) = world.changes(0, since, 9, EVENTUAL);
            assert_eq!((page.first, last), (Sequence(5), Sequence(7)));
            let places = page.changes.iter().map(|change| change.sequence.0);
            (page.is_compacted(), places.collect::<Vec<_>>(), page.changes.clone())
        };
        let mut after = |sequence| {
            let (compacted, places, _) = ask(Since::After(Sequence(sequence)));
            (compacted, places)
        };
        assert_eq!(after(3), (true, vec![]), "the last that is forgotten is missed");
        assert_eq!(after(4), (false, vec![5, 6, 7]));
        assert_eq!(after(5), (false, vec![6, 7]));
        assert_eq!(after(6), (false, vec![7]));
        assert_eq!(after(7), (false, vec![]));
        assert_eq!(after(8), (false, vec![]), "the future");
        assert_eq!(after(u64::MAX), (false, vec![]));
        assert_eq!(ask(Since::Last).1, [0; 0]);
        let changes = ask(Since::After(Sequence(4))).2;
        let times: Vec<_> = changes.iter().map(|change| change.time).collect();
        assert!(ask(Since::Time(Timestamp(0))).0, "something older is forgotten");
        let since = ask(Since::Time(times[2]));
        assert!(!since.0 || times[2] == times[0]);
        assert!(since.2.iter().all(|change| change.time >= times[2]));
        let later = ask(Since::Time(Timestamp(times[2].0 + 1)));
        assert_eq!((later.0, later.1), (false, vec![]));
    }
}

/// S1-031: from a committed time on.
#[test]
fn a_time_stands_for_the_first_change_at_or_after_it() {
    for storage in BOTH {
        let mut world = World::with(1, 3, roomy(), storage);
        world.elect();
        let mut changes = Vec::new();
        for n in 0..20 {
            world.write(0, put("a", &n.to_string())).unwrap();
            world.run_for(Duration::from_millis(30));
        }
        changes.extend(all(&mut world, 0));
        let (first, last) = (changes[0].time.0, changes[19].time.0);
        assert!(last > first + 100);
        for time in first - 5..last + 5 {
            let (page, _) = world.changes(0, Since::Time(Timestamp(time)), 99, EVENTUAL);
            let expected: Vec<_> =
                changes.iter().filter(|change| change.time.0 >= time).cloned().collect();
            assert_eq!(page.changes, expected);
            assert!(!page.is_compacted());
        }
    }
}

/// S0-093, S0-094: by size, on every replica at the same entry, and never the whole of it.
#[test]
fn what_is_retained_is_bounded_and_the_same_on_every_replica() {
    for storage in BOTH {
        let retention =
            Retention { memory_bytes: 8_192, backend_bytes: 8_192, ..Retention::tiny() };
        let mut world = World::retaining(3, 4, roomy(), storage, retention);
        let leader = world.elect();
        for n in 0..200 {
            let value = "7".repeat(1 + (n * 37) % 300);
            world.write(leader, put(&format!("a{}", n % 7), &value)).unwrap();
        }
        world.settle();
        let changes = all(&mut world, leader);
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        assert!((4_000..10_000).contains(&bytes), "{bytes} bytes in {} changes", changes.len());
        assert_eq!(changes.last().unwrap().sequence, Sequence(200));
        for at in 0..3 {
            assert_eq!(all(&mut world, at), changes);
            assert_eq!(world.told(at).0.len(), 200, "all was told when it happened");
        }
    }
}

/// a restart and a snapshot bring the changes with the rows, not more and not fewer.
#[test]
fn changes_outlast_restarts_and_come_with_snapshots() {
    for storage in BOTH {
        let (memory_bytes, backend_bytes) = (20_000, 20_000);
        let retention = Retention { memory_bytes, backend_bytes, ..Retention::production() };
        let mut world = World::retaining(3, 5, LogSizes::tiny(), storage, retention);
        let leader = world.elect();
        let away = (leader + 1) % 3;
        world.write(leader, put("a", "0")).unwrap();
        world.settle();
        world.crash(away);
        for n in 0..150 {
            world.write(leader, put(&format!("a{}", n % 9), &n.to_string())).unwrap();
        }
        let changes = all(&mut world, leader);
        world.restart(away);
        world.run_for(Duration::from_secs(3));
        assert_eq!(all(&mut world, away), changes);
        let (_, jumps) = world.told(away);
        assert!(jumps > 0, "it was sent a snapshot");
        for at in 0..3 {
            world.crash(at);
            world.restart(at);
        }
        world.run_for(Duration::from_secs(2));
        let last = Sequence(151);
        for at in 0..3 {
            let level = ReadLevel::Session { min: last };
            let (_, sequence) = world.changes(at, Since::Last, 0, level);
            assert_eq!(sequence, last);
            let again = all(&mut world, at);
            assert!(changes.ends_with(&again) && !again.is_empty());
        }
    }
}

/// DESIGN.md §4: a place in one history says nothing about another.
#[test]
fn every_replica_knows_the_lineage_and_another_cluster_has_another() {
    let lineage = |seed, nodes| {
        let mut world = World::with(nodes, seed, roomy(), Storage::Memory);
        let leader = world.elect();
        world.write(leader, put("a", "0")).unwrap();
        world.settle();
        let lineages = [0, 1, 2].map(|at| world.changes(at, Since::Last, 0, EVENTUAL).0.lineage);
        assert!(lineages.iter().all(|lineage| *lineage == lineages[0]));
        assert_ne!(lineages[0], Lineage::default());
        lineages[0]
    };
    assert_eq!(lineage(6, 3), lineage(7, 3), "the folders' numbers are the same");
    assert_ne!(lineage(6, 3), lineage(6, 5));
}
