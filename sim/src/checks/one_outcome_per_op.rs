//! Every answer to one operation name tells the same outcome (docs/SEMANTICS.md, exactly once).
//!
//! Clients repeat operations: on doubt, at another node at the same time, and long after the answer.
//! The repeat of an operation that was answered comes from the record, and the same name with another
//! request is refused. No name in a run is old enough to be forgotten.

use std::collections::BTreeMap;

use understudy_core::effect::Response;
use understudy_core::{Answer, Failure, OpId, Outcome, Refusal};

use super::Violation;
use crate::words;

/// The first answer to each name.
#[derive(Default)]
pub struct OneOutcomePerOp {
    heard: BTreeMap<OpId, Outcome>,
}

impl OneOutcomePerOp {
    /// A client heard `outcome` for `op`, which it has asked with one request only.
    ///
    /// # Errors
    /// Another outcome was heard before, or a name was refused that every node must accept.
    pub fn heard(&mut self, op: &OpId, outcome: &Outcome) -> Result<(), Violation> {
        if let Outcome::Refused(refusal @ (Refusal::OpIdReused | Refusal::SessionExpired)) = outcome
        {
            let words = words::refusal(refusal);
            return violation(format!("{op} is young and has one request, but was {words}"));
        }
        let first = self.heard.entry(op.clone()).or_insert_with(|| outcome.clone());
        if first == outcome {
            return Ok(());
        }
        let (first, outcome) = (words::outcome(first), words::outcome(outcome));
        violation(format!("{op} was answered: {first}; then: {outcome}"))
    }
}

/// `op` was answered; long after, its repeat was answered `response`.
///
/// # Errors
/// The repeat ran again.
pub fn check_repeat(op: &OpId, response: &Response) -> Result<(), Violation> {
    match response {
        Ok(Answer::Done { replayed: false, .. }) => violation(format!(
            "{op} had been answered, and its repeat ran again: {}",
            words::response(response)
        )),
        Ok(
            Answer::Done { replayed: true, .. }
            | Answer::Read { .. }
            | Answer::Scan { .. }
            | Answer::Changes { .. }
            | Answer::Session(_),
        )
        | Err(_) => Ok(()),
    }
}

/// `op` was answered; the same name with another request was answered `response`.
///
/// # Errors
/// It ran, or got an answer that was not for it.
pub fn check_other_request(op: &OpId, response: &Response) -> Result<(), Violation> {
    match response {
        Ok(_)
        | Err(Failure::Refused(
            Refusal::AlreadyExists { .. }
            | Refusal::NotFound
            | Refusal::Conflict { .. }
            | Refusal::InBatch { .. }
            | Refusal::SessionExpired,
        )) => violation(format!(
            "{op} had been used, and another request under it was answered: {}",
            words::response(response)
        )),
        Err(
            Failure::Refused(Refusal::OpIdReused)
            | Failure::Behind { .. }
            | Failure::UnknownNamespace
            | Failure::OpIdFromFuture
            | Failure::Busy { .. }
            | Failure::Unavailable
            | Failure::Unknown,
        ) => Ok(()),
    }
}

fn violation<T>(why: String) -> Result<T, Violation> {
    Err(Violation::safety("one_outcome_per_op", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{token, written};
    use crate::history::Fate;
    use understudy_core::Timestamp;

    const RECORDED: Timestamp = Timestamp(9);

    fn op(name: &str) -> OpId {
        OpId::Named(name.to_owned())
    }

    fn outcome(created: u64, version: u64) -> Outcome {
        match written(created, version, created + version - 1) {
            Fate::Outcome(outcome) => outcome,
            other => unreachable!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_found(verdict: Result<(), Violation>) {
        assert_eq!(verdict.expect_err("it must be rejected").property, "one_outcome_per_op");
    }

    #[test]
    fn two_outcomes_for_one_op_are_found() {
        let mut heard = OneOutcomePerOp::default();
        heard.heard(&op("a"), &outcome(1, 1)).unwrap();
        heard.heard(&op("a"), &outcome(1, 1)).unwrap();
        heard.heard(&op("b"), &outcome(1, 2)).unwrap();
        is_found(heard.heard(&op("a"), &outcome(1, 2)));
        is_found(heard.heard(&op("a"), &Outcome::Refused(Refusal::NotFound)));
    }

    #[test]
    fn a_young_name_that_is_refused_is_found() {
        let mut heard = OneOutcomePerOp::default();
        is_found(heard.heard(&op("a"), &Outcome::Refused(Refusal::SessionExpired)));
        is_found(heard.heard(&op("b"), &Outcome::Refused(Refusal::OpIdReused)));
    }

    #[test]
    fn a_repeat_that_ran_again_is_found() {
        let done = |replayed| {
            let answer =
                Answer::Done { op: op("a"), outcome: outcome(1, 1), replayed, recorded: RECORDED };
            check_repeat(&op("a"), &Ok(answer))
        };
        is_found(done(false));
        done(true).unwrap();
        check_repeat(&op("a"), &Err(Failure::Unknown)).unwrap();
    }

    #[test]
    fn another_request_under_a_used_name_must_be_refused() {
        let done = Answer::Done {
            op: op("a"),
            outcome: outcome(1, 1),
            replayed: true,
            recorded: RECORDED,
        };
        is_found(check_other_request(&op("a"), &Ok(done)));
        let exists = Failure::Refused(Refusal::AlreadyExists { found: token(1, 1) });
        is_found(check_other_request(&op("a"), &Err(exists)));
        let reused = Failure::Refused(Refusal::OpIdReused);
        check_other_request(&op("a"), &Err(reused)).unwrap();
    }
}
