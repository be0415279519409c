//! A whole cluster on this machine: one folder, one child process for each node.
//!
//! ```text
//! DIR/node1/understudy.toml   configuration        DIR/node1/data/   data folder
//! DIR/node1/pid               the process          DIR/node1/log     what it says
//! ```

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use understudy_core::limits as core_limits;

use crate::api::status::StatusPage;
use crate::client::Client;
use crate::commands::status_of;
use crate::config::{ClusterSection, ConfigFile, NodeConfig, NodeSection, TimingSection};
use crate::folder::{self, Folder};
use crate::limits;

/// The nodes of one folder.
#[derive(Debug)]
pub struct LocalCluster {
    /// The folder.
    pub dir: PathBuf,
    /// The nodes, by number.
    pub nodes: Vec<LocalNode>,
    /// The `understudy` program; this one, unless a test says otherwise.
    pub program: PathBuf,
    /// Children end when this process does.
    tied: bool,
}

/// One node of it.
#[derive(Debug)]
pub struct LocalNode {
    /// Its number.
    pub id: u64,
    /// Where clients reach it.
    pub api: String,
    dir: PathBuf,
    child: Option<Child>,
}

/// What a new cluster looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes; three if it is not given.
    pub nodes: Option<u64>,
    /// Its namespaces; `default` if none is given.
    pub namespaces: Vec<String>,
    /// APIs at this port and the next ones, peers behind them; free ports if it is not given.
    pub port: Option<u16>,
}

impl LocalCluster {
    /// The cluster in `dir`; makes it there if there is none.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn create_or_open(dir: &Path, shape: &Shape, tied: bool) -> anyhow::Result<LocalCluster> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        let dir =
            fs::canonicalize(dir).with_context(|| format!("cannot use `{}`", dir.display()))?;
        if !config_path(&dir, 1).exists() {
            write_configs(&dir, shape)?;
        }
        let cluster = LocalCluster::open(&dir, tied)?;
        cluster.has_shape(shape)?;
        for node in &cluster.nodes {
            let config = NodeConfig::read(&node.config())?;
            if !config.data_dir.exists() {
                Folder::init(&config)?;
            }
        }
        Ok(cluster)
    }

    /// The cluster in `dir`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(dir: &Path, tied: bool) -> anyhow::Result<LocalCluster> {
        let dir =
            fs::canonicalize(dir).with_context(|| format!("cannot use `{}`", dir.display()))?;
        let first = config_path(&dir, 1);
        ensure!(
            first.exists(),
            "there is no cluster in `{}`; make one with `understudy dev --data-dir`",
            dir.display()
        );
        let config = NodeConfig::read(&first)?;
        let nodes = config.members.iter().map(|(id, member)| LocalNode {
            id: id.0,
            api: member.api.clone(),
            dir: dir.join(format!("node{id}")),
            child: None,
        });
        let program = std::env::current_exe().context("cannot find this program")?;
        Ok(LocalCluster { nodes: nodes.collect(), dir, program, tied })
    }

    /// A cluster keeps the shape it was made with.
    fn has_shape(&self, shape: &Shape) -> anyhow::Result<()> {
        let (nodes, namespaces) = (self.nodes.len() as u64, self.namespaces()?);
        ensure!(
            shape.nodes.is_none_or(|wanted| wanted == nodes)
                && (shape.namespaces.is_empty() || shape.namespaces == namespaces),
            "`{}` holds a cluster of {nodes} nodes with the namespaces {}; leave `--nodes` and \
             `--namespace` out, or use another `--data-dir`",
            self.dir.display(),
            namespaces.join(", ")
        );
        Ok(())
    }

    /// Its namespaces.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn namespaces(&self) -> anyhow::Result<Vec<String>> {
        let config = NodeConfig::read(&config_path(&self.dir, 1))?;
        Ok(config.cluster.namespaces.iter().map(ToString::to_string).collect())
    }

    /// Every API.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.api.clone()).collect()
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        for place in 0..self.nodes.len() {
            self.start_node(place)?;
        }
        Ok(())
    }

    /// Starts one node. Must run on the process's main thread: the children of a thread that ends
    /// would end with it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start_node(&mut self, place: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[place];
        if let Some(pid) = node.running() {
            bail!(
                "node {} runs already as process {pid}; stop it with `understudy dev --data-dir {} \
                 --stop`",
                node.id,
                self.dir.display()
            );
        }
        let log_path = node.dir.join("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.with_context(|| format!("cannot write `{}`", log_path.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(node.config());
        if self.tied {
            command.arg("--parent").arg(std::process::id().to_string());
        }
        // A group of its own: Ctrl-C reaches this process, which then stops the nodes in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start node {}", node.id))?;
        fs::write(node.dir.join("pid"), format!("{}\n", child.id()))
            .with_context(|| format!("cannot write `{}`", node.dir.join("pid").display()))?;
        node.child = Some(child);
        Ok(())
    }

    /// Nodes whose process has ended since the last look, by place, with how.
    pub fn ended(&mut self) -> Vec<(usize, String)> {
        let mut ended = Vec::new();
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let Some(child) = &mut node.child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                node.child = None;
                ended.push((place, status.to_string()));
            }
        }
        ended
    }

    /// Whether this process has started a node that has not been seen to end.
    pub fn has_children(&self) -> bool {
        self.nodes.iter().any(|node| node.child.is_some())
    }

    /// `kill -9`: what a power cut does to a process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, place: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[place];
        let pid = node.running().with_context(|| format!("node {} does not run", node.id))?;
        kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill process {pid}"))?;
        if let Some(mut child) = node.child.take() {
            let _ = child.wait();
        }
        Ok(())
    }

    /// Waits until a majority agrees on a leader in every namespace.
    ///
    /// # Errors
    /// When a node ends meanwhile, with its last words, or none is elected in time.
    pub async fn wait_for_leader(&mut self, client: &Client) -> anyhow::Result<Vec<StatusPage>> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some((place, how)) = self.ended().first() {
                let node = &self.nodes[*place];
                bail!("node {} has ended ({how}): {}", node.id, node.last_words());
            }
            let pages = self.pages(client).await;
            if agree(&pages, self.nodes.len()) {
                return Ok(pages);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let logs = self.dir.join("node*").join("log");
        bail!("no leader within {} s; look at `{}`", PATIENCE.as_secs(), logs.display());
    }

    /// The status of every node that answers.
    pub async fn pages(&self, client: &Client) -> Vec<StatusPage> {
        let mut pages = Vec::new();
        for node in &self.nodes {
            if let Ok(page) = status_of(client, &node.api).await {
                pages.push(page);
            }
        }
        pages
    }

    /// Asks every node to stop, waits, and kills those that do not.
    pub fn stop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let running: Vec<Pid> = self.nodes.iter().filter_map(LocalNode::running).collect();
        for &pid in &running {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while self.any_runs() && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10));
        }
        for node in &self.nodes {
            if let Some(pid) = node.running() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.wait();
            }
            let _ = fs::remove_file(node.dir.join("pid"));
        }
    }

    fn any_runs(&mut self) -> bool {
        self.ended();
        self.nodes.iter().any(|node| node.running().is_some())
    }

    /// Lets the nodes live on when this value goes.
    pub fn leave_running(mut self) {
        for node in &mut self.nodes {
            node.child = None;
        }
    }
}

impl Drop for LocalCluster {
    /// A cluster that is not left running on purpose does not outlive its owner.
    fn drop(&mut self) {
        if self.has_children() {
            self.stop();
        }
    }
}

impl LocalNode {
    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("understudy.toml")
    }

    /// Its process, if it runs. A pid file that outlived its process may name a stranger, so the
    /// process must be one that serves this very configuration.
    pub fn running(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.join("pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        test_kill_process(pid).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.config();
        let config = config.as_os_str().as_encoded_bytes();
        line.split(|&byte| byte == 0).any(|part| part == config).then_some(pid)
    }

    /// The last line of its log.
    pub fn last_words(&self) -> String {
        let log = fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }
}

/// Whether a majority of `nodes` names the same leader in every namespace.
fn agree(pages: &[StatusPage], nodes: usize) -> bool {
    let Some(first) = pages.first() else { return false };
    first.groups.iter().enumerate().all(|(place, _)| {
        let leaders = pages.iter().filter_map(|page| page.groups.get(place)?.leader);
        let leaders: Vec<u64> = leaders.collect();
        leaders.iter().any(|leader| {
            let same = leaders.iter().filter(|other| *other == leader).count();
            let itself = pages.iter().any(|page| {
                page.node == *leader
                    && page.groups.get(place).is_some_and(|group| group.role == "leader")
            });
            itself && same * 2 > nodes
        })
    })
}

fn config_path(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node{node}")).join("understudy.toml")
}

fn write_configs(dir: &Path, shape: &Shape) -> anyhow::Result<()> {
    let max = core_limits::NODES_MAX as u64;
    let count = shape.nodes.unwrap_or(3);
    ensure!((1..=max).contains(&count), "`--nodes` is 1 to {max}");
    let namespaces = match &shape.namespaces[..] {
        [] => vec!["default".to_owned()],
        given => given.to_vec(),
    };
    let ports = ports(count, shape.port)?;
    let nodes: Vec<NodeSection> = (1..=count)
        .zip(ports.chunks_exact(2))
        .map(|(id, ports)| NodeSection {
            id,
            api: format!("127.0.0.1:{}", ports[0]),
            peer: format!("127.0.0.1:{}", ports[1]),
        })
        .collect();
    for id in 1..=count {
        let file = ConfigFile {
            data_dir: "data".into(),
            node: id,
            listen_peer: None,
            listen_api: None,
            tls: None,
            peer_tls: None,
            auth: None,
            cluster: ClusterSection {
                name: "local".to_owned(),
                namespaces: namespaces.clone(),
                storage: Default::default(),
                timing: TimingSection::default(),
                log: Default::default(),
                changes: Default::default(),
                nodes: nodes.clone(),
            },
        };
        let path = config_path(dir, id);
        let text = toml::to_string(&file).context("the configuration does not print")?;
        NodeConfig::parse(&path, &text)?;
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(dir.join(format!("node{id}")))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// Two for each node: API, peer.
fn ports(nodes: u64, first: Option<u16>) -> anyhow::Result<Vec<u16>> {
    let nodes = u16::try_from(nodes).unwrap_or(u16::MAX);
    if let Some(first) = first {
        ensure!(first < u16::MAX - 2 * nodes, "`--port` is too high for {nodes} nodes");
        return Ok((0..nodes).flat_map(|node| [first + node, first + nodes + node]).collect());
    }
    // Below the ports that the system lends to outgoing connections: a node that is down for a
    // while must find its own again. All are held at once, so that they differ.
    const LOW: u64 = 10_000;
    const HIGH: u64 = 32_000;
    let mut held = Vec::new();
    for _ in 0..1000 {
        let port = u16::try_from(LOW + folder::random()? % (HIGH - LOW)).unwrap_or(u16::MAX);
        held.extend(TcpListener::bind(("127.0.0.1", port)));
        if held.len() == 2 * usize::from(nodes) {
            let ports: std::io::Result<Vec<u16>> =
                held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect();
            return ports.context("there are no free ports");
        }
    }
    bail!("there are no free ports; name the first with `--port`")
}

/// How long a caller may wait for a restarted node to be level again.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the node at `place` has applied what the others had when this was called.
///
/// # Errors
/// When it does not get there in time.
pub async fn wait_level(
    cluster: &LocalCluster,
    client: &Client,
    place: usize,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let goal: Vec<u64> = applied(&cluster.pages(client).await);
    loop {
        if let Ok(page) = status_of(client, &cluster.nodes[place].api).await {
            let level = page.groups.iter().zip(&goal).all(|(group, goal)| group.applied >= *goal);
            if level && page.groups.iter().all(|group| group.leader.is_some()) {
                return Ok(());
            }
        }
        let id = cluster.nodes[place].id;
        ensure!(start.elapsed() < CATCH_UP_PATIENCE, "node {id} did not catch up in time");
        tokio::time::sleep(limits::GAP_MIN).await;
    }
}

/// The greatest applied index of every group.
fn applied(pages: &[StatusPage]) -> Vec<u64> {
    let groups = pages.iter().map(|page| page.groups.len()).max().unwrap_or(0);
    (0..groups)
        .map(|place| {
            let all = pages.iter().filter_map(|page| Some(page.groups.get(place)?.applied));
            all.max().unwrap_or(0)
        })
        .collect()
}
