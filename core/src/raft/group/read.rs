//! Linearizable reads: one read index for all that wait together. A replica that does not
//! lead forwards to the leader; one without a quorum never answers.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::AsyncRuntime as _;
use openraft::errors::{LinearizableReadError, RaftError};

use super::{Group, Origin, RETRY_PAUSE};
use crate::effect::Answer;
use crate::limits;
use crate::message::{Body, ForwardFailed};
use crate::raft::runtime::{Runtime, timeout_at};
use crate::raft::shared::{Forwarded, mono};
use crate::types::{ActorId, Record, ReplicaId};

/// Actors that are read together.
pub struct Item {
    pub origin: Origin,
    pub ids: Vec<ActorId>,
    /// Held until the answer, for a peer's.
    pub _room: Option<Forwarded>,
}

/// See the module.
pub async fn read(group: Arc<Group>, mut items: Vec<Item>) {
    loop {
        items.retain(|item| item.origin.waits(&group.shared));
        if items.is_empty() {
            return;
        }
        let hint = match confirm(&group).await {
            Ok(()) => {
                for item in items {
                    if let Err(error) = answer_here(&group, item).await {
                        return group.unreadable(&error);
                    }
                }
                return;
            }
            Err(hint) => hint,
        };
        items.retain(|item| match item.origin {
            Origin::Client(_) => true,
            Origin::Peer(from, exchange) => {
                let body = Body::ForwardReadReply(Err(ForwardFailed::NotLeader { hint }));
                group.shared.answer(from, group.id, exchange, body);
                false
            }
        });
        if let Some(leader) = hint.filter(|&leader| leader != group.shared.replica)
            && !items.is_empty()
            && let Some((records, applied)) = ask_there(&group, leader, &items).await
        {
            distribute(&group, &mut items, records, applied);
            continue;
        }
        Runtime::sleep(RETRY_PAUSE).await;
    }
}

/// Ok once a quorum has confirmed, after this call began, that this replica leads, and everything
/// committed by then is applied. Else who may lead.
async fn confirm(group: &Group) -> Result<(), Option<ReplicaId>> {
    let deadline = mono().after(group.shared.config.timing.election_max);
    #[cfg(sim_mutant)]
    if is_confirmed_anyway(group, deadline).await {
        return Ok(());
    }
    match timeout_at(deadline, group.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
            Err(forward.leader_id)
        }
        Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))))
        | Ok(Err(RaftError::Fatal(_)))
        | Err(_) => Err(None),
    }
}

/// The planted bugs of reads.
#[cfg(sim_mutant)]
async fn is_confirmed_anyway(group: &Group, deadline: crate::types::Instant) -> bool {
    if planted!(ReadBeforeApply) {
        let index = group.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        return timeout_at(deadline, index).await.is_ok_and(|index| index.is_ok());
    }
    planted!(FollowerServesReads) || planted!(ReadWithoutQuorum) && group.may_propose().is_ok()
}

async fn ask_there(
    group: &Group,
    leader: ReplicaId,
    items: &[Item],
) -> Option<(Vec<Option<Record>>, u64)> {
    let ids: Vec<ActorId> = items.iter().flat_map(|item| &item.ids).cloned().collect();
    let count = ids.len();
    match group.forward(leader, Body::ForwardRead { ids }).await? {
        Body::ForwardReadReply(Ok((records, applied))) if (1..=count).contains(&records.len()) => {
            Some((records, applied))
        }
        _ => None,
    }
}

async fn answer_here(group: &Group, item: Item) -> std::io::Result<()> {
    let (mut applied, mut bytes) = (0, 0);
    let mut records = Vec::with_capacity(item.ids.len());
    for id in &item.ids {
        group.rows.fetch(id).await?;
        let (record, at) = group.lookup(id);
        bytes += 128 + record.as_ref().map_or(0, |record| record.value.as_bytes().len());
        // A peer asks again for what does not fit into one answer.
        if bytes > limits::ANSWER_BYTES_MAX && !records.is_empty() {
            break;
        }
        records.push(record);
        applied = at;
    }
    distribute(group, &mut vec![item], records, applied);
    Ok(())
}

/// Answers the items whose records are here, in order; those behind them stay.
fn distribute(group: &Group, items: &mut Vec<Item>, records: Vec<Option<Record>>, applied: u64) {
    let mut records = records.into_iter();
    let waiting = std::mem::take(items);
    let mut waiting = waiting.into_iter();
    while records.len() > 0
        && let Some(item) = waiting.next()
    {
        let mine: Vec<_> = records.by_ref().take(item.ids.len()).collect();
        match item.origin {
            Origin::Peer(from, exchange) => {
                let body = Body::ForwardReadReply(Ok((mine, applied)));
                group.shared.answer(from, group.id, exchange, body);
            }
            Origin::Client(request) => {
                for record in mine {
                    let age = Some(Duration::ZERO);
                    group.shared.reply(request, Ok(Answer::Read { record, applied, age }));
                }
            }
        }
    }
    items.extend(waiting);
}
