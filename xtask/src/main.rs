//! The developer commands. `cargo xtask ci` is what CI runs, and writes nothing; `cargo xtask fix`
//! does.

use std::env;
use std::process::{Command, ExitCode};

mod purity;

const USAGE: &str = "usage: cargo xtask COMMAND

  ci       everything CI checks, in the order that fails fastest
  fix      format, and apply clippy's suggestions
  mutants [ARGS]     hunt for every planted bug with both judges; --list names them
  mutant-sim [ARGS]  the simulator with planted bugs, such as `mutant-sim replay 7 --mutant NAME`
  openapi [N]        N made-up requests for each operation of the OpenAPI document against a node
  purity   the core and the plan depend on no clock, IO or entropy that is not argued for
";

fn main() -> ExitCode {
    let command = env::args().nth(1);
    let done = match command.as_deref() {
        Some("ci") => ci(),
        Some("fix") => {
            cargo(&["fmt", "--all"])
                && cargo(&["clippy", "--workspace", "--fix", "--allow-dirty", "--allow-staged"])
        }
        Some("purity") => purity::check(),
        Some("openapi") => openapi(),
        Some("mutants") => mutants(),
        Some("mutant-sim") => mutant_sim(&[], &env::args().skip(2).collect::<Vec<_>>()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// With RocksDB, whose C++ takes most of the time of a first run: everything that needs it has the
/// same profile and the same dependencies, so that it is compiled once.
const ROCKSDB: &str = "--features=understudy-node/rocksdb";

fn ci() -> bool {
    let clippy = ["clippy", "--workspace", "--all-targets"];
    let strict = ["--", "-D", "warnings"];
    cargo(&["fmt", "--all", "--check"])
        && purity::check()
        && cargo(&[&clippy[..], &strict].concat())
        && cargo(&[&clippy[..], &[ROCKSDB], &strict].concat())
        && cargo(&["test", "--workspace", ROCKSDB])
        // What a binary without it says. The rest is the same code.
        && cargo(&["test", "--workspace", "--lib", "without_rocksdb"])
}

/// The same as in `ci`, with more requests.
fn openapi() -> bool {
    let examples = env::args().nth(2).unwrap_or_else(|| "200".to_owned());
    let test = [
        "test",
        "-p",
        "understudy-node",
        "--test",
        "node",
        "made_up_requests",
        "--",
        "--nocapture",
    ];
    cargo_with(&test, &[("UNDERSTUDY_OPENAPI_EXAMPLES", &examples), ("CI", "true")])
}

/// The full table, unless told otherwise.
fn mutants() -> bool {
    let words: Vec<String> = env::args().skip(2).collect();
    let full = ["--both-judges", "--hunts", "5"];
    mutant_sim(&[&["mutants"][..], if words.is_empty() { &full } else { &[] }].concat(), &words)
}

/// Builds the simulator with planted bugs, into a target folder of its own, and runs it.
fn mutant_sim(first: &[&str], words: &[String]) -> bool {
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let target = format!("{target}/mutants");
    let run = ["run", "--quiet", "--release", "--package", "understudy-sim", "--target-dir"];
    let words = first.iter().copied().chain(words.iter().map(String::as_str));
    let words: Vec<&str> = run.into_iter().chain([target.as_str(), "--"]).chain(words).collect();
    cargo_with(&words, &[("RUSTFLAGS", "--cfg madsim --cfg sim_mutant")])
}

/// Runs cargo; says which command failed.
fn cargo(arguments: &[&str]) -> bool {
    cargo_with(arguments, &[])
}

fn cargo_with(arguments: &[&str], variables: &[(&str, &str)]) -> bool {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let line = format!("cargo {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    match Command::new(cargo).args(arguments).envs(variables.iter().copied()).status() {
        Ok(status) if status.success() => true,
        Ok(status) => {
            eprintln!("xtask: `{line}` failed ({status})");
            false
        }
        Err(error) => {
            eprintln!("xtask: `{line}` could not be started: {error}");
            false
        }
    }
}
