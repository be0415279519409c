//! Bad input gets a clear answer, and the node stays up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use understudy_node::frame::{self, Kind};

use crate::world::{World, ask, raw};

const ACTOR: &str = "/v1/namespaces/default/actors/a";

#[test]
fn every_bad_request_gets_a_problem_and_the_node_stays_up() {
    let world = World::start(1);
    let api = world.api(0);
    let put = |path: &str, body: &[u8]| ask(api, "PUT", path, &[], body);

    put(ACTOR, b"{not json").assert_problem(400, "invalid_json");
    put(ACTOR, b"").assert_problem(400, "invalid_json");
    put(ACTOR, b"\"\xff\xfe\"").assert_problem(400, "invalid_json");
    put(ACTOR, "[".repeat(100_000).as_bytes()).assert_problem(400, "invalid_json");
    put(ACTOR, "{\"a\":".repeat(100_000).as_bytes()).assert_problem(400, "invalid_json");
    let large = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    put(ACTOR, large.as_bytes()).assert_problem(413, "too_large");
    let huge = format!("\"{}\"", "x".repeat(20 * 1024 * 1024));
    put(ACTOR, &huge.as_bytes()[..4 * 1024 * 1024]).assert_problem(413, "too_large");

    let actors = "/v1/namespaces/default/actors";
    put(&format!("{actors}/{}", "i".repeat(5000)), b"1").assert_problem(414, "id_too_long");
    put(&format!("{actors}/"), b"1").assert_problem(400, "bad_id");
    put(&format!("{actors}/%ff%fe"), b"1").assert_problem(400, "bad_utf8");
    put("/v1/namespaces/nowhere/actors/a", b"1").assert_problem(404, "unknown_namespace");
    put("/v1/namespaces/no%20name/actors/a", b"1").assert_problem(400, "bad_namespace");
    put("/v2/other", b"1").assert_problem(404, "unknown_route");
    put(&format!("{actors}/a/b"), b"1").assert_problem(404, "unknown_route");
    put(&format!("{ACTOR}?colour=red"), b"1").assert_problem(400, "bad_parameter");
    put(&format!("{ACTOR}?timeout_ms=0"), b"1").assert_problem(400, "bad_timeout");

    let wrong = ask(api, "PATCH", ACTOR, &[], b"1");
    wrong.assert_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, PUT, DELETE"));
    ask(api, "DELETE", actors, &[], b"").assert_problem(405, "method_not_allowed");
    ask(api, "POST", "/v1/status", &[], b"").assert_problem(405, "method_not_allowed");

    for (name, value, status, code) in [
        ("content-type", "text/plain", 415, "unsupported_media_type"),
        ("content-encoding", "gzip", 415, "unsupported_media_type"),
        ("if-match", "\"abc\"", 400, "bad_precondition"),
        ("if-none-match", "\"1-1\"", 400, "bad_precondition"),
        ("idempotency-key", "two words", 400, "bad_idempotency_key"),
        (
            "idempotency-key",
            "ffffffff-ffff-7fff-bfff-ffffffffffff",
            422,
            "idempotency_key_from_future",
        ),
        ("understudy-timeout-ms", "soon", 400, "bad_timeout"),
    ] {
        ask(api, "PUT", ACTOR, &[(name, value)], b"1").assert_problem(status, code);
    }
    ask(api, "GET", &format!("{ACTOR}?level=maybe"), &[], b"").assert_problem(400, "bad_level");
    ask(api, "GET", ACTOR, &[], b"").assert_problem(404, "not_found");
    world.assert_up(0);
}

#[test]
fn bytes_that_are_not_http_get_a_problem() {
    let world = World::start(1);
    let api = world.api(0);
    raw(api, b"GARBAGE\r\n\r\n").assert_problem(400, "bad_request");
    raw(api, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").assert_problem(400, "bad_request");
    let latin = b"PUT /v1/namespaces/default/actors/\xe4 HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = raw(api, latin);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let header = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    raw(api, header.as_bytes()).assert_problem(431, "header_too_large");
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000));
    let answer = raw(api, path.as_bytes());
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    world.assert_up(0);
}

#[test]
fn half_a_request_is_told_so_and_pins_nothing() {
    let world = World::start(1);
    let api = world.api(0);
    let start = Instant::now();
    let halves: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(api).unwrap();
            stream.write_all(b"PUT /v1/namespaces/default/actors/a HTTP/1.1\r\nho").unwrap();
            stream
        })
        .collect();
    world.assert_up(0);
    let cut =
        b"PUT /v1/namespaces/default/actors/a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{";
    let mut stream = TcpStream::connect(api).unwrap();
    stream.write_all(cut).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    raw(api, b"GET /healthz HTTP/1.1\r\nhost").assert_problem(408, "request_timeout");
    assert!(start.elapsed() < Duration::from_secs(30));
    world.assert_up(0);
    drop(halves);
}

#[test]
fn garbage_at_the_peer_port_closes_that_connection_only() {
    let world = World::start(3);
    let config = std::fs::read_to_string(world.cluster.nodes[0].config()).unwrap();
    let peer =
        config.lines().find_map(|line| line.strip_prefix("peer = ")).unwrap().trim_matches('"');

    let mut endless = frame::frame(Kind::Hello, b"");
    endless[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut other_version = frame::frame(Kind::Hello, b"");
    other_version[4] = 99;
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let wrong_order = frame::frame(Kind::Messages, b"\x01\x00");
    let damaged = frame::frame(Kind::Hello, &[0xff; 100]);
    for bytes in [endless, other_version, http, wrong_order, damaged, vec![0; 1000]] {
        let mut stream = TcpStream::connect(peer).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 1000);
    }
    // A stranger that says nothing is shown out.
    let start = Instant::now();
    let mut silent = TcpStream::connect(peer).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(start.elapsed() < Duration::from_secs(8));
    for place in 0..3 {
        world.assert_up(place);
    }
}
