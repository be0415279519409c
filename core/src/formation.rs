//! A new node takes part only when it has met every other (ADR 7).
//!
//! Each peer promises that it will never again listen to another data folder under this node's
//! name. A node that has lost its data folder gets no such promise under its new incarnation, so it
//! can neither vote nor form a cluster with others that have lost theirs.
//!
//! A node that is formed has met everybody, so its word is enough: it vouches for the asker and says
//! which data folders the others have. Else a node that is late could never form once another is
//! lost for good.

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

    /// `peer` has promised.
    pub fn met(&mut self, peer: NodeId) {
        self.peers.insert(peer, true);
    }

    /// A formed node has promised: nobody else need be asked.
    pub fn vouched(&mut self) {
        self.peers.values_mut().for_each(|met| *met = true);
    }

    /// Whether everybody has promised.
    pub fn is_complete(&self) -> bool {
        let met = self.peers.values().filter(|&&met| met).count();
        let needed = self.peers.len();
        if planted!(FormsWithMajority) { met >= needed.div_ceil(2) } else { met == needed }
    }

    /// The peers to ask now, also those that have promised: one may be formed by now, and vouch.
    /// Again after [`limits::HELLO_EVERY`].
    pub fn due(&mut self, now: Instant) -> Vec<NodeId> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.after(limits::HELLO_EVERY);
        self.peers.keys().copied().collect()
    }

    /// When somebody is to be asked next.
    pub fn deadline(&self) -> Instant {
        self.next
    }
}
