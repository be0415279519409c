//! A backend whose first failed write or flush is its last.

use std::sync::{Arc, OnceLock};

use understudy_core::backend::{Backend, BackendError, Row, View, WriteBatch};

/// What the store holds after a failure is unknown, and a later batch on top of it would leave rows
/// that no prefix of the log gives. Kept here and not in the thread's loop, because an import writes
/// many batches of its own.
pub struct FailsOnce {
    backend: Arc<dyn Backend>,
    failure: OnceLock<BackendError>,
}

impl FailsOnce {
    /// Stands before `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> FailsOnce {
        FailsOnce { backend, failure: OnceLock::new() }
    }

    fn once(&self, attempt: impl FnOnce() -> Result<(), BackendError>) -> Result<(), BackendError> {
        match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => attempt().map_err(|error| self.failure.get_or_init(|| error).clone()),
        }
    }
}

impl View for FailsOnce {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.backend.get(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError> {
        self.backend.scan(from, until, limit)
    }
}

impl Backend for FailsOnce {
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError> {
        self.once(|| self.backend.write(batch))
    }

    fn flush(&self) -> Result<(), BackendError> {
        self.once(|| self.backend.flush())
    }

    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError> {
        self.backend.snapshot()
    }
}
