//! Whether a node's disk is fit to lead: how much room is left, and how fast it is.
//!
//! | free space | client writes | entries of a leader | everything else |
//! |---|---|---|---|
//! | above `low` | yes | yes | yes |
//! | below `low` | `Busy: disk full`, but for deletes | yes | yes |
//! | below `critical` | the same | dropped, as a network would, but for deletes and a leader's own | yes |
//!
//! What is left below `low` is the reserve: for checkpoints, which let segments go, for deletes, votes
//! and the log's next segment, which is made ahead. Nobody has to clear anything: the state follows
//! the disk, with a segment's worth of room between going bad and getting well.
//!
//! A node whose disk is nearly full or slow says so in every message. If it leads and somebody else
//! is level and well, it hands leadership over: its followers should not wait for its disk.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits;
use crate::types::{Instant, ReplicaId};

/// See the module.
#[derive(Debug, Default)]
pub struct Health {
    /// What the driver last said.
    free: Option<u64>,
    low: bool,
    critical: bool,
    /// When the log's disk was last seen to be slow.
    slow_at: Option<Instant>,
    /// What each replica last said of itself.
    ailing: BTreeMap<ReplicaId, bool>,
}

impl Health {
    /// The file system of the data folder has `free` bytes. `needed` is what a checkpoint and a
    /// segment of the log take.
    pub fn space(&mut self, free: u64, segment_bytes: u64, checkpoint_bytes: u64) {
        let critical = segment_bytes + checkpoint_bytes;
        let low = critical + 2 * segment_bytes;
        let room = |below: bool| if below { segment_bytes } else { 0 };
        self.free = Some(free);
        self.low = free < low + room(self.low);
        self.critical = free < critical + room(self.critical);
    }

    /// Bytes free, if the driver has said so.
    pub fn free(&self) -> Option<u64> {
        self.free
    }

    /// Client writes that need room are refused.
    pub fn is_low(&self) -> bool {
        self.low
    }

    /// A leader's entries are not taken.
    pub fn is_critical(&self) -> bool {
        self.critical
    }

    /// A write to the log has been under way for `age`, or took so long.
    pub fn wrote(&mut self, now: Instant, age: Duration) {
        if age >= limits::SLOW_WRITE {
            self.slow_at = Some(now);
        }
    }

    /// The disk of the log is slow, or was a moment ago.
    pub fn is_slow(&self, now: Instant) -> bool {
        self.slow_at.is_some_and(|at| now.since(at) < limits::SLOW_FOR)
    }

    /// Somebody else should lead, if somebody else is well.
    pub fn is_ailing(&self, now: Instant) -> bool {
        self.low || self.is_slow(now)
    }

    /// What a replica says of itself.
    pub fn heard(&mut self, replica: ReplicaId, ailing: bool) {
        // A folder that is gone is not heard of again; there are few at any time.
        self.ailing.retain(|other, _| other.node != replica.node || *other == replica);
        self.ailing.insert(replica, ailing);
    }

    /// Whether a replica has said that it is well.
    pub fn is_well(&self, replica: ReplicaId) -> bool {
        self.ailing.get(&replica) == Some(&false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    #[test]
    fn a_full_disk_shows_and_clears_with_room_between() {
        let (segment, checkpoint) = (100, 50);
        let mut health = Health::default();
        assert!(!health.is_low() && !health.is_critical(), "nothing is known");
        // critical below 150, low below 350; well again 100 above that.
        let table = [
            (1_000, false, false),
            (350, false, false),
            (349, true, false),
            (449, true, false),
            (149, true, true),
            (249, true, true),
            (250, true, false),
            (450, false, false),
        ];
        for (free, low, critical) in table {
            health.space(free, segment, checkpoint);
            assert_eq!((health.is_low(), health.is_critical()), (low, critical), "{free} free");
        }
    }

    #[test]
    fn a_slow_write_is_remembered_for_a_while() {
        let mut health = Health::default();
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        health.wrote(at(1), Duration::from_millis(5));
        assert!(!health.is_ailing(at(1)));
        health.wrote(at(2), limits::SLOW_WRITE);
        assert!(health.is_ailing(at(2)) && !health.is_ailing(at(60)));
    }

    #[test]
    fn only_the_present_folder_of_a_member_counts() {
        let mut health = Health::default();
        let replica =
            |incarnation| ReplicaId { node: NodeId(1), incarnation: Incarnation(incarnation) };
        health.heard(replica(1), false);
        assert!(health.is_well(replica(1)) && !health.is_well(replica(2)));
        health.heard(replica(2), true);
        assert!(!health.is_well(replica(1)) && !health.is_well(replica(2)));
    }
}
