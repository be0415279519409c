//! Every refusal, provoked over both protocols: the table of codes is what the node says, and nothing
//! in it is made up.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;

use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use understudy_node::api::problem::codes::{self, Protocols};
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::*;

use crate::grpc::{actors, assert_refused, block_on, connect, content, key, put, read};
use crate::world::{World, ask, eventually, raw};

const ACTORS: &str = "/v1/namespaces/default/actors";
const ACTOR: &str = "/v1/namespaces/default/actors/a";
/// A UUID of version 7 of the year 10889.
const FROM_FUTURE: &str = "ffffffff-ffff-7fff-bfff-ffffffffffff";

fn http_codes(world: &World, seen: &mut BTreeSet<&'static str>) {
    let api = world.api(0);
    let mut check =
        |code: &'static str, method, path: &str, headers: &[(&str, &str)], body: &str| {
            let status = codes::find(code).unwrap().http.as_u16();
            ask(api, method, path, headers, body.as_bytes()).assert_problem(status, code);
            seen.insert(code);
        };
    let one = |body: &str| format!("{{\"atomic\":true,\"operations\":[{body}]}}");
    let batch = format!("{ACTORS}:batchWrite");
    assert_eq!(ask(api, "PUT", &format!("{ACTORS}/there"), &[], b"1").status, 201);
    check("already_exists", "POST", &format!("{ACTORS}?id=there"), &[], "1");
    check("not_found", "GET", ACTOR, &[], "");
    check("conflict", "PUT", &format!("{ACTORS}/there"), &[("if-match", "\"9-9\"")], "1");
    check("batch_refused", "POST", &batch, &[], &one("{\"op\":\"delete\",\"id\":\"a\"}"));
    let named = [("idempotency-key", "once")];
    assert_eq!(ask(api, "PUT", &format!("{ACTORS}/named"), &named, b"1").status, 201);
    check("idempotency_key_reused", "PUT", &format!("{ACTORS}/named"), &named, "2");
    let session = ask(api, "POST", "/v1/namespaces/default/sessions", &[], b"");
    let session: serde_json::Value = serde_json::from_slice(&session.body).unwrap();
    let session = session["session"].as_str().unwrap();
    let far = [("understudy-session", session), ("understudy-session-sequence", "9000")];
    assert_eq!(ask(api, "PUT", &format!("{ACTORS}/far"), &far, b"1").status, 201);
    let old = [("understudy-session", session), ("understudy-session-sequence", "1")];
    check("session_expired", "PUT", &format!("{ACTORS}/far"), &old, "1");
    check("idempotency_key_from_future", "PUT", ACTOR, &[("idempotency-key", FROM_FUTURE)], "1");
    check("unknown_namespace", "GET", "/v1/namespaces/nowhere/actors/a", &[], "");

    check("bad_request", "GET", "/v1/namespaces/no%20name/actors\u{7f}", &[], "");
    check("bad_namespace", "GET", "/v1/namespaces/no%20name/actors", &[], "");
    check("bad_id", "PUT", &format!("{ACTORS}/"), &[], "1");
    check("id_too_long", "PUT", &format!("{ACTORS}/{}", "i".repeat(1025)), &[], "1");
    check("bad_precondition", "PUT", ACTOR, &[("if-match", "\"x\"")], "1");
    check("bad_level", "GET", &format!("{ACTOR}?level=session"), &[], "");
    check("bad_limit", "GET", &format!("{ACTORS}?limit=1001"), &[], "");
    check("bad_timeout", "GET", &format!("{ACTOR}?timeout_ms=0"), &[], "");
    check("bad_idempotency_key", "PUT", ACTOR, &[("idempotency-key", "two words")], "1");
    check("bad_session", "PUT", ACTOR, &[("understudy-session", session)], "1");
    check("bad_metadata", "PUT", ACTOR, &[("understudy-metadata", "a=1,a=2")], "1");
    check("bad_ttl", "PUT", ACTOR, &[("understudy-ttl-ms", "0")], "1");
    check("bad_batch", "POST", &batch, &[], "{\"operations\":[]}");
    check("invalid_json", "PUT", ACTOR, &[], "{");
    check("too_large", "PUT", ACTOR, &[], &format!("\"{}\"", "x".repeat(1024 * 1024)));
    check("unknown_route", "GET", "/v2", &[], "");
    check("bad_utf8", "GET", &format!("{ACTORS}/%ff"), &[], "");
    check("bad_parameter", "GET", &format!("{ACTOR}?colour=red"), &[], "");
    check("bad_header", "PUT", ACTOR, &[("if-match", "*"), ("if-match", "*")], "1");
    check("method_not_allowed", "PATCH", ACTOR, &[], "1");
    check("unsupported_media_type", "PUT", ACTOR, &[("content-type", "text/plain")], "1");

    let mut check = |code: &'static str, bytes: &[u8]| {
        raw(api, bytes).assert_problem(codes::find(code).unwrap().http.as_u16(), code);
        seen.insert(code);
    };
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    check("header_too_large", long.as_bytes());
    check("request_timeout", b"GET / HTTP/1.1\r\nhost");
    let chunked =
        format!("PUT {ACTOR} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nno\r\n");
    check("cut_off", chunked.as_bytes());
}

async fn grpc_codes(world: &World, seen: &mut BTreeSet<&'static str>) {
    let mut client = actors(world.api(0)).await;
    let mut check = |code: &'static str, status: Status| {
        assert_refused(&status, codes::find(code).unwrap().grpc, code);
        seen.insert(code);
    };
    let create = |id: &str| CreateRequest {
        namespace: "default".to_owned(),
        id: Some(id.to_owned()),
        content: content("1"),
        name: None,
    };
    client.put(put("here", "1")).await.unwrap();
    check("already_exists", client.create(create("here")).await.unwrap_err());
    check("not_found", client.read(read("absent")).await.unwrap_err());
    let update = UpdateRequest {
        namespace: "default".to_owned(),
        id: "here".to_owned(),
        content: content("1"),
        expected: Some(Expected { kind: Some(expected::Kind::Version(9)) }),
        name: None,
    };
    check("conflict", client.update(update).await.unwrap_err());
    let batch = |atomic, operations| BatchWriteRequest {
        namespace: "default".to_owned(),
        atomic,
        operations,
        name: None,
    };
    let write = |id: &str, kind| BatchOperation { id: id.to_owned(), kind: Some(kind) };
    let refused = vec![
        write("new", batch_operation::Kind::Put(content("1").unwrap())),
        write("here", batch_operation::Kind::Create(content("1").unwrap())),
    ];
    let status = client.batch_write(batch(Some(true), refused)).await.unwrap_err();
    let problem = understudy_proto::problem(&status).unwrap();
    assert_eq!((problem.failed_place, problem.cause.as_deref()), (Some(1), Some("already_exists")));
    check("batch_refused", status);
    assert_eq!(client.read(read("new")).await.unwrap_err().code(), Code::NotFound);

    let named = |name, value: &str| PutRequest { name, ..put("n", value) };
    client.put(named(key("grpc-once"), "1")).await.unwrap();
    check("idempotency_key_reused", client.put(named(key("grpc-once"), "2")).await.unwrap_err());
    let session = OpenSessionRequest { namespace: "default".to_owned() };
    let session = client.open_session(session).await.unwrap().into_inner().session;
    let place = |sequence| {
        let session = SessionSequence { session: session.clone(), sequence };
        Some(OperationName { kind: Some(operation_name::Kind::Session(session)) })
    };
    client.put(named(place(9000), "1")).await.unwrap();
    check("session_expired", client.put(named(place(1), "1")).await.unwrap_err());
    let future = client.put(named(key(FROM_FUTURE), "1")).await.unwrap_err();
    check("idempotency_key_from_future", future);
    let nowhere = ReadRequest { namespace: "nowhere".to_owned(), ..read("a") };
    check("unknown_namespace", client.read(nowhere).await.unwrap_err());
}

/// What a node refuses before it asks the core.
async fn grpc_edge_codes(world: &World, seen: &mut BTreeSet<&'static str>) {
    let mut client = actors(world.api(0)).await;
    let mut check = |code: &'static str, status: Status| {
        assert_refused(&status, codes::find(code).unwrap().grpc, code);
        seen.insert(code);
    };
    let batch =
        BatchWriteRequest { namespace: "default".to_owned(), ..BatchWriteRequest::default() };
    let named = |name, value: &str| PutRequest { name, ..put("n", value) };
    let nothing = PutRequest { content: None, ..put("a", "1") };
    check("bad_request", client.put(nothing).await.unwrap_err());
    let name = ReadRequest { namespace: "no name".to_owned(), ..read("a") };
    check("bad_namespace", client.read(name).await.unwrap_err());
    check("bad_id", client.read(read("")).await.unwrap_err());
    check("id_too_long", client.read(read(&"i".repeat(1025))).await.unwrap_err());
    let empty = UpdateRequest {
        namespace: "default".to_owned(),
        id: "here".to_owned(),
        content: content("1"),
        expected: Some(Expected { kind: None }),
        name: None,
    };
    check("bad_precondition", client.update(empty).await.unwrap_err());
    let freshness = Some(Freshness { level: 99, min_sequence: 0 });
    check("bad_level", client.read(ReadRequest { freshness, ..read("a") }).await.unwrap_err());
    let scan =
        ScanRequest { namespace: "default".to_owned(), limit: 1001, ..ScanRequest::default() };
    check("bad_limit", client.scan(scan).await.unwrap_err());
    let mut timeout = Request::new(read("a"));
    timeout.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    check("bad_timeout", client.read(timeout).await.unwrap_err());
    let spaces = client.put(named(key("two words"), "1")).await.unwrap_err();
    check("bad_idempotency_key", spaces);
    let session = SessionSequence { session: "a session".to_owned(), sequence: 1 };
    let session = OperationName { kind: Some(operation_name::Kind::Session(session)) };
    check("bad_session", client.put(named(Some(session), "1")).await.unwrap_err());
    let with = |content: Content| PutRequest { content: Some(content), ..put("a", "1") };
    let metadata = [(String::new(), String::new())].into();
    let metadata = Content { metadata, ..content("1").unwrap() };
    check("bad_metadata", client.put(with(metadata)).await.unwrap_err());
    let ttl = Content { ttl_ms: Some(0), ..content("1").unwrap() };
    check("bad_ttl", client.put(with(ttl)).await.unwrap_err());
    check("bad_batch", client.batch_write(batch).await.unwrap_err());
    check("invalid_json", client.put(put("a", "{")).await.unwrap_err());
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    check("too_large", client.put(put("a", &large)).await.unwrap_err());
    // Beyond what the library takes as a message: the same answer.
    let huge = format!("\"{}\"", "x".repeat(9 * 1024 * 1024));
    check("too_large", client.put(put("a", &huge)).await.unwrap_err());
    let wrong = unknown_method(connect(world.api(0)).await).await;
    check("unknown_route", wrong);
    check("request_timeout", half_a_message(connect(world.api(0)).await).await);
}

/// A method that is not in the .proto.
async fn unknown_method(channel: Channel) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/understudy.v1.Actors/Sing".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<StatusRequest, StatusResponse>::default();
    grpc.unary(Request::new(StatusRequest {}), path, codec).await.unwrap_err()
}

/// A call whose message never comes.
async fn half_a_message(channel: Channel) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/understudy.v1.Actors/Read".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<ReadRequest, ReadResponse>::default();
    let silent = futures_util::stream::pending::<ReadRequest>();
    grpc.client_streaming(Request::new(silent), path, codec).await.unwrap_err()
}

#[test]
fn every_code_is_provoked_over_both_protocols() {
    let mut world = World::start(3);
    let mut http = BTreeSet::new();
    let mut grpc = BTreeSet::new();
    http_codes(&world, &mut http);
    block_on(grpc_codes(&world, &mut grpc));
    block_on(grpc_edge_codes(&world, &mut grpc));

    let keep = left_unknown(&mut world);
    http.insert("unknown");
    grpc.insert("unknown");
    without_a_quorum(world.api(keep), &mut http, &mut grpc);
    drop(world);
    let mut alone = World::initialised(3);
    alone.cluster.start_node(0).unwrap();
    eventually("a node of a cluster that has not met is not ready", || {
        let there = TcpStream::connect(alone.api(0)).is_ok();
        there && ask(alone.api(0), "GET", "/readyz", &[], b"").text().contains("\"not_ready\"")
    });
    http.insert("not_ready");
    drop(alone);
    // Nodes of their own: with tokens, and with a log that nobody reads.
    for word in crate::tokens::refusals().into_iter().chain([crate::stuck::refusals()]) {
        http.insert(word);
        grpc.insert(word);
    }
    for word in crate::changes::refusals() {
        http.insert(word);
        grpc.insert(word);
    }
    // The table is what was provoked, nothing more and nothing less.
    let table = |over: Protocols| {
        let codes =
            codes::ALL.iter().filter(|code| [Protocols::Both, over].contains(&code.protocols));
        codes.map(|code| code.word).collect::<BTreeSet<_>>()
    };
    assert_eq!(http, table(Protocols::Http));
    assert_eq!(grpc, table(Protocols::Grpc));
}

/// Writes over both protocols to a leader that has just lost the others: it has proposed them and
/// hears no more. Returns the place of that node, which is the only one left.
fn left_unknown(world: &mut World) -> usize {
    for _ in 0..10 {
        let keep = world.leader();
        let others: Vec<usize> = (0..3).filter(|&place| place != keep).collect();
        let api = world.api(keep).to_owned();
        let (by_http, by_grpc) = block_on(async {
            let mut client = actors(&api).await;
            for &place in &others {
                world.cluster.kill(place).unwrap();
            }
            let path = format!("{ACTOR}?timeout_ms=800");
            let asked = std::thread::spawn(move || ask(&api, "PUT", &path, &[], b"1"));
            let mut write = Request::new(put("g", "1"));
            write.set_timeout(std::time::Duration::from_millis(800));
            let status = client.put(write).await.unwrap_err();
            (asked.join().unwrap(), status)
        });
        let problem = understudy_proto::problem(&by_grpc).unwrap();
        // A leader that has noticed already refuses instead: then once more.
        if by_http.status == 504 && problem.code == "unknown" {
            by_http.assert_problem(504, "unknown");
            assert_refused(&by_grpc, Code::DeadlineExceeded, "unknown");
            assert_eq!(problem.certainty(), Certainty::Unknown);
            return keep;
        }
        others.into_iter().for_each(|place| world.restart(place));
    }
    panic!("a leader that loses the others leaves no write unknown");
}

/// `unavailable` and `busy`: one node of three is left, which was the leader.
fn without_a_quorum(api: &str, http: &mut BTreeSet<&str>, grpc: &mut BTreeSet<&str>) {
    // What this session has seen never comes.
    let path = format!("{ACTOR}?level=session&min_sequence=999999&timeout_ms=300");
    ask(api, "GET", &path, &[], b"").assert_problem(503, "unavailable");
    http.insert("unavailable");
    let status = block_on(async {
        let freshness = Freshness { level: ReadLevel::Session.into(), min_sequence: 999_999 };
        let mut look = Request::new(ReadRequest { freshness: Some(freshness), ..read("a") });
        look.set_timeout(std::time::Duration::from_millis(300));
        actors(api).await.read(look).await.unwrap_err()
    });
    assert_refused(&status, Code::Unavailable, "unavailable");
    grpc.insert("unavailable");
    // Reads that wait for a leader fill every place.
    block_on(async {
        let mut streams = Vec::new();
        let calls: Vec<PipelineCall> = (0..1024)
            .map(|number| PipelineCall {
                number,
                timeout_ms: 60_000,
                call: Some(Call::Read(read("a"))),
            })
            .collect();
        for _ in 0..5 {
            let mut client: ActorsClient<Channel> = actors(api).await;
            let message = PipelineRequest { calls: calls.clone() };
            let stream = futures_util::StreamExt::chain(
                futures_util::stream::iter([message]),
                futures_util::stream::pending(),
            );
            let answers = client.pipeline(stream).await.unwrap().into_inner();
            streams.push((client, answers));
        }
        // The last connection's calls find no place: some of them are answered so.
        let (_, answers) = streams.last_mut().unwrap();
        let answer = answers.message().await.unwrap().unwrap().answers.remove(0);
        let Some(pipeline_answer::Answer::Problem(problem)) = answer.answer else {
            panic!("{answer:?}")
        };
        assert_eq!(problem.code, "busy");
        assert!(problem.retry_after_ms.is_some());
        grpc.insert("busy");
        let full = ask(api, "PUT", ACTOR, &[], b"1");
        full.assert_problem(429, "busy");
        assert!(full.header("retry-after").is_some());
        http.insert("busy");
    });
}

#[test]
fn every_code_has_its_page() {
    let world = World::start(1);
    let api = world.api(0);
    let index = ask(api, "GET", "/docs/problems", &[], b"");
    assert_eq!(
        (index.status, index.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    for code in codes::ALL {
        let page = ask(api, "GET", &format!("/docs/problems/{}", code.word), &[], b"");
        assert_eq!(page.status, 200, "{}", code.word);
        assert!(page.text().contains(code.word) && index.text().contains(code.word));
    }
    ask(api, "GET", "/docs/problems/nothing", &[], b"").assert_problem(404, "unknown_route");
    // What a problem names as its type is where its page is.
    let problem = ask(api, "GET", ACTOR, &[], b"");
    let problem: serde_json::Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!(ask(api, "GET", problem["type"].as_str().unwrap(), &[], b"").status, 200);
    let mut stream = TcpStream::connect(api).unwrap();
    stream.write_all(b"GET /openapi.json HTTP/1.0\r\n\r\n").unwrap();
    let document = ask(api, "GET", "/openapi.json", &[("accept-encoding", "gzip")], b"");
    assert_eq!(document.header("content-encoding"), Some("gzip"));
}
