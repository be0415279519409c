//! Backups of a running cluster, and clusters that go on from them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::world::{Folder, UNDERSTUDY, World, ask, eventually, json_of};

const DOCUMENTS: &str = "3000";

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("understudy: ") && lines[0].contains(words), "{text}");
}

fn data(world: &World, place: usize) -> PathBuf {
    world.cluster.nodes[place].config().with_file_name("data")
}

fn restore(file: &Path, config: &Path) -> Output {
    Command::new(UNDERSTUDY).arg("restore").arg(file).arg("--config").arg(config).output().unwrap()
}

/// A new cluster, one node of which has the backup; started, and as large as it will be.
fn restored(file: &Path, nodes: u64, place: usize) -> World {
    let mut world = World::initialised(nodes);
    fs::remove_dir_all(data(&world, place)).unwrap();
    let output = restore(file, &world.cluster.nodes[place].config());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("start it with: understudy serve --config"), "{text}");
    assert_eq!(text.contains("understudy init"), nodes > 1, "{text}");
    world.cluster.start().unwrap();
    eventually("all nodes have a vote", || {
        let pages = world.pages();
        let voters = |page: &understudy_node::api::status::StatusPage| {
            page.groups.iter().all(|group| group.voters.len() as u64 == nodes)
        };
        pages.len() as u64 == nodes && pages.iter().all(voters)
    });
    world.wait_for_leader();
    world
}

/// A file that a backup of `world` was written to.
fn backup(world: &World, folder: &Folder, name: &str) -> PathBuf {
    let file = folder.0.join(name);
    let page = json_of(world.command(&["backup", "--json", "--out"]).arg(&file).output().unwrap());
    assert_eq!(page["header"]["sections"][1]["namespace"], "second", "{page}");
    assert_eq!(page["bytes"], fs::metadata(&file).unwrap().len(), "{page}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no `.part` is left");
    file
}

/// S0-143, S0-144: a backup under load holds everything acknowledged before it; a new cluster of one
/// and of three goes on from it: documents, tokens and recorded outcomes.
#[test]
fn a_backup_under_load_holds_everything_acknowledged_before() {
    let world = World::start(3);
    let mut load = world.command(&["load", "--generate", DOCUMENTS, "--json"]).spawn().unwrap();
    eventually("documents are being stored", || {
        world.pages().iter().any(|page| page.groups[0].actors >= 500)
    });
    let path = |n: usize| format!("/v1/namespaces/second/actors/marker-{n}");
    let key = |n: usize| format!("key-{n}");
    let put = |api: &str, n: usize| {
        ask(api, "PUT", &path(n), &[("idempotency-key", &key(n)), ("if-none-match", "*")], b"1")
    };
    let tokens: Vec<String> = (0..20)
        .map(|n| {
            let answer = put(world.api(n % 3), n);
            assert_eq!(answer.status, 201);
            answer.header("etag").unwrap().to_owned()
        })
        .collect();
    let folder = Folder::new();
    let file = backup(&world, &folder, "under-load");
    let verdict = Command::new(UNDERSTUDY).args(["backup", "verify", "--json"]).arg(&file).output();
    let verdict = json_of(verdict.unwrap());
    assert_eq!(verdict["header"]["sections"][1]["actors"], 20, "{verdict}");
    assert!(verdict["header"]["sections"][0]["actors"].as_u64() >= Some(500), "{verdict}");
    assert!(load.wait().unwrap().success());

    for (nodes, place) in [(1, 0), (3, 1)] {
        let new = restored(&file, nodes, place);
        for (n, token) in tokens.iter().enumerate() {
            let api = new.api(n % usize::try_from(nodes).unwrap());
            let again = put(api, n);
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
            assert_eq!(again.header("etag"), Some(token.as_str()));
            let stale = ask(api, "PUT", &path(n), &[("if-match", "\"1-9\"")], b"2");
            stale.assert_problem(412, "conflict");
            let next = ask(api, "PUT", &path(n), &[("if-match", token)], b"2");
            assert_eq!(next.status, 200, "{next:?}");
        }
        new.json(&["load", "--generate", DOCUMENTS, "--json"]);
        new.assert_replicas_equal();
        // It takes part in everything: its own backup, for one.
        let folder = Folder::new();
        backup(&new, &folder, "again");
    }
}

/// What was restored is all there, byte for byte, also after the node that had the backup has died.
#[test]
fn a_cluster_of_three_that_was_restored_needs_the_first_node_no_more() {
    let world = World::start(1);
    world.json(&["load", "--generate", DOCUMENTS, "--json"]);
    let folder = Folder::new();
    let file = backup(&world, &folder, "whole");
    let mut new = restored(&file, 3, 2);
    new.assert_replicas_equal();
    new.cluster.kill(2).unwrap();
    let verdict = new.json(&["verify", "--generate", DOCUMENTS, "--json"]);
    assert_eq!(verdict["same"].to_string(), DOCUMENTS, "{verdict}");
    assert_eq!(verdict["rewritten"], 0, "{verdict}");
    assert_refused(&restore(&file, &new.cluster.nodes[2].config()), "is not empty");
}

#[test]
fn a_cut_or_altered_backup_is_refused_and_nothing_is_made() {
    let world = World::start(1);
    world.json(&["load", "--generate", "300", "--json"]);
    let folder = Folder::new();
    let good = fs::read(backup(&world, &folder, "good")).unwrap();
    let new = World::initialised(1);
    fs::remove_dir_all(data(&new, 0)).unwrap();
    let config = new.cluster.nodes[0].config();
    let bad = folder.0.join("bad");
    let refused = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        assert_refused(&restore(&bad, &config), "not intact");
        let verify =
            Command::new(UNDERSTUDY).args(["backup", "verify"]).arg(&bad).output().unwrap();
        assert_refused(&verify, "not intact");
        assert!(!data(&new, 0).exists());
    };
    for part in 0..16 {
        refused(&good[..good.len() * part / 16]);
        let mut altered = good.clone();
        altered[good.len() * part / 16 + part] ^= 1 << (part % 8);
        refused(&altered);
    }
    refused(&good[..good.len() - 1]);
    refused(&[&good[..], &good[..]].concat());
    // A namespace that has no place is named; one that has none here begins empty.
    let text = fs::read_to_string(&config).unwrap();
    let file = folder.0.join("good");
    fs::write(&config, text.replace("\"second\"", "\"third\"")).unwrap();
    assert_refused(&restore(&file, &config), "the backup holds `second`");
    assert!(!data(&new, 0).exists());
    fs::write(&config, text.replace("\"default\"", "\"third\", \"default\"")).unwrap();
    let output = restore(&file, &config);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && words.contains("begin empty"), "{words}");
    let mut new = new;
    new.cluster.start().unwrap();
    let pages = new.wait_for_leader();
    let actors: Vec<_> = pages[0].groups.iter().map(|it| (&*it.namespace, it.actors)).collect();
    assert_eq!(actors, [("third", 0), ("default", 300), ("second", 0)]);
    let verdict = new.json(&["verify", "--generate", "300", "--json"]);
    assert_eq!(verdict["same"], 300);
}

/// Answers the next client with `head` and `body`, then closes, or keeps the connection open.
fn impostor(
    head: String,
    body: Vec<u8>,
    stay: bool,
) -> (String, std::thread::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        if !stay {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        stream
    };
    (address, std::thread::spawn(serve))
}

#[test]
fn a_download_that_is_cut_off_leaves_no_file() {
    let world = World::start(1);
    world.json(&["load", "--generate", "300", "--json"]);
    let folder = Folder::new();
    let file = backup(&world, &folder, "good");
    let good = fs::read(&file).unwrap();
    let again = world.command(&["backup", "--out"]).arg(&file).output().unwrap();
    assert_refused(&again, "is there already");
    assert_eq!(fs::read(&file).unwrap(), good);
    let out = folder.0.join("cut");
    let command = |endpoint: &str| {
        let mut command = Command::new(UNDERSTUDY);
        command.args(["backup", "--endpoints", endpoint, "--out"]).arg(&out);
        command
    };
    let (whole, half) = (good.len(), good[..good.len() / 2].to_vec());
    let mut altered = good.clone();
    altered[whole / 2] ^= 1;
    for (length, body, words) in [
        // The connection breaks; it ends as if that were all; what comes is not what was sent.
        (format!("content-length: {whole}\r\n"), half.clone(), "ended the connection"),
        (String::new(), half.clone(), "ends too early"),
        (String::new(), altered, "not intact"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n");
        let (endpoint, server) = impostor(head, body, false);
        assert_refused(&command(&endpoint).output().unwrap(), words);
        server.join().unwrap();
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {whole}\r\n\r\n");
    let (endpoint, server) = impostor(head, half, true);
    let mut child = command(&endpoint).spawn().unwrap();
    let part = folder.0.join("cut.part");
    eventually("half of it has come", || {
        fs::metadata(&part).is_ok_and(|part| part.len() >= whole as u64 / 2)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    drop(server.join().unwrap());
    assert!(!out.exists());
}

#[test]
fn one_backup_at_a_time_and_none_without_a_quorum() {
    let mut world = World::start(3);
    let large = format!("\"{}\"", "x".repeat(1_000_000)).into_bytes();
    for n in 0..40 {
        let path = format!("/v1/namespaces/default/actors/large-{n}");
        assert_eq!(ask(world.api(0), "PUT", &path, &[], &large).status, 201);
    }
    let open = |api: &str| {
        let mut stream = TcpStream::connect(api).unwrap();
        stream
            .write_all(format!("GET /v1/backup HTTP/1.1\r\nhost: {api}\r\n\r\n").as_bytes())
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let (reader, status) = open(world.api(0));
    assert_eq!(status, "HTTP/1.1 200");
    let busy = ask(world.api(0), "GET", "/v1/backup", &[], b"");
    busy.assert_problem(429, "busy");
    assert!(busy.header("retry-after").is_some());
    world.assert_up(0);
    // The command asks the next node.
    let folder = Folder::new();
    backup(&world, &folder, "other");
    drop(reader);
    eventually("the place is free again", || open(world.api(0)).1 == "HTTP/1.1 200");
    ask(world.api(1), "POST", "/v1/backup", &[], b"").assert_problem(405, "method_not_allowed");

    world.cluster.kill(1).unwrap();
    world.cluster.kill(2).unwrap();
    eventually("nothing is given out that may be old", || {
        let answer = ask(world.api(0), "GET", "/v1/backup", &[("connection", "close")], b"");
        answer.status == 503
    });
    let out = folder.0.join("none");
    let refused = world.command(&["backup", "--out"]).arg(&out).output().unwrap();
    assert_refused(&refused, "no endpoint gives it");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}
