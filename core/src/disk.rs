//! The files of a data folder, as the core names them, and what it asks the driver to do with them.
//!
//! The core never opens a file. It emits [`DiskOp`]s, each the smallest thing after which a crash
//! may come, and reads the folder once, through [`DiskImage`], before the first step.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::input::IoFailed;
use crate::message::LogPosition;
use crate::types::GroupId;

/// One file of the data folder. Its text form is its path there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A segment of the WAL, by its number: `wal/0000000000000007.wal`.
    Segment(u64),
    /// A group's checkpoint or received snapshot, whole and synced: `snap/1-3-4711.snap` holds
    /// everything that group 1 had applied up to index 4711 of term 3.
    Snapshot(GroupId, LogPosition),
    /// A snapshot that is being written; worth nothing after a crash: `snap/1-9.part`.
    Part(GroupId, u64),
}

/// A folder inside the data folder; its entries are durable once it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// `wal`
    Wal,
    /// `snap`
    Snap,
}

impl FileName {
    /// Where it lies.
    pub fn folder(self) -> Folder {
        match self {
            FileName::Segment(_) => Folder::Wal,
            FileName::Snapshot(..) | FileName::Part(..) => Folder::Snap,
        }
    }
}

impl Folder {
    /// Every folder.
    pub const ALL: [Folder; 2] = [Folder::Wal, Folder::Snap];

    /// Its name in the data folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Folder::Wal => "wal",
            Folder::Snap => "snap",
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder().as_str();
        match self {
            FileName::Segment(number) => write!(f, "{folder}/{number:016}.wal"),
            FileName::Snapshot(group, LogPosition { term, index }) => {
                write!(f, "{folder}/{group}-{term}-{index}.snap")
            }
            FileName::Part(group, number) => write!(f, "{folder}/{group}-{number}.part"),
        }
    }
}

impl FromStr for FileName {
    type Err = String;

    fn from_str(path: &str) -> Result<FileName, String> {
        let parse = || {
            let (folder, name) = path.split_once('/')?;
            let (stem, kind) = name.rsplit_once('.')?;
            let mut numbers = stem.split('-').map(|number| number.parse::<u64>().ok());
            let mut next = || numbers.next().flatten();
            let group = |number: u64| u32::try_from(number).ok().map(GroupId);
            let file = match kind {
                "wal" => FileName::Segment(next()?),
                "snap" => {
                    let group = group(next()?)?;
                    FileName::Snapshot(group, LogPosition { term: next()?, index: next()? })
                }
                "part" => FileName::Part(group(next()?)?, next()?),
                _ => return None,
            };
            // One spelling only: whatever prints differently is somebody else's file.
            (folder == file.folder().as_str() && file.to_string() == path).then_some(file)
        };
        parse().ok_or_else(|| format!("`{path}` is not a file of a data folder"))
    }
}

/// One step of work on the data folder. They run in the order given; a crash may come between any
/// two, and keeps of what is not yet synced whatever it likes: pages of writes in any subset, names
/// that were created, renamed or deleted as they were before or after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Makes a new file of `size` zero bytes, or empties an existing one first. The space is
    /// allocated where the file system can do that.
    Create {
        /// The file.
        file: FileName,
        /// Bytes.
        size: u64,
    },
    /// Writes `bytes` at `offset`; the file grows if it has to.
    Write {
        /// The file.
        file: FileName,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Cuts the file to `size` bytes, or grows it with zeros.
    Resize {
        /// The file.
        file: FileName,
        /// Bytes.
        size: u64,
    },
    /// The file's bytes and size are durable when this is done.
    Sync {
        /// The file.
        file: FileName,
    },
    /// Gives a file another name, in place of whatever had it; atomic.
    Rename {
        /// The name now.
        from: FileName,
        /// The name then.
        to: FileName,
    },
    /// Removes a file; no error if it is not there.
    Delete {
        /// The file.
        file: FileName,
    },
    /// What names the folder has is durable when this is done.
    SyncFolder {
        /// The folder.
        folder: Folder,
    },
}

/// What a driver finds in the data folder before it starts a replica. Only looked at, never changed.
pub trait DiskImage {
    /// Every file with its size, in the order of [`FileName`]. Files that are none of the core's are
    /// left out.
    ///
    /// # Errors
    /// What the system said.
    fn files(&self) -> Result<Vec<(FileName, u64)>, IoFailed>;

    /// Up to `length` bytes at `offset`; fewer only where the file ends.
    ///
    /// # Errors
    /// What the system said.
    fn read(&self, file: FileName, offset: u64, length: usize) -> Result<Vec<u8>, IoFailed>;
}

/// A data folder in memory that never fails: what a disk would be without crashes. For tests, and the
/// plainest model of what a [`DiskOp`] means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryDisk {
    files: BTreeMap<FileName, Contents>,
}

/// Zeros at the end are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Contents {
    bytes: Vec<u8>,
    size: u64,
}

impl MemoryDisk {
    /// Does `ops`, in order.
    ///
    /// # Errors
    /// For an operation on a file that is not there.
    pub fn apply(&mut self, ops: &[DiskOp]) -> Result<(), IoFailed> {
        ops.iter().try_for_each(|op| self.apply_one(op))
    }

    fn apply_one(&mut self, op: &DiskOp) -> Result<(), IoFailed> {
        match op {
            DiskOp::Create { file, size } => {
                self.files.insert(*file, Contents { bytes: Vec::new(), size: *size });
            }
            DiskOp::Write { file, offset, bytes } => {
                let contents = self.contents(*file)?;
                let at = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = at + bytes.len();
                contents.bytes.resize(contents.bytes.len().max(end), 0);
                contents.bytes[at..end].copy_from_slice(bytes);
                contents.size = contents.size.max(u64::try_from(end).unwrap_or(u64::MAX));
            }
            DiskOp::Resize { file, size } => {
                let contents = self.contents(*file)?;
                contents.size = *size;
                contents.bytes.truncate(usize::try_from(*size).unwrap_or(usize::MAX));
            }
            DiskOp::Rename { from, to } => {
                let contents = self.files.remove(from).ok_or_else(|| missing(*from))?;
                self.files.insert(*to, contents);
            }
            DiskOp::Delete { file } => drop(self.files.remove(file)),
            DiskOp::Sync { file } => drop(self.contents(*file)?),
            DiskOp::SyncFolder { .. } => {}
        }
        Ok(())
    }

    fn contents(&mut self, file: FileName) -> Result<&mut Contents, IoFailed> {
        self.files.get_mut(&file).ok_or_else(|| missing(file))
    }

    /// Writes into the log: see [`crate::Effect::WalWrite`].
    ///
    /// # Errors
    /// When the segment was not made.
    pub fn write_log(
        &mut self,
        segment_bytes: u64,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), IoFailed> {
        let file = FileName::Segment(offset / segment_bytes);
        self.contents(file)?;
        self.apply_one(&DiskOp::Write { file, offset: offset % segment_bytes, bytes })
    }

    /// The bytes of a file without the zeros at its end, to look at or to damage.
    pub fn bytes_mut(&mut self, file: FileName) -> Option<&mut Vec<u8>> {
        self.files.get_mut(&file).map(|contents| &mut contents.bytes)
    }
}

fn missing(file: FileName) -> IoFailed {
    IoFailed::new(format!("`{file}`: no such file"))
}

impl DiskImage for MemoryDisk {
    fn files(&self) -> Result<Vec<(FileName, u64)>, IoFailed> {
        Ok(self.files.iter().map(|(&file, contents)| (file, contents.size)).collect())
    }

    fn read(&self, file: FileName, offset: u64, length: usize) -> Result<Vec<u8>, IoFailed> {
        let contents = self.files.get(&file).ok_or_else(|| missing(file))?;
        let size = usize::try_from(contents.size).unwrap_or(usize::MAX);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
        let end = start.saturating_add(length).min(size);
        let there = contents.bytes.get(start..end.min(contents.bytes.len()).max(start));
        let mut bytes = there.unwrap_or(&[]).to_vec();
        bytes.resize(end - start, 0);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_spelling() {
        let position = LogPosition { term: 3, index: 4711 };
        let files = [
            (FileName::Segment(7), "wal/0000000000000007.wal"),
            (FileName::Snapshot(GroupId(1), position), "snap/1-3-4711.snap"),
            (FileName::Part(GroupId(1), 9), "snap/1-9.part"),
        ];
        for (file, path) in files {
            assert_eq!(file.to_string(), path);
            assert_eq!(path.parse(), Ok(file));
        }
        for wrong in ["wal/7.wal", "snap/1-03-1.snap", "wal/1-9.part", "snap/1-2-3-4.snap", "x"] {
            assert!(wrong.parse::<FileName>().is_err(), "{wrong}");
        }
    }
}
