//! What a function may use and may do.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::protocol::MAX_FRAME;
use crate::session::{MOST_KEY, is_key};
use crate::{Done, Error, Usage};

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
    /// The most bytes that a process has to say at once: what it gives, what it leaves (which counts as its memory), what it
    /// logs, a failure, and what is written of each.
    pub(crate) fn most_said(&self) -> usize {
        let Limits { output, memory, logs, .. } = self.limits;
        let parts = usize::try_from(self.limits.host_calls).unwrap_or(usize::MAX).saturating_mul(16);
        [output, memory, logs, parts, 4 * Error::LONGEST].into_iter().fold(0, usize::saturating_add).min(MAX_FRAME)
    }

    /// Whether what a call came to is within limits and grants: said of what comes out of a process that may have been taken
    /// over by its function, and is held against them there in vain.
    ///
    /// # Errors
    /// What it has that it may not have.
    pub(crate) fn hold(&self, done: &Done) -> Result<(), String> {
        let Self { limits, grants } = self;
        let fits = |json: &[u8]| json.len() <= limits.output && crate::json::check(json).is_ok();
        let most = usize::try_from(limits.host_calls).unwrap_or(usize::MAX);
        if done.logs.len() > most || done.logs.iter().map(|line| line.message.len()).sum::<usize>() > limits.logs {
            return Err("more log lines than it may write".to_owned());
        }
        if !grants.log && !done.logs.is_empty() {
            return Err("log lines, which it is not granted".to_owned());
        }
        let output = match &done.result {
            Ok(output) => output,
            Err(error) if error.is_short() => return Ok(()),
            Err(_) => return Err("a failure that is told at too great length".to_owned()),
        };
        if output.writes.len() > most {
            return Err(format!("{} stored values", output.writes.len()));
        }
        // Whether the value is JSON is looked at there, and nowhere before: it may be the fault of an honest one.
        if output.value.as_ref().is_some_and(|value| value.len() > limits.output) {
            return Err("an output that is too large".to_owned());
        }
        if output.emitted.len() > limits.emits {
            return Err(format!("{} emitted events", output.emitted.len()));
        }
        for one in &output.emitted {
            let key = one.key.as_ref().is_none_or(|key| key.len() <= MOST_KEY);
            if !key || !grants.may_emit(&one.topic) || !fits(one.data.as_bytes()) {
                return Err("an emitted event that it is not granted, or that is too large, or not JSON".to_owned());
            }
        }
        for write in &output.writes {
            let named = grants.kv.contains(&write.namespace) && is_key(&write.key);
            if !named || !write.value.as_ref().is_none_or(|v| fits(v.as_bytes())) {
                return Err("a stored value that it is not granted, or that is too large, or not JSON".to_owned());
            }
        }
        Ok(())
    }
}

impl Limits {
    /// What a call says that it used, no more than it can have: figures that a process that was taken over made up would spoil
    /// those of all others that they are added to.
    pub(crate) fn bound(&self, usage: &mut Usage, longest: Duration) {
        usage.wall = usage.wall.min(longest);
        usage.cpu = usage.cpu.map(|cpu| cpu.min(longest));
        usage.fuel = usage.fuel.map(|fuel| fuel.min(self.steps()));
        usage.peak_memory = usage.peak_memory.map(|bytes| bytes.min(crate::sandbox::space_to_run(self)));
        usage.host_calls = usage.host_calls.min(self.host_calls);
        usage.logs_refused = usage.logs_refused.min(self.host_calls);
        usage.output_bytes = usage.output_bytes.min(self.output as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Emit, Level, Line, Output, Write};

    #[test]
    fn what_a_process_gives_is_held_against_limits_and_grants_once_more() {
        let grants = Grants { emit: vec!["a.*".into()], kv: vec!["n".into()], log: true, ..Grants::default() };
        let settings =
            Settings { limits: Limits { output: 10, emits: 2, logs: 3, host_calls: 2, ..Limits::default() }, grants };
        let emit = |topic: &str, data: &str| Emit { topic: topic.into(), key: None, data: data.into() };
        let write = |namespace: &str, value: Option<&str>| Write {
            namespace: namespace.into(),
            key: "k".into(),
            value: value.map(Into::into),
        };
        let done = |output| Done { result: Ok(output), usage: Usage::default(), logs: Vec::new(), logs_cut: false };
        let value = |text: &str| done(Output { value: Some(text.as_bytes().into()), ..Output::default() });
        let emitted = |emitted| done(Output { emitted, ..Output::default() });
        let writes = |writes| done(Output { writes, ..Output::default() });
        let logged = |lines: &[&str]| {
            let logs = lines.iter().map(|line| Line { level: Level::Info, message: (*line).to_owned() }).collect();
            Done { logs, ..done(Output::default()) }
        };
        let failed = |length| {
            // As no constructor makes it.
            let error = Error { message: "x".repeat(length), ..Error::new(Code::Thrown, "") };
            Done::failed(error)
        };
        for right in [
            logged(&["a", "bc"]),
            failed(Error::LONGEST),
            Done::failed(Error::new(Code::Thrown, "x".repeat(2 * Error::LONGEST))),
            done(Output::default()),
            value("[1]"),
            value("[1"),
            emitted(vec![emit("a.b", "1"), emit("a.c", "{}")]),
            writes(vec![write("n", Some("1")), write("n", None)]),
        ] {
            assert_eq!(settings.hold(&right), Ok(()));
        }
        for wrong in [
            logged(&["ab", "cd"]),
            logged(&["", "", ""]),
            failed(2 * Error::LONGEST),
            emitted(vec![Emit { key: Some("k".repeat(MOST_KEY + 1)), ..emit("a.b", "1") }]),
            writes(vec![Write { key: "../k".into(), ..write("n", None) }]),
            writes(vec![write("n", None), write("n", None), write("n", None)]),
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
