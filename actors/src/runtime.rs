//! Functions in other languages: what they are, how an event becomes their input, and who runs them.
//!
//! The engines live in `hexafn-runtimes`, which blocks; here are the actors around them. A function has workers of its
//! own: a function that hangs, crashes or is called too often holds up nobody else's.
//!
//! ```text
//! trigger --Call--> /functions/{name}/{n} (an actor on a thread of its own) --frames--> worker process
//!    ^                        |                                                  (JavaScript, Lua; WebAssembly and
//!    +--------Done------------+                                                   what is trusted: in the thread)
//! ```

use hexafn_runtimes::process::Launcher;
use hexafn_runtimes::{Compiled, Settings, Source};
use std::sync::{Arc, OnceLock};

use crate::event::Str;

mod host;
mod input;
mod logging;
pub mod pool;
mod worker;

pub use host::{ServiceHost, Store};
pub use input::event_json;
pub use logging::Logging;
pub use pool::{Local, Pool, Workers};

/// Where a worker's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In a process of its own, which is killed when it is late.
    Process,
    /// In a thread of the service: for engines that stop everything by themselves, and for code that is trusted.
    Thread,
}

/// A function that an engine runs.
pub struct Hosted {
    /// `js`, `lua`, `wasm`.
    pub language: &'static str,
    /// Its text or module.
    pub source: Source,
    /// It, checked and compiled.
    pub compiled: Arc<dyn Compiled>,
    /// Its limits and grants.
    pub settings: Arc<Settings>,
    /// Where it runs.
    pub isolation: Isolation,
    /// Its workers.
    pub pool: PoolSettings,
    /// Private networks that its requests may reach.
    pub allow_networks: Arc<[ipnet::IpNet]>,
    /// How much of what it logs is written into the log of the service.
    pub logging: Logging,
}

/// The workers of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// How many.
    pub workers: usize,
    /// Of those, how many are started before the first call.
    pub warm: usize,
    /// Calls that may wait for each.
    pub queue: usize,
    /// Calls after which a worker process makes room for a fresh one.
    pub recycle_after: u64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { workers: 2, warm: 1, queue: 128, recycle_after: 100_000 }
    }
}

static LAUNCHER: OnceLock<Launcher> = OnceLock::new();

/// Says how worker processes are started; the first word counts.
pub fn launch_with(launcher: Launcher) {
    drop(LAUNCHER.set(launcher));
}

/// How worker processes are started: as this program with the argument `worker`, unless it was said otherwise.
pub fn launcher() -> Launcher {
    LAUNCHER.get().cloned().unwrap_or_else(|| Launcher {
        // What runs now, also when its file was replaced meanwhile.
        program: "/proc/self/exe".into(),
        args: vec!["worker".to_owned()],
    })
}

/// The path of a worker in the tree.
pub fn worker_path(function: &Str, number: u64) -> String {
    format!("/functions/{function}/{number}")
}
