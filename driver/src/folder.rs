//! The data folder: who it belongs to, its log file, and the lock that keeps it to one process.
//!
//! ```text
//! DATA_DIR/identity.toml   cluster, node, incarnation; written by `init` or `restore`, and anew by a
//!                          set-aside
//! DATA_DIR/lock            flock, held while a process serves the folder
//! DATA_DIR/wal/            the segments of the write-ahead log, in the core's format
//! DATA_DIR/snap/           checkpoints and snapshots, in the core's format
//! DATA_DIR/rocksdb/        the rows of namespaces that keep them there
//! DATA_DIR/suspect         what a running node found damaged; the next start sets the data aside
//! DATA_DIR/damaged-<INCARNATION>/   data that was found damaged; never deleted by this program
//! ```
//!
//! Damaged data is set aside in steps that a crash may part: its folder is made, the data is moved,
//! a new log is written, the identity is replaced. While the identity is still that of a
//! `damaged-` folder, whatever lies beside it is not in use yet, and the next start goes on from there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tracing::{error, info};
use understudy_core::message::LogPosition;
use understudy_core::{
    ClusterConfig, ClusterId, DiskOp, GroupId, Identity, Incarnation, NodeId, Replica, disk,
};

use crate::config::NodeConfig;
use crate::files::Files;

/// The version of the folder's layout.
pub const FORMAT: u32 = 1;

/// A folder that this process alone may use.
#[derive(Debug)]
pub struct Folder {
    /// Whose it is.
    pub identity: Identity,
    path: PathBuf,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u32,
    cluster: String,
    node: u64,
    /// As text: TOML has no unsigned 64-bit integers.
    incarnation: String,
}

impl Folder {
    /// Makes the folder of a new member.
    ///
    /// # Errors
    /// One line, for a folder that is not empty or cannot be written.
    pub fn init(config: &NodeConfig) -> anyhow::Result<Identity> {
        let path = &config.data_dir;
        Folder::ensure_empty(config)?;
        let identity = new_identity(config)?;
        write_folder(path, &identity, &Replica::format(&identity, &config.cluster.log))
            .with_context(|| format!("cannot write to `{}`", path.display()))?;
        Ok(identity)
    }

    /// Refuses a folder that is in use, or was.
    ///
    /// # Errors
    /// One line.
    pub fn ensure_empty(config: &NodeConfig) -> anyhow::Result<()> {
        let path = &config.data_dir;
        ensure!(
            is_empty(path)?,
            "`{}` is not empty; give a new member an empty folder, or run `understudy serve` if it \
             is this member's own",
            path.display()
        );
        Ok(())
    }

    /// Makes the folder of the first node of a cluster that goes on from a backup. `fill` writes the
    /// groups' states into it, durably, and says where each ends; the identity comes last.
    ///
    /// # Errors
    /// One line; whatever was made is removed again.
    pub fn restore(
        config: &NodeConfig,
        fill: impl FnOnce(&Identity, &Files) -> anyhow::Result<Vec<(GroupId, LogPosition)>>,
    ) -> anyhow::Result<Identity> {
        let path = &config.data_dir;
        Folder::ensure_empty(config)?;
        let (was_there, identity) = (path.exists(), new_identity(config)?);
        let make = || {
            let cannot = || format!("cannot write to `{}`", path.display());
            fs::create_dir_all(path.join(disk::Folder::Snap.as_str())).with_context(cannot)?;
            let groups = fill(&identity, &Files::new(path))?;
            let log = Replica::format_restored(&config.cluster, &identity, &groups);
            write_folder(path, &identity, &log).with_context(cannot)
        };
        if let Err(error) = make() {
            // It was empty, so all of this is ours.
            let _ = fs::remove_dir_all(path);
            if was_there {
                let _ = fs::create_dir(path);
            }
            return Err(error);
        }
        Ok(identity)
    }

    /// Takes the folder that belongs to the member in `config`.
    ///
    /// # Errors
    /// One line, for a folder that is empty, another member's, or in use.
    pub fn open(config: &NodeConfig) -> anyhow::Result<Folder> {
        let path = &config.data_dir;
        if is_empty(path)? {
            bail!(
                "`{}` is empty; mount its disk, or run `understudy init --config {}` if node {} is \
                 new or its disk is lost: the others take it in",
                path.display(),
                config.path.display(),
                config.node
            );
        }
        let identity = read_identity(path)?;
        ensure!(
            identity.cluster == config.cluster.cluster && identity.node == config.node,
            "`{}` belongs to node {} of cluster `{}`, not to node {} of cluster `{}`; correct \
             `data_dir`, `node` or `cluster.name` in `{}`",
            path.display(),
            identity.node,
            identity.cluster,
            config.node,
            config.cluster.cluster,
            config.path.display()
        );
        let lock = lock(path)?;
        let mut folder = Folder { identity, path: path.clone(), _lock: lock };
        if folder.aside().exists() {
            folder.set_aside(&config.cluster, "the last start was cut off while it did this")?;
        } else if let Ok(what) = fs::read_to_string(folder.suspect()) {
            folder.set_aside(&config.cluster, what.trim())?;
        }
        Ok(folder)
    }

    /// Where a running node notes that its data is damaged.
    pub fn suspect(&self) -> PathBuf {
        self.path.join("suspect")
    }

    /// Where this folder's data goes when it is damaged.
    fn aside(&self) -> PathBuf {
        self.path.join(format!("damaged-{:016x}", self.identity.incarnation.0))
    }

    /// Sets the data aside, because of `what`, and makes the folder a new one of the same member: it
    /// has promised nothing, so the others may take it in (ADR 9).
    ///
    /// # Errors
    /// One line, when there is nobody to take it in, or the disk does not do it.
    pub fn set_aside(&mut self, cluster: &ClusterConfig, what: &str) -> anyhow::Result<()> {
        let aside = self.aside();
        ensure!(
            cluster.nodes.len() > 1,
            "`{}`: {what}; there is no other node to repair it from: keep this folder, it may hold \
             the only copy, and restore a backup into a new cluster",
            self.path.display()
        );
        let incarnation = Incarnation(random()?);
        error!("the data of node {} is damaged: {what}", self.identity.node);
        self.replace(cluster, &aside, incarnation)
            .with_context(|| format!("cannot set the data aside in `{}`", aside.display()))?;
        info!(
            "it was set aside in `{}` and is never deleted by this program; the node starts with an \
             empty data folder (incarnation {:016x}), and the leaders take it in when a majority of \
             the others answers",
            aside.display(),
            incarnation.0
        );
        Ok(())
    }

    fn replace(
        &mut self,
        cluster: &ClusterConfig,
        aside: &Path,
        incarnation: Incarnation,
    ) -> std::io::Result<()> {
        fs::create_dir_all(aside)?;
        sync_dir(&self.path)?;
        for name in ["wal", "snap", "rocksdb", "rocksdb.flushed", "suspect"] {
            let (here, there) = (self.path.join(name), aside.join(name));
            if !here.exists() {
                continue;
            }
            if !there.exists() {
                fs::rename(here, there)?;
            } else if here.is_dir() {
                // Made by a set-aside that was cut off: nobody has used it.
                fs::remove_dir_all(here)?;
            }
        }
        sync_dir(aside)?;
        let identity = Identity { incarnation, ..self.identity.clone() };
        let lost = self.identity.incarnation;
        let log = Replica::format_replacement(cluster, &identity, lost);
        write_folder(&self.path, &identity, &log)?;
        self.identity = identity;
        Ok(())
    }

    /// Its files, as the core knows them.
    pub fn files(&self) -> Files {
        Files::new(&self.path)
    }
}

fn new_identity(config: &NodeConfig) -> anyhow::Result<Identity> {
    let (cluster, node) = (config.cluster.cluster.clone(), config.node);
    Ok(Identity { cluster, node, incarnation: Incarnation(random()?) })
}

/// 64 random bits of the operating system.
///
/// # Errors
/// When the system has none to give.
pub fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        anyhow::anyhow!("the operating system gives no random bytes ({error}); try again")
    })?;
    Ok(u64::from_le_bytes(bytes))
}

fn is_empty(path: &Path) -> anyhow::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).context(format!("cannot read the folder `{}`", path.display())),
    }
}

/// The identity comes last: a folder with one is complete.
fn write_folder(path: &Path, identity: &Identity, log: &[DiskOp]) -> std::io::Result<()> {
    for folder in disk::Folder::ALL {
        fs::create_dir_all(path.join(folder.as_str()))?;
    }
    let made = Files::new(path).apply(log);
    made.map_err(|failed| std::io::Error::other(failed.reason))?;
    if !path.join("lock").exists() {
        write_synced(&path.join("lock"), b"")?;
    }
    let file = IdentityFile {
        format: FORMAT,
        cluster: identity.cluster.0.clone(),
        node: identity.node.0,
        incarnation: format!("{:016x}", identity.incarnation.0),
    };
    let text = toml::to_string(&file).expect("identity_total: an identity always prints");
    replace_file(&path.join("identity.toml"), text.as_bytes())?;
    sync_parent(path)
}

/// Writes the file at `path` durably: after a crash it holds what it held before, or `bytes`.
///
/// # Errors
/// What the system said.
pub fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    write_synced(&new, bytes)?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Makes what stands under the name `path` durable: its folder's list of names.
///
/// # Errors
/// What the system said.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whose data folder `path` is.
///
/// # Errors
/// One line that says what is wrong with `identity.toml`.
pub fn read_identity(path: &Path) -> anyhow::Result<Identity> {
    let file = path.join("identity.toml");
    let text = fs::read_to_string(&file).with_context(|| {
        format!(
            "`{}` is not a complete data folder: cannot read `identity.toml`; if `understudy init` \
             or `restore` was cut off, empty the folder and run it again",
            path.display()
        )
    })?;
    let parse = || {
        let identity: IdentityFile = toml::from_str(&text).ok()?;
        let incarnation = u64::from_str_radix(&identity.incarnation, 16).ok()?;
        Some((identity, incarnation))
    };
    let Some((identity, incarnation)) = parse() else {
        bail!("`{}` is damaged; restore it from a copy", file.display());
    };
    ensure!(
        identity.format == FORMAT,
        "`{}` has format {}, this program knows {FORMAT}; run the version that wrote it",
        file.display(),
        identity.format
    );
    Ok(Identity {
        cluster: ClusterId(identity.cluster),
        node: NodeId(identity.node),
        incarnation: Incarnation(incarnation),
    })
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .with_context(|| format!("cannot open `{}`", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another process serves `{}`; stop it first, or give this one another `data_dir`",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).context(format!("cannot lock `{}`", file.display()))
        }
    }
}

#[cfg(test)]
mod tests;
