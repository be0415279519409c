//! From the bytes of a snapshot to rows. Nothing is believed before it is checked.

use std::collections::VecDeque;

use imbl::{OrdMap, Vector};
use xxhash_rust::xxh3::Xxh3;

use super::block::{self, Block, BlockKind, Footer};
use super::{SnapshotError, SnapshotHeader};
use crate::change::Change;
use crate::codec::{self, Corrupt};
use crate::limits;
use crate::oplog::{OpLog, Remembered};
use crate::store::keys::Root;
use crate::store::{Meta, Store, keys, row_hash};
use crate::types::{ActorId, OpId, Record};

/// Takes the bytes of a snapshot in pieces of any size and gives what is in it.
///
/// Every block is checked before anything of it comes out, but only [`Decoder::finish`] says that
/// nothing is missing. It holds a block, and the bytes that were pushed and not yet asked for.
#[derive(Default)]
pub struct Decoder {
    /// Pushed and not yet looked at, from `used` on.
    bytes: Vec<u8>,
    used: usize,
    /// Of the first byte not yet looked at.
    offset: u64,
    hash: Box<Xxh3>,
    seed: u32,
    header: Option<SnapshotHeader>,
    /// The kind and the end of the key of the row before: they must rise.
    last: Option<(BlockKind, Vec<u8>)>,
    actors: u64,
    outcomes: u64,
    changes: u64,
    rows_hash: u64,
    done: bool,
    items: VecDeque<Item>,
}

/// One thing in a snapshot. The header comes first, then the actors, what was remembered, the changes
/// that are retained, each in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// What the snapshot says of itself.
    Header(SnapshotHeader),
    /// A row.
    Actor(ActorId, Record),
    /// A remembered operation.
    Outcome(OpId, Remembered),
    /// A change.
    Change(Change),
}

impl Decoder {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next item, or `None` while more bytes are needed.
    ///
    /// # Errors
    /// The first thing that is wrong. Nothing that comes after it is to be believed.
    pub fn next_item(&mut self) -> Result<Option<Item>, SnapshotError> {
        while self.items.is_empty() && self.advance()? {}
        Ok(self.items.pop_front())
    }

    /// Says that the file ends here.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<SnapshotHeader, SnapshotError> {
        match self.header {
            Some(header) if self.done && self.items.is_empty() && self.used == self.bytes.len() => {
                Ok(header)
            }
            _ => Err(SnapshotError { offset: self.offset, reason: "it ends too early".to_owned() }),
        }
    }

    /// Looks at the next header or block; false while it is not all there.
    fn advance(&mut self) -> Result<bool, SnapshotError> {
        let bytes = std::mem::take(&mut self.bytes);
        let advanced = self.advance_in(&bytes[self.used..]);
        self.bytes = bytes;
        let length = advanced?;
        self.used += length;
        self.offset += u64::try_from(length).unwrap_or(u64::MAX);
        Ok(length > 0)
    }

    /// The bytes that are done with.
    fn advance_in(&mut self, bytes: &[u8]) -> Result<usize, SnapshotError> {
        if self.done {
            return if bytes.is_empty() {
                Ok(0)
            } else {
                Err(self.wrong("it goes on behind its end"))
            };
        }
        let Some(header) = &self.header else {
            let Some((header, length, seed)) = block::decode_header(bytes)? else { return Ok(0) };
            let Meta { compacted, sequence, .. } = header.meta;
            if compacted > sequence || sequence.0 == u64::MAX {
                return Err(self.wrong("it speaks of changes that cannot be"));
            }
            self.seed = seed;
            self.hash.update(&bytes[..length]);
            self.header = Some(header.clone());
            self.items.push_back(Item::Header(header));
            return Ok(length);
        };
        let Some(block) = block::decode_block(bytes, self.seed, self.offset)? else { return Ok(0) };
        if block.kind == BlockKind::Footer {
            let found: Footer =
                codec::decode(block.payload).map_err(|Corrupt(reason)| self.wrong(&reason))?;
            let counted = Footer {
                actors: self.actors,
                outcomes: self.outcomes,
                changes: self.changes,
                rows_hash: self.rows_hash,
                bytes_hash: self.hash.digest(),
            };
            let meta = &header.meta;
            let promised = (meta.actors, meta.outcomes, meta.changes(), meta.rows_hash);
            let got = (self.actors, self.outcomes, self.changes, self.rows_hash);
            if found != counted || promised != got {
                return Err(self.wrong("its rows are not those it was written with"));
            }
            self.done = true;
        } else {
            self.hash.update(&bytes[..block.length]);
            self.rows(&block)?;
        }
        Ok(block.length)
    }

    fn rows(&mut self, block: &Block<'_>) -> Result<(), SnapshotError> {
        let mut payload = block.payload;
        for _ in 0..block.rows {
            let row = block::pop_row(&mut payload);
            let (rest, value) = row.ok_or_else(|| self.wrong("a row is cut short"))?;
            let this = Some((block.kind, rest.to_vec()));
            if this <= self.last {
                return Err(self.wrong("its rows are not in order"));
            }
            self.last = this;
            let item = self.row(block.kind, rest, value);
            let item = item.map_err(|Corrupt(reason)| self.wrong(&reason))?;
            self.items.push_back(item);
        }
        if payload.is_empty() { Ok(()) } else { Err(self.wrong("a block is longer than its rows")) }
    }

    fn row(&mut self, kind: BlockKind, rest: &[u8], value: &[u8]) -> Result<Item, Corrupt> {
        match kind {
            BlockKind::Actors => {
                let (id, record) = (keys::actor_from(rest)?, codec::decode(value)?);
                self.actors += 1;
                self.rows_hash = self.rows_hash.wrapping_add(row_hash(&id, &record));
                Ok(Item::Actor(id, record))
            }
            BlockKind::Outcomes => {
                self.outcomes += 1;
                Ok(Item::Outcome(keys::outcome_from(rest)?, codec::decode(value)?))
            }
            BlockKind::Changes => {
                let change = keys::change_from(rest, value)?;
                self.changes += 1;
                let compacted = self.header.as_ref().map_or(0, |header| header.meta.compacted.0);
                if change.sequence.0 != compacted + self.changes {
                    return Err(Corrupt("a change is missing".to_owned()));
                }
                Ok(Item::Change(change))
            }
            BlockKind::Footer => Err(Corrupt("a footer has no rows".to_owned())),
        }
    }

    fn wrong(&self, reason: &str) -> SnapshotError {
        SnapshotError { offset: self.offset, reason: reason.to_owned() }
    }
}

/// Makes a store of a snapshot's bytes.
#[derive(Default)]
pub struct Assembler {
    decoder: Decoder,
    /// For a store with its rows outside, they are only checked.
    outside: bool,
    rows: OrdMap<ActorId, Record>,
    oplog: OpLog,
    changes: Vector<Change>,
}

impl Assembler {
    /// One for a store whose rows are in a backend: they are checked and not kept.
    pub fn outside() -> Assembler {
        Assembler { outside: true, ..Assembler::default() }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.decoder.push(bytes);
        while let Some(item) = self.decoder.next_item()? {
            match item {
                Item::Header(header) => {
                    let meta = &header.meta;
                    self.oplog = OpLog::with_floors(meta.floor, meta.session_floor);
                }
                Item::Actor(id, record) => {
                    if !self.outside {
                        self.rows.insert(id, record);
                    }
                }
                Item::Change(change) => {
                    if !self.outside {
                        self.changes.push_back(change);
                    }
                }
                Item::Outcome(op, row) => {
                    let restored = self.oplog.restore(op, row);
                    restored.map_err(|Corrupt(reason)| self.decoder.wrong(&reason))?;
                }
            }
        }
        Ok(())
    }

    /// The store, when the file ends here.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<(SnapshotHeader, Store), SnapshotError> {
        let offset = self.decoder.offset;
        let header = self.decoder.finish()?;
        let store = if self.outside {
            let root = Root { generation: 0, origin: header.origin.clone() };
            Store::over(root, header.meta.clone(), self.oplog, limits::ROW_CACHE_BYTES)
        } else {
            Store::whole(header.meta.clone(), self.rows, self.oplog, self.changes)
        };
        let store = store.map_err(|Corrupt(reason)| SnapshotError { offset, reason })?;
        Ok((header, store))
    }
}
