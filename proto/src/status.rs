//! A problem as a gRPC status and back.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, RetryInfo, pb};

use crate::v1::{Certainty, Problem};

/// `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "understudy";
const PROBLEM_URL: &str = "type.googleapis.com/understudy.v1.Problem";

/// The status that carries `problem`: itself, and the standard details for clients that know only
/// those.
pub fn status(code: Code, problem: Problem) -> Status {
    let certainty = match problem.certainty() {
        Certainty::Unknown => "unknown",
        Certainty::Refused | Certainty::Unspecified => "refused",
    };
    let metadata = HashMap::from([("certainty".to_owned(), certainty.to_owned())]);
    let info = ErrorInfo::new(problem.code.clone(), DOMAIN, metadata);
    let retry =
        problem.retry_after_ms.map(|wait| RetryInfo::new(Some(Duration::from_millis(wait))));
    let mut details =
        vec![Any { type_url: PROBLEM_URL.to_owned(), value: problem.encode_to_vec() }];
    details.push(any(ErrorInfo::TYPE_URL, &pb::ErrorInfo::from(info)));
    details.extend(retry.map(|retry| any(RetryInfo::TYPE_URL, &pb::RetryInfo::from(retry))));
    let rpc = pb::Status { code: code.into(), message: problem.message.clone(), details };
    Status::with_details(code, problem.message, rpc.encode_to_vec().into())
}

fn any(type_url: &str, message: &impl prost::Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// The problem inside a status; `None` when whoever made it was not Understudy: a proxy, or the gRPC
/// library itself.
pub fn problem(status: &Status) -> Option<Problem> {
    let rpc = pb::Status::decode(status.details()).ok()?;
    let own = rpc.details.iter().find(|detail| detail.type_url == PROBLEM_URL)?;
    Problem::decode(own.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Token;
    use tonic_types::StatusExt as _;

    #[test]
    fn a_problem_survives_the_way_through_a_status() {
        let sent = Problem {
            code: "batch_refused".to_owned(),
            certainty: Certainty::Refused.into(),
            message: "the actor has changed".to_owned(),
            retry_after_ms: Some(250),
            found: Some(Token { created: 17, version: 3 }),
            failed_place: Some(2),
            cause: Some("conflict".to_owned()),
            first_sequence: Some(7),
            resume_token: Some("0000000000abcdef-17".to_owned()),
        };
        let status = status(Code::FailedPrecondition, sent.clone());
        assert_eq!(problem(&status), Some(sent));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("batch_refused", "understudy"));
        assert_eq!(info.metadata["certainty"], "refused");
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_status_of_somebody_else_has_no_problem() {
        assert_eq!(problem(&Status::internal("a proxy said so")), None);
        assert_eq!(problem(&Status::with_details(Code::Internal, "", vec![0xff; 9].into())), None);
    }
}
