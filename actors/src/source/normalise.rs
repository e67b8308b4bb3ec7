//! From a verified request to events: the body is looked at once, here, and nobody has to look at it again.
//!
//! JSON is checked against the limits and, when somebody reads it, parsed with the same pass; forms become JSON; text
//! and other bytes are kept as they are; CloudEvents keep their own attributes ([`super::cloudevents`]).

use bytes::Bytes;
use hexafn_dsl::Validator;
use hexafn_dsl::json::{Doc, Limits, NodeRef};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

use super::door::DoorError;
use super::settings::{KEPT_HEADERS, SECRET_HEADERS, WebhookSettings};
use super::verify::{MAX_ID, Verified, Verifier};
use super::{RequestParts, cloudevents, form};
use crate::clock::Wall;
use crate::event::{Event, Str, TraceContext, is_json_type};

/// A header value longer than this is not kept with the event.
const MAX_HEADER: usize = 4_096;

/// An event, and the id by which a repetition of it is recognised within the source.
#[derive(Debug)]
pub struct Arrival {
    /// The event.
    pub event: Event,
    /// The delivery id. `None`: the sender gives none, and nothing is deduplicated.
    pub dedupe: Option<Str>,
}

/// One for most requests; up to 1,000 for a batch of CloudEvents.
pub type Arrivals = SmallVec<[Arrival; 1]>;

/// A request whose sender is known.
pub struct Incoming<'a> {
    /// Its headers, method and query.
    pub request: RequestParts<'a>,
    /// The whole body.
    pub body: Bytes,
    /// What the scheme said about it.
    pub verified: &'a Verified,
    /// When it arrived.
    pub now: Wall,
    /// Whether somebody reads the parsed view (a trigger, a filter, `topic_expr`); else JSON is only validated.
    pub read: bool,
}

/// Makes events of one source's requests.
#[derive(Debug, Clone)]
pub struct Normaliser {
    pub(super) source: Str,
    pub(super) kind: Str,
    pub(super) limits: Limits,
    cloudevents: bool,
    /// Sorted, lower case.
    kept: Vec<Str>,
    dedupe_header: Option<Box<str>>,
    json: Str,
    validator: Option<Arc<Validator>>,
    /// What is said of more than `limits.bytes`: it names the setting, which requests and records have another of.
    too_large: fn(u64) -> DoorError,
}

/// Faults that a refused sender is told of.
const MOST_FAULTS: usize = 20;

/// What the headers say about every event of a request.
pub(super) struct Envelope {
    pub(super) headers: Vec<(Str, Str)>,
    pub(super) trace: TraceContext,
}

/// The data of an event, checked.
pub(super) struct Data {
    pub(super) bytes: Bytes,
    pub(super) content_type: Option<Str>,
    pub(super) doc: Option<Doc>,
    /// The media type before the form was made JSON.
    pub(super) original: Option<Str>,
}

impl Normaliser {
    /// Of checked settings ([`WebhookSettings::problems`] found nothing) and the source's verifier.
    pub fn new(settings: &WebhookSettings, verifier: &Verifier) -> Self {
        let secret = verifier.secret_headers();
        let never = |name: &str| SECRET_HEADERS.contains(&name) || secret.iter().any(|s| s == name);
        let listed: Vec<String> = match &settings.headers {
            Some(names) => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            None => KEPT_HEADERS.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut kept: Vec<Str> = listed.into_iter().filter(|name| !never(name)).map(Into::into).collect();
        kept.sort_unstable();
        kept.dedup();
        let own = |given: &Option<String>, default: String| given.clone().unwrap_or(default).into();
        Self {
            source: own(&settings.source, format!("/hooks/{}", settings.name)),
            kind: own(&settings.kind, format!("webhook.{}", settings.name)),
            limits: settings.limits.json(),
            cloudevents: settings.cloudevents.unwrap_or(!settings.verify.is_provider()),
            kept,
            dedupe_header: settings.dedupe_header.as_ref().map(|name| name.to_ascii_lowercase().into()),
            json: "application/json".into(),
            validator: None,
            too_large: DoorError::too_large,
        }
    }

    /// Refuses events whose data does not conform.
    #[must_use]
    pub fn validating(mut self, validator: Option<Arc<Validator>>) -> Self {
        self.validator = validator;
        self
    }

    /// Of records that are fetched from a broker: nobody signed them, and their headers are kept where they are listed.
    pub fn of_records(source: Str, kind: Str, limits: Limits, cloudevents: bool, keep: &[String]) -> Self {
        let mut kept: Vec<Str> = keep.iter().map(|name| name.to_ascii_lowercase().into()).collect();
        kept.retain(|name: &Str| !SECRET_HEADERS.contains(&&**name));
        kept.sort_unstable();
        kept.dedup();
        Self {
            validator: None,
            source,
            kind,
            limits,
            cloudevents,
            kept,
            dedupe_header: None,
            json: "application/json".into(),
            too_large: DoorError::record_too_large,
        }
    }

    /// What can be refused before the body is read: the content encoding and the declared length.
    ///
    /// # Errors
    /// 415 for a compressed body, 413 for one that says it is too long.
    pub fn head(&self, request: &RequestParts<'_>) -> Result<(), DoorError> {
        if let Some(encoding) = request.header("content-encoding")
            && !encoding.eq_ignore_ascii_case("identity")
        {
            return Err(DoorError::encoded(encoding));
        }
        let declared = request.header("content-length").and_then(|text| text.parse::<u64>().ok());
        self.check_length(declared.unwrap_or(0))
    }

    fn check_length(&self, length: u64) -> Result<(), DoorError> {
        let limit = self.limits.bytes as u64;
        if length > limit { Err((self.too_large)(limit)) } else { Ok(()) }
    }

    /// The events of a request.
    ///
    /// # Errors
    /// What is wrong with the body or its attributes. A batch is refused whole, with the index of the bad event.
    pub fn events(&self, incoming: Incoming<'_>) -> Result<Arrivals, DoorError> {
        self.head(&incoming.request)?;
        self.check_length(incoming.body.len() as u64)?;
        let content_type = incoming.request.header("content-type").filter(|text| !text.is_empty());
        if content_type.is_some_and(|text| text.len() > MAX_ID || text.chars().any(char::is_control)) {
            let detail = "Content-Type is longer than 256 bytes or holds control characters";
            return Err(DoorError::new(400, "content-type", "The content type is refused", detail));
        }
        if self.cloudevents
            && let Some(mode) = cloudevents::mode(&incoming.request, content_type)
        {
            return self.valid(cloudevents::read(self, mode, content_type, incoming)?);
        }
        self.valid(smallvec![self.plain(content_type, incoming)?])
    }

    fn valid(&self, arrivals: Arrivals) -> Result<Arrivals, DoorError> {
        let Some(validator) = &self.validator else { return Ok(arrivals) };
        for (at, arrival) in arrivals.iter().enumerate() {
            let event = &arrival.event;
            let is_json = event.is_json() && !event.data.is_empty();
            let refused = if is_json {
                let faults = validator.faults(&event.data, MOST_FAULTS);
                if faults.is_empty() {
                    continue;
                }
                DoorError::mismatch(faults)
            } else {
                DoorError::mismatch(Vec::new())
            };
            return Err(if arrivals.len() == 1 { refused } else { refused.at(format_args!("events[{at}]")) });
        }
        Ok(arrivals)
    }

    /// A request that is no CloudEvent.
    fn plain(&self, content_type: Option<&str>, incoming: Incoming<'_>) -> Result<Arrival, DoorError> {
        let Incoming { request, body, verified, now, read } = incoming;
        let fields = verified.body;
        let wants_id = verified.delivery_id.is_none() && self.dedupe_header.is_none() && !fields.id.is_empty();
        let wants_kind = verified.kind.is_none() && !fields.kind.is_empty();
        let data = self.data(content_type, body, read || wants_id || wants_kind)?;

        let root = data.doc.as_ref().map(Doc::root);
        let told = |paths| root.and_then(|root| first_text(root, paths));
        let kind = verified.kind.clone().or_else(|| told(fields.kind)).unwrap_or_else(|| self.kind.clone());
        let scheme_id = || verified.delivery_id.clone().or_else(|| told(fields.id));
        let dedupe = self.dedupe(&request, scheme_id)?;

        let envelope = self.envelope(&request);
        let mut event = Event::new(self.source.clone(), kind, data.bytes);
        event.time = now;
        event.content_type = data.content_type;
        event.extensions.extend(data.original.map(|original| ("originalcontenttype".into(), original)));
        event.headers = envelope.headers;
        event.trace = envelope.trace;
        let event = match data.doc {
            Some(doc) => event.with_doc(doc),
            None => event,
        };
        Ok(Arrival { event, dedupe })
    }

    /// Checks a body by its content type.
    pub(super) fn data(&self, content_type: Option<&str>, body: Bytes, read: bool) -> Result<Data, DoorError> {
        let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(form::TYPE)) {
            let bytes = form::to_json(&body, &self.limits)?;
            let data = self.json(bytes, self.json.clone(), read)?;
            return Ok(Data { original: Some(form::TYPE.into()), ..data });
        }
        match content_type {
            Some("application/json") => self.json(body, self.json.clone(), read),
            Some(text) if is_json_type(text) => self.json(body, text.into(), read),
            _ => Ok(Data { bytes: body, content_type: content_type.map(Into::into), doc: None, original: None }),
        }
    }

    fn json(&self, bytes: Bytes, content_type: Str, read: bool) -> Result<Data, DoorError> {
        let doc = if read {
            Some(Doc::parse(bytes.clone(), &self.limits).map_err(|e| DoorError::json(&e))?)
        } else {
            Doc::validate(&bytes, &self.limits).map_err(|e| DoorError::json(&e))?;
            None
        };
        Ok(Data { bytes, content_type: Some(content_type), doc, original: None })
    }

    /// The kept headers and the trace.
    pub(super) fn envelope(&self, request: &RequestParts<'_>) -> Envelope {
        let mut headers = Vec::new();
        request.headers.each(&mut |name, value| {
            // Names come in lower case from the web server; anything else is brought there.
            let lower;
            let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
                lower = name.to_ascii_lowercase();
                lower.as_str()
            } else {
                name
            };
            let Ok(at) = self.kept.binary_search_by(|kept| (**kept).cmp(name)) else { return };
            if let (Some(name), Ok(value)) = (self.kept.get(at), std::str::from_utf8(value))
                && value.len() <= MAX_HEADER
            {
                headers.push((name.clone(), value.into()));
            }
        });
        let parent = request.header("traceparent");
        let trace = parent.and_then(|parent| TraceContext::received(parent, request.header("tracestate")));
        Envelope { headers, trace: trace.unwrap_or_default() }
    }

    /// The id of a delivery: the configured header, what the scheme or the event tells, or `Idempotency-Key`.
    pub(super) fn dedupe(
        &self,
        request: &RequestParts<'_>,
        told: impl FnOnce() -> Option<Str>,
    ) -> Result<Option<Str>, DoorError> {
        let header = |name: &str| request.header(name).filter(|id| !id.is_empty());
        let own = match &self.dedupe_header {
            Some(name) => header(name),
            None => match told() {
                Some(id) => return Ok(Some(id)),
                None => header("idempotency-key"),
            },
        };
        match own {
            Some(id) if id.len() > MAX_ID => {
                let detail = format!("the delivery id in the header is longer than {MAX_ID} bytes");
                Err(DoorError::new(400, "dedupe-id", "The delivery id is refused", detail))
            }
            id => Ok(id.map(Into::into)),
        }
    }
}

/// The first path that leads to a text short enough to be an id or a type.
fn first_text(root: NodeRef<'_>, paths: &[&[&str]]) -> Option<Str> {
    paths.iter().find_map(|path| {
        let node = path.iter().try_fold(root, |node, key| node.get(key))?;
        let text = node.as_str()?;
        let fits = (1..=MAX_ID).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| (&*text).into())
    })
}

#[cfg(test)]
pub(super) mod tests;
