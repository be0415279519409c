//! Wires one node together: folder, replica, threads, peers, API; and takes it apart again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use crossbeam_channel::unbounded;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;
use understudy_core::NodeId;
use understudy_driver::driver::OnFatal;
use understudy_driver::start::Recovered;

use crate::api::front::Front;
use crate::api::{self, Desk, Shared};
use crate::config::{Member, NodeConfig};
use crate::folder::Folder;
use crate::handshake::Own;
use crate::peers;
use crate::peers::Outgoing;
use crate::say::say;
use crate::security::Secured;

/// Makes the data folder of a new member.
///
/// # Errors
/// One line that says what to do.
pub fn init(config: &Path) -> anyhow::Result<()> {
    let config = NodeConfig::read(config)?;
    let identity = Folder::init(&config)?;
    say!(
        "node {} of cluster `{}` has its folder `{}` (incarnation {:016x})",
        identity.node,
        identity.cluster,
        config.data_dir.display(),
        identity.incarnation.0
    );
    say!("start it with: understudy serve --config {}", config.path.display());
    Ok(())
}

/// Ends this process when the process `parent` ends, however it ends.
///
/// # Errors
/// When it has ended already.
pub fn die_with(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot watch the parent")?;
    // It may have ended before the line above.
    let actual = getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get().cast_unsigned());
    anyhow::ensure!(actual == Some(parent), "process {parent}, which started this one, is gone");
    Ok(())
}

/// Runs the node until SIGTERM or Ctrl-C.
///
/// # Errors
/// One line that says why it cannot start.
pub fn serve(config: NodeConfig) -> anyhow::Result<()> {
    let secured = Secured::load(&config)
        .with_context(|| format!("correct the configuration `{}`", config.path.display()))?;
    let recovered = Recovered::open(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the network threads")?;
    let ended = runtime.block_on(run(config, recovered, secured));
    runtime.shutdown_background();
    ended
}

async fn run(config: NodeConfig, recovered: Recovered, secured: Secured) -> anyhow::Result<()> {
    more_files();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let peer_listener = bind(&config.listen_peer, "listen_peer").await?;
    let api_listener = bind(&config.listen_api, "listen_api").await?;

    let status = recovered.replica.status();
    let (identity, seed) = (recovered.folder.identity.clone(), recovered.seed);
    let own = Arc::new(Own {
        identity,
        boot: status.boot,
        config: config.cluster.clone(),
        tls: secured.peers.clone(),
    });
    drop(tokio::spawn(secured.clone().watch()));
    let (inbox, received) = unbounded();
    let outgoing: BTreeMap<NodeId, Outgoing> = config
        .members
        .iter()
        .filter(|(node, _)| **node != config.node)
        .map(|(&node, Member { peer, .. })| {
            (node, peers::dial(own.clone(), node, peer.clone(), seed))
        })
        .collect();
    let backups = api::backup::Source::new(config.cluster.clone(), recovered.backend.as_ref());
    let outlets = outgoing.iter().map(|(&node, peer)| (node, Box::new(peer.clone()) as _));
    let (core, thread, folder) = recovered.start(received, outlets.collect(), OnFatal::Exit)?;
    drop(tokio::spawn(peers::listen(peer_listener, own, inbox, outgoing)));

    let members: Vec<(NodeId, String)> =
        config.members.iter().map(|(node, member)| (*node, member.api.clone())).collect();
    let (stop, stopped) = watch::channel(false);
    let scheme = if secured.tls.is_some() { "https" } else { "http" };
    let shared = Shared {
        node: config.node,
        cluster: config.cluster.cluster.clone(),
        members,
        backups,
        ids: api::ops::Ids::new(config.node, seed),
        stop: stopped.clone(),
        secured,
    };
    let desk = Arc::new(Desk::new(core.clone(), shared));
    let server = tokio::spawn(api::server::serve(api_listener, Front::new(&desk), stopped));
    info!(
        "node {} serves clients at {scheme}://{} and peers at {}",
        config.node, config.listen_api, config.listen_peer
    );
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: the node stops"),
        _ = interrupt.recv() => info!("Ctrl-C: the node stops"),
    }
    let _ = stop.send(true);
    let _ = server.await;
    core.stop();
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    anyhow::ensure!(matches!(joined, Ok(Ok(()))), "the core thread did not end in order");
    drop(folder);
    Ok(())
}

/// Every client is a file to the system; its careful default would refuse some of
/// [`crate::limits::API_CONNECTIONS_MAX`].
fn more_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn bind(address: &str, field: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen at `{address}`; correct `{field}` or stop what uses that port")
    })
}
