//! Plain `cargo test` plays a thousand disasters, and proves that a failing one would be seen.

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_understudy-sim");

/// Seeds of one test run.
const SEEDS: &str = "1000";
/// Where they start; `UNDERSTUDY_SEED` (a number or a git hash) moves it.
const START: &str = "1";

fn sweep(words: &[&str]) -> (Output, String) {
    let output = Command::new(PROGRAM).arg("sweep").args(words).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn a_thousand_disasters_break_no_promise() {
    let start = std::env::var("UNDERSTUDY_SEED").unwrap_or_else(|_| START.to_owned());
    let (output, text) = sweep(&["--seeds", SEEDS, "--start", &start, "--every-fault"]);
    println!("{text}");
    assert!(output.status.success(), "start seed {start}:\n{text}");
}

/// Four seeds, the second of which fails by `canary`; the other three must be green.
fn canary(canary: &str, exit_code: i32, on_card: &[&str]) {
    let words = ["--seeds", "4", "--start", "1", "--jobs", "1", "--timeout", "20"];
    let planted = ["--canary", canary, "--canary-seed", "2"];
    let (output, text) = sweep(&[&words[..], &planted[..]].concat());
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(text.contains("seeds 4 (1 failed)"), "{text}");
    for words in on_card {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    let replay = "replay: cargo run -p understudy-sim -- run --seed 0x2";
    assert!(text.contains(replay), "no `{replay}` in:\n{text}");
}

#[test]
fn a_broken_property_surfaces_with_its_card() {
    canary("safety", 10, &["FAIL safety  canary", "is durable", "faults"]);
}

#[test]
fn a_cluster_that_does_not_converge_surfaces() {
    canary("liveness", 11, &["FAIL liveness  canary"]);
}

#[test]
fn a_panic_is_one_failing_seed_with_a_card() {
    canary("panic", 12, &["FAIL crash  canary_panics", "sim/src/simulation.rs"]);
}

#[test]
fn a_hang_is_one_failing_seed() {
    canary("hang", 11, &["hang: no end after 20 s"]);
}

#[test]
fn a_runaway_allocation_is_one_failing_seed() {
    canary("memory", 12, &["abort: the process ended"]);
}
