//! The Kafka source: a consumer of a group, by librdkafka. The offset of a record is committed after the record is
//! stored here, never before: a batch that was stored and not committed comes again, and is known by its place.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::pull::{FetchSettings, PullSettings, Pulled, Session, Upstream};
use crate::broker::kafka::{Aside, Cluster, Events, SaslSettings, Seen};
use crate::broker::{TlsSettings, Trouble, Wrong};
use crate::clock::Wall;
use crate::event::Str;
use crate::target::format::cloudevents::header_text;
use crate::target::{Context, Span};

/// How long the brokers may take to answer when a connection is made.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a fetch waits before it says that there is nothing.
const IDLE: Duration = Duration::from_secs(1);
/// What the client buffers of records that were not asked for yet.
const QUEUE_KIB: &str = "16384";

/// The settings of a source of kind `kafka`, beside those that all sources have that fetch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Brokers to begin with, `host:port`; the others are found through them.
    pub brokers: Vec<String>,
    /// The topics of Kafka; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group: its members share the partitions, and its offsets say where it stands.
    pub group: String,
    /// Where a group begins that has no offset; `earliest`, so that nothing is passed over.
    #[serde(default)]
    pub start: Start,
    /// How long the brokers wait for a sign of life before its partitions go to others; 45 s.
    #[serde(default = "session")]
    pub session_timeout: Span,
    /// By TLS; `{}` trusts the authorities of the system.
    pub tls: Option<TlsSettings>,
    /// Who hexaFn is to the brokers.
    pub sasl: Option<SaslSettings>,
    /// Private networks that this source may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the oldest record that is kept.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

fn session() -> Span {
    Span(Duration::from_secs(45))
}

/// A source of kind `kafka`.
#[derive(Debug)]
pub struct KafkaSource {
    cluster: Cluster,
    topics: Vec<String>,
    config: Vec<(&'static str, String)>,
    fetch: FetchSettings,
}

impl KafkaSource {
    /// Checks the settings; nothing is connected to.
    ///
    /// # Errors
    /// What cannot be used, by its setting.
    pub fn new(common: &PullSettings, settings: &Settings, context: &Context<'_>) -> Result<Self, Wrong> {
        let name: Str = common.name.as_str().into();
        let cluster = Cluster::new(
            &name,
            &settings.brokers,
            settings.tls.as_ref(),
            settings.sasl.as_ref(),
            &settings.allow_networks,
            context,
        )?;
        if settings.topics.is_empty() {
            return Err(Wrong::new("topics", "expected at least one, e.g. [\"orders\"]"));
        }
        for topic in &settings.topics {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let plain = (1..=249).contains(&topic.len()) && topic.chars().all(fits);
            let pattern = topic.starts_with('^') && topic.len() <= 249 && !topic.chars().any(char::is_control);
            if !plain && !pattern {
                let shown: String = topic.chars().filter(|c| !c.is_control()).take(60).collect();
                let message = format!("`{shown}` is no name of a Kafka topic: 1 to 249 of A-Z a-z 0-9 . _ -");
                return Err(Wrong::new("topics", message));
            }
        }
        if !(1..=255).contains(&settings.group.len()) || settings.group.chars().any(char::is_control) {
            return Err(Wrong::new("group", "expected 1 to 255 bytes without control characters"));
        }
        let session = settings.session_timeout.0;
        if session < Duration::from_secs(1) || session > Duration::from_secs(300) {
            return Err(Wrong::new(
                "session_timeout",
                format!("expected 1s to 5m, found {}", settings.session_timeout),
            ));
        }
        let start = match settings.start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        // One record larger than this is still fetched: it is the first of its answer.
        let bytes = common.fetch.max_bytes.max(common.max_record);
        let config = vec![
            ("group.id", settings.group.clone()),
            // Offsets are stored by hand after a batch is stored here, and committed from there once a second and at
            // the end.
            ("enable.auto.offset.store", "false".into()),
            ("enable.auto.commit", "true".into()),
            ("auto.commit.interval.ms", "1000".into()),
            ("auto.offset.reset", start.into()),
            ("session.timeout.ms", session.as_millis().to_string()),
            ("heartbeat.interval.ms", (session / 10).as_millis().to_string()),
            ("max.poll.interval.ms", session.max(Duration::from_secs(300)).as_millis().to_string()),
            ("queued.max.messages.kbytes", QUEUE_KIB.into()),
            ("max.partition.fetch.bytes", bytes.to_string()),
            ("topic.metadata.refresh.interval.ms", "30000".into()),
            ("allow.auto.create.topics", "false".into()),
            ("reconnect.backoff.max.ms", "2000".into()),
            // For the lag, and to notice that no broker is there.
            ("statistics.interval.ms", "2000".into()),
        ];
        Ok(Self { cluster, topics: settings.topics.clone(), config, fetch: common.fetch })
    }

    async fn open(&self) -> Result<Box<dyn Session>, Trouble> {
        self.cluster.check(PATIENCE).await?;
        let mut config = self.cluster.config();
        for (setting, value) in &self.config {
            config.set(*setting, value);
        }
        let (events, topics) = (self.cluster.events(), self.topics.clone());
        let seen = events.seen.clone();
        // Making one and subscribing block.
        let made = tokio::task::spawn_blocking(move || consumer(&config, events, &topics)).await;
        let made = made.map_err(|e| Trouble::Down(format!("the consumer could not be made: {e}")))?;
        let consumer = made.map_err(|error| self.cluster.trouble(&error, &seen))?;
        let (cluster, fetch) = (self.cluster.clone(), self.fetch);
        let (topics, fetched, trouble) = (self.topics.len(), HashMap::new(), None);
        Ok(Box::new(KafkaSession { consumer: Aside::new(consumer), cluster, seen, fetch, topics, fetched, trouble }))
    }
}

fn consumer(config: &ClientConfig, events: Events, topics: &[String]) -> Result<StreamConsumer<Events>, KafkaError> {
    let consumer: StreamConsumer<Events> = StreamConsumer::from_config_and_context(config, events)?;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

impl Upstream for KafkaSource {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn origin(&self) -> String {
        format!("{} {}", self.cluster.brokers(), self.topics.join(","))
    }

    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Session>, Trouble>> {
        self.open().boxed()
    }
}

struct KafkaSession {
    /// Taken when it is closed.
    consumer: Aside<StreamConsumer<Events>>,
    cluster: Cluster,
    seen: Arc<Seen>,
    fetch: FetchSettings,
    /// How many topics it reads.
    topics: usize,
    /// What ends the session once the records before it are stored.
    trouble: Option<Trouble>,
    /// The offset after the last record that was fetched, by topic and partition.
    fetched: HashMap<(String, i32), i64>,
}

impl KafkaSession {
    async fn next(&mut self) -> Result<Vec<Pulled>, Trouble> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let Some(consumer) = self.consumer.get() else { return Ok(Vec::new()) };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let max_bytes = usize::try_from(self.fetch.max_bytes).unwrap_or(usize::MAX);
        while batch.len() < self.fetch.max_records && bytes < max_bytes {
            // The first is waited for, further ones are taken while they are there.
            let next = if batch.is_empty() {
                match tokio::time::timeout(IDLE, consumer.recv()).await {
                    Ok(next) => next,
                    Err(_) if self.seen.is_alone() => {
                        return Err(self.cluster.trouble(&KafkaError::Global(Code::AllBrokersDown), &self.seen));
                    }
                    Err(_) => break,
                }
            } else {
                match consumer.recv().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            match next {
                Ok(message) => {
                    let place = (message.topic().to_owned(), message.partition());
                    self.fetched.insert(place, message.offset() + 1);
                    let pulled = pulled(&message);
                    bytes += pulled.data.len();
                    batch.push(pulled);
                }
                Err(error) => {
                    if let Some(trouble) = self.means(&error) {
                        // What is here is stored first.
                        if batch.is_empty() {
                            return Err(trouble);
                        }
                        self.trouble = Some(trouble);
                        break;
                    }
                }
            }
        }
        Ok(batch)
    }

    /// What an error means for the session; nothing where the client goes on by itself.
    fn means(&self, error: &KafkaError) -> Option<Trouble> {
        match error.rdkafka_error_code() {
            // One broker of several: when it was the last one, the client says so next.
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut | Code::PartitionEOF) => None,
            // One topic of several: the others are read on.
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::TopicAuthorizationFailed)
                if self.topics > 1 =>
            {
                tracing::warn!(%error, "a topic of a Kafka source cannot be read; its other topics are");
                None
            }
            _ => Some(self.cluster.trouble(error, &self.seen)),
        }
    }

    fn store_offsets(&mut self) -> Result<(), Trouble> {
        let Some(consumer) = self.consumer.get() else { return Ok(()) };
        for ((topic, partition), next) in self.fetched.drain() {
            let mut list = TopicPartitionList::new();
            let stored = list
                .add_partition_offset(&topic, partition, Offset::Offset(next))
                .and_then(|()| consumer.store_offsets(&list));
            match stored {
                Ok(()) => {}
                // The partition went to another member meanwhile, which reads these records again.
                Err(error) if error.rdkafka_error_code() == Some(Code::State) => {
                    tracing::debug!(topic, partition, "a partition was taken away before its offset was committed");
                }
                Err(error) => return Err(self.cluster.trouble(&error, &self.seen)),
            }
        }
        Ok(())
    }
}

impl Session for KafkaSession {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Vec<Pulled>, Trouble>> {
        self.next().boxed()
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Trouble>> {
        // The client commits in the background.
        std::future::ready(self.store_offsets()).boxed()
    }

    fn lag(&self) -> Option<u64> {
        self.seen.lag()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let consumer = self.consumer.take();
        async move {
            let closed = tokio::task::spawn_blocking(move || {
                let Some(consumer) = consumer else { return };
                match consumer.commit_consumer_state(CommitMode::Sync) {
                    Ok(()) => {}
                    Err(error) if error.rdkafka_error_code() == Some(Code::NoOffset) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the last offsets were not committed; their records come again")
                    }
                }
            });
            if let Err(error) = closed.await {
                tracing::debug!(%error, "a Kafka consumer was not closed in order");
            }
        }
        .boxed()
    }
}

/// A record as hexaFn takes it; its bytes are copied out of the client's buffer.
fn pulled(message: &BorrowedMessage<'_>) -> Pulled {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    let millis = message.timestamp().to_millis();
    let id = format!("{topic}/{partition}/{offset}");
    let mut headers = Vec::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let Some(text) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        let name = header.key.to_ascii_lowercase();
        // The binding for Kafka writes attributes as they are, that for HTTP percent-encodes them.
        headers.push(match name.strip_prefix("ce_") {
            Some(attribute) => (format!("ce-{attribute}"), header_text(text).into_owned()),
            None => (name, text.to_owned()),
        });
    }
    Pulled {
        // A topic that was deleted and made anew counts from 0 again: the time tells its records from the old ones.
        dedupe: Some(format!("{id}@{}", millis.unwrap_or(-1))),
        place: (format!("{topic}/{partition}"), u64::try_from(offset).unwrap_or(0)),
        key: message.key().filter(|key| !key.is_empty()).map(text_of),
        subject: Some(topic.into()),
        headers,
        time: millis.and_then(|millis| millis.checked_mul(1_000)).map(Wall),
        marks: vec![
            ("kafkatopic".into(), topic.into()),
            ("kafkapartition".into(), partition.to_string().into()),
            ("kafkaoffset".into(), offset.to_string().into()),
        ],
        data: bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        id,
    }
}

/// A key as text; one that is not is written in hexadecimal.
fn text_of(key: &[u8]) -> Str {
    use std::fmt::Write;
    if let Ok(text) = std::str::from_utf8(key) {
        return text.into();
    }
    let mut out = String::with_capacity(2 * key.len());
    for byte in key {
        // Writing to a string cannot fail.
        write!(out, "{byte:02x}").ok();
    }
    out.into()
}
