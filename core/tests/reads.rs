//! The levels of reads, and scans: what each sees, what it waits for, and when it gives up.

mod world;

use std::time::Duration;

use understudy_core::*;
use world::{World, create, put};

const BOTH: [Storage; 2] = [Storage::Memory, Storage::Backend];

fn world(seed: u64, storage: Storage) -> World {
    let sizes = LogSizes { segment_bytes: 16 * 1024 * 1024, ..LogSizes::production() };
    World::with(3, seed, sizes, storage)
}

fn others(leader: usize) -> [usize; 2] {
    [(leader + 1) % 3, (leader + 2) % 3]
}

/// The ids of a page, and whether there are more.
#[track_caller]
fn page(response: &Response) -> (Vec<String>, bool) {
    match response {
        Ok(Answer::Scan { records, more, .. }) => {
            (records.iter().map(|(id, _)| id.to_string()).collect(), *more)
        }
        other => panic!("no page: {other:?}"),
    }
}

fn sequence(response: &Response) -> Sequence {
    response.as_ref().unwrap().sequence().unwrap()
}

#[track_caller]
fn value(response: &Response) -> String {
    match response {
        Ok(Answer::Read { record: Some(record), .. }) => {
            String::from_utf8(record.value().as_bytes().to_vec()).unwrap()
        }
        other => panic!("no actor: {other:?}"),
    }
}

#[test]
fn a_scan_shows_its_prefix_in_order_a_page_at_a_time_at_every_level_and_node() {
    for storage in BOTH {
        let mut world = world(1, storage);
        let leader = world.elect();
        let ids = ["b2", "a", "b", "b\u{e9}", "c", "b10", "b1", "B"];
        let last = ids.map(|id| sequence(&world.write(leader, create(id, "1")))).into_iter().max();
        world.settle();
        let min = last.unwrap();
        let levels = [
            ReadLevel::Linearizable,
            ReadLevel::Lease,
            ReadLevel::Session { min },
            ReadLevel::Eventual,
        ];
        for level in levels {
            for at in 0..3 {
                let all = world.scan(at, ("", None, 100), level);
                let sorted = ["B", "a", "b", "b1", "b10", "b2", "b\u{e9}", "c"];
                assert_eq!(page(&all), (sorted.map(str::to_owned).to_vec(), false));
                assert_eq!(sequence(&all), min);
                let first = world.scan(at, ("b", None, 2), level);
                assert_eq!(page(&first), (vec!["b".to_owned(), "b1".to_owned()], true));
                let second = world.scan(at, ("b", Some("b1"), 2), level);
                assert_eq!(page(&second), (vec!["b10".to_owned(), "b2".to_owned()], true));
                let third = world.scan(at, ("b", Some("b2"), 2), level);
                assert_eq!(page(&third), (vec!["b\u{e9}".to_owned()], false));
                // What is behind need not be there, nor be in the prefix.
                let odd = world.scan(at, ("b1", Some("a"), 0), level);
                assert_eq!(page(&odd), (vec!["b1".to_owned()], true));
                let end = world.scan(at, ("b", Some("bz"), usize::MAX), level);
                assert_eq!(page(&end), (vec!["b\u{e9}".to_owned()], false));
                let none = world.scan(at, ("b", Some("c"), 9), level);
                assert_eq!(page(&none), (vec![], false));
            }
        }
    }
}

#[test]
fn a_scan_shows_all_that_was_acknowledged_before_it_and_no_half_of_a_batch() {
    for storage in BOTH {
        let mut world = world(2, storage);
        let leader = world.elect();
        for round in 0..20 {
            let changes = (0..5).map(|n| put(&format!("a{n}"), &format!("{round}")));
            for response in world.write_together(leader, changes) {
                response.unwrap();
            }
            let seen = world.scan(others(leader)[0], ("a", None, 5), ReadLevel::Linearizable);
            let Ok(Answer::Scan { records, more, applied, .. }) = &seen else { panic!("{seen:?}") };
            assert!(!more && records.len() == 5);
            let text = format!("{round}");
            assert!(records.iter().all(|(_, record)| record.value().as_bytes() == text.as_bytes()));
            assert!(*applied >= 20.min(round));
        }
    }
}

#[test]
fn large_documents_make_a_page_short_and_none_is_skipped() {
    for storage in BOTH {
        let mut world = world(3, storage);
        let leader = world.elect();
        let large = format!("\"{}\"", "x".repeat(limits::VALUE_BYTES_MAX - 2));
        for n in 0..9 {
            world.write(leader, create(&format!("a{n}"), &large)).unwrap();
        }
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let answer = world.scan(leader, ("", after.as_deref(), 1_000), ReadLevel::Linearizable);
            let (ids, more) = page(&answer);
            assert!(ids.len() * limits::VALUE_BYTES_MAX <= limits::SCAN_BYTES_MAX + (1 << 20));
            seen.extend(ids.clone());
            pages += 1;
            if !more {
                break;
            }
            after = ids.last().cloned();
        }
        assert_eq!(seen, (0..9).map(|n| format!("a{n}")).collect::<Vec<_>>());
        assert!(pages >= 2);
    }
}

#[test]
fn a_session_read_waits_at_a_follower_for_what_the_session_wrote() {
    for storage in BOTH {
        let mut world = world(4, storage);
        let leader = world.elect();
        world.write(leader, create("a", "1")).unwrap();
        world.settle();
        let [behind, other] = others(leader);
        // It hears nothing any more, so it does not know of the next write.
        world.cut(leader, behind);
        world.cut(other, behind);
        let min = sequence(&world.write(leader, put("a", "2")));
        assert_eq!(value(&world.read_eventual(behind, "a")), "1");
        let read = world.send_read(behind, "a", ReadLevel::Session { min });
        world.run_for(Duration::from_millis(300));
        assert!(!world.has_answer(read), "it has not applied the write yet");
        world.heal();
        let answer = world.answer(read);
        assert_eq!(value(&answer), "2");
        assert!(sequence(&answer) >= min);
    }
}

#[test]
fn a_session_read_needs_no_leader_and_no_quorum() {
    let mut world = world(5, Storage::Memory);
    let leader = world.elect();
    let min = sequence(&world.write(leader, create("a", "1")));
    world.settle();
    let [first, second] = others(leader);
    world.crash(leader);
    world.crash(second);
    world.run_for(Duration::from_secs(2));
    assert_eq!(value(&world.read_at(first, "a", ReadLevel::Session { min })), "1");
    let scanned = world.scan(first, ("", None, 10), ReadLevel::Session { min });
    assert_eq!(page(&scanned).0, ["a"]);
}

/// Also what a session of another life of the cluster asks for, greater than all there ever was.
#[test]
fn a_session_read_of_what_does_not_come_says_so_at_its_deadline() {
    let mut world = world(6, Storage::Memory);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    let min = Sequence(u64::MAX);
    let read = world.read_at(leader, "a", ReadLevel::Session { min });
    assert_eq!(read, Err(Failure::Behind { min }));
    let failure = read.unwrap_err();
    assert_eq!((failure.code(), failure.certainty()), ("unavailable", Certainty::Refused));
    assert!(failure.to_string().contains(&min.to_string()));
}

/// A session read that is cancelled, or late, holds no room.
#[test]
fn session_reads_that_nobody_waits_for_any_more_make_room() {
    let mut world = world(7, Storage::Memory);
    let leader = world.elect();
    let level = ReadLevel::Session { min: Sequence(1_000_000) };
    for _ in 0..3 {
        let reads: Vec<_> =
            (0..limits::REQUESTS_MAX).map(|_| world.send_read(leader, "a", level)).collect();
        world.run_for(Duration::from_millis(5));
        assert_eq!(world.replica(leader).status().requests_live, limits::REQUESTS_MAX);
        for read in reads {
            world.cancel(leader, read);
        }
        world.run_for(Duration::from_millis(5));
        assert_eq!(world.replica(leader).status().requests_live, 0);
    }
    world.write(leader, create("a", "1")).unwrap();
}

/// Nobody is asked: the leader is cut off and does not know it yet.
#[test]
fn a_leader_answers_lease_reads_alone_while_nobody_else_can_lead() {
    for storage in BOTH {
        let mut world = world(8, storage);
        let leader = world.elect();
        world.write(leader, create("a", "1")).unwrap();
        world.settle();
        for other in others(leader) {
            world.cut(leader, other);
            world.cut(other, leader);
        }
        world.run_for(Duration::from_millis(100));
        let (lease, quorum) = (ReadLevel::Lease, ReadLevel::Linearizable);
        let [lease, quorum] = [lease, quorum].map(|level| world.send_read(leader, "a", level));
        world.run_for(Duration::from_millis(20));
        assert!(world.has_answer(lease) && !world.has_answer(quorum));
        assert_eq!(value(&world.answer(lease)), "1");
        world.run_for(Timing::production().promise());
        let late = world.send_read(leader, "a", ReadLevel::Lease);
        world.run_for(Duration::from_millis(20));
        assert!(!world.has_answer(late));
        assert_eq!(world.answer(late), Err(Failure::Unavailable));
    }
}

/// At any other node the leader is asked, and its lease will do.
#[test]
fn a_follower_asks_the_leader_for_a_lease_read() {
    let mut world = world(9, Storage::Memory);
    let leader = world.elect();
    world.write(leader, create("a", "1")).unwrap();
    for at in 0..3 {
        let read = world.read_at(at, "a", ReadLevel::Lease);
        assert_eq!(value(&read), "1");
        assert!(matches!(read, Ok(Answer::Read { age: Some(Duration::ZERO), .. })));
    }
}

/// The page is asked of the store right behind the write, and heard in the same turn as its failure.
#[test]
fn nobody_hears_what_a_store_shows_behind_a_failed_write() {
    let mut world = world(10, Storage::Backend);
    let leader = world.elect();
    let Sequence(last) = sequence(&world.write(leader, create("a", "1")));
    world.settle();
    world.fail_store(leader);
    let level = ReadLevel::Session { min: Sequence(last + 1) };
    let scan = world.send_scan(leader, ("", None, 9), level);
    let write = world.send(leader, create("b", "1"));
    world.settle();
    assert!(world.replica(leader).status().fatal);
    assert!(!world.has_answer(scan) && !world.has_answer(write));
    // The log has it, and a store that works shows it.
    world.crash(leader);
    world.restart(leader);
    world.elect();
    let all = world.scan(leader, ("", None, 9), ReadLevel::Linearizable);
    assert_eq!(page(&all).0, ["a", "b"]);
}
