//! What every [`Backend`] must do, as a suite to run against one.
//!
//! Give [`run`] a function that makes an empty backend; it panics with a sentence that says what the
//! backend did wrong. Where a backend keeps its rows over a restart, [`reopen`] is for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Backend, Change, Row, View, WriteBatch};

type Check = (&'static str, fn(&dyn Backend));

/// Checks a backend that `make` makes, empty, as often as it is asked.
///
/// # Panics
/// When the backend is not one.
pub fn run(make: &dyn Fn() -> Box<dyn Backend>) {
    let checks: [Check; 12] = [
        ("an empty backend is empty", empty),
        ("what was put is there, until it is put again", put_and_get),
        ("a deleted row is gone", delete),
        ("keys are any bytes, in the order of the bytes", order_of_keys),
        ("a scan keeps its bounds and its limit", scan_bounds),
        ("a range is removed from its first key to before its last", delete_range),
        ("the changes of a batch happen in their order", batch_order),
        ("a batch may be empty", empty_batch),
        ("a snapshot never changes", snapshot_isolation),
        ("a batch is seen whole or not at all", batch_atomicity),
        ("a value may be empty, and long", values),
        ("a flush takes nothing away", flush),
    ];
    for (name, check) in checks {
        let backend = make();
        let empty = scan_all(&*backend).is_empty();
        assert!(empty, "conformance, `{name}`: `make` must give an empty backend each time");
        check(&*backend);
    }
}

/// Checks a backend that keeps its rows. `open` opens the one that `place` names, creating it where
/// there is none; the former one of that name has been dropped by then. `crash` does to the place
/// what a crash of the machine would: what was not flushed may be lost.
///
/// # Panics
/// When rows are lost or half there.
pub fn reopen(open: &dyn Fn(&str) -> Box<dyn Backend>, crash: &dyn Fn(Box<dyn Backend>, &str)) {
    let backend = open("flushed");
    let rows: Vec<Row> = (0..500).map(|n| (number(n), vec![7; 100])).collect();
    for row in &rows {
        put(&*backend, &row.0, &row.1);
    }
    write(&*backend, vec![Change::DeleteRange(number(100), number(200))]);
    flushed(&*backend);
    let expected = scan_all(&*backend);
    assert_eq!(expected.len(), 400, "conformance: rows before the reopen");
    drop(backend);
    let backend = open("flushed");
    assert!(scan_all(&*backend) == expected, "conformance: rows after flush and reopen differ");
    drop(backend);

    // Each batch writes one number to every row, so that a half batch would show.
    let backend = open("crashed");
    for round in 0..200 {
        write_round(&*backend, round);
        if round == 50 {
            flushed(&*backend);
        }
    }
    crash(backend, "crashed");
    let backend = open("crashed");
    let round = one_round(&*backend, "after a crash");
    assert!(round.is_some_and(|round| round >= 50), "conformance: a crash lost what was flushed");
}

/// Rows that a round writes.
const ROUND_ROWS: u64 = 20;

fn write_round(backend: &dyn Backend, round: u64) {
    let change = |row| Change::Put(number(row), number(round));
    write(backend, (0..ROUND_ROWS).map(change).collect());
}

/// The round whose rows these are; they must all be of one.
fn one_round(view: &dyn View, when: &str) -> Option<u64> {
    let rows = scan_all(view);
    let (_, first) = rows.first()?;
    let whole = rows.len() == 20 && rows.iter().all(|(_, value)| value == first);
    assert!(whole, "conformance, {when}: a batch is there in part");
    let mut bytes = [0; 8];
    bytes.copy_from_slice(first);
    Some(u64::from_be_bytes(bytes))
}

// ---- the checks ----------------------------------------------------------------------------------

fn empty(backend: &dyn Backend) {
    assert_eq!(get(backend, b"a"), None, "conformance: a row nobody wrote");
    assert_eq!(get(backend, b""), None, "conformance: a row nobody wrote, of the empty key");
    assert!(scan_all(&*snapshot(backend)).is_empty(), "conformance: rows in an empty snapshot");
}

fn put_and_get(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    put(backend, b"ab", b"2");
    assert_eq!(get(backend, b"a").as_deref(), Some(&b"1"[..]), "conformance: put, then get");
    put(backend, b"a", b"3");
    assert_eq!(get(backend, b"a").as_deref(), Some(&b"3"[..]), "conformance: the later put counts");
    assert_eq!(get(backend, b"ab").as_deref(), Some(&b"2"[..]), "conformance: another key's row");
    assert_eq!(get(backend, b"abc"), None, "conformance: a longer key is another key");
    assert_eq!(get(backend, b""), None, "conformance: a shorter key is another key");
}

fn delete(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    put(backend, b"ab", b"2");
    write(backend, vec![Change::Delete(b"a".to_vec()), Change::Delete(b"nobody".to_vec())]);
    assert_eq!(get(backend, b"a"), None, "conformance: delete, then get");
    assert_eq!(keys(backend), [b"ab".to_vec()], "conformance: delete, then scan");
    put(backend, b"a", b"3");
    assert_eq!(get(backend, b"a").as_deref(), Some(&b"3"[..]), "conformance: put after delete");
}

/// Keys that a store which takes them for text, or for signed bytes, gets wrong.
fn awkward_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'k', byte]).collect();
    keys.extend([vec![0], vec![0, 0], vec![0, 0xff], vec![0xff], vec![0xff, 0], vec![0xff; 9]]);
    keys.extend([b"k".to_vec(), vec![b'k'; 2_000], b"a:b".to_vec(), vec![b'k', 0x7f, 0x80]]);
    keys
}

fn order_of_keys(backend: &dyn Backend) {
    let mut expected = awkward_keys();
    for key in &expected {
        put(backend, key, key);
    }
    expected.sort();
    assert!(keys(backend) == expected, "conformance: a scan is not in the order of the bytes");
    for key in &expected {
        let found = get(backend, key);
        assert!(found.as_ref() == Some(key), "conformance: the row of {key:?} is {found:?}");
    }
}

fn scan_bounds(backend: &dyn Backend) {
    let all: Vec<_> = (0..300).map(number).collect();
    for key in &all {
        put(backend, key, b"v");
    }
    let scan = |from: &[u8], until: &[u8], limit: usize| -> Vec<Vec<u8>> {
        let rows = backend.scan(from, until, limit);
        rows.expect("conformance: scan").into_iter().map(|(key, _)| key).collect()
    };
    let most = usize::MAX;
    assert!(scan(&all[7], &all[9], most) == all[7..9], "conformance: from is in, until is not");
    assert!(scan(&all[7], &all[7], most).is_empty(), "conformance: from = until is nothing");
    assert!(scan(&all[9], &all[7], most).is_empty(), "conformance: from > until is nothing");
    assert!(scan(&all[0], &[0xff], most) == all, "conformance: no limit");
    assert!(scan(&[], &[0xff], 10) == all[..10], "conformance: the limit cuts the end off");
    assert!(scan(&[], &[0xff], 0).is_empty(), "conformance: a limit of 0");
    let mut behind = all[7].clone();
    behind.push(0);
    assert!(scan(&behind, &all[9], most) == all[8..9], "conformance: bounds need not be keys");
    assert!(scan(&all[7], &behind, most) == all[7..8], "conformance: bounds need not be keys");
    let on_snapshot = snapshot(backend).scan(&all[3], &all[200], 50).expect("conformance: scan");
    let on_snapshot: Vec<_> = on_snapshot.into_iter().map(|(key, _)| key).collect();
    assert!(on_snapshot == all[3..53], "conformance: a scan of a snapshot");
}

fn delete_range(backend: &dyn Backend) {
    let all: Vec<_> = (0..100).map(number).collect();
    for key in &all {
        put(backend, key, b"v");
    }
    let remove = |from: &[u8], until: &[u8]| {
        write(backend, vec![Change::DeleteRange(from.to_vec(), until.to_vec())]);
    };
    remove(&all[20], &all[30]);
    let left = [&all[..20], &all[30..]].concat();
    assert!(keys(backend) == left, "conformance: the range's first key goes, its last stays");
    assert_eq!(get(backend, &all[25]), None, "conformance: get within a removed range");
    remove(&all[50], &all[50]);
    remove(&all[60], &all[50]);
    remove(&all[20], &all[30]);
    assert!(keys(backend) == left, "conformance: a range without rows removes nothing");
    put(backend, &all[25], b"w");
    assert!(get(backend, &all[25]).is_some(), "conformance: put into a removed range");
    remove(&[], &[0xff]);
    assert!(keys(backend).is_empty(), "conformance: all rows removed");
}

fn batch_order(backend: &dyn Backend) {
    let (a, b) = (b"a".to_vec(), b"b".to_vec());
    let to = |key: &Vec<u8>, value: &[u8]| Change::Put(key.clone(), value.to_vec());
    let range = || Change::DeleteRange(b"a".to_vec(), b"c".to_vec());
    write(backend, vec![to(&a, b"1"), to(&a, b"2")]);
    assert_eq!(get(backend, &a).as_deref(), Some(&b"2"[..]), "conformance: two puts in a batch");
    write(backend, vec![to(&b, b"1"), Change::Delete(b.clone())]);
    assert_eq!(get(backend, &b), None, "conformance: put, then delete in a batch");
    write(backend, vec![Change::Delete(a.clone()), to(&a, b"3")]);
    assert_eq!(get(backend, &a).as_deref(), Some(&b"3"[..]), "conformance: delete, then put");
    write(backend, vec![to(&b, b"4"), range(), to(&a, b"5")]);
    assert_eq!(get(backend, &b), None, "conformance: put, then delete of its range");
    assert_eq!(get(backend, &a).as_deref(), Some(&b"5"[..]), "conformance: range, then put");
}

fn empty_batch(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    write(backend, Vec::new());
    assert_eq!(keys(backend), [b"a".to_vec()], "conformance: an empty batch changes nothing");
}

fn snapshot_isolation(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    put(backend, b"b", b"1");
    let before = snapshot(backend);
    let rows = scan_all(&*before);
    put(backend, b"a", b"2");
    put(backend, b"c", b"2");
    write(backend, vec![Change::Delete(b"b".to_vec())]);
    let between = snapshot(backend);
    write(backend, vec![Change::DeleteRange(Vec::new(), vec![0xff])]);
    flushed(backend);
    assert!(scan_all(&*before) == rows, "conformance: a snapshot shows what was written later");
    assert_eq!(get(&*before, b"b").as_deref(), Some(&b"1"[..]), "conformance: get from a snapshot");
    assert_eq!(get(&*before, b"c"), None, "conformance: a snapshot shows what was written later");
    assert_eq!(scan_all(&*between).len(), 2, "conformance: a snapshot between two writes");
    assert!(scan_all(backend).is_empty(), "conformance: rows after all were removed");
}

/// One thread writes, others look.
fn batch_atomicity(backend: &dyn Backend) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let round = one_round(&*snapshot(backend), "in a snapshot while writing");
                    let round = round.unwrap_or(0);
                    assert!(round >= last, "conformance: a later snapshot shows an older state");
                    last = round;
                    let row = backend.get(&number(3)).expect("conformance: get while writing");
                    assert!(last == 0 || row.is_some(), "conformance: a row vanished");
                }
            });
        }
        // Set on the way out of a panic too, or the readers would never end.
        let _end = SetOnDrop(&done);
        for round in 1..400 {
            write_round(backend, round);
            let seen = one_round(&*snapshot(backend), "in the writer's own snapshot");
            assert!(seen == Some(round), "conformance: a write is visible when it returns");
        }
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn values(backend: &dyn Backend) {
    put(backend, b"empty", b"");
    assert_eq!(get(backend, b"empty").as_deref(), Some(&b""[..]), "conformance: an empty value");
    let long: Vec<u8> = (0_u8..=255).cycle().take(3 * 1024 * 1024 + 1).collect();
    put(backend, b"long", &long);
    assert!(get(backend, b"long").as_ref() == Some(&long), "conformance: a value of 3 MiB");
    let rows = scan_all(backend);
    assert_eq!(rows.len(), 2, "conformance: an empty value is a row");
    assert!(rows[1].1 == long, "conformance: a value of 3 MiB in a scan");
}

fn flush(backend: &dyn Backend) {
    flushed(backend);
    put(backend, b"a", b"1");
    flushed(backend);
    flushed(backend);
    put(backend, b"b", b"1");
    assert_eq!(keys(backend).len(), 2, "conformance: rows around a flush");
}

// ---- short words ---------------------------------------------------------------------------------

fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn write(backend: &dyn Backend, changes: Vec<Change>) {
    backend.write(&WriteBatch { changes }).expect("conformance: write");
}

fn put(backend: &dyn Backend, key: &[u8], value: &[u8]) {
    write(backend, vec![Change::Put(key.to_vec(), value.to_vec())]);
}

fn flushed(backend: &dyn Backend) {
    backend.flush().expect("conformance: flush");
}

fn snapshot(backend: &dyn Backend) -> Arc<dyn View> {
    backend.snapshot().expect("conformance: snapshot")
}

fn get(view: &(impl View + ?Sized), key: &[u8]) -> Option<Vec<u8>> {
    view.get(key).expect("conformance: get")
}

/// Every row whose key is below ten bytes of 0xff.
fn scan_all(view: &(impl View + ?Sized)) -> Vec<Row> {
    view.scan(&[], &[0xff; 10], usize::MAX).expect("conformance: scan")
}

fn keys(view: &(impl View + ?Sized)) -> Vec<Vec<u8>> {
    scan_all(view).into_iter().map(|(key, _)| key).collect()
}
