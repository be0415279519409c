//! The commands that look at a data folder. They only read: not a byte, name or time stamp of the
//! folder is changed, whatever is in it, and they work on a read-only file system.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use understudy_core::inspect::{self, Frame, Log, Verdict};
use understudy_core::{DiskImage, Identity};

use crate::config::NodeConfig;
use crate::files::Files;
use crate::limits;
use crate::say::say;

mod checkpoint;
mod doctor;
mod rows;
mod store;
pub(crate) mod table;
mod wal;

/// How the exit codes read in `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  intact
  1  intact but for a torn tail, which is normal after a crash; a start cuts it
  2  damaged: bytes that had been synced are not what they were
  3  cannot be judged: no data folder, another version's, or not readable";

/// What can be done with a log.
#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// Show the segments of a write-ahead log, what it says of each group and where it ends.
    #[command(after_help = EXIT_CODES)]
    Inspect(wal::InspectArgs),
    /// Read every byte of a write-ahead log and say whether it is whole.
    ///
    /// What is called damaged here is what a start would refuse. A flipped bit in the last frames,
    /// which nothing behind them attests, cannot be told from a torn tail.
    #[command(after_help = EXIT_CODES)]
    Verify(wal::VerifyArgs),
}

/// What can be done with the state of groups.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show and check the checkpoints of a data folder, and its RocksDB.
    ///
    /// A checkpoint is the state at one entry of the log: what was written after it is in the log
    /// only.
    #[command(after_help = store::EXIT_CODES)]
    Inspect(store::InspectArgs),
}

/// See [`doctor`].
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct DoctorArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Which data folder.
#[derive(Debug, Args)]
#[group(id = "folder", required = true, multiple = false)]
pub struct FolderArgs {
    /// The data folder.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The configuration file whose `data_dir` it is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `understudy wal`.
pub fn run_wal(command: WalCommand) -> ExitCode {
    ended(match command {
        WalCommand::Inspect(args) => wal::inspect(&args),
        WalCommand::Verify(args) => wal::verify(&args),
    })
}

/// Runs `understudy store`.
pub fn run_store(command: StoreCommand) -> ExitCode {
    let StoreCommand::Inspect(args) = command;
    ended(store::inspect(&args))
}

/// Runs `understudy doctor`.
pub fn run_doctor(args: &DoctorArgs) -> ExitCode {
    ended(doctor::doctor(args))
}

/// An error is no verdict, so it has a code that no verdict has.
fn ended(result: anyhow::Result<Health>) -> ExitCode {
    match result {
        Ok(health) => ExitCode::from(health.code()),
        Err(error) => {
            eprintln!("understudy: {error:#}");
            ExitCode::from(Health::Unreadable.code())
        }
    }
}

/// How a folder, or a part of it, is; the worst part counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Whole.
    Intact,
    /// Whole but for writes that a crash has cut off.
    TornTail,
    /// Nobody knows.
    Unreadable,
    /// Not whole.
    Damaged,
}

impl Health {
    fn code(self) -> u8 {
        match self {
            Health::Intact => 0,
            Health::TornTail => 1,
            Health::Damaged => 2,
            Health::Unreadable => 3,
        }
    }
}

/// A data folder that is only looked at.
#[derive(Debug)]
pub struct Subject {
    path: PathBuf,
    /// If it was named by one.
    config: Option<NodeConfig>,
    files: Files,
}

impl FolderArgs {
    fn open(&self) -> anyhow::Result<Subject> {
        let config = self.config.as_deref().map(NodeConfig::read).transpose()?;
        let path = match (&config, &self.dir) {
            (Some(config), _) => config.data_dir.clone(),
            (None, Some(dir)) => dir.clone(),
            (None, None) => bail!("name a data folder"),
        };
        let subject = Subject { files: Files::new(&path), path, config };
        subject.must_be_readable()?;
        Ok(subject)
    }
}

impl Subject {
    /// What this user may not read says nothing about the disk.
    fn must_be_readable(&self) -> anyhow::Result<()> {
        let path = &self.path;
        let entries =
            std::fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        let known = ["identity.toml", "wal", "snap", "rocksdb"];
        if !names.iter().any(|name| known.iter().any(|known| name == known)) {
            let nested = path.join("data");
            let hint = if nested.join("identity.toml").exists() {
                format!("; `{}` is one", nested.display())
            } else {
                String::new()
            };
            bail!("`{}` is not a data folder{hint}", path.display());
        }
        let files = self.files.files().map_err(|failed| anyhow::anyhow!(failed.reason))?;
        let files = files.iter().map(|(file, _)| self.files.path(*file));
        for file in files.chain([path.join("identity.toml")]) {
            if File::open(&file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                bail!("`{}` may not be read; run this as the node's own user", file.display());
            }
        }
        Ok(())
    }

    /// Whether a process serves it. Asks with a shared lock that is given back at once.
    fn in_use(&self) -> bool {
        let lock = File::open(self.path.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Its log. While a process writes it, what is read at one time may not fit what is read at
    /// another; damage stays where it is.
    fn log(&self, owner: Option<&Identity>) -> anyhow::Result<Log> {
        let mut before: Option<Log> = None;
        loop {
            let log = self.log_once(owner, &mut |_| {})?;
            let whole = matches!(log.verdict, Verdict::Clean | Verdict::TornTail { .. });
            let same = |before: &Log| (&before.verdict, before.end) == (&log.verdict, log.end);
            if whole || !self.in_use() || before.as_ref().is_some_and(same) {
                return Ok(log);
            }
            before = Some(log);
            sleep(limits::LOOK_AGAIN_AFTER);
        }
    }

    fn log_once(
        &self,
        owner: Option<&Identity>,
        each: &mut dyn FnMut(&Frame),
    ) -> anyhow::Result<Log> {
        let log = inspect::log(&self.files, owner, each);
        log.map_err(|failed| anyhow::anyhow!(failed.reason))
    }
}

/// The log's health, in a word and in a line. A running process's last writes are not torn.
fn judge(log: &Log, in_use: bool) -> (Health, String) {
    let end = match log.end {
        Some(place) => format!("byte {} of `{}`", place.byte, place.file),
        None => "its first byte".to_owned(),
    };
    match &log.verdict {
        Verdict::Clean => (Health::Intact, format!("it ends at {end}")),
        Verdict::TornTail { .. } if in_use => {
            (Health::Intact, format!("it ended at {end} when it was read"))
        }
        Verdict::TornTail { bytes } => (
            Health::TornTail,
            format!("it ends at {end}; {bytes} bytes behind it were cut off in writing"),
        ),
        Verdict::Damaged(what) => {
            (Health::Damaged, format!("{what}; intact frames go up to {end}"))
        }
        Verdict::Unreadable(what) => (Health::Unreadable, what.clone()),
    }
}

/// The last two lines of what a person reads.
fn say_verdict(verdict: &str, next: &str) {
    say!("verdict  {}", table::plain(verdict));
    say!("next     {}", table::plain(next));
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
