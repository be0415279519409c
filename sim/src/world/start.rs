//! How a node starts: what it finds, what it must accept or refuse, and how it dies at it.

use std::collections::BTreeMap;

use understudy_core::backend::Backend;
use understudy_core::{
    DiskOp, FileName, GroupId, GroupStatus, Input, NodeId, RecoverError, Replica,
};

use super::{World, place};
use crate::checks::{damage_is_noticed, synced_bytes_survive};
use crate::dice::fold;
use crate::faults::Fault;
use crate::files::{Damaged, Image};
use crate::marks::Mark;
use crate::recording::Kind;

/// What a node found when it started.
struct Found {
    /// Where the last segment ends, in the log.
    end: u64,
    /// What it must notice.
    damaged: Option<Damaged>,
    /// It may refuse: something is damaged, noticed or not.
    may_refuse: bool,
    /// The newest snapshot of each group.
    newest: BTreeMap<GroupId, u64>,
    /// What was promised and is not there.
    missing: Option<FileName>,
}

impl World {
    pub(super) fn start(&mut self, id: NodeId) {
        let rate = self.plan.crash_in_recovery_ppm;
        let dies = self.dice.roll(Fault::CrashInRecovery, id.0, rate, &mut self.counts);
        let now = self.now;
        let node = &mut self.nodes[place(id)];
        node.life += 1;
        node.clock.reboot(now, &mut node.rng);
        let seed = node.seed.child(&format!("boot/{}", node.life));
        let image = node.disk.image();
        let backend: &dyn Backend = &node.rows.store;
        let recovered =
            Replica::recover(&self.cluster, &node.identity, seed, &image.disk, Some(backend));
        let found = self.look_at(id, &image);
        let Some(mut replica) = self.judge_recovery(id, recovered, &found) else { return };
        let (end, repairs) = (replica.wal_end(), replica.take_repairs());
        let given_up = self.given_up(&found, &repairs);
        if let Err(violation) = synced_bytes_survive::check_files(id, found.missing, given_up) {
            self.fail(violation);
        }
        // Before the first repair, after some of them, after all, or in the first turn.
        let stage = dies.map(|value| value % 4);
        let done = match stage {
            Some(0) => 0,
            Some(1) => fold(dies.unwrap_or(0) >> 4, 0, repairs.len() as u64) as usize,
            _ => repairs.len(),
        };
        let node = &mut self.nodes[place(id)];
        let applied = node.disk.apply_recovery(&repairs[..done]);
        applied.expect("recovery_needs_no_space");
        if matches!(stage, Some(0..=2)) {
            let of = repairs.len();
            return self.die_in_recovery(id, &format!("after {done} of {of} repairs"), dies);
        }
        node.disk.started(end);
        node.heard_end = end;
        node.replica = Some(replica);
        node.first_turn_dies = stage == Some(3);
        let recovered_at_last = std::mem::replace(&mut node.died_in_recovery, stage == Some(3));
        if recovered_at_last && stage.is_none() {
            self.marks.met(Mark::RecoveredAfterCrashInRecovery);
        }
        self.mark_start(id, &found, &repairs);
        self.note(id.0, Kind::Starts, &end.to_le_bytes(), |line| {
            line.text = format!("starts with a log up to {end}, {of} repairs", of = repairs.len());
        });
        self.totals.starts += 1;
        self.hand(id, Input::Wake);
        self.plan_disk(id);
    }

    fn look_at(&self, id: NodeId, image: &Image) -> Found {
        let files = &image.disk.files;
        let mut newest = BTreeMap::new();
        for file in files.keys() {
            if let FileName::Snapshot(group, position) = file {
                let highest = newest.entry(*group).or_insert(position.index);
                *highest = position.index.max(*highest);
            }
        }
        // An older snapshot is not read any more, one that is in the store already neither.
        let counts = |damaged: &&Damaged| match damaged.file {
            FileName::Segment(_) => true,
            FileName::Snapshot(group, position) => {
                newest.get(&group) == Some(&position.index)
                    && !self.plan.outside().any(|(outside, _)| outside == group)
            }
            FileName::Part(..) => false,
        };
        let sound = |damaged: &&Damaged| !damaged.forsaken;
        let damaged = image.damaged.iter().filter(counts).find(sound).copied();
        let store_damaged = self.nodes[place(id)].rows.is_damaged();
        let ends = files.iter().rev().find_map(|(file, bytes)| match file {
            FileName::Segment(number) => {
                Some(number * self.plan.log.segment_bytes + bytes.len() as u64)
            }
            _ => None,
        });
        let promised = self.nodes[place(id)].promised.files.iter();
        let is_missing = |&(file, size): &(&FileName, &u64)| {
            files.get(file).is_none_or(|bytes| (bytes.len() as u64) < *size)
        };
        Found {
            missing: promised.clone().find(is_missing).map(|(file, _)| *file),
            end: ends.unwrap_or(0),
            damaged,
            may_refuse: store_damaged || !image.damaged.is_empty(),
            newest,
        }
    }

    /// The newest checkpoint of a group in memory, if it is to be removed.
    fn given_up(&self, found: &Found, repairs: &[DiskOp]) -> Option<FileName> {
        let removed = repairs.iter().filter_map(|op| match op {
            DiskOp::Delete { file } => Some(*file),
            _ => None,
        });
        let mut given_up = removed.filter(|file| match file {
            FileName::Snapshot(group, position) => {
                found.newest.get(group) == Some(&position.index)
                    && !self.plan.outside().any(|(outside, _)| outside == *group)
            }
            FileName::Segment(_) | FileName::Part(..) => false,
        });
        given_up.next()
    }

    /// What recovery must and must not accept. `None` if the node does not start.
    fn judge_recovery(
        &mut self,
        id: NodeId,
        recovered: Result<Replica, RecoverError>,
        found: &Found,
    ) -> Option<Replica> {
        match recovered {
            Err(error) => {
                let verdict = synced_bytes_survive::check_refusal(id, &error, found.may_refuse);
                if let Err(violation) = verdict {
                    self.fail(violation);
                }
                if self.nodes[place(id)].rows.is_damaged() {
                    self.counts.fired(Fault::DamagedStore);
                }
                self.note(id.0, Kind::Dies, &[], |line| line.text = format!("refuses: {error}"));
                if error.damaged {
                    self.set_aside(id);
                }
                None
            }
            Ok(replica) => {
                let promised = &self.nodes[place(id)].promised;
                // Of a disk that lies about young writes nobody can expect that it is noticed.
                if !(self.plan.disks_lie && found.may_refuse) {
                    let noticed = damage_is_noticed::check(id, true, found.damaged.as_ref());
                    let (kept, synced) = (replica.wal_end(), promised.wal_end);
                    let kept = synced_bytes_survive::check(id, kept, found.end, synced);
                    if let Err(violation) = noticed.and(kept) {
                        self.fail(violation);
                    }
                }
                (!self.is_over()).then_some(replica)
            }
        }
    }

    fn mark_start(&mut self, id: NodeId, found: &Found, repairs: &[DiskOp]) {
        let torn = |op: &DiskOp| {
            matches!(op, DiskOp::Resize { .. } | DiskOp::Delete { file: FileName::Segment(_) })
        };
        if repairs.iter().any(torn) {
            self.marks.met(Mark::TornTailCut);
        }
        let seen = &self.nodes[place(id)].seen;
        for (group, &index) in &found.newest {
            self.marks.met(Mark::RestartedFromCheckpoint);
            if seen.get(group).and_then(|seen| seen.applied).is_none_or(|applied| applied < index) {
                self.marks.met(Mark::SnapshotInstalledAfterCrash);
            }
        }
    }

    /// The node's damaged folder is set aside, and it starts with a new one after a while.
    pub(super) fn set_aside(&mut self, id: NodeId) {
        self.marks.met(Mark::DamageSetAside);
        let plan = &self.plan;
        let node = &mut self.nodes[place(id)];
        node.wipe(plan, true);
        let start_after = node.rng.between(1_000_000, 400_000_000);
        self.start_later(id, start_after);
    }

    /// Whether the node has got back a vote in every group, with its present disk.
    pub(super) fn look_inside(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let Some(status) = node.status().filter(|_| node.outside) else { return };
        let (me, members) = (node.replica_id(), self.cluster.nodes.len());
        let votes =
            |group: &GroupStatus| group.voters.contains(&me) && group.voters.len() == members;
        if status.groups.iter().all(votes) && status.groups.len() == self.cluster.namespaces.len() {
            node.outside = false;
            let by_snapshot = node.seen.values().any(|seen| seen.installed);
            self.atlas.heals(id);
            self.marks.met(Mark::Repaired);
            if by_snapshot {
                self.marks.met(Mark::RepairedBySnapshot);
            }
            self.note(id.0, Kind::World, &[], |line| {
                line.text = format!("N{id} votes again, as {me}");
            });
        }
    }

    fn die_in_recovery(&mut self, id: NodeId, when: &str, value: Option<u64>) {
        let node = &mut self.nodes[place(id)];
        node.died_in_recovery = true;
        node.promised = node.disk.promised().clone();
        node.rows.crash();
        self.note(id.0, Kind::Dies, &[], |line| line.text = format!("dies in recovery, {when}"));
        let down = fold(value.unwrap_or(0) >> 8, 1_000_000, 200_000_000);
        self.start_later(id, down);
    }
}
