//! Understudy beside etcd: the same load at the same concurrency in one run, in turns, so that a noisy
//! machine is noisy for both. `scripts/compare-etcd.sh` starts both clusters and runs this.
//!
//! A closed loop: each client has a connection of its own and asks again as soon as it is answered, so
//! a latency is what a caller waited. Ratios are of one run; nothing is asserted.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::json;

mod load;
mod target;

use load::{Load, Measured};
use target::{Kind, Target};

#[derive(Parser)]
struct Arguments {
    /// etcd's endpoints, its leader first: each `host:port`
    #[arg(long, value_delimiter = ',', required = true)]
    etcd: Vec<String>,
    /// Understudy's endpoints, its leader first
    #[arg(long, value_delimiter = ',', required = true)]
    understudy: Vec<String>,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    clients: Vec<usize>,
    /// How long each measurement takes; half a second before it does not count
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Rounds; each figure is the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Keys, drawn at random
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Operations that each Rust client has under way at once
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// One JSON object for each figure instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(compare(&arguments))
}

async fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.rounds == 0 || arguments.keys == 0 || arguments.seconds <= 0.0 {
        bail!("--rounds, --keys and --seconds must be above zero");
    }
    if !arguments.json {
        println!(
            "{:<7} {:>7}  {:<18} {:>10} {:>9} {:>9}  {:>9}",
            "", "clients", "", "ops/s", "p50 ms", "p99 ms", "to etcd"
        );
    }
    for write in [true, false] {
        for &clients in &arguments.clients {
            let mut columns: Vec<(Kind, Vec<Measured>)> =
                Kind::ALL.into_iter().map(|kind| (kind, Vec::new())).collect();
            for _ in 0..arguments.rounds {
                for (kind, measured) in &mut columns {
                    measured.push(measure(arguments, *kind, clients, write).await?);
                }
            }
            let etcd = median(&mut columns[0].1);
            for (kind, measured) in &mut columns {
                report(arguments, *kind, clients, write, &median(measured), &etcd);
            }
        }
    }
    Ok(())
}

async fn measure(
    arguments: &Arguments,
    kind: Kind,
    clients: usize,
    write: bool,
) -> anyhow::Result<Measured> {
    let endpoints = match kind {
        Kind::Etcd => &arguments.etcd,
        Kind::Unary | Kind::Client | Kind::Empty => &arguments.understudy,
    };
    let mut targets = Vec::new();
    for _ in 0..clients {
        targets.push(Target::connect(kind, endpoints).await?);
    }
    let in_flight = if kind == Kind::Client { arguments.in_flight } else { 1 };
    let (value_bytes, keys) = (arguments.value_bytes, arguments.keys);
    let run = Duration::from_secs_f64(arguments.seconds);
    Load { write, value_bytes, keys, in_flight, run }.run(targets).await
}

/// By operations a second.
fn median(measured: &mut [Measured]) -> Measured {
    measured.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    measured[measured.len() / 2].clone()
}

fn report(
    arguments: &Arguments,
    kind: Kind,
    clients: usize,
    write: bool,
    measured: &Measured,
    etcd: &Measured,
) {
    let Measured { rate, p50, p99 } = measured;
    let (what, ratio) = (if write { "write" } else { "read" }, rate / etcd.rate);
    if arguments.json {
        let line = json!({
            "operation": what, "clients": clients, "target": kind.name(), "ops_per_s": rate,
            "p50_ms": p50, "p99_ms": p99, "ratio_to_etcd": ratio,
        });
        println!("{line}");
    } else {
        let name = kind.name();
        println!(
            "{what:<7} {clients:>7}  {name:<18} {rate:>10.0} {p50:>9.2} {p99:>9.2}  {ratio:>9.2}"
        );
    }
}
