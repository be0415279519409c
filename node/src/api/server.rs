//! Accepts clients, HTTP/1 and HTTP/2 on one port: bounded in number, in what they may send and in
//! the time they may take, so that half requests and silent clients do not pin the node.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::api::front::Front;
use crate::api::problem::Problem;
use crate::guard::Remote;
use crate::limits;

pub mod activity;
pub mod secure;
pub mod stream;

use activity::{Activity, Verdict};
use stream::{Protocol, Stream};

/// Serves until `stop` becomes true; then accepts nobody, and lets what is being answered end within
/// [`limits::DRAIN_MAX`].
pub async fn serve(listener: TcpListener, front: Front, mut stop: watch::Receiver<bool>) {
    let most = connections_max();
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly; it passes.
                warn!("cannot accept a client: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                drop(tokio::spawn(client(stream, address, front.clone(), stop.clone(), place)))
            }
            Err(_) => turn_away(stream, most).await,
        }
    }
    drop(listener);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    if timeout(limits::DRAIN_MAX, places.acquire_many(all)).await.is_err() {
        let open = most - places.available_permits();
        info!("{open} client connections were still open after {:?}", limits::DRAIN_MAX);
    }
}

/// As many as there may be, if the system lets this process have so many files.
fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    limits::API_CONNECTIONS_MAX.min(files.saturating_sub(limits::OTHER_FILES_MAX).max(16))
}

/// Resolves when the node stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One client too many hears so, in HTTP/1: it may not even have said yet what it speaks.
async fn turn_away(mut stream: TcpStream, most: usize) {
    let detail =
        format!("{most} connections are open, which is the most; close some, or ask another node");
    let problem = Problem::busy(detail, limits::API_RETRY_AFTER).to_http1();
    // It fits into the buffer of a fresh connection, so nobody waits here.
    let _ = timeout(limits::API_RETRY_AFTER, stream.write_all(&problem)).await;
}

async fn client(
    stream: TcpStream,
    address: SocketAddr,
    front: Front,
    mut stop: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    let activity = Activity::new();
    let opened = async {
        let (stream, remote) = secure::open(stream, address, front.secured()).await?;
        Some((stream::detect(stream, activity.clone()).await?, remote))
    };
    let opened = tokio::select! {
        () = stopped(&mut stop) => None,
        opened = opened => opened,
    };
    if let Some((stream, remote)) = opened
        && let Err(error) = connection(stream, front, activity, Arc::new(remote), stop).await
    {
        debug!("a client's connection ended: {error}");
    }
    drop(place);
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Stream<S>,
    front: Front,
    activity: Arc<Activity>,
    remote: Arc<Remote>,
    stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let service = front.connection(activity.clone(), remote);
    match stream.protocol() {
        Protocol::Http1 => {
            let http = http1::Builder::new()
                .timer(TokioTimer::new())
                // Also between two requests: the watch below is what ends half a header.
                .header_read_timeout(limits::API_IDLE_TIMEOUT)
                .max_buf_size(limits::API_HEADER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            let http = pin!(http);
            watch_over(http, |http| http.graceful_shutdown(), &activity, true, stop).await
        }
        Protocol::Http2 => {
            let http = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits::STREAMS_MAX)
                .max_header_list_size(limits::API_HEADER_BYTES_MAX as u32)
                .max_frame_size(limits::HTTP2_FRAME_BYTES_MAX)
                .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
                .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
                .max_send_buf_size(limits::HTTP2_SEND_BYTES_MAX)
                .keep_alive_interval(limits::HTTP2_PING_EVERY)
                .keep_alive_timeout(limits::HTTP2_PING_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let http = pin!(http);
            watch_over(http, |http| http.graceful_shutdown(), &activity, false, stop).await
        }
    }
}

/// Runs a connection to its end; closes it when the node stops, or by the verdicts of `activity`.
async fn watch_over<H: Future<Output = hyper::Result<()>>>(
    mut http: std::pin::Pin<&mut H>,
    close: impl Fn(std::pin::Pin<&mut H>),
    activity: &Activity,
    headers: bool,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut look = Instant::now() + limits::API_WATCH_EVERY;
    let mut closes = None;
    loop {
        tokio::select! {
            biased;
            ended = http.as_mut() => return ended,
            () = stopped(&mut stop), if closes.is_none() => {
                close(http.as_mut());
                closes = Some(Instant::now() + limits::DRAIN_MAX);
            }
            () = sleep_until(look) => {}
        }
        if closes.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        look = match activity.verdict(headers) {
            Verdict::Wait(until) => until,
            Verdict::Idle if closes.is_none() => {
                close(http.as_mut());
                closes = Some(Instant::now() + limits::API_CLOSE_TIMEOUT);
                Instant::now() + limits::API_CLOSE_TIMEOUT
            }
            Verdict::Idle => Instant::now() + limits::API_WATCH_EVERY,
            Verdict::Late | Verdict::Stuck => return Ok(()),
        };
    }
}
