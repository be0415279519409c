//! Every maximum of the node in one place; the core's own are in [`understudy_core::limits`].

use std::time::Duration;

use understudy_core::limits as core;

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

/// Turns' worth of messages waiting for one peer; one more is dropped, as a network would.
pub const PEER_QUEUE_MAX: usize = 256;
/// Bytes received from one peer and not yet stepped; then its connection waits.
pub const PEER_INBOX_BYTES_MAX: usize = 2 * core::FRAME_BYTES_MAX;
/// Every received frame counts as at least this much, which bounds their number too.
pub const PEER_FRAME_CHARGE_MIN: usize = 16 * 1024;
/// Bytes of a handshake frame: a configuration with every namespace and node fits.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Connections that have not yet said who they are.
pub const HANDSHAKES_MAX: usize = 64;
/// A stranger has this long to say who it is.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// To reach a peer.
pub const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// To send one frame, and to receive the rest of one that has begun.
pub const PEER_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent bytes that stay unacknowledged this long end the connection.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// First wait before dialing again.
pub const PEER_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest wait before dialing again.
pub const PEER_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Connections of the HTTP API; more wait in the system's queue.
pub const API_CONNECTIONS_MAX: usize = 1024;
/// From the first byte of a request, or the end of the one before, to the end of its header.
pub const API_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// To send the whole body.
pub const API_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a refused body that are read and thrown away, so that the client gets to hear why.
pub const API_DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a request header and of the read buffer.
pub const API_HEADER_BYTES_MAX: usize = 64 * 1024;
/// How long a request waits unless it says otherwise.
pub const API_TIMEOUT: Duration = Duration::from_secs(5);
/// What the API waits beyond the request's own time before it answers for a core that did not.
pub const API_GRACE: Duration = Duration::from_secs(1);
/// Time for open requests to end when the node stops.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

/// Records of a backup between the thread that makes them and the client's connection.
pub const BACKUP_QUEUE_MAX: usize = 16;
/// A backup of which nothing was read, or nothing came, for so long is given up.
pub const BACKUP_STALL: Duration = Duration::from_secs(60);
/// How often a node that is behind looks whether it has come far enough for a backup.
pub const BACKUP_LOOK_EVERY: Duration = Duration::from_millis(10);
/// What a client hears as the time to wait when another backup is under way.
pub const BACKUP_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Pause before a folder that is in use and looks damaged is looked at again.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Bytes of one line of a documents file.
pub const LINE_BYTES_MAX: usize = core::VALUE_BYTES_MAX + 2;
/// Bad lines and failed documents that are printed one by one; the rest are counted.
pub const PROBLEMS_SHOWN_MAX: usize = 20;
/// Documents written or read at once by `load` and `verify`.
pub const CONCURRENCY_MAX: usize = 1024;
/// One try at one endpoint before the client asks the next.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// To the first byte of an answer that is read as it comes.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// First wait between tries.
pub const ATTEMPT_BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest wait between tries.
pub const ATTEMPT_BACKOFF_MAX: Duration = Duration::from_millis(100);
/// Bytes of an answer the command line reads.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Pauses between acknowledgements shorter than this are not kept one by one.
pub const GAP_MIN: Duration = Duration::from_millis(20);
/// Pauses kept one by one.
pub const GAPS_MAX: usize = 100_000;

const _: () = {
    assert!(PEER_INBOX_BYTES_MAX >= core::FRAME_BYTES_MAX);
    assert!(core::VALUE_BYTES_MAX < API_DRAIN_BYTES_MAX);
    assert!(core::VALUE_BYTES_MAX < ANSWER_BYTES_MAX);
    // An id of the greatest length, all of it percent-encoded, fits into a request line.
    assert!(3 * core::ID_BYTES_MAX + core::NAMESPACE_BYTES_MAX < API_HEADER_BYTES_MAX);
    // Names, node ids and clocks of the greatest configuration fit into a handshake.
    assert!(
        core::NAMESPACES_MAX * (core::NAMESPACE_BYTES_MAX + 8) + core::NODES_MAX * 16 + 4096
            < HANDSHAKE_BYTES_MAX
    );
};
