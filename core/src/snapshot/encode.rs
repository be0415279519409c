//! From rows to the bytes of a snapshot.

use xxhash_rust::xxh3::Xxh3;

use super::SnapshotHeader;
use super::block::{self, BlockKind, Footer};
use crate::backend::{BackendError, Row, View};
use crate::codec;
use crate::oplog::Remembered;
use crate::store::keys::{self, Kind, Origin, Place, Root};
use crate::store::{Meta, StoreView, row_hash};
use crate::types::{ActorId, GroupId, OpId, Record};

/// The bytes of a state in memory, block by block.
///
/// It works on a view: the store goes on meanwhile, and between two blocks nothing is held up.
pub struct Encoder {
    view: StoreView,
    stage: Stage,
}

enum Stage {
    Header(Origin),
    /// The last one that is in, if any.
    Actors(Writer, Option<ActorId>),
    Outcomes(Writer, Option<OpId>),
    /// How many are in.
    Changes(Writer, usize),
    Done,
}

impl Encoder {
    /// The snapshot of what `view` shows.
    pub fn new(origin: Origin, view: StoreView) -> Encoder {
        Encoder { view, stage: Stage::Header(origin) }
    }
}

impl Iterator for Encoder {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Header(origin) => {
                let (writer, bytes) = Writer::begin(origin, self.view.meta().clone());
                self.stage = Stage::Actors(writer, None);
                Some(bytes)
            }
            Stage::Actors(mut writer, after) => {
                for (id, record) in self.view.rows(after.as_ref()) {
                    let (rest, value) = (keys::actor_rest(id), codec::encode(record));
                    if let Some(block) = writer.row(BlockKind::Actors, &rest, &value) {
                        self.stage = Stage::Actors(writer, Some(id.clone()));
                        return Some(block);
                    }
                }
                self.stage = Stage::Outcomes(writer, None);
                self.next()
            }
            Stage::Outcomes(mut writer, after) => {
                for (op, row) in self.view.oplog().rows(after.as_ref()) {
                    let (rest, value) = (keys::outcome_rest(&op), codec::encode(&row));
                    if let Some(block) = writer.row(BlockKind::Outcomes, &rest, &value) {
                        self.stage = Stage::Outcomes(writer, Some(op));
                        return Some(block);
                    }
                }
                self.stage = Stage::Changes(writer, 0);
                self.next()
            }
            Stage::Changes(mut writer, done) => {
                let left = self.view.changes().focus().narrow(done..);
                for (place, change) in (done + 1..).zip(left) {
                    let (rest, value) = (keys::change_rest(change.sequence), codec::encode(change));
                    if let Some(block) = writer.row(BlockKind::Changes, &rest, &value) {
                        self.stage = Stage::Changes(writer, place);
                        return Some(block);
                    }
                }
                Some(writer.finish())
            }
            Stage::Done => None,
        }
    }
}

/// Writes the state of `group` that `view` shows to `sink`, in canonical order: the same state gives
/// the same bytes on every replica. Holds a block and a page of rows at a time.
///
/// # Errors
/// What the view or the sink said; damaged rows, when what is there is not a state.
pub fn export(
    view: &dyn View,
    group: GroupId,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let none = || BackendError { reason: format!("group {group} is not there"), damaged: false };
    let (root, meta) = state_of(view, group)?.ok_or_else(none)?;
    let place = Place { group, generation: root.generation };
    let (mut writer, header) = Writer::begin(root.origin, meta.clone());
    sink(&header)?;
    let (mut hash, mut actors, mut outcomes, mut changes) = (0_u64, 0, 0, 0);
    each_row(view, place.range(Kind::Actor), &mut |rest, value| {
        let id = keys::actor_from(rest).map_err(|error| damaged(&error.0))?;
        let record: Record = codec::decode(value).map_err(|error| damaged(&error.0))?;
        hash = hash.wrapping_add(row_hash(&id, &record));
        actors += 1;
        writer.row(BlockKind::Actors, rest, value).map_or(Ok(()), |block| sink(&block))
    })?;
    each_row(view, place.range(Kind::Outcome), &mut |rest, value| {
        keys::outcome_from(rest).map_err(|error| damaged(&error.0))?;
        codec::decode::<Remembered>(value).map_err(|error| damaged(&error.0))?;
        outcomes += 1;
        writer.row(BlockKind::Outcomes, rest, value).map_or(Ok(()), |block| sink(&block))
    })?;
    each_row(view, place.range(Kind::Change), &mut |rest, value| {
        keys::change_from(rest, value).map_err(|error| damaged(&error.0))?;
        changes += 1;
        writer.row(BlockKind::Changes, rest, value).map_or(Ok(()), |block| sink(&block))
    })?;
    let all = (meta.rows_hash, meta.actors, meta.outcomes, meta.changes());
    if (hash, actors, outcomes, changes) != all {
        return Err(damaged("they do not add up to what was written"));
    }
    sink(&writer.finish())
}

/// Which generation of `group` counts; `None` when the backend holds nothing of it.
pub(crate) fn root_of(view: &dyn View, group: GroupId) -> Result<Option<Root>, BackendError> {
    let Some(root) = view.get(&keys::root(group))? else { return Ok(None) };
    let root: Root = codec::decode(&root).map_err(|error| damaged(&error.0))?;
    if root.origin.group != group {
        return Err(damaged("the root is another group's"));
    }
    Ok(Some(root))
}

/// What a backend holds of `group`, but for rows and op-log; `None` when it holds nothing.
pub(crate) fn state_of(
    view: &dyn View,
    group: GroupId,
) -> Result<Option<(Root, Meta)>, BackendError> {
    let Some(root) = root_of(view, group)? else { return Ok(None) };
    let place = Place { group, generation: root.generation };
    let meta = view.get(&place.meta())?.ok_or_else(|| damaged("the meta row is missing"))?;
    let meta = codec::decode(&meta).map_err(|error| damaged(&error.0))?;
    Ok(Some((root, meta)))
}

/// Rows read from a view at once: even of the longest, a few are no burden.
const PAGE: usize = 64;

type TakeRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), BackendError> + 'a;

/// Every row of a range, by what follows the kind in its key.
pub(crate) fn each_row(
    view: &dyn View,
    (mut from, until): (Vec<u8>, Vec<u8>),
    take: &mut TakeRow<'_>,
) -> Result<(), BackendError> {
    loop {
        let page: Vec<Row> = view.scan(&from, &until, PAGE)?;
        for (key, value) in &page {
            take(key.get(keys::PREFIX..).unwrap_or_default(), value)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                from.clone_from(last);
                // The least key behind it.
                from.push(0);
            }
            _ => return Ok(()),
        }
    }
}

pub(crate) fn damaged(what: &str) -> BackendError {
    BackendError { reason: format!("the stored rows are damaged: {what}"), damaged: true }
}

/// Puts rows into blocks.
pub(super) struct Writer {
    meta: Meta,
    seed: u32,
    /// Where the next block will lie.
    offset: u64,
    /// Over all bytes before it.
    hash: Box<Xxh3>,
    kind: BlockKind,
    rows: u32,
    payload: Vec<u8>,
}

impl Writer {
    pub(super) fn begin(origin: Origin, meta: Meta) -> (Writer, Vec<u8>) {
        let (bytes, seed) = block::encode_header(&SnapshotHeader { origin, meta: meta.clone() });
        let (hash, payload) = (Box::new(Xxh3::new()), Vec::new());
        let kind = BlockKind::Actors;
        let mut writer = Writer { meta, seed, offset: 0, hash, kind, rows: 0, payload };
        writer.passed(&bytes);
        (writer, bytes)
    }

    /// Adds a row; the block before it, if it does not fit in there any more.
    pub(super) fn row(&mut self, kind: BlockKind, rest: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let full = self.payload.len() + block::row_bytes(rest, value) > block::BLOCK_BYTES;
        let block = if full || kind != self.kind { self.close() } else { None };
        self.kind = kind;
        block::push_row(&mut self.payload, rest, value);
        self.rows += 1;
        block
    }

    fn close(&mut self) -> Option<Vec<u8>> {
        if self.rows == 0 {
            return None;
        }
        let bytes =
            block::encode_block(self.seed, self.offset, self.kind, self.rows, &self.payload);
        self.payload.clear();
        self.rows = 0;
        self.passed(&bytes);
        Some(bytes)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut bytes = self.close().unwrap_or_default();
        let Meta { actors, outcomes, rows_hash, .. } = self.meta;
        let (changes, bytes_hash) = (self.meta.changes(), self.hash.digest());
        let footer = Footer { actors, outcomes, changes, rows_hash, bytes_hash };
        let footer = codec::encode(&footer);
        bytes.extend(block::encode_block(self.seed, self.offset, BlockKind::Footer, 0, &footer));
        bytes
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
}
