//! Every maximum of the driver in one place; the core's own are in [`understudy_core::limits`].

use std::time::Duration;

use understudy_core::limits as core;

/// What the API waits beyond the request's own time before it answers for a core that did not.
pub const API_GRACE: Duration = Duration::from_secs(1);
/// Peer batches stepped in one turn.
pub const TURN_BATCHES_MAX: usize = 256;
/// Client requests stepped in one turn.
pub const TURN_REQUESTS_MAX: usize = 1024;
/// Client requests between the API and the core thread; one more is `Busy`.
pub const SUBMIT_QUEUE_MAX: usize = core::REQUESTS_MAX;
/// What a client hears as the time to wait when that queue is full.
pub const SUBMIT_RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often the invariants are checked and abandoned requests are swept.
pub const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// Subscriptions to changes at one node; one more is `Busy`.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// What a subscriber hears as the time to wait when there are so many.
pub const SUBSCRIPTIONS_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often a subscriber that hears nothing is told how far it is.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long a question of a subscriber to its own replica may take before it is put again.
pub const SUBSCRIBER_ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new subscriber waits to hear where it begins.
pub const SUBSCRIBER_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest pause before a question that failed is put again.
pub const SUBSCRIBER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest such pause.
pub const SUBSCRIBER_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Writes between the core thread and the WAL thread; the core waits when the disk is this far
/// behind: until then nothing it could promise would be true anyway.
pub const WAL_QUEUE_MAX: usize = 1024;
/// Bytes of a WAL segment, at least: the longest frame and what a segment begins with must fit.
pub const SEGMENT_BYTES_MIN: u64 = 40 * 1024 * 1024;
/// Work on other files between the core thread and theirs. Each group has a few under way at most.
pub const FILE_QUEUE_MAX: usize = 16 * core::NAMESPACES_MAX;

/// Operations between the core thread and the storage thread; the core waits when it is this far
/// behind.
pub const STORE_QUEUE_MAX: usize = 1024;
/// Bytes of consecutive writes that become one batch of the store.
pub const STORE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Exports waiting for the thread that writes them; each holds a snapshot of the store. The core
/// has one a group under way.
pub const EXPORT_QUEUE_MAX: usize = core::NAMESPACES_MAX;
/// Bytes of an export between two writes to its file.
pub const EXPORT_BUFFER_BYTES: usize = 1024 * 1024;

/// Memory for blocks of RocksDB's files, indexes and filters among them.
pub const ROCKS_CACHE_BYTES: usize = 128 * 1024 * 1024;
/// Rows written and not yet flushed, one buffer of them; it is written out when it is full.
pub const ROCKS_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Such buffers: one being filled, the others being written out. Then writes wait.
pub const ROCKS_BUFFERS_MAX: i32 = 3;
/// How long a write waits before it tries again, where writing out is behind.
pub const ROCKS_STALL_POLL: Duration = Duration::from_millis(1);
/// RocksDB's open files.
pub const ROCKS_FILES_MAX: i32 = 512;
/// RocksDB's threads for writing out and for merging files.
pub const ROCKS_JOBS_MAX: i32 = 2;
/// Bytes of RocksDB's list of its files before it begins a new one.
pub const ROCKS_MANIFEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one file in which RocksDB tells what it did.
pub const ROCKS_LOG_BYTES_MAX: usize = 1024 * 1024;
/// Such files that are kept.
pub const ROCKS_LOGS_MAX: usize = 4;
