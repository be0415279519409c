//! An answer is of the kind that was asked, and names the operation that was asked
//! (docs/SEMANTICS.md, operations and failures). Whether it is true is for the others to judge.

use std::time::Duration;

use understudy_core::effect::Response;
use understudy_core::query::{Found, Page, Query};
use understudy_core::{Answer, Expected, Failure, OpId, Operation, Outcome, ReadLevel, Refusal};

use super::Violation;
use crate::history::{Ask, is_strong};
use crate::words;

/// `ask` was answered `response`.
///
/// # Errors
/// No state of the store gives this answer to that question.
pub fn check(ask: &Ask, response: &Response) -> Result<(), Violation> {
    let fits = match (ask, response) {
        (Ask::Write { op, operation }, Ok(Answer::Done { op: named, outcome, .. })) => {
            if op != named {
                return violation(ask, format!("the outcome of {named}, asked for {op}"));
            }
            does(operation, outcome)
        }
        (Ask::Read { level }, Ok(Answer::Read { age, .. })) => is_of_age(*level, *age),
        (Ask::Scan { scan, level, .. }, Ok(Answer::Scan { records, more, age, .. })) => {
            let page = Page { records: records.clone(), more: *more };
            let goes_on = !more || !records.is_empty();
            goes_on && is_of_age(*level, *age) && Query::Scan(scan.clone()).fits(&Found::Page(page))
        }
        (Ask::Write { op, operation }, Err(failure)) => may_fail(op, operation, failure),
        (
            Ask::Read { level: ReadLevel::Session { min } }
            | Ask::Scan { level: ReadLevel::Session { min }, .. },
            Err(Failure::Behind { min: told }),
        ) => min == told,
        (
            Ask::Read { .. } | Ask::Scan { .. },
            Err(Failure::Busy { .. } | Failure::Unavailable | Failure::Unknown),
        ) => true,
        (
            Ask::Read { .. } | Ask::Scan { .. },
            Err(
                Failure::Refused(_)
                | Failure::UnknownNamespace
                | Failure::OpIdFromFuture
                | Failure::Behind { .. },
            ),
        )
        | (Ask::Write { .. }, Ok(Answer::Read { .. } | Answer::Scan { .. }))
        | (Ask::Read { .. }, Ok(Answer::Done { .. } | Answer::Scan { .. }))
        | (Ask::Scan { .. }, Ok(Answer::Done { .. } | Answer::Read { .. }))
        | (_, Ok(Answer::Session(_) | Answer::Changes { .. })) => false,
    };
    if fits { Ok(()) } else { violation(ask, words::response(response)) }
}

fn is_of_age(level: ReadLevel, age: Option<Duration>) -> bool {
    !is_strong(level) || age == Some(Duration::ZERO)
}

/// The atomic batch of `writes` under `op` was answered `response`.
///
/// # Errors
/// No state of the store gives this answer to that question.
pub fn check_batch(
    op: &OpId,
    writes: &[(u64, Operation)],
    response: &Response,
) -> Result<(), Violation> {
    let fits = match response {
        Ok(Answer::Done { op: named, outcome: Outcome::Batch(outcomes), .. }) => {
            let does = |((_, operation), outcome): (&(u64, Operation), _)| match operation {
                Operation::Delete { .. } => matches!(outcome, &Outcome::Removed { .. }),
                _ => does(operation, outcome),
            };
            let places: Option<Vec<u64>> =
                outcomes.iter().map(|outcome| Some(outcome.sequence()?.0)).collect();
            let in_a_row = |places: Vec<u64>| places.windows(2).all(|two| two[1] == two[0] + 1);
            op == named
                && outcomes.len() == writes.len()
                && writes.iter().zip(outcomes).all(does)
                && places.is_some_and(in_a_row)
        }
        Ok(_) => false,
        Err(Failure::Refused(Refusal::InBatch { place, refusal })) => {
            let operation = usize::try_from(*place).ok().and_then(|place| writes.get(place));
            operation.is_some_and(|(_, operation)| may_refuse(operation, refusal))
        }
        Err(Failure::Refused(refusal)) => {
            matches!(refusal, Refusal::OpIdReused | Refusal::SessionExpired)
        }
        Err(Failure::OpIdFromFuture) => op.time().is_some(),
        Err(Failure::Busy { .. } | Failure::Unavailable | Failure::Unknown) => true,
        Err(Failure::UnknownNamespace | Failure::Behind { .. }) => false,
    };
    if fits {
        return Ok(());
    }
    let operations = writes.iter().map(|(_, operation)| words::operation(operation));
    let operations = operations.collect::<Vec<_>>().join(", ");
    let why = format!("all of `{operations}` was answered: {}", words::response(response));
    Err(Violation::safety("answers_fit_questions", why))
}

fn violation(ask: &Ask, answer: String) -> Result<(), Violation> {
    let why = format!("`{}` was answered: {answer}", words::ask(ask));
    Err(Violation::safety("answers_fit_questions", why))
}

/// Whether the operation, if it succeeds, does such a thing.
fn does(operation: &Operation, outcome: &Outcome) -> bool {
    match (operation, outcome) {
        (Operation::Delete { .. }, Outcome::Deleted { .. }) => true,
        (Operation::Create { .. }, Outcome::Written { token, sequence }) => {
            token.version.0 == 1 && token.created == *sequence
        }
        (
            Operation::Put { .. } | Operation::Update { .. } | Operation::CompareAndSwap { .. },
            Outcome::Written { .. },
        ) => true,
        (Operation::Delete { .. }, Outcome::Written { .. })
        | (
            Operation::Create { .. }
            | Operation::Put { .. }
            | Operation::Update { .. }
            | Operation::CompareAndSwap { .. },
            Outcome::Deleted { .. },
        )
        | (_, Outcome::Removed { .. } | Outcome::Batch(_))
        // A refusal is a failure.
        | (_, Outcome::Refused(_)) => false,
    }
}

/// Whether the operation can fail so.
fn may_fail(op: &OpId, operation: &Operation, failure: &Failure) -> bool {
    match failure {
        Failure::Refused(refusal) => may_refuse(operation, refusal),
        Failure::OpIdFromFuture => op.time().is_some(),
        // Clients know the namespaces.
        Failure::UnknownNamespace | Failure::Behind { .. } => false,
        Failure::Busy { .. } | Failure::Unavailable | Failure::Unknown => true,
    }
}

/// Whether apply can refuse the operation so.
fn may_refuse(operation: &Operation, refusal: &Refusal) -> bool {
    match (refusal, operation) {
        (Refusal::AlreadyExists { .. }, operation) => {
            matches!(operation, Operation::Create { .. })
        }
        (Refusal::NotFound, operation) => {
            matches!(operation, Operation::Update { .. } | Operation::Delete { .. })
        }
        (
            Refusal::Conflict { expected, found },
            Operation::Update { expected: asked, .. } | Operation::Delete { expected: asked },
        ) => *asked == Some(*expected) && found.is_some_and(|found| !is(*expected, found)),
        (
            Refusal::Conflict { expected, found },
            Operation::CompareAndSwap { expected: asked, .. },
        ) => asked == expected && found.is_none_or(|found| !is(*expected, found)),
        (Refusal::Conflict { .. }, Operation::Create { .. } | Operation::Put { .. }) => false,
        (Refusal::InBatch { .. }, _) => false,
        (Refusal::OpIdReused | Refusal::SessionExpired, _) => true,
    }
}

fn is(expected: Expected, found: understudy_core::Token) -> bool {
    match expected {
        Expected::Token(token) => token == found,
        Expected::Version(version) => version == found.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{record, token};
    use crate::history::value;
    use understudy_core::{Sequence, Timestamp};

    fn op(name: &str) -> OpId {
        OpId::Named(name.to_owned())
    }

    fn write(operation: Operation) -> Ask {
        Ask::Write { op: op("asked"), operation }
    }

    fn done(name: &str, outcome: Outcome) -> Response {
        Ok(Answer::Done { op: op(name), outcome, replayed: false, recorded: Timestamp(9) })
    }

    #[track_caller]
    fn is_found(ask: &Ask, response: &Response) {
        let violation = check(ask, response).expect_err("it must be rejected");
        assert_eq!(violation.property, "answers_fit_questions");
    }

    #[test]
    fn an_answer_to_another_question_is_found() {
        let (put, delete) = (
            write(Operation::Put { content: value(1).into() }),
            write(Operation::Delete { expected: None }),
        );
        let linearizable = Ask::Read { level: ReadLevel::Linearizable };
        let written = Outcome::Written { token: token(3, 2), sequence: Sequence(4) };
        let deleted = Outcome::Deleted { record: record(3, 2, 1), sequence: Sequence(4) };
        let read = |age| {
            Ok(Answer::Read {
                record: Some(record(3, 2, 1)),
                applied: 4,
                sequence: Sequence(4),
                age,
            })
        };
        let none = Some(Duration::ZERO);
        is_found(&put, &done("another", written.clone()));
        is_found(&put, &done("asked", deleted.clone()));
        is_found(&delete, &done("asked", written.clone()));
        is_found(
            &write(Operation::Create { content: value(1).into() }),
            &done("asked", written.clone()),
        );
        is_found(&put, &read(none));
        is_found(&linearizable, &done("asked", written.clone()));
        is_found(&linearizable, &read(Some(Duration::from_millis(1))));
        check(&put, &done("asked", written)).unwrap();
        check(&delete, &done("asked", deleted)).unwrap();
        check(&linearizable, &read(none)).unwrap();
        check(&Ask::Read { level: ReadLevel::Eventual }, &read(None)).unwrap();
    }

    #[test]
    fn a_refusal_that_the_operation_cannot_meet_is_found() {
        let update = |expected| write(Operation::Update { content: value(1).into(), expected });
        let (put, create) = (
            write(Operation::Put { content: value(1).into() }),
            write(Operation::Create { content: value(1).into() }),
        );
        let at = Expected::Token(token(3, 2));
        let refused = |refusal| Err(Failure::Refused(refusal));
        let conflict = |found| refused(Refusal::Conflict { expected: at, found });
        let exists = refused(Refusal::AlreadyExists { found: token(3, 2) });
        is_found(&put, &exists);
        is_found(&put, &refused(Refusal::NotFound));
        is_found(&create, &conflict(None));
        is_found(&update(None), &conflict(Some(token(3, 3))));
        is_found(&update(Some(at)), &conflict(Some(token(3, 2))));
        is_found(&Ask::Read { level: ReadLevel::Eventual }, &refused(Refusal::NotFound));
        is_found(&put, &Err(Failure::UnknownNamespace));
        check(&create, &exists).unwrap();
        check(&update(None), &refused(Refusal::NotFound)).unwrap();
        check(&update(Some(at)), &conflict(Some(token(3, 3)))).unwrap();
    }

    #[test]
    fn a_batch_is_answered_as_a_whole() {
        let put = |writer| Operation::Put { content: value(writer).into() };
        let writes = [(0, put(1)), (1, Operation::Delete { expected: None })];
        let written = |sequence| Outcome::Written { token: token(3, 2), sequence };
        let removed = |sequence| Outcome::Removed { token: token(2, 2), sequence };
        let done = |outcomes| done("b", Outcome::Batch(outcomes));
        let judge = |response: &Response| check_batch(&op("b"), &writes, response);
        judge(&done(vec![written(Sequence(4)), removed(Sequence(5))])).unwrap();
        for wrong in [
            vec![written(Sequence(4)), removed(Sequence(6))],
            vec![written(Sequence(4))],
            vec![written(Sequence(4)), written(Sequence(5))],
        ] {
            judge(&done(wrong)).expect_err("it must be found");
        }
        let refused = |place, refusal| {
            let refusal = Refusal::InBatch { place, refusal: Box::new(refusal) };
            judge(&Err(Failure::Refused(refusal)))
        };
        refused(1, Refusal::NotFound).unwrap();
        refused(0, Refusal::NotFound).expect_err("a put is never refused so");
        refused(2, Refusal::NotFound).expect_err("there is no such place");
        judge(&Err(Failure::Refused(Refusal::NotFound))).expect_err("without a place");
    }
}
