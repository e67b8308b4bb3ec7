//! What live streams send: a record as one JSON object, as a whole WebSocket frame (RFC 6455, unmasked text), so that
//! it is encoded once and shared by all viewers.

use base64::Engine;
use bytes::Bytes;
use hexafn_actors::log::Record;
use hexafn_actors::topic::first_place;

/// Room for the longest frame header.
const HEADER: usize = 10;

/// The frame of a record.
pub fn of_record(record: &Record) -> Bytes {
    let mut out = Vec::with_capacity(HEADER + record.event.data.len() + 384);
    out.resize(HEADER, 0);
    json(record, &mut out);
    framed(out)
}

/// The frame of a delivery that its receiver settles: the record, and what to settle it by.
pub fn of_delivery(record: &Record, attempt: u32) -> Bytes {
    let mut out = Vec::with_capacity(HEADER + record.event.data.len() + 448);
    out.resize(HEADER, 0);
    // One that is delivered again shows where it stood first; it is settled where it stands now.
    object(first_place(record), record, &mut out);
    out.pop();
    let (topic, seq) = (&record.topic, record.seq);
    out.extend_from_slice(format!(",\"attempt\":{attempt},\"ack_id\":\"{topic}/{seq}/{attempt}\"}}").as_bytes());
    framed(out)
}

/// A text frame.
pub fn text(payload: &[u8]) -> Bytes {
    let mut out = vec![0; HEADER];
    out.extend_from_slice(payload);
    framed(out)
}

/// A pong; the payload of a ping is at most 125 bytes long.
pub fn pong(ping: &[u8]) -> Bytes {
    let ping = &ping[..ping.len().min(125)];
    let mut out = Vec::with_capacity(2 + ping.len());
    out.extend([0x8a, ping.len() as u8]);
    out.extend_from_slice(ping);
    out.into()
}

/// Puts the header right before the payload, which begins at [`HEADER`].
fn framed(mut out: Vec<u8>) -> Bytes {
    let len = out.len() - HEADER;
    let start = match len {
        0..=125 => {
            out[HEADER - 1] = len as u8;
            HEADER - 2
        }
        126..=0xffff => {
            out[HEADER - 3] = 126;
            out[HEADER - 2..HEADER].copy_from_slice(&(len as u16).to_be_bytes());
            HEADER - 4
        }
        _ => {
            out[HEADER - 9] = 127;
            out[HEADER - 8..HEADER].copy_from_slice(&(len as u64).to_be_bytes());
            HEADER - 10
        }
    };
    out[start] = 0x81;
    Bytes::from(out).slice(start..)
}

/// The record as JSON: its place, the CloudEvents attributes, the trace, the data as it was.
pub fn json(record: &Record, out: &mut Vec<u8>) {
    object((&record.topic, record.seq), record, out);
}

fn object((topic, seq): (&str, u64), record: &Record, out: &mut Vec<u8>) {
    let event = &record.event;
    out.extend_from_slice(b"{\"topic\":");
    string(topic, out);
    out.extend_from_slice(format!(",\"seq\":{seq},\"stored\":\"{}\"", record.stored.rfc3339()).as_bytes());
    let time = event.time.rfc3339();
    let attributes = [
        ("id", Some(&*event.id)),
        ("source", Some(&*event.source)),
        ("type", Some(&*event.kind)),
        ("subject", event.subject.as_deref()),
        ("time", Some(&*time)),
        ("datacontenttype", event.content_type.as_deref()),
        ("key", event.key.as_deref()),
        ("trace_id", Some(&*event.trace.trace_id)),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            field(name, value, out);
        }
    }
    for (group, pairs) in [("extensions", &event.extensions), ("headers", &event.headers)] {
        if pairs.is_empty() {
            continue;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(group.as_bytes());
        out.extend_from_slice(b"\":{");
        for (at, (name, value)) in pairs.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            string(name, out);
            out.push(b':');
            string(value, out);
        }
        out.push(b'}');
    }
    if event.data.is_empty() {
        // Absent, as in CloudEvents, and not an empty text.
    } else if event.is_json() {
        // Checked at the door or made by a function.
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(&event.data);
    } else if let Ok(text) = std::str::from_utf8(&event.data) {
        field("data", text, out);
    } else {
        field("data_base64", &base64::engine::general_purpose::STANDARD.encode(&event.data), out);
    }
    out.push(b'}');
}

fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(value, out);
}

fn string(value: &str, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail, and a string is always JSON.
    serde_json::to_writer(out, value).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hexafn_actors::clock::Wall;
    use hexafn_actors::event::Event;
    use hexafn_actors::log::TopicId;

    #[test]
    fn headers_follow_rfc_6455() {
        assert_eq!(&text(b"hi")[..], b"\x81\x02hi");
        let long = text(&[b'x'; 126]);
        assert_eq!((&long[..4], long.len()), (&b"\x81\x7e\x00\x7e"[..], 130));
        let huge = text(&vec![b'x'; 70_000]);
        assert_eq!(&huge[..10], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70");
    }

    #[test]
    fn a_record_is_one_json_object_with_its_data_as_it_was() {
        let mut event = Event::new("s", "push", Bytes::from_static(b"{\"n\": 1.10}"));
        event.subject = Some("a \"b\"".into());
        event.headers.push(("x".into(), "y".into()));
        let record = Record::new("t".into(), TopicId(1), 7, Wall(0), event);
        let mut out = Vec::new();
        json(&record, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"data\":{\"n\": 1.10}"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["seq"], &value["subject"], &value["headers"]["x"]),
            (&7.into(), &"a \"b\"".into(), &"y".into())
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let mut event = Event::new("s", "raw", Bytes::from_static(b"\xff\x00"));
        event.content_type = None;
        let mut out = Vec::new();
        json(&Record::new("t".into(), TopicId(1), 1, Wall(0), event), &mut out);
        assert!(String::from_utf8(out).unwrap().ends_with(",\"data_base64\":\"/wA=\"}"));
    }
}
