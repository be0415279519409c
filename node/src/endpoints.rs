//! Which cluster a command asks: one argument, the same for every command.

use clap::Args;

/// `--endpoints`, or the environment.
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
}
