//! Which cluster a command asks, and what it shows there: the same arguments for every command.

use clap::Args;
use understudy_client::Options;

use crate::client::Client;
use crate::credentials::CredentialArgs;

/// `--endpoints` and the credentials, or the environment.
#[derive(Clone, Debug, Args)]
pub struct EndpointArgs {
    /// The nodes to ask, any of them first.
    #[arg(
        long = "endpoints",
        visible_alias = "endpoint",
        env = "UNDERSTUDY_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
    )]
    pub endpoints: Vec<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

impl EndpointArgs {
    /// A client over HTTP.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::with(&self.endpoints, self.credentials.read(&[b"http/1.1"])?)
    }

    /// What the client library is to show.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn options(&self) -> anyhow::Result<Options> {
        self.credentials.options(Options::new())
    }
}
