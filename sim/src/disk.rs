//! A disk with one file, the WAL. Pure: it is told the time and says when a sync is done.
//!
//! Writes become durable in the order issued, a whole queue per sync (group commit). What can go
//! wrong, and where each is modelled:
//!
//! - A **crash** keeps every completed write. Of the pending ones it keeps nothing, or any subset of
//!   the 4 KiB pages they cover, the last torn at any byte; lost pages read as zeros.
//! - A **failed** write or sync leaves a hole of zeros, and later syncs report success, as Linux does.
//! - A **damaged** disk lies about synced bytes: a bit flips, a page reported as written is not, or is
//!   written over another. A process sees it when it starts, because it reads its log only then. Only
//!   bytes that a later synced write attests are damaged: what the log promises to notice
//!   (`core/src/wal/recover.rs`). A disk that [`Disk::lies`] damages young writes too.

use std::collections::VecDeque;

use understudy_core::input::{IoFailed, IoId};
use understudy_core::{DiskImage, Rng, Seed};

use crate::dice::fold;
use crate::faults::{Counts, Fault};

pub use crate::files::{Fail, Latency, Lie, PAGE_BYTES};

/// One node's disk.
pub struct Disk {
    latency: Latency,
    /// While set, a sync takes this long, up to the given time.
    slow: Option<(Latency, u64)>,
    stalled_until: u64,
    full_until: u64,
    fail_next: Option<Fail>,
    lie_next: Option<(Lie, u64)>,
    /// Damages also what nothing attests yet.
    lies: bool,
    rng: Rng,
    /// What the completed writes were, as they should be.
    bytes: Vec<u8>,
    /// A write of this life has failed: nothing later is promised.
    failed: bool,
    /// Bytes that were reported as synced, without a failure before them.
    promised: usize,
    /// Bytes below this are attested by a synced write.
    attested: usize,
    /// Bytes below this are known to the running process to be synced.
    told: usize,
    damage: Vec<Damage>,
    pending: VecDeque<Write>,
    /// How many of `pending` the running sync covers, and when it is done.
    sync: Option<(usize, u64)>,
}

struct Write {
    io: IoId,
    bytes: Vec<u8>,
    attests: usize,
    fails: Option<&'static str>,
}

/// Bytes that are on the platter in place of the right ones.
#[derive(Clone, Debug)]
struct Damage {
    at: usize,
    bytes: Vec<u8>,
}

/// A write that is durable, or that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which write.
    pub io: IoId,
    /// Where it ends in the file.
    pub end: u64,
    /// What came of it.
    pub result: Result<(), IoFailed>,
}

/// What a process that starts now reads.
pub struct Image {
    /// The bytes.
    pub disk: DiskImage,
    /// The first byte that is not what was written and synced.
    pub damaged: Option<u64>,
}

impl Disk {
    /// A disk that holds `wal`.
    pub fn new(wal: Vec<u8>, latency: Latency, rng: Rng) -> Disk {
        Disk {
            latency,
            slow: None,
            stalled_until: 0,
            full_until: 0,
            fail_next: None,
            lie_next: None,
            lies: false,
            rng,
            failed: false,
            promised: wal.len(),
            attested: 0,
            told: wal.len(),
            damage: Vec::new(),
            bytes: wal,
            pending: VecDeque::new(),
            sync: None,
        }
    }

    // ---- what a process does with it ----------------------------------------------------------

    /// Queues a write.
    ///
    /// # Panics
    /// `wal_write_at_end`: the core promises that a write begins where the last one ended.
    pub fn write(&mut self, now: u64, io: IoId, offset: u64, bytes: Vec<u8>, counts: &mut Counts) {
        let end = self.written();
        assert!(
            offset == end as u64,
            "wal_write_at_end: write at {offset}, the file ends at {end}"
        );
        let mut fails = None;
        if now < self.full_until {
            counts.fired(Fault::DiskFull);
            fails = Some("no space left on device");
        } else if self.fail_next.take_if(|fail| *fail == Fail::Write).is_some() {
            counts.fired(Fault::WriteFailed);
            fails = Some("write: input/output error");
        }
        self.pending.push_back(Write { io, bytes, attests: self.told, fails });
        self.start_sync(now);
    }

    /// The process has heard that everything below `end` is synced: what it writes from now on
    /// attests that.
    pub fn told(&mut self, end: u64) {
        self.told = usize::try_from(end).unwrap_or(usize::MAX);
    }

    /// When the running sync is done.
    pub fn deadline(&self) -> Option<u64> {
        self.sync.map(|(_, done_at)| done_at)
    }

    /// The running sync is done if its time has come; the next one starts with all that waits.
    pub fn complete(&mut self, now: u64, counts: &mut Counts) -> Vec<Completion> {
        if let Some((_, done_at)) = &mut self.sync
            && *done_at <= now
            && now < self.stalled_until
        {
            *done_at = self.stalled_until;
        }
        let Some((writes, _)) = self.sync.take_if(|&mut (_, done_at)| done_at <= now) else {
            return Vec::new();
        };
        let batch: Vec<Write> = self.pending.drain(..writes).collect();
        let sync_fails = self.fail_next.take_if(|fail| *fail == Fail::Sync).is_some();
        if sync_fails {
            counts.fired(Fault::SyncFailed);
        }
        let from = self.bytes.len();
        let completions =
            batch.into_iter().map(|write| self.complete_one(write, sync_fails)).collect();
        if !self.failed {
            self.lie_about(from, counts);
        }
        self.start_sync(now);
        completions
    }

    fn complete_one(&mut self, write: Write, sync_fails: bool) -> Completion {
        let fails = write.fails.or(sync_fails.then_some("fdatasync: input/output error"));
        let length = self.bytes.len() + write.bytes.len();
        match fails {
            // The pages are gone, and marked clean: nothing will ever write them.
            Some(_) => self.bytes.resize(length, 0),
            None => self.bytes.extend_from_slice(&write.bytes),
        }
        self.failed |= fails.is_some();
        if !self.failed {
            self.promised = length;
            self.attested = self.attested.max(write.attests);
        }
        let result = fails.map_or(Ok(()), |why| Err(IoFailed { reason: why.to_owned() }));
        Completion { io: write.io, end: length as u64, result }
    }

    /// The process dies: see the module's words for what is left. `torn` keeps some pages of the
    /// pending writes. Returns the bytes that had been promised to stay.
    pub fn crash(&mut self, torn: Option<u64>, counts: &mut Counts) -> usize {
        self.sync = None;
        self.failed = false;
        self.fail_next = None;
        let unsynced: Vec<u8> = self.pending.drain(..).flat_map(|write| write.bytes).collect();
        if !unsynced.is_empty() {
            match torn {
                Some(value) => self.tear(&unsynced, value),
                None => counts.fired(Fault::UnsyncedLoss),
            }
        }
        if !self.lies {
            // The disk was lucky with what nothing attests yet; see the module's words.
            let attested = self.attested;
            self.damage.retain(|damage| damage.at < attested);
        }
        self.promised
    }

    fn tear(&mut self, unsynced: &[u8], value: u64) {
        let rng = &mut Seed(value).rng();
        let synced = self.bytes.len();
        let first_page = synced / PAGE_BYTES;
        let last_page = (synced + unsynced.len() - 1) / PAGE_BYTES;
        let kept = surviving_pages(rng, last_page - first_page + 1);
        let Some(last_kept) = kept.iter().rposition(|&kept| kept) else { return };
        let mut end = ((first_page + last_kept + 1) * PAGE_BYTES).min(synced + unsynced.len());
        if rng.ppm(600_000) {
            let start = ((first_page + last_kept) * PAGE_BYTES).max(synced);
            end = start + rng.below((end - start) as u64) as usize;
        }
        for at in synced..end {
            let lost = !kept[at / PAGE_BYTES - first_page];
            self.bytes.push(if lost { 0 } else { unsynced[at - synced] });
        }
    }

    /// What a process that starts now reads.
    pub fn image(&self) -> Image {
        let mut wal = self.bytes.clone();
        let limit = if self.lies { wal.len() } else { self.attested };
        for damage in &self.damage {
            let end = (damage.at + damage.bytes.len()).min(limit).min(wal.len());
            if damage.at < end {
                wal[damage.at..end].copy_from_slice(&damage.bytes[..end - damage.at]);
            }
        }
        let damaged = wal.iter().zip(&self.bytes).position(|(found, right)| found != right);
        Image { disk: DiskImage { wal }, damaged: damaged.map(|at| at as u64) }
    }

    /// A process that starts cuts the file, durably.
    pub fn truncate(&mut self, len: u64) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // What was read is what is there from now on.
        self.bytes = self.image().disk.wal;
        self.damage.clear();
        self.bytes.truncate(len);
        self.promised = self.bytes.len();
        self.attested = self.attested.min(self.bytes.len());
        self.told = self.bytes.len();
    }

    /// Whether there are writes a crash could lose.
    pub fn has_unsynced(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes of the file, synced or not.
    pub fn written(&self) -> usize {
        self.bytes.len() + self.pending_bytes()
    }

    // ---- what is done to it -------------------------------------------------------------------

    /// Syncs that start before `until` take as long as `latency` says.
    pub fn slow_down(&mut self, latency: Latency, until: u64) {
        self.slow = Some((latency, until));
    }

    /// No sync ends before `until`.
    pub fn stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Writes fail until `until`.
    pub fn fill_up(&mut self, until: u64) {
        self.full_until = self.full_until.max(until);
    }

    /// The next write or sync fails.
    pub fn fail_next(&mut self, fail: Fail) {
        self.fail_next = Some(fail);
    }

    /// The disk lies: at once, or at the next write it can. `value` says where.
    pub fn lie(&mut self, lie: Lie, value: u64, counts: &mut Counts) {
        match lie {
            Lie::Rot => {
                let range = if self.lies { self.promised } else { self.attested };
                if range > 0 {
                    let at = usize::try_from(value % range as u64).unwrap_or(0);
                    let bytes = vec![self.bytes[at] ^ (1 << (value >> 32 & 7))];
                    self.damage.push(Damage { at, bytes });
                    counts.fired(Fault::BitRot);
                }
            }
            Lie::LoseWrite | Lie::MisdirectWrite => self.lie_next = Some((lie, value)),
        }
    }

    /// From now on lies may concern what nothing attests yet. No log can notice those.
    pub fn lie_about_young_writes(&mut self) {
        self.lies = true;
    }

    /// No more trouble. What is damaged stays so.
    pub fn calm(&mut self) {
        self.slow = None;
        self.stalled_until = 0;
        self.full_until = 0;
        self.fail_next = None;
        self.lie_next = None;
        self.latency = Latency { min: 100_000, max: 300_000 };
    }

    /// Damages one page of what was just reported as synced, if a lie is due and finds its place.
    fn lie_about(&mut self, from: usize, counts: &mut Counts) {
        let Some((lie, value)) = self.lie_next else { return };
        let (first, last) = (from / PAGE_BYTES, self.bytes.len().saturating_sub(1) / PAGE_BYTES);
        let page = fold(value, first as u64, last as u64) as usize;
        let start = (page * PAGE_BYTES).max(from);
        let end = ((page + 1) * PAGE_BYTES).min(self.bytes.len());
        if start >= end {
            return;
        }
        if lie == Lie::MisdirectWrite {
            // Another page below, wholly attested, so that the harm is seen at the next start.
            let pages = self.attested / PAGE_BYTES;
            if pages == 0 {
                return;
            }
            let target = fold(value >> 16, 0, pages as u64 - 1) as usize;
            let at = target * PAGE_BYTES + start % PAGE_BYTES;
            let bytes = self.bytes[start..end].to_vec();
            self.damage.push(Damage { at, bytes });
        }
        self.damage.push(Damage { at: start, bytes: vec![0; end - start] });
        self.lie_next = None;
        counts.fired(match lie {
            Lie::MisdirectWrite => Fault::MisdirectedWrite,
            Lie::LoseWrite | Lie::Rot => Fault::LostWrite,
        });
    }

    fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|write| write.bytes.len()).sum()
    }

    fn start_sync(&mut self, now: u64) {
        if self.sync.is_none() && !self.pending.is_empty() {
            let slow = self.slow.filter(|&(_, until)| now < until).map(|(latency, _)| latency);
            let Latency { min, max } = slow.unwrap_or(self.latency);
            let done_at = (now + self.rng.between(min, max)).max(self.stalled_until);
            self.sync = Some((self.pending.len(), done_at));
        }
    }
}

fn surviving_pages(rng: &mut Rng, pages: usize) -> Vec<bool> {
    match rng.below(4) {
        0 => vec![true; pages],
        1 => {
            let prefix = rng.between(1, pages as u64) as usize;
            (0..pages).map(|page| page < prefix).collect()
        }
        _ => (0..pages).map(|_| rng.ppm(500_000)).collect(),
    }
}

#[cfg(test)]
mod tests;
