//! The commands that look at a data folder: what they say of folders that a node has made, and of
//! folders that something has happened to; and that they change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use serde_json::Value;
#[cfg(feature = "rocksdb")]
use understudy_node::config::StorageWord;

#[cfg(feature = "rocksdb")]
use crate::checkpoints;
use crate::world::{Folder, UNDERSTUDY, World, eventually};

const COMMANDS: [&[&str]; 5] = [
    &["wal", "inspect"],
    &["wal", "inspect", "--frames"],
    &["wal", "verify"],
    &["store", "inspect", "--actors"],
    &["doctor"],
];

/// A stopped node's data folder, with a checkpoint and a log that attests its end.
struct Left {
    world: World,
    data: PathBuf,
}

fn left(nodes: u64) -> Left {
    let mut world = World::initialised(nodes);
    for node in &world.cluster.nodes {
        let config = node.config();
        let text = fs::read_to_string(&config).unwrap();
        let log = "[cluster.log]\ncheckpoint_entries = 20\nkeep_entries = 5\n";
        assert!(text.contains("[cluster.log]\n"), "{text}");
        fs::write(&config, text.replacen("[cluster.log]\n", log, 1)).unwrap();
    }
    world.cluster.start().unwrap();
    world.wait_for_leader();
    world.json(&["load", "--generate", "300", "--concurrency", "2", "--json"]);
    let data = world.cluster.nodes[0].config().with_file_name("data");
    eventually("a checkpoint is written", || snapshots(&data).len() == 1);
    // A quiet log gets a trailer, which attests everything before it.
    std::thread::sleep(std::time::Duration::from_millis(400));
    world.cluster.stop();
    // Behind the end, empty, and made again by a start: only less to read.
    fs::remove_file(data.join("wal/0000000000000001.wal")).unwrap();
    Left { world, data }
}

fn snapshots(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("snap")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "snap")).collect()
}

fn segment(data: &Path) -> PathBuf {
    data.join("wal/0000000000000000.wal")
}

#[track_caller]
fn run(arguments: &[&str], folder: &Path) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(UNDERSTUDY).args(arguments).arg(folder).output().unwrap();
    let complaints = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!complaints.contains("panicked"), "{arguments:?}: {complaints}");
    let code = status.code().unwrap_or_else(|| panic!("{arguments:?} {status}: {complaints}"));
    (code, String::from_utf8_lossy(&stdout).into_owned() + &complaints)
}

#[track_caller]
fn json(arguments: &[&str], folder: &Path) -> (i32, Value) {
    let (code, text) = run(&[arguments, &["--json"]].concat(), folder);
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Every path below `path`, with the bytes and the time stamp of what is there.
fn everything(path: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = fs::metadata(&path).unwrap();
        let bytes = if about.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (about.modified().unwrap(), bytes));
    }
    found
}

#[test]
fn a_whole_folder_is_told_and_left_as_it_is() {
    let Left { world, data } = left(1);
    let before = everything(&data);
    for command in COMMANDS {
        let (code, text) = run(command, &data);
        assert_eq!(code, 0, "{command:?}: {text}");
        assert!(text.contains("verdict  ") && text.contains("next     "), "{text}");
        let (code, page) = json(command, &data);
        assert_eq!((code, &page["verdict"]), (0, &Value::from("intact")), "{page}");
    }
    assert!(everything(&data) == before, "a command has changed the folder");
    let (_, log) = json(&["wal", "inspect"], &data);
    assert_eq!(log["groups"][0]["namespace"], "default");
    assert_eq!(log["identity"]["node"], 1);
    let (_, store) = json(&["store", "inspect", "--prefix", "no such"], &data);
    let checkpoint = &store["checkpoints"][0];
    assert_eq!(checkpoint["position"], checkpoint["meta"]["applied"]);
    assert_eq!(store["actors"], serde_json::json!([]));
    let (_, store) = json(&["store", "inspect", "--actors", "--limit", "3"], &data);
    let actors = checkpoint["meta"]["actors"].as_u64().unwrap();
    assert_eq!(store["actors"].as_array().unwrap().len(), 3);
    assert_eq!(store["more_actors"], actors - 3);
    let id = store["actors"][1]["id"].as_str().unwrap();
    let (code, one) = json(&["store", "inspect", "--actor", id], &data);
    assert_eq!((code, &one["actors"][0]), (0, &store["actors"][1]));
    assert_eq!(json(&["store", "inspect", "--actor", "nobody"], &data).0, 1);
    let config = world.cluster.nodes[0].config();
    let (code, text) = run(&["doctor", "--config"], &config);
    assert_eq!(code, 0, "{text}");
    let start = format!("next     start it: understudy serve --config {}", config.display());
    assert!(text.contains(&start), "{text}");
}

/// RocksDB itself writes files when it opens a folder; a tool must not.
#[test]
#[cfg(feature = "rocksdb")]
fn a_folder_of_rocksdb_is_left_as_it_is() {
    let mut world = checkpoints::start_small(StorageWord::RocksDb);
    checkpoints::load(&world, 1_000);
    checkpoints::checkpoints(&world);
    let data = world.cluster.nodes[0].config().with_file_name("data");
    world.cluster.stop();
    let before = everything(&data);
    for command in COMMANDS {
        let (code, text) = run(command, &data);
        assert_eq!(code, 0, "{command:?}: {text}");
    }
    let (_, store) = json(&["store", "inspect", "--actors", "--limit", "3"], &data);
    assert_eq!(store["actors"].as_array().unwrap().len(), 3, "{store}");
    let after = everything(&data);
    assert!(after.keys().eq(before.keys()), "files came or went");
    assert!(after == before, "a command has changed the folder");
}

#[test]
fn a_folder_in_use_is_looked_at() {
    let mut world = World::start(1);
    let data = world.cluster.nodes[0].config().with_file_name("data");
    let load = world.command(&["load", "--generate", "2000", "--json"]).spawn().unwrap();
    for _ in 0..2 {
        for command in COMMANDS {
            let (code, text) = run(command, &data);
            assert_eq!(code, 0, "{command:?}: {text}");
        }
    }
    let (_, page) = json(&["doctor"], &data);
    assert_eq!(page["in_use"], true);
    assert!(load.wait_with_output().unwrap().status.success());
    world.assert_up(0);
    world.cluster.stop();
    assert_eq!(json(&["doctor"], &data).1["in_use"], false);
}

/// Every attested byte of the log, sampled, and of the checkpoint; and what is said of it.
#[test]
fn a_flipped_bit_is_damage() {
    let Left { world, data } = left(1);
    let (_, log) = json(&["wal", "inspect", "--frames", "--limit", "100000"], &data);
    let frames = log["frames"].as_array().unwrap();
    let attested = frames.iter().map(|frame| frame["attested"].as_u64().unwrap()).max().unwrap();
    let attested = usize::try_from(attested).unwrap();
    assert!(attested > 4096, "{log}");
    let checkpoint = snapshots(&data).remove(0);
    let checkpoint_bytes = fs::read(&checkpoint).unwrap().len();
    for (file, length, what) in
        [(segment(&data), attested, "log"), (checkpoint, checkpoint_bytes, "state")]
    {
        let good = fs::read(&file).unwrap();
        for number in 0..12 {
            let place = if number == 11 { length - 1 } else { number * length / 11 };
            flip(&file, place, number % 8);
            let command: &[&str] =
                if what == "log" { &["wal", "verify"] } else { &["store", "inspect"] };
            let (code, page) = json(command, &data);
            assert_eq!((code, &page["verdict"]), (2, &Value::from("damaged")), "{place}: {page}");
            let (code, text) = run(&["doctor"], &data);
            assert_eq!(code, 2, "{place}: {text}");
            assert!(text.contains(&format!("verdict  damaged: {what}: ")), "{text}");
            assert!(text.contains("next     there is no other node"), "{text}");
            flip(&file, place, number % 8);
        }
        assert!(fs::read(&file).unwrap() == good);
    }
    assert_eq!(run(&["doctor"], &data).0, 0);
    drop(world);
}

fn flip(path: &Path, place: usize, bit: usize) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, place as u64).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, place as u64).unwrap();
}

#[test]
fn a_torn_tail_is_normal_and_a_cluster_repairs_damage() {
    let Left { world, data } = left(3);
    let (_, log) = json(&["wal", "verify"], &data);
    let end = log["end"]["byte"].as_u64().unwrap();
    flip(&segment(&data), usize::try_from(end).unwrap() + 100, 3);
    let (code, text) = run(&["wal", "verify"], &data);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("verdict  torn tail: "), "{text}");
    assert!(text.contains("start the node: it removes those bytes"), "{text}");
    let config = world.cluster.nodes[0].config();
    let (code, text) = run(&["doctor", "--config"], &config);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("next     start it: understudy serve"), "{text}");
    fs::remove_file(snapshots(&data).remove(0)).unwrap();
    let (code, text) = run(&["doctor"], &data);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("should be in a checkpoint"), "{text}");
    assert!(text.contains("next     start it all the same: understudy serve"), "{text}");
    fs::write(data.join("suspect"), "a block of the log is damaged\n").unwrap();
    let (_, text) = run(&["doctor"], &data);
    assert!(text.contains("the node found while it ran: a block of the log"), "{text}");
    fs::write(data.join("snap/1-9.part"), "half").unwrap();
    fs::create_dir(data.join("damaged-0000000000000001")).unwrap();
    let (_, text) = run(&["doctor"], &data);
    assert!(text.contains("never finished") && text.contains("was set aside"), "{text}");
}

#[test]
fn what_is_no_data_folder_is_not_called_damaged() {
    let folder = Folder::new();
    let empty = folder.0.join("empty");
    fs::create_dir(&empty).unwrap();
    fs::write(folder.0.join("notes.txt"), "x").unwrap();
    for command in COMMANDS {
        for path in [&empty, &folder.0, &folder.0.join("notes.txt"), &folder.0.join("missing")] {
            let (code, text) = run(command, path);
            assert_eq!(code, 3, "{command:?} {path:?}: {text}");
        }
    }
    // A member's log in another member's folder: wrong, and nothing is broken.
    let (first, second) = (World::initialised(1), World::initialised(1));
    let data = |world: &World| world.cluster.nodes[0].config().with_file_name("data");
    fs::copy(segment(&data(&second)), segment(&data(&first))).unwrap();
    let (code, text) = run(&["doctor"], &data(&first));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("point the node at its own data folder"), "{text}");
}

#[test]
fn garbage_is_told_and_never_a_crash() {
    let folder = Folder::new();
    for name in ["wal", "snap", "rocksdb", "damaged-1"] {
        fs::create_dir(folder.0.join(name)).unwrap();
    }
    let files = [
        "identity.toml",
        "lock",
        "suspect",
        "rocksdb.flushed",
        "rocksdb/CURRENT",
        "wal/0000000000000000.wal",
        "wal/0000000000000007.wal",
        "wal/18446744073709551615.wal",
        "snap/1-1-1.snap",
        "snap/1-1-18446744073709551615.snap",
        "snap/2-1.part",
    ];
    let mut state = 7_u64;
    for round in 0..12 {
        for (number, file) in files.iter().enumerate() {
            let path = folder.0.join(file);
            let _ = fs::remove_file(&path);
            let length = [0, 1, 39, 4096, 70_000][(round + number) % 5];
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from(state >> 56).unwrap()
            };
            let bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
            if (round + number) % 4 != 0 {
                fs::write(path, bytes).unwrap();
            }
        }
        for command in COMMANDS {
            let (code, text) = run(command, &folder.0);
            assert!(code == 2 || code == 3, "{command:?}: {code} {text}");
        }
    }
}

/// Cut at any length, the files of a real folder are told and never a crash.
#[test]
fn a_folder_cut_short_is_never_a_crash() {
    let Left { world, data } = left(1);
    let files =
        [segment(&data), snapshots(&data).remove(0), data.join("identity.toml"), data.join("lock")];
    for file in files {
        let good = fs::read(&file).unwrap();
        let content = good.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for part in 0..3 {
            fs::write(&file, &good[..content * part / 3]).unwrap();
            for command in COMMANDS {
                let (code, text) = run(command, &data);
                assert!((0..=3).contains(&code), "{command:?}: {code} {text}");
            }
            let (code, text) = run(&["doctor"], &data);
            let lock = file.ends_with("lock");
            assert_eq!(code == 0, lock, "{}: {code} {text}", file.display());
        }
        fs::write(&file, &good).unwrap();
    }
    drop(world);
}

#[test]
fn completions_and_help_know_the_commands() {
    let print = |arguments: &[&str]| {
        let output = Command::new(UNDERSTUDY).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = print(&["completions", shell]);
        assert!(["doctor", "inspect", "verify"].iter().all(|word| script.contains(word)));
    }
    for command in [&["wal", "verify", "--help"][..], &["doctor", "--help"]] {
        let help = print(command);
        assert!(help.contains("2  damaged") && help.contains("1  intact but"), "{help}");
    }
}
