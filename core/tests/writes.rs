//! Metadata, ends, atomic batches and sessions, from end to end.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{World, create, id, json, put};

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Backend];

fn content(value: &str, ttl: Option<u64>) -> Content {
    let metadata = Metadata::new([("of".to_owned(), value.to_owned())]).unwrap();
    Content { value: json(value), metadata, ttl: ttl.map(|ms| Ttl::new(ms).unwrap()) }
}

fn put_for(actor: &str, value: &str, ttl: Option<u64>) -> (ActorId, Operation) {
    (id(actor), Operation::Put { content: content(value, ttl) })
}

fn found(world: &mut World, at: usize, actor: &str) -> Option<Record> {
    match world.read(at, actor) {
        Ok(Answer::Read { record, .. }) => record,
        other => panic!("{other:?}"),
    }
}

fn batch(
    world: &mut World,
    at: usize,
    op: OpId,
    writes: Vec<(ActorId, Operation)>,
) -> effect::Response {
    let writes = writes.into_iter().map(|(id, operation)| Write { id, operation });
    let namespace = Namespace::new("things").unwrap();
    let work = Work::batch(writes.collect()).unwrap();
    world.ask(at, Request::Write { namespace, op: Some(op), work })
}

fn session(world: &mut World, at: usize) -> u128 {
    let namespace = Namespace::new("things").unwrap();
    match world.ask(at, Request::Session { namespace }) {
        Ok(Answer::Session(session)) => session,
        other => panic!("{other:?}"),
    }
}

/// Not before its end, soon after it, on all replicas alike; a later write decides anew.
#[test]
fn an_actor_ends_when_its_time_has_come() {
    for storage in BOTH {
        let mut world = World::with(3, 101, LogSizes::tiny(), storage);
        let leader = world.elect();
        world.write(leader, put_for("short", "1", Some(2_000))).unwrap();
        world.write(leader, put_for("longer", "2", Some(2_000))).unwrap();
        world.write(leader, put_for("stays", "3", Some(2_000))).unwrap();
        world.write(leader, put_for("longer", "4", Some(60_000))).unwrap();
        world.write(leader, put_for("stays", "5", None)).unwrap();
        world.run_for(Duration::from_millis(1_700));
        let before = found(&mut world, leader, "short").expect("its end has not come");
        assert_eq!(before.metadata().get("of"), Some("1"));
        world.run_for(Duration::from_millis(600));
        assert_eq!(found(&mut world, leader, "short"), None);
        let longer = found(&mut world, leader, "longer").unwrap();
        assert!(longer.expires().is_some());
        assert_eq!(found(&mut world, leader, "stays").unwrap().expires(), None);
        let sequence = world.group(leader).sequence;
        assert_eq!(sequence, Sequence(6), "the removal is a change");
        let again = world.write(leader, create("short", "6")).unwrap();
        assert_eq!(again.token().unwrap().created, Sequence(7));
        world.settle();
        let hashes: Vec<_> = (0..3).map(|at| world.group(at).state_hash).collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    }
}

/// What was there ends under the next leader, and after all have restarted.
#[test]
fn ends_survive_failover_and_restart() {
    for storage in BOTH {
        let mut world = World::with(3, 102, LogSizes::tiny(), storage);
        let leader = world.elect();
        world.write(leader, put_for("a", "1", Some(3_000))).unwrap();
        world.write(leader, put_for("b", "2", Some(12_000))).unwrap();
        for n in 0..200 {
            world.write(leader, put("fill", &n.to_string())).unwrap();
        }
        world.crash(leader);
        let next = world.elect();
        assert!(found(&mut world, next, "b").is_some());
        world.run_until(Duration::from_secs(20), |world| world.group(next).actors == 2);
        world.restart(leader);
        world.settle();
        world.restart_all();
        let last = world.elect();
        let b = found(&mut world, last, "b").expect("its end has not come");
        assert_eq!(b.metadata().get("of"), Some("2"), "a snapshot keeps it");
        world.run_until(Duration::from_secs(40), |world| world.group(last).actors == 1);
    }
}

/// Thousands that end at once go in many small entries, and nothing else is held up.
#[test]
fn many_ends_are_removed_a_few_at_a_time() {
    for storage in BOTH {
        let mut world = World::with(1, 103, LogSizes::tiny(), storage);
        let leader = world.elect();
        for n in 0..1_000 {
            world.write(leader, put_for(&format!("a{n}"), "1", Some(1))).unwrap();
        }
        world.run_until(Duration::from_secs(20), |world| world.group(leader).actors == 0);
        assert_eq!(world.group(leader).sequence, Sequence(2_000));
    }
}

#[test]
fn a_batch_happens_as_a_whole_whoever_is_asked() {
    for storage in BOTH {
        let mut world = World::with(3, 104, LogSizes::tiny(), storage);
        let leader = world.elect();
        let follower = (leader + 1) % 3;
        world.write(leader, put("old", "0")).unwrap();
        let op = world::op(1);
        let delete = || (id("old"), Operation::Delete { expected: None });
        let all = vec![put("a", "1"), put_for("b", "2", None), delete()];
        let done = batch(&mut world, follower, op.clone(), all.clone()).unwrap();
        let Answer::Done { outcome: Outcome::Batch(outcomes), replayed: false, .. } = &done else {
            panic!("{done:?}")
        };
        let places: Vec<_> = outcomes.iter().map(|one| one.sequence().unwrap().0).collect();
        assert_eq!(places, [2, 3, 4]);
        assert!(matches!(outcomes[2], Outcome::Removed { .. }));
        let again = batch(&mut world, leader, op.clone(), all).unwrap();
        assert!(matches!(again, Answer::Done { replayed: true, .. }), "{again:?}");
        let other = batch(&mut world, leader, op, vec![put("a", "1")]);
        assert_eq!(other, Err(Failure::Refused(Refusal::OpIdReused)));
        let refused = batch(&mut world, leader, world::op(2), vec![put("c", "1"), delete()]);
        let refusal = Refusal::InBatch { place: 1, refusal: Box::new(Refusal::NotFound) };
        assert_eq!(refused, Err(Failure::Refused(refusal)));
        assert_eq!(found(&mut world, leader, "c"), None);
        assert_eq!(found(&mut world, follower, "b").unwrap().metadata().get("of"), Some("2"));
        assert_eq!(world.group(leader).sequence, Sequence(4));
    }
}

/// S0-060, X-12: out of order, over failover and restart; what has left the window never runs again.
#[test]
fn a_session_is_exact_over_failover_and_restart() {
    for storage in BOTH {
        let mut world = World::with(3, 105, LogSizes::tiny(), storage);
        let leader = world.elect();
        let session = session(&mut world, (leader + 1) % 3);
        let name = |sequence| OpId::Session { session, sequence };
        for sequence in [3, 1, 2] {
            world.write_named(leader, name(sequence), put("a", &sequence.to_string())).unwrap();
        }
        for n in 0..150 {
            world.write(leader, put("fill", &n.to_string())).unwrap();
        }
        world.crash(leader);
        let next = world.elect();
        let again = world.write_named(next, name(1), put("a", "1")).unwrap();
        assert!(matches!(again, Answer::Done { replayed: true, .. }), "{again:?}");
        let other = world.write_named(next, name(1), put("a", "2"));
        assert_eq!(other, Err(Failure::Refused(Refusal::OpIdReused)));
        world.write_named(next, name(2 + limits::SESSION_WINDOW), put("a", "4")).unwrap();
        world.restart(leader);
        world.settle();
        world.restart_all();
        let last = world.elect();
        for sequence in [0, 1, 2] {
            let left = world.write_named(last, name(sequence), put("a", &sequence.to_string()));
            assert_eq!(left, Err(Failure::Refused(Refusal::SessionExpired)), "{sequence}");
        }
        let again = world.write_named(last, name(3), put("a", "3")).unwrap();
        assert!(matches!(again, Answer::Done { replayed: true, .. }), "{again:?}");
        assert_eq!(found(&mut world, last, "a").unwrap().token.version, Version(4));
        assert_eq!(world.group(last).sessions, 1);
    }
}
