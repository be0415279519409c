//! Frames between peers: a header that is checked before anything it says is believed.
//!
//! ```text
//!  0      4         6      7      8        12       16
//!  | USPR | version | kind | zero | length | crc32c | payload …
//! ```
//! Integers are little-endian. The checksum covers the first twelve bytes and the payload.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The version of frames and handshake. Another one is refused by name.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"USPR";

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The dialer says who it is.
    Hello,
    /// The listener agrees.
    Welcome,
    /// The listener does not, and says why.
    Refused,
    /// Messages of one turn.
    Messages,
}

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Bytes of payload.
    pub length: usize,
    crc: u32,
    crc_so_far: u32,
}

/// Why bytes are not a frame. The connection ends, nothing else.
#[derive(Debug)]
pub enum FrameError {
    /// The connection ended or failed.
    Io(io::Error),
    /// Not a frame of this protocol.
    Garbage(&'static str),
    /// A frame of another version.
    Version(u16),
    /// Longer than agreed.
    TooLong(usize),
}

/// One whole frame, ready to send.
///
/// # Panics
/// When `payload` has 4 GiB or more: every sender's limit is far below.
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frame_length: below the frame limit");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind.to_byte(), 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads a header; refuses a payload of more than `length_max` bytes before a byte of it is read.
///
/// # Errors
/// [`FrameError`] when the connection ends or the bytes are not a header.
pub async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    length_max: usize,
) -> Result<Header, FrameError> {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes).await.map_err(FrameError::Io)?;
    Header::parse(&bytes, length_max)
}

/// Reads the payload that belongs to `header`.
///
/// # Errors
/// [`FrameError`] when the connection ends or the checksum differs.
pub async fn read_payload(
    stream: &mut (impl AsyncRead + Unpin),
    header: Header,
) -> Result<Vec<u8>, FrameError> {
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await.map_err(FrameError::Io)?;
    if crc32c::crc32c_append(header.crc_so_far, &payload) != header.crc {
        return Err(FrameError::Garbage("the checksum differs"));
    }
    Ok(payload)
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES], length_max: usize) -> Result<Header, FrameError> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        // A TLS handshake begins so.
        if bytes[..2] == [0x16, 3] {
            let what = "it speaks TLS and this node does not; set `[peer_tls]` on every node";
            return Err(FrameError::Garbage(what));
        }
        if bytes[..4] != MAGIC {
            return Err(FrameError::Garbage("it does not begin like a frame"));
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = Kind::from_byte(bytes[6]).ok_or(FrameError::Garbage("the kind is unknown"))?;
        let length = u32_at(8) as usize;
        if length > length_max {
            return Err(FrameError::TooLong(length));
        }
        Ok(Header { kind, length, crc: u32_at(12), crc_so_far: crc32c::crc32c(&bytes[..12]) })
    }
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Welcome => 2,
            Kind::Refused => 3,
            Kind::Messages => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Hello, Kind::Welcome, Kind::Refused, Kind::Messages]
            .into_iter()
            .find(|kind| kind.to_byte() == byte)
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Io(error) => error.fmt(f),
            FrameError::Garbage(what) => f.write_str(what),
            FrameError::Version(version) => write!(
                f,
                "it speaks peer protocol {version}, this node {VERSION}; run the same version"
            ),
            FrameError::TooLong(length) => {
                write!(f, "it announces {length} bytes, above the limit")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<(Kind, Vec<u8>), FrameError> {
        let header = read_header(&mut bytes, 1000).await?;
        Ok((header.kind, read_payload(&mut bytes, header).await?))
    }

    #[tokio::test]
    async fn a_frame_comes_back() {
        let (kind, payload) = read(&frame(Kind::Messages, b"hello")).await.unwrap();
        assert_eq!((kind, payload.as_slice()), (Kind::Messages, b"hello".as_slice()));
    }

    #[tokio::test]
    async fn every_flipped_bit_is_refused() {
        let good = frame(Kind::Hello, b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).await.is_err(), "bit {bit}");
        }
    }

    #[tokio::test]
    async fn every_cut_frame_is_refused() {
        let good = frame(Kind::Welcome, b"payload");
        for len in 0..good.len() {
            assert!(matches!(read(&good[..len]).await, Err(FrameError::Io(_))), "{len} bytes");
        }
    }
}
