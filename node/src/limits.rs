//! Every maximum of the node in one place, with the driver's own; the core's are in
//! [`understudy_core::limits`].

use std::time::Duration;

use understudy_core::limits as core;
pub use understudy_driver::limits::*;

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

/// Client connections; one more is turned away. Fewer where the system allows fewer open files.
pub const API_CONNECTIONS_MAX: usize = 16 * 1024;
/// Open files that are not client connections, amply: segments, checkpoints, peers, RocksDB's.
pub const OTHER_FILES_MAX: usize = 2048;
/// What a client that was turned away hears as the time to wait.
pub const API_RETRY_AFTER: Duration = Duration::from_secs(1);
/// From the first byte of a request to the end of its header.
pub const API_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request for so long is closed; in HTTP/2, told to go.
pub const API_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes nothing of its answer for so long is given up.
pub const API_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection that was told to go may take.
pub const API_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection is looked at for all of that, at least.
pub const API_WATCH_EVERY: Duration = Duration::from_secs(5);
/// Requests at once on one HTTP/2 connection; the client keeps further ones to itself.
pub const STREAMS_MAX: u32 = 256;
/// Calls at once in the pipelines of one connection; further ones are not read.
pub const IN_FLIGHT_MAX: usize = 1024;
/// Answers in one message of a pipeline.
pub const PIPELINE_ANSWERS_MAX: usize = 256;
/// Bytes of the answers in one message of a pipeline (soft: the one that crosses it still goes in).
pub const PIPELINE_BYTES_SOFT: usize = 512 * 1024;
/// Bytes of one gRPC message that a client takes unless told otherwise: every library's own choice.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one gRPC message, unpacked.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one HTTP/2 frame.
pub const HTTP2_FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Bytes that a client may send on one stream before they are taken.
pub const HTTP2_STREAM_WINDOW: u32 = 512 * 1024;
/// Bytes that a client may send on all streams of one connection before they are taken.
pub const HTTP2_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes of an answer that wait in a stream for its client to take them.
pub const HTTP2_SEND_BYTES_MAX: usize = 256 * 1024;
/// How often a silent HTTP/2 connection is asked whether its client is still there.
pub const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
/// And how long it may take to say so.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Actors on a page of a scan that says no number.
pub const PAGE_DEFAULT: usize = 100;
/// Bytes of a body of JSON with a batch in it: its documents, ids, and what is around them.
pub const BATCH_BODY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Reads in one batch.
pub const BATCH_READS_MAX: usize = 1000;
/// Operations of one batch that are under way at once.
pub const BATCH_CONCURRENCY: usize = 128;
/// Bytes of documents, read or deleted, in the answer to a batch (soft: the one that crosses it still
/// goes in). gRPC clients take 4 MiB unless told otherwise.
pub const BATCH_ANSWER_BYTES_SOFT: usize = 2 * 1024 * 1024;
/// Answers shorter than this are not compressed.
pub const COMPRESS_BYTES_MIN: u64 = 1024;
/// Most of a call's deadline that is kept for the way back.
pub const WAY_BACK_MAX: Duration = Duration::from_millis(50);
/// How often the gRPC health service looks whether the node is ready.
pub const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// To send the whole body.
pub const API_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a refused body that are read and thrown away, so that the client gets to hear why.
pub const API_DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a request header and of the read buffer.
pub const API_HEADER_BYTES_MAX: usize = 64 * 1024;
/// How long a request waits unless it says otherwise.
pub const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for what clients have begun to end when the node stops.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long a request for changes waits unless it says otherwise.
pub const WATCH_WAIT: Duration = Duration::from_secs(30);
/// And how long it may want to.
pub const WATCH_WAIT_MAX: Duration = core::REQUEST_TIMEOUT_MAX;
/// Changes in one answer that says no number.
pub const WATCH_LIMIT: usize = 100;
/// Changes in one answer.
pub const WATCH_LIMIT_MAX: usize = 1000;
/// Bytes of changes in one answer (soft: what crosses it still goes in).
pub const WATCH_ANSWER_BYTES_SOFT: usize = 2 * 1024 * 1024;
/// How often a stream of server-sent events that has nothing to tell shows that it is alive.
pub const WATCH_BEAT_EVERY: Duration = Duration::from_secs(10);
/// How often the token of one who watches is looked at again.
pub const WATCH_LOOK_EVERY: Duration = Duration::from_secs(1);

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
/// Lines that `batch` sends as one request, each for itself.
pub const CLI_BATCH_PART: usize = 100;
/// Lines that `batch --atomic` reads; the cluster's own limit is lower.
pub const CLI_ATOMIC_MAX: usize = 10_000;
/// Longest latency that a bench tells from others.
pub const BENCH_LATENCY_MAX: Duration = Duration::from_secs(120);
/// Subscribers of a bench on one connection: a node takes 256 streams on each.
pub const BENCH_STREAMS_PER_CONNECTION: usize = 200;
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

/// How often certificates and the list of revoked tokens are looked at again.
pub const FILES_LOOK_EVERY: Duration = Duration::from_secs(5);
/// Tokens whose signatures were verified and are remembered; 8 KiB each at most, and what they say.
pub const TOKENS_KNOWN_MAX: usize = 1024;
/// Bytes of the list of revoked tokens: a line of comment for each is fine.
pub const REVOKED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Refused requests that get a line of their own in an [`AUDIT_WINDOW`]; the rest are counted.
pub const AUDIT_LINES_MAX: u32 = 100;
/// After so long the counts are written and lines begin anew.
pub const AUDIT_WINDOW: Duration = Duration::from_secs(10);

const _: () = {
    // Every token that may be revoked fits into the list, with as much comment.
    assert!(REVOKED_BYTES_MAX > 2 * 130 * understudy_auth::REVOKED_MAX as u64);
    assert!(PEER_INBOX_BYTES_MAX >= core::FRAME_BYTES_MAX);
    assert!(BATCH_BODY_BYTES_MAX < API_DRAIN_BYTES_MAX);
    assert!(core::BATCH_WRITES_BYTES_MAX < BATCH_BODY_BYTES_MAX);
    assert!(core::BATCH_WRITES_BYTES_MAX + core::VALUE_BYTES_MAX < MESSAGE_BYTES_MAX);
    // A page of a scan with the actor that crosses its limit, behind other answers of a pipeline, is
    // a message that any client takes. A quarter of a MiB is for tags and lengths.
    assert!(
        core::SCAN_BYTES_MAX
            + core::VALUE_BYTES_MAX
            + core::METADATA_BYTES_MAX
            + core::ID_BYTES_MAX
            + PIPELINE_BYTES_SOFT
            + 256 * 1024
            < CLIENT_MESSAGE_BYTES_MAX
    );
    // One document always fits, and its stream never waits for the connection's window alone.
    assert!(2 * core::VALUE_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(HTTP2_STREAM_WINDOW < HTTP2_CONNECTION_WINDOW);
    // A single connection cannot take all of the core's places.
    assert!(2 * IN_FLIGHT_MAX <= core::REQUESTS_MAX);
    assert!(API_HEADER_TIMEOUT.as_nanos() < API_IDLE_TIMEOUT.as_nanos());
    assert!(core::VALUE_BYTES_MAX < ANSWER_BYTES_MAX);
    // An id of the greatest length, all of it percent-encoded, fits into a request line.
    assert!(3 * core::ID_BYTES_MAX + core::NAMESPACE_BYTES_MAX < API_HEADER_BYTES_MAX);
    // Names, node ids and clocks of the greatest configuration fit into a handshake.
    assert!(
        core::NAMESPACES_MAX * (core::NAMESPACE_BYTES_MAX + 8) + core::NODES_MAX * 16 + 4096
            < HANDSHAKE_BYTES_MAX
    );
};
