//! The API: HTTP and gRPC on one port, the same operations under the same rules.
//!
//! | module | is |
//! |---|---|
//! | `server` | connections: accepting, limits, draining |
//! | `front` | one connection's requests: to HTTP or to gRPC |
//! | `route`, `request`, `actor`, `batch`, `metadata`, `status`, `backup` | HTTP |
//! | `grpc` | gRPC |
//! | `ops` | the operations, in the core's words |
//! | `problem` | every refusal, in both protocols, and its documentation |
//!
//! What it offers is written down in docs/API.md.

use tokio::sync::watch;
use understudy_core::NodeId;

use crate::driver::Core;

pub mod actor;
pub mod backup;
pub mod batch;
pub mod document;
pub mod front;
pub mod grpc;
pub mod metadata;
pub mod openapi;
pub mod ops;
pub mod problem;
pub mod request;
pub mod route;
pub mod server;
pub mod status;

/// What every request may use.
#[derive(Debug)]
pub struct Api {
    /// The way to the replica.
    pub core: Core,
    /// Which member this is.
    pub node: NodeId,
    /// Where the members' APIs are.
    pub members: Vec<(NodeId, String)>,
    /// What backups are made from.
    pub backups: backup::Source,
    /// Makes ids.
    pub ids: ops::Ids,
    /// True when the node stops.
    pub stop: watch::Receiver<bool>,
}
