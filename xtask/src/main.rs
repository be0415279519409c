//! The developer commands. `cargo xtask ci` is what CI runs, and writes nothing; `cargo xtask fix`
//! does.

use std::env;
use std::process::{Command, ExitCode};

mod purity;

const USAGE: &str = "usage: cargo xtask COMMAND

  ci       everything CI checks, in the order that fails fastest
  fix      format, and apply clippy's suggestions
  purity   the core's dependency tree holds no clock, IO or entropy that is not argued for
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
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ci() -> bool {
    cargo(&["fmt", "--all", "--check"])
        && purity::check()
        && cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        && cargo(&["test", "--workspace"])
}

/// Runs cargo; says which command failed.
fn cargo(arguments: &[&str]) -> bool {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let line = format!("cargo {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    match Command::new(cargo).args(arguments).status() {
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
