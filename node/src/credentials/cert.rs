//! `understudy cert`: certificates for development.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Subcommand;
use understudy_tls::authority::{Authority, Order};

use crate::say::say;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make a certificate authority in a folder: `ca.pem` and `ca.key`.
    Ca {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Its name.
        #[arg(long, default_value = "Understudy development CA")]
        name: String,
        /// How long it is good.
        #[arg(long, default_value_t = 365, value_name = "DAYS")]
        days: u32,
    },
    /// Sign a certificate with it: `NAME.pem` and `NAME.key`, good for servers and for clients.
    ///
    /// A member's name is `node-1`, `node-2` and so on.
    Issue {
        /// The authority's folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Whom it is for, once for each.
        #[arg(long, required = true)]
        name: Vec<String>,
        /// Further names and addresses that it is good for, once for each.
        #[arg(long, default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
        also: Vec<String>,
        /// How long it is good.
        #[arg(long, default_value_t = 90, value_name = "DAYS")]
        days: u32,
    },
}

/// Runs it.
///
/// # Errors
/// One line that says what to do.
pub fn run(command: CertCommand) -> anyhow::Result<ExitCode> {
    match command {
        CertCommand::Ca { dir, name, days } => {
            anyhow::ensure!(
                !dir.join("ca.key").exists(),
                "`{}` has an authority already; name another folder",
                dir.display()
            );
            Authority::create(&dir, &name, days)?;
            say!("{}", dir.join("ca.pem").display());
            eprintln!(
                "for development only: whoever has `{}` can be any node and any client",
                dir.join("ca.key").display()
            );
        }
        CertCommand::Issue { dir, name, also, days } => {
            let authority = Authority::open(&dir)?;
            for name in name {
                let names = std::iter::once(&name).chain(&also).cloned().collect();
                let order = Order { name, names, from: SystemTime::now(), days };
                let (cert, key) = authority.issue(&order)?;
                say!("{} {}", cert.display(), key.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
