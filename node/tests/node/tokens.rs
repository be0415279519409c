//! Tokens, with real processes and over both protocols: what each allows, what a refusal says and
//! leaves in the log, and that nothing secret is written anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use understudy_auth::{Grant, Narrowing, Right, RootKey, Terms, attenuate, revocation_ids};
use understudy_node::client::Client;
use understudy_node::credentials::Credentials;
use understudy_proto::v1::{self as proto, actors_client, cluster_client};

use crate::secure::{configure, log_of, start};
use crate::world::{Answer, Folder, UNDERSTUDY, World, ask, eventually};

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
        let world = World::initialised(1);
        let section = format!(
            "[auth]\nroot_keys = [\"{}\"]\nrevoked = \"{}\"\n",
            root.public(),
            list.display()
        );
        configure(&world, 0, &section);
        let mut closed = Closed { world, root, folder };
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
        token_of(&self.root, grants, until)
    }

    fn http(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        ask(self.world.api(0), method, path, &[("authorization", &bearer)], body)
    }
}

pub fn token_of(root: &RootKey, grants: &[&str], until: Option<u64>) -> String {
    let grants = grants.iter().map(|text| {
        let mut parts = text.splitn(3, ':');
        Grant {
            right: parts.next().unwrap().parse().unwrap(),
            namespace: parts.next().unwrap().to_owned(),
            prefix: parts.next().unwrap_or_default().to_owned(),
        }
    });
    let subject = Some("tester".to_owned());
    root.create(&Terms { subject, grants: grants.collect(), until }).unwrap()
}

/// The code of a gRPC refusal, or `ok`.
pub fn code_of<T>(result: Result<tonic::Response<T>, tonic::Status>) -> String {
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

pub fn with_token<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Provokes every refusal of a token over both protocols; gives their codes.
pub fn refusals() -> [&'static str; 4] {
    let mut closed = Closed::start();
    let good = closed.token(&["read:default"], None);
    let out = closed.token(&["write:default"], None);
    let id = revocation_ids(&out).unwrap().last().unwrap().to_string();
    fs::write(closed.folder.0.join("revoked"), format!("{id}\n")).unwrap();
    // It reads the list when it starts.
    closed.world.cluster.stop();
    start(&mut closed.world);
    let old = closed.token(&["write:default"], Some(1));
    let path = "/v1/namespaces/default/actors/a";
    let tokens = [
        ("x", "unauthenticated"),
        (&*old, "token_expired"),
        (&*out, "token_revoked"),
        (&*good, "forbidden"),
    ];
    tokens.map(|(token, word)| {
        assert_eq!(code(&closed.http(token, "PUT", path, b"1")), word);
        let put = grpc_put(&closed, token, "default", "a");
        assert_eq!(crate::grpc::block_on(put), word);
        word
    })
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
    let other = token_of(&RootKey::generate(), &["read:*"], None);
    let long = "A".repeat(20_000);
    for bad in ["x", &sealed, &long, &other] {
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
    assert_eq!(code(&closed.http(&token[4..], "PUT", path, b"1")), "unauthenticated");
    let api = closed.world.api(0);
    let bearer = format!("Basic {token}");
    ask(api, "GET", "/v1/status", &[("authorization", &bearer)], b"")
        .assert_problem(401, "unauthenticated");
    let name = revocation_ids(&token).unwrap().last().unwrap().short();
    eventually("its line is there", || log_of(&closed.world, 0).contains("code=\"forbidden\""));
    let log = log_of(&closed.world, 0);
    let line = log.lines().find(|line| line.contains("code=\"forbidden\"")).unwrap();
    for words in ["peer=127.0.0.1:", "tester", &name, "write", "default", "a\\nforged line"] {
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

/// The right `subscribe`, for a namespace and for what ids begin with, over both protocols.
#[test]
fn a_subscription_is_allowed_as_far_as_its_token_goes() {
    let closed = Closed::start();
    let all = closed.token(&["subscribe:default"], None);
    let some = closed.token(&["subscribe:default:a/", "read:default", "write:default"], None);
    let none = closed.token(&["read:*", "write:*", "admin:*"], None);
    let changes = |token: &str, query: &str| {
        let path = format!("/v1/namespaces/default/changes?wait_ms=0&{query}");
        code(&closed.http(token, "GET", &path, b""))
    };
    for (token, query, expected) in [
        (&all, "", "ok"),
        (&all, "prefix=b", "ok"),
        (&some, "", "forbidden"),
        (&some, "prefix=a%2F1&prefix=a%2F", "ok"),
        (&some, "prefix=a%2F1&prefix=b", "forbidden"),
        (&some, "start=beginning&prefix=a", "forbidden"),
        (&none, "prefix=a%2F", "forbidden"),
        (&none, "start=beginning", "forbidden"),
    ] {
        assert_eq!(changes(token, query), expected, "{query}");
    }
    let other = closed.http(&all, "GET", "/v1/namespaces/second/changes?wait_ms=0", b"");
    assert_eq!(code(&other), "forbidden");
    for (token, prefixes, expected) in [
        (&all, &[][..], "ok"),
        (&some, &[], "forbidden"),
        (&some, &["a/1"], "ok"),
        (&some, &["a/1", "b"], "forbidden"),
    ] {
        let watched = crate::grpc::block_on(grpc_watch(&closed, token, prefixes));
        assert_eq!(watched, expected, "{prefixes:?}");
    }
}

async fn grpc_watch(closed: &Closed, token: &str, prefixes: &[&str]) -> String {
    let mut client =
        actors_client::ActorsClient::new(crate::grpc::connect(closed.world.api(0)).await);
    let namespace = "default".to_owned();
    let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let subscribe = proto::WatchSubscribe {
        namespaces: vec![proto::WatchNamespace { namespace, start: None }],
        filter: Some(proto::WatchFilter { prefixes, kinds: Vec::new() }),
        ..Default::default()
    };
    let kind = Some(proto::watch_request::Kind::Subscribe(subscribe));
    let requests = futures_util::stream::iter([proto::WatchRequest { kind }]);
    code_of(client.watch(with_token(token, requests)).await)
}
