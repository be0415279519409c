//! An import that is cut off anywhere leaves the old state or the new.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::backend::{Row, View};

/// Lets so many batches through; every later write fails, and so does the flush.
struct Failing<'a> {
    backend: &'a MemoryBackend,
    left: AtomicUsize,
}

impl Failing<'_> {
    fn pass(&self, cost: usize) -> Result<(), BackendError> {
        let take = |left: usize| left.checked_sub(cost);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map(|_| ())
            .map_err(|_| BackendError { reason: "no more".to_owned(), damaged: false })
    }
}

impl View for Failing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.backend.get(key)
    }
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.backend.scan(from, until, limit)
    }
}

impl Backend for Failing<'_> {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        self.pass(1).and_then(|()| self.backend.write(batch))
    }
    fn flush(&self) -> Result<(), BackendError> {
        self.pass(0)
    }
    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        self.backend.snapshot()
    }
}

fn rows_of_group(backend: &MemoryBackend) -> usize {
    backend.scan(&keys::root(GROUP), &keys::root(GroupId(GROUP.0 + 1)), usize::MAX).unwrap().len()
}

#[test]
fn a_crash_anywhere_in_an_import_leaves_the_old_state_or_the_new() {
    let old = bytes_of(random_store(10, 100, 100).view());
    let new = bytes_of(random_store(11, 400, 30_000).view());
    let neighbour = GroupId(GROUP.0 + 1);
    let clean = |bytes: &[u8]| {
        let backend = MemoryBackend::default();
        import(&backend, GROUP, &mut source(bytes)).unwrap();
        rows_of_group(&backend)
    };
    for begun in [None, Some(&old)] {
        let (mut kept_old, mut whole) = (0, 0);
        for batches in 0.. {
            let backend = MemoryBackend::default();
            let other = Change::Put(keys::root(neighbour), vec![1]);
            backend.write(&WriteBatch { changes: vec![other] }).unwrap();
            if let Some(old) = begun {
                import(&backend, GROUP, &mut source(old)).unwrap();
            }
            let failing = Failing { backend: &backend, left: AtomicUsize::new(batches) };
            let result = import(&failing, GROUP, &mut source(&new));
            sweep(&backend, GROUP).unwrap();
            let is_there = backend.get(&keys::root(GROUP)).unwrap().is_some();
            let found = if is_there { exported(&backend, GROUP) } else { Vec::new() };
            let expected = begun.cloned().unwrap_or_default();
            assert!(found == new || found == expected, "after {batches} batches");
            assert!(result.is_err() || found == new);
            let rows = if found.is_empty() { 0 } else { clean(&found) };
            assert_eq!(rows_of_group(&backend), rows, "nothing of the other one is left");
            assert!(backend.get(&keys::root(neighbour)).unwrap().is_some());
            kept_old += usize::from(found == expected);
            // The next attempt works, whatever the last one left.
            import(&backend, GROUP, &mut source(&new)).unwrap();
            assert_eq!(exported(&backend, GROUP), new);
            if result.is_ok() {
                whole += 1;
                break;
            }
        }
        assert!(kept_old > 3 && whole == 1, "{kept_old} crashes left the old state");
    }
}

#[test]
fn a_damaged_or_foreign_snapshot_changes_nothing() {
    let old = bytes_of(random_store(12, 50, 100).view());
    let new = bytes_of(random_store(13, 100, 20_000).view());
    let backend = MemoryBackend::default();
    import(&backend, GROUP, &mut source(&old)).unwrap();
    let before = rows_of_group(&backend);
    let mut damaged = new.clone();
    let near_end = damaged.len() - 200;
    damaged[near_end] ^= 1;
    let elsewhere = Origin { cluster: ClusterId("rose".to_owned()), ..origin() };
    let elsewhere: Vec<u8> =
        Encoder::new(elsewhere, random_store(13, 10, 10).view()).flatten().collect();
    for bytes in [&damaged[..], &new[..new.len() / 2], &elsewhere] {
        let error = import(&backend, GROUP, &mut source(bytes)).unwrap_err();
        assert!(!error.damaged, "the store itself is well: {error}");
        sweep(&backend, GROUP).unwrap();
        assert_eq!(rows_of_group(&backend), before);
        assert_eq!(exported(&backend, GROUP), old);
    }
    let wrong_group = import(&backend, GroupId(9), &mut source(&new)).unwrap_err();
    assert!(wrong_group.reason.contains("group 3, not 9"), "{wrong_group}");
}
