//! `understudy dev`: a cluster on this machine, for as long as the command runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::Client;
use crate::cluster::{LocalCluster, Shape};
use crate::say::say;

/// How to run it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything is kept.
    pub dir: PathBuf,
    /// What to make if there is nothing.
    pub shape: Shape,
    /// Start a node again that has ended.
    pub respawn: bool,
}

/// A node that ended is started again after this long.
const RESPAWN_AFTER: Duration = Duration::from_secs(2);

/// Runs the cluster until Ctrl-C or SIGTERM. Its data stays.
///
/// # Errors
/// One line that says what to do.
pub async fn dev(plan: &Plan) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut cluster = LocalCluster::create_or_open(&plan.dir, &plan.shape, true)?;
    cluster.start()?;
    let client = Client::new(&cluster.endpoints())?;
    tokio::select! {
        elected = cluster.wait_for_leader(&client) => drop(elected?),
        () = stop.wait() => return Ok(()),
    }
    introduce(&cluster)?;
    say!("\nCtrl-C stops it; the data stays in {}", cluster.dir.display());
    watch(&mut cluster, plan.respawn, &mut stop).await?;
    say!("stopping");
    cluster.stop();
    Ok(())
}

/// Stops a cluster that was left running.
///
/// # Errors
/// When there is none.
pub fn stop(dir: &std::path::Path) -> anyhow::Result<()> {
    let mut cluster = LocalCluster::open(dir, false)?;
    let running = cluster.nodes.iter().filter(|node| node.running().is_some()).count();
    cluster.stop();
    say!("stopped {running} nodes; their data stays in {}", cluster.dir.display());
    Ok(())
}

/// Where everything is, and a first thing to try.
///
/// # Errors
/// When the configuration cannot be read.
pub fn introduce(cluster: &LocalCluster) -> anyhow::Result<()> {
    let namespaces = cluster.namespaces()?;
    for node in &cluster.nodes {
        let pid = node.running().map_or("-".to_owned(), |pid| pid.to_string());
        say!("  node {}   http://{}   process {pid}", node.id, node.api);
    }
    say!("  namespaces: {}", namespaces.join(", "));
    let first = cluster.nodes.first().map_or("", |node| node.api.as_str());
    let namespace = namespaces.first().map_or("", |name| name.as_str());
    say!("\ntry it:");
    say!(
        "  curl -i -X PUT -H 'content-type: application/json' -d '{{\"hello\": \"world\"}}' \
         http://{first}/v1/namespaces/{namespace}/actors/greeting"
    );
    say!("  curl -i http://{first}/v1/namespaces/{namespace}/actors/greeting");
    say!("  understudy status --endpoints {}", cluster.endpoints().join(","));
    Ok(())
}

/// Watches the nodes until it is told to stop.
///
/// # Errors
/// When a node cannot be started again.
pub async fn watch(
    cluster: &mut LocalCluster,
    respawn: bool,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let mut due: Vec<(Instant, usize)> = Vec::new();
    loop {
        let tick = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tick => {}
        }
        for (place, how) in cluster.ended() {
            let node = &cluster.nodes[place];
            say!("node {} has ended ({how}): {}", node.id, node.last_words());
            if respawn {
                due.push((Instant::now() + RESPAWN_AFTER, place));
            }
        }
        let alone = !respawn && !cluster.has_children();
        ensure!(!alone, "all nodes have ended; start them again with `understudy dev`");
        let now = Instant::now();
        for (_, place) in due.extract_if(.., |(at, _)| *at <= now) {
            cluster.start_node(place)?;
            say!("node {} is started again", cluster.nodes[place].id);
        }
    }
}

/// Ctrl-C or SIGTERM, heard from the first moment on.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn new() -> anyhow::Result<Stop> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
        let terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        Ok(Stop { interrupt, terminate })
    }

    /// Returns at the first of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
