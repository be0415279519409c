//! The operations, as both protocols carry them out: what is asked and answered in the core's words.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use understudy_core::{
    ActorId, Answer, Failure, Namespace, NodeId, OpId, Outcome, ReadLevel, Record, Refusal,
    Request, Seed, Sequence, Timestamp, Ttl, Work, Write, limits as core,
};
use uuid::Uuid;

use crate::api::Api;
use crate::api::problem::{Problem, codes};
use crate::api::request;
use crate::{clock, limits};

/// A write that happened: now, or when it was first received.
#[derive(Debug)]
pub struct Done {
    /// The name under which it is recorded.
    pub op: OpId,
    /// What happened; nothing that was refused.
    pub outcome: Outcome,
    /// It was recorded before this request.
    pub replayed: bool,
    /// The committed time at which it was recorded.
    pub recorded: Timestamp,
    /// The committed time until which a repeat is recognised.
    pub remembered_until: Option<Timestamp>,
}

/// What a read found.
#[derive(Debug)]
pub struct Found {
    /// The actor.
    pub record: Record,
    /// Of which state it is.
    pub at: At,
}

/// Which state a read saw.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Entries of the log that the replica had applied.
    pub applied: u64,
    /// The last change among them.
    pub sequence: Sequence,
    /// Since it was last level with its leader.
    pub age: Option<Duration>,
}

/// Changes one actor.
///
/// # Errors
/// A problem.
pub async fn write(
    api: &Api,
    namespace: Namespace,
    op: Option<OpId>,
    write: Write,
    wait: Duration,
) -> Result<Done, Problem> {
    carry_out(api, namespace, op, Work::One(write), wait).await
}

/// Changes several actors, all or none; the second value is what came of each.
///
/// # Errors
/// A problem; [`Refusal::InBatch`] names the operation.
pub async fn write_atomic(
    api: &Api,
    namespace: Namespace,
    op: Option<OpId>,
    writes: Vec<Write>,
    wait: Duration,
) -> Result<(Done, Vec<Outcome>), Problem> {
    let bytes = writes.iter().map(Write::bytes).sum::<usize>();
    if bytes > core::BATCH_WRITES_BYTES_MAX {
        return Err(request::too_large(bytes, core::BATCH_WRITES_BYTES_MAX));
    }
    let count = writes.len();
    let work = Work::batch(writes).map_err(|rule| Problem::new(&codes::BAD_BATCH, rule))?;
    let mut done = carry_out(api, namespace, op, work, wait).await?;
    match std::mem::replace(&mut done.outcome, Outcome::Batch(Vec::new())) {
        Outcome::Batch(outcomes) if outcomes.len() == count => Ok((done, outcomes)),
        _ => Err(Failure::Unknown.into()),
    }
}

/// Changes several actors, each for itself and side by side, each under a name that follows from `op`.
/// A delete is answered with what was there while there is room in the answer, then without.
///
/// # Errors
/// A problem when there are none or too many.
pub async fn write_each(
    api: &Api,
    namespace: Namespace,
    op: Option<OpId>,
    writes: Vec<Write>,
    wait: Duration,
) -> Result<Vec<Result<Done, Problem>>, Problem> {
    count(writes.len(), core::BATCH_WRITES_MAX)?;
    let writes = (0..).zip(writes).map(|(place, one)| {
        let op = op.as_ref().map(|op| op.item(place));
        write(api, namespace.clone(), op, one, wait)
    });
    let mut writes = stream::iter(writes).buffered(limits::BATCH_CONCURRENCY);
    let (mut done, mut bytes) = (Vec::new(), 0);
    while let Some(mut result) = writes.next().await {
        if let Ok(Done { outcome, .. }) = &mut result
            && let Outcome::Deleted { record, sequence } = outcome
        {
            if bytes > limits::BATCH_ANSWER_BYTES_SOFT {
                *outcome = Outcome::Removed { token: record.token, sequence: *sequence };
            } else {
                bytes += record.bytes();
            }
        }
        done.push(result);
    }
    Ok(done)
}

async fn carry_out(
    api: &Api,
    namespace: Namespace,
    op: Option<OpId>,
    work: Work,
    wait: Duration,
) -> Result<Done, Problem> {
    let answer = api.ask(Request::Write { namespace, op, work }, wait).await?;
    let remembered_until = answer.remembered_until();
    match answer {
        Answer::Done { outcome: Outcome::Refused(refusal), .. } => {
            Err(Failure::Refused(refusal).into())
        }
        Answer::Done { op, outcome, replayed, recorded } => {
            Ok(Done { op, outcome, replayed, recorded, remembered_until })
        }
        Answer::Read { .. } | Answer::Scan { .. } | Answer::Changes { .. } | Answer::Session(_) => {
            Err(Failure::Unknown.into())
        }
    }
}

/// How long what a write leaves stays.
pub fn ttl(write: &Write) -> Option<Ttl> {
    write.operation.content().and_then(|content| content.ttl)
}

/// From when on what was recorded at that time may go by itself.
pub fn expires(recorded: Timestamp, ttl: Option<Ttl>) -> Option<Timestamp> {
    ttl.map(|ttl| ttl.ends(recorded))
}

/// Gives a session for the operations of one namespace.
///
/// # Errors
/// A problem.
pub async fn open_session(
    api: &Api,
    namespace: Namespace,
    wait: Duration,
) -> Result<Uuid, Problem> {
    match api.ask(Request::Session { namespace }, wait).await? {
        Answer::Session(session) => Ok(Uuid::from_u128(session)),
        Answer::Done { .. }
        | Answer::Read { .. }
        | Answer::Scan { .. }
        | Answer::Changes { .. } => Err(Failure::Unknown.into()),
    }
}

/// Reads one actor.
///
/// # Errors
/// A problem, also when there is none.
pub async fn read(
    api: &Api,
    namespace: Namespace,
    id: ActorId,
    level: ReadLevel,
    wait: Duration,
) -> Result<Found, Problem> {
    let body = Request::Read { namespace, id, level };
    match api.ask(body, wait).await? {
        Answer::Read { record: Some(record), applied, sequence, age } => {
            Ok(Found { record, at: At { applied, sequence, age } })
        }
        Answer::Read { record: None, .. } => Err(Failure::Refused(Refusal::NotFound).into()),
        Answer::Done { .. } | Answer::Scan { .. } | Answer::Changes { .. } | Answer::Session(_) => {
            Err(Failure::Unknown.into())
        }
    }
}

/// One read of a batch.
#[derive(Debug)]
pub struct Item {
    /// The actor.
    pub id: ActorId,
    /// How fresh.
    pub level: ReadLevel,
}

/// Reads several actors, side by side: the core gathers those of one group into one question to the
/// leader. In the order asked.
///
/// # Errors
/// A problem when there are none or too many.
pub async fn batch_read(
    api: &Api,
    namespace: Namespace,
    items: Vec<Item>,
    wait: Duration,
) -> Result<Vec<Result<Found, Problem>>, Problem> {
    count(items.len(), limits::BATCH_READS_MAX)?;
    let reads =
        items.into_iter().map(|Item { id, level }| read(api, namespace.clone(), id, level, wait));
    let mut reads = stream::iter(reads).buffered(limits::BATCH_CONCURRENCY);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(mut result) = reads.next().await {
        // What comes after has been read in vain, but an answer of any size would be refused by the
        // client, whole.
        if bytes > limits::BATCH_ANSWER_BYTES_SOFT {
            let detail = "the answer is full before this one; ask for it again, with fewer others";
            result = Err(Problem::new(&codes::TOO_LARGE, detail));
        }
        bytes += result.as_ref().map_or(0, |found| found.record.bytes());
        found.push(result);
    }
    Ok(found)
}

/// Checks the number of operations in a batch.
fn count(count: usize, max: usize) -> Result<(), Problem> {
    match (1..=max).contains(&count) {
        true => Ok(()),
        false => {
            let detail = format!("a batch has 1 to {max} operations, this one has {count}");
            Err(Problem::new(&codes::BAD_BATCH, detail))
        }
    }
}

/// What a page of a scan is asked for.
#[derive(Debug)]
pub struct Scan {
    /// The collection.
    pub namespace: Namespace,
    /// What the ids begin with.
    pub prefix: String,
    /// Behind which id.
    pub after: Option<ActorId>,
    /// Actors at most.
    pub limit: usize,
    /// How fresh.
    pub level: ReadLevel,
}

/// A page of a scan.
#[derive(Debug)]
pub struct Page {
    /// In the order of their ids' bytes.
    pub records: Vec<(ActorId, Record)>,
    /// There are others behind the last one.
    pub more: bool,
    /// Of which state it is.
    pub at: At,
}

/// Reads a page.
///
/// # Errors
/// A problem.
pub async fn scan(api: &Api, scan: Scan, wait: Duration) -> Result<Page, Problem> {
    let Scan { namespace, prefix, after, limit, level } = scan;
    let body = Request::Scan { namespace, prefix, after, limit, level };
    match api.ask(body, wait).await? {
        Answer::Scan { records, more, applied, sequence, age } => {
            Ok(Page { records, more, at: At { applied, sequence, age } })
        }
        Answer::Read { .. } | Answer::Done { .. } | Answer::Changes { .. } | Answer::Session(_) => {
            Err(Failure::Unknown.into())
        }
    }
}

/// Makes ids for actors that are created without one.
#[derive(Debug)]
pub struct Ids {
    node: NodeId,
    seed: Seed,
    count: AtomicU64,
}

impl Ids {
    /// Of this node; `seed` is drawn anew at every start.
    pub fn new(node: NodeId, seed: Seed) -> Ids {
        Ids { node, seed: seed.child("ids"), count: AtomicU64::new(0) }
    }

    /// Time, node and random bits (S0-034). A named operation must have the same payload at every
    /// retry, at whichever node it arrives, so there the id follows from the name alone.
    ///
    /// # Errors
    /// Never for the ids made here.
    pub fn next(&self, op: Option<&OpId>) -> Result<ActorId, Problem> {
        let id = match op {
            None => {
                let count = self.count.fetch_add(1, Ordering::Relaxed);
                let random = self.seed.child(&count.to_string()).0;
                format!("{:012x}-{}-{random:016x}", clock::wall().0, self.node)
            }
            Some(op) => {
                let name = op.to_string();
                let hash = |seed| Seed(seed).child(&name).0;
                let time = op.time().unwrap_or_default().0;
                format!("{time:012x}-k-{:016x}{:016x}", hash(1), hash(2))
            }
        };
        request::actor_id(&id)
    }
}

/// A namespace by its name.
///
/// # Errors
/// A problem that names the rule.
pub fn namespace(name: impl Into<String>) -> Result<Namespace, Problem> {
    Namespace::new(name).map_err(|rule| Problem::new(&codes::BAD_NAMESPACE, rule))
}
