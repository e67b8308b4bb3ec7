//! What a target must not see, taken out of an event before it is stored for it.
//!
//! It happens once, in the commit that appends the event to the target's outbox. So the delivery, its repetitions, the
//! dead letter, live streams, traces and logs can only show what is left: there is no second place to forget. Only what
//! comes from outside of that, the receiver's answer, is looked at where it is shown.

use hexafn_dsl::{Budget, CtxView, Input, Limits, Program, ProgramKind, Seed, SourceText};
use regex::Regex;
use std::borrow::Cow;

use super::RedactSettings;
use crate::event::{Event, Str};
use crate::function::{MAX_OUTPUT, view};
use crate::log::{Record, TopicId};
use crate::topic::REPLAY_OF;

mod keys;
mod paths;

/// What stands for what was taken out, where the settings name nothing else.
const MARK: &str = "[redacted]";

/// Redacts events, by a program of the language that is made of the settings.
#[derive(Debug)]
pub struct Redactor {
    /// For data that is JSON.
    whole: Program,
    /// Of strings alone: for other data, for attributes and for what a receiver says.
    text: Option<Program>,
    /// The names whose values go, of headers and attributes, too.
    keys: Option<Regex>,
    with: String,
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
        let mut paths = Vec::with_capacity(settings.paths.len());
        for path in &settings.paths {
            let path = literal(paths::below_data(path).map_err(|e| ("paths", e))?);
            check("paths", &format!("redact({{}}, [{path}])"))?;
            paths.push(path);
        }
        for pattern in &settings.patterns {
            check("patterns", &format!("redact_pattern('', {}{with})", literal(pattern)))?;
            let matches = Regex::new(pattern).map_err(|e| ("patterns", e.to_string()))?;
            // Tried with a text that has words, blanks and digits, since `\\b` matches nothing in an empty one.
            if ["", "a 1-"].iter().any(|text| matches.find_iter(text).any(|found| found.is_empty())) {
                let shown = pattern.escape_debug();
                let why = format!(
                    "the pattern `{shown}` matches the empty text, which is everywhere: write it so that it matches a character at \
                     least, e.g. `+` in place of `*`"
                );
                return Err(("patterns", why));
            }
        }
        if let Some(pattern) = &settings.keys {
            check("keys", &format!("redact_keys('', {})", literal(pattern)))?;
        }
        let keys = settings.keys.as_deref().map(Regex::new).transpose().map_err(|e| ("keys", e.to_string()))?;
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
        if !paths.is_empty() {
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
        let with = settings.with.clone().unwrap_or_else(|| MARK.to_owned());
        Ok(Self { whole: compiled(&whole)?, text, keys, with })
    }

    /// The event without what must not be seen. Where that cannot be found out (data that is too large to redact), all
    /// of the data is left out: nothing passes by mistake.
    #[must_use]
    pub fn redact(&self, event: &Event) -> Event {
        let mut out = self.data(event);
        self.attributes(&mut out);
        out
    }

    fn data(&self, event: &Event) -> Event {
        if event.data.is_empty() {
            return event.clone();
        }
        // JSON that is deeper or wider than the language reads is text to it, which has no paths and keys.
        let opaque = event.is_json() && event.doc().is_none();
        if opaque {
            return left_out(event, "it is no JSON within the limits of the language");
        }
        let program = if event.is_json() { Some(&self.whole) } else { self.text.as_ref() };
        // To the language such bytes are their base64, in which nobody finds anything.
        if program.is_some() && !event.is_json() && std::str::from_utf8(&event.data).is_err() {
            return left_out(event, "it is neither JSON nor a text in UTF-8, so nobody can look for anything in it");
        }
        match program.map(|program| run(program, event, event.is_json())) {
            Some(Ok(data)) => event.with_data(data.into()),
            Some(Err(why)) => left_out(event, &why),
            None => event.clone(),
        }
    }

    /// Subject, key, extension attributes and headers: by their names, and then by what they hold.
    fn attributes(&self, event: &mut Event) {
        let hidden = |name: &str| self.keys.as_ref().is_some_and(|keys| keys.is_match(name));
        let (mut extensions, mut headers) = (std::mem::take(&mut event.extensions), std::mem::take(&mut event.headers));
        for (name, value) in extensions.iter_mut().chain(&mut headers) {
            // What hexaFn itself notes says nothing of the event, and no sender can set it.
            if hidden(name) && &**name != REPLAY_OF {
                *value = self.with.as_str().into();
            }
        }
        if let Some(program) = &self.text {
            let mut texts: Vec<&mut Str> = event.subject.iter_mut().chain(&mut event.key).collect();
            for (name, value) in extensions.iter_mut().chain(&mut headers) {
                if &**name != REPLAY_OF {
                    texts.push(value);
                }
            }
            redact_texts(program, &mut texts);
        }
        (event.extensions, event.headers) = (extensions, headers);
    }

    /// What a receiver says, without what must not be seen of events. It may be cut anywhere, so keys are found as they
    /// are written in JSON, whatever is around them.
    pub(super) fn words(&self, said: &str) -> String {
        let said = match &self.keys {
            Some(keys) => keys::hidden(said, keys, &self.with),
            None => Cow::Borrowed(said),
        };
        let Some(program) = &self.text else { return said.into_owned() };
        let mut text: Str = (&*said).into();
        redact_texts(program, &mut [&mut text]);
        text.to_string()
    }
}

/// Redacts texts, all in one run.
fn redact_texts(program: &Program, texts: &mut [&mut Str]) {
    if texts.is_empty() {
        return;
    }
    // A number in an attribute is a number, as it is in the data: a time is no card.
    let is_number = |text: &str| {
        (1..=30).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let mut json = Vec::with_capacity(64 * texts.len());
    json.push(b'[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        if is_number(text) {
            json.extend_from_slice(text.as_bytes());
        } else {
            // A text can always be written.
            json.extend(serde_json::to_vec(&**text).unwrap_or_else(|_| b"null".to_vec()));
        }
    }
    json.push(b']');
    let event = Event::new("", "", json.into());
    let redacted = run(program, &event, true).ok();
    let redacted = redacted.and_then(|json| serde_json::from_slice::<Vec<serde_json::Value>>(&json).ok());
    for (at, text) in texts.iter_mut().enumerate() {
        match redacted.as_ref().map(|all| all.get(at)) {
            Some(Some(serde_json::Value::String(new))) if *new != ***text => **text = new.as_str().into(),
            // It stays: nothing matched.
            Some(Some(serde_json::Value::String(_) | serde_json::Value::Number(_))) => {}
            _ => **text = MARK.into(),
        }
    }
}

/// The event without any of its data and its subject: nothing passes that was not looked at.
fn left_out(event: &Event, why: &str) -> Event {
    tracing::warn!(event_id = %event.id, why, "the data could not be redacted and is left out");
    let data = bytes::Bytes::from_static(b"\"[redacted: the data could not be checked]\"");
    let mut out = event.with_data(data).without_schema();
    out.content_type = Some("application/json".into());
    out.subject = out.subject.map(|_| MARK.into());
    out
}

fn run(program: &Program, event: &Event, json: bool) -> Result<Vec<u8>, String> {
    let record = Record::new(Str::from(""), TopicId(0), 0, event.time, event.clone());
    let ctx = CtxView { trigger: "", function: "", attempt: 1, now_us: event.time.0, env: &[], seed: Seed::default() };
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
    fn bytes_that_are_no_text_are_left_out_where_texts_are_looked_through_and_no_data_stays_none() {
        let of = |toml: &str, content_type: &str, data: &'static [u8]| {
            let mut event = Event::new("s", "t", bytes::Bytes::from_static(data));
            event.content_type = Some(content_type.into());
            Redactor::new("t", &settings(toml)).unwrap().redact(&event).data
        };
        let image = b"\x89PNG jo@example.org";
        assert_eq!(of("emails = true", "image/png", image), "\"[redacted: the data could not be checked]\"");
        assert_eq!(&of("paths = ['a']", "image/png", image)[..], image, "it has no paths");
        for content_type in ["image/png", "application/json"] {
            for toml in ["emails = true", "paths = ['a']"] {
                assert_eq!(of(toml, content_type, b""), "", "{content_type} {toml}");
            }
        }
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
    fn attributes_headers_and_the_names_of_members_hold_nothing_that_is_redacted() {
        let mut event =
            Event::new("s", "t", bytes::Bytes::from_static(br#"{"jo@example.org":1,"x":{"al@example.org":2}}"#));
        event.key = Some("jo@example.org".into());
        let pair = |name: &str, value: &str| -> (Str, Str) { (name.into(), value.into()) };
        event.extensions = vec![
            pair("owner", "jo@example.org"),
            pair("sent", "1795507200008"),
            pair(REPLAY_OF, "in/77"),
            pair("apitoken", "t"),
        ];
        event.headers = vec![pair("x-token", "abc"), pair("from", "Jo <jo@example.org>"), pair("x-n", "77")];
        let redact = |toml: &str| {
            let out = Redactor::new("t", &settings(toml)).unwrap().redact(&event);
            let pairs = |all: &[(Str, Str)]| all.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ");
            let data = String::from_utf8(out.data.to_vec()).unwrap();
            format!("{data} {} {} {}", out.key.unwrap(), pairs(&out.extensions), pairs(&out.headers))
        };
        assert_eq!(
            redact("emails = true\ncards = true\nkeys = '(?i)token'\npatterns = ['77']"),
            "{\"[redacted]\":1,\"x\":{\"[redacted]\":2}} [redacted] owner=[redacted] sent=1795507200008 \
             replayof=in/77 apitoken=[redacted] x-token=[redacted] from=Jo <[redacted]> x-n=[redacted]"
        );
        assert_eq!(
            redact("keys = 'owner|from'\nwith = '*'"),
            "{\"jo@example.org\":1,\"x\":{\"al@example.org\":2}} jo@example.org owner=* sent=1795507200008 \
             replayof=in/77 apitoken=t x-token=abc from=* x-n=77"
        );
    }

    #[test]
    fn a_path_that_would_find_nothing_is_refused_with_what_to_write() {
        for (path, expected) in [
            ("", "it is empty"),
            ("a..b", "write `a.b`"),
            (".a", "write `a`"),
            ("a.", "write `a`"),
            ("$.user.name", "write `user.name`"),
            ("$", "write `*`"),
            ("/user/name", "write `user.name`"),
            ("items[0].x", "write `items.0.x`"),
            ("items[*].x", "write `items.*.x`"),
            ("$['user'][\"name\"]", "write `user.name`"),
            ("event.data", "write `*`"),
            ("deep.**", "holds `**`: `*` stands for all of one name or place"),
            ("x.*y", "holds `*y`"),
            ("*name", "holds `*name`"),
            ("secret ", "write `secret`"),
            ("a. b", "write `a.b`"),
            (" ", "blanks around a part; write `*`"),
            ("data.user.name", "write `user.name` for event.data.user.name, or `event.data.data.user.name`"),
            ("data", "`event.data.data`"),
            ("event.subject", "`event.data.event.subject`"),
        ] {
            let paths = RedactSettings { paths: vec![path.to_owned()], ..RedactSettings::default() };
            let (field, message) = Redactor::new("t", &paths).unwrap_err();
            assert!(field == "paths" && message.contains(expected), "{path}: {message}");
        }
        let json = "application/json";
        let data = r#"{"user":{"name":"Jo"},"data":{"id":7},"tags":["a","b"],"items":[{"x":1},{"x":2}]}"#;
        for (path, expected) in [
            (
                "event.data.user.name",
                r#"{"user":{"name":"*"},"data":{"id":7},"tags":["a","b"],"items":[{"x":1},{"x":2}]}"#,
            ),
            (
                "event.data.data.id",
                r#"{"user":{"name":"Jo"},"data":{"id":"*"},"tags":["a","b"],"items":[{"x":1},{"x":2}]}"#,
            ),
            ("tags.*", r#"{"user":{"name":"Jo"},"data":{"id":7},"tags":["*","*"],"items":[{"x":1},{"x":2}]}"#),
            ("items.1.x", r#"{"user":{"name":"Jo"},"data":{"id":7},"tags":["a","b"],"items":[{"x":1},{"x":"*"}]}"#),
        ] {
            let told = redacted(&format!("paths = ['{path}']\nwith = '*'"), json, data);
            assert_eq!(told, format!("{expected} | from jo@example.org"), "{path}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (toml, field) in [("", ""), ("patterns = ['(']", "patterns"), ("keys = '['", "keys"), ("with = 'x'", "")] {
            assert_eq!(Redactor::new("t", &settings(toml)).unwrap_err().0, field, "{toml}");
        }
        for pattern in ["", "z*", "a|", "\\\\b", "(id)?"] {
            let (field, message) = Redactor::new("t", &settings(&format!("patterns = [\"{pattern}\"]"))).unwrap_err();
            assert!(field == "patterns" && message.contains("matches the empty text"), "{pattern}: {message}");
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
