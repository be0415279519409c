//! The kinds of fault, and a count of how often each fired: a fault that never fires tests nothing.

use serde::{Deserialize, Serialize};

use crate::tally::tallied;

tallied! {
    /// One kind of fault.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    Fault,
    /// How often each kind fired.
    Counts by fired,

    /// One node dies, and is back after milliseconds or more than a second.
    Crash = "crash",
    /// Several or all nodes die at once.
    CrashAll = "crash_all",
    /// The leader dies while its disk holds unsynced writes, and is back within milliseconds.
    LeaderBounce = "leader_bounce",
    /// A node dies between two effects of one step.
    CrashMidTurn = "crash_mid_turn",
    /// A node dies when a sync is done: just before it is, or just before it hears of it.
    CrashAtIo = "crash_at_io",
    /// A node dies while it recovers: before its log is cut, after, or in its first step.
    CrashInRecovery = "crash_in_recovery",
    /// A node started later than the others.
    LateStart = "late_start",
    /// A process stands still, then goes on as if nothing had been.
    Pause = "pause",
    /// A crash lost all unsynced writes.
    UnsyncedLoss = "unsynced_loss",
    /// A crash kept some 4 KiB pages of the unsynced writes, the last torn at any byte.
    TornWrite = "torn_write",
    /// A bit of a synced block flipped.
    BitRot = "bit_rot",
    /// The disk reported a page as synced and never wrote it.
    LostWrite = "lost_write",
    /// The disk wrote a page to the wrong place, over another one.
    MisdirectedWrite = "misdirected_write",
    /// Syncs take 5 to 230 ms for a while.
    SlowDisk = "slow_disk",
    /// No sync ends for a while.
    StalledDisk = "stalled_disk",
    /// A write found no space.
    DiskFull = "disk_full",
    /// A write failed.
    WriteFailed = "write_failed",
    /// A sync failed; what it covered is not on the disk, later syncs report success.
    SyncFailed = "sync_failed",
    /// A node came back with an empty disk, under a new incarnation.
    WipedDisk = "wiped_disk",
    /// A message was lost on the way.
    Loss = "loss",
    /// A message arrived twice.
    Duplicate = "duplicate",
    /// A message overtook an earlier one.
    Reorder = "reorder",
    /// A message was held up for much longer than usual.
    Delay = "delay",
    /// All messages took long for a while.
    LatencySpike = "latency_spike",
    /// One link, in one direction, was slow for a while.
    SlowLink = "slow_link",
    /// A message met a cut link.
    Cut = "cut",
    /// Nodes were cut off in both directions.
    Partition = "partition",
    /// Nodes were cut off in one direction.
    OneWay = "one_way",
    /// Two nodes could not reach each other, a third reached both.
    PartialCut = "partial_cut",
    /// A cut came and went several times.
    Flapping = "flapping",
    /// A node's clocks ran fast or slow, or changed their rate.
    ClockSkew = "clock_skew",
    /// A node's monotonic clock jumped ahead.
    ClockJump = "clock_jump",
    /// A node's wall clock jumped, up to days.
    WallJump = "wall_jump",
    /// A client's request was lost on the way.
    RequestLost = "request_lost",
    /// The answer to a client was lost on the way.
    ReplyLost = "reply_lost",
    /// A node dies just before or just after one of several operations on files.
    CrashAtFile = "crash_at_file",
    /// Only the process died: what it had written is still in the page cache.
    ProcessKilled = "process_killed",
    /// A write beside the log found no space, while the log had some.
    FilesFull = "files_full",
    /// A snapshot's file was damaged.
    DamagedSnapshot = "damaged_snapshot",
    /// A crash lost batches that a store had taken and not flushed.
    LostBatches = "lost_batches",
    /// A store failed a write or a flush.
    StoreFailed = "store_failed",
    /// A store found that what it holds is damaged.
    DamagedStore = "damaged_store",
}
