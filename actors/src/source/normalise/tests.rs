//! Bodies of every kind, and what is told about the bad ones.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::source::secret::Fixed;
use crate::source::verify::BodyFields;
use proptest::prelude::*;

const NOW: Wall = Wall(1_700_000_000_000_000);

pub(in crate::source) fn normaliser(more: &str) -> Normaliser {
    let json = format!(r#"{{ "name": "in", "topic": "in", "verify": {{ "scheme": "none" }} {more} }}"#);
    let settings: WebhookSettings = serde_json::from_str(&json).unwrap();
    assert_eq!(settings.problems(), []);
    let verifier = settings.verify.build(&Fixed::default()).unwrap();
    Normaliser::new(&settings, &verifier)
}

pub(in crate::source) fn arrive(
    normaliser: &Normaliser,
    headers: &[(&str, &str)],
    body: &[u8],
    verified: &Verified,
) -> Result<Arrivals, DoorError> {
    let headers = headers.to_vec();
    let request = RequestParts::post(&headers);
    normaliser.events(Incoming { request, body: Bytes::copy_from_slice(body), verified, now: NOW, read: true })
}

fn one(more: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Arrival, DoorError> {
    arrive(&normaliser(more), headers, body, &Verified::default()).map(|mut all| all.remove(0))
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn json_is_kept_as_received_and_parsed_once() {
    let body = b"{ \"n\": 12345678901234567890123, \"x\": 1.10 }";
    let arrival = one("", &[JSON], body).unwrap();
    let event = arrival.event;
    assert_eq!((&*event.source, &*event.kind, event.time), ("/hooks/in", "webhook.in", NOW));
    assert_eq!((event.content_type.as_deref(), &*event.data), (Some("application/json"), body.as_slice()));
    assert_eq!(event.doc().unwrap().root().get("n").unwrap().raw(), b"12345678901234567890123");
    assert_eq!(arrival.dedupe, None);
    let utf8 = one("", &[("content-type", "application/json; charset=utf-8")], b"[]").unwrap();
    assert_eq!(utf8.event.content_type.as_deref(), Some("application/json; charset=utf-8"));
}

#[test]
fn bad_json_is_refused_whether_somebody_reads_it_or_not() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let keys = format!("{{{}}}", (0..10_001).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","));
    for (body, code) in [
        (deep.as_str(), "json-depth"),
        (keys.as_str(), "json-keys"),
        (r#"{"a":1,"a":2}"#, "json-duplicate-key"),
        (r#"{"a":"\ud800"}"#, "json-surrogate"),
        ("1e999", "json-number"),
        ("{", "json-syntax"),
        ("", "json-syntax"),
    ] {
        for read in [true, false] {
            let headers = vec![JSON];
            let request = RequestParts::post(&headers);
            let body = Bytes::copy_from_slice(body.as_bytes());
            let verified = &Verified::default();
            let incoming = Incoming { request, body, verified, now: NOW, read };
            let error = normaliser("").events(incoming).unwrap_err();
            assert_eq!((error.status, error.code), (400, code));
            assert!(error.detail.contains("byte"), "{error}");
        }
    }
    let error = arrive(&normaliser(""), &[JSON], b"\"\xff\"", &Verified::default()).unwrap_err();
    assert_eq!(error.code, "json-utf8");
}

#[test]
fn size_and_encoding_are_refused_before_anything_is_read() {
    let small = r#", "limits": { "body": 10 }"#;
    assert!(one(small, &[JSON], b"[1,2,3,45]").is_ok());
    let error = one(small, &[JSON], b"[1,2,3,4,5]").unwrap_err();
    assert_eq!((error.status, error.code), (413, "body-too-large"));
    let headers = vec![("content-length", "11")];
    assert_eq!(normaliser(small).head(&RequestParts::post(&headers)).unwrap_err().status, 413);
    for encoding in ["gzip", "br", "identity, gzip", "x\u{1b}y"] {
        let error = one("", &[JSON, ("Content-Encoding", encoding)], b"{}").unwrap_err();
        assert_eq!((error.status, error.code), (415, "content-encoding"));
        assert!(!error.detail.contains('\u{1b}'));
    }
    assert!(one("", &[JSON, ("Content-Encoding", "Identity")], b"{}").is_ok());
    let error = one("", &[("content-type", &"x".repeat(300))], b"").unwrap_err();
    assert_eq!(error.code, "content-type");
}

#[test]
fn text_and_bytes_are_kept() {
    let text = one("", &[("content-type", "text/plain; charset=latin1")], b"caf\xe9").unwrap().event;
    assert_eq!(
        (text.content_type.as_deref(), &*text.data),
        (Some("text/plain; charset=latin1"), b"caf\xe9".as_slice())
    );
    assert!(text.doc().is_none());
    let nothing = one("", &[], b"\x00\x01").unwrap().event;
    assert_eq!((nothing.content_type.as_deref(), &*nothing.data), (None, b"\x00\x01".as_slice()));
}

#[test]
fn forms_become_json_and_say_what_they_were() {
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let event = one("", &[form], b"text=hi+there&user=u").unwrap().event;
    assert_eq!(&*event.data, br#"{"text":"hi there","user":"u"}"#);
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!(&*event.extensions[0].0, "originalcontenttype");
    assert_eq!(&*event.extensions[0].1, "application/x-www-form-urlencoded");
    assert_eq!(event.doc().unwrap().root().get("user").unwrap().as_str().unwrap(), "u");
    let event = one("", &[form], b"payload=%7B%22type%22%3A%22block_actions%22%7D").unwrap().event;
    assert_eq!(&*event.data, br#"{"type":"block_actions"}"#);
    assert_eq!(one("", &[form], b"a=%ff").unwrap_err().code, "form-utf8");
}

#[test]
fn headers_are_kept_by_list_and_credentials_never() {
    let sent = [
        JSON,
        ("X-GitHub-Event", "push"),
        ("User-Agent", "curl"),
        ("Authorization", "Bearer hunter2"),
        ("Cookie", "session=hunter2"),
        ("X-Hub-Signature-256", "sha256=hunter2"),
        ("X-Other", "no"),
    ];
    let names = |event: &Event| event.headers.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&one("", &sent, b"{}").unwrap().event), ["content-type", "x-github-event", "user-agent"]);
    assert_eq!(names(&one(r#", "headers": ["X-Other", "x-none"]"#, &sent, b"{}").unwrap().event), ["x-other"]);
    assert!(names(&one(r#", "headers": []"#, &sent, b"{}").unwrap().event).is_empty());

    // The header of a generic scheme's signature is one too, even when it is listed.
    let json = r#"{ "name": "in", "topic": "in", "headers": ["X-Sig", "X-Other"],
        "verify": { "scheme": "hmac", "header": "X-Sig", "secrets": ["env:A"] } }"#;
    let settings: WebhookSettings = serde_json::from_str(json).unwrap();
    let verifier = settings.verify.build(&Fixed::default().with("A", "0123456789abcdef0123456789")).unwrap();
    let normaliser = Normaliser::new(&settings, &verifier);
    let sent = [("X-Sig", "hunter2"), ("X-Other", "yes")];
    assert_eq!(names(&arrive(&normaliser, &sent, b"", &Verified::default()).unwrap()[0].event), ["x-other"]);
}

#[test]
fn type_and_delivery_id_come_from_the_scheme_then_the_body_then_the_settings() {
    let named = Verified { delivery_id: Some("d1".into()), kind: Some("push".into()), ..Verified::default() };
    let arrival = arrive(&normaliser(""), &[JSON], b"{}", &named).unwrap().remove(0);
    assert_eq!((&*arrival.event.kind, arrival.dedupe.as_deref()), ("push", Some("d1")));

    let stripe = BodyFields { id: &[&["id"]], kind: &[&["type"]] };
    let stripe = Verified { body: stripe, ..Verified::default() };
    let body = br#"{"id":"evt_1","type":"charge.succeeded"}"#;
    for read in [true, false] {
        let headers = vec![JSON];
        let request = RequestParts::post(&headers);
        let incoming = Incoming { request, body: Bytes::from_static(body), verified: &stripe, now: NOW, read };
        let arrival = normaliser("").events(incoming).unwrap().remove(0);
        assert_eq!((&*arrival.event.kind, arrival.dedupe.as_deref()), ("charge.succeeded", Some("evt_1")));
    }
    let slack = BodyFields { id: &[&["event_id"]], kind: &[&["event", "type"], &["type"]] };
    let slack = Verified { body: slack, ..Verified::default() };
    let body = br#"{"event_id":"Ev1","type":"event_callback","event":{"type":"message"}}"#;
    let arrival = arrive(&normaliser(""), &[JSON], body, &slack).unwrap().remove(0);
    assert_eq!((&*arrival.event.kind, arrival.dedupe.as_deref()), ("message", Some("Ev1")));
    let arrival = arrive(&normaliser(""), &[JSON], br#"{"type":"app_rate_limited"}"#, &slack).unwrap().remove(0);
    assert_eq!((&*arrival.event.kind, arrival.dedupe.as_deref()), ("app_rate_limited", None));
    let arrival = arrive(&normaliser(r#", "type": "t""#), &[JSON], br#"{"type":7}"#, &slack).unwrap().remove(0);
    assert_eq!(&*arrival.event.kind, "t");
}

#[test]
fn delivery_ids_of_headers() {
    let id = |more: &str, headers: &[(&str, &str)]| one(more, headers, b"").map(|arrival| arrival.dedupe);
    assert_eq!(id("", &[("Idempotency-Key", "k1")]).unwrap().as_deref(), Some("k1"));
    let own = r#", "dedupe_header": "X-Event-Key""#;
    assert_eq!(id(own, &[("x-event-key", "e1"), ("Idempotency-Key", "k1")]).unwrap().as_deref(), Some("e1"));
    assert_eq!(id(own, &[("Idempotency-Key", "k1")]).unwrap(), None);
    assert_eq!(id("", &[("Idempotency-Key", &"k".repeat(257))]).unwrap_err().code, "dedupe-id");
}

#[test]
fn a_trace_is_continued_or_begun() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = one("", &[("traceparent", parent), ("tracestate", "a=b")], b"").unwrap().event;
    assert_eq!(&*event.trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((event.trace.parent.as_deref(), event.trace.state.as_deref()), (Some("b7ad6b7169203331"), Some("a=b")));
    assert_ne!(&*event.trace.span_id, "b7ad6b7169203331", "a span of its own, under the sender's");
    let event = one("", &[("traceparent", "garbage")], b"").unwrap().event;
    assert_eq!(event.trace.trace_id.len(), 32);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_panics_and_what_is_accepted_can_be_stored(
        kind in prop::sample::select(vec![
            "application/json", "application/x-www-form-urlencoded", "text/plain", "application/cloudevents+json",
            "application/cloudevents-batch+json", "APPLICATION/CLOUDEVENTS+XML", "application/cloudevents+jsoné", "é",
        ]),
        name in "(ce-)?[a-zA-Z-]{0,12}",
        value in "\\PC{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..60),
        text in "[\\[\\]{}\":,a-z0-9 ]{0,40}",
    ) {
        for body in [body.as_slice(), text.as_bytes()] {
            let headers = [("content-type", kind), (name.as_str(), value.as_str()), ("ce-specversion", "1.0"),
                ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t")];
            for headers in [&headers[..2], &headers[..]] {
                if let Ok(arrivals) = arrive(&normaliser(""), headers, body, &Verified::default()) {
                    for arrival in arrivals {
                        let mut stored = Vec::new();
                        arrival.event.encode(&mut stored);
                        prop_assert!(Event::decode(&stored.into()).is_ok());
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_too_large_names_the_setting_of_its_source() {
    let limits = Limits { bytes: 4, ..Limits::default() };
    let of_records = Normaliser::of_records("/s".into(), "t".into(), limits, false, &[]);
    for (normaliser, setting) in
        [(of_records, "(max_record)"), (normaliser(r#", "limits": { "body": 4 }"#), "(limits.body)")]
    {
        let refused = arrive(&normaliser, &[JSON], b"12345", &Verified::default()).unwrap_err();
        assert_eq!((refused.status, refused.code), (413, "body-too-large"));
        assert!(refused.detail.contains("4 bytes") && refused.detail.ends_with(setting), "{refused:?}");
    }
}
