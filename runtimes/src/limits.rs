//! What a function may use and may do.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::Output;

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
    /// Instructions of WebAssembly, [`Limits::WASM_FUEL`] where there is no number; of JavaScript and Lua loops and calls,
    /// without a bound where there is none.
    pub fuel: Option<u64>,
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
            fuel: None,
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
    /// The instructions that a call of WebAssembly may run unless it is told.
    pub const WASM_FUEL: u64 = 50_000_000;

    /// The instructions of WebAssembly.
    pub(crate) fn wasm_fuel(&self) -> u64 {
        self.fuel.unwrap_or(Self::WASM_FUEL)
    }

    /// The loops and calls of a script.
    pub(crate) fn steps(&self) -> u64 {
        self.fuel.unwrap_or(u64::MAX)
    }

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
    /// Whether it may write log lines. Those of one that may not are counted, and nothing else.
    pub log: bool,
    /// Whether it may know how time goes on. For one that may not it stands still where the run began.
    pub time: bool,
    /// Whether its random numbers are the system's. Those of one that may not follow from its record, so that a run that is
    /// repeated has the same.
    pub random: bool,
}

impl Grants {
    /// Whether an event may be emitted to this topic.
    pub fn may_emit(&self, topic: &str) -> bool {
        self.emit.iter().any(|pattern| crate::session::matches(pattern, topic))
    }

    /// Whether a request may go to this URL.
    pub fn may_request(&self, url: &str) -> bool {
        let host = crate::session::authority(url);
        host.as_deref().is_some_and(|host| self.http.iter().any(|g| crate::session::host_matches(g, host)))
    }
}

impl Settings {
    /// Whether an output is within limits and grants: said of what comes out of a process that may have been taken over by
    /// its function, and is held against them there in vain.
    ///
    /// # Errors
    /// What it has that it may not have.
    pub(crate) fn hold(&self, output: &Output) -> Result<(), String> {
        let Self { limits, grants } = self;
        let fits = |json: &[u8]| json.len() <= limits.output && crate::json::check(json).is_ok();
        // Whether the value is JSON is looked at there, and nowhere before: it may be the fault of an honest one.
        if output.value.as_ref().is_some_and(|value| value.len() > limits.output) {
            return Err("an output that is too large".to_owned());
        }
        if output.emitted.len() > limits.emits {
            return Err(format!("{} emitted events", output.emitted.len()));
        }
        for one in &output.emitted {
            if !grants.may_emit(&one.topic) || !fits(one.data.as_bytes()) {
                return Err("an emitted event that it is not granted, or that is too large, or not JSON".to_owned());
            }
        }
        for write in &output.writes {
            if !grants.kv.contains(&write.namespace) || !write.value.as_ref().is_none_or(|v| fits(v.as_bytes())) {
                return Err("a stored value that it is not granted, or that is too large, or not JSON".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Emit, Write};

    #[test]
    fn what_a_process_gives_is_held_against_limits_and_grants_once_more() {
        let grants = Grants { emit: vec!["a.*".into()], kv: vec!["n".into()], ..Grants::default() };
        let settings = Settings { limits: Limits { output: 10, emits: 2, ..Limits::default() }, grants };
        let emit = |topic: &str, data: &str| Emit { topic: topic.into(), key: None, data: data.into() };
        let write = |namespace: &str, value: Option<&str>| Write {
            namespace: namespace.into(),
            key: "k".into(),
            value: value.map(Into::into),
        };
        let value = |text: &str| Output { value: Some(text.as_bytes().into()), ..Output::default() };
        let emitted = |emitted| Output { emitted, ..Output::default() };
        let writes = |writes| Output { writes, ..Output::default() };
        for right in [
            Output::default(),
            value("[1]"),
            value("[1"),
            emitted(vec![emit("a.b", "1"), emit("a.c", "{}")]),
            writes(vec![write("n", Some("1")), write("n", None)]),
        ] {
            assert_eq!(settings.hold(&right), Ok(()));
        }
        for wrong in [
            value("\"more than ten\""),
            emitted(vec![emit("b", "1")]),
            emitted(vec![emit("a.b", "{")]),
            emitted(vec![emit("a.b", "1"), emit("a.b", "1"), emit("a.b", "1")]),
            writes(vec![write("m", None)]),
            writes(vec![write("n", Some("x"))]),
        ] {
            assert!(settings.hold(&wrong).is_err(), "{wrong:?}");
        }
    }
}
