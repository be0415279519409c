//! Rare situations that a sweep should have seen: a green run that never met them proves less.

use crate::tally::tallied;

tallied! {
    /// One situation.
    Mark,
    /// How often each situation was met.
    Marks by met,

    /// A leader was elected after another one.
    LeaderChanged = "leader_changed",
    /// Two nodes led a group at once, in different terms.
    TwoLeaders = "two_leaders",
    /// Two nodes stood for election in one term.
    SplitVote = "split_vote",
    /// A leader learned of a later term while it was up.
    LeaderDeposed = "leader_deposed",
    /// A leader committed an entry of an earlier term.
    OldTermCommitted = "old_term_committed",
    /// A follower removed entries that conflicted with its leader's.
    SuffixTruncated = "suffix_truncated",
    /// A follower got eight entries or more in one message.
    LongCatchUp = "long_catch_up",
    /// An entry was first applied while only a bare majority was up.
    BareMajority = "bare_majority",
    /// All nodes were down at once.
    AllDown = "all_down",
    /// A repeated operation was answered from the op-log.
    OpLogHit = "op_log_hit",
    /// The same, in a later term than it was first sent in.
    OpLogHitAfterFailover = "op_log_hit_after_failover",
    /// A name was refused because it had been used for another request.
    OpIdReused = "op_id_reused",
    /// A token of a former life of an actor was refused.
    FormerLifeRefused = "former_life_refused",
    /// What a session's window had left behind was refused.
    SessionLeftBehind = "session_left_behind",
    /// An atomic batch of several changes was applied.
    BatchDone = "batch_done",
    /// An atomic batch was refused.
    BatchRefused = "batch_refused",
    /// An actor was removed because its end had come.
    Expired = "expired",
    /// The same, under a later leader than the group's first.
    ExpiredAfterFailover = "expired_after_failover",
    /// A write was forwarded to the leader.
    WriteForwarded = "write_forwarded",
    /// A linearizable read was refused by a node while another one led.
    ReadRefusedInMinority = "read_refused_in_minority",
    /// A leader answered reads under its lease, without asking a quorum.
    LeaseRead = "lease_read",
    /// A session's read waited at a node until that had come as far as the session.
    SessionReadWaited = "session_read_waited",
    /// A node did not come as far as a session in time, and said so.
    SessionReadGaveUp = "session_read_gave_up",
    /// A page of a scan had others behind it.
    ScanPaged = "scan_paged",
    /// A subscriber read changes that its node's store retained.
    HistoryRead = "history_read",
    /// A subscriber heard the end of a snapshot.
    SnapshotHeard = "snapshot_heard",
    /// A subscriber heard of a change of what its snapshot had passed.
    ChangedWhileScanned = "changed_while_scanned",
    /// A slow subscriber heard one change for several.
    ChangesConflated = "changes_conflated",
    /// A subscriber was told that what came next is not retained any more.
    SubscriberCompacted = "subscriber_compacted",
    /// A subscriber went on at another node, from where it was.
    SubscriberMoved = "subscriber_moved",
    /// A client was told that its write may have happened.
    WriteUnknown = "write_unknown",
    /// Recovery cut a torn tail.
    TornTailCut = "torn_tail_cut",
    /// A node found its synced log damaged, and came back with a new, empty data folder.
    DamageSetAside = "damage_set_aside",
    /// A leader whose disk was slow or full asked another node to lead.
    LeadershipHandedOver = "leadership_handed_over",
    /// A node that had lost its data folder got its votes back, as another replica.
    Repaired = "repaired",
    /// A leader took up a repair that another had begun.
    LeaderChangedInRepair = "leader_changed_in_repair",
    /// A learner was lost before it had a vote, and dropped.
    LearnerDropped = "learner_dropped",
    /// A node died while it recovered, and recovered the next time.
    RecoveredAfterCrashInRecovery = "recovered_after_crash_in_recovery",
    /// A leader ended because its disk failed.
    LeaderDiskFailed = "leader_disk_failed",
    /// A node with a new data folder did not answer what its old one was asked.
    LostFolderAsked = "lost_folder_asked",
    /// An answer to a question of an earlier life, or one already answered, was dropped.
    StaleAnswerDropped = "stale_answer_dropped",
    /// A node restarted before its cluster had formed.
    RestartedUnformed = "restarted_unformed",
    /// A node went on in another segment of its log.
    SegmentRotated = "segment_rotated",
    /// A segment that nobody needed any more was removed.
    SegmentRemoved = "segment_removed",
    /// A checkpoint was made.
    CheckpointMade = "checkpoint_made",
    /// A checkpoint could not be written, and a later one of the same process was made.
    CheckpointFailedAndRetried = "checkpoint_failed_and_retried",
    /// A node started from a checkpoint, not from its log alone.
    RestartedFromCheckpoint = "restarted_from_checkpoint",
    /// A follower got a chunk of a snapshot.
    SnapshotSent = "snapshot_sent",
    /// A receiver of a snapshot went on behind a chunk that was lost or came twice.
    SnapshotResumed = "snapshot_resumed",
    /// A node died when a received snapshot had its name, and installed it at the next start.
    SnapshotInstalledAfterCrash = "snapshot_installed_after_crash",
    /// A store had lost batches in a crash, and the log brought them back.
    StoreBatchesReplayed = "store_batches_lost_and_replayed",
    /// A node that had lost its data folder got its state as a snapshot, and its votes back.
    RepairedBySnapshot = "repaired_by_snapshot",
}
