//! What a store behind a namespace must be: an ordered map of byte keys, with atomic batches.
//!
//! A backend is dumb. Versions, preconditions, exactly once: all rules are in the state machine, so
//! that no two backends can differ in them. The memory table in this crate, RocksDB in the
//! node and the simulator's model pass one suite; a user's own should too.
//!
//! One backend serves all groups of a node. The core's rows stand under keys that begin with
//! the group, so groups never meet.

use std::fmt;
use std::sync::Arc;

pub mod conformance;
mod memory;

pub use memory::MemoryBackend;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One change of a [`WriteBatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes a row.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a row, if it is there.
    Delete(Vec<u8>),
    /// Removes every row whose key is at or after the first and before the second.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Changes that happen together or not at all, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    /// In order: a later change sees what an earlier one did.
    pub changes: Vec<Change>,
}

/// Why a backend could not do it. Fatal for the replica, never an answer to a client: what was read
/// is not known, and what was written may be there in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendError {
    /// In one line.
    pub reason: String,
    /// The store itself says that what it holds is damaged: the replica must not come back as it is.
    pub damaged: bool,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BackendError {}

/// A consistent look at all rows: what it shows never changes, whatever is written meanwhile.
pub trait View: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// At most `limit` rows with `from <= key < until`, in the order of their keys, byte by byte.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn scan(&self, from: &[u8], until: &[u8], limit: usize) -> Result<Vec<Row>, BackendError>;
}

/// See the module. Every method may be called from any thread; one thread writes.
pub trait Backend: View {
    /// All of `batch`, visible to every later read when this returns. Durable at the next
    /// [`Backend::flush`], or earlier: after a crash the rows are as after some batch at or behind
    /// the last flush, never as in the middle of one.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn write(&self, batch: &WriteBatch) -> Result<(), BackendError>;

    /// Everything written before is durable when this returns.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn flush(&self) -> Result<(), BackendError>;

    /// A look at the rows as they are now. Cheap, and writes go on.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn snapshot(&self) -> Result<Arc<dyn View>, BackendError>;
}

/// Rows that are read at once, at most: a backend may hold documents of a megabyte each.
const SCAN_STEP: usize = 32;

/// What an [`crate::effect::StoreOp::Scan`] asks for: at most `limit` rows with `from <= key <
/// until`, none behind the one that brings them to `bytes`, and whether there are others behind the
/// last. For a `view` that does not change meanwhile.
///
/// # Errors
/// What the view said.
pub fn scan(
    view: &dyn View,
    from: &[u8],
    until: &[u8],
    limit: usize,
    bytes: usize,
) -> Result<(Vec<Row>, bool), BackendError> {
    let (mut rows, mut held, mut from) = (Vec::new(), 0, from.to_vec());
    loop {
        let step = SCAN_STEP.min(limit - rows.len() + 1);
        let next = view.scan(&from, until, step)?;
        let is_last = next.len() < step;
        for (key, value) in next {
            if rows.len() == limit || held >= bytes {
                return Ok((rows, true));
            }
            held += key.len() + value.len();
            from.clone_from(&key);
            from.push(0);
            rows.push((key, value));
        }
        if is_last {
            return Ok((rows, false));
        }
    }
}
