//! Certificates, keys and tokens of this node: read at the start, looked at again while it runs.

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use understudy_driver::config::{NodeConfig, PeerTlsSection, Security, TlsSection};
use understudy_tls::{Change, PeerFiles, Peers, Server, ServerFiles};

use crate::guard::Guard;
use crate::limits;

/// What is offered to clients (ALPN).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What of it is switched on.
#[derive(Clone, Debug)]
pub struct Secured {
    /// TLS for clients.
    pub tls: Option<Arc<Server>>,
    /// TLS among members.
    pub peers: Option<Arc<Peers>>,
    /// Tokens; without keys it lets everybody in.
    pub guard: Arc<Guard>,
}

impl Secured {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// One line that names the section, the file and what to do.
    pub fn load(config: &NodeConfig) -> anyhow::Result<Secured> {
        let Security { tls, peer_tls, auth } = config.security.clone();
        let tls = tls.map(|TlsSection { cert, key, client_ca }| {
            Server::load(ServerFiles { cert, key, client_ca }, &PROTOCOLS)
        });
        let peers = peer_tls.map(|PeerTlsSection { cert, key, ca, name }| {
            Peers::load(PeerFiles { cert, key, ca, name }, config.node.0)
        });
        let secured = Secured {
            tls: tls.transpose().context("`[tls]`")?.map(Arc::new),
            peers: peers.transpose().context("`[peer_tls]`")?.map(Arc::new),
            guard: Arc::new(Guard::new(auth.as_ref()).context("`[auth]`")?),
        };
        secured.warn();
        Ok(secured)
    }

    /// Half of a protection is a hole.
    fn warn(&self) {
        if self.guard.is_closed() && self.tls.is_none() {
            warn!("`[auth]` without `[tls]`: tokens can be read on the wire; set `[tls]`");
        }
        if (self.guard.is_closed() || self.tls.is_some()) && self.peers.is_none() {
            warn!(
                "`[peer_tls]` is not set: whoever reaches the peer port can do everything; set it, or \
                 keep that port to yourself"
            );
        }
    }

    /// Looks at the files again every [`limits::FILES_LOOK_EVERY`] and at every SIGHUP, for ever. What
    /// cannot be used is said once, and what was in use stays.
    pub async fn watch(self) {
        let mut hangup = if self.is_off() { None } else { signal(SignalKind::hangup()).ok() };
        let mut tick = interval(limits::FILES_LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = next(&mut hangup) => info!("SIGHUP: certificates and tokens are looked at"),
            }
            let all = self.clone();
            let _ = tokio::task::spawn_blocking(move || all.look()).await;
        }
    }

    fn is_off(&self) -> bool {
        self.tls.is_none() && self.peers.is_none() && !self.guard.is_closed()
    }

    fn look(&self) {
        if let Some(tls) = &self.tls {
            say("[tls]", tls.reload());
        }
        if let Some(peers) = &self.peers {
            say("[peer_tls]", peers.reload());
        }
        self.guard.reload();
        self.guard.flush();
    }
}

/// Never, where there is nothing to look at.
async fn next(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

fn say(section: &str, change: Change) {
    match change {
        Change::None => {}
        Change::Replaced(facts) => {
            info!("`{section}`: new connections see the certificate of {}", facts.subject);
        }
        Change::Kept(error) => {
            warn!("`{section}`: the old certificate stays in use: {error}");
        }
    }
}
