mod generated;

use understudy_core::Refusal;

use super::*;
use crate::checks::tests::{
    change, create, deleted, exists, peeked, put, rejected, saw, token, unheard, written,
};

#[track_caller]
fn rejects(entries: &[Entry], words: &str) {
    let violation = rejected(check(entries), "linearizable", words);
    assert!(violation.about.is_some());
}

#[track_caller]
fn accepts(entries: &[Entry]) {
    assert_eq!(check(entries), Ok(0));
}

#[test]
fn a_stale_linearizable_read_is_found() {
    let of = |call| {
        [
            put(1, 0, (1, 2), written(1, 1, 1)),
            put(2, 0, (3, 6), written(1, 2, 2)),
            saw(3, 0, (call, 9), Some((1, 1, 1)), 2),
        ]
    };
    rejects(
        &of(7),
        "op 2 of client 2 (put document 2 on carts/a0): written as 1-2 at sequence 2; but called \
         after that was answered, op 3 of client 3 (read on carts/a0): saw document 1 at 1-1",
    );
    let about = check(&of(7)).unwrap_err().about;
    assert_eq!(about, Some(About { namespace: 0, actor: 0, ops: vec![1, 2, 3] }));
    accepts(&of(5));
}

#[test]
fn a_lost_acknowledged_write_is_found_by_the_last_read() {
    let of = |shown| [put(1, 0, (1, 2), written(1, 1, 1)), saw(2, 0, (9, 10), shown, 5)];
    rejects(&of(None), "but called after that was answered, op 2");
    accepts(&of(Some((1, 1, 1))));
}

#[test]
fn a_write_applied_twice_is_found() {
    let of = |shown| [put(1, 0, (1, 2), written(1, 1, 1)), saw(2, 0, (9, 10), shown, 5)];
    rejects(&of(Some((1, 2, 1))), "no order has a place for: op 2");
    accepts(&of(Some((1, 1, 1))));
}

#[test]
fn a_version_given_twice_is_found() {
    let of = |second| [put(1, 0, (1, 2), written(1, 1, 1)), put(2, 0, (3, 4), second)];
    rejects(&of(written(1, 1, 2)), "no order has a place for");
    rejects(&of(written(1, 3, 2)), "no order has a place for");
    rejects(&of(written(2, 2, 2)), "no order has a place for");
    accepts(&of(written(1, 2, 2)));
}

#[test]
fn a_read_going_back_is_found() {
    let of = |second| {
        [
            put(1, 0, (1, 2), written(1, 1, 1)),
            put(2, 0, (3, 20), written(1, 2, 2)),
            saw(3, 0, (5, 6), Some((1, 2, 2)), 2),
            saw(4, 0, (7, 8), second, 2),
        ]
    };
    rejects(&of(Some((1, 1, 1))), "op 4");
    accepts(&of(Some((1, 2, 2))));
}

#[test]
fn an_unknown_change_happens_once_and_stays() {
    let of = |first, second| {
        [
            put(1, 0, (1, 2), written(1, 1, 1)),
            unheard(2, 0, 3),
            saw(3, 0, (5, 6), first, 2),
            saw(4, 0, (7, 8), second, 2),
        ]
    };
    let (old, new) = (Some((1, 1, 1)), Some((1, 2, 2)));
    rejects(&of(new, old), "op 4");
    rejects(&of(new, Some((1, 3, 2))), "op 4");
    accepts(&of(old, old));
    accepts(&of(old, new));
    accepts(&of(new, new));
}

#[test]
fn an_unknown_change_fills_one_gap_only() {
    let of = |unknown: u64, version| {
        let last = put(9, 0, (7, 8), written(1, version, 5));
        let unknown = (2..2 + unknown).map(|number| unheard(number, 0, 3));
        let first = put(1, 0, (1, 2), written(1, 1, 1));
        [first].into_iter().chain(unknown).chain([last]).collect::<Vec<_>>()
    };
    rejects(&of(1, 4), "no order has a place for");
    rejects(&of(0, 3), "no order has a place for");
    accepts(&of(1, 3));
    accepts(&of(2, 4));
    accepts(&of(3, 4));
    // Five changes of one life up to sequence 5, and no place for a sixth.
    rejects(&of(6, 6), "no order has a place for");
}

#[test]
fn a_refusal_must_have_had_its_reason() {
    let of = |created, fate| [create(1, 0, (1, 2), created), create(2, 0, (3, 4), fate)];
    rejects(&of(written(1, 1, 1), exists(1, 2)), "op 2");
    rejects(&of(exists(1, 1), written(1, 1, 1)), "op 1");
    accepts(&of(written(1, 1, 1), exists(1, 1)));
    let swap = |fate| {
        let expected = Expected::Token(token(1, 1));
        let operation = Operation::CompareAndSwap { content: history::content(2), expected };
        [put(1, 0, (1, 2), written(1, 1, 1)), change(2, 0, (3, 4), operation, fate)]
    };
    let conflict = |found| {
        let expected = Expected::Token(token(1, 1));
        Fate::Outcome(understudy_core::Outcome::Refused(Refusal::Conflict { expected, found }))
    };
    rejects(&swap(conflict(None)), "op 2");
    rejects(&swap(conflict(Some(token(1, 2)))), "op 2");
    accepts(&swap(written(1, 2, 2)));
}

#[test]
fn another_life_begins_with_its_own_sequence() {
    let of = |second| {
        [
            put(1, 0, (1, 2), written(1, 1, 1)),
            deleted(2, 0, (3, 4), (1, 1, 1), 2),
            put(3, 0, (5, 6), second),
        ]
    };
    rejects(&of(written(1, 2, 3)), "op 3");
    rejects(&of(written(1, 1, 3)), "op 3");
    accepts(&of(written(3, 1, 3)));
}

#[test]
fn eventual_reads_claim_no_place_but_name_a_token() {
    let of = |peeked_at, shown| {
        [
            put(1, 0, (1, 2), written(1, 1, 1)),
            unheard(2, 0, 3),
            peeked(3, 0, (5, 6), Some(peeked_at), 2),
            saw(4, 0, (7, 8), Some(shown), 2),
        ]
    };
    accepts(&of((1, 1, 1), (1, 2, 2)));
    accepts(&of((1, 2, 2), (1, 2, 2)));
    rejects(&of((1, 3, 2), (1, 2, 2)), "op 4");
}

#[test]
fn fifty_changes_that_nobody_heard_of_are_not_entangled() {
    let mut entries = Vec::new();
    for round in 0..50 {
        let (at, number) = (round * 10, entries.len() as u64 + 1);
        entries.push(unheard(number, 0, at));
        entries.push(put(number + 1, 0, (at, at + 9), written(1, 2 * round + 1, 2 * round + 1)));
    }
    // The first change of the life cannot be an unknown one.
    accepts(&entries);
    let last = entries.len() as u64 + 1;
    entries.push(saw(last, 0, (900, 901), Some((1, 98, 2)), 100));
    rejects(&entries, "op 101");
}
