//! Planted bugs, to test the tester. They exist only in a build with `--cfg sim_mutant`.

use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// One planted bug. The simulator must catch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// M01: append and vote are acknowledged before their fsync.
    AckBeforeSync,
    /// M11, S0-060: the op-log remembers nothing.
    OpLogForgets,
    /// M21, B-01: create overwrites an existing actor.
    CreateOverwrites,
    /// openraft's `enable_leader_restore` left at its default.
    LeaderRestore,
}

impl Mutant {
    /// Every planted bug.
    pub const ALL: [Mutant; 4] = [
        Mutant::AckBeforeSync,
        Mutant::OpLogForgets,
        Mutant::CreateOverwrites,
        Mutant::LeaderRestore,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::AckBeforeSync => "ack_before_sync",
            Mutant::OpLogForgets => "op_log_forgets",
            Mutant::CreateOverwrites => "create_overwrites",
            Mutant::LeaderRestore => "leader_restore",
        }
    }

    /// Plants this bug, and no other, for replicas on this thread.
    pub fn plant(mutant: Option<Mutant>) {
        CURRENT.set(mutant);
    }

    /// Whether this bug is planted.
    pub fn is_planted(self) -> bool {
        CURRENT.get() == Some(self)
    }
}
