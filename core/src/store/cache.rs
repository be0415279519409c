//! The rows that a store with its table in a backend has at hand.
//!
//! A row that was changed is pinned until the backend shows the change: until then nobody else knows
//! it. The others are dropped, least recently used first, when there are too many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::types::{ActorId, Record};

/// See the module.
#[derive(Debug)]
pub struct Cache {
    slots: BTreeMap<ActorId, Slot>,
    /// Every row that is not pinned, by when it was last used.
    by_use: BTreeMap<u64, ActorId>,
    clock: u64,
    /// Over all slots.
    bytes: usize,
    bytes_max: usize,
    /// Asked for by a batch that has not been applied yet: not dropped.
    wanted: BTreeSet<ActorId>,
    /// Changed since the last [`Cache::take_changed`].
    changed: BTreeSet<ActorId>,
    /// Taken, and not known to be visible yet: each with the rows it wrote.
    in_flight: VecDeque<Vec<ActorId>>,
}

#[derive(Debug)]
struct Slot {
    /// `None`: there is no such actor.
    record: Option<Record>,
    used: u64,
    /// How many takes that are not visible yet wrote it, and one if it was changed since.
    pins: usize,
}

/// About what a slot takes besides the id, which two trees share, and what the actor holds.
const SLOT_BYTES: usize = 200;

fn slot_bytes(id: &ActorId, record: Option<&Record>) -> usize {
    SLOT_BYTES + id.as_str().len() + record.map_or(0, |record| record.bytes())
}

impl Cache {
    pub fn new(bytes_max: usize) -> Cache {
        Cache {
            slots: BTreeMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            bytes_max,
            wanted: BTreeSet::new(),
            changed: BTreeSet::new(),
            in_flight: VecDeque::new(),
        }
    }

    /// What is known of an actor: `None` when nothing is.
    pub fn get(&self, id: &ActorId) -> Option<Option<&Record>> {
        self.slots.get(id).map(|slot| slot.record.as_ref())
    }

    /// Whether an actor is at hand; if so, it counts as used now.
    pub fn touch(&mut self, id: &ActorId) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        self.clock += 1;
        if slot.pins == 0 {
            self.by_use.remove(&slot.used);
            self.by_use.insert(self.clock, id.clone());
        }
        slot.used = self.clock;
        true
    }

    /// Keeps an actor, once it is at hand, until the next [`Cache::applied`].
    pub fn want(&mut self, id: &ActorId) {
        self.wanted.insert(id.clone());
    }

    /// Takes in what was read. What is at hand already is newer or the same, and stays.
    pub fn fill(&mut self, rows: Vec<(ActorId, Option<Record>)>) {
        let before = self.clock;
        for (id, record) in rows {
            if self.touch(&id) {
                continue;
            }
            self.clock += 1;
            self.bytes += slot_bytes(&id, record.as_ref());
            self.by_use.insert(self.clock, id.clone());
            self.slots.insert(id, Slot { record, used: self.clock, pins: 0 });
        }
        // What was just read stays, whoever wanted it, until somebody else needs the room.
        self.evict(before);
    }

    /// Changes an actor and returns what it was.
    ///
    /// # Panics
    /// `rows_are_prefetched`: an actor is at hand before it is changed.
    pub fn replace(&mut self, id: &ActorId, record: Option<Record>) -> Option<Record> {
        let slot = self.slots.get_mut(id);
        let slot = slot.unwrap_or_else(|| panic!("rows_are_prefetched: {id} is not at hand"));
        self.bytes -= slot_bytes(id, slot.record.as_ref());
        self.bytes += slot_bytes(id, record.as_ref());
        let old = std::mem::replace(&mut slot.record, record);
        if self.changed.insert(id.clone()) {
            self.by_use.remove(&slot.used);
            slot.pins += 1;
        }
        old
    }

    /// A batch was applied: what it wanted may go.
    pub fn applied(&mut self) {
        self.wanted.clear();
        self.evict(self.clock);
    }

    /// Every actor changed since the last call, as it is now. They stay pinned until as many calls
    /// of [`Cache::written`] as there were of this one.
    pub fn take_changed(&mut self) -> Vec<(ActorId, Option<Record>)> {
        let changed: Vec<_> = std::mem::take(&mut self.changed).into_iter().collect();
        let with_record = |id: &ActorId| {
            let slot = self.slots.get(id).expect("rows_are_pinned: a changed row is not dropped");
            (id.clone(), slot.record.clone())
        };
        let rows = changed.iter().map(with_record).collect();
        self.in_flight.push_back(changed);
        rows
    }

    /// The backend shows the oldest take that it did not show before.
    ///
    /// # Panics
    /// `written_once_taken`: there is such a take.
    pub fn written(&mut self) {
        let rows = self.in_flight.pop_front();
        for id in rows.expect("written_once_taken: no batch is on its way") {
            let slot = self.slots.get_mut(&id);
            let slot = slot.expect("rows_are_pinned: a changed row is not dropped");
            slot.pins -= 1;
            if slot.pins == 0 {
                self.by_use.insert(slot.used, id);
            }
        }
        self.evict(self.clock);
    }

    /// Drops rows last used at or before `upto` while there are too many.
    fn evict(&mut self, upto: u64) {
        let mut from = 0;
        while self.bytes > self.bytes_max && from <= upto {
            let next = self.by_use.range(from..=upto).next();
            let Some((&used, id)) = next else { return };
            from = used + 1;
            if self.wanted.contains(id) {
                continue;
            }
            let id = id.clone();
            self.by_use.remove(&used);
            if let Some(slot) = self.slots.remove(&id) {
                self.bytes -= slot_bytes(&id, slot.record.as_ref());
            }
        }
    }

    /// Bytes at hand, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Named invariants; looks at every slot.
    #[cfg(test)]
    pub fn check(&self) {
        let bytes = self.slots.iter().map(|(id, slot)| slot_bytes(id, slot.record.as_ref()));
        assert_eq!(bytes.sum::<usize>(), self.bytes, "cache_bytes_add_up");
        for (id, slot) in &self.slots {
            let free = self.by_use.get(&slot.used) == Some(id);
            assert_eq!(free, slot.pins == 0, "cache_pins_changes: {id}");
            let in_flight = self.in_flight.iter().filter(|rows| rows.contains(id)).count();
            let pins = in_flight + usize::from(self.changed.contains(id));
            assert_eq!(slot.pins, pins, "cache_pins_changes: {id}");
        }
        let free = self.slots.values().filter(|slot| slot.pins == 0).count();
        assert_eq!(free, self.by_use.len(), "cache_by_use_is_the_rest");
    }
}
