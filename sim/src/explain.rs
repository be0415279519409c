//! From a failing schedule to something a person can act on: shrunk, drawn, written down.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::card::{self, Shrunk, Where};
use crate::recording::{Kind, Line};
use crate::schedule::Schedule;
use crate::shrink::Shrinker;
use crate::simulation::{self, Options, Report};
use crate::{timeline, trace};

/// Wall time of one attempt to shrink; one that takes longer counts as not failing.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);

/// How hard to try to make a schedule small.
pub struct Effort<'a> {
    /// Wall time; zero does not shrink.
    pub time: Duration,
    /// Called at every attempt, with words for a person who waits.
    pub progress: &'a dyn Fn(&str),
}

/// What to do with a failing schedule.
pub struct Explain<'a> {
    /// Where folders of failures go.
    pub folder: PathBuf,
    /// How hard to shrink it.
    pub effort: Effort<'a>,
    /// The command that starts the simulator as it was started.
    pub program: String,
    /// The words it was started with, to be given again.
    pub words: String,
}

/// What came of it.
pub struct Explained {
    /// The card.
    pub card: String,
    /// The run that the card is about.
    pub report: Report,
}

impl Explain<'_> {
    /// Runs `schedule` again and, if it fails, shrinks it, writes its folder and makes its card.
    ///
    /// # Errors
    /// The run is green, or the folder cannot be written.
    pub fn explain(&self, schedule: &Schedule, options: Options) -> Result<Explained, String> {
        let options = Options { keep_lines: true, ..options };
        let first = simulation::run(schedule, options);
        let lines = trace::take_lines();
        if first.violation.is_none() {
            return Err("the run is green: nothing to explain".to_owned());
        }
        let folder = self.folder.join(format!("{:#x}", schedule.header.seed));
        write(&folder, "schedule.jsonl", &schedule.to_text(&story(&first)))?;
        write(&folder, "world.txt", &world(&first))?;
        let (report, lines, shrunk) = self.smaller(&folder, schedule, first, lines, options)?;
        let file = if shrunk.is_some() { "shrunk.jsonl" } else { "schedule.jsonl" };
        let replay = format!("{} replay {}/{file} {}", self.program, folder.display(), self.words);
        let more = Where {
            folder: Some(folder.display().to_string()),
            file,
            replay: replay.trim_end().to_owned(),
        };
        let card = card::failure(&report, &lines, shrunk.as_ref(), &more);
        let card = card.ok_or("a green run has no card")?;
        write(&folder, "card.txt", &format!("{card}\n"))?;
        write(&folder, "trace.txt", &trace_text(&lines))?;
        write(&folder, "history.jsonl", &history(&lines))?;
        let page = timeline::page(&card::recording(&report, lines, &more));
        write(&folder, "timeline.html", &page)?;
        Ok(Explained { card, report })
    }

    /// The shrunk run, if shrinking is wanted and possible, else the first one.
    fn smaller(
        &self,
        folder: &Path,
        schedule: &Schedule,
        first: Report,
        lines: Vec<Line>,
        options: Options,
    ) -> Result<(Report, Vec<Line>, Option<Shrunk>), String> {
        let Some((small, attempts)) = self.effort.shrink(schedule, &first, options) else {
            return Ok((first, lines, None));
        };
        let report = simulation::run(&small, options);
        let small_lines = trace::take_lines();
        let same = |a: &Report, b: &Report| match (&a.violation, &b.violation) {
            (Some(a), Some(b)) => a.property == b.property,
            _ => false,
        };
        if !same(&first, &report) {
            return Ok((first, lines, None));
        }
        write(folder, "shrunk.jsonl", &small.to_text(&story(&first)))?;
        let shrunk = Shrunk { steps_before: first.totals.steps, attempts };
        Ok((report, small_lines, Some(shrunk)))
    }
}

impl Effort<'_> {
    /// The smallest schedule found in which the same property fails, and how many were tried.
    /// `None` if there was no time, or if it does not fail when a fresh process plays it.
    pub fn shrink(
        &self,
        schedule: &Schedule,
        first: &Report,
        options: Options,
    ) -> Option<(Schedule, u64)> {
        let property = first.violation.as_ref()?.property.clone();
        let mut start = schedule.clone();
        start.header.property = Some(property.clone());
        start.chances.get_or_insert_with(|| first.chances.clone());
        let deadline = Instant::now() + self.time;
        let mut tried = 0;
        let mut fails = |candidate: &Schedule| {
            tried += 1;
            (self.progress)(&format!(
                "shrinking: attempt {tried}, {} acts, {} chances, {} operations",
                candidate.acts.len(),
                candidate.chances.as_ref().map_or(0, Vec::len),
                candidate.jobs.len()
            ));
            attempt(candidate, options).is_some_and(|failed| failed == property)
        };
        let mut budget = || Instant::now() < deadline;
        if !budget() {
            return None;
        }
        if !fails(&start) {
            // A panic may have come before its last chances were noted.
            start.chances.clone_from(&schedule.chances);
            if !fails(&start) {
                return None;
            }
        }
        Some(Shrinker::new(start, &mut fails, &mut budget).run())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
    written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// The property that fails when a fresh process plays `schedule`: a hang or a runaway allocation
/// ends with it.
fn attempt(schedule: &Schedule, options: Options) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let mut command = Command::new(program);
    command.arg("attempt");
    if !options.judges.server {
        command.args(["--judge", "client"]);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    child.stdin.take()?.write_all(schedule.to_text("").as_bytes()).ok()?;
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(std::io::read_to_string(stdout).unwrap_or_default()));
    let text = receive.recv_timeout(ATTEMPT_MAX);
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let text = text.ok()?;
    // fail SEED CODE CLASS PROPERTY: explanation
    let mut words = text.strip_prefix("fail ")?.split(' ');
    words.nth(3).map(|property| property.trim_end_matches(':').to_owned())
}

fn story(report: &Report) -> String {
    let words = report.violation.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("Found at commit {}.\n{words}", card::commit())
}

fn world(report: &Report) -> String {
    let schedule = &report.schedule;
    let mut text = format!(
        "seed {:#x}, profile {:?}\n{}\n\nwhat the nemesis does:\n",
        schedule.header.seed, schedule.header.profile, schedule.plan
    );
    for act in &schedule.acts {
        let _ = writeln!(text, "{}  {}", card::time(act.at_ns), act.act);
    }
    let _ = writeln!(text, "\nfaults that fired: {}\nmarks: {}", report.counts, report.marks);
    text
}

/// Every line, as text.
pub fn trace_text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", card::trace_line(line));
    }
    text
}

/// What the clients asked and learned, one fact a line.
fn history(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().filter(|line| line.kind == Kind::Client) {
        let fact = json!({
            "at_ns": line.at, "client": line.client, "op": line.op,
            "actor": line.actor, "what": line.text,
        });
        let _ = writeln!(text, "{fact}");
    }
    text
}
