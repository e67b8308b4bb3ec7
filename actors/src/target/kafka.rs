//! The Kafka target: an idempotent producer of librdkafka, whose delivery reports are the acks.
//!
//! A batch of the forwarder is put into the producer's queue in its order, and each record's report is awaited: an
//! outcome for each. Batches are queued one after the other, so the records of a key keep their order within their
//! partition, also while several batches are on their way; the producer's own repetitions (within `timeout`) neither
//! double nor reorder. An attempt that timed out may still have arrived: the next one comes under the same `webhook-id`.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{Delivery as Report, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::broker::kafka::{Aside, Cluster, Events, SaslSettings, Seen, unauthenticated};
use crate::broker::{TlsSettings, Wrong};
use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::format::{Column, Format, Formatter};
use crate::target::kept::{Connection, troubled};
use crate::target::{
    BatchSettings, Common, Context, Delivery, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Size,
    Span, Target, Template, Verdict, placed, unusable,
};

#[cfg(test)]
mod tests;

/// What the producer's queue holds at least, in KiB and in records.
const QUEUE: (usize, usize) = (65_536, 100_000);
/// The shortest `timeout`: below, it may be over before anything is sent.
const SHORTEST: Duration = Duration::from_secs(3);
/// How long a topic that is not there is asked for before a record for it fails.
const UNKNOWN_TOPIC: Duration = Duration::from_secs(5);

/// The settings of a target of kind `kafka`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Brokers to begin with, `host:port`; the others are found through them.
    pub brokers: Vec<String>,
    /// The topic, a template.
    pub topic: String,
    /// The key, a template; the event's ordering key when absent. An empty text is no key.
    pub key: Option<String>,
    /// The partition, a template that gives a number; chosen by the key when absent or empty.
    pub partition: Option<String>,
    /// More headers, templates. Those that hexaFn sets itself cannot be set.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the value is; `template` when `body` is given, else `data`.
    pub format: Option<Format>,
    /// The value, a template.
    pub body: Option<String>,
    /// The columns of `csv`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// How batches are compressed; not at all by default.
    #[serde(default)]
    pub compression: Compression,
    /// The largest record; 1 MB, the default of brokers. A larger one is a dead letter.
    #[serde(default = "megabyte")]
    pub max_message: Size,
    /// How long the producer waits for more records of a partition; 5 ms.
    #[serde(default = "five_milliseconds")]
    pub linger: Span,
    /// By TLS; `{}` trusts the authorities of the system.
    pub tls: Option<TlsSettings>,
    /// Who hexaFn is to the brokers.
    pub sasl: Option<SaslSettings>,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
}

/// `compression`: how batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Understood by everybody.
    Gzip,
    /// Cheap.
    Snappy,
    /// Cheap.
    Lz4,
    /// The smallest for its cost; brokers since 2.1.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

fn megabyte() -> Size {
    Size(1_000_000)
}

fn five_milliseconds() -> Span {
    Span(Duration::from_millis(5))
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(KafkaTarget::new(common, self, context)?))
    }
}

/// A target of kind `kafka`.
pub struct KafkaTarget {
    cluster: Cluster,
    topic: Template,
    key: Option<Template>,
    partition: Option<Template>,
    headers: Vec<(String, Template)>,
    formatter: Formatter,
    config: Vec<(&'static str, String)>,
    timeout: Duration,
    max_message: u64,
    mode: Mode,
    connection: Mutex<Connection<Client>>,
}

impl std::fmt::Debug for KafkaTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaTarget")
            .field("cluster", &self.cluster)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// A producer, and what it said last.
#[derive(Clone)]
struct Client {
    producer: Arc<Aside<FutureProducer<Events>>>,
    seen: Arc<Seen>,
    made: Instant,
}

impl Client {
    /// Whether it sends nothing any more.
    fn is_dead(&self) -> bool {
        self.producer.get().is_none_or(|producer| producer.client().fatal_error().is_some())
    }

    /// What it said last, for the end of a message.
    fn said(&self) -> String {
        self.seen.error().map_or_else(String::new, |said| format!("; the client says: {said}"))
    }
}

/// A record as it is sent.
struct Message<'a> {
    topic: Cow<'a, str>,
    partition: Option<i32>,
    /// Empty: none.
    key: Cow<'a, str>,
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    value: bytes::Bytes,
}

/// A message in the producer's queue, or why it is not.
type Queued<'a> = Result<(DeliveryFuture, Message<'a>), Failure>;

impl KafkaTarget {
    /// Checks the settings; nothing is connected to.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |wrong: Wrong| Error::setting(name, wrong.field, wrong.message);
        let cluster = Cluster::new(
            name,
            &settings.brokers,
            settings.tls.as_ref(),
            settings.sasl.as_ref(),
            &settings.allow_networks,
            context,
        )
        .map_err(bad)?;
        let topic = Template::compile(name, "topic", &settings.topic)?;
        if let Some(constant) = topic.constant() {
            check_topic(constant).map_err(|e| Error::setting(name, "topic", e))?;
        }
        let template = |field: &str, text: &Option<String>| {
            text.as_deref().map(|text| Template::compile(name, field, text)).transpose()
        };
        let (key, partition) = (template("key", &settings.key)?, template("partition", &settings.partition)?);
        if let Some(constant) = partition.as_ref().and_then(Template::constant) {
            number(constant).map_err(|e| Error::setting(name, "partition", e))?;
        }
        if !(1_000..=100_000_000).contains(&settings.max_message.0) {
            let message = format!("expected 1KB to 100MB, found {}", settings.max_message);
            return Err(Error::setting(name, "max_message", message));
        }
        if settings.linger.0 > Duration::from_secs(10) {
            return Err(Error::setting(name, "linger", format!("expected at most 10s, found {}", settings.linger)));
        }
        let formatter =
            Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Data)?;
        let headers = headers(name, &settings.headers)?;
        let timeout = common.timeout.0;
        if timeout < SHORTEST {
            let message = format!(
                "expected at least {}, found {}: a new producer asks the brokers for its number first, every half a second",
                Span(SHORTEST),
                common.timeout
            );
            return Err(bad(Wrong::new("timeout", message)));
        }
        let default = BatchSettings { max_records: 500, max_age: Span(Duration::ZERO), ..BatchSettings::default() };
        let mode = common.batch.unwrap_or(default).mode(common.concurrency);
        // Room for all calls at once: a batch that does not fit would fail for no fault of the cluster. Twice the data, since
        // keys and headers come on top of it.
        let (kib, messages) = match mode {
            Mode::Batch { max_records, max_bytes, concurrency, .. } => (
                QUEUE.0.max(max_bytes.saturating_mul(concurrency).saturating_mul(2) / 1024).min(2_097_151),
                QUEUE.1.max(max_records.saturating_mul(concurrency)),
            ),
            Mode::Each { .. } => QUEUE,
        };
        let config = vec![
            ("enable.idempotence", "true".into()),
            ("acks", "all".into()),
            ("compression.type", settings.compression.name().into()),
            ("message.max.bytes", settings.max_message.0.to_string()),
            ("message.timeout.ms", timeout.as_millis().to_string()),
            ("request.timeout.ms", timeout.min(Duration::from_secs(30)).as_millis().to_string()),
            ("linger.ms", settings.linger.0.min(timeout / 2).as_millis().to_string()),
            ("queue.buffering.max.kbytes", kib.to_string()),
            ("queue.buffering.max.messages", messages.to_string()),
            ("topic.metadata.propagation.max.ms", UNKNOWN_TOPIC.min(timeout / 2).as_millis().to_string()),
            ("reconnect.backoff.max.ms", "2000".into()),
        ];
        let max_message = settings.max_message.0;
        let connection = Mutex::default();
        Ok(Self { cluster, topic, key, partition, headers, formatter, config, timeout, max_message, mode, connection })
    }

    /// The record of an event. What fails here fails with every attempt.
    fn message<'a>(&'a self, delivery: Delivery<'a>) -> Result<Message<'a>, Failure> {
        let event = &delivery.record.event;
        let topic = self.topic.render(delivery).map_err(|e| unusable("topic", &e))?;
        check_topic(&topic).map_err(|e| unusable("topic", &e))?;
        let key = match &self.key {
            Some(template) => template.render(delivery).map_err(|e| unusable("key", &e))?,
            None => event.key.as_deref().unwrap_or_default().into(),
        };
        let partition = match &self.partition {
            Some(template) => {
                let text = template.render(delivery).map_err(|e| unusable("partition", &e))?;
                number(&text).map_err(|e| unusable("partition", &e))?
            }
            None => None,
        };
        let body = self.formatter.one(delivery)?;
        let attributes = self.formatter.attributes(event, "ce_").into_iter();
        let mut headers: Vec<(Cow<'a, str>, Cow<'a, str>)> = attributes.map(|(n, v)| (n.into(), v.into())).collect();
        headers.extend(body.content_type.map(|text| ("content-type".into(), text)));
        headers.push(("traceparent".into(), event.trace.traceparent().into()));
        headers.extend(event.trace.state.as_deref().map(|state| ("tracestate".into(), state.into())));
        // The id is the receiver's idempotency key: the same on every attempt.
        headers.push(("webhook-id".into(), (&*event.id).into()));
        for (name, template) in &self.headers {
            let value = template.render(delivery).map_err(|e| unusable(&format!("headers.{name}"), &e))?;
            headers.push((name.into(), value));
        }
        if body.bytes.len() as u64 > self.max_message {
            return Err(self.too_large(body.bytes.len()));
        }
        Ok(Message { topic, partition, key, headers, value: body.bytes })
    }

    /// A new producer. The brokers are asked first, who may take nearly all of the time that is left: at its end the
    /// attempt is over, and nobody would hear what the client says of them.
    async fn connect(&self, left: Duration) -> Result<Client, Failure> {
        self.cluster.check(left * 9 / 10).await.map_err(|trouble| troubled(&trouble))?;
        let mut config = self.cluster.config();
        for (setting, value) in &self.config {
            config.set(*setting, value);
        }
        let events = self.cluster.events();
        let seen = events.seen.clone();
        let made = move || FutureProducer::from_config_and_context(&config, events);
        let made = tokio::task::spawn_blocking(made).await;
        let failed = |message: String| Failure::new(FailureClass::Connect, message);
        match made {
            Ok(Ok(producer)) => Ok(Client { producer: Arc::new(Aside::new(producer)), seen, made: Instant::now() }),
            Ok(Err(error)) => Err(failed(format!("the producer cannot be made: {error}"))),
            Err(error) => Err(failed(format!("the producer could not be made: {error}"))),
        }
    }

    fn not_connected(&self) -> Failure {
        let (brokers, limit) = (self.cluster.brokers(), Span(self.timeout));
        let message = format!("`{brokers}` did not answer within {limit} (`timeout` of the target)");
        Failure::new(FailureClass::Connect, message)
    }

    fn too_large(&self, bytes: usize) -> Failure {
        let message = format!(
            "the record has {bytes} bytes, and at most {} are sent (`max_message` of the target, and \
             `max.message.bytes` of the topic, must both allow it)",
            self.max_message
        );
        Failure::new(FailureClass::Refused, message).verdict(Verdict::DeadLetter)
    }

    /// Puts a message into the producer's queue.
    fn enqueue(&self, client: &Client, message: &Message<'_>) -> Result<DeliveryFuture, Failure> {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (name, value) in &message.headers {
            headers = headers.insert(Header { key: name, value: Some(value.as_bytes()) });
        }
        let record = FutureRecord::<[u8], [u8]> {
            topic: &message.topic,
            partition: message.partition,
            payload: Some(&message.value[..]),
            key: Some(message.key.as_bytes()).filter(|key| !key.is_empty()),
            timestamp: None,
            headers: Some(headers),
        };
        let Some(producer) = client.producer.get() else {
            return Err(Failure::new(FailureClass::Connect, "the producer was closed before the record was sent"));
        };
        producer.send_result(record).map_err(|(error, _)| self.failure(client, &error, message))
    }

    /// What an error of a record means.
    fn failure(&self, client: &Client, error: &KafkaError, message: &Message<'_>) -> Failure {
        let topic = &message.topic;
        let code = error.rdkafka_error_code();
        match code {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => self.too_large(message.value.len()),
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                let place = message.partition.map_or_else(String::new, |p| format!(" or its partition {p}"));
                let text = format!("the brokers know no topic `{topic}`{place}: create it, or correct the target");
                // What an event named alone does not speak against the target.
                let by_event = self.topic.constant().is_none() || self.partition.is_some();
                Failure::new(if by_event { FailureClass::Refused } else { FailureClass::Rejected }, text)
            }
            Some(Code::QueueFull) => {
                let text = "the producer has as much to send as it may hold; it is tried again";
                Failure::new(FailureClass::Rejected, text)
            }
            Some(Code::MessageTimedOut) => {
                let (brokers, limit) = (self.cluster.brokers(), Span(self.timeout));
                let text = format!("`{brokers}` did not confirm the record within {limit} (`timeout` of the target)");
                match client.seen.refusal() {
                    Some(said) => Failure::new(FailureClass::Rejected, unauthenticated(&format!("{text}; {said}"))),
                    None => Failure::new(FailureClass::Timeout, text + &client.said()),
                }
            }
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => {
                Failure::new(FailureClass::Connect, format!("`{}`: {error}{}", self.cluster.brokers(), client.said()))
            }
            Some(Code::SSL) => Failure::new(FailureClass::Tls, error.to_string()),
            _ => Failure::new(FailureClass::Rejected, format!("topic `{topic}`: {error}")),
        }
    }

    /// One attempt with all of them: connecting and the reports have one deadline.
    async fn send(&self, records: &[Arc<Record>], attempt: u32, now: Wall) -> Vec<Outcome> {
        let began = Instant::now();
        let deadline = (began + self.timeout).into();
        let made: Vec<Result<Message<'_>, Failure>> =
            records.iter().map(|record| self.message(Delivery { record, attempt, now })).collect();
        let connected = async {
            let mut connection = self.connection.lock().await;
            let left = self.timeout.saturating_sub(began.elapsed());
            let client = connection.get(began, Client::is_dead, self.connect(left)).await?;
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
        let queued: Vec<(Queued<'_>, u64)> = made
            .into_iter()
            .map(|made| {
                let size = made.as_ref().map_or(0, |message| message.value.len() as u64);
                let queued = made.and_then(|message| Ok((self.enqueue(&client, &message)?, message)));
                (queued, size)
            })
            .collect();
        // The next batch is queued behind this one.
        drop(connection);
        // All of them are on their way, and have one deadline: waiting for one after the other takes no longer, and wakes this task
        // for those alone that are not there yet.
        let mut outcomes = Vec::with_capacity(queued.len());
        for (queued, size) in queued {
            let result = match queued {
                Ok((report, message)) => self.report(&client, report, message, deadline).await,
                Err(failure) => Err(failure),
            };
            outcomes.push(placed(result, size, began.elapsed()));
        }
        self.renew(&client, &outcomes);
        outcomes
    }

    /// Lets a producer go that has confirmed nothing of a batch in time. An idempotent one numbers its records for brokers
    /// that remember it; when they do not any more, it may ask them without an end, and a new one is known at once. One that
    /// was made during the attempt is kept: it may be as far as the next attempt needs it.
    fn renew(&self, client: &Client, outcomes: &[Outcome]) {
        let late = |o: &Outcome| matches!(o, Outcome::Failed(failure) if failure.class == FailureClass::Timeout);
        if client.made.elapsed() < self.timeout
            || !(client.seen.refusal().is_some() || outcomes.iter().any(late))
            || outcomes.iter().any(Outcome::is_delivered)
        {
            return;
        }
        // Nobody is waited for: whoever holds it connects anew, or will find the same of this one.
        if let Ok(mut connection) = self.connection.try_lock()
            && matches!(&*connection, Connection::Open(open) if Arc::ptr_eq(&open.producer, &client.producer))
        {
            *connection = Connection::None;
        }
    }

    /// The producer gives a record up at the same deadline or later, so a late one may still arrive.
    async fn report(
        &self,
        client: &Client,
        mut report: DeliveryFuture,
        message: Message<'_>,
        deadline: tokio::time::Instant,
    ) -> Result<Str, Failure> {
        let reported = match (&mut report).now_or_never() {
            Some(reported) => Ok(reported),
            None => timeout_at(deadline, report).await,
        };
        match reported {
            Ok(Ok(Ok(Report { partition, offset, .. }))) => {
                Ok(format!("{}/{partition}/{offset}", message.topic).into())
            }
            Ok(Ok(Err((error, _)))) => Err(self.failure(client, &error, &message)),
            Ok(Err(_)) => {
                Err(Failure::new(FailureClass::Connect, "the producer was closed before the record was sent"))
            }
            Err(_) => Err(self.failure(client, &KafkaError::MessageProduction(Code::MessageTimedOut), &message)),
        }
    }
}

impl Target for KafkaTarget {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn destination(&self) -> String {
        format!("{} {}", self.cluster.brokers(), self.topic.source())
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let message = self.message(delivery)?;
        let mut destination = format!("{} {}", self.cluster.brokers(), message.topic);
        if let Some(partition) = message.partition {
            destination.push_str(&format!("/{partition}"));
        }
        let key = Some(("key".into(), message.key)).filter(|(_, key): &(Cow<'_, str>, _)| !key.is_empty());
        let headers = key.into_iter().chain(message.headers);
        let headers = headers.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Ok(Preview { destination, headers, body: String::from_utf8_lossy(&message.value).into_owned() })
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

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            *self.connection.lock().await = Connection::None;
        }
        .boxed()
    }
}

fn headers(name: &Str, settings: &BTreeMap<String, String>) -> Result<Vec<(String, Template)>, Error> {
    const OURS: [&str; 4] = ["content-type", "traceparent", "tracestate", "webhook-id"];
    let mut all = Vec::with_capacity(settings.len());
    for (key, text) in settings {
        let field = format!("headers.{}", key.escape_debug());
        if key.is_empty() || key.len() > 256 || key.chars().any(char::is_control) {
            return Err(Error::setting(name, field, "expected 1 to 256 bytes without control characters"));
        }
        if OURS.contains(&key.as_str()) || key.starts_with("ce_") {
            return Err(Error::setting(name, field, "this header is set by hexaFn itself"));
        }
        let template = Template::compile(name, &field, text)?;
        all.push((key.clone(), template));
    }
    Ok(all)
}

fn check_topic(topic: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=249).contains(&topic.len()) && topic.bytes().all(fits) && topic != "." && topic != ".." {
        return Ok(());
    }
    let shown: String = topic.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(format!("`{shown}` is no name of a Kafka topic: 1 to 249 of A-Z a-z 0-9 . _ -"))
}

fn number(text: &str) -> Result<Option<i32>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let shown: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    let parsed = text.parse::<i32>().ok().filter(|n| *n >= 0);
    parsed.map(Some).ok_or_else(|| format!("`{shown}` is no partition: expected a number from 0 on"))
}
