//! The binary as its users meet it: real processes on the loopback, real files, `kill -9`.

mod api;
mod bad_input;
mod crash;
mod identity;
mod json_suite;
mod process;
mod tools;
mod world;
