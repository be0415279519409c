//! The same seed in two processes gives the same trace: every input and effect of every step, with its
//! time and its whole content. This also proves unused what openraft brings along of clocks and
//! entropy.

use std::process::{Command, Output, Stdio};

const SEEDS: u64 = 200;
/// Away from the sweep's, so that these are not the same stories again.
const START: u64 = 7_000_000;

/// Both at once, so that they cannot help but run at other times and places.
fn twice(words: &[&str]) -> [Vec<String>; 2] {
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy-sim"));
        command.args(words).stdout(Stdio::piped()).spawn().expect("the simulator starts")
    };
    let lines = |output: Output| {
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    let (one, other) = (start(), start());
    [one, other].map(|child| lines(child.wait_with_output().expect("it ends")))
}

#[test]
fn a_seed_tells_the_same_story_in_two_processes() {
    let (start, seeds) = (START.to_string(), SEEDS.to_string());
    for profile in ["swarm", "beyond"] {
        let words = ["hashes", "--start", &start, "--seeds", &seeds, "--profile", profile];
        let [one, other] = twice(&words);
        assert_eq!(one.len() as u64, SEEDS, "a hash for each seed");
        let short = one.iter().filter(|line| {
            let lines: u64 = line.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            lines < 300
        });
        assert_eq!(short.count(), 0, "a trace of few lines proves nothing");
        if let Some((a, b)) = one.iter().zip(&other).find(|(a, b)| a != b) {
            panic!("{a}, then {b}; the first difference: {}", difference(a, profile));
        }
    }
}

/// The first line in which two runs of the seed differ.
fn difference(hash: &str, profile: &str) -> String {
    let seed = hash.split(' ').next().unwrap_or_default();
    let [one, other] = twice(&["replay", seed, "--trace", "--messages", "--profile", profile]);
    match one.iter().zip(&other).find(|(a, b)| a != b) {
        Some((a, b)) => format!("\n  {a}\n  {b}"),
        None => "not in what is printed, but in the content of a message or write".to_owned(),
    }
}
