//! The checked definitions that a running system is built from: names resolved, expressions compiled.
//!
//! The configuration crate makes them from TOML; nothing here reads a file. Two sets are compared by
//! [`fingerprint`](TriggerDefinition::fingerprint), so that a reload touches only what changed.

use hexafn_dsl::{Program, Validator};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Wall;
use crate::event::Str;
use crate::runtime::Hosted;
use crate::source::pull::{Decoder, Upstream};
use crate::source::settings::WebhookSettings;
use crate::source::timer::Schedule;
use crate::source::verify::Verifier;
use crate::supervision::strategy::RestartStrategy;
use crate::target::redact::Redactor;
use crate::target::veil::Veil;
use crate::target::{Common, Target};

/// Everything that one configuration defines, by name.
#[derive(Clone, Default)]
pub struct Definitions {
    /// Sources: webhooks, timers, those that fetch from a broker.
    pub sources: BTreeMap<Str, Arc<SourceDefinition>>,
    /// Topics with settings of their own; others get the defaults when first used.
    pub topics: BTreeMap<Str, Arc<TopicDefinition>>,
    /// Triggers.
    pub triggers: BTreeMap<Str, Arc<TriggerDefinition>>,
    /// Functions.
    pub functions: BTreeMap<Str, Arc<FunctionDefinition>>,
    /// Targets.
    pub targets: BTreeMap<Str, Arc<TargetDefinition>>,
    /// What is told of deliveries on `hexafn.outcomes`.
    pub outcomes: Told,
    /// What is told of the runs of functions on `hexafn.executions`.
    pub executions: Told,
}

/// What hexaFn tells of its own work on a topic, where triggers can listen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Nothing.
    Off,
    /// What failed: attempts, dead letters, breakers that open and close, disabled targets; runs of functions.
    #[default]
    Failures,
    /// Also what went well.
    All,
}

/// A source of events.
pub struct SourceDefinition {
    /// Its name: `/hooks/{name}` for a webhook.
    pub name: Str,
    /// What it is.
    pub kind: SourceKind,
    /// A hash of its definition text.
    pub fingerprint: u64,
}

/// The kinds of source.
#[expect(clippy::large_enum_variant, reason = "made once for each source and shared by reference")]
pub enum SourceKind {
    /// Receives HTTP requests.
    Webhook {
        /// As configured.
        settings: WebhookSettings,
        /// Checks signatures; holds the secrets.
        verifier: Verifier,
        /// The topic where it is computed from the event (`topic_expr`).
        topic_expr: Option<Program>,
        /// What the data of each event is held against (`schema`, unless `validate = false`).
        validator: Option<Arc<Validator>>,
    },
    /// Fetches records from a broker.
    Pull {
        /// From where.
        upstream: Arc<dyn Upstream>,
        /// What a record becomes.
        decoder: Arc<Decoder>,
        /// Where its events go.
        topic: Str,
    },
    /// Makes an event at each tick.
    Timer {
        /// When.
        schedule: Schedule,
        /// Where its events go.
        topic: Str,
        /// The data of each event, as JSON; the tick's name and time when `None`.
        data: Option<bytes::Bytes>,
    },
}

/// How long records stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this go; `None` keeps them.
    pub age: Option<Duration>,
    /// At most this many records stay.
    pub count: Option<u64>,
    /// At most this many bytes stay.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    /// Seven days or 1 GiB, whichever comes first: long enough to replay a weekend, bounded on a small disk.
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(7 * 86_400)), count: None, bytes: Some(1 << 30) }
    }
}

impl Retention {
    /// Of letters: 1 GiB, whatever their age. Somebody has to settle them, and nobody else has what they hold.
    pub fn letters() -> Self {
        Self { age: None, count: None, bytes: Some(1 << 30) }
    }

    /// Of a topic that has no settings of its own.
    pub fn of(topic: &str) -> Self {
        if topic.starts_with(crate::system::dead::DEAD) { Self::letters() } else { Self::default() }
    }

    /// The time before which records go.
    pub fn since(&self, now: Wall) -> Option<Wall> {
        self.age.map(|age| Wall(now.0.saturating_sub_unsigned(age.as_micros() as u64)))
    }
}

/// Where the records of a topic live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicDurability {
    /// In the log, on disk before the answer.
    #[default]
    Disk,
    /// In memory alone: a restart loses them, and the answer to a publisher says so.
    Memory,
}

/// A topic's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicDefinition {
    /// Its name.
    pub name: Str,
    /// Disk or memory.
    pub durability: TopicDurability,
    /// What is removed when.
    pub retention: Retention,
}

/// The order in which a subscription's deliveries are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// In parallel, in any order.
    #[default]
    None,
    /// Events of one key one after the other, also across retries.
    Key,
    /// One after the other.
    Strict,
}

/// What a trigger listens to.
#[derive(Debug, Clone)]
pub enum On {
    /// A topic or a pattern of topics.
    Topic(Str),
    /// A timer: its ticks are events of the topic `hexafn.timer.<trigger>`.
    Timer(Schedule),
    /// A change of a key-value entry: events of the topic `hexafn.kv.<namespace>`.
    Kv {
        /// The namespace.
        namespace: Str,
        /// Only keys with this prefix.
        prefix: Str,
    },
}

/// A trigger.
pub struct TriggerDefinition {
    /// Its name.
    pub name: Str,
    /// What it listens to.
    pub on: On,
    /// The condition; always true when `None`.
    pub when: Option<Program>,
    /// What runs.
    pub run: Run,
    /// The targets of the result.
    pub to: Vec<Str>,
    /// Of several triggers on one topic the higher is served first.
    pub priority: i32,
    /// Whether it starts enabled; a switch set at run time wins.
    pub enabled: bool,
    /// The order of events.
    pub ordering: Ordering,
    /// Retries of failed events; exhausted ones go to `hexafn.dead.<trigger>`.
    pub retry: RestartStrategy,
    /// Where it was defined, e.g. `config/triggers.toml:12`.
    pub origin: Str,
    /// A hash of its definition text: also the version in traces and dead letters.
    pub fingerprint: u64,
}

/// The function of a trigger.
#[derive(Default)]
pub struct Run {
    /// Those that may run, before their fallbacks; none: the event's data is passed on unchanged. More than one only where
    /// `by` says which.
    pub of: Vec<Str>,
    /// Gives the name of one of them for each event.
    pub by: Option<Program>,
}

impl From<&str> for Run {
    fn from(name: &str) -> Self {
        Self { of: vec![name.into()], by: None }
    }
}

/// A function.
pub struct FunctionDefinition {
    /// Its name.
    pub name: Str,
    /// What runs.
    pub body: Body,
    /// What the data of its events is held against before it runs.
    pub input: Option<Arc<Validator>>,
    /// What its output is held against.
    pub output: Option<Arc<Validator>>,
    /// The longest a run may take.
    pub timeout: Duration,
    /// What runs when it fails or times out, in order.
    pub fallback: Vec<Str>,
    /// The environment variables it may read.
    pub env: Vec<(Str, Str)>,
    /// A hash of its text.
    pub fingerprint: u64,
}

/// The body of a function.
pub enum Body {
    /// In the language of hexaFn.
    Dsl(Program),
    /// In another one.
    Hosted(Arc<Hosted>),
}

impl FunctionDefinition {
    /// The program, when it is in the language of hexaFn.
    pub fn program(&self) -> Option<&Program> {
        match &self.body {
            Body::Dsl(program) => Some(program),
            Body::Hosted(_) => None,
        }
    }

    /// The function, when it is in another language.
    pub fn hosted(&self) -> Option<&Arc<Hosted>> {
        match &self.body {
            Body::Dsl(_) => None,
            Body::Hosted(hosted) => Some(hosted),
        }
    }

    /// Its language: `dsl`, `js`, `lua`, `wasm`.
    pub fn language(&self) -> &'static str {
        self.hosted().map_or("dsl", |hosted| hosted.language)
    }

    /// Whether it may emit.
    pub fn emits(&self) -> bool {
        match &self.body {
            Body::Dsl(program) => !program.emits().is_empty(),
            Body::Hosted(hosted) => !hosted.settings.grants.emit.is_empty(),
        }
    }

    /// The topics that it is known to emit to: those that its text names, or that it is granted by name.
    pub fn emits_to(&self) -> Vec<Str> {
        match &self.body {
            Body::Dsl(program) => program.emits().topics.iter().map(|topic| Str::from(&**topic)).collect(),
            Body::Hosted(hosted) => {
                let names = hosted.settings.grants.emit.iter().filter(|name| !name.contains(['*', '>']));
                names.map(|name| Str::from(&**name)).collect()
            }
        }
    }
}

/// A target.
pub struct TargetDefinition {
    /// Its name.
    pub name: Str,
    /// As configured.
    pub settings: Common,
    /// What it does with an event.
    pub kind: TargetKind,
    /// Conditional delivery.
    pub when: Option<Program>,
    /// The schedule of a failed delivery.
    pub retry: RestartStrategy,
    /// The circuit breaker.
    pub breaker: RestartStrategy,
    /// Takes out what it must not see.
    pub redact: Option<Arc<Redactor>>,
    /// What of its receiver's words is not shown; `None` where there is nothing to hide.
    pub veil: Option<Arc<Veil>>,
    /// A hash of its definition text.
    pub fingerprint: u64,
    /// Where it is defined.
    pub origin: Str,
}

/// The kinds of target.
pub enum TargetKind {
    /// Another topic: written in the trigger's own commit.
    Topic(Str),
    /// Something outside: through the outbox `hexafn.out.<name>` and a forwarder.
    Outside(Arc<dyn Target>),
}
