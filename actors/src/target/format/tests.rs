#![allow(clippy::unwrap_used)]

use super::*;
use crate::log::TopicId;

fn record(content_type: &str, data: &str) -> Arc<Record> {
    let mut event = Event::new("/s", "order", Bytes::copy_from_slice(data.as_bytes()));
    event.id = "e1".into();
    event.content_type = Some(content_type.into());
    Arc::new(Record::new("orders".into(), TopicId(1), 7, Wall(0), event))
}

fn json(data: &str) -> Arc<Record> {
    record("application/json", data)
}

fn delivery(record: &Arc<Record>) -> Delivery<'_> {
    Delivery { record, attempt: 1, now: Wall(0) }
}

fn columns() -> Vec<Column> {
    let column = |name: &str, value: &str| Column { name: name.into(), value: value.into() };
    vec![column("id", "${event.id}"), column("a note", "${event.data.note}"), column("n", "${event.data.n}")]
}

fn formatter(format: Format) -> Formatter {
    let columns = if format == Format::Csv { columns() } else { Vec::new() };
    let body = (format == Format::Template).then_some("n is ${event.data.n}");
    Formatter::new(&"t".into(), Some(format), body, &columns, Format::Data).unwrap()
}

fn one(format: Format, record: &Arc<Record>) -> (String, String) {
    let body = formatter(format).one(delivery(record)).unwrap();
    (String::from_utf8(body.bytes.to_vec()).unwrap(), body.content_type.unwrap().into_owned())
}

fn batch(format: Format, records: &[Arc<Record>]) -> (String, Vec<usize>) {
    let (body, failed) = formatter(format).batch(records, Wall(0));
    (String::from_utf8(body.bytes.to_vec()).unwrap(), failed.into_iter().map(|(at, _)| at).collect())
}

#[test]
fn one_event() {
    let event = json(
        "{\n \"n\": 1, \"note\": \"a,\\\"b\\\"\", \"tags\": [\"x y\", 2], \"deep\": {\"k\": null}, \"none\": null}",
    );
    let form = "n=1&note=a%2C%22b%22&tags=x+y&tags=2&deep=%7B%22k%22%3A+null%7D&none=";
    assert_eq!(one(Format::Form, &event), (form.into(), "application/x-www-form-urlencoded".into()));
    let row = "e1,\"a,\"\"b\"\"\",1\n";
    assert_eq!(one(Format::Csv, &event), (row.into(), "text/csv; charset=utf-8; header=absent".into()));
    assert_eq!(one(Format::Template, &event).0, "n is 1");
    assert_eq!(one(Format::Jsonl, &event).0.matches('\n').count(), 1);
    assert_eq!(one(Format::Data, &record("text/plain", "hi")), ("hi".into(), "text/plain".into()));
    assert_eq!(one(Format::Json, &record("text/plain", "hi")), ("\"hi\"".into(), "application/json".into()));
}

#[test]
fn many_events() {
    let events = [json("{\"n\":1,\"note\":\"x\"}"), record("text/plain", "hi"), json("{\"n\":2,\"note\":null}")];
    assert_eq!(batch(Format::Json, &events).0, "[{\"n\":1,\"note\":\"x\"},\"hi\",{\"n\":2,\"note\":null}]");
    assert_eq!(batch(Format::Jsonl, &events).0, "{\"n\":1,\"note\":\"x\"}\n\"hi\"\n{\"n\":2,\"note\":null}\n");
    let all: Vec<serde_json::Value> = serde_json::from_str(&batch(Format::Cloudevents, &events).0).unwrap();
    assert_eq!((all.len(), &all[2]["data"]["n"], &all[1]["data"]), (3, &2.into(), &"hi".into()));
    assert_eq!(batch(Format::Json, &[]).0, "[]");
}

#[test]
fn what_cannot_be_written_is_left_out_of_its_batch_and_named() {
    let template = Formatter::new(&"t".into(), None, Some("${1 / event.data.n}"), &[], Format::Data).unwrap();
    let events = [json("{\"n\":0}"), json("{\"n\":1}"), json("{\"n\":0}"), json("{\"n\":2}")];
    let (body, failed) = template.batch(&events, Wall(0));
    assert_eq!(body.bytes, "1\n0.5\n");
    assert_eq!(failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
    assert!(failed.iter().all(|(_, f)| f.verdict == Verdict::DeadLetter && f.message.contains("`body`")), "{failed:?}");
    let failure = formatter(Format::Form).one(delivery(&json("[1]"))).unwrap_err();
    assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter));
}

#[test]
fn settings_that_do_not_go_together() {
    let new = |format, body, columns: &[Column]| {
        Formatter::new(&"t".into(), format, body, columns, Format::Data).map(|f| f.format()).map_err(|e| e.to_string())
    };
    assert_eq!(new(None, None, &[]), Ok(Format::Data));
    assert_eq!(new(None, Some("x"), &[]), Ok(Format::Template));
    assert_eq!(new(None, None, &columns()), Ok(Format::Csv));
    for (format, body, columns, field) in [
        (Some(Format::Template), None, &[][..], "`format`"),
        (Some(Format::Csv), None, &[], "`format`"),
        (Some(Format::Json), Some("x"), &[], "`body`"),
        (Some(Format::Json), None, &columns()[..], "`columns`"),
        (None, Some("${"), &[], "`body`"),
    ] {
        let message = new(format, body, columns).unwrap_err();
        assert!(message.contains(field), "{message}");
    }
    for format in [Format::Data, Format::Form, Format::CloudeventsBinary] {
        assert!(formatter(format).for_batches(&"t".into()).unwrap_err().to_string().contains("`batch`"));
    }
}
