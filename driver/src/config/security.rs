//! The sections about certificates and tokens: where they are. What is in them is looked at by whoever
//! speaks to the network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Certificates, keys and tokens of one node; what is left out is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// TLS for clients.
    pub tls: Option<TlsSection>,
    /// TLS among members.
    pub peer_tls: Option<PeerTlsSection>,
    /// Tokens.
    pub auth: Option<AuthSection>,
}

/// The `[tls]` section: clients come with TLS. Relative paths start at the file's own folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The node's certificate and those that lead to its CA, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Who signs the certificates of clients. With it, a client must show one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// The `[peer_tls]` section: members come with TLS, and each proves which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerTlsSection {
    /// The member's certificate, for servers and for clients, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Who signs the certificates of members, and of nobody else.
    pub ca: PathBuf,
    /// The DNS name in a member's certificate; `{id}` stands for its number.
    #[serde(default = "member_name")]
    pub name: String,
}

/// The `[auth]` section: nothing is allowed without a token that allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSection {
    /// The public keys of those who make tokens.
    pub root_keys: Vec<String>,
    /// A file with the revocation ids of tokens that are not believed any more, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<PathBuf>,
}

fn member_name() -> String {
    "node-{id}".to_owned()
}

impl Security {
    /// With paths that start at `folder`.
    pub(super) fn found_from(self, folder: &Path) -> Security {
        let at = |path: PathBuf| {
            let path = folder.join(path);
            std::path::absolute(&path).unwrap_or(path)
        };
        Security {
            tls: self.tls.map(|tls| TlsSection {
                cert: at(tls.cert),
                key: at(tls.key),
                client_ca: tls.client_ca.map(at),
            }),
            peer_tls: self.peer_tls.map(|tls| PeerTlsSection {
                cert: at(tls.cert),
                key: at(tls.key),
                ca: at(tls.ca),
                name: tls.name,
            }),
            auth: self.auth.map(|auth| AuthSection {
                root_keys: auth.root_keys,
                revoked: auth.revoked.map(at),
            }),
        }
    }
}
