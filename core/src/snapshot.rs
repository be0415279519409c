//! A group's whole state as bytes: checkpoints, what a slow follower is sent, backups.
//!
//! One format for all three, drawn in `docs/FORMAT.md`. It is canonical: the same state gives the
//! same bytes on every replica, whatever store it comes from, so a transfer begun by one replica can
//! be gone on with by another. It is checked throughout: a file that was cut, altered or put
//! together from two is refused, by the offset of the fault. It is a stream in both directions: no
//! side holds more than a block.
//!
//! [`Encoder`] reads a [`StoreView`](crate::store::StoreView), [`export`] a backend's view.
//! [`Decoder`] takes bytes as they come; [`Assembler`] makes a store in memory of them, [`import`]
//! the rows of a backend. [`Rehome`] makes of one group's snapshot the first state of another cluster's
//! group.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, View};
use crate::store::Meta;
use crate::store::keys::Origin;
use crate::types::GroupId;

mod block;
mod decode;
mod encode;
mod install;
mod rehome;

pub use decode::{Assembler, Decoder, Item};
pub use encode::{Encoder, export};
pub use install::{import, sweep};
pub use rehome::Rehome;

pub(crate) use block::VERSION as FORMAT;
pub(crate) use encode::{damaged, each_row, state_of};

/// What a snapshot says of itself before its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// Whose state it is.
    pub origin: Origin,
    /// Which state it is, and how many rows follow.
    pub meta: Meta,
}

/// What is wrong with the bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotError {
    /// The offset in the file: of the block that is damaged, or of the end that came too early.
    pub offset: u64,
    /// What is wrong there, as a clause.
    pub reason: String,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot is not intact: at byte {}, {}", self.offset, self.reason)
    }
}

impl std::error::Error for SnapshotError {}

/// Why a snapshot could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Its bytes could not be had.
    Source(BackendError),
    /// Its bytes are not those that were written.
    NotIntact(SnapshotError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Source(error) => error.fmt(f),
            ReadError::NotIntact(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<SnapshotError> for ReadError {
    fn from(error: SnapshotError) -> ReadError {
        ReadError::NotIntact(error)
    }
}

/// Gives up to the asked number of bytes from an offset on, fewer only at the file's end.
pub type Source<'a> = dyn FnMut(u64, usize) -> Result<Vec<u8>, BackendError> + 'a;

/// Reads a snapshot to its end and checks everything there is to check.
///
/// # Errors
/// What the source said, or the first thing that is wrong with the bytes.
pub fn verify(source: &mut Source<'_>) -> Result<SnapshotHeader, ReadError> {
    read(source, &mut |_| Ok(()))
}

/// What the state of `group` that `view` shows says of itself; `None` when nothing of it is there.
///
/// # Errors
/// What the view said; damaged rows, when what is there is not a state.
pub fn meta_of(view: &dyn View, group: GroupId) -> Result<Option<Meta>, BackendError> {
    Ok(state_of(view, group)?.map(|(_, meta)| meta))
}

/// Bytes asked of a source at once.
const PIECE: usize = 256 * 1024;

/// Reads a snapshot to its end and hands on what is in it. Only at the end is it known to be whole.
fn read(
    source: &mut Source<'_>,
    take: &mut dyn FnMut(Item) -> Result<(), ReadError>,
) -> Result<SnapshotHeader, ReadError> {
    let mut decoder = Decoder::default();
    let mut offset = 0;
    loop {
        let piece = source(offset, PIECE).map_err(ReadError::Source)?;
        offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        decoder.push(&piece);
        while let Some(item) = decoder.next_item()? {
            take(item)?;
        }
        if piece.len() < PIECE {
            return Ok(decoder.finish()?);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
