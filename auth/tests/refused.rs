//! Tokens that are not believed, and what a hostile holder could make of one.

use std::time::{Duration, Instant};

use biscuit_auth::builder::{BlockBuilder, Scope, fact, int};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, KeyPair, UnverifiedBiscuit};
use understudy_auth::{
    Access, BLOCKS_MAX, Grant, Keys, Narrowing, Revoked, Right, RootKey, TOKEN_BYTES_MAX, Terms,
    attenuate, describe, revocation_ids,
};

fn everything() -> Terms {
    let grant = |right| Grant { right, namespace: "*".to_owned(), prefix: String::new() };
    Terms { subject: None, grants: Right::ALL.map(grant).to_vec(), until: None }
}

fn world() -> (RootKey, Keys, String) {
    let root = RootKey::generate();
    let keys = Keys::parse(&[root.public()]).unwrap();
    let token = root.create(&everything()).unwrap();
    (root, keys, token)
}

#[test]
fn what_is_not_a_token_is_not_believed() {
    let (_, keys, token) = world();
    assert!(keys.verify(&token).is_ok());
    let mut cases = vec![
        String::new(),
        "x".to_owned(),
        "Bearer".to_owned(),
        "é".to_owned(),
        token[..token.len() - 8].to_owned(),
        token[8..].to_owned(),
        format!("{token}{token}"),
        "A".repeat(TOKEN_BYTES_MAX + 1),
    ];
    // Every byte counts, but for bits that base64 leaves unused.
    let changed = (0..token.len()).step_by(7).filter_map(|place| {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).unwrap();
        (text.trim_end_matches('=') != token.trim_end_matches('=')).then_some(text)
    });
    cases.extend(changed);
    for text in cases {
        if let Ok(believed) = keys.verify(&text) {
            // An unsigned bit, such as those of base64's last digit: it says the same as before.
            assert_eq!(believed.grants, everything().grants, "{text}");
            continue;
        }
        let denied = keys.verify(&text).unwrap_err();
        assert_eq!(denied.code(), "unauthenticated");
        assert!(text.len() < 8 || !denied.detail.contains(&text), "{denied}");
    }
}

#[test]
fn only_the_root_keys_of_the_cluster_are_believed() {
    let (old, _, token) = world();
    let (new, keys, _) = world();
    let denied = keys.verify(&token).unwrap_err();
    assert!(denied.detail.contains("not signed with a root key"), "{denied}");
    let both = Keys::parse(&[new.public(), old.public()]).unwrap();
    assert!(both.verify(&token).is_ok());
    assert!(both.verify(&new.create(&everything()).unwrap()).is_ok());
}

#[test]
fn a_secret_key_in_the_place_of_a_public_one_is_refused_and_not_repeated() {
    let secret = RootKey::generate().secret();
    let why = Keys::parse(std::slice::from_ref(&secret)).unwrap_err();
    let hex = secret.strip_prefix("ed25519-private/").unwrap();
    assert!(!why.contains(hex), "{why}");
    let why = Keys::parse(&[format!("ed25519/{}", &hex[1..])]).unwrap_err();
    assert!(!why.contains(&hex[1..]), "{why}");
    let why = RootKey::parse(&hex[1..]).unwrap_err();
    assert!(!why.contains(&hex[1..]), "{why}");
    assert!(!format!("{:?}", RootKey::parse(&secret).unwrap()).contains(hex));
}

#[test]
fn a_revoked_token_takes_those_made_from_it_along() {
    let (_, keys, parent) = world();
    let narrowing = Narrowing { rights: vec![Right::Read], ..Narrowing::default() };
    let child = attenuate(&parent, &narrowing).unwrap();
    let other = attenuate(&parent, &narrowing).unwrap();
    let usable = |text: &str, revoked: &Revoked| keys.verify(text).unwrap().usable(1, revoked);
    let revoke = |text: &str| {
        let id = revocation_ids(text).unwrap().last().unwrap().to_string();
        Revoked::parse(&id).unwrap()
    };
    let list = revoke(&child);
    assert_eq!(usable(&child, &list).unwrap_err().code(), "token_revoked");
    assert!(usable(&other, &list).is_ok() && usable(&parent, &list).is_ok());
    let list = revoke(&parent);
    for text in [&parent, &child, &other] {
        assert_eq!(usable(text, &list).unwrap_err().code(), "token_revoked");
    }
}

#[test]
fn a_token_cannot_be_narrowed_for_ever() {
    let (_, keys, mut token) = world();
    let narrowing = Narrowing { until: Some(10), ..Narrowing::default() };
    for _ in 1..BLOCKS_MAX {
        token = attenuate(&token, &narrowing).unwrap();
    }
    assert!(keys.verify(&token).is_ok());
    assert!(attenuate(&token, &narrowing).unwrap_err().contains("blocks"));
    let block = BlockBuilder::new();
    let token = UnverifiedBiscuit::from_base64(&token).unwrap().append(block).unwrap();
    let denied = keys.verify(&token.to_base64().unwrap()).unwrap_err();
    assert!(denied.detail.contains("blocks"), "{denied}");
}

/// Each would be legal for biscuit's engine.
#[test]
fn what_the_form_does_not_know_is_refused() {
    let (_, keys, token) = world();
    let parent = UnverifiedBiscuit::from_base64(&token).unwrap();
    let scoped = BlockBuilder::new().scope(Scope::Previous).code("check if namespace(\"a\");");
    let token = parent.append(scoped.unwrap()).unwrap().to_base64().unwrap();
    assert!(keys.verify(&token).unwrap_err().detail.contains("a scope"));
    for code in [
        "grant(\"read\", \"a\", \"\");",
        "namespace(\"a\");",
        "x($n) <- namespace($n);",
        "check all namespace($n), $n == \"a\";",
        "reject if namespace(\"a\");",
        "check if grant($r, $n, $p);",
        "check if namespace($n), $n.matches(\"(a|b)*c\");",
        "check if namespace($n), $n != \"a\";",
        "check if within($w), $w.length() < 5;",
        "check if namespace($n), within($n);",
        "check if namespace($n), $n == \"a\" || $n == \"b\";",
        "check if time($t), $t < 5;",
        "check if time($t), $t == 2100-01-01T00:00:00Z;",
        "check if namespace($n, $m);",
        "check if namespace($n) trusting previous;",
        "check if true;",
        "check if operation({\"read\"});",
    ] {
        let block = BlockBuilder::new().code(code).unwrap();
        let token = parent.append(block).unwrap().to_base64().unwrap();
        let denied = keys.verify(&token).unwrap_err();
        assert_eq!(denied.code(), "unauthenticated", "{code}");
        assert!(denied.detail.contains("does not take from holders"), "{code}: {denied}");
        assert!(describe(&token).is_err(), "{code}");
    }
}

#[test]
fn a_block_of_a_third_party_is_refused() {
    let (root, keys, _) = world();
    let hex = root.public().strip_prefix("ed25519/").unwrap().to_owned();
    let key = biscuit_auth::PublicKey::from_bytes_hex(&hex, biscuit_auth::Algorithm::Ed25519);
    let token = Biscuit::from_base64(root.create(&everything()).unwrap(), key.unwrap()).unwrap();
    let stranger = KeyPair::new();
    let request = token.third_party_request().unwrap();
    let block = BlockBuilder::new().code("check if operation(\"read\");").unwrap();
    let block = request.create_block(&stranger.private(), block).unwrap();
    let token = token.append_third_party(stranger.public(), block).unwrap();
    let denied = keys.verify(&token.to_base64().unwrap()).unwrap_err();
    assert!(denied.detail.contains("third party"), "{denied}");
}

/// Why holders' Datalog is not run: a token of a few hundred bytes keeps biscuit's engine busy for far
/// longer than its limit. Ours refuses it in the time of its signatures.
#[test]
fn a_rule_that_burns_the_engine_is_refused_at_once() {
    let (root, keys, token) = world();
    let mut block = BlockBuilder::new();
    for number in 0..12 {
        block = block.fact(fact("n", &[int(number)])).unwrap();
    }
    let block = block
        .code("m($a) <- n($a), n($b), n($c), n($d), n($e), $a + $b + $c + $d + $e > 1000;")
        .unwrap();
    let parent = UnverifiedBiscuit::from_base64(&token).unwrap();
    let hostile = parent.append(block).unwrap().to_base64().unwrap();
    assert!(hostile.len() < 1500, "{}", hostile.len());

    let limit = Duration::from_millis(1);
    let limits = AuthorizerLimits { max_time: limit, ..AuthorizerLimits::default() };
    let hex = root.public().strip_prefix("ed25519/").unwrap().to_owned();
    let key = biscuit_auth::PublicKey::from_bytes_hex(&hex, biscuit_auth::Algorithm::Ed25519);
    let biscuit = Biscuit::from_base64(&hostile, key.unwrap()).unwrap();
    let started = Instant::now();
    let builder = AuthorizerBuilder::new().set_limits(limits).code("allow if true").unwrap();
    let _ = builder.build(&biscuit).unwrap().authorize();
    let engine = started.elapsed();

    let started = Instant::now();
    assert!(keys.verify(&hostile).unwrap_err().detail.contains("a rule"));
    let ours = started.elapsed();
    println!("engine {engine:?} with a limit of {limit:?}, ours {ours:?}");
    assert!(engine > 20 * limit, "the engine keeps its limit now: {engine:?}");
    assert!(ours < engine);
}

/// A sealed token is one that nobody narrows.
#[test]
fn a_sealed_token_is_good_as_it_is() {
    let (_, keys, token) = world();
    let sealed = UnverifiedBiscuit::from_base64(&token).unwrap().seal().unwrap();
    let sealed = sealed.to_base64().unwrap();
    let believed = keys.verify(&sealed).unwrap();
    assert!(believed.allows(Right::Read, Access::Id { namespace: "a", id: "b" }, 1).is_ok());
    let narrowing = Narrowing { until: Some(1), ..Narrowing::default() };
    assert!(attenuate(&sealed, &narrowing).unwrap_err().contains("sealed"));
}
