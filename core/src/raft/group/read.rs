//! Linearizable reads: one read index for all that wait together. A replica that does not
//! lead forwards to the leader; one without a quorum never answers.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::AsyncRuntime as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{LinearizableReadError, RaftError};

use super::{Group, Origin, RETRY_PAUSE, applied_count};
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::limits;
use crate::message::{Body, ForwardFailed};
use crate::query::{Query, Seen};
use crate::raft::convert;
use crate::raft::executor::{self, lock};
use crate::raft::runtime::{Runtime, timeout_at};
use crate::raft::shared::{Forwarded, mono};
use crate::types::ReplicaId;

/// What is read together.
pub struct Item {
    pub origin: Origin,
    pub queries: Vec<Query>,
    /// The leader's lease will do.
    pub lease: bool,
    /// Held until the answer, for a peer's.
    pub _room: Option<Forwarded>,
}

/// Reads what the turn brought: what a lease allows at once, the rest behind a read index.
pub fn begin(group: &Arc<Group>, items: Vec<Item>) {
    let holds = items.iter().any(|item| item.lease) && group.holds_lease();
    let (now, later): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.lease && holds);
    if !now.is_empty() {
        let reads = now.iter().map(|item| item.queries.len()).sum();
        group.shared.emit(Effect::Event(Event::LeaseReads { group: group.id, reads }));
        executor::spawn(answer_all(group.clone(), now));
    }
    if !later.is_empty() {
        executor::spawn(read(group.clone(), later));
    }
}

async fn answer_all(group: Arc<Group>, items: Vec<Item>) {
    for item in items {
        if let Err(error) = answer_here(&group, item).await {
            return group.unreadable(&error);
        }
    }
}

impl Group {
    /// Whether this replica leads, nobody else can, and it has applied all that was committed by
    /// then. That it leads is asked of the vote in its log: no other vote of its own can have left.
    fn holds_lease(&self) -> bool {
        let Some(vote) = self.log.vote() else { return false };
        let applied = lock(&self.store).applied();
        let leads = vote.committed && vote.node == self.shared.replica;
        let metrics = self.metrics.borrow_watched();
        let committed = metrics.local_committed.map_or(0, |committed| committed.index + 1);
        let is_level = applied_count(applied) >= committed.max(self.log.committed())
            && applied.is_some_and(|applied| applied.term == vote.term);
        let members = convert::members(metrics.membership_config.membership());
        leads && is_level && self.lease.is_held(vote.term, self.shared.replica, &members)
    }
}

/// See the module.
async fn read(group: Arc<Group>, mut items: Vec<Item>) {
    loop {
        items.retain(|item| item.origin.waits(&group.shared));
        if items.is_empty() {
            return;
        }
        let hint = match confirm(&group).await {
            Ok(()) => return answer_all(group, items).await,
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
            && let Some(seen) = ask_there(&group, leader, &items).await
        {
            distribute(&group, &mut items, seen);
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

/// Answers to the first queries, as many as the leader gave.
async fn ask_there(group: &Group, leader: ReplicaId, items: &[Item]) -> Option<Vec<Seen>> {
    let queries = || items.iter().flat_map(|item| &item.queries);
    let lease = items.iter().all(|item| item.lease);
    let body = Body::ForwardRead { queries: queries().cloned().collect(), lease };
    match group.forward(leader, body).await? {
        Body::ForwardReadReply(Ok(seen)) => {
            let is_all = seen.len() <= queries().count() && !seen.is_empty();
            let fits = queries().zip(&seen).all(|(query, seen)| query.fits(&seen.found));
            (is_all && fits).then_some(seen)
        }
        _ => None,
    }
}

async fn answer_here(group: &Group, item: Item) -> std::io::Result<()> {
    let mut bytes = 0;
    let mut all = Vec::with_capacity(item.queries.len());
    for query in &item.queries {
        let seen = group.rows.look(query).await?;
        bytes += seen.found.bytes();
        // A peer asks again for what does not fit into one answer.
        if bytes > limits::ANSWER_BYTES_MAX && !all.is_empty() {
            break;
        }
        all.push(seen);
    }
    distribute(group, &mut vec![item], all);
    Ok(())
}

/// Answers the items of which all was seen, in order; those behind them stay.
fn distribute(group: &Group, items: &mut Vec<Item>, seen: Vec<Seen>) {
    let mut seen = seen.into_iter();
    let waiting = std::mem::take(items);
    let mut waiting = waiting.into_iter();
    while seen.len() > 0
        && let Some(item) = waiting.next()
    {
        let mine: Vec<_> = seen.by_ref().take(item.queries.len()).collect();
        match item.origin {
            Origin::Peer(from, exchange) => {
                group.shared.answer(from, group.id, exchange, Body::ForwardReadReply(Ok(mine)));
            }
            Origin::Client(request) => {
                for seen in mine {
                    group.shared.reply(request, Ok(Answer::saw(seen, Some(Duration::ZERO))));
                }
            }
        }
    }
    items.extend(waiting);
}
