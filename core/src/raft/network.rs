//! openraft's network: a call is a question to a peer with a deadline of its own. Without one, a
//! lost reply would hold up replication for good.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend};

use super::lease::Lease;
use super::marks::Marks;
use super::shared::{Shared, mono};
use super::snapshot::{Handle, Snapshots};
use super::{TypeConfig, convert, transfer};
use crate::message::Body;
use crate::types::{GroupId, ReplicaId};

/// Makes a [`Peer`] for each target.
pub struct Network {
    pub group: GroupId,
    pub shared: Arc<Shared>,
    pub lease: Arc<Lease>,
    pub snapshots: Arc<Snapshots>,
    pub marks: Arc<Marks>,
}

/// The way to one peer.
pub struct Peer {
    group: GroupId,
    shared: Arc<Shared>,
    lease: Arc<Lease>,
    snapshots: Arc<Snapshots>,
    marks: Arc<Marks>,
    target: ReplicaId,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: ReplicaId, _node: &EmptyNode) -> Peer {
        let (shared, snapshots) = (self.shared.clone(), self.snapshots.clone());
        let (marks, lease) = (self.marks.clone(), self.lease.clone());
        Peer { group: self.group, shared, lease, snapshots, marks, target }
    }
}

impl Peer {
    async fn ask(&self, body: Body, timeout: Duration) -> Result<Body, RPCError<TypeConfig>> {
        let answer = self.shared.ask(self.target, self.group, body, mono().after(timeout)).await;
        answer.ok_or_else(|| network_error("no answer in time"))
    }
}

fn network_error(what: &str) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&io::Error::other(what)))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Handle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        // openraft gives replication one heartbeat's time. A follower's disk may take longer, and
        // asking again would only add to its work.
        let timeout = if request.entries.is_empty() {
            option.soft_ttl()
        } else {
            self.shared.config.timing.election_min
        };
        let body = Body::Append(convert::append(&request, self.marks.newest()));
        let (term, asked) = (convert::vote(&request.vote).term, mono());
        let Body::AppendReply(reply) = self.ask(body, timeout).await? else {
            return Err(network_error("an answer to another question"));
        };
        if reply.acknowledges() {
            self.lease.acknowledged(term, self.target, asked);
        }
        let failed = || network_error("the peer could not handle it");
        convert::append_response(reply).ok_or_else(failed)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = convert::ask_vote(&request);
        // Its own vote counts too.
        if !self.lease.allows(&ask) {
            return Err(network_error("this replica keeps to its leader"));
        }
        let body = Body::AskVote(ask);
        match self.ask(body, option.soft_ttl()).await? {
            Body::VoteReply(reply) => Ok(convert::vote_response(reply)),
            _ => Err(network_error("an answer to another question")),
        }
    }

    /// openraft's default grants without asking; a node that is cut off would win every pre-vote.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = Body::AskPreVote(convert::ask_vote(&request));
        match self.ask(body, option.soft_ttl()).await? {
            Body::PreVoteReply(reply) => Ok(convert::vote_response(reply)),
            _ => Err(network_error("an answer to another question")),
        }
    }

    /// openraft's default does nothing: the others would wait until the leader is silent.
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = convert::transfer(&request);
        self.lease.hands_over(ask.vote.term);
        let body = Body::Transfer(ask);
        match self.ask(body, option.soft_ttl()).await? {
            Body::TransferReply => Ok(Ok(())),
            _ => Err(network_error("an answer to another question")),
        }
    }

    /// A chunk at a time, from the disk; see [`transfer`].
    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Handle>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let again =
            |what: &str| StreamingError::Network(NetworkError::new(&io::Error::other(what)));
        let told = snapshot.meta.last_log_id.map(|last| last.index);
        let whole = match snapshot.snapshot {
            Handle::Whole(whole) | Handle::Received(whole, _) => whole,
            Handle::Outside => match self.snapshots.export(told).await {
                Ok(whole) => whole,
                Err(error) => {
                    transfer::not_exported().await;
                    return Err(again(&error.to_string()));
                }
            },
        };
        let (shared, vote) = (self.shared.clone(), convert::vote(&vote));
        let _awaited = whole.position().map(|at| self.snapshots.sending(at.index));
        let sending = transfer::send(&shared, self.group, self.target, vote, &whole);
        match transfer::send_until(sending, cancel).await {
            Ok(Ok(vote) | Err(transfer::Failed::HigherVote(vote))) => {
                Ok(SnapshotResponse::new(convert::raft_vote(vote)))
            }
            Ok(Err(transfer::Failed::Again)) => Err(again("the snapshot did not arrive")),
            Err(closed) => Err(StreamingError::Closed(closed)),
        }
    }
}
