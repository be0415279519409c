//! Who answers: a cluster or a folder. Both take the calls of the pipeline's protocol, so that one
//! API stands in front of both.

use std::time::Duration;

use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::{OperationName, operation_name};

#[cfg(feature = "embedded")]
use crate::embedded::Embedded;
use crate::error::Error;
use crate::remote::Remote;

/// Who answers.
#[derive(Debug)]
pub(crate) enum Backend {
    Remote(Remote),
    #[cfg(feature = "embedded")]
    Embedded(Embedded),
}

impl Backend {
    /// Performs one operation to its end.
    pub(crate) async fn perform(
        &self,
        namespace: &str,
        call: Call,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        match self {
            Backend::Remote(remote) => remote.perform(namespace, call, deadline).await,
            #[cfg(feature = "embedded")]
            Backend::Embedded(embedded) => embedded.perform(call, deadline).await,
        }
    }
}

/// Where a call has its name; `None` for a read.
pub(crate) fn name_of(call: &mut Call) -> Option<&mut Option<OperationName>> {
    match call {
        Call::Create(request) => Some(&mut request.name),
        Call::Put(request) => Some(&mut request.name),
        Call::Update(request) => Some(&mut request.name),
        Call::CompareAndSwap(request) => Some(&mut request.name),
        Call::Delete(request) => Some(&mut request.name),
        Call::BatchWrite(request) => Some(&mut request.name),
        Call::Read(_) | Call::BatchRead(_) | Call::Scan(_) | Call::OpenSession(_) => None,
    }
}

/// Sequences that a call's name covers.
pub(crate) fn names_needed(call: &Call) -> u64 {
    match call {
        Call::BatchWrite(batch) if batch.atomic != Some(true) => batch.operations.len() as u64,
        _ => 1,
    }
}

/// A key as a name.
pub(crate) fn key(key: String) -> OperationName {
    OperationName { kind: Some(operation_name::Kind::IdempotencyKey(key)) }
}
