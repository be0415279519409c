//! The frame of a snapshot: its header, its blocks, and the rows in a block.

use crc32c::{crc32c, crc32c_append};
use serde::{Deserialize, Serialize};

use super::{SnapshotError, SnapshotHeader};
use crate::codec;
use crate::limits;

const MAGIC: &[u8; 8] = b"UNDRSNAP";
/// The version of the format.
pub const VERSION: u32 = 3;
/// Headers, blocks and so files begin and end at multiples of this; padding is zero.
const ALIGN: usize = 8;
/// Magic, version, length.
const FIXED: usize = 16;
/// Length, crc, kind, zero, rows.
const BLOCK_FIXED: usize = 16;
/// A block ends before the row that would make it longer than this.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// One row that is longer makes a block of its own, so no block is longer than this: a change tells
/// what an actor held before and since.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + 2 * limits::VALUE_BYTES_MAX;
/// Anything longer is garbage.
const HEADER_BYTES_MAX: usize = 64 * 1024;

const _: () = {
    // The key, the lengths, the tokens and the metadata of the longest row.
    assert!(2 * limits::ID_BYTES_MAX + 3 * limits::METADATA_BYTES_MAX + 256 < BLOCK_BYTES);
    // The outcomes of the largest batch.
    assert!(32 * limits::BATCH_WRITES_MAX + 2 * limits::OP_NAME_BYTES_MAX < BLOCK_BYTES);
    assert!(BLOCK_BYTES_MAX < limits::FRAME_BYTES_MAX);
};

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    Actors,
    Outcomes,
    Changes,
    Footer,
}

impl BlockKind {
    fn byte(self) -> u8 {
        match self {
            BlockKind::Actors => 1,
            BlockKind::Outcomes => 2,
            BlockKind::Changes => 3,
            BlockKind::Footer => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<BlockKind> {
        let all = [BlockKind::Actors, BlockKind::Outcomes, BlockKind::Changes, BlockKind::Footer];
        all.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// The last block: what all before it must come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub actors: u64,
    pub outcomes: u64,
    pub changes: u64,
    pub rows_hash: u64,
    /// Over all bytes of the file before this block.
    pub bytes_hash: u64,
}

/// The first bytes of a file, and the seed of every block's checksum.
pub fn encode_header(header: &SnapshotHeader) -> (Vec<u8>, u32) {
    let body = codec::encode(header);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(length32(body.len()).to_le_bytes());
    bytes.extend(body);
    pad(&mut bytes);
    let crc = crc32c(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes.extend([0; 4]);
    (bytes, crc)
}

/// The header at the start of `bytes`, its length and the seed; `None` while more bytes are needed.
pub fn decode_header(bytes: &[u8]) -> Result<Option<(SnapshotHeader, usize, u32)>, SnapshotError> {
    let wrong = |reason: &str| SnapshotError { offset: 0, reason: reason.to_owned() };
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    if &fixed[..8] != MAGIC {
        return Err(wrong("it does not begin as a snapshot of this program does"));
    }
    let version = u32_at(fixed, 8);
    if version != VERSION {
        return Err(wrong(&format!(
            "its format is version {version}, not {VERSION}; read it with the version that wrote it"
        )));
    }
    let length = usize::try_from(u32_at(fixed, 12)).unwrap_or(usize::MAX);
    if length > HEADER_BYTES_MAX {
        return Err(wrong("its header is damaged"));
    }
    let padded = (FIXED + length).next_multiple_of(ALIGN);
    let Some(header) = bytes.get(..padded + ALIGN) else { return Ok(None) };
    let seed = u32_at(header, padded);
    if crc32c(&header[..padded]) != seed || u32_at(header, padded + 4) != 0 {
        return Err(wrong("its header is damaged"));
    }
    let body = codec::decode(&header[FIXED..FIXED + length]).map_err(|error| wrong(&error.0))?;
    Ok(Some((body, padded + ALIGN, seed)))
}

/// One intact block.
pub struct Block<'a> {
    pub kind: BlockKind,
    pub rows: u32,
    pub payload: &'a [u8],
    /// Bytes it takes in the file.
    pub length: usize,
}

/// A block that will lie at `offset` of the file.
pub fn encode_block(seed: u32, offset: u64, kind: BlockKind, rows: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_FIXED + payload.len() + ALIGN);
    bytes.extend(length32(payload.len()).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind.byte(), 0, 0, 0]);
    bytes.extend(rows.to_le_bytes());
    bytes.extend(payload);
    pad(&mut bytes);
    let crc = block_crc(seed, offset, &bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The block at the start of `bytes`, which lie at `offset`; `None` while more bytes are needed.
pub fn decode_block(
    bytes: &[u8],
    seed: u32,
    offset: u64,
) -> Result<Option<Block<'_>>, SnapshotError> {
    let damaged = || SnapshotError { offset, reason: "a block is damaged".to_owned() };
    let Some(fixed) = bytes.get(..BLOCK_FIXED) else { return Ok(None) };
    let payload = usize::try_from(u32_at(fixed, 0)).unwrap_or(usize::MAX);
    if payload > BLOCK_BYTES_MAX {
        return Err(damaged());
    }
    let length = (BLOCK_FIXED + payload).next_multiple_of(ALIGN);
    let Some(block) = bytes.get(..length) else { return Ok(None) };
    if block_crc(seed, offset, block) != u32_at(block, 4) {
        return Err(damaged());
    }
    let kind = BlockKind::from_byte(block[8]).ok_or_else(damaged)?;
    let rows = u32_at(block, 12);
    Ok(Some(Block { kind, rows, payload: &block[BLOCK_FIXED..BLOCK_FIXED + payload], length }))
}

/// Over the file's header, the offset, and the block without its CRC field: a block of another file,
/// or one in the wrong place, is no block.
fn block_crc(seed: u32, offset: u64, block: &[u8]) -> u32 {
    let crc = crc32c_append(seed, &offset.to_le_bytes());
    let crc = crc32c_append(crc, &block[..4]);
    crc32c_append(crc, &block[8..])
}

/// Bytes a row takes in a payload.
pub fn row_bytes(rest: &[u8], value: &[u8]) -> usize {
    8 + rest.len() + value.len()
}

/// Appends a row to a payload: two lengths, what follows the kind in its key, the value.
pub fn push_row(payload: &mut Vec<u8>, rest: &[u8], value: &[u8]) {
    payload.extend(length32(rest.len()).to_le_bytes());
    payload.extend(length32(value.len()).to_le_bytes());
    payload.extend(rest);
    payload.extend(value);
}

/// Takes the first row off a payload: what follows the kind in its key, and the value.
pub fn pop_row<'a>(payload: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (lengths, rows) = payload.split_at_checked(8)?;
    let rest = usize::try_from(u32_at(lengths, 0)).ok()?;
    let value = usize::try_from(u32_at(lengths, 4)).ok()?;
    let (rest, rows) = rows.split_at_checked(rest)?;
    let (value, rows) = rows.split_at_checked(value)?;
    *payload = rows;
    Some((rest, value))
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

fn length32(length: usize) -> u32 {
    u32::try_from(length).expect("block_fits: limits keep every row far below 4 GiB")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}
