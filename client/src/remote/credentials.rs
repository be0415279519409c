//! What a client shows to nodes, and which nodes it believes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tracing::warn;
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{ClientPems, Pem, Stream, accept_failure, client_config};

use crate::error::Error;

/// The token and the certificates of one client. Its `Debug` shows nothing secret.
#[derive(Debug)]
pub(super) struct Credentials {
    /// `Bearer` and the token, marked as secret.
    bearer: Option<MetadataValue<Ascii>>,
    tls: Option<Tls>,
}

/// TLS on every connection.
#[derive(Clone, Debug)]
struct Tls {
    pems: ClientPems,
    /// As it was when it was read last.
    config: Arc<Mutex<Arc<ClientConfig>>>,
}

impl Credentials {
    /// Of what the options say; `endpoints` are as they were given.
    ///
    /// # Errors
    /// What does not go together, or cannot be used.
    pub(super) fn new(
        token: Option<&str>,
        pems: ClientPems,
        endpoints: &[String],
    ) -> Result<Credentials, Error> {
        let begin = |scheme: &str| endpoints.iter().find(|one| one.trim().starts_with(scheme));
        let wants_tls = begin("https://").is_some() || pems != ClientPems::default();
        if let Some(plain) = begin("http://").filter(|_| wants_tls) {
            return Err(Error::invalid(format!(
                "`{plain}` is without TLS, and other endpoints or a CA are for TLS; leave `http://` away"
            )));
        }
        let tls = wants_tls.then(|| Tls::new(pems)).transpose()?;
        Ok(Credentials { bearer: token.map(bearer).transpose()?, tls })
    }

    /// The message with the token.
    pub(super) fn stamp<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }

    /// `address` as an endpoint of tonic's.
    pub(super) fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Endpoint::from_shared(format!("{scheme}://{address}"))
    }

    /// A loss at the first question, with what it mostly means: what a node thinks of a certificate
    /// comes after the handshake, and all that is left of it here is a connection that ends.
    pub(super) fn explain(&self, why: String) -> String {
        match self.tls {
            None => why,
            Some(_) => {
                format!(
                    "{why}; if the node wants a client's certificate, give one of the CA it names"
                )
            }
        }
    }

    /// Connects, with TLS where that is wanted.
    pub(super) async fn connect(
        &self,
        endpoint: Endpoint,
    ) -> Result<Channel, tonic::transport::Error> {
        let Some(tls) = self.tls.clone() else { return endpoint.connect().await };
        let connector = tower::service_fn(move |uri: tonic::codegen::http::Uri| {
            let tls = tls.clone();
            async move { tls.shake(&uri).await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await
    }
}

impl Tls {
    fn new(pems: ClientPems) -> Result<Tls, Error> {
        let config = client_config(&pems, &[b"h2"]);
        let config = config.map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Tls { pems, config: Arc::new(Mutex::new(config)) })
    }

    /// A connection with its handshake done; tonic puts a limit on its time.
    async fn shake(&self, uri: &tonic::codegen::http::Uri) -> io::Result<Stream> {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await?;
        stream.set_nodelay(true)?;
        let config = self.config().await;
        let shaken = understudy_tls::connect(&config, host, stream).await;
        shaken.map_err(|error| io::Error::other(accept_failure(&error)))
    }

    /// The configuration for a new connection: files are read again, since certificates are renewed
    /// in their place. Files that cannot be used change nothing.
    async fn config(&self) -> Arc<ClientConfig> {
        let ClientPems { ca, cert, key } = &self.pems;
        let may_change = [ca, cert, key].iter().any(|pem| matches!(pem, Some(Pem::File(_))));
        if may_change {
            let pems = self.pems.clone();
            let read = tokio::task::spawn_blocking(move || client_config(&pems, &[b"h2"])).await;
            match read {
                Ok(Ok(config)) => *self.lock() = config,
                Ok(Err(error)) => warn!("the certificates read before stay in use: {error}"),
                // The runtime stops.
                Err(_) => {}
            }
        }
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<ClientConfig>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    let value: Result<MetadataValue<Ascii>, _> = format!("Bearer {}", token.trim()).parse();
    let invalid = |_| Error::invalid("the token is not one line of text; give it as it was made");
    let mut value = value.map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(token: Option<&str>, endpoints: &[&str]) -> Result<Credentials, Error> {
        let endpoints: Vec<String> = endpoints.iter().map(|one| (*one).to_owned()).collect();
        Credentials::new(token, ClientPems::default(), &endpoints)
    }

    #[test]
    fn a_token_goes_into_every_request_and_does_not_show() {
        let credentials = new(Some("sEcReT\n"), &["a:1"]).unwrap();
        let request = credentials.stamp(());
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer sEcReT");
        assert!(!format!("{credentials:?} {request:?}").contains("sEcReT"));
        assert!(new(Some("two\nlines"), &["a:1"]).is_err());
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let why = |endpoints: &[&str]| new(None, endpoints).unwrap_err().to_string();
        assert!(why(&["https://a:1"]).contains("needs the CA"));
        assert!(why(&["https://a:1", "http://b:1"]).contains("`http://b:1` is without TLS"));
        assert!(new(None, &["a:1", "http://b:1"]).unwrap().tls.is_none());
    }
}
