//! From a header's text to a token that is believed, and what it allows.

use biscuit_auth::{Algorithm, PublicKey, UnverifiedBiscuit, error};

use crate::form::{Check, Question, Verdict};
use crate::read::{self, Said};
use crate::revoked::{RevocationId, Revoked};
use crate::right::{Access, Grant, Right};
use crate::{BLOCKS_MAX, Denied, KEYS_MAX, TOKEN_BYTES_MAX, Why};

/// The public root keys that are believed.
#[derive(Clone, Debug)]
pub struct Keys(Vec<PublicKey>);

impl Keys {
    /// Each as `understudy token keygen` prints it: `ed25519/` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// The one that is not a key.
    pub fn parse(texts: &[String]) -> Result<Keys, String> {
        if texts.is_empty() || texts.len() > KEYS_MAX {
            return Err(format!("there are 1 to {KEYS_MAX} root keys"));
        }
        texts.iter().map(|text| public_key(text)).collect::<Result<_, _>>().map(Keys)
    }

    /// Verifies every signature of a token and reads what it says. Costs about 0.1 ms a block.
    ///
    /// # Errors
    /// Why it is not believed. Whether it has expired or is revoked is not looked at.
    pub fn verify(&self, text: &str) -> Result<Token, Denied> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Denied::invalid(format!(
                "a token has at most {TOKEN_BYTES_MAX} bytes; ask for a new one that was narrowed less \
                 often"
            )));
        }
        let garbage = || {
            Denied::invalid("this is not a token; send one that `understudy token create` printed")
        };
        let unverified = UnverifiedBiscuit::from_base64(text).map_err(|_| garbage())?;
        // Each block is one more signature to look at.
        if unverified.block_count() > BLOCKS_MAX {
            return Err(Denied::invalid(format!(
                "a token has at most {BLOCKS_MAX} blocks; ask for a new one"
            )));
        }
        let token = unverified.verify(|id| self.choose(id)).map_err(|_| {
            Denied::invalid(
                "the token is not signed with a root key of this cluster, or was changed; get a new \
                 one",
            )
        })?;
        let bytes = token.to_vec().map_err(|_| garbage())?;
        let Said { subject, grants, checks } = read::read(&bytes)?;
        let ids = token.revocation_identifiers().into_iter().map(RevocationId::new).collect();
        let end = checks.iter().filter_map(Check::end).min();
        Ok(Token { subject, grants, checks, ids, end })
    }

    /// The key that a token names; the first one if it names none.
    fn choose(&self, id: Option<u32>) -> Result<PublicKey, error::Format> {
        let named = self.0.iter().find(|key| id.is_none_or(|id| key_id(key) == id));
        named.copied().ok_or(error::Format::UnknownPublicKey)
    }
}

/// Tokens name their root key by its first bytes.
pub(crate) fn key_id(key: &PublicKey) -> u32 {
    key.to_bytes().iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let text = text.trim();
    let hex = text.strip_prefix("ed25519/").filter(|hex| hex.len() == 64);
    let key = hex.and_then(|hex| PublicKey::from_bytes_hex(hex, Algorithm::Ed25519).ok());
    // What is not a public key may be a secret one: it is not repeated.
    key.ok_or_else(|| {
        "a root key here is a public one, `ed25519/` and 64 hexadecimal digits, as `understudy token \
         keygen` prints it"
            .to_owned()
    })
}

/// A token whose signatures are good. It holds nothing secret.
#[derive(Clone, Debug, Default)]
pub struct Token {
    /// Whom it was made for.
    pub subject: Option<String>,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// What must hold besides.
    pub checks: Vec<Check>,
    /// Its own name, last, and before it those of the tokens that it was made from.
    pub ids: Vec<RevocationId>,
    /// Its last second, since 1970.
    pub end: Option<u64>,
}

impl Token {
    /// Whether it may be used at all now.
    ///
    /// # Errors
    /// It has expired or was revoked.
    pub fn usable(&self, now: u64, revoked: &Revoked) -> Result<(), Denied> {
        if revoked.any(&self.ids) {
            return Err(Denied::new(Why::Revoked, "the token was revoked; get a new one"));
        }
        if self.end.is_some_and(|end| end < now) {
            return Err(expired());
        }
        Ok(())
    }

    /// Whether it allows `right` to `access`; that it is usable is another question.
    ///
    /// # Errors
    /// It does not.
    pub fn allows(&self, right: Right, access: Access<'_>, now: u64) -> Result<(), Denied> {
        let question = Question { right, access, now };
        let mut over = false;
        for check in &self.checks {
            match check.decide(&question) {
                Verdict::Holds => {}
                Verdict::Over => over = true,
                Verdict::Fails => return Err(forbidden(right, access)),
            }
        }
        if !self.grants.iter().any(|grant| grant.covers(right, access)) {
            return Err(forbidden(right, access));
        }
        if over { Err(expired()) } else { Ok(()) }
    }

    /// Its own name, shortened, for logs.
    pub fn name(&self) -> String {
        self.ids.last().map(RevocationId::short).unwrap_or_default()
    }
}

fn expired() -> Denied {
    Denied::new(Why::Expired, "the token has expired; get a new one")
}

fn forbidden(right: Right, access: Access<'_>) -> Denied {
    let place = match access {
        Access::Node => "of the node itself; that needs a grant for namespace `*`".to_owned(),
        Access::Id { namespace, id } => format!("of {id:?} in namespace `{namespace}`"),
        Access::Under { namespace, prefix: "" } => format!("of all of namespace `{namespace}`"),
        Access::Under { namespace, prefix } => {
            format!("of all ids that begin with {prefix:?} in namespace `{namespace}`")
        }
    };
    Denied::new(Why::Forbidden, format!("the token does not allow `{right}` {place}"))
}
