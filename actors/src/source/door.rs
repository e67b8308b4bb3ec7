//! What the door answers when it does not let an event in: a status, a stable code and a sentence, ready to be a
//! problem detail (RFC 9457).

use hexafn_dsl::{SchemaFault, json};
use std::borrow::Cow;
use std::time::Duration;

use super::verify::Refusal;

/// The code of events that do not meet the schema of their source.
pub const MISMATCH: &str = "schema-mismatch";

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct DoorError {
    /// The HTTP status.
    pub status: u16,
    /// The stable code, the same for every occurrence of the problem.
    pub code: &'static str,
    /// The `title`: the problem in general.
    pub title: &'static str,
    /// The `detail`: this occurrence, with the place and what was expected.
    pub detail: Cow<'static, str>,
    /// For 429 and 503: when to come again.
    pub retry_after: Option<Duration>,
    /// For an event that does not meet the schema of its source: what is wrong where.
    pub faults: Vec<SchemaFault>,
}

impl DoorError {
    /// A refusal; see the constructors for those with a meaning of their own.
    pub fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, title, detail: detail.into(), retry_after: None, faults: Vec::new() }
    }

    /// 413, for the body of a request.
    pub fn too_large(limit: u64) -> Self {
        Self::longer("body", limit, "limits.body")
    }

    /// The same of a record that was fetched from a broker.
    pub(super) fn record_too_large(limit: u64) -> Self {
        Self::longer("record", limit, "max_record")
    }

    fn longer(what: &str, limit: u64, setting: &str) -> Self {
        let detail = format!("the {what} is longer than the {limit} bytes that this source accepts ({setting})");
        Self::new(413, "body-too-large", "The body is too large", detail)
    }

    /// 415: decompression is off, so that a small request cannot become a large one.
    pub fn encoded(encoding: &str) -> Self {
        let encoding: String = encoding.chars().filter(|c| !c.is_control()).take(40).collect();
        let detail = format!("Content-Encoding `{encoding}` is not accepted: send the body uncompressed (identity)");
        Self::new(415, "content-encoding", "The content encoding is not accepted", detail)
    }

    /// 405.
    pub fn method(allowed: &[String]) -> Self {
        let detail = format!("this source accepts {}", allowed.join(", "));
        Self::new(405, "method-not-allowed", "The method is not allowed", detail)
    }

    /// 429.
    pub fn too_many(retry_after: Duration) -> Self {
        let detail = "this source receives more events than its rate allows (rate): come again after Retry-After";
        let error = Self::new(429, "rate-limited", "Too many events", detail);
        Self { retry_after: Some(retry_after), ..error }
    }

    /// 400, for an attribute of a CloudEvent.
    pub fn cloudevent(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "cloudevent-invalid", "Not a valid CloudEvent", detail)
    }

    /// 400 for JSON that is refused (413 when only its size is), with the place.
    pub fn json(error: &json::Error) -> Self {
        let status = if matches!(error.kind, json::ErrorKind::TooLong(_)) { 413 } else { 400 };
        Self::new(status, error.code(), "The JSON is refused", error.to_string())
    }

    /// 422, for data that does not meet the schema of the source: the first fault in words, all of them beside it.
    pub fn mismatch(faults: Vec<SchemaFault>) -> Self {
        let detail = match faults.first() {
            Some(first) if first.path.is_empty() => first.message.clone(),
            Some(first) => format!("{}: {}", first.path, first.message),
            None => "the event has no JSON data, which the schema of this source asks for".to_owned(),
        };
        let error = Self::new(422, MISMATCH, "The event does not meet the schema of its source", detail);
        Self { faults, ..error }
    }

    /// 401. The answer is the same for every reason and for an unknown source, so that it tells an attacker nothing.
    pub fn unauthorized() -> Self {
        Self::new(
            401,
            "signature-refused",
            "The request is not authenticated",
            "the request does not carry the valid, fresh signature that this source requires",
        )
    }

    /// The `Retry-After` header: whole seconds, at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|d| d.as_secs().saturating_add(u64::from(d.subsec_nanos() > 0)).max(1))
    }

    /// Puts the place before the sentence: `events[3]: …`.
    #[must_use]
    pub(super) fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.detail = format!("{place}: {}", self.detail).into();
        self
    }
}

impl From<Refusal> for DoorError {
    fn from(_: Refusal) -> Self {
        Self::unauthorized()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_answers_the_same() {
        let all = [Refusal::MissingSignature, Refusal::BadSignature, Refusal::Stale, Refusal::Malformed("x")];
        assert!(all.into_iter().all(|r| DoorError::from(r) == DoorError::unauthorized()));
    }

    #[test]
    fn retry_after_rounds_up() {
        assert_eq!(DoorError::too_many(Duration::from_millis(1)).retry_after_seconds(), Some(1));
        assert_eq!(DoorError::too_many(Duration::from_millis(2_001)).retry_after_seconds(), Some(3));
        assert_eq!(DoorError::unauthorized().retry_after_seconds(), None);
    }
}
