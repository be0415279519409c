//! A change stream of a store in this process.

use understudy_core::{
    Change, ChangeKind as Kind, Delivery, End, Filter, Item, Namespace, Options, Policy as Slow,
    Sequence, Start as Begin, Timestamp,
};
use understudy_driver::hub::{Ended, Refused, Subscriber};
use understudy_proto::v1;
use understudy_proto::v1::watch_item;

use super::{Embedded, convert};
use crate::error::Error;
use crate::watch::{ChangeKind, ChangeStats, Policy, Start, WatchOptions, milliseconds};

/// A running subscription.
#[derive(Debug)]
pub(crate) struct EmbeddedWatch(Subscriber);

impl EmbeddedWatch {
    /// What comes next.
    pub(crate) async fn next(&mut self) -> Result<Vec<v1::WatchItem>, Option<Error>> {
        let deliveries = self.0.next().await.map_err(|ended| Some(error(ended)))?;
        let namespace = self.0.namespace().as_str();
        Ok(deliveries.iter().map(|delivery| item(namespace, delivery)).collect())
    }

    pub(crate) fn grant(&mut self, amount: u64) {
        self.0.grant(amount);
    }
}

impl Embedded {
    /// Opens a stream.
    pub(crate) async fn watch(
        &self,
        namespace: &str,
        options: &WatchOptions,
    ) -> Result<EmbeddedWatch, Error> {
        let namespace = Namespace::new(namespace).map_err(Error::invalid)?;
        let subscriber = self.core.subscribe(&namespace, told(options)?);
        let mut subscriber = subscriber.map_err(|refused| match refused {
            Refused::UnknownNamespace => unknown_namespace(),
            Refused::Busy => Error::Refused {
                code: "busy".to_owned(),
                message: "this store has the most subscriptions that it may; drop some".to_owned(),
            },
        })?;
        subscriber.grant(options.window.into());
        subscriber.open().await.map_err(error)?;
        Ok(EmbeddedWatch(subscriber))
    }

    /// What there is to say of a namespace's change stream.
    pub(crate) fn change_stats(&self, namespace: &str) -> Result<ChangeStats, Error> {
        let namespace = Namespace::new(namespace).map_err(Error::invalid)?;
        let status = self.core.changes(&namespace).ok_or_else(unknown_namespace)?;
        Ok(ChangeStats {
            changes: status.changes,
            sequence: status.sequence.0,
            recent: status.recent,
            subscriptions: status.subscriptions,
            delivered: status.delivered,
            history_reads: status.history_reads,
            lagged: status.lagged,
            compacted: status.compacted,
        })
    }
}

fn unknown_namespace() -> Error {
    Error::of(convert::problem(&understudy_core::Failure::UnknownNamespace))
}

/// The options in the core's words.
fn told(options: &WatchOptions) -> Result<Options, Error> {
    let bad = |message| Error::Refused { code: "bad_subscription".to_owned(), message };
    let start = match &options.start {
        Start::Now => Begin::Now,
        Start::Beginning => Begin::Beginning,
        Start::Time(at) => Begin::Time(Timestamp(milliseconds(*at))),
        Start::Resume(token) => Begin::Resume(token.parse().map_err(bad)?),
        Start::After(sequence) => Begin::After(Sequence(*sequence)),
    };
    let kinds = options.kinds.iter().map(|kind| match kind {
        ChangeKind::Create => Kind::Create,
        ChangeKind::Update => Kind::Update,
        ChangeKind::Delete => Kind::Delete,
        ChangeKind::Expire => Kind::Expire,
    });
    let filter = Filter::new(options.prefixes.clone(), kinds).map_err(bad)?;
    let policy = match options.policy {
        Policy::Pause => Slow::Pause,
        Policy::Disconnect => Slow::Disconnect,
        Policy::Conflate => Slow::Conflate,
    };
    Ok(Options { start, filter, policy })
}

/// Why it ended.
fn error(ended: Ended) -> Error {
    let refused = |code: &str, message| Error::Refused { code: code.to_owned(), message };
    match ended {
        Ended::Failed(failure) => Error::of(convert::problem(&failure)),
        Ended::Stopped => refused("stopped", "the store has stopped".to_owned()),
        Ended::By(End::Compacted { first, .. }) => Error::Compacted { first: first.0 },
        Ended::By(End::Lagged { token }) => Error::Lagged { resume_token: token.to_string() },
        Ended::By(end @ End::OtherLineage { .. }) => refused("other_lineage", end.to_string()),
    }
}

fn item(namespace: &str, delivery: &Delivery) -> v1::WatchItem {
    let item = match &delivery.item {
        Item::Change { change, conflated } => {
            watch_item::Item::Change(told_change(change, *conflated))
        }
        Item::Snapshot { id, record } => {
            let (id, record) = (id.as_str().to_owned(), Some(convert::record_of(record)));
            watch_item::Item::Snapshot(v1::SnapshotActor { id, record })
        }
        Item::SnapshotEnd { sequence } => {
            watch_item::Item::SnapshotEnd(v1::SnapshotEnd { sequence: sequence.0 })
        }
        Item::Progress => watch_item::Item::Progress(v1::Progress {}),
    };
    let (namespace, resume_token) = (namespace.to_owned(), delivery.token.to_string());
    v1::WatchItem { namespace, resume_token, item: Some(item) }
}

fn told_change(change: &Change, conflated: u64) -> v1::Change {
    let kind = match change.kind {
        Kind::Create => v1::ChangeKind::Create,
        Kind::Update => v1::ChangeKind::Update,
        Kind::Delete => v1::ChangeKind::Delete,
        Kind::Expire => v1::ChangeKind::Expire,
    };
    let position = v1::LogPosition { term: change.position.term, index: change.position.index };
    v1::Change {
        id: change.id.as_str().to_owned(),
        kind: kind.into(),
        event_id: change.event.to_string(),
        sequence: change.sequence.0,
        time_ms: change.time.0,
        position: Some(position),
        before: change.before.as_ref().map(convert::record_of),
        after: change.after.as_ref().map(convert::record_of),
        conflated,
    }
}
