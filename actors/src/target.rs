//! Targets: where results leave hexaFn.
//!
//! This module owns what all kinds share: the settings (the configuration type is the factory), the [`Target`] trait,
//! the [`Outcome`] of an attempt, and [`attempt`], which contains a panic. A kind is one file with its folder
//! ([`http`], [`file`]). What is not here: waiting, retrying, breaking and dead letters. A target makes one attempt and
//! says what became of it; the forwarder and its restart strategy decide what follows.

#![allow(clippy::result_large_err, reason = "a failure is rare, and lands unboxed in an Outcome of the same size")]

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;

pub mod file;
pub mod forwarder;
pub mod http;

pub use file::units::{Rate, Size, Span};
pub use http::template::Template;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The other side has it: a 2xx answer, or a line on disk.
    Delivered {
        /// What was seen on the way.
        detail: Detail,
    },
    /// It was not delivered, or nobody can say that it was.
    Failed(Failure),
}

impl Outcome {
    /// What was seen on the way, whatever the result.
    pub fn detail(&self) -> &Detail {
        match self {
            Self::Delivered { detail } => detail,
            Self::Failed(failure) => &failure.detail,
        }
    }

    /// Whether the other side has it.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }
}

/// What the trace and the delivery log say about an attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    /// The status of the answer, when there was one.
    pub status: Option<u16>,
    /// Bytes of body sent, or bytes written.
    pub sent: u64,
    /// Bytes of the answer's body that were read.
    pub received: u64,
    /// The beginning of the answer's body, control characters escaped; what a receiver says about its failure.
    pub reply: Option<Str>,
    /// The address that was connected to.
    pub remote: Option<SocketAddr>,
    /// The file that was written to, relative to its directory.
    pub path: Option<Str>,
    /// From the first step to the last.
    pub took: Duration,
    /// The receiver took this event and asks for no more (`webhook-delivery: disable` on a 2xx answer).
    pub disable_target: bool,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The kind of failure, for metrics, filters and the breaker.
    pub class: FailureClass,
    /// What happened, what was expected and what to do, without secrets.
    pub message: Str,
    /// The receiver's `Retry-After`: a floor for the next attempt, at most 24 h.
    pub retry_after: Option<Duration>,
    /// What may follow.
    pub verdict: Verdict,
    /// What was seen on the way.
    pub detail: Detail,
}

impl Failure {
    /// A failure of a class, to be retried, with nothing seen on the way.
    pub fn new(class: FailureClass, message: impl Into<Str>) -> Self {
        Self { class, message: message.into(), retry_after: None, verdict: Verdict::Retry, detail: Detail::default() }
    }

    /// The same with another verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

/// What may follow a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Another attempt may succeed.
    Retry,
    /// No attempt with this event and this configuration can succeed, or the receiver wants none: dead letter at once.
    DeadLetter,
    /// The receiver wants nothing any more (410, `webhook-delivery: disable`): disable the target, keep its events.
    DisableTarget,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// No connection: the name does not resolve, nobody listens, no answer to the connection in time.
    Connect,
    /// The attempt took longer than the target's `timeout`.
    Timeout,
    /// An answer other than 2xx and 3xx.
    Status(u16),
    /// Refused by policy before anything was sent or opened: a private address, a path outside its directory.
    Refused,
    /// An answer 3xx; redirects are not followed.
    Redirect,
    /// The certificate or the handshake.
    Tls,
    /// What was answered is not HTTP, or the connection ended before the answer began.
    Protocol,
    /// The answer was cut off.
    Body,
    /// The file system.
    Io,
    /// A template of the target failed on this event, or gave something that cannot be used.
    Template,
    /// A panic inside the target, contained.
    Panic,
}

impl FailureClass {
    /// A short name of bounded cardinality, for metrics: all statuses of a hundred are one (`status_5xx`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status(400..=499) => "status_4xx",
            Self::Status(500..=599) => "status_5xx",
            Self::Status(_) => "status_other",
            Self::Refused => "refused",
            Self::Redirect => "redirect",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Body => "body",
            Self::Io => "io",
            Self::Template => "template",
            Self::Panic => "panic",
        }
    }

    /// Whether this speaks against the target's health (and counts for the breaker). What an event causes alone does
    /// not: else one sender could open the breaker for all the others.
    pub fn counts_for_breaker(self) -> bool {
        !matches!(self, Self::Template | Self::Refused)
    }
}

/// One attempt to make.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// What to deliver.
    pub record: &'a Arc<Record>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The wall clock, for the signature's time stamp and the age of files.
    pub now: Wall,
}

/// What an attempt would send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// `POST https://…`, or the path of a file.
    pub destination: String,
    /// The headers of a request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body of a request, or the line of a file.
    pub body: String,
}

/// How the forwarder hands records over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One at a time by [`Target::deliver`], so many at once: for what waits and fails alone.
    Each {
        /// Attempts in flight.
        concurrency: usize,
    },
    /// Many at a time by [`Target::deliver_batch`], one call after another.
    Batch {
        /// Records in a call.
        max_records: usize,
        /// Bytes of data in a call (at least one record).
        max_bytes: usize,
    },
}

/// A place that results go to. One attempt a call; no call waits for longer than the target's time-out, but a file
/// system that hangs. Dropping the future abandons the attempt: whether it took effect is then unknown, as after a
/// crash.
pub trait Target: Send + Sync + std::fmt::Debug {
    /// `http`, `file`, …
    fn kind(&self) -> &'static str;

    /// Where it goes, for tables: without secrets.
    fn destination(&self) -> String;

    /// How the forwarder hands records over.
    fn mode(&self) -> Mode;

    /// What an attempt would send or write, without doing it: for simulations and tests. Secrets are masked.
    ///
    /// # Errors
    /// The event cannot be delivered at all: a template fails on it, or gives something that is refused.
    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure>;

    /// Makes one attempt.
    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome>;

    /// Makes one attempt with each of the records; one outcome for each, in their order.
    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        async move {
            let mut outcomes = Vec::with_capacity(records.len());
            for record in records {
                outcomes.push(self.deliver(Delivery { record, attempt: 1, now }).await);
            }
            outcomes
        }
        .boxed()
    }

    /// Brings everything to its place before the process ends (unsynced files).
    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// One attempt in which a panic is a failure of class [`FailureClass::Panic`]: what the forwarder calls.
pub async fn attempt(target: &dyn Target, delivery: Delivery<'_>) -> Outcome {
    match AssertUnwindSafe(target.deliver(delivery)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Outcome::Failed(panicked(panic.as_ref())),
    }
}

/// A batch in which a panic is a failure of class [`FailureClass::Panic`] of every record in it.
pub async fn attempt_batch(target: &dyn Target, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
    match AssertUnwindSafe(target.deliver_batch(records, now)).catch_unwind().await {
        Ok(outcomes) => outcomes,
        Err(panic) => vec![Outcome::Failed(panicked(panic.as_ref())); records.len()],
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let what = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let what = what.unwrap_or("no message");
    Failure::new(
        FailureClass::Panic,
        format!("the target panicked ({what}); this is a defect of hexaFn, please report it"),
    )
}

/// Reads secrets by reference (`env:NAME`, `file:PATH`); written by who owns the configuration.
pub trait Secrets: Send + Sync {
    /// The secret, or why it cannot be read; the message never holds the secret.
    fn get(&self, reference: &str) -> Result<zeroize::Zeroizing<String>, String>;

    /// A secret that is an address.
    fn address(&self, reference: &str) -> Result<zeroize::Zeroizing<String>, String> {
        self.get(reference)
    }
}

/// Resolves names. The system's by default ([`http::SystemLookup`]); tests bring their own.
pub trait Lookup: Send + Sync {
    /// The addresses of a host name, unchecked: the guard checks them.
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// What targets are built with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The folder that relative paths of file targets start from.
    pub base_dir: &'a std::path::Path,
    /// Where secrets come from.
    pub secrets: &'a dyn Secrets,
    /// `allow_networks` of `[targets]`: private networks that every HTTP target may reach.
    pub allow_networks: &'a [IpNet],
    /// Who resolves names; the system when `None`.
    pub lookup: Option<&'a Arc<dyn Lookup>>,
}

/// Why a target cannot be built from its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting has a value that cannot be used.
    #[error("target `{target}`: `{field}`: {message}")]
    Setting {
        /// The target's name.
        target: Str,
        /// The setting.
        field: Str,
        /// What is wrong, what was expected, what to do.
        message: String,
    },
    /// A topic is written by the commit of the trigger itself, in the same batch as its ack.
    #[error("target `{0}` is a topic: the trigger's commit appends to it, so there is nothing to build")]
    Topic(Str),
    /// The HTTP client could not be set up.
    #[error("target `{target}`: the HTTP client cannot be set up: {message}")]
    Client {
        /// The target's name.
        target: Str,
        /// What the library says.
        message: String,
    },
    /// The directory of a file target cannot be used.
    #[error("target `{target}`: the directory `{}` cannot be used: {message}", directory.display())]
    Directory {
        /// The target's name.
        target: Str,
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        message: String,
    },
}

impl Error {
    /// A setting that cannot be used.
    pub(crate) fn setting(target: &Str, field: impl Into<Str>, message: impl Into<String>) -> Self {
        Self::Setting { target: target.clone(), field: field.into(), message: message.into() }
    }
}

/// One `[[target]]` as written, checked for names and types. [`build`](Self::build) makes the target of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TargetSettings {
    /// Unique among the targets; `[A-Za-z0-9_-]+`.
    pub name: Str,
    /// A condition in the DSL: only events for which it holds are delivered. Compiled by the caller.
    pub when: Option<String>,
    /// When failed deliveries are tried again.
    pub retry: RetrySettings,
    /// When the target is given a rest.
    pub breaker: BreakerSettings,
    /// The whole of one attempt; 15 s.
    pub timeout: Span,
    /// Attempts in flight; 16.
    pub concurrency: usize,
    /// Whether events keep their order, across retries too.
    pub ordering: Ordering,
    /// The most attempts in a time, e.g. `100/s`.
    pub rate: Option<Rate>,
    /// The settings of its kind.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The settings of each kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A request to an HTTP server.
    Http(http::Settings),
    /// Lines appended to files.
    File(file::Settings),
    /// A topic of hexaFn.
    Topic(TopicSettings),
}

/// The names of the kinds.
const KINDS: [&str; 3] = ["http", "file", "topic"];
/// The settings that every kind has.
const COMMON: [&str; 9] = ["name", "kind", "when", "retry", "breaker", "timeout", "concurrency", "ordering", "rate"];

/// A target of kind `topic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// The topic to append to; the target's own name when absent.
    pub topic: Option<Str>,
}

/// `ordering`: what an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Nothing: deliveries run side by side and finish in any order.
    #[default]
    None,
    /// The earlier events of the same key.
    Key,
    /// All earlier events: one delivery at a time, and a failing one holds back the rest.
    Strict,
}

/// `retry`: the pauses between attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The pause after the first failure, after the second, …; the last is repeated up to `max_attempts`.
    pub schedule: Vec<Span>,
    /// Attempts in all; one more than the schedule has pauses when absent.
    pub max_attempts: Option<u32>,
    /// Each pause is multiplied by a random number between 1 - jitter and 1 + jitter; 0.5.
    pub jitter: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        let seconds = [1, 5, 30, 120, 600, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        let schedule = seconds.map(|s| Span(Duration::from_secs(s))).to_vec();
        Self { schedule, max_attempts: None, jitter: 0.5 }
    }
}

/// `breaker`: when a failing target is given a rest, in which no attempt is made and none is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Consecutive failures that open it; 5.
    pub failures: u32,
    /// The share of failures within `window` that opens it; 0.5.
    pub failure_ratio: f64,
    /// Attempts within `window` below which the share says nothing; 20.
    pub min_attempts: u32,
    /// 60 s.
    pub window: Span,
    /// The first rest; 30 s. Doubles with each probe that fails.
    pub open: Span,
    /// The longest rest; 10 min.
    pub open_max: Span,
    /// Successes in a row that close it; 3.
    pub successes: u32,
    /// After failing for so long the target is disabled with an alert, its events kept; 5 days.
    pub disable_after: Span,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        let span = |s| Span(Duration::from_secs(s));
        Self {
            failures: 5,
            failure_ratio: 0.5,
            min_attempts: 20,
            window: span(60),
            open: span(30),
            open_max: span(600),
            successes: 3,
            disable_after: span(5 * 86_400),
        }
    }
}

impl TargetSettings {
    /// Checks the settings and makes the target.
    pub fn build(&self, context: &Context<'_>) -> Result<Box<dyn Target>, Error> {
        self.check()?;
        match &self.kind {
            Kind::Http(settings) => Ok(Box::new(http::HttpTarget::new(self, settings, context)?)),
            Kind::File(settings) => Ok(Box::new(file::FileTarget::new(self, settings, context)?)),
            Kind::Topic(_) => Err(Error::Topic(self.name.clone())),
        }
    }

    /// Checks what all kinds share.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |field: &str, message: String| Err(Error::setting(&self.name, field, message));
        let name_ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.name.is_empty() || self.name.len() > 100 || !self.name.bytes().all(name_ok) {
            return bad("name", "expected 1 to 100 of the characters A-Z, a-z, 0-9, `_` and `-`".into());
        }
        if !(1..=1024).contains(&self.concurrency) {
            return bad("concurrency", format!("expected 1 to 1024, found {}", self.concurrency));
        }
        let timeout = self.timeout.0;
        if timeout < Duration::from_millis(10) || timeout > Duration::from_secs(300) {
            return bad("timeout", format!("expected 10ms to 5m, found {}", self.timeout));
        }
        if self.retry.schedule.len() > 100 {
            return bad("retry.schedule", format!("expected at most 100 pauses, found {}", self.retry.schedule.len()));
        }
        if self.retry.max_attempts == Some(0) || self.retry.max_attempts > Some(1000) {
            return bad("retry.max_attempts", "expected 1 to 1000".into());
        }
        if !(0.0..=1.0).contains(&self.retry.jitter) {
            return bad("retry.jitter", format!("expected 0 to 1, found {}", self.retry.jitter));
        }
        if self.breaker.failures == 0 || self.breaker.successes == 0 {
            return bad("breaker", "`failures` and `successes` must be at least 1".into());
        }
        if !(self.breaker.failure_ratio > 0.0 && self.breaker.failure_ratio <= 1.0) {
            let found = self.breaker.failure_ratio;
            return bad("breaker.failure_ratio", format!("expected more than 0 and at most 1, found {found}"));
        }
        Ok(())
    }
}

// By hand, since serde cannot both flatten and refuse unknown fields: the common fields are read as their types, the
// others are kept until the kind is known and then read as its settings.
impl<'de> Deserialize<'de> for TargetSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = TargetSettings;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a target: `name`, `kind` and the settings of the kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TargetSettings, A::Error> {
        let (mut name, mut kind, mut when, mut retry, mut breaker) = (None::<Str>, None::<String>, None, None, None);
        let (mut timeout, mut concurrency, mut ordering, mut rate) = (None, None, None, None);
        let mut rest = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(map.next_value()?),
                "kind" => kind = Some(map.next_value()?),
                "when" => when = Some(map.next_value()?),
                "retry" => retry = Some(map.next_value()?),
                "breaker" => breaker = Some(map.next_value()?),
                "timeout" => timeout = Some(map.next_value()?),
                "concurrency" => concurrency = Some(map.next_value()?),
                "ordering" => ordering = Some(map.next_value()?),
                "rate" => rate = Some(map.next_value()?),
                _ if rest.len() >= 100 => drop(map.next_value::<IgnoredAny>()?),
                _ => drop(rest.insert(key, map.next_value()?)),
            }
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        let kind = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        let kind = kind_from::<A::Error>(&name, &kind, rest)?;
        Ok(TargetSettings {
            name,
            when,
            retry: retry.unwrap_or_default(),
            breaker: breaker.unwrap_or_default(),
            timeout: timeout.unwrap_or(Span(Duration::from_secs(15))),
            concurrency: concurrency.unwrap_or(16),
            ordering: ordering.unwrap_or_default(),
            rate,
            kind,
        })
    }
}

fn kind_from<E: serde::de::Error>(
    name: &str,
    kind: &str,
    rest: serde_json::Map<String, serde_json::Value>,
) -> Result<Kind, E> {
    let keys: Vec<String> = rest.keys().cloned().collect();
    let rest = serde_json::Value::Object(rest);
    let result = match kind {
        "http" => serde_json::from_value(rest).map(Kind::Http),
        "file" => serde_json::from_value(rest).map(Kind::File),
        "topic" => serde_json::from_value(rest).map(Kind::Topic),
        _ => {
            let hint = suggestion(kind, KINDS);
            let kinds = KINDS.join("`, `");
            return Err(E::custom(format!("target `{name}`: unknown kind `{kind}`{hint}; the kinds are `{kinds}`")));
        }
    };
    result.map_err(|error| {
        let message = error.to_string();
        let unknown = keys.iter().find(|key| message.starts_with(&format!("unknown field `{key}`")));
        let known = message.split('`').skip(3).step_by(2).chain(COMMON);
        let hint = unknown.map(|key| suggestion(key, known)).unwrap_or_default();
        E::custom(format!("target `{name}` of kind `{kind}`: {message}{hint}"))
    })
}

/// `, did you mean …?` when a known name is near.
fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().map(|name| (strsim::damerau_levenshtein(found, name), name));
    match near.min() {
        Some((distance, name)) if distance <= 1 + found.len() / 4 => format!(", did you mean `{name}`?"),
        _ => String::new(),
    }
}
