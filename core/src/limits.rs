//! Every maximum in one place, related by compile-time assertions. Full means `Busy`, not growth.

use std::time::Duration;

/// Bytes of a namespace name.
pub const NAMESPACE_BYTES_MAX: usize = 128;
/// Bytes of an actor id.
pub const ID_BYTES_MAX: usize = 1024;
/// Bytes of a JSON document.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Pairs of an actor's metadata.
pub const METADATA_PAIRS_MAX: usize = 64;
/// Bytes of a metadata key.
pub const METADATA_KEY_BYTES_MAX: usize = 128;
/// Bytes of a metadata value.
pub const METADATA_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an actor's metadata, keys and values together.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Longest time to live. What is to stay longer needs none.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Nesting of a JSON document; deeper is refused at the edge.
pub const JSON_DEPTH_MAX: usize = 127;
/// Bytes of an idempotency key that is not a UUID. [`crate::OpId::item`] adds up to
/// [`OP_ITEM_BYTES_MAX`].
pub const OP_NAME_BYTES_MAX: usize = 255;
/// Bytes of `#` and a place.
pub const OP_ITEM_BYTES_MAX: usize = 21;
/// Operations of one atomic batch.
pub const BATCH_WRITES_MAX: usize = 1000;
/// Bytes of one atomic batch.
pub const BATCH_WRITES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Client requests a replica holds at once, over all groups; one more is `Busy`.
pub const REQUESTS_MAX: usize = 4096;
/// Bytes of client commands a replica holds at once; one more is `Busy`.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Requests that peers have forwarded and a leader holds at once; one more is `Busy`.
pub const FORWARDED_MAX: usize = 4 * REQUESTS_MAX;
/// Commands in one Raft entry.
pub const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes of commands in one Raft entry (soft: the command that crosses it still goes in).
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the largest command, encoded.
pub const COMMAND_BYTES_MAX: usize = BATCH_WRITES_BYTES_MAX + 64 * 1024;
/// Bytes of commands that a peer forwards at once.
pub const FORWARD_BYTES_MAX: usize = BATCH_BYTES_MAX + BATCH_WRITES_BYTES_MAX + VALUE_BYTES_MAX;
/// Entries in one replication message.
pub const APPEND_ENTRIES_MAX: u64 = 64;
/// Bytes of entries in one replication message (soft, as above).
pub const APPEND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of the records in one answer to a forwarded request (soft: one always goes in).
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Actors on one page of a scan.
pub const SCAN_RECORDS_MAX: usize = 1_000;
/// Bytes of the actors on one page of a scan (soft: the one that crosses it still goes in). A page
/// fits into the 4 MiB that gRPC clients take unless told otherwise.
pub const SCAN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Changes on one page of the change stream.
pub const CHANGES_MAX: usize = 1_000;
/// Shortest time between two looks for changes that are too old.
pub const RETAIN_EVERY_MIN: Duration = Duration::from_millis(500);
/// Changes that one entry may forget.
pub const COMPACT_CHANGES_MAX: u64 = 128 * 1024;
/// Bytes of the changes on one page (soft: the one that crosses it still goes in).
pub const CHANGES_BYTES_MAX: usize = 1024 * 1024;
/// Changes of one shard that a node keeps ready for subscribers that are level; others read what the
/// store retains.
pub const TAIL_CHANGES_MAX: usize = 10_000;
/// Bytes of those.
pub const TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Changes that wait for one subscriber: beyond it `disconnect` ends, and `conflate` and `pause` read
/// no further.
pub const SUBSCRIBER_CHANGES_MAX: usize = 1_000;
/// Bytes of those that `conflate` keeps.
pub const SUBSCRIBER_BYTES_MAX: usize = 1024 * 1024;
/// Items that one step of a subscription delivers.
pub const DELIVERIES_MAX: usize = 256;
/// Bytes of those (soft: the one that crosses it still goes in).
pub const DELIVERIES_BYTES_MAX: usize = 256 * 1024;
/// Actors that a subscription's snapshot asks for at once.
pub const SUBSCRIBER_ACTORS_MAX: usize = 128;
/// Id prefixes of one filter.
pub const FILTER_PREFIXES_MAX: usize = 64;
/// Questions of peers about consensus that one group works on at once; further ones are dropped,
/// as a network would.
pub const QUESTIONS_MAX: usize = 256;
/// Bytes of one WAL frame or one peer frame's message; anything longer is garbage.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of WAL a node keeps before it refuses writes as `Busy`. Log compaction lifts this.
pub const WAL_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Bytes of a WAL segment, at least: what it begins with, and a few frames, must fit. A driver that
/// takes large documents asks for more.
pub const SEGMENT_BYTES_MIN: u64 = 4 * 1024;
/// Pause before a file that could not be made is tried again: the disk is full, or fails.
pub const FILE_RETRY_AFTER: Duration = Duration::from_millis(500);
/// Bytes of rows that a namespace outside the core has at hand.
pub const ROW_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// A write to the log that takes this long makes a disk slow.
pub const SLOW_WRITE: Duration = Duration::from_millis(500);
/// How long a disk counts as slow after that.
pub const SLOW_FOR: Duration = Duration::from_secs(10);
/// Pause between two attempts to hand leadership over.
pub const HAND_OVER_EVERY: Duration = Duration::from_secs(5);
/// Pause before a checkpoint that could not be written is tried again.
pub const CHECKPOINT_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Bytes of a snapshot that are written, read or sent at once, at most (soft: a block that crosses it
/// still goes in). See [`crate::LogSizes::chunk_bytes`].
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;
/// How long a receiver may take to write a chunk of a snapshot, or to install it.
pub const SNAPSHOT_CHUNK_TIMEOUT: Duration = Duration::from_secs(2);
/// Chunks in a row without an answer after which a transfer is begun again.
pub const SNAPSHOT_SILENT_MAX: u32 = 5;
/// Pause after a receiver has thrown away what it was sent of a snapshot.
pub const SNAPSHOT_REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How long the entries behind a snapshot stay after a follower has installed it.
pub const AFTER_SNAPSHOT: Duration = Duration::from_secs(2);
/// How many times over a group's log may grow beyond a checkpoint's worth for a follower that is
/// being sent a snapshot.
pub const AWAITED_CHECKPOINTS_MAX: u64 = 8;
/// Segments of log after which whoever still has entries in the oldest is checkpointed.
pub const SEGMENTS_BEFORE_CHECKPOINT: u64 = 4;
/// Every so many entries replicas compare the hashes of their states.
pub const STATE_MARK_EVERY: u64 = 64;
/// Outcomes the op-log of one group remembers.
pub const OPLOG_ENTRIES_MAX: usize = 1_000_000;
/// Bytes the op-log of one group remembers.
pub const OPLOG_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Committed time after which an outcome may be forgotten.
pub const OPLOG_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Outcomes of one session that are remembered: how many of its operations may be under way.
pub const SESSION_WINDOW: u64 = 1024;
/// Sessions that one group knows.
pub const SESSIONS_MAX: usize = 100_000;
/// Outcomes of sessions that one group remembers.
pub const SESSION_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of outcomes of sessions that one group remembers.
pub const SESSION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Committed time after its last operation, at least, for which a session is known.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How exactly the last use of a session is kept for that.
pub const SESSION_USE_GRAIN: Duration = Duration::from_secs(60);
/// Actors that are removed by one entry because their end has come.
pub const EXPIRE_BATCH_MAX: usize = 256;
/// Shortest time between two such entries of one group.
pub const EXPIRE_PAUSE: Duration = Duration::from_millis(50);
/// Longest time that such an entry is waited for; what is still there is proposed again.
pub const EXPIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How far ahead of the receiving node's clock a time-ordered operation id may be.
pub const OP_TIME_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// How far one leader's stamps may run ahead of its own monotonic clock (ADR 4).
pub const COMMITTED_TIME_SLACK: Duration = Duration::from_secs(10);
/// How often a replica that has no vote in some group shows itself to the others (ADR 9).
pub const HELLO_EVERY: Duration = Duration::from_millis(50);
/// How long a leader believes that a data folder is in use after it has shown itself.
pub const SHOWN_FOR: Duration = Duration::from_secs(1);
/// Entries by which a learner may be behind its leader and still get a vote.
pub const JOIN_LAG_ENTRIES: u64 = 64;
/// Shortest time between two steps of a group's repair.
pub const REPAIR_PAUSE: Duration = Duration::from_millis(100);
/// Longest time a step of a repair is waited for; what became of it shows in the membership.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(5);
/// How much faster or slower than true time the monotonic clock of a node may run, in percent, for
/// lease reads to be linearizable (ADR 14). Nothing else rests on it.
pub const CLOCK_DRIFT_PERCENT: u32 = 10;
/// Longest a request may ask to wait.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Namespaces of one cluster, while each is one Raft group.
pub const NAMESPACES_MAX: usize = 64;
/// Nodes of one cluster, while every node replicates every namespace.
pub const NODES_MAX: usize = 9;

const _: () = {
    assert!(VALUE_BYTES_MAX + ID_BYTES_MAX < BATCH_BYTES_MAX);
    // What a peer forwards ends with the client's command that crosses the soft limit. An entry ends
    // with the item that crosses it: such a command, or what a peer forwarded. An append ends with
    // the entry that crosses its limit. The values are for what the counts of bytes leave out.
    assert!(FORWARD_BYTES_MAX + BATCH_BYTES_MAX + APPEND_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(COMMAND_BYTES_MAX + BATCH_BYTES_MAX < FORWARD_BYTES_MAX);
    assert!(VALUE_BYTES_MAX + METADATA_BYTES_MAX + ID_BYTES_MAX < BATCH_WRITES_BYTES_MAX);
    assert!(METADATA_PAIRS_MAX * (METADATA_KEY_BYTES_MAX + 64) < METADATA_BYTES_MAX);
    assert!(METADATA_KEY_BYTES_MAX + METADATA_VALUE_BYTES_MAX < METADATA_BYTES_MAX);
    // The outcomes of one command fit into an answer.
    assert!(BATCH_WRITES_MAX * 64 < ANSWER_BYTES_MAX);
    assert!(BATCH_WRITES_MAX <= BATCH_COMMANDS_MAX);
    // A full window of every session that may be under way at once fits.
    assert!(REQUESTS_MAX < SESSIONS_MAX && SESSIONS_MAX < SESSION_ENTRIES_MAX);
    assert!(SESSION_USE_GRAIN.as_nanos() * 60 < SESSION_AGE_MAX.as_nanos());
    // Committed time stays a number of milliseconds.
    assert!(TTL_MAX.as_millis() < (1 << 48));
    assert!(ANSWER_BYTES_MAX + SCAN_BYTES_MAX + 2 * VALUE_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(SNAPSHOT_CHUNK_BYTES + 3 * VALUE_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(ANSWER_BYTES_MAX + CHANGES_BYTES_MAX + 3 * VALUE_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
    assert!(BATCH_COMMANDS_MAX <= REQUESTS_MAX);
    assert!(HELLO_EVERY.as_nanos() * 4 < SHOWN_FOR.as_nanos());
};
