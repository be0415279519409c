//! The `understudy` binary: everything around the core that touches the world.
//!
//! One process is the driver's threads (`understudy-driver`) and a network runtime for peers
//! (`peers`), clients (`api`) and nothing else. The command line speaks to a cluster only through
//! its API, like any other client.
//!
//! What is deliberately absent: no rule of the store is decided here (the core decides), and no
//! file of the data folder is written here (the driver does).
#![forbid(unsafe_code)]

#[cfg(sim_mutant)]
compile_error!("planted bugs are for the simulator; build the node without `--cfg sim_mutant`");

pub mod api;
pub mod backup;
pub mod bench;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod credentials;
pub mod data;
pub mod demo;
pub mod dev;
pub mod documents;
pub mod endpoints;
pub mod frame;
pub mod guard;
pub mod handshake;
pub mod limits;
pub mod load;
pub mod pace;
pub mod peers;
mod say;
pub mod security;
pub mod serve;
pub mod tools;
pub mod verify;
pub mod watch;

// The other half of this process; see `understudy-driver`.
#[cfg(feature = "rocksdb")]
pub use understudy_driver::rocks;
pub use understudy_driver::{abort, clock, config, driver, files, folder, store, wal};
