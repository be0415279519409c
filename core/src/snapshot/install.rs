//! From the bytes of a snapshot to the rows of a backend, and never half of them.

use super::encode::root_of;
use super::{Item, ReadError, SnapshotHeader, Source, read};
use crate::backend::{Backend, BackendError, Change, WriteBatch};
use crate::codec;
use crate::store::keys::{self, Place, Root};
use crate::types::GroupId;

/// Bytes of rows written as one batch (soft: the row that crosses it still goes in).
const BATCH_BYTES: usize = 1024 * 1024;

/// Replaces the state of `group` in `backend` by what `source` holds, durably. A crash at any point
/// leaves the old state or the new.
///
/// The rows go under a generation of their own. When all of them are there and checked, one batch
/// writes the meta row and makes the generation the one that counts; then the old one is removed.
/// What a crash leaves of an unfinished one is removed by [`sweep`], or by the next import.
///
/// # Errors
/// What the backend or the source said, or what is wrong with the bytes.
pub fn import(
    backend: &dyn Backend,
    group: GroupId,
    source: &mut Source<'_>,
) -> Result<(), BackendError> {
    let old = root_of(backend, group)?;
    let generation = match &old {
        None => Some(0),
        Some(root) => root.generation.checked_add(1),
    };
    let generation = generation.ok_or_else(|| refuse("the group has been replaced too often"))?;
    let place = Place { group, generation };
    let (from, until) = place.all();
    let clear = WriteBatch { changes: vec![Change::DeleteRange(from, until)] };
    backend.write(&clear)?;
    match fill(backend, place, old.as_ref(), source) {
        Ok(last) => backend.write(&last)?,
        Err(ReadError::NotIntact(error)) => {
            backend.write(&clear)?;
            return Err(refuse(&error.to_string()));
        }
        Err(ReadError::Source(error)) => return Err(error),
    }
    backend.flush()?;
    sweep(backend, group)
}

/// Writes the rows; returns the batch that makes them count.
fn fill(
    backend: &dyn Backend,
    place: Place,
    old: Option<&Root>,
    source: &mut Source<'_>,
) -> Result<WriteBatch, ReadError> {
    let (mut batch, mut bytes) = (WriteBatch::default(), 0);
    let header = read(source, &mut |item| {
        let (key, value) = match item {
            Item::Header(header) => {
                return check_origin(&header, place, old).map_err(ReadError::Source);
            }
            Item::Actor(id, record) => {
                if let Some(end) = record.expires() {
                    let key = place.end(end, &id);
                    bytes += key.len();
                    batch.changes.push(Change::Put(key, Vec::new()));
                }
                (place.actor(&id), codec::encode(&record))
            }
            Item::Outcome(op, row) => (place.outcome(&op), codec::encode(&row)),
            Item::Change(change) => (place.change(change.sequence), codec::encode(&change)),
        };
        bytes += key.len() + value.len();
        batch.changes.push(Change::Put(key, value));
        if bytes >= BATCH_BYTES {
            bytes = 0;
            backend.write(&std::mem::take(&mut batch)).map_err(ReadError::Source)?;
        }
        Ok(())
    })?;
    let root = Root { generation: place.generation, origin: header.origin };
    batch.changes.push(Change::Put(place.meta(), codec::encode(&header.meta)));
    batch.changes.push(Change::Put(keys::root(place.group), codec::encode(&root)));
    Ok(batch)
}

/// Another group's rows, or another cluster's, must not come in by mistake.
fn check_origin(
    header: &SnapshotHeader,
    place: Place,
    old: Option<&Root>,
) -> Result<(), BackendError> {
    let origin = &header.origin;
    let wrong = if origin.group != place.group {
        format!("the snapshot is of group {}, not {}", origin.group, place.group)
    } else if let Some(root) = old.filter(|root| root.origin != *origin) {
        let (theirs, ours) = (origin, &root.origin);
        format!(
            "the snapshot is of namespace {} of cluster {}, not {} of {}",
            theirs.namespace, theirs.cluster, ours.namespace, ours.cluster
        )
    } else {
        return Ok(());
    };
    Err(refuse(&wrong))
}

fn refuse(reason: &str) -> BackendError {
    BackendError { reason: reason.to_owned(), damaged: false }
}

/// Removes the rows of generations that do not count: what a crash left of an import. To be called
/// before the group's rows are used.
///
/// # Errors
/// What the backend said.
pub fn sweep(backend: &dyn Backend, group: GroupId) -> Result<(), BackendError> {
    let dead = match root_of(backend, group)? {
        Some(root) => Place { group, generation: root.generation }.others().to_vec(),
        None => {
            let place = Place { group, generation: 0 };
            let [_, behind] = place.others();
            vec![place.all(), behind]
        }
    };
    let mut batch = WriteBatch::default();
    for (from, until) in dead {
        // A removal of nothing is not free everywhere.
        if !backend.scan(&from, &until, 1)?.is_empty() {
            batch.changes.push(Change::DeleteRange(from, until));
        }
    }
    if batch.changes.is_empty() { Ok(()) } else { backend.write(&batch) }
}
