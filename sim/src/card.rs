//! The failure card: the last thing on the screen, and enough to act on.

use std::fmt::Write;
use std::process::Command;

use crate::checks::TABLE;
use crate::simulation::{Options, Report};
use crate::trace;

/// The card of a run that broke a promise; `None` for a green one.
pub fn failure(report: &Report, options: Options) -> Option<String> {
    let violation = report.violation.as_ref()?;
    let mut card = String::new();
    let source = TABLE.iter().find(|(name, _)| *name == violation.property);
    let source = source.map_or(String::new(), |(_, source)| format!("  ({source})"));
    let _ = writeln!(card, "FAIL {}  {}{source}", violation.class.name(), violation.property);
    let _ = writeln!(card, "  {}\n", violation.explanation);
    let (seconds, millis) =
        (report.virtual_ns / 1_000_000_000, report.virtual_ns / 1_000_000 % 1000);
    let _ = writeln!(
        card,
        "  seed    {:#x}   commit {}   step {}   t=+{seconds}.{millis:03}s",
        report.seed.0,
        commit(),
        report.totals.steps
    );
    for (index, line) in report.plan.to_string().lines().enumerate() {
        let _ = writeln!(card, "  {} {line}", if index == 0 { "world  " } else { "       " });
    }
    let _ = writeln!(card, "  faults  {}", report.counts);
    let _ = writeln!(
        card,
        "  \n    line  seconds    who what (> sends < receives W writes w is durable ? is asked \
         . answers\n                           * says ! dies ^ starts = the nemesis)"
    );
    for line in trace::tail() {
        let short: String = line.chars().take(LINE_CHARS).collect();
        let more = if short.len() < line.len() { "…" } else { "" };
        let _ = writeln!(card, "  {short}{more}");
    }
    let _ = write!(card, "\n  replay: {}", replay(report, options));
    Some(card)
}

const LINE_CHARS: usize = 180;

/// The one command that does it again.
pub fn replay(report: &Report, options: Options) -> String {
    let mut command = String::new();
    #[cfg(sim_mutant)]
    command.push_str("RUSTFLAGS=\"--cfg madsim --cfg sim_mutant\" ");
    let _ = write!(command, "cargo run -p understudy-sim -- run --seed {:#x}", report.seed.0);
    #[cfg(sim_mutant)]
    if let Some(mutant) = options.mutant {
        let _ = write!(command, " --mutant {}", mutant.name());
    }
    if let Some(canary) = options.canary {
        let _ = write!(command, " --canary {}", format!("{canary:?}").to_lowercase());
    }
    command
}

/// A seed is valid only with its commit.
fn commit() -> String {
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
