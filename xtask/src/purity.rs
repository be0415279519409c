//! The core takes values and returns values, and so does the client's plan. Their sources are kept to
//! that by `clippy.toml`; this keeps their dependency trees to it.

use std::env;
use std::process::Command;

/// The packages that are pure.
const PURE: &[&str] = &["understudy-core", "understudy-plan"];

/// Must not be in a pure package's tree at all.
const BANNED: &[(&str, &str)] = &[
    ("tokio", "what is pure waits for nothing; the core has its own executor, inside `step`"),
    ("mio", "what is pure performs no IO"),
    ("socket2", "what is pure performs no IO"),
    ("hyper", "what is pure performs no IO"),
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

/// True when the trees are clean; else says what is in them and why that is wrong.
pub fn check() -> bool {
    // All of them: whoever reads the answer wants to know everything.
    PURE.iter().filter(|package| !check_one(package)).count() == 0
}

fn check_one(package: &str) -> bool {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"])
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
        eprintln!("xtask: purity: {package}: {fault}");
    }
    if faults.is_empty() {
        eprintln!("xtask: the dependency tree of {package} is pure");
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
        banned.map(|(name, why)| format!("`{name}` is in the tree: {why}")).collect();
    // A crate by one of these words reads the OS's clock or entropy unless argued otherwise.
    let suspect = |name: &&&str| {
        ["rand", "time", "chrono", "entropy", "uuid", "clock"]
            .iter()
            .any(|word| name.contains(word))
    };
    const HARMLESS: &[&str] = &["rand_chacha", "rand_core", "chacha20", "openraft-rt"];
    faults.extend(
        names
            .iter()
            .filter(suspect)
            .filter(|name| {
                !HARMLESS.contains(name) && !ALLOWED.iter().any(|(known, _)| known == *name)
            })
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
