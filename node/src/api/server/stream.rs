//! The connection below hyper: which protocol it speaks, what was read to find out, and HTTP/1 answers
//! that hyper gives by itself made into problems like all others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::activity::Activity;
use crate::api::problem::{Problem, codes};
use crate::limits;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1, or nothing that is known.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection to a client.
#[derive(Debug)]
pub struct Stream<S: AsyncRead + AsyncWrite + Unpin> {
    inner: S,
    protocol: Protocol,
    /// Read before the protocol was known, and not yet handed on.
    early: Vec<u8>,
    /// Of an answer that was replaced: bytes still to write.
    rest: Vec<u8>,
    /// Bytes that hyper believes written when `rest` is.
    bare: usize,
    /// Something came since the last answer: half a request, if nothing more does.
    begun: bool,
    activity: Arc<Activity>,
}

/// Reads until it is clear what `inner` speaks; `None` when the client went away, or said nothing in
/// time.
pub async fn detect<S: AsyncRead + AsyncWrite + Unpin>(
    mut inner: S,
    activity: Arc<Activity>,
) -> Option<Stream<S>> {
    let mut early = Vec::with_capacity(PREFACE.len());
    let first = timeout(limits::API_IDLE_TIMEOUT, inner.read_buf(&mut early)).await;
    let mut read = first.ok()?.ok()?;
    activity.received();
    let rest = async {
        while read > 0 && early.len() < PREFACE.len() && PREFACE.starts_with(&early) {
            read = inner.read_buf(&mut early).await?;
        }
        Ok::<usize, io::Error>(read)
    };
    // Half a preface, and nothing more: no answer would be understood.
    timeout(limits::API_HEADER_TIMEOUT, rest).await.ok()?.ok()?;
    if early.is_empty() {
        return None;
    }
    let protocol = if early.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http1 };
    let (rest, begun) = (Vec::new(), true);
    Some(Stream { inner, protocol, early, rest, bare: 0, begun, activity })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn flush_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.rest))?;
            self.rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn explain(&self, answer: &[u8]) -> Option<Problem> {
        (self.protocol == Protocol::Http1).then(|| explain(answer)).flatten()
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.sent(written.is_ready());
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Stream<S> {
    fn drop(&mut self) {
        if self.begun && self.protocol == Protocol::Http1 && self.activity.is_late() {
            let detail = "the rest of the header did not come; send it at once";
            let problem = Problem::new(&codes::REQUEST_TIMEOUT, detail);
            // What does not fit into the system's buffer is lost: nobody waits for it.
            let mut context = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.inner).poll_write(&mut context, &problem.to_http1());
            let _ = Pin::new(&mut self.inner).poll_flush(&mut context);
        }
    }
}

/// What hyper's own answers look like, and what stands for them. No answer of ours begins like it: each
/// has a body or another status, and no JSON holds a bare line break inside a string.
fn explain(answer: &[u8]) -> Option<Problem> {
    if !answer.starts_with(b"HTTP/1.") {
        return None;
    }
    let text = std::str::from_utf8(answer).ok()?;
    let (line, rest) = text.split_once("\r\n")?;
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))?;
    let status = StatusCode::from_bytes(status.get(..3)?.as_bytes()).ok()?;
    if !status.is_client_error() || !rest.to_ascii_lowercase().contains("content-length: 0\r\n") {
        return None;
    }
    Some(match status {
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::new(
            &codes::HEADER_TOO_LARGE,
            format!("a header has at most {} bytes; send less", limits::API_HEADER_BYTES_MAX),
        ),
        _ => Problem::new(
            &codes::BAD_REQUEST,
            "the bytes are not an HTTP/1.1 request; percent-encode the path and check the headers",
        ),
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..count]);
            self.early.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.begun = true;
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.begun = false;
        if self.bare == 0 {
            let Some(problem) = self.explain(bytes) else {
                let written = Pin::new(&mut self.inner).poll_write(context, bytes);
                return self.noted(written);
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
        if self.bare == 0 && buffers.first().is_none_or(|first| self.explain(first).is_none()) {
            let written = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
            return self.noted(written);
        }
        let first = buffers.first().map_or(&[][..], |first| first);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
