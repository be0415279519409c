//! From a data folder to a running core thread, in the order that keeps what was promised.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use crossbeam_channel::Receiver;
use tracing::info;
use understudy_core::backend::{Backend, BackendError};
use understudy_core::{GroupId, Namespace, NodeId, RecoverError, Replica, Seed};

use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::driver::{self, Core, OnFatal, Parts};
use crate::folder::{self, Folder};
use crate::peer::{Batch, Peer};
use crate::{files, store, wal};

/// A member of a cluster as its data folder has it, before its first step.
pub struct Recovered {
    /// This process's own.
    pub folder: Folder,
    /// Not yet stepped.
    pub replica: Replica,
    /// The store of the namespaces that keep their rows outside the core.
    pub backend: Option<Arc<dyn Backend>>,
    /// Drawn for this start.
    pub seed: Seed,
    groups: Vec<(GroupId, Namespace)>,
    clock: Clock,
    data_dir: PathBuf,
}

impl Recovered {
    /// Takes the data folder that belongs to the member in `config` and makes of it what it holds:
    /// damaged data is set aside, a torn tail is cut.
    ///
    /// # Errors
    /// One line that says why this member cannot start.
    pub fn open(config: &NodeConfig) -> anyhow::Result<Recovered> {
        let mut folder = Folder::open(config)?;
        let clock = Clock::start();
        let seed = Seed(folder::random()?);
        info!(
            "node {} of cluster `{}` starts, seed {:#018x}",
            config.node, config.cluster.cluster, seed.0
        );
        let mut recovered = recover(config, &folder, seed)?;
        if let Err(RecoverError { reason, damaged: true }) = &recovered {
            folder.set_aside(&config.cluster, reason)?;
            recovered = recover(config, &folder, seed)?;
        }
        let data_dir = config.data_dir.clone();
        let (mut replica, backend) =
            recovered.map_err(|error| anyhow::anyhow!("`{}`: {error}", data_dir.display()))?;
        // A tail that recovery gave up must be gone before anything is written behind it.
        folder
            .files()
            .apply(&replica.take_repairs())
            .map_err(|failed| anyhow::anyhow!("`{}`: {}", data_dir.display(), failed.reason))?;
        let groups = config.cluster.groups().map(|(group, name)| (group, name.clone())).collect();
        Ok(Recovered { folder, replica, backend, seed, groups, clock, data_dir })
    }

    /// Starts its threads. The folder is given back: it is this process's until it is dropped, which
    /// must not be before the core thread has ended.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        self,
        inbox: Receiver<Batch>,
        outgoing: BTreeMap<NodeId, Box<dyn Peer>>,
        on_fatal: OnFatal,
    ) -> anyhow::Result<(Core, JoinHandle<()>, Folder)> {
        let Recovered { folder, replica, backend, seed: _, groups, clock, data_dir } = self;
        let wal = wal::start(folder.files(), replica.segment_bytes())
            .context("cannot start the log thread")?;
        let files = files::start(folder.files()).context("cannot start the file thread")?;
        let store = backend.map(|backend| store::start(backend, data_dir));
        let store = store.transpose().context("cannot start the store thread")?;
        let suspect = folder.suspect();
        let parts = Parts { groups, clock, wal, files, store, inbox, outgoing, suspect, on_fatal };
        let (core, thread) =
            driver::start(replica, parts).context("cannot start the core thread")?;
        Ok((core, thread, folder))
    }
}

/// A replica as recovered, and the store of the namespaces that keep their rows outside the core.
type Found = (Replica, Option<Arc<dyn Backend>>);

/// What is in the folder. The store is closed again if that is damaged: its files may be moved then.
fn recover(
    config: &NodeConfig,
    folder: &Folder,
    seed: Seed,
) -> anyhow::Result<Result<Found, RecoverError>> {
    let backend = match store::open(config) {
        Ok(backend) => backend,
        Err(error) => match error.downcast_ref::<BackendError>() {
            Some(BackendError { reason, damaged: true }) => {
                return Ok(Err(RecoverError { reason: reason.clone(), damaged: true }));
            }
            _ => return Err(error),
        },
    };
    let (identity, files) = (&folder.identity, folder.files());
    let replica = Replica::recover(&config.cluster, identity, seed, &files, backend.as_deref());
    Ok(replica.map(|replica| (replica, backend)))
}
