//! hexaFn: one self-hosted binary that takes events in, decides with triggers, runs small functions, and forwards the
//! results, and never loses what it accepted.
//!
//! This crate is configuration, the HTTP and WebSocket surface, and the command line: extraction, mapping and wiring.
//! What hexaFn does is in `hexafn-actors`, the language in `hexafn-dsl`.

pub mod auth;
pub mod changes;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod lsp;
pub mod reload;
pub mod serve;
pub mod telemetry;
pub mod trial;
pub mod web;
