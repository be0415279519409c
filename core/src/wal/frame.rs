//! The bytes of the WAL. All integers little-endian; header and frames start at multiples of 8.
//!
//! ```text
//! segment = header frame* zero*
//! header  = magic[8] version:u32 length:u32 codec(SegmentHeader)[length] pad crc:u32 zero:u32
//! frame   = length:u32 crc:u32 kind:u8 zero[3] group:u32 term:u64 index:u64 attested:u64
//!           payload[length] pad
//! ```
//!
//! The log is one space of bytes, cut into segments of equal size: byte `n` of segment `s` is at
//! offset `s * segment_bytes + n` of the log. A frame's CRC32C covers the log's identity and the
//! frame's own offset in the log as well as its bytes: a frame of another log, or one that the disk
//! put in the wrong place, is not a frame here.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Corrupt};
use crate::limits;
use crate::message::{LogEntry, LogPosition, Payload, Vote};
use crate::types::{GroupId, Identity, Incarnation, Namespace, NodeId, ReplicaId};

const MAGIC: &[u8; 8] = b"UNDRSTDY";
/// The version of the format.
pub const VERSION: u32 = 4;
const SEGMENT_FIXED: usize = 16;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER: usize = 40;
/// Frames start at multiples of this.
pub const ALIGN: usize = 8;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry is appended to the group's log.
    Entry(GroupId, LogEntry),
    /// The group's vote.
    Vote(GroupId, Vote),
    /// Everything after this position is gone; `None` keeps nothing.
    Truncate(GroupId, Option<LogPosition>),
    /// Everything up to this position may go; only a mark.
    Purge(GroupId, LogPosition),
    /// A quorum has everything up to here. Rides along with other frames.
    Commit(GroupId, LogPosition),
    /// From whom alone this replica takes the group's first members.
    Founder(GroupId, ReplicaId),
    /// Says nothing but its attestation.
    Trailer,
    /// The namespace that the group holds; its first record.
    Namespace(GroupId, Namespace),
    /// The first frame of every segment but the very first: where the frames of the one before end.
    Begin(u64),
}

/// A frame as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says; `None` for an intact frame of a kind this version does not know.
    pub record: Option<Record>,
    /// Every byte of the log below this offset was synced before this frame was written.
    pub attested: u64,
    /// Where the next frame of the segment starts, in bytes of the segment.
    pub end: usize,
}

/// What stands in a segment's first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// Whose log it is.
    pub identity: Identity,
    /// Its place in the log.
    pub number: u64,
    /// Bytes of every segment of this log.
    pub segment_bytes: u64,
}

impl SegmentHeader {
    /// The header's bytes; the first frame follows.
    pub fn encode(&self) -> Vec<u8> {
        let body = codec::encode(self);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(length32(body.len()).to_le_bytes());
        bytes.extend(body);
        pad(&mut bytes);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        pad(&mut bytes);
        bytes
    }

    /// Reads the header of `segment`, and says where its first frame starts.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn decode(segment: &[u8]) -> Result<(SegmentHeader, usize), Corrupt> {
        let corrupt = |what: &str| Corrupt(what.to_owned());
        let fixed = segment.get(..SEGMENT_FIXED).ok_or_else(|| corrupt("it is too short"))?;
        if &fixed[..8] != MAGIC {
            return Err(corrupt("it does not begin as a log of this program does"));
        }
        let length = usize::try_from(u32_at(fixed, 12)).unwrap_or(usize::MAX);
        let padded = SEGMENT_FIXED.saturating_add(length).checked_next_multiple_of(ALIGN);
        let end = padded.and_then(|padded| padded.checked_add(ALIGN));
        let header = end.and_then(|end| segment.get(..end));
        let (Some(header), Some(padded)) = (header, padded) else {
            return Err(corrupt("its header is cut short"));
        };
        let intact = crc32c::crc32c(&header[..padded]) == u32_at(header, padded);
        if !intact || u32_at(header, padded + 4) != 0 {
            return Err(corrupt("its header is damaged"));
        }
        let version = u32_at(fixed, 8);
        if version != VERSION {
            return Err(Corrupt(format!(
                "its format is version {version}, not {VERSION}; run the version that wrote it"
            )));
        }
        let header: SegmentHeader = codec::decode(&segment[SEGMENT_FIXED..SEGMENT_FIXED + length])?;
        Ok((header, padded + ALIGN))
    }
}

/// What the CRC of every frame of a log starts from. Not the header's own CRC: frames are told from
/// garbage also where a header is damaged.
pub fn seed(identity: &Identity) -> u32 {
    crc32c::crc32c(&codec::encode(identity))
}

/// Appends `record` as a frame that will lie at offset `offset` of the log.
pub fn encode(bytes: &mut Vec<u8>, seed: u32, offset: u64, attested: u64, record: &Record) {
    let zero = LogPosition { term: 0, index: 0 };
    let at = |group: &GroupId, position: LogPosition| (*group, position.term, position.index);
    let (kind, (group, term, index), payload): (u8, _, Vec<u8>) = match record {
        Record::Entry(group, entry) => {
            (1, at(group, entry.position), codec::encode(&entry.payload))
        }
        Record::Vote(group, vote) => {
            let mut payload = vote.node.incarnation.0.to_le_bytes().to_vec();
            payload.push(u8::from(vote.committed));
            (2, (*group, vote.term, vote.node.node.0), payload)
        }
        Record::Truncate(group, keep) => {
            (3, at(group, keep.unwrap_or(zero)), vec![u8::from(keep.is_some())])
        }
        Record::Purge(group, position) => (4, at(group, *position), vec![]),
        Record::Commit(group, position) => (5, at(group, *position), vec![]),
        Record::Founder(group, ReplicaId { node, incarnation }) => {
            (6, (*group, incarnation.0, node.0), vec![])
        }
        Record::Trailer => (7, (GroupId(0), 0, 0), vec![]),
        Record::Namespace(group, name) => (8, at(group, zero), name.as_str().as_bytes().to_vec()),
        Record::Begin(previous) => (9, (GroupId(0), 0, *previous), vec![]),
    };
    let start = bytes.len();
    bytes.extend(length32(payload.len()).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, 0, 0, 0]);
    bytes.extend(group.0.to_le_bytes());
    bytes.extend(term.to_le_bytes());
    bytes.extend(index.to_le_bytes());
    bytes.extend(attested.to_le_bytes());
    bytes.extend(payload);
    pad(bytes);
    let crc = frame_crc(seed, offset, &bytes[start..]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The frame at byte `at` of `segment`, which begins at offset `base` of the log, or `None` when the
/// bytes there are no intact frame.
pub fn decode(segment: &[u8], seed: u32, base: u64, at: usize) -> Option<Frame> {
    let header = segment.get(at..at.checked_add(FRAME_HEADER)?)?;
    let length = usize::try_from(u32_at(header, 0)).ok()?;
    if length > limits::FRAME_BYTES_MAX || header[9..12] != [0, 0, 0] {
        return None;
    }
    let end = (at + FRAME_HEADER + length).next_multiple_of(ALIGN);
    let frame = segment.get(at..end)?;
    let offset = base.checked_add(u64::try_from(at).ok()?)?;
    if frame_crc(seed, offset, frame) != u32_at(header, 4) && !planted!(WalWithoutCrc) {
        return None;
    }
    let payload = &frame[FRAME_HEADER..FRAME_HEADER + length];
    let position = LogPosition { term: u64_at(header, 16), index: u64_at(header, 24) };
    let record = decode_record(header[8], GroupId(u32_at(header, 12)), position, payload);
    Some(Frame { record, attested: u64_at(header, 32), end })
}

fn decode_record(
    kind: u8,
    group: GroupId,
    position: LogPosition,
    payload: &[u8],
) -> Option<Record> {
    let node = NodeId(position.index);
    Some(match (kind, payload) {
        (1, payload) => {
            let payload: Payload = codec::decode(payload).ok()?;
            Record::Entry(group, LogEntry { position, payload })
        }
        (2, &[ref incarnation @ .., committed @ (0 | 1)]) => {
            let incarnation = Incarnation(u64::from_le_bytes(incarnation.try_into().ok()?));
            let node = ReplicaId { node, incarnation };
            Record::Vote(group, Vote { term: position.term, node, committed: committed == 1 })
        }
        (3, &[1]) => Record::Truncate(group, Some(position)),
        (3, &[0]) => Record::Truncate(group, None),
        (4, []) => Record::Purge(group, position),
        (5, []) => Record::Commit(group, position),
        (6, []) => {
            let incarnation = Incarnation(position.term);
            Record::Founder(group, ReplicaId { node, incarnation })
        }
        (7, []) => Record::Trailer,
        (8, name) => {
            let name = std::str::from_utf8(name).ok()?;
            Record::Namespace(group, Namespace::new(name).ok()?)
        }
        (9, []) => Record::Begin(position.index),
        _ => return None,
    })
}

/// Over the log's identity, the offset, and the frame without its CRC field.
pub fn frame_crc(seed: u32, offset: u64, frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &frame[..4]);
    crc32c::crc32c_append(crc, &frame[8..])
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

fn length32(length: usize) -> u32 {
    u32::try_from(length).expect("frame_fits: limits keep every payload below FRAME_BYTES_MAX")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests;
