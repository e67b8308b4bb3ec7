//! The event: CloudEvents 1.0 attributes, the raw data bytes as received, a parsed view made at most once, a W3C
//! trace context and the allow-listed headers.
//!
//! Its stored form (`encode`, `decode`) is forever: a golden test holds the bytes.

use bytes::{Buf, BufMut, Bytes};
use hexafn_dsl::json::{Doc, Limits};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Wall;

/// A shared string: names and attributes are cloned far more often than made.
pub type Str = Arc<str>;

/// A W3C trace context (<https://www.w3.org/TR/trace-context/>): the trace an event belongs to, and the span that
/// caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 lower-case hex digits, not all zero.
    pub trace_id: Str,
    /// The parent span, 16 lower-case hex digits.
    pub span_id: Str,
    /// The trace flags; bit 0 is "sampled".
    pub flags: u8,
    /// What the span hangs under, while that is known: it is not stored with the event.
    pub parent: Option<Str>,
    /// The `tracestate` header, passed on as received (at most 512 bytes).
    pub state: Option<Str>,
}

impl TraceContext {
    /// A fresh trace, sampled at the ratio of [`sample`].
    pub fn new() -> Self {
        let (high, low, span): (u64, u64, u64) = (rand::random(), rand::random(), rand::random());
        let flags = u8::from((low >> 1) < SAMPLED_BELOW.load(Ordering::Relaxed));
        Self { trace_id: hex_str(&[high | 1, low]), span_id: hex_str(&[span | 1]), flags, parent: None, state: None }
    }

    /// The context of an event that came with a `traceparent`: that trace, with a span of its own under the sender's.
    /// `None` as [`parse`](Self::parse).
    pub fn received(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        Self::parse(traceparent, tracestate).map(|sender| sender.child())
    }

    /// Whether spans of this trace are to be exported.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Reads a `traceparent` header of version 00 (later versions are read by their first four fields, as the
    /// specification asks). `None` when malformed: the caller then starts a fresh trace.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let zero = |s: &str| s.bytes().all(|b| b == b'0');
        if !known || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) || zero(trace) || zero(span) {
            return None;
        }
        Some(Self {
            trace_id: trace.into(),
            span_id: span.into(),
            flags: u8::from_str_radix(flags, 16).ok()?,
            parent: None,
            state: tracestate.filter(|s| !s.is_empty() && s.len() <= 512).map(Into::into),
        })
    }

    /// The `traceparent` header to send on, with this context's span as the parent.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The same trace with a fresh span under this one: what an output of this event carries.
    #[must_use]
    pub fn child(&self) -> Self {
        let span: u64 = rand::random();
        Self { span_id: hex_str(&[span | 1]), parent: Some(self.span_id.clone()), ..self.clone() }
    }

    /// The same trace with a fresh span beside this one: for the next event of one request.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let span: u64 = rand::random();
        Self { span_id: hex_str(&[span | 1]), ..self.clone() }
    }
}

/// Fresh traces are sampled when the upper 63 bits of the second half of their id are below this, as the sampler by trace id
/// of OpenTelemetry does: services with the same ratio choose the same traces.
static SAMPLED_BELOW: AtomicU64 = AtomicU64::new(1 << 63);

/// How many fresh traces are sampled, from 0 to 1; all of them until this is called. A trace that comes with an event has its
/// flag already, which stays.
pub fn sample(ratio: f64) {
    let below = (ratio.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64;
    SAMPLED_BELOW.store(below, Ordering::Relaxed);
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

fn hex_str(words: &[u64]) -> Str {
    let mut buf = [0u8; 32];
    let mut at = 0;
    for word in words {
        for shift in (0..16).rev() {
            let digit = (word >> (shift * 4)) & 15;
            buf[at] = b"0123456789abcdef"[digit as usize];
            at += 1;
        }
    }
    std::str::from_utf8(&buf[..at]).unwrap_or_default().into()
}

/// One event. Cheap to share in an `Arc`; the data bytes are shared with the buffer they were received or read in.
#[derive(Debug, Clone)]
pub struct Event {
    /// CloudEvents `id`; unique together with `source`.
    pub id: Str,
    /// CloudEvents `source`.
    pub source: Str,
    /// CloudEvents `type`.
    pub kind: Str,
    /// CloudEvents `subject`.
    pub subject: Option<Str>,
    /// CloudEvents `time`: when it happened, or when it was accepted.
    pub time: Wall,
    /// CloudEvents `datacontenttype`.
    pub content_type: Option<Str>,
    /// CloudEvents extension attributes, in the order received.
    pub extensions: Vec<(Str, Str)>,
    /// The headers that the source's allow-list keeps, names in lower case.
    pub headers: Vec<(Str, Str)>,
    /// The ordering key: deliveries of one key keep their order where a subscription asks for it.
    pub key: Option<Str>,
    /// How many triggers led to this event; 16 is the end (a cycle).
    pub hops: u8,
    /// Whether its sender gave it its id: such ids are unique for each source only.
    pub given: bool,
    /// Whether it tells what became of a delivery, or was made from such an event: of its own deliveries nothing is told.
    pub told: bool,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// The data, as received.
    pub data: Bytes,
    doc: OnceLock<Option<Doc>>,
}

/// What cannot be read back as an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the event does.
    #[error("the stored event is cut short")]
    Short,
    /// Text that is not UTF-8.
    #[error("the stored event holds text that is not UTF-8")]
    Text,
    /// Written by a later hexaFn.
    #[error("stored event format {0} is unknown: it was written by a later hexaFn")]
    Format(u8),
}

/// CloudEvents `dataschema`, kept among the extensions: the schema that the data adheres to, as its sender says.
pub const DATA_SCHEMA: &str = "dataschema";

/// The version byte of the stored form. In its place, 2 says that a record's data lies elsewhere (`log/keys.rs`): not to be
/// given to a form of the event.
const FORMAT: u8 = 1;

/// The part of the byte of `hops` that counts: what passed [`MAX_HOPS`](crate::trigger::run::MAX_HOPS) goes no further.
const HOPS: u8 = 0x3f;
/// The part of that byte that says [`Event::given`].
const GIVEN: u8 = 0x40;
/// The part of that byte that says [`Event::told`].
const TOLD: u8 = 0x80;

/// Data of events was held against the limits of its door, or a function of hexaFn made it, which has limits of its own.
pub(crate) const STORED: Limits = Limits { depth: Limits::MAX_DEPTH, keys: u32::MAX, bytes: Limits::MAX_BYTES };

impl Event {
    /// An event with the given identity and data; other attributes are empty, the time is now, the trace fresh.
    pub fn new(source: impl Into<Str>, kind: impl Into<Str>, data: Bytes) -> Self {
        Self {
            id: new_id(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: Wall::now(),
            content_type: Some("application/json".into()),
            extensions: Vec::new(),
            headers: Vec::new(),
            key: None,
            hops: 0,
            given: false,
            told: false,
            trace: TraceContext::new(),
            data,
            doc: OnceLock::new(),
        }
    }

    /// What the ids of all that follows from this event begin with: its own id where hexaFn made that. Ids of senders are unique
    /// for each source only (CloudEvents 1.0, `id`), and what follows has one source for all of them, so the event's source is
    /// part of it, as a checksum.
    pub fn stem(&self) -> impl std::fmt::Display {
        let made_here = self.source.starts_with("/triggers/") || ulid::Ulid::from_string(&self.id).is_ok();
        let unique = made_here && !self.given;
        std::fmt::from_fn(move |f| {
            f.write_str(&self.id)?;
            if unique { Ok(()) } else { write!(f, "-{:08x}", crc32c::crc32c(self.source.as_bytes())) }
        })
    }

    /// What a trigger makes of this event: the same trace with a fresh span, the same attributes, key and headers, one
    /// hop further.
    pub fn derive(&self, id: Str, source: Str, content_type: Option<Str>, data: Bytes, now: Wall) -> Self {
        Self {
            id,
            source,
            time: now,
            content_type,
            hops: self.hops.saturating_add(1),
            given: false,
            told: self.told,
            trace: self.trace.child(),
            data,
            doc: OnceLock::new(),
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            extensions: self.extensions.clone(),
            headers: self.headers.clone(),
            key: self.key.clone(),
        }
    }

    /// Takes away what is said of the schema of its data: that was said of other data than it has now.
    #[must_use]
    pub fn without_schema(mut self) -> Self {
        self.extensions.retain(|(name, _)| &**name != DATA_SCHEMA);
        self
    }

    /// The same event with other data.
    #[must_use]
    pub fn with_data(&self, data: Bytes) -> Self {
        Self { data, doc: OnceLock::new(), ..self.clone() }
    }

    /// Hands over the parsed view that the door made, so that nobody parses again.
    #[must_use]
    pub fn with_doc(self, doc: Doc) -> Self {
        Self { doc: OnceLock::from(Some(doc)), ..self }
    }

    /// Whether the parsed view is there already, so that reading it costs nothing.
    pub fn is_parsed(&self) -> bool {
        self.doc.get().is_some()
    }

    /// Whether the content type says JSON (`application/json`, `…+json`).
    pub fn is_json(&self) -> bool {
        self.content_type.as_deref().is_some_and(is_json_type)
    }

    /// The parsed view of JSON data: made at the first call. `None` when the data is not JSON.
    pub fn doc(&self) -> Option<&Doc> {
        self.doc
            .get_or_init(|| if self.is_json() { Doc::parse(self.data.clone(), &STORED).ok() } else { None })
            .as_ref()
    }

    /// Appends the stored form. Strings and data are length-prefixed (LEB128); optional ones have length + 1.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_attributes(out);
        put_bytes(out, &self.data);
    }

    /// The stored form up to the data.
    pub(crate) fn encode_attributes(&self, out: &mut Vec<u8>) {
        out.put_u8(FORMAT);
        for text in [&self.id, &self.source, &self.kind] {
            put_bytes(out, text.as_bytes());
        }
        out.put_i64(self.time.0);
        for text in [&self.subject, &self.content_type, &self.key] {
            put_option(out, text.as_deref());
        }
        let marks = [(self.told, TOLD), (self.given, GIVEN)];
        out.put_u8(marks.into_iter().fold(self.hops.min(HOPS), |byte, (is, mark)| if is { byte | mark } else { byte }));
        put_bytes(out, self.trace.trace_id.as_bytes());
        put_bytes(out, self.trace.span_id.as_bytes());
        out.put_u8(self.trace.flags);
        put_option(out, self.trace.state.as_deref());
        for pairs in [&self.extensions, &self.headers] {
            put_len(out, pairs.len());
            for (name, value) in pairs {
                put_bytes(out, name.as_bytes());
                put_bytes(out, value.as_bytes());
            }
        }
    }

    /// Reads the stored form; the data shares `bytes`.
    ///
    /// # Errors
    /// The bytes are not what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        Self::decode_like(bytes, None)
    }

    /// The same. Text that `like` has in the same place, such as the source, is shared with it instead of copied: events that lie
    /// beside each other are much alike.
    ///
    /// # Errors
    /// The bytes are not what [`encode`](Self::encode) wrote.
    pub fn decode_like(bytes: &Bytes, like: Option<&Self>) -> Result<Self, DecodeError> {
        let b = &mut &bytes[..];
        let event = Self::decode_attributes(b, like)?;
        Ok(Self { data: bytes.slice_ref(get_bytes(b)?), ..event })
    }

    /// Reads what [`encode_attributes`](Self::encode_attributes) wrote: an event without its data.
    pub(crate) fn decode_attributes(b: &mut &[u8], like: Option<&Self>) -> Result<Self, DecodeError> {
        let format = get_u8(b)?;
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        let id = get_str(b, None)?;
        let (source, kind) = (get_str(b, like.map(|e| &e.source))?, get_str(b, like.map(|e| &e.kind))?);
        let time = Wall(if b.remaining() >= 8 { b.get_i64() } else { return Err(DecodeError::Short) });
        let subject = get_option(b, like.and_then(|e| e.subject.as_ref()))?;
        let content_type = get_option(b, like.and_then(|e| e.content_type.as_ref()))?;
        let key = get_option(b, like.and_then(|e| e.key.as_ref()))?;
        let passed = get_u8(b)?;
        let (hops, given, told) = (passed & HOPS, passed & GIVEN != 0, passed & TOLD != 0);
        let trace = TraceContext {
            trace_id: get_str(b, None)?,
            span_id: get_str(b, None)?,
            flags: get_u8(b)?,
            parent: None,
            state: get_option(b, None)?,
        };
        let extensions = get_pairs(b, like.map_or(&[], |e| &e.extensions))?;
        let headers = get_pairs(b, like.map_or(&[], |e| &e.headers))?;
        Ok(Self {
            id,
            source,
            kind,
            subject,
            time,
            content_type,
            extensions,
            headers,
            key,
            hops,
            given,
            told,
            trace,
            data: Bytes::new(),
            doc: OnceLock::new(),
        })
    }
}

/// Whether a media type is JSON: `application/json` or a `+json` suffix, parameters aside.
pub fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
    essence.eq_ignore_ascii_case("application/json") || suffix.is_some_and(|s| s.eq_ignore_ascii_case("+json"))
}

/// A fresh event id: a ULID, so that ids sort by time.
pub fn new_id() -> Str {
    let mut buf = [0u8; ulid::ULID_LEN];
    let text: &str = ulid::Ulid::new().array_to_str(&mut buf);
    text.into()
}

fn put_len(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            put_len(out, text.len() + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn get_u8(b: &mut &[u8]) -> Result<u8, DecodeError> {
    if b.has_remaining() { Ok(b.get_u8()) } else { Err(DecodeError::Short) }
}

fn get_len(b: &mut &[u8]) -> Result<usize, DecodeError> {
    let mut n = 0usize;
    for shift in (0..63).step_by(7) {
        let byte = get_u8(b)?;
        n |= ((byte & 0x7f) as usize) << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(DecodeError::Short)
}

fn take<'a>(b: &mut &'a [u8], n: usize) -> Result<&'a [u8], DecodeError> {
    b.split_off(..n).ok_or(DecodeError::Short)
}

fn get_bytes<'a>(b: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let n = get_len(b)?;
    take(b, n)
}

fn text(raw: &[u8], like: Option<&Str>) -> Result<Str, DecodeError> {
    match like {
        Some(like) if like.as_bytes() == raw => Ok(like.clone()),
        _ => std::str::from_utf8(raw).map(Into::into).map_err(|_| DecodeError::Text),
    }
}

fn get_str(b: &mut &[u8], like: Option<&Str>) -> Result<Str, DecodeError> {
    text(get_bytes(b)?, like)
}

fn get_option(b: &mut &[u8], like: Option<&Str>) -> Result<Option<Str>, DecodeError> {
    match get_len(b)? {
        0 => Ok(None),
        n => text(take(b, n - 1)?, like).map(Some),
    }
}

fn get_pairs(b: &mut &[u8], like: &[(Str, Str)]) -> Result<Vec<(Str, Str)>, DecodeError> {
    let n = get_len(b)?;
    // A pair takes at least two bytes, so a length beyond that is a cut or a lie; never reserve for it.
    if n > b.remaining() / 2 {
        return Err(DecodeError::Short);
    }
    let mut pairs = Vec::with_capacity(n.min(64));
    for at in 0..n {
        let like = like.get(at);
        pairs.push((get_str(b, like.map(|pair| &pair.0))?, get_str(b, like.map(|pair| &pair.1))?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Event {
        Event {
            id: "01".into(),
            subject: Some("s".into()),
            time: Wall(7),
            key: Some("k".into()),
            hops: 3,
            told: false,
            extensions: vec![("ext".into(), "1".into())],
            headers: vec![("x-a".into(), "b".into())],
            trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap(),
            ..Event::new("src", "push", Bytes::from_static(b"{\"a\":1}"))
        }
    }

    #[test]
    fn what_follows_from_events_of_two_senders_with_one_id_has_two_ids() {
        let of = |id: &str, source: &str| Event { id: id.into(), source: source.into(), ..sample() }.stem().to_string();
        assert_ne!(of("1", "/a"), of("1", "/b"));
        assert_eq!(of("1", "/a"), of("1", "/a"), "the same when it is run again");
        let own = new_id();
        assert_eq!(of(&own, "/hooks/a"), &*own, "an id of hexaFn is unique by itself");
        assert_eq!(of("1-0a-first", "/triggers/first"), "1-0a-first");
        let given =
            |source: &str| Event { id: own.clone(), source: source.into(), given: true, ..sample() }.stem().to_string();
        assert_ne!(given("/orders"), given("/billing"), "whatever a sender gives looks like");
        assert_ne!(given("/triggers/first"), &*own);
    }

    #[test]
    fn stored_form_is_forever() {
        let mut out = Vec::new();
        sample().encode(&mut out);
        let golden = "0102303103737263047075736800000000000000070273116170706c69636174696f6e2f6a736f6e026b03\
                      20306166373635313931366364343364643834343865623231316338303331396310\
                      6237616436623731363932303333333101000103657874013101\
                      03782d61016207\
                      7b2261223a317d"
            .replace(' ', "");
        assert_eq!(hex::encode(&out), golden);
        let mut marked = Vec::new();
        Event { told: true, ..sample() }.encode(&mut marked);
        let changed: Vec<_> = out.iter().zip(&marked).filter(|(a, b)| a != b).collect();
        assert_eq!(changed, [(&3, &0x83)], "the mark is one bit");
        let mut marked = Vec::new();
        Event { given: true, ..sample() }.encode(&mut marked);
        let changed: Vec<_> = out.iter().zip(&marked).filter(|(a, b)| a != b).collect();
        assert_eq!(changed, [(&3, &0x43)], "and so is the other");
        assert!(Event::decode(&marked.into()).unwrap().given);
        let mut marked = Vec::new();
        Event { told: true, ..sample() }.encode(&mut marked);
        let back = Event::decode(&marked.into()).unwrap();
        assert_eq!((back.hops, back.told), (3, true));
    }

    #[test]
    fn decode_gives_back_what_was_encoded_and_refuses_every_cut() {
        let mut out = Vec::new();
        sample().encode(&mut out);
        let back = Event::decode(&Bytes::from(out.clone())).unwrap();
        let mut again = Vec::new();
        back.encode(&mut again);
        assert_eq!(again, out);
        for cut in 0..out.len() {
            assert!(Event::decode(&Bytes::copy_from_slice(&out[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn traceparent_follows_the_specification() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(good, None).unwrap().traceparent(), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert!(TraceContext::parse(bad, None).is_none(), "{bad}");
        }
    }

    #[test]
    fn json_types() {
        assert!(is_json_type("application/json; charset=utf-8"));
        assert!(is_json_type("application/cloudevents+json"));
        assert!(!is_json_type("text/plain"));
        assert!(!is_json_type("json"));
    }
}
