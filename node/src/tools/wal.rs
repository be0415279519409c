//! `understudy wal`: the log, segment by segment and frame by frame.

use clap::Args;
use serde_json::{Value, json};
use understudy_core::inspect::{self, Frame, Group, Log, Segment, Verdict};
use understudy_core::message::LogPosition;
use understudy_core::{FileName, GroupId, ReplicaId};

use super::table::{Table, bytes, or_dash};
use super::{FolderArgs, Health, Subject, judge, say_verdict};
use crate::say::say;

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// List the frames too.
    #[arg(long)]
    frames: bool,
    /// Only what concerns this group.
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// Frames to list at most, the last ones.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows the log.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<Health> {
    let subject = args.folder.open()?;
    let mut log = subject.log(None)?;
    let group = args.group.map(GroupId);
    let wanted = |of: GroupId| group.is_none_or(|group| group == of);
    log.groups.retain(|&group, _| wanted(group));
    log.segments.iter_mut().for_each(|segment| segment.entries.retain(|&group, _| wanted(group)));
    let frames = if args.frames { frames(&subject, group, args.limit)? } else { Vec::new() };
    let in_use = subject.in_use();
    let (health, line) = judge(&log, in_use);
    if args.json {
        let mut page = page(&log, in_use);
        if args.frames {
            page["frames"] = frames.iter().map(frame_page).collect();
        }
        say!("{page}");
        return Ok(health);
    }
    say_owner(&log);
    segment_table(&log).say();
    group_table(&log).say();
    frame_table(&frames).say();
    say_verdict(&format!("{}: {line}", word(health, in_use)), &next(health, &log));
    Ok(health)
}

/// Says whether the log is whole.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<Health> {
    let subject = args.folder.open()?;
    let log = subject.log(None)?;
    let in_use = subject.in_use();
    let (health, line) = judge(&log, in_use);
    if args.json {
        say!("{}", page(&log, in_use));
    } else {
        let frames: u64 = log.segments.iter().map(|segment| segment.frames).sum();
        let read: u64 = log.segments.iter().map(|segment| segment.size).sum();
        say!("read     {} segments, {frames} intact frames, {}", log.segments.len(), bytes(read));
        say_verdict(&format!("{}: {line}", word(health, in_use)), &next(health, &log));
    }
    Ok(health)
}

fn word(health: Health, in_use: bool) -> &'static str {
    match health {
        Health::Intact if in_use => "intact and in use",
        Health::Intact => "intact",
        Health::TornTail => "torn tail",
        Health::Unreadable => "cannot be judged",
        Health::Damaged => "damaged",
    }
}

fn next(health: Health, log: &Log) -> String {
    match health {
        Health::Intact => "nothing to do".to_owned(),
        Health::TornTail => {
            "start the node: it removes those bytes; they are normal after a crash, nothing says \
             that they had been synced"
                .to_owned()
        }
        Health::Unreadable => {
            "nothing is known to be damaged: do what the line above says".to_owned()
        }
        Health::Damaged => {
            let gap = log.segments.iter().find_map(|segment| {
                let gap = segment.gaps.first()?;
                let file = FileName::Segment(segment.number);
                Some(format!("bytes {} to {} of `{file}` had been synced; ", gap.start, gap.end))
            });
            format!(
                "{}copy nothing over it; `understudy doctor` says how to go on",
                gap.unwrap_or_default()
            )
        }
    }
}

fn say_owner(log: &Log) {
    match &log.identity {
        Some(identity) => say!(
            "log of node {} of cluster `{}`, incarnation {:016x}; segments of {}, format {}\n",
            identity.node,
            super::table::plain(&identity.cluster.0),
            identity.incarnation.0,
            bytes(log.segment_bytes),
            inspect::LOG_FORMAT
        ),
        None => say!("no segment says whose log it is\n"),
    }
}

fn segment_table(log: &Log) -> Table {
    let headings =
        ["SEGMENT", ">SIZE", ">USED", ">FRAMES", ">GROUP", ">ENTRIES", ">FIRST", ">LAST", "STATE"];
    let mut table = Table::new(&headings);
    for segment in &log.segments {
        let mut start = vec![
            FileName::Segment(segment.number).to_string(),
            bytes(segment.size),
            segment.used.to_string(),
            segment.frames.to_string(),
        ];
        let mut state = state(log, segment);
        if segment.entries.is_empty() {
            start.extend(["-", "-", "-", "-"].map(str::to_owned));
            table.push(start.into_iter().chain([state.clone()]));
            continue;
        }
        for (group, entries) in &segment.entries {
            let numbers = [u64::from(group.0), entries.count, entries.first, entries.last];
            let row = start.iter().cloned().chain(numbers.map(|number| number.to_string()));
            table.push(row.chain([std::mem::take(&mut state)]));
            start.iter_mut().for_each(String::clear);
        }
    }
    table
}

fn state(log: &Log, segment: &Segment) -> String {
    let ends = log.end.is_some_and(|end| end.file == FileName::Segment(segment.number));
    let behind = log.end.is_some_and(|end| end.file < FileName::Segment(segment.number));
    match &segment.header {
        Err(what) => what.clone(),
        Ok(()) if !segment.gaps.is_empty() => {
            let gaps = segment.gaps.iter().map(|gap| format!("{} to {}", gap.start, gap.end));
            format!("no frames at {}", gaps.collect::<Vec<_>>().join(", "))
        }
        Ok(()) if segment.tail > 0 => format!("{} bytes behind the last frame", segment.tail),
        Ok(()) if behind && segment.frames == 0 => "prepared".to_owned(),
        Ok(()) if ends => "the end".to_owned(),
        Ok(()) if behind => "behind the end".to_owned(),
        Ok(()) => "full".to_owned(),
    }
}

fn group_table(log: &Log) -> Table {
    let headings = [
        ">GROUP",
        "NAMESPACE",
        ">ENTRIES",
        ">FIRST",
        ">LAST",
        ">TERM",
        ">PURGED",
        ">COMMITTED",
        "VOTE",
        "MEMBERS",
    ];
    let mut table = Table::new(&headings);
    for (id, group) in &log.groups {
        let index = |position: LogPosition| position.index;
        let members = match (group.members(), group.founder) {
            (Some(members), _) => inspect::words(members),
            (None, Some(founder)) => format!("from node {founder}"),
            (None, None) => "-".to_owned(),
        };
        table.push([
            id.to_string(),
            or_dash(group.namespace.as_ref()),
            group.entries().to_string(),
            or_dash(group.first),
            or_dash(group.last.map(index)),
            or_dash(group.last.map(|last| last.term)),
            or_dash(group.purged.map(index)),
            or_dash(group.committed.map(index)),
            or_dash(group.vote.map(|vote| format!("{} in term {}", vote.node, vote.term))),
            members,
        ]);
    }
    table
}

/// The last `limit` frames about `group`.
fn frames(subject: &Subject, group: Option<GroupId>, limit: usize) -> anyhow::Result<Vec<Frame>> {
    let mut frames = std::collections::VecDeque::new();
    subject.log_once(None, &mut |frame| {
        if group.is_none() || frame.group() == group {
            frames.push_back(frame.clone());
            if frames.len() > limit {
                frames.pop_front();
            }
        }
    })?;
    Ok(frames.into())
}

fn frame_table(frames: &[Frame]) -> Table {
    let mut table = Table::new(&[
        "FILE", ">BYTE", ">LENGTH", ">ATTESTS", "KIND", ">GROUP", ">TERM", ">INDEX", "SAYS",
    ]);
    for frame in frames {
        let position = frame.position();
        let lost = if frame.follows { "" } else { "(behind the end) " };
        table.push([
            frame.place.file.to_string(),
            frame.place.byte.to_string(),
            frame.bytes.to_string(),
            frame.attested.to_string(),
            frame.kind().to_owned(),
            or_dash(frame.group()),
            or_dash(position.map(|position| position.term)),
            or_dash(position.map(|position| position.index)),
            format!("{lost}{}", frame.says()),
        ]);
    }
    table
}

/// The log in JSON.
pub fn page(log: &Log, in_use: bool) -> Value {
    let (health, _) = judge(log, in_use);
    let (reason, torn_bytes) = match &log.verdict {
        Verdict::Clean => (None, 0),
        Verdict::TornTail { bytes } => (None, *bytes),
        Verdict::Damaged(what) | Verdict::Unreadable(what) => (Some(what), 0),
    };
    json!({
        "verdict": health,
        "reason": reason,
        "torn_bytes": torn_bytes,
        "end": log.end.map(|end| json!({ "file": end.file.to_string(), "byte": end.byte })),
        "in_use": in_use,
        "identity": log.identity.as_ref().map(super::doctor::identity_page),
        "format": inspect::LOG_FORMAT,
        "segment_bytes": log.segment_bytes,
        "segments": log.segments.iter().map(segment_page).collect::<Value>(),
        "groups": log.groups.iter().map(|(id, group)| group_page(*id, group)).collect::<Value>(),
    })
}

fn segment_page(segment: &Segment) -> Value {
    let entries = segment.entries.iter().map(|(group, entries)| {
        json!({
            "group": group.0,
            "count": entries.count,
            "bytes": entries.bytes,
            "first": entries.first,
            "last": entries.last,
        })
    });
    let gaps = segment.gaps.iter().map(|gap| json!({ "from": gap.start, "to": gap.end }));
    json!({
        "file": FileName::Segment(segment.number).to_string(),
        "number": segment.number,
        "bytes": segment.size,
        "header_fault": segment.header.as_ref().err(),
        "used": segment.used,
        "tail": segment.tail,
        "frames": segment.frames,
        "gaps": gaps.collect::<Value>(),
        "entries": entries.collect::<Value>(),
    })
}

fn group_page(id: GroupId, group: &Group) -> Value {
    let vote = group.vote.map(|vote| {
        json!({ "term": vote.term, "for": replica_page(vote.node), "leads": vote.committed })
    });
    json!({
        "group": id.0,
        "namespace": group.namespace.as_ref().map(|name| name.as_str()),
        "entries": group.entries(),
        "first": group.first,
        "last": group.last.map(position_page),
        "purged": group.purged.map(position_page),
        "committed": group.committed.map(position_page),
        "vote": vote,
        "founder": group.founder.map(replica_page),
        "members": group.members().map(inspect::words),
    })
}

fn frame_page(frame: &Frame) -> Value {
    json!({
        "file": frame.place.file.to_string(),
        "byte": frame.place.byte,
        "bytes": frame.bytes,
        "offset": frame.offset,
        "attested": frame.attested,
        "follows": frame.follows,
        "kind": frame.kind(),
        "group": frame.group().map(|group| group.0),
        "term": frame.position().map(|position| position.term),
        "index": frame.position().map(|position| position.index),
        "says": frame.says(),
    })
}

/// A position in JSON.
pub fn position_page(position: LogPosition) -> Value {
    json!({ "term": position.term, "index": position.index })
}

fn replica_page(replica: ReplicaId) -> Value {
    json!({ "node": replica.node.0, "incarnation": format!("{:016x}", replica.incarnation.0) })
}
