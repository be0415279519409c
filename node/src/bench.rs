//! `understudy bench`: load on a running cluster, and how long each operation took.
//!
//! Closed loop: every worker asks again as soon as it is answered, which shows the most that so many
//! can get. Open loop (`--rate`): operations are due at fixed times, whoever is late; each is measured
//! from when it was due, so that a stall is charged to all that had to wait for it (no coordinated
//! omission).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;

use crate::config::Span;
use crate::data::LevelWord;
use crate::endpoints::EndpointArgs;
use crate::limits;

mod report;
mod subscribers;
mod target;

use subscribers::Subscribers;
use target::Target;

/// How to load.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    cluster: EndpointArgs,
    /// The namespace. Actors `bench-N` in it are written over.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The pipelined client, or one gRPC call for each operation.
    #[arg(long, value_enum, default_value = "pipeline")]
    protocol: Protocol,
    /// Clients with a connection of their own.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Operations under way on each connection.
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Open loop: so many operations a second in all. Closed loop without it.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// How long it is measured.
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    duration: Span,
    /// Before that, not measured.
    #[arg(long, default_value = "1s", value_name = "DURATION")]
    warmup: Span,
    /// Of 100 operations so many are reads.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    /// How fresh reads must be.
    #[arg(long, value_enum, default_value = "linearizable")]
    level: LevelWord,
    /// Bytes of a document.
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Different actors.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// How long one operation is tried.
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    timeout: Span,
    /// Threads of this program.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Subscribers that hear every change meanwhile, in this process too.
    #[arg(long, default_value_t = 0, value_name = "N")]
    subscribers: usize,
    /// Subscribers that open a stream and take nothing from it.
    #[arg(long, default_value_t = 0, value_name = "N")]
    stalled: usize,
    /// Print one JSON object and no progress.
    #[arg(long)]
    json: bool,
}

/// How operations travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The client library: one stream for each connection.
    Pipeline,
    /// One gRPC call for each operation.
    Unary,
}

/// What one kind of operation came to.
#[derive(Debug)]
pub struct Measured {
    /// Microseconds.
    pub latency: Histogram<u64>,
    /// Failures by their code.
    pub failed: BTreeMap<String, u64>,
}

/// What was measured.
#[derive(Debug)]
pub struct Outcome {
    /// Of writes.
    pub writes: Measured,
    /// Of reads.
    pub reads: Measured,
    /// Of changes that subscribers heard.
    pub heard: Measured,
    /// From the end of the warm-up to the last answer.
    pub took: Duration,
}

impl Measured {
    fn new() -> anyhow::Result<Measured> {
        let max = u64::try_from(limits::BENCH_LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        let latency = Histogram::new_with_bounds(1, max, 3).context("a histogram")?;
        Ok(Measured { latency, failed: BTreeMap::new() })
    }

    fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros.max(1));
    }

    fn add(&mut self, other: Measured) -> anyhow::Result<()> {
        self.latency.add(other.latency).context("histograms of one form")?;
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
        Ok(())
    }
}

/// Loads, measures, reports.
///
/// # Errors
/// One line, when it cannot begin.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let max = limits::CONCURRENCY_MAX;
    ensure!((1..=max).contains(&args.connections), "`--connections` is 1 to {max}");
    ensure!((1..=max).contains(&args.in_flight), "`--in-flight` is 1 to {max}");
    ensure!(args.subscribers <= max && args.stalled <= max, "at most {max} subscribers");
    ensure!(args.threads >= 1, "`--threads` is 1 or more");
    ensure!(args.rate != Some(0), "`--rate` is 1 or more");
    ensure!(args.keys >= 1, "`--keys` is 1 or more");
    ensure!(args.value_size >= target::VALUE_BYTES_MIN, "`--value-size` is too small for JSON");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(args.threads).enable_all().build();
    let outcome = runtime.context("cannot start the threads")?.block_on(load(args))?;
    report::print(args, &outcome);
    let failed = !outcome.writes.failed.is_empty() || !outcome.reads.failed.is_empty();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What all workers share.
struct Shared {
    args: BenchArgs,
    start: Instant,
    /// Operations begun.
    begun: AtomicU64,
    done: AtomicU64,
    over: AtomicBool,
}

async fn load(args: &BenchArgs) -> anyhow::Result<Outcome> {
    let mut targets = Vec::new();
    for place in 0..args.connections {
        targets.push(Target::connect(args, place).await?);
    }
    if args.reads > 0 {
        target::fill(&targets, args).await?;
    }
    let subscribers = Subscribers::open(args).await?;
    let shared = Arc::new(Shared {
        args: args.clone(),
        start: Instant::now(),
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    for target in targets {
        for _ in 0..args.in_flight {
            workers.spawn(work(shared.clone(), target.clone()));
        }
    }
    watch(&shared, &subscribers).await;
    shared.over.store(true, Ordering::Relaxed);
    let (mut writes, mut reads) = (Measured::new()?, Measured::new()?);
    while let Some(worker) = workers.join_next().await {
        let (wrote, read) = worker.context("a worker")??;
        writes.add(wrote)?;
        reads.add(read)?;
    }
    let took = shared.start.elapsed().saturating_sub(args.warmup.0);
    Ok(Outcome { writes, reads, heard: subscribers.end()?, took })
}

/// Shows how far it is, until it is over.
async fn watch(shared: &Shared, subscribers: &Subscribers) {
    let all = shared.args.warmup.0 + shared.args.duration.0;
    let hidden = shared.args.json;
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let length = u64::try_from(all.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{msg:>12} [{bar:40}] {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let mut before = 0;
    let warm = shared.args.warmup.0;
    while shared.start.elapsed() < all {
        let tick = Duration::from_secs(1).min(all.saturating_sub(shared.start.elapsed()));
        tokio::time::sleep(tick).await;
        subscribers.count((warm..all).contains(&shared.start.elapsed()));
        let done = shared.done.load(Ordering::Relaxed);
        bar.set_message(format!("{}/s", done - before));
        before = done;
        bar.set_position(u64::try_from(shared.start.elapsed().as_millis()).unwrap_or(0));
    }
    bar.finish_and_clear();
}

async fn work(shared: Arc<Shared>, target: Target) -> anyhow::Result<(Measured, Measured)> {
    let (mut writes, mut reads) = (Measured::new()?, Measured::new()?);
    let args = &shared.args;
    let end = args.warmup.0 + args.duration.0;
    loop {
        let number = shared.begun.fetch_add(1, Ordering::Relaxed);
        let due = match args.rate {
            // Operations that are due are all made, however late; none after the end.
            Some(rate) => {
                let due =
                    shared.start + Duration::from_secs(1).mul_f64(number as f64 / f64::from(rate));
                if due.duration_since(shared.start) >= end {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None if shared.over.load(Ordering::Relaxed) => break,
            None => Instant::now(),
        };
        let key = scatter(number) % args.keys;
        let is_read = scatter(number ^ 0x5bd1_e995) % 100 < u64::from(args.reads);
        let result = match is_read {
            true => target.read(key).await,
            false => target.write(key, number).await,
        };
        shared.done.fetch_add(1, Ordering::Relaxed);
        if due.duration_since(shared.start) < args.warmup.0 {
            continue;
        }
        let measured = if is_read { &mut reads } else { &mut writes };
        match result {
            Ok(()) => measured.record(due.elapsed()),
            Err(code) => *measured.failed.entry(code).or_default() += 1,
        }
    }
    Ok((writes, reads))
}

/// Numbers in a row become numbers all over the place (SplitMix64's last steps).
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
