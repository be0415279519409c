//! The side that connects.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::certificate::{self, read};
use crate::reload::unexpected;
use crate::{Stream, TlsError, provider};

/// What a client needs to speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Who signs the certificates of servers, in PEM.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, if servers want one.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// The configuration of a client's connections. `protocols` are offered in this order (ALPN).
///
/// # Errors
/// One line that names the file and what to do.
pub fn client_config(
    files: &ClientFiles,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let Some(ca) = &files.ca else {
        return Err(TlsError::new(
            "an `https` endpoint needs the CA that signed its certificate; give it with `--ca FILE`",
        ));
    };
    let roots = certificate::roots(&read(ca, "the CA")?)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unexpected)?
        .with_root_certificates(roots);
    let mut config = match (&files.cert, &files.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let (cert, key) = (read(cert, "the certificate")?, read(key, "the key")?);
            let (key, _) = certificate::identity(&cert, &key, UnixTime::now())?;
            let resolver = rustls::sign::SingleCertAndKey::from(Arc::unwrap_or_clone(key));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
        _ => {
            return Err(TlsError::new(
                "a certificate and its key go together; give both `--cert` and `--key`",
            ));
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The handshake on a connection to `host`, a name or an address as in the endpoint. Put a limit on
/// its time.
///
/// # Errors
/// See [`crate::accept_failure`].
pub async fn connect(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> io::Result<Stream> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
    Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
}
