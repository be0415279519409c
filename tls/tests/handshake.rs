//! Who gets in and who does not, over real connections; and that each is told what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use understudy_tls::authority::{Authority, Order};
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{
    Change, ClientPems, PeerFiles, Peers, Pem, Server, ServerFiles, Stream, accept_failure,
    client_config, connect,
};

/// A folder with two authorities that do not know each other.
struct World {
    folder: PathBuf,
    ours: Authority,
    theirs: Authority,
}

impl World {
    fn new() -> World {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("understudy-tls-{}-{number}", std::process::id()));
        let ours = Authority::create(&folder.join("ours"), "ours", 10).unwrap();
        let theirs = Authority::create(&folder.join("theirs"), "theirs", 10).unwrap();
        World { folder, ours, theirs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn server(&self, mutual: bool) -> Server {
        let (cert, key) = self.ours.issue(&order("server", &["localhost"])).unwrap();
        let client_ca = mutual.then(|| self.path("ours/ca.pem"));
        Server::load(ServerFiles { cert, key, client_ca }, &[b"h2", b"http/1.1"]).unwrap()
    }

    fn peers(&self, by: &Authority, ca: &str, id: u64, names: &[&str]) -> Peers {
        Peers::load(self.peer_files(by, ca, id, names), id).unwrap()
    }

    fn peer_files(&self, by: &Authority, ca: &str, id: u64, names: &[&str]) -> PeerFiles {
        let (cert, key) = by.issue(&order(&format!("member{id}"), names)).unwrap();
        PeerFiles { cert, key, ca: self.path(ca), name: "node-{id}".to_owned() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn order(name: &str, names: &[&str]) -> Order {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    // A clock that is a little behind does not matter.
    let from = SystemTime::now() - Duration::from_secs(60);
    Order { name: name.to_owned(), names, from, days: 5 }
}

fn client(ca: &Path, identity: Option<(PathBuf, PathBuf)>) -> Arc<ClientConfig> {
    let (cert, key) = identity.map(|(cert, key)| (Pem::File(cert), Pem::File(key))).unzip();
    let pems = ClientPems { ca: Some(Pem::file(ca)), cert, key };
    // From files and from their text it is the same.
    let text = |pem: &Option<Pem>| match pem {
        Some(Pem::File(path)) => Some(Pem::text(std::fs::read(path).unwrap())),
        _ => None,
    };
    let texts = ClientPems { ca: text(&pems.ca), cert: text(&pems.cert), key: text(&pems.key) };
    assert!(!format!("{texts:?}").contains("BEGIN"));
    client_config(&pems, &[b"http/1.1"]).unwrap();
    client_config(&texts, &[b"http/1.1"]).unwrap()
}

/// Lets both shake hands, and one byte go each way: what the server thinks of a client's certificate
/// comes with its first answer.
async fn meet(
    server: &Server,
    config: &Arc<ClientConfig>,
    host: &str,
) -> [Result<Stream, String>; 2] {
    let (here, there) = pair().await;
    let dialed = async {
        let stream = connect(config, host, here).await.map_err(|error| accept_failure(&error))?;
        touch(stream).await
    };
    let accepted = async {
        let stream = server.accept(there).await.map_err(|error| accept_failure(&error))?;
        touch(stream).await
    };
    let (dialed, accepted) = tokio::join!(dialed, accepted);
    [dialed, accepted]
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    (here.unwrap(), there.unwrap().0)
}

async fn touch(mut stream: Stream) -> Result<Stream, String> {
    let exchange = async {
        stream.write_all(b"x").await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    match exchange.await {
        Ok(_) => Ok(stream),
        Err(error) => Err(accept_failure(&error)),
    }
}

#[track_caller]
fn said(result: &Result<Stream, String>, words: &str) {
    let line = result.as_ref().unwrap_err();
    assert!(line.contains(words), "{line}");
}

#[tokio::test]
async fn a_client_that_knows_the_ca_gets_in() {
    let world = World::new();
    let server = world.server(false);
    let config = client(&world.path("ours/ca.pem"), None);
    let [dialed, accepted] = meet(&server, &config, "localhost").await;
    assert_eq!(dialed.unwrap().protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(accepted.unwrap().subject(), None);
}

#[tokio::test]
async fn a_client_refuses_what_its_ca_did_not_sign_or_another_name() {
    let world = World::new();
    let server = world.server(false);
    let stranger = client(&world.path("theirs/ca.pem"), None);
    let [dialed, accepted] = meet(&server, &stranger, "localhost").await;
    said(&dialed, "not from the CA named here");
    said(&accepted, "does not know the CA");
    let config = client(&world.path("ours/ca.pem"), None);
    let [dialed, _] = meet(&server, &config, "elsewhere").await;
    said(&dialed, "is for another name");
}

#[tokio::test]
async fn with_mutual_tls_only_our_clients_get_in() {
    let world = World::new();
    let server = world.server(true);
    let ca = world.path("ours/ca.pem");
    let ours = world.ours.issue(&order("ann", &["ann"])).unwrap();
    let [dialed, accepted] = meet(&server, &client(&ca, Some(ours)), "localhost").await;
    assert!(dialed.is_ok());
    assert_eq!(accepted.unwrap().subject().as_deref(), Some("CN=ann"));

    let [dialed, accepted] = meet(&server, &client(&ca, None), "localhost").await;
    said(&dialed, "wants a certificate");
    said(&accepted, "shows no certificate");

    let theirs = world.theirs.issue(&order("eve", &["eve"])).unwrap();
    let [dialed, accepted] = meet(&server, &client(&ca, Some(theirs)), "localhost").await;
    assert!(dialed.is_err());
    said(&accepted, "not from the CA named here");
}

/// A certificate that ends while its client runs: the client does not look again, the server does.
#[tokio::test]
async fn an_expired_certificate_is_refused_by_both_sides() {
    let world = World::new();
    let ca = world.path("ours/ca.pem");
    let mut old = order("old", &["localhost"]);
    old.from = SystemTime::now() - Duration::from_secs(5 * 86_400 - 2);
    let (cert, key) = world.ours.issue(&old).unwrap();
    let config = client(&ca, Some((cert.clone(), key.clone())));
    let server = world.server(true);
    let stale = Server::load(ServerFiles { cert, key, client_ca: None }, &[]).unwrap();
    while understudy_tls::rustls::pki_types::UnixTime::now().as_secs()
        <= u64::try_from(stale.report().certificate.not_after).unwrap()
    {
        tokio::task::yield_now().await;
    }
    let [dialed, accepted] = meet(&server, &config, "localhost").await;
    assert!(dialed.is_err());
    said(&accepted, "has expired");
    let [dialed, accepted] = meet(&stale, &client(&ca, None), "localhost").await;
    said(&dialed, "has expired");
    said(&accepted, "expired certificate");
    let line = Server::load(
        ServerFiles {
            cert: world.path("ours/old.pem"),
            key: world.path("ours/old.key"),
            client_ca: None,
        },
        &[],
    );
    assert!(line.unwrap_err().to_string().contains("expired on"));
}

#[tokio::test]
async fn plain_bytes_are_refused_at_once() {
    let world = World::new();
    let server = world.server(false);
    let (mut here, there) = pair().await;
    here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = server.accept(there).await.unwrap_err();
    assert!(accept_failure(&error).contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let world = World::new();
    let server = world.server(false);
    let (cert, key) = (world.path("ours/server.pem"), world.path("ours/server.key"));
    let config = client(&world.path("ours/ca.pem"), None);
    assert_eq!(server.reload(), Change::None);

    // The new certificate is there, its key not yet.
    world.ours.issue_to(&order("server", &["localhost", "new"]), &cert, &world.path("k")).unwrap();
    assert!(matches!(server.reload(), Change::Kept(error) if error.to_string().contains("belong")));
    assert_eq!(server.reload(), Change::None, "once is enough");
    assert!(server.report().problem.is_some());
    assert!(meet(&server, &config, "localhost").await.iter().all(Result::is_ok));
    assert!(meet(&server, &config, "new").await[0].is_err());

    std::fs::rename(world.path("k"), &key).unwrap();
    assert!(
        matches!(server.reload(), Change::Replaced(facts) if facts.names.contains(&"new".into()))
    );
    assert_eq!(server.report().problem, None);
    assert!(meet(&server, &config, "new").await.iter().all(Result::is_ok));

    // Gone, garbage, too long, and back.
    let good = std::fs::read(&cert).unwrap();
    std::fs::remove_file(&cert).unwrap();
    assert!(
        matches!(server.reload(), Change::Kept(error) if error.to_string().contains("cannot read"))
    );
    std::fs::write(&cert, "garbage").unwrap();
    assert!(matches!(server.reload(), Change::Kept(error) if error.to_string().contains("PEM")));
    std::fs::write(&cert, vec![b'x'; 2_000_000]).unwrap();
    assert!(matches!(server.reload(), Change::Kept(error) if error.to_string().contains("larger")));
    std::fs::write(&cert, good).unwrap();
    assert!(matches!(server.reload(), Change::Replaced(_)));
    assert!(meet(&server, &config, "new").await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn files_that_do_not_fit_are_named() {
    let world = World::new();
    let (cert, key) = world.ours.issue(&order("a", &["localhost"])).unwrap();
    let (other_cert, other_key) = world.ours.issue(&order("b", &["localhost"])).unwrap();
    let load = |cert: &Path, key: &Path| {
        let files = ServerFiles { cert: cert.into(), key: key.into(), client_ca: None };
        Server::load(files, &[]).unwrap_err().to_string()
    };
    assert!(load(&cert, &other_key).contains("does not belong to the certificate"));
    assert!(load(&world.path("none"), &key).contains("none"));
    assert!(load(&key, &key).contains("no certificate in PEM"));
    assert!(load(&other_cert, &other_cert).contains("no private key in PEM"));
    let mut early = order("early", &["localhost"]);
    early.from = SystemTime::now() + Duration::from_secs(86_400);
    let (cert, key) = world.ours.issue(&early).unwrap();
    assert!(load(&cert, &key).contains("begins on"));
    let why = |pems: &ClientPems| client_config(pems, &[]).unwrap_err().to_string();
    assert!(why(&ClientPems::default()).contains("--ca"));
    let ca = Some(Pem::text("no PEM"));
    let line = why(&ClientPems { ca, ..ClientPems::default() });
    assert!(line.contains("the CA `(text)` has no certificate in PEM"), "{line}");
}

async fn dial(from: &Peers, to: &Peers, id: u64) -> [Result<Stream, String>; 2] {
    let (here, there) = pair().await;
    let dialed = async {
        let stream = from.dial(id, here).await.map_err(|error| accept_failure(&error))?;
        touch(stream).await
    };
    let accepted = async {
        let stream = to.accept(there).await.map_err(|error| accept_failure(&error))?;
        touch(stream).await
    };
    let (dialed, accepted) = tokio::join!(dialed, accepted);
    [dialed, accepted]
}

#[tokio::test]
async fn a_member_is_who_its_certificate_says() {
    let world = World::new();
    let one = world.peers(&world.ours, "ours/ca.pem", 1, &["node-1"]);
    let two = world.peers(&world.ours, "ours/ca.pem", 2, &["node-2", "localhost"]);
    let [dialed, accepted] = dial(&one, &two, 2).await;
    let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!(one.prove(dialed.certificate(), 2), Ok(()));
    assert_eq!(two.prove(accepted.certificate(), 1), Ok(()));
    let line = two.prove(accepted.certificate(), 3).unwrap_err();
    assert!(line.contains("says that it is node 3") && line.contains("`node-1`"), "{line}");
    assert!(two.prove(None, 1).is_err());

    // Node 2 answers where node 3 is looked for.
    let [dialed, _] = dial(&one, &two, 3).await;
    said(&dialed, "is for another name");

    let stranger = world.peers(&world.theirs, "theirs/ca.pem", 3, &["node-3"]);
    let [dialed, accepted] = dial(&stranger, &one, 1).await;
    said(&dialed, "not from the CA named here");
    assert!(accepted.is_err());
    let [dialed, accepted] = dial(&one, &stranger, 3).await;
    said(&dialed, "not from the CA named here");
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_member_with_the_wrong_certificate_does_not_start() {
    let world = World::new();
    let load = |by: &Authority, ca: &str, id: u64, names: &[&str]| {
        Peers::load(world.peer_files(by, ca, id, names), id).unwrap_err().to_string()
    };
    let line = load(&world.ours, "ours/ca.pem", 1, &["node-2"]);
    assert!(line.contains("names `node-2` and not this node"), "{line}");
    let line = load(&world.theirs, "ours/ca.pem", 1, &["node-1"]);
    assert!(line.contains("not good among members"), "{line}");
    let mut files = world.peer_files(&world.ours, "ours/ca.pem", 1, &["node-1"]);
    files.name = "node".to_owned();
    assert!(Peers::load(files, 1).unwrap_err().to_string().contains("{id}"));
}
