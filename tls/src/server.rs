//! The side that clients connect to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::certificate;
use crate::reload::{Change, Live, Report, unexpected};
use crate::{Stream, TlsError, provider};

/// Where a server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, then those that lead to its CA, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Who signs the certificates of clients; with it, a client without one is refused.
    pub client_ca: Option<PathBuf>,
}

/// Answers TLS.
#[derive(Debug)]
pub struct Server(Live<ServerConfig>);

impl Server {
    /// Reads and checks the files. `protocols` are offered in this order (ALPN).
    ///
    /// # Errors
    /// One line that names the file and what to do.
    pub fn load(files: ServerFiles, protocols: &[&[u8]]) -> Result<Server, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let mut all = vec![(files.cert, "the certificate"), (files.key, "the key")];
        all.extend(files.client_ca.map(|path| (path, "the CA of clients")));
        let build = move |files: &[certificate::Read1], now| {
            let (key, facts) = certificate::identity(&files[0], &files[1], now)?;
            let builder = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(unexpected)?;
            let resolver = Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(key)));
            let mut config = match files.get(2) {
                None => builder.with_no_client_auth().with_cert_resolver(resolver),
                Some(ca) => {
                    let roots = certificate::roots(ca)?;
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                    let verifier = verifier.map_err(|error| {
                        TlsError::new(format!("`{}` cannot be used: {error}", ca.path.display()))
                    })?;
                    let mut config =
                        builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
                    // A resumed session would not show its certificate again.
                    config.session_storage = Arc::new(NoServerSessionStorage {});
                    config.send_tls13_tickets = 0;
                    config
                }
            };
            config.alpn_protocols.clone_from(&protocols);
            Ok((config, facts))
        };
        Ok(Server(Live::load(all, Box::new(build))?))
    }

    /// The handshake of one connection. Put a limit on its time.
    ///
    /// # Errors
    /// See [`crate::accept_failure`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = TlsAcceptor::from(self.0.value()).accept(stream).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }

    /// Looks at the files again; connections that are open stay as they are.
    pub fn reload(&self) -> Change {
        self.0.reload()
    }

    /// What is in use.
    pub fn report(&self) -> Report {
        self.0.report()
    }
}
