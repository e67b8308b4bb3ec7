//! The body of a request, and CloudEvents 1.0 as JSON (structured mode) and as headers (binary mode).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::event::Event;

/// `format`: what the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The event's data as it is, with its own content type.
    #[default]
    Data,
    /// The event's data as JSON: as it is when it is JSON, else as a JSON string (base64 when it is not text).
    Json,
    /// The whole event, CloudEvents structured mode.
    Cloudevents,
    /// The data, with the attributes in `ce-` headers.
    CloudeventsBinary,
    /// The text of the setting `body`.
    Template,
}

/// What CloudEvents' HTTP binding percent-encodes in header values (3.1.3.2), besides what is not ASCII.
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A text as CloudEvents writes it in a header: only visible ASCII is left.
pub fn header_text(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, HEADER_VALUE).into()
}

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

/// Appends the event in CloudEvents' JSON format; `json_data` is its data as JSON when it is JSON (a caller that needs
/// one line gives it on one line). The trace is in the extensions `traceparent` and `tracestate`, the ordering key in
/// `partitionkey`.
pub fn put_cloudevent(out: &mut Vec<u8>, event: &Event, json_data: Option<&[u8]>) {
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    let time = event.time.rfc3339();
    for (name, value) in attributes(event, &time) {
        put_member(out, name, value);
    }
    if let Some(content_type) = &event.content_type {
        put_member(out, "datacontenttype", content_type);
    }
    for (name, value) in extensions(event) {
        put_member(out, name, &value);
    }
    match (json_data, std::str::from_utf8(&event.data)) {
        _ if event.data.is_empty() => {}
        (Some(json), _) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(json);
        }
        (None, Ok(text)) => put_member(out, "data", text),
        (None, Err(_)) => put_member(out, "data_base64", &STANDARD.encode(&event.data)),
    }
    out.push(b'}');
}

/// Adds the `ce-` headers of binary mode. `datacontenttype` is the Content-Type and has no header of its own.
pub fn put_ce_headers(headers: &mut HeaderMap, event: &Event) {
    headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
    let time = event.time.rfc3339();
    let mut put = |name: &str, value: &str| {
        // Neither can fail: names are checked lower-case ASCII, values are encoded.
        let name = HeaderName::try_from(format!("ce-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&header_text(value))) {
            headers.insert(name, value);
        }
    };
    for (name, value) in attributes(event, &time) {
        put(name, value);
    }
    for (name, value) in extensions(event) {
        put(name, &value);
    }
}

fn attributes<'a>(event: &'a Event, time: &'a str) -> impl Iterator<Item = (&'static str, &'a str)> {
    let required = [("id", &*event.id), ("source", &*event.source), ("type", &*event.kind), ("time", time)];
    required.into_iter().chain(event.subject.as_deref().map(|s| ("subject", s)))
}

/// The extensions: those received whose names are valid and not taken, then ours.
fn extensions(event: &Event) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let received = event.extensions.iter().filter(|(name, _)| is_extension_name(name));
    let received = received.map(|(name, value)| (&**name, Cow::Borrowed(&**value)));
    let key = event.key.as_deref().map(|key| ("partitionkey", Cow::Borrowed(key)));
    let trace = ("traceparent", Cow::Owned(event.trace.traceparent()));
    let state = event.trace.state.as_deref().map(|state| ("tracestate", Cow::Borrowed(state)));
    received.chain(key).chain([trace]).chain(state)
}

fn is_extension_name(name: &str) -> bool {
    const TAKEN: [&str; 12] = [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "data",
        "dataschema",
        "partitionkey",
        "traceparent",
        "tracestate",
    ];
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) && !TAKEN.contains(&name)
}

fn put_member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    put_string(out, value);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Wall;
    use crate::event::TraceContext;

    fn event(content_type: Option<&str>, data: &'static [u8]) -> Event {
        let mut event = Event::new("/src", "push", Bytes::from_static(data));
        event.id = "1".into();
        event.time = Wall(0);
        event.subject = Some("a \"b\" %é".into());
        event.content_type = content_type.map(Into::into);
        event.key = Some("k".into());
        event.extensions =
            vec![("shop".into(), "7".into()), ("id".into(), "forged".into()), ("Bad-Name".into(), "x".into())];
        event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        event
    }

    fn json(event: &Event) -> serde_json::Value {
        let mut out = Vec::new();
        put_cloudevent(&mut out, event, event.is_json().then_some(&event.data[..]));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn structured_mode() {
        let expected = serde_json::json!({
            "specversion": "1.0", "id": "1", "source": "/src", "type": "push", "time": "1970-01-01T00:00:00.000000Z",
            "subject": "a \"b\" %é", "datacontenttype": "application/json", "shop": "7", "partitionkey": "k",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": {"a": 1}
        });
        assert_eq!(json(&event(Some("application/json"), b"{\"a\":1}")), expected);
        assert_eq!(json(&event(Some("text/plain"), b"hi\n"))["data"], "hi\n");
        assert_eq!(json(&event(None, b"\xff\x00"))["data_base64"], "/wA=");
        assert_eq!(json(&event(None, b"")).get("data"), None);
    }

    #[test]
    fn binary_mode_encodes_what_headers_cannot_hold() {
        let mut headers = HeaderMap::new();
        put_ce_headers(&mut headers, &event(Some("application/json"), b"{}"));
        assert_eq!(headers["ce-subject"], "a%20%22b%22%20%25%C3%A9");
        assert_eq!(headers["ce-id"], "1");
        assert_eq!(headers["ce-shop"], "7");
        assert!(!headers.contains_key("ce-datacontenttype"));
    }

    #[test]
    fn data_as_json() {
        assert_eq!(data_json(&event(Some("application/json"), b"{ }")), "{ }");
        assert_eq!(data_json(&event(Some("application/json"), b"")), "null");
        assert_eq!(data_json(&event(Some("text/plain"), b"a\x1b[31m\n")), "\"a\\u001b[31m\\n\"");
        assert_eq!(data_json(&event(None, b"\xff")), "{\"data_base64\":\"/w==\"}");
    }
}
