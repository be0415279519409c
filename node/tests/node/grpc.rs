//! The operations over gRPC, as a client in Rust sees them.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_proto::v1::cluster_client::ClusterClient;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::*;

use crate::world::{PATIENCE, World, ask};

/// Runs a test's calls.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
}

/// A connection to one node.
pub async fn connect(api: &str) -> Channel {
    Endpoint::from_shared(format!("http://{api}")).unwrap().connect().await.unwrap()
}

/// A client of one node.
pub async fn actors(api: &str) -> ActorsClient<Channel> {
    ActorsClient::new(connect(api).await).max_decoding_message_size(64 * 1024 * 1024)
}

/// How many answers come to these calls, sent in one message down a stream that is then closed.
pub async fn answers(client: &mut ActorsClient<Channel>, calls: Vec<PipelineCall>) -> usize {
    let stream = futures_util::stream::iter([PipelineRequest { calls }]);
    let mut answers = client.pipeline(stream).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(message) = answers.message().await.unwrap() {
        count += message.answers.len();
    }
    count
}

pub fn content(value: impl Into<Vec<u8>>) -> Option<Content> {
    Some(Content { value: value.into().into(), ..Content::default() })
}

pub fn key(key: &str) -> Option<OperationName> {
    let kind = operation_name::Kind::IdempotencyKey(key.to_owned());
    Some(OperationName { kind: Some(kind) })
}

pub fn put(id: &str, value: &str) -> PutRequest {
    PutRequest {
        namespace: "default".to_owned(),
        id: id.to_owned(),
        content: content(value),
        name: None,
    }
}

pub fn read(id: &str) -> ReadRequest {
    ReadRequest { namespace: "default".to_owned(), id: id.to_owned(), freshness: None }
}

/// Checks that a call was refused in this way, with all the details.
#[track_caller]
pub fn assert_refused(status: &Status, grpc: Code, code: &str) -> Problem {
    assert_eq!(status.code(), grpc, "{status:?}");
    let problem = understudy_proto::problem(status).unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(problem.code, code, "{problem:?}");
    assert_eq!(problem.message, status.message());
    assert_ne!(problem.certainty(), Certainty::Unspecified);
    problem
}

#[test]
fn the_five_operations_and_their_preconditions() {
    let world = World::start(1);
    block_on(async {
        let mut client = actors(world.api(0)).await;
        let create = CreateRequest {
            namespace: "default".to_owned(),
            id: Some("a/b".to_owned()),
            content: content("{\"n\": 1}"),
            name: None,
        };
        let created = client.create(create.clone()).await.unwrap().into_inner();
        assert_eq!((created.id.as_str(), created.token.unwrap().version), ("a/b", 1));
        let again = client.create(create.clone()).await.unwrap_err();
        let problem = assert_refused(&again, Code::AlreadyExists, "already_exists");
        assert_eq!(problem.found, created.token);

        let found = client.read(read("a/b")).await.unwrap().into_inner();
        let record = found.record.unwrap();
        assert_eq!((record.value.as_ref(), record.token), (&b"{\"n\": 1}"[..], created.token));
        assert!(found.at.unwrap().applied_index > 0);

        let cas = |expected: expected::Kind| CompareAndSwapRequest {
            namespace: "default".to_owned(),
            id: "a/b".to_owned(),
            content: content("2"),
            name: None,
            expected: Some(Expected { kind: Some(expected) }),
        };
        let token = expected::Kind::Token(created.token.unwrap());
        let swapped = client.compare_and_swap(cas(token)).await.unwrap().into_inner();
        assert_eq!(swapped.token.unwrap().version, 2);
        assert!(swapped.sequence > created.sequence);
        let stale = client.compare_and_swap(cas(token)).await.unwrap_err();
        let problem = assert_refused(&stale, Code::Aborted, "conflict");
        assert_eq!(problem.found, swapped.token);
        let by_version = cas(expected::Kind::Version(2));
        assert!(client.compare_and_swap(by_version).await.is_ok());

        let update = UpdateRequest {
            namespace: "default".to_owned(),
            id: "absent".to_owned(),
            content: content("3"),
            ..UpdateRequest::default()
        };
        let absent = client.update(update).await.unwrap_err();
        assert_refused(&absent, Code::NotFound, "not_found");
        let delete = DeleteRequest {
            namespace: "default".to_owned(),
            id: "a/b".to_owned(),
            ..DeleteRequest::default()
        };
        let deleted = client.delete(delete).await.unwrap().into_inner();
        assert_eq!(deleted.record.unwrap().value.as_ref(), b"2");
        let gone = client.read(read("a/b")).await.unwrap_err();
        assert_refused(&gone, Code::NotFound, "not_found");
        let generated = CreateRequest { id: None, ..create };
        let generated = client.create(generated).await.unwrap().into_inner();
        assert!(client.read(read(&generated.id)).await.is_ok());
    });
    // Both protocols are one store.
    let path = "/v1/namespaces/default/actors/both";
    assert_eq!(ask(world.api(0), "PUT", path, &[], b"[7]").status, 201);
    let found = block_on(async { actors(world.api(0)).await.read(read("both")).await });
    assert_eq!(found.unwrap().into_inner().record.unwrap().value.as_ref(), b"[7]");
}

#[test]
fn a_repeat_under_the_same_name_returns_the_first_outcome_on_every_node() {
    let world = World::start(3);
    block_on(async {
        let mut clients = Vec::new();
        for place in 0..3 {
            clients.push(actors(world.api(place)).await);
        }
        let request = PutRequest { name: key("order-7"), ..put("a", "1") };
        let first = clients[0].put(request.clone()).await.unwrap().into_inner();
        assert!(!first.receipt.as_ref().unwrap().replayed);
        for client in &mut clients {
            let again = client.put(request.clone()).await.unwrap().into_inner();
            assert_eq!((again.token, again.sequence), (first.token, first.sequence));
            assert!(again.receipt.unwrap().replayed);
        }
        let other = PutRequest { name: key("order-7"), ..put("a", "2") };
        let reused = clients[1].put(other).await.unwrap_err();
        assert_refused(&reused, Code::InvalidArgument, "idempotency_key_reused");
    });
}

#[test]
fn a_pipeline_answers_every_call_by_its_number() {
    let world = World::start(3);
    block_on(async {
        let mut client = actors(world.api(1)).await;
        let call =
            |number: u64, call: Call| PipelineCall { number, timeout_ms: 0, call: Some(call) };
        let mut messages = Vec::new();
        for message in 0..20_u64 {
            let numbers = message * 16..(message + 1) * 16;
            let calls = numbers.map(|n| call(n, Call::Put(put(&format!("p{n}"), &n.to_string()))));
            messages.push(PipelineRequest { calls: calls.collect() });
        }
        let wrong = vec![
            call(1000, Call::Read(read("absent"))),
            PipelineCall { number: 1001, timeout_ms: 0, call: None },
            PipelineCall { number: 1002, timeout_ms: 60_001, call: Some(Call::Read(read("a"))) },
        ];
        messages.push(PipelineRequest { calls: wrong });
        let stream = futures_util::stream::iter(messages);
        let mut answers = client.pipeline(stream).await.unwrap().into_inner();
        let mut seen = BTreeMap::new();
        while let Some(message) = answers.message().await.unwrap() {
            for answer in message.answers {
                assert!(seen.insert(answer.number, answer.answer.unwrap()).is_none());
            }
        }
        assert_eq!(seen.len(), 323);
        for number in 0..320 {
            assert!(matches!(seen[&number], Answer::Written(_)), "{:?}", seen[&number]);
        }
        for (number, code) in [(1000, "not_found"), (1001, "bad_request"), (1002, "bad_timeout")] {
            let Answer::Problem(problem) = &seen[&number] else { panic!("{:?}", seen[&number]) };
            assert_eq!(problem.code, code);
        }
        let found = client.read(read("p319")).await.unwrap().into_inner();
        assert_eq!(found.record.unwrap().value.as_ref(), b"319");
    });
}

#[test]
fn health_status_and_compression() {
    let world = World::start(3);
    block_on(async {
        let channel = connect(world.api(0)).await;
        let mut health = HealthClient::new(channel.clone());
        for service in ["", "understudy.v1.Actors"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut told = health.watch(request).await.unwrap().into_inner();
            // It says so a moment after `readyz` does.
            while told.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        }
        for service in ["", "understudy.v1.Actors", "understudy.v1.Cluster"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let told = health.check(request).await.unwrap().into_inner();
            assert_eq!(told.status(), ServingStatus::Serving, "{service}");
        }
        let request = HealthCheckRequest { service: "nobody".to_owned() };
        assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);

        let mut cluster = ClusterClient::new(channel.clone());
        let status = cluster.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.members.len(), status.namespaces.len()), (3, 2));
        assert!(status.namespaces.iter().all(|namespace| namespace.leader.is_some()));

        let mut client = ActorsClient::new(channel)
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        let long = format!("\"{}\"", "x".repeat(100_000));
        client.put(put("long", &long)).await.unwrap();
        let found = client.read(read("long")).await.unwrap();
        assert_eq!(found.metadata().get("grpc-encoding").unwrap(), "gzip");
        assert_eq!(found.into_inner().record.unwrap().value.as_ref(), long.as_bytes());
    });
}

/// What grpcurl asks, of each version of the protocol.
macro_rules! reflect {
    ($version:ident, $channel:expr) => {{
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as pb;
        let ask = |message| pb::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let questions = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("understudy.v1.Actors".to_owned()),
            MessageRequest::FileByFilename("understudy/v1/understudy.proto".to_owned()),
            MessageRequest::FileContainingSymbol("understudy.v1.Nothing".to_owned()),
        ];
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($channel);
        let mut answers = Vec::new();
        for question in questions {
            let stream = futures_util::stream::iter([ask(question)]);
            let mut told = client.server_reflection_info(stream).await.unwrap().into_inner();
            let told = told.message().await;
            answers.push(told.map(|told| told.unwrap().message_response.unwrap()));
        }
        let nothing = answers.pop().unwrap();
        let (by_name, by_symbol) =
            (answers.pop().unwrap().unwrap(), answers.pop().unwrap().unwrap());
        let MessageResponse::ListServicesResponse(list) = answers.pop().unwrap().unwrap() else {
            panic!("no list")
        };
        let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
        for name in ["understudy.v1.Actors", "understudy.v1.Cluster", "grpc.health.v1.Health"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for answer in [by_name, by_symbol] {
            let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("no file") };
            let file = FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice());
            let file = file.unwrap();
            let actors = file.service.iter().find(|service| service.name() == "Actors").unwrap();
            let methods: Vec<&str> = actors.method.iter().map(|method| method.name()).collect();
            assert!(methods.contains(&"CompareAndSwap") && methods.contains(&"Pipeline"));
            assert!(file.message_type.iter().any(|message| message.name() == "Problem"));
        }
        match nothing {
            Ok(MessageResponse::ErrorResponse(error)) => assert_eq!(error.error_code, 5),
            Ok(other) => panic!("{other:?}"),
            Err(status) => assert_eq!(status.code(), Code::NotFound),
        }
    }};
}

#[test]
fn reflection_tells_what_there_is() {
    let world = World::start(1);
    block_on(async {
        let channel = connect(world.api(0)).await;
        reflect!(v1, channel.clone());
        reflect!(v1alpha, channel);
    });
}

#[test]
fn a_deadline_is_kept() {
    let mut world = World::start(3);
    world.cluster.kill(1).unwrap();
    world.cluster.kill(2).unwrap();
    block_on(async {
        let mut client = actors(world.api(0)).await;
        let mut request = Request::new(put("a", "1"));
        request.set_timeout(Duration::from_millis(700));
        let started = std::time::Instant::now();
        let status = client.put(request).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(3));
        // The node answers a moment before the client gives up, and so says which it is.
        match status.code() {
            Code::Unavailable => assert_refused(&status, Code::Unavailable, "unavailable"),
            _ => assert_refused(&status, Code::DeadlineExceeded, "unknown"),
        };
    });
}
