//! What a crash, or worse, left of a WAL, and what to do about it.
//!
//! Frames are replayed from the front. At the first place that is not an intact frame, this table
//! decides; "later" is any intact frame found behind that place:
//!
//! | bytes left | all zero | later frame | one attests past the place | verdict |
//! |---|---|---|---|---|
//! | none | - | - | - | `Clean`: the end |
//! | some | yes | - | - | `Clean`: preallocated space |
//! | some | no | no | - | `Tail`: a torn write; nothing behind it was promised; cut |
//! | some | no | yes | no | `Tail`: pending writes reached the disk out of order; cut |
//! | some | no | yes | yes | `Corrupt`: these bytes had been synced, and promised; refuse |
//!
//! What cannot be told apart: damage to synced frames that no later frame attests looks like a torn
//! write and is cut. An idle replica therefore writes a trailer, which narrows that window to the
//! last writes before a crash. A file cut short at a frame boundary looks like an earlier end.

use std::collections::{BTreeMap, VecDeque};

use super::frame::{self, ALIGN, FRAME_HEADER, FileHeader, Record, Unreadable};
use crate::codec::Corrupt;
use crate::message::{LogEntry, LogPosition, Payload, Vote};
use crate::types::{GroupId, Namespace, ReplicaId};

/// What a WAL said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose it is.
    pub header: FileHeader,
    /// The groups that ever wrote.
    pub groups: BTreeMap<GroupId, GroupImage>,
    /// Where intact frames end: cut the file here before writing.
    pub end: u64,
    /// Bytes behind `end` that are cut.
    pub cut: u64,
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

/// The last column of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The end.
    Clean,
    /// Cut here.
    Tail,
    /// Refuse.
    Corrupt,
}

/// The other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
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
        match (self.some, self.all_zero, self.later_frame, self.later_attests) {
            (false, _, _, _) | (true, true, _, _) => Verdict::Clean,
            (true, false, false, _) | (true, false, true, false) => Verdict::Tail,
            (true, false, true, true) => Verdict::Corrupt,
        }
    }

    fn of(file: &[u8], seed: u32, damage: usize) -> Remains {
        let rest = &file[damage..];
        let all_zero = rest.iter().all(|&byte| byte == 0);
        let mut remains =
            Remains { some: !rest.is_empty(), all_zero, later_frame: false, later_attests: false };
        if all_zero {
            return remains;
        }
        let mut at = damage + ALIGN;
        while at + FRAME_HEADER <= file.len() {
            let Some(frame) = frame::decode(file, seed, at) else {
                at += ALIGN;
                continue;
            };
            remains.later_frame = true;
            if usize::try_from(frame.attested).is_ok_and(|attested| attested > damage) {
                remains.later_attests = true;
                break;
            }
            at = usize::try_from(frame.end).unwrap_or(file.len());
        }
        remains
    }
}

/// Replays `file`.
///
/// # Errors
/// [`Unreadable::Damaged`] when a promise this node has made may rest on what is damaged.
pub fn recover(file: &[u8]) -> Result<Recovered, Unreadable> {
    let header = FileHeader::decode(file)?;
    #[cfg(sim_mutant)]
    let file = crate::mutant::sabotage::without_last_entry(file, &header);
    let mut recovered =
        Recovered { end: 0, cut: 0, groups: BTreeMap::new(), header: header.clone() };
    let mut at = header.length;
    while let Some(frame) = frame::decode(file, header.seed, at) {
        // Intact, so never a torn write: somebody who knew what it means has written it.
        let record = frame.record.ok_or_else(|| {
            let what = format!("the intact record at byte {at} was written by another version");
            Unreadable::OtherVersion(what)
        })?;
        recovered.replay(record).map_err(|Corrupt(what)| {
            Corrupt(format!("the intact record at byte {at} does not follow: {what}"))
        })?;
        at = usize::try_from(frame.end).unwrap_or(file.len());
    }
    match Remains::of(file, header.seed, at).verdict() {
        Verdict::Clean => {}
        Verdict::Tail if planted!(TornTailKept) => at = file.len(),
        Verdict::Corrupt if planted!(DamageCutAsTail) => recovered.cut = offset64(file.len() - at),
        Verdict::Tail => recovered.cut = offset64(file.len() - at),
        Verdict::Corrupt => {
            let what = format!("records at byte {at} that had been synced are damaged");
            return Err(Unreadable::Damaged(what));
        }
    }
    recovered.end = offset64(at);
    for image in recovered.groups.values_mut() {
        image.clamp_committed();
    }
    Ok(recovered)
}

impl Recovered {
    fn replay(&mut self, record: Record) -> Result<(), Corrupt> {
        match record {
            Record::Entry(group, entry) => self.group(group).append(entry)?,
            Record::Vote(group, vote) => self.group(group).vote = Some(vote),
            Record::Truncate(group, keep) => self.group(group).truncate(keep),
            Record::Purge(group, position) => self.group(group).purge(position),
            Record::Commit(group, position) => self.group(group).committed = Some(position),
            Record::Founder(group, founder) => self.group(group).founder = Some(founder),
            Record::Trailer => {}
            Record::Namespace(group, name) => self.group(group).namespace = Some(name),
        }
        Ok(())
    }

    fn group(&mut self, group: GroupId) -> &mut GroupImage {
        self.groups.entry(group).or_default()
    }
}

impl GroupImage {
    /// The position of the last entry, or of the purge mark when there is none.
    pub fn last(&self) -> Option<LogPosition> {
        self.entries.back().map(|entry| entry.position).or(self.purged)
    }

    /// The voters of the last membership entry, committed or not.
    pub fn voters(&self) -> Option<&Vec<Vec<ReplicaId>>> {
        self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(&members.configs),
            Payload::Blank | Payload::Batch(_) => None,
        })
    }

    fn append(&mut self, entry: LogEntry) -> Result<(), Corrupt> {
        let next = self.last().map_or(0, |last| last.index + 1);
        if entry.position.index != next {
            let found = entry.position.index;
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

    fn purge(&mut self, position: LogPosition) {
        while self.entries.front().is_some_and(|entry| entry.position.index <= position.index) {
            self.entries.pop_front();
        }
        self.purged = Some(position);
    }

    /// `read_committed` must not exceed the recovered log, nor name an entry that is not there.
    fn clamp_committed(&mut self) {
        let Some(committed) = self.committed else { return };
        let there = |position: LogPosition| {
            self.purged == Some(position)
                || self.entries.front().is_some_and(|first| {
                    let place = position.index.checked_sub(first.position.index);
                    let place = place.and_then(|place| usize::try_from(place).ok());
                    place
                        .and_then(|place| self.entries.get(place))
                        .is_some_and(|entry| entry.position == position)
                })
        };
        if !there(committed) {
            self.committed = None;
        }
    }
}

fn offset64(offset: usize) -> u64 {
    u64::try_from(offset).expect("usize_fits_u64: there is no wider machine")
}

#[cfg(test)]
mod tests;
