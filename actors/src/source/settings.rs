//! The settings of sources: `[[source]] kind = "webhook"` and `kind = "timer"`, with their defaults and reasons.
//!
//! These types are what serde reads; `problems` says what is wrong with one, all of it at once, so that whoever edits a
//! configuration corrects it in one go.

use hexafn_dsl::json;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::time::Duration;

use super::rate::Limit;
use super::timer::{Missed, ScheduleConfig};
use super::verify::VerifyConfig;
use super::{is_header_name, units};

/// `[[source]] kind = "webhook"`: `POST /hooks/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["topic"] }, { "required": ["topic_expr"] }]))]
pub struct WebhookSettings {
    /// Its name, 1 to 64 of `A-Z a-z 0-9 _ -`: a part of the URL.
    pub name: String,
    /// The topic that its events are stored in. Either this or `topic_expr`.
    #[serde(default)]
    pub topic: Option<String>,
    /// A DSL expression that gives the topic's name, for example `"orders.${event.data.region}"`.
    #[serde(default)]
    pub topic_expr: Option<String>,
    /// Who may send. No default: an open door is written down as `{ scheme = "none" }`.
    pub verify: VerifyConfig,
    /// The event type where neither a header nor the body tells one; default `webhook.<name>`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The CloudEvents `source` attribute; default `/hooks/<name>`.
    #[serde(default)]
    pub source: Option<String>,
    /// Whether CloudEvents (binary, structured, batch) are recognised. Default: yes, except for the schemes of one
    /// provider, since their signatures do not cover the `ce-*` headers.
    #[serde(default)]
    pub cloudevents: Option<bool>,
    /// Headers to keep with the event, instead of the default list. Authorization, cookies and signatures never are.
    #[serde(default)]
    pub headers: Option<Vec<String>>,
    /// Limits at the door.
    #[serde(default)]
    pub limits: DoorLimits,
    /// Events a second; default unlimited (the mailboxes answer 503 when full).
    #[serde(default)]
    pub rate: Option<Limit>,
    /// A header whose value identifies a delivery, instead of what the scheme tells.
    #[serde(default)]
    pub dedupe_header: Option<String>,
    /// How long a delivery id is remembered: 24 h, since senders retry for hours after an outage; `"1s"` to `"30d"`.
    #[serde(default = "day", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub dedupe_window: Duration,
    /// Answer with the result of a trigger instead of 202.
    #[serde(default)]
    pub reply: Option<Reply>,
    /// A JSON Schema in a file of the configuration folder that the data of its events meets. Conditions of triggers and
    /// functions that only such events reach are checked against it when the configuration is checked.
    #[serde(default)]
    pub schema: Option<String>,
    /// Whether an event that does not meet `schema` is refused (422) at the door. Default: yes, since what was checked
    /// against the schema relies on it; `false` takes everything in, and the schema is then only what to expect.
    #[serde(default = "yes")]
    pub validate: bool,
    /// Methods; default POST. TRACE and CONNECT are never accepted.
    #[serde(default = "post")]
    #[schemars(schema_with = "methods")]
    pub methods: Vec<String>,
}

/// `limits = { body = "1MiB", depth = 64, keys = 10000 }`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DoorLimits {
    /// Bytes of the body: 1 MiB, which holds the payloads of the common providers (GitHub's limit is 25 MiB, the most
    /// that can be configured).
    #[serde(with = "units::size")]
    #[schemars(schema_with = "units::size::schema")]
    pub body: u64,
    /// Nesting of JSON: 64, deeper than any payload made by people and shallow enough for every reader's stack.
    pub depth: u32,
    /// Keys of JSON in all: 10,000, which bounds the memory of the parsed view.
    pub keys: u32,
    /// Time for the body to arrive: 10 s, so that slow senders do not hold connections.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub body_time: Duration,
}

impl DoorLimits {
    /// The most that `body` can be.
    pub const MAX_BODY: u64 = 25 << 20;

    /// The limits of the JSON reader.
    pub fn json(&self) -> json::Limits {
        let bytes = usize::try_from(self.body).unwrap_or(usize::MAX).min(json::Limits::MAX_BYTES);
        json::Limits { depth: self.depth, keys: self.keys, bytes }
    }
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self { body: 1 << 20, depth: 64, keys: 10_000, body_time: Duration::from_secs(10) }
    }
}

/// `reply = { trigger = "price", timeout = "1s" }`: the answer is the trigger's result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The trigger whose result is the answer.
    pub trigger: String,
    /// How long to wait for it before answering 202 instead; default 1 s, up to 30 s (the limit of functions).
    #[serde(default = "second", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub timeout: Duration,
}

/// `[[source]] kind = "timer"`: an event at every tick.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["cron"] }, { "required": ["every"] }]))]
pub struct TimerSettings {
    /// Its name, 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// The topic of its events.
    pub topic: String,
    /// Five fields: minute, hour, day of month, month, day of week. Either this or `every`.
    #[serde(default)]
    pub cron: Option<String>,
    /// The time zone of `cron`, an IANA name; default UTC.
    #[serde(default)]
    pub tz: Option<String>,
    /// An interval, for example `"30s"`.
    #[serde(default)]
    #[schemars(schema_with = "units::duration::schema")]
    pub every: Option<String>,
    /// Ticks that passed while the process was down; default `skip`.
    #[serde(default)]
    pub missed: Missed,
}

impl TimerSettings {
    /// The schedule's part.
    pub fn schedule(&self) -> ScheduleConfig {
        ScheduleConfig { cron: self.cron.clone(), tz: self.tz.clone(), every: self.every.clone(), missed: self.missed }
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        check_name(&self.name, &mut found);
        check_topic(&self.topic, &mut found);
        if let Err(error) = self.schedule().build() {
            found.push(Problem { field: error.field(), message: error.to_string() });
        }
        found
    }
}

fn yes() -> bool {
    true
}

fn day() -> Duration {
    Duration::from_secs(86_400)
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn post() -> Vec<String> {
    vec!["POST".into()]
}

/// The headers kept unless a source lists its own: what the event is and which delivery it is, nothing about people.
pub const KEPT_HEADERS: &[&str] = &[
    "content-type",
    "idempotency-key",
    "user-agent",
    "webhook-id",
    "x-event-key",
    "x-github-delivery",
    "x-github-event",
    "x-github-hook-id",
    "x-gitlab-event",
    "x-request-id",
    "x-shopify-api-version",
    "x-shopify-shop-domain",
    "x-shopify-topic",
    "x-shopify-webhook-id",
    "x-slack-retry-num",
];

/// The headers that no list can keep: they let their reader act as the sender.
pub const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "stripe-signature",
    "webhook-signature",
    "x-api-key",
    "x-auth-token",
    "x-gitlab-token",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-shopify-hmac-sha256",
    "x-slack-signature",
];

/// The methods that a source may accept.
const METHODS: &[&str] = &["POST", "PUT", "PATCH", "DELETE", "GET"];

fn methods(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string", "enum": METHODS }, "minItems": 1 })
}

/// One thing that is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// The field, for example `limits.body`.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl WebhookSettings {
    /// What is wrong with it, secrets aside (see [`VerifyConfig::build`]); nothing when it is right.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        check_name(&self.name, &mut found);
        match (&self.topic, &self.topic_expr) {
            (Some(topic), None) => check_topic(topic, &mut found),
            (None, Some(_)) => {}
            (None, None) => found.push(problem("topic", "missing: name a topic, or give topic_expr")),
            (Some(_), Some(_)) => found.push(problem("topic", "excludes topic_expr: keep one of them")),
        }
        for (field, value) in [("type", &self.kind), ("source", &self.source)] {
            if value.as_ref().is_some_and(|v| v.is_empty() || v.len() > 256 || v.chars().any(char::is_control)) {
                found.push(problem(field, "must be 1 to 256 bytes without control characters"));
            }
        }
        self.header_problems(&mut found);
        self.limit_problems(&mut found);
        if self.methods.is_empty() {
            found.push(problem("methods", "is empty: name one, for example [\"POST\"]"));
        }
        for method in self.methods.iter().filter(|m| !METHODS.contains(&m.as_str())) {
            found.push(problem("methods", format!("does not know {method:?}; there are {}", METHODS.join(", "))));
        }
        found
    }

    fn header_problems(&self, found: &mut Vec<Problem>) {
        let kept = self.headers.iter().flatten().map(|name| ("headers", name));
        for (field, name) in kept.chain(self.dedupe_header.iter().map(|name| ("dedupe_header", name))) {
            if !is_header_name(name) {
                found.push(problem(field, format!("{name:?} is not a header name")));
            } else if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                let why = format!("{name:?} carries a credential or a signature, which is never stored: remove it");
                found.push(problem(field, why));
            }
        }
        if self.headers.as_ref().is_some_and(|names| names.len() > 64) {
            found.push(problem("headers", "lists more than 64 headers"));
        }
    }

    fn limit_problems(&self, found: &mut Vec<Problem>) {
        let limits = &self.limits;
        if !(1..=DoorLimits::MAX_BODY).contains(&limits.body) {
            found.push(problem("limits.body", "must be between \"1B\" and \"25MiB\""));
        }
        // An event read back from the log is parsed with the default limits, so more than them would be unreadable.
        let most = json::Limits::default();
        if !(1..=most.depth).contains(&limits.depth) {
            found.push(problem("limits.depth", format!("must be between 1 and {}", most.depth)));
        }
        if !(1..=most.keys).contains(&limits.keys) {
            found.push(problem("limits.keys", format!("must be between 1 and {}", most.keys)));
        }
        let within = |value: Duration, from: u64, to: u64| {
            (Duration::from_secs(from)..=Duration::from_secs(to)).contains(&value)
        };
        if !within(limits.body_time, 1, 300) {
            found.push(problem("limits.body_time", "must be between \"1s\" and \"300s\""));
        }
        if !within(self.dedupe_window, 1, 30 * 86_400) {
            found.push(problem("dedupe_window", "must be between \"1s\" and \"30d\""));
        }
        if let Some(reply) = &self.reply
            && (reply.timeout > Duration::from_secs(30) || reply.timeout.is_zero())
        {
            found.push(problem("reply.timeout", "must be between \"1ms\" and \"30s\""));
        }
        if let Some(message) = self.rate.as_ref().and_then(Limit::problem) {
            found.push(Problem { field: "rate", message });
        }
    }
}

fn problem(field: &'static str, message: impl Into<String>) -> Problem {
    Problem { field, message: message.into() }
}

fn check_name(name: &str, found: &mut Vec<Problem>) {
    let fits = (1..=64).contains(&name.len());
    if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        found.push(problem(
            "name",
            format!("{name:?} must be 1 to 64 of A-Z a-z 0-9 _ -, since it is a part of the URL"),
        ));
    }
}

/// Segments of `[A-Za-z0-9_-]+` joined by dots, at most 200 bytes; `hexafn.` is hexaFn's own.
fn check_topic(topic: &str, found: &mut Vec<Problem>) {
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if topic.len() > 200 || !topic.split('.').all(word) {
        let why =
            format!("{topic:?} is not a topic: words of A-Z a-z 0-9 _ - joined by dots, for example \"orders.eu\"");
        found.push(problem("topic", why));
    } else if topic.split('.').next() == Some("hexafn") {
        found.push(problem("topic", format!("{topic:?} belongs to hexaFn itself: choose a name without `hexafn.`")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn webhook(more: &str) -> WebhookSettings {
        let json = format!(r#"{{ "name": "github", "verify": {{ "scheme": "none" }} {more} }}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn told(more: &str) -> String {
        webhook(more).problems().into_iter().map(|p| p.to_string()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn defaults_are_those_of_the_policies() {
        let settings = webhook(r#", "topic": "github""#);
        assert_eq!(settings.problems(), []);
        assert_eq!((settings.limits.body, settings.limits.depth, settings.limits.keys), (1_048_576, 64, 10_000));
        assert_eq!(settings.dedupe_window, Duration::from_secs(86_400));
        assert_eq!(settings.methods, ["POST"]);
        let settings = webhook(r#", "topic_expr": "x", "limits": { "body": "25MiB" }, "reply": { "trigger": "t" }"#);
        assert_eq!(settings.problems(), []);
        assert_eq!((settings.limits.body, settings.limits.depth), (26_214_400, 64));
        assert_eq!(settings.reply.unwrap().timeout, Duration::from_secs(1));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let all = told(
            r#", "topic": "a..b", "headers": ["Cookie", "a b"], "limits": { "body": "26MiB", "depth": 65, "keys": 0 },
               "dedupe_window": "31d", "methods": ["TRACE"], "rate": { "per_second": 0 }, "type": "",
               "reply": { "trigger": "t", "timeout": "31s" }, "dedupe_header": "Authorization""#,
        );
        for part in [
            "not a topic",
            "Cookie",
            "a b",
            "25MiB",
            "limits.depth",
            "limits.keys",
            "dedupe_window",
            "TRACE",
            "per_second",
            "type",
            "reply.timeout",
            "dedupe_header",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(told("").contains("name a topic"));
        assert!(told(r#", "topic": "a", "topic_expr": "b""#).contains("excludes"));
        assert!(told(r#", "topic": "hexafn.alerts""#).contains("belongs to hexaFn"));
    }

    #[test]
    fn unknown_fields_and_a_missing_verify_are_errors() {
        let error = |json: &str| serde_json::from_str::<WebhookSettings>(json).unwrap_err().to_string();
        assert!(error(r#"{ "name": "a", "topic": "a" }"#).contains("verify"));
        let unknown = error(r#"{ "name": "a", "topik": "a", "verify": { "scheme": "none" } }"#);
        assert!(unknown.contains("topik") && unknown.contains("`topic`"), "{unknown}");
    }

    #[test]
    fn timers() {
        let timer = |json: &str| serde_json::from_str::<TimerSettings>(json).unwrap().problems();
        assert_eq!(timer(r#"{ "name": "t", "topic": "t", "every": "30s" }"#), []);
        assert_eq!(timer(r#"{ "name": "t", "topic": "t", "cron": "0 9 * * MON", "tz": "Europe/Berlin" }"#), []);
        assert_eq!(timer(r#"{ "name": "t", "topic": "t" }"#).len(), 1);
        assert_eq!(timer(r#"{ "name": "t t", "topic": "", "cron": "61 * * * *" }"#).len(), 3);
    }

    #[test]
    fn the_lists_are_sorted_and_apart() {
        assert!(KEPT_HEADERS.is_sorted() && SECRET_HEADERS.is_sorted());
        assert!(KEPT_HEADERS.iter().all(|name| !SECRET_HEADERS.contains(name)));
    }
}
