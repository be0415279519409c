//! A node whose replica stands still. Whoever reads its log has stopped reading, the pipe is full, and
//! the thread that owns the replica waits to write its line: it is stuck for real, as it would be on a
//! disk that hangs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tonic::Code;
use understudy_proto::v1::StatusRequest;
use understudy_proto::v1::cluster_client::ClusterClient;

use crate::grpc::{assert_refused, block_on, connect};
use crate::world::{UNDERSTUDY, World, ask, eventually};

/// The process, ended with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ends of the pipe, neither of which waits.
struct Pipe {
    reader: File,
    writer: File,
}

impl Pipe {
    fn drain(&mut self) {
        let mut bytes = [0; 64 * 1024];
        while self.reader.read(&mut bytes).is_ok_and(|read| read > 0) {}
    }

    fn fill(&mut self) {
        for size in [4096, 1] {
            loop {
                match self.writer.write(&[b'.'; 4096][..size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// Provokes `stuck` over both protocols, and lets the node go on.
pub fn refusals() -> &'static str {
    let world = World::initialised(1);
    let config = world.cluster.nodes[0].config();
    let path = config.with_file_name("log.pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let open = |read: bool, wait: bool| {
        let flags = if wait { OFlags::empty() } else { OFlags::NONBLOCK };
        let mut options = OpenOptions::new();
        options.read(read).write(!read || wait).custom_flags(flags.bits().cast_signed());
        options.open(&path).unwrap()
    };
    let mut pipe = Pipe { reader: open(true, false), writer: open(false, false) };
    let mut node = Command::new(UNDERSTUDY);
    // Every applied entry is a line, written by the thread that owns the replica.
    node.args(["serve", "--log-level", "trace", "--config"]).arg(&config);
    let _node = Node(node.stderr(Stdio::from(open(true, true))).spawn().unwrap());
    let api = world.api(0);
    eventually("it serves", || {
        pipe.drain();
        let there = std::net::TcpStream::connect(api).is_ok();
        there && ask(api, "GET", "/readyz", &[], b"").status == 200
    });
    eventually("it is stuck", || {
        pipe.fill();
        let path = "/v1/namespaces/default/actors/a?timeout_ms=100";
        ask(api, "PUT", path, &[], b"1");
        ask(api, "GET", "/readyz", &[], b"").text().contains("\"stuck\"")
    });
    for path in ["/readyz", "/v1/status"] {
        ask(api, "GET", path, &[], b"").assert_problem(503, "stuck");
    }
    let status = block_on(async {
        ClusterClient::new(connect(api).await).status(StatusRequest {}).await.unwrap_err()
    });
    assert_refused(&status, Code::Unavailable, "stuck");
    eventually("it goes on", || {
        pipe.drain();
        ask(api, "GET", "/readyz", &[], b"").status == 200
    });
    "stuck"
}
