//! The tester is tested: each planted bug must be caught within 2,000 seeds. `cargo xtask mutants`
//! makes the full table, with both judges and medians.
//!
//! The bugs exist only under `cfg(sim_mutant)`, so this test builds the simulator once more, into a
//! target folder of its own. It needs what the first build needed and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use understudy_sim::schedule::Schedule;

/// The simulator with planted bugs.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    // <target>/<profile>/understudy-sim
    let program = Path::new(env!("CARGO_BIN_EXE_understudy-sim"));
    let profile = program.parent().expect("a program is in a folder");
    let target = profile.parent().expect("a profile is in the target folder").join("mutants");
    let is_release = profile.ends_with("release");
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    build
        .args(["build", "--package", "understudy-sim", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "--cfg madsim --cfg sim_mutant")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if is_release {
        build.arg("--release");
    }
    let built = build.output().expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join(if is_release { "release" } else { "debug" }).join("understudy-sim")
}

#[test]
fn every_planted_bug_is_caught() {
    let list = Command::new(program()).args(["mutants", "--list"]).output();
    let list = list.expect("the simulator starts");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SIM.md");
    let page = std::fs::read_to_string(page).expect("docs/SIM.md can be read");
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let row = format!("| `{name}` |");
        assert!(page.contains(&row), "docs/SIM.md has no row {row} in its table of planted bugs");
    }
    let start = std::env::var("UNDERSTUDY_SEED").unwrap_or_else(|_| "1".to_owned());
    let hunt = Command::new(program())
        .args(["mutants", "--seeds", "2000", "--start", &start, "--skip-rare"])
        .output();
    let hunt = hunt.expect("the simulator starts");
    let text = String::from_utf8_lossy(&hunt.stdout);
    println!("{text}");
    assert!(hunt.status.success(), "start seed {start}:\n{text}");
}

/// A kept schedule that is green with its bug too tests nothing any more: make it anew, as
/// docs/SIM.md says. Without the bug `kept.rs` plays them all.
#[test]
fn a_kept_schedule_of_a_planted_bug_convicts_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let header = Schedule::parse(&text).expect("kept.rs has parsed it").header;
        if header.mutant.is_none() {
            continue;
        }
        let property = header.property.expect("a shrunk schedule names what failed");
        let played_again = Command::new(program()).arg("replay").arg(&path).output();
        let output = played_again.expect("the simulator starts");
        let card = String::from_utf8_lossy(&output.stdout);
        let first = card.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("FAIL") && first.split_whitespace().any(|word| word == property),
            "{} does not break {property}: {first}\n{}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        played += 1;
    }
    assert!(played > 0, "no schedule of a planted bug is kept");
}
