//! Clients that mean no good, or are broken: the node goes on serving the others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tonic::Request;
use understudy_node::limits;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::*;

use crate::grpc::{actors, answers, block_on, content, put, read};
use crate::world::{PATIENCE, World, ask, eventually, raw};

const ACTOR: &str = "/v1/namespaces/default/actors/a";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn open(api: &str) -> TcpStream {
    let stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until the node closes the connection; what it said until then.
fn end_of(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn ten_thousand_idle_connections_leave_the_node_serving() {
    let world = World::start(1);
    let api = world.api(0);
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = usize::try_from(most.saturating_sub(500)).unwrap_or(usize::MAX).min(10_000);
    assert!(count == 10_000 || std::env::var_os("CI").is_none(), "only {count} files");
    let idle: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(api).unwrap()).collect();
    world.assert_up(0);
    let found = block_on(async { actors(api).await.put(put("a", "1")).await });
    assert!(found.is_ok(), "{found:?}");
    drop(idle);
    world.assert_up(0);
}

#[test]
fn slow_and_garbled_beginnings_are_ended() {
    let world = World::start(1);
    let api = world.api(0);
    let started = Instant::now();
    // Half a preface; a preface and nothing; one and garbage; a frame that is too large; a header that
    // comes a byte at a time.
    let mut half = open(api);
    half.write_all(&PREFACE[..10]).unwrap();
    let mut garbage = open(api);
    garbage.write_all(PREFACE).unwrap();
    garbage.write_all(&[0xff; 1000]).unwrap();
    let mut large = open(api);
    large.write_all(PREFACE).unwrap();
    // SETTINGS, then DATA of 16 MiB - 1 on stream 1.
    large.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    large.write_all(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]).unwrap();
    let slow = std::thread::spawn({
        let api = api.to_owned();
        move || {
            let mut slow = open(&api);
            let request = format!("GET {ACTOR} HTTP/1.1\r\nx: {}", "y".repeat(1000));
            for byte in request.as_bytes() {
                if slow.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            end_of(slow)
        }
    });
    world.assert_up(0);
    end_of(garbage);
    end_of(large);
    assert!(started.elapsed() < limits::API_HEADER_TIMEOUT, "{:?}", started.elapsed());
    end_of(half);
    slow.join().unwrap();
    let most = limits::API_HEADER_TIMEOUT + Duration::from_secs(10);
    assert!(started.elapsed() < most, "{:?}", started.elapsed());
    world.assert_up(0);
}

#[test]
fn a_half_closed_connection_still_gets_its_answer() {
    let world = World::start(1);
    let api = world.api(0);
    let mut stream = open(api);
    let request = format!("PUT {ACTOR} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n7");
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = String::from_utf8(end_of(stream)).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 201"), "{answer}");
    // It happened or not, but the node is not left waiting.
    world.assert_up(0);
    let silent = open(api);
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(end_of(silent), b"");
    // The client of a pipeline closes its half and still gets every answer.
    block_on(async {
        let mut client = actors(api).await;
        let calls = (0..500).map(|number| PipelineCall {
            number,
            timeout_ms: 0,
            call: Some(Call::Put(put(&format!("{number}"), "1"))),
        });
        assert_eq!(answers(&mut client, calls.collect()).await, 500);
    });
}

#[test]
fn a_pipeline_that_breaks_off_pins_nothing() {
    let world = World::start(1);
    for _ in 0..20 {
        block_on(async {
            let mut client = actors(world.api(0)).await;
            let calls = (0..1000).map(|number| PipelineCall {
                number,
                timeout_ms: 60_000,
                call: Some(Call::Put(PutRequest { content: content("1"), ..put("p", "") })),
            });
            let message = PipelineRequest { calls: calls.collect() };
            let messages = futures_util::StreamExt::chain(
                futures_util::stream::iter([message]),
                futures_util::stream::pending(),
            );
            drop(client.pipeline(messages).await.unwrap());
        });
    }
    eventually("no request of theirs is left", || {
        let page = ask(world.api(0), "GET", "/v1/status", &[], b"");
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        page["requests_live"] == 0
    });
    world.assert_up(0);
}

/// SIGTERM while requests are waiting: they are answered, nobody new is let in, and the node ends.
#[test]
fn a_node_that_stops_ends_what_it_has_begun() {
    let mut world = World::start(3);
    let keep = world.leader();
    for place in (0..3).filter(|&place| place != keep) {
        world.cluster.kill(place).unwrap();
    }
    let api = world.api(keep).to_owned();
    // Without a quorum these wait for their whole two seconds.
    let waiting = std::thread::spawn({
        let api = api.clone();
        move || {
            raw(&api, format!("GET {ACTOR}?timeout_ms=2000 HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
        }
    });
    let calling = std::thread::spawn({
        let api = api.clone();
        move || {
            block_on(async {
                let mut client = actors(&api).await;
                let mut request = Request::new(read("a"));
                request.set_timeout(Duration::from_secs(2));
                client.read(request).await.unwrap_err()
            })
        }
    });
    let live = || {
        let page = ask(&api, "GET", "/v1/status", &[], b"");
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        page["requests_live"].as_u64().unwrap()
    };
    eventually("both wait", || live() >= 2);
    let config = world.cluster.nodes[keep].config();
    let pid = std::fs::read_to_string(config.with_file_name("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    eventually("nobody new is let in", || TcpStream::connect(&api).is_err());
    let answer = waiting.join().unwrap();
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    let status = calling.join().unwrap();
    assert!(understudy_proto::problem(&status).is_some(), "{status:?}");
    // One that has ended and that nobody has asked about has no command line.
    let line = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    eventually("the process ends", || {
        std::fs::read(&line).is_ok_and(|line| line.is_empty())
            || !std::path::Path::new(&line).exists()
    });
}
