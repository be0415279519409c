//! The one place where our structs become bytes.
//!
//! bincode 2.0.1 with its standard configuration, over our own structs only, behind a format byte.
//! A change of any encoded struct is a change of format: the frozen-bytes tests fail.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// The first byte of everything encoded here.
pub const FORMAT: u8 = 3;

/// Bytes that are allocated for an encoded value before its size is known.
const ROOM: usize = 512;

/// Bytes that are not what they should be. A value to decide on, never an excuse to guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt(pub String);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of `value`.
///
/// # Panics
/// Never for our own structs: they hold nothing that bincode cannot encode.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Most values fit; growing from nothing would copy them half a dozen times.
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.push(FORMAT);
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .expect("codec_total: our structs always encode");
    bytes
}

/// The value in `bytes`, all of them.
///
/// # Errors
/// [`Corrupt`] for another format, damaged or left-over bytes. Allocates no more than
/// [`limits::FRAME_BYTES_MAX`] on the word of a length field.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Corrupt> {
    let (&format, body) = bytes.split_first().ok_or_else(|| Corrupt("no bytes".to_owned()))?;
    if format != FORMAT {
        return Err(Corrupt(format!("format {format} is not the known format {FORMAT}")));
    }
    let config = bincode::config::standard().with_limit::<{ limits::FRAME_BYTES_MAX }>();
    let (value, used) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| Corrupt(error.to_string()))?;
    if used != body.len() {
        return Err(Corrupt(format!("{} bytes are left over", body.len() - used)));
    }
    Ok(value)
}
