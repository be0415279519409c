//! A node starts only on its own, whole, unused folder; otherwise one line says what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::world::{Folder, UNDERSTUDY, World, ask, eventually};

fn run(command: &str, config: &Path) -> Output {
    Command::new(UNDERSTUDY).arg(command).arg("--config").arg(config).output().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("understudy: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains(words), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

fn write_config(folder: &Folder, cluster: &str, node: u64) -> PathBuf {
    let path = folder.0.join(format!("{cluster}-{node}.toml"));
    let text = format!(
        "data_dir = \"data\"\nnode = {node}\nlisten_peer = \"127.0.0.1:0\"\nlisten_api = \
         \"127.0.0.1:0\"\n[cluster]\nname = \"{cluster}\"\nnamespaces = [\"default\"]\n\
         [[cluster.nodes]]\nid = 1\npeer = \"127.0.0.1:1\"\napi = \"127.0.0.1:2\"\n\
         [[cluster.nodes]]\nid = 2\npeer = \"127.0.0.1:3\"\napi = \"127.0.0.1:4\"\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn serve_refuses_an_empty_folder() {
    let folder = Folder::new();
    let config = write_config(&folder, "ours", 1);
    assert_refused(&run("serve", &config), "run `understudy init --config");
    assert!(!folder.0.join("data").exists());
}

#[test]
fn init_refuses_a_folder_that_is_not_empty() {
    let folder = Folder::new();
    let config = write_config(&folder, "ours", 1);
    assert!(run("init", &config).status.success());
    assert_refused(&run("init", &config), "is not empty");
}

#[test]
fn serve_refuses_the_folder_of_another_cluster_or_node() {
    let folder = Folder::new();
    assert!(run("init", &write_config(&folder, "ours", 1)).status.success());
    let theirs = write_config(&folder, "theirs", 1);
    assert_refused(&run("serve", &theirs), "belongs to node 1 of cluster `ours`");
    let second = write_config(&folder, "ours", 2);
    assert_refused(&run("serve", &second), "belongs to node 1 of cluster `ours`, not to node 2");
}

#[test]
fn serve_refuses_a_log_that_is_not_its_own() {
    let folder = Folder::new();
    let ours = write_config(&folder, "ours", 1);
    assert!(run("init", &ours).status.success());
    let kept = folder.0.join("kept");
    fs::rename(folder.0.join("data"), &kept).unwrap();
    assert!(run("init", &ours).status.success());
    fs::copy(kept.join("wal/0000000000000000.wal"), folder.0.join("data/wal/0000000000000000.wal"))
        .unwrap();
    assert_refused(&run("serve", &ours), "data");
}

#[test]
fn serve_refuses_a_folder_in_use() {
    let world = World::start(1);
    assert_refused(&run("serve", &world.cluster.nodes[0].config()), "another process serves");
    world.assert_up(0);
}

/// One bit flipped in what was synced: the node notices, sets it aside, and gets everything back.
#[test]
fn a_damaged_log_is_set_aside_and_the_node_repaired() {
    let mut world = World::start(3);
    world.json(&["load", "--generate", "200", "--json"]);
    let place = (world.leader() + 1) % 3;
    let data = world.cluster.nodes[place].config().with_file_name("data");
    let wal = data.join("wal/0000000000000000.wal");
    world.cluster.kill(place).unwrap();
    let mut bytes = fs::read(&wal).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[used / 2] ^= 0x40;
    fs::write(&wal, &bytes).unwrap();
    world.cluster.start_node(place).unwrap();
    let id = format!("{}#", world.cluster.nodes[place].id);
    eventually("the node votes again", || {
        let pages = world.pages();
        let Some(page) = pages.iter().find(|page| format!("{}#", page.node) == id) else {
            return false;
        };
        let end = format!("{id}{}", &page.incarnation[12..]);
        page.groups.iter().all(|group| !group.joining && group.voters.contains(&end))
    });
    let aside: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(fs::read(data.join(&aside[0]).join("wal/0000000000000000.wal")).unwrap() == bytes);
    let verdict = world.json(&["verify", "--generate", "200", "--json"]);
    assert_eq!(verdict["same"], 200);
}

/// A disk that was lost and replaced by an empty one.
#[test]
fn a_node_with_a_new_disk_is_initialised_and_taken_in() {
    let mut world = World::start(3);
    world.json(&["load", "--generate", "50", "--json"]);
    let place = (world.leader() + 1) % 3;
    let config = world.cluster.nodes[place].config();
    world.cluster.kill(place).unwrap();
    fs::remove_dir_all(config.with_file_name("data")).unwrap();
    assert_refused(&run("serve", &config), "the others take it in");
    assert!(run("init", &config).status.success());
    world.cluster.start_node(place).unwrap();
    eventually("everybody has it among the voters", || {
        let pages = world.pages();
        let id = world.cluster.nodes[place].id;
        let Some(new) = pages.iter().find(|page| page.node == id) else { return false };
        let end = format!("{id}#{}", &new.incarnation[12..]);
        pages.len() == 3
            && pages.iter().all(|page| page.groups.iter().all(|group| group.voters.contains(&end)))
    });
}

#[test]
fn serve_refuses_a_damaged_log() {
    let mut world = World::start(1);
    world.json(&["load", "--generate", "200", "--json"]);
    let config = world.cluster.nodes[0].config();
    let wal = config.with_file_name("data").join("wal/0000000000000000.wal");
    world.cluster.stop();
    let good = fs::read(&wal).unwrap();
    let used = good.iter().rposition(|&byte| byte != 0).unwrap();
    for place in [0, 10, used / 4, used / 2] {
        let mut bad = good.clone();
        bad[place] ^= 0x40;
        fs::write(&wal, &bad).unwrap();
        assert_refused(&run("serve", &config), "data");
    }
    fs::write(&wal, &good).unwrap();
    world.cluster.start().unwrap();
    world.wait_for_leader();
    let verdict = world.json(&["verify", "--generate", "200", "--json"]);
    assert_eq!(verdict["same"], 200);
}

#[test]
fn nodes_of_different_configurations_name_the_difference() {
    let mut world = World::start(3);
    let node = &world.cluster.nodes[2];
    let (config, log) = (node.config(), node.config().with_file_name("log"));
    world.cluster.kill(2).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"second\"", "\"second\", \"third\"")).unwrap();
    world.cluster.start_node(2).unwrap();
    crate::world::eventually("both sides name the field", || {
        let first = world.cluster.nodes[0].config().with_file_name("log");
        [&log, &first].into_iter().all(|log| {
            let text = fs::read_to_string(log).unwrap();
            text.contains("different configurations: `cluster.namespaces`")
        })
    });
    world.assert_up(0);
}

#[test]
fn a_wrong_configuration_is_refused_by_name() {
    let folder = Folder::new();
    let config = write_config(&folder, "ours", 1);
    let good = fs::read_to_string(&config).unwrap();
    for (from, to, words) in [
        ("data_dir", "data_folder", "unknown field `data_folder`"),
        ("node = 1", "node = 7", "not among"),
        ("[\"default\"]", "[\"default\", \"default\"]", "listed twice"),
        ("[\"default\"]", "[]", "namespaces"),
        ("127.0.0.1:3", "nowhere", "not `host:port`"),
        (
            "[[cluster.nodes]]\nid = 1",
            "[cluster.timing]\nheartbeat = \"1s\"\n[[cluster.nodes]]\nid = 1",
            "three heartbeats",
        ),
        (
            "[[cluster.nodes]]\nid = 1",
            "[cluster.timing]\nheartbeat = \"50\"\n[[cluster.nodes]]\nid = 1",
            "not a duration",
        ),
    ] {
        assert!(good.contains(from));
        fs::write(&config, good.replacen(from, to, 1)).unwrap();
        assert_refused(&run("serve", &config), words);
    }
}

#[test]
fn the_printed_configuration_is_complete() {
    let folder = Folder::new();
    let config = write_config(&folder, "ours", 1);
    let print = |config: &Path| {
        let output = Command::new(UNDERSTUDY)
            .args(["serve", "--print-config", "--config"])
            .arg(config)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let printed = print(&config);
    assert!(printed.contains("election_min = \"150ms\""), "{printed}");
    let again = folder.0.join("again.toml");
    fs::write(&again, &printed).unwrap();
    assert_eq!(print(&again), printed);
}

#[test]
fn a_new_cluster_says_whom_it_waits_for_and_forms_when_all_have_met() {
    let mut world = World::initialised(3);
    world.cluster.start_node(0).unwrap();
    world.cluster.start_node(1).unwrap();
    eventually("both have met and wait for the third", || {
        let pages = world.pages();
        pages.len() == 2 && pages.iter().all(|page| !page.formed && page.unmet == [3])
    });
    let answer = ask(world.api(0), "GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("node 3"), "{answer:?}");
    let table = world.command(&["status"]).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("waits for 3"), "{table}");
    world.cluster.start_node(2).unwrap();
    let pages = world.wait_for_leader();
    assert!(pages.iter().all(|page| page.formed && page.unmet.is_empty()));
}
