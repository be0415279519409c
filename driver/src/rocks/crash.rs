//! Processes that end in the middle, and disks that are full: what is there afterwards is what some
//! batch left, at or behind the last flush.

use std::process::{Command, Output, Stdio};

use super::tests::{World, put};
use super::*;

const FOLDER: &str = "UNDERSTUDY_ROCKS_FOLDER";
const BATCHES: &str = "UNDERSTUDY_ROCKS_BATCHES";
const FLUSHED: &str = "UNDERSTUDY_ROCKS_FLUSHED";

/// Writes numbered batches, flushes after one of them, and ends without a goodbye. Started as a
/// process of its own by the tests below.
#[test]
#[ignore = "the child process of other tests"]
fn child() {
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let folder = std::env::var(FOLDER).unwrap();
    let store = RocksStore::open(Path::new(&folder), Options::tiny()).unwrap();
    for batch in 1..=number(BATCHES) {
        if let Err(error) = store.write(&WriteBatch { changes: changes(batch) }) {
            println!("batch {batch} failed: {error}");
            drop(store);
            println!("closed");
            std::process::abort();
        }
        if batch == number(FLUSHED) {
            store.flush().unwrap();
        }
    }
    println!("all written");
    std::process::abort();
}

/// Ten rows of a ring: each batch writes its own ten and deletes the ten that are forty batches old.
fn changes(batch: u64) -> Vec<Change> {
    let mut changes: Vec<Change> =
        (0..10).map(|row| put(&key(batch, row), &noise(batch * 10 + u64::from(row)))).collect();
    if let Some(old) = batch.checked_sub(40) {
        changes.push(Change::DeleteRange(key(old, 0), key(old, 10)));
    }
    // One row is in every batch.
    changes.push(put(b"last", &batch.to_be_bytes()));
    changes
}

/// 400 bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut word = seed;
    let mut next = || {
        word = word.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The low bits of such a sequence repeat.
        (word >> 56) as u8
    };
    (0..400).map(|_| next()).collect()
}

fn key(batch: u64, row: u8) -> Vec<u8> {
    [b"batch".as_slice(), &batch.to_be_bytes(), &[row]].concat()
}

/// Runs the child; `limit` bounds the size of a file in KiB, as a full disk would.
fn run(folder: &Path, batches: u64, flushed: u64, limit: Option<u64>) -> Output {
    let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    // A write beyond the limit is an error then, no signal. No core file of the abort either.
    let script = format!("trap '' XFSZ; ulimit -c 0; ulimit -f {limit}; exec \"$0\" \"$@\"");
    run_in(Command::new("bash").args(["-c", &script]), folder, batches, flushed)
}

/// Runs the child by `command`, which takes it as its last words.
fn run_in(command: &mut Command, folder: &Path, batches: u64, flushed: u64) -> Output {
    command
        .arg(std::env::current_exe().unwrap())
        .args(["rocks::crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(BATCHES, batches.to_string())
        .env(FLUSHED, flushed.to_string())
        .stderr(Stdio::null())
        .output()
        .unwrap()
}

/// The number of the batch whose state the rows are; panics if they are not as after any.
fn batch_found(store: &RocksStore) -> u64 {
    let rows = store.scan(b"", &[0xff], usize::MAX).unwrap();
    let last = store.get(b"last").unwrap();
    let last = last.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let mut expected = std::collections::BTreeMap::new();
    // Older ones are deleted.
    for batch in last.saturating_sub(39).max(1)..=last {
        for change in changes(batch) {
            if let Change::Put(key, value) = change {
                expected.insert(key, value);
            }
        }
    }
    assert!(rows.into_iter().eq(expected), "not as after batch {last}");
    last
}

#[test]
fn a_killed_process_leaves_the_rows_as_after_a_batch_behind_the_last_flush() {
    let mut lost = 0;
    // 64 KiB buffers fill every sixteen batches or so: flushes by RocksDB itself are among them.
    for (batches, flushed) in [(5, 0), (5, 3), (100, 0), (200, 1), (301, 150), (600, 600)] {
        let mut world = World::new(&format!("killed-{batches}-{flushed}"));
        world.close();
        let output = run(&world.path, batches, flushed, None);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("all written"), "{said}");
        assert!(!output.status.success(), "it aborted");
        world.reopen();
        let found = batch_found(world.store());
        assert!((flushed..=batches).contains(&found), "{found} of {batches}, flushed {flushed}");
        lost += batches - found;
    }
    assert!(lost > 0, "nothing was ever lost: this does not test what it says");
}

#[test]
fn a_background_failure_is_the_answer_to_a_later_write() {
    let mut world = World::new("failing");
    world.close();
    // Larger than what the database writes at its start, smaller than a table of one buffer.
    let output = run(&world.path, 2000, 2000, Some(40));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("failed: ") && said.contains("closed"), "{said}");
    world.reopen();
    let found = batch_found(world.store());
    assert!(found < 2000, "{found}");
}

/// RocksDB waits where it hopes for space, and a write in it would with it.
#[test]
fn a_full_disk_is_an_error_and_not_a_wait() {
    let mut failed = 0;
    for kilobytes in [400, 600, 900, 1200, 1500] {
        let mut world = World::new("full");
        world.close();
        fs::remove_dir_all(&world.path).unwrap();
        fs::create_dir(&world.path).unwrap();
        // A disk of this size that nobody else sees.
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none \"$1\" 2>/dev/null || exit 77; shift; \
             ulimit -c 0; exec timeout 60 \"$@\""
        );
        let folder = world.path.to_str().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-c", &script, "full", folder]);
        let output = run_in(&mut command, &world.path.join("database"), 3000, 3000);
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("running 1 test") {
            eprintln!("not tested: this machine lets nobody mount a disk in a namespace");
            return;
        }
        let ended = said.contains("closed") || said.contains("all written");
        assert!(ended, "{kilobytes} kB: {:?}, {said}", output.status);
        failed += usize::from(said.contains("failed: "));
    }
    assert!(failed > 0, "no disk was ever full");
}
