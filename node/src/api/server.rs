//! Accepts HTTP connections: bounded in number, in header size and in the time a header may take,
//! so that half requests do not pin the node.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::api::problem::Problem;
use crate::limits;

/// Serves `router` until `stop` becomes true, then lets open requests end for
/// [`limits::STOP_GRACE`].
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits::API_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, router.clone(), stop.clone());
                drop(tokio::spawn(async move {
                    connection.await;
                    drop(place);
                }));
            }
            Err(error) => {
                // Out of file descriptors, mostly; it passes.
                warn!("cannot accept a client: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(limits::API_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = timeout(limits::STOP_GRACE, places.acquire_many(all)).await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let late = Arc::new(AtomicBool::new(false));
    let stream = Explained { stream, rest: Vec::new(), bare: 0, begun: false, late: late.clone() };
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::API_HEADER_TIMEOUT)
        .max_buf_size(limits::API_HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut http = pin!(http);
    let ended = tokio::select! {
        ended = http.as_mut() => ended,
        () = stopped(&mut stop) => {
            http.as_mut().graceful_shutdown();
            http.as_mut().await
        }
    };
    if let Err(error) = ended {
        debug!("a client's connection ended: {error}");
        late.store(error.is_timeout(), Ordering::Relaxed);
    }
}

/// The connection below hyper. hyper answers a header it cannot read by itself, with an empty
/// body; here that answer becomes a problem like all others. No answer of ours begins like it: each
/// has a body or another status, and no JSON holds a bare line break inside a string.
struct Explained {
    stream: TcpStream,
    /// Of an answer that was replaced: bytes still to write.
    rest: Vec<u8>,
    /// Bytes that hyper believes written when `rest` is.
    bare: usize,
    /// Something came since the last answer: half a request, if nothing more does.
    begun: bool,
    /// The rest of a header did not come; hyper then says nothing at all.
    late: Arc<AtomicBool>,
}

impl Drop for Explained {
    fn drop(&mut self) {
        if self.begun && self.late.load(Ordering::Relaxed) {
            let problem = Problem::late("the rest of the header did not come; send it at once");
            let _ = self.stream.try_write(&problem.to_http1());
        }
    }
}

impl Explained {
    fn flush_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.rest))?;
            self.rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// What hyper's own answers look like, and what stands for them.
fn explain(answer: &[u8]) -> Option<Problem> {
    let text = std::str::from_utf8(answer).ok()?;
    let (line, rest) = text.split_once("\r\n")?;
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))?;
    let status = StatusCode::from_bytes(status.get(..3)?.as_bytes()).ok()?;
    if !status.is_client_error() || !rest.to_ascii_lowercase().contains("content-length: 0\r\n") {
        return None;
    }
    Some(match status {
        StatusCode::URI_TOO_LONG => Problem::new(
            status,
            "uri_too_long",
            "The path is too long",
            "the path is longer than any actor's; shorten the id",
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::new(
            status,
            "header_too_large",
            "The header is too large",
            format!("a header has at most {} bytes; send less", limits::API_HEADER_BYTES_MAX),
        ),
        _ => Problem::bad(
            "bad_request",
            "the bytes are not an HTTP/1.1 request; percent-encode the path and check the headers",
        ),
    })
}

impl AsyncRead for Explained {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.begun |= buffer.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Explained {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.begun = false;
        if self.bare == 0 {
            let Some(problem) = explain(bytes) else {
                return Pin::new(&mut self.stream).poll_write(context, bytes);
            };
            self.rest = problem.to_http1();
            self.bare = bytes.len();
        }
        ready!(self.flush_rest(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.bare)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begun = false;
        if self.bare == 0 && buffers.first().is_none_or(|first| explain(first).is_none()) {
            return Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        }
        let first = buffers.first().map_or(&[][..], |first| first);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
