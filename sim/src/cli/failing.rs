//! `explain`, `shrink`, `keep`, and the attempts behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;

use super::{How, Outcome, program};
use crate::explain::{Effort, Explain};
use crate::schedule::Schedule;
use crate::simulation::{self, Options};
use crate::sweep;

/// Where kept schedules live, from the workspace's root.
const KEPT: &str = "sim/tests/kept";

/// Shrinks and explains.
pub fn explain(what: &str, folder: PathBuf, seconds: u64, how: &How) -> Outcome {
    let schedule = how.read(what)?;
    let bar = ProgressBar::new_spinner();
    let progress = |words: &str| bar.set_message(words.to_owned());
    let explain = Explain {
        folder,
        effort: Effort { time: Duration::from_secs(seconds), progress: &progress },
        program: program(),
        words: how.words().join(" "),
    };
    let explained = explain.explain(&schedule, how.options(schedule.header.seed));
    bar.finish_and_clear();
    let explained = explained?;
    println!("{}", explained.card);
    Ok(explained.report.violation.map_or(0, |violation| violation.class.exit_code()))
}

/// Only shrinks.
pub fn shrink(what: &str, out: Option<&Path>, seconds: u64, how: &How) -> Outcome {
    let schedule = how.read(what)?;
    let options = how.options(schedule.header.seed);
    let first = simulation::run(&schedule, Options { keep_lines: false, ..options });
    let Some(violation) = &first.violation else {
        return Err(format!("{what} is green: there is nothing to shrink"));
    };
    let bar = ProgressBar::new_spinner();
    let progress = |words: &str| bar.set_message(words.to_owned());
    let effort = Effort { time: Duration::from_secs(seconds), progress: &progress };
    let shrunk = effort.shrink(&schedule, &first, options);
    bar.finish_and_clear();
    let (small, attempts) = shrunk.ok_or_else(|| {
        format!(
            "{what} was not shrunk: no time, or it is green when played again from its schedule"
        )
    })?;
    let text = small.to_text(&violation.to_string());
    match out {
        None => print!("{text}"),
        Some(path) => fs::write(path, text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?,
    }
    eprintln!(
        "{} acts, {} operations, {} chances left after {attempts} attempts; still fails {}",
        small.acts.len(),
        small.jobs.len(),
        small.chances.as_ref().map_or(0, Vec::len),
        violation.property
    );
    Ok(violation.class.exit_code())
}

/// Keeps a schedule as a test.
pub fn keep(file: &Path, name: &str) -> Outcome {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(legal) {
        return Err(format!("`{name}` is no claim in snake_case, such as acked_writes_survive"));
    }
    let read = |error| format!("{} cannot be read: {error}", file.display());
    let text = fs::read_to_string(file).map_err(read)?;
    Schedule::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let folder = Path::new(KEPT);
    if !folder.is_dir() {
        return Err(format!("there is no folder {KEPT} here: run this at the workspace's root"));
    }
    let path = folder.join(format!("{name}.jsonl"));
    if path.exists() {
        return Err(format!("{} exists: choose another name", path.display()));
    }
    fs::write(&path, text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    println!(
        "kept as {}: `cargo test -p understudy-sim --test kept` plays it and fails until the cause \
         is gone; say in its first lines what the cause was",
        path.display()
    );
    Ok(0)
}

/// Plays the schedule on standard input, and says what came of it in one line.
pub fn attempt(how: &How) -> Outcome {
    let text = std::io::read_to_string(std::io::stdin()).map_err(|error| error.to_string())?;
    let schedule = Schedule::parse(&text)?;
    Ok(sweep::work_on(&schedule, how.options(schedule.header.seed)))
}
