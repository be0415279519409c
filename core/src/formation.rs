//! A new node takes part only when it has met every other (ADR 7).
//!
//! Each peer promises that it will never again listen to another data folder under this node's
//! name. A node that has lost its data folder gets no such promise under its new incarnation, so it
//! can neither vote nor form a cluster with others that have lost theirs.

use std::collections::BTreeSet;

use crate::limits;
use crate::types::{Instant, NodeId};

/// What an unformed node still waits for.
pub struct Formation {
    unmet: BTreeSet<NodeId>,
    /// When they are asked again.
    next: Instant,
}

impl Formation {
    /// One that has met nobody yet.
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Formation {
        Formation { unmet: peers.into_iter().collect(), next: Instant(0) }
    }

    /// `peer` has promised; false when it had already.
    pub fn met(&mut self, peer: NodeId) -> bool {
        self.unmet.remove(&peer)
    }

    /// Whether everybody has promised.
    pub fn is_complete(&self) -> bool {
        self.unmet.is_empty()
    }

    /// The peers to ask now; again after [`limits::HELLO_EVERY`].
    pub fn due(&mut self, now: Instant) -> Vec<NodeId> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.after(limits::HELLO_EVERY);
        self.unmet.iter().copied().collect()
    }

    /// When somebody is to be asked next.
    pub fn deadline(&self) -> Instant {
        self.next
    }
}
