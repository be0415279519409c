//! `understudy token`: root keys, tokens, narrower tokens, what is in them and how to revoke them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use understudy_auth::{
    Grant, Keys, Narrowing, Right, RootKey, TOKEN_BYTES_MAX, Terms, attenuate, describe,
    revocation_ids,
};
use understudy_core::{Namespace, Timestamp};

use crate::say::say;
use crate::{backup, clock};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a root key: the secret that makes tokens. Prints the public key, which nodes need.
    Keygen {
        /// The new file for the secret; nobody else may read it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a token with a root key.
    Create(CreateArgs),
    /// Make a token that allows less than another; needs no key and no network.
    Attenuate(AttenuateArgs),
    /// Show what a token allows.
    Inspect {
        /// Which one.
        #[command(flatten)]
        token: TokenArg,
        /// Also check that it is signed with this root key (`ed25519/…`).
        #[arg(long, value_name = "KEY")]
        root_key: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the line that revokes a token and every one made from it.
    RevokeId {
        /// Which one.
        #[command(flatten)]
        token: TokenArg,
    },
}

/// A token that exists.
#[derive(Debug, Args)]
pub struct TokenArg {
    /// The token: `-` is standard input, `@FILE` a file.
    token: String,
}

/// A new token.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The root key's file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// `RIGHT[,RIGHT]:NAMESPACE[:PREFIX]`, once for each; the rights are read, write, subscribe, admin
    /// and monitor, the namespace `*` is every one and the node itself.
    #[arg(long, value_name = "GRANT", required = true)]
    grant: Vec<Grants>,
    /// Whom it is for; stands in the audit lines.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// How long it is good: `30d`, `12h`, `15m`, `60s` or `never`.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    ttl: Lifetime,
}

/// A narrower token.
#[derive(Debug, Args)]
pub struct AttenuateArgs {
    #[command(flatten)]
    token: TokenArg,
    /// These rights only.
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    right: Vec<Right>,
    /// These namespaces only, and no longer the node itself.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Ids that begin so only, once for each.
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// Good for so long at most: `30d`, `12h`, `15m`, `60s`.
    #[arg(long, value_name = "TIME")]
    ttl: Option<Lifetime>,
}

/// A time from now; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(Option<u64>);

/// Several rights in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

/// Runs it.
///
/// # Errors
/// One line that says what to do.
pub fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Keygen { out } => keygen(&out)?,
        TokenCommand::Create(args) => {
            let text = read_file(&args.key)?;
            let key = RootKey::parse(&text).map_err(anyhow::Error::msg)?;
            let grants = args.grant.into_iter().flat_map(|grants| grants.0).collect();
            let terms = Terms { subject: args.subject, grants, until: args.ttl.end() };
            say!("{}", key.create(&terms).map_err(anyhow::Error::msg)?);
        }
        TokenCommand::Attenuate(args) => {
            for namespace in &args.namespace {
                Namespace::new(namespace.clone()).map_err(anyhow::Error::msg)?;
            }
            let narrowing = Narrowing {
                rights: args.right,
                namespaces: args.namespace,
                prefixes: args.prefix,
                until: args.ttl.and_then(Lifetime::end),
            };
            let token = attenuate(&args.token.read()?, &narrowing);
            say!("{}", token.map_err(anyhow::Error::msg)?);
        }
        TokenCommand::Inspect { token, root_key, json } => {
            inspect(&token.read()?, root_key, json)?;
        }
        TokenCommand::RevokeId { token } => {
            let ids = revocation_ids(&token.read()?).map_err(anyhow::Error::msg)?;
            say!("{}", ids.last().context("the token has no name")?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn keygen(out: &Path) -> anyhow::Result<()> {
    let key = RootKey::generate();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .with_context(|| format!("cannot make `{}`", out.display()))?;
    file.write_all(format!("{}\n", key.secret()).as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write `{}`", out.display()))?;
    say!("{}", key.public());
    eprintln!(
        "the secret is in `{}`: keep it off the nodes; they need `root_keys = [\"{}\"]` in `[auth]`",
        out.display(),
        key.public()
    );
    Ok(())
}

fn inspect(text: &str, root_key: Option<String>, json: bool) -> anyhow::Result<()> {
    let (token, blocks) = describe(text).map_err(anyhow::Error::msg)?;
    if let Some(key) = &root_key {
        let keys = Keys::parse(std::slice::from_ref(key)).map_err(anyhow::Error::msg)?;
        keys.verify(text)?;
    }
    let end = token.end.map(|end| backup::utc(Timestamp(end.saturating_mul(1000))));
    let expired = token.end.is_some_and(|end| end < clock::wall().0 / 1000);
    let ids: Vec<String> = token.ids.iter().map(ToString::to_string).collect();
    let grants: Vec<String> = token.grants.iter().map(ToString::to_string).collect();
    if json {
        say!(
            "{}",
            serde_json::json!({
                "subject": token.subject,
                "grants": grants,
                "until": end,
                "expired": expired,
                "signature": root_key.map(|_| "good"),
                "blocks": blocks,
                "revocation_ids": ids,
            })
        );
        return Ok(());
    }
    say!("subject     {}", token.subject.as_deref().unwrap_or("-"));
    for grant in grants {
        say!("grants      {grant:?}");
    }
    for block in blocks.iter().skip(1) {
        for line in block.lines() {
            say!("narrowed    {line}");
        }
    }
    say!(
        "until       {}{}",
        end.as_deref().unwrap_or("for ever"),
        if expired { ", expired" } else { "" }
    );
    for id in ids {
        say!("revoked by  {id}");
    }
    let signature = if root_key.is_some() { "good" } else { "not looked at; give `--root-key`" };
    say!("signature   {signature}");
    Ok(())
}

impl TokenArg {
    fn read(&self) -> anyhow::Result<String> {
        let text = match self.token.strip_prefix('@') {
            Some(path) => read_file(Path::new(path))?,
            None if self.token == "-" => {
                let mut text = String::new();
                let most = TOKEN_BYTES_MAX as u64 + 2;
                let read = std::io::stdin().take(most).read_to_string(&mut text);
                read.context("cannot read standard input")?;
                text
            }
            None => self.token.clone(),
        };
        Ok(text.trim().to_owned())
    }
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

impl Lifetime {
    /// Its last second, since 1970.
    fn end(self) -> Option<u64> {
        self.0.map(|seconds| (clock::wall().0 / 1000).saturating_add(seconds))
    }
}

impl FromStr for Lifetime {
    type Err = String;
    fn from_str(text: &str) -> Result<Lifetime, String> {
        if text == "never" {
            return Ok(Lifetime(None));
        }
        let bad =
            || format!("`{text}` is not a time such as `30d`, `12h`, `15m`, `60s` or `never`");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(bad()),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        // A century: what is longer is a slip of the hand.
        seconds
            .filter(|seconds| *seconds <= 36_525 * 86_400)
            .map(|s| Lifetime(Some(s)))
            .ok_or_else(bad)
    }
}

impl FromStr for Grants {
    type Err = String;
    fn from_str(text: &str) -> Result<Grants, String> {
        let all = || -> anyhow::Result<Grants> {
            let mut parts = text.splitn(3, ':');
            let (rights, namespace) = (parts.next().unwrap_or_default(), parts.next());
            let Some(namespace) = namespace else {
                bail!("`{text}` is not a grant such as `read,write:orders:2026/` or `admin:*`");
            };
            if namespace != "*" {
                Namespace::new(namespace).map_err(anyhow::Error::msg)?;
            }
            let prefix = parts.next().unwrap_or_default();
            ensure!(
                prefix.len() <= understudy_core::limits::ID_BYTES_MAX,
                "the prefix is longer than any id"
            );
            let grants = rights.split(',').map(|right| {
                let right = right.parse().map_err(anyhow::Error::msg)?;
                Ok(Grant { right, namespace: namespace.to_owned(), prefix: prefix.to_owned() })
            });
            grants.collect::<anyhow::Result<Vec<Grant>>>().map(Grants)
        };
        all().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read() {
        let grants: Grants = "read,write:orders:2026/:x".parse().unwrap();
        let text: Vec<String> = grants.0.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["read:orders:2026/:x", "write:orders:2026/:x"]);
        assert_eq!("admin:*".parse::<Grants>().unwrap().0[0].prefix, "");
        for bad in ["", "read", "rEad:a", "read:", "read:a b", ":a", "read,:a"] {
            assert!(bad.parse::<Grants>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_lifetime_is_read() {
        assert_eq!("2h".parse(), Ok(Lifetime(Some(7200))));
        assert_eq!("never".parse(), Ok(Lifetime(None)));
        for bad in ["", "5", "d", "-1d", "1w", "99999999999999999999d", "40000d"] {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad:?}");
        }
    }
}
