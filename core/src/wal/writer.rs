//! What a running replica appends to its WAL, and what waits for it to be durable.
//!
//! Segments follow each other without a pause: while one is written the next is made, preallocated
//! and synced. Its first frames carry forward what the log still says of every group (vote, purge
//! and commit marks, namespace, founder), so that older segments can go once their entries are purged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frame::{self, Record, SegmentHeader};
use super::recover::Recovered;
use crate::disk::{DiskOp, FileName, Folder};
use crate::effect::Effect;
use crate::input::{IoFailed, IoId};
use crate::limits;
use crate::message::{LogPosition, Vote};
use crate::types::{Boot, GroupId, Identity, Instant, Namespace, ReplicaId};

/// Quiet time after which a trailer attests the last writes.
pub const TRAILER_AFTER: Duration = Duration::from_millis(100);

/// Runs when the frames it was handed in with are durable. A failed write runs nothing: the
/// replica stops there (a failed fsync is never retried, B-07).
pub type OnDurable = Box<dyn FnOnce() + Send>;

/// The end of the WAL.
pub struct Writer {
    boot: Boot,
    identity: Identity,
    seed: u32,
    segment_bytes: u64,
    /// Where the next frame goes; frames below it are written or being written.
    end: u64,
    /// Below this everything is known to be synced; what new frames attest.
    durable: u64,
    /// Frames of this step, in order; one for each segment they reach.
    building: Vec<Chunk>,
    /// Frames of earlier steps whose segment is not made yet.
    held: VecDeque<Chunk>,
    waiting: Vec<OnDurable>,
    in_flight: VecDeque<Write>,
    writes: u64,
    /// Commit marks not yet on disk; they ride along.
    commits: BTreeMap<GroupId, LogPosition>,
    /// When the last write completed, while nothing attests it.
    unattested_since: Option<Instant>,
    /// What a new segment begins with.
    carry: BTreeMap<GroupId, Carry>,
    segments: Segments,
}

/// Frames that follow each other in one segment.
struct Chunk {
    offset: u64,
    bytes: Vec<u8>,
    trailer: bool,
    on_durable: Vec<OnDurable>,
}

struct Write {
    io: IoId,
    end: u64,
    issued: Instant,
    trailer: bool,
    on_durable: Vec<OnDurable>,
}

/// What the log says of a group beside its entries.
#[derive(Clone, Debug, Default)]
struct Carry {
    namespace: Option<Namespace>,
    founder: Option<ReplicaId>,
    vote: Option<Vote>,
    purged: Option<LogPosition>,
    committed: Option<LogPosition>,
}

/// Which segment files there are, and what stands in the way of removing them.
struct Segments {
    /// The highest index of each group's entries in each segment.
    entries: BTreeMap<u64, BTreeMap<GroupId, u64>>,
    /// The last segment whose file is made and synced.
    ready: u64,
    making: bool,
    /// Making or removing one failed; not again before this.
    retry_at: Option<Instant>,
    removing: bool,
    /// Purge marks that are on the disk.
    purged: BTreeMap<GroupId, u64>,
}

/// Work on segment files; its completion goes to [`Writer::made`] or [`Writer::removed`].
#[derive(Debug)]
pub enum SegmentWork {
    /// Make the next one.
    Make(Vec<DiskOp>),
    /// Remove the oldest one.
    Remove(Vec<DiskOp>),
}

impl Writer {
    /// A writer that goes on where recovery found the end of intact frames.
    pub fn new(boot: Boot, recovered: &Recovered) -> Writer {
        let carry = recovered.groups.iter().map(|(&group, image)| {
            let (namespace, founder) = (image.namespace.clone(), image.founder);
            let (vote, purged, committed) = (image.vote, image.purged, image.committed);
            (group, Carry { namespace, founder, vote, purged, committed })
        });
        let marks = recovered.groups.iter();
        let purged = marks.filter_map(|(&group, image)| Some((group, image.purged?.index)));
        let segments = Segments {
            entries: recovered.segments.clone(),
            ready: recovered.end / recovered.segment_bytes,
            making: false,
            retry_at: None,
            removing: false,
            purged: purged.collect(),
        };
        Writer {
            boot,
            identity: recovered.identity.clone(),
            seed: recovered.seed,
            segment_bytes: recovered.segment_bytes,
            end: recovered.end,
            durable: recovered.end,
            building: Vec::new(),
            held: VecDeque::new(),
            waiting: Vec::new(),
            in_flight: VecDeque::new(),
            writes: 0,
            commits: BTreeMap::new(),
            unattested_since: None,
            carry: carry.collect(),
            segments,
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

    /// Where the oldest segment begins.
    pub fn begin(&self) -> u64 {
        let first = self.segments.entries.first_key_value();
        first.map_or(self.end, |(&number, _)| number * self.segment_bytes)
    }

    /// Bytes of one segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Adds a frame to this step's writes.
    ///
    /// # Panics
    /// `frame_fits_segment`: limits keep every frame well below a segment.
    pub fn push(&mut self, record: &Record) {
        let start = self.end;
        let frame = self.encode(record);
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        // Never up to its last byte: that end would be the next one's beginning.
        let most =
            if planted!(SegmentFilledUp) { self.segment_bytes } else { self.segment_bytes - 1 };
        if self.end % self.segment_bytes + length <= most {
            self.append(record, frame);
            return;
        }
        self.begin_segment();
        let frame = self.encode(record);
        let room = self.segment_bytes - self.end % self.segment_bytes;
        let fits = u64::try_from(frame.len()).is_ok_and(|length| length < room);
        assert!(fits, "frame_fits_segment: {length} bytes, after {start}");
        self.append(record, frame);
    }

    fn encode(&self, record: &Record) -> Vec<u8> {
        let attested = if planted!(AttestsUnsynced) { self.end } else { self.durable };
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, self.seed, self.end, attested, record);
        bytes
    }

    fn append(&mut self, record: &Record, frame: Vec<u8>) {
        self.remember(record);
        let end = self.end + u64::try_from(frame.len()).unwrap_or(0);
        match self.building.last_mut() {
            Some(chunk) if chunk.offset / self.segment_bytes == self.end / self.segment_bytes => {
                chunk.bytes.extend(frame);
            }
            _ => {
                let (trailer, on_durable) = (false, Vec::new());
                let chunk = Chunk { offset: self.end, bytes: frame, trailer, on_durable };
                self.building.push(chunk);
            }
        }
        self.end = end;
    }

    /// Goes on in the next segment, and says there all that must outlive the older ones.
    fn begin_segment(&mut self) {
        let (previous, number) = (self.end, self.end / self.segment_bytes + 1);
        let header = self.header(number).encode().len();
        self.end = number * self.segment_bytes + u64::try_from(header).unwrap_or(0);
        let mut first = vec![Record::Begin(previous)];
        for (&group, Carry { namespace, founder, vote, purged, committed }) in &self.carry {
            first.extend(namespace.clone().map(|name| Record::Namespace(group, name)));
            first.extend(founder.map(|founder| Record::Founder(group, founder)));
            first.extend(vote.map(|vote| Record::Vote(group, vote)));
            first.extend(purged.map(|position| Record::Purge(group, position)));
            first.extend(committed.map(|position| Record::Commit(group, position)));
        }
        for record in &first {
            if planted!(CarryForgotten) && matches!(record, Record::Vote(..)) {
                continue;
            }
            let frame = self.encode(record);
            self.append(record, frame);
        }
    }

    fn remember(&mut self, record: &Record) {
        let number = self.end / self.segment_bytes;
        let entries = self.segments.entries.entry(number).or_default();
        match record {
            Record::Entry(group, entry) => {
                let highest = entries.entry(*group).or_default();
                *highest = entry.position.index.max(*highest);
            }
            Record::Vote(group, vote) => self.carry(*group).vote = Some(*vote),
            Record::Purge(group, position) => self.carry(*group).purged = Some(*position),
            Record::Commit(group, position) => self.carry(*group).committed = Some(*position),
            Record::Namespace(group, name) => self.carry(*group).namespace = Some(name.clone()),
            Record::Founder(group, founder) => self.carry(*group).founder = Some(*founder),
            Record::Truncate(..) | Record::Trailer | Record::Begin(_) => {}
        }
    }

    fn carry(&mut self, group: GroupId) -> &mut Carry {
        self.carry.entry(group).or_default()
    }

    fn header(&self, number: u64) -> SegmentHeader {
        let (identity, segment_bytes) = (self.identity.clone(), self.segment_bytes);
        SegmentHeader { identity, number, segment_bytes }
    }

    /// Runs `action` when everything pushed so far is durable.
    pub fn when_durable(&mut self, action: OnDurable) {
        self.waiting.push(action);
    }

    /// Remembers a commit mark; it is written with the next write, or with the trailer.
    pub fn commit(&mut self, group: GroupId, position: LogPosition) {
        self.commits.insert(group, position);
    }

    /// When the trailer is due, or a segment is to be made at last.
    pub fn deadline(&self) -> Option<Instant> {
        let trailer = self.trailer_due();
        [trailer, self.segments.retry_at].into_iter().flatten().min()
    }

    fn trailer_due(&self) -> Option<Instant> {
        let quiet = self.in_flight.is_empty() && self.held.is_empty() && self.building.is_empty();
        self.unattested_since.filter(|_| quiet).map(|since| since.after(TRAILER_AFTER))
    }

    /// This step's writes, and those of earlier steps whose segment is there by now.
    pub fn take_writes(&mut self, now: Instant) -> Vec<Effect> {
        self.finish_step(now);
        let ready = self.segments.ready;
        let mut writes = Vec::new();
        while self.held.front().is_some_and(|chunk| chunk.offset / self.segment_bytes <= ready) {
            let Some(Chunk { offset, bytes, trailer, on_durable }) = self.held.pop_front() else {
                break;
            };
            self.writes += 1;
            let io = IoId { boot: self.boot, number: self.writes };
            let end = offset + u64::try_from(bytes.len()).unwrap_or(0);
            self.in_flight.push_back(Write { io, end, issued: now, trailer, on_durable });
            writes.push(Effect::WalWrite { io, offset, bytes });
        }
        writes
    }

    fn finish_step(&mut self, now: Instant) {
        let trailer = self.trailer_due().is_some_and(|due| due <= now);
        if self.building.is_empty() && self.waiting.is_empty() && !trailer {
            return;
        }
        for (group, position) in std::mem::take(&mut self.commits) {
            self.push(&Record::Commit(group, position));
        }
        if self.building.is_empty() {
            self.push(&Record::Trailer);
        }
        self.unattested_since = None;
        if let Some(last) = self.building.last_mut() {
            last.trailer = trailer;
            last.on_durable = std::mem::take(&mut self.waiting);
        }
        self.held.extend(self.building.drain(..));
    }

    /// How long the oldest write has been under way.
    pub fn age(&self, now: Instant) -> Duration {
        self.in_flight.front().map_or(Duration::ZERO, |write| now.since(write.issued))
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

    // ---- segments -----------------------------------------------------------------------------

    /// What is to be done about segment files now: the next one is made as soon as one is begun.
    pub fn segment_work(&mut self, now: Instant) -> Option<SegmentWork> {
        let wanted = self.end / self.segment_bytes + 1;
        let may = self.segments.retry_at.is_none_or(|at| at <= now);
        if self.segments.ready < wanted && !self.segments.making && may {
            self.segments.making = true;
            self.segments.retry_at = None;
            let number = self.segments.ready + 1;
            let (file, bytes) = (FileName::Segment(number), self.header(number).encode());
            return Some(SegmentWork::Make(vec![
                DiskOp::Create { file, size: self.segment_bytes },
                DiskOp::Write { file, offset: 0, bytes },
                DiskOp::Sync { file },
                DiskOp::SyncFolder { folder: Folder::Wal },
            ]));
        }
        let number = self.removable().filter(|_| may)?;
        self.segments.removing = true;
        // One at a time, oldest first: whatever a crash undoes, no gap is left.
        Some(SegmentWork::Remove(vec![
            DiskOp::Delete { file: FileName::Segment(number) },
            DiskOp::SyncFolder { folder: Folder::Wal },
        ]))
    }

    /// The oldest segment, if nobody needs it: all of its entries are purged, on the disk, and a
    /// later segment that repeats the rest is there.
    fn removable(&self) -> Option<u64> {
        let Segments { entries, removing, purged, .. } = &self.segments;
        let (&number, groups) = entries.first_key_value()?;
        let later = self.durable > (number + 1) * self.segment_bytes;
        let purged = |(group, highest): (&GroupId, &u64)| {
            planted!(PurgesTooMuch) || purged.get(group).is_some_and(|upto| highest <= upto)
        };
        (later && !removing && groups.iter().all(purged)).then_some(number)
    }

    /// A purge mark is on the disk.
    pub fn purged(&mut self, group: GroupId, index: u64) {
        let mark = self.segments.purged.entry(group).or_default();
        *mark = index.max(*mark);
    }

    /// Groups with entries in the oldest segment that are not purged: they hold it.
    pub fn holders(&self) -> Vec<GroupId> {
        let Some((_, groups)) = self.segments.entries.first_key_value() else { return Vec::new() };
        let purged = &self.segments.purged;
        let holds = |&(group, highest): &(&GroupId, &u64)| {
            purged.get(group).is_none_or(|upto| highest > upto)
        };
        groups.iter().filter(holds).map(|(&group, _)| group).collect()
    }

    /// A segment was made, or could not be. That is tried again: the file holds nothing yet, so it
    /// is begun anew, and what was to be written in it waits.
    pub fn made(&mut self, now: Instant, result: &Result<(), IoFailed>) {
        self.segments.making = false;
        match result {
            Ok(()) => self.segments.ready += 1,
            Err(_) => self.segments.retry_at = Some(now.after(limits::FILE_RETRY_AFTER)),
        }
    }

    /// The oldest segment was removed, or could not be.
    pub fn removed(&mut self, now: Instant, result: &Result<(), IoFailed>) {
        self.segments.removing = false;
        match result {
            Ok(()) => drop(self.segments.entries.pop_first()),
            Err(_) => self.segments.retry_at = Some(now.after(limits::FILE_RETRY_AFTER)),
        }
    }

    /// With a planted bug: what waits is run as if the write were already durable.
    #[cfg(sim_mutant)]
    pub fn take_waiting(&mut self) -> Vec<OnDurable> {
        std::mem::take(&mut self.waiting)
    }

    /// Named invariants of the end of the log.
    pub fn check(&self) {
        assert!(self.durable <= self.end, "durable_le_end");
        let in_flight = self.in_flight.iter().map(|write| write.end);
        let held = self.held.iter().chain(&self.building);
        let ends = in_flight.chain(held.map(|chunk| chunk.offset));
        assert!(ends.is_sorted(), "wal_contiguous: writes follow each other");
        let first = self.segments.entries.first_key_value();
        assert!(first.is_none_or(|(&first, _)| first <= self.segments.ready), "segments_in_order");
    }
}
