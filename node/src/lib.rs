//! The `understudy` binary: everything around the core that touches the world.
//!
//! One process is one core thread (`driver`), one log thread (`wal`), a storage thread where a
//! namespace's rows are not in the core (`store`), and a network runtime for peers (`peers`), clients
//! (`api`) and nothing else. The command line speaks to a cluster only through the HTTP API, like any
//! other client.
//!
//! What is deliberately absent: no rule of the store is decided here (the core decides), nothing
//! but `wal` writes the log, and nothing but `clock` and `folder` reads the node's clock and
//! randomness.
#![forbid(unsafe_code)]

#[cfg(sim_mutant)]
compile_error!("planted bugs are for the simulator; build the node without `--cfg sim_mutant`");

pub mod abort;
pub mod api;
pub mod backup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod demo;
pub mod dev;
pub mod documents;
pub mod driver;
pub mod files;
pub mod folder;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod load;
pub mod pace;
pub mod peers;
#[cfg(feature = "rocksdb")]
pub mod rocks;
mod say;
pub mod serve;
pub mod store;
pub mod tools;
pub mod verify;
pub mod wal;
