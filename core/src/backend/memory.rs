//! A backend that keeps its rows in memory, and the example for a backend of your own.
//!
//! What a backend owes is in [`Backend`] and [`View`]; what of it is easily got wrong:
//!
//! - Keys are bytes. Their order is that of the bytes, and a key may be a prefix of another.
//! - A batch is seen whole or not at all, by snapshots too, and its changes happen in their order.
//! - A snapshot never changes. Here it is a copy of a persistent map, which is O(1).
//! - Reads come from any thread while one thread writes.
//! - After a crash the rows are as after some batch at or behind the last flush. This one keeps
//!   nothing over a crash, so [`Backend::flush`] has nothing to do; a group on it is rebuilt from
//!   the log and from its peers.
//!
//! [`super::conformance`] checks all of it; run it against yours.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use imbl::OrdMap;

use super::{Backend, BackendError, Change, Row, View, WriteBatch};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    rows: RwLock<Rows>,
    /// Held while a batch is made ready; readers need not wait for that.
    writing: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Rows(OrdMap<Arc<[u8]>, Arc<[u8]>>);

impl MemoryBackend {
    fn rows(&self) -> Rows {
        // A writer that panics leaves the rows as they were: they are replaced at once.
        self.rows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Rows {
    /// Rows with `from <= key < until`; none when these are the wrong way round.
    fn range(&self, from: &[u8], until: &[u8]) -> impl Iterator<Item = (&Arc<[u8]>, &Arc<[u8]>)> {
        let until = until.max(from);
        self.0.range::<_, [u8]>((Bound::Included(from), Bound::Excluded(until)))
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(key, value) => {
                self.0.insert(key.as_slice().into(), value.as_slice().into());
            }
            Change::Delete(key) => {
                self.0.remove(key.as_slice());
            }
            Change::DeleteRange(from, until) => {
                let dead: Vec<_> = self.range(from, until).map(|(key, _)| key.clone()).collect();
                for key in dead {
                    self.0.remove(&key);
                }
            }
        }
    }
}

impl View for Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.0.get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        let rows = self.range(from, until).take(limit);
        Ok(rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }
}

impl View for MemoryBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.rows().get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.rows().scan(from, until, limit)
    }
}

impl Backend for MemoryBackend {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.rows();
        for change in &batch.changes {
            next.apply(change);
        }
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn flush(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        Ok(Arc::new(self.rows()))
    }
}

#[cfg(test)]
mod tests;
