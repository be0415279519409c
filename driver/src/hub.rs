//! What the core says of changes, on its way to subscribers: one [`Tail`] for each group, and a bell
//! that wakes whoever waits.
//!
//! The core thread gives away one lock and one ring of the bell, however many subscribers there are: a
//! thread of its own wakes them, so that a thousand of them cost the core no more than one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use understudy_core::{Change, GroupId, Namespace, Options, Sequence, Tail};

use crate::driver::Core;
use crate::limits;

mod subscriber;

pub use subscriber::{Ended, Subscriber};

/// The subscribers' side; cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// The core thread's side.
#[derive(Debug)]
pub(crate) struct Outlet {
    hub: Hub,
    bell: Sender<()>,
}

struct Shared {
    feeds: BTreeMap<Namespace, Arc<Feed>>,
    groups: BTreeMap<GroupId, Arc<Feed>>,
    places: Arc<Semaphore>,
}

/// The changes of one group.
struct Feed {
    namespace: Namespace,
    tail: RwLock<Tail>,
    /// The tail has grown since subscribers were woken.
    has_grown: AtomicBool,
    /// Wakes subscribers; true when the core thread has ended.
    grown: watch::Sender<bool>,
    counts: Counts,
}

/// Of one group, since the start.
#[derive(Debug, Default)]
struct Counts {
    changes: AtomicU64,
    subscriptions: AtomicU64,
    delivered: AtomicU64,
    history_reads: AtomicU64,
    lagged: AtomicU64,
    compacted: AtomicU64,
}

/// The change stream of one namespace at this node, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangesStatus {
    /// The last change that was applied.
    pub sequence: Sequence,
    /// Changes that were applied.
    pub changes: u64,
    /// Of them, those that are kept ready for subscribers that are level.
    pub recent: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Changes and actors of snapshots that subscribers were given.
    pub delivered: u64,
    /// Questions to what is retained, by subscribers that were not level.
    pub history_reads: u64,
    /// Subscriptions that ended because they were too slow.
    pub lagged: u64,
    /// Subscriptions that ended because what they wanted is not retained.
    pub compacted: u64,
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No namespace of that name.
    UnknownNamespace,
    /// There are [`limits::SUBSCRIPTIONS_MAX`].
    Busy,
}

impl Hub {
    /// Of these groups, with the thread that wakes subscribers. It ends with the outlet.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        groups: impl IntoIterator<Item = (GroupId, Namespace)>,
    ) -> std::io::Result<(Hub, Outlet, JoinHandle<()>)> {
        let feed = |(group, namespace)| {
            let feed = Feed {
                namespace,
                tail: RwLock::default(),
                has_grown: AtomicBool::new(false),
                grown: watch::Sender::new(false),
                counts: Counts::default(),
            };
            (group, Arc::new(feed))
        };
        let groups: BTreeMap<GroupId, Arc<Feed>> = groups.into_iter().map(feed).collect();
        let feeds = groups.values().map(|feed| (feed.namespace.clone(), feed.clone())).collect();
        let places = Arc::new(Semaphore::new(limits::SUBSCRIPTIONS_MAX));
        let hub = Hub(Arc::new(Shared { feeds, groups, places }));
        let (bell, rung) = bounded(1);
        let waker = hub.clone();
        let thread = thread::Builder::new().name("changes".to_owned());
        let thread = thread.spawn(move || waker.wake(&rung))?;
        Ok((hub.clone(), Outlet { hub, bell }, thread))
    }

    /// Wakes subscribers until the core thread has ended, then for the last time.
    fn wake(&self, rung: &Receiver<()>) {
        while rung.recv().is_ok() {
            for feed in self.0.feeds.values() {
                if feed.has_grown.swap(false, Ordering::AcqRel) {
                    feed.grown.send_replace(false);
                }
            }
        }
        for feed in self.0.feeds.values() {
            feed.grown.send_replace(true);
        }
    }

    /// A subscription to a namespace, whose questions go to `core`.
    ///
    /// # Errors
    /// There is no such namespace, or no room.
    pub fn subscribe(
        &self,
        core: &Core,
        namespace: &Namespace,
        options: Options,
    ) -> Result<Subscriber, Refused> {
        let feed = self.0.feeds.get(namespace).ok_or(Refused::UnknownNamespace)?;
        let place = self.0.places.clone().try_acquire_owned().map_err(|_| Refused::Busy)?;
        Ok(Subscriber::new(core.clone(), Place::taken(feed.clone(), place), options))
    }

    /// What there is to say of a namespace.
    pub fn status(&self, namespace: &Namespace) -> Option<ChangesStatus> {
        let feed = self.0.feeds.get(namespace)?;
        let (sequence, recent) = {
            let tail = feed.tail.read().unwrap_or_else(PoisonError::into_inner);
            (tail.last(), tail.len())
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &feed.counts;
        Some(ChangesStatus {
            sequence,
            changes: count(&counts.changes),
            recent: u64::try_from(recent).unwrap_or(u64::MAX),
            subscriptions: count(&counts.subscriptions),
            delivered: count(&counts.delivered),
            history_reads: count(&counts.history_reads),
            lagged: count(&counts.lagged),
            compacted: count(&counts.compacted),
        })
    }
}

impl Outlet {
    /// Takes what a group's changes have come to.
    pub(crate) fn push(&self, group: GroupId, after: Sequence, changes: Vec<Change>) {
        let Some(feed) = self.hub.0.groups.get(&group) else { return };
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        feed.counts.changes.fetch_add(count, Ordering::Relaxed);
        feed.tail.write().unwrap_or_else(PoisonError::into_inner).push(after, changes);
        feed.has_grown.store(true, Ordering::Release);
        // Full: it was rung before and not yet heard, and what it is heard for is all that has grown.
        let _ = self.bell.try_send(());
    }
}

/// A subscription's place among the others: counted until it is dropped, however it ends.
struct Place {
    feed: Arc<Feed>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn taken(feed: Arc<Feed>, permit: OwnedSemaphorePermit) -> Place {
        feed.counts.subscriptions.fetch_add(1, Ordering::Relaxed);
        Place { feed, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.feed.counts.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.0.places.available_permits();
        f.debug_struct("Hub").field("places_left", &left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
