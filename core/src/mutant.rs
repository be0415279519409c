//! Planted bugs, to test the tester. They exist only in a build with `--cfg sim_mutant`.
//!
//! Each is at the one place where the real code is, behind `planted!`; what needs more than a line
//! or two there has its body in [`sabotage`].

use std::cell::Cell;

pub(crate) mod sabotage;

thread_local! {
    static CURRENT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

macro_rules! mutants {
    ($($mutant:ident, $name:literal, $source:literal, $story:literal;)*) => {
        /// One planted bug. The simulator must catch each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $story] $mutant,)*
        }

        impl Mutant {
            /// Every planted bug.
            pub const ALL: [Mutant; [$($name),*].len()] = [$(Mutant::$mutant),*];

            /// The name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Mutant::$mutant => $name,)* }
            }

            /// Where it comes from: the catalogue of bugs, a contradiction, an issue, a decision.
            pub fn source(self) -> &'static str {
                match self { $(Mutant::$mutant => $source,)* }
            }

            /// What it does, in one line.
            pub fn story(self) -> &'static str {
                match self { $(Mutant::$mutant => $story,)* }
            }
        }
    };
}

mutants! {
    // ---- the log and its recovery
    AckBeforeSync, "ack_before_sync", "M01",
        "appends and votes are acknowledged before their sync";
    VoteNotPersisted, "vote_not_persisted", "M03",
        "a vote is said to be durable but never written";
    TruncateNotWritten, "truncate_not_written", "ADR 2",
        "the log is truncated in memory and not on the disk";
    PinNotPersisted, "pin_not_persisted", "ADR 9",
        "who alone may begin a group is remembered only until the restart";
    FailedSyncIgnored, "failed_sync_ignored", "M16, B-07",
        "a failed sync is taken for a completed one";
    CommitMarkAhead, "commit_mark_ahead", "ADR 2",
        "the commit mark on the disk names the last entry, not the last committed one";
    AttestsUnsynced, "attests_unsynced", "ADR 2",
        "frames attest what was written, not what was synced";
    WalWithoutCrc, "wal_without_crc", "M15",
        "recovery does not compare checksums";
    TornTailKept, "torn_tail_kept", "M17",
        "a torn tail is not cut, and new frames go behind it";
    CommittedTailCut, "committed_tail_cut", "M17",
        "recovery cuts the last intact entry";
    DamageCutAsTail, "damage_cut_as_tail", "M17, NATS 7549",
        "damage to synced bytes is cut like a torn tail";
    RecoverySkipsEntry, "recovery_skips_entry", "M09, etcd 13967",
        "after a restart the last committed entry counts as applied without its rows";
    SnapshotNotSynced, "snapshot_not_synced", "M16",
        "a checkpoint gets its name before its bytes are synced";
    SnapshotWithoutOpLog, "snapshot_without_op_log", "M10",
        "a snapshot that is installed brings no op-log";
    CarryForgotten, "carry_forgotten", "M03",
        "a new log segment does not carry the votes of the ones before it";
    PurgesTooMuch, "purges_too_much", "NATS 7549",
        "log segments are removed before their entries are in a checkpoint";
    FlushNotWaited, "flush_not_waited", "NATS 7549",
        "the log is purged before the store that it was applied to is flushed";
    StoreWriteForgotten, "store_write_forgotten", "X-44",
        "a batch for a store outside the core is answered for and never written";
    SegmentFilledUp, "segment_filled_up", "issue 4",
        "a segment may end with its last byte, and the next one is written without its beginning";
    SnapshotNameShared, "snapshot_name_shared", "issue 4",
        "a snapshot that is dropped removes its file, though another one has the same name";
    ExportTooOld, "export_too_old", "issue 4",
        "a follower is sent an older snapshot than consensus was told of";
    OpLogNotRecovered, "op_log_not_recovered", "M10",
        "entries replayed at a restart do not fill the op-log";

    // ---- consensus
    LeaderRestore, "leader_restore", "ADR 1",
        "a restarted leader leads on in its old term: openraft's default";
    VotesForShorterLog, "votes_for_shorter_log", "Raft 5.4.1",
        "a vote is granted to a candidate whose log is behind";
    CommitsOnReceipt, "commits_on_receipt", "Raft 5.3",
        "a follower takes every entry it receives for committed";
    WipedNodeVotes, "wiped_node_votes", "M25, NATS 7567",
        "a node with a wiped disk goes on under its old name";
    LostFolderAnswers, "lost_folder_answers", "ADR 9",
        "a node with a new data folder answers what its lost one was asked";
    FormsWithMajority, "forms_with_majority", "ADR 9",
        "a group begins when a majority of its members has promised";
    StaleAnswerTaken, "stale_answer_taken", "ADR 1",
        "an answer from before a crash is taken for the answer to the oldest open question";
    NoAnswerDeadline, "no_answer_deadline", "ADR 1",
        "a question whose answer was lost waits for ever";

    // ---- reads
    ReadWithoutQuorum, "read_without_quorum", "X-10, M08",
        "whoever believes that it leads answers reads without asking a quorum";
    ReadBeforeApply, "read_before_apply", "M06",
        "a read is confirmed by a quorum but does not wait for what was committed by then";
    LeaseIgnoresDrift, "lease_ignores_drift", "X-10, ADR 14",
        "a leader relies on its lease as long as the others promise, whatever its clock";
    LeaseWithoutEnd, "lease_without_end", "X-10, ADR 14",
        "a leader relies on a promise until it hears of another leader";
    LeaseOutlivesLeader, "lease_outlives_leader", "X-10, ADR 14",
        "a leader relies on promises that it has given back to hand over";
    PromiseForgotten, "promise_forgotten", "X-10, ADR 14",
        "a restarted replica votes at once, though it may just have answered a leader";
    SessionReadEarly, "session_read_early", "X-11",
        "a session's read does not wait for what the session has seen";
    ScanSkipsFirst, "scan_skips_first", "X-25",
        "a page of a scan leaves out the first actor behind the one it goes on from";
    ScanOfNewerRows, "scan_of_newer_rows", "X-25",
        "a page of a scan names the state before the changes it shows";
    FollowerServesReads, "follower_serves_reads", "X-08, X-10",
        "every replica answers linearizable reads from its own rows";

    // ---- exactly once, and what clients are told
    OpLogForgets, "op_log_forgets", "M11, S0-060",
        "the op-log remembers nothing";
    OpNamedByLeader, "op_named_by_leader", "M11, X-12",
        "each attempt gives the operation a new name, so a repeat runs again";
    RefusalNotRecorded, "refusal_not_recorded", "S0-060",
        "a refused operation is not recorded, so its repeat may run";
    PayloadNotCompared, "payload_not_compared", "S0-060",
        "a name used again for another request gets the first one's outcome";
    ProposesAfterDeadline, "proposes_after_deadline", "SEMANTICS, failures",
        "what the client was told had not happened is proposed all the same";
    UnknownCalledRefused, "unknown_called_refused", "SEMANTICS, failures",
        "at its deadline a request that may have happened is said not to have";
    ForwardRefusalBelieved, "forward_refusal_believed", "SEMANTICS, failures",
        "a peer that refuses a forwarded write is believed, though the question may arrive twice";
    ClientRenamesRetries, "client_renames_retries", "X-12",
        "a client repeats a write that had no answer under a new name (in the client's pure half)";
    ClientBelievesRefusal, "client_believes_refusal", "SEMANTICS, failures",
        "a client takes a refused repeat for the fate of a write that had no answer (likewise)";
    AnswersTwice, "answers_twice", "the driver's contract",
        "a write answered from the op-log is answered twice";

    // ---- the change stream
    ChangesNotInSnapshot, "changes_not_in_snapshot", "X-19, M10",
        "a snapshot that is installed brings no changes";
    RetentionForgetsAll, "retention_forgets_all", "S0-093",
        "a leader that has to forget some changes forgets all of them";
    CompactionUnnoticed, "compaction_unnoticed", "etcd 18089",
        "a subscriber whose next change is gone goes on with the first that is retained";
    HistorySkipsFirst, "history_skips_first", "etcd 19179",
        "a page of retained changes leaves out the first one behind what is forgotten";
    EventNamedByReplica, "event_named_by_replica", "S0-092",
        "the event id is drawn by whoever applies the change";
    SnapshotWithoutCatchUp, "snapshot_without_catch_up", "X-18, B-09",
        "a subscriber hears nothing of what changes behind its snapshot's cursor";
    SnapshotTokenTooFar, "snapshot_token_too_far", "X-18",
        "within a snapshot, a resume token claims changes that were not told yet";
    ConflateTokenTooFar, "conflate_token_too_far", "X-17",
        "a conflated change's token covers changes that still wait";
    ResumeTellsTwice, "resume_tells_twice", "S0-080",
        "a subscription that is resumed begins with the change that was told last";

    // ---- what an operation does
    CreateOverwrites, "create_overwrites", "M21, B-01",
        "create replaces an existing actor and reports that it exists";
    CollidingKeys, "colliding_keys", "B-08, M22",
        "rows are keyed by the first character of the actor's id";
    ExpectedIgnoresLife, "expected_ignores_life", "X-02",
        "a token compares by version only, so one of a former life matches";
    TokenWithoutLife, "token_without_life", "X-02",
        "every life of an actor begins with the same token";
    DecidesBeforeLog, "decides_before_log", "X-09",
        "the leader decides preconditions when it proposes, not when it applies";
    UnorderedApply, "unordered_apply", "M27",
        "a batch is applied in an order that differs from replica to replica";
    WallClockInApply, "wall_clock_in_apply", "M28",
        "apply takes the time from its own clock, not from the entry";
    CommittedTimeUnbounded, "committed_time_unbounded", "ADR 4",
        "one leader's fast clock moves committed time as far as it likes";
    BatchInPart, "batch_in_part", "DESIGN 4",
        "of an atomic batch that is refused, what stands before the refusal happens";
    ExpiresEarly, "expires_early", "DESIGN 4, expiry",
        "an actor is removed two seconds before its end";
    ExpiresByWallClock, "expires_by_wall_clock", "DESIGN 4, expiry; M28",
        "whether an actor's end has come is asked of the replica's own clock at apply";
    SnapshotWithoutMetadata, "snapshot_without_metadata", "M10",
        "a snapshot that is installed brings no metadata";
    SessionForgetsItsFloor, "session_forgets_its_floor", "X-12",
        "what has left a session's window runs again";
    ProposesBeforeApplied, "proposes_before_applied", "ADR 4",
        "a new leader stamps before it knows where committed time stands";
}

impl Mutant {
    /// Plants this bug, and no other, for replicas on this thread.
    pub fn plant(mutant: Option<Mutant>) {
        CURRENT.set(mutant);
    }

    /// Whether this bug is planted.
    pub fn is_planted(self) -> bool {
        CURRENT.get() == Some(self)
    }
}
