//! What goes into a call and what comes out.

use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

use crate::{Code, Error};

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
        let Self { trigger, function, attempt, now_ms: _, now, trace_id, env, seed: _ } = self;
        let seen = Seen { trigger, function, attempt: *attempt, now, trace_id, env: Members(env) };
        // A map of texts with numbers and texts has nothing that could fail.
        serde_json::to_vec(&seen).unwrap_or_default()
    }
}

/// What a function sees of its context, written for each call without a value in between.
#[derive(Serialize)]
struct Seen<'a> {
    trigger: &'a str,
    function: &'a str,
    attempt: u32,
    now: &'a str,
    trace_id: &'a str,
    env: Members<'a>,
}

/// Pairs as an object.
struct Members<'a>(&'a [(String, String)]);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
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
    /// Log lines that it is not granted to write.
    pub logs_refused: u64,
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

    /// Failed when its output is not JSON that an event may have.
    pub(crate) fn checked(mut self) -> Self {
        let value = self.result.as_ref().ok().and_then(|output| output.value.as_deref());
        if let Some(Err(why)) = value.map(crate::json::check) {
            let message = format!("the output is no JSON that an event may have: {why}");
            self.result = Err(Error::new(Code::BadOutput, message));
            self.usage.output_bytes = 0;
        }
        self
    }
}
