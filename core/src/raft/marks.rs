//! Replicas tell each other the hash of their state every so many entries. At the same index they
//! must be equal; where they are not, one of them has gone wrong without noticing, and an operator
//! must hear of it while the others still can tell which (PEERS etcd 13766).

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::executor::lock;
use super::shared::Shared;
use crate::effect::Effect;
use crate::event::Event;
use crate::limits;
use crate::message::StateMark;
use crate::types::{GroupId, NodeId};

/// Recent marks of this replica, and the last one of its leader.
#[derive(Default)]
pub struct Marks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ours: BTreeMap<u64, u64>,
    /// Not compared yet: this replica is not there.
    theirs: Option<(NodeId, StateMark)>,
    /// The index of the first difference.
    diverged: Option<u64>,
}

/// Marks that are remembered.
const KEPT: usize = 8;

impl Marks {
    /// This replica has applied `index`.
    pub fn applied(&self, shared: &Shared, group: GroupId, index: u64, hash: u64) {
        if !index.is_multiple_of(limits::STATE_MARK_EVERY) {
            return;
        }
        let mut state = lock(&self.state);
        state.ours.insert(index, hash);
        if state.ours.len() > KEPT {
            state.ours.pop_first();
        }
        drop(state);
        self.compare(shared, group);
    }

    /// The newest mark, for followers.
    pub fn newest(&self) -> Option<StateMark> {
        let state = lock(&self.state);
        state.ours.last_key_value().map(|(&index, &hash)| StateMark { index, hash })
    }

    /// The leader told its mark.
    pub fn heard(&self, shared: &Shared, group: GroupId, leader: NodeId, mark: StateMark) {
        lock(&self.state).theirs = Some((leader, mark));
        self.compare(shared, group);
    }

    /// The index at which this replica was first seen to differ from its leader.
    pub fn diverged(&self) -> Option<u64> {
        lock(&self.state).diverged
    }

    fn compare(&self, shared: &Shared, group: GroupId) {
        let mut state = lock(&self.state);
        let Some((leader, StateMark { index, hash: theirs })) = state.theirs else { return };
        let Some(&ours) = state.ours.get(&index) else { return };
        state.theirs = None;
        if ours != theirs && state.diverged.is_none() {
            state.diverged = Some(index);
            let event = Event::Diverged { group, index, ours, theirs, leader };
            shared.emit(Effect::Event(event));
        }
    }
}
