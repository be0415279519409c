//! A cluster that goes on from a backup: one node has it, the others are taken in one by one.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{GROUP, World, create, id, json, op, put};

const LONG: Duration = Duration::from_secs(10);

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Backend];

fn world(nodes: u64, seed: u64, storage: Storage) -> World {
    let sizes = LogSizes { segment_bytes: 16 * 1024 * 1024, ..LogSizes::tiny() };
    World::with(nodes, seed, sizes, storage)
}

/// What was there when the backup was made.
struct Before {
    backup: Vec<u8>,
    status: GroupStatus,
    created: Response,
    refused: Response,
    token: Token,
}

fn token(response: &Response) -> Token {
    match response {
        Ok(Answer::Done { outcome: Outcome::Written { token, .. }, .. }) => *token,
        other => panic!("{other:?}"),
    }
}

/// A cluster of three with a history, and its backup.
fn before(storage: Storage) -> Before {
    let mut world = world(3, 71, storage);
    let leader = world.elect();
    for n in 0..300 {
        world.write(leader, put(&format!("a{}", n % 90), &format!("{n}"))).unwrap();
    }
    world.write(leader, (id("a7"), Operation::Delete { expected: None })).unwrap();
    let created = world.write_named(leader, op(1), create("named", "1"));
    let refused = world.write_named(leader, op(2), create("named", "2"));
    let token = token(&world.write(leader, put("a5", "5")));
    world.settle();
    let backup = world.backup(leader);
    for at in 0..3 {
        assert_eq!(world.backup(at), backup, "every replica gives the same");
    }
    Before { backup, status: world.group(leader), created, refused, token }
}

fn is_replay_of(again: &Response, first: &Response) -> bool {
    match (again, first) {
        (
            Ok(Answer::Done { op: again, outcome, replayed: true, .. }),
            Ok(Answer::Done { op: first, outcome: recorded, .. }),
        ) => again == first && outcome == recorded,
        (again, first) => again.is_err() && again == first,
    }
}

fn is_whole(world: &World) -> bool {
    let everybody = world.everybody();
    (0..everybody.len()).all(|at| {
        let groups = world.replica(at).status().groups;
        groups.first().is_some_and(|group| group.voters == everybody && group.learners.is_empty())
    })
}

/// Nothing that clients hold has lost its meaning.
fn assert_goes_on(world: &mut World, at: usize, before: &Before) {
    let created = world.write_named(at, op(1), create("named", "1"));
    assert!(is_replay_of(&created, &before.created), "{created:?}");
    let refused = world.write_named(at, op(2), create("named", "2"));
    assert!(is_replay_of(&refused, &before.refused), "{refused:?}");
    let swap = |expected, value: &str| {
        (
            id("a5"),
            Operation::CompareAndSwap {
                content: json(value).into(),
                expected: Expected::Token(expected),
            },
        )
    };
    let wrong = Token { version: Version(before.token.version.0 + 1), ..before.token };
    let refused = world.write(at, swap(wrong, "6"));
    let conflict = matches!(refused, Err(Failure::Refused(Refusal::Conflict { .. })));
    assert!(conflict, "{refused:?}");
    let next = token(&world.write(at, swap(before.token, "6")));
    let expected = Version(before.token.version.0 + 1);
    assert_eq!(next, Token { created: before.token.created, version: expected });
    let gone = world.read(at, "a7");
    assert!(matches!(gone, Ok(Answer::Read { record: None, .. })), "{gone:?}");
}

fn assert_level(world: &mut World) {
    world.settle();
    let first = world.group(0);
    for at in 1..world.everybody().len() {
        let group = world.group(at);
        assert_eq!((group.applied, group.state_hash), (first.applied, first.state_hash));
        assert_eq!((group.actors, group.oplog_live), (first.actors, first.oplog_live));
        assert_eq!(group.diverged, None);
        assert_eq!(world.backup(at), world.backup(0));
    }
}

/// S0-144; also from memory into a backend and back.
#[test]
fn a_single_node_goes_on_where_the_backup_was_made() {
    for from in BOTH {
        let before = before(from);
        for to in BOTH {
            let mut world = world(1, 72, to);
            world.restore(0, &before.backup);
            world.run_until(LONG, |world| {
                world.replica(0).status().groups.first().is_some_and(|group| group.applied > 0)
            });
            let (was, is) = (&before.status, world.group(0));
            assert_eq!((is.sequence, is.committed_time), (was.sequence, was.committed_time));
            assert_eq!((is.actors, is.oplog_live), (was.actors, was.oplog_live));
            world.elect();
            assert_goes_on(&mut world, 0, &before);
            // And once more from its own folder.
            world.crash(0);
            world.restart(0);
            world.elect();
            let repeated = world.write_named(0, op(1), create("named", "1"));
            assert!(is_replay_of(&repeated, &before.created), "{repeated:?}");
            assert!(world.replica(0).status().formed);
        }
    }
}

/// The others start empty, meet, and are taken in one by one, whichever node has the backup; writes
/// go on meanwhile.
#[test]
fn three_nodes_grow_from_one_that_was_restored() {
    for storage in BOTH {
        let before = before(storage);
        for restored in 0..3 {
            let mut world = world(3, 73 + restored as u64, storage);
            world.restore(restored, &before.backup);
            let leader = world.elect();
            assert_eq!(leader, restored, "nobody else can begin the group");
            let mut sizes = vec![world.voters(restored).len()];
            for n in 0..2_000 {
                world.write(restored, put(&format!("new{}", n % 50), "1")).unwrap();
                let size = world.voters(restored).len();
                if sizes.last() != Some(&size) {
                    sizes.push(size);
                }
                if is_whole(&world) {
                    break;
                }
                world.run_for(Duration::from_millis(5));
            }
            assert!(is_whole(&world), "{storage:?} {restored}: {sizes:?}");
            assert_eq!(sizes, [1, 2, 3], "one at a time");
            assert_goes_on(&mut world, restored, &before);
            assert_level(&mut world);
            // Their votes count.
            world.crash(restored);
            let leader = world.elect();
            world.write(leader, put("after", "1")).unwrap();
            let read = world.read(leader, "a5");
            assert!(
                matches!(read, Ok(Answer::Read { record: Some(ref r), .. }) if *r.value() == json("6")),
                "{read:?}"
            );
        }
    }
}

/// Whoever crashes while the cluster grows, it grows on when that node is back, and nothing that was
/// acknowledged meanwhile is lost.
#[test]
fn a_crash_while_the_cluster_grows_is_harmless() {
    for storage in BOTH {
        let before = before(storage);
        for delay in (0..1_200).step_by(200) {
            for victim in 0..3 {
                let mut world = world(3, 80 + delay, storage);
                world.restore(0, &before.backup);
                world.run_for(Duration::from_millis(delay));
                let mut stored = Vec::new();
                if world.replica(0).status().groups.first().is_some_and(|g| g.role == Role::Leader)
                {
                    stored.extend(world.write(0, put("early", "1")).ok());
                }
                world.crash(victim);
                world.run_for(Duration::from_millis(300));
                world.restart(victim);
                world.run_until(2 * LONG, is_whole);
                let leader = world.elect();
                assert_goes_on(&mut world, leader, &before);
                if !stored.is_empty() {
                    let read = world.read(leader, "early");
                    assert!(matches!(read, Ok(Answer::Read { record: Some(_), .. })), "{read:?}");
                }
                assert_level(&mut world);
            }
        }
    }
}

/// A folder that nobody was restored into knows that the group has begun elsewhere.
#[test]
fn nobody_begins_a_restored_group_anew() {
    let before = before(Storage::Memory);
    let mut world = world(3, 75, Storage::Memory);
    world.restore(2, &before.backup);
    world.crash(2);
    world.run_for(LONG);
    for at in 0..2 {
        assert_eq!(world.group(at).head, 0);
        assert!(!world.replica(at).status().formed, "the lowest node waits for all others");
    }
    world.restart(2);
    world.run_until(2 * LONG, is_whole);
    assert!(world.trace.lines().all(|line| !line.contains("Formed")), "it was not founded");
    assert_eq!(world.group(0).actors, before.status.actors);
    assert!(world.replica(0).view(GROUP).is_some());
}

/// A damaged backup is no state, at whatever place it is damaged.
#[test]
fn a_cut_or_altered_backup_is_refused() {
    let Before { backup, .. } = before(Storage::Memory);
    let rehome = |bytes: &[u8]| {
        let origin = store::keys::Origin {
            cluster: ClusterId("other".to_owned()),
            group: GroupId(9),
            namespace: Namespace::new("elsewhere").unwrap(),
        };
        let founder = ReplicaId { node: NodeId(4), incarnation: Incarnation(5) };
        let mut rehome = snapshot::Rehome::new(origin, founder);
        let mut made = rehome.push(bytes)?;
        let (end, position) = rehome.finish()?;
        made.extend(end);
        Ok::<_, snapshot::SnapshotError>((made, position))
    };
    let header = |bytes: &[u8]| {
        let mut source = |from: u64, length: usize| {
            let from = (from as usize).min(bytes.len());
            Ok(bytes[from..(from + length).min(bytes.len())].to_vec())
        };
        snapshot::verify(&mut source).unwrap()
    };
    let (made, position) = rehome(&backup).unwrap();
    let (old, new) = (header(&backup), header(&made));
    assert_eq!((new.origin.group, new.origin.cluster.0.as_str()), (GroupId(9), "other"));
    let members = new.meta.members.clone().unwrap();
    assert_eq!(members.0, position);
    assert_eq!(members.1.configs.concat(), members.1.nodes);
    // Another history begins: what the old one tells is not its own.
    assert_ne!(new.meta.lineage, old.meta.lineage);
    let expected = store::Meta {
        members: new.meta.members.clone(),
        lineage: new.meta.lineage,
        compacted: old.meta.sequence,
        change_bytes: 0,
        ..old.meta
    };
    assert_eq!(new.meta, expected);
    for cut in (0..backup.len()).step_by(97) {
        assert!(rehome(&backup[..cut]).is_err(), "cut to {cut}");
    }
    for at in (0..backup.len()).step_by(53) {
        let mut altered = backup.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(rehome(&altered).is_err(), "altered at {at}");
    }
}
