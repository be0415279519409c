//! Loads documents: each is put under its own idempotency key and tried until it is acknowledged,
//! so it is stored exactly once however often connections, nodes and leaders die meanwhile.
//!
//! Two lines with the same id are two writes in the order of the file: the same worker writes both,
//! so the last one wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use hyper::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_core::{ActorId, Namespace, Seed};

use crate::api::actor::{REPLAYED, VERSION, location};
use crate::client::{self, Call, Client, Reply};
use crate::documents::{BadLine, Document, Documents};
use crate::limits;
use crate::pace::Pace;

/// How to load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub namespace: Namespace,
    /// Writes under way at once.
    pub concurrency: usize,
    /// How long one document is tried.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Documents acknowledged.
    pub documents: u64,
    /// Of them, new actors.
    pub created: u64,
    /// Answered from the record of an earlier try, the client's own or one between nodes.
    pub replayed: u64,
    /// Tries that brought no answer.
    pub retries: u64,
    /// Lines that are not documents.
    pub bad_lines: u64,
    /// Documents that the cluster refused or did not acknowledge in time.
    pub failed: u64,
    /// The cluster did not answer in time, and the lines from here on were not tried.
    pub stopped_at_line: Option<u64>,
    /// The longest time between two acknowledgements.
    pub longest_pause_ms: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Documents a second.
    pub rate: f64,
}

impl Summary {
    /// Everything there was is stored.
    pub fn complete(&self) -> bool {
        self.bad_lines == 0 && self.failed == 0 && self.stopped_at_line.is_none()
    }
}

/// Writes all of `documents`; each acknowledgement is told to `pace` and `bar`.
///
/// # Errors
/// Only for an impossible plan: what happens to single documents stands in the summary.
pub async fn load(
    client: Arc<Client>,
    documents: Documents,
    plan: &Plan,
    pace: Arc<Pace>,
    bar: &ProgressBar,
) -> anyhow::Result<Summary> {
    let max = limits::CONCURRENCY_MAX;
    ensure!((1..=max).contains(&plan.concurrency), "`--concurrency` is 1 to {max}");
    let start = Instant::now();
    let mut summary = Summary::default();
    let mut complaints = Complaints::new(bar.clone());
    let (failures, mut failed) = mpsc::channel(limits::CONCURRENCY_MAX);
    let mut workers = JoinSet::new();
    let mut queues = Vec::new();
    let gone = Arc::new(AtomicBool::new(false));
    for place in 0..plan.concurrency {
        let (queue, waiting) = mpsc::channel(4);
        queues.push(queue);
        let (client, pace, bar) = (client.clone(), pace.clone(), bar.clone());
        let gone = gone.clone();
        let worker = Worker { client, pace, bar, gone, plan: plan.clone(), place };
        workers.spawn(worker.run(waiting, failures.clone()));
    }
    drop(failures);
    for document in documents {
        match document {
            Ok(document) if gone.load(Ordering::Relaxed) => {
                summary.stopped_at_line = Some(document.line);
                break;
            }
            Ok(document) => {
                let hash = Seed(0).child(&document.id).0;
                let place = usize::try_from(hash % queues.len() as u64).unwrap_or(0);
                let _ = queues[place].send(document).await;
            }
            Err(bad) => {
                summary.bad_lines += 1;
                complaints.say(&bad);
            }
        }
        while let Ok(bad) = failed.try_recv() {
            summary.failed += 1;
            complaints.say(&bad);
        }
    }
    drop(queues);
    while let Some(bad) = failed.recv().await {
        summary.failed += 1;
        complaints.say(&bad);
    }
    for created in workers.join_all().await {
        summary.created += created;
    }
    complaints.finish();
    let counts = pace.counts();
    summary.documents = counts.acknowledged;
    summary.replayed = counts.replayed;
    summary.retries = counts.retries;
    summary.longest_pause_ms = u64::try_from(counts.longest_pause.as_millis()).unwrap_or(u64::MAX);
    summary.seconds = start.elapsed().as_secs_f64();
    summary.rate = summary.documents as f64 / summary.seconds.max(0.001);
    Ok(summary)
}

struct Worker {
    client: Arc<Client>,
    pace: Arc<Pace>,
    bar: ProgressBar,
    /// One document was tried in vain for as long as patience lasts: no use to try the others.
    gone: Arc<AtomicBool>,
    plan: Plan,
    place: usize,
}

impl Worker {
    /// Returns how many actors it created.
    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<Document>,
        failures: mpsc::Sender<BadLine>,
    ) -> u64 {
        let mut created = 0;
        while let Some(document) = waiting.recv().await {
            let line = document.line;
            match self.write(document).await {
                Ok(reply) => {
                    created += u64::from(reply.number(&VERSION) == Some(1));
                    self.pace.acknowledge(reply.retries, reply.header(&REPLAYED).is_some());
                    self.bar.inc(1);
                }
                Err(error) => {
                    let _ = failures.send(BadLine { line, reason: format!("{error:#}") }).await;
                }
            }
        }
        created
    }

    async fn write(&mut self, document: Document) -> anyhow::Result<Reply> {
        let id = ActorId::new(document.id).map_err(anyhow::Error::msg)?;
        let path = location(&self.plan.namespace, &id);
        let call = Call::write(Method::PUT, path, document.text, &client::new_key()?);
        let deadline = Instant::now() + self.plan.patience;
        let reply = self.client.call(&call, deadline, Some(self.place)).await;
        let reply = reply.inspect_err(|_| self.gone.store(true, Ordering::Relaxed))?;
        if reply.retries > 0 {
            // Stay where the answer came from.
            self.place = self.place.wrapping_add(reply.retries as usize);
        }
        ensure!(reply.status.is_success(), "{}", reply.refusal().detail);
        Ok(reply)
    }
}

/// The first few problems line by line, the rest as a count.
pub(crate) struct Complaints {
    bar: ProgressBar,
    said: usize,
}

impl Complaints {
    pub(crate) fn new(bar: ProgressBar) -> Complaints {
        Complaints { bar, said: 0 }
    }

    pub(crate) fn say(&mut self, bad: &BadLine) {
        self.said += 1;
        if self.said <= limits::PROBLEMS_SHOWN_MAX {
            self.bar.suspend(|| eprintln!("line {}: {}", bad.line, bad.reason));
        }
    }

    pub(crate) fn finish(&self) {
        if self.said > limits::PROBLEMS_SHOWN_MAX {
            eprintln!("and {} more lines like these", self.said - limits::PROBLEMS_SHOWN_MAX);
        }
    }
}

/// A bar for `total` documents; hidden when standard error is not a terminal.
pub fn progress_bar(total: u64, what: &'static str, hidden: bool) -> ProgressBar {
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = "{msg:9} [{bar:32}] {pos}/{len}  {rate}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
    }
    bar.set_message(what);
    bar
}
