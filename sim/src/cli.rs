//! The command line: what can be asked of the simulator.

mod failing;
mod mutants;
mod play;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Profile;
use crate::schedule::Schedule;
use crate::simulation::{Canary, Judges, Options};
use crate::sweep;

/// Play whole clusters through disasters, each from one number.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Play many seeds, each isolated in a worker process.
    #[command(visible_alias = "sweep")]
    Run(Run),
    /// Play one seed, or one schedule from a file, again.
    Replay(Replay),
    /// Make a failing seed or schedule as small as it gets.
    Shrink {
        /// A seed, or a schedule's file.
        what: String,
        /// Where the small schedule goes; standard output if not given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Seconds to spend.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        #[command(flatten)]
        how: How,
    },
    /// Shrink a failing seed or schedule, and write its card, trace and timeline.
    Explain {
        /// A seed, or a schedule's file.
        what: String,
        /// Where its folder goes.
        #[arg(long, default_value = "failures")]
        folder: PathBuf,
        /// Seconds to spend on shrinking.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[command(flatten)]
        how: How,
    },
    /// Keep a schedule as a named test: it is played by `cargo test` from now on, and must be green.
    Keep {
        /// The schedule's file.
        file: PathBuf,
        /// What must hold, as a claim in snake_case.
        name: String,
    },
    /// Plant each known bug and count the seeds until it is caught.
    Mutants(Mutants),
    /// Play many seeds and say which faults fired and which rare situations were met.
    Coverage(Run),
    /// A sweep's other half; not for people.
    #[command(hide = true)]
    Worker(Range),
    /// Says the hash of each seed's whole trace, one a line; not for people.
    #[command(hide = true)]
    Hashes(Range),
    /// Plays the schedule on standard input; not for people.
    #[command(hide = true)]
    Attempt {
        #[command(flatten)]
        how: How,
    },
}

/// Some seeds, one after the other.
#[derive(Args, Clone)]
struct Range {
    #[arg(long)]
    start: u64,
    #[arg(long)]
    seeds: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Clone)]
struct Run {
    /// How many.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first: a number, 0x and hexadecimal, or a whole git hash.
    #[arg(long, value_parser = seed, default_value = "1")]
    start: u64,
    /// Play for so many minutes instead of a number of seeds.
    #[arg(long)]
    minutes: Option<u64>,
    /// Workers at a time; the machine's processors if not given.
    #[arg(long)]
    jobs: Option<u64>,
    /// Seconds after which a seed counts as hung.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Stop at the first failing seed.
    #[arg(long, visible_alias = "stop-at-failure")]
    until_failure: bool,
    /// Fail if a kind of fault never fired, or a rare situation was never met.
    #[arg(long)]
    every_fault: bool,
    /// Where folders of failures go.
    #[arg(long, default_value = "failures")]
    folder: PathBuf,
    /// Seconds to spend on shrinking each failure; 0 does not shrink.
    #[arg(long, default_value_t = 60)]
    shrink: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Clone)]
struct Replay {
    /// A seed, or a schedule's file.
    what: String,
    /// Print every line.
    #[arg(long)]
    trace: bool,
    /// The first line to print.
    #[arg(long, requires = "trace", default_value_t = 0)]
    from: u64,
    /// The last line to print.
    #[arg(long, requires = "trace", default_value_t = u64::MAX)]
    to: u64,
    /// Print messages too.
    #[arg(long, requires = "trace")]
    messages: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Clone)]
struct Mutants {
    /// Only print the names, one a line.
    #[arg(long)]
    list: bool,
    /// Only this bug.
    #[arg(long)]
    only: Option<String>,
    /// The most seeds a bug may survive.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_parser = seed, default_value = "1")]
    start: u64,
    /// Hunts for each bug, each from other seeds; the median counts.
    #[arg(long, default_value_t = 1)]
    hunts: u64,
    /// Pass over the bugs that are known to live long.
    #[arg(long)]
    skip_rare: bool,
    /// Hunt with the client oracle alone, too.
    #[arg(long)]
    both_judges: bool,
}

/// What is played, and who judges.
#[derive(Args, Clone, Default)]
struct How {
    /// Which worlds are drawn.
    #[arg(long, value_enum, default_value = "swarm")]
    profile: Profile,
    /// Who judges.
    #[arg(long, value_enum, default_value = "all")]
    judge: Bench,
    /// A planted bug, by name; needs the build with planted bugs.
    #[arg(long)]
    mutant: Option<String>,
    /// A run that must fail.
    #[arg(long)]
    canary: Option<Canary>,
    /// Only this seed is the canary.
    #[arg(long, value_parser = seed, requires = "canary")]
    canary_seed: Option<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// All judges.
    #[default]
    All,
    /// Only the client oracle.
    Client,
}

impl How {
    fn schedule(&self, seed: u64) -> Schedule {
        Schedule::draw(seed, self.profile, self.mutant.clone())
    }

    fn options(&self, seed: u64) -> Options {
        let here = self.canary_seed.is_none_or(|canary_seed| canary_seed == seed);
        let judges = Judges { server: self.judge == Bench::All };
        Options { keep_lines: false, judges, canary: self.canary.filter(|_| here) }
    }

    /// The same, as words for another process or for a person.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.profile != Profile::default() {
            let value = self.profile.to_possible_value().expect("no profile is hidden");
            words.push(format!("--profile={}", value.get_name()));
        }
        if self.judge == Bench::Client {
            words.push("--judge=client".to_owned());
        }
        words.extend(self.mutant.iter().map(|name| format!("--mutant={name}")));
        let canary = self.canary.map(|canary| format!("{canary:?}").to_lowercase());
        words.extend(canary.map(|name| format!("--canary={name}")));
        words.extend(self.canary_seed.map(|seed| format!("--canary-seed={seed}")));
        words
    }

    /// A seed, or a file.
    fn read(&self, what: &str) -> Result<Schedule, String> {
        let path = Path::new(what);
        let mut schedule = if path.is_file() {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{what} cannot be read: {error}"))?;
            Schedule::parse(&text).map_err(|error| format!("{what}: {error}"))?
        } else {
            let seed = seed(what).map_err(|error| format!("{error}, and no file either"))?;
            self.schedule(seed)
        };
        if self.mutant.is_some() {
            schedule.header.mutant.clone_from(&self.mutant);
        }
        check_mutant(schedule.header.mutant.as_deref())?;
        Ok(schedule)
    }
}

#[cfg(sim_mutant)]
fn check_mutant(name: Option<&str>) -> Result<(), String> {
    use understudy_core::mutant::Mutant;
    let known = |name: &str| Mutant::ALL.iter().any(|mutant| mutant.name() == name);
    match name.filter(|name| !known(name)) {
        Some(name) => Err(format!("there is no planted bug `{name}`; see `mutants --list`")),
        None => Ok(()),
    }
}

#[cfg(not(sim_mutant))]
fn check_mutant(name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) => Err(format!(
            "`{name}` is a planted bug, and this build has none: use `cargo xtask mutant-sim ...`"
        )),
        None => Ok(()),
    }
}

/// A number, or the first 15 digits of a git hash, so that each commit plays other seeds.
fn seed(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x");
    let parsed = match hex {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.len() >= 40 => {
            text.get(..15).and_then(|digits| u64::from_str_radix(digits, 16).ok())
        }
        None => text.parse().ok(),
    };
    parsed
        .ok_or_else(|| format!("`{text}` is not a number, 0x and hexadecimal, or a whole git hash"))
}

/// Runs the command line. The exit code of a failing run names the kind of failure.
pub fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Act::Run(run) => play::many(&run, false),
        Act::Coverage(run) => play::many(&run, true),
        Act::Replay(replay) => play::again(&replay),
        Act::Shrink { what, out, seconds, how } => {
            failing::shrink(&what, out.as_deref(), seconds, &how)
        }
        Act::Explain { what, folder, seconds, how } => {
            failing::explain(&what, folder, seconds, &how)
        }
        Act::Keep { file, name } => failing::keep(&file, &name),
        Act::Mutants(hunt) => mutants::hunt(&hunt),
        Act::Worker(Range { start, seeds, how }) => {
            Ok(sweep::work(start, seeds, |seed| (how.schedule(seed), how.options(seed))))
        }
        Act::Hashes(Range { start, seeds, how }) => Ok(play::hashes(start, seeds, &how)),
        Act::Attempt { how } => failing::attempt(&how),
    };
    match code {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("understudy-sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// A problem of the user's, or an exit code.
type Outcome = Result<i32, String>;

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// How this program was started, as a person types it.
fn program() -> String {
    let cargo = if cfg!(sim_mutant) { "cargo xtask mutant-sim" } else { "cargo sim" };
    cargo.to_owned()
}
