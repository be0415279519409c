//! What we decide is what biscuit's own engine decides, and a token that was narrowed allows nothing
//! that its parent does not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use biscuit_auth::builder::{
    Binary, BlockBuilder, Check, CheckKind, Expression, Op, Rule, Term, fact, pred, set, string,
    var,
};
use biscuit_auth::{
    AuthorizerBuilder, AuthorizerLimits, Biscuit, KeyPair, PublicKey, UnverifiedBiscuit,
};
use understudy_auth::{
    Access, Grant, Keys, Narrowing, Revoked, Right, RootKey, Terms, Token, attenuate,
};

/// splitmix64: the same seed, the same tokens.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        (0..1 + self.below(2)).map(|_| self.one(of)).collect()
    }
}

const NAMESPACES: [&str; 3] = ["a", "b", "*"];
/// Few and alike, so that prefixes and ids meet. The words of the language are among them.
const WORDS: [&str; 7] = ["", "a", "a/", "a/1", "a/12", "b", "read"];
const NOW: u64 = 1_000_000;

fn grant(dice: &mut Dice) -> Grant {
    Grant {
        right: dice.one(&Right::ALL),
        namespace: dice.one(&NAMESPACES).to_owned(),
        prefix: dice.one(&WORDS).to_owned(),
    }
}

fn terms(dice: &mut Dice) -> Terms {
    Terms {
        subject: (dice.below(2) == 0).then(|| "somebody".to_owned()),
        grants: (0..1 + dice.below(4)).map(|_| grant(dice)).collect(),
        until: (dice.below(3) == 0).then(|| NOW - 2 + dice.below(5)),
    }
}

fn narrowing(dice: &mut Dice) -> Narrowing {
    let words = |dice: &mut Dice, of: &[&str]| match dice.below(2) {
        0 => Vec::new(),
        _ => dice.some(of).into_iter().map(str::to_owned).collect(),
    };
    Narrowing {
        rights: if dice.below(2) == 0 { Vec::new() } else { dice.some(&Right::ALL) },
        namespaces: words(dice, &NAMESPACES[..2]),
        prefixes: words(dice, &WORDS),
        until: Some(NOW - 2 + dice.below(8)),
    }
}

/// Every way to ask about these few names.
fn questions() -> Vec<(Right, Access<'static>)> {
    let mut all = Vec::new();
    for right in Right::ALL {
        all.push((right, Access::Node));
        for namespace in &NAMESPACES[..2] {
            for word in WORDS {
                all.push((right, Access::Under { namespace, prefix: word }));
                all.push((right, Access::Id { namespace, id: word }));
            }
        }
    }
    all
}

/// The same question, put to biscuit's engine with the rules of the documentation.
fn engine_allows(token: &Biscuit, right: Right, access: Access<'_>) -> bool {
    let mut builder = AuthorizerBuilder::new()
        .set_limits(AuthorizerLimits {
            max_time: Duration::from_secs(10),
            ..AuthorizerLimits::default()
        })
        .fact(fact("operation", &[string(right.as_str())]))
        .unwrap()
        .fact(fact("time", &[Term::Date(NOW)]))
        .unwrap();
    for (name, value) in
        [("namespace", access.namespace()), ("within", access.within()), ("id", access.id())]
    {
        if let Some(value) = value {
            builder = builder.fact(fact(name, &[string(value)])).unwrap();
        }
    }
    let policies = match access {
        Access::Node => {
            "allow if operation($o), grant($o, \"*\", \"\");
             allow if operation(\"monitor\"), grant(\"admin\", \"*\", \"\");"
        }
        _ => {
            "allow if operation($o), namespace($n), within($w), grant($o, $n, $p), \
                 $w.starts_with($p);
             allow if operation($o), within($w), grant($o, \"*\", $p), $w.starts_with($p);
             allow if operation(\"monitor\"), namespace($n), within($w), grant(\"admin\", $n, $p), \
                 $w.starts_with($p);
             allow if operation(\"monitor\"), within($w), grant(\"admin\", \"*\", $p), \
                 $w.starts_with($p);"
        }
    };
    builder.code(policies).unwrap().build(token).unwrap().authorize().is_ok()
}

fn engine_token(text: &str, root: &RootKey) -> Biscuit {
    let hex = root.public().strip_prefix("ed25519/").unwrap().to_owned();
    let key = PublicKey::from_bytes_hex(&hex, biscuit_auth::Algorithm::Ed25519).unwrap();
    Biscuit::from_base64(text, key).unwrap()
}

fn allows(token: &Token, right: Right, access: Access<'_>) -> bool {
    let revoked = Revoked::default();
    token.usable(NOW, &revoked).and_then(|()| token.allows(right, access, NOW)).is_ok()
}

/// A block in the whole form, written by hand: more than `attenuate` makes.
fn block(dice: &mut Dice) -> BlockBuilder {
    let mut block = BlockBuilder::new();
    for _ in 0..1 + dice.below(2) {
        let queries = (0..1 + dice.below(2)).map(|_| query(dice)).collect();
        block = block.check(Check { queries, kind: CheckKind::One }).unwrap();
    }
    block
}

fn query(dice: &mut Dice) -> Rule {
    let mut body = Vec::new();
    let mut expressions = Vec::new();
    for name in ["operation", "namespace", "within", "id"] {
        let word = |dice: &mut Dice| match name {
            "operation" => string(dice.one(&Right::ALL).as_str()),
            "namespace" => string(dice.one(&NAMESPACES[..2])),
            _ => string(dice.one(&WORDS)),
        };
        let x = Op::Value(var(name));
        match dice.below(9) {
            0 => body.push(pred(name, &[word(dice)])),
            1 => body.push(pred(name, &[var(name)])),
            2 => {
                body.push(pred(name, &[var(name)]));
                let equal = dice.one(&[Binary::Equal, Binary::HeterogeneousEqual]);
                let mut ops = vec![x, Op::Value(word(dice)), Op::Binary(equal)];
                if dice.below(2) == 0 {
                    ops.swap(0, 1);
                }
                expressions.push(Expression { ops });
            }
            3 => {
                body.push(pred(name, &[var(name)]));
                let ops = vec![x, Op::Value(word(dice)), Op::Binary(Binary::Prefix)];
                expressions.push(Expression { ops });
            }
            4 => {
                body.push(pred(name, &[var(name)]));
                let words = [word(dice), word(dice)];
                let words = match dice.below(2) {
                    0 => set(words.into_iter().collect()),
                    _ => Term::Array(words.to_vec()),
                };
                let ops = vec![Op::Value(words), x, Op::Binary(Binary::Contains)];
                expressions.push(Expression { ops });
            }
            _ => {}
        }
    }
    if dice.below(3) == 0 || body.is_empty() {
        body.push(pred("time", &[var("t")]));
        let operator = dice.one(&[
            Binary::LessThan,
            Binary::LessOrEqual,
            Binary::GreaterThan,
            Binary::GreaterOrEqual,
        ]);
        let date = dice.one(&[NOW - 1, NOW, NOW + 1, 0]);
        let mut ops = vec![Op::Value(var("t")), Op::Value(Term::Date(date)), Op::Binary(operator)];
        if dice.below(2) == 0 {
            ops.swap(0, 1);
        }
        expressions.push(Expression { ops });
    }
    Rule::new(pred::<Term>("query", &[]), body, expressions, vec![])
}

#[test]
fn narrowing_takes_away_and_never_adds() {
    let root = RootKey::generate();
    let keys = Keys::parse(&[root.public()]).unwrap();
    let mut dice = Dice(1);
    let (mut allowed, mut taken) = (0, 0);
    for _ in 0..150 {
        let mut text = root.create(&terms(&mut dice)).unwrap();
        let mut parent = keys.verify(&text).unwrap();
        for _ in 0..3 {
            text = attenuate(&text, &narrowing(&mut dice)).unwrap();
            let child = keys.verify(&text).unwrap();
            for (right, access) in questions() {
                let (before, after) =
                    (allows(&parent, right, access), allows(&child, right, access));
                assert!(before || !after, "{right} {access:?}: {parent:?} {child:?}");
                allowed += u32::from(after);
                taken += u32::from(before && !after);
            }
            parent = child;
        }
    }
    assert!(allowed > 500 && taken > 500, "{allowed} {taken}: too few to say anything");
}

#[test]
fn the_answers_are_those_of_the_engine() {
    let root = RootKey::generate();
    let keys = Keys::parse(&[root.public()]).unwrap();
    let mut dice = Dice(2);
    let (mut yes, mut no) = (0, 0);
    for _ in 0..150 {
        let mut text = root.create(&terms(&mut dice)).unwrap();
        for _ in 0..dice.below(3) {
            let parent = UnverifiedBiscuit::from_base64(&text).unwrap();
            text = parent.append(block(&mut dice)).unwrap().to_base64().unwrap();
        }
        let ours = keys.verify(&text).unwrap();
        let theirs = engine_token(&text, &root);
        for (right, access) in questions() {
            let expected = engine_allows(&theirs, right, access);
            let found = allows(&ours, right, access);
            assert_eq!(found, expected, "{right} {access:?}: {ours:?}\n{}", theirs.print());
            *(if found { &mut yes } else { &mut no }) += 1;
        }
    }
    assert!(yes > 300 && no > 300, "{yes} {no}: too few to say anything");
}

/// Time moves: what a token allows ends with its last second and not before.
#[test]
fn a_token_ends_with_its_last_second() {
    let root = RootKey::generate();
    let keys = Keys::parse(&[root.public()]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let grants =
        vec![Grant { right: Right::Read, namespace: "a".to_owned(), prefix: String::new() }];
    let text = root.create(&Terms { subject: None, grants, until: Some(now) }).unwrap();
    let token = keys.verify(&text).unwrap();
    assert_eq!(token.end, Some(now));
    assert!(token.usable(now, &Revoked::default()).is_ok());
    let denied = token.usable(now + 1, &Revoked::default()).unwrap_err();
    assert_eq!(denied.code(), "token_expired");
    let access = Access::Id { namespace: "a", id: "x" };
    assert!(token.allows(Right::Read, access, now).is_ok());
    assert_eq!(token.allows(Right::Read, access, now + 1).unwrap_err().code(), "token_expired");
    assert_eq!(token.allows(Right::Write, access, now + 1).unwrap_err().code(), "forbidden");
}

/// A key pair of the library and one of ours are the same thing.
#[test]
fn tokens_of_other_tools_are_taken_in_the_documented_form() {
    let pair = KeyPair::new();
    let keys = Keys::parse(&[format!("ed25519/{}", pair.public().to_bytes_hex())]).unwrap();
    let token = Biscuit::builder()
        .code(
            "subject(\"ci\"); grant(\"read\", \"a\", \"x/\"); \
             check if time($time), $time < 2100-01-01T00:00:00Z; \
             check if operation(\"read\") or id($id), $id.starts_with(\"x/1\");",
        )
        .unwrap()
        .build(&pair)
        .unwrap();
    let token = keys.verify(&token.to_base64().unwrap()).unwrap();
    assert_eq!(token.subject.as_deref(), Some("ci"));
    assert!(allows(&token, Right::Read, Access::Under { namespace: "a", prefix: "x/" }));
    assert!(!allows(&token, Right::Read, Access::Under { namespace: "a", prefix: "x" }));
    assert!(!allows(&token, Right::Write, Access::Id { namespace: "a", id: "x/1" }));
}
