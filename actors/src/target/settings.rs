//! What all kinds of target share in a `[[target]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::event::Str;
use crate::supervision::strategy::{RawBackoff, RestartStrategy};
use crate::target::statuses::{self, Statuses};
use crate::target::{Error, Rate, Size, Span};

/// The settings that every `[[target]]` has, beside those of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Common {
    /// Unique among the targets; `[A-Za-z0-9_-]+`.
    pub name: Str,
    /// A condition in the language: only events for which it holds are delivered; all when absent.
    pub when: Option<String>,
    /// When failed deliveries are tried again.
    #[serde(default)]
    pub retry: RetrySettings,
    /// When a failing target is given a rest, in which no attempt is made and none is counted.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// The whole of one attempt; 15 s.
    #[serde(default = "attempt")]
    pub timeout: Span,
    /// Attempts in flight, up to 1024; 16.
    #[serde(default = "sixteen")]
    pub concurrency: usize,
    /// What an event waits for.
    #[serde(default)]
    pub ordering: Ordering,
    /// The most attempts in a time, e.g. `100/s`; no bound when absent.
    pub rate: Option<Rate>,
    /// Many events in one attempt, for the kinds that can.
    pub batch: Option<BatchSettings>,
    /// What is taken out of an event before it is stored for this target: deliveries, dead letters, streams and traces
    /// see the same.
    pub redact: Option<RedactSettings>,
    /// The target that gets what this one gives up, instead of the dead letters.
    pub fallback: Option<Str>,
}

/// The names of the fields of [`Common`].
pub const COMMON: [&str; 11] =
    ["name", "when", "retry", "breaker", "timeout", "concurrency", "ordering", "rate", "batch", "redact", "fallback"];

fn attempt() -> Span {
    Span(Duration::from_secs(15))
}

fn sixteen() -> usize {
    16
}

/// `batch`: many events in one attempt. A batch is sent when it has `max_records` or `max_bytes`, or when its oldest
/// event has waited for `max_age`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Events in a batch, 1 to 10000; 100.
    pub max_records: usize,
    /// Bytes of data in a batch (at least one event); 1 MiB.
    pub max_bytes: Size,
    /// How long an event may wait for others; 1 s.
    pub max_age: Span,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { max_records: 100, max_bytes: Size(1 << 20), max_age: Span(Duration::from_secs(1)) }
    }
}

impl BatchSettings {
    /// The mode of a target with these settings.
    pub fn mode(&self, concurrency: usize) -> super::Mode {
        super::Mode::Batch {
            max_records: self.max_records,
            max_bytes: usize::try_from(self.max_bytes.0).unwrap_or(usize::MAX),
            max_age: self.max_age.0,
            concurrency,
        }
    }
}

/// `redact`: what is taken out of an event's data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedactSettings {
    /// Paths whose values are replaced: `customer.email`, `items.*.note`.
    pub paths: Vec<String>,
    /// Regular expressions; every match in every string and number is replaced.
    pub patterns: Vec<String>,
    /// A regular expression; everything under a key that matches is replaced, at any depth.
    pub keys: Option<String>,
    /// Replaces e-mail addresses.
    pub emails: bool,
    /// Replaces the numbers of payment cards, but for their last four digits.
    pub cards: bool,
    /// What stands in their place; `[redacted]`.
    pub with: Option<String>,
}

/// A target of kind `topic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// The topic to append to; the target's own name when absent.
    pub topic: Option<Str>,
}

/// `ordering`: what an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Nothing: deliveries run side by side and finish in any order.
    #[default]
    None,
    /// The earlier events of the same key.
    Key,
    /// All earlier events: one attempt at a time, and an event that fails holds back the rest.
    Strict,
}

/// `retry`: the pauses between attempts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The pause after the first failure, after the second, …; the last is repeated up to `max_attempts`. 1 s, 5 s, 30 s,
    /// 2 m, 10 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h when absent.
    pub schedule: Option<Vec<Span>>,
    /// The pauses as those of a trigger are written, in place of `schedule` and `jitter`: growing from `base` by `factor` to
    /// `max`, or a list of `delays`.
    pub backoff: Option<RawBackoff>,
    /// Attempts in all; one more than the schedule has pauses when absent. With `backoff` 13, or with `max_time` as many as
    /// fit into that.
    pub max_attempts: Option<u32>,
    /// The time after its first attempt in which an event is tried again; beyond, it is a dead letter. No bound but
    /// the attempts when absent.
    pub max_time: Option<Span>,
    /// How old an event may become, since it was stored for this target: then it is given up, tried or not, also while the
    /// breaker is open; not while the target is switched off or its subscription paused. No bound when absent.
    pub max_age: Option<Span>,
    /// Retries may be at most this share of all attempts of the target (with ten a minute always allowed), so that a
    /// target that comes back is not met by all of its past at once; no bound when absent.
    pub budget: Option<f64>,
    /// Each pause of the schedule is multiplied by a random number between 1 - jitter and 1 + jitter; 0.5.
    pub jitter: Option<f64>,
    /// Answers that are tried again although they would be dead letters: statuses (`409`), classes (`"4xx"`) and ranges
    /// (`"520-529"`).
    pub again: Statuses,
    /// Answers that make a dead letter at once. A single status goes before the classes and ranges of the other list.
    pub never: Statuses,
}

impl RetrySettings {
    /// The pauses of the schedule.
    pub fn pauses(&self) -> Vec<Duration> {
        let seconds = [1, 5, 30, 120, 600, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        let usual = || seconds.map(Duration::from_secs).to_vec();
        self.schedule.as_ref().map_or_else(usual, |schedule| schedule.iter().map(|pause| pause.0).collect())
    }
}

/// `breaker`: when a failing target is given a rest, in which no attempt is made and none is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Consecutive failures that open it; 5.
    pub failures: u32,
    /// The share of failures within `window` that opens it; 0.5.
    pub failure_ratio: f64,
    /// Attempts within `window` below which the share says nothing; 20.
    pub min_attempts: u32,
    /// The time that attempts are counted in; 60 s.
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

impl Common {
    /// Everything that is wrong with what all kinds share.
    pub fn check(&self) -> Vec<Error> {
        let mut wrong = Vec::new();
        let mut bad = |field: &str, message: String| wrong.push(Error::setting(&self.name, field, message));
        let name_ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.name.is_empty() || self.name.len() > 100 || !self.name.bytes().all(name_ok) {
            bad("name", "expected 1 to 100 of the characters A-Z, a-z, 0-9, `_` and `-`".into());
        }
        if !(1..=1024).contains(&self.concurrency) {
            bad("concurrency", format!("expected 1 to 1024, found {}", self.concurrency));
        }
        let timeout = self.timeout.0;
        if timeout < Duration::from_millis(10) || timeout > Duration::from_secs(300) {
            bad("timeout", format!("expected 10ms to 5m, found {}", self.timeout));
        }
        let pauses = self.retry.schedule.as_ref().map_or(0, Vec::len);
        if pauses > 100 {
            bad("retry.schedule", format!("expected at most 100 pauses, found {pauses}"));
        }
        if let Some(at) = self.retry.schedule.iter().flatten().position(|pause| pause.0.is_zero()) {
            let field = format!("retry.schedule.{at}");
            bad(&field, "0s is not possible: attempts without a pause burn a core; write e.g. \"100ms\"".into());
        }
        if let Some(backoff) = &self.retry.backoff {
            for (written, field) in
                [(self.retry.schedule.is_some(), "schedule"), (self.retry.jitter.is_some(), "jitter")]
            {
                if written {
                    let field = format!("retry.{field}");
                    bad(&field, "says the pauses together with `retry.backoff`; write one of the two".into());
                }
            }
            if let Err(error) = backoff.over(RestartStrategy::delivery().backoff) {
                bad(&format!("retry.{}", error.field), format!("{}; {}", error.problem, error.advice));
            }
        }
        if let Err((field, message)) = statuses::check(&self.retry.again, &self.retry.never) {
            bad(field, message);
        }
        if self.retry.max_attempts == Some(0) || self.retry.max_attempts > Some(1000) {
            bad("retry.max_attempts", "expected 1 to 1000".into());
        }
        if let Some(jitter) = self.retry.jitter.filter(|jitter| !(0.0..=1.0).contains(jitter)) {
            bad("retry.jitter", format!("expected 0 to 1, found {jitter}"));
        }
        if self.retry.max_time.is_some_and(|time| time.0.is_zero()) {
            bad("retry.max_time", "expected more than 0".into());
        }
        if self.retry.max_age.is_some_and(|age| age.0.is_zero()) {
            bad("retry.max_age", "expected more than 0".into());
        }
        if let Some(budget) = self.retry.budget
            && !(budget > 0.0 && budget <= 1.0)
        {
            bad("retry.budget", format!("expected more than 0 and at most 1, found {budget}"));
        }
        if let Some(batch) = &self.batch {
            if !(1..=10_000).contains(&batch.max_records) {
                bad("batch.max_records", format!("expected 1 to 10000, found {}", batch.max_records));
            }
            if !(1024..=64 << 20).contains(&batch.max_bytes.0) {
                bad("batch.max_bytes", format!("expected 1KiB to 64MiB, found {}", batch.max_bytes));
            }
            if batch.max_age.0 > Duration::from_secs(300) {
                bad("batch.max_age", format!("expected at most 5m, found {}", batch.max_age));
            }
        }
        if self.fallback.as_ref() == Some(&self.name) {
            bad("fallback", "a target cannot be its own fallback".into());
        }
        if self.breaker.failures == 0 || self.breaker.successes == 0 {
            bad("breaker", "`failures` and `successes` must be at least 1".into());
        }
        if !(self.breaker.failure_ratio > 0.0 && self.breaker.failure_ratio <= 1.0) {
            let found = self.breaker.failure_ratio;
            bad("breaker.failure_ratio", format!("expected more than 0 and at most 1, found {found}"));
        }
        wrong
    }
}
