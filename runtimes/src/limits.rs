//! What a function may use and may do.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits and grants of one function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub grants: Grants,
}

/// What one call may use. Each limit ends the call with an error of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time.
    pub wall: Duration,
    /// Instructions, where the engine counts them.
    pub fuel: u64,
    /// Memory of the function, in bytes.
    pub memory: usize,
    /// Its stack, in bytes.
    pub stack: usize,
    /// Its output, in bytes of JSON; each emitted event's data and each stored value, too.
    pub output: usize,
    /// Its log lines together, in bytes; what is longer is cut.
    pub logs: usize,
    /// Calls to the host: logs, emissions, key-value access, requests.
    pub host_calls: u64,
    /// Emitted events.
    pub emits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(1),
            fuel: 50_000_000,
            memory: 32 << 20,
            stack: 512 << 10,
            output: 256 << 10,
            logs: 64 << 10,
            host_calls: 1_000,
            emits: 100,
        }
    }
}

impl Limits {
    /// How far beyond its wall-clock time a call may be found before it is an error even if it ended well.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(50)
    }
}

/// What a function may do beside computing: nothing, unless it is named here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grants {
    /// Topics that it may emit to: names, or patterns with `*` and `>` as in subscriptions.
    pub emit: Vec<String>,
    /// Namespaces of the key-value store that it may read and write.
    pub kv: Vec<String>,
    /// Hosts that it may send HTTP requests to: `api.example.com`, `*.example.com`, with `:port` when it is not 80 or 443.
    pub http: Vec<String>,
}

impl Grants {
    /// Whether a request may go to this URL.
    pub fn may_request(&self, url: &str) -> bool {
        let host = crate::session::authority(url);
        host.as_deref().is_some_and(|host| self.http.iter().any(|g| crate::session::host_matches(g, host)))
    }
}
