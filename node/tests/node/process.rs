//! Processes as an operator starts and loses them: a disk that fails, a parent that dies, clients
//! that go away, and the commands that run a whole cluster.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Folder, UNDERSTUDY, World, ask, eventually, json_of};

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).unwrap()
}

/// Whether a process runs; one that has ended and that nobody has asked about has no command line.
fn runs(pid: Pid) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// The node processes of a cluster's folder.
fn pids(dir: &Path) -> Vec<Pid> {
    (1..=3)
        .filter_map(|node| fs::read_to_string(dir.join(format!("node{node}/pid"))).ok())
        .map(|text| Pid::from_raw(text.trim().parse().unwrap()).unwrap())
        .collect()
}

/// Starts `dev` in `dir` and waits until it has introduced itself.
fn start_dev(dir: &Path, more: &[&str]) -> Child {
    let port = (20_000 + std::process::id() % 10_000).to_string();
    let mut child = Command::new(UNDERSTUDY)
        .args(["dev", "--port", &port, "--data-dir"])
        .arg(dir)
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C stops it")));
    // What else it says is of no interest, and must not end it.
    drop(lines);
    child
}

#[test]
fn dev_stops_in_order_keeps_its_data_and_leaves_no_process() {
    let folder = Folder::new();
    let mut dev = start_dev(&folder.0, &[]);
    let nodes = pids(&folder.0);
    assert_eq!(nodes.len(), 3);
    let config = fs::read_to_string(folder.0.join("node1/understudy.toml")).unwrap();
    let api =
        config.lines().find_map(|line| line.strip_prefix("api = ")).unwrap().trim_matches('"');
    let path = "/v1/namespaces/default/actors/kept";
    assert_eq!(ask(api, "PUT", path, &[], b"1").status, 201);
    kill_process(pid_of(&dev), Signal::INT).unwrap();
    assert!(dev.wait().unwrap().success());
    assert!(nodes.iter().all(|pid| !runs(*pid)));

    let mut dev = start_dev(&folder.0, &["--respawn"]);
    assert_eq!(ask(api, "GET", path, &[], b"").text(), "1");
    let first = pids(&folder.0)[0];
    kill_process(first, Signal::KILL).unwrap();
    eventually("the killed node is started again", || {
        pids(&folder.0)[0] != first && TcpStream::connect(api).is_ok()
    });
    let nodes = pids(&folder.0);
    dev.kill().unwrap();
    dev.wait().unwrap();
    eventually("nodes end with the process that started them", || {
        nodes.iter().all(|pid| !runs(*pid))
    });
}

#[test]
fn a_disk_that_fails_ends_the_process_and_loses_nothing() {
    let mut world = World::start(1);
    world.cluster.stop();
    let config = world.cluster.nodes[0].config();
    // Writes beyond this size fail; the signal that goes with it is ignored, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" serve --config \"$1\"";
    let mut node = Command::new("sh")
        .args(["-c", script, UNDERSTUDY])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let api = world.api(0).to_owned();
    eventually("it serves", || TcpStream::connect(&api).is_ok());
    let mut stored = 0;
    let document = format!("\"{}\"", "x".repeat(10_000));
    eventually("the disk is full", || {
        let Ok(mut stream) = TcpStream::connect(&api) else { return true };
        let request = format!(
            "PUT /v1/namespaces/default/actors/{stored} HTTP/1.1\r\nhost: a\r\nconnection: \
             close\r\ncontent-length: {}\r\n\r\n{document}",
            document.len()
        );
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        stored += usize::from(answer.contains(" 201 "));
        node.try_wait().unwrap().is_some()
    });
    let output = node.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 1, "{log}");
    assert!(stored > 3, "{stored} stored: {log}");
    world.cluster.start().unwrap();
    world.wait_for_leader();
    for id in 0..stored {
        let path = format!("/v1/namespaces/default/actors/{id}");
        assert_eq!(ask(&api, "GET", &path, &[], b"").status, 200, "{id} of {stored}");
    }
}

#[test]
fn clients_that_go_away_leave_their_places_free() {
    let mut world = World::start(3);
    world.cluster.kill(1).unwrap();
    world.cluster.kill(2).unwrap();
    // Without a quorum every request would wait for its whole minute.
    let path = "/v1/namespaces/default/actors/a?timeout_ms=60000";
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    for _ in 0..20 {
        let waiting: Vec<TcpStream> = (0..100)
            .map(|_| {
                let mut stream = TcpStream::connect(world.api(0)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream
            })
            .collect();
        drop(waiting);
    }
    let started = std::time::Instant::now();
    let answer = ask(world.api(0), "GET", "/v1/status", &[], b"");
    assert_eq!(answer.status, 200);
    assert!(started.elapsed().as_secs() < 5);
    world.restart(1);
    world.wait_for_leader();
    world.assert_up(0);
}

#[test]
fn the_demo_tells_the_truth_in_json() {
    let arguments = ["demo", "--documents", "4000", "--kills", "2", "--json", "--exit"];
    let report = json_of(Command::new(UNDERSTUDY).args(arguments).output().unwrap());
    assert_eq!(report["kills"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(report["load"]["documents"].as_u64() >= Some(4000), "{report}");
    assert_eq!(report["verify"]["same"], report["load"]["documents"], "{report}");
    assert_eq!(report["verify"]["rewritten"], 0, "{report}");
    assert_eq!(report["state_hashes_equal"], true, "{report}");
}

#[test]
fn the_demo_takes_documents_of_your_own_and_can_be_left_running() {
    let folder = Folder::new();
    let data = folder.0.join("own.ndjson");
    let lines: Vec<String> =
        (0..50).map(|number| format!("{{\"key\": {number}, \"own\": true}}")).collect();
    fs::write(&data, lines.join("\n")).unwrap();
    let dir = folder.0.join("cluster");
    let output = Command::new(UNDERSTUDY)
        .args(["demo", "--documents", "1500", "--id-field", "key", "--data"])
        .arg(&data)
        .arg("--data-dir")
        .arg(&dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    for words in ["kill -9", "no write for", "nothing acknowledged was lost", "--stop"] {
        assert!(text.contains(words), "{text}");
    }
    let nodes = pids(&dir);
    assert!(nodes.iter().all(|pid| runs(*pid)), "{text}");
    let stop = Command::new(UNDERSTUDY).args(["dev", "--stop", "--data-dir"]).arg(&dir).output();
    assert!(stop.unwrap().status.success());
    assert!(nodes.iter().all(|pid| !runs(*pid)));
}
