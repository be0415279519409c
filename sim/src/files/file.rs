//! One file apart from its name: what a process reads of it, and what a crash leaves.
//!
//! Bytes reach the platter a page at a time. A page that was changed several times since the last
//! sync is there after a crash as after any of these changes, or as before all of them; the last
//! page that reached the platter may be torn: its front is of a later change than its rest. The
//! file's size is any that it has had since the last sync.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use understudy_core::Rng;

use super::PAGE_BYTES;

/// See the module.
#[derive(Default)]
pub(super) struct File {
    /// What a running process reads.
    cached: Vec<u8>,
    /// What is on the platter for certain, as it should be.
    synced: Vec<u8>,
    /// What was done since, in order.
    unsynced: VecDeque<Unsynced>,
    /// A sync failed: something that was done never reaches the platter.
    lost: bool,
    /// A process wanted it gone. It may come back, but whether it is sound concerns nobody then.
    forsaken: bool,
    /// Bytes on the platter in place of the right ones.
    damage: BTreeMap<usize, u8>,
}

struct Unsynced {
    change: Change,
    by: Author,
}

/// Who changed a file: a sync covers its own side's work, and what came before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// The log's write of this number.
    Wal(u64),
    /// The files' lane.
    Files,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize { from: usize, to: usize },
}

impl Change {
    /// The bytes that are others afterwards.
    fn touched(&self) -> Range<usize> {
        match self {
            Change::Write { at, bytes } => *at..at + bytes.len(),
            &Change::Resize { from, to } => to..from.max(to),
        }
    }

    fn size_after(&self, size: usize) -> usize {
        match self {
            Change::Write { bytes, .. } if bytes.is_empty() => size,
            Change::Write { at, bytes } => size.max(at + bytes.len()),
            Change::Resize { to, .. } => *to,
        }
    }

    fn apply(&self, file: &mut Vec<u8>) {
        file.resize(self.size_after(file.len()), 0);
        if let Change::Write { at, bytes } = self
            && !bytes.is_empty()
        {
            file[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// What it does to one page.
    fn apply_to_page(&self, start: usize, page: &mut [u8]) {
        let touched = self.touched();
        let (from, to) = (touched.start.max(start), touched.end.min(start + page.len()));
        if from >= to {
            return;
        }
        match self {
            Change::Write { at, bytes } => {
                page[from - start..to - start].copy_from_slice(&bytes[from - at..to - at]);
            }
            Change::Resize { .. } => page[from - start..to - start].fill(0),
        }
    }
}

impl File {
    /// What a process reads, before damage.
    pub fn cached(&self) -> &[u8] {
        &self.cached
    }

    /// What is on the platter for certain, as it should be.
    pub fn synced(&self) -> &[u8] {
        &self.synced
    }

    /// Whether a crash could lose something of it.
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether all that was done to it is on the platter.
    pub fn is_settled(&self) -> bool {
        self.unsynced.is_empty() && !self.lost
    }

    /// How many bytes the next sync has to move.
    pub fn unsynced_bytes(&self) -> usize {
        self.unsynced.iter().map(|unsynced| unsynced.change.touched().len()).sum()
    }

    /// What the next sync of the files' lane writes.
    pub fn unsynced_ranges(&self) -> Vec<Range<usize>> {
        let covered = self.unsynced.iter().take(self.covered(Author::Files));
        let size = self.cached.len();
        covered
            .map(|unsynced| unsynced.change.touched())
            .map(|bytes| bytes.start.min(size)..bytes.end.min(size))
            .filter(|bytes| !bytes.is_empty())
            .collect()
    }

    pub fn write(&mut self, at: usize, bytes: Vec<u8>, by: Author) {
        self.change(Change::Write { at, bytes }, by);
    }

    pub fn resize(&mut self, to: usize) {
        let from = self.cached.len();
        if from != to {
            self.change(Change::Resize { from, to }, Author::Files);
        }
    }

    fn change(&mut self, change: Change, by: Author) {
        change.apply(&mut self.cached);
        self.unsynced.push_back(Unsynced { change, by });
    }

    /// How many changes a sync covers: those of its side, and all before the last of them.
    fn covered(&self, sync: Author) -> usize {
        let covers = |unsynced: &Unsynced| match (unsynced.by, sync) {
            (Author::Wal(number), Author::Wal(last)) => number <= last,
            (by, sync) => by == sync,
        };
        self.unsynced.iter().rposition(covers).map_or(0, |last| last + 1)
    }

    /// A sync is done.
    pub fn sync(&mut self, sync: Author) {
        let covered = self.covered(sync);
        for Unsynced { change, .. } in self.unsynced.drain(..covered) {
            change.apply(&mut self.synced);
            let touched = change.touched();
            self.damage.retain(|at, _| !touched.contains(at));
        }
        let size = self.synced.len();
        self.damage.retain(|&at, _| at < size);
    }

    /// A sync has failed: the pages are gone, and marked clean, so that nothing will ever write
    /// them. A running process still reads them.
    pub fn fail_sync(&mut self, sync: Author) {
        let covered = self.covered(sync);
        self.lost |= covered > 0;
        self.unsynced.drain(..covered);
    }

    /// The process dies. Without `rng` all that was not synced is lost.
    pub fn crash(&mut self, rng: Option<&mut Rng>) {
        if let Some(rng) = rng
            && !self.unsynced.is_empty()
        {
            let left = self.survivors(rng);
            let synced = std::mem::replace(&mut self.synced, left);
            let rewritten = |at: usize| self.synced.get(at) != synced.get(at);
            self.damage.retain(|&at, _| !rewritten(at));
        }
        self.unsynced.clear();
        self.lost = false;
        self.cached.clone_from(&self.synced);
    }

    /// The process dies and the machine does not. Whose work it was is forgotten; pages that a sync
    /// has failed to write are dropped.
    pub fn kill(&mut self) {
        if std::mem::take(&mut self.lost) {
            self.cached.clone_from(&self.synced);
            for Unsynced { change, .. } in &self.unsynced {
                change.apply(&mut self.cached);
            }
        }
        for unsynced in &mut self.unsynced {
            unsynced.by = Author::Files;
        }
    }

    /// See the module.
    fn survivors(&self, rng: &mut Rng) -> Vec<u8> {
        let mut sizes = vec![self.synced.len()];
        let mut pages: BTreeMap<usize, Vec<&Change>> = BTreeMap::new();
        for Unsynced { change, .. } in &self.unsynced {
            sizes.push(change.size_after(sizes[sizes.len() - 1]));
            for page in pages_of(&change.touched()) {
                pages.entry(page).or_default().push(change);
            }
        }
        let kept = surviving_pages(rng, pages.len());
        let last_kept = kept.iter().rposition(|&kept| kept);
        let torn = last_kept.filter(|_| rng.ppm(600_000));
        let mut left = self.synced.clone();
        left.resize(sizes.iter().copied().max().unwrap_or(0), 0);
        for (place, (page, changes)) in pages.into_iter().enumerate().filter(|&(n, _)| kept[n]) {
            let all = changes.len();
            let reached = if rng.ppm(750_000) { all } else { rng.between(1, all as u64) as usize };
            let bytes = self.page_after(page, &changes, reached, torn == Some(place), rng);
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(left.len());
            left[start..end].copy_from_slice(&bytes[..end - start]);
        }
        let size = match rng.below(3) {
            0 => sizes[rng.below(sizes.len() as u64) as usize],
            _ if kept.iter().all(|&kept| kept) => sizes[sizes.len() - 1],
            _ => sizes[rng.below(2) as usize * (sizes.len() - 1)],
        };
        left.truncate(size);
        left
    }

    /// A page as after the first `reached` of its changes; `torn`, its end as after fewer.
    fn page_after(
        &self,
        page: usize,
        changes: &[&Change],
        reached: usize,
        torn: bool,
        rng: &mut Rng,
    ) -> Vec<u8> {
        let start = page * PAGE_BYTES;
        let mut bytes = vec![0; PAGE_BYTES];
        if let Some(synced) = self.synced.get(start..) {
            let there = synced.len().min(PAGE_BYTES);
            bytes[..there].copy_from_slice(&synced[..there]);
        }
        let older = if torn { rng.below(reached as u64) as usize } else { reached };
        for change in &changes[..older] {
            change.apply_to_page(start, &mut bytes);
        }
        let rest = bytes.clone();
        let mut span = start + PAGE_BYTES..start;
        for change in &changes[older..reached] {
            change.apply_to_page(start, &mut bytes);
            let touched = change.touched();
            span.start = span.start.min(touched.start.max(start));
            span.end = span.end.max(touched.end.min(start + PAGE_BYTES));
        }
        if torn {
            // Somewhere in what differs, or a small write would hardly ever be torn.
            let cut = span.start + rng.below((span.end - span.start) as u64) as usize - start;
            bytes[cut..].copy_from_slice(&rest[cut..]);
        }
        bytes
    }

    // ---- damage -------------------------------------------------------------------------------

    /// From now on the platter holds `bytes` at `at`, whatever should be there.
    pub fn damage(&mut self, at: usize, bytes: &[u8]) {
        self.damage.extend((at..self.synced.len()).zip(bytes.iter().copied()));
    }

    /// The byte on the platter.
    pub fn platter(&self, at: usize) -> u8 {
        self.damage.get(&at).copied().unwrap_or(self.synced[at])
    }

    /// The first byte below `limit` that is not what it should be.
    pub fn damaged_at(&self, limit: usize) -> Option<usize> {
        let wrong = |&(&at, &found): &(&usize, &u8)| self.synced.get(at) != Some(&found);
        self.damage.range(..limit).find(wrong).map(|(&at, _)| at)
    }

    /// A process takes its name away.
    pub fn forsake(&mut self) {
        self.forsaken = true;
    }

    /// A process has found it and let it be.
    pub fn adopt(&mut self) {
        self.forsaken = false;
    }

    /// Whether the last process that had a say in it wanted it gone.
    pub fn is_forsaken(&self) -> bool {
        self.forsaken
    }

    /// Damage at `limit` and behind never was.
    pub fn forgive_from(&mut self, limit: usize) {
        self.damage.split_off(&limit);
    }

    /// Bytes as a process reads them; damage shows below `limit`.
    pub fn read(&self, offset: usize, length: usize, limit: usize) -> Vec<u8> {
        let end = offset.saturating_add(length).min(self.cached.len());
        let start = offset.min(end);
        let mut bytes = self.cached[start..end].to_vec();
        for (&at, &found) in self.damage.range(start..end.min(limit).max(start)) {
            // What was written over it is in the cache.
            if self.cached[at] == self.synced[at] {
                bytes[at - start] = found;
            }
        }
        bytes
    }
}

/// The pages that a range of bytes lies on.
pub(super) fn pages_of(bytes: &Range<usize>) -> Range<usize> {
    if bytes.is_empty() {
        return 0..0;
    }
    bytes.start / PAGE_BYTES..(bytes.end - 1) / PAGE_BYTES + 1
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
