//! The write-ahead log: one file for all groups of a node, so that one fsync serves all.
//!
//! [`frame`] has the bytes, [`recover`] the verdict on what a crash left, [`writer`] what a running
//! replica appends. docs/FORMAT.md draws it.

pub(crate) mod frame;
pub(crate) mod recover;
pub(crate) mod writer;
