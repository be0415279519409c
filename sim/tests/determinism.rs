//! The same seed in two processes gives the same trace, line by line: every input and effect of every
//! step with its time and a hash of its whole content.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const SEEDS: u64 = 12;
/// Away from the sweep's, so that these are not the same stories again.
const START: u64 = 7_000_000;

fn trace(seed: u64) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_understudy-sim"))
        .args(["run", "--trace", "--seed", &seed.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let stdout: ChildStdout = child.stdout.take().expect("its output is piped");
    (child, BufReader::new(stdout).lines().map(|line| line.expect("a trace is text")))
}

#[test]
fn a_seed_tells_the_same_story_in_two_processes() {
    for seed in START..START + SEEDS {
        let (mut one, mut one_lines) = trace(seed);
        let (mut other, mut other_lines) = trace(seed);
        let mut lines = 0u64;
        loop {
            match (one_lines.next(), other_lines.next()) {
                (None, None) => break,
                (a, b) => assert_eq!(a, b, "seed {seed:#x}: the first difference, in line {lines}"),
            }
            lines += 1;
        }
        assert!(lines > 500, "seed {seed:#x}: a trace of {lines} lines proves nothing");
        assert!(one.wait().is_ok_and(|status| status.success()), "seed {seed:#x} is not green");
        assert!(other.wait().is_ok_and(|status| status.success()), "seed {seed:#x} is not green");
    }
}
