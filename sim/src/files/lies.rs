//! A disk that lies about synced bytes: a bit flips, a page that was reported as written is not, or
//! is written over another.
//!
//! Of the log only bytes that a later synced write attests are damaged: what a log promises to
//! notice (`core/src/wal/recover.rs`). Of snapshots, any synced byte once the final name is durable.
//! A disk that [`FileDisk::lie_about_young_writes`] damages younger ones too.

use std::collections::BTreeMap;
use std::ops::Range;

use understudy_core::disk::FileName;

use super::file::pages_of;
use super::names::FileId;
use super::{FileDisk, Lane, Lie, PAGE_BYTES};
use crate::dice::fold;
use crate::faults::{Counts, Fault};

/// What one sync wrote to one file.
pub(super) struct Written {
    pub id: FileId,
    pub bytes: Vec<Range<usize>>,
    /// What the platter had before.
    pub before: Vec<u8>,
}

impl FileDisk {
    /// The disk lies: at once, or at the next sync of the lane where it can. `value` says where.
    pub fn lie(&mut self, lie: Lie, lane: Lane, value: u64, counts: &mut Counts) {
        match (lie, lane) {
            (Lie::Rot, lane) => self.rot(lane, value, counts),
            (_, Lane::Wal) => self.wal.lie_next = Some((lie, value)),
            (_, Lane::Files) => self.files.lie_next = Some((lie, value)),
        }
    }

    /// From now on lies may concern what nothing attests yet. No log can notice those.
    pub fn lie_about_young_writes(&mut self) {
        self.lies = true;
    }

    fn rot(&mut self, lane: Lane, value: u64, counts: &mut Counts) {
        let files: Vec<(FileId, usize)> = self
            .names
            .iter()
            .filter(|&(name, _)| Lane::of(name) == lane)
            .map(|(name, id)| (id, self.sound_bytes(name, id)))
            .collect();
        let all: u64 = files.iter().map(|&(_, bytes)| bytes as u64).sum();
        if all == 0 {
            return;
        }
        let mut at = (value % all) as usize;
        for (id, bytes) in files {
            if at < bytes {
                let file = self.content(id);
                let flipped = file.platter(at) ^ (1 << (value >> 32 & 7));
                file.damage(at, &[flipped]);
                if lane == Lane::Files {
                    counts.fired(Fault::DamagedSnapshot);
                }
                return counts.fired(Fault::BitRot);
            }
            at -= bytes;
        }
    }

    /// Damages one page of what was just reported as synced; false if it finds no place.
    pub(super) fn lie_about(
        &mut self,
        (lie, value): (Lie, u64),
        written: &[Written],
        counts: &mut Counts,
    ) -> bool {
        let pieces: Vec<(&Written, Range<usize>)> = written
            .iter()
            .flat_map(|written| written.pieces().into_values().map(move |bytes| (written, bytes)))
            .collect();
        if pieces.is_empty() {
            return false;
        }
        let (Written { id, before, .. }, bytes) =
            &pieces[fold(value, 0, pieces.len() as u64 - 1) as usize];
        let right = self.contents[id].synced()[bytes.clone()].to_vec();
        if lie == Lie::MisdirectWrite {
            // Wholly on what must be noticed, so that the harm is seen at the next start.
            let targets = self.sound_pages(*id, bytes.start / PAGE_BYTES);
            if targets.is_empty() {
                return false;
            }
            let (other, page) = targets[fold(value >> 16, 0, targets.len() as u64 - 1) as usize];
            self.content(other).damage(page * PAGE_BYTES + bytes.start % PAGE_BYTES, &right);
        }
        let old = bytes.clone().map(|at| before.get(at).copied().unwrap_or(0));
        let old: Vec<u8> = old.collect();
        self.content(*id).damage(bytes.start, &old);
        counts.fired(match lie {
            Lie::MisdirectWrite => Fault::MisdirectedWrite,
            Lie::LoseWrite | Lie::Rot => Fault::LostWrite,
        });
        true
    }

    /// Whole pages of what must be noticed when it is damaged, but one.
    fn sound_pages(&self, but_of: FileId, but: usize) -> Vec<(FileId, usize)> {
        let mut pages = Vec::new();
        for (name, id) in self.names.iter() {
            let whole = self.sound_bytes(name, id) / PAGE_BYTES;
            pages.extend((0..whole).map(|page| (id, page)).filter(|&page| page != (but_of, but)));
        }
        pages
    }

    /// How many of a file's first bytes may be damaged.
    fn sound_bytes(&self, name: FileName, id: FileId) -> usize {
        let length = self.contents[&id].synced().len();
        match name {
            FileName::Segment(number) => {
                let end = if self.lies { self.promised.wal_end } else { self.wal.attested };
                let bytes = end.saturating_sub(self.segment_start(number));
                usize::try_from(bytes).unwrap_or(usize::MAX).min(length)
            }
            FileName::Snapshot(..) if self.names.is_durable(name) => length,
            FileName::Snapshot(..) | FileName::Part(..) => 0,
        }
    }

    /// Below which byte of a file damage shows.
    pub(super) fn damage_limit(&self, name: FileName) -> usize {
        match name {
            FileName::Segment(number) if !self.lies => {
                let bytes = self.wal.attested.saturating_sub(self.segment_start(number));
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        }
    }

    /// The disk was lucky with what need not be noticed yet; see the module's words.
    pub(super) fn forgive_young_damage(&mut self) {
        let names: Vec<(FileName, FileId)> = self.names.iter().collect();
        for (name, id) in names {
            let limit = match name {
                FileName::Segment(_) => self.damage_limit(name),
                FileName::Snapshot(..) | FileName::Part(..) => self.sound_bytes(name, id),
            };
            self.content(id).forgive_from(limit);
        }
    }
}

impl Lane {
    /// Whose bytes a file holds.
    fn of(name: FileName) -> Lane {
        match name {
            FileName::Segment(_) => Lane::Wal,
            FileName::Snapshot(..) | FileName::Part(..) => Lane::Files,
        }
    }
}

impl Written {
    /// What was written, a page at a time.
    fn pieces(&self) -> BTreeMap<usize, Range<usize>> {
        let mut pieces = BTreeMap::new();
        for bytes in &self.bytes {
            for page in pages_of(bytes) {
                let start = (page * PAGE_BYTES).max(bytes.start);
                let end = ((page + 1) * PAGE_BYTES).min(bytes.end);
                let piece: &mut Range<usize> = pieces.entry(page).or_insert(start..end);
                *piece = piece.start.min(start)..piece.end.max(end);
            }
        }
        pieces
    }
}
