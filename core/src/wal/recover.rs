//! What a crash, or worse, left of a WAL, and what to do about it.
//!
//! Frames are replayed from the front. At the first place that is not an intact frame, this table
//! decides; "later" is any intact frame found behind that place, in its segment or a later one:
//!
//! | next segment begins "the last one ends here" | bytes left | all zero | later frame | one attests past the place | verdict |
//! |---|---|---|---|---|---|
//! | yes | - | - | - | - | `Next`: the segment is full; go on in the next |
//! | no | none | - | - | - | `Clean`: the end |
//! | no | some | yes | no | - | `Clean`: preallocated space |
//! | no | some | no | no | - | `Tail`: a torn write; nothing behind it was promised; cut |
//! | no | any | any | yes | no | `Tail`: pending writes reached the disk out of order; cut |
//! | no | any | any | yes | yes | `Corrupt`: these bytes had been synced, and promised; refuse |
//!
//! A segment is made before it is needed, so the last one may have a torn header, if no intact frame
//! is in it; it counts as not there. Any other segment whose header is damaged, or that is missing
//! between others, is `Corrupt`.
//!
//! What cannot be told apart: damage to synced frames that no later frame attests looks like a torn
//! write and is cut. An idle replica therefore writes a trailer, which narrows that window to the
//! last writes before a crash. A log cut short at a frame boundary looks like an earlier end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::frame::{self, ALIGN, FRAME_HEADER, Record, SegmentHeader};
use crate::codec::Corrupt;
use crate::disk::{DiskImage, DiskOp, FileName, Folder};
use crate::input::IoFailed;
use crate::message::{LogEntry, LogPosition, Members, Payload, Vote};
use crate::types::{GroupId, Identity, Namespace, ReplicaId};

/// What a WAL said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose it is.
    pub identity: Identity,
    /// Bytes of each of its segments.
    pub segment_bytes: u64,
    /// What the CRC of its frames starts from.
    pub seed: u32,
    /// The groups that ever wrote.
    pub groups: BTreeMap<GroupId, GroupImage>,
    /// The highest index of each group's entries in each segment.
    pub segments: BTreeMap<u64, BTreeMap<GroupId, u64>>,
    /// Where intact frames end, as an offset of the log.
    pub end: u64,
    /// Bytes behind `end` that are given up.
    pub cut: u64,
    /// What makes the folder fit for writing at `end`; to be done, durably, before the first step.
    pub repairs: Vec<DiskOp>,
}

/// One group's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupImage {
    /// Without gap (`wal_contiguous`).
    pub entries: VecDeque<LogEntry>,
    /// The namespace it holds.
    pub namespace: Option<Namespace>,
    /// From whom alone it takes its first members, while it has none.
    pub founder: Option<ReplicaId>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last purge mark.
    pub purged: Option<LogPosition>,
    /// What a quorum had; never above the last entry.
    pub committed: Option<LogPosition>,
}

/// Why a log cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A promise this node has made may rest on what is damaged.
    Damaged(String),
    /// Nothing is known to be wrong with it, but this program cannot or may not read it.
    Unreadable(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unusable::Damaged(what) | Unusable::Unreadable(what)) = self;
        f.write_str(what)
    }
}

impl From<IoFailed> for Unusable {
    /// A read error is never an answer: whatever cannot be read may be what was promised.
    fn from(failed: IoFailed) -> Unusable {
        Unusable::Damaged(failed.reason)
    }
}

/// The last column of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on in the next segment.
    Next,
    /// The end.
    Clean,
    /// Cut here.
    Tail,
    /// Refuse.
    Corrupt,
}

/// The other columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The next segment says that this is where the one before it ends.
    pub next_begins: bool,
    /// There are bytes.
    pub some: bool,
    /// All of them are zero.
    pub all_zero: bool,
    /// An intact frame lies behind.
    pub later_frame: bool,
    /// One of those says that this place had been synced.
    pub later_attests: bool,
}

impl Remains {
    /// The table.
    pub fn verdict(self) -> Verdict {
        match self {
            Remains { next_begins: true, .. } => Verdict::Next,
            Remains { later_frame: true, later_attests: true, .. } => Verdict::Corrupt,
            Remains { later_frame: true, .. } => Verdict::Tail,
            Remains { some: false, .. } | Remains { all_zero: true, .. } => Verdict::Clean,
            Remains { some: true, all_zero: false, .. } => Verdict::Tail,
        }
    }
}

/// Replays the log in `image`, which should be `identity`'s.
///
/// # Errors
/// See [`Unusable`].
pub fn recover(image: &dyn DiskImage, identity: &Identity) -> Result<Recovered, Unusable> {
    let (log, header) = Log::open(image, identity)?;
    let mut recovered = Recovered {
        identity: header.identity,
        segment_bytes: log.segment_bytes,
        seed: log.seed,
        groups: BTreeMap::new(),
        segments: BTreeMap::new(),
        end: 0,
        cut: 0,
        repairs: Vec::new(),
    };
    for &number in log.sizes.keys() {
        let segment = log.read(number)?;
        let at = recovered.replay_segment(log.seed, &segment)?;
        recovered.end = segment.base + offset64(at);
        match log.remains(&segment, at)?.verdict() {
            // Unused space is never written: what is there is damage.
            Verdict::Next if nonzero(&segment.bytes, at) > at => {
                return Err(Unusable::Damaged(format!(
                    "the unused end of `{}` is not empty",
                    FileName::Segment(number)
                )));
            }
            Verdict::Next => continue,
            Verdict::Clean => {}
            Verdict::Tail if planted!(TornTailKept) => {
                recovered.end = segment.base + offset64(nonzero(&segment.bytes, at));
            }
            Verdict::Corrupt if !planted!(DamageCutAsTail) => {
                return Err(Unusable::Damaged(format!(
                    "records at byte {at} of `{}` that had been synced are damaged",
                    FileName::Segment(number)
                )));
            }
            Verdict::Tail | Verdict::Corrupt => {
                recovered.cut = offset64(nonzero(&segment.bytes, at) - at);
            }
        }
        recovered.repairs = log.repairs(&segment, recovered.end)?;
        break;
    }
    for (group, image) in &mut recovered.groups {
        image.finish(*group)?;
    }
    Ok(recovered)
}

/// Beyond this no log ever comes: at a gigabyte a second it would take thousands of years.
const SEGMENTS_MAX: u64 = 1 << 36;

/// The segments of a log, one at a time in memory.
struct Log<'a> {
    image: &'a dyn DiskImage,
    /// Bytes of each segment file, without gap.
    sizes: BTreeMap<u64, u64>,
    seed: u32,
    segment_bytes: u64,
}

struct Segment {
    number: u64,
    /// Its offset in the log.
    base: u64,
    bytes: Vec<u8>,
    /// Where its first frame is, if its header is intact.
    first: Option<usize>,
}

impl Log<'_> {
    fn open<'a>(
        image: &'a dyn DiskImage,
        identity: &Identity,
    ) -> Result<(Log<'a>, SegmentHeader), Unusable> {
        let sizes = image.files()?.into_iter().filter_map(|(file, size)| match file {
            FileName::Segment(number) => Some((number, size)),
            FileName::Snapshot(..) | FileName::Part(..) => None,
        });
        let sizes: BTreeMap<u64, u64> = sizes.collect();
        let Some((&first, _)) = sizes.first_key_value() else {
            return Err(Unusable::Damaged("there is none".to_owned()));
        };
        // A stray file with a number that no log reaches; what is computed from it stays in bounds.
        let far = sizes.keys().last().filter(|&&last| last >= SEGMENTS_MAX);
        if let Some(&far) = far {
            return Err(Unusable::Damaged(format!("`{}` is no log's", FileName::Segment(far))));
        }
        let gap = sizes.keys().zip(first..).find(|&(&found, expected)| found != expected);
        if let Some((_, missing)) = gap {
            return Err(Unusable::Damaged(format!("`{}` is missing", FileName::Segment(missing))));
        }
        let file = FileName::Segment(first);
        let start = image.read(file, 0, 4096)?;
        let (header, _) = SegmentHeader::decode(&start).map_err(|Corrupt(what)| {
            let what = format!("`{file}`: {what}");
            // The checksum holds, so nothing is damaged.
            let foreign = what.contains("its format is");
            if foreign { Unusable::Unreadable(what) } else { Unusable::Damaged(what) }
        })?;
        if header.identity != *identity {
            let SegmentHeader { identity: found, .. } = header;
            return Err(Unusable::Unreadable(format!(
                "the log belongs to node {} of cluster `{}` (incarnation {:016x}), not to node {} \
                 of cluster `{}` (incarnation {:016x}); point the node at its own data folder",
                found.node,
                found.cluster,
                found.incarnation.0,
                identity.node,
                identity.cluster,
                identity.incarnation.0
            )));
        }
        let seed = frame::seed(&header.identity);
        Ok((Log { image, sizes, seed, segment_bytes: header.segment_bytes }, header))
    }

    fn read(&self, number: u64) -> Result<Segment, IoFailed> {
        let size = self.sizes.get(&number).copied().unwrap_or(0);
        let size = usize::try_from(size.min(self.segment_bytes)).unwrap_or(usize::MAX);
        let bytes = self.image.read(FileName::Segment(number), 0, size)?;
        let header = SegmentHeader::decode(&bytes).ok();
        let first = header.filter(|(header, _)| header.number == number).map(|(_, first)| first);
        let segment = Segment { number, base: number * self.segment_bytes, bytes, first };
        #[cfg(sim_mutant)]
        let segment = self.without_last_entry(segment)?;
        Ok(segment)
    }

    /// `committed_tail_cut`.
    #[cfg(sim_mutant)]
    fn without_last_entry(&self, mut segment: Segment) -> Result<Segment, IoFailed> {
        if let Some(first) = segment.first.filter(|_| planted!(CommittedTailCut))
            && !self.sizes.contains_key(&(segment.number + 2))
            && self.previous_end(segment.number + 1)?.is_none()
        {
            let Segment { base, bytes, .. } = &segment;
            let keep = crate::mutant::sabotage::last_entry(bytes, self.seed, *base, first);
            segment.bytes.truncate(keep);
        }
        Ok(segment)
    }

    /// Where the segment before `number` ended, if `number` has begun.
    fn previous_end(&self, number: u64) -> Result<Option<u64>, IoFailed> {
        let Some(&size) = self.sizes.get(&number) else { return Ok(None) };
        let start = usize::try_from(size.min(4096)).unwrap_or(0);
        let bytes = self.image.read(FileName::Segment(number), 0, start)?;
        let Ok((_, first)) = SegmentHeader::decode(&bytes) else { return Ok(None) };
        let frame = frame::decode(&bytes, self.seed, number * self.segment_bytes, first);
        Ok(frame.and_then(|frame| match frame.record {
            Some(Record::Begin(previous)) => Some(previous),
            _ => None,
        }))
    }

    fn remains(&self, segment: &Segment, at: usize) -> Result<Remains, IoFailed> {
        let Segment { number, base, bytes, .. } = segment;
        let place = base + offset64(at);
        if self.previous_end(number + 1)? == Some(place) {
            return Ok(Remains { next_begins: true, ..Remains::default() });
        }
        let rest = bytes.get(at..).unwrap_or(&[]);
        let all_zero = rest.iter().all(|&byte| byte == 0);
        let mut remains = Remains { some: !rest.is_empty(), all_zero, ..Remains::default() };
        if !all_zero {
            remains.look_for_frames(self.seed, segment, at + ALIGN, place);
        }
        for &later in self.sizes.keys().filter(|&later| later > number) {
            if !remains.later_attests {
                remains.look_for_frames(self.seed, &self.read(later)?, ALIGN, place);
            }
        }
        Ok(remains)
    }

    /// Everything behind `end`, which lies in `segment`, becomes zeros that are on the disk, and so
    /// does what was read: it may be in the page cache only, and counts as durable from here on.
    fn repairs(&self, segment: &Segment, end: u64) -> Result<Vec<DiskOp>, IoFailed> {
        let mut repairs = Vec::new();
        // From the last one: whatever a crash undoes, no gap is left.
        for &later in self.sizes.keys().rev().filter(|&&later| later > segment.number) {
            repairs.push(DiskOp::Delete { file: FileName::Segment(later) });
            repairs.push(DiskOp::SyncFolder { folder: Folder::Wal });
        }
        let file = FileName::Segment(segment.number);
        let local = usize::try_from(end - segment.base).unwrap_or(usize::MAX);
        let size = self.sizes.get(&segment.number).copied();
        if nonzero(&segment.bytes, local) > local || size != Some(self.segment_bytes) {
            repairs.push(DiskOp::Resize { file, size: offset64(local) });
            repairs.push(DiskOp::Resize { file, size: self.segment_bytes });
        }
        for &number in self.sizes.keys().filter(|&&number| number <= segment.number) {
            repairs.push(DiskOp::Sync { file: FileName::Segment(number) });
        }
        repairs.push(DiskOp::SyncFolder { folder: Folder::Wal });
        Ok(repairs)
    }
}

impl Remains {
    /// Looks for intact frames of `segment` from byte `at` on.
    fn look_for_frames(&mut self, seed: u32, segment: &Segment, at: usize, place: u64) {
        let mut at = at;
        while at + FRAME_HEADER <= segment.bytes.len() {
            let Some(frame) = frame::decode(&segment.bytes, seed, segment.base, at) else {
                at += ALIGN;
                continue;
            };
            self.later_frame = true;
            if frame.attested > place {
                self.later_attests = true;
                return;
            }
            at = frame.end;
        }
    }
}

impl Recovered {
    /// Replays a segment's frames; returns where they end.
    fn replay_segment(&mut self, seed: u32, segment: &Segment) -> Result<usize, Unusable> {
        let file = FileName::Segment(segment.number);
        self.segments.entry(segment.number).or_default();
        let Some(mut at) = segment.first else {
            return Err(Unusable::Damaged(format!("the header of `{file}` is damaged")));
        };
        while let Some(frame) = frame::decode(&segment.bytes, seed, segment.base, at) {
            // Intact, so never a torn write: somebody who knew what it means has written it.
            let record = frame.record.ok_or_else(|| {
                Unusable::Unreadable(format!(
                    "the intact record at byte {at} of `{file}` was written by another version; run that one"
                ))
            })?;
            self.replay(segment.number, record).map_err(|Corrupt(what)| {
                Unusable::Damaged(format!(
                    "the intact record at byte {at} of `{file}` does not follow: {what}"
                ))
            })?;
            at = frame.end;
        }
        Ok(at)
    }

    fn replay(&mut self, segment: u64, record: Record) -> Result<(), Corrupt> {
        match record {
            Record::Entry(group, entry) => {
                let highest = self.segments.entry(segment).or_default().entry(group).or_default();
                *highest = entry.position.index.max(*highest);
                self.group(group).append(entry)?;
            }
            Record::Vote(group, vote) => self.group(group).vote = Some(vote),
            Record::Truncate(group, keep) => self.group(group).truncate(keep),
            Record::Purge(group, position) => self.group(group).purge(position),
            Record::Commit(group, position) => self.group(group).committed = Some(position),
            Record::Founder(group, founder) => self.group(group).founder = Some(founder),
            Record::Trailer | Record::Begin(_) => {}
            Record::Namespace(group, name) => self.group(group).namespace = Some(name),
        }
        Ok(())
    }

    fn group(&mut self, group: GroupId) -> &mut GroupImage {
        self.groups.entry(group).or_default()
    }
}

impl GroupImage {
    /// The members of the last membership entry, committed or not; `None` if it is purged.
    pub fn members(&self) -> Option<&Members> {
        self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(members),
            Payload::Blank | Payload::Batch(_) => None,
        })
    }

    /// Whether the entry at `position` is in the log, or was the last one purged.
    pub fn has(&self, position: LogPosition) -> bool {
        self.purged == Some(position)
            || self.entries.front().is_some_and(|first| {
                let place = position.index.checked_sub(first.position.index);
                let place = place.and_then(|place| usize::try_from(place).ok());
                let entry = place.and_then(|place| self.entries.get(place));
                entry.is_some_and(|entry| entry.position == position)
            })
    }

    fn append(&mut self, entry: LogEntry) -> Result<(), Corrupt> {
        let found = entry.position.index;
        // The entries before the first one may have gone with their segment; a later purge mark
        // then says so, see `finish`.
        let next = match self.entries.back() {
            Some(last) => last.position.index + 1,
            None => self.purged.map_or(0, |purged| purged.index + 1).max(found),
        };
        if found != next {
            return Err(Corrupt(format!("wal_contiguous: index {found} where {next} should be")));
        }
        self.entries.push_back(entry);
        Ok(())
    }

    fn truncate(&mut self, keep: Option<LogPosition>) {
        let keep = keep.map_or(0, |keep| keep.index + 1);
        while self.entries.back().is_some_and(|entry| entry.position.index >= keep) {
            self.entries.pop_back();
        }
    }

    /// Everything up to `position` is in a checkpoint.
    pub fn purge(&mut self, position: LogPosition) {
        while self.entries.front().is_some_and(|entry| entry.position.index <= position.index) {
            self.entries.pop_front();
        }
        self.purged = Some(position);
    }

    fn finish(&mut self, group: GroupId) -> Result<(), Unusable> {
        let next = self.purged.map_or(0, |purged| purged.index + 1);
        if let Some(first) = self.entries.front().filter(|first| first.position.index > next) {
            let first = first.position.index;
            return Err(Unusable::Damaged(format!(
                "the entries {next} to {} of group {group} are missing",
                first - 1
            )));
        }
        // `read_committed` must not exceed the recovered log, nor name an entry that is not there.
        self.committed = self.committed.filter(|&committed| self.has(committed));
        Ok(())
    }
}

/// Where zeros begin that go on to the end of `bytes`; `from` at least.
fn nonzero(bytes: &[u8], from: usize) -> usize {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    end.next_multiple_of(ALIGN).max(from)
}

fn offset64(offset: usize) -> u64 {
    u64::try_from(offset).expect("usize_fits_u64: there is no wider machine")
}

#[cfg(test)]
mod tests;
