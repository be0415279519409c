//! `understudy backup`: keeps what a node streams, once it is known to be whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use indicatif::ProgressBar;

use super::check::Check;
use super::{Contents, show};
use crate::client::{Call, Client};
use crate::{folder, limits, load};

/// Makes a backup of the cluster in the file `out`, which must not be there. Until everything has
/// come and was checked and synced it has another name, so what is there under `out` is whole.
///
/// # Errors
/// One line: nobody gives a backup, it was cut off, or the disk does not take it.
pub async fn download(client: &Client, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let exists = fs::symlink_metadata(out).is_ok();
    ensure!(!exists, "`{}` is there already; give `--out` another name", out.display());
    let start = Instant::now();
    let bar = load::progress_bar(0, "reading", json);
    let part = part_of(out)?;
    // Before anybody is asked for anything: a path that cannot be written is found at once.
    let file = File::create(&part).with_context(|| format!("cannot write `{}`", part.display()))?;
    let kept = async {
        let body = client.stream(&Call::get("/v1/backup")).await?;
        let contents = receive(body, &file, &bar).await?;
        let keep = || -> std::io::Result<()> {
            file.sync_all()?;
            fs::rename(&part, out)?;
            folder::sync_parent(out)
        };
        keep().with_context(|| format!("cannot keep `{}`", out.display()))?;
        Ok(contents)
    };
    let kept: anyhow::Result<Contents> = kept.await;
    bar.finish_and_clear();
    if kept.is_err() {
        // Worth nothing, so no error if it stays.
        let _ = fs::remove_file(&part);
    }
    kept?.say(out, start.elapsed().as_secs_f64(), json)?;
    Ok(ExitCode::SUCCESS)
}

async fn receive(
    mut body: Incoming,
    mut file: &File,
    bar: &ProgressBar,
) -> anyhow::Result<Contents> {
    let mut check = Check::default();
    loop {
        let next = tokio::time::timeout(limits::BACKUP_STALL, body.frame()).await;
        let Ok(next) = next else { bail!("the node has stopped sending; run it again") };
        let Some(frame) = next else { break };
        let frame = frame.context("the node has ended the connection; run it again")?;
        let Ok(bytes) = frame.into_data() else { continue };
        check.push(&bytes)?;
        file.write_all(&bytes).context("cannot write what has come")?;
        show(bar, &check);
    }
    check.finish().context("the node has stopped in the middle; run it again")
}

fn part_of(out: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = out.file_name() else { bail!("`{}` names no file", out.display()) };
    let mut name = name.to_owned();
    name.push(".part");
    Ok(out.with_file_name(name))
}
