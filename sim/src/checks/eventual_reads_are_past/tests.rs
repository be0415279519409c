use super::*;
use crate::checks::tests::{deleted, peeked, put, rejected, saw, unheard, written};

#[track_caller]
fn rejects(entries: &[Entry], words: &str) {
    let violation = rejected(check(entries), "eventual_reads_are_past", words);
    assert!(violation.about.is_some());
}

/// Two versions of actor 0, and one of actor 1.
fn two_versions() -> Vec<Entry> {
    vec![
        put(1, 0, (1, 2), written(1, 1, 1)),
        put(2, 0, (3, 4), written(1, 2, 2)),
        put(3, 1, (5, 6), written(3, 1, 3)),
    ]
}

fn and(more: &[Entry]) -> Vec<Entry> {
    [&two_versions()[..], more].concat()
}

#[test]
fn a_read_may_be_of_any_age() {
    let reads = [
        peeked(4, 0, (7, 8), None, 1),
        peeked(5, 0, (9, 10), Some((1, 1, 1)), 2),
        peeked(6, 0, (11, 12), Some((1, 2, 2)), 3),
        peeked(7, 0, (13, 14), Some((1, 1, 1)), 2),
        peeked(8, 1, (13, 14), None, 3),
        saw(9, 1, (15, 16), Some((3, 1, 3)), 4),
    ];
    check(&and(&reads)).unwrap();
}

#[test]
fn a_read_of_the_future_is_found() {
    let future = peeked(4, 0, (1, 2), Some((1, 2, 2)), 3);
    rejects(&and(&[future]), "op 2 was called only later");
    let unknown = [peeked(1, 0, (1, 2), Some((1, 1, 2)), 1), unheard(2, 0, 3)];
    rejects(&unknown, "op 2 was called only later");
    check(&[peeked(1, 0, (1, 2), Some((1, 1, 2)), 1), unheard(2, 0, 2)]).unwrap();
}

#[test]
fn a_version_other_than_its_writer_was_told_is_found() {
    let other = peeked(4, 0, (7, 8), Some((1, 3, 2)), 3);
    rejects(&and(&[other]), "but op 2 of client 2");
}

#[test]
fn a_read_going_back_is_found() {
    let later = peeked(4, 0, (7, 8), Some((1, 2, 2)), 3);
    let back = |applied| [later.clone(), peeked(5, 0, (9, 10), Some((1, 1, 1)), applied)];
    rejects(&and(&back(4)), "a later index shows an earlier version");
    rejects(&and(&back(3)), "one index shows two things");
    check(&and(&back(2))).expect("a replica that is behind");
}

#[test]
fn a_life_that_was_over_and_is_back_is_found() {
    let entries = |seen| {
        vec![
            put(1, 0, (1, 2), written(1, 1, 1)),
            unheard(2, 0, 3),
            peeked(3, 0, (5, 6), Some((1, 1, 1)), 2),
            peeked(4, 0, (7, 8), None, 3),
            peeked(5, 0, (9, 10), Some(seen), 5),
        ]
    };
    rejects(&entries((1, 2, 2)), "that life was over");
    check(&entries((3, 1, 2))).expect("another life");
}

#[test]
fn prefixes_of_two_actors_that_contradict_are_found() {
    // Index 3 holds sequence 3 of the one actor, so index 4 holds sequence 2 of the other.
    let reads = |applied| {
        [peeked(4, 1, (7, 8), Some((3, 1, 3)), 3), peeked(5, 0, (7, 8), Some((1, 1, 1)), applied)]
    };
    rejects(&and(&reads(4)), "does not hold sequence 2 (op 2");
    rejects(&and(&reads(3)), "does not hold sequence 2 (op 2");
    check(&and(&reads(2))).unwrap();
    // The same with a deletion that the read shows not to have happened.
    let deletion = |applied| {
        [
            deleted(4, 0, (7, 8), (1, 2, 2), 4),
            put(5, 1, (9, 10), written(3, 2, 5)),
            peeked(6, 1, (11, 12), Some((3, 2, 5)), 5),
            peeked(7, 0, (11, 12), Some((1, 2, 2)), applied),
        ]
    };
    rejects(&and(&deletion(6)), "does not hold sequence 4 (op 4");
    check(&and(&deletion(4))).unwrap();
}

#[test]
fn a_prefix_with_what_nobody_had_asked_yet_is_found() {
    // A read returned at time 2 cannot hold what was called at 3, so no lower index can.
    let reads =
        |applied| [peeked(4, 1, (1, 2), None, applied), peeked(5, 0, (7, 8), Some((1, 2, 2)), 3)];
    rejects(&and(&reads(3)), "does not hold sequence 2 (op 2");
    check(&and(&reads(2))).unwrap();
}

#[test]
fn a_linearizable_read_without_what_was_acknowledged_is_found() {
    // It shows an absent actor, which says nothing; but another read at its index lacks sequence 2.
    let reads =
        |applied| [saw(4, 2, (7, 8), None, 3), peeked(5, 0, (7, 8), Some((1, 1, 1)), applied)];
    rejects(&and(&reads(3)), "holds sequence 3 (op 3");
    check(&and(&reads(2))).unwrap();
}

#[test]
fn a_linearizable_read_behind_an_earlier_read_is_found() {
    let reads = |call, applied| {
        [peeked(4, 0, (7, 8), Some((1, 2, 2)), 4), saw(5, 1, (call, 12), Some((3, 1, 3)), applied)]
    };
    rejects(&and(&reads(9, 3)), "but before it was called: op 4");
    check(&and(&reads(9, 4))).unwrap();
    check(&and(&reads(8, 3))).expect("they overlap");
}
