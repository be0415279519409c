//! The quick starts of README.md and docs/SECURITY.md, as they are printed: their commands are run, and
//! their Rust is the Rust of these tests.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use understudy_client::{Client, Level, Options, Pem};

use crate::world::{Folder, UNDERSTUDY, World, eventually};

const README: &str = include_str!("../../../README.md");
const SECURITY: &str = include_str!("../../../docs/SECURITY.md");

/// The blocks of code below a heading.
fn blocks(page: &str, heading: &str) -> Vec<String> {
    let begin = page.find(&format!("\n## {heading}\n")).unwrap() + 1;
    let section = page[begin + 3..].split("\n## ").next().unwrap();
    let parts = section.split("```").skip(1).step_by(2);
    parts.map(|block| block.split_once('\n').unwrap().1.to_owned()).collect()
}

/// The printed Rust is what stands in this file.
#[track_caller]
fn assert_is_here(block: &str) {
    let bare = |text: &str| text.split_whitespace().collect::<String>().replace(",)", ")");
    let here = bare(include_str!("quickstart.rs"));
    for statement in block.split(";\n").filter(|statement| !statement.contains("use ")) {
        assert!(here.contains(&bare(statement)), "{statement}");
    }
}

/// Runs lines of shell in `dir`, with the program under test in the path; gives what they print.
#[track_caller]
fn shell(dir: &Path, lines: &str) -> String {
    let programs = Path::new(UNDERSTUDY).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-ec", lines]).current_dir(dir).env("PATH", path).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{lines}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_curl() -> bool {
    let there = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "curl is missing");
    there
}

#[test]
fn a_minute_with_it() {
    let world = World::start(3);
    let blocks = blocks(README, "A minute with it");
    let folder = Folder::new();
    if has_curl() {
        let mut lines = blocks[1].clone();
        for place in 0..3 {
            lines = lines.replace(&format!("localhost:{}", 7401 + place), world.api(place));
        }
        let said = shell(&folder.0, &lines);
        // A document ends without a line break.
        let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
        assert_eq!(statuses, ["201", "200", "200"], "{said}");
        assert!(said.to_lowercase().contains("etag: \"1-1\""), "{said}");
        assert!(said.contains("{\"role\":\"prince\",\"lines\":1506}"), "{said}");
    }
    assert_is_here(blocks.iter().find(|block| block.contains("understudy_client")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lived = runtime.block_on(minute(world.cluster.endpoints()));
    assert_eq!(lived.unwrap()["role"], "ghost");
}

async fn minute(endpoints: Vec<String>) -> Result<serde_json::Value, understudy_client::Error> {
    #[rustfmt::skip]
    let _as_printed = async {
        let store = Client::connect(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"]).await?;
        Ok::<Client, understudy_client::Error>(store)
    };
    let store = Client::connect(endpoints).await?;
    let written = store.put("default", "hamlet", &serde_json::json!({"role": "prince"})).await?;
    let hamlet = store.get::<serde_json::Value>("default", "hamlet").await?.expect("just written");
    assert_eq!(hamlet.token, written.token);
    store
        .compare_and_swap("default", "hamlet", &serde_json::json!({"role": "ghost"}), hamlet.token)
        .await?;
    let own = store.get_with::<serde_json::Value>("default", "hamlet", Level::Session).await?;
    Ok(own.expect("it is there").value)
}

#[test]
fn a_closed_cluster() {
    let folder = Folder::new();
    let blocks = blocks(SECURITY, "Quick start");
    // Ports of its own: other tests run beside this one.
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (api, peer) = (port(), port());
    let ours = |lines: &str| lines.replace("127.0.0.1:7401", &api).replace("127.0.0.1:7501", &peer);
    let serve = "understudy serve --config node.toml &\n";
    assert!(blocks[0].ends_with(serve));
    shell(&folder.0, &ours(&blocks[0].replace(serve, "")));
    let mut node = Command::new(UNDERSTUDY)
        .args(["serve", "--config", "node.toml"])
        .current_dir(&folder.0)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let commands = ours(&blocks[1]);
    let exports: String =
        commands.lines().filter(|line| line.starts_with("export")).collect::<Vec<_>>().join("\n");
    eventually("it serves", || {
        let look = format!("{exports}\nunderstudy get default none --timeout 1s 2>&1 || true");
        shell(&folder.0, &look).contains("not_found")
    });
    let said = shell(&folder.0, &commands);
    assert!(said.contains("stored hamlet version 1") && said.contains("prince"), "{said}");
    if has_curl() {
        assert_eq!(shell(&folder.0, &ours(&blocks[2])), "{\"role\":\"prince\"}");
    }
    assert_is_here(&blocks[4]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let value = runtime.block_on(closed(&folder.0, &api)).unwrap();
    assert_eq!(value["role"], "prince");
    node.kill().unwrap();
    node.wait().unwrap();
    let left = fs::read_to_string(folder.0.join("ann.token")).unwrap();
    assert!(!left.trim().is_empty());
}

async fn closed(
    dir: &Path,
    api: &str,
) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
    #[rustfmt::skip]
    let _as_printed = async {
        let options = Options::new()
            .ca(Pem::file("certs/ca.pem"))
            .identity(Pem::file("certs/ann.pem"), Pem::file("certs/ann.key"))
            .token(std::fs::read_to_string("ann.token")?);
        let store = Client::connect_with(["127.0.0.1:7401"], options).await?;
        Ok::<Client, Box<dyn std::error::Error>>(store)
    };
    let options = Options::new()
        .ca(Pem::file(dir.join("certs/ca.pem")))
        .identity(Pem::file(dir.join("certs/ann.pem")), Pem::file(dir.join("certs/ann.key")))
        .token(fs::read_to_string(dir.join("ann.token"))?);
    let store = Client::connect_with([api], options).await?;
    let hamlet = store.get::<serde_json::Value>("default", "hamlet").await?;
    Ok(hamlet.expect("it was put").value)
}
