//! The commands and their flags.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing::Level;

use crate::config::NodeConfig;
use crate::serve;

/// A replicated store of versioned JSON actors.
#[derive(Debug, Parser)]
#[command(name = "understudy", version, arg_required_else_help = true)]
struct Cli {
    /// Log lines on standard error: error, warn, info, debug, trace.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    log_level: Level,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the data folder of a new member.
    Init(ConfigArg),
    /// Run one member.
    Serve(ServeArgs),
    /// Print a completion script for your shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    file: ConfigArg,
    /// Print every effective value and exit.
    #[arg(long)]
    print_config: bool,
    /// End when the process of this number ends.
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(cli.log_level)
        .with_target(false)
        .init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("understudy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(ConfigArg { config }) => serve::init(&config)?,
        Command::Serve(ServeArgs { file, print_config, parent }) => {
            let config = NodeConfig::read(&file.config)?;
            if print_config {
                print!("{}", config.to_toml());
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(parent) = parent {
                serve::die_with(parent)?;
            }
            serve::serve(config)?;
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "understudy", &mut io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}
