//! Deterministic simulation of a whole cluster: every disaster, from one seed.
//!
//! Reading order: [`plan`] draws a world's knobs from its seed, [`acts`] what the nemesis does, and
//! [`schedule`] holds all of it; [`world`] is the heap of what happens to the replicas, over the pure
//! models [`disk`], [`network`] and [`clock`], with [`dice`] for what happens by chance; [`client`]
//! and [`nemesis`] are tasks on the same [`stage`]; [`oracle`] keeps what clients heard, [`checks`]
//! judges; [`simulation`] plays one schedule, [`sweep`] many seeds. When a run fails, [`shrink`]
//! makes it small, and [`card`], [`timeline`] and [`explain`] tell a person what went wrong.
#![forbid(unsafe_code)]

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs its world: unset RUSTFLAGS (the workspace sets it), or add `--cfg madsim` to it"
);

pub mod acts;
pub mod atlas;
pub mod card;
pub mod checks;
pub mod cli;
pub mod client;
pub mod clock;
pub mod dice;
pub mod explain;
pub mod faults;
pub mod files;
pub mod history;
pub mod linearizability;
pub mod marks;
pub mod nemesis;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod recording;
pub mod schedule;
pub mod shrink;
pub mod simulation;
pub mod stage;
pub mod subscriber;
pub mod sweep;
mod tally;
pub mod timeline;
pub mod trace;
pub mod words;
pub mod world;
