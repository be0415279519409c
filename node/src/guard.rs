//! Who may do what: the token of a request, what it allows, and a line for each refusal.
//!
//! Nothing reaches the core without a [`Caller`], which only [`Guard::admit`] makes, and everything
//! that reaches it is put to [`Caller::allow`] first.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use tracing::{info, warn};
use understudy_auth::{Access, Cache, Denied, Keys, Revoked, Right, Token, Why};
use understudy_driver::config::AuthSection;

use crate::{clock, limits};

mod audit;

use audit::{Audit, Line};

/// Lets requests in, or not.
#[derive(Debug)]
pub struct Guard {
    /// `None` lets everybody do everything.
    auth: Option<Auth>,
    audit: Audit,
}

#[derive(Debug)]
struct Auth {
    keys: Keys,
    known: Cache,
    revoked: Option<RevokedFile>,
}

/// The list of revoked tokens, and the file that it is kept in.
#[derive(Debug)]
struct RevokedFile {
    path: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    list: Arc<Revoked>,
    /// What the file held when `list` or `problem` came of it.
    text: String,
    problem: Option<String>,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address.
    pub address: SocketAddr,
    /// Whom its certificate was made out to, if it showed one.
    pub certificate: Option<String>,
}

/// One who may ask, and what for.
#[derive(Clone, Debug)]
pub struct Caller {
    guard: Arc<Guard>,
    token: Option<Arc<Token>>,
    remote: Arc<Remote>,
}

impl Guard {
    /// With the keys of `section`; without it everybody may do everything.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn new(section: Option<&AuthSection>) -> anyhow::Result<Guard> {
        let auth = section.map(Auth::new).transpose()?;
        Ok(Guard { auth, audit: Audit::default() })
    }

    /// Whether a token is needed.
    pub fn is_closed(&self) -> bool {
        self.auth.is_some()
    }

    /// Looks at a request's token. What it allows is asked later, by what the request touches.
    ///
    /// # Errors
    /// There is none, or none that can be believed; a line was written.
    pub fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
        remote: &Arc<Remote>,
        path: &str,
    ) -> Result<Caller, Denied> {
        let token = match &self.auth {
            None => None,
            Some(auth) => match auth.admit(headers) {
                Ok(token) => Some(token),
                Err((token, denied)) => {
                    self.audit.write(&Line {
                        denied: &denied,
                        remote,
                        token: token.as_deref(),
                        wanted: None,
                        path,
                    });
                    return Err(denied);
                }
            },
        };
        Ok(Caller { guard: self.clone(), token, remote: remote.clone() })
    }

    /// A connection that came to nothing for want of a certificate.
    pub fn refused(&self, address: SocketAddr, why: &str) {
        let remote = Remote { address, certificate: None };
        let denied = Denied::new(Why::Unauthenticated, why);
        let line = Line { denied: &denied, remote: &remote, token: None, wanted: None, path: "" };
        self.audit.write(&line);
    }

    /// Looks at the list of revoked tokens again.
    pub fn reload(&self) {
        if let Some(file) = self.auth.as_ref().and_then(|auth| auth.revoked.as_ref()) {
            file.reload();
        }
    }

    /// Writes what the audit has counted and not yet told.
    pub fn flush(&self) {
        self.audit.flush();
    }

    /// Revoked tokens that are known, and why the file as it is now is not.
    pub fn revoked(&self) -> Option<(usize, Option<String>)> {
        let file = self.auth.as_ref()?.revoked.as_ref()?;
        let state = file.state.read().unwrap_or_else(PoisonError::into_inner);
        Some((state.list.len(), state.problem.clone()))
    }
}

/// A refusal, and the token that it is about if that was good once.
type Refused = (Option<Arc<Token>>, Denied);

impl Auth {
    fn new(section: &AuthSection) -> anyhow::Result<Auth> {
        let keys = Keys::parse(&section.root_keys).map_err(anyhow::Error::msg)?;
        let revoked = section.revoked.clone().map(RevokedFile::load).transpose()?;
        Ok(Auth { keys, known: Cache::new(limits::TOKENS_KNOWN_MAX), revoked })
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Arc<Token>, Refused> {
        let text = bearer(headers).map_err(|denied| (None, denied))?;
        let token = self.known.get(text, |text| self.keys.verify(text));
        let token = token.map_err(|denied| (None, denied))?;
        match self.usable(&token) {
            Ok(()) => Ok(token),
            Err(denied) => Err((Some(token), denied)),
        }
    }

    fn usable(&self, token: &Token) -> Result<(), Denied> {
        let list = match &self.revoked {
            None => Arc::default(),
            Some(file) => file.state.read().unwrap_or_else(PoisonError::into_inner).list.clone(),
        };
        token.usable(now(), &list)
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let bad = |detail: &str| Denied::new(Why::Unauthenticated, detail);
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else {
        return Err(bad("a token is needed; send `Authorization: Bearer TOKEN`"));
    };
    if all.next().is_some() {
        return Err(bad("`Authorization` is given twice; send one token"));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.trim().split_once(' ')).unwrap_or(("", ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(bad("only tokens are taken; send `Authorization: Bearer TOKEN`"));
    }
    Ok(token.trim())
}

/// Seconds since 1970.
fn now() -> u64 {
    clock::wall().0 / 1000
}

impl Caller {
    /// Whether it may do what needs `right` to `access`.
    ///
    /// # Errors
    /// It may not; a line was written.
    pub fn allow(&self, right: Right, access: Access<'_>) -> Result<(), Denied> {
        let Some((auth, token)) = self.guard.auth.as_ref().zip(self.token.as_deref()) else {
            // Only a guard without keys makes callers without tokens.
            return Ok(());
        };
        // A connection may outlast its token.
        let allowed = auth.usable(token).and_then(|()| token.allows(right, access, now()));
        allowed.inspect_err(|denied| {
            self.guard.audit.write(&Line {
                denied,
                remote: &self.remote,
                token: Some(token),
                wanted: Some((right, access)),
                path: "",
            });
        })
    }
}

impl Caller {
    /// Whether some grant of its token is for `namespace`.
    pub fn sees(&self, namespace: &str) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| token.grants.iter().any(|grant| grant.is_in(namespace)))
    }

    /// Whether it has anything to do with `namespace`; what exactly is asked by what is touched.
    ///
    /// # Errors
    /// It has not; a line was written.
    pub fn enter(&self, namespace: &str) -> Result<(), Denied> {
        if self.sees(namespace) {
            return Ok(());
        }
        let detail = format!("the token grants nothing in namespace `{namespace}`");
        let denied = Denied::new(Why::Forbidden, detail);
        let access = Access::Under { namespace, prefix: "" };
        self.guard.audit.write(&Line {
            denied: &denied,
            remote: &self.remote,
            token: self.token.as_deref(),
            wanted: Some((Right::Read, access)),
            path: "",
        });
        Err(denied)
    }
}

impl RevokedFile {
    fn load(path: PathBuf) -> anyhow::Result<RevokedFile> {
        let (text, list) = read(&path)
            .with_context(|| format!("cannot use the revocation list `{}`", path.display()))?;
        let state = State { list: Arc::new(list), text, problem: None };
        Ok(RevokedFile { path, state: RwLock::new(state) })
    }

    fn reload(&self) {
        let read = read(&self.path);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok((text, _)) if text == state.text && state.problem.is_none() => {}
            Ok((text, list)) => {
                info!("`{}`: {} tokens are revoked", self.path.display(), list.len());
                *state = State { list: Arc::new(list), text, problem: None };
            }
            Err(error) => {
                let line = format!("{error:#}");
                if state.problem.as_ref() != Some(&line) {
                    warn!("`{}`: the old list stays in use: {line}", self.path.display());
                }
                state.problem = Some(line);
            }
        }
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<(String, Revoked)> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).context("it cannot be read")?;
    let mut text = String::new();
    let most = limits::REVOKED_BYTES_MAX;
    file.take(most + 1).read_to_string(&mut text).context("it cannot be read")?;
    anyhow::ensure!(text.len() as u64 <= most, "it has more than {most} bytes");
    let list = Revoked::parse(&text).map_err(anyhow::Error::msg)?;
    Ok((text, list))
}

#[cfg(test)]
mod tests;
