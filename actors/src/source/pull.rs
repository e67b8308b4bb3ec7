//! Sources that fetch: what Kafka and NATS share. A batch is fetched, stored in one commit, and only then acknowledged
//! upstream, so that a record that is gone there is on disk here.
//!
//! This module owns the contract ([`Upstream`], [`Session`]), the settings that all kinds have, and the way from a
//! record to an event ([`Decoder`]). The actor is in [`super::pull_actor`].

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hexafn_dsl::json;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

use super::door::DoorError;
use super::normalise::{Arrival, Incoming, Normaliser};
use super::settings::{DoorLimits, Problem};
use super::verify::Verified;
use super::{RequestParts, cloudevents, is_header_name, units};
use crate::broker::Trouble;
use crate::clock::Wall;
use crate::event::{Event, Str};
use crate::log::DedupeKey;
use crate::system::dead::SAID_TYPE;

/// The most bytes of a dead letter's data; of a larger record the beginning is kept.
const MAX_LETTER: usize = DoorLimits::MAX_BODY as usize;
/// The beginning that is kept of a record beyond that.
const BEGINNING: usize = 64 * 1024;

/// A record as it was fetched.
#[derive(Debug, Clone, Default)]
pub struct Pulled {
    /// The id of its event, where it brings none: its place upstream, e.g. `orders/0/17`.
    pub id: String,
    /// What tells it from every other record of this source, also from one at the same place of a topic that was made
    /// anew. `None`: it is not known again, and nothing is deduplicated.
    pub dedupe: Option<String>,
    /// What its place is in (topic and partition, stream), and its number there, for dead letters.
    pub place: (String, u64),
    /// The ordering key.
    pub key: Option<Str>,
    /// What it is about, where it does not say so itself.
    pub subject: Option<Str>,
    /// Its headers: names in lower case, attributes of CloudEvents with `ce-` and percent-encoded, as in HTTP.
    pub headers: Vec<(String, String)>,
    /// When it was stored upstream.
    pub time: Option<Wall>,
    /// Extension attributes that say where it is from.
    pub marks: Vec<(Str, Str)>,
    /// Its value.
    pub data: Bytes,
}

impl Pulled {
    /// The content type that its headers name.
    fn content_type(&self) -> Option<&str> {
        let named = self.headers.iter().find(|(name, value)| name == "content-type" && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }
}

/// Where records are fetched from: checked settings, nothing connected.
pub trait Upstream: Send + Sync + std::fmt::Debug {
    /// `kafka`, `nats`.
    fn kind(&self) -> &'static str;

    /// Where it is, for tables, without secrets.
    fn origin(&self) -> String;

    /// Connects.
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Session>, Trouble>>;
}

/// A connection that records are fetched from. It is dropped when it fails; what was not acknowledged comes again.
pub trait Session: Send {
    /// The next records; none when there are none within a second or so. Dropping the future loses nothing that is not
    /// fetched again after a new connection.
    fn fetch(&mut self) -> BoxFuture<'_, Result<Vec<Pulled>, Trouble>>;

    /// What was fetched last is stored here: upstream may forget it.
    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Trouble>>;

    /// What was fetched last still waits to be stored: asks upstream for patience.
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Records that are there and not fetched yet, where that is known.
    fn lag(&self) -> Option<u64>;

    /// Ends in order.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The settings that every source has that fetches, beside those of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PullSettings {
    /// Its name, 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// The topic of hexaFn that its events are stored in.
    pub topic: String,
    /// The event type of records that are no CloudEvents; default `<kind>.<name>`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The CloudEvents `source` attribute; default `/sources/<name>`.
    #[serde(default)]
    pub source: Option<String>,
    /// The content type of records whose headers name none. With `application/json` a record that is not JSON is a dead
    /// letter; without it such a record is taken as bytes.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Whether CloudEvents (binary, structured, batch) are recognised; true.
    #[serde(default = "yes")]
    pub cloudevents: bool,
    /// Headers to keep with the event; default none.
    #[serde(default)]
    pub keep_headers: Vec<String>,
    /// A header whose value identifies an event, e.g. `webhook-id`, so that what its sender sent twice is stored once.
    /// By default it is the place of the record upstream.
    #[serde(default)]
    pub dedupe_header: Option<String>,
    /// How long that is remembered: 24 h; `"1s"` to `"30d"`.
    #[serde(default = "day", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub dedupe_window: Duration,
    /// Bytes of a record: 1 MiB, up to 25 MiB. A larger one is a dead letter.
    #[serde(default = "mebibyte", with = "units::size")]
    #[schemars(schema_with = "units::size::schema")]
    pub max_record: u64,
    /// How much is fetched and stored at a time.
    #[serde(default)]
    pub fetch: FetchSettings,
}

/// `fetch = { max_records = 500, max_bytes = "1MiB" }`: one batch is one write of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// Records in a batch, 1 to 10000; 500.
    pub max_records: usize,
    /// Bytes of values in a batch (at least one record), up to 8 MiB; 1 MiB.
    #[serde(with = "units::size")]
    #[schemars(schema_with = "units::size::schema")]
    pub max_bytes: u64,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self { max_records: 500, max_bytes: 1 << 20 }
    }
}

/// The names of the fields of [`PullSettings`].
pub const PULL_SETTINGS: [&str; 11] = [
    "name",
    "topic",
    "type",
    "source",
    "content_type",
    "cloudevents",
    "keep_headers",
    "dedupe_header",
    "dedupe_window",
    "max_record",
    "fetch",
];

fn yes() -> bool {
    true
}

fn day() -> Duration {
    Duration::from_secs(86_400)
}

fn mebibyte() -> u64 {
    1 << 20
}

impl PullSettings {
    /// What is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        super::settings::check_topic(&self.topic, &mut found);
        let mut problem = |field, message: String| found.push(Problem { field, message });
        for (field, value) in [("type", &self.kind), ("source", &self.source), ("content_type", &self.content_type)] {
            if value.as_ref().is_some_and(|v| v.is_empty() || v.len() > 256 || v.chars().any(char::is_control)) {
                problem(field, "must be 1 to 256 bytes without control characters".into());
            }
        }
        let kept = self.keep_headers.iter().map(|name| ("keep_headers", name));
        for (field, name) in kept.chain(self.dedupe_header.iter().map(|name| ("dedupe_header", name))) {
            if !is_header_name(name) {
                problem(field, format!("{name:?} is not a header name"));
            } else if super::settings::SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                problem(field, format!("{name:?} carries a credential, which is never stored: remove it"));
            }
        }
        if self.keep_headers.len() > 64 {
            problem("keep_headers", "lists more than 64 headers".into());
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(30 * 86_400)).contains(&self.dedupe_window) {
            problem("dedupe_window", "must be between \"1s\" and \"30d\"".into());
        }
        if !(1..=DoorLimits::MAX_BODY).contains(&self.max_record) {
            problem("max_record", "must be between \"1B\" and \"25MiB\"".into());
        }
        if !(1..=10_000).contains(&self.fetch.max_records) {
            problem("fetch.max_records", "must be between 1 and 10000".into());
        }
        if !(1024..=8 << 20).contains(&self.fetch.max_bytes) {
            problem("fetch.max_bytes", "must be between \"1KiB\" and \"8MiB\"".into());
        }
        found
    }
}

/// A longer content type is refused, and not kept.
const MAX_TYPE: usize = 256;

/// Makes events of records.
#[derive(Debug)]
pub struct Decoder {
    name: Str,
    source: Str,
    kind: Str,
    normaliser: Normaliser,
    cloudevents: bool,
    content_type: Option<String>,
    dedupe_header: Option<String>,
    window: Duration,
}

/// Events, each with how a repetition is known.
pub type Known = Vec<(Event, Option<DedupeKey>)>;

/// What a record becomes: its events, or the dead letter that says why it has none.
#[derive(Debug)]
pub enum Decoded {
    /// Its events: one, or those of a batch of CloudEvents.
    Events(Known),
    /// It cannot be read as it is configured.
    Dead(Box<Event>, Option<DedupeKey>),
}

impl Decoder {
    /// Of checked settings and the kind of the source.
    pub fn new(settings: &PullSettings, kind: &str) -> Self {
        let source: Str = settings.source.clone().unwrap_or_else(|| format!("/sources/{}", settings.name)).into();
        let event_type: Str = settings.kind.clone().unwrap_or_else(|| format!("{kind}.{}", settings.name)).into();
        let limits = json::Limits {
            bytes: usize::try_from(settings.max_record).unwrap_or(usize::MAX).min(json::Limits::MAX_BYTES),
            ..json::Limits::default()
        };
        let normaliser = Normaliser::of_records(
            source.clone(),
            event_type.clone(),
            limits,
            settings.cloudevents,
            &settings.keep_headers,
        );
        Self {
            name: settings.name.as_str().into(),
            source,
            kind: event_type,
            normaliser,
            cloudevents: settings.cloudevents,
            content_type: settings.content_type.clone(),
            dedupe_header: settings.dedupe_header.as_ref().map(|name| name.to_ascii_lowercase()),
            window: settings.dedupe_window,
        }
    }

    /// Reads a record.
    pub fn read(&self, pulled: &Pulled, now: Wall) -> Decoded {
        match self.events(pulled, now) {
            Ok(arrivals) => Decoded::Events(arrivals),
            Err(error) => {
                let (event, dedupe) = self.letter(pulled, &error, now);
                Decoded::Dead(Box::new(event), dedupe)
            }
        }
    }

    fn events(&self, pulled: &Pulled, now: Wall) -> Result<Known, DoorError> {
        let mut headers: Vec<(&str, &str)> =
            pulled.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Some(default) = self.content_type.as_deref().filter(|_| pulled.content_type().is_none()) {
            headers.push(("content-type", default));
        }
        let request = RequestParts::post(&headers);
        let is_cloudevent = self.cloudevents && cloudevents::mode(&request, request.header("content-type")).is_some();
        let arrivals = self.normaliser.events(Incoming {
            request,
            body: pulled.data.clone(),
            verified: &Verified::default(),
            now: pulled.time.unwrap_or(now),
            read: false,
        })?;
        let told = self.dedupe_header.as_deref().and_then(|name| request.header(name)).filter(|id| !id.is_empty());
        let several = arrivals.len() > 1;
        let own = |(index, Arrival { mut event, .. }): (usize, Arrival)| {
            if !is_cloudevent {
                (event.id, event.given) = (pulled.id.as_str().into(), true);
                event.subject = pulled.subject.clone();
            }
            event.key = event.key.take().or_else(|| pulled.key.clone());
            for (name, value) in &pulled.marks {
                if !event.extensions.iter().any(|(known, _)| known == name) {
                    event.extensions.push((name.clone(), value.clone()));
                }
            }
            let id = told.or(pulled.dedupe.as_deref());
            let id = id.map(|id| if several { format!("{id}#{index}").into() } else { Str::from(id) });
            (event, id.map(|id| self.dedupe(id)))
        };
        Ok(arrivals.into_iter().enumerate().map(own).collect())
    }

    fn dedupe(&self, id: Str) -> DedupeKey {
        DedupeKey { scope: self.name.clone(), id, window: self.window }
    }

    /// The dead letter of a record that cannot be read: its value as it is, and why.
    fn letter(&self, pulled: &Pulled, error: &DoorError, now: Wall) -> (Event, Option<DedupeKey>) {
        let whole = pulled.data.len();
        let data = if whole > MAX_LETTER { pulled.data.slice(..BEGINNING) } else { pulled.data.clone() };
        let cut = if whole > MAX_LETTER {
            format!(" (its first {BEGINNING} of {whole} bytes are kept)")
        } else {
            String::new()
        };
        let mut event = Event::new(self.source.clone(), self.kind.clone(), data);
        (event.id, event.given) = (pulled.id.as_str().into(), true);
        event.time = pulled.time.unwrap_or(now);
        event.subject = pulled.subject.clone();
        event.key = pulled.key.clone();
        // Never JSON: that it is not may be the reason. An edit gives the type back.
        event.content_type = Some("application/octet-stream".into());
        event.extensions = pulled.marks.clone();
        let said = pulled.content_type().or(self.content_type.as_deref());
        if let Some(said) = said.filter(|said| said.len() <= MAX_TYPE && !said.chars().any(char::is_control)) {
            event.extensions.push((SAID_TYPE.into(), said.into()));
        }
        let marks = [
            ("deadtopic", pulled.place.0.clone()),
            ("deadseq", pulled.place.1.to_string()),
            ("deadby", format!("source.{}", self.name)),
            ("deadattempts", "1".to_owned()),
            ("deadcause", format!("{}{cut}", error.detail).chars().take(1_000).collect()),
        ];
        event.extensions.extend(marks.map(|(name, value)| (name.into(), value.into())));
        (event, pulled.dedupe.as_deref().map(|id| self.dedupe(id.into())))
    }
}

#[cfg(test)]
mod tests;
