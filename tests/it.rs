//! Tests through the built binary: real sockets, real data folders, the real command line.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "it/service.rs"]
mod service;

#[path = "it/door.rs"]
mod door;
#[path = "it/flow.rs"]
mod flow;
#[path = "it/operate.rs"]
mod operate;
