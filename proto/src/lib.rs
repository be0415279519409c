//! The gRPC API as types: generated from `understudy/v1/understudy.proto`, and the one conversion that
//! both sides need, a [`v1::Problem`] in and out of a status.
//!
//! A crate of its own, because server and client share this and nothing else: the client must not
//! depend on the node, nor either on how the other is built. The file is compiled in Rust (`protox`),
//! so nobody has to install `protoc`.
//!
//! What is deliberately absent: transports, conversions to the core's types, any rule of the store.
#![forbid(unsafe_code)]

mod status;

pub use status::{problem, status};

/// `understudy.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("understudy.v1");

    /// The compiled .proto, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/understudy.bin"));
}
