//! What every backend promises, on RocksDB; and what only RocksDB could break.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use understudy_core::backend::conformance;

use super::*;

/// A database in a folder that is removed at the end.
pub struct World {
    pub path: PathBuf,
    store: Option<RocksStore>,
}

impl World {
    pub fn new(name: &str) -> World {
        let path = path(name);
        remove(&path);
        let store = RocksStore::open(&path, Options::tiny()).unwrap();
        World { path, store: Some(store) }
    }

    pub fn store(&self) -> &RocksStore {
        self.store.as_ref().unwrap()
    }

    /// Ends the database: everything is durable then.
    pub fn close(&mut self) {
        self.store = None;
    }

    pub fn reopen(&mut self) {
        self.close();
        self.store = Some(RocksStore::open(&self.path, Options::tiny()).unwrap());
    }

    pub fn write(&self, changes: &[Change]) {
        self.store().write(&WriteBatch { changes: changes.to_vec() }).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.store = None;
        remove(&self.path);
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("understudy-rocks-{}-{name}", std::process::id()))
}

/// Every file of the folder `from`, and its mark.
pub fn copy(from: &Path, to: &Path) {
    remove(to);
    fs::create_dir_all(to).unwrap();
    if Mark::of(from).path.exists() {
        fs::copy(Mark::of(from).path, Mark::of(to).path).unwrap();
    }
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The folder and what stands beside it.
pub fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(Mark::of(path).path);
}

pub fn put(key: &[u8], value: &[u8]) -> Change {
    Change::Put(key.to_vec(), value.to_vec())
}

fn delete(key: &[u8]) -> Change {
    Change::Delete(key.to_vec())
}

fn delete_range(from: &[u8], until: &[u8]) -> Change {
    Change::DeleteRange(from.to_vec(), until.to_vec())
}

fn keys(view: &dyn View, from: &[u8], until: &[u8], limit: usize) -> Vec<Vec<u8>> {
    view.scan(from, until, limit).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Behind every key the tests use.
const END: &[u8] = &[0xff; 9];

#[test]
fn it_is_a_backend() {
    // Each check has a database of its own.
    let worlds = AtomicUsize::new(0);
    conformance::run(&|| {
        let number = worlds.fetch_add(1, Ordering::Relaxed);
        Box::new(Lent::of(&format!("conformance-{number}")))
    });
}

#[test]
fn it_keeps_what_was_flushed_over_a_restart_and_a_crash() {
    for place in ["flushed", "crashed"] {
        remove(&path(place));
    }
    let open = |place: &str| -> Box<dyn Backend> {
        Box::new(RocksStore::open(&path(place), Options::tiny()).unwrap())
    };
    // The files as they are while the database runs; at its end it would flush.
    let crash = |backend: Box<dyn Backend>, place: &str| {
        let kept = path("kept");
        copy(&path(place), &kept);
        drop(backend);
        remove(&path(place));
        copy(&kept, &path(place));
        remove(&kept);
    };
    conformance::reopen(&open, &crash);
    for place in ["flushed", "crashed"] {
        remove(&path(place));
    }
}

/// A backend that takes its folder with it.
struct Lent(World);

impl Lent {
    fn of(name: &str) -> Lent {
        Lent(World::new(name))
    }
}

impl View for Lent {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.store().get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.0.store().scan(from, until, limit)
    }
}

impl Backend for Lent {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        self.0.store().write(batch)
    }

    fn flush(&self) -> Result<(), BackendError> {
        self.0.store().flush()
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        self.0.store().snapshot()
    }
}

#[test]
fn rows_are_in_the_order_of_their_bytes_and_a_scan_keeps_to_its_bounds() {
    let world = World::new("order");
    let sorted: [&[u8]; 9] =
        [b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\xff\xff", b"b", b"\xff\xff"];
    for key in [6, 1, 8, 0, 4, 2, 7, 5, 3] {
        world.write(&[put(sorted[key], sorted[key])]);
    }
    let store = world.store();
    assert_eq!(keys(store, b"", END, 100), sorted);
    for (first, from) in sorted.iter().enumerate() {
        assert_eq!(store.get(from).unwrap().as_deref(), Some(*from));
        for (end, until) in sorted.iter().enumerate() {
            let expected: &[&[u8]] = sorted.get(first..end).unwrap_or(&[]);
            assert_eq!(keys(store, from, until, 100), expected, "{from:?}..{until:?}");
            for limit in 0..3 {
                let expected = &expected[..expected.len().min(limit)];
                assert_eq!(keys(store, from, until, limit), expected);
            }
        }
    }
    assert_eq!(store.get(b"a\0\0").unwrap(), None);
}

#[test]
fn a_later_change_of_a_batch_sees_the_earlier_ones() {
    let world = World::new("batch");
    world.write(&[put(b"b", b"0"), put(b"c", b"0"), put(b"e", b"0")]);
    world.write(&[
        put(b"a", b"1"),
        put(b"b", b"1"),
        delete_range(b"a", b"c"),
        put(b"b", b"2"),
        delete(b"c"),
        put(b"c", b"3"),
        delete(b"c"),
        delete(b"absent"),
        put(b"d", b"4"),
        put(b"d", b"5"),
        // No rows are between these; RocksDB itself would refuse the batch.
        delete_range(b"z", b"a"),
        delete_range(b"e", b"e"),
    ]);
    world.write(&[]);
    let rows = world.store().scan(b"", END, 100).unwrap();
    let rows: Vec<(&[u8], &[u8])> = rows.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    assert_eq!(rows, [(&b"b"[..], &b"2"[..]), (b"d", b"5"), (b"e", b"0")]);
}

#[test]
fn a_snapshot_stays_as_it_was_whatever_is_written_flushed_or_dropped() {
    let mut world = World::new("snapshot");
    world.write(&[put(b"a", b"1"), put(b"b", b"1")]);
    let before = world.store().snapshot().unwrap();
    world.write(&[put(b"a", b"2"), delete_range(b"b", b"c"), put(b"c", b"2")]);
    world.store().flush().unwrap();
    let after = world.store().snapshot().unwrap();
    world.write(&[delete_range(b"", END)]);
    world.store().flush().unwrap();
    world.store().db.compact_range(None::<&[u8]>, None::<&[u8]>);
    assert_eq!(keys(world.store(), b"", END, 10), Vec::<Vec<u8>>::new());
    // They are views of their own: on another thread, after the store was dropped.
    world.close();
    thread::spawn(move || {
        assert_eq!(before.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(keys(before.as_ref(), b"", END, 10), [b"a", b"b"]);
        assert_eq!(before.get(b"c").unwrap(), None);
        assert_eq!(after.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(keys(after.as_ref(), b"", END, 10), [b"a", b"c"]);
    })
    .join()
    .unwrap();
    world.reopen();
    assert_eq!(keys(world.store(), b"", END, 10), Vec::<Vec<u8>>::new());
}

#[test]
fn readers_on_other_threads_never_see_half_a_batch() {
    let world = World::new("threads");
    let store = world.store();
    let number = |rows: &[Row]| u64::from_be_bytes(rows[0].1[..8].try_into().unwrap());
    world.write(&numbered(0));
    let ended = AtomicBool::new(false);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut last = 0;
                while !ended.load(Ordering::Relaxed) {
                    let view = store.snapshot().unwrap();
                    for rows in [store.scan(b"", END, 100), view.scan(b"", END, 100)] {
                        let rows = rows.unwrap();
                        assert_eq!(rows.len(), 10);
                        assert!(rows.iter().all(|(_, value)| *value == rows[0].1), "half a batch");
                    }
                    let now = number(&view.scan(b"", END, 1).unwrap());
                    assert!(now >= last, "back in time");
                    last = now;
                }
            });
        }
        // Enough that buffers are written out and files merged meanwhile.
        for batch in 1..2000 {
            world.write(&numbered(batch));
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(number(&store.scan(b"", END, 1).unwrap()), 1999);
}

/// Ten rows of 208 bytes that all carry the batch's number.
fn numbered(batch: u64) -> Vec<Change> {
    let value = [&batch.to_be_bytes()[..], &[7; 200]].concat();
    (0..10).map(|row| put(&[row], &value)).collect()
}

#[test]
fn a_flushed_store_comes_back_whole_after_many_buffers_and_range_deletions() {
    let mut world = World::new("reopen");
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut random = 1u64;
    for round in 0..3000u64 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = (random >> 40) as u16;
        let from = key.to_be_bytes().to_vec();
        if round % 50 == 49 {
            let until = key.saturating_add(2000).to_be_bytes().to_vec();
            model.retain(|key, _| *key < from || *key >= until);
            world.write(&[Change::DeleteRange(from, until)]);
        } else {
            let value = vec![round as u8; 200];
            model.insert(from.clone(), value.clone());
            world.write(&[Change::Put(from, value)]);
        }
        if round % 1000 == 999 {
            world.store().flush().unwrap();
            world.reopen();
            let rows = world.store().scan(b"", END, usize::MAX).unwrap();
            assert!(rows.into_iter().eq(model.clone()), "after {round}");
        }
    }
    assert!(model.len() > 1000);
}

#[test]
fn a_store_whose_rows_were_all_deleted_comes_back_empty() {
    let mut world = World::new("emptied");
    for _ in 0..3 {
        world.write(&[put(b"a", b"1"), put(b"b", b"1")]);
        world.write(&[delete(b"a"), delete_range(b"b", b"c")]);
        world.store().flush().unwrap();
        world.store().flush().unwrap();
        world.store().db.compact_range(None::<&[u8]>, None::<&[u8]>);
        world.reopen();
        assert_eq!(world.store().scan(b"", END, 10).unwrap(), []);
    }
}

#[test]
fn one_process_has_the_database_and_another_hears_why_it_may_not() {
    let world = World::new("lock");
    let error = RocksStore::open(&world.path, Options::tiny()).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("cannot open RocksDB") && text.contains("LOCK"), "{text}");
    let inner = error.downcast_ref::<BackendError>().expect("RocksDB said it");
    assert!(!inner.damaged);
}

#[test]
fn its_own_log_and_notes_stay_bounded() {
    let mut world = World::new("notes");
    for _ in 0..10 {
        world.write(&numbered(1));
        world.reopen();
    }
    let notes = fs::read_dir(&world.path).unwrap();
    let notes = notes
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("LOG"));
    assert!((1..=limits::ROCKS_LOGS_MAX).contains(&notes.count()));
    let logs = fs::read_dir(&world.path).unwrap().map(Result::unwrap);
    let logs = logs.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "log"));
    assert!(logs.map(|entry| entry.metadata().unwrap().len()).all(|bytes| bytes == 0));
}
