//! Batches, pages, sessions, metadata and time to live, over both protocols.

use std::time::Duration;

use serde_json::{Value, json};
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_proto::v1::*;

use crate::grpc::{actors, answers, assert_refused, block_on, connect, content, put, read};
use crate::world::{World, ask, eventually};

const ACTORS: &str = "/v1/namespaces/default/actors";

fn json_of(answer: &crate::world::Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?} {}", answer.text()))
}

#[track_caller]
fn post(api: &str, what: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let answer =
        ask(api, "POST", &format!("{ACTORS}:{what}"), headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
    json_of(&answer)
}

#[test]
fn an_atomic_batch_happens_whole_and_once() {
    let world = World::start(3);
    let batch = json!({ "atomic": true, "operations": [
        { "op": "create", "id": "x", "value": { "n": 1 }, "metadata": { "owner": "anna" } },
        { "op": "put", "id": "y", "value": 2, "ttl_ms": 3_600_000 },
        { "op": "update", "id": "x", "value": 3 },
        { "op": "delete", "id": "y" },
    ] });
    let headers = [("idempotency-key", "batch-1")];
    let first = post(world.api(0), "batchWrite", &headers, &batch);
    assert_eq!(first["results"][2]["version"], 2, "{first}");
    assert_eq!(first["results"][3]["removed"], true, "{first}");
    assert_eq!(first["replayed"], false);
    assert!(first["remembered_until_ms"].as_u64().is_some());
    let again = post(world.api(1), "batchWrite", &headers, &batch);
    assert_eq!(again["replayed"], true);
    assert_eq!(again["results"], first["results"]);
    assert_eq!(ask(world.api(2), "GET", &format!("{ACTORS}/y"), &[], b"").status, 404);

    let refused = json!({ "atomic": true, "operations": [
        { "op": "put", "id": "z", "value": 1 },
        { "op": "compare_and_swap", "id": "x", "value": 1, "expected_version": 7 },
    ] });
    let path = format!("{ACTORS}:batchWrite");
    let answer = ask(world.api(0), "POST", &path, &[], refused.to_string().as_bytes());
    answer.assert_problem(409, "batch_refused");
    let page = json_of(&answer);
    assert_eq!((&page["failed_place"], &page["cause"]), (&json!(1), &json!("conflict")), "{page}");
    assert!(page["found"].as_str().is_some());
    assert_eq!(ask(world.api(0), "GET", &format!("{ACTORS}/z"), &[], b"").status, 404);
}

#[test]
fn operations_of_another_batch_stand_for_themselves() {
    let world = World::start(1);
    let batch = json!({ "atomic": false, "operations": [
        { "op": "put", "id": "a", "value": null },
        { "op": "create", "id": "b", "value": " x " },
        { "op": "update", "id": "absent", "value": 1 },
        { "op": "delete", "id": "absent" },
    ] });
    let key = "01890a5d-ac96-774b-bcce-b302099a8057";
    let first = post(world.api(0), "batchWrite", &[("idempotency-key", key)], &batch);
    assert_eq!(first["results"][0]["version"], 1, "{first}");
    assert_eq!(first["results"][2]["problem"]["code"], "not_found", "{first}");
    let again = post(world.api(0), "batchWrite", &[("idempotency-key", key)], &batch);
    assert_eq!(again["results"][0]["token"], first["results"][0]["token"]);
    assert_eq!(again["results"][1]["replayed"], true, "{again}");

    let reads =
        json!({ "items": [{ "id": "a" }, { "id": "none" }, { "id": "b", "level": "eventual" }] });
    let found = post(world.api(0), "batchRead", &[], &reads);
    assert_eq!(found["results"][0]["found"]["value"], Value::Null, "{found}");
    assert_eq!(found["results"][1]["problem"]["code"], "not_found", "{found}");
    assert_eq!(found["results"][2]["found"]["value"], " x ", "{found}");
    block_on(async {
        let mut client = actors(world.api(0)).await;
        let item = |id: &str| BatchReadItem { id: id.to_owned(), freshness: None };
        let request = BatchReadRequest {
            namespace: "default".to_owned(),
            items: vec![item("b"), item("none"), item("a")],
            freshness: Some(Freshness { level: ReadLevel::Lease.into(), min_sequence: 0 }),
        };
        let results = client.batch_read(request).await.unwrap().into_inner().results;
        assert!(matches!(results[0].result, Some(batch_read_result::Result::Found(_))));
        let Some(batch_read_result::Result::Problem(problem)) = &results[1].result else {
            panic!("{results:?}")
        };
        assert_eq!((results[1].id.as_str(), problem.code.as_str()), ("none", "not_found"));
    });
}

/// A thousand deleted documents of a mebibyte would fit into no answer.
#[test]
fn deletes_of_a_batch_say_what_was_there_while_there_is_room() {
    let world = World::start(1);
    let large = format!("\"{}\"", "x".repeat(900_000));
    let ids: Vec<String> = (0..5).map(|n| format!("large/{n}")).collect();
    let fill = || {
        for id in &ids {
            let path = format!("{ACTORS}/{}", id.replace('/', "%2F"));
            assert_eq!(ask(world.api(0), "PUT", &path, &[], large.as_bytes()).status, 201);
        }
    };
    fill();
    let operations: Vec<Value> = ids.iter().map(|id| json!({ "op": "delete", "id": id })).collect();
    let batch = json!({ "atomic": false, "operations": operations });
    let answer = post(world.api(0), "batchWrite", &[], &batch);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["deleted"]["value"].as_str().unwrap().len(), 900_000);
    assert!(results[4]["deleted"].is_null() && results[4]["removed"] == true);
    assert!(answer.to_string().len() < 4 * 1024 * 1024);

    fill();
    block_on(async {
        // One that takes what gRPC clients take by themselves.
        let mut client = ActorsClient::new(connect(world.api(0)).await);
        let operations = ids.iter().map(|id| BatchOperation {
            id: id.clone(),
            kind: Some(batch_operation::Kind::Delete(Default::default())),
        });
        let batch = BatchWriteRequest {
            namespace: "default".to_owned(),
            atomic: Some(false),
            operations: operations.collect(),
            ..Default::default()
        };
        let results = client.batch_write(batch).await.unwrap().into_inner().results;
        assert!(matches!(results[0].result, Some(batch_write_result::Result::Deleted(_))));
        let Some(batch_write_result::Result::Removed(removed)) = &results[4].result else {
            panic!("{:?}", results[4])
        };
        assert_eq!((removed.id.as_str(), removed.token.is_some()), ("large/4", true));
    });
    for id in &ids {
        let path = format!("{ACTORS}/{}", id.replace('/', "%2F"));
        assert_eq!(ask(world.api(0), "GET", &path, &[], b"").status, 404);
    }
}

#[test]
fn a_scan_goes_through_all_actors_in_order() {
    let world = World::start(3);
    block_on(async {
        let mut client = actors(world.api(0)).await;
        let operations = (0..250).map(|n| BatchOperation {
            id: format!("page/{n:03}"),
            kind: Some(batch_operation::Kind::Put(content(n.to_string()).unwrap())),
        });
        let batch = BatchWriteRequest {
            namespace: "default".to_owned(),
            atomic: Some(true),
            operations: operations.chain([other("pagf"), other("page.")]).collect(),
            name: None,
        };
        client.batch_write(batch).await.unwrap();
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let request = ScanRequest {
                namespace: "default".to_owned(),
                prefix: "page/".to_owned(),
                after,
                ..ScanRequest::default()
            };
            let page = client.scan(request).await.unwrap().into_inner();
            assert!(page.items.len() <= 100);
            seen.extend(page.items.into_iter().map(|item| item.id));
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(seen, (0..250).map(|n| format!("page/{n:03}")).collect::<Vec<_>>());
    });
    let page =
        json_of(&ask(world.api(1), "GET", &format!("{ACTORS}?prefix=page%2F&limit=2"), &[], b""));
    assert_eq!(page["actors"][1]["id"], "page/001", "{page}");
    assert_eq!(page["next"], "page/001");
    let path = format!("{ACTORS}?prefix=page%2F&after=page%2F248");
    let page = json_of(&ask(world.api(2), "GET", &path, &[], b""));
    assert_eq!((&page["actors"][0]["value"], &page["next"]), (&json!(249), &Value::Null), "{page}");
}

fn other(id: &str) -> BatchOperation {
    let kind = Some(batch_operation::Kind::Put(content("0").unwrap()));
    BatchOperation { id: id.to_owned(), kind }
}

#[test]
fn metadata_and_time_to_live_come_back() {
    let world = World::start(3);
    let path = format!("{ACTORS}/m");
    let headers = [
        ("understudy-metadata", "Owner=anna,note=caf%C3%A9%2C%20open"),
        ("understudy-ttl-ms", "60000"),
    ];
    let put_answer = ask(world.api(0), "PUT", &path, &headers, b"1");
    assert_eq!(put_answer.status, 201, "{put_answer:?} {}", put_answer.text());
    assert!(put_answer.header("understudy-expires-at-ms").is_some());
    let back = ask(world.api(1), "GET", &path, &[], b"");
    assert_eq!(back.header("understudy-metadata"), Some("Owner=anna,note=caf%C3%A9%2C%20open"));
    assert_eq!(
        back.header("understudy-expires-at-ms"),
        put_answer.header("understudy-expires-at-ms")
    );
    block_on(async {
        let mut client = actors(world.api(2)).await;
        let record = client.read(read("m")).await.unwrap().into_inner().record.unwrap();
        assert_eq!(record.metadata["note"], "caf\u{e9}, open");
        assert!(record.expires_at_ms.is_some());
        // A write replaces all of it.
        client.put(put("m", "2")).await.unwrap();
        let record = client.read(read("m")).await.unwrap().into_inner().record.unwrap();
        assert!(record.metadata.is_empty() && record.expires_at_ms.is_none());
    });
}

/// Nobody has to ask for it: it goes at its time, on every node.
#[test]
fn an_actor_whose_time_is_over_goes_by_itself() {
    let world = World::start(3);
    let path = |id: &str| format!("{ACTORS}/{id}");
    let answer = ask(world.api(0), "PUT", &path("http"), &[("understudy-ttl-ms", "200")], b"1");
    assert_eq!(answer.status, 201, "{answer:?} {}", answer.text());
    block_on(async {
        let content = Some(Content { ttl_ms: Some(200), ..content("1").unwrap() });
        let request = PutRequest { content, ..put("grpc", "1") };
        let written = actors(world.api(1)).await.put(request).await.unwrap().into_inner();
        assert!(written.expires_at_ms.is_some());
    });
    assert_eq!(ask(world.api(0), "PUT", &path("stays"), &[], b"1").status, 201);
    for id in ["http", "grpc"] {
        eventually("HTTP does not find it", || {
            let answer = ask(world.api(2), "GET", &path(id), &[], b"");
            if answer.status != 200 {
                answer.assert_problem(404, "not_found");
            }
            answer.status == 404
        });
        let status = block_on(async { actors(world.api(0)).await.read(read(id)).await });
        assert_refused(&status.unwrap_err(), tonic::Code::NotFound, "not_found");
    }
    // It is gone and not only hidden: the pages say how many there are.
    let counts = || world.pages().iter().map(|page| page.groups[0].actors).collect::<Vec<_>>();
    eventually("one is left on every node", || counts() == [1, 1, 1]);
    let page = json_of(&ask(world.api(1), "GET", ACTORS, &[], b""));
    assert_eq!(page["actors"].as_array().map(Vec::len), Some(1), "{page}");
    // The next life of the id begins anew.
    let again = ask(world.api(0), "POST", &format!("{ACTORS}?id=http"), &[], b"2");
    assert_eq!((again.status, again.header("understudy-version")), (201, Some("1")));
}

/// With the limits that every gRPC library has unless told otherwise.
#[test]
fn a_namespace_of_large_documents_is_scanned_by_any_client() {
    const COUNT: usize = 10;
    let world = World::start(1);
    let large = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    block_on(async {
        let mut client = ActorsClient::new(connect(world.api(0)).await);
        let metadata: std::collections::HashMap<_, _> =
            (0..4).map(|n| (format!("key-{n}"), "v".repeat(4000))).collect();
        let content = Some(Content { metadata, ..content(large).unwrap() });
        for n in 0..COUNT {
            let request =
                PutRequest { content: content.clone(), ..put(&format!("large/{n}"), "1") };
            client.put(request).await.unwrap();
        }
        let scan = |after: String| ScanRequest {
            namespace: "default".to_owned(),
            after,
            limit: 1000,
            ..ScanRequest::default()
        };
        let (mut after, mut seen, mut pages) = (String::new(), 0, 0);
        loop {
            let page = client.scan(scan(after)).await.unwrap().into_inner();
            (seen, pages) = (seen + page.items.len(), pages + 1);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen, COUNT);
        assert!(pages <= COUNT / 2, "{pages} pages");
        // In a pipeline too, where a message may hold several answers.
        let calls = (0..8).map(|number| {
            let call = if number % 2 == 0 {
                pipeline_call::Call::Scan(scan(String::new()))
            } else {
                pipeline_call::Call::Read(read("large/0"))
            };
            PipelineCall { number, timeout_ms: 0, call: Some(call) }
        });
        assert_eq!(answers(&mut client, calls.collect()).await, 8);
    });
}

#[test]
fn a_session_names_operations_on_every_node() {
    let world = World::start(3);
    let session = ask(world.api(0), "POST", "/v1/namespaces/default/sessions", &[], b"");
    assert_eq!(session.status, 201, "{session:?}");
    let session = json_of(&session)["session"].as_str().unwrap().to_owned();
    let write = |place: usize, sequence: &str, body: &str| {
        let headers =
            [("understudy-session", session.as_str()), ("understudy-session-sequence", sequence)];
        ask(world.api(place), "PUT", &format!("{ACTORS}/s"), &headers, body.as_bytes())
    };
    let first = write(0, "2", "1");
    assert_eq!(first.status, 201, "{first:?} {}", first.text());
    assert_eq!(first.header("idempotency-expires"), None);
    let again = write(1, "2", "1");
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(write(2, "1", "2").status, 200);
    write(2, "2", "3").assert_problem(422, "idempotency_key_reused");
    // Read your writes, at any node.
    let sequence = write(0, "3", "4").header("understudy-sequence").unwrap().to_owned();
    for place in 0..3 {
        let path = format!("{ACTORS}/s?level=session&min_sequence={sequence}");
        let back = ask(world.api(place), "GET", &path, &[], b"");
        assert_eq!((back.status, back.text().as_str()), (200, "4"));
    }
    let key = ask(world.api(0), "PUT", &format!("{ACTORS}/k"), &[("idempotency-key", "k")], b"1");
    let until = httpdate::parse_http_date(key.header("idempotency-expires").unwrap()).unwrap();
    assert!(
        until.duration_since(std::time::SystemTime::now()).unwrap() > Duration::from_secs(3600)
    );
}
