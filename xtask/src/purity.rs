//! The core takes values and returns values. Its source is kept to that by `core/clippy.toml`; this
//! keeps its dependency tree to it.

use std::env;
use std::process::Command;

/// Must not be in the core's tree at all.
const BANNED: &[(&str, &str)] = &[
    ("tokio", "the core has its own executor, inside `step`"),
    ("mio", "the core performs no IO"),
    ("socket2", "the core performs no IO"),
    ("hyper", "the core performs no IO"),
    ("rocksdb", "storage engines belong to the node"),
    ("librocksdb-sys", "storage engines belong to the node"),
    ("madsim", "the simulator drives the core, not the other way round"),
    ("async-std", "the core has its own executor, inside `step`"),
    ("ahash", "its hash order is drawn from the OS"),
    ("foldhash", "its hash order is drawn from addresses and the clock"),
];

/// Could read the OS's clock or randomness. What is here came with openraft and is not called: the
/// simulator's determinism test compares whole traces of two processes.
const ALLOWED: &[(&str, &str)] = &[
    ("rand", "openraft names its traits; numbers come from our runtime's `thread_rng`"),
    ("getrandom", "comes with rand; used only by rand's OS generators, which nothing constructs"),
    ("chrono", "openraft formats times for display with it"),
    ("iana-time-zone", "comes with chrono; read only by chrono's local time"),
    (
        "rand_xoshiro",
        "comes with imbl; a seeded generator in its sort of vectors, which nothing calls",
    ),
    ("chrono-tz", "comes with openraft's display helpers"),
];

/// True when the tree is clean; else says what is in it and why that is wrong.
pub fn check() -> bool {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "-p", "understudy-core", "-e", "normal", "--prefix", "none"])
        .args(["--format", "{p}"])
        .output();
    let tree = match output {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => {
            eprint!("xtask: cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
            return false;
        }
        Err(error) => {
            eprintln!("xtask: cargo tree could not be started: {error}");
            return false;
        }
    };
    let faults = faults(&String::from_utf8_lossy(&tree));
    for fault in &faults {
        eprintln!("xtask: purity: {fault}");
    }
    if faults.is_empty() {
        eprintln!("xtask: the core's dependency tree is pure");
    }
    faults.is_empty()
}

fn faults(tree: &str) -> Vec<String> {
    let mut names: Vec<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    let banned = BANNED.iter().filter(|(name, _)| names.contains(name));
    let mut faults: Vec<String> =
        banned.map(|(name, why)| format!("`{name}` is in the core's tree: {why}")).collect();
    // A crate by one of these words reads the OS's clock or entropy unless argued otherwise.
    let suspect = |name: &&&str| {
        ["rand", "time", "chrono", "entropy", "uuid", "clock"]
            .iter()
            .any(|word| name.contains(word))
    };
    const PURE: &[&str] = &["rand_chacha", "rand_core", "chacha20", "openraft-rt"];
    faults.extend(
        names
            .iter()
            .filter(suspect)
            .filter(|name| !PURE.contains(name) && !ALLOWED.iter().any(|(known, _)| known == *name))
            .map(|name| format!("`{name}` may read a clock or entropy: argue for it in ALLOWED")),
    );
    faults
}

#[cfg(test)]
mod tests {
    use super::faults;

    #[test]
    fn a_runtime_or_an_unargued_clock_in_the_tree_is_named() {
        assert_eq!(faults("openraft v0.10.0\nrand v0.10.3\nserde v1.0.0\n"), Vec::<String>::new());
        assert_eq!(faults("tokio v1.0.0 (*)\n").len(), 1);
        assert_eq!(faults("coarsetime v0.1.0\n").len(), 1);
    }
}
