//! A model of a store outside the core: every batch is visible at once, and durable at a flush.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use understudy_core::Rng;
use understudy_core::backend::{Backend, BackendError, Change, Row, View, WriteBatch};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// See the module. It outlives the process that uses it, as a folder does.
#[derive(Default)]
pub struct SimStore {
    inner: Mutex<Inner>,
    /// Shared with every view.
    damaged: Arc<AtomicBool>,
}

#[derive(Default)]
struct Inner {
    /// What is read: shared with views, copied when it changes under one.
    rows: Arc<Rows>,
    flushed: Arc<Rows>,
    /// From `flushed` to `rows`.
    unflushed: Vec<WriteBatch>,
    /// The next write or flush fails.
    fail_next: bool,
    /// One has failed: nothing more is written before it is opened again.
    failed: bool,
}

/// The rows at one moment.
struct SimView {
    rows: Arc<Rows>,
    damaged: Arc<AtomicBool>,
}

impl SimStore {
    /// An empty one.
    pub fn new() -> SimStore {
        SimStore::default()
    }

    /// The process dies: the rows are as after the last flush, or as after any batch between it and
    /// now; never as in the middle of a batch. Returns how many batches are lost.
    pub fn crash(&self, rng: &mut Rng) -> usize {
        let mut inner = self.inner();
        let unflushed = std::mem::take(&mut inner.unflushed);
        let kept = rng.below(unflushed.len() as u64 + 1) as usize;
        let mut rows = Arc::clone(&inner.flushed);
        for batch in &unflushed[..kept] {
            apply(Arc::make_mut(&mut rows), batch);
        }
        inner.rows = Arc::clone(&rows);
        inner.flushed = rows;
        inner.fail_next = false;
        inner.failed = false;
        unflushed.len() - kept
    }

    /// From now on every read fails, of views too: the store has found that it is damaged. `false`
    /// takes it back.
    pub fn set_damaged(&self, damaged: bool) {
        self.damaged.store(damaged, Ordering::Relaxed);
    }

    /// The next write or flush fails, and then all until the next [`SimStore::crash`].
    pub fn fail_next(&self) {
        self.inner().fail_next = true;
    }

    /// Batches that a crash could lose.
    pub fn unflushed(&self) -> usize {
        self.inner().unflushed.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> SimView {
        SimView { rows: Arc::clone(&self.inner().rows), damaged: Arc::clone(&self.damaged) }
    }
}

impl Inner {
    fn check(&mut self) -> Result<(), BackendError> {
        self.failed |= std::mem::take(&mut self.fail_next);
        let reason = || "store: input/output error".to_owned();
        if self.failed { Err(BackendError { reason: reason(), damaged: false }) } else { Ok(()) }
    }
}

impl View for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.view().get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.view().scan(from, until, limit)
    }
}

impl Backend for SimStore {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        let mut inner = self.inner();
        inner.check()?;
        apply(Arc::make_mut(&mut inner.rows), batch);
        inner.unflushed.push(batch.clone());
        Ok(())
    }

    fn flush(&self) -> Result<(), BackendError> {
        let mut inner = self.inner();
        inner.check()?;
        inner.flushed = Arc::clone(&inner.rows);
        inner.unflushed.clear();
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        Ok(Arc::new(self.view()))
    }
}

impl SimView {
    fn check(&self) -> Result<(), BackendError> {
        if self.damaged.load(Ordering::Relaxed) {
            let reason = "store: a block's checksum does not fit".to_owned();
            return Err(BackendError { reason, damaged: true });
        }
        Ok(())
    }
}

impl View for SimView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.check()?;
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.check()?;
        if from >= until {
            return Ok(Vec::new());
        }
        let rows = self.rows.range::<[u8], _>((Included(from), Excluded(until)));
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

fn apply(rows: &mut Rows, batch: &WriteBatch) {
    for change in &batch.changes {
        match change {
            Change::Put(key, value) => {
                rows.insert(key.clone(), value.clone());
            }
            Change::Delete(key) => {
                rows.remove(key);
            }
            Change::DeleteRange(from, until) => {
                rows.retain(|key, _| key < from || key >= until);
            }
        }
    }
}

#[cfg(test)]
mod tests;
