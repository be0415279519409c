//! Making tokens: with the root key, or from a token, without it.

use std::fmt;

use biscuit_auth::builder::{
    Binary, BlockBuilder, Check, CheckKind, Expression, Op, Rule, Term, fact, pred, set, string,
    var,
};
use biscuit_auth::{Algorithm, Biscuit, KeyPair, PrivateKey, UnverifiedBiscuit, error};

use crate::read;
use crate::revoked::RevocationId;
use crate::right::{Grant, Right};
use crate::verify::key_id;
use crate::{BLOCKS_MAX, GRANTS_MAX, TOKEN_BYTES_MAX, Token};

/// Makes tokens. Whoever has it can do everything.
pub struct RootKey(KeyPair);

/// A token to make.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Whom it is for; stands in logs.
    pub subject: Option<String>,
    /// What it allows.
    pub grants: Vec<Grant>,
    /// Its last second, since 1970.
    pub until: Option<u64>,
}

/// What a narrower token still allows; an empty list narrows nothing.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    /// These rights only.
    pub rights: Vec<Right>,
    /// These namespaces only, and no longer the node itself.
    pub namespaces: Vec<String>,
    /// Ids that begin with one of these only, and no longer the node itself.
    pub prefixes: Vec<String>,
    /// Its last second, since 1970.
    pub until: Option<u64>,
}

impl RootKey {
    /// A new one, from the system's random bytes.
    pub fn generate() -> RootKey {
        RootKey(KeyPair::new_with_algorithm(Algorithm::Ed25519))
    }

    /// From [`RootKey::secret`].
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<RootKey, String> {
        let hex = text.trim().strip_prefix("ed25519-private/");
        let key = hex.and_then(|hex| PrivateKey::from_bytes_hex(hex, Algorithm::Ed25519).ok());
        // Nothing of it is repeated.
        let key =
            key.ok_or("this is not a secret root key; `understudy token keygen` makes one")?;
        Ok(RootKey(KeyPair::from(&key)))
    }

    /// The secret, as text.
    pub fn secret(&self) -> String {
        self.0.private().to_prefixed_string()
    }

    /// The public key, as text: what nodes need.
    pub fn public(&self) -> String {
        format!("ed25519/{}", self.0.public().to_bytes_hex())
    }

    /// Makes a token.
    ///
    /// # Errors
    /// What is wrong with `terms`.
    pub fn create(&self, terms: &Terms) -> Result<String, String> {
        if terms.grants.is_empty() || terms.grants.len() > GRANTS_MAX {
            return Err(format!("a token has 1 to {GRANTS_MAX} grants"));
        }
        let mut builder = Biscuit::builder().root_key_id(key_id(&self.0.public()));
        if let Some(subject) = &terms.subject {
            builder = builder.fact(fact("subject", &[string(subject)])).map_err(unmade)?;
        }
        for Grant { right, namespace, prefix } in &terms.grants {
            let words = [string(right.as_str()), string(namespace), string(prefix)];
            builder = builder.fact(fact("grant", &words)).map_err(unmade)?;
        }
        if let Some(until) = terms.until {
            builder = builder.check(end(until)).map_err(unmade)?;
        }
        let token = builder.build(&self.0).map_err(unmade)?;
        bounded(token.to_base64().map_err(unmade)?)
    }
}

/// It is the one secret that opens everything.
impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({})", self.public())
    }
}

/// Makes a token that allows less, or nothing more, than `token`. Needs no key.
///
/// # Errors
/// `token` is not one, or there is nothing to narrow.
pub fn attenuate(token: &str, narrowing: &Narrowing) -> Result<String, String> {
    let parent = UnverifiedBiscuit::from_base64(token).map_err(|_| not_a_token())?;
    if parent.block_count() >= BLOCKS_MAX {
        return Err(format!("a token has at most {BLOCKS_MAX} blocks; begin from an earlier one"));
    }
    let mut block = BlockBuilder::new();
    let Narrowing { rights, namespaces, prefixes, until } = narrowing;
    let words = |words: &[String]| words.iter().map(|word| string(word)).collect::<Vec<_>>();
    let mut checks = Vec::new();
    if !rights.is_empty() {
        let rights = rights.iter().map(|right| string(right.as_str())).collect();
        checks.push(one_of("operation", rights));
    }
    if !namespaces.is_empty() {
        checks.push(one_of("namespace", words(namespaces)));
    }
    if !prefixes.is_empty() {
        let queries = words(prefixes).into_iter().map(|prefix| {
            query(
                "within",
                vec![Op::Value(var("x")), Op::Value(prefix), Op::Binary(Binary::Prefix)],
            )
        });
        checks.push(Check { queries: queries.collect(), kind: CheckKind::One });
    }
    checks.extend(until.map(end));
    if checks.is_empty() {
        return Err(
            "nothing to narrow; give `--right`, `--namespace`, `--prefix` or `--ttl`".into()
        );
    }
    for check in checks {
        block = block.check(check).map_err(unmade)?;
    }
    let token = parent.append(block).map_err(|error| match error {
        error::Token::AppendOnSealed => "the token is sealed: it cannot be narrowed".to_owned(),
        error => unmade(error),
    })?;
    bounded(token.to_base64().map_err(unmade)?)
}

/// The names of `token` and of those that it was made from, without looking at its signatures.
///
/// # Errors
/// It is not a token.
pub fn revocation_ids(token: &str) -> Result<Vec<RevocationId>, String> {
    let token = UnverifiedBiscuit::from_base64(token).map_err(|_| not_a_token())?;
    Ok(token.revocation_identifiers().into_iter().map(RevocationId::new).collect())
}

/// What `token` says, without looking at its signatures, and its blocks as Datalog.
///
/// # Errors
/// It is not a token, or holds what nodes do not take.
pub fn describe(token: &str) -> Result<(Token, Vec<String>), String> {
    let unverified = UnverifiedBiscuit::from_base64(token).map_err(|_| not_a_token())?;
    let bytes = unverified.to_vec().map_err(|_| not_a_token())?;
    let said = read::read(&bytes).map_err(|denied| denied.detail)?;
    let blocks: Result<Vec<String>, _> =
        (0..unverified.block_count()).map(|place| unverified.print_block_source(place)).collect();
    let token = Token {
        end: said.checks.iter().filter_map(crate::form::Check::end).min(),
        subject: said.subject,
        grants: said.grants,
        checks: said.checks,
        ids: revocation_ids(token)?,
    };
    Ok((token, blocks.map_err(|_| not_a_token())?))
}

/// `check if time($x), $x <= until`
fn end(until: u64) -> Check {
    let ops =
        vec![Op::Value(var("x")), Op::Value(Term::Date(until)), Op::Binary(Binary::LessOrEqual)];
    Check { queries: vec![query("time", ops)], kind: CheckKind::One }
}

/// `check if FACT($x), {words}.contains($x)`
fn one_of(name: &str, words: Vec<Term>) -> Check {
    let words = set(words.into_iter().collect());
    let ops = vec![Op::Value(words), Op::Value(var("x")), Op::Binary(Binary::Contains)];
    Check { queries: vec![query(name, ops)], kind: CheckKind::One }
}

fn query(name: &str, ops: Vec<Op>) -> Rule {
    Rule::new(
        pred::<Term>("query", &[]),
        vec![pred(name, &[var("x")])],
        vec![Expression { ops }],
        vec![],
    )
}

fn bounded(token: String) -> Result<String, String> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!(
            "the token would have more than {TOKEN_BYTES_MAX} bytes; say less in it"
        ));
    }
    Ok(token)
}

fn not_a_token() -> String {
    "this is not a token; give one that `understudy token create` printed".to_owned()
}

fn unmade(error: error::Token) -> String {
    format!("the token cannot be made: {error}")
}
