//! The change stream: what is asked for, what comes, and how it goes on when a node is lost.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use understudy_proto::v1;

use crate::backend::{Backend, Source};
use crate::error::Error;
use crate::types::{Record, time};

/// Where a subscription begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is written after [`crate::Client::watch`] has returned.
    #[default]
    Now,
    /// With every actor that is there, then with its changes.
    Beginning,
    /// With the first change at or after this committed time.
    Time(SystemTime),
    /// Exactly behind the event that had this [`WatchEvent::resume_token`].
    Resume(String),
    /// Behind this sequence, an explicit weaker form: after a restore it means another history, and
    /// nothing notices.
    After(u64),
}

/// What happens while this client takes nothing and changes come. Writers never wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They are read later, from what the store retains.
    #[default]
    Pause,
    /// The stream ends with [`Error::Lagged`] once too many lie behind.
    Disconnect,
    /// The latest change of each actor is kept.
    Conflate,
}

/// What happened to an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there before.
    Create,
    /// It holds something else.
    Update,
    /// Somebody removed it.
    Delete,
    /// Its time to live was over.
    Expire,
}

/// What is watched; all of a namespace from now on, if nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    pub(crate) start: Start,
    pub(crate) prefixes: Vec<String>,
    pub(crate) kinds: Vec<ChangeKind>,
    pub(crate) policy: Policy,
    pub(crate) window: u32,
}

/// One event, with the place behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent<T = Bytes> {
    /// Keep it once the event is dealt with, and go on from it with [`Start::Resume`]: an event is told
    /// again at worst, never left out.
    pub resume_token: String,
    /// What is told.
    pub item: WatchItem<T>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem<T = Bytes> {
    /// A change.
    Change(Box<ChangeEvent<T>>),
    /// An actor that was there, of a stream from [`Start::Beginning`].
    Snapshot(Box<Record<T>>),
    /// What was told is the state at this sequence; changes follow.
    SnapshotEnd {
        /// The last change in it.
        sequence: u64,
    },
    /// Nothing that is wanted lies before the token.
    Progress,
}

/// One change of one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent<T = Bytes> {
    /// The actor.
    pub id: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The same wherever and however often the change is told: to know it again.
    pub event_id: String,
    /// Its place in the namespace's order: without gaps, from 1.
    pub sequence: u64,
    /// The committed time.
    pub time: SystemTime,
    /// Term and index of the log entry that made it.
    pub position: (u64, u64),
    /// What the actor held before.
    pub before: Option<Record<T>>,
    /// What it holds since.
    pub after: Option<Record<T>>,
    /// Earlier changes of the actor that [`Policy::Conflate`] left out.
    pub conflated: u64,
}

/// The change stream of one namespace at the node that answers, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeStats {
    /// Changes that it has applied.
    pub changes: u64,
    /// The sequence of the last one.
    pub sequence: u64,
    /// Changes that it keeps ready for subscribers that are level.
    pub recent: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Changes and actors of snapshots that subscribers were given.
    pub delivered: u64,
    /// Questions to what is retained, by subscribers that were not level.
    pub history_reads: u64,
    /// Subscriptions that ended because they were too slow. No change is ever dropped: they go on from
    /// where they were.
    pub lagged: u64,
    /// Subscriptions that ended because what they wanted is not retained.
    pub compacted: u64,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        const WINDOW: u32 = 512;
        WatchOptions {
            start: Start::Now,
            prefixes: Vec::new(),
            kinds: Vec::new(),
            policy: Policy::Pause,
            window: WINDOW,
        }
    }
}

impl WatchOptions {
    /// Everything, from this place on.
    pub fn from(start: Start) -> WatchOptions {
        WatchOptions { start, ..WatchOptions::default() }
    }

    /// Ids that begin so; may be said several times.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> WatchOptions {
        self.prefixes.push(prefix.into());
        self
    }

    /// Changes of this kind; may be said several times.
    #[must_use]
    pub fn kind(mut self, kind: ChangeKind) -> WatchOptions {
        self.kinds.push(kind);
        self
    }

    /// What happens while this client takes nothing.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> WatchOptions {
        self.policy = policy;
        self
    }

    /// Events that are on their way or wait in this client at most.
    #[must_use]
    pub fn window(mut self, window: u32) -> WatchOptions {
        self.window = window.max(1);
        self
    }
}

/// A running subscription. It goes on at another node when one is lost; when none answers within the
/// client's deadline, or the store refuses, it says so and ends. Dropping it ends it.
pub struct Watch<T = Bytes>(Pin<Box<dyn Stream<Item = Result<WatchEvent<T>, Error>> + Send>>);

impl<T> Stream for Watch<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch<Bytes> {
    /// Opens a subscription; done when it is settled where it begins.
    pub(crate) async fn open<B>(
        backend: B,
        namespace: String,
        options: WatchOptions,
        deadline: std::time::Duration,
    ) -> Result<Watch, Error>
    where
        B: AsRef<Backend> + Send + Sync + 'static,
    {
        let source = backend.as_ref().watch(&namespace, &options, deadline).await?;
        let (ready, used, pause) = Default::default();
        let mut running =
            Running { backend, namespace, options, deadline, source, ready, used, pause };
        // The first items say where it begins. Were they not here, a stream that is lost at once would
        // begin anew, behind what was written meanwhile.
        if !matches!(running.options.start, Start::Resume(_)) {
            running.fill().await?;
        }
        let events = futures_util::stream::unfold(Some(running), |running| async {
            let mut running = running?;
            match running.next().await {
                Ok(event) => Some((Ok(event), Some(running))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Watch(Box::pin(events)))
    }

    /// With documents as values. One that is not of that type is an error, and the stream goes on.
    pub(crate) fn json<T: DeserializeOwned + 'static>(self) -> Watch<T> {
        Watch(Box::pin(self.map(|event| event.and_then(WatchEvent::json))))
    }
}

struct Running<B> {
    backend: B,
    namespace: String,
    /// As given; the start moves with what was taken.
    options: WatchOptions,
    deadline: std::time::Duration,
    source: Source,
    ready: VecDeque<v1::WatchItem>,
    /// Credit that was used and not given anew.
    used: u32,
    /// Before it is opened anew, when it was lost before it told anything.
    pause: std::time::Duration,
}

/// Before the second attempt in a row.
const PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(20);
/// Before any.
const PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(1);

impl<B: AsRef<Backend>> Running<B> {
    async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                if let Some(event) = self.take(item).await? {
                    return Ok(event);
                }
                continue;
            }
            self.fill().await?;
        }
    }

    /// Waits for what comes next, at another node if it must.
    async fn fill(&mut self) -> Result<(), Error> {
        loop {
            match self.source.next().await {
                Ok(items) => {
                    self.pause = std::time::Duration::ZERO;
                    self.ready.extend(items);
                    return Ok(());
                }
                Err(None) => self.go_on().await?,
                Err(Some(error)) => return Err(error),
            }
        }
    }

    /// Takes one item, and grants more when half of the window is used.
    async fn take(&mut self, item: v1::WatchItem) -> Result<Option<WatchEvent>, Error> {
        use v1::watch_item::Item;
        if !matches!(item.item, Some(Item::Progress(_) | Item::Filtered(_)) | None) {
            self.used += 1;
        }
        if self.used > self.options.window / 2 {
            self.source.grant(u64::from(std::mem::take(&mut self.used))).await;
        }
        self.options.start = Start::Resume(item.resume_token.clone());
        WatchEvent::of(item)
    }

    /// Opens it anew, from where it was.
    async fn go_on(&mut self) -> Result<(), Error> {
        self.used = 0;
        tokio::time::sleep(self.pause).await;
        self.pause = (2 * self.pause).clamp(PAUSE_MIN, PAUSE_MAX);
        let backend = self.backend.as_ref();
        self.source = backend.watch(&self.namespace, &self.options, self.deadline).await?;
        Ok(())
    }
}

impl WatchEvent<Bytes> {
    /// The same with documents as values.
    ///
    /// # Errors
    /// [`Error::Decode`] when one is not of that type.
    pub fn json<T: DeserializeOwned>(self) -> Result<WatchEvent<T>, Error> {
        let item = match self.item {
            WatchItem::Change(change) => WatchItem::Change(Box::new(change.json()?)),
            WatchItem::Snapshot(record) => WatchItem::Snapshot(Box::new((*record).json()?)),
            WatchItem::SnapshotEnd { sequence } => WatchItem::SnapshotEnd { sequence },
            WatchItem::Progress => WatchItem::Progress,
        };
        Ok(WatchEvent { resume_token: self.resume_token, item })
    }

    /// `None` for what a newer node tells and this client does not know.
    fn of(item: v1::WatchItem) -> Result<Option<WatchEvent>, Error> {
        use v1::watch_item::Item;
        let v1::WatchItem { resume_token, item, .. } = item;
        let item = match item {
            Some(Item::Change(change)) => match ChangeEvent::of(change) {
                Some(change) => WatchItem::Change(Box::new(change)),
                None => return Err(Error::invalid("a change of a kind that is not known here")),
            },
            Some(Item::Snapshot(actor)) => {
                let record = actor.record.unwrap_or_default();
                WatchItem::Snapshot(Box::new(Record::of(actor.id, record, None)))
            }
            Some(Item::SnapshotEnd(end)) => WatchItem::SnapshotEnd { sequence: end.sequence },
            Some(Item::Progress(_) | Item::Filtered(_)) => WatchItem::Progress,
            None => return Ok(None),
        };
        Ok(Some(WatchEvent { resume_token, item }))
    }
}

impl ChangeEvent<Bytes> {
    fn json<T: DeserializeOwned>(self) -> Result<ChangeEvent<T>, Error> {
        let ChangeEvent { id, kind, event_id, sequence, time, position, conflated, .. } = self;
        let before = self.before.map(Record::json).transpose()?;
        let after = self.after.map(Record::json).transpose()?;
        let change =
            ChangeEvent { id, kind, event_id, sequence, time, position, before, after, conflated };
        Ok(change)
    }

    fn of(change: v1::Change) -> Option<ChangeEvent> {
        let kind = match change.kind() {
            v1::ChangeKind::Create => ChangeKind::Create,
            v1::ChangeKind::Update => ChangeKind::Update,
            v1::ChangeKind::Delete => ChangeKind::Delete,
            v1::ChangeKind::Expire => ChangeKind::Expire,
            v1::ChangeKind::Unspecified => return None,
        };
        let v1::LogPosition { term, index } = change.position.unwrap_or_default();
        let at = v1::ReadAt { sequence: change.sequence, ..v1::ReadAt::default() };
        let record = |record: Option<v1::Record>| {
            record.map(|record| Record::of(change.id.clone(), record, Some(at)))
        };
        Some(ChangeEvent {
            kind,
            before: record(change.before),
            after: record(change.after),
            id: change.id,
            event_id: change.event_id,
            sequence: change.sequence,
            time: time(change.time_ms),
            position: (term, index),
            conflated: change.conflated,
        })
    }
}

impl WatchOptions {
    /// The first message of a stream.
    pub(crate) fn message(&self, namespace: &str) -> v1::WatchRequest {
        use v1::watch_start::Kind;
        let kind = match &self.start {
            Start::Now => Kind::Place(v1::WatchPlace::Now.into()),
            Start::Beginning => Kind::Place(v1::WatchPlace::Beginning.into()),
            Start::Time(at) => Kind::TimeMs(milliseconds(*at)),
            Start::Resume(token) => Kind::ResumeToken(token.clone()),
            Start::After(sequence) => Kind::AfterSequence(*sequence),
        };
        let kinds = self.kinds.iter().map(|kind| match kind {
            ChangeKind::Create => v1::ChangeKind::Create,
            ChangeKind::Update => v1::ChangeKind::Update,
            ChangeKind::Delete => v1::ChangeKind::Delete,
            ChangeKind::Expire => v1::ChangeKind::Expire,
        });
        let policy = match self.policy {
            Policy::Pause => v1::WatchPolicy::Pause,
            Policy::Disconnect => v1::WatchPolicy::Disconnect,
            Policy::Conflate => v1::WatchPolicy::Conflate,
        };
        let namespaces = vec![v1::WatchNamespace {
            namespace: namespace.to_owned(),
            start: Some(v1::WatchStart { kind: Some(kind) }),
        }];
        let filter = v1::WatchFilter {
            prefixes: self.prefixes.clone(),
            kinds: kinds.map(i32::from).collect(),
        };
        let subscribe = v1::WatchSubscribe {
            namespaces,
            start: None,
            filter: Some(filter),
            policy: policy.into(),
            credit: self.window.into(),
        };
        v1::WatchRequest { kind: Some(v1::watch_request::Kind::Subscribe(subscribe)) }
    }
}

/// Unix time.
pub(crate) fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl From<v1::NamespaceStatus> for ChangeStats {
    fn from(status: v1::NamespaceStatus) -> ChangeStats {
        let v1::NamespaceStatus { sequence, changes, .. } = status;
        let changes = changes.unwrap_or_default();
        ChangeStats {
            changes: changes.changes,
            sequence,
            recent: changes.recent,
            subscriptions: changes.subscriptions,
            delivered: changes.delivered,
            history_reads: changes.history_reads,
            lagged: changes.lagged,
            compacted: changes.compacted,
        }
    }
}
