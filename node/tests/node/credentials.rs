//! The client library, the commands and a raw gRPC client against a closed cluster: certificates for
//! everybody, and tokens.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use understudy_auth::{Narrowing, RootKey, attenuate};
use understudy_client::{Certainty, Client, Error, Options, Pem};
use understudy_node::client::Client as Http;
use understudy_node::credentials::Credentials;
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_tls::{ClientPems, client_config, connect};

use crate::grpc::{block_on, put, read};
use crate::secure::{Certs, configure, start};
use crate::tokens::{code_of, token_of, with_token};
use crate::world::{World, eventually};

/// Whoever asks it shows a certificate and a token; its members show certificates too.
struct Fortress {
    world: World,
    certs: Certs,
    root: RootKey,
}

impl Fortress {
    fn start(nodes: u64) -> Fortress {
        let (certs, root) = (Certs::new(), RootKey::generate());
        certs.issue("server", &["localhost", "127.0.0.1"]);
        certs.issue("ann", &["ann"]);
        let mut world = World::initialised(nodes);
        for place in 0..world.cluster.nodes.len() {
            let member = format!("node-{}", place + 1);
            certs.issue(&member, &[&member]);
            let tls = certs.section("tls", "server", "client_ca");
            let peers = certs.section("peer_tls", &member, "ca");
            let auth = format!("[auth]\nroot_keys = [\"{}\"]\n", root.public());
            configure(&world, place, &format!("{tls}\n{peers}\n{auth}"));
        }
        let bearer = token_of(&root, &["admin:*"], None);
        let mut bearer: hyper::header::HeaderValue = format!("Bearer {bearer}").parse().unwrap();
        bearer.set_sensitive(true);
        let tls = client_config(&certs.pems(Some("ann")), &[b"http/1.1"]).unwrap();
        let credentials = Credentials { tls: Some(tls), bearer: Some(bearer) };
        world.client = Http::with(&world.cluster.endpoints(), credentials).unwrap();
        start(&mut world);
        Fortress { world, certs, root }
    }

    fn token(&self, grants: &[&str]) -> String {
        token_of(&self.root, grants, None)
    }

    /// Runs a command with Ann's certificate and a token.
    fn run(&self, token: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = self.world.command(arguments);
        command.arg("--ca").arg(self.certs.path("ca.pem"));
        command.arg("--cert").arg(self.certs.path("ann.pem"));
        command.arg("--key").arg(self.certs.path("ann.key"));
        if let Some(token) = token {
            let file = self.certs.path("token");
            fs::write(&file, format!("{token}\n")).unwrap();
            command.arg("--token-file").arg(file);
        }
        let output = command.output().unwrap();
        if let Some(begin) = token.and_then(|token| token.get(..40)) {
            let said = words(&output);
            assert!(!said.contains(begin), "{said}");
        }
        output
    }

    #[track_caller]
    fn good(&self, token: &str, arguments: &[&str]) -> String {
        let output = self.run(Some(token), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It ends with `exit` and says `code`.
    #[track_caller]
    fn refused(&self, token: Option<&str>, arguments: &[&str], exit: i32, code: &str) {
        let output = self.run(token, arguments);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        assert!(said.contains(code), "{arguments:?}: {said}");
    }

    /// What the library needs, from the text of the files.
    fn options(&self, token: &str) -> Options {
        let text = |name: &str| Pem::text(fs::read(self.certs.path(name)).unwrap());
        let options = Options::new().ca(text("ca.pem")).identity(text("ann.pem"), text("ann.key"));
        options.token(token).deadline(Duration::from_secs(50))
    }
}

/// Everything that a command has said.
fn words(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.concat()
}

const BENCH: [&str; 7] = ["bench", "--duration", "1s", "--warmup", "100ms", "--keys", "50"];

#[test]
fn the_commands_show_a_certificate_and_a_token() {
    let fortress = Fortress::start(3);
    let token = fortress.token(&["read:default", "write:default"]);
    let lines = fortress.certs.path("lines.ndjson");
    let documents =
        "{\"op\":\"put\",\"id\":\"a/1\",\"value\":1}\n{\"op\":\"put\",\"id\":\"b\",\"value\":2}\n";
    fs::write(&lines, documents).unwrap();
    let batch = ["batch", "default", lines.to_str().unwrap()];
    fortress.good(&token, &["put", "default", "a/1", "[7]", "--idempotency-key", "once"]);
    assert_eq!(fortress.good(&token, &["get", "default", "a/1"]), "[7]\n");
    fortress.good(&token, &["get", "default", "a/1", "--level", "lease"]);
    assert!(fortress.good(&token, &["scan", "default"]).contains("1 actors"));
    assert!(fortress.good(&token, &batch).contains("2 done"));
    fortress.good(&token, &["delete", "default", "b"]);
    for more in [&["--reads", "50", "--in-flight", "4"][..], &["--protocol", "unary"]] {
        fortress.good(&token, &[&BENCH[..], more].concat());
    }
    fortress.good(&token, &["load", "--generate", "20"]);
    fortress.good(&token, &["verify", "--generate", "20"]);
    let admin = fortress.token(&["admin:*"]);
    assert!(fortress.good(&admin, &["status"]).contains("leader"));
    let out = fortress.certs.path("out.backup");
    fortress.good(&admin, &["backup", "--out", out.to_str().unwrap()]);

    // Without a token nothing happens, and nothing is tried again.
    let one = "default";
    let calls: [&[&str]; 8] = [
        &["get", one, "a/1"],
        &["scan", one],
        &["put", one, "c", "1"],
        &["create", one, "c", "1"],
        &["update", one, "a/1", "1"],
        &["cas", one, "a/1", "1", "--expect", "1"],
        &["delete", one, "a/1"],
        &batch,
    ];
    for call in calls {
        let before = Instant::now();
        fortress.refused(None, &[call, &["--timeout", "50s"]].concat(), 3, "(unauthenticated)");
        assert!(before.elapsed() < Duration::from_secs(25), "{call:?} was tried again");
        fortress.refused(None, &[call, &["--json"]].concat(), 3, "\"unauthenticated\"");
    }
    for protocol in ["pipeline", "unary"] {
        let bench = [&BENCH[..], &["--protocol", protocol]].concat();
        fortress.refused(None, &bench, 1, "(unauthenticated)");
    }
    fortress.refused(None, &["status"], 1, "a token is needed");
    fortress.refused(None, &["load", "--generate", "3"], 1, "a token is needed");
    fortress.refused(None, &["backup", "--out", "none"], 1, "a token is needed");

    // A narrowed one does within its prefix, and not outside.
    let narrow = Narrowing { prefixes: vec!["a/".to_owned()], ..Narrowing::default() };
    let narrow = attenuate(&token, &narrow).unwrap();
    fortress.good(&narrow, &["put", one, "a/1", "8"]);
    assert!(fortress.good(&narrow, &["scan", one, "--prefix", "a/"]).contains("1 actors"));
    for call in [&["put", one, "b", "1"][..], &["get", one, "b"], &["scan", one], &batch] {
        fortress.refused(Some(&narrow), call, 3, "(forbidden)");
    }
    fortress.refused(Some(&narrow), &BENCH, 1, "forbidden");
    fortress.refused(Some("x"), &["get", one, "b"], 3, "(unauthenticated)");
    assert_eq!(fortress.good(&token, &["get", one, "a/1"]), "1\n", "the batch's allowed part");
}

#[test]
fn the_commands_say_what_is_wrong_with_certificates() {
    let (fortress, others) = (Fortress::start(1), Certs::new());
    let said = |more: &[&str], exit: i32, why: &str| {
        let mut command = fortress.world.command(&["get", "default", "a", "--timeout", "1s"]);
        let output = command.args(more).output().unwrap();
        let said = words(&output);
        assert_eq!(output.status.code(), Some(exit), "{more:?}: {said}");
        assert!(said.contains(why), "{more:?}: {said}");
    };
    let path = |certs: &Certs, name: &str| certs.path(name).to_str().unwrap().to_owned();
    let (ca, other) = (path(&fortress.certs, "ca.pem"), path(&others, "ca.pem"));
    said(&["--ca", &ca], 5, "if the node wants a client's certificate, give one");
    said(&["--ca", &other], 5, "not from the CA named here");
    said(&["--ca", "nowhere.pem"], 2, "cannot read the CA `nowhere.pem`");
    said(&["--token-file", "nowhere"], 2, "cannot read the token in `nowhere`");
    let address = format!("https://{}", fortress.world.api(0));
    said(&["--endpoints", &address], 2, "--ca");
    let address = format!("http://{}", fortress.world.api(0));
    said(&["--endpoints", &address, "--ca", &ca], 2, "without TLS");
    // No TLS where it is wanted: no word of HTTP/2, and none that it happened.
    said(&[], 5, "it did not happen");
}

#[test]
fn the_library_shows_both_and_is_told_once() {
    let fortress = Fortress::start(3);
    let token = fortress.token(&["read:default", "write:default:a/"]);
    block_on(async {
        let options = fortress.options(&token);
        let client = Client::connect_with(fortress.world.cluster.endpoints(), options).await;
        let client = client.unwrap();
        assert!(!format!("{client:?}").contains(&token[..40]));
        let numbers: Vec<u64> = (0..100).collect();
        let puts = numbers.iter().map(|n| client.put("default", format!("a/{n}"), n));
        for written in futures_util::future::join_all(puts).await {
            written.unwrap();
        }
        assert_eq!(client.get::<u64>("default", "a/7").await.unwrap().unwrap().value, 7);
        let before = Instant::now();
        let forbidden = client.put("default", "b", &1).await.unwrap_err();
        assert!(matches!(&forbidden, Error::Refused { code, .. } if code == "forbidden"));
        assert_eq!(forbidden.certainty(), Certainty::Refused);
        for (token, code) in [
            ("x".to_owned(), "unauthenticated"),
            (token_of(&fortress.root, &["read:*"], Some(1)), "token_expired"),
        ] {
            let endpoints = fortress.world.cluster.endpoints();
            let refused = Client::connect_with(endpoints, fortress.options(&token)).await;
            assert_eq!(refused.unwrap_err().code(), code);
        }
        assert!(before.elapsed() < Duration::from_secs(25), "a refusal was tried again");
    });
}

/// Files that were replaced are what the next connection of a client shows and believes.
#[test]
fn a_client_that_lives_long_takes_renewed_certificates() {
    let (certs, next) = (Certs::new(), Certs::new());
    certs.issue("server", &["127.0.0.1"]);
    next.issue("server", &["127.0.0.1"]);
    let mut world = World::initialised(1);
    configure(&world, 0, &certs.section("tls", "server", ""));
    let tls = |pems: &ClientPems| Credentials {
        tls: Some(client_config(pems, &[b"http/1.1"]).unwrap()),
        bearer: None,
    };
    let endpoints = world.cluster.endpoints();
    world.client = Http::with(&endpoints, tls(&certs.pems(None))).unwrap();
    start(&mut world);
    let believed = certs.path("believed.pem");
    fs::copy(certs.path("ca.pem"), &believed).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options::new().ca(Pem::file(&believed)).deadline(Duration::from_secs(50));
    let client = runtime.block_on(Client::connect_with(endpoints.clone(), options)).unwrap();
    runtime.block_on(client.put("default", "a", &1)).unwrap();

    // Another authority altogether.
    world.cluster.kill(0).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::copy(next.path(name), certs.path(name)).unwrap();
    }
    fs::copy(next.path("ca.pem"), &believed).unwrap();
    world.client = Http::with(&endpoints, tls(&next.pems(None))).unwrap();
    start(&mut world);
    runtime.block_on(client.put("default", "a", &2)).unwrap();
    // What cannot be used changes nothing.
    fs::write(&believed, "garbage").unwrap();
    world.cluster.kill(0).unwrap();
    start(&mut world);
    eventually("the client goes on", || {
        runtime.block_on(client.get::<u64>("default", "a")).is_ok_and(|got| got.unwrap().value == 2)
    });
}

/// What any gRPC client in any language does: one channel over TLS, a token in the metadata.
#[test]
fn a_raw_grpc_client_speaks_tls() {
    let fortress = Fortress::start(1);
    let config = client_config(&fortress.certs.pems(Some("ann")), &[b"h2"]).unwrap();
    let token = fortress.token(&["read:default", "write:default:a/"]);
    block_on(async {
        let address = fortress.world.api(0).to_owned();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("https://{address}"));
        let connector = tower::service_fn(move |_| {
            let (config, address) = (config.clone(), address.clone());
            async move {
                let stream = tokio::net::TcpStream::connect(&address).await?;
                let stream = connect(&config, "127.0.0.1", stream).await?;
                assert_eq!(stream.protocol(), Some(&b"h2"[..]));
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let channel = endpoint.unwrap().connect_with_connector(connector).await.unwrap();
        let mut client = ActorsClient::new(channel);
        assert_eq!(code_of(client.put(with_token(&token, put("a/1", "1"))).await), "ok");
        assert_eq!(code_of(client.put(with_token(&token, put("b", "1"))).await), "forbidden");
        assert_eq!(code_of(client.put(put("a/1", "2")).await), "unauthenticated");
        let found = client.read(with_token(&token, read("a/1"))).await.unwrap().into_inner();
        assert_eq!(found.record.unwrap().value.as_ref(), b"1");
    });
}
