//! How a group gets back a member whose data folder was lost: the next safe step, if there is one.
//!
//! The new folder is another replica (ADR 9). The group's leader takes it in as a learner, waits until
//! it is level, and gives it the vote of the lost one by joint consensus, one committed step after the
//! other. Any leader may go on where another one stopped: a step depends only on the members and on
//! who has been heard, never on what was done before.
//!
//! | the membership | who is heard | step |
//! |---|---|---|
//! | not committed | | wait |
//! | joint | | `Settle`: nobody else finishes it |
//! | a learner | silent; its member shows another folder, or its voter answers | `Drop` it |
//! | a learner | level and shows no other folder; its voter silent, a majority answers | `Promote` it |
//! | no such learner | its member shows it; its voter silent, a majority answers | `Add` it |
//!
//! "Silent" is silent for `join_silence` of this leader's time. "A majority answers" counts
//! the lost voters as absent: with them gone and the change under way, the group must go on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Timing;
use crate::limits;
use crate::message::Members;
use crate::types::{Incarnation, NodeId, ReplicaId};

/// What a leader knows when it decides.
pub struct View<'a> {
    /// The leader.
    pub me: ReplicaId,
    /// The members of the cluster's configuration.
    pub nodes: &'a [NodeId],
    /// The last membership in its log.
    pub members: &'a Members,
    /// That membership is committed.
    pub committed: bool,
    /// Entries of its log.
    pub head: u64,
    /// What it knows of each other replica in that membership.
    pub replicas: &'a BTreeMap<ReplicaId, Progress>,
    /// The data folder that each member has shown lately.
    pub shown: &'a BTreeMap<NodeId, Incarnation>,
    /// Who answers, and who is silent.
    pub timing: &'a Timing,
}

/// One replica as its leader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How long ago it sent what it last answered; `None` if it has not answered this leader.
    pub heard: Option<Duration>,
    /// How long it has been silent, at least: no longer than this leader has led.
    pub silent: Duration,
    /// Entries it is known to have.
    pub matched: u64,
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ends a joint membership that a leader has left behind.
    Settle,
    /// Takes out a learner that will not come back.
    Drop(ReplicaId),
    /// Takes in a learner.
    Add(ReplicaId),
    /// Gives a learner the vote of its member's lost folders.
    Promote {
        /// The learner.
        learner: ReplicaId,
        /// The voters from then on.
        voters: Vec<ReplicaId>,
    },
}

impl View<'_> {
    /// The next step; see the module's table.
    pub fn next(&self) -> Option<Step> {
        if !self.committed {
            return None;
        }
        let [voters] = &self.members.configs[..] else { return Some(Step::Settle) };
        if let Some(stale) = self.members.learners().find(|&learner| self.is_stale(learner, voters))
        {
            return Some(Step::Drop(stale));
        }
        let level = |&learner: &ReplicaId| {
            self.answers(learner)
                && !self.is_superseded(learner)
                && self.head <= self.progress(learner).matched + limits::JOIN_LAG_ENTRIES
                && self.may_replace(learner.node, voters)
        };
        if let Some(learner) = self.members.learners().find(level) {
            let others = voters.iter().copied().filter(|voter| voter.node != learner.node);
            let mut voters: Vec<ReplicaId> = others.chain([learner]).collect();
            voters.sort_unstable();
            return Some(Step::Promote { learner, voters });
        }
        let shown = self.shown.iter();
        let mut shown = shown.map(|(&node, &incarnation)| ReplicaId { node, incarnation });
        let joins = |replica: &ReplicaId| {
            !self.members.nodes.contains(replica)
                && self.nodes.contains(&replica.node)
                && self.may_replace(replica.node, voters)
        };
        shown.find(joins).map(Step::Add)
    }

    /// Nobody will hear of it again, or nobody needs it.
    fn is_stale(&self, learner: ReplicaId, voters: &[ReplicaId]) -> bool {
        let back = voters.iter().any(|voter| voter.node == learner.node && self.answers(*voter));
        self.is_silent(learner) && (self.is_superseded(learner) || back)
    }

    /// Its member has shown another folder lately.
    fn is_superseded(&self, learner: ReplicaId) -> bool {
        self.shown.get(&learner.node).is_some_and(|&new| new != learner.incarnation)
    }

    /// The folders of `node` that have a vote are lost, and the group does well without them.
    fn may_replace(&self, node: NodeId, voters: &[ReplicaId]) -> bool {
        let (lost, rest): (Vec<_>, Vec<_>) =
            voters.iter().copied().partition(|voter| voter.node == node);
        let answering = rest.into_iter().filter(|&voter| self.answers(voter)).count();
        lost.into_iter().all(|voter| self.is_silent(voter)) && answering > voters.len() / 2
    }

    fn answers(&self, replica: ReplicaId) -> bool {
        let heard = self.progress(replica).heard;
        replica == self.me || heard.is_some_and(|ago| ago <= self.timing.election_max)
    }

    fn is_silent(&self, replica: ReplicaId) -> bool {
        replica != self.me && self.progress(replica).silent >= self.timing.join_silence
    }

    fn progress(&self, replica: ReplicaId) -> Progress {
        self.replicas.get(&replica).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
