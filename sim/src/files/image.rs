//! What a process that starts finds.

use std::collections::BTreeMap;

use understudy_core::disk::{DiskImage, FileName};
use understudy_core::input::IoFailed;

use super::ops::place;
use super::{FileDisk, failed};

/// What a process that starts now reads.
pub struct Image {
    /// The folder.
    pub disk: FolderImage,
    /// Segments and snapshots that hold a byte that is not what was written and synced there, each
    /// with the first such byte; in the order of [`FileName`].
    pub damaged: Vec<Damaged>,
}

/// A damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which.
    pub file: FileName,
    /// Its first wrong byte.
    pub at: u64,
    /// The same place in the log, if it is a segment's.
    pub wal_at: Option<u64>,
    /// The last process had asked for its removal, or had given it its name, and a crash came before
    /// that was durable: the damage may be noticed, and need not be.
    pub forsaken: bool,
}

/// The bytes of all files at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderImage {
    /// Each file.
    pub files: BTreeMap<FileName, Vec<u8>>,
}

impl Image {
    /// The log's first wrong byte, in segments that nobody had asked to remove.
    pub fn wal_damaged_at(&self) -> Option<u64> {
        self.damaged.iter().filter(|damaged| !damaged.forsaken).find_map(|damaged| damaged.wal_at)
    }
}

impl DiskImage for FolderImage {
    fn files(&self) -> Result<Vec<(FileName, u64)>, IoFailed> {
        Ok(self.files.iter().map(|(&name, bytes)| (name, bytes.len() as u64)).collect())
    }

    fn read(&self, file: FileName, offset: u64, length: usize) -> Result<Vec<u8>, IoFailed> {
        let bytes = self
            .files
            .get(&file)
            .ok_or_else(|| failed(&format!("{file}: no such file or directory")))?;
        let end = place(offset).saturating_add(length).min(bytes.len());
        Ok(bytes[place(offset).min(end)..end].to_vec())
    }
}

impl FileDisk {
    /// What a process that starts now reads.
    pub fn image(&self) -> Image {
        let mut files = BTreeMap::new();
        let mut damaged = Vec::new();
        for (name, id) in self.names.iter() {
            let (file, limit) = (&self.contents[&id], self.damage_limit(name));
            files.insert(name, file.read(0, usize::MAX, limit));
            let (counts, is_young) = match name {
                FileName::Segment(_) => (true, false),
                FileName::Snapshot(..) => (true, !self.lies && !self.names.is_durable(name)),
                FileName::Part(..) => (false, false),
            };
            if let Some(at) = file.damaged_at(limit).filter(|_| counts) {
                let at = at as u64;
                let wal_at = match name {
                    FileName::Segment(number) => Some(self.segment_start(number) + at),
                    FileName::Snapshot(..) | FileName::Part(..) => None,
                };
                let forsaken = file.is_forsaken() || is_young;
                damaged.push(Damaged { file: name, at, wal_at, forsaken });
            }
        }
        Image { disk: FolderImage { files }, damaged }
    }
}
