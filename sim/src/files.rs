//! A disk with a data folder on it: the log's segments, snapshots, and names that are durable or not.
//! Pure: it is told the time and says when something is done.
//!
//! Two lanes work at once, and a crash hits both.
//!
//! - The **WAL lane** writes to segments that are there already. The log is one space of bytes, cut
//!   into segments of equal size; a write lies within one. Writes become durable in the order
//!   issued, a whole queue per sync (group commit), over all segments that the queue touches.
//! - The **files lane** runs the operations of [`understudy_core::Effect::Files`] and reads, one after
//!   the other. Each takes its time, so a crash comes between any two.
//!
//! What can go wrong, and where each is modelled:
//!
//! - A **crash** keeps what was synced. Of the rest it keeps nothing, or any subset of the 4 KiB pages
//!   that were written, the last torn at any byte; lost pages read as what was there before, and a
//!   file's size is any it had (`files/file.rs`). Of changes of names it keeps none, or for each name
//!   the first few (`files/names.rs`).
//! - A **failed** operation ends its effect. A failed sync loses what it covered for good, and later
//!   syncs report success, as Linux does.
//! - A disk is **full** for a while, or of a size: what does not fit fails.
//! - A **damaged** disk lies about synced bytes (`files/lies.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use understudy_core::disk::{DiskOp, FileName};
use understudy_core::input::{IoFailed, IoId};
use understudy_core::{Rng, Seed};

use crate::faults::{Counts, Fault};

mod file;
mod image;
mod lies;
mod names;
mod ops;
pub mod store;
mod wal;

pub use image::{Damaged, FolderImage, Image};

use file::File;
use names::{FileId, Names};

/// Bytes that reach the platter together.
pub const PAGE_BYTES: usize = 4096;

/// How long a sync takes, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
}

/// How a disk is about to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// A bit of a synced block flips.
    Rot,
    /// A page of the next write is reported as synced and never written.
    LoseWrite,
    /// A page of the next write goes to another page's place.
    MisdirectWrite,
}

/// How a disk is about to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// The next write.
    Write,
    /// The next sync.
    Sync,
}

/// Which work a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The log.
    Wal,
    /// All else: snapshots, new segments, names.
    Files,
}

/// What is done next, for whoever wants to kill the node just before or just after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<'a> {
    /// A sync of the log.
    WalSync,
    /// An operation of an effect.
    Op {
        /// The effect.
        io: IoId,
        /// Which of its operations, from 0.
        number: usize,
        /// How many it has.
        of: usize,
        /// What it does; `None` for an effect without operations.
        op: Option<&'a DiskOp>,
    },
    /// A read.
    Read {
        /// The effect.
        io: IoId,
        /// The file.
        file: FileName,
    },
}

/// Something that a process asked for is done, or has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A write of the log.
    Wal {
        /// Which.
        io: IoId,
        /// Where it ends in the log.
        end: u64,
        /// What came of it.
        result: Result<(), IoFailed>,
    },
    /// All operations of an effect, or those up to the one that failed.
    Files {
        /// Which.
        io: IoId,
        /// What came of them.
        result: Result<(), IoFailed>,
    },
    /// A read.
    Read {
        /// Which.
        io: IoId,
        /// The bytes.
        result: Result<Vec<u8>, IoFailed>,
        /// They are not what was written there.
        damaged: bool,
    },
}

/// What the disk has reported as durable, and nobody has asked it to take away since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// All of the log below this, without a failure before it.
    pub wal_end: u64,
    /// Segments and snapshots under their names, with their sizes. Of snapshots all bytes; of
    /// segments what `wal_end` says.
    pub files: BTreeMap<FileName, u64>,
}

/// One node's disk.
pub struct FileDisk {
    segment_bytes: u64,
    /// Bytes that all files together may take.
    capacity: u64,
    latency: Latency,
    /// While set, a sync takes this long, up to the given time.
    slow: Option<(Latency, u64)>,
    stalled_until: u64,
    full_until: u64,
    /// The same for all but the log, whose space is there already.
    files_full_until: u64,
    /// Damages also what nothing attests yet.
    lies: bool,
    names: Names,
    contents: BTreeMap<FileId, File>,
    last_id: FileId,
    promised: Promised,
    wal: wal::WalLane,
    files: ops::FilesLane,
}

impl FileDisk {
    /// An empty folder on a disk without an end.
    pub fn new(segment_bytes: u64, latency: Latency, seed: Seed) -> FileDisk {
        FileDisk {
            segment_bytes,
            capacity: u64::MAX,
            latency,
            slow: None,
            stalled_until: 0,
            full_until: 0,
            files_full_until: 0,
            lies: false,
            names: Names::default(),
            contents: BTreeMap::new(),
            last_id: 0,
            promised: Promised::default(),
            // Streams of their own: what one lane does shifts nothing in the other.
            wal: wal::WalLane::new(seed.child("wal").rng()),
            files: ops::FilesLane::new(seed.child("files").rng()),
        }
    }

    // ---- time -----------------------------------------------------------------------------------

    /// When [`FileDisk::complete`] has something to do. Any call may change it.
    pub fn deadline(&self) -> Option<u64> {
        self.first_due().map(|(at, _)| at.max(self.stalled_until))
    }

    /// What [`FileDisk::complete`] would do now.
    pub fn due(&self, now: u64) -> Option<Due<'_>> {
        match self.due_lane(now)? {
            Lane::Wal => Some(Due::WalSync),
            Lane::Files => self.files.due(),
        }
    }

    /// Does what is due, one sync or one operation at a time: call it again while [`FileDisk::due`]
    /// says so. An operation that is not its effect's last completes nothing.
    pub fn complete(&mut self, now: u64, counts: &mut Counts) -> Vec<Completion> {
        match self.due_lane(now) {
            None => Vec::new(),
            Some(Lane::Wal) => self.complete_wal_sync(now, counts),
            Some(Lane::Files) => self.complete_step(now, counts).into_iter().collect(),
        }
    }

    fn first_due(&self) -> Option<(u64, Lane)> {
        let wal = self.wal.done_at().map(|at| (at, Lane::Wal));
        let files = self.files.done_at().map(|at| (at, Lane::Files));
        wal.into_iter().chain(files).min_by_key(|&(at, _)| at)
    }

    fn due_lane(&self, now: u64) -> Option<Lane> {
        let (at, lane) = self.first_due()?;
        (at.max(self.stalled_until) <= now).then_some(lane)
    }

    fn latency(&self, now: u64) -> Latency {
        self.slow.filter(|&(_, until)| now < until).map_or(self.latency, |(latency, _)| latency)
    }

    // ---- death and rebirth ----------------------------------------------------------------------

    /// The process dies: see the module's words for what is left. `torn` keeps some of what was not
    /// synced. Returns what had been promised to stay.
    pub fn crash(&mut self, torn: Option<u64>, counts: &mut Counts) -> Promised {
        if torn.is_none() && self.has_unsynced() {
            counts.fired(Fault::UnsyncedLoss);
        }
        self.wal.crash();
        self.files.crash();
        if !self.lies {
            self.forgive_young_damage();
        }
        let mut rng: Option<Rng> = torn.map(|value| Seed(value).rng());
        self.names.crash(rng.as_mut());
        self.forget_unreachable();
        for file in self.contents.values_mut() {
            file.crash(rng.as_mut());
        }
        self.promised.clone()
    }

    /// The process dies and the machine does not: what was not synced is still in the page cache,
    /// where the next process finds it, and where a later [`FileDisk::crash`] loses it unless that
    /// process syncs it first.
    pub fn kill(&mut self) -> Promised {
        self.wal.crash();
        self.files.crash();
        for file in self.contents.values_mut() {
            file.kill();
        }
        self.promised.clone()
    }

    /// A process that starts does this before its first step, each operation durably.
    ///
    /// # Errors
    /// What does not fit, or is not there; the operations behind it are left.
    pub fn apply_recovery(&mut self, ops: &[DiskOp]) -> Result<(), IoFailed> {
        for op in ops {
            self.run(op)?;
            match op {
                DiskOp::Create { file, .. } => {
                    self.run(&DiskOp::Sync { file: *file })?;
                    self.names.sync(file.folder());
                }
                DiskOp::Write { file, .. } | DiskOp::Resize { file, .. } => {
                    self.run(&DiskOp::Sync { file: *file })?;
                }
                DiskOp::Rename { to: file, .. } | DiskOp::Delete { file } => {
                    self.names.sync(file.folder());
                }
                DiskOp::Sync { .. } | DiskOp::SyncFolder { .. } => {}
            }
            self.forget_unreachable();
            self.promise_settled();
        }
        Ok(())
    }

    /// A process runs from here on, with a log that ends at `wal_end`: it takes all below that for
    /// synced, which after a [`FileDisk::crash`] it is.
    pub fn started(&mut self, wal_end: u64) {
        self.promised.wal_end = wal_end;
        self.wal.started(wal_end);
        if !self.lies {
            self.forgive_young_damage();
        }
        for file in self.contents.values_mut() {
            file.adopt();
        }
        self.promise_settled();
    }

    /// What is durable by now is promised.
    fn promise_settled(&mut self) {
        for (name, id) in self.names.iter() {
            let file = &self.contents[&id];
            let settled = match name {
                FileName::Segment(_) => true,
                FileName::Snapshot(..) => file.is_settled(),
                FileName::Part(..) => false,
            };
            if settled && self.names.is_durable(name) {
                self.promised.files.insert(name, file.synced().len() as u64);
            }
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reachable: BTreeSet<FileId> = self.names.reachable();
        reachable.extend(self.wal.open_files());
        self.contents.retain(|id, _| reachable.contains(id));
    }

    /// Whether there is anything that a crash could lose.
    pub fn has_unsynced(&self) -> bool {
        !self.wal.is_idle()
            || self.names.has_unsynced()
            || self.contents.values().any(File::has_unsynced)
    }

    /// What the disk has promised so far.
    pub fn promised(&self) -> &Promised {
        &self.promised
    }

    // ---- space ----------------------------------------------------------------------------------

    /// The disk holds this much. Files that are there stay.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// Bytes that all files together may take.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.names.iter().map(|(_, id)| self.contents[&id].cached().len() as u64).sum()
    }

    /// What the system calls free space: none while the disk takes no writes.
    pub fn free(&self, now: u64) -> u64 {
        if now < self.full_until.max(self.files_full_until) {
            0
        } else {
            self.capacity.saturating_sub(self.used())
        }
    }

    // ---- what is done to it ---------------------------------------------------------------------

    /// What starts before `until` takes as long as `latency` says.
    pub fn slow_down(&mut self, latency: Latency, until: u64) {
        self.slow = Some((latency, until));
    }

    /// Nothing ends before `until`.
    pub fn stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Whatever needs space fails until `until`; the log fails too, if it is the log's lane.
    pub fn fill_up(&mut self, lane: Lane, until: u64) {
        let full = match lane {
            Lane::Wal => &mut self.full_until,
            Lane::Files => &mut self.files_full_until,
        };
        *full = until.max(*full);
    }

    /// The lane's next write or sync fails.
    pub fn fail_next(&mut self, lane: Lane, fail: Fail) {
        match lane {
            Lane::Wal => self.wal.fail_next = Some(fail),
            Lane::Files => self.files.fail_next = Some(fail),
        }
    }

    /// No more trouble. What is damaged stays so, and a disk of a size keeps it.
    pub fn calm(&mut self) {
        self.slow = None;
        self.stalled_until = 0;
        self.full_until = 0;
        self.files_full_until = 0;
        self.wal.calm();
        self.files.calm();
        self.latency = Latency { min: 100_000, max: 300_000 };
    }

    // ---- one file -------------------------------------------------------------------------------

    fn id(&self, name: FileName) -> Result<FileId, IoFailed> {
        self.names.get(name).ok_or_else(|| failed(&format!("{name}: no such file or directory")))
    }

    fn content(&mut self, id: FileId) -> &mut File {
        self.contents.get_mut(&id).expect("named_files_have_content: only the unreachable goes")
    }
}

fn failed(why: &str) -> IoFailed {
    IoFailed::new(why)
}

const NO_SPACE: &str = "no space left on device";

#[cfg(test)]
mod tests;
