//! The public JSON test suite, through the API: what is JSON is stored and read back byte for byte,
//! what is not is refused.

use std::fs;
use std::path::Path;

use crate::world::{World, ask};

#[test]
fn the_json_test_suite_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/json-test-suite");
    let Ok(entries) = fs::read_dir(&folder) else {
        assert!(std::env::var_os("CI").is_none(), "the JSON test suite is not at {folder:?}");
        eprintln!("skipped: the JSON test suite is not at {folder:?}");
        return;
    };
    let world = World::start(1);
    let mut seen = [0, 0, 0];
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(kind) = ["y_", "n_", "i_"].iter().position(|kind| name.starts_with(kind)) else {
            continue;
        };
        seen[kind] += 1;
        let text = fs::read(&path).unwrap();
        let actor = format!("/v1/namespaces/default/actors/{name}").replace('#', "%23");
        let put = ask(world.api(0), "PUT", &actor, &[], &text);
        let accepted = put.status == 201;
        if accepted {
            let back = ask(world.api(0), "GET", &actor, &[], b"");
            assert_eq!((back.status, &back.body), (200, &text), "{name}");
        } else {
            put.assert_problem(400, "invalid_json");
        }
        match kind {
            0 => assert!(accepted, "{name} is JSON: {}", put.text()),
            1 => assert!(!accepted, "{name} is not JSON"),
            _ => {}
        }
    }
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
    world.assert_up(0);
}
