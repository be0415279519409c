//! Certificates, with real processes: who gets in, who does not, and what each is told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use understudy_node::client::Client;
use understudy_node::credentials::Credentials;
use understudy_tls::authority::{Authority, Order};
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{ClientPems, Pem, accept_failure, client_config, connect};

use crate::world::{Answer, Folder, PATIENCE, UNDERSTUDY, World, ask, eventually, parse, raw};

/// An authority and what it has signed, in a folder of its own.
pub struct Certs {
    folder: Folder,
    authority: Authority,
}

impl Certs {
    pub fn new() -> Certs {
        let folder = Folder::new();
        let authority = Authority::create(&folder.0, "tests", 10).unwrap();
        Certs { folder, authority }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    pub fn issue(&self, name: &str, names: &[&str]) {
        self.authority.issue(&order(name, names)).unwrap();
    }

    /// Whom a client believes, and what it shows if it has a name.
    pub fn pems(&self, name: Option<&str>) -> ClientPems {
        let file = |end: &str| name.map(|name| Pem::file(self.path(&format!("{name}.{end}"))));
        let ca = Some(Pem::file(self.path("ca.pem")));
        ClientPems { ca, cert: file("pem"), key: file("key") }
    }

    fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        client_config(&self.pems(name), &[b"http/1.1"]).unwrap()
    }

    /// A section of a node's configuration.
    pub fn section(&self, head: &str, name: &str, ca: &str) -> String {
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
pub fn configure(world: &World, place: usize, sections: &str) {
    let path = world.cluster.nodes[place].config();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n{sections}")).unwrap();
}

pub fn log_of(world: &World, place: usize) -> String {
    fs::read_to_string(world.cluster.nodes[place].config().with_file_name("log")).unwrap()
}

pub fn start(world: &mut World) {
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
        .find_map(|line| line.strip_prefix("peer = "))
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
    let pems = ClientPems { ca: certs.pems(None).ca, ..others.pems(Some("eve")) };
    assert!(get(&client_config(&pems, &[]).unwrap()).is_err());
    // Plain HTTP is answered in plain words.
    let answer = ask(&api, "GET", "/healthz", &[], b"");
    answer.assert_problem(400, "bad_request");
    assert!(answer.text().contains("https://"), "{}", answer.text());
    raw(&api, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").assert_problem(400, "bad_request");
    let log = log_of(&world, 0);
    assert!(log.contains("shows no certificate") && log.contains("not from the CA named here"));

    // The command line, and what it says without.
    let ca = certs.path("ca.pem");
    let mut command = world.command(&["status", "--ca", ca.to_str().unwrap()]);
    command.arg("--cert").arg(certs.path("ann.pem")).arg("--key").arg(certs.path("ann.key"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = world.command(&["status"]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && table.contains("https://"), "{table}");
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
