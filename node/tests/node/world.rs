//! A cluster of real processes in a folder of its own, and plain bytes to talk to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use understudy_node::api::status::StatusPage;
use understudy_node::client::Client;
use understudy_node::cluster::{self, LocalCluster, Shape};

/// The program under test.
pub const UNDERSTUDY: &str = env!("CARGO_BIN_EXE_understudy");

/// Longest any single wait in a test may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster; stopped and removed at the end.
pub struct World {
    pub cluster: LocalCluster,
    pub client: Client,
    runtime: tokio::runtime::Runtime,
    _folder: Folder,
}

/// An empty folder; removed at the end.
pub struct Folder(pub PathBuf);

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl World {
    /// A cluster that has elected its leaders.
    pub fn start(nodes: u64) -> World {
        let mut world = World::initialised(nodes);
        world.cluster.start().unwrap();
        world.wait_for_leader();
        world
    }

    /// A cluster whose nodes have not been started yet.
    pub fn initialised(nodes: u64) -> World {
        let folder = Folder::new();
        let namespaces = vec!["default".to_owned(), "second".to_owned()];
        let shape = Shape { nodes: Some(nodes), namespaces, port: None };
        let mut cluster = LocalCluster::create_or_open(&folder.0, &shape, true).unwrap();
        cluster.program = UNDERSTUDY.into();
        let client = Client::new(&cluster.endpoints()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        World { cluster, client, runtime, _folder: folder }
    }

    pub fn wait_for_leader(&mut self) -> Vec<StatusPage> {
        self.runtime.block_on(self.cluster.wait_for_leader(&self.client)).unwrap()
    }

    pub fn pages(&self) -> Vec<StatusPage> {
        self.runtime.block_on(self.cluster.pages(&self.client))
    }

    /// The place of the node that leads the first namespace.
    pub fn leader(&mut self) -> usize {
        let pages = self.wait_for_leader();
        let leader = pages.iter().find_map(|page| page.groups[0].leader).unwrap();
        self.cluster.nodes.iter().position(|node| node.id == leader).unwrap()
    }

    pub fn api(&self, place: usize) -> &str {
        &self.cluster.nodes[place].api
    }

    /// Restarts a node and waits until it is level with the others.
    pub fn restart(&mut self, place: usize) {
        self.cluster.start_node(place).unwrap();
        let level = cluster::wait_level(&self.cluster, &self.client, place);
        self.runtime.block_on(level).unwrap();
    }

    /// Waits until every replica has applied the same, and compares their states by hash.
    pub fn assert_replicas_equal(&self) {
        eventually("the replicas are level and equal", || {
            let pages = self.pages();
            let states = pages.iter().map(|page| {
                page.groups.iter().map(|group| (group.applied, group.state_hash.clone()))
            });
            let states: Vec<Vec<_>> = states.map(Iterator::collect).collect();
            states.len() == self.cluster.nodes.len() && states.windows(2).all(|w| w[0] == w[1])
        });
    }

    /// Runs a command against this cluster.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(UNDERSTUDY);
        command.args(arguments).env("UNDERSTUDY_ENDPOINTS", self.cluster.endpoints().join(","));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end and reads the JSON it prints.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        json_of(self.command(arguments).output().unwrap())
    }

    /// The node answers and works.
    pub fn assert_up(&self, place: usize) {
        let answer = ask(self.api(place), "GET", "/healthz", &[], b"");
        assert_eq!(answer.status, 200);
        let path = "/v1/namespaces/default/actors/still-up";
        let put = ask(self.api(place), "PUT", path, &[], b"true");
        assert!(matches!(put.status, 200 | 201), "{put:?}");
    }
}

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("understudy-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that this is a problem of `status` with `code`, complete in every field.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?} {}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let page: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(page["code"], code, "{page}");
        assert_eq!(page["status"], status, "{page}");
        for field in ["type", "title", "detail", "certainty"] {
            assert!(page[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {page}");
        }
    }
}

/// One request on a connection of its own; a JSON body is announced as such.
#[track_caller]
pub fn ask(api: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    raw(api, &bytes)
}

/// Sends `bytes` as they are and reads to the end of the connection.
#[track_caller]
pub fn raw(api: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may answer and close before it has all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&answer)
}

#[track_caller]
pub fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(answer)));
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

/// Waits for `condition`.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The JSON that a command printed; it must have succeeded.
#[track_caller]
pub fn json_of(output: Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text} {complaints}", output.status);
    serde_json::from_str(&text).unwrap()
}
