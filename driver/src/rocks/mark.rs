//! How far the database had come at its last flush, in a file beside it.
//!
//! RocksDB takes a list of tables that ends early for one whose writer died, and opens as it was some
//! flushes ago; without its folder it makes a new one. Neither may pass for the rows that were
//! flushed, so what RocksDB then says of itself is compared with what it said before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use understudy_core::backend::BackendError;

/// The file beside the database's folder. It holds the sequence number of RocksDB's last flushed
/// change in decimal, and the CRC32C of that text.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Where it is.
    pub path: PathBuf,
}

impl Mark {
    /// For the database in `folder`.
    pub fn of(folder: &Path) -> Mark {
        Mark { path: beside(folder, ".flushed") }
    }

    /// The least sequence number with which the database must come back; 0 before the first flush.
    pub fn read(&self) -> Result<u64, BackendError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(self.failed("read", &error)),
        };
        parse(&text).ok_or_else(|| BackendError {
            reason: format!("`{}` is damaged", self.path.display()),
            damaged: true,
        })
    }

    /// Replaces it, durably.
    pub fn write(&self, sequence: u64) -> Result<(), BackendError> {
        let replace = || -> io::Result<()> {
            let new = beside(&self.path, ".new");
            let mut file = File::create(&new)?;
            file.write_all(print(sequence).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            sync_parent(&self.path)
        };
        replace().map_err(|error| self.failed("write", &error))
    }

    fn failed(&self, verb: &str, error: &io::Error) -> BackendError {
        let reason = format!("cannot {verb} `{}`: {error}", self.path.display());
        BackendError { reason, damaged: false }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// What names the folder around `path` has is durable when this is done.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn print(sequence: u64) -> String {
    let number = sequence.to_string();
    format!("{number} {:08x}\n", crc32c::crc32c(number.as_bytes()))
}

fn parse(text: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok()?;
    // One spelling only.
    (print(number).as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let text = print(4711).into_bytes();
        assert_eq!(parse(&text), Some(4711));
        assert_eq!(parse(&print(u64::MAX).into_bytes()), Some(u64::MAX));
        for place in 0..text.len() {
            assert_eq!(parse(&text[..place]), None);
            for bit in 0..8 {
                let mut harmed = text.clone();
                harmed[place] ^= 1 << bit;
                assert_eq!(parse(&harmed), None, "bit {bit} of byte {place}");
            }
        }
    }
}
