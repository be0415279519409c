//! Deterministic simulation of a whole cluster: every disaster, from one seed.
//!
//! Reading order: [`plan`] draws a world's knobs from its seed; [`world`] is the heap of what
//! happens to the replicas, over the pure models [`disk`], [`network`] and [`clock`]; [`client`] and
//! [`nemesis`] are tasks on the same [`stage`]; [`oracle`] keeps what clients heard, [`checks`] judges;
//! [`simulation`] plays one seed, [`sweep`] many; [`card`] tells a person what went wrong.
#![forbid(unsafe_code)]

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs its world: unset RUSTFLAGS (the workspace sets it), or add `--cfg madsim` to it"
);

pub mod card;
pub mod checks;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod history;
pub mod linearizability;
pub mod nemesis;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod recording;
pub mod simulation;
pub mod stage;
pub mod sweep;
pub mod timeline;
pub mod trace;
pub mod words;
pub mod world;
