//! A group's whole state as bytes: checkpoints, what a slow follower is sent, backups.

use crate::backend::{Backend, BackendError, View};
use crate::types::GroupId;

/// Writes the state of `group` that `view` shows to `sink`, in canonical order: the same state gives
/// the same bytes on every replica.
///
/// # Errors
/// What the view or the sink said.
pub fn export(
    view: &dyn View,
    group: GroupId,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let _ = (view, group, sink);
    Err(BackendError { reason: "not built yet".to_owned(), damaged: false })
}

/// Replaces the state of `group` in `backend` by what `source` holds, which gives up to the asked
/// number of bytes from an offset on, fewer only at its end. A crash at any point leaves the old
/// state or the new.
///
/// # Errors
/// What the backend or the source said, or what is wrong with the bytes.
pub fn import(
    backend: &dyn Backend,
    group: GroupId,
    source: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, BackendError>,
) -> Result<(), BackendError> {
    let _ = (backend, group, source);
    Err(BackendError { reason: "not built yet".to_owned(), damaged: false })
}
