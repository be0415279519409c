//! From a bare connection to one that may carry requests: with TLS where it is set.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use understudy_tls::{Stream, accept_failure};

use crate::api::problem::{Problem, codes};
use crate::guard::Remote;
use crate::limits;
use crate::security::Secured;

/// What a TLS connection begins with: a handshake record.
const HANDSHAKE: u8 = 22;

/// Shakes hands; `None` when that came to nothing.
pub async fn open(
    mut stream: TcpStream,
    address: SocketAddr,
    secured: &Secured,
) -> Option<(Stream, Remote)> {
    let Some(tls) = &secured.tls else {
        return Some((Stream::Plain(stream), Remote { address, certificate: None }));
    };
    let mut first = [0];
    let peeked = timeout(limits::API_IDLE_TIMEOUT, stream.peek(&mut first)).await;
    if peeked.ok()?.ok()? == 0 {
        return None;
    }
    if first[0] != HANDSHAKE {
        let detail =
            "this port speaks TLS and nothing else; use `https://`, and in gRPC a secure channel";
        let answer = Problem::new(&codes::BAD_REQUEST, detail).to_http1();
        let _ = timeout(limits::API_RETRY_AFTER, stream.write_all(&answer)).await;
        // Not with what was sent unread: then the answer could be lost with the connection.
        let _ = stream.shutdown().await;
        let mut rest = vec![0; limits::API_HEADER_BYTES_MAX];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut rest);
        let _ = timeout(limits::API_RETRY_AFTER, read).await;
        return None;
    }
    match timeout(limits::API_HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.subject();
            Some((stream, Remote { address, certificate }))
        }
        Ok(Err(error)) => {
            secured.guard.refused(address, &accept_failure(&error));
            None
        }
        Err(_) => None,
    }
}
