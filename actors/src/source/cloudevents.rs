//! CloudEvents 1.0 over HTTP: binary, structured and batched
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>), and the handshake
//! of its webhook specification.
//!
//! The data of a structured event is a slice of the received body: it is never written anew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hexafn_dsl::json::{Doc, Kind, NodeRef};
use percent_encoding::percent_decode_str;
use smallvec::smallvec;
use std::borrow::Cow;

use super::RequestParts;
use super::door::DoorError;
use super::normalise::{Arrival, Arrivals, Data, Envelope, Incoming, Normaliser};
use crate::clock::Wall;
use crate::event::{Event, Str, TraceContext, is_json_type};
use crate::system::dead;

/// At most this many events in a batch.
pub const MAX_BATCH: usize = 1_000;

/// The longest attribute name.
const MAX_NAME: usize = 20;

/// The longest value of an attribute, in bytes.
const MAX_VALUE: usize = 4_096;

/// The longest `id`, `source`, `type` and `subject`, in bytes.
const MAX_IDENTITY: usize = 1_024;

/// Extension attributes of one event.
const MAX_EXTENSIONS: usize = 64;

/// How a request carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Binary,
    Structured,
    Batch,
}

/// Which mode a request is in, if any.
pub(super) fn mode(request: &RequestParts<'_>, content_type: Option<&str>) -> Option<Mode> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if let Some(rest) = essence.get(..24).filter(|start| start.eq_ignore_ascii_case("application/cloudevents+")) {
        return essence
            .get(rest.len()..)
            .filter(|format| format.eq_ignore_ascii_case("json"))
            .map(|_| Mode::Structured);
    }
    if essence.eq_ignore_ascii_case("application/cloudevents-batch+json") {
        return Some(Mode::Batch);
    }
    request.headers.get("ce-specversion").map(|_| Mode::Binary)
}

pub(super) fn read(
    normaliser: &Normaliser,
    mode: Mode,
    content_type: Option<&str>,
    incoming: Incoming<'_>,
) -> Result<Arrivals, DoorError> {
    let envelope = normaliser.envelope(&incoming.request);
    match mode {
        Mode::Binary => {
            let attributes = Attributes::of_headers(&incoming.request)?;
            let data = normaliser.data(content_type, incoming.body.clone(), incoming.read)?;
            Ok(smallvec![attributes.into_arrival(normaliser, &incoming, &envelope, data)?])
        }
        Mode::Structured => {
            let doc = parse(normaliser, &incoming.body)?;
            Ok(smallvec![structured(normaliser, &incoming, &envelope, doc.root())?])
        }
        Mode::Batch => {
            let doc = parse(normaliser, &incoming.body)?;
            if doc.root().kind() != Kind::Array {
                return Err(DoorError::cloudevent("a batch must be a JSON array of events"));
            }
            let count = doc.root().len();
            if count > MAX_BATCH {
                let detail =
                    format!("the batch holds {count} events; at most {MAX_BATCH} are accepted: send it in parts");
                return Err(DoorError::new(413, "batch-too-large", "The batch is too large", detail));
            }
            let one = |(index, node)| {
                structured(normaliser, &incoming, &envelope, node).map_err(|e| e.at(format_args!("events[{index}]")))
            };
            doc.root().iter().enumerate().map(one).collect()
        }
    }
}

fn parse(normaliser: &Normaliser, body: &Bytes) -> Result<Doc, DoorError> {
    Doc::parse(body.clone(), &normaliser.limits).map_err(|e| DoorError::json(&e))
}

/// Checks what an attribute says.
fn check(name: &str, value: &str) -> Result<(), DoorError> {
    let identity = matches!(name, "id" | "source" | "type" | "subject");
    let most = if identity { MAX_IDENTITY } else { MAX_VALUE };
    if value.len() > most {
        return Err(DoorError::cloudevent(format!("the attribute `{name}` is longer than {most} bytes")));
    }
    if value.chars().any(char::is_control) {
        return Err(DoorError::cloudevent(format!("the attribute `{name}` holds control characters")));
    }
    if value.is_empty() && (identity || matches!(name, "time" | "dataschema" | "specversion")) {
        return Err(DoorError::cloudevent(format!("the attribute `{name}` is empty")));
    }
    Ok(())
}

/// Whether an event that somebody makes by hand may say this of itself: what is refused at the door is refused there, too.
///
/// # Errors
/// 400, with what is wrong.
pub fn may_say(kind: Option<&str>, subject: Option<&str>, key: Option<&str>) -> Result<(), DoorError> {
    let said = [("type", kind), ("subject", subject), ("key", key)];
    said.into_iter().try_for_each(|(name, value)| value.map_or(Ok(()), |value| check(name, value)))
}

/// The attributes of one event, as they come in.
#[derive(Default)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<Wall>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    key: Option<String>,
    extensions: Vec<(Str, Str)>,
}

impl Attributes {
    /// Of the `ce-*` headers.
    fn of_headers(request: &RequestParts<'_>) -> Result<Self, DoorError> {
        let mut attributes = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let mut outcome = Ok(());
        request.headers.each(&mut |name, value| {
            let prefixed = name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ce-"));
            if outcome.is_err() || !prefixed {
                return;
            }
            let name = name.get(3..).unwrap_or_default().to_ascii_lowercase();
            outcome = header_value(&name, value).and_then(|value| {
                if seen.contains(&name) {
                    return Err(DoorError::cloudevent(format!("the header ce-{} occurs twice", shown(&name))));
                }
                if name == "datacontenttype" {
                    let detail = "the header ce-datacontenttype is forbidden: Content-Type is the data's content type";
                    return Err(DoorError::cloudevent(detail));
                }
                attributes.set(&name, value)?;
                seen.push(name);
                Ok(())
            });
        });
        outcome.map(|()| attributes)
    }

    /// Sets one attribute.
    fn set(&mut self, name: &str, value: String) -> Result<(), DoorError> {
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && name != "data";
        if !is_name {
            return Err(DoorError::cloudevent(format!(
                "the attribute name `{}` is refused: 1 to {MAX_NAME} of a-z and 0-9, and not `data`",
                shown(name)
            )));
        }
        check(name, &value)?;
        match name {
            "specversion" => self.specversion = Some(value),
            "id" => self.id = Some(value),
            "source" => self.source = Some(value),
            "type" => self.kind = Some(value),
            "subject" => self.subject = Some(value),
            "time" => {
                let parsed = value.parse::<jiff::Timestamp>().ok();
                let detail = || {
                    DoorError::cloudevent(format!(
                        "the attribute `time` is `{}`, not a time of RFC 3339 such as 2026-11-24T08:00:00Z",
                        shown(&value)
                    ))
                };
                self.time = Some(Wall(parsed.ok_or_else(detail)?.as_microsecond()));
            }
            // The distributed tracing extension: it becomes the event's trace.
            "traceparent" => self.traceparent = Some(value),
            "tracestate" => self.tracestate = Some(value),
            // Nobody redacts them, and an edit of a letter believes them.
            own if dead::is_own(own) => {}
            _ => {
                if name == "partitionkey" {
                    self.key = Some(value.clone());
                }
                if self.extensions.len() >= MAX_EXTENSIONS {
                    let detail = format!("there are more than {MAX_EXTENSIONS} extension attributes");
                    return Err(DoorError::cloudevent(detail));
                }
                self.extensions.push((name.into(), value.into()));
            }
        }
        Ok(())
    }

    fn into_arrival(
        self,
        normaliser: &Normaliser,
        incoming: &Incoming<'_>,
        envelope: &Envelope,
        data: Data,
    ) -> Result<Arrival, DoorError> {
        let missing = |name: &str| DoorError::cloudevent(format!("the required attribute `{name}` is missing"));
        match self.specversion.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                let detail = format!("specversion `{}` is not supported: send 1.0", shown(other));
                return Err(DoorError::cloudevent(detail));
            }
            None => return Err(missing("specversion")),
        }
        let id: Str = self.id.ok_or_else(|| missing("id"))?.into();
        let source = self.source.ok_or_else(|| missing("source"))?;
        let kind = self.kind.ok_or_else(|| missing("type"))?;
        // Control characters are refused in both, so the pair is unambiguous.
        let dedupe = normaliser.dedupe(&incoming.request, || Some(format!("{source}\n{id}").into()))?;

        let own_trace = self.traceparent.and_then(|parent| TraceContext::received(&parent, self.tracestate.as_deref()));
        let mut event = Event::new(source, kind, data.bytes);
        (event.id, event.given) = (id, true);
        event.subject = self.subject.map(Into::into);
        event.time = self.time.unwrap_or(incoming.now);
        event.content_type = data.content_type;
        event.extensions = self.extensions;
        if let Some(original) = data.original {
            // What was read here, and not what the sender says of it: each name once.
            event.extensions.retain(|(name, _)| &**name != "originalcontenttype");
            event.extensions.push(("originalcontenttype".into(), original));
        }
        event.headers = envelope.headers.clone();
        event.key = self.key.map(Into::into);
        event.trace = own_trace.unwrap_or_else(|| envelope.trace.sibling());
        let event = match data.doc {
            Some(doc) => event.with_doc(doc),
            None => event,
        };
        Ok(Arrival { event, dedupe })
    }
}

/// One event in the JSON format
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
fn structured(
    normaliser: &Normaliser,
    incoming: &Incoming<'_>,
    envelope: &Envelope,
    node: NodeRef<'_>,
) -> Result<Arrival, DoorError> {
    if node.kind() != Kind::Object {
        return Err(DoorError::cloudevent("an event must be a JSON object"));
    }
    let mut attributes = Attributes::default();
    let (mut data, mut base64, mut content_type) = (None, None, None);
    for (name, value) in node.entries() {
        match &*name {
            "data" => data = Some(value),
            // A null attribute is one that is not there; null data is data.
            _ if value.kind() == Kind::Null => {}
            "data_base64" => base64 = Some(value),
            "datacontenttype" => content_type = Some(attribute_text(&name, value)?),
            _ => attributes.set(&name, attribute_text(&name, value)?)?,
        }
    }
    if content_type
        .as_ref()
        .is_some_and(|text| text.is_empty() || text.len() > 256 || text.chars().any(char::is_control))
    {
        return Err(DoorError::cloudevent("datacontenttype must be 1 to 256 bytes without control characters"));
    }
    let data = match (data, base64) {
        (Some(_), Some(_)) => return Err(DoorError::cloudevent("`data` and `data_base64` exclude each other")),
        (Some(value), None) => structured_data(normaliser, incoming, value, content_type)?,
        (None, Some(value)) => {
            let text = value.as_str().ok_or(DoorError::cloudevent("`data_base64` must be a string"))?;
            let bytes = STANDARD.decode(text.as_bytes());
            let bytes = bytes.map_err(|_| DoorError::cloudevent("`data_base64` is not base64"))?;
            normaliser.data(content_type.as_deref(), bytes.into(), incoming.read)?
        }
        (None, None) => {
            Data { bytes: Bytes::new(), content_type: content_type.map(Into::into), doc: None, original: None }
        }
    };
    attributes.into_arrival(normaliser, incoming, envelope, data)
}

fn structured_data(
    normaliser: &Normaliser,
    incoming: &Incoming<'_>,
    value: NodeRef<'_>,
    content_type: Option<String>,
) -> Result<Data, DoorError> {
    let content_type = content_type.unwrap_or_else(|| "application/json".into());
    if !is_json_type(&content_type)
        && let Some(text) = value.as_str()
    {
        // Other content as text: the string is the data.
        let bytes = match text {
            Cow::Borrowed(text) => incoming.body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        return Ok(Data { bytes, content_type: Some(content_type.into()), doc: None, original: None });
    }
    let bytes = incoming.body.slice_ref(value.raw());
    // The whole was checked, so its part is right; it is walked again only for its own view, where somebody reads it.
    let doc = if incoming.read && is_json_type(&content_type) {
        Some(Doc::parse(bytes.clone(), &normaliser.limits).map_err(|e| DoorError::json(&e))?)
    } else {
        None
    };
    Ok(Data { bytes, content_type: Some(content_type.into()), doc, original: None })
}

/// The text of an attribute: strings, booleans and whole numbers have one.
fn attribute_text(name: &str, value: NodeRef<'_>) -> Result<String, DoorError> {
    if let Some(text) = value.as_str() {
        return Ok(text.into_owned());
    }
    let raw = value.raw_text();
    let whole = raw.len() <= 20 && raw.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if value.kind() == Kind::Bool || (value.kind() == Kind::Number && whole) {
        return Ok(raw.to_owned());
    }
    Err(DoorError::cloudevent(format!("the attribute `{}` must be a string, a boolean or a whole number", shown(name))))
}

/// The value of a `ce-*` header: an optional pair of quotes is taken away, then percent-encoding is undone once.
fn header_value(name: &str, raw: &[u8]) -> Result<String, DoorError> {
    let wrong = |why: &str| DoorError::cloudevent(format!("the header ce-{} {why}", shown(name)));
    let text = std::str::from_utf8(raw).map_err(|_| wrong("is not UTF-8"))?.trim();
    let unquoted = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if inner.contains('\\') => Cow::Owned(unescape(inner)),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(text),
    };
    let bad_percent = unquoted.split('%').skip(1).any(|after| {
        let pair = after.as_bytes().first_chunk::<2>();
        !pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    });
    if bad_percent {
        return Err(wrong("holds a % that is not followed by two hex digits: write %25 for a percent sign"));
    }
    percent_decode_str(&unquoted).decode_utf8().map(Cow::into_owned).map_err(|_| wrong("is not UTF-8 after decoding"))
}

/// Undoes the backslashes of a quoted string (RFC 9110, 5.6.4).
fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

/// What a message repeats of the input.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The answer to the handshake of the webhook specification: an OPTIONS request with `WebHook-Request-Origin`.
/// `per_minute` is the source's rate, `None` for unlimited. `None`: not a handshake.
pub fn handshake(request: &RequestParts<'_>, per_minute: Option<u64>) -> Option<Vec<(&'static str, String)>> {
    let origin = request.header("webhook-request-origin").filter(|_| request.method == "OPTIONS")?;
    // It is repeated in a header of the answer: only what a host name is made of, or `*`.
    let is_origin = (1..=253).contains(&origin.len())
        && origin.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'*'));
    if !is_origin {
        return None;
    }
    let rate = per_minute.map_or_else(|| "*".to_owned(), |rate| rate.to_string());
    Some(vec![("WebHook-Allowed-Origin", origin.to_owned()), ("WebHook-Allowed-Rate", rate)])
}

#[cfg(test)]
mod tests;
