//! The leader's side of a repair: what it knows, the step that [`crate::repair`] takes from it, and
//! the call that makes it. One call at a time; what becomes of it shows in the membership, so a
//! leader that ends in the middle of one leaves nothing undone that the next does not see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{ChangeMembers, EmptyNode, Precondition};

use super::Group;
use crate::effect::Effect;
use crate::event::{Event, RepairStep};
use crate::limits;
use crate::raft::executor::{self, lock};
use crate::raft::runtime::timeout_at;
use crate::raft::shared::mono;
use crate::raft::{LogId, TypeConfig, convert};
use crate::repair::{Progress, Step, View};
use crate::types::{Incarnation, Instant, NodeId, ReplicaId};

/// What a leader remembers of its repairs.
#[derive(Default)]
pub struct Repair {
    /// The term it leads, and since when.
    led: Mutex<Option<(u64, Instant)>>,
    /// When it looks again.
    next: Mutex<Instant>,
    /// Held by the call that is under way.
    call: Arc<()>,
}

impl Repair {
    /// Notes the term that this replica leads, if it does.
    pub fn leads(&self, term: Option<u64>) {
        let mut led = lock(&self.led);
        if led.map(|(term, _)| term) != term {
            *led = term.map(|term| (term, mono()));
        }
    }
}

impl Group {
    /// Takes the next step of a repair, if this replica leads and there is one. `shown` are the data
    /// folders that members have shown lately.
    pub fn repair(self: &Arc<Group>, shown: &BTreeMap<NodeId, Incarnation>) {
        let Some((_, since)) = *lock(&self.repair.led) else { return };
        if mono() < *lock(&self.repair.next) || Arc::strong_count(&self.repair.call) > 1 {
            return;
        }
        let Some((step, membership)) = self.next_step(shown, since) else { return };
        *lock(&self.repair.next) = mono().after(limits::REPAIR_PAUSE);
        let (group, call) = (self.clone(), self.repair.call.clone());
        executor::spawn(async move {
            group.make(step, membership).await;
            drop(call);
        });
    }

    /// The step, and the membership it was decided on.
    fn next_step(
        &self,
        shown: &BTreeMap<NodeId, Incarnation>,
        since: Instant,
    ) -> Option<(Step, Option<LogId>)> {
        // Before it has applied its term's first entry it may not know the last membership.
        self.may_propose().ok()?;
        let metrics = self.metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let members = convert::members(stored.membership());
        if shown.is_empty() && members.configs.len() == 1 && members.learners().next().is_none() {
            return None;
        }
        let (heard, matched) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let progress = |&replica: &ReplicaId| {
            let heard = heard.get(&replica).copied().flatten().map(|heard| heard.into_inner());
            let matched = matched.get(&replica).copied().flatten();
            let progress = Progress {
                heard: heard.map(|at| mono().since(at)),
                silent: mono().since(heard.map_or(since, |at| at.max(since))),
                matched: matched.map_or(0, |matched| matched.index + 1),
            };
            (replica, progress)
        };
        let replicas = members.nodes.iter().map(progress).collect();
        let view = View {
            me: self.shared.replica,
            nodes: &self.shared.config.nodes,
            members: &members,
            committed: metrics.committed_membership_config.log_id() == stored.log_id(),
            head: metrics.last_log_index.map_or(0, |last| last + 1),
            replicas: &replicas,
            shown,
            timing: &self.shared.config.timing,
        };
        Some((view.next()?, *stored.log_id()))
    }

    /// Makes `step`, unless the membership is no longer the one that it was decided on. Whatever
    /// openraft answers but success is met by looking again: it leads no more, another change is
    /// under way, or nobody knows yet.
    async fn make(&self, step: Step, membership: Option<LogId>) {
        let change = match &step {
            Step::Settle => ChangeMembers::AddVoterIds([].into()),
            Step::Drop(learner) => ChangeMembers::RemoveNodes([*learner].into()),
            Step::Add(replica) => ChangeMembers::AddNodes([(*replica, EmptyNode {})].into()),
            Step::Promote { voters, .. } => {
                ChangeMembers::ReplaceAllVoters(voters.iter().copied().collect())
            }
        };
        let decided_on =
            Precondition::<TypeConfig>::LastMembershipLogId { last_membership_log_id: membership };
        // Whoever has no vote any more is a member no more.
        let retain = false;
        let call = self.raft.change_membership_if(change, retain, [decided_on]);
        let deadline = mono().after(limits::REPAIR_TIMEOUT);
        if !timeout_at(deadline, call).await.is_ok_and(|made| made.is_ok()) {
            return;
        }
        let step = match step {
            Step::Settle => RepairStep::Settled,
            Step::Drop(learner) => RepairStep::Dropped(learner),
            Step::Add(replica) => RepairStep::Added(replica),
            Step::Promote { learner, .. } => RepairStep::Promoted(learner),
        };
        self.shared.emit(Effect::Event(Event::Repair { group: self.id, step }));
    }
}
