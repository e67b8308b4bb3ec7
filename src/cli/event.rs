//! An event as a file, for `hexafn run --event`: written as functions get it, or as `hexafn tail -o json` prints it.

use base64::Engine;
use hexafn_actors::clock::Wall;
use hexafn_actors::event::{Event, Str, TraceContext, is_json_type};
use hexafn_actors::log::{Record, TopicId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::Failure;

/// The event as written. What is absent or null has the value that a fresh event has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    topic: Option<String>,
    seq: Option<u64>,
    key: Option<String>,
    #[serde(alias = "datacontenttype")]
    content_type: Option<String>,
    trace_id: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    extensions: Option<BTreeMap<String, String>>,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
    /// When it was stored: `tail` says so, and functions do not see it.
    #[serde(rename = "stored")]
    _stored: Option<IgnoredAny>,
}

/// Reads an event; `given` is a file, or `-` for standard input.
pub fn read(given: &str) -> Result<Record, Failure> {
    let shown = if given == "-" { "standard input" } else { given };
    let given = if given == "-" { given.to_owned() } else { format!("@{given}") };
    let bytes = super::data(&given)?;
    record(&bytes).map_err(|why| Failure::new(1, format!("{shown}: {why}")))
}

fn record(bytes: &[u8]) -> Result<Record, String> {
    let doc = hexafn_dsl::json::Doc::parse(bytes.to_vec().into(), &hexafn_dsl::json::Limits::default());
    doc.map_err(|e| format!("not JSON that is accepted: {e}"))?;
    let no_event = |why: &dyn std::fmt::Display| {
        format!(
            "not an event: {why}; write an object such as {{\"type\": \"order.created\", \"data\": {{}}}}, or give the data \
             alone: --data @FILE"
        )
    };
    // An array of the members in their order would be read as well.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(no_event(&"it is no object"));
    }
    let written: Written = serde_json::from_slice(bytes).map_err(|e| no_event(&e))?;
    let is_json = written.content_type.as_deref().is_none_or(is_json_type);
    let data = match (&written.data, &written.data_base64) {
        (Some(_), Some(_)) => return Err("not an event: it has `data` and `data_base64`; write one of them".to_owned()),
        (None, Some(text)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_err(|e| format!("`data_base64` is not Base64: {e}"))?
        }
        // Data of another type than JSON is a text.
        (Some(raw), None) if !is_json => serde_json::from_str::<String>(raw.get())
            .map_err(|_| "`data` must be a text, since `content_type` is not JSON".to_owned())?
            .into_bytes(),
        (Some(raw), None) => raw.get().as_bytes().to_vec(),
        (None, None) => Vec::new(),
    };
    let mut event = Event::new(
        written.source.unwrap_or_else(|| "/run".to_owned()),
        written.kind.unwrap_or_else(|| "run".to_owned()),
        data.into(),
    );
    if let Some(id) = written.id {
        event.id = id.into();
    }
    if let Some(time) = written.time {
        let parsed = time.parse::<jiff::Timestamp>();
        let parsed = parsed.map_err(|_| {
            format!("`time` is {}, not a time of RFC 3339 such as \"2026-11-24T08:00:00Z\"", serde_json::json!(time))
        })?;
        event.time = Wall(parsed.as_microsecond());
    }
    if let Some(id) = written.trace_id {
        let trace = TraceContext::parse(&format!("00-{id}-{}-01", event.trace.span_id), None);
        event.trace = trace.ok_or("`trace_id` must be 32 lower-case hexadecimal digits that are not all 0")?;
    }
    let pairs = |map: Option<BTreeMap<String, String>>| -> Vec<(Str, Str)> {
        map.unwrap_or_default().into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    };
    event.subject = written.subject.map(Into::into);
    event.key = written.key.map(Into::into);
    event.headers = pairs(written.headers);
    event.extensions = pairs(written.extensions);
    if let Some(content_type) = written.content_type {
        event.content_type = Some(content_type.into());
    } else if written.data_base64.is_some() {
        event.content_type = None;
    }
    let topic = written.topic.unwrap_or_else(|| "run".to_owned());
    Ok(Record::new(topic.into(), TopicId(0), written.seq.unwrap_or(0), Wall::now(), event))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use hexafn_actors::runtime::event_json;

    #[test]
    fn what_functions_get_is_read_back_as_it_was() {
        for data in [
            r#""content_type":"application/json","trace_id":"0123456789abcdef0123456789abcdef","headers":{"x":"1"},"extensions":{},"data":{"n":12345678901234567890123}"#,
            r#""content_type":"text/plain","trace_id":"0123456789abcdef0123456789abcdef","headers":{},"extensions":{"a":"b"},"data":"ö""#,
            r#""content_type":null,"trace_id":"0123456789abcdef0123456789abcdef","headers":{},"extensions":{},"data":null,"data_base64":"//79""#,
        ] {
            let event = format!(
                r#"{{"id":"e","source":"/s","type":"t","subject":null,"time":"2026-11-24T08:00:00.000001Z","topic":"a.b","seq":7,"key":"k",{data}}}"#
            );
            let read = record(event.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(event_json(&read)).unwrap(), event);
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_reason() {
        for (text, said) in [
            ("{", "not JSON"),
            (r#"{"a":1,"a":2}"#, "not JSON that is accepted"),
            ("[]", "write an object such as"),
            (r#"{"dta":{}}"#, "unknown field `dta`, expected one of `id`"),
            (r#"{"seq":-1}"#, "invalid value: integer `-1`"),
            (r#"{"time":"yesterday"}"#, "such as \"2026-11-24T08:00:00Z\""),
            (r#"{"trace_id":"1"}"#, "32 lower-case hexadecimal digits"),
            (r#"{"data_base64":"*"}"#, "is not Base64"),
            (r#"{"data":1,"data_base64":""}"#, "write one of them"),
            (r#"{"content_type":"text/plain","data":{}}"#, "must be a text"),
        ] {
            let error = record(text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
