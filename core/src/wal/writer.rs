//! What a running replica appends to its WAL, and what waits for it to be durable.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frame::{self, Record};
use crate::effect::Effect;
use crate::input::IoId;
use crate::message::LogPosition;
use crate::types::{Boot, GroupId, Instant};

/// Quiet time after which a trailer attests the last writes.
pub const TRAILER_AFTER: Duration = Duration::from_millis(100);

/// Runs when the frames it was handed in with are durable. A failed write runs nothing: the
/// replica stops there (a failed fsync is never retried, B-07).
pub type OnDurable = Box<dyn FnOnce() + Send>;

/// The end of the WAL.
pub struct Writer {
    boot: Boot,
    seed: u32,
    /// Where the next frame goes; frames below it are written or being written.
    end: u64,
    /// Below this everything is known to be synced; what new frames attest.
    durable: u64,
    /// Frames of this step.
    buffer: Vec<u8>,
    waiting: Vec<OnDurable>,
    in_flight: VecDeque<Write>,
    writes: u64,
    /// Commit marks not yet on disk; they ride along.
    commits: BTreeMap<GroupId, LogPosition>,
    /// When the last write completed, while nothing attests it.
    unattested_since: Option<Instant>,
}

struct Write {
    io: IoId,
    end: u64,
    trailer: bool,
    on_durable: Vec<OnDurable>,
}

impl Writer {
    /// A writer that goes on at `end`, where recovery found the end of intact frames.
    pub fn new(boot: Boot, seed: u32, end: u64) -> Writer {
        Writer {
            boot,
            seed,
            end,
            durable: end,
            buffer: Vec::new(),
            waiting: Vec::new(),
            in_flight: VecDeque::new(),
            writes: 0,
            commits: BTreeMap::new(),
            unattested_since: None,
        }
    }

    /// Where the next frame goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Below this everything is synced.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Adds a frame to this step's write.
    pub fn push(&mut self, record: &Record) {
        let before = self.buffer.len();
        let attested = if planted!(AttestsUnsynced) { self.end } else { self.durable };
        frame::encode(&mut self.buffer, self.seed, self.end, attested, record);
        self.end += u64::try_from(self.buffer.len() - before).unwrap_or(0);
    }

    /// Runs `action` when everything pushed so far is durable.
    pub fn when_durable(&mut self, action: OnDurable) {
        self.waiting.push(action);
    }

    /// Remembers a commit mark; it is written with the next write, or with the trailer.
    pub fn commit(&mut self, group: GroupId, position: LogPosition) {
        self.commits.insert(group, position);
    }

    /// When the trailer is due.
    pub fn deadline(&self) -> Option<Instant> {
        let quiet = self.in_flight.is_empty() && self.buffer.is_empty();
        self.unattested_since.filter(|_| quiet).map(|since| since.after(TRAILER_AFTER))
    }

    /// This step's write, if it has one.
    pub fn take_write(&mut self, now: Instant) -> Option<Effect> {
        let trailer = self.deadline().is_some_and(|due| due <= now);
        if self.buffer.is_empty() && self.waiting.is_empty() && !trailer {
            return None;
        }
        for (group, position) in std::mem::take(&mut self.commits) {
            self.push(&Record::Commit(group, position));
        }
        if self.buffer.is_empty() {
            self.push(&Record::Trailer);
        }
        self.writes += 1;
        let io = IoId { boot: self.boot, number: self.writes };
        let bytes = std::mem::take(&mut self.buffer);
        let offset = self.end - u64::try_from(bytes.len()).unwrap_or(0);
        let on_durable = std::mem::take(&mut self.waiting);
        self.unattested_since = None;
        self.in_flight.push_back(Write { io, end: self.end, trailer, on_durable });
        Some(Effect::WalWrite { io, offset, bytes })
    }

    /// The write `io` is durable. Returns what waited for it; nothing for a write of another life.
    ///
    /// # Panics
    /// `io_in_order`: the driver completed writes out of order.
    pub fn complete(&mut self, now: Instant, io: IoId) -> Vec<OnDurable> {
        if io.boot != self.boot {
            return Vec::new();
        }
        let write = self.in_flight.pop_front().filter(|write| write.io == io);
        let write = write.expect("io_in_order: writes complete in the order issued, each once");
        self.durable = write.end;
        if !write.trailer {
            self.unattested_since = Some(now);
        }
        write.on_durable
    }

    /// With a planted bug: what waits is run as if the write were already durable.
    #[cfg(sim_mutant)]
    pub fn take_waiting(&mut self) -> Vec<OnDurable> {
        std::mem::take(&mut self.waiting)
    }

    /// Named invariants of the end of the log.
    pub fn check(&self) {
        assert!(self.durable <= self.end, "durable_le_end");
        let last = self.in_flight.back().map_or(self.durable, |write| write.end);
        let buffered = u64::try_from(self.buffer.len()).unwrap_or(0);
        assert!(last + buffered == self.end, "wal_contiguous: writes follow each other");
    }
}
