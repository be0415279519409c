//! A disk with one file, the WAL. Pure: it is told the time and says when a sync is done.
//!
//! Writes become durable in the order issued, a whole queue per sync (group commit). A crash keeps
//! every completed write and, of the pending ones, any subset of the 4 KiB pages they cover; the
//! last page that survives may be torn at any byte. Lost pages inside the file read as zeros.

use std::collections::VecDeque;

use understudy_core::input::{IoFailed, IoId};
use understudy_core::{DiskImage, Rng};

use crate::faults::{Counts, Fault};

/// Bytes that reach the platter together.
pub const PAGE_BYTES: usize = 4096;

/// How long a sync takes, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
}

/// One node's disk.
pub struct Disk {
    latency: Latency,
    /// While set, a sync takes this long, up to the given time.
    slow: Option<(Latency, u64)>,
    fail_next_sync: bool,
    rng: Rng,
    durable: Vec<u8>,
    pending: VecDeque<Write>,
    /// How many of `pending` the running sync covers, and when it is done.
    sync: Option<(usize, u64)>,
}

struct Write {
    io: IoId,
    bytes: Vec<u8>,
}

/// A write that is durable, or whose sync failed.
pub type Completion = (IoId, Result<(), IoFailed>);

impl Disk {
    /// A disk that holds `wal`.
    pub fn new(wal: Vec<u8>, latency: Latency, rng: Rng) -> Disk {
        let pending = VecDeque::new();
        Disk { latency, slow: None, fail_next_sync: false, rng, durable: wal, pending, sync: None }
    }

    /// Queues a write.
    ///
    /// # Panics
    /// `wal_write_at_end`: the core promises that a write begins where the last one ended.
    pub fn write(&mut self, now: u64, io: IoId, offset: u64, bytes: Vec<u8>) {
        let end = self.durable.len() + self.pending_bytes();
        assert!(
            offset == end as u64,
            "wal_write_at_end: write at {offset}, the file ends at {end}"
        );
        self.pending.push_back(Write { io, bytes });
        self.start_sync(now);
    }

    /// When the running sync is done.
    pub fn deadline(&self) -> Option<u64> {
        self.sync.map(|(_, done_at)| done_at)
    }

    /// The running sync is done if its time has come; the next one starts with all that waits.
    pub fn complete(&mut self, now: u64, counts: &mut Counts) -> Vec<Completion> {
        let Some((writes, _)) = self.sync.take_if(|&mut (_, done_at)| done_at <= now) else {
            return Vec::new();
        };
        if std::mem::take(&mut self.fail_next_sync) {
            counts.fired(Fault::SyncFailed);
            // Nothing more completes until the process has ended: the pages are in doubt.
            let failed = || Err(IoFailed { reason: "fdatasync: input/output error".to_owned() });
            return self.pending.iter().take(writes).map(|write| (write.io, failed())).collect();
        }
        let mut completions = Vec::with_capacity(writes);
        for write in self.pending.drain(..writes) {
            self.durable.extend_from_slice(&write.bytes);
            completions.push((write.io, Ok(())));
        }
        self.start_sync(now);
        completions
    }

    /// The node dies: see the module's words for what is left. Returns the bytes that were durable.
    pub fn crash(&mut self, counts: &mut Counts) -> usize {
        let synced = self.durable.len();
        self.sync = None;
        self.fail_next_sync = false;
        let unsynced: Vec<u8> = self.pending.drain(..).flat_map(|write| write.bytes).collect();
        if unsynced.is_empty() {
            return synced;
        }
        let first_page = synced / PAGE_BYTES;
        let last_page = (synced + unsynced.len() - 1) / PAGE_BYTES;
        let kept = self.surviving_pages(last_page - first_page + 1);
        if kept.contains(&false) {
            counts.fired(Fault::LostPage);
        }
        let Some(last_kept) = kept.iter().rposition(|&kept| kept) else { return synced };
        let mut end = ((first_page + last_kept + 1) * PAGE_BYTES).min(synced + unsynced.len());
        if self.rng.ppm(500_000) {
            let start = ((first_page + last_kept) * PAGE_BYTES).max(synced);
            end = start + self.rng.below((end - start) as u64) as usize;
            counts.fired(Fault::TornPage);
        }
        for at in synced..end {
            let lost = !kept[at / PAGE_BYTES - first_page];
            self.durable.push(if lost { 0 } else { unsynced[at - synced] });
        }
        synced
    }

    /// What a process that starts now reads.
    pub fn image(&self) -> DiskImage {
        DiskImage { wal: self.durable.clone() }
    }

    /// Cuts the file, durably.
    pub fn truncate(&mut self, len: u64) {
        self.durable.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    }

    /// Syncs that start before `until` take as long as `latency` says.
    pub fn slow_down(&mut self, latency: Latency, until: u64) {
        self.slow = Some((latency, until));
    }

    /// The next sync fails.
    pub fn fail_next_sync(&mut self) {
        self.fail_next_sync = true;
    }

    /// No more trouble.
    pub fn calm(&mut self) {
        self.slow = None;
        self.fail_next_sync = false;
        self.latency = Latency { min: 100_000, max: 300_000 };
    }

    /// Whether there are writes a crash could lose.
    pub fn has_unsynced(&self) -> bool {
        !self.pending.is_empty()
    }

    fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|write| write.bytes.len()).sum()
    }

    fn start_sync(&mut self, now: u64) {
        if self.sync.is_none() && !self.pending.is_empty() {
            let slow = self.slow.filter(|&(_, until)| now < until).map(|(latency, _)| latency);
            let Latency { min, max } = slow.unwrap_or(self.latency);
            self.sync = Some((self.pending.len(), now + self.rng.between(min, max)));
        }
    }

    fn surviving_pages(&mut self, pages: usize) -> Vec<bool> {
        let rng = &mut self.rng;
        match rng.below(8) {
            // All lost: what a disk without power protection mostly does to a young write.
            0..3 => vec![false; pages],
            3 => vec![true; pages],
            4 => {
                let prefix = rng.below(pages as u64 + 1) as usize;
                (0..pages).map(|page| page < prefix).collect()
            }
            _ => (0..pages).map(|_| rng.ppm(500_000)).collect(),
        }
    }
}
