//! Subscribers of the change stream beside the load: what they hear, and how late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use tokio::task::JoinSet;
use understudy_client::{Client, Watch, WatchItem, WatchOptions};

use super::{BenchArgs, Measured};
use crate::limits;

/// Subscribers, each with a stream of its own, that hear everything.
pub struct Subscribers {
    streams: JoinSet<()>,
    heard: Arc<Mutex<Measured>>,
    counts: Arc<AtomicBool>,
    /// They never take anything.
    _stalled: Vec<Watch>,
}

impl Subscribers {
    /// Opens them, on as few connections as they fit on.
    ///
    /// # Errors
    /// One line, for the first that is refused.
    pub async fn open(args: &BenchArgs) -> anyhow::Result<Subscribers> {
        let (heard, counts) = (Arc::new(Mutex::new(Measured::new()?)), Arc::default());
        let mut subscribers =
            Subscribers { streams: JoinSet::new(), heard, counts, _stalled: Vec::new() };
        let mut left = args.subscribers + args.stalled;
        while left > 0 {
            let some = left.min(limits::BENCH_STREAMS_PER_CONNECTION);
            let options = args.cluster.options()?.deadline(args.timeout.0);
            let client = Client::connect_with(args.cluster.endpoints.clone(), options).await;
            let client = client.map_err(|error| anyhow!("{error} ({})", error.code()))?;
            for place in left - some..left {
                let stream = client.watch_raw(&args.namespace, WatchOptions::default()).await;
                let stream = stream.map_err(|error| anyhow!("{error} ({})", error.code()));
                let stream = stream.context("a subscriber")?;
                match place < args.subscribers {
                    true => subscribers.hear(stream),
                    false => subscribers._stalled.push(stream),
                }
            }
            left -= some;
        }
        Ok(subscribers)
    }

    fn hear(&mut self, mut stream: Watch) {
        let (heard, counts) = (self.heard.clone(), self.counts.clone());
        self.streams.spawn(async move {
            while let Some(event) = stream.next().await {
                if !counts.load(Ordering::Relaxed) {
                    continue;
                }
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                match event.map(|event| event.item) {
                    Ok(WatchItem::Change(change)) => heard.record(age(change.time)),
                    Ok(_) => {}
                    Err(error) => *heard.failed.entry(error.code().to_owned()).or_default() += 1,
                }
            }
        });
    }

    /// From now on it counts, or does not.
    pub fn count(&self, counts: bool) {
        self.counts.store(counts, Ordering::Relaxed);
    }

    /// What they have heard; each change from its leader's stamp, which is before it is committed,
    /// to the millisecond.
    ///
    /// # Errors
    /// When there is no room for the numbers.
    pub fn end(mut self) -> anyhow::Result<Measured> {
        self.streams.abort_all();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *heard, Measured::new()?))
    }
}

fn age(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}
