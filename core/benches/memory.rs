//! What actors and remembered operations take in memory: 1,000,000 actors of 200 bytes, and an
//! op-log at its limit. The bar: three times the raw data, all together.
//!
//! `cargo bench -p understudy-core --bench memory`

// It measures; it is no part of a replica.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::as_conversions)]

use std::time::Instant;

use understudy_core::message::LogPosition;
use understudy_core::store::Store;
use understudy_core::{ActorId, Batch, Command, Json, OpId, Operation, Seed, Timestamp, limits};

const ACTORS: u64 = 1_000_000;
const VALUE: usize = 200;
const TOGETHER: u64 = 256;

fn main() {
    let ids = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match std::env::args().nth(1).as_deref() {
        Some("in-order") => measure(ACTORS, |number| number),
        Some("at-random") => measure(ACTORS, ids),
        Some("op-log") => measure(1, |number| number),
        // Each in a process of its own: what one has freed would hide what the next one takes.
        _ => {
            for run in ["in-order", "at-random", "op-log"] {
                let this = std::env::current_exe().expect("the bench's own path");
                std::process::Command::new(this).arg(run).status().expect("the bench runs");
            }
        }
    }
}

/// Writes a million times to so many actors, all named by `id`.
fn measure(actors: u64, id: impl Fn(u64) -> u64) {
    let id = |number: u64| format!("actor-{:020}", id(number % actors));
    let before = resident();
    let raw = actors as usize * (VALUE + id(0).len());
    let (mut store, mut index) = (Store::default(), 0);
    let mut rng = Seed(1).rng();
    let mut write = |store: &mut Store, from: u64, upto: u64| {
        let commands = (from..upto).map(|number| {
            // As many an hour as the op-log holds: times rise, most share none.
            let op = OpId::timed(Timestamp(1_700_000_000_000 + 3 * number), rng.u128());
            let content = Json::new(vec![b'7'; VALUE]).into();
            let id = ActorId::new(id(number)).expect("a legal id");
            Command::one(op, id, Operation::Put { content })
        });
        let time = Timestamp(1_700_000_000_000 + 3 * from);
        // As a leader does.
        let compact = store.too_many_changes(64 * 1024 * 1024).unwrap_or_default();
        let batch = Batch { time, commands: commands.collect(), due: [].into(), compact };
        store.apply(LogPosition { term: 1, index }, Some(&batch));
        index += 1;
    };
    let start = Instant::now();
    for from in (0..ACTORS).step_by(TOGETHER as usize) {
        write(&mut store, from, (from + TOGETHER).min(ACTORS));
    }
    let rate = u128::from(ACTORS) * 1_000_000 / start.elapsed().as_micros();
    assert_eq!(store.actors(), actors);
    assert_eq!(store.oplog().len(), limits::OPLOG_ENTRIES_MAX);
    let all = resident() - before;
    println!("{actors} actors: raw {} kB, with the op-log {} kB", raw / 1_000, all / 1_000);
    println!("  {} percent of the raw data, {rate} applied/s", all * 100 / raw);
    // The same again: the op-log forgets as much as it records, under a view and without.
    let start = Instant::now();
    let view = store.view();
    println!("  a view takes {} ns", start.elapsed().as_nanos());
    let start = Instant::now();
    for from in (ACTORS..ACTORS + ACTORS / 4).step_by(TOGETHER as usize) {
        write(&mut store, from, from + TOGETHER);
    }
    let rate = u128::from(ACTORS / 4) * 1_000_000 / start.elapsed().as_micros();
    println!("  {rate} applied/s over a view, op-log full");
    drop(view);
    let all = resident() - before;
    println!("  after that {} kB", all / 1_000);
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
