//! What one operation does to one actor. Total and synchronous: no waiting, no clock, no role.
//!
//! Preconditions are decided here and nowhere else, the same on every replica.

use crate::command::{Expected, Operation, Outcome, Refusal};
use crate::types::{Record, Sequence, Token, Version};

/// What becomes of the actor's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Untouched.
    Keep,
    /// Written.
    Put(Record),
    /// Removed.
    Remove,
}

/// The outcome of `operation` on `row`, and the row after it. A change takes place `next` in the
/// shard's order; a refusal takes none, so that the order has no gaps.
pub fn apply(operation: &Operation, row: Option<&Record>, next: Sequence) -> (Outcome, Row) {
    let refuse = |refusal| (Outcome::Refused(refusal), Row::Keep);
    let write = |value: &crate::types::Json| {
        let token = match row {
            None if planted!(TokenWithoutLife) => {
                Token { created: Sequence(1), version: Version(1) }
            }
            None => Token { created: next, version: Version(1) },
            Some(Record { token, .. }) => {
                Token { created: token.created, version: Version(token.version.0 + 1) }
            }
        };
        let record = Record { token, value: value.clone() };
        (Outcome::Written { token, sequence: next }, Row::Put(record))
    };
    match (operation, row) {
        #[cfg(sim_mutant)]
        (Operation::Create { value }, Some(_)) if planted!(CreateOverwrites) => {
            let token = Token { created: next, version: Version(1) };
            let found = row.map_or(token, |row| row.token);
            let record = Record { token, value: value.clone() };
            (Outcome::Refused(Refusal::AlreadyExists { found }), Row::Put(record))
        }
        (Operation::Create { .. }, Some(found)) => {
            refuse(Refusal::AlreadyExists { found: found.token })
        }
        (Operation::Create { value }, None) | (Operation::Put { value }, _) => write(value),
        (Operation::Update { .. } | Operation::Delete { .. }, None) => refuse(Refusal::NotFound),
        (Operation::Update { value, expected }, Some(found)) => match conflict(*expected, found) {
            Some(refusal) => refuse(refusal),
            None => write(value),
        },
        (Operation::CompareAndSwap { value, expected: Expected::Version(Version(0)) }, None) => {
            write(value)
        }
        (Operation::CompareAndSwap { expected, .. }, None) => {
            refuse(Refusal::Conflict { expected: *expected, found: None })
        }
        (Operation::CompareAndSwap { value, expected }, Some(found)) => {
            match conflict(Some(*expected), found) {
                Some(refusal) => refuse(refusal),
                None => write(value),
            }
        }
        (Operation::Delete { expected }, Some(found)) => match conflict(*expected, found) {
            Some(refusal) => refuse(refusal),
            None => (Outcome::Deleted { record: found.clone(), sequence: next }, Row::Remove),
        },
    }
}

fn conflict(expected: Option<Expected>, found: &Record) -> Option<Refusal> {
    let expected = expected?;
    let holds = match expected {
        Expected::Token(token) if planted!(ExpectedIgnoresLife) => {
            token.version == found.token.version
        }
        Expected::Token(token) => token == found.token,
        Expected::Version(version) => version == found.token.version,
    };
    (!holds).then_some(Refusal::Conflict { expected, found: Some(found.token) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Json;

    const CREATED: Sequence = Sequence(7);
    const NEXT: Sequence = Sequence(20);

    fn json(text: &str) -> Json {
        Json::new(text.as_bytes())
    }

    fn there(version: u64) -> Record {
        let token = Token { created: CREATED, version: Version(version) };
        Record { token, value: json("1") }
    }

    fn token(created: u64, version: u64) -> Token {
        Token { created: Sequence(created), version: Version(version) }
    }

    fn written(created: u64, version: u64) -> Outcome {
        Outcome::Written { token: token(created, version), sequence: NEXT }
    }

    /// Every operation, met by an absent actor and by one at token 7-3 (X-01, X-02, X-45, S0-058).
    #[test]
    fn every_operation_on_an_absent_and_a_present_actor() {
        let value = json("2");
        let right = Expected::Token(token(7, 3));
        let stale = Expected::Token(token(7, 2));
        let former_life = Expected::Token(token(4, 3));
        let conflict = |expected, found| Outcome::Refused(Refusal::Conflict { expected, found });
        let not_found = || Outcome::Refused(Refusal::NotFound);
        let deleted = || Outcome::Deleted { record: there(3), sequence: NEXT };
        let exists = Outcome::Refused(Refusal::AlreadyExists { found: token(7, 3) });
        let update = |expected| Operation::Update { value: value.clone(), expected };
        let cas = |expected| Operation::CompareAndSwap { value: value.clone(), expected };
        let version = |version| Expected::Version(Version(version));
        let at = Some(token(7, 3));
        let table = [
            (Operation::Create { value: value.clone() }, written(20, 1), exists),
            (Operation::Put { value: value.clone() }, written(20, 1), written(7, 4)),
            (update(None), not_found(), written(7, 4)),
            (update(Some(right)), not_found(), written(7, 4)),
            (update(Some(stale)), not_found(), conflict(stale, at)),
            (cas(right), conflict(right, None), written(7, 4)),
            (cas(stale), conflict(stale, None), conflict(stale, at)),
            (cas(former_life), conflict(former_life, None), conflict(former_life, at)),
            (cas(version(0)), written(20, 1), conflict(version(0), at)),
            (cas(version(3)), conflict(version(3), None), written(7, 4)),
            (Operation::Delete { expected: None }, not_found(), deleted()),
            (Operation::Delete { expected: Some(right) }, not_found(), deleted()),
            (Operation::Delete { expected: Some(stale) }, not_found(), conflict(stale, at)),
        ];
        for (operation, when_absent, when_present) in table {
            let (outcome, row) = apply(&operation, None, NEXT);
            assert_eq!(outcome, when_absent, "{operation:?} on an absent actor");
            assert_eq!(row == Row::Keep, matches!(outcome, Outcome::Refused(_)));
            let (outcome, row) = apply(&operation, Some(&there(3)), NEXT);
            assert_eq!(outcome, when_present, "{operation:?} on a present actor");
            assert_eq!(row == Row::Keep, matches!(outcome, Outcome::Refused(_)));
        }
    }
}
