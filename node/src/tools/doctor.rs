//! `understudy doctor`: everything about a data folder, one verdict, one next step.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use understudy_core::inspect::{self, Log};
use understudy_core::message::{LogPosition, Members};
use understudy_core::{GroupId, Identity};

use super::checkpoint::{self, Checkpoint, Leftover};
use super::store::{self, Outside, WITHOUT_ROCKSDB};
use super::table::{bytes, plain};
use super::{DoctorArgs, Health, Subject, judge, say_verdict, shown, wal};
use crate::folder;
use crate::say::say;

/// What was found, part by part.
struct Report {
    subject: Subject,
    in_use: bool,
    identity: Option<Identity>,
    lines: Vec<Line>,
    /// The members of the cluster, as far as anything here says how many there are.
    nodes: Option<usize>,
    groups: usize,
}

/// One part of the folder.
struct Line {
    part: &'static str,
    health: Health,
    text: String,
}

/// Looks at everything and says what to do next.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<Health> {
    let subject = args.folder.open()?;
    let nodes = subject.config.as_ref().map(|config| config.cluster.nodes.len());
    let in_use = subject.in_use();
    let mut report =
        Report { subject, in_use, identity: None, lines: Vec::new(), nodes, groups: 0 };
    report.folder();
    let data = report.data(args.json)?;
    report.asides();
    report.space(&data);
    let health = report.health();
    let (verdict, next) = (report.verdict(health), report.next(health));
    if args.json {
        say!("{}", report.page(&data, health, &verdict, &next));
        return Ok(health);
    }
    for Line { part, text, .. } in &report.lines {
        say!("{part:8} {}", plain(text));
    }
    say!("");
    say_verdict(&verdict, &next);
    Ok(health)
}

/// What the folder holds.
struct Data {
    log: Log,
    checkpoints: Vec<Checkpoint>,
    outside: Outside,
    leftovers: Vec<Leftover>,
}

impl Report {
    fn note(&mut self, part: &'static str, health: Health, text: String) {
        self.lines.push(Line { part, health, text });
    }

    /// Whose it is, and who has it.
    fn folder(&mut self) {
        let path = shown(&self.subject.path);
        let file = self.subject.path.join("identity.toml");
        match folder::read_identity(&self.subject.path) {
            Ok(identity) => {
                let text = format!(
                    "`{path}`: node {} of cluster `{}`, incarnation {:016x}, format {}",
                    identity.node,
                    identity.cluster,
                    identity.incarnation.0,
                    folder::FORMAT
                );
                self.note("folder", Health::Intact, text);
                self.foreign(&identity);
                self.identity = Some(identity);
            }
            Err(error) => {
                let health = if file.exists() && !error.to_string().contains("has format") {
                    Health::Damaged
                } else {
                    Health::Unreadable
                };
                self.note("folder", health, error.to_string());
            }
        }
        let text = if self.in_use {
            "a process serves this folder; what is shown may be moving"
        } else {
            "no process serves it"
        };
        self.note("process", Health::Intact, text.to_owned());
        if let Ok(what) = fs::read_to_string(self.subject.path.join("suspect")) {
            let text = format!("the node found while it ran: {}", what.trim());
            self.note("suspect", Health::Damaged, text);
        }
    }

    /// The configuration may be another member's.
    fn foreign(&mut self, identity: &Identity) {
        let Some(config) = &self.subject.config else { return };
        if identity.cluster != config.cluster.cluster || identity.node != config.node {
            let text = format!(
                "`{}` is node {}'s of cluster `{}`; correct `data_dir`, `node` or `cluster.name`",
                shown(&config.path),
                config.node,
                config.cluster.cluster
            );
            self.note("config", Health::Unreadable, text);
        } else if let Err(what) = inspect::fits(&config.cluster, identity, &self.subject.files) {
            self.note("config", Health::Unreadable, what);
        }
    }

    /// Log, checkpoints and rows, each by itself and together.
    fn data(&mut self, hidden: bool) -> anyhow::Result<Data> {
        let owner = self.identity.clone();
        let log = self.subject.log(owner.as_ref())?;
        let (health, line) = judge(&log, self.in_use);
        let frames: u64 = log.segments.iter().map(|segment| segment.frames).sum();
        let count = log.segments.len();
        let text = format!("{count} segments, {frames} frames; {line}");
        self.note("log", health, text);
        let (checkpoints, leftovers) =
            checkpoint::all(&self.subject, owner.as_ref(), hidden, &mut |_, _, _| {})?;
        let outside = store::outside(&self.subject, &mut |_, _, _| {});
        self.states(&log, &checkpoints, &outside);
        for Leftover { file, bytes: size } in &leftovers {
            let text =
                format!("`{file}` ({}), never finished; goes at the next start", bytes(*size));
            self.note("left", Health::Intact, text);
        }
        Ok(Data { log, checkpoints, outside, leftovers })
    }

    /// Each group's state, and whether its log goes on from there.
    fn states(&mut self, log: &Log, checkpoints: &[Checkpoint], outside: &Outside) {
        let mut states: BTreeMap<GroupId, (Option<LogPosition>, String)> = BTreeMap::new();
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.counts) {
            let size = bytes(checkpoint.bytes);
            match &checkpoint.found {
                Ok(header) => {
                    let meta = &header.meta;
                    self.members(meta.members.as_ref().map(|(_, members)| members));
                    let text = format!(
                        "checkpoint at entry {}, {} actors, {size}",
                        checkpoint.position.index, meta.actors
                    );
                    states.insert(checkpoint.group, (meta.applied, text));
                }
                Err(_) => {
                    let what = checkpoint.complaint().unwrap_or_default();
                    self.note("state", Health::Damaged, what);
                    states.insert(
                        checkpoint.group,
                        (Some(checkpoint.position), "damaged".to_owned()),
                    );
                }
            }
        }
        match outside {
            Outside::Absent => {}
            Outside::NotBuilt => {
                self.note("rocksdb", Health::Unreadable, WITHOUT_ROCKSDB.to_owned());
            }
            Outside::Failed { damaged, what } => {
                let health = if *damaged { Health::Damaged } else { Health::Unreadable };
                self.note("rocksdb", health, what.clone());
            }
            Outside::Read(groups) => {
                for rows in groups {
                    let applied = rows.meta.applied;
                    self.members(rows.meta.members.as_ref().map(|(_, members)| members));
                    let index = applied.map_or(0, |applied| applied.index);
                    let text = format!("RocksDB at entry {index}, {} actors", rows.meta.actors);
                    let state =
                        states.entry(rows.root.origin.group).or_insert((None, String::new()));
                    if state.0.is_none_or(|known| known.index <= index) {
                        *state = (applied, text);
                    }
                }
            }
        }
        let unknown = matches!(outside, Outside::NotBuilt | Outside::Failed { .. });
        for (id, group) in &log.groups {
            self.members(group.members());
            let (applied, state) = states.remove(id).unwrap_or_default();
            self.join(*id, group, applied, &state, unknown);
        }
        for (id, (_, state)) in states {
            self.note("group", Health::Intact, format!("{id}: {state}; nothing in the log"));
        }
        self.groups = log.groups.len();
    }

    /// As a start would put them together.
    fn join(
        &mut self,
        id: GroupId,
        group: &inspect::Group,
        applied: Option<LogPosition>,
        state: &str,
        unknown: bool,
    ) {
        let name = group.namespace.as_ref().map_or(String::new(), |name| format!(" (`{name}`)"));
        let entries = match (group.first, group.last) {
            (Some(first), Some(last)) => format!("log from entry {first} to {}", last.index),
            _ => "no entries in the log".to_owned(),
        };
        let kept = if state.is_empty() { "no checkpoint" } else { state };
        let text = format!("{id}{name}: {kept}; {entries}");
        let (health, text) = match group.purged {
            Some(purged) if applied.is_none() && unknown => (
                Health::Unreadable,
                format!(
                    "{text}; what is before entry {} could not be seen",
                    purged.index.saturating_add(1)
                ),
            ),
            Some(purged) if applied.is_none_or(|applied| applied.index < purged.index) => (
                Health::Damaged,
                format!(
                    "{text}; everything up to entry {} should be in a checkpoint",
                    purged.index
                ),
            ),
            _ => (Health::Intact, text),
        };
        self.note("group", health, text);
    }

    fn members(&mut self, members: Option<&Members>) {
        let Some(voters) = members.and_then(|members| members.configs.first()) else { return };
        self.nodes = self.nodes.or(Some(voters.len()));
    }

    /// What was damaged before.
    fn asides(&mut self) {
        let own = self.identity.as_ref();
        let own = own.map(|identity| format!("damaged-{:016x}", identity.incarnation.0));
        let entries = fs::read_dir(&self.subject.path).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        for name in names.iter().filter(|name| name.starts_with("damaged-")) {
            let size = bytes(size_of(&self.subject.path.join(name)));
            if own.as_ref() == Some(name) {
                let text = format!(
                    "`{name}` ({size}): a start was cut off while it set the damaged data aside; \
                     the next one goes on"
                );
                self.note("aside", Health::Damaged, text);
            } else {
                let text = format!(
                    "`{name}` ({size}) was set aside; no longer needed once `understudy status` \
                     shows this node level"
                );
                self.note("aside", Health::Intact, text);
            }
        }
    }

    /// What the next segment and the next checkpoint take.
    fn space(&mut self, data: &Data) {
        let Some(free) = free(&self.subject.path) else { return };
        let checkpoint = data.checkpoints.iter().map(|checkpoint| checkpoint.bytes).max();
        let wants = data.log.segment_bytes + checkpoint.unwrap_or(0);
        let short =
            if free < wants { "; too little: free some before the node starts" } else { "" };
        let text = format!(
            "{} free; the next segment and a checkpoint take {}{short}",
            bytes(free),
            bytes(wants)
        );
        self.note("space", Health::Intact, text);
    }

    fn health(&self) -> Health {
        self.lines.iter().map(|line| line.health).max().unwrap_or(Health::Intact)
    }

    fn verdict(&self, health: Health) -> String {
        let mut worst = self.lines.iter().filter(|line| line.health == health);
        let first =
            worst.next().map_or(String::new(), |line| format!("{}: {}", line.part, line.text));
        let more = match worst.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let namespaces = match self.groups {
            1 => "1 namespace".to_owned(),
            groups => format!("{groups} namespaces"),
        };
        match health {
            Health::Intact if self.in_use => format!("healthy and in use: {namespaces}"),
            Health::Intact => format!("healthy: {namespaces}"),
            Health::TornTail => format!("healthy after a crash: {namespaces}; {first}"),
            Health::Unreadable => format!("cannot be judged: {first}{more}"),
            Health::Damaged => format!("damaged: {first}{more}"),
        }
    }

    fn next(&self, health: Health) -> String {
        let config = self.subject.config.as_ref();
        let file = config.map_or("FILE".to_owned(), |config| shown(&config.path));
        let serve = format!("understudy serve --config {file}");
        if self.identity.is_none() && health == Health::Damaged {
            return format!(
                "copy `identity.toml` back; if it is lost, move the folder away, keep it, and run \
                 `understudy init --config {file}`: the other nodes take the new folder in"
            );
        }
        let alone = "keep this folder, it may hold the only copy, and restore a backup into a new \
                     cluster";
        match (health, self.nodes) {
            (Health::Intact | Health::TornTail, _) if self.in_use => "nothing to do".to_owned(),
            (Health::Intact | Health::TornTail, _) => format!("start it: {serve}"),
            (Health::Unreadable, _) => {
                "nothing is known to be damaged: do what the line above says".to_owned()
            }
            (Health::Damaged, _) if self.in_use => {
                format!("restart the node: {serve} sets damaged data aside if it still is")
            }
            (Health::Damaged, Some(1)) => {
                format!("there is no other node to repair it from: {alone}")
            }
            (Health::Damaged, Some(_)) => format!(
                "start it all the same: {serve}; it sets this data aside, and is repaired by the \
                 other nodes when a majority of them answers"
            ),
            (Health::Damaged, None) => format!(
                "if the cluster has other nodes, start it all the same: {serve}; it sets this data \
                 aside and is repaired by them. If not, {alone}"
            ),
        }
    }

    fn page(&self, data: &Data, health: Health, verdict: &str, next: &str) -> Value {
        let lines = self.lines.iter().map(
            |Line { part, health, text }| json!({ "part": part, "verdict": health, "text": text }),
        );
        let left = data
            .leftovers
            .iter()
            .map(|Leftover { file, bytes }| json!({ "file": file.to_string(), "bytes": bytes }));
        json!({
            "verdict": health,
            "summary": verdict,
            "next": next,
            "in_use": self.in_use,
            "identity": self.identity.as_ref().map(identity_page),
            "formats": {
                "folder": folder::FORMAT,
                "log": inspect::LOG_FORMAT,
                "snapshot": inspect::SNAPSHOT_FORMAT,
            },
            "free_bytes": free(&self.subject.path),
            "findings": lines.collect::<Value>(),
            "log": wal::page(&data.log, self.in_use),
            "store": store::page(&data.checkpoints, &data.outside),
            "leftovers": left.collect::<Value>(),
        })
    }
}

/// Whose folder it is, in JSON.
pub fn identity_page(identity: &Identity) -> Value {
    json!({
        "cluster": identity.cluster.0,
        "node": identity.node.0,
        "incarnation": format!("{:016x}", identity.incarnation.0),
    })
}

/// Bytes that the node may still write to the file system around `path`.
fn free(path: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

/// Bytes of the files below `path`; links are not followed.
fn size_of(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size_of(&entry.path())).sum()
}
