//! The three modes, from the examples of the specification, and every refusal.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::source::normalise::tests::{arrive, normaliser};
use crate::source::verify::Verified;

fn all(headers: &[(&str, &str)], body: &str) -> Result<Arrivals, DoorError> {
    arrive(&normaliser(""), headers, body.as_bytes(), &Verified::default())
}

fn one(headers: &[(&str, &str)], body: &str) -> Result<Arrival, DoorError> {
    all(headers, body).map(|mut arrivals| arrivals.remove(0))
}

const BINARY: [(&str, &str); 6] = [
    ("Content-Type", "application/json"),
    ("ce-specversion", "1.0"),
    ("ce-type", "com.example.someevent"),
    ("ce-time", "2018-04-05T03:56:24Z"),
    ("ce-id", "1234-1234-1234"),
    ("ce-source", "/mycontext/subcontext"),
];

fn binary(more: &[(&str, &str)]) -> Result<Arrival, DoorError> {
    one(&[&BINARY, more].concat(), r#"{"a":1}"#)
}

fn structured(event: &str) -> Result<Arrival, DoorError> {
    one(&[("content-type", "application/cloudevents+json; charset=utf-8")], event)
}

fn extension<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    event.extensions.iter().find(|(n, _)| &**n == name).map(|(_, v)| &**v)
}

#[test]
fn binary_mode() {
    let arrival =
        binary(&[("Ce-Comexampleextension1", "value"), ("ce-subject", "123"), ("ce-partitionkey", "eu")]).unwrap();
    let event = &arrival.event;
    assert_eq!(
        (&*event.id, &*event.source, &*event.kind),
        ("1234-1234-1234", "/mycontext/subcontext", "com.example.someevent")
    );
    assert_eq!((event.subject.as_deref(), event.key.as_deref()), (Some("123"), Some("eu")));
    assert_eq!(event.time.rfc3339(), "2018-04-05T03:56:24.000000Z");
    assert_eq!(extension(event, "comexampleextension1"), Some("value"));
    assert_eq!((event.content_type.as_deref(), &*event.data), (Some("application/json"), br#"{"a":1}"#.as_slice()));
    assert_eq!(arrival.dedupe.as_deref(), Some("/mycontext/subcontext\n1234-1234-1234"));
    // Data that is not JSON is kept; no data is no data.
    let mut headers = BINARY;
    headers[0] = ("Content-Type", "application/octet-stream");
    assert_eq!(&*one(&headers, "\u{1}x").unwrap().event.data, b"\x01x");
    assert_eq!(one(&headers[1..], "").unwrap().event.content_type, None);
}

#[test]
fn what_a_form_was_is_said_once() {
    let mut headers = BINARY.to_vec();
    headers[0] = ("Content-Type", "application/x-www-form-urlencoded");
    headers.push(("ce-originalcontenttype", "text/html"));
    let event = one(&headers, "a=1").unwrap().event;
    let said: Vec<_> = event.extensions.iter().filter(|(name, _)| &**name == "originalcontenttype").collect();
    assert_eq!(said, [&("originalcontenttype".into(), "application/x-www-form-urlencoded".into())]);
}

#[test]
fn what_is_said_by_hand_is_checked_as_at_the_door() {
    assert!(may_say(None, None, None).is_ok() && may_say(Some("t"), Some("s"), Some("")).is_ok());
    for (kind, subject, key, named) in [
        (Some(""), None, None, "`type` is empty"),
        (Some("a\nb"), None, None, "`type` holds control characters"),
        (None, Some(""), None, "`subject` is empty"),
        (None, None, Some("\u{1}"), "`key` holds control characters"),
    ] {
        let refused = may_say(kind, subject, key).unwrap_err();
        assert!(refused.status == 400 && refused.detail.contains(named), "{refused:?}");
    }
}

#[test]
fn what_hexafn_marks_events_with_no_sender_sets() {
    let marks = [("ce-replayof", "jo@example.org"), ("ce-deadtype", "application/json"), ("ce-deadcause", "x")];
    let event = binary(&[&marks[..], &[("ce-deadline", "today")]].concat()).unwrap().event;
    assert_eq!(event.extensions, [("deadline".into(), "today".into())]);
    let json =
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","replayof":"jo@example.org","deadseq":7,"x":"y"}"#;
    assert_eq!(structured(json).unwrap().event.extensions, [("x".into(), "y".into())]);
}

#[test]
fn header_values_are_percent_decoded_once() {
    let value = |text: &str| binary(&[("ce-x", text)]).map(|a| extension(&a.event, "x").unwrap().to_owned());
    assert_eq!(value("Euro%20%E2%82%AC%20%F0%9F%98%80").unwrap(), "Euro € 😀");
    assert_eq!(value("%2520").unwrap(), "%20");
    assert_eq!(value("a b").unwrap(), "a b");
    assert_eq!(value("€").unwrap(), "€");
    assert_eq!(value(r#""a \"quoted\" %22text%22""#).unwrap(), r#"a "quoted" "text""#);
    for bad in ["50%", "%zz", "%2", "%ff", "%00", "a%0Ab"] {
        assert_eq!(value(bad).unwrap_err().code, "cloudevent-invalid", "{bad}");
    }
}

#[test]
fn binary_refusals_name_the_attribute() {
    for (headers, says) in [
        (&BINARY[..5], "`source` is missing"),
        (&[&BINARY[..4], &BINARY[5..]].concat()[..], "`id` is missing"),
        (&[&BINARY[..2], &BINARY[3..]].concat()[..], "`type` is missing"),
    ] {
        let error = one(headers, "{}").unwrap_err();
        assert!(error.detail.contains(says) && error.status == 400, "{error}");
    }
    let long = "x".repeat(1_025);
    for (name, value, says) in [
        ("ce-datacontenttype", "text/plain", "forbidden"),
        ("ce-id", "2", "twice"),
        ("ce-data_base64", "", "attribute name"),
        ("ce-data", "x", "attribute name"),
        ("ce-", "x", "attribute name"),
        ("ce-abcdefghijklmnopqrstu", "x", "1 to 20"),
        ("ce-subject", "", "empty"),
        ("ce-subject", long.as_str(), "longer than 1024"),
    ] {
        let error = binary(&[(name, value)]).unwrap_err();
        assert!(error.detail.contains(says), "{name}: {error}");
    }
    let with = |at: usize, pair| {
        let mut headers = BINARY;
        headers[at] = pair;
        one(&headers, "{}").unwrap_err().detail.into_owned()
    };
    assert!(with(1, ("ce-specversion", "0.3")).contains("send 1.0"));
    assert!(with(3, ("ce-time", "yesterday")).contains("RFC 3339"));
    assert!(one(&BINARY, "{").unwrap_err().code.starts_with("json"));
}

#[test]
fn the_tracing_extension_becomes_the_trace() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let other = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
    let event = binary(&[("ce-traceparent", parent), ("traceparent", other)]).unwrap().event;
    let under = |event: &Event, parent: &str| {
        let trace = &event.trace;
        assert_eq!((&*trace.trace_id, trace.parent.as_deref()), (&parent[3..35], Some(&parent[36..52])));
    };
    under(&event, parent);
    assert_eq!(extension(&event, "traceparent"), None);
    under(&binary(&[("traceparent", other)]).unwrap().event, other);
}

#[test]
fn structured_data_is_a_slice_of_the_body() {
    let text = r#"{ "specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext", "subject": null,
        "id" : "A234-1234-1234", "time" : "2018-04-05T17:31:00+02:00", "comexampleextension1" : "value",
        "comexampleothervalue" : 5, "flag": true, "datacontenttype" : "application/vnd.x+json",
        "data" : { "n" :  1.50, "big": 12345678901234567890 } }"#;
    let event = structured(text).unwrap().event;
    assert_eq!(&*event.data, br#"{ "n" :  1.50, "big": 12345678901234567890 }"#);
    assert_eq!(event.content_type.as_deref(), Some("application/vnd.x+json"));
    assert_eq!(event.time.rfc3339(), "2018-04-05T15:31:00.000000Z");
    assert_eq!((extension(&event, "comexampleothervalue"), extension(&event, "flag")), (Some("5"), Some("true")));
    assert_eq!(event.subject, None);
    assert_eq!(event.doc().unwrap().root().get("n").unwrap().raw(), b"1.50");
}

#[test]
fn structured_data_of_other_kinds() {
    let with = |more: &str| structured(&format!(r#"{{"specversion":"1.0","type":"t","source":"s","id":"1"{more}}}"#));
    let data = |more: &str| {
        let event = with(more).unwrap().event;
        (event.content_type.as_deref().map(str::to_owned), event.data.to_vec())
    };
    let json = Some("application/json".to_owned());
    assert_eq!(data(r#","data":"text""#), (json.clone(), b"\"text\"".to_vec()));
    assert_eq!(data(r#","data":null"#), (json.clone(), b"null".to_vec()));
    assert_eq!(
        data(r#","datacontenttype":"text/xml","data":"<a b=\"c\"/>""#),
        (Some("text/xml".into()), b"<a b=\"c\"/>".to_vec())
    );
    assert_eq!(
        data(r#","datacontenttype":"text/plain","data":"plain""#),
        (Some("text/plain".into()), b"plain".to_vec())
    );
    assert_eq!(data(r#","data_base64":"AAEC""#), (None, vec![0, 1, 2]));
    assert_eq!(data(r#","datacontenttype":"application/json","data_base64":"e30=""#), (json, b"{}".to_vec()));
    assert_eq!(data(""), (None, Vec::new()));
    for (more, says) in [
        (r#","data":1,"data_base64":"AAEC""#, "exclude"),
        (r#","data_base64":"A""#, "not base64"),
        (r#","data_base64":7"#, "string"),
        (r#","datacontenttype":"application/json","data_base64":"ew==""#, "expected"),
        (r#","ext":{"a":1}"#, "`ext` must be a string"),
        (r#","ext":1.5"#, "whole number"),
        (r#","Ext":"x""#, "attribute name"),
        (r#","subject":"a\u0000b""#, "control"),
        (r#","datacontenttype":"""#, "datacontenttype"),
        (r#","type":"twice""#, "duplicate key"),
    ] {
        let error = with(more).unwrap_err();
        assert!(error.status == 400 && error.detail.contains(says), "{more}: {error}");
    }
    assert!(structured("[]").unwrap_err().detail.contains("object"));
    assert!(structured(r#"{"type":"t","source":"s","id":"1"}"#).unwrap_err().detail.contains("specversion"));
}

#[test]
fn a_batch_is_accepted_or_refused_whole() {
    let batch = |text: &str| all(&[("content-type", "application/cloudevents-batch+json")], text);
    let event = |id: usize| format!(r#"{{"specversion":"1.0","type":"t","source":"s","id":"{id}","data":{id}}}"#);
    let many = |n| format!("[{}]", (1..=n).map(event).collect::<Vec<_>>().join(","));
    let arrivals = batch(&many(3)).unwrap();
    assert_eq!(arrivals.iter().map(|a| &*a.event.data).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    assert_eq!(arrivals[2].dedupe.as_deref(), Some("s\n3"));
    assert!(batch("[]").unwrap().is_empty());
    assert_eq!(batch(&many(1_000)).unwrap().len(), 1_000);
    let error = batch(&many(1_001)).unwrap_err();
    assert_eq!((error.status, error.code), (413, "batch-too-large"));
    let bad = format!(r#"[{},{{"specversion":"1.0","type":"t","id":"2"}}]"#, event(1));
    let error = batch(&bad).unwrap_err();
    assert!(error.detail.starts_with("events[1]: the required attribute `source`"), "{error}");
    assert!(batch("{}").unwrap_err().detail.contains("array"));
}

#[test]
fn a_providers_source_ignores_unsigned_ce_headers() {
    let off = normaliser(r#", "cloudevents": false"#);
    let arrivals = arrive(&off, &BINARY, b"{}", &Verified::default()).unwrap();
    assert_eq!((&*arrivals[0].event.kind, &*arrivals[0].event.source), ("webhook.in", "/hooks/in"));
}

#[test]
fn modes_are_told_by_the_media_type() {
    let none: Vec<(&str, &str)> = Vec::new();
    let told = |text| mode(&RequestParts::post(&none), Some(text));
    assert_eq!(told("Application/CloudEvents+JSON; charset=utf-8"), Some(Mode::Structured));
    assert_eq!(told("application/cloudevents-batch+json"), Some(Mode::Batch));
    assert_eq!(told("application/cloudevents+xml"), None);
    assert_eq!(told("application/json"), None);
}

#[test]
fn the_handshake_is_answered() {
    let ask = |method, origin: &str, rate| {
        let headers = vec![("WebHook-Request-Origin", origin)];
        handshake(&RequestParts { method, query: "", headers: &headers }, rate)
    };
    let answer = ask("OPTIONS", "eventemitter.example.com", Some(6_000)).unwrap();
    assert_eq!(answer[0], ("WebHook-Allowed-Origin", "eventemitter.example.com".to_owned()));
    assert_eq!(answer[1], ("WebHook-Allowed-Rate", "6000".to_owned()));
    assert_eq!(ask("OPTIONS", "a.example", None).unwrap()[1].1, "*");
    assert!(ask("POST", "a.example", None).is_none());
    assert!(ask("OPTIONS", "a\r\nX: y", None).is_none());
}
