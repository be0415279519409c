//! `understudy-sim`: play disasters from seeds.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    understudy_sim::cli::main()
}
