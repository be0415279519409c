//! The frame of a backup: records, each checked against everything before it.
//!
//! `docs/FORMAT.md` draws it. A record's CRC32C goes on from that of the record before, over all bytes
//! of the file but the CRC fields themselves. (A CRC that covered the one before would forget what
//! that one covered: data followed by its own CRC always gives the same.) So a record that was
//! altered, moved, left out, repeated or taken from another backup does not fit where it stands, and
//! the end record says that nothing is missing.

use crc32c::{crc32c, crc32c_append};
use serde::{Deserialize, Serialize};
use understudy_core::GroupId;

use super::{Header, NotIntact};

const MAGIC: &[u8; 8] = b"UNDRBKUP";
const VERSION: u32 = 3;
/// Records begin and end at multiples of this; padding is zero.
const ALIGN: usize = 8;
/// Magic, version, zero.
const PREFIX: usize = 16;
/// Kind, zero, group, length, crc.
const FIXED: usize = 16;
/// A longer record is garbage: the longest block of a snapshot is far below.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

const HEADER: u8 = 1;
const SECTION: u8 = 2;
const END: u8 = 3;

/// What the last record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    /// Records before it.
    records: u64,
    /// Bytes of all sections.
    bytes: u64,
}

/// Makes the bytes of a backup.
#[derive(Debug)]
pub struct Writer {
    chain: u32,
    totals: Totals,
}

impl Writer {
    /// The first bytes of a file.
    pub fn begin(header: &Header) -> (Writer, Vec<u8>) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        let totals = Totals { records: 0, bytes: 0 };
        let mut writer = Writer { chain: crc32c(&bytes), totals };
        let text = serde_json::to_vec(header).expect("header_total: a header always prints");
        bytes.extend(writer.record(HEADER, GroupId(0), &text));
        (writer, bytes)
    }

    /// The next bytes of the section of `group`.
    ///
    /// # Panics
    /// `record_is_bounded`: beyond [`RECORD_BYTES_MAX`].
    pub fn section(&mut self, group: GroupId, bytes: &[u8]) -> Vec<u8> {
        self.totals.bytes += bytes.len() as u64;
        self.record(SECTION, group, bytes)
    }

    /// The last bytes of the file.
    pub fn finish(mut self) -> Vec<u8> {
        let text = serde_json::to_vec(&self.totals).expect("totals_total: numbers always print");
        self.record(END, GroupId(0), &text)
    }

    fn record(&mut self, kind: u8, group: GroupId, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= RECORD_BYTES_MAX, "record_is_bounded: {} bytes", payload.len());
        let length = u32::try_from(payload.len()).expect("record_is_bounded: far below 4 GiB");
        let mut bytes = Vec::with_capacity(FIXED + payload.len() + ALIGN);
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend(group.0.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        self.chain = chain(self.chain, &bytes);
        bytes[12..16].copy_from_slice(&self.chain.to_le_bytes());
        self.totals.records += 1;
        bytes
    }
}

/// Over a record without its CRC field.
fn chain(before: u32, record: &[u8]) -> u32 {
    crc32c_append(crc32c_append(before, &record[..12]), &record[FIXED..])
}

/// What is in a backup, in this order: the header, the sections' bytes, the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What it says of itself.
    Header(Header),
    /// The next bytes of the section of this group.
    Section(GroupId, Vec<u8>),
    /// Nothing is missing.
    End,
}

/// Takes the bytes of a backup in pieces of any size and gives its records, each of them checked. It
/// holds a record, and the bytes that were pushed and not yet asked for.
#[derive(Debug, Default)]
pub struct Reader {
    /// Pushed and not yet looked at, from `used` on.
    bytes: Vec<u8>,
    used: usize,
    /// Of the first byte not yet looked at.
    offset: u64,
    chain: u32,
    records: u64,
    section_bytes: u64,
    ended: bool,
}

impl Reader {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record, or `None` while more bytes are needed.
    ///
    /// # Errors
    /// The first thing that is wrong. Nothing that comes after it is to be believed.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, NotIntact> {
        let left = &self.bytes[self.used..];
        if self.ended {
            return if left.is_empty() {
                Ok(None)
            } else {
                Err(self.wrong("it goes on behind its end"))
            };
        }
        if self.offset == 0 {
            let Some(prefix) = left.get(..PREFIX) else { return Ok(None) };
            self.check_prefix(prefix)?;
            self.chain = crc32c(prefix);
            self.pass(PREFIX);
        }
        let left = &self.bytes[self.used..];
        let Some(fixed) = left.get(..FIXED) else { return Ok(None) };
        let length = usize::try_from(u32_at(fixed, 8)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(self.wrong("a record is damaged"));
        }
        let padded = (FIXED + length).next_multiple_of(ALIGN);
        let Some(record) = left.get(..padded) else { return Ok(None) };
        let chained = chain(self.chain, record);
        if chained != u32_at(record, 12) {
            return Err(self.wrong("a record is damaged, or does not belong there"));
        }
        let (kind, group) = (record[0], GroupId(u32_at(record, 4)));
        let piece = self.piece(kind, group, &record[FIXED..FIXED + length])?;
        self.chain = chained;
        self.records += 1;
        self.pass(padded);
        if let Piece::Section(_, bytes) = &piece {
            self.section_bytes += bytes.len() as u64;
        }
        self.ended = piece == Piece::End;
        Ok(Some(piece))
    }

    /// Says that the file ends here; returns its length.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<u64, NotIntact> {
        if self.ended && self.used == self.bytes.len() {
            return Ok(self.offset);
        }
        Err(self.wrong("it ends too early"))
    }

    fn check_prefix(&self, prefix: &[u8]) -> Result<(), NotIntact> {
        if &prefix[..8] != MAGIC {
            return Err(self.wrong("it does not begin as a backup of this program does"));
        }
        let version = u32_at(prefix, 8);
        if version != VERSION {
            return Err(self.wrong(&format!("its format is version {version}, not {VERSION}")));
        }
        if u32_at(prefix, 12) != 0 {
            return Err(self.wrong("its first bytes are damaged"));
        }
        Ok(())
    }

    fn piece(&self, kind: u8, group: GroupId, payload: &[u8]) -> Result<Piece, NotIntact> {
        let first = self.records == 0;
        match kind {
            HEADER if first => {
                let header = serde_json::from_slice(payload);
                let header = header.map_err(|error| self.wrong(&format!("its header: {error}")))?;
                Ok(Piece::Header(header))
            }
            SECTION if !first => Ok(Piece::Section(group, payload.to_vec())),
            END if !first => {
                let counted = Totals { records: self.records, bytes: self.section_bytes };
                match serde_json::from_slice::<Totals>(payload) {
                    Ok(totals) if totals == counted => Ok(Piece::End),
                    _ => Err(self.wrong("its records are not those it was written with")),
                }
            }
            _ => Err(self.wrong("a record is of no known kind, or in the wrong place")),
        }
    }

    fn pass(&mut self, length: usize) {
        self.used += length;
        self.offset += length as u64;
    }

    fn wrong(&self, reason: &str) -> NotIntact {
        NotIntact { offset: self.offset, reason: reason.to_owned() }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}
