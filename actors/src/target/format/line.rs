//! One event as one line: never two, whatever the data holds, and with no byte that a terminal obeys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::borrow::Cow;

use crate::event::Event;

/// The data as JSON. Bytes that are not text become `{"data_base64": "…"}`.
pub fn data_json(event: &Event) -> Bytes {
    if event.is_json() && !event.data.is_empty() {
        return event.data.clone();
    }
    bytes_json(&event.data)
}

/// Bytes that are not JSON, as JSON: a string when they are text.
pub fn bytes_json(data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 2);
    match std::str::from_utf8(data) {
        Ok("") => out.extend_from_slice(b"null"),
        Ok(text) => put_string(&mut out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"data_base64\":\"");
            out.extend_from_slice(STANDARD.encode(data).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
    out.into()
}

/// Appends a JSON string; control characters are escaped, so the result is one line that no terminal obeys.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, text).is_err() {
        // Cannot happen: a string is serialisable and a Vec takes every write.
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// Appends the event's data on a line with its end: JSON as it is but on one line, other text as a JSON string, bytes as
/// `{"data_base64": "…"}`.
pub fn put_data(out: &mut Vec<u8>, event: &Event) {
    let data = data_json(event);
    // A label may lie: what is not UTF-8 is not JSON.
    if std::str::from_utf8(&data).is_ok() {
        let start = out.len();
        out.extend_from_slice(&one_line(&data));
        if out.len() == start {
            out.extend_from_slice(b"null");
        }
    } else {
        out.extend_from_slice(&bytes_json(&data));
    }
    out.push(b'\n');
}

/// Appends the whole event as a CloudEvent on a line with its end.
pub fn put_event(out: &mut Vec<u8>, event: &Event) {
    let data = data_json(event);
    let json = (event.is_json() && std::str::from_utf8(&data).is_ok()).then(|| one_line(&data));
    super::cloudevents::put(out, event, json.as_deref());
    out.push(b'\n');
}

/// JSON without control characters: outside strings they are white space and left out with the rest of it, inside they
/// are escaped (a strict parser does not let them in, but a line must not depend on that).
fn one_line(json: &[u8]) -> Cow<'_, [u8]> {
    // No early exit: the loop is then vectorised, and nearly all data passes.
    if !json.iter().fold(false, |found, &b| found | (b < 0x20) | (b == 0x7f)) {
        return Cow::Borrowed(json);
    }
    let mut out = Vec::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for &byte in json {
        match byte {
            b'\t' | b'\n' | b'\r' | b' ' if !inside => {}
            0x00..=0x1f | 0x7f if inside => {
                // After a lone backslash (no JSON) a second one, so that the escape stands by itself.
                let escape = format!("{}\\u{byte:04x}", if escaped { "\\" } else { "" });
                out.extend_from_slice(escape.as_bytes());
                escaped = false;
            }
            0x00..=0x1f | 0x7f => out.push(b' '),
            _ => {
                out.push(byte);
                if inside && !escaped && byte == b'\\' {
                    escaped = true;
                } else {
                    inside ^= byte == b'"' && !escaped;
                    escaped = false;
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(content_type: Option<&str>, data: &[u8], whole: bool) -> String {
        let mut event = Event::new("s", "t", Bytes::copy_from_slice(data));
        event.content_type = content_type.map(Into::into);
        let mut out = Vec::new();
        if whole {
            put_event(&mut out, &event)
        } else {
            put_data(&mut out, &event)
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_of_data() {
        let json = Some("application/json");
        for (content_type, data, expected) in [
            (json, &b"{\"a\": 1}"[..], "{\"a\": 1}\n"),
            (json, b"{\r\n  \"a\": \"x y\\\"\\\\\",\n  \"b\": [1, 2]\n}", "{\"a\":\"x y\\\"\\\\\",\"b\":[1,2]}\n"),
            (json, b"", "null\n"),
            (json, b"\"a\nb\"", "\"a\\u000ab\"\n"),
            (json, b"\xff", "{\"data_base64\":\"/w==\"}\n"),
            (Some("text/plain"), b"a\r\nb\x1b[2J", "\"a\\r\\nb\\u001b[2J\"\n"),
            (None, b"\x00\xff", "{\"data_base64\":\"AP8=\"}\n"),
            (None, b"", "null\n"),
        ] {
            assert_eq!(line(content_type, data, false), expected);
        }
    }

    #[test]
    fn lines_of_events_hold_the_trace() {
        let text = line(Some("application/json"), b"{\n\"a\":1}", true);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"]["a"], 1);
        assert_eq!(value["traceparent"].as_str().unwrap().len(), 55);
    }

    proptest::proptest! {
        #[test]
        fn always_one_line_without_control_characters(data: Vec<u8>, kind in 0..3, event: bool) {
            let content_type = [None, Some("application/json"), Some("text/plain")][kind as usize];
            let text = line(content_type, &data, event);
            let (body, end) = text.split_at(text.len() - 1);
            proptest::prop_assert_eq!(end, "\n");
            proptest::prop_assert!(!body.bytes().any(|b| b < 0x20));
            proptest::prop_assert!(!body.is_empty());
        }

        #[test]
        fn json_keeps_its_value(text in ".{0,30}", number: i64, pretty: bool) {
            let value = serde_json::json!({ "text": text, "list": [number, null, { "x": [] }] });
            let data = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let line = line(Some("application/json"), &data, false);
            proptest::prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }

    #[test]
    fn data_as_json() {
        let event = |content_type: Option<&str>, data: &'static [u8]| {
            let mut event = Event::new("s", "t", Bytes::from_static(data));
            event.content_type = content_type.map(Into::into);
            event
        };
        assert_eq!(data_json(&event(Some("application/json"), b"{ }")), "{ }");
        assert_eq!(data_json(&event(Some("application/json"), b"")), "null");
        assert_eq!(data_json(&event(Some("text/plain"), b"a\x1b[31m\n")), "\"a\\u001b[31m\\n\"");
        assert_eq!(data_json(&event(None, b"\xff")), "{\"data_base64\":\"/w==\"}");
    }
}
