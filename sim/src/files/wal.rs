//! The WAL lane: writes to segments, synced a queue at a time.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use understudy_core::Rng;
use understudy_core::disk::FileName;
use understudy_core::input::IoId;

use super::file::Author;
use super::lies::Written;
use super::names::FileId;
use super::{Completion, Fail, FileDisk, Latency, Lie, NO_SPACE, failed};
use crate::faults::{Counts, Fault};

/// See the module.
pub(super) struct WalLane {
    rng: Rng,
    pub fail_next: Option<Fail>,
    pub lie_next: Option<(Lie, u64)>,
    /// Where the next write goes at the earliest.
    end: u64,
    /// A write of this life has failed: nothing later is promised.
    failed: bool,
    /// Bytes below this are attested by a synced write.
    pub attested: u64,
    /// Bytes below this are known to the running process to be synced.
    told: u64,
    /// Writes of all lives.
    writes: u64,
    pending: VecDeque<Write>,
    /// How many of `pending` the running sync covers, and when it is done.
    sync: Option<(usize, u64)>,
}

struct Write {
    io: IoId,
    number: u64,
    id: FileId,
    /// In the log.
    end: u64,
    /// In the segment.
    bytes: Range<usize>,
    attests: u64,
    fails: Option<&'static str>,
}

impl WalLane {
    pub fn new(rng: Rng) -> WalLane {
        WalLane {
            rng,
            fail_next: None,
            lie_next: None,
            end: 0,
            failed: false,
            attested: 0,
            told: 0,
            writes: 0,
            pending: VecDeque::new(),
            sync: None,
        }
    }

    pub fn done_at(&self) -> Option<u64> {
        self.sync.map(|(_, done_at)| done_at)
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn crash(&mut self) {
        self.sync = None;
        self.pending.clear();
        self.failed = false;
        self.fail_next = None;
    }

    pub fn started(&mut self, end: u64) {
        self.end = end;
        self.told = end;
        self.attested = self.attested.min(end);
    }

    pub fn calm(&mut self) {
        self.fail_next = None;
        self.lie_next = None;
    }

    /// Files that are written to, whether they still have a name or not.
    pub fn open_files(&self) -> impl Iterator<Item = FileId> {
        self.pending.iter().map(|write| write.id)
    }

    fn start_sync(&mut self, now: u64, Latency { min, max }: Latency) {
        if self.sync.is_none() && !self.pending.is_empty() {
            self.sync = Some((self.pending.len(), now + self.rng.between(min, max)));
        }
    }
}

impl FileDisk {
    /// Queues a write of the log.
    ///
    /// # Panics
    /// What the core promises of its writes: `wal_offsets_grow`, `wal_write_in_one_segment`,
    /// `wal_segment_is_there`.
    pub fn wal_write(
        &mut self,
        now: u64,
        io: IoId,
        offset: u64,
        bytes: Vec<u8>,
        counts: &mut Counts,
    ) {
        let end = self.wal.end;
        assert!(offset >= end, "wal_offsets_grow: write at {offset}, the last one ended at {end}");
        let (segment, at) = (offset / self.segment_bytes, (offset % self.segment_bytes) as usize);
        let until = at + bytes.len();
        assert!(
            until as u64 <= self.segment_bytes,
            "wal_write_in_one_segment: {} bytes at {offset} cross its end",
            bytes.len()
        );
        let id = self.names.get(FileName::Segment(segment));
        let there = |id: &FileId| self.contents[id].cached().len() >= until;
        let id = id.filter(there).unwrap_or_else(|| {
            panic!("wal_segment_is_there: no space was made for the write at {offset}")
        });
        let mut fails = None;
        if now < self.full_until {
            counts.fired(Fault::DiskFull);
            fails = Some(NO_SPACE);
        } else if self.wal.fail_next.take_if(|fail| *fail == Fail::Write).is_some() {
            counts.fired(Fault::WriteFailed);
            fails = Some("write: input/output error");
        }
        let end = offset + bytes.len() as u64;
        self.wal.writes += 1;
        self.wal.end = end;
        let (number, attests) = (self.wal.writes, self.wal.told);
        self.wal.pending.push_back(Write { io, number, id, end, bytes: at..until, attests, fails });
        if fails.is_none() {
            self.content(id).write(at, bytes, Author::Wal(number));
        }
        let latency = self.latency(now);
        self.wal.start_sync(now, latency);
    }

    /// The process has heard that everything below `end` is synced: what it writes from now on
    /// attests that.
    pub fn told(&mut self, end: u64) {
        self.wal.told = end;
    }

    /// Where the last write of the log ends, synced or not.
    pub fn wal_end(&self) -> u64 {
        self.wal.end
    }

    /// A segment's first byte in the log.
    pub fn segment_start(&self, number: u64) -> u64 {
        number.saturating_mul(self.segment_bytes)
    }

    pub(super) fn complete_wal_sync(&mut self, now: u64, counts: &mut Counts) -> Vec<Completion> {
        let Some((writes, _)) = self.wal.sync.take() else { return Vec::new() };
        let batch: Vec<Write> = self.wal.pending.drain(..writes).collect();
        let sync_fails = self.wal.fail_next.take_if(|fail| *fail == Fail::Sync).is_some();
        if sync_fails {
            counts.fired(Fault::SyncFailed);
        }
        let lie = self.wal.lie_next.filter(|_| !self.wal.failed && !sync_fails);
        let written = lie.map(|_| self.written(&batch));
        let completions = self.sync_batch(batch, sync_fails);
        if let Some((lie, written)) = lie.zip(written).filter(|_| !self.wal.failed)
            && self.lie_about(lie, &written, counts)
        {
            self.wal.lie_next = None;
        }
        let latency = self.latency(now);
        self.wal.start_sync(now, latency);
        self.forget_unreachable();
        completions
    }

    fn sync_batch(&mut self, batch: Vec<Write>, sync_fails: bool) -> Vec<Completion> {
        let last: BTreeMap<FileId, u64> =
            batch.iter().map(|write| (write.id, write.number)).collect();
        for (id, number) in last {
            match sync_fails {
                true => self.content(id).fail_sync(Author::Wal(number)),
                false => self.content(id).sync(Author::Wal(number)),
            }
        }
        let mut completions = Vec::new();
        for Write { io, end, attests, fails, .. } in batch {
            let fails = fails.or(sync_fails.then_some("fdatasync: input/output error"));
            self.wal.failed |= fails.is_some();
            if !self.wal.failed {
                self.promised.wal_end = self.promised.wal_end.max(end);
                self.wal.attested = self.wal.attested.max(attests);
            }
            completions.push(Completion::Wal {
                io,
                end,
                result: fails.map_or(Ok(()), |why| Err(failed(why))),
            });
        }
        completions
    }

    /// What the batch is about to write, and what is there now.
    fn written(&self, batch: &[Write]) -> Vec<Written> {
        let mut before = BTreeMap::new();
        for Write { id, .. } in batch {
            before.entry(*id).or_insert_with(|| self.contents[id].synced().to_vec());
        }
        let bytes =
            |id| batch.iter().filter(move |write| write.id == id).map(|write| write.bytes.clone());
        before
            .into_iter()
            .map(|(id, before)| Written { id, bytes: bytes(id).collect(), before })
            .collect()
    }
}
