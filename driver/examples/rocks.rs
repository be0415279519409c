//! Measures RocksDB alone: `fill` writes a million rows of 200 bytes, `open` opens them again in a
//! process of its own and says how long that took and how much memory it needed.
//!
//! ```text
//! cargo run --release -p understudy-driver --features rocksdb --example rocks -- fill FOLDER
//! ```

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use understudy_core::backend::{Backend, Change, View, WriteBatch};
use understudy_driver::rocks::{Options, RocksStore};

const ROWS: u64 = 1_000_000;
const BATCH: u64 = 100;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, folder] = arguments.as_slice() else { bail!("usage: rocks fill|open FOLDER") };
    let started = Instant::now();
    let store = RocksStore::open(Path::new(folder), Options::production())?;
    println!("open    {:?}, {}", started.elapsed(), memory()?);
    match verb.as_str() {
        "fill" => fill(&store),
        "open" => read(&store),
        _ => bail!("fill or open, not `{verb}`"),
    }
}

fn fill(store: &RocksStore) -> anyhow::Result<()> {
    let started = Instant::now();
    for first in (0..ROWS).step_by(BATCH as usize) {
        let changes = (first..first + BATCH).map(|row| Change::Put(key(row), value(row)));
        store.write(&WriteBatch { changes: changes.collect() })?;
    }
    store.flush()?;
    println!("write   {ROWS} rows in {:?}, {}", started.elapsed(), memory()?);
    Ok(())
}

fn read(store: &RocksStore) -> anyhow::Result<()> {
    let started = Instant::now();
    for row in (0..ROWS).step_by(100) {
        ensure!(store.get(&key(row))? == Some(value(row)), "row {row} is not as it was written");
    }
    println!("get     {} rows in {:?}, {}", ROWS / 100, started.elapsed(), memory()?);
    let started = Instant::now();
    let (mut from, mut count) = (Vec::new(), 0);
    loop {
        let rows = store.snapshot()?.scan(&from, &[0xff; 9], 1000)?;
        let Some((last, _)) = rows.last() else { break };
        count += rows.len();
        // The next key there is.
        from = [last, &[0][..]].concat();
    }
    ensure!(count as u64 == ROWS, "{count} rows of {ROWS}");
    println!("scan    {count} rows in {:?}, {}", started.elapsed(), memory()?);
    Ok(())
}

/// Rows come in no order of their keys.
fn key(row: u64) -> Vec<u8> {
    row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
}

/// Letters that hardly compress.
fn value(row: u64) -> Vec<u8> {
    let mut word = row;
    let letters = (0..200).map(|_| {
        word = word.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        b'a' + (word >> 60) as u8
    });
    letters.collect()
}

fn memory() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_start_matches(':').trim().to_owned())
    };
    let now = field("VmRSS").context("no VmRSS")?;
    let most = field("VmHWM").context("no VmHWM")?;
    Ok(format!("resident {now}, at most {most}"))
}
