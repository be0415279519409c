//! The binary as its users meet it: real processes on the loopback, real files, `kill -9`.

mod abuse;
mod api;
mod backup;
mod bad_input;
mod batches;
mod changes;
mod checkpoints;
mod client;
mod crash;
mod credentials;
mod grpc;
mod identity;
mod json_suite;
mod problems;
mod process;
mod python;
mod quickstart;
mod secure;
mod stuck;
mod tokens;
mod tools;
mod world;
