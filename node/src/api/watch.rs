//! The change stream as both protocols begin and end it: who may watch what, and what an end means.

use std::time::Duration;

use tokio::time::Instant;
use understudy_auth::{Access, Right};
use understudy_core::{
    ChangeKind, Delivery, End, Filter, Namespace, Options, Policy, ResumeToken, Sequence, Start,
    Timestamp,
};
use understudy_driver::hub::{Ended, Refused, Subscriber};

use crate::api::Api;
use crate::api::problem::{Problem, codes};
use crate::limits;

/// What one subscriber asks for.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The collection.
    pub namespace: Namespace,
    /// Where it begins.
    pub start: Start,
    /// What it wants.
    pub wanted: Wanted,
    /// What happens when it is slow.
    pub policy: Policy,
}

/// What a subscriber wants, as it was said.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What ids begin with; none for all.
    pub prefixes: Vec<String>,
    /// What happened; none for all.
    pub kinds: Vec<ChangeKind>,
}

/// A subscription of a caller, whose token is looked at again from time to time.
#[derive(Debug)]
pub struct Watcher {
    api: Api,
    subscriber: Subscriber,
    prefixes: Vec<String>,
    looked: Instant,
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Problem> {
        Filter::new(self.prefixes.clone(), self.kinds.clone()).map_err(bad)
    }
}

impl Watcher {
    /// Begins a subscription, if the caller may have it; nothing is heard before
    /// [`Watcher::open`].
    ///
    /// # Errors
    /// A problem.
    pub fn new(api: &Api, terms: Terms) -> Result<Watcher, Problem> {
        let Terms { namespace, start, wanted, policy } = terms;
        let filter = wanted.filter()?;
        let scans = match &start {
            Start::Beginning => true,
            Start::Resume(token) => token.scanned.is_some(),
            Start::Now | Start::Time(_) | Start::After(_) => false,
        };
        let prefixes = looked_at(wanted.prefixes, &filter, scans);
        allow(api, &namespace, &prefixes)?;
        let subscriber = api.subscribe(&namespace, Options { start, filter, policy })?;
        Ok(Watcher { api: api.clone(), subscriber, prefixes, looked: Instant::now() })
    }

    /// Waits until it is settled where it begins.
    ///
    /// # Errors
    /// A problem.
    pub async fn open(&mut self) -> Result<(), Problem> {
        self.subscriber.open().await.map_err(ended)
    }

    /// What comes next. May be dropped and called again at any time: nothing is lost.
    ///
    /// # Errors
    /// A problem that says how the stream ended.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, Problem> {
        let deliveries = self.subscriber.next().await.map_err(ended)?;
        // A stream may outlast its token.
        if self.looked.elapsed() >= limits::WATCH_LOOK_EVERY {
            self.looked = Instant::now();
            allow(&self.api, self.subscriber.namespace(), &self.prefixes)?;
        }
        Ok(deliveries)
    }

    /// Wants something else from now on. What was to be told before comes first.
    ///
    /// # Errors
    /// A problem; then nothing has changed.
    pub fn set_filter(&mut self, wanted: Wanted) -> Result<Vec<Delivery>, Problem> {
        let filter = wanted.filter()?;
        let scans = self.token().is_some_and(|token| token.scanned.is_some());
        let prefixes = looked_at(wanted.prefixes, &filter, scans);
        allow(&self.api, self.subscriber.namespace(), &prefixes)?;
        self.prefixes = prefixes;
        Ok(self.subscriber.set_filter(filter))
    }

    /// Allows so many more changes or actors of a snapshot.
    pub fn grant(&mut self, credit: u64) {
        self.subscriber.grant(credit);
    }

    /// Takes back what was granted and not used.
    pub fn withdraw(&mut self) {
        self.subscriber.withdraw();
    }

    /// Where it is.
    pub fn token(&self) -> Option<ResumeToken> {
        self.subscriber.token()
    }

    /// Which namespace it is of.
    pub fn namespace(&self) -> &Namespace {
        self.subscriber.namespace()
    }
}

/// What a subscription looks at. A snapshot of several prefixes reads all that they have in common, and
/// its resume tokens name ids among those.
fn looked_at(mut prefixes: Vec<String>, filter: &Filter, scans: bool) -> Vec<String> {
    if scans && !filter.is_one_prefix() {
        prefixes.push(filter.prefix().to_owned());
    }
    prefixes
}

/// Every actor that may be told of is looked at: those of each prefix, or all.
fn allow(api: &Api, namespace: &Namespace, prefixes: &[String]) -> Result<(), Problem> {
    let namespace = namespace.as_str();
    api.enter(namespace)?;
    let may = |prefix| api.allow(Right::Subscribe, Access::Under { namespace, prefix });
    match prefixes {
        [] => may(""),
        prefixes => prefixes.iter().try_for_each(|prefix| may(prefix)),
    }
}

/// A subscription that makes no sense.
pub fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(&codes::BAD_SUBSCRIPTION, detail)
}

/// A token as text.
///
/// # Errors
/// A problem when it is not one.
pub fn token(text: &str) -> Result<Start, Problem> {
    text.parse().map(Start::Resume).map_err(bad)
}

/// Where to begin, as HTTP and the command line write it.
///
/// # Errors
/// A problem when it is none of the forms.
pub fn start(text: &str) -> Result<Start, Problem> {
    let number = |text: &str, what: &str| {
        text.parse().map_err(|_| bad(format!("`{text}` is no {what}; give a whole number")))
    };
    match text.split_once(':') {
        None if text == "now" => Ok(Start::Now),
        None if text == "beginning" => Ok(Start::Beginning),
        Some(("after", n)) => Ok(Start::After(Sequence(number(n, "sequence")?))),
        Some(("time", ms)) => Ok(Start::Time(Timestamp(number(ms, "time in Unix milliseconds")?))),
        _ => token(text).map_err(|_| {
            bad(format!(
                "`{text}` is no start; use `now`, `beginning`, `after:SEQUENCE`, `time:UNIX_MS` or a \
                 resume token, exactly as it came"
            ))
        }),
    }
}

/// A policy by its word.
///
/// # Errors
/// A problem when there is none of that name.
pub fn policy(word: &str) -> Result<Policy, Problem> {
    match word {
        "pause" => Ok(Policy::Pause),
        "disconnect" => Ok(Policy::Disconnect),
        "conflate" => Ok(Policy::Conflate),
        _ => Err(bad(format!("`{word}` is no policy; use `pause`, `disconnect` or `conflate`"))),
    }
}

/// Why there is no subscription.
pub fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::UnknownNamespace => understudy_core::Failure::UnknownNamespace.into(),
        Refused::Busy => {
            let most = limits::SUBSCRIPTIONS_MAX;
            let detail =
                format!("this node has {most} subscriptions, which is the most; ask another");
            Problem::busy(detail, limits::SUBSCRIPTIONS_RETRY_AFTER)
        }
    }
}

/// What the end of a stream means.
fn ended(ended: Ended) -> Problem {
    match ended {
        Ended::Failed(failure) => failure.into(),
        Ended::Stopped => stops(),
        Ended::By(End::Compacted { first, asked }) => {
            let before = first.0.saturating_sub(1);
            let detail = format!(
                "change {asked} is gone, and {first} is the first that is retained; begin at \
                 `beginning`, or at `after:{before}` to skip what is gone"
            );
            Problem::new(&codes::COMPACTED, detail).first(first)
        }
        Ended::By(end @ End::OtherLineage { .. }) => {
            Problem::new(&codes::OTHER_LINEAGE, end.to_string())
        }
        Ended::By(End::Lagged { token }) => {
            let detail = format!("{}", End::Lagged { token: token.clone() });
            Problem::new(&codes::LAGGED, detail).resume(&token)
        }
    }
}

/// The node stops: the stream goes on at another, from the last token that came. Where this node is may
/// be further than what it has sent.
pub fn stops() -> Problem {
    let detail = "the node stops; go on at another with the last resume token";
    Problem::new(&codes::UNAVAILABLE, detail)
}

/// How long a client may want to wait for changes.
///
/// # Errors
/// A problem when it is out of range.
pub fn wait(given: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = given else { return Ok(limits::WATCH_WAIT) };
    let wait = text.parse().ok().map(Duration::from_millis);
    wait.filter(|wait| *wait <= limits::WATCH_WAIT_MAX).ok_or_else(|| {
        let most = limits::WATCH_WAIT_MAX.as_millis();
        Problem::new(&codes::BAD_TIMEOUT, format!("`wait_ms` is 0 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_and_nothing_else_is() {
        let token = "0000000000abcdef-17";
        for (text, wanted) in [
            ("now", Start::Now),
            ("beginning", Start::Beginning),
            ("after:17", Start::After(Sequence(17))),
            ("time:1700000000000", Start::Time(Timestamp(1_700_000_000_000))),
            (token, Start::Resume(token.parse().unwrap())),
        ] {
            assert_eq!(start(text).unwrap(), wanted);
        }
        for wrong in ["", "Now", "after:", "after:-1", "time:soon", "17", "now:1", "\u{e9}"] {
            assert_eq!(start(wrong).unwrap_err().code().word, "bad_subscription", "{wrong}");
        }
        assert!(policy("block").is_err());
        assert!(wait(Some("60001")).is_err() && wait(Some("x")).is_err());
    }
}
