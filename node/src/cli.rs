//! The commands and their flags.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use understudy_core::Namespace;

use crate::bench::{self, BenchArgs};
use crate::client::Client;
use crate::cluster::Shape;
use crate::commands;
use crate::config::{NodeConfig, Span};
use crate::credentials::cert::{self, CertCommand};
use crate::credentials::token::{self, TokenCommand};
use crate::data::{self, DataCommand};
use crate::documents::Source;
use crate::endpoints::EndpointArgs;
use crate::load::{self, Summary};
use crate::pace::Pace;
use crate::say::say;
use crate::verify::{self, Index, Verdict};
use crate::watch::WatchArgs;
use crate::{backup, demo, dev, serve, tools};

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
    /// Run a cluster on this machine until Ctrl-C.
    Dev(DevArgs),
    /// Show a cluster that loses its leader and nothing else.
    Demo(DemoArgs),
    #[command(flatten)]
    Data(DataCommand),
    /// Print what happens in a namespace, as it happens.
    ///
    /// Each line with `--json` has a resume token: `--start TOKEN` goes on behind it, at any node.
    Watch(WatchArgs),
    /// Load a running cluster and measure it.
    Bench(BenchArgs),
    /// Show every node, what it leads and how far it is.
    Status {
        #[command(flatten)]
        endpoints: EndpointArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Store every document of a file, each exactly once.
    ///
    /// Every line is one put under an idempotency key of its own, tried until it is acknowledged.
    /// Of two lines with the same id the last one wins.
    Load(DocumentsArgs),
    /// Read every document of a file back and compare.
    Verify(DocumentsArgs),
    /// Write the state of every namespace to a file, while the cluster goes on.
    ///
    /// Everything acknowledged before it is in it. The file is checked while it is received, and is
    /// there only when all of it is.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Backup(BackupArgs),
    /// Make the data folder of the first node of a new cluster from a backup.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArg,
        /// Print one JSON object and no progress.
        #[arg(long)]
        json: bool,
    },
    /// Look at the write-ahead log of a data folder.
    #[command(subcommand)]
    Wal(tools::WalCommand),
    /// Look at the checkpoints and rows of a data folder.
    #[command(subcommand)]
    Store(tools::StoreCommand),
    /// Say whether a data folder is whole, and what to do next.
    ///
    /// Looks at everything in it and changes nothing: identity, lock, log, checkpoints, RocksDB,
    /// what was left or set aside, free space. The last two lines are the verdict and the next step.
    Doctor(tools::DoctorArgs),
    /// Make, narrow and look at tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make certificates for development.
    #[command(subcommand)]
    Cert(CertCommand),
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

#[derive(Debug, Args)]
struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The new file.
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    #[command(flatten)]
    endpoints: EndpointArgs,
    /// Print one JSON object and no progress.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Check every byte of a backup, and show what is in it.
    Verify {
        /// The backup.
        file: PathBuf,
        /// Print one JSON object and no progress.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct DocumentsArgs {
    /// One JSON object a line.
    #[arg(required_unless_present = "generate", conflicts_with = "generate")]
    file: Option<PathBuf>,
    /// Made-up documents instead of a file: how many.
    #[arg(long, value_name = "N")]
    generate: Option<u64>,
    /// The same seed makes up the same documents.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The namespace.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The field with the id: a string or a whole number.
    #[arg(long, default_value = "id", value_name = "FIELD")]
    id_field: String,
    /// Requests under way at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// How long one document is tried.
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    timeout: Span,
    #[command(flatten)]
    endpoints: EndpointArgs,
    /// Print one JSON object and no progress.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DevArgs {
    /// How many nodes; 3 unless the folder has a cluster.
    #[arg(long)]
    nodes: Option<u64>,
    /// Where everything is kept.
    #[arg(long, default_value = "understudy-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// A namespace, once for each; `default` if none is given.
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// The first node's API; the others and the peers take the next ports.
    #[arg(long, default_value_t = 7401)]
    port: u16,
    /// Start a node again two seconds after it has ended.
    #[arg(long)]
    respawn: bool,
    /// Stop the nodes that were left running in the folder.
    #[arg(long, conflicts_with = "respawn")]
    stop: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Documents of your own, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The field with the id: a string or a whole number.
    #[arg(long, default_value = "id", value_name = "FIELD")]
    id_field: String,
    /// How many documents at least; made-up ones beyond your own.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    documents: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// How many leaders to kill, one after the other.
    #[arg(long, default_value_t = 1, value_name = "N")]
    kills: u32,
    /// Requests under way at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// A new folder for everything; one for temporary files if it is not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The first node's API; free ports if it is not given.
    #[arg(long)]
    port: Option<u16>,
    /// Print one JSON object at the end and nothing else.
    #[arg(long)]
    json: bool,
    /// Stop the cluster at the end.
    #[arg(long)]
    exit: bool,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Our own lines only: openraft speaks at every step, and its words are not for operators.
    // And those about refused requests, always.
    let ours = Targets::new()
        .with_target("understudy_node", cli.log_level)
        .with_target("understudy_driver", cli.log_level)
        .with_target("audit", Level::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry().with(lines).with(ours).init();
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
        Command::Serve(args) => run_serve(&args)?,
        Command::Dev(args) => run_dev(args)?,
        Command::Demo(args) => return run_demo(args),
        Command::Data(command) => return block_on(data::run(command)),
        Command::Watch(args) => return block_on(args.run()),
        Command::Bench(args) => return bench::run(&args),
        Command::Status { endpoints, json } => {
            let client = endpoints.client()?;
            return block_on(commands::status(&client, json));
        }
        Command::Load(args) => return block_on(run_load(args)),
        Command::Verify(args) => return block_on(run_verify(args)),
        Command::Backup(args) => return run_backup(args),
        Command::Restore { file, config, json } => {
            return backup::restore::restore(&file, &config.config, json);
        }
        Command::Wal(command) => return Ok(tools::run_wal(command)),
        Command::Store(command) => return Ok(tools::run_store(command)),
        Command::Doctor(args) => return Ok(tools::run_doctor(&args)),
        Command::Token(command) => return token::run(command),
        Command::Cert(command) => return cert::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "understudy", &mut io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything but `serve` runs on the main thread: what waits there is the network, and children
/// must be started there.
fn block_on<T>(body: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the network")?.block_on(body)
}

fn run_serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = NodeConfig::read(&args.file.config)?;
    if args.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    if let Some(parent) = args.parent {
        serve::die_with(parent)?;
    }
    serve::serve(config)
}

fn run_backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    if let Some(BackupCommand::Verify { file, json }) = args.command {
        return backup::run_verify(&file, json);
    }
    let out = args.out.context("give the new file with `--out`")?;
    let client = args.endpoints.client()?;
    block_on(backup::download::download(&client, &out, args.json))
}

fn run_dev(args: DevArgs) -> anyhow::Result<()> {
    if args.stop {
        return dev::stop(&args.data_dir);
    }
    let shape = Shape { nodes: args.nodes, namespaces: args.namespace, port: Some(args.port) };
    block_on(dev::dev(&dev::Plan { dir: args.data_dir, shape, respawn: args.respawn }))
}

fn run_demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let DemoArgs { data, id_field, documents, nodes, kills, concurrency, .. } = args;
    let DemoArgs { data_dir: dir, port, json, exit, .. } = args;
    let shape = Shape { nodes: Some(nodes), namespaces: Vec::new(), port };
    let data = data.map(|path| Source::File { path, id_field });
    let plan = demo::Plan { data, documents, kills, concurrency, dir, shape, json, exit };
    block_on(demo::demo(&plan))
}

async fn run_load(args: DocumentsArgs) -> anyhow::Result<ExitCode> {
    let (source, plan, client) = args.parts()?;
    let bar = load::progress_bar(source.count()?, "writing", args.json);
    let pace = Arc::new(Pace::new());
    let summary = load::load(client, source.open()?, &plan, pace, &bar).await?;
    bar.finish_and_clear();
    if args.json {
        say!("{}", serde_json::to_string(&summary)?);
    } else {
        let Summary { documents, created, replayed, retries, bad_lines, failed, .. } = summary;
        say!(
            "{documents} documents in {:.1} s ({:.0}/s), {created} of them new",
            summary.seconds,
            summary.rate
        );
        say!(
            "{retries} tries were repeated, {replayed} answers came from the record of an earlier \
             one; longest pause {} ms",
            summary.longest_pause_ms
        );
        if let Some(line) = summary.stopped_at_line {
            say!("the cluster does not answer; line {line} and the rest were not tried");
        }
        if !summary.complete() {
            say!("{bad_lines} bad lines, {failed} documents not stored");
        }
    }
    Ok(if summary.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_verify(args: DocumentsArgs) -> anyhow::Result<ExitCode> {
    let (source, plan, client) = args.parts()?;
    let index = Index::of(source.open()?);
    let bar = load::progress_bar(index.len(), "reading", args.json);
    let verdict = verify::verify(client, source.open()?, &index, &plan, &bar).await?;
    bar.finish_and_clear();
    if args.json {
        say!("{}", serde_json::to_string(&verdict)?);
    } else {
        let Verdict { documents, same, missing, different, rewritten, failed, bad_lines } = verdict;
        say!("{same} of {documents} documents are there, byte for byte");
        say!(
            "{missing} missing, {different} different, {failed} unreadable; {rewritten} were \
             written more or less often than the source has them; {bad_lines} bad lines skipped"
        );
    }
    Ok(if verdict.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl DocumentsArgs {
    fn parts(&self) -> anyhow::Result<(Source, load::Plan, Arc<Client>)> {
        let source = match (&self.file, self.generate) {
            (Some(path), _) => Source::File { path: path.clone(), id_field: self.id_field.clone() },
            (None, count) => Source::Generated { count: count.unwrap_or(0), seed: self.seed },
        };
        let namespace = Namespace::new(self.namespace.clone()).map_err(anyhow::Error::msg)?;
        let plan =
            load::Plan { namespace, concurrency: self.concurrency, patience: self.timeout.0 };
        Ok((source, plan, Arc::new(self.endpoints.client()?)))
    }
}
