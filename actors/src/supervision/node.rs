//! What is shown of a child, the controls that act on it, and their errors.

use std::sync::Arc;

use crate::clock::Wall;

use super::failure::Failure;
use super::machine::State;

/// One node of the tree, as `GET /admin/actors`, the console and `hexafn actors` show it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Node {
    /// E.g. `/triggers/big-push`.
    pub path: Arc<str>,
    /// E.g. `trigger`; `group` for a node that only holds others.
    pub kind: Arc<str>,
    /// The name of the state.
    pub state: &'static str,
    /// When the state ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// The number of the start that is or was last alive; 0 before the first.
    pub incarnation: u64,
    /// Starts after the first one.
    pub restarts: u64,
    /// Counted failures within the window of its intensity.
    pub failures: u32,
    /// Counted failures ever.
    pub failures_total: u64,
    /// Messages that wait, approximately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<Mailbox>,
    /// For how long its handler has been running, in ms, to the watchdog's tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_ms: Option<u64>,
    /// The last failure, counted or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When this incarnation was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Wall>,
    /// The thread it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Arc<str>>,
    /// What the actor shows of itself; in snapshots, not in changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<serde_json::Value>,
}

/// A mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Mailbox {
    /// Messages that wait, approximately.
    pub depth: u64,
    /// Messages that may wait.
    pub capacity: usize,
}

/// One change of the tree, for `/ws/actors`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A node is new, or its state has changed.
    Node(Box<Node>),
    /// A node was removed.
    Removed {
        /// Which.
        path: Arc<str>,
    },
    /// A child was given up, and removed.
    DeadLettered {
        /// Which.
        path: Arc<str>,
        /// Why.
        failure: Failure,
    },
    /// A thread hung and was left behind.
    ThreadReplaced {
        /// Its name.
        thread: Arc<str>,
        /// Such threads so far.
        leaked: u64,
    },
    /// The root is exhausted: the process drains and ends.
    Fatal {
        /// The node whose failure reached the root.
        path: Arc<str>,
        /// The failure.
        failure: Failure,
    },
}

/// What a person can do to a node; on a group, to all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Stop in order, then start.
    Restart,
    /// Stop in order, and stay down.
    Stop,
    /// Start what was stopped, or do not wait for the backoff.
    Start,
    /// Forget the failures, and start what is quarantined, open or waiting.
    Reset,
}

impl Verb {
    /// `restart`, `stop` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Reset => "reset",
        }
    }
}

/// Why a control was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such node.
    #[error("there is no actor {path}; {}", suggestion(near))]
    Unknown {
        /// What was asked for.
        path: String,
        /// Names that are near, best first, at most three.
        near: Vec<Arc<str>>,
    },
    /// The state does not allow it.
    #[error("{path} is {state} and cannot take `{}`; {advice}", verb.name())]
    Refused {
        /// Which node.
        path: Arc<str>,
        /// Its state.
        state: State,
        /// What was asked.
        verb: Verb,
        /// What to do instead.
        advice: &'static str,
    },
    /// A child with this path exists.
    #[error("there is already an actor {path}; remove it first")]
    Taken {
        /// The path.
        path: Arc<str>,
    },
    /// Not a path.
    #[error("`{path}` is not a path; write one such as /triggers/big-push: up to 8 names, 300 bytes, no empty name")]
    Path {
        /// What was written, cut.
        path: String,
    },
    /// The tree is being shut down.
    #[error("the service is shutting down; nothing is started any more")]
    ShuttingDown,
}

/// What to say of the names that are near one which no node has.
pub fn suggestion(near: &[Arc<str>]) -> String {
    match near {
        [] => "`hexafn actors` lists them".to_owned(),
        [one] => format!("did you mean {one}?"),
        many => format!("did you mean one of {}?", many.join(", ")),
    }
}

/// The names nearest to `path`, best first, at most three.
pub(super) fn nearest<'a>(path: &str, names: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
    let last = |p: &'a Arc<str>| p.rsplit('/').next().unwrap_or(p).to_owned();
    let wanted: String = path.chars().take(300).collect();
    let wanted_last = wanted.rsplit('/').next().unwrap_or(&wanted).to_owned();
    let mut scored: Vec<(f64, &Arc<str>)> = names
        .map(|name| {
            let by_last = strsim::jaro_winkler(&last(name), &wanted_last);
            (strsim::jaro_winkler(name, &wanted).max(by_last), name)
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| Arc::clone(name)).collect()
}
