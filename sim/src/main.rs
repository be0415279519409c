//! `understudy-sim`: one seed, many seeds, planted bugs.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};
use understudy_core::Seed;
use understudy_sim::checks::Class;
use understudy_sim::simulation::{self, Canary, Options};
use understudy_sim::sweep::{self, Sweep};
use understudy_sim::{card, trace::Reader};

/// Plays disasters to a whole simulated cluster, each from one seed.
/// Ends with 0 (green), 10 (safety), 11 (liveness), 12 (crash) or 13 (harness).
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Play one seed.
    Run {
        /// The seed: a number, 0x and hexadecimal, or a git hash.
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// Print every input and effect.
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        planted: Planted,
    },
    /// Play many seeds, each isolated in a worker process.
    Sweep {
        /// How many.
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first.
        #[arg(long, value_parser = seed, default_value = "1")]
        start: u64,
        /// Workers at a time; the machine's processors if not given.
        #[arg(long)]
        jobs: Option<u64>,
        /// Seconds after which a seed counts as hung.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// Stop at the first failing seed.
        #[arg(long)]
        stop_at_failure: bool,
        /// Fail if a kind of fault never fired.
        #[arg(long)]
        every_fault: bool,
        #[command(flatten)]
        planted: Planted,
    },
    /// A sweep's other half; not for people.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        start: u64,
        #[arg(long)]
        seeds: u64,
        #[command(flatten)]
        planted: Planted,
    },
    /// Plant each known bug and count the seeds until it is caught.
    #[cfg(sim_mutant)]
    Mutants {
        /// The most seeds a bug may survive.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, value_parser = seed, default_value = "1")]
        start: u64,
    },
}

/// What should fail, to see that it does.
#[derive(clap::Args, Clone, Default)]
struct Planted {
    /// A run that must fail.
    #[arg(long)]
    canary: Option<Canary>,
    /// Only this seed is the canary.
    #[arg(long, value_parser = seed, requires = "canary")]
    canary_seed: Option<u64>,
    /// A planted bug, by name.
    #[cfg(sim_mutant)]
    #[arg(long, value_parser = mutant)]
    mutant: Option<understudy_core::mutant::Mutant>,
}

impl Planted {
    fn options(&self, seed: u64, reader: Reader) -> Options {
        let here = self.canary_seed.is_none_or(|canary_seed| canary_seed == seed);
        Options {
            reader,
            canary: self.canary.filter(|_| here),
            #[cfg(sim_mutant)]
            mutant: self.mutant,
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let canary = self.canary.map(|canary| format!("{canary:?}").to_lowercase());
        words.extend(canary.map(|name| format!("--canary={name}")));
        words.extend(self.canary_seed.map(|seed| format!("--canary-seed={seed}")));
        #[cfg(sim_mutant)]
        words.extend(self.mutant.map(|mutant| format!("--mutant={}", mutant.name())));
        words
    }
}

#[cfg(sim_mutant)]
fn mutant(name: &str) -> Result<understudy_core::mutant::Mutant, String> {
    use understudy_core::mutant::Mutant;
    let names = Mutant::ALL.map(Mutant::name).join(", ");
    let found = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
    found.ok_or(format!("the planted bugs are {names}"))
}

/// A number, or the first 16 digits of a git hash, so that each commit plays other seeds.
fn seed(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x");
    let parsed = match hex {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.len() >= 40 => {
            text.get(..15).and_then(|digits| u64::from_str_radix(digits, 16).ok())
        }
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| format!("`{text}` is not a number, 0x and hexadecimal, or a git hash"))
}

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Act::Run { seed, trace, planted } => {
            let reader = if trace { Reader::Stdout } else { Reader::Card };
            run(seed, planted.options(seed, reader))
        }
        Act::Worker { start, seeds, planted } => {
            sweep::work(start, seeds, |seed| planted.options(seed, Reader::Nobody))
        }
        Act::Sweep { seeds, start, jobs, timeout, stop_at_failure, every_fault, planted } => {
            let jobs = jobs.unwrap_or_else(processors);
            let timeout = Duration::from_secs(timeout);
            let worker_words = planted.words();
            let sweep = Sweep { start, seeds, jobs, timeout, stop_at_failure, worker_words };
            run_sweep(&sweep, every_fault, &planted)
        }
        #[cfg(sim_mutant)]
        Act::Mutants { seeds, start } => mutants(seeds, start),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

fn run(seed: u64, options: Options) -> i32 {
    let report = simulation::run(Seed(seed), options);
    if let Some(card) = card::failure(&report, options) {
        println!("{card}");
        return report.violation.map_or(0, |violation| violation.class.exit_code());
    }
    println!(
        "green: seed {seed:#x}, steps {}, virtual time {} ms, trace {} lines, hash {:016x}\n{}\n\
         faults: {}\n{:?}",
        report.totals.steps,
        report.virtual_ns / 1_000_000,
        report.trace_lines,
        report.trace_hash,
        report.plan,
        report.counts,
        report.totals
    );
    0
}

fn run_sweep(sweep: &Sweep, every_fault: bool, planted: &Planted) -> i32 {
    let summary = sweep.run(|failure| {
        // The same seed again, in a process of its own, makes the card: workers keep no lines.
        let card = show(failure, planted);
        println!("{card}\n");
    });
    println!("{summary}");
    if let Some(failure) = summary.failures.first() {
        for failure in &summary.failures {
            println!("failed: seed {:#x}: {}", failure.seed, failure.words);
        }
        return failure.exit_code;
    }
    let silent = summary.silent_faults();
    if every_fault && !silent.is_empty() {
        println!(
            "these faults never fired, so nothing was learned about them: {}",
            silent.join(", ")
        );
        return Class::Harness.exit_code();
    }
    0
}

fn show(failure: &sweep::Failure, planted: &Planted) -> String {
    let seed = format!("{:#x}", failure.seed);
    let replay = format!("replay: cargo run -p understudy-sim -- run --seed {seed}");
    let words = planted.words().join(" ");
    let short = format!("FAIL {}\n\n  {replay} {words}", failure.words);
    // A seed that hung or aborted would do it again.
    if failure.words.starts_with("hang") || failure.words.starts_with("abort") {
        return short;
    }
    let program = std::env::current_exe().expect("own_program_is_readable");
    let again = Command::new(program).args(["run", "--seed", &seed]).args(planted.words()).output();
    let card = again.map(|again| String::from_utf8_lossy(&again.stdout).trim_end().to_owned());
    match card {
        Ok(card) if card.starts_with("FAIL") => card,
        _ => format!("{short}\n  not reproduced: the run depends on more than its seed"),
    }
}

#[cfg(sim_mutant)]
fn mutants(seeds: u64, start: u64) -> i32 {
    use understudy_core::mutant::Mutant;
    let mut survivors = 0;
    for mutant in Mutant::ALL {
        let planted = Planted { mutant: Some(mutant), ..Planted::default() };
        let sweep = Sweep {
            start,
            seeds,
            jobs: processors(),
            timeout: Duration::from_secs(60),
            stop_at_failure: true,
            worker_words: planted.words(),
        };
        let summary = sweep.run(|_| {});
        match summary.failures.first() {
            Some(failure) => println!(
                "{}: caught after {} seeds, by seed {:#x}: {}",
                mutant.name(),
                summary.seeds,
                failure.seed,
                failure.words
            ),
            None => {
                survivors += 1;
                println!("{}: SURVIVED {} seeds", mutant.name(), summary.seeds);
            }
        }
    }
    if survivors == 0 { 0 } else { Class::Harness.exit_code() }
}
