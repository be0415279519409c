//! Checkpoints, read to their end and checked as a start would.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use understudy_core::message::LogPosition;
use understudy_core::snapshot::{Decoder, Item, SnapshotError, SnapshotHeader};
use understudy_core::{ActorId, DiskImage, FileName, GroupId, Identity, IoFailed, Record, limits};

use super::Subject;
use super::table::bytes;

/// One checkpoint file.
#[derive(Debug)]
pub struct Checkpoint {
    pub file: FileName,
    pub group: GroupId,
    /// What its name says that it holds everything up to.
    pub position: LogPosition,
    pub bytes: u64,
    /// The newest of its group counts; the others go at the next start.
    pub counts: bool,
    /// What it says of itself, or what is wrong with it.
    pub found: Result<SnapshotHeader, Fault>,
}

/// What is wrong with a checkpoint.
#[derive(Debug)]
pub struct Fault {
    /// Where, if it is in one place.
    pub byte: Option<u64>,
    /// What, as a clause.
    pub what: String,
}

/// A file that nobody needs.
pub struct Leftover {
    pub file: FileName,
    pub bytes: u64,
}

/// Every checkpoint, checked, and every snapshot that was not finished. `each` gets the actors of
/// those that count, in the order of their ids.
pub fn all(
    subject: &Subject,
    owner: Option<&Identity>,
    hidden: bool,
    each: &mut dyn FnMut(GroupId, &ActorId, &Record),
) -> anyhow::Result<(Vec<Checkpoint>, Vec<Leftover>)> {
    let files = subject.files.files().map_err(|failed| anyhow::anyhow!(failed.reason))?;
    let (mut checkpoints, mut parts, mut newest) = (Vec::new(), Vec::new(), BTreeMap::new());
    for &(file, bytes) in &files {
        match file {
            FileName::Snapshot(group, position) => {
                let best = newest.entry(group).or_insert(position);
                if position.index > best.index {
                    *best = position;
                }
                checkpoints.push((file, group, position, bytes));
            }
            FileName::Part(..) => parts.push(Leftover { file, bytes }),
            FileName::Segment(_) => {}
        }
    }
    let bar = progress_bar(checkpoints.iter().map(|(_, _, _, bytes)| bytes).sum(), hidden);
    let mut checked = Vec::new();
    for (file, group, position, bytes) in checkpoints {
        let counts = newest.get(&group) == Some(&position);
        let mut item = |item: Item| {
            if let (Item::Actor(id, record), true) = (item, counts) {
                each(group, &id, &record);
            }
        };
        let found = read(subject, file, &bar, &mut item);
        // One that a running node has replaced meanwhile.
        if found.is_err() && subject.in_use() && !subject.files.path(file).exists() {
            continue;
        }
        let found = found.and_then(|header| belongs(header, owner, group, position));
        checked.push(Checkpoint { file, group, position, bytes, counts, found });
    }
    bar.finish_and_clear();
    Ok((checked, parts))
}

fn read(
    subject: &Subject,
    file: FileName,
    bar: &ProgressBar,
    each: &mut dyn FnMut(Item),
) -> Result<SnapshotHeader, Fault> {
    let (mut decoder, mut offset) = (Decoder::default(), 0);
    loop {
        let piece = subject.files.read(file, offset, limits::SNAPSHOT_CHUNK_BYTES)?;
        offset += piece.len() as u64;
        decoder.push(&piece);
        while let Some(item) = decoder.next_item()? {
            each(item);
        }
        bar.inc(piece.len() as u64);
        if piece.len() < limits::SNAPSHOT_CHUNK_BYTES {
            return Ok(decoder.finish()?);
        }
    }
}

/// A whole file under another's name is as bad as a damaged one.
fn belongs(
    header: SnapshotHeader,
    owner: Option<&Identity>,
    group: GroupId,
    position: LogPosition,
) -> Result<SnapshotHeader, Fault> {
    let what = if header.origin.group != group || header.meta.applied != Some(position) {
        "it holds another group's state, or that of another index".to_owned()
    } else if owner.is_some_and(|owner| owner.cluster != header.origin.cluster) {
        format!("it is of another cluster, `{}`", header.origin.cluster)
    } else {
        return Ok(header);
    };
    Err(Fault { byte: None, what })
}

impl From<SnapshotError> for Fault {
    fn from(error: SnapshotError) -> Fault {
        Fault { byte: Some(error.offset), what: error.reason }
    }
}

impl From<IoFailed> for Fault {
    fn from(failed: IoFailed) -> Fault {
        Fault { byte: None, what: failed.reason }
    }
}

impl Checkpoint {
    /// What is wrong with it, with its name; `None` for a whole one.
    pub fn complaint(&self) -> Option<String> {
        let Fault { byte, what } = self.found.as_ref().err()?;
        let place = byte.map_or(String::new(), |byte| format!("at byte {byte}, "));
        Some(format!("`{}` ({}): {place}{what}", self.file, bytes(self.bytes)))
    }
}

fn progress_bar(total: u64, hidden: bool) -> ProgressBar {
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = "checking  [{bar:32}] {binary_bytes}/{binary_total_bytes}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
