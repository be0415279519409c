//! The operations, on one node and through any of three.

use crate::world::{Answer, World, ask, eventually};

fn actor(id: &str) -> String {
    format!("/v1/namespaces/default/actors/{id}")
}

#[track_caller]
fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_else(|| panic!("no etag: {answer:?}")).to_owned()
}

#[test]
fn the_five_operations_and_their_preconditions() {
    let world = World::start(1);
    let api = world.api(0);
    let put = |headers: &[(&str, &str)], body: &str| {
        ask(api, "PUT", &actor("a"), headers, body.as_bytes())
    };

    put(&[("if-match", "*")], "0").assert_problem(404, "not_found");
    let created = put(&[("if-none-match", "*")], "{\"n\": 1}");
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("understudy-version"), Some("1"));
    assert_eq!(created.header("location"), Some(actor("a").as_str()));
    put(&[("if-none-match", "*")], "0").assert_problem(409, "already_exists");

    let read = ask(api, "GET", &actor("a"), &[], b"");
    assert_eq!((read.status, read.text().as_str()), (200, "{\"n\": 1}"));
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(etag(&read), etag(&created));
    assert!(read.header("understudy-applied-index").is_some());
    let head = ask(api, "HEAD", &actor("a"), &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("8"), 0));
    let same = ask(api, "GET", &actor("a"), &[("if-none-match", &etag(&read))], b"");
    assert_eq!((same.status, same.body.len()), (304, 0));

    let swapped = put(&[("if-match", &etag(&read))], "{\"n\": 2}");
    assert_eq!((swapped.status, swapped.header("understudy-version")), (200, Some("2")));
    put(&[("if-match", &etag(&read))], "0").assert_problem(412, "conflict");
    assert_eq!(put(&[("if-match", "*")], "3").status, 200);
    let query = ask(api, "PUT", &format!("{}?expected_version=3", actor("a")), &[], b"4");
    assert_eq!(query.status, 200, "{query:?}");
    put(&[("understudy-expected-version", "3")], "0").assert_problem(412, "conflict");
    put(&[("if-match", "*"), ("if-none-match", "*")], "0").assert_problem(400, "bad_precondition");
    assert_eq!(put(&[], "5").status, 200);

    ask(api, "DELETE", &actor("a"), &[("if-match", &etag(&read))], b"")
        .assert_problem(412, "conflict");
    let deleted = ask(api, "DELETE", &actor("a"), &[], b"");
    assert_eq!((deleted.status, deleted.text().as_str()), (200, "5"));
    assert_eq!(deleted.header("understudy-version"), Some("5"));
    ask(api, "DELETE", &actor("a"), &[], b"").assert_problem(404, "not_found");
    let again = put(&[("understudy-expected-version", "0")], "6");
    assert_eq!(again.status, 201);
    // The version is 1 again, the token is not what it was.
    assert_ne!(etag(&again), etag(&created));
}

#[test]
fn a_repeat_under_the_same_key_returns_the_first_outcome() {
    let world = World::start(3);
    let timed = understudy_node::client::new_key().unwrap().to_string();
    for key in [timed.as_str(), "order-17", "\"quoted-18\""] {
        let id = format!("by-{}", key.trim_matches('"'));
        let write = |place: usize, body: &[u8]| {
            ask(world.api(place), "PUT", &actor(&id), &[("idempotency-key", key)], body)
        };
        let first = write(0, b"1");
        assert_eq!(first.status, 201, "{first:?} {}", first.text());
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(first.header("understudy-operation"), Some(key.trim_matches('"')));
        for place in 0..3 {
            let again = write(place, b"1");
            assert_eq!((again.status, etag(&again)), (201, etag(&first)));
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
        }
        write(1, b"2").assert_problem(422, "idempotency_key_reused");
    }
}

#[test]
fn a_created_actor_gets_an_id_that_a_retry_keeps() {
    let world = World::start(3);
    let actors = "/v1/namespaces/default/actors";
    let post = |place: usize, headers: &[(&str, &str)]| {
        let answer = ask(world.api(place), "POST", actors, headers, b"{}");
        assert_eq!(answer.status, 201, "{answer:?} {}", answer.text());
        answer.header("location").unwrap().to_owned()
    };
    assert_ne!(post(0, &[]), post(0, &[]));
    let named = [("idempotency-key", "new-order-1")];
    let first = post(0, &named);
    assert_eq!([post(1, &named), post(2, &named)], [first.clone(), first.clone()]);
    assert_eq!(ask(world.api(2), "GET", &first, &[], b"").status, 200);
    let chosen = ask(world.api(1), "POST", &format!("{actors}?id=a%2Fb"), &[], b"{}");
    assert_eq!(chosen.header("location"), Some(actor("a%2Fb").as_str()));
}

#[test]
fn ids_of_any_characters_are_kept_apart() {
    let world = World::start(1);
    let api = world.api(0);
    let ids = ["a%2Fb", "a%252Fb", "a", "%20", "%2E%2E", "%E5%A4%A7", "%F0%9F%8E%81", "a+b", "%00"];
    for id in ids {
        let body = format!("\"{id}\"");
        assert_eq!(ask(api, "PUT", &actor(id), &[], body.as_bytes()).status, 201, "{id}");
    }
    for id in ids {
        assert_eq!(ask(api, "GET", &actor(id), &[], b"").text(), format!("\"{id}\""));
    }
    let longest = "%41".repeat(1024);
    assert_eq!(ask(api, "PUT", &actor(&longest), &[], b"1").status, 201);
    let second = ask(api, "GET", "/v1/namespaces/second/actors/a", &[], b"");
    second.assert_problem(404, "not_found");
}

#[test]
fn any_node_takes_any_request() {
    let world = World::start(3);
    for writer in 0..3 {
        let path = actor(&format!("from-{writer}"));
        let body = format!("{{\"writer\": {writer}}}");
        let written = ask(world.api(writer), "PUT", &path, &[], body.as_bytes());
        assert_eq!(written.status, 201, "{written:?} {}", written.text());
        for reader in 0..3 {
            let read = ask(world.api(reader), "GET", &path, &[], b"");
            assert_eq!((read.text(), etag(&read)), (body.clone(), etag(&written)));
            eventually("an eventual read shows it too", || {
                let read =
                    ask(world.api(reader), "GET", &format!("{path}?level=eventual"), &[], b"");
                read.status == 200 && read.header("understudy-age-ms").is_some()
            });
        }
    }
    world.assert_replicas_equal();
}

#[test]
fn a_minority_refuses_and_still_reads_what_it_has() {
    let mut world = World::start(3);
    assert_eq!(ask(world.api(0), "PUT", &actor("a"), &[], b"1").status, 201);
    world.assert_replicas_equal();
    world.cluster.kill(1).unwrap();
    world.cluster.kill(2).unwrap();
    let api = world.api(0);
    let path = format!("{}?timeout_ms=800", actor("a"));
    let write = ask(api, "PUT", &path, &[], b"2");
    assert!(matches!(write.status, 503 | 504), "{write:?} {}", write.text());
    let page: serde_json::Value = serde_json::from_slice(&write.body).unwrap();
    let outcome = if write.status == 503 { "refused" } else { "unknown" };
    assert_eq!(page["certainty"], outcome, "{page}");
    let read = ask(api, "GET", &path, &[], b"");
    assert!(matches!(read.status, 503 | 504), "{read:?}");
    let eventual = ask(api, "GET", &format!("{}?level=eventual", actor("a")), &[], b"");
    assert_eq!((eventual.status, eventual.text().as_str()), (200, "1"));
    eventually("the age grows", || {
        let eventual = ask(api, "GET", &format!("{}?level=eventual", actor("a")), &[], b"");
        let age = eventual.header("understudy-age-ms").map(|age| age.parse::<u64>().unwrap());
        age.is_some_and(|age| age > 1000)
    });
    world.restart(1);
    world.wait_for_leader();
    world.assert_up(0);
}

#[test]
fn the_command_line_does_the_same() {
    let world = World::start(3);
    let run = |arguments: &[&str]| world.command(arguments).output().unwrap();
    let created = world.json(&["create", "default", "a/b c", "{\"n\":1}", "--json"]);
    assert_eq!(created["version"], 1);
    assert_eq!(run(&["create", "default", "a/b c", "{}"]).status.code(), Some(3));
    let swapped = world.json(&["cas", "default", "a/b c", "2", "--expect", "1", "--json"]);
    assert_eq!(swapped["version"], 2);
    let token = swapped["token"].as_str().unwrap();
    let deleted = world.json(&["delete", "default", "a/b c", "--expect", token, "--json"]);
    assert_eq!(deleted["version"], 2);
    assert_eq!(run(&["get", "default", "a/b c"]).status.code(), Some(3));
    assert_eq!(world.json(&["put", "default", "x", "[1, 2]", "--json"])["version"], 1);
    let shown = run(&["get", "default", "x"]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "[1, 2]\n");
    let status = run(&["status"]);
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(table.lines().count(), 1 + 3 * 2, "{table}");
    assert_eq!(world.json(&["status", "--json"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn documents_are_loaded_and_verified() {
    let world = World::start(1);
    let folder = crate::world::Folder::new();
    let file = folder.0.join("documents.ndjson");
    let lines = "{\"id\": 1, \"a\": \"ü\"}\n\n{\"id\": \"2\"}\r\nnot json\n{\"id\": 1, \"a\": 2}\n\
                 {\"id\": 1.5}\n[1]\n{\"id\": \"\"}\n{\"id\": 3}";
    std::fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    let load = world.command(&["load", file, "--json"]).output().unwrap();
    assert_eq!(load.status.code(), Some(1));
    let summary: serde_json::Value = serde_json::from_slice(&load.stdout).unwrap();
    assert_eq!((&summary["documents"], &summary["created"]), (&4.into(), &3.into()), "{summary}");
    assert_eq!((&summary["bad_lines"], &summary["failed"]), (&3.into(), &1.into()), "{summary}");
    let complaints = String::from_utf8_lossy(&load.stderr).into_owned();
    for place in ["line 4: not JSON", "line 6: its `id`", "line 7: not an object", "line 8: "] {
        assert!(complaints.contains(place), "{complaints}");
    }
    let last = ask(world.api(0), "GET", &actor("1"), &[], b"");
    assert_eq!(last.text(), "{\"id\": 1, \"a\": 2}", "the last of two lines wins");
    assert_eq!(ask(world.api(0), "DELETE", &actor("3"), &[], b"").status, 200);
    assert_eq!(ask(world.api(0), "PUT", &actor("2"), &[], b"{}").status, 200);
    let verify = world.command(&["verify", file, "--json"]).output().unwrap();
    assert_eq!(verify.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!((&verdict["missing"], &verdict["different"]), (&1.into(), &1.into()), "{verdict}");
}
