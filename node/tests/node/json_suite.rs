//! The public JSON test suite, through the API: what is JSON is stored and read back byte for byte,
//! what is not is refused.

use std::fs;
use std::path::Path;

use tonic::Code;
use understudy_proto::v1::PutRequest;

use crate::grpc::{actors, assert_refused, block_on, content, put, read};
use crate::world::{World, ask};

/// A file of the suite: its name, which of `y_`, `n_` and `i_` it is, and its text.
struct Case {
    name: String,
    kind: usize,
    text: Vec<u8>,
}

/// All of them; none, with a word about it, for those who do not have the suite.
fn suite() -> Option<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/json-test-suite");
    let Ok(entries) = fs::read_dir(&folder) else {
        assert!(std::env::var_os("CI").is_none(), "the JSON test suite is not at {folder:?}");
        eprintln!("skipped: the JSON test suite is not at {folder:?}");
        return None;
    };
    let (mut cases, mut seen) = (Vec::new(), [0, 0, 0]);
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(kind) = ["y_", "n_", "i_"].iter().position(|kind| name.starts_with(kind)) else {
            continue;
        };
        seen[kind] += 1;
        let text = fs::read(&path).unwrap();
        cases.push(Case { name, kind, text });
    }
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
    Some(cases)
}

#[test]
fn the_json_test_suite_agrees() {
    let Some(cases) = suite() else { return };
    let world = World::start(1);
    for Case { name, kind, text } in cases {
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
    world.assert_up(0);
}

#[test]
fn the_json_test_suite_agrees_over_grpc() {
    let Some(cases) = suite() else { return };
    let world = World::start(1);
    block_on(async {
        let mut client = actors(world.api(0)).await;
        for Case { name, kind, text } in cases {
            let request = PutRequest { content: content(text.clone()), ..put(&name, "") };
            match client.put(request).await {
                Ok(_) => {
                    assert_ne!(kind, 1, "{name} is not JSON");
                    let found = client.read(read(&name)).await.unwrap().into_inner();
                    assert_eq!(found.record.unwrap().value.as_ref(), text, "{name}");
                }
                Err(status) => {
                    assert_ne!(kind, 0, "{name} is JSON: {status:?}");
                    assert_refused(&status, Code::InvalidArgument, "invalid_json");
                }
            }
        }
    });
    world.assert_up(0);
}
