//! Connections of the command line's client, with TLS or without.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tower_service::Service;
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{Stream, accept_failure, connect};

use crate::limits;

/// Connects to `http` and, where it knows whom to believe, to `https`.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    http: HttpConnector,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Connector {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(limits::PEER_CONNECT_TIMEOUT));
        http.enforce_http(false);
        Connector { http, tls }
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.http.poll_ready(context).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().to_owned();
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let tls = self.tls.clone();
        let connected = self.http.call(uri);
        Box::pin(async move {
            let stream = connected.await.map_err(io::Error::other)?.into_inner();
            if !secure {
                return Ok(Wire(TokioIo::new(Stream::Plain(stream))));
            }
            let missing =
                "an `https` endpoint needs the CA of its certificate; give it with `--ca`";
            let tls = tls.ok_or_else(|| io::Error::other(missing))?;
            let shaken =
                tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, connect(&tls, &host, stream));
            let stream = shaken.await.map_err(|_| io::Error::other("no TLS handshake in time"))?;
            let stream = stream.map_err(|error| io::Error::other(accept_failure(&error)))?;
            Ok(Wire(TokioIo::new(stream)))
        })
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire(TokioIo<Stream>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
