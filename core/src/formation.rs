//! A new node takes part only when it has met every other (ADR 7).
//!
//! Each peer promises that it will never again listen to another data folder under this node's
//! name. A node that has lost its data folder gets no such promise under its new incarnation, so it
//! can neither vote nor form a cluster with others that have lost theirs.

use std::collections::BTreeMap;

use crate::limits;
use crate::types::{Instant, NodeId};

/// What an unformed node still waits for.
pub struct Formation {
    /// Every other node, with whether it has promised.
    peers: BTreeMap<NodeId, bool>,
    /// When they are asked again.
    next: Instant,
}

impl Formation {
    /// One that has met nobody yet.
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Formation {
        Formation { peers: peers.into_iter().map(|peer| (peer, false)).collect(), next: Instant(0) }
    }

    /// `peer` has promised; false when it had already.
    pub fn met(&mut self, peer: NodeId) -> bool {
        self.peers.insert(peer, true) == Some(false)
    }

    /// Whether everybody has promised.
    pub fn is_complete(&self) -> bool {
        let met = self.peers.values().filter(|&&met| met).count();
        let needed = self.peers.len();
        if planted!(FormsWithMajority) { met >= needed.div_ceil(2) } else { met == needed }
    }

    /// The peers to ask now; again after [`limits::HELLO_EVERY`].
    pub fn due(&mut self, now: Instant) -> Vec<NodeId> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.after(limits::HELLO_EVERY);
        self.peers.iter().filter(|&(_, &met)| !met).map(|(&peer, _)| peer).collect()
    }

    /// When somebody is to be asked next.
    pub fn deadline(&self) -> Instant {
        self.next
    }
}
