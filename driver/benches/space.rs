//! What a long run leaves on the disk: ten million writes over 100,000 actors through one replica on
//! its threads, with the sizes of production, in memory and (with the feature) in RocksDB. Prints how
//! long the log and the files ever were; asserts that they stay within what the configuration says.
//!
//! `cargo bench -p understudy-driver --features rocksdb --bench space [-- WRITES [FOLDER]]`

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use understudy_core::{ActorId, Json, LogSizes, Namespace, Operation, Request, Work, Write};
use understudy_driver::config::NodeConfig;
use understudy_driver::driver::{Core, OnFatal};
use understudy_driver::folder::Folder;
use understudy_driver::start::Recovered;

const TOGETHER: u64 = 1000;
const ACTORS: u64 = 100_000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let writes = words.first().and_then(|word| word.parse().ok()).unwrap_or(10_000_000);
    let folder = words.get(1).map_or_else(env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for storage in ["memory", "rocksdb"] {
        if storage == "rocksdb" && cfg!(not(feature = "rocksdb")) {
            println!("rocksdb: not measured, this build has none");
            continue;
        }
        let folder = folder.join(format!("understudy-space-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let config = configure(&folder, storage);
        Folder::init(&config).expect("an empty folder");
        let (inbox, received) = crossbeam_channel::bounded(1);
        let recovered = Recovered::open(&config).expect("a folder just made");
        let (core, thread, held) =
            recovered.start(received, BTreeMap::new(), OnFatal::Exit).unwrap();
        runtime.block_on(run(&core, storage, writes, &folder));
        core.stop();
        thread.join().unwrap();
        drop((held, inbox));
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}

fn configure(folder: &Path, storage: &str) -> NodeConfig {
    let text = format!(
        "data_dir = \"data\"\nnode = 1\n[cluster]\nname = \"space\"\nnamespaces = [\"default\"]\n\
         [cluster.storage]\ndefault = \"{storage}\"\n[[cluster.nodes]]\nid = 1\n\
         peer = \"127.0.0.1:1\"\napi = \"127.0.0.1:2\"\n"
    );
    NodeConfig::parse(&folder.join("understudy.toml"), &text).expect("a right configuration")
}

async fn run(core: &Core, storage: &str, writes: u64, folder: &Path) {
    let value = Json::new(format!("\"{}\"", "x".repeat(198)).into_bytes());
    let (start, mut log_max, mut files_max) = (Instant::now(), 0, 0);
    for round in 0..writes / TOGETHER {
        let put = |n: u64| {
            let id = format!("actor-{}", (round * TOGETHER + n * 7919) % ACTORS);
            let operation = Operation::Put { content: value.clone().into() };
            let request = Request::Write {
                namespace: Namespace::new("default").unwrap(),
                op: None,
                work: Work::One(Write { id: ActorId::new(id).unwrap(), operation }),
            };
            core.ask(request, TIMEOUT)
        };
        for answer in futures_util::future::join_all((0..TOGETHER).map(put)).await {
            answer.expect("a write without faults");
        }
        if round % 20 == 0 {
            let status = core.status().await.expect("the core answers");
            log_max = log_max.max(status.wal_end - status.wal_begin);
            files_max = files_max.max(bytes_below(folder));
        }
    }
    let status = core.status().await.expect("the core answers");
    println!(
        "{storage}: {writes} writes of 200 bytes, {:.0} writes/s; log written {} MiB, at most {} MiB of \
         it kept; files at most {} MiB; {} outcomes remembered",
        writes as f64 / start.elapsed().as_secs_f64(),
        status.wal_end >> 20,
        log_max >> 20,
        files_max >> 20,
        status.groups[0].oplog_live,
    );
    let sizes = LogSizes::production();
    // A checkpoint's worth, as much again while one is written, and the segments around both.
    let bound = 6 * sizes.checkpoint_bytes.max(sizes.segment_bytes);
    assert!(log_max <= bound, "the log grew to {log_max} bytes, {bound} were expected at most");
}

/// Bytes of all files below `folder`; one that goes meanwhile counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
