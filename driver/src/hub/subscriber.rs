//! One subscription, carried out: its questions go to this node's own replica, and it waits for the
//! tail to grow where there is nothing to do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use understudy_core::query::Page;
use understudy_core::{
    Answer, Ask, Delivery, End, Failure, Filter, Item, Namespace, Options, Request, Response,
    ResumeToken, Step, Subscription,
};

use super::Place;
use crate::driver::Core;
use crate::limits;

type Asking = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A subscription to one namespace. Dropping it ends it.
pub struct Subscriber {
    subscription: Subscription,
    core: Core,
    place: Place,
    grown: watch::Receiver<bool>,
    /// The question under way. It outlives the futures of [`Subscriber::next`].
    asking: Option<Asking>,
    /// Questions in a row that failed.
    failures: u32,
    /// Since when it waits to be open; `None` once it is.
    opening: Option<Instant>,
    /// When the next mark is due.
    mark: Instant,
    /// What it came to while it was opened.
    first: Option<Vec<Delivery>>,
}

/// Why a subscriber hears no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the rules of the stream.
    By(End),
    /// The replica did not answer in time where it begins.
    Failed(Failure),
    /// The node stops: go on at another, from the last token that was told.
    Stopped,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("token", &self.token()).finish_non_exhaustive()
    }
}

impl Subscriber {
    pub(super) fn new(core: Core, place: Place, options: Options) -> Subscriber {
        let grown = place.feed.grown.subscribe();
        let now = Instant::now();
        Subscriber {
            subscription: Subscription::new(options),
            core,
            place,
            grown,
            asking: None,
            failures: 0,
            opening: Some(now),
            mark: now + limits::PROGRESS_EVERY,
            first: None,
        }
    }

    /// Which namespace it hears of.
    pub fn namespace(&self) -> &Namespace {
        &self.place.feed.namespace
    }

    /// Allows `credit` more changes or actors of a snapshot.
    pub fn grant(&mut self, credit: u64) {
        self.subscription.grant(credit);
    }

    /// Takes back what was granted and not used.
    pub fn withdraw(&mut self) {
        self.subscription.withdraw();
    }

    /// Wants something else from where it is on. What was to be told before is given back: it comes
    /// first.
    pub fn set_filter(&mut self, filter: Filter) -> Vec<Delivery> {
        self.subscription.set_filter(filter);
        self.first.take().unwrap_or_default()
    }

    /// Where it is.
    pub fn token(&self) -> Option<ResumeToken> {
        self.subscription.token()
    }

    /// Waits until it is settled where it begins: what is written after that is heard. Where nothing
    /// waits to be told, a mark says where that is.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub async fn open(&mut self) -> Result<(), Ended> {
        let first = match self.go_on(true).await? {
            Some(deliveries) => deliveries,
            None => self.subscription.progress().into_iter().collect(),
        };
        self.opening = None;
        self.first = Some(first).filter(|first| !first.is_empty());
        Ok(())
    }

    /// What comes next; waits for it. At least one; marks come between. May be dropped and called
    /// again at any time: nothing is lost.
    ///
    /// # Errors
    /// It has ended.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, Ended> {
        loop {
            if let Some(first) = self.first.take() {
                return Ok(first);
            }
            if let Some(deliveries) = self.go_on(false).await? {
                return Ok(deliveries);
            }
        }
    }

    /// Goes on until there is something to tell, or (`None`) nothing to do where `idle` says that this
    /// is to be told.
    async fn go_on(&mut self, idle: bool) -> Result<Option<Vec<Delivery>>, Ended> {
        loop {
            if *self.grown.borrow_and_update() {
                return Err(Ended::Stopped);
            }
            match self.step() {
                Step::Deliver(deliveries) => {
                    self.count(&deliveries);
                    return Ok(Some(deliveries));
                }
                Step::End(end) => return Err(self.ended(end)),
                Step::Ask(ask) => self.ask(ask),
                Step::Idle if idle => return Ok(None),
                Step::Idle => {}
            }
            if let Some(mark) = self.wait().await? {
                return Ok(Some(vec![mark]));
            }
        }
    }

    fn step(&mut self) -> Step {
        let tail = self.place.feed.tail.read().unwrap_or_else(PoisonError::into_inner);
        self.subscription.step(&tail)
    }

    /// Waits for the answer, for the tail, or for the time of a mark.
    async fn wait(&mut self) -> Result<Option<Delivery>, Ended> {
        let Subscriber { asking, grown, mark, .. } = self;
        let is_asking = asking.is_some();
        let answer = async {
            match asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            response = answer => {
                self.asking = None;
                self.answered(response)?;
                Ok(None)
            }
            // A question that is under way is answered whatever the tail does.
            changed = grown.changed(), if !is_asking => match changed {
                Ok(()) => Ok(None),
                Err(_) => Err(Ended::Stopped),
            },
            () = sleep_until(*mark) => {
                self.mark = Instant::now() + limits::PROGRESS_EVERY;
                Ok(self.subscription.progress())
            }
        }
    }

    /// Puts the question, unless it is under way.
    fn ask(&mut self, ask: Ask) {
        if self.asking.is_some() {
            return;
        }
        let (core, namespace) = (self.core.clone(), self.namespace().clone());
        let request = match ask {
            Ask::Changes { query, level } => Request::Changes { namespace, query, level },
            Ask::Page { scan, level } => {
                let (prefix, after, limit) =
                    (scan.prefix.clone(), scan.after.clone(), scan.limit());
                Request::Scan { namespace, prefix, after, limit, level }
            }
        };
        if self.opening.is_none() {
            self.place.feed.counts.history_reads.fetch_add(1, Ordering::Relaxed);
        }
        let pause = backoff(self.failures);
        self.asking = Some(Box::pin(async move {
            sleep(pause).await;
            core.ask(request, limits::SUBSCRIBER_ASK_TIMEOUT).await
        }));
    }

    /// A question that failed is put again; only one that is to begin with does not wait for ever.
    fn answered(&mut self, response: Response) -> Result<(), Ended> {
        let failure = match response {
            Ok(Answer::Changes { changes, .. }) => {
                self.failures = 0;
                self.subscription.answered_changes(changes);
                return Ok(());
            }
            Ok(Answer::Scan { records, more, sequence, .. }) => {
                self.failures = 0;
                self.subscription.answered_page(Page { records, more }, sequence);
                return Ok(());
            }
            Ok(_) => Failure::Unknown,
            Err(failure) => failure,
        };
        self.failures = self.failures.saturating_add(1);
        match self.opening {
            Some(since) if since.elapsed() >= limits::SUBSCRIBER_OPEN_TIMEOUT => {
                Err(Ended::Failed(failure))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, deliveries: &[Delivery]) {
        let told = deliveries.iter().filter(|one| !matches!(one.item, Item::Progress)).count();
        let counts = &self.place.feed.counts;
        counts.delivered.fetch_add(u64::try_from(told).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.mark = Instant::now() + limits::PROGRESS_EVERY;
    }

    fn ended(&self, end: End) -> Ended {
        let counts = &self.place.feed.counts;
        match end {
            End::Compacted { .. } => drop(counts.compacted.fetch_add(1, Ordering::Relaxed)),
            End::Lagged { .. } => drop(counts.lagged.fetch_add(1, Ordering::Relaxed)),
            End::OtherLineage { .. } => {}
        }
        Ended::By(end)
    }
}

/// Longer after each failure in a row; nothing after none.
fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        failures => {
            let pause = limits::SUBSCRIBER_BACKOFF_MIN * 2_u32.saturating_pow(failures - 1);
            pause.min(limits::SUBSCRIBER_BACKOFF_MAX)
        }
    }
}
