//! How a target stands and how it is defined, for tables.

use serde::Serialize;

use super::Forwarder;
use crate::clock::Tick;
use crate::definitions::{TargetDefinition, TargetKind};
use crate::event::Str;
use crate::supervision::decision::Phase;
use crate::target::{Mode, Ordering, Size, Span};

/// The state of a target, for tables.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct TargetStatus {
    /// Its name.
    pub name: Str,
    /// Its kind.
    pub kind: &'static str,
    /// Where it goes.
    pub destination: String,
    /// `closed`, `open`, `half-open` or `disabled`.
    pub breaker: &'static str,
    /// Seconds until the next probe, while open.
    pub opens_in: Option<f64>,
    /// Attempts being made.
    pub attempting: usize,
    /// Attempts accepted by the target, since the start.
    pub delivered: u64,
    /// Attempts failed, since the start.
    pub failed: u64,
    /// What the last attempt came to.
    pub last: Option<String>,
    /// When that was.
    pub last_at: Option<String>,
    /// Events that lie before it or are with it; none while its topic is being restarted.
    pub lag: Option<u64>,
    /// Events that failed and wait for another attempt.
    pub waiting: Option<usize>,
    /// The target that gets what this one gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Str>,
    /// Whether its subscription is paused by hand, so that it is given nothing.
    pub paused: bool,
    /// Of a disabled one: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_why: Option<Str>,
    /// By whom: `receiver`, `breaker`, `hand`, or the name of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<Str>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<String>,
    /// How it is defined.
    #[serde(flatten)]
    pub defined: Option<Defined>,
}

/// How a target is defined: in short, to be compared with what a dead letter says.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Defined {
    /// Its version, as dead letters name it.
    pub version: String,
    /// Where it is defined.
    pub origin: Str,
    /// How it sends: time-out, concurrency, order, rate, batches, redaction.
    pub sends: String,
    /// When it tries again, and when it rests.
    pub retries: String,
}

impl Defined {
    /// What of a definition is shown.
    pub fn of(target: &TargetDefinition) -> Self {
        let settings = &target.settings;
        let mut sends = format!("timeout {}, concurrency {}", settings.timeout, settings.concurrency);
        let ordering = match settings.ordering {
            Ordering::None => "none",
            Ordering::Key => "key",
            Ordering::Strict => "strict",
        };
        sends.push_str(&format!(", ordering {ordering}"));
        if let Some(rate) = settings.rate {
            sends.push_str(&format!(", rate {rate}"));
        }
        if let TargetKind::Outside(built) = &target.kind
            && let Mode::Batch { max_records, max_bytes, max_age, .. } = built.mode()
        {
            let (bytes, age) = (Size(max_bytes as u64), Span(max_age));
            sends.push_str(&format!(", batches of {max_records} events, {bytes} or {age}"));
        }
        sends.push_str(if target.redact.is_some() { ", redacted" } else { ", not redacted" });
        let (retry, breaker) = (&target.retry, &settings.breaker);
        let mut retries = format!("{} attempts at most", retry.max_attempts.unwrap_or(u32::MAX));
        let bounds = [("max_time", settings.retry.max_time), ("max_age", settings.retry.max_age)];
        for (name, time) in bounds.into_iter().filter_map(|(name, time)| Some((name, time?))) {
            retries.push_str(&format!(", {name} {time}"));
        }
        if let Some(budget) = settings.retry.budget {
            retries.push_str(&format!(", budget {budget}"));
        }
        retries.push_str(&format!(
            "; breaker after {} failures, open for {} to {}, disabled after {}",
            breaker.failures, breaker.open, breaker.open_max, breaker.disable_after
        ));
        Self { version: format!("{:016x}", target.fingerprint), origin: target.origin.clone(), sends, retries }
    }
}

impl Forwarder {
    pub(super) fn status(&self) -> TargetStatus {
        let (breaker, opens_in) = match (self.off || self.breaker.is_disabled(), self.breaker.phase()) {
            (true, _) => ("disabled", None),
            (_, Phase::Closed) => ("closed", None),
            (_, Phase::HalfOpen { .. }) => ("half-open", None),
            (_, Phase::Open { until }) => ("open", Some(until.since(Tick::now()).as_secs_f64())),
        };
        TargetStatus {
            name: self.spec.name.clone(),
            kind: self.spec.target.kind(),
            destination: self.spec.target.destination(),
            breaker,
            opens_in,
            attempting: self.attempts.len(),
            delivered: self.delivered,
            failed: self.failed,
            last: self.last.as_ref().map(|(what, _)| what.to_string()),
            last_at: self.last.as_ref().map(|(_, at)| at.rfc3339()),
            // Known to its topics and to the definitions, and filled in by who asks.
            lag: None,
            waiting: None,
            fallback: None,
            paused: false,
            disabled_why: None,
            disabled_by: None,
            disabled_at: None,
            defined: None,
        }
    }
}
