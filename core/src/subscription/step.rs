//! What a step of a subscription comes to: items for the subscriber, a question for the driver, or the
//! end.

use std::fmt;

use crate::change::{Change, ChangesQuery, Lineage, ResumeToken};
use crate::input::ReadLevel;
use crate::limits;
use crate::query::{Scan, record_bytes};
use crate::types::{ActorId, Record, Sequence};

/// One item for the subscriber, with the token to go on from once it has dealt with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Everything up to and with this item was told, nothing behind it.
    pub token: ResumeToken,
    /// What is told.
    pub item: Item,
}

/// What a subscriber hears. All but [`Item::Progress`] costs a credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A change. Where earlier ones of the actor were left out, it tells the whole way from before the
    /// first of them.
    Change {
        /// The change.
        change: Change,
        /// Earlier changes of the actor that were left out.
        conflated: u64,
    },
    /// An actor, as it is at the token's sequence.
    Snapshot {
        /// The actor.
        id: ActorId,
        /// What it holds.
        record: Record,
    },
    /// What was told is the shard's state at this change.
    SnapshotEnd {
        /// The change.
        sequence: Sequence,
    },
    /// Nothing that is wanted came up to the token.
    Progress,
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these, in order: at least one, at most [`limits::DELIVERIES_MAX`].
    Deliver(Vec<Delivery>),
    /// Put this question. The same comes from each step until it is answered; one that failed is put
    /// again.
    Ask(Ask),
    /// Nothing until the tail grows, credit comes, or the filter changes.
    Idle,
    /// It is over.
    End(End),
}

/// A question to the driver's own replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Answer with [`super::Subscription::answered_changes`].
    Changes {
        /// Which.
        query: ChangesQuery,
        /// How fresh.
        level: ReadLevel,
    },
    /// Answer with [`super::Subscription::answered_page`].
    Page {
        /// Of which actors.
        scan: Scan,
        /// How fresh.
        level: ReadLevel,
    },
}

/// Why a subscription is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// What comes next is not retained any more.
    Compacted {
        /// The first change that is.
        first: Sequence,
        /// The one that came next.
        asked: Sequence,
    },
    /// Too many changes waited for credit.
    Lagged {
        /// Where to go on.
        token: ResumeToken,
    },
    /// The token is of another history: of another cluster, or of one before a restore.
    OtherLineage {
        /// The token's.
        asked: Lineage,
        /// The shard's.
        found: Lineage,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Compacted { first, asked } => write!(
                f,
                "change {asked} is gone, the first retained is {first}; begin with a snapshot"
            ),
            End::Lagged { token } => write!(
                f,
                "more than {} changes waited for credit; go on from {token}, or take `pause` or \
                 `conflate`",
                limits::SUBSCRIBER_CHANGES_MAX
            ),
            End::OtherLineage { asked, found } => write!(
                f,
                "the token is of history {asked}, this shard's is {found}; begin with a snapshot"
            ),
        }
    }
}

/// What one step delivers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub deliveries: Vec<Delivery>,
    bytes: usize,
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.deliveries.len() >= limits::DELIVERIES_MAX
            || self.bytes >= limits::DELIVERIES_BYTES_MAX
    }

    pub fn push(&mut self, delivery: Delivery) {
        self.bytes += match &delivery.item {
            Item::Change { change, .. } => change.sent_bytes(),
            Item::Snapshot { id, record } => record_bytes(id, record),
            Item::SnapshotEnd { .. } | Item::Progress => 0,
        };
        self.deliveries.push(delivery);
    }
}
