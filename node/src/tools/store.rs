//! `understudy store`: the state of groups, as their checkpoints and their rows in RocksDB have it.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use understudy_core::backend::{BackendError, View};
use understudy_core::snapshot::SnapshotHeader;
use understudy_core::store::Meta;
use understudy_core::{ActorId, GroupId, Record};

use super::checkpoint::{self, Checkpoint, Fault};
use super::rows::{self, Rows};
use super::table::{Table, bytes, or_dash};
use super::wal::position_page;
use super::{FolderArgs, Health, Subject, say_verdict};
use crate::say::say;

/// How the exit codes read in `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  everything that was read is intact
  1  the same, but there is no such actor (with --actor)
  2  damaged: bytes that had been synced are not what they were
  3  cannot be judged: no data folder, another version's, or not readable";

/// What stands where the program could not look.
pub const WITHOUT_ROCKSDB: &str =
    "`rocksdb/` is there, and this program cannot read it; build it with `--features rocksdb`";

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Only this group.
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// List actors too.
    #[arg(long)]
    actors: bool,
    /// List the actors whose ids begin so.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Actors to list at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Show this actor's record.
    #[arg(long, value_name = "ID", conflicts_with_all = ["actors", "prefix"])]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The rows outside the core.
#[derive(Debug)]
pub enum Outside {
    /// There are none.
    Absent,
    /// This program is built without the store that holds them.
    NotBuilt,
    /// As they are.
    Read(Vec<Rows>),
    /// What is wrong with them.
    Failed { damaged: bool, what: String },
}

/// An actor, and whose it is.
struct Found {
    group: GroupId,
    id: ActorId,
    record: Record,
}

/// Shows what there is.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<Health> {
    let subject = args.folder.open()?;
    let actor = args.actor.as_deref().map(ActorId::new).transpose().map_err(anyhow::Error::msg)?;
    let prefix = args.prefix.as_deref().unwrap_or("");
    let lists = args.actors || args.prefix.is_some();
    let wanted = |group: GroupId| args.group.is_none_or(|wanted| wanted == group.0);
    let (mut found, mut more) = (Vec::new(), 0_u64);
    let mut each = |group, id: &ActorId, record: &Record| {
        let listed = lists && id.as_str().starts_with(prefix);
        if !wanted(group) || !(listed || actor.as_ref() == Some(id)) {
            return;
        }
        if found.len() < args.limit || actor.is_some() {
            found.push(Found { group, id: id.clone(), record: record.clone() });
        } else {
            more += 1;
        }
    };
    let (mut checkpoints, _) = checkpoint::all(&subject, None, args.json, &mut each)?;
    let mut outside = outside(&subject, &mut each);
    checkpoints.retain(|checkpoint| wanted(checkpoint.group));
    if let Outside::Read(rows) = &mut outside {
        rows.retain(|rows| wanted(rows.root.origin.group));
    }
    let missing = actor.is_some() && found.is_empty();
    let (health, line) = health(&checkpoints, &outside);
    let health = if missing && health == Health::Intact { Health::TornTail } else { health };
    if args.json {
        let mut page = page(&checkpoints, &outside);
        if lists || actor.is_some() {
            page["actors"] = found.iter().map(actor_page).collect::<anyhow::Result<_>>()?;
            page["more_actors"] = json!(more);
        }
        say!("{page}");
        return Ok(health);
    }
    checkpoint_table(&checkpoints).say();
    rows_table(&outside).say();
    if actor.is_some() {
        found.iter().for_each(say_actor);
    } else {
        actor_table(&found).say();
    }
    if more > 0 {
        say!("{more} more actors; `--limit` shows more, `--prefix` fewer\n");
    }
    if missing {
        say!("no checkpoint has this actor; what was written later is in the log only\n");
    }
    say_verdict(&line, next(health));
    Ok(health)
}

fn next(health: Health) -> &'static str {
    match health {
        Health::Damaged => "copy nothing over it; `understudy doctor` says how to go on",
        Health::Unreadable => "nothing is known to be damaged: do what the line above says",
        Health::Intact | Health::TornTail => "nothing to do",
    }
}

/// The worst of it, in a line.
fn health(checkpoints: &[Checkpoint], outside: &Outside) -> (Health, String) {
    if let Some(what) = checkpoints.iter().find_map(Checkpoint::complaint) {
        return (Health::Damaged, format!("damaged: {what}"));
    }
    match outside {
        Outside::Failed { damaged: true, what } => {
            (Health::Damaged, format!("damaged: `rocksdb/`: {what}"))
        }
        Outside::Failed { what, .. } => {
            (Health::Unreadable, format!("cannot be judged: `rocksdb/`: {what}"))
        }
        Outside::NotBuilt => (Health::Unreadable, format!("cannot be judged: {WITHOUT_ROCKSDB}")),
        Outside::Absent | Outside::Read(_) => {
            let count = checkpoints.len();
            let whole = match count {
                0 => "no checkpoints yet".to_owned(),
                1 => "intact: 1 checkpoint".to_owned(),
                count => format!("intact: {count} checkpoints"),
            };
            let rows = if let Outside::Read(rows) = outside {
                format!(", {} groups in RocksDB", rows.len())
            } else {
                String::new()
            };
            (Health::Intact, format!("{whole}{rows}"))
        }
    }
}

/// The rows in RocksDB, read and counted.
pub fn outside(subject: &Subject, each: &mut dyn FnMut(GroupId, &ActorId, &Record)) -> Outside {
    let path = subject.path.join("rocksdb");
    if !path.exists() {
        return Outside::Absent;
    }
    let failed = |BackendError { reason, damaged }| Outside::Failed { damaged, what: reason };
    match reader(&path) {
        Ok(None) => Outside::NotBuilt,
        Ok(Some(view)) => rows::groups(&*view, each).map_or_else(failed, Outside::Read),
        Err(error) => match error.downcast::<BackendError>() {
            Ok(error) => failed(error),
            Err(error) => Outside::Failed { damaged: false, what: format!("{error:#}") },
        },
    }
}

/// A look at the database, if this program is built with it.
#[cfg(feature = "rocksdb")]
fn reader(path: &Path) -> anyhow::Result<Option<Box<dyn View>>> {
    Ok(Some(Box::new(crate::rocks::RocksReader::open(path)?)))
}

#[cfg(not(feature = "rocksdb"))]
fn reader(_: &Path) -> anyhow::Result<Option<Box<dyn View>>> {
    Ok(None)
}

fn checkpoint_table(checkpoints: &[Checkpoint]) -> Table {
    let mut table = Table::new(&[
        "CHECKPOINT",
        ">SIZE",
        ">GROUP",
        "NAMESPACE",
        ">TERM",
        ">INDEX",
        ">ACTORS",
        ">OUTCOMES",
        "STATE",
    ]);
    for checkpoint in checkpoints {
        let header = checkpoint.found.as_ref().ok();
        let state = match &checkpoint.found {
            Err(Fault { byte: Some(byte), what }) => format!("damaged at byte {byte}: {what}"),
            Err(Fault { byte: None, what }) => format!("damaged: {what}"),
            Ok(_) if checkpoint.counts => "intact".to_owned(),
            Ok(_) => "intact, superseded".to_owned(),
        };
        table.push([
            checkpoint.file.to_string(),
            bytes(checkpoint.bytes),
            checkpoint.group.to_string(),
            or_dash(header.map(|header| &header.origin.namespace)),
            checkpoint.position.term.to_string(),
            checkpoint.position.index.to_string(),
            or_dash(header.map(|header| header.meta.actors)),
            or_dash(header.map(|header| header.meta.outcomes)),
            state,
        ]);
    }
    table
}

fn rows_table(outside: &Outside) -> Table {
    let mut table = Table::new(&[
        "ROCKSDB",
        ">GROUP",
        "NAMESPACE",
        ">GENERATION",
        ">TERM",
        ">INDEX",
        ">ACTORS",
        ">OUTCOMES",
        "STATE",
    ]);
    let Outside::Read(groups) = outside else { return table };
    for Rows { root, meta, stale } in groups {
        let state = if *stale == 0 {
            "intact".to_owned()
        } else {
            format!("intact, {stale} rows of other generations go at the next start")
        };
        table.push([
            "rocksdb/".to_owned(),
            root.origin.group.to_string(),
            root.origin.namespace.to_string(),
            root.generation.to_string(),
            or_dash(meta.applied.map(|applied| applied.term)),
            or_dash(meta.applied.map(|applied| applied.index)),
            meta.actors.to_string(),
            meta.outcomes.to_string(),
            state,
        ]);
    }
    table
}

fn actor_table(found: &[Found]) -> Table {
    let mut table = Table::new(&[">GROUP", "ACTOR", "TOKEN", ">SIZE", "DOCUMENT"]);
    for Found { group, id, record } in found {
        let text = String::from_utf8_lossy(record.value().as_bytes());
        let mut start: String = text.chars().take(60).collect();
        if start.len() < text.len() {
            start.push('…');
        }
        let size = record.value().as_bytes().len().to_string();
        table.push([group.to_string(), id.to_string(), record.token.to_string(), size, start]);
    }
    table
}

fn say_actor(Found { group, id, record }: &Found) {
    let text = String::from_utf8_lossy(record.value().as_bytes());
    say!("group     {group}");
    say!("actor     {}", super::table::plain(id.as_str()));
    say!("token     {}", record.token);
    say!("document  {}\n", super::table::plain(&text));
}

fn actor_page(Found { group, id, record }: &Found) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_slice(record.value().as_bytes())
        .with_context(|| format!("the document of actor `{id}` is no JSON"))?;
    let token = record.token;
    Ok(json!({
        "group": group.0,
        "id": id.as_str(),
        "token": token.to_string(),
        "version": token.version.0,
        "value": value,
    }))
}

/// Everything in JSON.
pub fn page(checkpoints: &[Checkpoint], outside: &Outside) -> Value {
    let (health, line) = health(checkpoints, outside);
    let rocksdb = match outside {
        Outside::Absent => Value::Null,
        Outside::NotBuilt => json!({ "state": "not_built" }),
        Outside::Failed { damaged, what } => {
            json!({ "state": if *damaged { "damaged" } else { "unreadable" }, "fault": what })
        }
        Outside::Read(groups) => {
            let groups = groups.iter().map(|Rows { root, meta, stale }| {
                let mut page = meta_page(meta);
                page["group"] = json!(root.origin.group.0);
                page["namespace"] = json!(root.origin.namespace.as_str());
                page["generation"] = json!(root.generation);
                page["stale_rows"] = json!(stale);
                page
            });
            json!({ "state": "intact", "groups": groups.collect::<Value>() })
        }
    };
    json!({
        "verdict": health,
        "reason": if health == Health::Intact { None } else { Some(line) },
        "checkpoints": checkpoints.iter().map(checkpoint_page).collect::<Value>(),
        "rocksdb": rocksdb,
    })
}

fn checkpoint_page(checkpoint: &Checkpoint) -> Value {
    let fault = checkpoint.found.as_ref().err();
    json!({
        "file": checkpoint.file.to_string(),
        "group": checkpoint.group.0,
        "position": position_page(checkpoint.position),
        "bytes": checkpoint.bytes,
        "counts": checkpoint.counts,
        "fault": fault.map(|fault| &fault.what),
        "fault_byte": fault.and_then(|fault| fault.byte),
        "cluster": checkpoint.found.as_ref().ok().map(|header| header.origin.cluster.0.as_str()),
        "namespace": checkpoint.found.as_ref().ok().map(|header| header.origin.namespace.as_str()),
        "meta": checkpoint.found.as_ref().ok().map(|SnapshotHeader { meta, .. }| meta_page(meta)),
    })
}

fn meta_page(meta: &Meta) -> Value {
    json!({
        "applied": meta.applied.map(position_page),
        "members": meta.members.as_ref().map(|(_, members)| understudy_core::inspect::words(members)),
        "actors": meta.actors,
        "outcomes": meta.outcomes,
        "sequence": meta.sequence.0,
        "committed_time_ms": meta.committed_time.0,
        "state_hash": format!("{:016x}", meta.state_hash),
        "rows_hash": format!("{:016x}", meta.rows_hash),
    })
}
