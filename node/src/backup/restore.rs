//! `understudy restore`: the data folder of the first node of a new cluster, made of a backup (S0-144).
//!
//! Every namespace begins with this node as its only voter. The other nodes start with empty folders,
//! and the leader takes them in one after the other (ADR 9), each by a committed change, so a crash
//! anywhere leaves a cluster that goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use understudy_core::disk::Folder as DiskFolder;
use understudy_core::message::LogPosition;
use understudy_core::snapshot::{Rehome, SnapshotError};
use understudy_core::store::keys::Origin;
use understudy_core::{DiskOp, FileName, GroupId, Identity};

use super::container::{Piece, Reader};
use super::{Contents, NotIntact, each_piece, refused, verify};
use crate::config::NodeConfig;
use crate::files::Files;
use crate::folder::Folder;
use crate::load;
use crate::say::say;

/// Makes the folder that `config` names of the backup in `file`.
///
/// # Errors
/// One line; nothing is left behind then. The whole file is checked before anything is made.
pub fn restore(file: &Path, config: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::read(config)?;
    let start = Instant::now();
    Folder::ensure_empty(&config)?;
    let bar = load::progress_bar(0, "checking", json);
    let contents = verify(file, &bar)?;
    bar.finish_and_clear();
    let places = places(&contents, &config)?;
    let identity = Folder::restore(&config, |identity, files| {
        let mut fill = Fill { identity, files, places: &places, open: None, done: Vec::new() };
        let bar = load::progress_bar(contents.bytes, "writing", json);
        fill.all(file, &bar)?;
        bar.finish_and_clear();
        Ok(fill.done)
    })?;
    contents.say(file, start.elapsed().as_secs_f64(), json)?;
    if !json {
        explain(&contents, &config, &identity);
    }
    Ok(ExitCode::SUCCESS)
}

/// Where each section goes: the groups of the backup, and what each is to be.
fn places(contents: &Contents, config: &NodeConfig) -> anyhow::Result<BTreeMap<GroupId, Origin>> {
    let cluster = &config.cluster;
    let mut places = BTreeMap::new();
    let mut missing = Vec::new();
    for section in &contents.header.sections {
        match cluster.groups().find(|(_, name)| name.as_str() == section.namespace) {
            Some((group, namespace)) => {
                let (cluster, namespace) = (cluster.cluster.clone(), namespace.clone());
                places.insert(GroupId(section.group), Origin { cluster, group, namespace });
            }
            None => missing.push(format!("`{}`", section.namespace)),
        }
    }
    ensure!(
        missing.is_empty(),
        "the backup holds {}, which `{}` does not list; add it to `cluster.namespaces`, in any order",
        missing.join(", "),
        config.path.display()
    );
    Ok(places)
}

/// Writes the sections into a folder.
struct Fill<'a> {
    identity: &'a Identity,
    files: &'a Files,
    places: &'a BTreeMap<GroupId, Origin>,
    /// The section that is being written: its group in the backup.
    open: Option<(GroupId, State)>,
    /// Groups of the new cluster that are whole and synced.
    done: Vec<(GroupId, LogPosition)>,
}

/// One group's new state on its way to the disk, under a name that is worth nothing.
struct State {
    group: GroupId,
    part: FileName,
    rehome: Rehome,
    file: BufWriter<File>,
}

impl Fill<'_> {
    fn all(&mut self, file: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut reader = Reader::default();
        let mut result = Ok(());
        // Once more from the front, and checked once more: the file may have changed since.
        each_piece(file, &mut |bytes| {
            reader.push(bytes);
            bar.inc(bytes.len() as u64);
            while let Some(piece) = reader.next_piece()? {
                if result.is_ok() {
                    result = match piece {
                        Piece::Header(_) => Ok(()),
                        Piece::Section(group, bytes) => self.section(group, &bytes),
                        Piece::End => self.close(),
                    };
                }
            }
            Ok(())
        })?;
        reader.finish().with_context(|| refused(file))?;
        result.with_context(|| refused(file))?;
        ensure!(self.done.len() == self.places.len(), "the backup changed while it was read");
        let sync = [DiskOp::SyncFolder { folder: DiskFolder::Snap }];
        self.files.apply(&sync).map_err(|failed| anyhow::anyhow!(failed.reason))
    }

    fn section(&mut self, group: GroupId, bytes: &[u8]) -> anyhow::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != group) {
            self.close()?;
            let Some(origin) = self.places.get(&group) else {
                bail!("the backup changed while it was read");
            };
            let part = FileName::Part(origin.group, 1);
            let path = self.files.path(part);
            let file = File::create(&path);
            let file = file.with_context(|| format!("cannot write `{}`", path.display()))?;
            let rehome = Rehome::new(origin.clone(), self.identity.replica());
            let file = BufWriter::new(file);
            self.open = Some((group, State { group: origin.group, part, rehome, file }));
        }
        let Some((_, state)) = &mut self.open else { return Ok(()) };
        let made = state.rehome.push(bytes).map_err(damaged)?;
        state.file.write_all(&made).context("cannot write the namespace's state")
    }

    fn close(&mut self) -> anyhow::Result<()> {
        let Some((_, State { group, part, rehome, mut file })) = self.open.take() else {
            return Ok(());
        };
        let (end, position) = rehome.finish().map_err(damaged)?;
        let whole = self.files.path(FileName::Snapshot(group, position));
        let mut keep = || -> std::io::Result<()> {
            file.write_all(&end)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            std::fs::rename(self.files.path(part), &whole)
        };
        keep().with_context(|| format!("cannot write `{}`", whole.display()))?;
        self.done.push((group, position));
        Ok(())
    }
}

fn damaged(error: SnapshotError) -> anyhow::Error {
    NotIntact { offset: error.offset, reason: error.to_string() }.into()
}

/// What there is now, and what is to be done next.
fn explain(contents: &Contents, config: &NodeConfig, identity: &Identity) {
    let cluster = &config.cluster;
    say!(
        "node {} of the new cluster `{}` has it in `{}` (incarnation {:016x})",
        identity.node,
        identity.cluster,
        config.data_dir.display(),
        identity.incarnation.0
    );
    let held = |name: &str| contents.header.sections.iter().any(|it| it.namespace == name);
    let empty: Vec<&str> = cluster.namespaces.iter().map(|name| name.as_str()).collect();
    let empty: Vec<&str> = empty.into_iter().filter(|name| !held(name)).collect();
    if !empty.is_empty() {
        say!(
            "not in the backup, so they begin empty, when all nodes have met: {}",
            empty.join(", ")
        );
    }
    if contents.header.cluster == cluster.cluster.0 {
        say!("it has the old cluster's name: never start a node of the old one again");
    }
    say!("start it with: understudy serve --config {}", config.path.display());
    let others: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| **node != config.node)
        .map(|node| format!("{node}"))
        .collect();
    if !others.is_empty() {
        say!(
            "then `understudy init` and `understudy serve` on node {}; the cluster takes them in one \
             after the other, and `understudy status` shows how far it is",
            others.join(" and node ")
        );
    }
}

#[cfg(test)]
mod tests;
