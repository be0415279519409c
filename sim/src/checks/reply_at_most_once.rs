//! A node answers a request at most once, and only one that it was asked (docs/ARCHITECTURE.md, the
//! driver's contract: `Reply`). Judged at every answer.

use understudy_core::{NodeId, RequestId};

use super::Violation;

/// `node` answered `request`; `was_waiting` says whether a client waited there for that answer.
///
/// # Errors
/// Nobody did: it was answered before, or never asked.
pub fn check(node: NodeId, request: RequestId, was_waiting: bool) -> Result<(), Violation> {
    if was_waiting {
        return Ok(());
    }
    let why = format!("N{node} answers request {} twice, or unasked", request.0);
    Err(Violation::safety("reply_at_most_once", why))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_second_answer_is_found() {
        let mut waiting = BTreeSet::from([RequestId(7)]);
        let mut answer = || check(NodeId(1), RequestId(7), waiting.remove(&RequestId(7)));
        answer().expect("it was asked");
        assert_eq!(answer().unwrap_err().property, "reply_at_most_once");
    }

    #[test]
    fn an_answer_to_nobody_is_found() {
        let violation = check(NodeId(1), RequestId(8), false).unwrap_err();
        assert_eq!(violation.property, "reply_at_most_once");
    }
}
