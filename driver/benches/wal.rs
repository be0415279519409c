//! The log alone: entries a second and bytes a second that its thread makes durable, with so many
//! writers waiting, against what the disk does of `fdatasync` by itself. Ratios in one run; nothing
//! about time is asserted.
//!
//! `cargo bench -p understudy-driver --bench wal [-- DIR]`; DIR is where it writes, by default the
//! system's folder for temporary files, which may be no disk.

use std::env;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use understudy_core::{Boot, DiskOp, FileName, IoId};
use understudy_driver::files::Files;
use understudy_driver::wal::{self, WalWrite};

/// A frame with a document of 200 bytes.
const ENTRY_BYTES: usize = 320;
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const SEGMENTS: u64 = 40;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    let folder = env::args().skip(1).find(|word| !word.starts_with("--"));
    let folder = folder.map_or_else(env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("understudy-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder can be made");
    println!("{:>24} {:>12} {:>10} {:>9} {:>7}", "", "entries/s", "syncs/s", "MB/s", "ratio");
    let before = syncs(&folder);
    print("fdatasync of 4 KiB alone", before, before, 4096 * before);
    for writers in [1, 16, 256] {
        let (entries, syncs) = group_commit(&folder, writers);
        let name = format!("{writers} writers");
        println!(
            "{name:>24} {entries:>12} {syncs:>10} {:>9.1} {:>7.1}",
            (entries * ENTRY_BYTES as u64) as f64 / 1e6,
            entries as f64 / before as f64
        );
    }
    let after = syncs(&folder);
    print("fdatasync again", after, after, 4096 * after);
    fs::remove_dir_all(&folder).expect("the folder can be removed");
}

fn print(name: &str, entries: u64, syncs: u64, bytes: u64) {
    println!("{name:>24} {entries:>12} {syncs:>10} {:>9.1}", bytes as f64 / 1e6);
}

/// Syncs a second of a preallocated file, one write of a page each.
fn syncs(folder: &Path) -> u64 {
    let files = Files::new(folder);
    let file = FileName::Segment(0);
    files.apply(&[DiskOp::Create { file, size: SEGMENT_BYTES }, DiskOp::Sync { file }]).unwrap();
    let disk = files.open(file).unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        disk.write_all_at(&[7; 4096], count * 4096 % SEGMENT_BYTES).unwrap();
        disk.sync_data().unwrap();
        count += 1;
    }
    per_second(count, start)
}

/// Entries and syncs a second with `writers` entries waiting at any time: as the core does, what
/// came in while the last sync ran leaves as one write.
fn group_commit(folder: &Path, writers: u64) -> (u64, u64) {
    let files = Files::new(folder);
    for number in 0..SEGMENTS {
        let file = FileName::Segment(number);
        files
            .apply(&[DiskOp::Create { file, size: SEGMENT_BYTES }, DiskOp::Sync { file }])
            .unwrap();
    }
    let log = wal::start(files, SEGMENT_BYTES).unwrap();
    let (mut offset, mut number, mut waiting, mut done, mut syncs) = (0, 0, writers, 0, 0);
    let mut sizes = std::collections::VecDeque::new();
    let start = Instant::now();
    while start.elapsed() < RUN {
        let bytes = vec![7; ENTRY_BYTES * waiting as usize];
        let length = bytes.len() as u64;
        if offset % SEGMENT_BYTES + length > SEGMENT_BYTES {
            offset = (offset / SEGMENT_BYTES + 1) % SEGMENTS * SEGMENT_BYTES;
        }
        number += 1;
        let io = IoId { boot: Boot(1), number };
        log.writes.send(WalWrite { io, offset, bytes }).unwrap();
        offset += length;
        sizes.push_back(std::mem::take(&mut waiting));
        let (ids, result) = log.completions.recv().unwrap();
        result.unwrap();
        syncs += 1;
        for _ in ids {
            let entries = sizes.pop_front().unwrap_or(0);
            done += entries;
            waiting += entries;
        }
    }
    let rates = (per_second(done, start), per_second(syncs, start));
    drop(log.writes);
    log.thread.join().unwrap();
    rates
}

fn per_second(count: u64, start: Instant) -> u64 {
    count * 1_000_000 / u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
