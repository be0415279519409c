//! Backups: the state of every namespace in one file, checked from end to end.
//!
//! A node streams it (`crate::api::backup`); [`download`] keeps it; [`restore`] makes a new cluster's
//! first node of it. Each namespace's section is the core's own snapshot of its group, so a backup
//! holds all that a replica holds: rows, tokens, op-log, sequence.
//!
//! What is deliberately absent: no partial restore, and no way to read on behind damage. A file that
//! was cut, altered, reordered or put together is refused as a whole, before anything is made of it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use understudy_core::Timestamp;

use crate::config::StorageWord;
use crate::load;
use crate::say::say;

pub mod check;
pub mod container;
pub mod download;
pub mod restore;

use check::Check;

/// What a backup says of itself before its sections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The cluster it was made of.
    pub cluster: String,
    /// The node that made it.
    pub node: u64,
    /// When, by that node's clock, in UTC.
    pub taken_at: String,
    /// The version of that node's program.
    pub program: String,
    /// What follows, in this order.
    pub sections: Vec<Section>,
}

/// One namespace in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its group in the cluster that it was made of.
    pub group: u32,
    /// Its name, by which a restore finds its place.
    pub namespace: String,
    /// Where its rows were; a restore may put them elsewhere.
    pub storage: StorageWord,
    /// Entries of the log that are in it.
    pub applied: u64,
    /// Live actors.
    pub actors: u64,
    /// Operations remembered.
    pub outcomes: u64,
}

impl Section {
    /// Actors and operations.
    pub fn rows(&self) -> u64 {
        self.actors.saturating_add(self.outcomes)
    }
}

/// What is wrong with the bytes of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotIntact {
    /// Where in the file: of the record that is damaged, or of the end that came too early.
    pub offset: u64,
    /// What is wrong there, as a clause.
    pub reason: String,
}

impl fmt::Display for NotIntact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backup is not intact: at byte {}, {}", self.offset, self.reason)
    }
}

impl std::error::Error for NotIntact {}

/// A backup that was read to its end and is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// What it says of itself.
    pub header: Header,
    /// Bytes of each section, in the header's order.
    pub section_bytes: Vec<u64>,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Contents {
    /// A line for each namespace, for people.
    fn table(&self) -> String {
        let mut rows = vec![["NAMESPACE", "ACTORS", "APPLIED", "BYTES"].map(str::to_owned)];
        rows.extend(self.header.sections.iter().zip(&self.section_bytes).map(
            |(section, bytes)| {
                let Section { namespace, actors, applied, .. } = section;
                [namespace.clone(), actors.to_string(), applied.to_string(), bytes.to_string()]
            },
        ));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let line = |row: &[String; 4]| {
            let numbers = row.iter().zip(widths).skip(1);
            let numbers: String =
                numbers.map(|(cell, width)| format!("  {cell:>width$}")).collect();
            format!("{:<width$}{numbers}\n", row[0], width = widths[0])
        };
        rows.iter().map(line).collect()
    }

    /// Prints what is in the file, with `seconds` of work.
    fn say(&self, path: &Path, seconds: f64, json: bool) -> anyhow::Result<()> {
        if json {
            let mut page = serde_json::to_value(self)?;
            page["file"] = path.display().to_string().into();
            page["seconds"] = seconds.into();
            say!("{page}");
            return Ok(());
        }
        let Header { cluster, node, taken_at, program, .. } = &self.header;
        say!("{}", self.table().trim_end());
        say!(
            "`{}`: cluster `{cluster}` as of {taken_at}, made by node {node} (version {program}); {} \
             bytes in {seconds:.1} s, every one of them checked",
            path.display(),
            self.bytes
        );
        Ok(())
    }
}

/// Reads the file at `path` to its end and checks it.
///
/// # Errors
/// One line: it cannot be read, or is not intact.
pub fn verify(path: &Path, bar: &ProgressBar) -> anyhow::Result<Contents> {
    let mut check = Check::default();
    each_piece(path, &mut |piece| {
        check.push(piece)?;
        show(bar, &check);
        Ok(())
    })?;
    check.finish().with_context(|| refused(path))
}

/// `understudy backup verify`.
///
/// # Errors
/// As above.
pub fn run_verify(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let bar = load::progress_bar(0, "checking", json);
    let start = std::time::Instant::now();
    let contents = verify(path, &bar)?;
    bar.finish_and_clear();
    contents.say(path, start.elapsed().as_secs_f64(), json)?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes read from a file at once.
const PIECE: usize = 256 * 1024;

/// Hands the file to `take` in pieces.
fn each_piece(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), NotIntact>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece).with_context(cannot)?;
        if length == 0 {
            return Ok(());
        }
        take(&piece[..length]).with_context(|| refused(path))?;
    }
}

fn refused(path: &Path) -> String {
    format!("`{}` is refused; use another backup, or make a new one", path.display())
}

/// Rows so far, of those that the header speaks of.
fn show(bar: &ProgressBar, check: &Check) {
    if let Some(header) = check.header() {
        bar.set_length(header.sections.iter().map(Section::rows).sum());
        bar.set_position(check.rows());
    }
}

/// A moment in UTC, as RFC 3339 writes it.
pub fn utc(at: Timestamp) -> String {
    let seconds = at.0 / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the odd day comes last (Hinnant, `civil_from_days`).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_as_in_a_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (1_772_323_200_000, "2026-03-01T00:00:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Timestamp(ms)), text);
        }
    }
}
