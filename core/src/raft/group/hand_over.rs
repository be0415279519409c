//! A leader whose disk is slow or nearly full lets somebody else lead; see [`crate::health`].

use openraft::async_runtime::watch::WatchReceiver as _;

use super::Group;
use crate::effect::Effect;
use crate::event::Event;
use crate::limits;
use crate::raft::executor::{self, lock};
use crate::raft::shared::mono;
use crate::types::ReplicaId;

impl Group {
    /// Lets somebody else lead whose disk is well, if this replica's is not. From its word on this
    /// leader sends no heartbeats, so if the word is lost the others elect somebody in their time.
    pub(super) fn hand_over(&self) {
        let now = mono();
        let due = lock(&self.handed_over).is_none_or(|at| now.since(at) >= limits::HAND_OVER_EVERY);
        if !due || !lock(&self.shared.health).is_ailing(now) {
            return;
        }
        let Some(to) = self.fit_to_lead() else { return };
        *lock(&self.handed_over) = Some(now);
        let event = Event::HandsOver { group: self.id, to: to.node };
        self.shared.emit(Effect::Event(event));
        let raft = self.raft.clone();
        executor::spawn(async move {
            raft.trigger().transfer_leader(to).await.ok();
        });
    }

    /// A voter that is well, answers, and has everything this leader has.
    fn fit_to_lead(&self) -> Option<ReplicaId> {
        let metrics = self.metrics.borrow_watched();
        let (heard, matched) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let health = lock(&self.shared.health);
        let answers = |voter: &ReplicaId| {
            let heard = heard.get(voter).copied().flatten().map(|heard| heard.into_inner());
            heard.is_some_and(|at| mono().since(at) <= self.shared.config.timing.election_max)
        };
        let level = |voter: &ReplicaId| {
            let matched = matched.get(voter).copied().flatten().map(|matched| matched.index);
            matched >= metrics.last_log_index
        };
        let fit = |voter: &ReplicaId| {
            *voter != self.shared.replica
                && health.is_well(*voter)
                && answers(voter)
                && level(voter)
        };
        metrics.membership_config.membership().voter_ids().find(fit)
    }
}
