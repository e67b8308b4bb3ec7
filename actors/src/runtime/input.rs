//! An event as the JSON object that functions get.

use crate::event::Event;
use crate::log::Record;
use crate::topic::first_place;

/// The event: `id`, `source`, `type`, `subject`, `time`, `topic`, `seq`, `key`, `content_type`, `trace_id`, `headers`, the
/// extension attributes, and `data`: as it is when it is JSON, a text when it is UTF-8, else `null` with the bytes in
/// `data_base64`.
pub fn event_json(record: &Record) -> Vec<u8> {
    let event = &record.event;
    let mut out = Vec::with_capacity(event.data.len() + 512);
    let mut object = Object { out: &mut out, first: true };
    object.text("id", &event.id);
    object.text("source", &event.source);
    object.text("type", &event.kind);
    object.optional("subject", event.subject.as_deref());
    object.text("time", &event.time.rfc3339());
    object.text("topic", first_place(record).0);
    object.raw("seq", record.seq.to_string().as_bytes());
    object.optional("key", event.key.as_deref());
    object.optional("content_type", event.content_type.as_deref());
    object.text("trace_id", &event.trace.trace_id);
    object.map("headers", event.headers.iter().map(|(name, value)| (&**name, &**value)));
    object.map("extensions", event.extensions.iter().map(|(name, value)| (&**name, &**value)));
    data(&mut object, event);
    out.push(b'}');
    out
}

fn data(object: &mut Object<'_>, event: &Event) {
    if event.data.is_empty() {
        object.raw("data", b"null");
    } else if event.is_json() && event.doc().is_some() {
        object.raw("data", &event.data);
    } else if let Ok(text) = std::str::from_utf8(&event.data) {
        object.text("data", text);
    } else {
        use base64::Engine;
        object.raw("data", b"null");
        object.text("data_base64", &base64::engine::general_purpose::STANDARD.encode(&event.data));
    }
}

struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        self.out.push(if std::mem::take(&mut self.first) { b'{' } else { b',' });
        string(self.out, name);
        self.out.push(b':');
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        string(self.out, text);
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.raw(name, b"null"),
        }
    }

    fn map<'b>(&mut self, name: &str, entries: impl Iterator<Item = (&'b str, &'b str)>) {
        self.name(name);
        self.out.push(b'{');
        for (index, (name, value)) in entries.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            string(self.out, name);
            self.out.push(b':');
            string(self.out, value);
        }
        self.out.push(b'}');
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory does not fail.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Wall;
    use crate::log::TopicId;

    fn json(data: &'static [u8], content_type: &str) -> serde_json::Value {
        let mut event = Event::new("/s\"", "t\n", data.into());
        event.content_type = Some(content_type.into());
        event.headers = vec![("x-a".into(), "1".into()), ("x-b".into(), "2".into())];
        event.extensions = vec![("tenant".into(), "acme".into())];
        serde_json::from_slice(&event_json(&Record::new("orders".into(), TopicId(1), 7, Wall(0), event))).unwrap()
    }

    #[test]
    fn an_event_is_an_object_with_its_data() {
        let event = json(br#"{"a":[1,12345678901234567890]}"#, "application/json");
        assert_eq!((&event["source"], &event["type"]), (&"/s\"".into(), &"t\n".into()));
        assert_eq!((&event["topic"], &event["seq"], &event["subject"]), (&"orders".into(), &7.into(), &().into()));
        assert_eq!(event["headers"]["x-b"], "2");
        assert_eq!(event["extensions"]["tenant"], "acme");
        assert_eq!(event["data"]["a"][1].to_string(), "12345678901234567890");
    }

    #[test]
    fn data_that_is_no_json_is_a_text_or_bytes() {
        assert_eq!(json(b"{", "application/json")["data"], "{");
        assert_eq!(json(b"hello", "text/plain")["data"], "hello");
        assert_eq!(json(b"", "text/plain")["data"], serde_json::Value::Null);
        let bytes = json(&[0xff, 0], "application/octet-stream");
        assert_eq!((&bytes["data"], &bytes["data_base64"]), (&().into(), &"/wA=".into()));
    }
}
