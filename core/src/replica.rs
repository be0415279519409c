//! The one door.

use std::fmt;

use crate::config::ClusterConfig;
use crate::effect::Effect;
use crate::input::Input;
use crate::seed::Seed;
use crate::status::Status;
use crate::types::{ActorId, GroupId, Identity, Instant, Now, Record};

/// What the driver read from the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    /// The whole WAL file.
    pub wal: Vec<u8>,
}

/// Why a replica does not start. One line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverError(pub String);

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One node's whole state machine.
pub struct Replica {}

#[allow(missing_docs, unused_variables)]
impl Replica {
    pub fn format_wal(identity: &Identity) -> Vec<u8> {
        panic!("next commit")
    }
    pub fn recover(
        config: &ClusterConfig,
        identity: &Identity,
        seed: Seed,
        image: DiskImage,
    ) -> Result<Replica, RecoverError> {
        panic!("next commit")
    }
    pub fn wal_len(&self) -> u64 {
        panic!("next commit")
    }
    pub fn step(
        &mut self,
        now: Now,
        turn: impl IntoIterator<Item = Input>,
        effects: &mut Vec<Effect>,
    ) {
        panic!("next commit")
    }
    pub fn deadline(&self) -> Option<Instant> {
        panic!("next commit")
    }
    pub fn status(&self) -> Status {
        panic!("next commit")
    }
    pub fn check(&self) {
        panic!("next commit")
    }
    pub fn dump(&self, group: GroupId) -> Vec<(ActorId, Record)> {
        panic!("next commit")
    }
}
