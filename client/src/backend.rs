//! Who answers: a cluster or a folder. Both take the calls of the pipeline's protocol, so that one
//! API stands in front of both.

use std::time::Duration;

use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::{self, OperationName, operation_name};

#[cfg(feature = "embedded")]
use crate::embedded::{Embedded, EmbeddedWatch};
use crate::error::Error;
use crate::remote::{Remote, RemoteWatch};
use crate::watch::{ChangeStats, WatchOptions};

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

    /// Opens a change stream.
    pub(crate) async fn watch(
        &self,
        namespace: &str,
        options: &WatchOptions,
        deadline: Duration,
    ) -> Result<Source, Error> {
        match self {
            Backend::Remote(remote) => {
                let watch = remote.watch(namespace, options, deadline).await;
                watch.map(|watch| Source::Remote(Box::new(watch)))
            }
            #[cfg(feature = "embedded")]
            Backend::Embedded(embedded) => {
                let watch = embedded.watch(namespace, options).await?;
                Ok(Source::Embedded(Box::new(watch)))
            }
        }
    }

    /// What there is to say of a namespace's change stream.
    pub(crate) async fn change_stats(
        &self,
        namespace: &str,
        deadline: Duration,
    ) -> Result<ChangeStats, Error> {
        match self {
            Backend::Remote(remote) => remote.change_stats(namespace, deadline).await,
            #[cfg(feature = "embedded")]
            Backend::Embedded(embedded) => embedded.change_stats(namespace),
        }
    }
}

/// Where a change stream comes from.
pub(crate) enum Source {
    Remote(Box<RemoteWatch>),
    #[cfg(feature = "embedded")]
    Embedded(Box<EmbeddedWatch>),
}

impl Source {
    /// What comes next; without an error when it is lost and can be opened anew.
    pub(crate) async fn next(&mut self) -> Result<Vec<v1::WatchItem>, Option<Error>> {
        match self {
            Source::Remote(watch) => watch.next().await,
            #[cfg(feature = "embedded")]
            Source::Embedded(watch) => watch.next().await,
        }
    }

    /// Allows so many more.
    pub(crate) async fn grant(&mut self, amount: u64) {
        match self {
            Source::Remote(watch) => watch.grant(amount).await,
            #[cfg(feature = "embedded")]
            Source::Embedded(watch) => watch.grant(amount),
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
