//! Which answers are tried again, by their status: `retry.again` and `retry.never` of kinds whose answers have one.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

use super::{RetrySettings, Verdict};

/// The statuses that can be named: 2xx is delivered, and 1xx is no answer.
const NAMED: std::ops::RangeInclusive<u16> = 300..=599;

/// A status, a class of a hundred, or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    from: u16,
    to: u16,
}

impl Status {
    fn is_single(self) -> bool {
        self.from == self.to
    }

    fn holds(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
            format!("`{shown}` is no status; write 409, \"5xx\" or \"520-529\"")
        };
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 3);
        let class =
            text.strip_suffix("xx").and_then(|hundred| hundred.parse::<u16>().ok().filter(|_| hundred.len() == 1));
        let (from, to) = match (class, text.split_once('-')) {
            (Some(class), _) => (class * 100, class * 100 + 99),
            (None, Some((from, to))) => (number(from.trim()).ok_or_else(bad)?, number(to.trim()).ok_or_else(bad)?),
            (None, None) => number(text).map(|status| (status, status)).ok_or_else(bad)?,
        };
        Self::checked(from, to)
    }

    fn checked(from: u16, to: u16) -> Result<Self, String> {
        if from > to {
            return Err(format!("`{from}-{to}` holds no status: the first is the greater one"));
        }
        if !NAMED.contains(&from) || !NAMED.contains(&to) {
            return Err(format!(
                "`{}` is not among the answers that can fail, 300 to 599: 2xx is delivered",
                Self { from, to }
            ));
        }
        Ok(Self { from, to })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) if from % 100 == 0 && to == from + 99 => write!(f, "{}xx", from / 100),
            (from, to) => write!(f, "{from}-{to}"),
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.is_single() { to.serialize_u16(self.from) } else { to.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Status;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 409, \"5xx\" or \"520-529\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Status, E> {
                Status::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Status, E> {
                Status::parse(&n.to_string()).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Status, E> {
                Status::parse(&n.to_string()).map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": NAMED.start(), "maximum": NAMED.end() },
                { "type": "string", "pattern": r"^([3-5][0-9]{2}(\s*-\s*[3-5][0-9]{2})?|[3-5]xx)$" },
            ],
            "examples": [409, "5xx", "520-529"],
        })
    }
}

/// A list of statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Statuses(Vec<Status>);

impl Statuses {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it names a status, alone or within a class or range.
    fn names(&self, status: u16, single: bool) -> bool {
        self.0.iter().any(|one| one.is_single() == single && one.holds(status))
    }
}

/// Checks the two lists against each other. A single status may be an exception from a class or range of the other list; all
/// else that stands in both has two meanings.
///
/// # Errors
/// The setting, and what is wrong with it.
pub(super) fn check(again: &Statuses, never: &Statuses) -> Result<(), (&'static str, String)> {
    for (field, list) in [("retry.again", again), ("retry.never", never)] {
        for (at, one) in list.0.iter().enumerate() {
            // A single status may stand beside its class, as 410 has to.
            let same =
                |other: &&Status| other.is_single() == one.is_single() && other.from <= one.to && one.from <= other.to;
            match list.0[..at].iter().find(same) {
                Some(same) if same == one => return Err((field, format!("names {one} twice"))),
                Some(same) => {
                    return Err((
                        field,
                        format!("names {same} and {one}, which overlap: write one of them, or one range"),
                    ));
                }
                None => {}
            }
        }
    }
    for one in &never.0 {
        let both = |other: &&Status| other.from <= one.to && one.from <= other.to;
        if let Some(other) = again.0.iter().filter(both).find(|other| other.is_single() == one.is_single()) {
            return Err((
                "retry.never",
                format!("names {one}, and `retry.again` names {other}: one answer cannot be both"),
            ));
        }
    }
    Ok(())
}

/// What follows from the status of an answer that is a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    again: Statuses,
    never: Statuses,
    /// Whether a 4xx that is not passing by nature, and that nothing names, is tried again.
    pub client_errors: bool,
}

impl Retries {
    /// As configured.
    pub fn new(settings: &RetrySettings, client_errors: bool) -> Self {
        Self { again: settings.again.clone(), never: settings.never.clone(), client_errors }
    }

    /// What the lists say; `None` where they say nothing. 410 has to be named alone: a class does not mean that a receiver
    /// which is gone for good is asked again.
    pub fn by_status(&self, status: u16) -> Option<Verdict> {
        for single in [true, false] {
            if !single && status == 410 {
                return None;
            }
            if self.again.names(status, single) {
                return Some(Verdict::Retry);
            }
            if self.never.names(status, single) {
                return Some(Verdict::DeadLetter);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lists(json: &str) -> Result<RetrySettings, String> {
        let settings: RetrySettings = serde_json::from_str(json).map_err(|e| e.to_string())?;
        check(&settings.again, &settings.never).map_err(|(field, message)| format!("{field}: {message}"))?;
        Ok(settings)
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (json, says) in [
            (r#"{"again": [200]}"#, "`200` is not among the answers that can fail"),
            (r#"{"never": ["2xx"]}"#, "`2xx` is not among"),
            (r#"{"never": [600]}"#, "`600` is not among"),
            (r#"{"never": [-1]}"#, "`-1` is no status"),
            (r#"{"never": [99]}"#, "`99` is no status"),
            (r#"{"never": ["5XX"]}"#, "write 409, \"5xx\" or \"520-529\""),
            (r#"{"never": ["504-500"]}"#, "holds no status"),
            (r#"{"never": [501, 501]}"#, "retry.never: names 501 twice"),
            (r#"{"again": ["500-503", "5xx"]}"#, "retry.again: names 500-503 and 5xx, which overlap"),
            (r#"{"again": [409], "never": [409]}"#, "retry.never: names 409, and `retry.again` names 409"),
            (r#"{"again": ["5xx"], "never": ["500-503"]}"#, "names 500-503, and `retry.again` names 5xx"),
        ] {
            let error = lists(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
        lists(r#"{"again": [409, "520-529"], "never": ["4xx", 521]}"#).unwrap();
        for json in [r#"{"again": ["4xx", 410]}"#, r#"{"again": [410, "4xx"]}"#] {
            let retries = Retries::new(&lists(json).unwrap(), true);
            assert_eq!((retries.by_status(410), retries.by_status(404)), (Some(Verdict::Retry), Some(Verdict::Retry)));
        }
        let retries = Retries::new(&lists(r#"{"again": ["4xx"]}"#).unwrap(), true);
        assert_eq!(retries.by_status(410), None, "a class alone does not mean it");
    }

    #[test]
    fn a_status_is_written_as_it_was() {
        let text = r#"[409,"5xx","420-429"]"#;
        let read: Statuses = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
