//! The tester is tested: each planted bug must be caught within 2,000 seeds. `cargo xtask mutants`
//! makes the full table, with both judges and medians.
//!
//! The bugs exist only under `cfg(sim_mutant)`, so this test builds the simulator once more, into a
//! target folder of its own. It needs what the first build needed and nothing else.

use std::path::Path;
use std::process::Command;

#[test]
fn every_planted_bug_is_caught() {
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
    let program = target.join(if is_release { "release" } else { "debug" }).join("understudy-sim");
    let list = Command::new(&program).args(["mutants", "--list"]).output();
    let list = list.expect("the simulator starts");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SIM.md");
    let page = std::fs::read_to_string(page).expect("docs/SIM.md can be read");
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let row = format!("| `{name}` |");
        assert!(page.contains(&row), "docs/SIM.md has no row {row} in its table of planted bugs");
    }
    let start = std::env::var("UNDERSTUDY_SEED").unwrap_or_else(|_| "1".to_owned());
    let hunt = Command::new(program)
        .args(["mutants", "--seeds", "2000", "--start", &start, "--skip-rare"])
        .output();
    let hunt = hunt.expect("the simulator starts");
    let text = String::from_utf8_lossy(&hunt.stdout);
    println!("{text}");
    assert!(hunt.status.success(), "start seed {start}:\n{text}");
}
