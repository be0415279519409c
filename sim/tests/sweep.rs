//! Plain `cargo test` plays thousands of disasters, and proves that a failing one would be seen.

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_understudy-sim");

/// Seeds of one test run.
const SEEDS: &str = "3000";
/// Seeds beyond the budget of damage.
const SEEDS_BEYOND: &str = "300";
/// Where they start; `UNDERSTUDY_SEED` (a number or a git hash) moves it.
const START: &str = "1";

fn run(words: &[&str]) -> (Output, String) {
    let output = Command::new(PROGRAM).arg("run").args(words).output();
    let output = output.expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

/// The first seed, and the folder for what fails.
fn places() -> (String, String) {
    let start = std::env::var("UNDERSTUDY_SEED").unwrap_or_else(|_| START.to_owned());
    (start, format!("{}/failures", env!("CARGO_TARGET_TMPDIR")))
}

#[test]
fn thousands_of_disasters_break_no_promise() {
    let (start, folder) = places();
    let words = ["--seeds", SEEDS, "--start", &start, "--every-fault", "--folder", &folder];
    let (output, text) = run(&words);
    println!("{text}");
    assert!(output.status.success(), "start seed {start}:\n{text}");
}

#[test]
fn beyond_the_budget_of_damage_nobody_lies() {
    let (start, folder) = places();
    let words = ["--profile", "beyond", "--seeds", SEEDS_BEYOND, "--start", &start];
    let (output, text) = run(&[&words[..], &["--folder", &folder]].concat());
    println!("{text}");
    assert!(output.status.success(), "start seed {start}:\n{text}");
}

/// No log can tell a write that the disk only claims to have synced from a torn one. What was
/// acknowledged gets lost then, and the judges must see it: this is the canary of the fault model.
/// One seed of a few hundred does it, so more are played where the first ones did not.
#[test]
fn what_a_lying_disk_loses_is_seen() {
    let (start, folder) = places();
    let further = (1..8).map(|round: u64| (round * 1_000_000).to_string());
    let seen = std::iter::once(start).chain(further).any(|start| {
        let words = ["--profile", "lying", "--seeds", "300", "--start", &start, "--shrink", "0"];
        let (output, text) = run(&[&words[..], &["--folder", &folder]].concat());
        let seen = text.contains(": safety ");
        assert!(!seen || output.status.code() != Some(0), "{text}");
        seen
    });
    assert!(seen, "no promise was seen broken");
}

/// Four seeds, the second of which fails by `canary`; the other three must be green.
fn canary(canary: &str, exit_code: i32, on_card: &[&str]) {
    let folder = format!("{}/canary-{canary}", env!("CARGO_TARGET_TMPDIR"));
    let words = ["--seeds", "4", "--start", "1", "--jobs", "1", "--timeout", "20"];
    let planted = ["--canary", canary, "--canary-seed", "2", "--shrink", "0", "--folder", &folder];
    let (output, text) = run(&[&words[..], &planted[..]].concat());
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(text.contains("seeds 4 (1 failed)"), "{text}");
    for words in on_card {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    assert!(text.contains("  replay  cargo sim replay"), "{text}");
}

#[test]
fn a_broken_property_surfaces_with_its_card() {
    canary("safety", 10, &["FAIL safety  canary", "the faults stop", "timeline.html"]);
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
