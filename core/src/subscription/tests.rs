use std::collections::BTreeMap;

use super::model::{LINEAGE, Replica, Shard};
use super::*;
use crate::change::{ChangeKind, EventId, Fields};
use crate::message::LogPosition;
use crate::types::{ActorId, Json, Record, Token, Version};

/// An update of an actor.
pub(crate) fn change(sequence: u64, id: &str) -> Change {
    sized(sequence, id, 2)
}

/// One of an actor that holds so many bytes since.
pub(crate) fn sized(sequence: u64, id: &str, bytes: usize) -> Change {
    let token = |version| Token { created: Sequence(1), version: Version(version) };
    let value = Json::new(vec![b'1'; bytes]);
    Change::from(Fields {
        sequence: Sequence(sequence),
        id: ActorId::new(id).unwrap(),
        kind: ChangeKind::Update,
        event: EventId::new(None, Sequence(sequence)),
        time: Timestamp(1000 + sequence),
        position: LogPosition { term: 1, index: sequence },
        before: Some(Record::plain(token(1), Json::new(*b"0"))),
        after: Some(Record::plain(token(2), value)),
    })
}

/// A shard of so many changes, of the actors `0` to `9` in turn, those up to `compacted` forgotten,
/// and a replica that has it all and whose tail has none of it.
fn shard(last: u64, compacted: u64) -> (Shard, Replica) {
    let mut shard = Shard::new();
    (1..=last).for_each(|at| shard.put(&(at % 10).to_string()));
    shard.compacted.insert(Sequence(0), Sequence(compacted));
    (shard, Replica::new(Sequence(last)))
}

fn subscription(start: Start, policy: Policy, credit: u64) -> Subscription {
    let mut subscription = Subscription::new(Options { start, filter: Filter::default(), policy });
    subscription.grant(credit);
    subscription
}

fn filter(prefixes: &[&str], kinds: &[ChangeKind]) -> Filter {
    Filter::new(prefixes.iter().map(|one| (*one).to_owned()), kinds.iter().copied()).unwrap()
}

fn token(sequence: u64, scanned: Option<Scanned>) -> ResumeToken {
    ResumeToken { lineage: LINEAGE, sequence: Sequence(sequence), scanned }
}

fn id(id: &str) -> ActorId {
    ActorId::new(id).unwrap()
}

/// Answers what is asked until there is nothing more: what was delivered, how many questions there
/// were, and the end.
fn drive(
    subscription: &mut Subscription,
    shard: &Shard,
    replica: &mut Replica,
) -> (Vec<Delivery>, usize, Option<End>) {
    let (mut heard, mut asked) = (Vec::new(), 0);
    loop {
        match subscription.step(&replica.tail) {
            Step::Deliver(deliveries) => heard.extend(deliveries),
            Step::Ask(ask) => {
                assert_eq!(subscription.step(&replica.tail), Step::Ask(ask.clone()));
                asked += 1;
                if !replica.answer(shard, ask, usize::MAX, subscription) {
                    return (heard, asked, None);
                }
            }
            Step::Idle => return (heard, asked, None),
            Step::End(end) => return (heard, asked, Some(end)),
        }
    }
}

/// The places of the changes that were delivered.
fn places(heard: &[Delivery]) -> Vec<u64> {
    let place = |Delivery { token, item }: &Delivery| match item {
        Item::Change { change, .. } => {
            assert_eq!(token.sequence, change.sequence);
            Some(change.sequence.0)
        }
        Item::Snapshot { .. } | Item::SnapshotEnd { .. } | Item::Progress => None,
    };
    heard.iter().filter_map(place).collect()
}

/// S0-078, S0-080: each start, at each edge of what is retained.
#[test]
fn a_start_is_exact_at_every_edge() {
    let gone = |asked| Err(End::Compacted { first: Sequence(6), asked: Sequence(asked) });
    let after = |at| Start::After(Sequence(at));
    let resume = |at| Start::Resume(token(at, None));
    let time = |at| Start::Time(Timestamp(at));
    // Of ten changes, five are gone. The time of each is a third of its place.
    let cases = [
        (0, gone(1)),
        (3, gone(4)),
        (4, gone(5)),
        (5, Ok(6..12)),
        (6, Ok(7..12)),
        (9, Ok(10..12)),
        (10, Ok(11..12)),
        (11, Ok(12..12)),
        (u64::MAX, Ok(12..12)),
    ];
    let cases = cases
        .into_iter()
        .flat_map(|(at, expected)| [(after(at), expected.clone()), (resume(at), expected)]);
    let others = [
        (Start::Now, Ok(11..12)),
        // The sixth is the first of its time that is here, but others of that time or later may be gone.
        (time(0), gone(5)),
        (time(2), gone(5)),
        (time(3), Ok(9..12)),
        (time(4), Ok(11..12)),
        (time(1_000), Ok(11..12)),
    ];
    for (start, expected) in cases.chain(others) {
        let (mut shard, mut replica) = shard(10, 5);
        let mut subscription = subscription(start.clone(), Policy::Pause, 100);
        let (mut heard, _, mut end) = drive(&mut subscription, &shard, &mut replica);
        if end.is_none() {
            shard.put("x");
            replica.apply(&shard, Sequence(11));
            let more = drive(&mut subscription, &shard, &mut replica);
            heard.extend(more.0);
            end = more.2;
        }
        let told = end.map_or(Ok(places(&heard)), Err);
        assert_eq!(told, expected.map(Iterator::collect), "{start:?}");
    }
}

/// A place that is yet to come is waited for, and nothing before it is told.
#[test]
fn a_place_in_the_future_is_waited_for() {
    let (mut shard, mut replica) = shard(10, 0);
    let mut ahead = subscription(Start::Resume(token(12, None)), Policy::Disconnect, 100);
    for at in 11..=14 {
        assert_eq!(drive(&mut ahead, &shard, &mut replica).0, []);
        shard.put("x");
        replica.apply(&shard, Sequence(at.min(12)));
    }
    replica.apply(&shard, Sequence(14));
    assert_eq!(places(&drive(&mut ahead, &shard, &mut replica).0), [13, 14]);
}

/// PEERS C 25: a token says which history it counts in.
#[test]
fn a_token_of_another_history_is_refused_and_says_so() {
    let (shard, mut replica) = shard(10, 0);
    for (at, scanned) in [(4, None), (4_000, None), (4, Some(Scanned::Nothing))] {
        let other = ResumeToken { lineage: Lineage(3), ..token(at, scanned) };
        let mut subscription = subscription(Start::Resume(other), Policy::Pause, 100);
        let (heard, asked, end) = drive(&mut subscription, &shard, &mut replica);
        let wrong = End::OtherLineage { asked: Lineage(3), found: LINEAGE };
        assert_eq!((heard, asked, end), (vec![], 1, Some(wrong)));
    }
    let mut weak = subscription(Start::After(Sequence(4)), Policy::Pause, 100);
    let (heard, ..) = drive(&mut weak, &shard, &mut replica);
    assert_eq!((places(&heard), weak.token()), ((5..=10).collect(), Some(token(10, None))));
}

/// A replica that was just made does not know its history: one that does is asked, and its silence is
/// not taken for another history.
#[test]
fn a_replica_that_knows_nothing_yet_is_asked_again() {
    let mut subscription = subscription(Start::Resume(token(4, None)), Policy::Pause, 100);
    let level = |step| match step {
        Step::Ask(Ask::Changes { level, .. }) => level,
        other => panic!("{other:?}"),
    };
    let first = level(subscription.step(&Tail::default()));
    assert_eq!(first, ReadLevel::Session { min: Sequence(0) });
    let (lineage, first, after) = (Lineage::default(), Sequence(1), Sequence(4));
    subscription.answered_changes(Changes { lineage, first, after, changes: vec![] });
    assert_eq!(level(subscription.step(&Tail::default())), ReadLevel::Linearizable);
}

/// B-09: from history to the tail, and back when the tail has jumped, with nothing lost or repeated.
#[test]
fn the_hand_over_between_store_and_tail_has_no_seam() {
    let (mut shard, mut replica) = shard(600, 0);
    let mut subscription = subscription(Start::After(Sequence(0)), Policy::Pause, 10_000);
    let mut told = Vec::new();
    let (heard, asked, _) = drive(&mut subscription, &shard, &mut replica);
    told.extend(places(&heard));
    assert_eq!((told.len(), asked), (600, 3), "three pages");
    let mut more = |shard: &mut Shard, replica: &mut Replica, jump: bool| {
        (0..300).for_each(|_| shard.put("x"));
        let last = shard.last();
        if jump {
            replica.jump(last)
        } else {
            replica.apply(shard, last)
        }
        let (heard, asked, _) = drive(&mut subscription, shard, replica);
        told.extend(places(&heard));
        asked
    };
    assert_eq!(more(&mut shard, &mut replica, false), 0, "all from the tail");
    assert_eq!(more(&mut shard, &mut replica, true), 2, "the tail has jumped");
    assert_eq!(more(&mut shard, &mut replica, false), 0);
    assert!(told.into_iter().eq(1..=1_500));
}

/// S0-081, X-15: a filter is changed on a live subscription; what is passed still moves the token.
#[test]
fn a_filter_changes_from_the_next_change_on() {
    let (mut shard, mut replica) = shard(0, 0);
    let mut subscription = subscription(Start::Now, Policy::Pause, 100);
    subscription.set_filter(filter(&["a"], &[]));
    assert_eq!(drive(&mut subscription, &shard, &mut replica).0, []);
    let mut tell = |subscription: &mut Subscription| {
        ["a/1", "b/1"].into_iter().for_each(|one| shard.put(one));
        replica.apply(&shard, shard.last());
        places(&drive(subscription, &shard, &mut replica).0)
    };
    assert_eq!(tell(&mut subscription), [1]);
    let mark = subscription.progress().unwrap();
    assert_eq!((mark.item, mark.token), (Item::Progress, token(2, None)));
    assert_eq!(subscription.progress(), None, "it is known");
    subscription.set_filter(filter(&["b"], &[]));
    assert_eq!(tell(&mut subscription), [4]);
    subscription.set_filter(filter(&[], &[ChangeKind::Create]));
    assert_eq!(tell(&mut subscription), []);
    assert_eq!((subscription.token(), subscription.credit), (Some(token(6, None)), 98));
}

/// S0-083: one credit, one item; a mark is free; too much credit is as much as there can be.
#[test]
fn no_more_is_told_than_was_granted() {
    for policy in [Policy::Pause, Policy::Disconnect, Policy::Conflate] {
        let (shard, mut replica) = shard(30, 0);
        let mut subscription = subscription(Start::Beginning, policy, 0);
        assert_eq!(drive(&mut subscription, &shard, &mut replica).0, []);
        let mut told = 0;
        for credit in [1, 0, 2, 3, 0, 4] {
            subscription.grant(credit);
            told += drive(&mut subscription, &shard, &mut replica).0.len() as u64;
            subscription.progress();
            assert_eq!(subscription.credit, 0);
        }
        assert_eq!(told, 10, "{policy:?}");
        subscription.grant(u64::MAX);
        subscription.grant(u64::MAX);
        let (heard, ..) = drive(&mut subscription, &shard, &mut replica);
        let end = Item::SnapshotEnd { sequence: Sequence(30) };
        assert_eq!(heard, [Delivery { token: token(30, None), item: end }]);
    }
}

#[test]
fn a_step_delivers_a_bounded_batch() {
    let (mut tail, mut after) = (Tail::default(), Start::After(Sequence(0)));
    for (bytes, most) in [(2, limits::DELIVERIES_MAX), (100_000, 3)] {
        tail.push(tail.last(), (1..=600).map(|at| sized(at, "a", bytes)).collect());
        let mut subscription = subscription(after.clone(), Policy::Pause, u64::MAX);
        assert!(matches!(subscription.step(&tail), Step::Ask(_)));
        let (first, changes) = (Sequence(1), vec![]);
        let page = Changes { lineage: LINEAGE, first, after: subscription.at, changes };
        subscription.answered_changes(page);
        let Step::Deliver(batch) = subscription.step(&tail) else { panic!("it is there") };
        let expected: Vec<_> = (1..=most as u64).map(|at| at + subscription.at.0).collect();
        assert_eq!(places(&batch).len(), expected.len());
        (tail, after) = (Tail::default(), Start::After(Sequence(450)));
    }
}

/// pause reads nothing without credit and holds nothing, however far behind it is.
#[test]
fn pause_waits_and_holds_nothing() {
    let (mut shard, mut replica) = shard(10, 0);
    let mut paused = subscription(Start::Now, Policy::Pause, 1);
    drive(&mut paused, &shard, &mut replica);
    (0..5_000).for_each(|_| shard.put("x"));
    replica.apply(&shard, shard.last());
    assert_eq!(places(&drive(&mut paused, &shard, &mut replica).0), [11]);
    assert_eq!(paused.step(&replica.tail), Step::Idle);
    assert_eq!((paused.waiting.len(), paused.history.last()), (0, Sequence(0)));
    paused.grant(5_000);
    assert!(places(&drive(&mut paused, &shard, &mut replica).0).into_iter().eq(12..=5_010));
}

/// as many as may wait do; one more ends it, with the place to go on from. What is not wanted
/// does not wait.
#[test]
fn disconnect_ends_with_one_too_many() {
    let most = limits::SUBSCRIBER_CHANGES_MAX as u64;
    let (mut shard, mut replica) = shard(10, 0);
    let mut late = subscription(Start::Now, Policy::Disconnect, 5);
    late.set_filter(filter(&["x"], &[]));
    drive(&mut late, &shard, &mut replica);
    (0..most + 5).for_each(|_| ["x", "y"].into_iter().for_each(|one| shard.put(one)));
    replica.apply(&shard, shard.last());
    let (heard, _, end) = drive(&mut late, &shard, &mut replica);
    assert_eq!((heard.len(), end), (5, None));
    assert_eq!(late.lag as u64, most);
    // What it takes makes room for as much.
    late.grant(3);
    drive(&mut late, &shard, &mut replica);
    assert_eq!(late.lag as u64, most - 3);
    let mut more = |count: u64| {
        (0..count).for_each(|_| shard.put("x"));
        replica.apply(&shard, shard.last());
        drive(&mut late, &shard, &mut replica).2
    };
    assert_eq!(more(3), None);
    let here = token(10 + 2 * 8 - 1, None);
    assert_eq!(more(1), Some(End::Lagged { token: here.clone() }));
    let mut again = subscription(Start::Resume(here), Policy::Disconnect, 1);
    let (heard, _, end) = drive(&mut again, &shard, &mut replica);
    assert_eq!((places(&heard), end), (vec![26], None), "it was not level yet");
}

/// the latest of each actor, in the order of the shard, from before the first left out.
#[test]
fn conflate_tells_the_latest_of_each_actor() {
    let (mut shard, mut replica) = shard(0, 0);
    let mut slow = subscription(Start::Now, Policy::Conflate, 1);
    drive(&mut slow, &shard, &mut replica);
    let tell = |shard: &mut Shard, replica: &mut Replica, slow: &mut Subscription| {
        replica.apply(shard, shard.last());
        drive(slow, shard, replica).0
    };
    ["a", "b", "a", "c"].into_iter().for_each(|one| shard.put(one));
    assert_eq!(places(&tell(&mut shard, &mut replica, &mut slow)), [1], "there was credit");
    ["b", "a", "d"].into_iter().for_each(|one| shard.put(one));
    shard.delete("c");
    shard.delete("a");
    shard.put("a");
    let last = shard.last();
    assert_eq!((last, tell(&mut shard, &mut replica, &mut slow)), (Sequence(10), vec![]));
    assert_eq!(slow.waiting.len(), 4);
    // All up to the first that waits is told, or comes later.
    assert_eq!(slow.progress().unwrap().token, token(4, None));
    slow.grant(3);
    let heard = drive(&mut slow, &shard, &mut replica).0;
    assert_eq!((places(&heard), slow.token()), (vec![5, 7, 8], Some(token(9, None))));
    slow.grant(1);
    let heard = [heard, drive(&mut slow, &shard, &mut replica).0].concat();
    let row = |at: u64, one: &str| shard.state(Sequence(at)).get(&id(one)).cloned();
    let expected = [
        (5, "b", ChangeKind::Create, None, row(5, "b"), 1),
        (7, "d", ChangeKind::Create, None, row(7, "d"), 0),
        (8, "c", ChangeKind::Delete, None, None, 1),
        (10, "a", ChangeKind::Update, row(1, "a"), row(10, "a"), 3),
    ];
    let told = heard.into_iter().map(|delivery| match delivery.item {
        Item::Change { change, conflated } => (change, conflated),
        other => panic!("{other:?}"),
    });
    for ((change, conflated), (at, one, kind, before, after, left_out)) in told.zip(expected) {
        assert_eq!((change.sequence.0, change.id.as_str(), change.kind), (at, one, kind));
        assert_eq!((&change.before, &change.after), (&before, &after), "{at}");
        assert_eq!((conflated, change.event), (left_out, shard.changes[at as usize - 1].event));
    }
    assert_eq!(slow.token(), Some(token(10, None)));
}

/// what conflate keeps is bounded by count and by bytes; then it reads no further.
#[test]
fn conflate_is_bounded() {
    let mut tail = Tail::default();
    tail.push(Sequence(0), (1..=3_000).map(|at| change(at, &at.to_string())).collect());
    let mut slow = subscription(Start::After(Sequence(0)), Policy::Conflate, 0);
    let open = |subscription: &mut Subscription, tail: &Tail| {
        assert!(matches!(subscription.step(tail), Step::Ask(_)));
        let (first, after, changes) = (Sequence(1), Sequence(0), vec![]);
        subscription.answered_changes(Changes { lineage: LINEAGE, first, after, changes });
        assert_eq!(subscription.step(tail), Step::Idle);
    };
    open(&mut slow, &tail);
    assert_eq!(slow.waiting.len(), limits::SUBSCRIBER_CHANGES_MAX);
    slow.grant(1_500);
    let mut told = Vec::new();
    while let Step::Deliver(batch) = slow.step(&tail) {
        told.extend(places(&batch));
    }
    assert!(told.into_iter().eq(1..=1_500), "nothing was lost");

    let mut tail = Tail::default();
    tail.push(Sequence(0), (1..=20).map(|at| sized(at, &at.to_string(), 200_000)).collect());
    let mut slow = subscription(Start::After(Sequence(0)), Policy::Conflate, 0);
    open(&mut slow, &tail);
    assert_eq!(slow.waiting.len(), 6);
    assert!(slow.waiting.bytes() < limits::SUBSCRIBER_BYTES_MAX + 201_000);
}

/// S0-079, X-18: a snapshot while the shard changes. Of what was told, changes; of the rest, rows.
#[test]
fn a_snapshot_tells_changes_of_what_was_told_alone() {
    let mut shard = Shard::new();
    ["a", "b", "c", "d"].into_iter().for_each(|one| shard.put(one));
    let mut replica = Replica::new(Sequence(4));
    let mut subscription = subscription(Start::Beginning, Policy::Pause, 2);
    let mut heard = drive(&mut subscription, &shard, &mut replica).0;
    // Behind the cursor: one that was told, one that was not there. Ahead: one changes, one goes.
    ["a", "aa", "d"].into_iter().for_each(|one| shard.put(one));
    shard.delete("c");
    replica.apply(&shard, Sequence(8));
    subscription.grant(100);
    heard.extend(drive(&mut subscription, &shard, &mut replica).0);
    let up_to = |one: &str| Some(Scanned::UpTo(id(one)));
    let row = |at: u64, one: &str| Item::Snapshot {
        id: id(one),
        record: shard.state(Sequence(at)).get(&id(one)).unwrap().clone(),
    };
    let told = |at: usize| Item::Change { change: shard.changes[at - 1].clone(), conflated: 0 };
    let expected = [
        (token(4, up_to("a")), row(4, "a")),
        (token(4, up_to("b")), row(4, "b")),
        (token(5, up_to("b")), told(5)),
        (token(6, up_to("b")), told(6)),
        (token(8, up_to("d")), row(8, "d")),
        (token(8, None), Item::SnapshotEnd { sequence: Sequence(8) }),
    ];
    assert_eq!(heard, expected.map(|(token, item)| Delivery { token, item }));
}

/// a snapshot that waited too long between two pages says so; one that has told nothing yet
/// lost nothing.
#[test]
fn a_snapshot_that_waits_too_long_is_compacted() {
    let up_to = Some(Scanned::UpTo(id("3")));
    for (scanned, is_gone) in [(up_to, true), (Some(Scanned::Nothing), false)] {
        let (shard, mut replica) = shard(30, 20);
        let start = Start::Resume(token(4, scanned));
        let mut subscription = subscription(start, Policy::Pause, 100);
        let (heard, _, end) = drive(&mut subscription, &shard, &mut replica);
        let gone = End::Compacted { first: Sequence(21), asked: Sequence(5) };
        assert_eq!(end, is_gone.then_some(gone));
        assert_eq!(heard.len(), if is_gone { 0 } else { 11 });
    }
}

/// A snapshot with one prefix looks at that prefix alone, and keeps to one page at a time.
#[test]
fn a_snapshot_asks_for_what_is_wanted() {
    let (shard, mut replica) = shard(10, 0);
    let mut subscription = subscription(Start::Beginning, Policy::Pause, 7);
    let mut scans = Vec::new();
    let mut wanted = vec![filter(&["7"], &[]), filter(&["5", "7"], &[])].into_iter();
    subscription.set_filter(wanted.next().unwrap());
    while scans.len() < 2 {
        match subscription.step(&replica.tail) {
            Step::Ask(ask) => {
                if let Ask::Page { scan, .. } = &ask {
                    scans.push((scan.prefix.clone(), scan.limit));
                    // What was asked for before is not all that is wanted now: it is asked anew.
                    wanted.next().into_iter().for_each(|next| subscription.set_filter(next));
                }
                replica.answer(&shard, ask, usize::MAX, &mut subscription);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scans, [("7".to_owned(), 7), (String::new(), limits::SUBSCRIBER_ACTORS_MAX)]);
    let (heard, ..) = drive(&mut subscription, &shard, &mut replica);
    assert_eq!(heard.len(), 3);
}

/// S0-080, S0-088: from every token of a run, on a replica that is elsewhere, to the same end.
#[test]
fn every_token_leads_to_the_same_end() {
    type Held = BTreeMap<ActorId, Record>;
    let fold = |held: &mut Held, item: &Item| match item {
        Item::Change { change, .. } => {
            assert_eq!(held.get(&change.id), change.before.as_ref());
            held.remove(&change.id);
            held.extend(change.after.clone().map(|record| (change.id.clone(), record)));
        }
        Item::Snapshot { id, record } => {
            assert!(held.insert(id.clone(), record.clone()).is_none(), "{id} is told twice");
        }
        Item::SnapshotEnd { .. } | Item::Progress => {}
    };
    let (mut shard, mut replica) = shard(40, 0);
    let mut first = subscription(Start::Beginning, Policy::Pause, 0);
    let (mut held, mut marks) = (Held::new(), Vec::new());
    for at in 0..60 {
        first.grant(2);
        for Delivery { token, item } in drive(&mut first, &shard, &mut replica).0 {
            fold(&mut held, &item);
            marks.push((token, held.clone()));
        }
        match at % 3 {
            0 => shard.delete(&(at % 7).to_string()),
            _ => shard.put(&(at % 11).to_string()),
        }
        replica.apply(&shard, shard.last());
    }
    let (scans, lives): (Vec<_>, Vec<_>) =
        marks.iter().partition(|(token, _)| token.scanned.is_some());
    assert!(scans.len() > 10 && lives.len() > 10, "{} and {}", scans.len(), lives.len());
    let all: Held = shard.state(shard.last()).clone().into_iter().collect();
    for (token, held) in &marks {
        for applied in [Sequence(0), token.sequence, shard.last()] {
            let (mut other, mut held) = (Replica::new(applied), held.clone());
            let mut next = subscription(Start::Resume(token.clone()), Policy::Pause, u64::MAX);
            let mut heard = drive(&mut next, &shard, &mut other).0;
            other.apply(&shard, shard.last());
            heard.extend(drive(&mut next, &shard, &mut other).0);
            heard.iter().for_each(|delivery| fold(&mut held, &delivery.item));
            assert_eq!(held, all, "from {token} at {applied}");
            assert!(places(&heard).iter().all(|place| *place > token.sequence.0));
        }
    }
}
