//! Who is on the other end: two nodes talk only when cluster, names and configuration agree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use understudy_core::{Boot, ClusterConfig, Identity, NodeId, codec};
use understudy_tls::Peers;

use crate::frame::{self, FrameError, Kind};
use crate::limits;

/// The dialer's first frame, and the listener's answer when it agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks.
    pub identity: Identity,
    /// Whom the dialer means to reach.
    pub to: NodeId,
    /// The speaker's present life.
    pub boot: Boot,
    /// [`ClusterConfig::fingerprint`].
    pub fingerprint: u64,
    /// In full, so that a refusal can name what differs.
    pub config: ClusterConfig,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum HandshakeError {
    /// The other side refuses us, in its words.
    Refused(String),
    /// We refuse the other side.
    Mismatch(String),
    /// Not a peer, or gone.
    Frame(FrameError),
    /// No TLS between us: who has to change what.
    Tls(String),
    /// It did not say who it is in time.
    Silent(Duration),
}

/// What this node says of itself.
#[derive(Clone, Debug)]
pub struct Own {
    /// Who we are.
    pub identity: Identity,
    /// This life.
    pub boot: Boot,
    /// Must be equal on both sides.
    pub config: ClusterConfig,
    /// How members prove who they are; `None` is bare TCP.
    pub tls: Option<Arc<Peers>>,
}

impl Own {
    fn hello(&self, to: NodeId) -> Hello {
        Hello {
            identity: self.identity.clone(),
            to,
            boot: self.boot,
            fingerprint: self.config.fingerprint(),
            config: self.config.clone(),
        }
    }

    /// The dialer's side: says who we are and waits to hear that the other side is `to`.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is of no use then.
    pub async fn dial<S>(&self, stream: &mut S, to: NodeId) -> Result<Hello, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = async {
            send(stream, Kind::Hello, &codec::encode(&self.hello(to))).await?;
            let (kind, payload) = receive(stream).await?;
            match kind {
                Kind::Welcome => decode(&payload),
                Kind::Refused => {
                    let reason = String::from_utf8_lossy(&payload).replace(char::is_control, " ");
                    Err(HandshakeError::Refused(reason))
                }
                Kind::Hello | Kind::Messages => {
                    Err(HandshakeError::Frame(FrameError::Garbage("it answers out of turn")))
                }
            }
        };
        let other = in_time(exchange).await?;
        match self.mismatch(&other, Some(to)) {
            Some(reason) => Err(HandshakeError::Mismatch(reason)),
            None => Ok(other),
        }
    }

    /// The listener's side: hears who the other is, and answers. `proof` says whether it is who it
    /// says that it is.
    ///
    /// # Errors
    /// [`HandshakeError`]; the other side has been told why, if it could be.
    pub async fn accept<S>(
        &self,
        stream: &mut S,
        proof: impl Fn(NodeId) -> Result<(), String>,
    ) -> Result<Hello, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        in_time(async {
            let other = match receive(stream).await {
                Ok((Kind::Hello, payload)) => decode(&payload)?,
                Ok(_) => {
                    let error = FrameError::Garbage("it does not begin with a greeting");
                    return Err(HandshakeError::Frame(error));
                }
                Err(HandshakeError::Frame(error @ FrameError::Version(_))) => {
                    let reason = format!("this node speaks peer protocol {}", frame::VERSION);
                    send(stream, Kind::Refused, reason.as_bytes()).await?;
                    return Err(HandshakeError::Frame(error));
                }
                Err(error) => return Err(error),
            };
            let unproven = proof(other.identity.node).err();
            if let Some(reason) = unproven.or_else(|| self.mismatch(&other, None)) {
                send(stream, Kind::Refused, reason.as_bytes()).await?;
                return Err(HandshakeError::Mismatch(reason));
            }
            let answer = codec::encode(&self.hello(other.identity.node));
            send(stream, Kind::Welcome, &answer).await?;
            Ok(other)
        })
        .await
    }

    /// Names the first thing that keeps us apart; `dialed` is whom we meant to reach, if we dialed.
    fn mismatch(&self, other: &Hello, dialed: Option<NodeId>) -> Option<String> {
        let (own, node) = (&self.identity, other.identity.node);
        if other.identity.cluster != own.cluster {
            return Some(format!(
                "node {} is of cluster `{}`, node {node} of cluster `{}`; correct the addresses",
                own.node, own.cluster, other.identity.cluster
            ));
        }
        let expected = dialed.unwrap_or(node);
        if other.to != own.node || node != expected {
            return Some(format!(
                "node {} was meant, node {} answers; correct the addresses in `[[cluster.nodes]]`",
                if dialed.is_some() { expected } else { other.to },
                if dialed.is_some() { node } else { own.node },
            ));
        }
        if node == own.node || !self.config.nodes.contains(&node) {
            return Some(format!(
                "node {node} is not a peer of node {}; correct `node` or `[[cluster.nodes]]`",
                own.node
            ));
        }
        if let Some(field) = difference(&self.config, &other.config) {
            return Some(format!(
                "nodes {} and {node} have different configurations: {field}; make them equal and \
                 restart the one that is wrong",
                own.node
            ));
        }
        (other.fingerprint != self.config.fingerprint())
            .then(|| format!("nodes {} and {node} encode configurations differently", own.node))
    }
}

/// The first field that differs, with both values.
fn difference(own: &ClusterConfig, other: &ClusterConfig) -> Option<String> {
    let named = |name: &str, a: &dyn fmt::Debug, b: &dyn fmt::Debug| {
        Some(format!("`{name}` is {a:?} here and {b:?} there"))
    };
    let ClusterConfig { cluster, nodes, namespaces, storage, timing, log, retention } = own;
    if *cluster != other.cluster {
        return named("cluster.name", &cluster.0, &other.cluster.0);
    }
    if *nodes != other.nodes {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        return named("cluster.nodes", &ids(nodes), &ids(&other.nodes));
    }
    if *namespaces != other.namespaces {
        let names = |config: &ClusterConfig| {
            config.namespaces.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        return named("cluster.namespaces", &names(own), &names(other));
    }
    if *storage != other.storage {
        return named("cluster.storage", storage, &other.storage);
    }
    if *timing != other.timing {
        return named("cluster.timing", timing, &other.timing);
    }
    if *log != other.log {
        return named("cluster.log", log, &other.log);
    }
    let (name, other) = ("cluster.changes", &other.retention);
    (retention != other).then(|| named(name, retention, other)).flatten()
}

/// Within the time that a stranger has.
///
/// # Errors
/// What `exchange` says, or that it took too long.
pub async fn in_time<T>(
    exchange: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    let limit = limits::HANDSHAKE_TIMEOUT;
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(HandshakeError::Silent(limit)))
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    payload: &[u8],
) -> Result<(), HandshakeError> {
    let frame = frame::frame(kind, payload);
    stream.write_all(&frame).await.map_err(|error| HandshakeError::Frame(FrameError::Io(error)))
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Kind, Vec<u8>), HandshakeError> {
    let read = async {
        let header = frame::read_header(stream, limits::HANDSHAKE_BYTES_MAX).await?;
        Ok((header.kind, frame::read_payload(stream, header).await?))
    };
    read.await.map_err(HandshakeError::Frame)
}

fn decode(payload: &[u8]) -> Result<Hello, HandshakeError> {
    codec::decode(payload)
        .map_err(|_| HandshakeError::Frame(FrameError::Garbage("its greeting is damaged")))
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Refused(reason) => write!(f, "it refuses this node: {reason}"),
            HandshakeError::Mismatch(reason) => f.write_str(reason),
            HandshakeError::Frame(error) => error.fmt(f),
            HandshakeError::Tls(reason) => f.write_str(reason),
            HandshakeError::Silent(limit) => {
                write!(f, "it did not say who it is within {} s", limit.as_secs())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_core::{ClusterId, Incarnation, Namespace, Timing};

    fn own(node: u64, change: impl FnOnce(&mut ClusterConfig)) -> Own {
        let mut config = ClusterConfig {
            cluster: ClusterId("ours".to_owned()),
            nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
            namespaces: vec![Namespace::new("default").unwrap()],
            storage: Default::default(),
            timing: Timing::production(),
            log: understudy_core::LogSizes::production(),
            retention: understudy_core::Retention::production(),
        };
        change(&mut config);
        let cluster = config.cluster.clone();
        let identity = Identity { cluster, node: NodeId(node), incarnation: Incarnation(node) };
        Own { identity, boot: Boot(7), config, tls: None }
    }

    /// What the dialer and the listener say.
    async fn meet(dialer: Own, to: u64, listener: Own) -> (String, String) {
        let (mut here, mut there) = tokio::io::duplex(limits::HANDSHAKE_BYTES_MAX);
        let (dialed, accepted) = tokio::join!(
            dialer.dial(&mut here, NodeId(to)),
            listener.accept(&mut there, |_| Ok(()))
        );
        let say = |result: Result<Hello, HandshakeError>| match result {
            Ok(hello) => format!("node {}", hello.identity.node),
            Err(error) => error.to_string(),
        };
        (say(dialed), say(accepted))
    }

    #[tokio::test]
    async fn equal_configurations_agree() {
        let said = meet(own(1, |_| {}), 2, own(2, |_| {})).await;
        assert_eq!(said, ("node 2".to_owned(), "node 1".to_owned()));
    }

    #[tokio::test]
    async fn both_sides_name_what_differs() {
        type Change = fn(&mut ClusterConfig);
        let cases: [(Change, &str); 4] = [
            (|config| config.cluster.0 = "theirs".to_owned(), "cluster `theirs`"),
            (|config| config.nodes.push(NodeId(4)), "`cluster.nodes` is"),
            (|config| config.namespaces.clear(), "`cluster.namespaces` is"),
            (|config| config.timing.heartbeat *= 2, "`cluster.timing` is"),
        ];
        for (change, words) in cases {
            let (dialer, listener) = meet(own(1, |_| {}), 2, own(2, change)).await;
            assert!(dialer.contains(words) && listener.contains(words), "{dialer} / {listener}");
        }
    }

    #[tokio::test]
    async fn an_address_of_another_node_is_noticed() {
        let (dialer, listener) = meet(own(1, |_| {}), 2, own(3, |_| {})).await;
        let words = "node 2 was meant, node 3 answers";
        assert!(dialer.contains(words) && listener.contains(words), "{dialer} / {listener}");
    }

    #[tokio::test]
    async fn a_node_that_cannot_prove_its_name_is_told_so() {
        let (mut here, mut there) = tokio::io::duplex(limits::HANDSHAKE_BYTES_MAX);
        let (dialer, listener) = (own(3, |_| {}), own(2, |_| {}));
        let proof = |node: NodeId| Err(format!("it is not node {node}"));
        let (dialed, accepted) =
            tokio::join!(dialer.dial(&mut here, NodeId(2)), listener.accept(&mut there, proof));
        for said in [dialed.unwrap_err().to_string(), accepted.unwrap_err().to_string()] {
            assert!(said.contains("it is not node 3"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_node_does_not_talk_to_its_double() {
        let (_, listener) = meet(own(2, |_| {}), 2, own(2, |_| {})).await;
        assert!(listener.contains("is not a peer"), "{listener}");
    }
}
