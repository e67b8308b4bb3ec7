//! CloudEvents 1.0 as JSON (structured mode) and as headers (binary mode).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;

use super::line::put_string;
use crate::event::Event;

/// What CloudEvents' HTTP binding percent-encodes in header values (3.1.3.2), besides what is not ASCII.
const HEADER_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A text as CloudEvents writes it in a header: only visible ASCII is left.
pub fn header_text(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, HEADER_VALUE).into()
}

/// Appends the event in CloudEvents' JSON format; `json_data` is its data as JSON when it is JSON (a caller that needs
/// one line gives it on one line). The trace is in the extensions `traceparent` and `tracestate`, the ordering key in
/// `partitionkey`.
pub fn put(out: &mut Vec<u8>, event: &Event, json_data: Option<&[u8]>) {
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    let time = event.time.rfc3339();
    for (name, value) in context(event, &time) {
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

/// The attributes of binary mode as headers with a prefix (`ce-` in HTTP and NATS, `ce_` in Kafka). `datacontenttype` is
/// the content type of the message and has no header of its own.
pub fn attributes(event: &Event, prefix: &str) -> Vec<(String, String)> {
    let time = event.time.rfc3339();
    let version = [("specversion", Cow::Borrowed("1.0"))].into_iter();
    let own = context(event, &time).map(|(name, value)| (name, Cow::Borrowed(value)));
    let all = version.chain(own).chain(extensions(event));
    all.map(|(name, value)| (format!("{prefix}{name}"), value.into_owned())).collect()
}

fn context<'a>(event: &'a Event, time: &'a str) -> impl Iterator<Item = (&'static str, &'a str)> {
    let required = [("id", &*event.id), ("source", &*event.source), ("type", &*event.kind), ("time", time)];
    required.into_iter().chain(event.subject.as_deref().map(|s| ("subject", s)))
}

/// The extensions: those received whose names are valid and not taken, then ours. `dataschema`, an attribute of CloudEvents
/// itself that hexaFn only passes on, is kept among those received.
fn extensions(event: &Event) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let received = event.extensions.iter().filter(|(name, _)| is_extension_name(name));
    let received = received.map(|(name, value)| (&**name, Cow::Borrowed(&**value)));
    let key = event.key.as_deref().map(|key| ("partitionkey", Cow::Borrowed(key)));
    let trace = ("traceparent", Cow::Owned(event.trace.traceparent()));
    let state = event.trace.state.as_deref().map(|state| ("tracestate", Cow::Borrowed(state)));
    received.chain(key).chain([trace]).chain(state)
}

fn is_extension_name(name: &str) -> bool {
    const TAKEN: [&str; 11] = [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "data",
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Wall;
    use crate::event::{DATA_SCHEMA, TraceContext};
    use bytes::Bytes;

    fn event(content_type: Option<&str>, data: &'static [u8]) -> Event {
        let mut event = Event::new("/src", "push", Bytes::from_static(data));
        event.id = "1".into();
        event.time = Wall(0);
        event.subject = Some("a \"b\" %é".into());
        event.content_type = content_type.map(Into::into);
        event.key = Some("k".into());
        event.extensions =
            vec![("shop".into(), "7".into()), ("id".into(), "forged".into()), ("Bad-Name".into(), "x".into())];
        event.extensions.push((DATA_SCHEMA.into(), "https://example.com/order.json".into()));
        event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        event
    }

    fn json(event: &Event) -> serde_json::Value {
        let mut out = Vec::new();
        put(&mut out, event, event.is_json().then_some(&event.data[..]));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn structured_mode() {
        let expected = serde_json::json!({
            "specversion": "1.0", "id": "1", "source": "/src", "type": "push", "time": "1970-01-01T00:00:00.000000Z",
            "subject": "a \"b\" %é", "datacontenttype": "application/json", "shop": "7", "partitionkey": "k",
            "dataschema": "https://example.com/order.json",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": {"a": 1}
        });
        assert_eq!(json(&event(Some("application/json"), b"{\"a\":1}")), expected);
        assert_eq!(json(&event(Some("text/plain"), b"hi\n"))["data"], "hi\n");
        assert_eq!(json(&event(None, b"\xff\x00"))["data_base64"], "/wA=");
        assert_eq!(json(&event(None, b"")).get("data"), None);
    }

    #[test]
    fn binary_mode_encodes_what_headers_cannot_hold() {
        let headers = attributes(&event(Some("application/json"), b"{}"), "ce-");
        let get = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
        assert_eq!(get("ce-subject").map(header_text).as_deref(), Some("a%20%22b%22%20%25%C3%A9"));
        assert_eq!(get("ce-id"), Some("1"));
        assert_eq!(get("ce-specversion"), Some("1.0"));
        assert_eq!(get("ce-shop"), Some("7"));
        assert_eq!(get("ce-dataschema"), Some("https://example.com/order.json"));
        assert_eq!(get("ce-datacontenttype"), None);
    }
}
