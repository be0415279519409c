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
