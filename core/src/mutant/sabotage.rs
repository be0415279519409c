//! The bodies of planted bugs that do not fit into a line where the real code is.

use std::sync::Mutex;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::change::EventId;
use crate::command::{Command, Expected, Operation, Outcome, Refusal, Work, Write};
use crate::input::Input;
use crate::message::{Append, Applied, AskVote, Body, LogPosition};
use crate::raft::executor;
use crate::seed::Rng;
use crate::store::{Meta, Store};
use crate::types::{ActorId, OpId, Sequence, Timestamp};
use crate::wal::frame::{self, Record};

/// What a store must know to go wrong.
#[derive(Clone, Debug, Default)]
pub struct Sabotage {
    /// Entries below this had been committed before the start.
    recovered: u64,
    /// Differs from replica to replica.
    salt: u64,
}

/// Tells the store of a replica that starts with `recovered` committed entries.
pub fn prepare(store: &mut Store, recovered: u64) {
    // Drawn only where it is used: without a bug this build runs as every other.
    let salt = if planted!(UnorderedApply) { executor::random(Rng::u64) } else { 0 };
    store.sabotage = Sabotage { recovered, salt };
}

impl Sabotage {
    /// `op_log_not_recovered`, `refusal_not_recorded`: an outcome that is not recorded.
    pub fn forgets(&self, applied: Option<LogPosition>, outcome: &Outcome) -> bool {
        planted!(OpLogNotRecovered) && next(applied) < self.recovered
            || planted!(RefusalNotRecorded) && matches!(outcome, Outcome::Refused(_))
    }

    /// `recovery_skips_entry`: an entry whose rows are not written.
    pub fn skips(&self, applied: Option<LogPosition>) -> bool {
        planted!(RecoverySkipsEntry) && next(applied) + 1 == self.recovered
    }

    /// `unordered_apply`: the places of a batch in the order in which they are applied.
    pub fn order(&self, places: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..places).collect();
        order.sort_by_key(|place| xxh3_64_with_seed(&place.to_le_bytes(), self.salt));
        order
    }
}

/// The index of the entry that is being applied.
fn next(applied: Option<LogPosition>) -> u64 {
    applied.map_or(0, |applied| applied.index + 1)
}

/// `unordered_apply`: runs a batch in this order; the results are in the batch's.
pub fn run(order: Vec<usize>, mut run: impl FnMut(usize) -> Applied) -> Vec<Applied> {
    let mut results: Vec<_> = order.into_iter().map(|place| (place, run(place))).collect();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// `wall_clock_in_apply`.
pub fn time_of_apply(stamp: Timestamp) -> Timestamp {
    if planted!(WallClockInApply) { executor::now().wall } else { stamp }
}

/// `expires_early`, `expires_by_wall_clock`.
pub fn time_of_expiry(committed: Timestamp) -> Timestamp {
    match () {
        () if planted!(ExpiresEarly) => Timestamp(committed.0.saturating_add(2_000)),
        () if planted!(ExpiresByWallClock) => executor::now().wall,
        () => committed,
    }
}

/// `colliding_keys`.
pub fn row_key(id: &ActorId) -> ActorId {
    let short: String = id.as_str().chars().take(1).collect();
    ActorId::new(short).ok().filter(|_| planted!(CollidingKeys)).unwrap_or_else(|| id.clone())
}

/// `colliding_keys`, of a batch.
pub fn row_keys(writes: &[Write]) -> Vec<Write> {
    let with_key = |write: &Write| Write { id: row_key(&write.id), ..write.clone() };
    writes.iter().map(with_key).collect()
}

/// `batch_in_part`: what stands before the operation that is refused happens all the same.
pub fn happens_anyway<'a>(writes: &'a [Write], refusal: &Refusal) -> &'a [Write] {
    match refusal {
        Refusal::InBatch { place, .. } if planted!(BatchInPart) => {
            &writes[..usize::try_from(*place).unwrap_or(0)]
        }
        _ => &[],
    }
}

/// `snapshot_without_op_log`, and the state of the other bugs, which the new store must know too.
pub fn after_install(old: &Store, mut new: Store) -> Store {
    new.sabotage = old.sabotage.clone();
    match () {
        () if planted!(SnapshotWithoutOpLog) => new.without_op_log(),
        () if planted!(SnapshotWithoutMetadata) => new.without_metadata(),
        () if planted!(ChangesNotInSnapshot) => new.without_changes(),
        () => new,
    }
}

/// `event_named_by_replica`.
pub fn event(event: EventId) -> EventId {
    match planted!(EventNamedByReplica) {
        true => EventId(executor::random(Rng::u128)),
        false => event,
    }
}

/// `history_skips_first`.
pub fn skip(meta: &Meta, after: Sequence, skip: Option<usize>) -> (Sequence, Option<usize>) {
    match skip {
        Some(0) if planted!(HistorySkipsFirst) && meta.compacted > Sequence(0) => {
            (Sequence(after.0 + 1), Some(1))
        }
        skip => (after, skip),
    }
}

/// `op_named_by_leader`.
pub fn rename(mut commands: Vec<Command>) -> Vec<Command> {
    if planted!(OpNamedByLeader) {
        for command in &mut commands {
            command.op = OpId::Named(format!("{:032x}", executor::random(Rng::u128)));
        }
    }
    commands
}

/// `decides_before_log`: what the proposer sees decides; if it fits, the condition is dropped.
pub fn decide(store: &Mutex<Store>, mut commands: Vec<Command>) -> Vec<Command> {
    if !planted!(DecidesBeforeLog) {
        return commands;
    }
    let mut store = executor::lock(store);
    for command in &mut commands {
        let Work::One(Write { id, operation }) = &mut command.work else { continue };
        // Of a store outside the core, what is not at hand decides nothing.
        if store.is_missing(id) {
            continue;
        }
        let Some(found) = store.get(id) else { continue };
        let holds = |expected: &Expected| match expected {
            Expected::Token(token) => *token == found.token,
            Expected::Version(version) => *version == found.token.version,
        };
        match operation {
            Operation::CompareAndSwap { content, expected } if holds(expected) => {
                *operation = Operation::Put { content: content.clone() };
            }
            Operation::Update { expected, .. } | Operation::Delete { expected }
                if expected.as_ref().is_some_and(holds) =>
            {
                *expected = None;
            }
            _ => {}
        }
    }
    commands
}

/// `votes_for_shorter_log`, `commits_on_receipt`: a question as the sloppy replica hears it.
pub fn mishear(body: Body) -> Body {
    match body {
        Body::AskVote(ask) if planted!(VotesForShorterLog) => Body::AskVote(as_if_ahead(ask)),
        Body::AskPreVote(ask) if planted!(VotesForShorterLog) => Body::AskPreVote(as_if_ahead(ask)),
        Body::Append(append) if planted!(CommitsOnReceipt) => {
            let last = append.entries.last().map(|entry| entry.position).or(append.previous);
            let commit = append.commit.max(last);
            Body::Append(Append { commit, ..append })
        }
        body => body,
    }
}

fn as_if_ahead(ask: AskVote) -> AskVote {
    let last = LogPosition { term: ask.vote.term, index: 1 << 40 };
    AskVote { last: Some(last), ..ask }
}

/// `failed_sync_ignored`.
pub fn forgive(input: Input) -> Input {
    match input {
        Input::Io { io, .. } if planted!(FailedSyncIgnored) => Input::Io { io, result: Ok(()) },
        input => input,
    }
}

/// `committed_tail_cut`: where the last intact entry of a segment begins, or its end without one.
pub fn last_entry(segment: &[u8], seed: u32, base: u64, first: usize) -> usize {
    let (mut at, mut keep) = (first, segment.len());
    while let Some(frame) = frame::decode(segment, seed, base, at) {
        if let Some(Record::Entry(..)) = frame.record {
            keep = at;
        }
        at = frame.end;
    }
    keep
}
