//! The client library against real processes: leaders die under its pipeline, and an embedded store's
//! folder is served.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::Notify;
use understudy_client::{Client, Options, Written};

use crate::world::{Folder, UNDERSTUDY, World, eventually};

const KILLS: u64 = 20;
/// Operations under way together while a leader dies.
const TOGETHER: u64 = 50;
const ACTORS: u64 = 40;
/// Acknowledged before the leader is killed: the pipeline is in full swing.
const BEFORE: u64 = 5;

/// The bar: 1,000 operations, 20 leader kills, each operation exactly once.
#[test]
fn a_pipeline_whose_leader_is_killed_twenty_times_does_everything_once() {
    let mut world = World::start(3);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let options = Options::new().deadline(Duration::from_secs(60));
    let client = Client::connect_with(world.cluster.endpoints(), options);
    let client = runtime.block_on(client).unwrap();
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut replayed = 0;
    for kill in 0..KILLS {
        let leader = world.leader();
        let (acknowledged, progress) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let writes = (0..TOGETHER).map(|number| {
            let number = kill * TOGETHER + number;
            let (client, acknowledged, progress) =
                (client.clone(), acknowledged.clone(), progress.clone());
            async move {
                let id = format!("actor-{}", number % ACTORS);
                let written: Written = client.put("default", id, &number).await.unwrap();
                acknowledged.fetch_add(1, Ordering::Relaxed);
                progress.notify_one();
                written
            }
        });
        let deed = async {
            while acknowledged.load(Ordering::Relaxed) < BEFORE {
                progress.notified().await;
            }
            world.cluster.kill(leader).unwrap();
        };
        let (written, ()) = runtime.block_on(join(join_all(writes), deed));
        for Written { id, token, receipt, .. } in written {
            replayed += u64::from(receipt.replayed);
            versions.entry(id).or_default().push(token.version);
        }
        world.restart(leader);
    }
    // A write that ran twice would have taken a version that no answer tells of.
    for (id, versions) in &mut versions {
        versions.sort_unstable();
        assert!(versions.iter().copied().eq(1..=versions.len() as u64), "{id}: {versions:?}");
        let record = runtime.block_on(client.get::<u64>("default", id)).unwrap().unwrap();
        assert_eq!(record.token.version, versions.len() as u64, "{id}");
    }
    let done: usize = versions.values().map(Vec::len).sum();
    assert_eq!(done as u64, KILLS * TOGETHER);
    println!("{done} operations, {KILLS} kills, {replayed} answers from the record");
    world.assert_replicas_equal();
}

#[test]
fn an_embedded_store_is_served_as_it_is_and_opened_again() {
    let folder = Folder::new();
    let path = folder.0.join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(async {
        let store = Client::open(&path).await.unwrap();
        store.put("default", "a", &"embedded").await.unwrap().token
    });
    // Ports of its own: other tests run beside this one.
    let config = path.join("understudy.toml");
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (api, peer) = (port(), port());
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("127.0.0.1:7401", &api).replace("127.0.0.1:7501", &peer);
    fs::write(&config, text).unwrap();
    let mut node = Command::new(UNDERSTUDY)
        .args(["serve", "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(UNDERSTUDY).args(arguments).args(["--endpoint", &api]).output();
        output.unwrap()
    };
    eventually("the folder is served", || {
        ask(&["get", "default", "a", "--timeout", "1s"]).status.success()
    });
    let read = ask(&["get", "default", "a", "--json"]);
    let read: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!((&read["value"], &read["token"]), (&"embedded".into(), &token.to_string().into()));
    let expect = token.to_string();
    let swapped = ask(&["cas", "default", "a", "\"served\"", "--expect", &expect]);
    assert!(swapped.status.success(), "{swapped:?}");
    node.kill().unwrap();
    node.wait().unwrap();
    let value = runtime.block_on(async {
        let store = Client::open(&path).await.unwrap();
        store.get::<String>("default", "a").await.unwrap().unwrap().value
    });
    assert_eq!(value, "served");
}

#[test]
fn the_commands_read_write_and_scan_and_their_exit_codes_tell() {
    let world = World::start(3);
    let run = |arguments: &[&str]| world.command(arguments).output().unwrap();
    let code = |arguments: &[&str]| run(arguments).status.code();
    let put = world.json(&["put", "default", "a", "[1, 2]", "--metadata", "k=v", "--json"]);
    assert_eq!((&put["version"], &put["replayed"]), (&1.into(), &false.into()));
    let read = world.json(&["get", "default", "a", "--level", "session", "--json"]);
    assert_eq!((&read["value"], &read["metadata"]["k"]), (&serde_json::json!([1, 2]), &"v".into()));
    assert_eq!(code(&["create", "default", "a", "1"]), Some(3));
    assert_eq!(code(&["update", "default", "b", "1"]), Some(3));
    assert_eq!(code(&["put", "default", "a", "{"]), Some(3), "no JSON");
    assert_eq!(code(&["put", "default", "a", "1", "--expect", "1"]), Some(2));
    assert_eq!(
        code(&["get", "default", "a", "--endpoint", "127.0.0.1:1", "--timeout", "1s"]),
        Some(5)
    );
    let once = ["put", "default", "c", "1", "--idempotency-key", "the-same", "--json"];
    assert_eq!(
        (&world.json(&once)["replayed"], &world.json(&once)["replayed"]),
        (&false.into(), &true.into())
    );
    let file = Folder::new();
    let lines = file.0.join("lines.ndjson");
    fs::write(
        &lines,
        "{\"op\":\"create\",\"id\":\"x\",\"value\":{\"n\":1}}\n\n\
         {\"op\":\"cas\",\"id\":\"y\",\"value\":2,\"expect\":0}\n{\"op\":\"delete\",\"id\":\"c\"}\n",
    )
    .unwrap();
    let lines = lines.to_str().unwrap();
    let batch = run(&["batch", "default", lines, "--atomic"]);
    assert!(batch.status.success(), "{batch:?}");
    // Again, each for itself: only the first two are refused, the third is not there any more.
    assert_eq!(code(&["batch", "default", lines]), Some(3));
    let scan = run(&["scan", "default", "--json"]);
    let text = String::from_utf8(scan.stdout).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["a", "x", "y"]);
    let table = String::from_utf8(run(&["scan", "default", "--prefix", "x"]).stdout).unwrap();
    assert!(table.starts_with("ID") && table.contains("1 actors"), "{table}");
}

#[test]
fn a_bench_measures_both_ways_and_in_both_loops() {
    let world = World::start(3);
    let usual = ["bench", "--json", "--duration", "1s", "--warmup", "100ms", "--keys", "100"];
    for more in [
        &["--connections", "2", "--in-flight", "8", "--reads", "50"][..],
        &["--protocol", "unary", "--connections", "2"],
        &["--rate", "200", "--in-flight", "4"],
    ] {
        let page = world.json(&[&usual, more].concat());
        let write = &page["operations"]["write"];
        assert!(write["count"].as_u64().unwrap() > 20, "{page}");
        assert!(write["p50_us"].as_u64() <= write["p99_us"].as_u64(), "{page}");
        assert_eq!(write["failed"], serde_json::json!({}), "{page}");
    }
}
