//! The side that connects.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::certificate::{self, Read1, read};
use crate::reload::unexpected;
use crate::{Stream, TlsError, provider};

/// Certificates or a key in PEM: a file's, or at hand.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// Read when it is needed.
    File(PathBuf),
    /// The text itself.
    Text(Vec<u8>),
}

impl Pem {
    /// In a file.
    pub fn file(path: impl Into<PathBuf>) -> Pem {
        Pem::File(path.into())
    }

    /// The text itself, `-----BEGIN …`.
    pub fn text(bytes: impl Into<Vec<u8>>) -> Pem {
        Pem::Text(bytes.into())
    }

    fn read(&self, what: &str) -> Result<Read1, TlsError> {
        match self {
            Pem::File(path) => read(path, what),
            // What messages call it in the place of a file's name.
            Pem::Text(bytes) => Ok(Read1 { path: "(text)".into(), bytes: bytes.clone() }),
        }
    }
}

impl fmt::Debug for Pem {
    /// Without the text: it may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => f.debug_tuple("File").field(path).finish(),
            Pem::Text(_) => f.write_str("Text(…)"),
        }
    }
}

/// What a client needs to speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPems {
    /// Who signs the certificates of servers.
    pub ca: Option<Pem>,
    /// The client's own certificate, if servers want one.
    pub cert: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
}

/// The configuration of a client's connections. `protocols` are offered in this order (ALPN).
///
/// # Errors
/// One line that names the file and what to do.
pub fn client_config(
    pems: &ClientPems,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let Some(ca) = &pems.ca else {
        return Err(TlsError::new(
            "an `https` endpoint needs the CA that signed its certificate; give it with `--ca FILE`",
        ));
    };
    let roots = certificate::roots(&ca.read("the CA")?)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unexpected)?
        .with_root_certificates(roots);
    let mut config = match (&pems.cert, &pems.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let (cert, key) = (cert.read("the certificate")?, key.read("the key")?);
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
