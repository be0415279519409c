//! Between openraft's structs and ours, whose bytes we own.

use std::collections::{BTreeMap, BTreeSet};

use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, EntryPayload, Membership};

use super::{Entry, LogId, RaftMembership, RaftVote, TypeConfig};
use crate::message::{
    Append, AppendReply, AskVote, LogEntry, LogPosition, Members, Payload, StateMark, Transfer,
    Vote, VoteReply,
};

pub fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

pub fn log_id(position: LogPosition) -> LogId {
    LogId { leader_id: position.term.into(), index: position.index }
}

pub fn vote(vote: &RaftVote) -> Vote {
    let LeaderId { term, voted_for } = vote.leader_id;
    Vote { term, node: voted_for, committed: vote.committed }
}

pub fn raft_vote(vote: Vote) -> RaftVote {
    let leader_id = LeaderId { term: vote.term, voted_for: vote.node };
    RaftVote { leader_id, committed: vote.committed }
}

pub fn log_entry(entry: &Entry) -> LogEntry {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(batch) => Payload::Batch(batch.clone()),
        EntryPayload::Membership(membership) => Payload::Membership(members(membership)),
    };
    LogEntry { position: position(&entry.log_id), payload }
}

pub fn members(membership: &RaftMembership) -> Members {
    let configs = membership.get_joint_config().iter();
    Members {
        configs: configs.map(|voters| voters.iter().copied().collect()).collect(),
        nodes: membership.nodes().map(|(node, _)| *node).collect(),
    }
}

/// `None` for one that openraft would not accept.
pub fn membership(members: Members) -> Option<RaftMembership> {
    let configs: Vec<BTreeSet<_>> =
        members.configs.into_iter().map(|voters| voters.into_iter().collect()).collect();
    let nodes: BTreeMap<_, _> =
        members.nodes.into_iter().map(|node| (node, EmptyNode {})).collect();
    Membership::new(configs, nodes).ok()
}

/// `None` for a membership that openraft would not accept.
pub fn entry(entry: LogEntry) -> Option<Entry> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Batch(batch) => EntryPayload::Normal(batch),
        Payload::Membership(members) => EntryPayload::Membership(membership(members)?),
    };
    Some(Entry { log_id: log_id(entry.position), payload })
}

pub fn append(request: &AppendEntriesRequest<TypeConfig>, mark: Option<StateMark>) -> Append {
    Append {
        vote: vote(&request.vote),
        previous: request.prev_log_id.as_ref().map(position),
        entries: request.entries.iter().map(log_entry).collect(),
        commit: request.leader_commit.as_ref().map(position),
        mark,
    }
}

/// `None` when an entry is not one openraft would accept.
pub fn append_request(append: Append) -> Option<AppendEntriesRequest<TypeConfig>> {
    Some(AppendEntriesRequest {
        vote: raft_vote(append.vote),
        prev_log_id: append.previous.map(log_id),
        entries: append.entries.into_iter().map(entry).collect::<Option<_>>()?,
        leader_commit: append.commit.map(log_id),
    })
}

pub fn append_reply(response: &AppendEntriesResponse<TypeConfig>) -> AppendReply {
    match response {
        AppendEntriesResponse::Success => AppendReply::Success,
        AppendEntriesResponse::PartialSuccess(upto) => {
            AppendReply::Partial(upto.as_ref().map(position))
        }
        AppendEntriesResponse::Conflict => AppendReply::Conflict,
        AppendEntriesResponse::HigherVote(higher) => AppendReply::HigherVote(vote(higher)),
    }
}

/// `None` for [`AppendReply::Failed`].
pub fn append_response(reply: AppendReply) -> Option<AppendEntriesResponse<TypeConfig>> {
    Some(match reply {
        AppendReply::Success => AppendEntriesResponse::Success,
        AppendReply::Partial(upto) => AppendEntriesResponse::PartialSuccess(upto.map(log_id)),
        AppendReply::Conflict => AppendEntriesResponse::Conflict,
        AppendReply::HigherVote(higher) => AppendEntriesResponse::HigherVote(raft_vote(higher)),
        AppendReply::Failed => return None,
    })
}

pub fn ask_vote(request: &VoteRequest<TypeConfig>) -> AskVote {
    AskVote {
        vote: vote(&request.vote),
        last: request.last_log_id.as_ref().map(position),
        transfer: request.leadership_transfer,
    }
}

pub fn vote_request(ask: AskVote) -> VoteRequest<TypeConfig> {
    let mut request = VoteRequest::new(raft_vote(ask.vote), ask.last.map(log_id));
    request.leadership_transfer = ask.transfer;
    request
}

pub fn transfer(request: &TransferLeaderRequest<TypeConfig>) -> Transfer {
    Transfer {
        vote: vote(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(position),
    }
}

pub fn transfer_request(ask: Transfer) -> TransferLeaderRequest<TypeConfig> {
    TransferLeaderRequest::new(raft_vote(ask.vote), ask.to, ask.last.map(log_id))
}

pub fn vote_reply(response: &VoteResponse<TypeConfig>) -> VoteReply {
    VoteReply {
        vote: vote(&response.vote),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(position),
    }
}

pub fn vote_response(reply: VoteReply) -> VoteResponse<TypeConfig> {
    VoteResponse {
        vote: raft_vote(reply.vote),
        vote_granted: reply.granted,
        last_log_id: reply.last.map(log_id),
    }
}
