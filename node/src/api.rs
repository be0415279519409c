//! The API: HTTP and gRPC on one port, the same operations under the same rules.
//!
//! | module | is |
//! |---|---|
//! | `server` | connections: accepting, limits, draining |
//! | `front` | one connection's requests: to HTTP or to gRPC |
//! | `route`, `request`, `actor`, `batch`, `metadata`, `status`, `backup`, `changes` | HTTP |
//! | `grpc` | gRPC |
//! | `desk` | the way to the core: who may ask for what |
//! | `watch` | the change stream: who may watch what, and what its end means |
//! | `ops` | the operations, in the core's words |
//! | `problem` | every refusal, in both protocols, and its documentation |
//!
//! What it offers is written down in docs/API.md.

pub mod actor;
pub mod backup;
pub mod batch;
pub mod changes;
pub mod desk;
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
pub mod watch;

pub use desk::{Api, Desk, Shared};
