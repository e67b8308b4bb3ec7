#![allow(clippy::unwrap_used)]
use super::*;

fn decoder(more: serde_json::Value) -> Decoder {
    let mut settings = serde_json::json!({ "name": "in", "topic": "orders" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: PullSettings = serde_json::from_value(settings).unwrap();
    assert_eq!(settings.problems(), []);
    Decoder::new(&settings, "kafka")
}

fn pulled(headers: &[(&str, &str)], data: &'static [u8]) -> Pulled {
    Pulled {
        id: "orders/0/17".into(),
        dedupe: Some("orders/0/17@5".into()),
        place: ("orders/0".into(), 17),
        key: Some("k".into()),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        time: Some(Wall(5_000)),
        marks: vec![("kafkatopic".into(), "orders".into())],
        data: Bytes::from_static(data),
        ..Pulled::default()
    }
}

fn events(decoded: Decoded) -> Vec<(Event, Option<DedupeKey>)> {
    match decoded {
        Decoded::Events(events) => events,
        Decoded::Dead(letter, _) => panic!("dead: {:?}", letter.extensions),
    }
}

fn cause(decoded: Decoded) -> (Event, String) {
    let Decoded::Dead(letter, _) = decoded else { panic!("{decoded:?}") };
    let cause = letter.extensions.iter().find(|(name, _)| &**name == "deadcause").unwrap().1.to_string();
    (*letter, cause)
}

#[test]
fn a_plain_record_has_the_id_of_its_place() {
    let decoder = decoder(serde_json::json!({}));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let record = pulled(&[("content-type", "application/json"), ("traceparent", parent)], b"{\"a\":1}");
    let all = events(decoder.read(&record, Wall(9)));
    let [(event, dedupe)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&*event.id, &*event.kind, &*event.source), ("orders/0/17", "kafka.in", "/sources/in"));
    assert_eq!((event.key.as_deref(), event.time), (Some("k"), Wall(5_000)));
    let trace = &event.trace;
    assert_eq!((&*trace.trace_id, trace.parent.as_deref()), (&parent[3..35], Some(&parent[36..52])));
    assert_eq!(event.extensions, [("kafkatopic".into(), "orders".into())]);
    let dedupe = dedupe.as_ref().unwrap();
    assert_eq!((&*dedupe.scope, &*dedupe.id), ("in", "orders/0/17@5"));
}

#[test]
fn cloudevents_keep_their_own_identity() {
    let decoder = decoder(serde_json::json!({}));
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e1"),
        ("ce-source", "/shop"),
        ("ce-type", "made"),
        ("ce-subject", "50%25%20off"),
        ("ce-partitionkey", "own"),
        ("content-type", "application/json"),
    ];
    let all = events(decoder.read(&pulled(&binary, b"{}"), Wall(9)));
    let event = &all[0].0;
    assert_eq!((&*event.id, &*event.source, event.subject.as_deref()), ("e1", "/shop", Some("50% off")));
    assert_eq!(event.key.as_deref(), Some("own"));
    assert_eq!(&*all[0].1.as_ref().unwrap().id, "orders/0/17@5");

    let batch = br#"[{"specversion":"1.0","id":"a","source":"s","type":"t"},{"specversion":"1.0","id":"b","source":"s","type":"t"}]"#;
    let all = events(decoder.read(&pulled(&[("content-type", "application/cloudevents-batch+json")], batch), Wall(9)));
    let ids: Vec<&str> = all.iter().map(|(event, _)| &*event.id).collect();
    let known: Vec<&str> = all.iter().map(|(_, dedupe)| &*dedupe.as_ref().unwrap().id).collect();
    assert_eq!((ids, known), (vec!["a", "b"], vec!["orders/0/17@5#0", "orders/0/17@5#1"]));
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_with_its_cause() {
    let json = decoder(serde_json::json!({ "content_type": "application/json" }));
    let (letter, why) = cause(json.read(&pulled(&[], b"{\"a\":"), Wall(9)));
    assert!(why.contains("line 1"), "{why}");
    assert_eq!((&letter.data[..], &*letter.id), (&b"{\"a\":"[..], "orders/0/17"));
    assert!(!letter.is_json());
    let said = |letter: &Event| crate::system::dead::mark(letter, SAID_TYPE).map(ToString::to_string);
    assert_eq!(said(&letter).as_deref(), Some("application/json"), "of the source");
    let named = [("content-type", "application/merge-patch+json")];
    let (letter, _) = cause(json.read(&pulled(&named, b"{\"a\":"), Wall(9)));
    assert_eq!(said(&letter).as_deref(), Some(named[0].1), "the record says better");
    let long = "x".repeat(5_000);
    let (letter, _) = cause(json.read(&pulled(&[("content-type", &long)], b"{}"), Wall(9)));
    assert_eq!(said(&letter), None, "what is no type is not kept");
    let small = decoder(serde_json::json!({ "max_record": "4B" }));
    let (letter, why) = cause(small.read(&pulled(&[], b"12345"), Wall(9)));
    assert!(why.contains('4'), "{why}");
    assert_eq!(&letter.data[..], b"12345", "the letter holds what was too large");
    let (_, why) = cause(json.read(&pulled(&[("ce-specversion", "1.0")], b"{}"), Wall(9)));
    assert!(why.contains("id"), "{why}");
}

#[test]
fn without_a_content_type_bytes_are_bytes_and_a_header_can_identify() {
    let decoder = decoder(serde_json::json!({ "dedupe_header": "Webhook-Id", "keep_headers": ["x-a"] }));
    let all = events(decoder.read(&pulled(&[("webhook-id", "w1"), ("x-a", "b"), ("x-c", "d")], b"\xff"), Wall(9)));
    assert_eq!(&*all[0].1.as_ref().unwrap().id, "w1");
    assert_eq!(all[0].0.headers, [("x-a".into(), "b".into())]);
    assert_eq!(all[0].0.content_type, None);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let settings: PullSettings = serde_json::from_value(serde_json::json!({
        "name": "in", "topic": "t", "type": "", "keep_headers": ["Authorization", "a b"], "dedupe_window": "31d",
        "max_record": "26MiB", "fetch": { "max_records": 0, "max_bytes": "1B" }
    }))
    .unwrap();
    let fields: Vec<&str> = settings.problems().iter().map(|p| p.field).collect();
    let expected =
        ["type", "keep_headers", "keep_headers", "dedupe_window", "max_record", "fetch.max_records", "fetch.max_bytes"];
    assert_eq!(fields, expected);
}
