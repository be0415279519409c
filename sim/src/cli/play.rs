//! `run`, `coverage` and `replay`.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{How, Outcome, Replay, Run, processors, program};
use crate::card::{self, Where};
use crate::checks::Class;
use crate::faults::Fault;
use crate::marks::Mark;
use crate::recording::Kind;
use crate::simulation::{self, Options};
use crate::sweep::{Failure, Summary, Sweep};
use crate::trace;

/// Plays many seeds. `report` prints what was covered instead of one line.
pub fn many(run: &Run, report: bool) -> Outcome {
    super::check_mutant(run.how.mutant.as_deref())?;
    let sweep = Sweep {
        start: run.start,
        seeds: if run.minutes.is_some() { u64::MAX } else { run.seeds },
        until: run.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)),
        jobs: run.jobs.unwrap_or_else(processors),
        timeout: Duration::from_secs(run.timeout),
        stop_at_failure: run.until_failure,
        worker_words: run.how.words(),
    };
    let bar = progress(run);
    // The same seed again, in a process of its own, makes the card: workers keep no lines.
    let summary =
        sweep.run(|failure| bar.suspend(|| println!("{}\n", show(failure, run))), || bar.inc(1));
    bar.finish_and_clear();
    if report {
        print!("{}", coverage(&summary));
    }
    println!("{summary}");
    Ok(verdict(&summary, run.every_fault))
}

/// On standard error, and only for a person: with seeds per second and the time left.
fn progress(run: &Run) -> ProgressBar {
    let bar = match run.minutes {
        None => ProgressBar::new(run.seeds),
        Some(_) => ProgressBar::no_length(),
    };
    let template = match run.minutes {
        None => "{bar:30} {pos} of {len} seeds, {per_sec}, {eta} left",
        Some(_) => "{spinner} {pos} seeds, {per_sec}, {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn verdict(summary: &Summary, every_fault: bool) -> i32 {
    if let Some(failure) = summary.failures.first() {
        for failure in &summary.failures {
            println!("failed: seed {:#x}: {}", failure.seed, failure.words);
        }
        return failure.exit_code;
    }
    let (silent, unmet) = (summary.silent_faults(), summary.unmet_marks());
    if !silent.is_empty() {
        println!(
            "these faults never fired, so nothing was learned about them: {}",
            silent.join(", ")
        );
    }
    if !unmet.is_empty() {
        println!("these situations were never met: {}", unmet.join(", "));
    }
    let missing = every_fault && !(silent.is_empty() && unmet.is_empty());
    if missing { Class::Harness.exit_code() } else { 0 }
}

/// The card of a failing seed, made by a process of its own.
fn show(failure: &Failure, run: &Run) -> String {
    let seed = format!("{:#x}", failure.seed);
    let words = run.how.words();
    let replay = format!("{} replay {seed} {}", program(), words.join(" "));
    let short = format!("FAIL {}\n\n  replay  {}", failure.words, replay.trim_end());
    // A seed that hung or aborted would do it again.
    if failure.words.starts_with("hang") || failure.words.starts_with("abort") {
        return short;
    }
    let Ok(own) = std::env::current_exe() else { return short };
    let mut again = Command::new(own);
    again.arg("explain").arg(&seed).arg("--folder").arg(&run.folder);
    again.args(["--seconds", &run.shrink.to_string()]).args(words);
    let card = again.output().map(|out| String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    match card {
        Ok(card) if card.starts_with("FAIL") => card,
        _ => format!("{short}\n  not reproduced: the run depends on more than its seed"),
    }
}

/// Every fault and every rare situation, with how often.
fn coverage(summary: &Summary) -> String {
    let mut text = String::new();
    let mut row = |count: u64, name: &str, meaning: &str| {
        let flag = if count == 0 { "NEVER" } else { "" };
        text.push_str(&format!("{count:>9} {flag:5} {name:<32} {meaning}\n"));
    };
    for &fault in Fault::ALL {
        row(summary.fault(fault), fault.name(), fault.meaning());
    }
    for &mark in Mark::ALL {
        row(summary.mark(mark), mark.name(), mark.meaning());
    }
    text
}

/// Plays one seed or schedule again.
pub fn again(replay: &Replay) -> Outcome {
    let schedule = replay.how.read(&replay.what)?;
    let options = Options { keep_lines: true, ..replay.how.options(schedule.header.seed) };
    let report = simulation::run(&schedule, options);
    let lines = trace::take_lines();
    if replay.trace {
        let mut out = std::io::stdout().lock();
        let wanted = lines.iter().filter(|line| {
            (replay.from..=replay.to).contains(&line.number)
                && (replay.messages || !matches!(line.kind, Kind::Send | Kind::Receive))
        });
        for line in wanted {
            // A closed pipe is the reader's way to say that it has seen enough.
            if writeln!(out, "{}", card::trace_line(line)).is_err() {
                return Ok(0);
            }
        }
    }
    let words = replay.how.words().join(" ");
    let again = format!("{} replay {} {words}", program(), replay.what);
    let more = Where { folder: None, file: "", replay: again.trim_end().to_owned() };
    if let Some(card) = card::failure(&report, &lines, None, &more) {
        println!("{card}");
        return Ok(report.violation.map_or(0, |violation| violation.class.exit_code()));
    }
    println!(
        "green: seed {:#x}, steps {}, virtual time {} ms, trace {} lines, hash {:016x}\n{}\n\
         faults: {}\nmarks: {}\n{:?}",
        schedule.header.seed,
        report.totals.steps,
        report.virtual_ns / 1_000_000,
        report.trace_lines,
        report.trace_hash,
        schedule.plan,
        report.counts,
        report.marks,
        report.totals
    );
    Ok(0)
}

/// Two processes that print the same have done the same.
pub fn hashes(start: u64, seeds: u64, how: &How) -> i32 {
    for seed in (start..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        let report = simulation::run(&how.schedule(seed), how.options(seed));
        println!("{seed:#x} {} {:016x}", report.trace_lines, report.trace_hash);
    }
    0
}
