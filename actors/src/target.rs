//! Targets: where results leave hexaFn.
//!
//! This module owns what all kinds share: the [`Target`] trait, the [`Outcome`] of an attempt, and [`attempt`], which
//! contains a panic. A kind is one file with its folder ([`http`], [`file`], …) whose settings are its [`Factory`], and
//! one line in [`kinds`]. What is not here: waiting, retrying, breaking and dead letters. A target makes one attempt and
//! says what became of it; the forwarder and its restart strategy decide what follows.

#![allow(clippy::result_large_err, reason = "a failure is rare, and lands unboxed in an Outcome of the same size")]

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;

pub(crate) mod dial;
pub mod file;
pub mod format;
pub mod forwarder;
pub mod http;
pub mod kafka;
mod kept;
pub mod kinds;
pub mod log;
pub mod nats;
pub mod redact;
pub mod s3;
pub mod settings;
pub mod smtp;
pub mod statuses;
pub mod stdout;
pub mod template;
pub mod units;
pub mod veil;
pub mod websocket;

pub use dial::platform_tls;
pub use settings::{BatchSettings, BreakerSettings, Common, Ordering, RedactSettings, RetrySettings, TopicSettings};
pub use template::Template;
pub use units::{Rate, Size, Span};

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
    /// The beginning of the answer's body, control characters escaped; what a receiver says about its failure. It is
    /// shown through the [`veil::Veil`] of the target, and is longer than what is shown.
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
    /// Whether it is about what the event itself named (its place at the receiver), whatever its class.
    pub of_event: bool,
    /// What was seen on the way.
    pub detail: Detail,
}

impl Failure {
    /// A failure of a class, to be retried, with nothing seen on the way.
    pub fn new(class: FailureClass, message: impl Into<Str>) -> Self {
        let (verdict, detail) = (Verdict::Retry, Detail::default());
        Self { class, message: message.into(), retry_after: None, verdict, of_event: false, detail }
    }

    /// An event of a batch of which nothing was sent.
    pub fn not_sent(why: impl Into<Str>) -> Self {
        Self::new(FailureClass::Refused, why).verdict(Verdict::NotSent)
    }

    /// Whether this speaks against the target's health (and counts for the breaker). What an event causes alone does
    /// not: else one sender could open the breaker for all the others.
    pub fn counts_for_breaker(&self) -> bool {
        !self.of_event && !matches!(self.class, FailureClass::Template | FailureClass::Refused)
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
    /// Nothing was sent of this event: others of its batch took the time, or one that comes before it failed. It is given back,
    /// and no attempt of it is counted.
    NotSent,
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
    /// The other side answers, and does not take it: no such topic or stream, no right, no room, or not this event.
    Rejected,
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
            Self::Rejected => "rejected",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Body => "body",
            Self::Io => "io",
            Self::Template => "template",
            Self::Panic => "panic",
        }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
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
    /// Many at a time by [`Target::deliver_batch`]. A call begins when it is full, or when its oldest record has waited
    /// for `max_age`.
    Batch {
        /// Records in a call.
        max_records: usize,
        /// Bytes of data in a call (at least one record).
        max_bytes: usize,
        /// How long a record may wait for others; zero takes what is there as soon as a call is free.
        max_age: Duration,
        /// Calls in flight.
        concurrency: usize,
    },
}

/// A place that results go to. One attempt a call; no call waits for longer than the target's time-out (twice of it, where a
/// batch has to be sent in parts), but a file system that hangs. Dropping the future abandons the attempt: whether it took effect is then unknown, as after a
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

    /// Whether [`Target::deliver_batch`] may be given several events of one ordering key, or in strict order: whatever
    /// fails, what is delivered last of a key is its newest event, once those that failed and all behind them have been
    /// repeated in their order. Not where the other side drops a repetition.
    fn shares_keys(&self) -> bool {
        true
    }

    /// What of its settings is probably not meant, by the setting: told by `hexafn check`.
    fn warnings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Brings everything to its place before the process ends (unsynced files).
    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// The settings of a kind of target are its factory.
pub trait Factory: Send + Sync + std::fmt::Debug {
    /// Checks the settings and makes the target. Nothing is connected to and nothing is opened yet: a target that is
    /// down must not keep hexaFn from starting.
    ///
    /// # Errors
    /// A setting that cannot be used, by its name.
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error>;
}

/// A setting that gave something for this event that cannot be used; no attempt with it would differ.
pub(crate) fn unusable(field: &str, message: &str) -> Failure {
    let message = format!("`{field}` of the target cannot be used for this event: {message}");
    Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter)
}

/// The outcome of a record that lies at a place of the other side now (`orders/0/17`), or does not.
pub(crate) fn placed(result: Result<Str, Failure>, sent: u64, took: Duration) -> Outcome {
    match result {
        Ok(place) => Outcome::Delivered { detail: Detail { sent, took, path: Some(place), ..Detail::default() } },
        Err(failure) => Outcome::Failed(Failure { detail: Detail { sent, took, ..Detail::default() }, ..failure }),
    }
}

/// One attempt in which a panic is a failure of class [`FailureClass::Panic`]: what the forwarder calls.
pub async fn attempt(target: &dyn Target, delivery: Delivery<'_>) -> Outcome {
    match AssertUnwindSafe(async { target.deliver(delivery).await }).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Outcome::Failed(panicked(panic.as_ref())),
    }
}

/// A batch in which a panic is a failure of class [`FailureClass::Panic`] of every record in it.
pub async fn attempt_batch(target: &dyn Target, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
    match AssertUnwindSafe(async { target.deliver_batch(records, now).await }).catch_unwind().await {
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

    /// A secret in PEM, such as a private key; `None` where secrets are samples, which are no keys.
    fn pem(&self, reference: &str) -> Result<Option<zeroize::Zeroizing<String>>, String> {
        self.get(reference).map(Some)
    }

    /// A file of the configuration folder that is no secret, such as a certificate; at most 1 MiB.
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("`{path}` cannot be read: no files here"))
    }

    /// Told of a secret in the form in which it is sent, such as the base64 of a password. Receivers echo it, and it is then
    /// to be masked.
    fn sent_as(&self, _form: &str) {}

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
    /// The client could not be set up.
    #[error("target `{target}`: the client cannot be set up: {message}")]
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
