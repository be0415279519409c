//! What a group's state says about itself, and the hash that its rows must add up to.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::change::Lineage;
use crate::codec;
use crate::message::{LogPosition, Members};
use crate::types::{ActorId, Record, Sequence, Timestamp};

/// The state of one group but for its rows and its op-log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The last applied entry.
    pub applied: Option<LogPosition>,
    /// The last applied membership, and the entry that brought it.
    pub members: Option<(LogPosition, Members)>,
    /// The last change's place in the shard's order.
    pub sequence: Sequence,
    /// The leaders' clocks, made monotone.
    pub committed_time: Timestamp,
    /// Over everything applied and what came of it.
    pub state_hash: u64,
    /// The sum of [`row_hash`] over all rows.
    pub rows_hash: u64,
    /// The highest time of an operation's name that was forgotten.
    pub floor: Timestamp,
    /// The highest time of a session that was forgotten.
    pub session_floor: Timestamp,
    /// Rows.
    pub actors: u64,
    /// Operations remembered.
    pub outcomes: u64,
    /// The history that the sequence counts in; 0 until the first members are known.
    pub lineage: Lineage,
    /// Changes up to this one are not retained any more.
    pub compacted: Sequence,
    /// The sum of [`crate::change::Change::bytes`] over those that are, about.
    pub change_bytes: u64,
}

impl Meta {
    /// Changes that are retained.
    pub fn changes(&self) -> u64 {
        self.sequence.0.saturating_sub(self.compacted.0)
    }
}

/// One row's part in [`Meta::rows_hash`]. A wrapping sum does not depend on the order, and a change
/// takes the old row's part away and adds the new one's.
pub fn row_hash(id: &ActorId, record: &Record) -> u64 {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&record.token.created.0.to_le_bytes());
    token[8..].copy_from_slice(&record.token.version.0.to_le_bytes());
    let seed = xxh3_64_with_seed(id.as_str().as_bytes(), xxh3_64(&token));
    let hash = xxh3_64_with_seed(record.value().as_bytes(), seed);
    match record.metadata().is_empty() && record.expires().is_none() {
        true => hash,
        false => xxh3_64_with_seed(&codec::encode(&(record.metadata(), record.expires())), hash),
    }
}
