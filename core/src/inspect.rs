//! What a tool may see of a data folder's log without starting it.
//!
//! The verdict is recovery's own: what is called damaged here is what a start refuses. Everything
//! else is counted by a walk over every byte of every segment, also behind damage, that believes
//! nothing it has not checked. Nothing here changes anything: the disk is only read.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::ClusterConfig;
use crate::disk::{DiskImage, FileName};
use crate::input::IoFailed;
use crate::message::{LogPosition, Members, Payload, Vote};
use crate::startup;
use crate::types::{ClusterId, GroupId, Identity, Incarnation, Namespace, NodeId, ReplicaId};
use crate::wal::frame::{self, ALIGN, Record, SegmentHeader};
use crate::wal::recover::{Unusable, recover};

mod walk;

/// The version of the log's format that this program reads and writes.
pub const LOG_FORMAT: u32 = frame::VERSION;
/// The version of the format of checkpoints and snapshots that it reads and writes.
pub const SNAPSHOT_FORMAT: u32 = crate::snapshot::FORMAT;

/// A log as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Whose it says it is; `None` where no segment says so.
    pub identity: Option<Identity>,
    /// Bytes of each of its segments; 0 where no segment says so.
    pub segment_bytes: u64,
    /// Its segments, by number.
    pub segments: Vec<Segment>,
    /// What it says of each group, up to `end`.
    pub groups: BTreeMap<GroupId, Group>,
    /// Where the frames that follow each other from the first one on end.
    pub end: Option<Place>,
    /// Whether a start would take it.
    pub verdict: Verdict,
}

/// A byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: FileName,
    /// Counted from 0.
    pub byte: u64,
}

/// What recovery says of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ends where its frames end.
    Clean,
    /// Its last bytes are of writes that a crash has cut off; a start removes so many of them.
    TornTail {
        /// From the end of the log on.
        bytes: u64,
    },
    /// Bytes that had been synced are not what they were. A start refuses it, for this reason.
    Damaged(String),
    /// Nothing is known to be wrong with it, but this program cannot or may not read it.
    Unreadable(String),
}

/// One segment of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Bytes of its file.
    pub size: u64,
    /// Or what is wrong with what it begins with, as a clause.
    pub header: Result<(), String>,
    /// Where its last intact frame ends.
    pub used: u64,
    /// Bytes behind that frame up to the last one that is not zero.
    pub tail: u64,
    /// Its intact frames.
    pub frames: u64,
    /// Bytes between intact frames that are none.
    pub gaps: Vec<Range<u64>>,
    /// The entries in its intact frames.
    pub entries: BTreeMap<GroupId, Entries>,
}

/// A group's entries in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// How many.
    pub count: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// The lowest index.
    pub first: u64,
    /// The highest.
    pub last: u64,
}

/// What the log says of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The namespace it holds.
    pub namespace: Option<Namespace>,
    /// From whom alone it takes its first members, while it has none.
    pub founder: Option<ReplicaId>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// Everything up to here is in a checkpoint, or in the store outside.
    pub purged: Option<LogPosition>,
    /// What a quorum was known to have.
    pub committed: Option<LogPosition>,
    /// The index of the first entry that the log still has to hold.
    pub first: Option<u64>,
    /// The last entry.
    pub last: Option<LogPosition>,
    /// Memberships among its entries, by index.
    memberships: BTreeMap<u64, Members>,
}

/// An intact frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins.
    pub place: Place,
    /// The same as an offset of the whole log.
    pub offset: u64,
    /// Bytes it takes, with its header and padding.
    pub bytes: u64,
    /// Everything below this offset of the log had been synced before it was written.
    pub attested: u64,
    /// It belongs to the frames that follow each other from the first one on.
    pub follows: bool,
    record: Option<Record>,
}

/// Looks at the log in `disk`, which should be `owner`'s, or that of whoever it says it is. Hands
/// every intact frame to `each`, in the order of their places.
///
/// # Errors
/// When the files cannot be listed. One that cannot be read is damaged, as for a start.
pub fn log(
    disk: &dyn DiskImage,
    owner: Option<&Identity>,
    each: &mut dyn FnMut(&Frame),
) -> Result<Log, IoFailed> {
    let sizes: BTreeMap<u64, u64> = segments(disk)?.collect();
    let header = sizes.keys().find_map(|&number| header_of(disk, number));
    let identity = header.as_ref().map(|header| header.identity.clone());
    let segment_bytes = header.map_or(0, |header| header.segment_bytes);
    let mut log = Log {
        identity: identity.clone(),
        segment_bytes,
        segments: Vec::new(),
        groups: BTreeMap::new(),
        end: None,
        verdict: Verdict::Clean,
    };
    let last = sizes.keys().next_back().copied().unwrap_or(0);
    // Numbers that no log of ours comes to, but a stray file may.
    let offsets = last.checked_add(2).and_then(|count| count.checked_mul(segment_bytes.max(1)));
    if offsets.is_none() {
        let file = FileName::Segment(last);
        log.verdict = Verdict::Unreadable(format!("`{file}` is not a segment of this log"));
        return Ok(log);
    }
    if let Some(identity) = &identity {
        walk::walk(&mut log, disk, &sizes, frame::seed(identity), each);
    } else {
        log.segments =
            sizes.iter().map(|(&number, &size)| walk::unread(disk, number, size)).collect();
    }
    let nobody = Identity {
        cluster: ClusterId(String::new()),
        node: NodeId(0),
        incarnation: Incarnation(0),
    };
    let owner = owner.or(identity.as_ref()).unwrap_or(&nobody);
    log.verdict = match recover(disk, owner) {
        Ok(recovered) if recovered.cut == 0 => Verdict::Clean,
        Ok(recovered) => Verdict::TornTail { bytes: recovered.cut },
        Err(Unusable::Damaged(what)) => Verdict::Damaged(what),
        Err(Unusable::Unreadable(what)) => Verdict::Unreadable(what),
    };
    Ok(log)
}

/// Whether the log in `disk` belongs into this configuration, as a start would ask. A log that a
/// start refuses for another reason fits.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub fn fits(
    config: &ClusterConfig,
    identity: &Identity,
    disk: &dyn DiskImage,
) -> Result<(), String> {
    recover(disk, identity).map_or(Ok(()), |log| startup::check(config, identity, &log))
}

fn segments(disk: &dyn DiskImage) -> Result<impl Iterator<Item = (u64, u64)>, IoFailed> {
    let files = disk.files()?.into_iter();
    Ok(files.filter_map(|(file, size)| match file {
        FileName::Segment(number) => Some((number, size)),
        FileName::Snapshot(..) | FileName::Part(..) => None,
    }))
}

fn header_of(disk: &dyn DiskImage, number: u64) -> Option<SegmentHeader> {
    let start = disk.read(FileName::Segment(number), 0, 4096).ok()?;
    SegmentHeader::decode(&start).ok().map(|(header, _)| header)
}

impl Frame {
    /// The kind of its record, in a word.
    pub fn kind(&self) -> &'static str {
        match self.record {
            Some(Record::Entry(..)) => "entry",
            Some(Record::Vote(..)) => "vote",
            Some(Record::Truncate(..)) => "truncate",
            Some(Record::Purge(..)) => "purge",
            Some(Record::Commit(..)) => "commit",
            Some(Record::Founder(..)) => "founder",
            Some(Record::Trailer) => "trailer",
            Some(Record::Namespace(..)) => "namespace",
            Some(Record::Begin(_)) => "begin",
            None => "unknown",
        }
    }

    /// The group it is about.
    pub fn group(&self) -> Option<GroupId> {
        match self.record.as_ref()? {
            Record::Entry(group, _)
            | Record::Vote(group, _)
            | Record::Truncate(group, _)
            | Record::Purge(group, _)
            | Record::Commit(group, _)
            | Record::Founder(group, _)
            | Record::Namespace(group, _) => Some(*group),
            Record::Trailer | Record::Begin(_) => None,
        }
    }

    /// The entry it holds or is about.
    pub fn position(&self) -> Option<LogPosition> {
        match self.record.as_ref()? {
            Record::Entry(_, entry) => Some(entry.position),
            Record::Truncate(_, position) => *position,
            Record::Purge(_, position) | Record::Commit(_, position) => Some(*position),
            Record::Vote(..)
            | Record::Founder(..)
            | Record::Namespace(..)
            | Record::Trailer
            | Record::Begin(_) => None,
        }
    }

    /// What it says beyond that, in a few words.
    pub fn says(&self) -> String {
        match &self.record {
            None => "written by another version".to_owned(),
            Some(Record::Entry(_, entry)) => match &entry.payload {
                Payload::Blank => "blank".to_owned(),
                Payload::Membership(members) => format!("members {}", words(members)),
                Payload::Batch(batch) => match batch.commands.len() {
                    1 => "1 command".to_owned(),
                    commands => format!("{commands} commands"),
                },
            },
            Some(Record::Vote(_, Vote { term, node, committed })) => {
                let leads = if *committed { ", which leads" } else { "" };
                format!("for node {node} in term {term}{leads}")
            }
            Some(Record::Truncate(_, Some(_))) => "everything behind it is gone".to_owned(),
            Some(Record::Truncate(_, None)) => "everything is gone".to_owned(),
            Some(Record::Purge(..)) => "up to it, all is in a checkpoint".to_owned(),
            Some(Record::Commit(..)) => "up to it, a majority has all".to_owned(),
            Some(Record::Founder(_, founder)) => format!("first members from node {founder} only"),
            Some(Record::Namespace(_, name)) => format!("namespace {name}"),
            Some(Record::Begin(end)) => format!("the segment before ends at {end} of the log"),
            Some(Record::Trailer) => String::new(),
        }
    }
}

/// A membership in a few words: `1#0a2b 2#93c1`; two sets while a joint change runs.
pub fn words(members: &Members) -> String {
    let list = |replicas: &[ReplicaId]| {
        replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let sets: Vec<String> = members.configs.iter().map(|voters| list(voters)).collect();
    let learners: Vec<ReplicaId> = members.learners().collect();
    let learning =
        if learners.is_empty() { String::new() } else { format!(", learning {}", list(&learners)) };
    format!("{}{learning}", sets.join(" with "))
}

impl Group {
    /// Entries that the log holds.
    pub fn entries(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => (last.index + 1).saturating_sub(first),
            _ => 0,
        }
    }

    /// The last membership among them, committed or not.
    pub fn members(&self) -> Option<&Members> {
        self.memberships.last_key_value().map(|(_, members)| members)
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Entry(_, entry) => {
                self.first = self.first.or(Some(entry.position.index));
                self.last = Some(entry.position);
                if let Payload::Membership(members) = &entry.payload {
                    self.memberships.insert(entry.position.index, members.clone());
                }
            }
            Record::Vote(_, vote) => self.vote = Some(*vote),
            Record::Truncate(_, keep) => self.truncate(*keep),
            Record::Purge(_, position) => self.purge(*position),
            Record::Commit(_, position) => self.committed = Some(*position),
            Record::Founder(_, founder) => self.founder = Some(*founder),
            Record::Namespace(_, name) => self.namespace = Some(name.clone()),
            Record::Trailer | Record::Begin(_) => {}
        }
    }

    fn truncate(&mut self, keep: Option<LogPosition>) {
        let gone = keep.map_or(0, |keep| keep.index.saturating_add(1));
        if self.first.is_some_and(|first| first >= gone) {
            (self.first, self.last) = (None, None);
        } else if self.last.is_some_and(|last| last.index >= gone) {
            self.last = keep;
        }
        self.memberships.split_off(&gone);
    }

    fn purge(&mut self, position: LogPosition) {
        self.purged = Some(position);
        let next = position.index.saturating_add(1);
        if self.last.is_some_and(|last| last.index < next) {
            (self.first, self.last) = (None, None);
        }
        self.first = self.first.map(|first| first.max(next));
        self.memberships = self.memberships.split_off(&next);
    }

    /// A mark is written before what it is about may be durable: see recovery.
    fn finish(&mut self) {
        let Group { purged, first, last, .. } = *self;
        self.committed = self.committed.filter(|&committed| {
            let behind = first.is_some_and(|first| first <= committed.index);
            let before = last.is_some_and(|last| committed.index <= last.index);
            Some(committed) == purged || behind && before
        });
    }
}

#[cfg(test)]
mod tests;
