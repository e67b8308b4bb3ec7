//! What was seen against what was expected: in words, and as a difference where there is something to compare.

use hexafn_actors::function;
use hexafn_actors::log::Record;
use serde_json::Value;
use similar::TextDiff;
use std::fmt::Write;

use super::{Answered, Delivered, DeliveryEnd, Seen};
use crate::config::ExpectSettings;

/// An expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Miss {
    /// Where it stands.
    pub origin: String,
    /// What was expected and what was seen.
    pub message: String,
}

/// What does not hold; empty when everything does.
pub fn misses(seen: &Seen, expect: &[ExpectSettings]) -> Vec<Miss> {
    let missed = |e: &ExpectSettings| {
        let messages = check(seen, e);
        messages.into_iter().map(|message| Miss { origin: e.origin.to_string(), message }).collect::<Vec<_>>()
    };
    expect.iter().flat_map(missed).collect()
}

fn check(seen: &Seen, expect: &ExpectSettings) -> Vec<String> {
    if let Some(name) = &expect.trigger {
        return trigger(seen, name, expect);
    }
    if let Some(name) = &expect.target {
        let none = Vec::new();
        let delivered = seen.targets.get(name.as_str()).unwrap_or(&none);
        let mut missed = count(expect, delivered.len(), &format!("target `{name}`"));
        let all: Vec<Subject<'_>> = delivered.iter().map(Subject::of).collect();
        missed.extend(one_of(&all, expect, &format!("target `{name}`")));
        return missed;
    }
    if let Some(name) = &expect.topic {
        let none = Vec::new();
        let records = seen.topics.get(name.as_str()).unwrap_or(&none);
        let mut missed = count(expect, records.len(), &format!("topic `{name}`"));
        let all: Vec<Subject<'_>> = records.iter().map(|record| Subject { record, delivered: None }).collect();
        missed.extend(one_of(&all, expect, &format!("topic `{name}`")));
        return missed;
    }
    answer(seen.answer.as_ref(), expect)
}

fn answer(answer: Option<&Answered>, expect: &ExpectSettings) -> Vec<String> {
    let Some(answer) = answer else {
        return vec!["an answer was expected, and nothing was sent to a webhook source".into()];
    };
    let mut missed = Vec::new();
    let told = || answer.code.as_ref().map_or_else(String::new, |code| format!(" ({code}: {})", answer.body));
    if let Some(status) = expect.status.filter(|s| *s != answer.status) {
        missed.push(format!("the answer was expected to be {status}, and is {}{}", answer.status, told()));
    }
    if expect.code.is_some() && expect.code != answer.code {
        let code = expect.code.as_deref().unwrap_or_default();
        missed.push(format!("the answer was expected to be `{code}`, and is {}{}", answer.status, told()));
    }
    if let Some(expected) = &expect.answer {
        let found: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| answer.body.clone().into());
        if !equal(&found, expected) {
            missed.push(format!("the answer differs:\n{}", difference(expected, &found)));
        }
    }
    missed
}

fn trigger(seen: &Seen, name: &str, expect: &ExpectSettings) -> Vec<String> {
    let outcomes = seen.triggers.get(name).map_or(&[][..], Vec::as_slice);
    let wanted = expect.outcome.as_deref().unwrap_or_default();
    let found = outcomes.iter().filter(|o| o.name == wanted).count();
    let right = match (wanted, expect.count) {
        ("none", _) => outcomes.is_empty(),
        (_, Some(count)) => found == count,
        (_, None) => found > 0,
    };
    if right {
        return Vec::new();
    }
    let times = expect.count.map_or_else(String::new, |n| format!(" {n} times"));
    let mut message = format!("trigger `{name}` was expected to be {wanted}{times}, and ");
    if outcomes.is_empty() {
        message.push_str("no event reached it");
    } else {
        let names: Vec<&str> = outcomes.iter().map(|o| o.name).collect();
        message.push_str(&format!("was {}", names.join(", ")));
    }
    for why in outcomes.iter().filter(|o| o.name != wanted).filter_map(|o| o.why.as_deref()).take(3) {
        for line in why.trim_end().lines() {
            message.push_str(&format!("\n    {line}"));
        }
    }
    vec![message]
}

fn count(expect: &ExpectSettings, found: usize, what: &str) -> Vec<String> {
    match expect.count {
        Some(count) if count != found => vec![format!("{what} was expected to get {count} events, and got {found}")],
        _ => Vec::new(),
    }
}

/// An event that an expectation may be about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    record: &'a Record,
    delivered: Option<&'a Delivered>,
}

impl<'a> Subject<'a> {
    fn of(delivered: &'a Delivered) -> Self {
        Self { record: &delivered.record, delivered: Some(delivered) }
    }

    fn data(self) -> Value {
        let data = &self.record.event.data;
        serde_json::from_slice(data).unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned().into())
    }

    /// Why the event is not the expected one.
    fn misses(self, expect: &ExpectSettings) -> Vec<String> {
        let mut missed = Vec::new();
        if let Some(expected) = &expect.data
            && !equal(&self.data(), expected)
        {
            missed.push(format!("its data differs:\n{}", difference(expected, &self.data())));
        }
        if let Some(expected) = &expect.contains {
            let found = self.data();
            if !contains(&found, expected) {
                missed.push(format!("its data lacks something:\n{}", difference(expected, &part(&found, expected))));
            }
        }
        if let Some(key) = &expect.key
            && self.record.event.key.as_deref() != Some(key)
        {
            missed.push(format!("its key was expected to be `{key}`, and is {:?}", self.record.event.key));
        }
        if let Some(program) = &expect.assert {
            match function::test(program, self.record, "", 1) {
                Ok(true) => {}
                Ok(false) => {
                    let why = function::explain(program, self.record, "").unwrap_or_default();
                    missed.push(format!("`{}` does not hold:\n{}", program.text().trim(), why.trim_end()));
                }
                Err(error) => missed.push(format!("`{}` failed: {error}", program.text().trim())),
            }
        }
        if let Some(delivered) = self.delivered {
            if let Some(attempts) = expect.attempts.filter(|n| *n != delivered.attempts) {
                missed.push(format!("{attempts} attempts were expected, and {} were made", delivered.attempts));
            }
            if let Some(dead) = expect.dead.filter(|dead| *dead != (delivered.end == DeliveryEnd::Dead)) {
                let end = match delivered.end {
                    DeliveryEnd::Arrived => "it arrived",
                    DeliveryEnd::Dead => "it is a dead letter",
                    DeliveryEnd::Kept => "it is kept, since its target was disabled",
                };
                let expected = if dead { "a dead letter was expected" } else { "no dead letter was expected" };
                missed.push(format!("{expected}, and {end} after {} attempts", delivered.attempts));
            }
            if let Some(expected) = &expect.sends {
                match &delivered.preview {
                    Err(why) => missed.push(format!("nothing can be sent: {why}")),
                    Ok(preview) => {
                        let headers = preview.headers.iter().map(|(name, value)| (name.clone(), value.clone().into()));
                        let body: Value =
                            serde_json::from_str(&preview.body).unwrap_or_else(|_| preview.body.clone().into());
                        let found = serde_json::json!({
                            "destination": preview.destination,
                            "headers": Value::Object(headers.collect()),
                            "body": body,
                        });
                        if !contains(&found, expected) {
                            missed.push(format!(
                                "what is sent differs:\n{}",
                                difference(expected, &part(&found, expected))
                            ));
                        }
                    }
                }
            }
        }
        missed
    }
}

/// Some event must be the expected one; when none is, the nearest is told.
fn one_of(all: &[Subject<'_>], expect: &ExpectSettings, what: &str) -> Vec<String> {
    let asks = expect.data.is_some()
        || expect.contains.is_some()
        || expect.key.is_some()
        || expect.assert.is_some()
        || expect.attempts.is_some()
        || expect.dead.is_some()
        || expect.sends.is_some();
    if !asks {
        return match (expect.count, all) {
            (None, []) => vec![format!("{what} was expected to get an event, and got none")],
            _ => Vec::new(),
        };
    }
    let nearest = all.iter().map(|subject| subject.misses(expect)).min_by_key(Vec::len);
    match nearest {
        None => vec![format!("{what} was expected to get an event, and got none")],
        Some(misses) => {
            let which = if all.len() == 1 { "the event" } else { "the nearest event" };
            misses.into_iter().map(|miss| format!("{what}: {which}: {miss}")).collect()
        }
    }
}

/// Whether everything in `expected` is in `found`: members of objects; all else must be equal.
fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|f| contains(f, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| contains(f, e))
        }
        (found, expected) => equal(found, expected),
    }
}

/// Numbers by their value, as the language compares them: 32 is 32.00.
fn equal(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let mut members = expected.iter();
            found.len() == expected.len() && members.all(|(key, e)| found.get(key).is_some_and(|f| equal(f, e)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| equal(f, e))
        }
        (Value::Number(f), Value::Number(e)) if f.is_f64() != e.is_f64() => f.as_f64() == e.as_f64(),
        (found, expected) => found == expected,
    }
}

/// What of `found` the expectation speaks of, so that the difference shows no more.
fn part(found: &Value, expected: &Value) -> Value {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let both = expected.iter().filter_map(|(key, e)| Some((key.clone(), part(found.get(key)?, e))));
            Value::Object(both.collect())
        }
        (Value::Array(found), Value::Array(expected)) => {
            let rest = expected.iter().chain(std::iter::repeat(&Value::Null));
            Value::Array(found.iter().zip(rest).map(|(f, e)| part(f, e)).collect())
        }
        (found, expected) if equal(found, expected) => expected.clone(),
        (found, _) => found.clone(),
    }
}

/// Lines that begin with `-` are expected and absent, with `+` found and unexpected.
fn difference(expected: &Value, found: &Value) -> String {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let (expected, found) = (pretty(expected), pretty(found));
    let mut out = String::new();
    for change in TextDiff::from_lines(&expected, &found).iter_all_changes() {
        // Writing to a string cannot fail.
        writeln!(out, "    {}{}", change.tag(), change.value().trim_end_matches('\n')).unwrap_or_default();
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_is_contained_and_a_difference_shows_no_more() {
        let found = json!({"a": 1, "b": {"c": [1, {"d": 2, "e": 3}]}});
        assert!(contains(&found, &json!({"b": {"c": [1, {"d": 2}]}})));
        assert!(!contains(&found, &json!({"b": {"c": [1]}})));
        assert!(!contains(&found, &json!({"x": null})));
        assert!(contains(&json!({"total": 32.0, "n": [1]}), &json!({"total": 32, "n": [1.0]})));
        assert!(!contains(&json!({"total": 32.5}), &json!({"total": 32})));
        let expected = json!({"b": {"c": [1, {"d": 9}]}});
        let text = difference(&expected, &part(&found, &expected));
        assert!(
            text.contains("-        \"d\": 9") && text.contains("+        \"d\": 2") && !text.contains("\"e\""),
            "{text}"
        );
    }
}
