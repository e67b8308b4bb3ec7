//! What a target must not see, taken out of an event before it is stored for it.
//!
//! It happens once, in the commit that appends the event to the target's outbox. So the delivery, its repetitions, the
//! dead letter, live streams, traces and logs can only show what is left: there is no second place to forget.

use hexafn_dsl::{Budget, CtxView, Input, Limits, Program, ProgramKind, SourceText};

use super::RedactSettings;
use crate::event::{Event, Str};
use crate::function::{MAX_OUTPUT, view};
use crate::log::{Record, TopicId};

/// Redacts events, by a program of the language that is made of the settings.
#[derive(Debug)]
pub struct Redactor {
    /// For data that is JSON.
    whole: Program,
    /// Of strings alone: for other data, and for the subject.
    text: Option<Program>,
}

impl Redactor {
    /// Compiles the settings of the target `name`.
    ///
    /// # Errors
    /// The setting that is wrong, below `redact`, and what is wrong with it.
    pub fn new(name: &str, settings: &RedactSettings) -> Result<Self, (&'static str, String)> {
        let with = settings.with.as_deref().map(|text| format!(", {}", literal(text))).unwrap_or_default();
        if settings == &(RedactSettings { with: settings.with.clone(), ..RedactSettings::default() }) {
            return Err(("", "expected one of `paths`, `patterns`, `keys`, `emails` and `cards`".into()));
        }
        // Each part is compiled by itself first, so that an error names its setting.
        let check = |field: &'static str, text: &str| compile(name, text).map(drop).map_err(|e| (field, e));
        for path in &settings.paths {
            check("paths", &format!("redact({{}}, [{}])", literal(path)))?;
        }
        for pattern in &settings.patterns {
            check("patterns", &format!("redact_pattern('', {}{with})", literal(pattern)))?;
        }
        if let Some(pattern) = &settings.keys {
            check("keys", &format!("redact_keys('', {})", literal(pattern)))?;
        }
        let mut strings = String::new();
        for pattern in &settings.patterns {
            strings.push_str(&format!(" |> redact_pattern({}{with})", literal(pattern)));
        }
        if settings.emails {
            strings.push_str(&format!(" |> redact_emails({})", with.trim_start_matches(", ")));
        }
        if settings.cards {
            strings.push_str(&format!(" |> redact_cards({})", with.trim_start_matches(", ")));
        }
        let mut whole = "event.data".to_owned();
        if !settings.paths.is_empty() {
            let paths: Vec<String> = settings.paths.iter().map(|path| literal(path)).collect();
            // A path leads into an object or an array; other data has nothing at it.
            whole = format!(
                "let d = event.data\nlet p = if type_of(d) in [\"object\", \"array\"] {{ redact(d, [{}]{with}) }} else {{ d }}\np",
                paths.join(", ")
            );
        }
        if let Some(pattern) = &settings.keys {
            whole.push_str(&format!(" |> redact_keys({}{with})", literal(pattern)));
        }
        whole.push_str(&strings);
        let compiled = |text: &str| compile(name, text).map_err(|e| ("", e));
        let text = if strings.is_empty() { None } else { Some(compiled(&format!("event.data{strings}"))?) };
        Ok(Self { whole: compiled(&whole)?, text })
    }

    /// The event without what must not be seen. Where that cannot be found out (data that is too large to redact), all
    /// of the data is left out: nothing passes by mistake.
    #[must_use]
    pub fn redact(&self, event: &Event) -> Event {
        // JSON that is deeper or wider than the language reads is text to it, which has no paths and keys.
        let opaque = event.is_json() && !event.data.is_empty() && event.doc().is_none();
        if opaque {
            return left_out(event, "it is no JSON within the limits of the language");
        }
        let program = if event.is_json() { Some(&self.whole) } else { self.text.as_ref() };
        let mut out = match program {
            Some(program) => match run(program, event, event.is_json()) {
                Ok(data) => event.with_data(data.into()),
                Err(why) => left_out(event, &why),
            },
            None => event.clone(),
        };
        if let (Some(program), Some(subject)) = (&self.text, &event.subject) {
            let subject = event.with_data(bytes::Bytes::copy_from_slice(subject.as_bytes()));
            let mut subject = subject;
            subject.content_type = Some("text/plain".into());
            let redacted = run(program, &subject, false).ok().and_then(|text| String::from_utf8(text).ok());
            out.subject = Some(redacted.map_or_else(|| "[redacted]".into(), Into::into));
        }
        out
    }
}

/// The event without any of its data and its subject: nothing passes that was not looked at.
fn left_out(event: &Event, why: &str) -> Event {
    tracing::warn!(event_id = %event.id, why, "the data could not be redacted and is left out");
    let mut out = event.with_data(bytes::Bytes::from_static(b"\"[redacted: the data could not be checked]\""));
    out.content_type = Some("application/json".into());
    out.subject = out.subject.map(|_| "[redacted]".into());
    out
}

fn run(program: &Program, event: &Event, json: bool) -> Result<Vec<u8>, String> {
    let record = Record::new(Str::from(""), TopicId(0), 0, event.time, event.clone());
    let ctx = CtxView { trigger: "", function: "", attempt: 1, now_us: event.time.0, env: &[], random_seed: 0 };
    let input = Input { event: view(&record, true), ctx };
    let mut budget = Budget::new(Limits { steps: 10_000_000, ..Limits::default() });
    let outcome = program.run(&input, &mut budget).map_err(|e| e.to_string())?;
    let value = outcome.value;
    if !json {
        return value.as_str().map(|text| text.as_bytes().to_vec()).ok_or_else(|| "no text".to_owned());
    }
    let mut out = Vec::with_capacity(event.data.len());
    // Sources let in larger events than functions may make.
    value
        .write_json(&mut out, MAX_OUTPUT.max(event.data.len().saturating_mul(2)))
        .map_err(|_| "too large".to_owned())?;
    Ok(out)
}

fn compile(name: &str, text: &str) -> Result<Program, String> {
    let source = SourceText { name: &format!("target {name}, redact"), text };
    hexafn_dsl::compile(&source, ProgramKind::Function).map_err(|errors| {
        // The program is made of the setting, so its place says nothing to who wrote that.
        errors.iter().next().map_or_else(|| errors.to_string(), |first| first.message.to_string())
    })
}

/// A text as a string of the language.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' | '$' => out.extend(['\\', c]),
            c if c.is_control() => {
                out.push_str(&format!("\\u{{{:X}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(toml: &str) -> RedactSettings {
        toml::from_str(toml).unwrap()
    }

    fn redacted(toml: &str, content_type: &str, data: &str) -> String {
        let mut event = Event::new("s", "t", bytes::Bytes::copy_from_slice(data.as_bytes()));
        event.content_type = Some(content_type.into());
        event.subject = Some("from jo@example.org".into());
        let event = Redactor::new("t", &settings(toml)).unwrap().redact(&event);
        format!("{} | {}", String::from_utf8(event.data.to_vec()).unwrap(), event.subject.unwrap())
    }

    #[test]
    fn paths_keys_and_patterns() {
        let json = "application/json";
        let all = "paths = ['user.name', 'items.*.note']\nkeys = '(?i)token'\npatterns = ['id-\\d+', 'a\"\\$b']\nemails = true";
        let data = r#"{"user":{"name":"Jo","n":1.50},"items":[{"note":"x"},{"ok":"id-7"}],"apiToken":{"a":1},"m":"jo@example.org"}"#;
        let expected = r#"{"user":{"name":"[redacted]","n":1.50},"items":[{"note":"[redacted]"},{"ok":"[redacted]"}],"apiToken":"[redacted]","m":"[redacted]"} | from [redacted]"#;
        assert_eq!(redacted(all, json, data), expected);
        assert_eq!(redacted("paths = ['a']", json, "[1]"), "[1] | from jo@example.org");
        assert_eq!(redacted("paths = ['a']\nwith = '*'", json, r#"{"a":[1]}"#), r#"{"a":"*"} | from jo@example.org"#);
        assert_eq!(redacted("paths = ['a']", json, "7"), "7 | from jo@example.org");
        assert_eq!(redacted("emails = true", "text/plain", "x@y.org!"), "[redacted]! | from [redacted]");
        assert_eq!(redacted("paths = ['a']", "text/plain", "x@y.org"), "x@y.org | from jo@example.org");
    }

    #[test]
    fn numbers_are_found_as_their_text_is() {
        let json = "application/json";
        let data = r#"{"card":4111111111111111,"no":4111111111111112,"at":[1795507200008,-2.50],"id":77001,"big":5555555555554444.0}"#;
        let cards = r#"{"card":"************1111","no":4111111111111112,"at":[1795507200008,-2.50],"id":77001,"big":"************4444.0"} | from jo@example.org"#;
        assert_eq!(redacted("cards = true", json, data), cards);
        let patterns = r#"{"card":4111111111111111,"no":4111111111111112,"at":[1795507200008,-2.50],"id":"*","big":5555555555554444.0} | from jo@example.org"#;
        assert_eq!(redacted("patterns = ['^77\\d{3}$']\nwith = '*'", json, data), patterns);
        assert_eq!(redacted("cards = true", json, "4111111111111111"), "\"************1111\" | from jo@example.org");
    }

    #[test]
    fn wrong_settings_are_named() {
        for (toml, field) in [("", ""), ("patterns = ['(']", "patterns"), ("keys = '['", "keys"), ("with = 'x'", "")] {
            assert_eq!(Redactor::new("t", &settings(toml)).unwrap_err().0, field, "{toml}");
        }
    }

    #[test]
    fn data_that_cannot_be_checked_is_left_out() {
        let deep = format!("[{}]", vec!["\"x@y.org\""; 200_000].join(","));
        let text = redacted("emails = true", "application/json", &deep);
        let wrapped = format!("{}{{\"a\":1}}{}", "[".repeat(70), "]".repeat(70));
        let wrapped = redacted("paths = ['a']", "application/json", &wrapped);
        assert_eq!(wrapped, "\"[redacted: the data could not be checked]\" | [redacted]");
        assert!(text.starts_with("\"[redacted: ") || !text.contains('@'), "{}", &text[..100]);
    }
}
