//! The NATS source: a durable pull consumer of a JetStream stream, whose messages are acknowledged after they are stored
//! here; or a subscription of NATS alone, which keeps nothing and gives each message at most once.

use async_nats::jetstream::consumer::pull::{Config, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::{self, AckKind};
use async_nats::{HeaderMap, Subscriber};
use futures_util::future::BoxFuture;
use futures_util::stream::SelectAll;
use futures_util::{FutureExt, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

use super::kafka::Start;
use super::pull::{FetchSettings, PullSettings, Pulled, Session, Upstream};
use crate::broker::nats::{AuthSettings, Connected, Delivery, Servers, chain, check_subject};
use crate::broker::{TlsSettings, Trouble, Wrong};
use crate::clock::Wall;
use crate::event::{Str, new_id};
use crate::target::{Context, Span};

/// How long the servers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a fetch waits before it says that there is nothing.
const IDLE: Duration = Duration::from_secs(1);

/// The settings of a source of kind `nats`, beside those that all sources have that fetch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The servers, `nats://host:port`, or `tls://host:port`.
    pub servers: Vec<String>,
    /// `jetstream` (default): at least once. `core`: at most once; what comes while hexaFn is away, behind or stops is
    /// lost.
    #[serde(default)]
    pub delivery: Delivery,
    /// The stream, which must be there; for `jetstream`.
    pub stream: Option<String>,
    /// The name of the durable consumer, which remembers where hexaFn stands; `hexafn-<name>`. It is made when it is not
    /// there, and taken as it is when it is.
    pub consumer: Option<String>,
    /// The subjects, with `*` and `>`; all of the stream when there are none. For `core` at least one.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Where a new consumer begins; `earliest`, so that nothing is passed over.
    #[serde(default)]
    pub start: Start,
    /// How long the server waits for an ack before it gives a message again; 30 s.
    #[serde(default = "half_a_minute")]
    pub ack_wait: Span,
    /// The queue group, whose members share the messages; for `core`.
    pub queue: Option<String>,
    /// By TLS; `{}` trusts the authorities of the system.
    pub tls: Option<TlsSettings>,
    /// Who hexaFn is to the servers.
    pub auth: Option<AuthSettings>,
    /// Private networks that this source may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
}

fn half_a_minute() -> Span {
    Span(Duration::from_secs(30))
}

/// A source of kind `nats`.
#[derive(Debug)]
pub struct NatsSource {
    servers: Servers,
    from: From,
    subjects: Vec<String>,
    fetch: FetchSettings,
}

#[derive(Debug)]
enum From {
    JetStream { stream: String, consumer: String, start: Start, ack_wait: Duration },
    Core { queue: Option<String> },
}

impl NatsSource {
    /// Checks the settings; nothing is connected to.
    ///
    /// # Errors
    /// What cannot be used, by its setting.
    pub fn new(common: &PullSettings, settings: &Settings, context: &Context<'_>) -> Result<Self, Wrong> {
        let name: Str = common.name.as_str().into();
        let servers = Servers::new(
            &name,
            &settings.servers,
            settings.tls.as_ref(),
            settings.auth.as_ref(),
            &settings.allow_networks,
            context,
        )?;
        for subject in &settings.subjects {
            check_subject(subject, true).map_err(|e| Wrong::new("subjects", e))?;
        }
        let from = match settings.delivery {
            Delivery::Jetstream => {
                let Some(stream) = settings.stream.clone() else {
                    let message = "missing: name the stream, or set `delivery = \"core\"` (at most once)";
                    return Err(Wrong::new("stream", message));
                };
                if settings.queue.is_some() {
                    let message =
                        "a queue group is for `delivery = \"core\"`: sources with one `consumer` share its messages";
                    return Err(Wrong::new("queue", message));
                }
                let consumer = settings.consumer.clone().unwrap_or_else(|| format!("hexafn-{name}"));
                for (field, text) in [("stream", &stream), ("consumer", &consumer)] {
                    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !".*>/\\".contains(c);
                    if !(1..=255).contains(&text.len()) || !text.chars().all(fits) {
                        return Err(Wrong::new(field, "expected 1 to 255 characters without blanks . * > / \\"));
                    }
                }
                let ack_wait = settings.ack_wait.0;
                if ack_wait < Duration::from_secs(1) || ack_wait > Duration::from_secs(3_600) {
                    return Err(Wrong::new("ack_wait", format!("expected 1s to 1h, found {}", settings.ack_wait)));
                }
                From::JetStream { stream, consumer, start: settings.start, ack_wait }
            }
            Delivery::Core => {
                if settings.subjects.is_empty() {
                    return Err(Wrong::new("subjects", "expected at least one, e.g. [\"orders.>\"]"));
                }
                let is_set = [("stream", settings.stream.is_some()), ("consumer", settings.consumer.is_some())];
                if let Some((field, _)) = is_set.into_iter().find(|(_, set)| *set) {
                    return Err(Wrong::new(field, "is for `delivery = \"jetstream\"`: NATS alone keeps nothing"));
                }
                if let Some(queue) = &settings.queue {
                    check_subject(queue, false).map_err(|_| Wrong::new("queue", "expected a word without blanks"))?;
                }
                From::Core { queue: settings.queue.clone() }
            }
        };
        Ok(Self { servers, from, subjects: settings.subjects.clone(), fetch: common.fetch })
    }

    async fn open(&self) -> Result<Box<dyn Session>, Trouble> {
        // Of a subscription of NATS alone, what is beyond this is lost.
        let connected = self.servers.connect(PATIENCE, self.fetch.max_records.max(1_000) * 2).await?;
        let list = self.servers.list();
        match &self.from {
            From::JetStream { stream, consumer, start, ack_wait } => {
                let context = jetstream::new(connected.client.clone());
                let found = context.get_stream(stream).await;
                let found = found.map_err(|e| rejected(&connected, &format!("`{list}`, stream `{stream}`"), &e))?;
                let config = Config {
                    durable_name: Some(consumer.clone()),
                    description: Some("hexaFn".into()),
                    filter_subjects: self.subjects.clone(),
                    deliver_policy: match start {
                        Start::Earliest => DeliverPolicy::All,
                        Start::Latest => DeliverPolicy::New,
                    },
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: *ack_wait,
                    max_ack_pending: i64::try_from(self.fetch.max_records * 4).unwrap_or(i64::MAX),
                    ..Config::default()
                };
                let what = format!("`{list}`, consumer `{consumer}` of stream `{stream}`");
                let made = found.get_or_create_consumer(consumer, config).await;
                let made: Consumer<Config> = made.map_err(|e| rejected(&connected, &what, &e))?;
                // One that was there already is as it was made, whatever is asked for.
                let is = &made.cached_info().config;
                if is.ack_policy != AckPolicy::Explicit {
                    let why = "does not ask for explicit acks, so messages could be lost: remove it or name another `consumer`";
                    return Err(Trouble::Rejected(format!("{what} {why}")));
                }
                let mut has = is.filter_subjects.clone();
                has.extend(Some(is.filter_subject.clone()).filter(|subject| !subject.is_empty()));
                let mut wanted = self.subjects.clone();
                has.sort();
                wanted.sort();
                if has != wanted {
                    let why = "remove it (it is made anew, and begins at `start`) or name another `consumer`";
                    return Err(Trouble::Rejected(format!(
                        "{what} reads {has:?}, and the source says {wanted:?}: {why}"
                    )));
                }
                let lag = made.cached_info().num_pending;
                let messages = made
                    .stream()
                    .max_messages_per_batch(self.fetch.max_records)
                    .heartbeat(Duration::from_secs(5))
                    .expires(Duration::from_secs(30))
                    .messages()
                    .await
                    .map_err(|e| rejected(&connected, &what, &e))?;
                let (fetch, fetched) = (self.fetch, Vec::new());
                Ok(Box::new(StreamSession { connected, messages, what, fetch, fetched, lag }))
            }
            From::Core { queue } => {
                let mut all = SelectAll::new();
                for subject in &self.subjects {
                    let subscribed = match queue {
                        Some(queue) => connected.client.queue_subscribe(subject.clone(), queue.clone()).await,
                        None => connected.client.subscribe(subject.clone()).await,
                    };
                    let what = format!("`{list}`, subject `{subject}`");
                    all.push(subscribed.map_err(|e| rejected(&connected, &what, &e))?);
                }
                let flushed = connected.client.flush().await;
                flushed.map_err(|e| rejected(&connected, &format!("`{list}`"), &e))?;
                Ok(Box::new(CoreSession { connected, messages: all, list, fetch: self.fetch }))
            }
        }
    }
}

fn rejected(connected: &Connected, what: &str, error: &dyn std::error::Error) -> Trouble {
    let said = connected.seen.error().map_or_else(String::new, |said| format!("; the client says: {said}"));
    let text = format!("{what}: {}{said}", chain(error));
    if connected.seen.is_lost() { Trouble::Down(text) } else { Trouble::Rejected(text) }
}

/// The connection was lost: in words, with what the client said.
fn lost(connected: &Connected, what: &str) -> Trouble {
    let said = connected.seen.error().map_or_else(String::new, |said| format!("; the client says: {said}"));
    Trouble::Down(format!("{what}: the connection was lost{said}"))
}

impl Upstream for NatsSource {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn origin(&self) -> String {
        let what = match &self.from {
            From::JetStream { stream, .. } => stream.clone(),
            From::Core { .. } => format!("{} (at most once)", self.subjects.join(",")),
        };
        format!("{} {what}", self.servers.list())
    }

    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Session>, Trouble>> {
        self.open().boxed()
    }
}

/// Of a stream, at least once.
struct StreamSession {
    connected: Connected,
    messages: Messages,
    what: String,
    fetch: FetchSettings,
    /// To be acknowledged.
    fetched: Vec<jetstream::Message>,
    lag: u64,
}

impl StreamSession {
    async fn next(&mut self) -> Result<Vec<Pulled>, Trouble> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let max_bytes = usize::try_from(self.fetch.max_bytes).unwrap_or(usize::MAX);
        while batch.len() < self.fetch.max_records && bytes < max_bytes {
            let next = if batch.is_empty() {
                match tokio::time::timeout(IDLE, self.messages.next()).await {
                    Ok(next) => next,
                    Err(_) if self.connected.seen.is_lost() => return Err(lost(&self.connected, &self.what)),
                    Err(_) => break,
                }
            } else {
                match self.messages.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) if batch.is_empty() => {
                    return Err(rejected(&self.connected, &self.what, &error));
                }
                None if batch.is_empty() => return Err(lost(&self.connected, &self.what)),
                // What is here is stored first; the next fetch meets the same end.
                Some(Err(_)) | None => break,
            };
            let pulled = {
                let info = message.info();
                let info = info.map_err(|e| Trouble::Rejected(format!("{}: no place in a stream: {e}", self.what)))?;
                self.lag = info.pending;
                let nanos = info.published.unix_timestamp_nanos();
                let id = format!("{}/{}", info.stream, info.stream_sequence);
                Pulled {
                    // A stream that was deleted and made anew counts from 1 again.
                    dedupe: Some(format!("{id}@{nanos}")),
                    place: (info.stream.to_owned(), info.stream_sequence),
                    time: i64::try_from(nanos / 1_000).ok().map(Wall),
                    marks: vec![
                        ("natsstream".into(), info.stream.into()),
                        ("natssequence".into(), info.stream_sequence.to_string().into()),
                    ],
                    id,
                    ..plain(&message.message)
                }
            };
            bytes += pulled.data.len();
            batch.push(pulled);
            self.fetched.push(message);
        }
        if batch.is_empty() {
            self.lag = 0;
        }
        Ok(batch)
    }

    async fn ack(&mut self) -> Result<(), Trouble> {
        for message in self.fetched.drain(..) {
            if let Err(error) = message.ack().await {
                return Err(Trouble::Down(format!("{}: an ack was not sent: {error}", self.what)));
            }
        }
        // An ack that is lost on its way brings the message again, which is known by its place.
        let flushed = tokio::time::timeout(PATIENCE, self.connected.client.flush()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            _ => Err(lost(&self.connected, &self.what)),
        }
    }

    async fn progress(&mut self) {
        for message in &self.fetched {
            if message.ack_with(AckKind::Progress).await.is_err() {
                // The next fetch finds out why.
                return;
            }
        }
    }
}

impl Session for StreamSession {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Vec<Pulled>, Trouble>> {
        self.next().boxed()
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Trouble>> {
        self.ack().boxed()
    }

    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        self.progress().boxed()
    }

    fn lag(&self) -> Option<u64> {
        Some(self.lag)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        close(self.connected).boxed()
    }
}

/// Of NATS alone, at most once.
struct CoreSession {
    connected: Connected,
    messages: SelectAll<Subscriber>,
    list: String,
    fetch: FetchSettings,
}

impl CoreSession {
    async fn next(&mut self) -> Result<Vec<Pulled>, Trouble> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let max_bytes = usize::try_from(self.fetch.max_bytes).unwrap_or(usize::MAX);
        while batch.len() < self.fetch.max_records && bytes < max_bytes {
            let next = if batch.is_empty() {
                match tokio::time::timeout(IDLE, self.messages.next()).await {
                    Ok(Some(message)) => Some(message),
                    // The subscriptions have ended.
                    Ok(None) => return Err(lost(&self.connected, &format!("`{}`", self.list))),
                    Err(_) => None,
                }
            } else {
                self.messages.next().now_or_never().flatten()
            };
            let Some(message) = next else { break };
            let pulled = plain(&message);
            bytes += pulled.data.len();
            batch.push(pulled);
        }
        if batch.is_empty() && self.connected.seen.is_lost() {
            return Err(lost(&self.connected, &format!("`{}`", self.list)));
        }
        Ok(batch)
    }
}

impl Session for CoreSession {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Vec<Pulled>, Trouble>> {
        self.next().boxed()
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Trouble>> {
        std::future::ready(Ok(())).boxed()
    }

    fn lag(&self) -> Option<u64> {
        None
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        close(self.connected).boxed()
    }
}

async fn close(connected: Connected) {
    // Acks that are still in the buffer.
    if !matches!(tokio::time::timeout(PATIENCE, connected.client.flush()).await, Ok(Ok(()))) {
        tracing::debug!("a NATS connection was lost before it was closed");
    }
}

/// A message of NATS alone, without a place: its id is the sender's, or made here.
fn plain(message: &async_nats::Message) -> Pulled {
    let headers = message.headers.as_ref().map(lines).unwrap_or_default();
    let own = headers.iter().find(|(name, _)| name == "nats-msg-id").map(|(_, id)| id.clone());
    Pulled {
        id: own.filter(|id| (1..=256).contains(&id.len())).unwrap_or_else(|| new_id().to_string()),
        place: (message.subject.to_string(), 0),
        subject: Some(message.subject.as_str().into()),
        headers,
        data: message.payload.clone(),
        ..Pulled::default()
    }
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let each = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name = AsRef::<str>::as_ref(name).to_ascii_lowercase();
        values.iter().map(|value| (name.clone(), value.as_str().to_owned())).collect::<Vec<_>>()
    };
    headers.iter().flat_map(each).collect()
}
