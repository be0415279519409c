//! What waits for a subscriber that wants the latest change of each actor when it is slow.

use std::collections::BTreeMap;

use crate::change::{Change, ChangeKind, Fields};
use crate::limits;
use crate::types::{ActorId, Record, Sequence};

/// The latest change of each actor, in the order of the shard. Bounded by
/// [`limits::SUBSCRIBER_CHANGES_MAX`] and [`limits::SUBSCRIBER_BYTES_MAX`], the one that crosses it
/// included.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    latest: BTreeMap<ActorId, Pair>,
    order: BTreeMap<Sequence, ActorId>,
    bytes: usize,
}

/// What became of an actor, from the first change that waited to the latest.
#[derive(Clone, Debug)]
struct Pair {
    before: Option<Record>,
    latest: Change,
    left_out: u64,
}

impl Waiting {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// No more may wait.
    pub fn is_full(&self) -> bool {
        self.order.len() >= limits::SUBSCRIBER_CHANGES_MAX
            || self.bytes >= limits::SUBSCRIBER_BYTES_MAX
    }

    /// The least place of a change that waits.
    pub fn first(&self) -> Option<Sequence> {
        self.order.first_key_value().map(|(&first, _)| first)
    }

    /// Adds the next change; one of the same actor that waits is left out.
    pub fn push(&mut self, change: Change) {
        let earlier = self.take(&change.id);
        let (before, left_out) = match earlier {
            Some(pair) => (pair.before, pair.left_out + 1),
            None => (change.before.clone(), 0),
        };
        self.put(Pair { before, latest: change, left_out });
    }

    /// The next one, and how many earlier ones of its actor were left out.
    pub fn pop(&mut self) -> Option<(Change, u64)> {
        let id = self.order.first_key_value()?.1.clone();
        let pair = self.take(&id)?;
        Some((pair.whole(), pair.left_out))
    }

    fn put(&mut self, pair: Pair) {
        self.bytes += pair.bytes();
        self.order.insert(pair.latest.sequence, pair.latest.id.clone());
        self.latest.insert(pair.latest.id.clone(), pair);
    }

    fn take(&mut self, id: &ActorId) -> Option<Pair> {
        let pair = self.latest.remove(id)?;
        self.order.remove(&pair.latest.sequence);
        self.bytes -= pair.bytes();
        Some(pair)
    }
}

impl Pair {
    fn bytes(&self) -> usize {
        self.latest.sent_bytes() + self.before.as_ref().map_or(0, Record::bytes)
    }

    /// One change for all of them: the latest, from what the actor held before the first.
    fn whole(&self) -> Change {
        if self.left_out == 0 {
            return self.latest.clone();
        }
        let latest = Fields::from(self.latest.clone());
        let kind = match (&self.before, &latest.after) {
            // Even of an actor that was not there before: a part of the way may have been told, in an
            // earlier life of the subscription.
            (_, None) => latest.kind,
            (None, Some(_)) => ChangeKind::Create,
            (Some(_), Some(_)) => ChangeKind::Update,
        };
        Change::from(Fields { kind, before: self.before.clone(), ..latest })
    }
}

#[cfg(test)]
impl Waiting {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
