//! What goes into a call and what comes out.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::Error;

/// What a function is told beside its event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ctx {
    /// The trigger that runs it.
    pub trigger: String,
    /// The function.
    pub function: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When the run began, in milliseconds since 1970, and as RFC 3339.
    pub now_ms: i64,
    /// The same as text.
    pub now: String,
    /// The trace.
    pub trace_id: String,
    /// The environment variables that it is granted.
    pub env: Vec<(String, String)>,
    /// Begins its random numbers: the same when the same record is run again.
    pub seed: u64,
}

impl Ctx {
    /// The context as the function sees it: `trigger`, `function`, `attempt`, `now`, `trace_id`, `env`.
    pub fn json(&self) -> Vec<u8> {
        let env: serde_json::Map<_, _> = self.env.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        serde_json::json!({
            "trigger": self.trigger,
            "function": self.function,
            "attempt": self.attempt,
            "now": self.now,
            "trace_id": self.trace_id,
            "env": env,
        })
        .to_string()
        .into_bytes()
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What should not be.
    Warn,
    /// What failed.
    Error,
}

/// A log line of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
}

/// An event that a function sends to a topic by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emit {
    /// The topic.
    pub topic: String,
    /// The ordering key.
    pub key: Option<String>,
    /// The data, as JSON text.
    pub data: String,
}

/// A change of a key; takes effect with the output, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The new value, as JSON text; `None` deletes.
    pub value: Option<String>,
}

/// What a call that ended well gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The value, as JSON text; `None` when the function dropped the event.
    pub value: Option<Box<[u8]>>,
    /// What it emitted, in order.
    pub emitted: Vec<Emit>,
    /// What it stored, in order.
    pub writes: Vec<Write>,
}

/// What a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Wall-clock time.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Fuel or instructions, where the engine counts.
    pub fuel: Option<u64>,
    /// The most memory it held, in bytes, where the engine knows.
    pub peak_memory: Option<u64>,
    /// Calls to the host.
    pub host_calls: u64,
    /// Bytes of the output.
    pub output_bytes: u64,
}

/// A call that is over.
#[derive(Debug)]
pub struct Done {
    /// What it gave, or why it failed.
    pub result: Result<Output, Error>,
    /// What it used.
    pub usage: Usage,
    /// What it logged.
    pub logs: Vec<Line>,
    /// Whether it logged more than is kept.
    pub logs_cut: bool,
}

impl Done {
    /// A call that did not run, or of which nothing is left but why.
    pub fn failed(error: Error) -> Self {
        Self { result: Err(error), usage: Usage::default(), logs: Vec::new(), logs_cut: false }
    }
}
