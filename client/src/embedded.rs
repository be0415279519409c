//! A store in this process: one node of a cluster of its own, without a network.
//!
//! ```text
//! PATH/understudy.toml   the configuration of a node, so that `understudy serve` can open the same
//! PATH/data/             its data folder, in a node's format
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use anyhow::Context;
use understudy_core::{NodeId, OpId, Request};
use understudy_driver::config::{ClusterSection, ConfigFile, NodeConfig, NodeSection};
use understudy_driver::driver::{Core, OnFatal};
use understudy_driver::folder::Folder;
use understudy_driver::start::Recovered;
use understudy_driver::{clock, folder};
use understudy_plan::{Attempts, Heard, Instant, Kind, Step};
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;

use crate::error::{self, Error};

mod convert;
mod watch;

pub(crate) use watch::EmbeddedWatch;

/// Of the only node.
const NODE: u64 = 1;
/// The file that says what the folder is.
const CONFIG: &str = "understudy.toml";

/// A store in this process.
pub(crate) struct Embedded {
    core: Core,
    /// Ends when it is told to.
    thread: Option<JoinHandle<()>>,
    /// This process's own until the thread has ended.
    _folder: Folder,
    start: Clock,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Drop for Embedded {
    /// Waits until everything that was begun is written, so that the folder can be opened again.
    fn drop(&mut self) {
        self.core.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Embedded {
    /// Opens the folder, or makes it.
    pub(crate) async fn open(path: PathBuf, namespaces: Vec<String>) -> Result<Embedded, Error> {
        let opened = tokio::task::spawn_blocking(move || open(&path, &namespaces)).await;
        let opened = opened.unwrap_or_else(|error| Err(anyhow::Error::new(error)));
        opened.map_err(|error| Error::Refused {
            code: "folder".to_owned(),
            message: format!("{error:#}"),
        })
    }

    /// Performs one operation to its end.
    pub(crate) async fn perform(&self, call: Call, deadline: Duration) -> Result<Answer, Error> {
        convert::perform(self, call, self.now().after(deadline)).await
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Asks until there is an answer. A write without a name gets one, so that it can be repeated.
    async fn ask(
        &self,
        mut request: Request,
        deadline: Instant,
    ) -> Result<understudy_core::Answer, Error> {
        let kind = match &mut request {
            Request::Write { op: Some(_), .. } => Kind::NamedByCaller,
            Request::Write { op, .. } => {
                *op = Some(new_name()?);
                Kind::Write
            }
            _ => Kind::Read,
        };
        let mut attempts = Attempts::new(kind, deadline);
        loop {
            let wait = deadline.since(self.now());
            let failure = match self.core.ask(request.clone(), wait).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if let Some(reason) = self.core.failed() {
                return Err(Error::NoAnswer {
                    code: "stopped".to_owned(),
                    certainty: convert::certainty(&failure),
                    heard: format!("the store has stopped: {reason}"),
                    tries: attempts.failed() + 1,
                });
            }
            let problem = convert::problem(&failure);
            let heard =
                Heard::of(&problem.code, error::certainty(&problem), error::retry_after(&problem));
            let chance = folder::random().unwrap_or(0);
            match attempts.heard(heard, self.now(), chance) {
                Step::Again { at, rename } => {
                    if let (true, Request::Write { op, .. }) = (rename, &mut request) {
                        *op = Some(new_name()?);
                    }
                    tokio::time::sleep(at.since(self.now())).await;
                }
                Step::Settled => return Err(Error::of(problem)),
                Step::GiveUp(certainty) => {
                    return Err(Error::NoAnswer {
                        code: failure.code().to_owned(),
                        certainty,
                        heard: problem.message,
                        tries: attempts.failed() + 1,
                    });
                }
            }
        }
    }
}

/// A name that is ordered by time.
fn new_name() -> Result<OpId, Error> {
    let random = || folder::random().map_err(|error| Error::invalid(format!("{error:#}")));
    let random = (u128::from(random()?) << 64) | u128::from(random()?);
    Ok(OpId::timed(clock::wall(), random))
}

fn open(path: &Path, namespaces: &[String]) -> anyhow::Result<Embedded> {
    let file = path.join(CONFIG);
    let config = if file.exists() { reopen(&file, namespaces)? } else { make(&file, namespaces)? };
    let recovered = Recovered::open(&config)?;
    // Nobody sends, and nobody is sent to.
    let nobody = crossbeam_channel::never();
    let (core, thread, folder) = recovered.start(nobody, BTreeMap::new(), OnFatal::Stop)?;
    Ok(Embedded { core, thread: Some(thread), _folder: folder, start: Clock::now() })
}

/// The configuration of a store that is there, with the namespaces that are new to it.
fn reopen(file: &Path, namespaces: &[String]) -> anyhow::Result<NodeConfig> {
    let config = NodeConfig::read(file)?;
    anyhow::ensure!(
        config.members.len() == 1 && config.node == NodeId(NODE),
        "`{}` is of a cluster of several nodes; start it with `understudy serve`",
        file.display()
    );
    let known = |name: &&String| {
        !config.cluster.namespaces.iter().any(|known| known.as_str() == name.as_str())
    };
    let new: Vec<&String> = namespaces.iter().filter(known).collect();
    if new.is_empty() {
        return Ok(config);
    }
    let text = config.to_toml();
    let mut parsed: ConfigFile = toml::from_str(&text).context("its own configuration")?;
    parsed.cluster.namespaces.extend(new.into_iter().cloned());
    write(file, &parsed)
}

/// A new store. The data folder comes first in time and the configuration last, so that a folder with
/// one is complete.
fn make(file: &Path, namespaces: &[String]) -> anyhow::Result<NodeConfig> {
    let root = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(root).with_context(|| format!("cannot make `{}`", root.display()))?;
    let node = NodeSection {
        id: NODE,
        peer: "127.0.0.1:7501".to_owned(),
        api: "127.0.0.1:7401".to_owned(),
    };
    let parsed = ConfigFile::alone(NODE, ClusterSection::new("embedded", namespaces, vec![node]));
    let config = NodeConfig::parse(file, &toml::to_string(&parsed).context("a configuration")?)?;
    if !config.data_dir.join("identity.toml").exists() {
        // What a process left here that was killed while it made the folder.
        let _ = fs::remove_dir_all(&config.data_dir);
        Folder::init(&config)?;
    }
    write(file, &parsed)
}

fn write(file: &Path, parsed: &ConfigFile) -> anyhow::Result<NodeConfig> {
    let text = toml::to_string(parsed).context("a configuration always prints")?;
    let config = NodeConfig::parse(file, &text)?;
    folder::replace_file(file, text.as_bytes())
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    Ok(config)
}
