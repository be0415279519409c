//! Reads every document back and compares it byte for byte.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use hyper::StatusCode;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::task::JoinSet;
use understudy_core::ActorId;

use crate::api::actor::{VERSION, location};
use crate::client::{Call, Client};
use crate::documents::{BadLine, Document, Documents};
use crate::limits;
use crate::load::{Complaints, Plan};

/// What reading back showed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Documents that should be there, each id once.
    pub documents: u64,
    /// There, byte for byte.
    pub same: u64,
    /// Not there.
    pub missing: u64,
    /// There, but not what was loaded last.
    pub different: u64,
    /// The same, but written another number of times than the source has lines for it.
    pub rewritten: u64,
    /// Could not be read.
    pub failed: u64,
    /// Lines of the source that are not documents, and cannot be there.
    pub bad_lines: u64,
}

impl Verdict {
    /// Everything is there.
    pub fn complete(&self) -> bool {
        self.missing == 0 && self.different == 0 && self.failed == 0
    }
}

/// The last line of every id, and how many lines it has.
#[derive(Debug, Default)]
pub struct Index {
    lines: HashMap<String, (u64, u64)>,
    bad: u64,
}

impl Index {
    /// Reads the whole source, keeping ids only.
    pub fn of(documents: Documents) -> Index {
        let mut index = Index::default();
        for document in documents {
            let Ok(Document { line, id, .. }) = document else {
                index.bad += 1;
                continue;
            };
            let (last, count) = index.lines.entry(id).or_default();
            *last = line;
            *count += 1;
        }
        index
    }

    /// How many ids there are.
    pub fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

enum Finding {
    Same,
    Rewritten,
    Missing,
    Different,
    Failed(String),
}

/// Reads back every id of `index`, whose documents come once more from `documents`.
///
/// # Errors
/// Only for an impossible plan.
pub async fn verify(
    client: Arc<Client>,
    documents: Documents,
    index: &Index,
    plan: &Plan,
    bar: &ProgressBar,
) -> anyhow::Result<Verdict> {
    let max = limits::CONCURRENCY_MAX;
    ensure!((1..=max).contains(&plan.concurrency), "`--concurrency` is 1 to {max}");
    let mut verdict =
        Verdict { documents: index.len(), bad_lines: index.bad, ..Verdict::default() };
    let mut complaints = Complaints::new(bar.clone());
    let mut reads = JoinSet::new();
    for (place, document) in documents.filter_map(Result::ok).enumerate() {
        let Some(&(last, count)) = index.lines.get(&document.id) else { continue };
        if document.line != last {
            continue;
        }
        if reads.len() >= plan.concurrency
            && let Some(Ok((document, finding))) = reads.join_next().await
        {
            verdict.count(&document, finding, &mut complaints);
            bar.inc(1);
        }
        let (client, plan) = (client.clone(), plan.clone());
        reads.spawn(async move {
            let finding = read(&client, &document, count, &plan, place).await;
            (document, finding)
        });
    }
    while let Some(Ok((document, finding))) = reads.join_next().await {
        verdict.count(&document, finding, &mut complaints);
        bar.inc(1);
    }
    complaints.finish();
    Ok(verdict)
}

async fn read(
    client: &Client,
    document: &Document,
    count: u64,
    plan: &Plan,
    place: usize,
) -> Finding {
    let Ok(id) = ActorId::new(document.id.as_str()) else {
        return Finding::Failed("its id is not one".to_owned());
    };
    let call = Call::get(location(&plan.namespace, &id));
    match client.call(&call, Instant::now() + plan.patience, Some(place)).await {
        Ok(reply) if reply.status == StatusCode::NOT_FOUND => match reply.refusal().code.as_str() {
            "not_found" => Finding::Missing,
            _ => Finding::Failed(reply.refusal().detail),
        },
        Ok(reply) if !reply.status.is_success() => Finding::Failed(reply.refusal().detail),
        Ok(reply) if reply.body != document.text => Finding::Different,
        Ok(reply) if reply.number(&VERSION) != Some(count) => Finding::Rewritten,
        Ok(_) => Finding::Same,
        Err(error) => Finding::Failed(format!("{error:#}")),
    }
}

impl Verdict {
    fn count(&mut self, document: &Document, finding: Finding, complaints: &mut Complaints) {
        let reason = match finding {
            Finding::Same => {
                self.same += 1;
                return;
            }
            Finding::Rewritten => {
                self.same += 1;
                self.rewritten += 1;
                return;
            }
            Finding::Missing => {
                self.missing += 1;
                format!("`{}` is missing", document.id)
            }
            Finding::Different => {
                self.different += 1;
                format!("`{}` is different", document.id)
            }
            Finding::Failed(reason) => {
                self.failed += 1;
                format!("`{}` could not be read: {reason}", document.id)
            }
        };
        complaints.say(&BadLine { line: document.line, reason });
    }
}
