//! What one operation does to one actor. Total and synchronous: no waiting, no clock, no role.
//!
//! Preconditions are decided here and nowhere else, the same on every replica.

use std::collections::BTreeMap;

use crate::command::{Expected, Operation, Outcome, Refusal, Write};
use crate::types::{ActorId, Content, Record, Sequence, Timestamp, Token, Version};

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

/// Where and when a change takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the shard's order.
    pub next: Sequence,
    /// The committed time.
    pub now: Timestamp,
}

/// The outcome of `operation` on `row`, and the row after it. A change takes its turn in the shard's
/// order; a refusal takes none, so that the order has no gaps.
pub fn apply(operation: &Operation, row: Option<&Record>, turn: Turn) -> (Outcome, Row) {
    let Turn { next, now } = turn;
    let refuse = |refusal| (Outcome::Refused(refusal), Row::Keep);
    let write = |content: &Content| {
        let token = match row {
            None if planted!(TokenWithoutLife) => {
                Token { created: Sequence(1), version: Version(1) }
            }
            None => Token { created: next, version: Version(1) },
            Some(Record { token, .. }) => {
                Token { created: token.created, version: Version(token.version.0 + 1) }
            }
        };
        let record = Record::written(token, content, now);
        (Outcome::Written { token, sequence: next }, Row::Put(record))
    };
    match (operation, row) {
        #[cfg(sim_mutant)]
        (Operation::Create { content }, Some(_)) if planted!(CreateOverwrites) => {
            let token = Token { created: next, version: Version(1) };
            let found = row.map_or(token, |row| row.token);
            let record = Record::written(token, content, now);
            (Outcome::Refused(Refusal::AlreadyExists { found }), Row::Put(record))
        }
        (Operation::Create { .. }, Some(found)) => {
            refuse(Refusal::AlreadyExists { found: found.token })
        }
        (Operation::Create { content }, None) | (Operation::Put { content }, _) => write(content),
        (Operation::Update { .. } | Operation::Delete { .. }, None) => refuse(Refusal::NotFound),
        (Operation::Update { content, expected }, Some(found)) => {
            match conflict(*expected, found) {
                Some(refusal) => refuse(refusal),
                None => write(content),
            }
        }
        (Operation::CompareAndSwap { content, expected: Expected::Version(Version(0)) }, None) => {
            write(content)
        }
        (Operation::CompareAndSwap { expected, .. }, None) => {
            refuse(Refusal::Conflict { expected: *expected, found: None })
        }
        (Operation::CompareAndSwap { content, expected }, Some(found)) => {
            match conflict(Some(*expected), found) {
                Some(refusal) => refuse(refusal),
                None => write(content),
            }
        }
        (Operation::Delete { expected }, Some(found)) => match conflict(*expected, found) {
            Some(refusal) => refuse(refusal),
            None => (Outcome::Deleted { record: found.clone(), sequence: next }, Row::Remove),
        },
    }
}

/// What a batch leaves of each actor that it touches.
pub type Rows<'a> = BTreeMap<&'a ActorId, Option<Record>>;

/// What one operation of a batch made of an actor: what it held before, and since.
pub type Step<'a> = (&'a ActorId, Option<Record>, Option<Record>);

/// The outcomes of all of `writes` in order, each on what those before it left, what each did, and the
/// rows after them; or why nothing of it happens.
pub fn apply_all<'a>(
    writes: &'a [Write],
    found: impl Fn(&ActorId) -> Option<Record>,
    mut turn: Turn,
) -> Result<(Vec<Outcome>, Vec<Step<'a>>, Rows<'a>), Refusal> {
    let mut rows = Rows::new();
    let mut outcomes = Vec::with_capacity(writes.len());
    let mut steps = Vec::with_capacity(writes.len());
    for (place, Write { id, operation }) in (0..).zip(writes) {
        let row = rows.entry(id).or_insert_with(|| found(id));
        let (outcome, after) = apply(operation, row.as_ref(), turn);
        match after {
            Row::Keep => {}
            Row::Put(record) => steps.push((id, row.replace(record.clone()), Some(record))),
            Row::Remove => steps.push((id, row.take(), None)),
        }
        outcomes.push(match outcome {
            Outcome::Refused(refusal) => {
                return Err(Refusal::InBatch { place, refusal: Box::new(refusal) });
            }
            // The records of a thousand deletes would fit into no answer.
            Outcome::Deleted { record, sequence } => {
                Outcome::Removed { token: record.token, sequence }
            }
            other => other,
        });
        turn.next.0 += 1;
    }
    Ok((outcomes, steps, rows))
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
    use crate::types::{Json, Metadata, Ttl};

    const CREATED: Sequence = Sequence(7);
    const NEXT: Sequence = Sequence(20);
    const TURN: Turn = Turn { next: NEXT, now: Timestamp(1_000) };

    fn json(text: &str) -> Json {
        Json::new(text.as_bytes())
    }

    fn there(version: u64) -> Record {
        let token = Token { created: CREATED, version: Version(version) };
        Record::plain(token, json("1"))
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
        let content = Content::from(json("2"));
        let right = Expected::Token(token(7, 3));
        let stale = Expected::Token(token(7, 2));
        let former_life = Expected::Token(token(4, 3));
        let conflict = |expected, found| Outcome::Refused(Refusal::Conflict { expected, found });
        let not_found = || Outcome::Refused(Refusal::NotFound);
        let deleted = || Outcome::Deleted { record: there(3), sequence: NEXT };
        let exists = Outcome::Refused(Refusal::AlreadyExists { found: token(7, 3) });
        let update = |expected| Operation::Update { content: content.clone(), expected };
        let cas = |expected| Operation::CompareAndSwap { content: content.clone(), expected };
        let version = |version| Expected::Version(Version(version));
        let at = Some(token(7, 3));
        let table = [
            (Operation::Create { content: content.clone() }, written(20, 1), exists),
            (Operation::Put { content: content.clone() }, written(20, 1), written(7, 4)),
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
            let (outcome, row) = apply(&operation, None, TURN);
            assert_eq!(outcome, when_absent, "{operation:?} on an absent actor");
            assert_eq!(row == Row::Keep, matches!(outcome, Outcome::Refused(_)));
            let (outcome, row) = apply(&operation, Some(&there(3)), TURN);
            assert_eq!(outcome, when_present, "{operation:?} on a present actor");
            assert_eq!(row == Row::Keep, matches!(outcome, Outcome::Refused(_)));
        }
    }

    /// A write replaces document, metadata and end together; the end counts from committed time.
    #[test]
    fn a_write_replaces_everything_it_could_carry() {
        let metadata = Metadata::new([("k".to_owned(), "v".to_owned())]).unwrap();
        let ttl = Some(Ttl::new(50).unwrap());
        let content = Content { value: json("2"), metadata: metadata.clone(), ttl };
        let Row::Put(record) = apply(&Operation::Put { content }, Some(&there(3)), TURN).1 else {
            panic!("a put writes")
        };
        let expires = Some(Timestamp(1_050));
        assert_eq!(record, Record::new(token(7, 4), json("2"), metadata, expires));
        let put = Operation::Put { content: json("3").into() };
        let (_, row) = apply(&put, Some(&record), TURN);
        assert_eq!(row, Row::Put(Record::plain(token(7, 5), json("3"))));
    }

    fn write(id: &str, operation: Operation) -> Write {
        Write { id: ActorId::new(id).unwrap(), operation }
    }

    fn put(text: &str) -> Operation {
        Operation::Put { content: json(text).into() }
    }

    #[test]
    fn a_batch_sees_what_it_did_and_takes_a_turn_for_each_change() {
        let there = |id: &ActorId| (id.as_str() == "there").then(|| there(3));
        let create = || Operation::Create { content: json("2").into() };
        let delete = || Operation::Delete { expected: None };
        let writes = [
            write("new", create()),
            write("there", delete()),
            write("there", create()),
            write("new", put("5")),
            write("gone", put("6")),
            write("gone", delete()),
        ];
        let (outcomes, steps, rows) = apply_all(&writes, there, TURN).unwrap();
        let (written, removed) = (
            |created, version, sequence| Outcome::Written {
                token: token(created, version),
                sequence: Sequence(sequence),
            },
            |created, version, sequence| Outcome::Removed {
                token: token(created, version),
                sequence: Sequence(sequence),
            },
        );
        let expected = [
            written(20, 1, 20),
            removed(7, 3, 21),
            written(22, 1, 22),
            written(20, 2, 23),
            written(24, 1, 24),
            removed(24, 1, 25),
        ];
        assert_eq!(outcomes, expected);
        let held = |record: &Option<Record>| record.as_ref().map(|record| record.value().clone());
        let steps: Vec<_> =
            steps.iter().map(|(id, from, to)| (id.as_str(), held(from), held(to))).collect();
        let some = |text| Some(json(text));
        let told = [
            ("new", None, some("2")),
            ("there", some("1"), None),
            ("there", None, some("2")),
            ("new", some("2"), some("5")),
            ("gone", None, some("6")),
            ("gone", some("6"), None),
        ];
        assert_eq!(steps, told);
        let rows: Vec<_> = rows.into_iter().map(|(id, row)| (id.as_str(), row)).collect();
        let new = Record::plain(token(20, 2), json("5"));
        let again = Record::plain(token(22, 1), json("2"));
        assert_eq!(rows, [("gone", None), ("new", Some(new)), ("there", Some(again))]);
    }

    #[test]
    fn a_batch_is_refused_by_its_first_operation_that_is() {
        let writes = [
            write("a", put("1")),
            write("a", Operation::Create { content: json("2").into() }),
            write("b", Operation::Delete { expected: None }),
        ];
        let refusal = Box::new(Refusal::AlreadyExists { found: token(20, 1) });
        let refused = apply_all(&writes, |_| None, TURN).unwrap_err();
        assert_eq!(refused, Refusal::InBatch { place: 1, refusal });
    }
}
