//! The binary as its users meet it: real processes on the loopback, real files, `kill -9`.

mod api;
mod backup;
mod bad_input;
mod checkpoints;
mod crash;
mod identity;
mod json_suite;
mod process;
mod tools;
mod world;
