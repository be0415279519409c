//! What drives the core in a process of its own: one core thread (`driver`), one log thread (`wal`),
//! one for other files (`files`), a storage thread where a namespace's rows are not in the core
//! (`store`), one that wakes subscribers to changes (`hub`), a data folder (`folder`) and the configuration that says whose it is (`config`).
//!
//! The node puts a network around it, the embedded store of `understudy-client` a library. What is
//! deliberately absent: any network, and any rule of the store (the core decides). Nothing but `wal`
//! writes the log, and nothing but `clock` and `folder` reads this machine's clock and randomness.
#![forbid(unsafe_code)]

#[cfg(sim_mutant)]
compile_error!("planted bugs are for the simulator; build the driver without `--cfg sim_mutant`");

pub mod abort;
pub mod clock;
pub mod config;
pub mod document;
pub mod driver;
pub mod files;
pub mod folder;
pub mod hub;
pub mod limits;
pub mod peer;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod start;
pub mod store;
pub mod wal;
