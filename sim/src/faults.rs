//! The kinds of fault, and a count of how often each fired: a fault that never fires tests nothing.

use std::fmt;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// One node dies.
    Crash,
    /// All nodes die at once.
    CrashAll,
    /// The leader dies while its disk holds unsynced writes, and is back within milliseconds.
    LeaderBounce,
    /// A node dies between two effects of one step.
    CrashMidTurn,
    /// A crash lost pages of unsynced writes.
    LostPage,
    /// A crash tore the last page that survived.
    TornPage,
    /// A disk was slow for a while.
    SlowDisk,
    /// A sync failed.
    SyncFailed,
    /// A message was lost on the way.
    Loss,
    /// A message arrived twice.
    Duplicate,
    /// A message overtook an earlier one.
    Reorder,
    /// A message was held up for much longer than usual.
    Delay,
    /// A message met a cut link.
    Cut,
    /// Nodes were cut off in both directions.
    Partition,
    /// Nodes were cut off in one direction.
    OneWay,
    /// A node stood still, then went on as if nothing had been.
    Pause,
    /// A node's clock ran fast or slow.
    ClockSkew,
    /// A node's wall clock jumped.
    WallJump,
    /// A client's request was lost on the way.
    RequestLost,
    /// The answer to a client was lost on the way.
    ReplyLost,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 20] = [
        Fault::Crash,
        Fault::CrashAll,
        Fault::LeaderBounce,
        Fault::CrashMidTurn,
        Fault::LostPage,
        Fault::TornPage,
        Fault::SlowDisk,
        Fault::SyncFailed,
        Fault::Loss,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Delay,
        Fault::Cut,
        Fault::Partition,
        Fault::OneWay,
        Fault::Pause,
        Fault::ClockSkew,
        Fault::WallJump,
        Fault::RequestLost,
        Fault::ReplyLost,
    ];

    /// The name in summaries and cards.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::CrashAll => "crash_all",
            Fault::LeaderBounce => "leader_bounce",
            Fault::CrashMidTurn => "crash_mid_turn",
            Fault::LostPage => "lost_page",
            Fault::TornPage => "torn_page",
            Fault::SlowDisk => "slow_disk",
            Fault::SyncFailed => "sync_failed",
            Fault::Loss => "loss",
            Fault::Duplicate => "duplicate",
            Fault::Reorder => "reorder",
            Fault::Delay => "delay",
            Fault::Cut => "cut",
            Fault::Partition => "partition",
            Fault::OneWay => "one_way",
            Fault::Pause => "pause",
            Fault::ClockSkew => "clock_skew",
            Fault::WallJump => "wall_jump",
            Fault::RequestLost => "request_lost",
            Fault::ReplyLost => "reply_lost",
        }
    }
}

/// How often each kind fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Fault::ALL.len()]);

impl Counts {
    /// `fault` fired.
    pub fn fired(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often `fault` fired.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fired = Fault::ALL.into_iter().filter(|&fault| self.of(fault) > 0);
        let words: Vec<_> =
            fired.map(|fault| format!("{} {}", fault.name(), self.of(fault))).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}
