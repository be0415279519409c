//! Clients in Python: one generated from the .proto, and one that makes up requests from the OpenAPI
//! document. `scripts/setup.sh --python` installs what they need; without it they are skipped, but
//! not in CI.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{Folder, World};

/// What scripts/setup.sh has installed.
fn installed() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let bin = cache.join("understudy/python/bin");
    if bin.join("schemathesis").exists() {
        return Some(bin);
    }
    assert!(std::env::var_os("CI").is_none(), "run scripts/setup.sh --python");
    eprintln!("skipped: no Python packages; run scripts/setup.sh --python");
    None
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

#[test]
fn a_client_generated_from_the_proto_does_everything() {
    let Some(bin) = installed() else { return };
    let world = World::start(3);
    let output = Command::new(bin.join("python"))
        .arg(sources().join("client.py"))
        .arg(world.api(1))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("as it should be"), "{text} {complaints}");
}

#[test]
fn made_up_requests_find_no_failure_and_nothing_that_is_not_in_the_document() {
    let Some(bin) = installed() else { return };
    let world = World::start(1);
    // So that a session has a sequence to read from.
    world.assert_up(0);
    let folder = Folder::new();
    let examples = std::env::var("UNDERSTUDY_OPENAPI_EXAMPLES").unwrap_or_else(|_| "15".to_owned());
    let output = Command::new(bin.join("schemathesis"))
        .current_dir(&folder.0)
        .arg("--config-file")
        .arg(sources().join("schemathesis.toml"))
        .args(["run", "--max-examples", &examples, "--seed", "1", "--no-color"])
        .arg(format!("http://{}/openapi.json", world.api(0)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    world.assert_up(0);
}
