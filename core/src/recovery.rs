//! From what is on the disk to what each group starts from: the log, and the checkpoints before it.
//!
//! A snapshot under its own name is whole, synced and committed, whether it was made here or received
//! from a leader: it is always right to start from the newest. What the log says beyond it follows;
//! what the log says otherwise was never committed.

use std::collections::BTreeMap;

use crate::backend::{Backend, BackendError};
use crate::config::{ClusterConfig, Storage};
use crate::disk::{DiskImage, DiskOp, FileName, Folder};
use crate::limits;
use crate::message::LogPosition;
use crate::raft::group::Start;
use crate::snapshot::{self, Assembler};
use crate::store::Store;
use crate::store::keys::Origin;
use crate::types::{GroupId, Identity, Namespace};
use crate::wal::frame::Record;
use crate::wal::recover::{GroupImage, Recovered, Unusable};

/// What groups start from.
pub struct Groups {
    /// Each one's log and state.
    pub starts: BTreeMap<GroupId, Start>,
    /// What the log must be told in the first step: a snapshot has overtaken it.
    pub records: Vec<Record>,
    /// What makes the names of those durable, and removes files that nobody needs any more.
    pub removals: Vec<DiskOp>,
}

/// Reads the checkpoints, and puts them before the logs that `recovered` holds.
///
/// # Errors
/// See [`Unusable`].
pub fn groups(
    config: &ClusterConfig,
    identity: &Identity,
    recovered: &mut Recovered,
    disk: &dyn DiskImage,
    backend: Option<&dyn Backend>,
) -> Result<Groups, Unusable> {
    let files: Vec<FileName> = disk.files()?.into_iter().map(|(file, _)| file).collect();
    let mut groups = Groups { starts: BTreeMap::new(), records: Vec::new(), removals: Vec::new() };
    if files.iter().any(|file| file.folder() == Folder::Snap) {
        // A name may be there in memory only, after a process that died in between; it counts from
        // here on, and what it replaces goes.
        groups.removals.push(DiskOp::SyncFolder { folder: Folder::Snap });
    }
    for (group, namespace) in config.groups() {
        let origin =
            Origin { cluster: identity.cluster.clone(), group, namespace: namespace.clone() };
        let newest = newest(&files, group);
        let image = recovered.groups.remove(&group).unwrap_or_default();
        let (store, checkpoint) = match config.storage(namespace) {
            Storage::Memory => in_memory(disk, &origin, newest)?,
            Storage::Backend => (outside(disk, &origin, newest, backend)?, None),
        };
        let start = Start { image, store, checkpoint };
        let start = groups.join(group, namespace, start)?;
        // One that was read into a backend is in there, durably.
        let kept = newest.filter(|_| start.checkpoint.is_some());
        groups.starts.insert(group, start);
        let stale = files.iter().filter(|&&file| match file {
            FileName::Snapshot(of, position) => of == group && Some(position) != kept,
            FileName::Part(of, _) => of == group,
            FileName::Segment(_) => false,
        });
        groups.removals.extend(stale.map(|&file| DiskOp::Delete { file }));
    }
    Ok(groups)
}

fn newest(files: &[FileName], group: GroupId) -> Option<LogPosition> {
    let positions = files.iter().filter_map(|file| match file {
        FileName::Snapshot(of, position) if *of == group => Some(*position),
        _ => None,
    });
    positions.max_by_key(|position| position.index)
}

/// The store that the newest checkpoint holds, and its bytes; an empty one where there is none.
fn in_memory(
    disk: &dyn DiskImage,
    origin: &Origin,
    newest: Option<LogPosition>,
) -> Result<(Store, Option<u64>), Unusable> {
    let Some(position) = newest else { return Ok((Store::default(), None)) };
    let file = FileName::Snapshot(origin.group, position);
    let damaged = |what: String| Unusable::Damaged(format!("`{file}`: {what}"));
    let (mut assembler, mut offset) = (Assembler::default(), 0);
    loop {
        let bytes = disk.read(file, offset, limits::SNAPSHOT_CHUNK_BYTES)?;
        offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        assembler.push(&bytes).map_err(|error| damaged(error.to_string()))?;
        if bytes.len() < limits::SNAPSHOT_CHUNK_BYTES {
            break;
        }
    }
    let (header, store) = assembler.finish().map_err(|error| damaged(error.to_string()))?;
    if header.origin != *origin || header.meta.applied != Some(position) {
        return Err(damaged("it holds another group's state, or that of another index".to_owned()));
    }
    Ok((store, Some(offset)))
}

/// The store over the rows in `backend`, after a snapshot that was received and not yet installed.
fn outside(
    disk: &dyn DiskImage,
    origin: &Origin,
    newest: Option<LogPosition>,
    backend: Option<&dyn Backend>,
) -> Result<Store, Unusable> {
    let Some(backend) = backend else {
        return Err(Unusable::Unreadable(format!(
            "namespace `{}` keeps its rows outside the core, and this program has no store for \
             them; build it with the feature `rocksdb`",
            origin.namespace
        )));
    };
    let (group, cache) = (origin.group, limits::ROW_CACHE_BYTES);
    snapshot::sweep(backend, group)?;
    let store = Store::load(backend, group, cache)?;
    let applied = store.as_ref().and_then(Store::applied);
    if let Some(position) = newest.filter(|newest| Some(newest.index) > applied.map(|at| at.index))
    {
        let file = FileName::Snapshot(group, position);
        let mut source = |offset, length| {
            let read = disk.read(file, offset, length);
            read.map_err(|failed| BackendError { reason: failed.reason, damaged: true })
        };
        let damaged = |what: &str| Unusable::Damaged(format!("`{file}`: {what}"));
        snapshot::import(backend, group, &mut source).map_err(|error| damaged(&error.reason))?;
        let store = Store::load(backend, group, cache)?;
        return store.ok_or_else(|| damaged("it left nothing in the store"));
    }
    Ok(store.unwrap_or_else(|| Store::new_cached(origin.clone(), cache)))
}

impl From<BackendError> for Unusable {
    fn from(error: BackendError) -> Unusable {
        if error.damaged {
            Unusable::Damaged(error.reason)
        } else {
            Unusable::Unreadable(error.reason)
        }
    }
}

impl Groups {
    /// Puts a state before its log.
    fn join(
        &mut self,
        group: GroupId,
        namespace: &Namespace,
        mut start: Start,
    ) -> Result<Start, Unusable> {
        let image = &mut start.image;
        let Some(applied) = start.store.applied() else {
            let purged = image.purged.filter(|_| !planted!(PurgesTooMuch));
            return match purged {
                None => Ok(start),
                Some(purged) => Err(Unusable::Damaged(format!(
                    "the checkpoint of namespace `{namespace}` is missing: its log begins behind \
                     entry {}",
                    purged.index
                ))),
            };
        };
        if image.purged.is_some_and(|purged| purged.index > applied.index) {
            return Err(Unusable::Damaged(format!(
                "the checkpoint of namespace `{namespace}` ends at entry {}, its log begins later",
                applied.index
            )));
        }
        if !image.has(applied) {
            // It was received, and the log ends before it, or goes on from entries that nobody
            // committed: a log that has not the snapshot's last entry has nothing to add to it.
            *image =
                GroupImage { entries: Default::default(), purged: Some(applied), ..image.clone() };
            self.records.push(Record::Truncate(group, None));
            self.records.push(Record::Purge(group, applied));
        }
        if image.committed.is_none_or(|committed| committed.index < applied.index) {
            image.committed = Some(applied);
        }
        Ok(start)
    }
}
