//! The NATS target: published to a JetStream stream, whose ack is the delivery; or to NATS alone, which keeps nothing.
//!
//! A batch is published in its order over one connection, and each record's ack is awaited. The `Nats-Msg-Id` is that of the
//! delivery, so a stream knows a repetition within its duplicate window (two minutes unless it says otherwise); the event's id is in
//! `webhook-id`, for receivers that look further back.

use async_nats::jetstream::context::{
    Context as JetStream, ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::broker::nats::{AuthSettings, Connected, Delivery as By, Servers, chain, check_subject, header_map, shown};
use crate::broker::{TlsSettings, Wrong};
use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::format::cloudevents::header_text;
use crate::target::format::{Column, Format, Formatter};
use crate::target::kept::{Connection, troubled};
use crate::target::{
    BatchSettings, Common, Context, Delivery, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Span,
    Target, Template, Verdict, placed, unusable,
};

#[cfg(test)]
mod tests;

/// The settings of a target of kind `nats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The servers, `nats://host:port`, or `tls://host:port`.
    pub servers: Vec<String>,
    /// The subject, a template.
    pub subject: String,
    /// `jetstream` (default): stored in the stream that takes the subject, and acknowledged by it. `core`: published and
    /// flushed, at most once.
    #[serde(default)]
    pub delivery: By,
    /// More headers, templates. Those that hexaFn sets itself cannot be set.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the payload is; `template` when `body` is given, else `data`.
    pub format: Option<Format>,
    /// The payload, a template.
    pub body: Option<String>,
    /// The columns of `csv`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// By TLS; `{}` trusts the authorities of the system.
    pub tls: Option<TlsSettings>,
    /// Who hexaFn is to the servers.
    pub auth: Option<AuthSettings>,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(NatsTarget::new(common, self, context)?))
    }
}

/// A target of kind `nats`.
pub struct NatsTarget {
    servers: Servers,
    subject: Template,
    by: By,
    headers: Vec<(String, Template)>,
    formatter: Formatter,
    timeout: Duration,
    mode: Mode,
    connection: Mutex<Connection<Client>>,
}

impl std::fmt::Debug for NatsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsTarget")
            .field("servers", &self.servers)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Client {
    connected: Connected,
    jetstream: JetStream,
}

struct Message {
    subject: String,
    headers: Vec<(String, String)>,
    payload: bytes::Bytes,
}

/// What was begun for a message.
enum Begun {
    /// Its ack is on its way.
    Acked(PublishAckFuture),
    /// It is in the client's buffer.
    Published,
}

impl NatsTarget {
    /// Checks the settings; nothing is connected to.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let servers = Servers::new(
            name,
            &settings.servers,
            settings.tls.as_ref(),
            settings.auth.as_ref(),
            &settings.allow_networks,
            context,
        )
        .map_err(|wrong: Wrong| Error::setting(name, wrong.field, wrong.message))?;
        let subject = Template::compile(name, "subject", &settings.subject)?;
        if let Some(constant) = subject.constant() {
            check_subject(constant, false).map_err(|e| Error::setting(name, "subject", e))?;
        }
        let formatter =
            Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Data)?;
        let headers = headers(name, &settings.headers)?;
        let default = BatchSettings { max_records: 256, max_age: Span(Duration::ZERO), ..BatchSettings::default() };
        let mode = common.batch.unwrap_or(default).mode(common.concurrency);
        let (by, timeout, connection) = (settings.delivery, common.timeout.0, Mutex::default());
        Ok(Self { servers, subject, by, headers, formatter, timeout, mode, connection })
    }

    /// The message of an event. What fails here fails with every attempt.
    fn message(&self, delivery: Delivery<'_>) -> Result<Message, Failure> {
        let event = &delivery.record.event;
        let subject = self.subject.render(delivery).map_err(|e| unusable("subject", &e))?.into_owned();
        check_subject(&subject, false).map_err(|e| unusable("subject", &e))?;
        // There the server takes commands: a message to `$JS.API.STREAM.PURGE.…` empties a stream.
        if subject.starts_with('$') && !self.subject.prefix().starts_with('$') {
            let message = format!(
                "`{}` is a subject of the server's own, which an event must not name: expected one that does not begin with `$`",
                shown(&subject)
            );
            return Err(unusable("subject", &message));
        }
        let body = self.formatter.one(delivery)?;
        let attributes = self.formatter.attributes(event, "ce-").into_iter();
        let mut headers: Vec<(String, String)> =
            attributes.map(|(name, value)| (name, header_text(&value).into_owned())).collect();
        headers.extend(body.content_type.map(|text| ("content-type".to_owned(), text.into_owned())));
        headers.push(("traceparent".to_owned(), event.trace.traceparent()));
        headers.extend(event.trace.state.as_deref().map(|state| ("tracestate".to_owned(), state.to_owned())));
        let id = header_text(&event.id);
        headers.push(("webhook-id".to_owned(), id.to_string()));
        if self.by == By::Jetstream {
            // A stream knows messages by this whatever their subjects, so it names the delivery and not the event alone:
            // two targets may publish one event into one stream, and sources may repeat an id for something else. The
            // place in the outbox is the same on every attempt, also after a crash. After a loss of power another event may
            // come to that place; its span tells it from the one before, so that it is not taken for it.
            let (record, span) = (delivery.record, &event.trace.span_id);
            let id = format!("{}/{}/{span}/{id}", header_text(&record.topic), record.seq);
            headers.push(("Nats-Msg-Id".to_owned(), id));
        }
        for (name, template) in &self.headers {
            let value = template.render(delivery).map_err(|e| unusable(&format!("headers.{name}"), &e))?;
            headers.push((name.clone(), value.into_owned()));
        }
        Ok(Message { subject, headers, payload: body.bytes })
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let connected = self.servers.connect(self.timeout, 1_024).await.map_err(|trouble| troubled(&trouble))?;
        let jetstream = ContextBuilder::new()
            .timeout(self.timeout)
            .ack_timeout(self.timeout)
            // The messages of a batch wait for their acks together: with the library's bound of 5,000 a larger
            // batch would wait for itself.
            .max_ack_inflight(self.most_at_once())
            .backpressure_on_inflight(false)
            .build(connected.client.clone());
        Ok(Client { connected, jetstream })
    }

    fn most_at_once(&self) -> usize {
        match self.mode {
            Mode::Batch { max_records, concurrency, .. } => max_records.saturating_mul(concurrency).max(5_000),
            Mode::Each { .. } => 5_000,
        }
    }

    fn not_connected(&self) -> Failure {
        let (list, limit) = (self.servers.list(), Span(self.timeout));
        Failure::new(FailureClass::Connect, format!("`{list}` did not answer within {limit} (`timeout` of the target)"))
    }

    async fn begin(&self, client: &Client, message: Message) -> Result<Begun, Failure> {
        let headers = header_map(&message.headers).map_err(|e| unusable("headers", &e))?;
        let most = client.connected.client.max_payload();
        let bytes = message.payload.len() + message.headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum::<usize>();
        if bytes > most {
            let text = format!(
                "the message has {bytes} bytes with its headers, and the server takes {most} (its `max_payload`)"
            );
            return Err(Failure::new(FailureClass::Refused, text).verdict(Verdict::DeadLetter));
        }
        if self.by == By::Core {
            let published =
                client.connected.client.publish_with_headers(message.subject, headers, message.payload).await;
            let failed = |e| Failure::new(FailureClass::Connect, format!("`{}`: {e}", self.servers.list()));
            return published.map(|()| Begun::Published).map_err(failed);
        }
        let subject = message.subject.clone();
        let begun = client.jetstream.publish_with_headers(message.subject, headers, message.payload).await;
        begun.map(Begun::Acked).map_err(|error| self.failure(client, &subject, &error))
    }

    fn failure(&self, client: &Client, subject: &str, error: &PublishError) -> Failure {
        let said = client.connected.seen.error().map_or_else(String::new, |said| format!("; the client says: {said}"));
        let list = self.servers.list();
        match error.kind() {
            PublishErrorKind::StreamNotFound => {
                let text =
                    format!("no stream of `{list}` takes the subject `{subject}`: create one, or correct the subject");
                // What an event named alone does not speak against the target.
                let by_event = self.subject.constant().is_none();
                Failure::new(if by_event { FailureClass::Refused } else { FailureClass::Rejected }, text)
            }
            PublishErrorKind::MaxPayloadExceeded => {
                Failure::new(FailureClass::Refused, chain(error)).verdict(Verdict::DeadLetter)
            }
            _ if client.connected.seen.is_lost() => {
                Failure::new(FailureClass::Connect, format!("`{list}`: the connection was lost before the ack{said}"))
            }
            PublishErrorKind::TimedOut => self.too_slow(client),
            PublishErrorKind::BrokenPipe => Failure::new(FailureClass::Connect, format!("`{list}`: {error}{said}")),
            _ => Failure::new(FailureClass::Rejected, format!("`{list}`, subject `{subject}`: {}{said}", chain(error))),
        }
    }

    fn too_slow(&self, client: &Client) -> Failure {
        let said = client.connected.seen.error().map_or_else(String::new, |said| format!("; the client says: {said}"));
        let (list, limit) = (self.servers.list(), Span(self.timeout));
        let text = format!("`{list}` did not acknowledge within {limit} (`timeout` of the target){said}");
        Failure::new(FailureClass::Timeout, text)
    }

    /// One attempt with all of them: whatever of it waits (for others who connect, for the connection, for room to publish,
    /// for the acks), waits until the one deadline.
    async fn send(&self, records: &[Arc<Record>], attempt: u32, now: Wall) -> Vec<Outcome> {
        let began = Instant::now();
        let deadline = (began + self.timeout).into();
        let made: Vec<Result<Message, Failure>> =
            records.iter().map(|record| self.message(Delivery { record, attempt, now })).collect();
        let connected = async {
            let mut connection = self.connection.lock().await;
            let is_lost = |client: &Client| client.connected.seen.is_lost();
            let client = connection.get(began, is_lost, self.connect()).await?;
            Ok((client, connection))
        };
        let connected = timeout_at(deadline, connected).await.unwrap_or_else(|_| Err(self.not_connected()));
        let (client, connection) = match connected {
            Ok(connected) => connected,
            Err(failure) => {
                let all = made.into_iter().map(|made| made.err().unwrap_or_else(|| failure.clone()));
                return all.map(|failure| placed(Err(failure), 0, began.elapsed())).collect();
            }
        };
        let mut begun = Vec::with_capacity(made.len());
        for made in made {
            let (subject, size) = made.as_ref().map_or((String::new(), 0), |m| (m.subject.clone(), m.payload.len()));
            let one = match made {
                // A server that takes nothing leaves no room, and none of those that follow would find any.
                Ok(message) => match timeout_at(deadline, self.begin(&client, message)).await {
                    Ok(one) => one,
                    Err(_) => Err(self.too_slow(&client)),
                },
                Err(failure) => Err(failure),
            };
            begun.push((one, subject, size as u64));
        }
        // The next batch is published behind this one.
        drop(connection);
        let flushed = match self.by {
            By::Jetstream => Ok(()),
            By::Core => self.flushed(&client, deadline).await,
        };
        let outcomes = begun.into_iter().map(|(one, subject, size)| {
            let (client, flushed) = (&client, &flushed);
            async move {
                let result = match one {
                    // The client's own time-out begins with the publishing, which connecting may have put off.
                    Ok(Begun::Acked(ack)) => match timeout_at(deadline, ack.into_future()).await {
                        Ok(Ok(ack)) if ack.duplicate => {
                            Ok(format!("{}/{} (known already)", ack.stream, ack.sequence).into())
                        }
                        Ok(Ok(ack)) => Ok(format!("{}/{}", ack.stream, ack.sequence).into()),
                        Ok(Err(error)) => Err(self.failure(client, &subject, &error)),
                        Err(_) => Err(self.too_slow(client)),
                    },
                    Ok(Begun::Published) => flushed.clone().map(|()| Str::from(subject)),
                    Err(failure) => Err(failure),
                };
                placed(result, size, began.elapsed())
            }
        });
        join_all(outcomes).await
    }

    /// Everything published so far has reached the server.
    async fn flushed(&self, client: &Client, deadline: tokio::time::Instant) -> Result<(), Failure> {
        let list = self.servers.list();
        match timeout_at(deadline, client.connected.client.flush()).await {
            Ok(Ok(())) if !client.connected.seen.is_lost() => Ok(()),
            Ok(Ok(())) => Err(Failure::new(FailureClass::Connect, format!("`{list}`: the connection was lost"))),
            Ok(Err(error)) => Err(Failure::new(FailureClass::Connect, format!("`{list}`: {error}"))),
            Err(_) => Err(Failure::new(FailureClass::Timeout, format!("`{list}` took nothing in time"))),
        }
    }
}

impl Target for NatsTarget {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn destination(&self) -> String {
        format!("{} {}", self.servers.list(), self.subject.source())
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let message = self.message(delivery)?;
        let destination = format!("{} {}", self.servers.list(), message.subject);
        let body = String::from_utf8_lossy(&message.payload).into_owned();
        Ok(Preview { destination, headers: message.headers, body })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let outcomes = self.send(std::slice::from_ref(delivery.record), delivery.attempt, delivery.now).await;
            let lost = || Outcome::Failed(Failure::new(FailureClass::Panic, "no outcome; this is a defect of hexaFn"));
            outcomes.into_iter().next().unwrap_or_else(lost)
        }
        .boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        self.send(records, 1, now).boxed()
    }

    /// A stream drops a repetition, so an event that it took before an earlier one would stay there.
    fn shares_keys(&self) -> bool {
        self.by == By::Core
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Connection::Open(client) = std::mem::take(&mut *self.connection.lock().await)
                && let Err(error) = client.connected.client.drain().await
            {
                tracing::debug!(%error, "a NATS connection was lost before it was closed");
            }
        }
        .boxed()
    }
}

fn headers(name: &Str, settings: &BTreeMap<String, String>) -> Result<Vec<(String, Template)>, Error> {
    const OURS: [&str; 4] = ["content-type", "traceparent", "tracestate", "webhook-id"];
    let mut all = Vec::with_capacity(settings.len());
    for (key, text) in settings {
        let field = format!("headers.{}", key.escape_debug());
        let lower = key.to_ascii_lowercase();
        if !crate::source::is_header_name(key) {
            return Err(Error::setting(name, field, "not a header name"));
        }
        if OURS.contains(&lower.as_str()) || lower.starts_with("ce-") || lower.starts_with("nats-") {
            return Err(Error::setting(name, field, "this header is set by hexaFn or belongs to NATS"));
        }
        let template = Template::compile(name, &field, text)?;
        all.push((key.clone(), template));
    }
    Ok(all)
}
