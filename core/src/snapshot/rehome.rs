//! From the state of a group of one cluster to the first state of a group of another: a restore.
//!
//! Rows, tokens, sequence, op-log and committed time stay as they are, so clients go on where they
//! were: their tokens match, and what they repeat is answered from the record. Only the owner and the
//! members change: nobody of the old cluster has a say in the new one. The changes that were retained
//! stay behind, and what is told from now on is another history: a reader of the old one hears so.

use xxhash_rust::xxh3::xxh3_64;

use super::block::BlockKind;
use super::encode::Writer;
use super::{Decoder, Item, SnapshotError, SnapshotHeader};
use crate::change::Lineage;
use crate::codec;
use crate::message::{LogPosition, Members};
use crate::store::Meta;
use crate::store::keys::{self, Origin};
use crate::types::ReplicaId;

/// Takes the bytes of a snapshot in pieces of any size, and gives those of another one with the same
/// rows. Holds a block, and what was pushed.
pub struct Rehome {
    decoder: Decoder,
    origin: Origin,
    founder: ReplicaId,
    /// From the header on.
    begun: Option<(Writer, LogPosition)>,
}

impl Rehome {
    /// Of a state that becomes that of the group `origin`, whose only member is `founder`.
    pub fn new(origin: Origin, founder: ReplicaId) -> Rehome {
        Rehome { decoder: Decoder::default(), origin, founder, begun: None }
    }

    /// Takes the next bytes of the old snapshot; returns the next of the new one, perhaps none.
    ///
    /// # Errors
    /// The first thing that is wrong with the old one. What came out before is worth nothing then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SnapshotError> {
        self.decoder.push(bytes);
        let mut made = Vec::new();
        while let Some(item) = self.decoder.next_item()? {
            let block = match item {
                Item::Header(header) => Some(self.begin(header)?),
                Item::Actor(id, record) => {
                    let (rest, value) = (keys::actor_rest(&id), codec::encode(&record));
                    self.writer().row(BlockKind::Actors, &rest, &value)
                }
                Item::Change(_) => None,
                Item::Outcome(op, row) => {
                    let (rest, value) = (keys::outcome_rest(&op), codec::encode(&row));
                    self.writer().row(BlockKind::Outcomes, &rest, &value)
                }
            };
            made.extend(block.unwrap_or_default());
        }
        Ok(made)
    }

    /// Says that the old snapshot ends here; returns the end of the new one, and the position of the
    /// last entry in both.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(self) -> Result<(Vec<u8>, LogPosition), SnapshotError> {
        self.decoder.finish()?;
        let begun = self.begun;
        let (writer, position) = begun.expect("snapshot_has_a_header: a whole one was read");
        Ok((writer.finish(), position))
    }

    fn begin(
        &mut self,
        SnapshotHeader { meta, .. }: SnapshotHeader,
    ) -> Result<Vec<u8>, SnapshotError> {
        let Some(position) = meta.applied else {
            let reason = "it holds the state of a group that has not begun".to_owned();
            return Err(SnapshotError { offset: 0, reason });
        };
        let members = Members { configs: vec![vec![self.founder]], nodes: vec![self.founder] };
        let lineage = Lineage(xxh3_64(&codec::encode(&(&self.origin, self.founder))).max(1));
        let (compacted, change_bytes) = (meta.sequence, 0);
        let members = Some((position, members));
        let meta = Meta { members, lineage, compacted, change_bytes, ..meta };
        let (writer, header) = Writer::begin(self.origin.clone(), meta);
        self.begun = Some((writer, position));
        Ok(header)
    }

    fn writer(&mut self) -> &mut Writer {
        let begun = self.begun.as_mut();
        &mut begun.expect("header_comes_first: the decoder gives it before any row").0
    }
}
