//! Peers over TCP. Each node dials every other and sends on that connection; what it hears comes
//! in on the connections the others dialed.
//!
//! With `[peer_tls]` both sides speak TLS and prove which member they are.
//!
//! Messages may be lost, so nothing here waits for a peer that is slow or gone: its queue is
//! bounded, and empty while there is no connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use understudy_core::limits as core_limits;
use understudy_core::{Message, NodeId, Rng, Seed, codec};
use understudy_driver::peer::{Batch, Peer};
use understudy_tls::{Peers, Stream, accept_failure};

use crate::frame::{self, FrameError, Kind};
use crate::handshake::{HandshakeError, Hello, Own, in_time};
use crate::limits;

/// The sending side of one peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Vec<Message>>,
    connected: Arc<AtomicBool>,
    knock: Arc<Notify>,
}

impl Peer for Outgoing {
    /// Drops them when there is no connection or the queue is full.
    fn send(&self, messages: Vec<Message>) {
        if self.connected.load(Ordering::Acquire) {
            let _ = self.queue.try_send(messages);
        }
    }
}

impl Outgoing {
    /// The peer has just come to us, so it is worth dialing at once.
    fn knock(&self) {
        self.knock.notify_one();
    }
}

/// Starts to dial `to` at `address`, for ever. `seed` spreads the retries.
pub fn dial(own: Arc<Own>, to: NodeId, address: String, seed: Seed) -> Outgoing {
    let (queue, waiting) = mpsc::channel(limits::PEER_QUEUE_MAX);
    let connected = Arc::new(AtomicBool::new(false));
    let knock = Arc::new(Notify::new());
    let outgoing = Outgoing { queue, connected: connected.clone(), knock: knock.clone() };
    let rng = seed.child(&format!("backoff/{to}")).rng();
    let said = String::new();
    let dialer = Dialer { own, to, address, waiting, connected, knock, rng, said };
    tokio::spawn(dialer.run());
    outgoing
}

struct Dialer {
    own: Arc<Own>,
    to: NodeId,
    address: String,
    waiting: mpsc::Receiver<Vec<Message>>,
    connected: Arc<AtomicBool>,
    knock: Arc<Notify>,
    rng: Rng,
    /// The last complaint: the same one is logged once, not at every try.
    said: String,
}

impl Dialer {
    async fn run(mut self) {
        let mut backoff = limits::PEER_BACKOFF_MIN;
        loop {
            match self.connect().await {
                Ok(stream) => {
                    backoff = limits::PEER_BACKOFF_MIN;
                    self.said.clear();
                    info!("connected to node {} at {}", self.to, self.address);
                    self.connected.store(true, Ordering::Release);
                    let why = self.pump(stream).await;
                    self.connected.store(false, Ordering::Release);
                    let Some(why) = why else { return };
                    info!("connection to node {} ended: {why}", self.to);
                }
                Err(why) => self.complain(&why),
            }
            // What waits was meant for a connection that is gone.
            while self.waiting.try_recv().is_ok() {}
            let spread = u64::try_from(backoff.as_micros()).unwrap_or(u64::MAX);
            let wait = backoff / 2 + Duration::from_micros(self.rng.below(spread / 2 + 1));
            backoff = (backoff * 2).min(limits::PEER_BACKOFF_MAX);
            if timeout(wait, self.knock.notified()).await.is_ok() {
                backoff = limits::PEER_BACKOFF_MIN;
            }
        }
    }

    fn complain(&mut self, why: &HandshakeError) {
        let line = why.to_string();
        if line == self.said {
            return;
        }
        match why {
            HandshakeError::Refused(_) | HandshakeError::Mismatch(_) | HandshakeError::Tls(_) => {
                warn!("no connection to node {} at {}: {line}", self.to, self.address);
            }
            HandshakeError::Frame(_) | HandshakeError::Silent(_) => {
                info!("node {} at {} cannot be reached yet: {line}", self.to, self.address);
            }
        }
        self.said = line;
    }

    async fn connect(&self) -> Result<Stream, HandshakeError> {
        let io = |error| HandshakeError::Frame(FrameError::Io(error));
        let limit = limits::PEER_CONNECT_TIMEOUT;
        let stream = timeout(limit, TcpStream::connect(&self.address))
            .await
            .map_err(|_| HandshakeError::Silent(limit))?
            .map_err(io)?;
        configure(&stream).map_err(io)?;
        let Some(tls) = &self.own.tls else {
            let mut stream = Stream::Plain(stream);
            self.own.dial(&mut stream, self.to).await?;
            return Ok(stream);
        };
        let dialed = async { tls.dial(self.to.0, stream).await.map_err(|error| broken(&error)) };
        let mut stream = in_time(dialed).await?;
        // What it thinks of our certificate comes with its first answer.
        match self.own.dial(&mut stream, self.to).await {
            Err(HandshakeError::Frame(FrameError::Io(error))) => Err(broken(&error)),
            said => said.map(|_| stream),
        }
    }

    /// Sends until the connection ends, and says why it did; `None` when the node stops.
    async fn pump(&mut self, mut stream: Stream) -> Option<String> {
        let mut byte = [0];
        loop {
            let messages = tokio::select! {
                // The listener says nothing more, so this ends only with the connection.
                read = stream.read(&mut byte) => return Some(match read {
                    Ok(_) => "closed by the other side".to_owned(),
                    Err(error) => error.to_string(),
                }),
                messages = self.waiting.recv() => messages?,
            };
            for frame in frames(&messages) {
                let write = async {
                    stream.write_all(&frame).await?;
                    // TLS may still hold the last of it.
                    stream.flush().await
                };
                match timeout(limits::PEER_FRAME_TIMEOUT, write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Some(error.to_string()),
                    Err(_) => return Some("it takes nothing".to_owned()),
                }
            }
        }
    }
}

/// TLS that ended before it began.
fn broken(error: &std::io::Error) -> HandshakeError {
    HandshakeError::Tls(accept_failure(error))
}

/// One frame, or more when the turn's messages do not fit into one. A message that does not fit
/// alone is dropped: the core's limits keep every message it makes below.
fn frames(messages: &[Message]) -> Vec<Vec<u8>> {
    let payload = codec::encode(&messages);
    if payload.len() <= core_limits::FRAME_BYTES_MAX {
        return vec![frame::frame(Kind::Messages, &payload)];
    }
    drop(payload);
    if messages.len() <= 1 {
        warn!("a message of more than {} bytes was dropped", core_limits::FRAME_BYTES_MAX);
        return Vec::new();
    }
    let (head, tail) = messages.split_at(messages.len() / 2);
    let mut all = frames(head);
    all.extend(frames(tail));
    all
}

/// Small frames leave at once, and a machine that is gone is noticed in seconds.
fn configure(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(limits::PEER_SILENCE_MAX))
}

/// Accepts peers for ever. What they send goes to `inbox`, whose size is bounded by each
/// connection's share of memory ([`limits::PEER_INBOX_BYTES_MAX`]) and the number of peers.
pub async fn listen(
    listener: TcpListener,
    own: Arc<Own>,
    inbox: Sender<Batch>,
    outgoing: BTreeMap<NodeId, Outgoing>,
) {
    let strangers = Arc::new(Semaphore::new(limits::HANDSHAKES_MAX));
    let hall =
        Arc::new(Hall { own, inbox, outgoing, seated: Mutex::default(), said: Mutex::default() });
    loop {
        let Ok(place) = strangers.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let hall = hall.clone();
                let task = tokio::spawn(async move {
                    hall.receive(stream, place, &address.to_string()).await;
                });
                drop(task);
            }
            Err(error) => {
                // Out of file descriptors, mostly; it passes.
                warn!("cannot accept a peer: {error}");
                sleep(limits::PEER_BACKOFF_MAX).await;
            }
        }
    }
}

/// Where received connections live: one for each peer, the newest.
struct Hall {
    own: Arc<Own>,
    inbox: Sender<Batch>,
    outgoing: BTreeMap<NodeId, Outgoing>,
    seated: Mutex<BTreeMap<NodeId, AbortHandle>>,
    /// The last complaint.
    said: Mutex<String>,
}

impl Hall {
    async fn receive(
        self: Arc<Self>,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        address: &str,
    ) {
        if let Err(error) = configure(&stream) {
            debug!("connection from {address} ended: {error}");
            return;
        }
        let (stream, hello) = match self.welcome(stream).await {
            Ok(welcomed) => welcomed,
            Err(error) => {
                self.complain(address, &error.to_string());
                return;
            }
        };
        drop(place);
        let hall = self.clone();
        let node = hello.identity.node;
        let task = tokio::spawn(async move { hall.read(stream, &hello).await });
        let before = self
            .seated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node, task.abort_handle());
        // A peer that dials again has given the old connection up, even if the system has not.
        if let Some(before) = before {
            before.abort();
        }
        if let Some(outgoing) = self.outgoing.get(&node) {
            outgoing.knock();
        }
    }

    /// Learns who has dialed, and that it is.
    async fn welcome(&self, stream: TcpStream) -> Result<(Stream, Hello), HandshakeError> {
        let Some(tls) = &self.own.tls else {
            let mut stream = Stream::Plain(stream);
            let hello = self.own.accept(&mut stream, |_| Ok(())).await?;
            return Ok((stream, hello));
        };
        let accepted = async { tls.accept(stream).await.map_err(|error| broken(&error)) };
        let mut stream = in_time(accepted).await?;
        let certificate = stream.certificate().cloned();
        let proof = |node: NodeId| Peers::prove(tls, certificate.as_ref(), node.0);
        let hello = self.own.accept(&mut stream, proof).await?;
        Ok((stream, hello))
    }

    /// A node that is refused dials again every second; once is enough for the log.
    fn complain(&self, address: &str, why: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said == why {
            debug!("refused a connection from {address}: {why}");
            return;
        }
        warn!("refused a connection from {address}: {why}");
        why.clone_into(&mut said);
    }

    async fn read(&self, mut stream: Stream, hello: &Hello) {
        let node = hello.identity.node;
        let share = Arc::new(Semaphore::new(limits::PEER_INBOX_BYTES_MAX));
        info!("node {node} is connected (boot {:016x})", hello.boot.0);
        loop {
            match self.read_batch(&mut stream, &share).await {
                Ok(batch) => {
                    if self.inbox.send(batch).is_err() {
                        return;
                    }
                }
                Err(FrameError::Io(error)) => {
                    info!("node {node} is disconnected: {error}");
                    return;
                }
                Err(error) => {
                    warn!("the connection of node {node} is closed: {error}");
                    return;
                }
            }
        }
    }

    async fn read_batch(
        &self,
        stream: &mut Stream,
        share: &Arc<Semaphore>,
    ) -> Result<Batch, FrameError> {
        let header = frame::read_header(stream, core_limits::FRAME_BYTES_MAX).await?;
        if header.kind != Kind::Messages {
            return Err(FrameError::Garbage("messages were expected"));
        }
        let bytes = header.length.max(limits::PEER_FRAME_CHARGE_MIN);
        let charge = u32::try_from(bytes).unwrap_or(u32::MAX);
        let closed = |_| FrameError::Garbage("the node is stopping");
        let charge = share.clone().acquire_many_owned(charge).await.map_err(closed)?;
        let payload = timeout(limits::PEER_FRAME_TIMEOUT, frame::read_payload(stream, header))
            .await
            .map_err(|_| FrameError::Garbage("a frame began and did not end"))??;
        let messages =
            codec::decode(&payload).map_err(|_| FrameError::Garbage("its messages are damaged"))?;
        Ok(Batch::new(messages, charge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_core::message::{Body, Exchange};
    use understudy_core::query::Query;
    use understudy_core::{ActorId, Boot, GroupId, Incarnation, ReplicaId};

    fn message(ids: usize) -> Message {
        let id = ActorId::new("i".repeat(core_limits::ID_BYTES_MAX)).unwrap();
        Message {
            from: ReplicaId { node: NodeId(1), incarnation: Incarnation(1) },
            to: NodeId(2),
            incarnation: Some(Incarnation(2)),
            group: GroupId(1),
            exchange: Exchange { boot: Boot(1), number: 1 },
            ailing: false,
            body: Body::ForwardRead { queries: vec![Query::Actor(id); ids], lease: false },
        }
    }

    #[test]
    fn a_turn_that_does_not_fit_into_one_frame_leaves_in_several() {
        // 10 MiB each: three fit, four do not.
        let messages = vec![message(10 * 1024); 4];
        assert_eq!(frames(&messages[..3]).len(), 1);
        let parts = frames(&messages);
        assert_eq!(parts.len(), 2);
        let decoded: Vec<Message> = parts
            .iter()
            .flat_map(|frame| codec::decode::<Vec<Message>>(&frame[frame::HEADER_BYTES..]).unwrap())
            .collect();
        assert!(decoded == messages);
        assert!(frames(&[message(40 * 1024)]).is_empty(), "a message above the limit is dropped");
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_holds_no_messages() {
        let (queue, waiting) = mpsc::channel(limits::PEER_QUEUE_MAX);
        let outgoing = Outgoing { queue, connected: Arc::default(), knock: Arc::default() };
        outgoing.send(vec![message(1)]);
        assert_eq!(waiting.len(), 0);
        outgoing.connected.store(true, Ordering::Release);
        for _ in 0..2 * limits::PEER_QUEUE_MAX {
            outgoing.send(vec![message(1)]);
        }
        assert_eq!(waiting.len(), limits::PEER_QUEUE_MAX);
    }
}
