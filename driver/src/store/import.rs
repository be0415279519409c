//! A group's state out of a file of the data folder.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use understudy_core::GroupId;
use understudy_core::backend::{Backend, BackendError};

use super::Format;

/// Replaces the state of `group` by what the file at `path` holds, durably.
pub fn run(
    format: Format,
    backend: &dyn Backend,
    group: GroupId,
    path: &Path,
) -> Result<(), BackendError> {
    let failed = |error: io::Error| BackendError {
        reason: format!("cannot read `{}`: {error}", path.display()),
        damaged: false,
    };
    let file = File::open(path).map_err(failed)?;
    (format.import)(backend, group, &mut |offset, length| {
        read(&file, offset, length).map_err(failed)
    })
}

/// Fewer than `length` bytes only where the file ends.
fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
