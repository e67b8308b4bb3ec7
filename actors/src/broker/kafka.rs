//! A Kafka cluster: who its brokers are and how to be let in, for librdkafka.

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Pem, TlsSettings, Trouble, Wrong, check_hosts, guard, secret, text_or_secret};
use crate::event::Str;
use crate::target::Context;
use crate::target::http::guard::Guard;

/// `sasl`: who hexaFn is to the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// The user, or a reference.
    pub username: String,
    /// The password: `env:NAME`, or `file:PATH` of mode 0600.
    pub password: String,
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// Sent as it is: with `tls` only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// By challenge and response.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// By challenge and response.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What is needed to connect.
#[derive(Clone)]
pub struct Cluster {
    name: Str,
    brokers: Vec<(String, u16)>,
    config: ClientConfig,
    guard: Guard,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration holds passwords.
        f.debug_struct("Cluster").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Checks the settings; nothing is connected to.
    ///
    /// # Errors
    /// What cannot be used, by its setting.
    pub fn new(
        name: &Str,
        brokers: &[String],
        tls: Option<&TlsSettings>,
        sasl: Option<&SaslSettings>,
        allow_networks: &[String],
        context: &Context<'_>,
    ) -> Result<Self, Wrong> {
        let brokers = brokers.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        if brokers.is_empty() {
            return Err(Wrong::new("brokers", "expected at least one, e.g. [\"kafka-1.example.com:9092\"]"));
        }
        let mut config = ClientConfig::new();
        let list: Vec<String> = brokers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        config.set("bootstrap.servers", list.join(",")).set("client.id", format!("hexafn-{name}"));
        config.set(
            "security.protocol",
            match (tls, sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        // Everything that it says goes to the log at debug; what matters is said by failures.
        config.set_log_level(RDKafkaLogLevel::Info);
        if let Some(tls) = tls {
            let pem = Pem::read(tls, context)?;
            let texts = [
                ("ssl.ca.pem", pem.ca.as_deref()),
                ("ssl.certificate.pem", pem.certificate.as_deref()),
                ("ssl.key.pem", pem.private_key.as_ref().map(|key| key.as_str())),
            ];
            for (setting, text) in texts {
                if let Some(text) = text {
                    config.set(setting, text);
                }
            }
        }
        if let Some(sasl) = sasl {
            if tls.is_none() && sasl.mechanism == Mechanism::Plain {
                let message = "PLAIN sends the password readable: add `tls = {}`, or take SCRAM-SHA-512";
                return Err(Wrong::new("sasl.mechanism", message));
            }
            let username = text_or_secret("sasl.username", &sasl.username, context)?;
            let password = secret("sasl.password", &sasl.password, context)?;
            config.set("sasl.mechanisms", sasl.mechanism.name());
            config.set("sasl.username", username.as_str()).set("sasl.password", password.as_str());
        }
        Ok(Self { name: name.clone(), brokers, config, guard: guard(allow_networks, context)? })
    }

    /// The configuration of a client, to be completed.
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// The brokers, for tables.
    pub fn brokers(&self) -> String {
        let list: Vec<String> = self.brokers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        list.join(",")
    }

    /// A context for a client.
    pub fn events(&self) -> Events {
        Events { name: self.name.clone(), seen: Arc::default() }
    }

    /// Whether the brokers may be connected to and answer. The configured names are decided over before anything is
    /// connected to; then those that the brokers advertise, before any record is sent or read.
    ///
    /// # Errors
    /// A refused address, or nobody answers within `patience`.
    pub async fn check(&self, patience: Duration) -> Result<(), Trouble> {
        let hosts: Vec<&str> = self.brokers.iter().map(|(host, _)| host.as_str()).collect();
        check_hosts(&self.guard, &hosts).await?;
        let (config, events) = (self.config(), self.events());
        let seen = events.seen.clone();
        // A client of its own, since making one and asking it block.
        let asked = tokio::task::spawn_blocking(move || advertised(&config, events, patience)).await;
        let advertised = match asked {
            Ok(Ok(hosts)) => hosts,
            Ok(Err(error)) => return Err(self.trouble(&error, &seen)),
            Err(error) => return Err(Trouble::Down(format!("asking the brokers failed: {error}"))),
        };
        let hosts: Vec<&str> = advertised.iter().map(String::as_str).collect();
        check_hosts(&self.guard, &hosts).await.map_err(|trouble| match trouble {
            Trouble::Refused(why) => {
                Trouble::Refused(format!("the brokers at {} advertise an address: {why}", self.brokers()))
            }
            other => other,
        })
    }

    /// What an error of a client means, with what the client said before it.
    pub fn trouble(&self, error: &KafkaError, seen: &Seen) -> Trouble {
        let brokers = self.brokers();
        let said = seen.error().map_or_else(String::new, |said| format!("; {said}"));
        let text = format!("`{brokers}`: {error}{said}");
        let code = error.rdkafka_error_code();
        match code {
            Some(
                Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed,
            ) => Trouble::Rejected(format!("{text}; check `sasl` and the rights of its user")),
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
                Trouble::Rejected(format!("{text}; create the topic, or correct its name"))
            }
            _ => match seen.refusal() {
                Some(refusal) => Trouble::Rejected(unauthenticated(&format!("`{brokers}`: {refusal}"))),
                None if said.contains("SSL") || said.contains("certificate") || code == Some(Code::SSL) => {
                    Trouble::Tls(text)
                }
                None if said.contains("SASL")
                    || matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed)) =>
                {
                    Trouble::Rejected(unauthenticated(&text))
                }
                None => Trouble::Down(text),
            },
        }
    }
}

/// A message for brokers that do not take name and password. What to do comes first, since tables cut long messages.
pub(crate) fn unauthenticated(why: &str) -> String {
    format!("authentication failed, check `sasl`: {why}")
}

/// How long a client that failed is listened to.
const LISTENS: Duration = Duration::from_millis(10);
/// How long a refusal explains what fails after it. The client tells the same of a broker once in 30 s.
const SPEAKS: Duration = Duration::from_secs(40);

/// The hosts that the brokers say they are at.
fn advertised(config: &ClientConfig, events: Events, patience: Duration) -> Result<Vec<String>, KafkaError> {
    let client: BaseConsumer<Events> = BaseConsumer::from_config_and_context(config, events)?;
    let metadata = client.fetch_metadata(None, patience);
    if metadata.is_err() {
        // What went wrong was put into the queue of events, and is told to the context on the way out of it. Without a
        // time of its own a poll would end at the first line of the client's log, which lies before it.
        while client.poll(LISTENS).is_some() {}
    }
    Ok(metadata?.brokers().iter().map(|broker| broker.host().trim_matches(['[', ']']).to_owned()).collect())
}

/// Reads `host:port`; an IPv6 address is written in brackets.
fn address(text: &str) -> Result<(String, u16), Wrong> {
    let wrong = || {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
        Wrong::new("brokers", format!("`{shown}` is no broker; write host and port, e.g. `kafka-1.example.com:9092`"))
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let colons = bare.contains(':');
    if bare.is_empty() || port == 0 || !bare.bytes().all(fits) || colons != (bare.len() != host.len()) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// What a client said last.
#[derive(Debug)]
pub struct Seen {
    error: Mutex<Option<String>>,
    refusal: Mutex<Option<(Instant, String)>>,
    lag: AtomicI64,
    /// Statistics in a row that knew no broker with a connection.
    alone: AtomicU32,
}

impl Default for Seen {
    fn default() -> Self {
        let (error, refusal) = (Mutex::default(), Mutex::default());
        Self { error, refusal, lag: AtomicI64::new(-1), alone: AtomicU32::new(0) }
    }
}

impl Seen {
    /// Its last error, in its words.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In its words, that a broker did not take the name and password a short while ago. To the client that is a broker
    /// which is down for now: it tries again, and tells what happens with the others meanwhile.
    pub fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().filter(|(at, _)| at.elapsed() < SPEAKS).map(|(_, said)| said.clone())
    }

    /// Whether no broker was connected for two statistics in a row. The client tries again without an end, and tells
    /// that all are gone only when it has tried each of them.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed) >= 2
    }

    /// Records between the newest and the ones read, of all partitions that are read here.
    pub fn lag(&self) -> Option<u64> {
        u64::try_from(self.lag.load(Ordering::Relaxed)).ok()
    }
}

/// What a client tells: its log, its errors, its statistics.
#[derive(Debug, Clone)]
pub struct Events {
    name: Str,
    /// What it said last.
    pub seen: Arc<Seen>,
}

impl ClientContext for Events {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", name = %self.name, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", name = %self.name, %error, reason);
        let said: String = reason.chars().filter(|c| !c.is_control()).take(300).collect();
        if let Some(Code::Authentication | Code::SaslAuthenticationFailed) = error.rdkafka_error_code() {
            let mut refusal = self.seen.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some((Instant::now(), said.clone()));
        }
        let mut last = self.seen.error.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows what says why.
        if last.is_none() || error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            *last = Some(said);
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.seen.alone.store(0, Ordering::Relaxed);
        } else {
            self.seen.alone.fetch_add(1, Ordering::Relaxed);
        }
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        // Of a partition that another member of the group reads now the last lag stays for ever.
        let read_here = partitions.filter(|partition| partition.fetch_state == "active");
        let known: Vec<i64> = read_here.map(|partition| partition.consumer_lag).filter(|lag| *lag >= 0).collect();
        let lag = if known.is_empty() { -1 } else { known.iter().sum() };
        self.seen.lag.store(lag, Ordering::Relaxed);
    }
}

impl ConsumerContext for Events {}

/// A client that is dropped away from the threads of actors, since its drop waits for its own threads.
pub(crate) struct Aside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Aside<T> {
    /// Holds a client.
    pub fn new(client: T) -> Self {
        Self(Some(client))
    }

    /// The client; it is there until it is taken.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Takes the client out; it is then the taker's to drop.
    pub fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else { return };
        let spawned = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(client));
        if let Err(error) = spawned {
            tracing::warn!(%error, "a Kafka client was closed on a thread of actors");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lag_is_that_of_partitions_that_are_read_here() {
        let guard = Guard::new(Vec::new().into(), Arc::new(crate::target::http::guard::SystemLookup));
        let cluster = Cluster { name: "k".into(), brokers: Vec::new(), config: ClientConfig::new(), guard };
        let events = cluster.events();
        let partition = |partition, fetch_state: &str, consumer_lag| rdkafka::statistics::Partition {
            partition,
            fetch_state: fetch_state.into(),
            consumer_lag,
            ..Default::default()
        };
        let told = |of: &[rdkafka::statistics::Partition]| {
            let partitions = of.iter().map(|one| (one.partition, one.clone())).collect();
            let topic = rdkafka::statistics::Topic { partitions, ..Default::default() };
            events.stats(Statistics { topics: [("t".to_owned(), topic)].into(), ..Default::default() });
            events.seen.lag()
        };
        let both = [partition(0, "active", 3), partition(1, "active", 11)];
        assert_eq!(told(&both), Some(14));
        let revoked = [partition(0, "active", 0), partition(1, "none", 11), partition(-1, "none", -1)];
        assert_eq!(told(&revoked), Some(0), "another member reads 1 now");
        assert_eq!(told(&[partition(0, "stopped", 5)]), None);
    }

    #[test]
    fn a_refused_password_is_told_also_when_another_broker_is_away() {
        let guard = Guard::new(Vec::new().into(), Arc::new(crate::target::http::guard::SystemLookup));
        let brokers = vec![("a.example.com".into(), 9092), ("b.example.com".into(), 9092)];
        let cluster = Cluster { name: "k".into(), brokers, config: ClientConfig::new(), guard };
        let events = cluster.events();
        let gone = KafkaError::MetadataFetch(Code::BrokerTransportFailure);
        events.error(KafkaError::Global(Code::Resolve), "b.example.com: no address");
        assert!(matches!(cluster.trouble(&gone, &events.seen), Trouble::Down(text) if text.contains("no address")));
        events.error(KafkaError::Global(Code::Authentication), "a.example.com: SASL authentication error: who?");
        events.error(KafkaError::Global(Code::Resolve), "b.example.com: no address");
        let trouble = cluster.trouble(&gone, &events.seen);
        let said = "authentication failed, check `sasl`: `a.example.com:9092,b.example.com:9092`: a.example.com: SASL \
                    authentication error: who?";
        assert_eq!(trouble, Trouble::Rejected(said.into()));
    }

    #[test]
    fn brokers_have_a_host_and_a_port() {
        assert_eq!(address("kafka-1.example.com:9092").unwrap(), ("kafka-1.example.com".into(), 9092));
        assert_eq!(address("[::1]:9092").unwrap(), ("[::1]".into(), 9092));
        for bad in
            ["", "kafka", "kafka:", ":9092", "kafka:0", "kafka:70000", "::1:9092", "a b:1", "a,b:1", "kafka://a:1"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
