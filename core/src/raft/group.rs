//! One Raft group as the replica sees it: its raft, its store, and the clients of this turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::ServerState;
use openraft::alias::{StoredMembershipOf, WatchReceiverOf};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::AppendEntriesResponse;
use openraft::{EmptyNode, RaftMetrics};

use super::executor::{self, lock};
use super::lease::Lease;
use super::log::Log;
use super::machine::Machine;
use super::marks::Marks;
use super::network::Network;
use super::rows::Rows;
use super::shared::{Forwarded, Shared, mono};
use super::snapshot::{Snapshots, stored_membership};
use super::{Raft, TypeConfig, convert, transfer};
use crate::command::Command;
use crate::config::Timing;
use crate::effect::Effect;
use crate::event::{DropReason, Event, Role};
use crate::input::RequestId;
use crate::limits;
use crate::message::{AppendReply, Body, Exchange, ForwardFailed, LogPosition, Message};
use crate::op_id::uuid7;
use crate::oplog::OpLog;
use crate::query::Query;
use crate::status::GroupStatus;
use crate::store::{Store, StoreView, keys};
use crate::types::{
    ActorId, GroupId, Instant, Namespace, NodeId, OpId, Record, ReplicaId, Sequence, Timestamp,
};
use crate::wal::frame::Record as WalRecord;
use crate::wal::recover::GroupImage;

pub(crate) mod compact;
pub(crate) mod expire;
pub(crate) mod hand_over;
pub(crate) mod local;
pub(crate) mod read;
pub(crate) mod repair;
pub(crate) mod retain;
pub(crate) mod write;

/// See the module.
pub struct Group {
    pub id: GroupId,
    pub namespace: Namespace,
    shared: Arc<Shared>,
    raft: Raft,
    log: Log,
    store: Arc<Mutex<Store>>,
    rows: Rows,
    snapshots: Arc<Snapshots>,
    marks: Arc<Marks>,
    purge_asked: Mutex<compact::Asked>,
    /// When this replica last tried to hand leadership over.
    handed_over: Mutex<Option<Instant>>,
    /// The last membership applied.
    membership: Arc<Mutex<StoredMembershipOf<TypeConfig>>>,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    /// What had been committed before the start: eventual reads never go back behind it.
    recovered: u64,
    level: Mutex<Level>,
    lease: Arc<Lease>,
    /// Session reads of what this replica has not applied yet.
    behind: local::Behind,
    stamp: Mutex<Stamp>,
    turn: Mutex<Turn>,
    seen: Mutex<Option<(Role, u64, Option<NodeId>)>>,
    repair: repair::Repair,
    expiry: Mutex<expire::Expiry>,
    retaining: Mutex<retain::Retaining>,
    /// Held once by each question of a peer that is being worked on.
    questions: Arc<()>,
}

/// What a group starts from.
#[derive(Default)]
pub struct Start {
    /// Its log.
    pub image: GroupImage,
    /// Its state as of its last checkpoint.
    pub store: Store,
    /// Bytes of that checkpoint's file, if there is one.
    pub checkpoint: Option<u64>,
}

/// When this replica last knew that it was level with its leader.
#[derive(Default)]
struct Level {
    /// What the leader had committed when it last spoke, and when that was.
    told: Option<(u64, Instant)>,
    at: Option<Instant>,
}

/// The leader's clock for committed time, from the first stamp of its term on.
#[derive(Default)]
struct Stamp {
    term: u64,
    from: Timestamp,
    at: Instant,
}

/// What came in during this turn; proposed together when it ends.
#[derive(Default)]
struct Turn {
    writes: Vec<write::Item>,
    reads: Vec<read::Item>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A client of this node.
    Client(RequestId),
    /// A peer that forwarded its clients' requests.
    Peer(ReplicaId, Exchange),
}

impl Origin {
    /// Whether somebody still waits. A client whose deadline has passed was told what it was told:
    /// its command must not be proposed after that.
    fn waits(&self, shared: &Shared) -> bool {
        match self {
            Origin::Client(request) => shared.is_live(*request) || planted!(ProposesAfterDeadline),
            Origin::Peer(..) => true,
        }
    }
}

impl Group {
    /// Starts the group's raft on the step's executor.
    pub async fn start(
        id: GroupId,
        namespace: Namespace,
        shared: Arc<Shared>,
        Start { image, store, checkpoint }: Start,
    ) -> Result<Group, String> {
        if image.namespace.is_none() {
            lock(&shared.writer).push(&WalRecord::Namespace(id, namespace.clone()));
        }
        let saved = applied_count(store.applied());
        let log = Log::new(id, shared.clone(), image, saved)?;
        let membership = Arc::new(Mutex::new(stored_membership(&store.meta())));
        let store = Arc::new(Mutex::new(store));
        let rows = Rows::new(id, shared.clone(), store.clone());
        let (cluster, group) = (shared.config.cluster.clone(), id);
        let origin = keys::Origin { cluster, group, namespace: namespace.clone() };
        let snapshots = Snapshots::new(origin, shared.clone(), store.clone(), checkpoint);
        let (snapshots, marks) = (Arc::new(snapshots), Arc::<Marks>::default());
        let machine = Machine {
            group: id,
            shared: shared.clone(),
            store: store.clone(),
            log: log.clone(),
            rows: rows.clone(),
            snapshots: snapshots.clone(),
            marks: marks.clone(),
            membership: Arc::clone(&membership),
        };
        let lease = Arc::new(Lease::new(shared.config.timing.clone(), log.vote()));
        let network = Network {
            group: id,
            shared: shared.clone(),
            lease: lease.clone(),
            snapshots: snapshots.clone(),
            marks: marks.clone(),
        };
        let config = raft_config(&shared.config.timing, &namespace);
        let config = Arc::new(config.validate().map_err(|error| error.to_string())?);
        let recovered = log.committed().max(saved);
        #[cfg(sim_mutant)]
        crate::mutant::sabotage::prepare(&mut lock(&store), recovered);
        machine.begin();
        let raft = Raft::new(shared.replica, config, network, log.clone(), machine)
            .await
            .map_err(|error| error.to_string())?;
        let metrics = raft.metrics();
        let (level, behind, stamp, turn, seen) = Default::default();
        let (purge_asked, handed_over, repair, questions, expiry, retaining) = Default::default();
        Ok(Group {
            id,
            namespace,
            shared,
            raft,
            log,
            store,
            rows,
            snapshots,
            marks,
            purge_asked,
            handed_over,
            membership,
            metrics,
            recovered,
            level,
            lease,
            behind,
            stamp,
            turn,
            seen,
            repair,
            expiry,
            retaining,
            questions,
        })
    }

    /// Whether this replica has neither an entry nor a vote of the group.
    pub fn is_pristine(&self) -> bool {
        self.log.is_pristine()
    }

    /// Whether this replica has a vote, by the last membership that it has applied.
    pub fn is_voter(&self) -> bool {
        let me = self.shared.replica;
        lock(&self.membership).voter_ids().any(|voter| voter == me)
    }

    /// Writes the first entry of a new group, its voters; only its founder does (ADR 9).
    pub fn found(&self, voters: Vec<ReplicaId>) {
        let voters = voters.into_iter().map(|replica| (replica, EmptyNode {}));
        let voters: BTreeMap<ReplicaId, EmptyNode> = voters.collect();
        let raft = self.raft.clone();
        // Waits for the disk, so not here. Refused when it was written already.
        executor::spawn(async move {
            raft.initialize(voters).await.ok();
        });
    }

    // ---- in -----------------------------------------------------------------------------------

    /// A client's write.
    pub fn write(&self, request: RequestId, command: Command) {
        let item =
            write::Item { origin: Origin::Client(request), commands: vec![command], _room: None };
        lock(&self.turn).writes.push(item);
    }

    /// A client's read that sees everything acknowledged before it.
    pub fn read(&self, request: RequestId, query: Query, lease: bool) {
        let origin = Origin::Client(request);
        let item = read::Item { origin, queries: vec![query], lease, _room: None };
        lock(&self.turn).reads.push(item);
    }

    /// The store's rows cannot be read: nothing this replica says is to be trusted.
    fn unreadable(&self, error: &std::io::Error) {
        let reason = format!("the rows of namespace `{}` cannot be read: {error}", self.namespace);
        let damaged = self.shared.is_damaged();
        self.shared.emit(Effect::Fatal { reason, damaged });
    }

    /// A peer's message; answers have been handed over already.
    ///
    /// # Errors
    /// [`DropReason::Busy`] when as many questions as may be are being worked on: a disk that
    /// stands still must not let them pile up.
    pub fn message(self: &Arc<Group>, message: Message) -> Result<(), DropReason> {
        let (from, exchange) = (message.from, message.exchange);
        let origin = Origin::Peer(from, exchange);
        let answer = move |group: &Group, body| group.shared.answer(from, group.id, exchange, body);
        match message.body {
            body @ (Body::Append(_)
            | Body::AskVote(_)
            | Body::AskPreVote(_)
            | Body::Snapshot(_)
            | Body::Transfer(_)) => {
                if Arc::strong_count(&self.questions) > limits::QUESTIONS_MAX {
                    return Err(DropReason::Busy);
                }
                let (group, open) = (self.clone(), self.questions.clone());
                executor::spawn(async move {
                    if let Some(body) = group.question(body).await {
                        answer(&group, body);
                    }
                    drop(open);
                });
            }
            Body::ForwardWrite { commands } => match self.room(&commands) {
                None => answer(self, Body::ForwardWriteReply(Err(ForwardFailed::Busy))),
                room => lock(&self.turn).writes.push(write::Item { origin, commands, _room: room }),
            },
            Body::ForwardRead { queries, lease } => match self.shared.forwarded(queries.len()) {
                None => answer(self, Body::ForwardReadReply(Err(ForwardFailed::Busy))),
                room => {
                    let item = read::Item { origin, queries, lease, _room: room };
                    lock(&self.turn).reads.push(item);
                }
            },
            Body::AppendReply(_)
            | Body::VoteReply(_)
            | Body::PreVoteReply(_)
            | Body::SnapshotReply(_)
            | Body::TransferReply
            | Body::ForwardWriteReply(_)
            | Body::ForwardReadReply(_)
            | Body::Hello
            | Body::HelloReply { .. } => {}
        }
        Ok(())
    }

    /// Room for forwarded writes, if the log has some too.
    fn room(&self, commands: &[Command]) -> Option<Forwarded> {
        match self.shared.no_room_for(commands.iter()) {
            Some(_) => None,
            None => self.shared.forwarded(commands.len()),
        }
    }

    async fn question(&self, body: Body) -> Option<Body> {
        #[cfg(sim_mutant)]
        let body = crate::mutant::sabotage::mishear(body);
        match body {
            Body::Append(append) => Some(Body::AppendReply(self.append(append).await)),
            // As if the question had been lost.
            Body::AskVote(ask) | Body::AskPreVote(ask) if !self.lease.allows(&ask) => None,
            Body::AskVote(ask) => {
                let response = self.raft.vote(convert::vote_request(ask)).await.ok()?;
                Some(Body::VoteReply(convert::vote_reply(&response)))
            }
            Body::AskPreVote(ask) => {
                let response = self.raft.pre_vote(convert::vote_request(ask)).await.ok()?;
                Some(Body::PreVoteReply(convert::vote_reply(&response)))
            }
            Body::Transfer(ask) => {
                self.raft
                    .handle_transfer_leader(convert::transfer_request(ask))
                    .await
                    .ok()?
                    .ok()?;
                Some(Body::TransferReply)
            }
            Body::Snapshot(chunk) => transfer::receive(self, chunk).await.map(Body::SnapshotReply),
            Body::AppendReply(_)
            | Body::VoteReply(_)
            | Body::PreVoteReply(_)
            | Body::SnapshotReply(_)
            | Body::TransferReply
            | Body::ForwardWrite { .. }
            | Body::ForwardWriteReply(_)
            | Body::ForwardRead { .. }
            | Body::ForwardReadReply(_)
            | Body::Hello
            | Body::HelloReply { .. } => None,
        }
    }

    async fn append(&self, append: crate::message::Append) -> AppendReply {
        let commit = append.commit.map_or(0, |commit| commit.index + 1);
        let heard = mono();
        let (mark, leader) = (append.mark, append.vote.node.node);
        // As if it had been lost: the reserve is for what makes room.
        // A new leader also asks with entries that are here already.
        let needs_room = append
            .entries
            .iter()
            .any(|entry| entry.payload.needs_room() && !self.log.has(entry.position));
        if needs_room && lock(&self.shared.health).is_critical() {
            return AppendReply::Failed;
        }
        let term = append.vote.term;
        let Some(request) = convert::append_request(append) else { return AppendReply::Failed };
        // Before openraft takes it in: no vote may come between. Nothing is promised to a leader of
        // the past, which gets no acknowledgement.
        if self.log.vote().is_none_or(|vote| vote.term <= term) {
            self.lease.promise(term);
        }
        let Ok(response) = self.raft.append_entries(request).await else {
            return AppendReply::Failed;
        };
        if matches!(response, AppendEntriesResponse::Success) {
            if let Some(mark) = mark {
                self.marks.heard(&self.shared, self.id, leader, mark);
            }
            let mut level = lock(&self.level);
            // One that was overtaken on its way tells less than is known.
            if level.told.is_none_or(|(known, _)| commit >= known) {
                level.told = Some((commit, heard));
            }
        }
        convert::append_reply(&response)
    }

    /// Proposes what came in during this turn: all commands that were waiting become one entry,
    /// all reads one read index.
    pub fn end_turn(self: &Arc<Group>) {
        let Turn { writes, reads } = std::mem::take(&mut *lock(&self.turn));
        let mut batch = Vec::new();
        let (mut commands, mut bytes) = (0, 0);
        // An entry is one frame of the log.
        let segment = lock(&self.shared.writer).segment_bytes();
        let quarter = usize::try_from(segment / 4).unwrap_or(usize::MAX);
        let bytes_max = limits::BATCH_BYTES_MAX.min(quarter);
        for item in writes {
            commands += item.writes();
            bytes += item.commands.iter().map(Command::bytes).sum::<usize>();
            batch.push(item);
            if commands >= limits::BATCH_COMMANDS_MAX || bytes >= bytes_max {
                (commands, bytes) = (0, 0);
                executor::spawn(write::propose(self.clone(), std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            executor::spawn(write::propose(self.clone(), batch));
        }
        read::begin(self, reads);
    }

    // ---- out ----------------------------------------------------------------------------------

    /// Looks at what the step has changed: role, level, a raft that has stopped.
    pub fn end_step(&self) {
        let metrics = self.metrics.borrow_watched();
        if let Err(fatal) = &metrics.running_state {
            let reason = format!("consensus of namespace `{}` stopped: {fatal}", self.namespace);
            self.shared.emit(Effect::Fatal { reason, damaged: self.shared.is_damaged() });
        }
        let leader = metrics.current_leader.map(|leader| leader.node);
        let role = (role(metrics.state), metrics.current_term, leader);
        let leads = role.0 == Role::Leader;
        self.repair.leads(leads.then_some(role.1));
        // A leader without other voters is its own quorum, at any time.
        let alone = metrics.membership_config.membership().voter_ids().count() == 1;
        let quorum_acked =
            metrics.last_quorum_acked.map(openraft::metrics::SerdeInstant::into_inner);
        drop(metrics);
        let mut seen = lock(&self.seen);
        if *seen != Some(role) {
            *seen = Some(role);
            let (role, term, leader) = role;
            self.shared.emit(Effect::Event(Event::Role { group: self.id, role, term, leader }));
        }
        let applied = applied_count(lock(&self.store).applied());
        let mut level = lock(&self.level);
        if leads && applied >= self.log.committed() {
            level.at = level.at.max(if alone { Some(mono()) } else { quorum_acked });
        } else if let Some((_, at)) = level.told.filter(|(commit, _)| applied >= *commit) {
            level.at = level.at.max(Some(at));
        }
        drop(level);
        self.compact();
        if leads {
            self.hand_over();
        }
    }

    /// See [`GroupStatus`].
    pub fn status(&self) -> GroupStatus {
        let metrics = self.metrics.borrow_watched();
        let store = lock(&self.store);
        let committed = metrics.local_committed.map_or(0, |committed| committed.index + 1);
        let members = convert::members(lock(&self.membership).membership());
        let voters: BTreeSet<ReplicaId> = members.configs.iter().flatten().copied().collect();
        GroupStatus {
            group: self.id,
            namespace: self.namespace.clone(),
            role: role(metrics.state),
            term: metrics.current_term,
            leader: metrics.current_leader.map(|leader| leader.node),
            learners: members.learners().collect(),
            joining: !voters.is_empty() && !voters.contains(&self.shared.replica),
            voters: voters.into_iter().collect(),
            head: self.log.head(),
            commit: committed.max(self.log.committed()),
            applied: applied_count(store.applied()),
            sequence: store.sequence(),
            committed_time: store.committed_time(),
            actors: usize::try_from(store.actors()).unwrap_or(usize::MAX),
            oplog_live: store.oplog().len(),
            oplog_replays: store.oplog().replays(),
            sessions: store.oplog().sessions(),
            state_hash: store.state_hash(),
            checkpoint: self.snapshots.covers(),
            first: self.log.first(),
            diverged: self.marks.diverged(),
        }
    }

    /// Named invariants, after every step.
    pub fn check(&self) {
        self.log.check();
        let store = lock(&self.store);
        store.check();
        let (applied, committed) = (applied_count(store.applied()), self.log.committed());
        assert!(applied <= committed, "applied_le_commit_le_head: {applied} > {committed}");
        let head = self.log.head();
        assert!(committed <= head, "applied_le_commit_le_head: {committed} > {head}");
        drop(store);
        self.check_behind(&self.shared);
    }

    /// How many entries and which change this replica has applied.
    fn applied(&self) -> (u64, Sequence) {
        let store = lock(&self.store);
        (applied_count(store.applied()), store.sequence())
    }

    /// A look at everything applied; `None` where the rows are in a backend.
    pub fn view(&self) -> Option<StoreView> {
        let store = lock(&self.store);
        (!store.is_cached()).then(|| store.view())
    }

    /// Every actor, in order of id.
    pub fn dump(&self) -> Vec<(ActorId, Record)> {
        let view = lock(&self.store).view();
        view.rows(None).map(|(id, record)| (id.clone(), record.clone())).collect()
    }

    /// A name for a write that came without one. Its time is the wall clock's, kept between what
    /// the op-log has forgotten and what committed time allows, so that a wrong clock here spoils
    /// nobody's names, this one's included.
    pub fn name(&self) -> OpId {
        OpId::Timed(self.mint(|oplog| oplog.floor()))
    }

    /// A new session, by the same rule.
    pub fn session(&self) -> u128 {
        self.mint(OpLog::session_floor)
    }

    fn mint(&self, floor: impl FnOnce(&OpLog) -> Timestamp) -> u128 {
        let wall = executor::now().wall;
        let store = lock(&self.store);
        let slack = u64::try_from(limits::COMMITTED_TIME_SLACK.as_millis()).unwrap_or(u64::MAX);
        let latest = match store.committed_time() {
            Timestamp(0) => wall,
            committed => Timestamp(committed.0.saturating_add(slack)),
        };
        let earliest = Timestamp(floor(store.oplog()).0.saturating_add(1));
        uuid7(wall.min(latest).max(earliest), executor::random(crate::seed::Rng::u128))
    }

    // ---- shared by reads and writes -----------------------------------------------------------

    /// Asks `leader`; `None` when it did not answer, or leads no more.
    async fn forward(&self, leader: ReplicaId, body: Body) -> Option<Body> {
        use openraft::async_runtime::{AsyncRuntime, Select2};
        let deadline = mono().after(FORWARD_TIMEOUT);
        let asked = self.shared.ask(leader, self.id, body, deadline);
        match super::runtime::Runtime::select2(asked, self.leader_left(leader)).await {
            Select2::First(answer) => answer,
            Select2::Second(()) => None,
        }
    }

    async fn leader_left(&self, leader: ReplicaId) {
        let mut metrics = self.metrics.clone();
        while metrics.borrow_watched().current_leader == Some(leader) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ok when this replica leads and has applied its term's first entry, and so everything before
    /// it: only then does it know the committed time that its stamps go on from. Else who may lead.
    fn may_propose(&self) -> Result<(), Option<ReplicaId>> {
        let metrics = self.metrics.borrow_watched();
        if role(metrics.state) != Role::Leader {
            return Err(metrics.current_leader);
        }
        let applied = lock(&self.store).applied();
        let ready = planted!(ProposesBeforeApplied)
            || applied.is_some_and(|applied| applied.term == metrics.current_term);
        if ready { Ok(()) } else { Err(None) }
    }

    /// The leader's stamp for a batch: its wall clock, but never backwards, and within a term no
    /// further than twice what its monotonic clock has run plus [`limits::COMMITTED_TIME_SLACK`]:
    /// time that stood still while the cluster was down is caught up with, and a wall clock that is
    /// days ahead cannot make everything old at once (ADR 4).
    fn stamp(&self) -> Timestamp {
        let now = executor::now();
        let term = self.metrics.borrow_watched().current_term;
        let committed = lock(&self.store).committed_time();
        if planted!(CommittedTimeUnbounded) {
            return committed.max(now.wall);
        }
        let mut stamp = lock(&self.stamp);
        if stamp.term != term {
            let from = if committed == Timestamp(0) { now.wall } else { committed };
            *stamp = Stamp { term, from, at: now.mono };
        }
        let run = now.mono.since(stamp.at) * 2 + limits::COMMITTED_TIME_SLACK;
        let bound = stamp.from.0.saturating_add(u64::try_from(run.as_millis()).unwrap_or(u64::MAX));
        committed.max(Timestamp(now.wall.0.min(bound)))
    }
}

/// How long one attempt at a forwarded request may take before it is tried anew.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two attempts, while there is no leader to ask.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

fn applied_count(applied: Option<LogPosition>) -> u64 {
    applied.map_or(0, |applied| applied.index + 1)
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower | ServerState::Shutdown => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
    }
}

fn raft_config(timing: &Timing, namespace: &Namespace) -> openraft::Config {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    openraft::Config {
        cluster_name: namespace.as_str().to_owned(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        max_payload_entries: limits::APPEND_ENTRIES_MAX,
        // When to make one and what to purge is decided in `Group::compact`, by bytes too.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // With it a leader that lost its unsynced tail leads on in the same term, and gives an
        // index it has forgotten to another command (ADR 1; planted bug `leader_restore`).
        enable_leader_restore: if planted!(LeaderRestore) { None } else { Some(false) },
        allow_log_reversion: Some(false),
        backoff: "20ms 40ms 80ms ...200ms".to_owned(),
        ..openraft::Config::default()
    }
}
