//! Members of a cluster among themselves: both sides show a certificate of the cluster's own CA, and
//! each names its member, so that one member cannot speak as another.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::certificate::{self, Read1};
use crate::reload::{Change, Live, Report, unexpected};
use crate::{Stream, TlsError, provider};

/// Where a member's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFiles {
    /// The member's certificate, good for servers and for clients, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Who signs the certificates of members, and of nobody else.
    pub ca: PathBuf,
    /// The name in a member's certificate; `{id}` stands for its number.
    pub name: String,
}

/// TLS among members.
#[derive(Debug)]
pub struct Peers {
    name: String,
    live: Live<Both>,
}

/// A member is dialed and dials.
struct Both {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Peers {
    /// Reads and checks the files of member `own`.
    ///
    /// # Errors
    /// One line that names the file and what to do.
    pub fn load(files: PeerFiles, own: u64) -> Result<Peers, TlsError> {
        let name = files.name;
        if !name.contains("{id}") || server_name(&name, own).is_none() {
            return Err(TlsError::new(format!(
                "`{name}` is not a name for members: it is a DNS name with `{{id}}` in it, such as \
                 `node-{{id}}`"
            )));
        }
        let own_name = name.replace("{id}", &own.to_string());
        let all = vec![
            (files.cert, "the certificate"),
            (files.key, "the key"),
            (files.ca, "the CA of members"),
        ];
        let build = move |files: &[Read1], now| build(files, now, &own_name);
        Ok(Peers { name, live: Live::load(all, Box::new(build))? })
    }

    /// The handshake with a member that has dialed.
    ///
    /// # Errors
    /// See [`crate::accept_failure`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(self.live.value().server.clone());
        let stream = acceptor.accept(stream).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }

    /// The handshake with member `to`, which must prove that it is the one.
    ///
    /// # Errors
    /// See [`crate::accept_failure`].
    pub async fn dial(&self, to: u64, stream: TcpStream) -> io::Result<Stream> {
        let name = server_name(&self.name, to).ok_or_else(|| io::Error::other("no such name"))?;
        let connector = TlsConnector::from(self.live.value().client.clone());
        let stream = connector.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    /// Whether `certificate`, whose owner says that it is member `node`, says so too.
    ///
    /// # Errors
    /// What it names, and what it should name.
    pub fn prove(&self, certificate: Option<&CertificateDer<'_>>, node: u64) -> Result<(), String> {
        let wanted = self.name.replace("{id}", &node.to_string());
        let Some(certificate) = certificate else {
            return Err(format!("it shows no certificate; give it one that names `{wanted}`"));
        };
        let named = server_name(&self.name, node).is_some_and(|name| {
            ParsedCertificate::try_from(certificate)
                .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
        });
        if named {
            return Ok(());
        }
        let names = certificate::facts(certificate).map(|facts| facts.names).unwrap_or_default();
        Err(format!(
            "it says that it is node {node}, but its certificate names {} and not `{wanted}`; give \
             each node its own certificate",
            listed(&names)
        ))
    }

    /// Looks at the files again; connections that are open stay as they are.
    pub fn reload(&self) -> Change {
        self.live.reload()
    }

    /// What is in use.
    pub fn report(&self) -> Report {
        self.live.report()
    }
}

fn server_name(pattern: &str, node: u64) -> Option<ServerName<'static>> {
    let name = ServerName::try_from(pattern.replace("{id}", &node.to_string())).ok()?;
    matches!(name, ServerName::DnsName(_)).then_some(name)
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

fn build(
    files: &[Read1],
    now: UnixTime,
    own: &str,
) -> Result<(Both, certificate::Facts), TlsError> {
    let (key, facts) = certificate::identity(&files[0], &files[1], now)?;
    let roots = certificate::roots(&files[2])?;
    let (cert, ca) = (files[0].path.display(), files[2].path.display());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| TlsError::new(format!("the CA `{ca}` cannot be used: {error}")))?;
    let parsed = ParsedCertificate::try_from(&key.cert[0]).map_err(unexpected)?;
    believed(&parsed, &key.cert[1..], &roots, now)
        .and_then(|()| verifier.verify_client_cert(&key.cert[0], &key.cert[1..], now).map(drop))
        .map_err(|error| {
            TlsError::new(format!(
                "the certificate `{cert}` is not good among members: {error}; it must be from the CA \
                 `{ca}`, for servers and for clients"
            ))
        })?;
    let name = ServerName::try_from(own.to_owned())
        .map_err(|_| TlsError::new(format!("`{own}` is not a DNS name")))?;
    verify_server_name(&parsed, &name).map_err(|_| {
        TlsError::new(format!(
            "the certificate `{cert}` names {} and not this node; make one that names `{own}`",
            listed(&facts.names)
        ))
    })?;
    let resolver = Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(key)));
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unexpected)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver.clone());
    // A resumed session would not show its certificate again.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unexpected)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(resolver);
    client.resumption = rustls::client::Resumption::disabled();
    Ok((Both { server: Arc::new(server), client: Arc::new(client) }, facts))
}

fn believed(
    certificate: &ParsedCertificate<'_>,
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(certificate, roots, chain, now, algorithms)
}
