//! The change stream over gRPC: some subscriptions side by side, and a client that changes them while
//! they run. Each has its own credit, so one without cannot starve the others.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_util::future::{BoxFuture, select_all, try_join_all};
use futures_util::{FutureExt, Stream, stream};
use tokio::sync::watch as flag;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use understudy_core::{
    ChangeKind, Delivery, Item, Policy, ResumeToken, Sequence, Start, Timestamp, limits as core,
};
use understudy_proto::v1::watch_request::Kind;
use understudy_proto::v1::{self as proto, watch_item, watch_start};

use super::convert;
use crate::api::problem::{Problem, codes};
use crate::api::watch::{Terms, Wanted, Watcher, bad, stops, token};
use crate::api::{Api, ops, server};
use crate::limits;

/// What is sent.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

/// One call.
struct Watch {
    requests: Streaming<proto::WatchRequest>,
    /// The client says nothing more.
    is_closed: bool,
    watchers: Vec<Watcher>,
    stop: flag::Receiver<bool>,
}

/// What happens next in a call.
enum Heard {
    Request(Result<Option<proto::WatchRequest>, Status>),
    Deliveries(usize, Result<Vec<Delivery>, Problem>),
    Stop,
}

/// Begins; done when it is settled where.
pub async fn open(
    api: &Api,
    mut requests: Streaming<proto::WatchRequest>,
) -> Result<WatchStream, Status> {
    let first = timeout(limits::API_BODY_TIMEOUT, requests.message()).await.map_err(|_| {
        let detail = "the first message did not come; send `subscribe` at once";
        Problem::new(&codes::REQUEST_TIMEOUT, detail)
    });
    let Some(Kind::Subscribe(subscribe)) = first??.and_then(|first| first.kind) else {
        let detail = "the first message is `subscribe`, with what is to be watched";
        return Err(Problem::new(&codes::BAD_REQUEST, detail).into());
    };
    let credit = subscribe.credit;
    let watchers: Result<Vec<Watcher>, Problem> =
        terms(subscribe)?.into_iter().map(|terms| Watcher::new(api, terms)).collect();
    let mut watchers = watchers?;
    watchers.iter_mut().for_each(|watcher| watcher.grant(credit));
    try_join_all(watchers.iter_mut().map(Watcher::open)).await?;
    let watch = Watch { requests, is_closed: false, watchers, stop: api.stop.clone() };
    Ok(Box::pin(stream::unfold(Some(watch), |watch| async { watch?.next().await })))
}

type Next = (Result<proto::WatchResponse, Status>, Option<Watch>);

impl Watch {
    /// The next message, and what goes on behind it.
    async fn next(mut self) -> Option<Next> {
        loop {
            let items = match self.hear().await {
                Heard::Request(Ok(Some(proto::WatchRequest { kind: Some(Kind::Cancel(_)) }))) => {
                    return None;
                }
                Heard::Request(Ok(Some(request))) => match self.change(request) {
                    Ok(items) => items,
                    Err(problem) => return Some((Err(problem.into()), None)),
                },
                Heard::Request(Ok(None)) => {
                    self.is_closed = true;
                    continue;
                }
                Heard::Request(Err(status)) => return Some((Err(status), None)),
                Heard::Deliveries(place, Ok(deliveries)) => {
                    let namespace = self.watchers[place].namespace().as_str();
                    let items = deliveries.iter().map(|one| item(namespace, one)).collect();
                    // The others are looked at first now.
                    self.watchers.rotate_left(place + 1);
                    items
                }
                Heard::Deliveries(_, Err(problem)) => return Some((Err(problem.into()), None)),
                Heard::Stop => return Some((Err(stops().into()), None)),
            };
            if !items.is_empty() {
                return Some((Ok(proto::WatchResponse { items }), Some(self)));
            }
        }
    }

    async fn hear(&mut self) -> Heard {
        let Watch { requests, is_closed, watchers, stop } = self;
        let deliveries: BoxFuture<'_, Heard> = match watchers.as_mut_slice() {
            [one] => one.next().map(|result| Heard::Deliveries(0, result)).boxed(),
            all => select_all(all.iter_mut().map(|one| one.next().boxed()))
                .map(|(result, place, _)| Heard::Deliveries(place, result))
                .boxed(),
        };
        tokio::select! {
            biased;
            () = server::stopped(stop) => Heard::Stop,
            request = requests.message(), if !*is_closed => Heard::Request(request),
            heard = deliveries => heard,
        }
    }

    /// Does what the client wants changed.
    fn change(&mut self, request: proto::WatchRequest) -> Result<Vec<proto::WatchItem>, Problem> {
        match request.kind {
            Some(Kind::Credit(credit)) => {
                let is_meant = |watcher: &&mut Watcher| {
                    credit.namespace.is_empty() || watcher.namespace().as_str() == credit.namespace
                };
                for watcher in self.watchers.iter_mut().filter(is_meant) {
                    watcher.grant(credit.amount);
                }
                Ok(Vec::new())
            }
            Some(Kind::Filter(filter)) => {
                let wanted = wanted(Some(filter))?;
                let mut items = Vec::new();
                for watcher in &mut self.watchers {
                    let before = watcher.set_filter(wanted.clone())?;
                    let namespace = watcher.namespace().as_str();
                    items.extend(before.iter().map(|one| item(namespace, one)));
                    let filtered = watch_item::Item::Filtered(proto::Filtered {});
                    items.extend(watcher.token().map(|token| marked(namespace, &token, filtered)));
                }
                Ok(items)
            }
            Some(Kind::Subscribe(_)) => {
                Err(bad("a stream has one `subscribe`; open another stream for more"))
            }
            Some(Kind::Cancel(_)) | None => {
                let detail = "the message is empty, or of a kind that this node does not know yet";
                Err(Problem::new(&codes::BAD_REQUEST, detail))
            }
        }
    }
}

/// What is watched in each namespace.
fn terms(subscribe: proto::WatchSubscribe) -> Result<Vec<Terms>, Problem> {
    let most = core::NAMESPACES_MAX;
    if !(1..=most).contains(&subscribe.namespaces.len()) {
        return Err(bad(format!("a stream is of 1 to {most} namespaces; name them")));
    }
    let wanted = wanted(subscribe.filter)?;
    let policy = match proto::WatchPolicy::try_from(subscribe.policy) {
        Ok(proto::WatchPolicy::Unspecified | proto::WatchPolicy::Pause) => Policy::Pause,
        Ok(proto::WatchPolicy::Disconnect) => Policy::Disconnect,
        Ok(proto::WatchPolicy::Conflate) => Policy::Conflate,
        Err(_) => return Err(bad("there is no such policy")),
    };
    let mut seen = BTreeSet::new();
    let terms = subscribe.namespaces.into_iter().map(|one| {
        let namespace = ops::namespace(one.namespace)?;
        if !seen.insert(namespace.clone()) {
            return Err(bad(format!("`{namespace}` is given twice")));
        }
        let start = start(one.start.or_else(|| subscribe.start.clone()))?;
        Ok(Terms { namespace, start, wanted: wanted.clone(), policy })
    });
    terms.collect()
}

fn start(start: Option<proto::WatchStart>) -> Result<Start, Problem> {
    match start.and_then(|start| start.kind) {
        None => Ok(Start::Now),
        Some(watch_start::Kind::Place(place)) => match proto::WatchPlace::try_from(place) {
            Ok(proto::WatchPlace::Unspecified | proto::WatchPlace::Now) => Ok(Start::Now),
            Ok(proto::WatchPlace::Beginning) => Ok(Start::Beginning),
            Err(_) => Err(bad("there is no such place to begin at")),
        },
        Some(watch_start::Kind::TimeMs(ms)) => Ok(Start::Time(Timestamp(ms))),
        Some(watch_start::Kind::ResumeToken(text)) => token(&text),
        Some(watch_start::Kind::AfterSequence(after)) => Ok(Start::After(Sequence(after))),
    }
}

fn wanted(filter: Option<proto::WatchFilter>) -> Result<Wanted, Problem> {
    let filter = filter.unwrap_or_default();
    let kinds = filter.kinds.iter().map(|&kind| match proto::ChangeKind::try_from(kind) {
        Ok(proto::ChangeKind::Create) => Ok(ChangeKind::Create),
        Ok(proto::ChangeKind::Update) => Ok(ChangeKind::Update),
        Ok(proto::ChangeKind::Delete) => Ok(ChangeKind::Delete),
        Ok(proto::ChangeKind::Expire) => Ok(ChangeKind::Expire),
        Ok(proto::ChangeKind::Unspecified) | Err(_) => Err(bad("there is no such kind of change")),
    });
    Ok(Wanted { kinds: kinds.collect::<Result<_, _>>()?, prefixes: filter.prefixes })
}

fn item(namespace: &str, delivery: &Delivery) -> proto::WatchItem {
    let item = match &delivery.item {
        Item::Change { change, conflated } => {
            watch_item::Item::Change(convert::change(change, *conflated))
        }
        Item::Snapshot { id, record } => {
            let (id, record) = (id.as_str().to_owned(), Some(convert::record(record)));
            watch_item::Item::Snapshot(proto::SnapshotActor { id, record })
        }
        Item::SnapshotEnd { sequence } => {
            watch_item::Item::SnapshotEnd(proto::SnapshotEnd { sequence: sequence.0 })
        }
        Item::Progress => watch_item::Item::Progress(proto::Progress {}),
    };
    marked(namespace, &delivery.token, item)
}

fn marked(namespace: &str, token: &ResumeToken, item: watch_item::Item) -> proto::WatchItem {
    proto::WatchItem {
        namespace: namespace.to_owned(),
        resume_token: token.to_string(),
        item: Some(item),
    }
}
