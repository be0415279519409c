//! Certificates and tokens on the command line: what a client shows (`--ca`, `--cert`, `--key`,
//! `--token`), and the commands that make and look at them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use hyper::header::HeaderValue;
use understudy_client::Options;
use understudy_tls::rustls::ClientConfig;
use understudy_tls::{ClientPems, Pem, client_config};

pub mod cert;
pub mod token;

/// What a client shows, and whom it believes.
#[derive(Clone, Debug, Default, Args)]
pub struct CredentialArgs {
    /// Who signed the nodes' certificates (PEM); with it, endpoints without a scheme are `https`.
    #[arg(long, env = "UNDERSTUDY_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A certificate of your own (PEM), where nodes want one.
    #[arg(long, env = "UNDERSTUDY_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, env = "UNDERSTUDY_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A file with a token, where nodes want one.
    #[arg(long, env = "UNDERSTUDY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The same, read and checked. Its `Debug` shows nothing secret.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Whom to believe, and the certificate to show.
    pub tls: Option<Arc<ClientConfig>>,
    /// `Bearer` and the token, marked as secret.
    pub bearer: Option<HeaderValue>,
}

impl CredentialArgs {
    /// Reads what the arguments name. `protocols` are offered in this order (ALPN).
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn read(&self, protocols: &[&[u8]]) -> anyhow::Result<Credentials> {
        let tls = match (&self.ca, &self.cert) {
            (None, None) => None,
            _ => Some(client_config(&self.pems(), protocols)?),
        };
        let bearer = self.token()?.map(|token| bearer(&token)).transpose()?;
        Ok(Credentials { tls, bearer })
    }

    /// The same for the client library, which reads the certificates itself.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn options(&self, mut options: Options) -> anyhow::Result<Options> {
        let ClientPems { ca, cert, key } = self.pems();
        if let Some(ca) = ca {
            options = options.ca(ca);
        }
        if let Some((cert, key)) = cert.zip(key) {
            options = options.identity(cert, key);
        }
        Ok(match self.token()? {
            Some(token) => options.token(token),
            None => options,
        })
    }

    fn pems(&self) -> ClientPems {
        let file = |path: &Option<PathBuf>| path.as_ref().map(Pem::file);
        ClientPems { ca: file(&self.ca), cert: file(&self.cert), key: file(&self.key) }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        // Not a flag: the command line of a process is open to everybody on the machine.
        match (&self.token_file, std::env::var("UNDERSTUDY_TOKEN")) {
            (Some(path), _) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token in `{}`", path.display()))
                .map(Some),
            (None, Ok(token)) if !token.is_empty() => Ok(Some(token)),
            _ => Ok(None),
        }
    }
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.ok().context("the token is not one line of text")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_show() {
        let credentials = Credentials { tls: None, bearer: Some(bearer("sEcReT\n").unwrap()) };
        assert!(!format!("{credentials:?}").contains("sEcReT"));
        assert!(bearer("two\nlines").is_err());
    }
}
