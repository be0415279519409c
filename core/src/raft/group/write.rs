//! A batch of writes on its way: proposed here if this replica leads, else forwarded to the leader,
//! again and again until it has an outcome or nobody waits any more. Every command carries its
//! operation's name, so a repeat is answered from the op-log and never runs twice.

use std::sync::Arc;

use openraft::async_runtime::AsyncRuntime as _;
use openraft::errors::{ClientWriteError, RaftError};

use super::{Group, Origin, RETRY_PAUSE};
use crate::command::{Batch, Command, Outcome, Refusal};
use crate::effect::{Answer, Failure};
use crate::limits;
use crate::message::{Applied, Body, ForwardFailed};
use crate::raft::runtime::Runtime;
use crate::raft::shared::{Forwarded, Shared};
use crate::types::{OpId, ReplicaId};

/// Commands that wait together.
pub struct Item {
    pub origin: Origin,
    pub commands: Vec<Command>,
    /// Held until the answer, for a peer's.
    pub _room: Option<Forwarded>,
}

/// See the module.
pub async fn propose(group: Arc<Group>, mut items: Vec<Item>) {
    let shared = &group.shared;
    // Whether an earlier attempt ended without an answer.
    let mut maybe = false;
    loop {
        items.retain(|item| item.origin.waits(shared));
        if items.is_empty() {
            return;
        }
        mark(shared, &items, true);
        let failed = match attempt_here(&group, &items).await {
            Ok(results) => return settle(&group, &mut items, results, maybe),
            Err(failed) => failed,
        };
        maybe |= failed == ForwardFailed::Unknown;
        // A peer that forwarded here decides for itself whom to ask next.
        items.retain(|item| item.refuse_peer(&group, failed));
        if let ForwardFailed::NotLeader { hint: Some(leader) } = failed
            && leader != shared.replica
            && !items.is_empty()
        {
            match attempt_there(&group, leader, &items).await {
                Ok(results) => {
                    settle(&group, &mut items, results, maybe);
                    if items.is_empty() {
                        return;
                    }
                }
                Err(ForwardFailed::NotLeader { .. }) if planted!(ForwardRefusalBelieved) => {}
                // Whatever it answered: the network may repeat the question when it leads again.
                Err(_) => maybe = true,
            }
        }
        mark(shared, &items, maybe);
        Runtime::sleep(RETRY_PAUSE).await;
    }
}

async fn attempt_here(group: &Group, items: &[Item]) -> Result<Vec<Applied>, ForwardFailed> {
    group.may_propose().map_err(|hint| ForwardFailed::NotLeader { hint })?;
    let commands = commands(items);
    #[cfg(sim_mutant)]
    let commands = crate::mutant::sabotage::decide(&group.store, commands);
    let (time, compact) = (group.stamp(), group.too_many_changes());
    let batch = Batch { time, commands: commands.into(), due: Arc::new([]), compact };
    match group.raft.client_write(batch).await {
        Ok(response) => Ok(response.data),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(ForwardFailed::NotLeader { hint: forward.leader_id })
        }
        // Discarded entries may still be committed by another leader.
        Err(RaftError::APIError(_) | RaftError::Fatal(_)) => Err(ForwardFailed::Unknown),
    }
}

async fn attempt_there(
    group: &Group,
    leader: ReplicaId,
    items: &[Item],
) -> Result<Vec<Applied>, ForwardFailed> {
    let commands = commands(items);
    let count = commands.len();
    match group.forward(leader, Body::ForwardWrite { commands }).await {
        Some(Body::ForwardWriteReply(Ok(results))) if results.len() <= count => Ok(results),
        Some(Body::ForwardWriteReply(Err(failed))) => Err(failed),
        Some(_) | None => Err(ForwardFailed::Unknown),
    }
}

fn commands(items: &[Item]) -> Vec<Command> {
    let commands = items.iter().flat_map(|item| &item.commands).cloned().collect();
    #[cfg(sim_mutant)]
    let commands = crate::mutant::sabotage::rename(commands);
    commands
}

fn mark(shared: &Shared, items: &[Item], maybe: bool) {
    for item in items {
        if let Origin::Client(request) = item.origin {
            shared.mark(request, maybe);
        }
    }
}

/// Answers the items whose results are here, in order; those behind them stay. `maybe` says that an
/// earlier attempt has ended without an answer.
fn settle(group: &Group, items: &mut Vec<Item>, results: Vec<Applied>, maybe: bool) {
    let mut results = results.into_iter();
    let waiting = std::mem::take(items);
    let mut waiting = waiting.into_iter();
    while results.len() > 0
        && let Some(item) = waiting.next()
    {
        let ops: Vec<OpId> = item.commands.into_iter().map(|command| command.op).collect();
        let mut mine: Vec<Applied> = results.by_ref().take(ops.len()).collect();
        match item.origin {
            Origin::Peer(from, exchange) => {
                fit_one_message(&mut mine);
                let body = Body::ForwardWriteReply(Ok(mine));
                group.shared.answer(from, group.id, exchange, body);
            }
            Origin::Client(request) => {
                for (op, result) in ops.into_iter().zip(mine) {
                    group.shared.reply(request, response(op, result, maybe));
                }
            }
        }
    }
    items.extend(waiting);
}

/// Keeps the results that fit into an answer; whoever asked asks again for the rest, and gets them
/// from the op-log.
fn fit_one_message(results: &mut Vec<Applied>) {
    let mut bytes = 0;
    let fits = results.iter().take_while(|result| {
        let first = bytes == 0;
        bytes += 128;
        bytes += match &result.outcome {
            Outcome::Deleted { record, .. } => record.bytes(),
            Outcome::Batch(outcomes) => 64 * outcomes.len(),
            Outcome::Written { .. } | Outcome::Removed { .. } | Outcome::Refused(_) => 0,
        };
        first || bytes <= limits::ANSWER_BYTES_MAX
    });
    let fits = fits.count();
    results.truncate(fits);
}

fn response(
    op: OpId,
    Applied { outcome, replayed, recorded }: Applied,
    maybe: bool,
) -> Result<Answer, Failure> {
    match outcome {
        // An earlier attempt of ours may be what the op-log has forgotten.
        Outcome::Refused(Refusal::SessionExpired) if maybe => Err(Failure::Unknown),
        Outcome::Refused(refusal) => Err(Failure::Refused(refusal)),
        Outcome::Written { .. }
        | Outcome::Deleted { .. }
        | Outcome::Removed { .. }
        | Outcome::Batch(_) => Ok(Answer::Done { op, outcome, replayed, recorded }),
    }
}

impl Item {
    /// Operations in its commands.
    pub fn writes(&self) -> usize {
        self.commands.iter().map(|command| command.work.writes().len()).sum()
    }

    /// Answers a peer that forwarded; true for an item that stays.
    fn refuse_peer(&self, group: &Group, failed: ForwardFailed) -> bool {
        match self.origin {
            Origin::Client(_) => true,
            Origin::Peer(from, exchange) => {
                let body = Body::ForwardWriteReply(Err(failed));
                group.shared.answer(from, group.id, exchange, body);
                false
            }
        }
    }
}
