//! A new node takes part only when it has met every other (ADR 7).
//!
//! Each peer promises that it will never again listen to another data folder under this node's
//! name. A node that has lost its data folder gets no such promise under its new incarnation, so it
//! can neither vote nor form a cluster with others that have lost theirs.
//!
//! The first node forms when it has heard from every other that all of them have the same data
//! folders on their disks. From then on nobody listens to another folder, so the word of a formed
//! node is enough for the rest: one that is late forms even if another node is lost for good.

use std::collections::BTreeMap;

use crate::limits;
use crate::types::{Incarnation, Instant, NodeId};

/// What an unformed node still waits for.
pub struct Formation {
    /// Every other node: `None` if it has not answered, else whether its pins are complete and the
    /// same as ours.
    peers: BTreeMap<NodeId, Option<bool>>,
    /// A formed node knows us.
    vouched: bool,
    /// Where the log ended when we last pinned somebody: it must be synced up to there.
    pub pinned_upto: u64,
    /// When they are asked again.
    next: Instant,
}

impl Formation {
    /// One that has met nobody yet.
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Formation {
        let peers = peers.into_iter().map(|peer| (peer, None)).collect();
        Formation { peers, vouched: false, pinned_upto: 0, next: Instant(0) }
    }

    /// `peer` knows us, and has these pins; ours are `known`, with our own folder.
    pub fn met(
        &mut self,
        peer: NodeId,
        formed: bool,
        pins: &[(NodeId, Incarnation)],
        known: &BTreeMap<NodeId, Incarnation>,
    ) {
        let others =
            known.iter().filter(|&(&node, _)| node != peer).map(|(&node, &pin)| (node, pin));
        let complete = known.len() == self.peers.len() + 1;
        let agrees = complete && others.eq(pins.iter().copied());
        // A late answer, older than the last one, takes nothing back.
        let before = self.peers.get(&peer).copied().flatten().unwrap_or(false);
        self.peers.insert(peer, Some(agrees || before));
        self.vouched |= formed;
    }

    /// Whether this node may take part, its log being synced up to `durable`.
    pub fn is_complete(&self, durable: u64) -> bool {
        let met = self.peers.values().filter(|&&met| met == Some(true)).count();
        let needed = self.peers.len();
        let enough = if planted!(FormsWithMajority) { needed.div_ceil(2) } else { needed };
        (self.vouched || met >= enough) && self.pinned_upto <= durable
    }

    /// The nodes it waits for: those that have not answered, or else those that know others.
    pub fn unmet(&self) -> Vec<NodeId> {
        let with = |what: Option<bool>| {
            let peers = self.peers.iter().filter(move |&(_, &met)| met == what);
            peers.map(|(&peer, _)| peer).collect::<Vec<_>>()
        };
        let silent = with(None);
        if silent.is_empty() { with(Some(false)) } else { silent }
    }

    /// The peers to ask now, also those that have answered: they may have met others meanwhile, or
    /// be formed by now. Again after [`limits::HELLO_EVERY`].
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
