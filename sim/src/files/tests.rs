//! The disk model, each way it goes wrong: that it can happen, and that nothing else does.

use std::collections::BTreeSet;

use understudy_core::disk::Folder;
use understudy_core::message::LogPosition;
use understudy_core::{Boot, GroupId};

use super::*;

mod damage;
mod names;
mod pages;
mod promises;
mod steps;
mod wal;

const LATENCY: Latency = Latency { min: 1_000, max: 1_000 };
const SEGMENT_BYTES: u64 = 4 * PAGE_BYTES as u64;
const HEADER: usize = 100;
const PART: FileName = FileName::Part(GroupId(1), 1);

/// The snapshot of group 1 at `index`.
fn snap(index: u64) -> FileName {
    FileName::Snapshot(GroupId(1), LogPosition { term: 1, index })
}

fn create(file: FileName, size: u64) -> DiskOp {
    DiskOp::Create { file, size }
}

fn write(file: FileName, offset: u64, bytes: &[u8]) -> DiskOp {
    DiskOp::Write { file, offset, bytes: bytes.to_vec() }
}

fn sync(file: FileName) -> DiskOp {
    DiskOp::Sync { file }
}

fn rename(from: FileName, to: FileName) -> DiskOp {
    DiskOp::Rename { from, to }
}

fn delete(file: FileName) -> DiskOp {
    DiskOp::Delete { file }
}

fn sync_folder(folder: Folder) -> DiskOp {
    DiskOp::SyncFolder { folder }
}

/// What makes a segment ready to be written to.
fn segment(number: u64) -> Vec<DiskOp> {
    let file = FileName::Segment(number);
    let header = write(file, 0, &[9; HEADER]);
    vec![create(file, SEGMENT_BYTES), header, sync(file), sync_folder(Folder::Wal)]
}

/// What makes a snapshot as one should.
fn snapshot(file: FileName, bytes: &[u8]) -> Vec<DiskOp> {
    let content = write(PART, 0, bytes);
    vec![create(PART, 0), content, sync(PART), rename(PART, file), sync_folder(Folder::Snap)]
}

/// A disk with the first segment, on which each sync takes a microsecond.
struct Bench {
    disk: FileDisk,
    counts: Counts,
    now: u64,
    ios: u64,
    /// Effects that have failed.
    failures: Vec<u64>,
}

impl Bench {
    fn new() -> Bench {
        let mut disk = FileDisk::new(SEGMENT_BYTES, LATENCY, Seed(1));
        disk.apply_recovery(&segment(0)).expect("there is space");
        disk.started(HEADER as u64);
        Bench { disk, counts: Counts::default(), now: 0, ios: 0, failures: Vec::new() }
    }

    /// A disk with what `ops` leave durably.
    fn with(ops: &[DiskOp]) -> Bench {
        let mut bench = Bench::new();
        bench.disk.apply_recovery(ops).expect("the operations work");
        bench.disk.started(HEADER as u64);
        bench
    }

    fn io(&mut self) -> IoId {
        self.ios += 1;
        IoId { boot: Boot(1), number: self.ios }
    }

    /// Writes to the log, in the segment where it ends.
    fn write(&mut self, length: usize) {
        self.write_at(self.disk.wal_end(), length);
    }

    fn write_at(&mut self, offset: u64, length: usize) {
        let io = self.io();
        self.disk.wal_write(self.now, io, offset, vec![7; length], &mut self.counts);
    }

    fn files(&mut self, ops: &[DiskOp]) -> u64 {
        let io = self.io();
        self.disk.files(self.now, io, ops.to_vec());
        io.number
    }

    /// Does the next thing that is due, whenever that is; the process hears of it.
    fn tick(&mut self) -> Option<Vec<Completion>> {
        self.now = self.now.max(self.disk.deadline()?);
        let completions = self.disk.complete(self.now, &mut self.counts);
        for completion in &completions {
            match completion {
                Completion::Wal { end, result: Ok(()), .. } => self.disk.told(*end),
                Completion::Wal { io, .. }
                | Completion::Files { io, result: Err(_) }
                | Completion::Read { io, result: Err(_), .. } => self.failures.push(io.number),
                Completion::Files { .. } | Completion::Read { .. } => {}
            }
        }
        Some(completions)
    }

    /// Lets everything come to its end; whether each effect worked.
    fn pass(&mut self) -> Vec<bool> {
        let mut done = Vec::new();
        while let Some(completions) = self.tick() {
            done.extend(completions.into_iter().map(|completion| match completion {
                Completion::Wal { result, .. } | Completion::Files { result, .. } => result.is_ok(),
                Completion::Read { result, .. } => result.is_ok(),
            }));
        }
        done
    }

    /// Runs `ops` to their end.
    fn run(&mut self, ops: &[DiskOp]) {
        self.files(ops);
        assert_eq!(self.pass(), [true]);
    }

    fn crash(&mut self, torn: Option<u64>) -> Promised {
        self.disk.crash(torn, &mut self.counts)
    }

    fn found(&self, file: FileName) -> Option<Vec<u8>> {
        self.disk.image().disk.files.remove(&file)
    }

    /// The first segment.
    fn wal(&self) -> Vec<u8> {
        self.found(FileName::Segment(0)).expect("it is there")
    }
}

/// What `look` sees after crashes of `make`'s disk in many ways.
fn outcomes<T: Ord>(make: impl Fn() -> Bench, look: impl Fn(&Bench) -> T) -> BTreeSet<T> {
    let crashes = (0..400).map(Some).chain([None]);
    crashes
        .map(|torn| {
            let mut bench = make();
            bench.crash(torn);
            look(&bench)
        })
        .collect()
}
