//! Certificates and tokens, with real processes: who gets in, who does not, what each is told, and
//! that nothing secret is written anywhere.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use understudy_auth::{Grant, Narrowing, Right, RootKey, Terms, attenuate, revocation_ids};
use understudy_node::client::Client;
use understudy_node::credentials::Credentials;
use understudy_proto::v1::{self as proto, actors_client, cluster_client};
use understudy_tls::authority::{Authority, Order};
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{ClientFiles, accept_failure, client_config, connect};

use crate::world::{Answer, Folder, PATIENCE, UNDERSTUDY, World, ask, eventually, parse, raw};

/// An authority and what it has signed, in a folder of its own.
struct Certs {
    folder: Folder,
    authority: Authority,
}

impl Certs {
    fn new() -> Certs {
        let folder = Folder::new();
        let authority = Authority::create(&folder.0, "tests", 10).unwrap();
        Certs { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn issue(&self, name: &str, names: &[&str]) {
        self.authority.issue(&order(name, names)).unwrap();
    }

    fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let file = |end: &str| name.map(|name| self.path(&format!("{name}.{end}")));
        let files =
            ClientFiles { ca: Some(self.path("ca.pem")), cert: file("pem"), key: file("key") };
        client_config(&files, &[b"http/1.1"]).unwrap()
    }

    /// A section of a node's configuration.
    fn section(&self, head: &str, name: &str, ca: &str) -> String {
        let folder = self.folder.0.display();
        let ca =
            if ca.is_empty() { String::new() } else { format!("{ca} = \"{folder}/ca.pem\"\n") };
        format!("[{head}]\ncert = \"{folder}/{name}.pem\"\nkey = \"{folder}/{name}.key\"\n{ca}")
    }
}

fn order(name: &str, names: &[&str]) -> Order {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    // A clock that is a little behind does not matter.
    let from = SystemTime::now() - Duration::from_secs(60);
    Order { name: name.to_owned(), names, from, days: 5 }
}

/// Adds sections to the configuration of one node.
fn configure(world: &World, place: usize, sections: &str) {
    let path = world.cluster.nodes[place].config();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n{sections}")).unwrap();
}

fn log_of(world: &World, place: usize) -> String {
    fs::read_to_string(world.cluster.nodes[place].config().with_file_name("log")).unwrap()
}

fn start(world: &mut World) {
    world.cluster.start().unwrap();
    world.wait_for_leader();
}

/// What `serve` says when it refuses to start.
fn refusal(world: &World, place: usize) -> String {
    let output = Command::new(UNDERSTUDY)
        .args(["serve", "--config"])
        .arg(world.cluster.nodes[place].config())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn members_speak_tls_and_each_is_who_its_certificate_says() {
    let certs = Certs::new();
    certs.issue("node-1", &["node-1", "evil-1"]);
    certs.issue("node-2", &["node-2", "evil-2"]);
    // Signed by the right CA, for somebody else: it would like to speak as node 3.
    certs.issue("evil-3", &["evil-3"]);
    certs.issue("node-3", &["node-3"]);
    let mut world = World::initialised(3);
    for place in 0..3 {
        let section = certs.section("peer_tls", &format!("node-{}", place + 1), "ca");
        configure(&world, place, &section);
    }
    start(&mut world);
    world.assert_up(2);
    let config = world.cluster.nodes[2].config();
    let good = fs::read_to_string(&config).unwrap();
    let peer = good
        .lines()
        .filter_map(|line| line.strip_prefix("peer = "))
        .next()
        .unwrap()
        .trim_matches('"')
        .to_owned();
    // Plain bytes come to an end, and the log says why.
    let mut stream = TcpStream::connect(&peer).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello, I am node 3, believe me").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    eventually("the log says why", || log_of(&world, 0).contains("it does not speak TLS"));

    world.cluster.kill(2).unwrap();
    // It takes others for what it likes, and says that it is node 3.
    let evil = good.replace("node-3.", "evil-3.").replace("ca = ", "name = \"evil-{id}\"\nca = ");
    fs::write(&config, evil).unwrap();
    world.cluster.start_node(2).unwrap();
    eventually("node 1 refuses it by name", || {
        log_of(&world, 0).contains("says that it is node 3, but its certificate names `evil-3`")
    });
    eventually("and it is told so", || {
        log_of(&world, 2).contains("it refuses this node: it says that it is node 3")
    });
    world.assert_up(0);
    world.cluster.kill(2).unwrap();

    // With its own certificate it is back.
    fs::write(&config, good).unwrap();
    world.restart(2);
    world.assert_up(2);
}

#[test]
fn a_member_of_another_ca_or_without_a_good_certificate_stays_out() {
    let (certs, others) = (Certs::new(), Certs::new());
    for name in ["node-1", "node-2"] {
        certs.issue(name, &[name]);
    }
    others.issue("node-3", &["node-3"]);
    let mut world = World::initialised(3);
    configure(&world, 0, &certs.section("peer_tls", "node-1", "ca"));
    configure(&world, 1, &certs.section("peer_tls", "node-2", "ca"));
    let plain = fs::read_to_string(world.cluster.nodes[2].config()).unwrap();
    configure(&world, 2, &others.section("peer_tls", "node-3", "ca"));
    world.cluster.start().unwrap();
    eventually("both sides say what is wrong", || {
        log_of(&world, 2).contains("not from the CA named here")
            && log_of(&world, 0).contains("not from the CA named here")
    });
    let pages = world.pages();
    assert!(pages.iter().all(|page| !page.formed), "a stranger was met");
    world.cluster.kill(2).unwrap();

    let config = world.cluster.nodes[2].config();
    let refused_with = |sections: &str, words: &str| {
        fs::write(&config, format!("{plain}\n{sections}")).unwrap();
        let line = refusal(&world, 2);
        assert!(line.contains(words), "{line}");
        assert_eq!(
            line.lines().filter(|line| line.starts_with("understudy: ")).count(),
            1,
            "{line}"
        );
    };
    let mut old = order("node-3", &["node-3"]);
    old.from = SystemTime::now() - Duration::from_secs(30 * 86_400);
    certs.authority.issue(&old).unwrap();
    refused_with(&certs.section("peer_tls", "node-3", "ca"), "expired on");
    refused_with(&certs.section("peer_tls", "node-2", "ca"), "names `node-2` and not this node");
    refused_with(&certs.section("peer_tls", "nobody", "ca"), "cannot read the certificate");
    refused_with(&certs.section("tls", "nobody", ""), "`[tls]`");
    refused_with("[auth]\nroot_keys = [\"ed25519/12\"]\n", "a root key here is a public one");

    certs.issue("node-3", &["node-3"]);
    fs::write(&config, format!("{plain}\n{}", certs.section("peer_tls", "node-3", "ca"))).unwrap();
    world.cluster.start_node(2).unwrap();
    world.wait_for_leader();
    world.assert_up(0);
}

/// One request over TLS, on a connection of its own.
async fn tls_ask(config: &Arc<ClientConfig>, api: &str, path: &str) -> Result<Answer, String> {
    let stream = tokio::net::TcpStream::connect(api).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let mut stream = connect(config, "127.0.0.1", stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<Vec<u8>, std::io::Error>(answer)
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(answer)) => Ok(parse(&answer)),
        Ok(Err(error)) => Err(accept_failure(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn with_tls(world: &mut World, tls: Arc<ClientConfig>) {
    let credentials = Credentials { tls: Some(tls), bearer: None };
    world.client = Client::with(&world.cluster.endpoints(), credentials).unwrap();
}

#[test]
fn with_mutual_tls_only_clients_of_our_ca_get_in() {
    let (certs, others) = (Certs::new(), Certs::new());
    certs.issue("server", &["localhost", "127.0.0.1"]);
    certs.issue("ann", &["ann"]);
    others.issue("eve", &["eve"]);
    let mut world = World::initialised(1);
    configure(&world, 0, &certs.section("tls", "server", "client_ca"));
    with_tls(&mut world, certs.client(Some("ann")));
    start(&mut world);
    let api = world.api(0).to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let get = |config: &Arc<ClientConfig>| runtime.block_on(tls_ask(config, &api, "/healthz"));
    assert_eq!(get(&certs.client(Some("ann"))).unwrap().status, 200);
    assert!(get(&certs.client(None)).unwrap_err().contains("wants a certificate"));
    assert!(get(&others.client(None)).unwrap_err().contains("not from the CA"));
    let files = ClientFiles {
        ca: Some(certs.path("ca.pem")),
        cert: Some(others.path("eve.pem")),
        key: Some(others.path("eve.key")),
    };
    assert!(get(&client_config(&files, &[]).unwrap()).is_err());
    // Plain HTTP is answered in plain words.
    let answer = ask(&api, "GET", "/healthz", &[], b"");
    answer.assert_problem(400, "bad_request");
    assert!(answer.text().contains("https://"), "{}", answer.text());
    raw(&api, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").assert_problem(400, "bad_request");
    let log = log_of(&world, 0);
    assert!(log.contains("shows no certificate") && log.contains("not from the CA named here"));

    // The command line, and what it says without.
    let ca = certs.path("ca.pem");
    let mut command = world.command(&["put", "default", "a", "1", "--ca", ca.to_str().unwrap()]);
    command.arg("--cert").arg(certs.path("ann.pem")).arg("--key").arg(certs.path("ann.key"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = world.command(&["get", "default", "a", "--timeout", "100ms"]).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && line.contains("https://"), "{line}");
}

/// New files while clients come and go: no request fails, and the new certificate is seen.
#[test]
fn certificates_are_replaced_under_load() {
    let certs = Certs::new();
    certs.issue("server", &["127.0.0.1"]);
    let mut world = World::initialised(1);
    configure(&world, 0, &certs.section("tls", "server", ""));
    with_tls(&mut world, certs.client(None));
    start(&mut world);
    let api = world.api(0).to_owned();
    let config = certs.client(None);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (api, config, stop) = (api.clone(), config.clone(), stop.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.unwrap();
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = runtime.block_on(tls_ask(&config, &api, "/healthz")).unwrap();
                    assert_eq!(answer.status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let hang_up = || {
        let pid = world.cluster.nodes[0].running().unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    let report = || world.pages()[0].security.tls.clone().unwrap();
    for round in 0..3 {
        let name = format!("round-{round}");
        let (cert, key) = (certs.path("server.pem"), certs.path("server.key"));
        certs.authority.issue_to(&order("server", &["127.0.0.1", &name]), &cert, &key).unwrap();
        hang_up();
        eventually("the new one is in use", || report().certificate.names.contains(&name));
    }
    let good = fs::read(certs.path("server.pem")).unwrap();
    fs::write(certs.path("server.pem"), "garbage").unwrap();
    hang_up();
    eventually("status says what is wrong", || {
        report().problem.is_some_and(|line| line.contains("server.pem"))
    });
    assert!(log_of(&world, 0).contains("the old certificate stays in use"));
    fs::write(certs.path("server.pem"), good).unwrap();
    hang_up();
    eventually("and that it is good again", || report().problem.is_none());
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
}

/// A node that wants tokens, and the key that makes them.
struct Closed {
    world: World,
    root: RootKey,
    folder: Folder,
}

impl Closed {
    fn start() -> Closed {
        let root = RootKey::generate();
        let folder = Folder::new();
        let list = folder.0.join("revoked");
        fs::write(&list, "# nobody\n").unwrap();
        let mut world = World::initialised(1);
        let section = format!(
            "[auth]\nroot_keys = [\"{}\"]\nrevoked = \"{}\"\n",
            root.public(),
            list.display()
        );
        configure(&world, 0, &section);
        let mut closed = Closed { world: World::initialised(1), root, folder };
        std::mem::swap(&mut closed.world, &mut world);
        let token = closed.token(&["admin:*", "read:*", "write:*"], None);
        let mut bearer: hyper::header::HeaderValue = format!("Bearer {token}").parse().unwrap();
        bearer.set_sensitive(true);
        let credentials = Credentials { tls: None, bearer: Some(bearer) };
        let endpoints = closed.world.cluster.endpoints();
        closed.world.client = Client::with(&endpoints, credentials).unwrap();
        start(&mut closed.world);
        closed
    }

    fn token(&self, grants: &[&str], until: Option<u64>) -> String {
        let grants = grants.iter().map(|text| {
            let mut parts = text.splitn(3, ':');
            Grant {
                right: parts.next().unwrap().parse().unwrap(),
                namespace: parts.next().unwrap().to_owned(),
                prefix: parts.next().unwrap_or_default().to_owned(),
            }
        });
        let subject = Some("tester".to_owned());
        self.root.create(&Terms { subject, grants: grants.collect(), until }).unwrap()
    }

    fn http(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        ask(self.world.api(0), method, path, &[("authorization", &bearer)], body)
    }
}

/// The code of a gRPC refusal, or `ok`.
fn code_of<T>(result: Result<tonic::Response<T>, tonic::Status>) -> String {
    let Err(status) = result else { return "ok".to_owned() };
    let problem = understudy_proto::problem(&status).unwrap_or_else(|| panic!("{status:?}"));
    let expected = match problem.code.as_str() {
        "forbidden" => tonic::Code::PermissionDenied,
        "unauthenticated" | "token_expired" | "token_revoked" => tonic::Code::Unauthenticated,
        _ => status.code(),
    };
    assert_eq!(status.code(), expected);
    problem.code
}

/// The code of an HTTP refusal, or `ok`.
fn code(answer: &Answer) -> String {
    if answer.status < 300 {
        return "ok".to_owned();
    }
    let page: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let word = page["code"].as_str().unwrap().to_owned();
    let expected = match word.as_str() {
        "forbidden" => 403,
        "unauthenticated" | "token_expired" | "token_revoked" => 401,
        _ => answer.status,
    };
    assert_eq!(answer.status, expected, "{page}");
    if matches!(expected, 401 | 403) {
        assert!(
            answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer "))
        );
        assert_eq!(page["certainty"], "refused", "{page}");
    }
    word
}

fn with_token<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Right x namespace x prefix, over both protocols.
#[test]
fn a_token_allows_what_it_grants_and_nothing_else() {
    let closed = Closed::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let all = closed.token(&["write:default", "write:second"], None);
    for (namespace, id) in [("default", "a%2F1"), ("default", "b"), ("second", "a%2F1")] {
        let path = format!("/v1/namespaces/{namespace}/actors/{id}");
        assert_eq!(code(&closed.http(&all, "PUT", &path, b"1")), "ok");
    }
    let tokens: [(&[&str], &str); 6] = [
        (&["read:default"], "rd"),
        (&["write:default"], "wd"),
        (&["read:default:a/", "write:default:a/"], "rda wda"),
        (&["read:*"], "r*"),
        (&["subscribe:*", "monitor:*"], ""),
        (&["admin:*"], ""),
    ];
    for (grants, word) in tokens {
        let token = closed.token(grants, None);
        for (namespace, id, short) in
            [("default", "a/1", "da"), ("default", "b", "db"), ("second", "a/1", "sa")]
        {
            for (right, letter) in [(Right::Read, "r"), (Right::Write, "w")] {
                let granted = word.split(' ').any(|word| {
                    word.strip_prefix(letter).is_some_and(|rest| {
                        rest == "*" || (!rest.is_empty() && short.starts_with(rest))
                    })
                });
                let expected = if granted { "ok" } else { "forbidden" };
                let path = format!("/v1/namespaces/{namespace}/actors/{}", id.replace('/', "%2F"));
                let (http, grpc) = match right {
                    Right::Read => (
                        closed.http(&token, "GET", &path, b""),
                        runtime.block_on(grpc_read(&closed, &token, namespace, id)),
                    ),
                    _ => (
                        closed.http(&token, "PUT", &path, b"1"),
                        runtime.block_on(grpc_put(&closed, &token, namespace, id)),
                    ),
                };
                assert_eq!(code(&http), expected, "{grants:?} {right} {namespace} {id}");
                assert_eq!(grpc, expected, "{grants:?} {right} {namespace} {id}");
            }
        }
        let status = code(&closed.http(&token, "GET", "/v1/status", b""));
        let monitor = grants.iter().any(|grant| matches!(*grant, "admin:*" | "monitor:*"));
        assert_eq!(status, if monitor { "ok" } else { "forbidden" }, "{grants:?}");
        let backup = code(&closed.http(&token, "GET", "/v1/backup", b""));
        assert_eq!(backup, if grants == ["admin:*"] { "ok" } else { "forbidden" }, "{grants:?}");
    }
}

async fn grpc_read(closed: &Closed, token: &str, namespace: &str, id: &str) -> String {
    let mut client =
        actors_client::ActorsClient::new(crate::grpc::connect(closed.world.api(0)).await);
    let (namespace, id) = (namespace.to_owned(), id.to_owned());
    let message = proto::ReadRequest { namespace, id, ..Default::default() };
    code_of(client.read(with_token(token, message)).await)
}

async fn grpc_put(closed: &Closed, token: &str, namespace: &str, id: &str) -> String {
    let mut client =
        actors_client::ActorsClient::new(crate::grpc::connect(closed.world.api(0)).await);
    let (namespace, id) = (namespace.to_owned(), id.to_owned());
    let content = Some(proto::Content { value: b"1".to_vec().into(), ..Default::default() });
    let message = proto::PutRequest { namespace, id, content, ..Default::default() };
    code_of(client.put(with_token(token, message)).await)
}

/// A scan is within the token's prefix or refused, never silently less.
#[test]
fn scans_and_batches_are_looked_at_as_a_whole() {
    let closed = Closed::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let token = closed.token(&["read:default:a/", "write:default:a/"], None);
    let narrow = Narrowing { prefixes: vec!["a/1".to_owned()], ..Narrowing::default() };
    let narrow = attenuate(&token, &narrow).unwrap();
    runtime.block_on(async {
        for id in ["a/1", "a/2", "b"] {
            let all = closed.token(&["write:default"], None);
            assert_eq!(grpc_put(&closed, &all, "default", id).await, "ok");
        }
        let channel = crate::grpc::connect(closed.world.api(0)).await;
        let mut client = actors_client::ActorsClient::new(channel.clone());
        for (token, prefix, expected) in [
            (&token, "a/", "ok"),
            (&token, "a/1", "ok"),
            (&token, "a", "forbidden"),
            (&token, "", "forbidden"),
            (&token, "b", "forbidden"),
            (&narrow, "a/1", "ok"),
            (&narrow, "a/", "forbidden"),
        ] {
            let message = proto::ScanRequest {
                namespace: "default".to_owned(),
                prefix: prefix.to_owned(),
                ..Default::default()
            };
            assert_eq!(
                code_of(client.scan(with_token(token, message)).await),
                expected,
                "{prefix}"
            );
        }
        // One foreign id, and that one is refused.
        let items =
            ["a/1", "b"].map(|id| proto::BatchReadItem { id: id.to_owned(), ..Default::default() });
        let message = proto::BatchReadRequest {
            namespace: "default".to_owned(),
            items: items.to_vec(),
            ..Default::default()
        };
        let results = client.batch_read(with_token(&token, message)).await.unwrap().into_inner();
        let words: Vec<String> = results
            .results
            .into_iter()
            .map(|result| match result.result.unwrap() {
                proto::batch_read_result::Result::Found(_) => "ok".to_owned(),
                proto::batch_read_result::Result::Problem(problem) => problem.code,
            })
            .collect();
        assert_eq!(words, ["ok", "forbidden"]);
        // Whoever may do something finds the leaders, of the namespaces that it has to do with.
        let mut cluster = cluster_client::ClusterClient::new(channel);
        let status = cluster.status(with_token(&token, proto::StatusRequest::default())).await;
        let seen = status.unwrap().into_inner().namespaces;
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].namespace, "default");
        let status = cluster.status(proto::StatusRequest::default()).await;
        assert_eq!(code_of(status), "unauthenticated");
    });
}

#[test]
fn without_a_good_token_only_probes_are_answered() {
    let closed = Closed::start();
    let api = closed.world.api(0);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(api, "GET", path, &[], b"").status, 200);
    }
    let path = "/v1/namespaces/default/actors/a";
    for path in ["/v1/status", "/v1/backup", path, "/docs/problems", "/nowhere"] {
        ask(api, "GET", path, &[], b"").assert_problem(401, "unauthenticated");
    }
    let good = closed.token(&["read:*"], None);
    let sealed = good[..good.len() - 4].to_owned();
    let other =
        Closed { world: World::initialised(1), root: RootKey::generate(), folder: Folder::new() };
    let long = "A".repeat(20_000);
    for bad in ["x", &sealed, &long, &other.token(&["read:*"], None)] {
        assert_eq!(code(&closed.http(bad, "GET", path, b"")), "unauthenticated");
    }
    let old = closed.token(&["read:*"], Some(1));
    assert_eq!(code(&closed.http(&old, "GET", path, b"")), "token_expired");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let read = |token: String| {
            let closed = &closed;
            async move { grpc_read(closed, &token, "default", "a").await }
        };
        assert_eq!(read("x".to_owned()).await, "unauthenticated");
        assert_eq!(read(old).await, "token_expired");
        assert_eq!(read(good.clone()).await, "not_found");
        let channel = crate::grpc::connect(api).await;
        let mut client = actors_client::ActorsClient::new(channel);
        let status = client.read(proto::ReadRequest::default()).await;
        assert_eq!(code_of(status), "unauthenticated");
    });

    // Revoked, while the node runs.
    assert_eq!(code(&closed.http(&good, "GET", path, b"")), "not_found");
    let id = revocation_ids(&good).unwrap().last().unwrap().to_string();
    fs::write(closed.folder.0.join("revoked"), format!("{id}\n")).unwrap();
    let pid = closed.world.cluster.nodes[0].running().unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("the token is out", || {
        code(&closed.http(&good, "GET", path, b"")) == "token_revoked"
    });
    assert_eq!(runtime.block_on(grpc_read(&closed, &good, "default", "a")), "token_revoked");
    assert_eq!(closed.world.pages()[0].security.revoked, Some(1));
}

/// Every refusal has its line, no line has a secret, and a flood of them stays small.
#[test]
fn refusals_are_written_down_and_secrets_are_not() {
    let closed = Closed::start();
    let token = closed.token(&["read:default"], None);
    let path = "/v1/namespaces/default/actors/a%0Aforged%20line";
    assert_eq!(code(&closed.http(&token, "PUT", path, b"1")), "forbidden");
    assert_eq!(code(&closed.http(&token[8..], "PUT", path, b"1")), "unauthenticated");
    let api = closed.world.api(0);
    let bearer = format!("Basic {token}");
    ask(api, "GET", "/v1/status", &[("authorization", &bearer)], b"")
        .assert_problem(401, "unauthenticated");
    let name = revocation_ids(&token).unwrap().last().unwrap().short();
    eventually("its line is there", || log_of(&closed.world, 0).contains("code=\"forbidden\""));
    let log = log_of(&closed.world, 0);
    let line = log.lines().find(|line| line.contains("code=\"forbidden\"")).unwrap();
    for words in ["peer=127.0.0.1:", "tester", &name, "write", "default", "a\\\\nforged line"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    for _ in 0..1000 {
        closed.http("x", "GET", "/v1/status", b"");
    }
    eventually("the flood is counted", || {
        log_of(&closed.world, 0).contains("refused, without a line each")
    });
    let log = log_of(&closed.world, 0);
    let lines = log.lines().filter(|line| line.contains("code=\"unauthenticated\"")).count();
    assert!(lines < 600, "{lines} lines");

    let secrets = [token[..60].to_owned(), closed.root.secret()[16..].to_owned()];
    for entry in walk(&closed.world.cluster.dir) {
        let bytes = fs::read(&entry).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{}", entry.display());
        }
    }
}

/// Every file below `dir` but sockets and the like.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(walk(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

/// The commands of docs/SECURITY.md, one after the other.
#[test]
fn tokens_and_certificates_are_made_on_the_command_line() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(UNDERSTUDY);
        command.current_dir(&folder.0).args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), text, words)
    };
    let good = |arguments: &[&str]| {
        let (good, text, words) = run(arguments);
        assert!(good, "{arguments:?}: {words}");
        text
    };
    let public = good(&["token", "keygen", "--out", "root.key"]);
    assert!(public.starts_with("ed25519/"));
    let (again, _, words) = run(&["token", "keygen", "--out", "root.key"]);
    assert!(!again && words.contains("cannot make"), "{words}");
    let mode = fs::metadata(folder.0.join("root.key")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let token = good(&[
        "token",
        "create",
        "--key",
        "root.key",
        "--subject",
        "ann",
        "--grant",
        "read,write:default:orders/",
    ]);
    fs::write(folder.0.join("token"), &token).unwrap();
    let narrow = good(&[
        "token",
        "attenuate",
        "@token",
        "--right",
        "read",
        "--prefix",
        "orders/7",
        "--ttl",
        "1h",
    ]);
    let shown = good(&["token", "inspect", &narrow, "--root-key", &public]);
    for words in ["ann", "write:default:orders/", "orders/7", "read", "good"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let page: serde_json::Value =
        serde_json::from_str(&good(&["token", "inspect", &narrow, "--json"])).unwrap();
    assert_eq!(page["expired"], false);
    assert_eq!(page["revocation_ids"].as_array().unwrap().len(), 2);
    assert_eq!(good(&["token", "revoke-id", &narrow]), page["revocation_ids"][1]);
    assert!(!run(&["token", "inspect", "@root.key"]).0);
    assert!(!run(&["token", "create", "--key", "token", "--grant", "read:default"]).0);
    assert!(!run(&["token", "attenuate", "@token"]).0);

    good(&["cert", "ca", "--dir", "certs"]);
    good(&["cert", "issue", "--dir", "certs", "--name", "node-1", "--name", "node-2"]);
    assert!(!run(&["cert", "ca", "--dir", "certs"]).0);
    let mode = fs::metadata(folder.0.join("certs/node-2.key")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}
