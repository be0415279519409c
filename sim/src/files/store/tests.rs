//! The store's model: what it shows, and what a crash leaves of it.

use std::collections::BTreeSet;

use understudy_core::Seed;

use super::*;

fn put(key: &str, value: u64) -> Change {
    Change::Put(key.into(), value.to_le_bytes().to_vec())
}

fn batch(changes: &[Change]) -> WriteBatch {
    WriteBatch { changes: changes.to_vec() }
}

fn write(store: &SimStore, changes: &[Change]) {
    store.write(&batch(changes)).expect("nothing is wrong with it");
}

fn keys(view: &dyn View) -> Vec<String> {
    let rows = view.scan(b"", b"~", usize::MAX).expect("it can be read");
    rows.into_iter().map(|(key, _)| String::from_utf8(key).expect("keys are text")).collect()
}

fn number(store: &SimStore, key: &str) -> Option<u64> {
    let value = store.get(key.as_bytes()).expect("it can be read")?;
    Some(u64::from_le_bytes(value.try_into().expect("values are numbers")))
}

#[test]
fn a_batch_is_visible_at_once_and_in_its_order() {
    let store = SimStore::new();
    write(&store, &[put("b", 1), put("a", 2), put("c", 3), put("d", 4)]);
    assert_eq!(keys(&store), ["a", "b", "c", "d"]);
    let range = |from: &str, until: &str| Change::DeleteRange(from.into(), until.into());
    write(&store, &[range("b", "d"), put("b", 5), Change::Delete("d".into()), range("z", "a")]);
    assert_eq!((keys(&store), number(&store, "b")), (vec!["a".into(), "b".into()], Some(5)));
    assert_eq!(number(&store, "c"), None);
}

#[test]
fn a_scan_is_bounded_on_all_sides() {
    let store = SimStore::new();
    write(&store, &[put("a", 1), put("b", 2), put("c", 3)]);
    let scan = |from: &[u8], until: &[u8], limit| {
        let rows = store.scan(from, until, limit).expect("it can be read");
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(scan(b"a", b"c", 9), [b"a", b"b"]);
    assert_eq!(scan(b"aa", b"z", 1), [b"b"]);
    assert!(scan(b"c", b"a", 9).is_empty());
    assert!(scan(b"a", b"a", 9).is_empty());
}

#[test]
fn a_snapshot_shows_what_was_whatever_is_written_meanwhile() {
    let store = SimStore::new();
    write(&store, &[put("a", 1)]);
    let view = store.snapshot().expect("it can be taken");
    write(&store, &[Change::Delete("a".into()), put("b", 2)]);
    store.crash(&mut Seed(1).rng());
    assert_eq!(keys(&*view), ["a"]);
}

#[test]
fn a_crash_falls_back_to_the_last_flush_or_to_any_batch_behind_it_and_to_the_middle_of_none() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let store = SimStore::new();
        for value in 0..3 {
            write(&store, &[put("a", value), put("b", value)]);
        }
        store.flush().expect("it works");
        assert_eq!(store.unflushed(), 0);
        for value in 3..7 {
            write(&store, &[put("a", value), put("b", value)]);
        }
        assert_eq!(store.unflushed(), 4);
        let lost = store.crash(&mut Seed(seed).rng());
        let left = number(&store, "a").expect("it was flushed");
        assert_eq!((number(&store, "b"), lost as u64), (Some(left), 6 - left));
        assert_eq!(store.unflushed(), 0);
        store.crash(&mut Seed(seed + 1).rng());
        assert_eq!(number(&store, "a"), Some(left), "what was left is durable");
        found.insert(left);
    }
    assert_eq!(found, BTreeSet::from([2, 3, 4, 5, 6]));
}

#[test]
fn a_damaged_store_says_so_at_every_read() {
    let store = SimStore::new();
    write(&store, &[put("a", 1)]);
    let view = store.snapshot().expect("it can be taken");
    store.set_damaged(true);
    for view in [&store as &dyn View, &*view] {
        assert!(view.get(b"a").unwrap_err().damaged);
        assert!(view.scan(b"a", b"b", 1).unwrap_err().damaged);
    }
    store.crash(&mut Seed(1).rng());
    assert!(store.get(b"a").is_err(), "a restart does not help");
    store.set_damaged(false);
    assert!(store.get(b"a").is_ok());
}

#[test]
fn a_store_that_has_failed_writes_nothing_more_before_it_is_opened_again() {
    let store = SimStore::new();
    write(&store, &[put("a", 1)]);
    store.fail_next();
    assert!(!store.flush().unwrap_err().damaged);
    assert!(store.write(&batch(&[put("a", 2)])).is_err());
    assert!(store.flush().is_err());
    assert_eq!(number(&store, "a"), Some(1), "it is still read");
    store.crash(&mut Seed(1).rng());
    write(&store, &[put("a", 3)]);
    store.flush().expect("it works again");
}
