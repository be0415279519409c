//! The failure card: the last thing on the screen, at most forty lines, and enough to act on.

use std::fmt::Write;
use std::process::Command;
use std::sync::OnceLock;

use crate::checks::Property;
use crate::plan::NAMESPACES;
use crate::recording::{Kind, Line, Recording, State};
use crate::simulation::Report;

/// Lines of events on a card.
const LINES_MAX: usize = 22;
/// Characters of an event on a card.
const TEXT_CHARS: usize = 92;

/// How a failing schedule became small.
pub struct Shrunk {
    /// Steps of the run it came from.
    pub steps_before: u64,
    /// Runs that were tried.
    pub attempts: u64,
}

/// Where the reader finds more.
pub struct Where {
    /// The folder of this failure, if one was written.
    pub folder: Option<String>,
    /// The schedule in it that fails like this.
    pub file: &'static str,
    /// The command that does it again.
    pub replay: String,
}

/// The card of a run that broke a promise; `None` for a green one.
pub fn failure(
    report: &Report,
    lines: &[Line],
    shrunk: Option<&Shrunk>,
    more: &Where,
) -> Option<String> {
    let violation = report.violation.as_ref()?;
    let mut card = String::new();
    let property = Property::find(&violation.property);
    let judge = property.map_or(String::new(), |property| format!("  ({})", property.judge.name()));
    let _ = writeln!(card, "FAIL {}  {}{judge}", violation.class.name(), violation.property);
    let _ = writeln!(card, "  {}", violation.explanation);
    if let Some(property) = property {
        let _ = writeln!(card, "  promised by: {}", property.source);
    }
    head(&mut card, report, shrunk);
    events(&mut card, report, lines);
    let _ = write!(card, "\n  replay  {}", more.replay);
    if let Some(folder) = &more.folder {
        let _ = write!(
            card,
            "\n  keep    cargo sim keep {folder}/{} what_must_never_happen_again\n  \
             folder  {folder}/  timeline.html card.txt schedule.jsonl world.txt trace.txt \
             history.jsonl",
            more.file
        );
    }
    Some(card)
}

fn head(card: &mut String, report: &Report, shrunk: Option<&Shrunk>) {
    let schedule = &report.schedule;
    let millis = report.virtual_ns / 1_000_000;
    let _ = writeln!(
        card,
        "\n  seed    {:#x}   commit {}   step {}   t=+{}.{:03}s",
        schedule.header.seed,
        commit(),
        report.totals.steps,
        millis / 1000,
        millis % 1000
    );
    if let Some(mutant) = &schedule.header.mutant {
        let _ = writeln!(card, "  planted {mutant}");
    }
    let _ = writeln!(
        card,
        "  world   nodes {}, clients {}, operations {}, acts {}; world.txt has every knob",
        schedule.plan.nodes,
        schedule.clients().len(),
        schedule.jobs.len(),
        schedule.acts.len(),
    );
    let _ = writeln!(card, "  faults  {}", report.counts);
    if let Some(Shrunk { steps_before, attempts }) = shrunk {
        let _ = writeln!(
            card,
            "  shrunk  {steps_before} → {} steps in {attempts} attempts   same failure: yes",
            report.totals.steps
        );
    }
}

/// The lines that tell the story: what is about the failure first, all in the order of time.
fn events(card: &mut String, report: &Report, lines: &[Line]) {
    let about = report.violation.as_ref().and_then(|violation| violation.about.as_ref());
    let actor = about.map(|about| {
        format!("{}/{}", NAMESPACES[about.namespace], crate::history::actor(about.actor))
    });
    let index = report.violation.as_ref().and_then(|violation| named_index(&violation.explanation));
    let weigh = |line: &Line| match index {
        Some(index) if line.text.contains(" applied ") && applies(&line.text, index) => 92,
        Some(_) | None => weight(line, actor.as_deref(), about.map(|about| &about.ops[..])),
    };
    let end = violation_line(report, lines);
    let until = |line: &&Line| end.is_none_or(|end| line.number <= end);
    let mut chosen: Vec<&Line> =
        lines.iter().filter(until).filter(|line| weigh(line) > 0).collect();
    chosen.sort_by_key(|line| std::cmp::Reverse((weigh(line), line.number)));
    chosen.truncate(LINES_MAX);
    chosen.sort_by_key(|line| line.number);
    if chosen.is_empty() {
        return;
    }
    let _ = writeln!(
        card,
        "\n    line         t  who  event (/ leader \\ follower ? candidate ! dies ^ starts = fault)\
         {:28}group term head commit applied",
        ""
    );
    let mut before: std::collections::BTreeMap<(u64, u64), State> = Default::default();
    for line in chosen {
        let state = line.state.map(|state| columns(&mut before, line, state)).unwrap_or_default();
        let here = end == Some(line.number);
        let text = if here { "<-- here" } else { line.text.as_str() };
        let text: String = text.chars().take(TEXT_CHARS).collect();
        let row = format!(
            "  {:>6} {} {} {text:<TEXT_CHARS$} {state}",
            line.number,
            time(line.at),
            who(line)
        );
        let _ = writeln!(card, "{}", row.trim_end());
    }
}

/// The log index that an explanation names.
fn named_index(explanation: &str) -> Option<u64> {
    let (_, rest) = explanation.split_once("index ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Whether an event tells that this index was applied: `applied TERM.INDEX`.
fn applies(text: &str, index: u64) -> bool {
    let position = text.split(" applied ").nth(1).and_then(|rest| rest.split(' ').next());
    position
        .and_then(|position| position.split_once('.'))
        .is_some_and(|(_, i)| i == index.to_string())
}

/// The line that says what was broken; a panic leaves none.
fn violation_line(report: &Report, lines: &[Line]) -> Option<u64> {
    let words = report.violation.as_ref()?.to_string();
    lines
        .iter()
        .rfind(|line| line.kind == Kind::World && line.text == words)
        .map(|line| line.number)
}

/// The state's columns, blank where the node's last line on the card had the same.
fn columns(
    before: &mut std::collections::BTreeMap<(u64, u64), State>,
    line: &Line,
    state: State,
) -> String {
    let last = before.insert((line.node, line.group), state);
    let show = |now: u64, then: Option<u64>| match then {
        Some(then) if then == now => String::new(),
        _ => now.to_string(),
    };
    format!(
        "{:>5} {:>4} {:>4} {:>6} {:>7}",
        line.group.max(1),
        show(state.term, last.map(|last| last.term)),
        show(state.head, last.map(|last| last.head)),
        show(state.commit, last.map(|last| last.commit)),
        show(state.applied, last.map(|last| last.applied)),
    )
}

/// How much a line tells about the failure; 0 is not shown.
fn weight(line: &Line, actor: Option<&str>, ops: Option<&[u64]>) -> u64 {
    let named = line.op.is_some_and(|op| ops.is_some_and(|ops| ops.contains(&op)));
    let mine = actor.is_none() || line.actor.as_deref() == actor;
    match line.kind {
        Kind::World => 100,
        Kind::Client if named => 95,
        // The first start of a node says nothing.
        Kind::Starts if line.at == 0 => 5,
        Kind::Fault | Kind::Dies | Kind::Starts => 90,
        Kind::Client if mine => 80,
        Kind::Event if line.text.contains("role Leader") || line.text.starts_with("gives up") => 85,
        Kind::Event if line.text.contains("removed") || line.text.contains("truncated") => 75,
        Kind::Answered => 40,
        Kind::Asked => 35,
        Kind::Client => 30,
        Kind::Event if line.text.contains(" applied ") => 25,
        Kind::Synced | Kind::Write => 20,
        Kind::Event => 15,
        Kind::Send | Kind::Receive => 10,
    }
}

/// Virtual time, in seconds and microseconds.
pub fn time(at: u64) -> String {
    format!("{:>3}.{:06}", at / 1_000_000_000, at % 1_000_000_000 / 1_000)
}

/// The node or client, and a mark: the node's role, or what happens to it.
fn who(line: &Line) -> String {
    let mark = match line.kind {
        Kind::Dies | Kind::Starts | Kind::Fault => line.kind.mark(),
        _ => line.state.map_or(' ', |state| state.role),
    };
    match (line.node, line.client) {
        (0, Some(client)) => format!("c{client:<2} "),
        (0, None) => format!("    {mark}")[..4].to_owned(),
        (node, _) => format!("N{node} {mark}"),
    }
}

/// One line of a whole trace.
pub fn trace_line(line: &Line) -> String {
    let (term, head, commit, applied) = line
        .state
        .map_or((0, 0, 0, 0), |state| (state.term, state.head, state.commit, state.applied));
    let state = match line.state {
        Some(_) => format!("  [term {term} head {head} commit {commit} applied {applied}]"),
        None => String::new(),
    };
    let actor = match (line.op, &line.actor) {
        (Some(op), Some(actor)) => format!("op {op} {actor}: "),
        _ => String::new(),
    };
    format!(
        "{:>7} {} {} {} {actor}{}{state}",
        line.number,
        time(line.at),
        who(line),
        line.kind.mark(),
        line.text
    )
}

/// Lines of a timeline: a browser must bear them.
const TIMELINE_LINES_MAX: usize = 200_000;

/// The end of a run, which is mostly all of it, for its timeline.
pub fn recording(report: &Report, mut lines: Vec<Line>, more: &Where) -> Recording {
    lines.drain(..lines.len().saturating_sub(TIMELINE_LINES_MAX));
    let violation = report.violation.as_ref();
    Recording {
        seed: format!("{:#x}", report.schedule.header.seed),
        commit: commit().to_owned(),
        verdict: violation.map_or(String::new(), |v| format!("{} {}", v.class.name(), v.property)),
        explanation: violation.map_or(String::new(), |v| v.explanation.clone()),
        world: report.schedule.plan.to_string().lines().map(str::to_owned).collect(),
        faults: report.counts.to_string(),
        replay: more.replay.clone(),
        nodes: report.schedule.plan.nodes,
        groups: report.schedule.plan.cluster().namespaces.iter().map(ToString::to_string).collect(),
        lines,
    }
}

/// A seed is valid only with its commit. Asked of git once.
pub fn commit() -> &'static str {
    static COMMIT: OnceLock<String> = OnceLock::new();
    COMMIT.get_or_init(ask_git)
}

fn ask_git() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => format!("{hash} (clean)"),
        _ => format!("{hash} (with changes)"),
    }
}
