//! Real brokers of messages, started by a test on free ports of loopback and killed at its end.

use super::outlets::certify;
use super::servers::program;
use super::watch::PATIENCE;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;
use tokio_rustls::TlsAcceptor;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that is killed when it is dropped.
struct Server {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    async fn start(port: u16, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        let mut server = Self { command: Box::new(command), port, child: None };
        server.up().await;
        server
    }

    /// Starts it, and waits until it listens.
    async fn up(&mut self) {
        let mut command = (self.command)();
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(spawned.unwrap_or_else(|e| panic!("`{program}`: {e}")));
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < end, "`{program}` does not listen on {}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL.
    fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

/// A record as a consumer of Kafka sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KafkaRecord {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: String,
    pub headers: Vec<(String, String)>,
}

impl KafkaRecord {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a front of [`Kafka::start_behind_sasl`] asks for.
pub struct Login {
    pub mechanism: &'static str,
    /// What the front knows, and over TLS its certificate, of [`certify`].
    pub folder: TempDir,
    pub tls: bool,
}

impl Login {
    pub const USER: &'static str = "hexafn";

    pub fn new(mechanism: &'static str, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if tls {
            certify(folder.path());
        }
        Self { mechanism, folder, tls }
    }

    /// From now on the user has this password.
    pub fn set(&self, password: &str) {
        std::fs::write(self.users(), serde_json::json!({ Self::USER: password }).to_string()).unwrap();
    }

    fn users(&self) -> PathBuf {
        self.folder.path().join("users.json")
    }
}

/// A broker of the Kafka protocol (Tansu). It keeps everything in memory, so that a kill loses it.
pub struct Kafka {
    server: Server,
    front: Option<Server>,
    pub address: String,
    config: ClientConfig,
}

impl Kafka {
    /// With these topics, each of so many partitions.
    pub async fn start(topics: &[(&str, i32)]) -> Self {
        let port = free_port();
        let kafka = Self::listening(port, &format!("127.0.0.1:{port}"), &[]).await;
        kafka.create(topics).await;
        kafka
    }

    /// One that asks everybody who they are, and knows nobody.
    pub async fn start_for_nobody() -> Self {
        let port = free_port();
        Self::listening(port, &format!("127.0.0.1:{port}"), &["--authentication"]).await
    }

    /// The same behind TLS, which a proxy ends before the broker, as in front of many clusters. The folder is that of
    /// [`certify`].
    pub async fn start_behind_tls(topics: &[(&str, i32)], folder: &Path) -> Self {
        let (port, listener) = (free_port(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let mut kafka = Self::listening(port, &address, &[]).await;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().collect();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain.unwrap(), key);
        tokio::spawn(end_tls(listener, TlsAcceptor::from(Arc::new(config.unwrap())), port));
        kafka.config.set("security.protocol", "ssl");
        kafka.config.set("ssl.ca.location", folder.join("client.pem").to_str().unwrap());
        kafka.create(topics).await;
        kafka
    }

    /// The same behind a front that asks for a user and a password, as a proxy in front of a cluster does.
    pub async fn start_behind_sasl(topics: &[(&str, i32)], login: &Login, password: &str) -> Self {
        let (port, at) = (free_port(), free_port());
        let address = format!("{}:{at}", if login.tls { "localhost" } else { "127.0.0.1" });
        let mut kafka = Self::listening(port, &address, &[]).await;
        login.set(password);
        let (users, certificate) = (login.users(), login.tls.then(|| login.folder.path().to_owned()));
        let front = move || {
            // The Python that has the libraries.
            let mut command = Command::new(program("standardwebhooks-python"));
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/sasl.py"));
            command.args([at.to_string(), port.to_string()]).arg(&users).args(&certificate);
            command
        };
        kafka.front = Some(Server::start(at, front).await);
        let config = &mut kafka.config;
        config.set("security.protocol", if login.tls { "sasl_ssl" } else { "sasl_plaintext" });
        config.set("sasl.mechanisms", login.mechanism);
        config.set("sasl.username", Login::USER).set("sasl.password", password);
        if login.tls {
            config.set("ssl.ca.location", login.folder.path().join("client.pem").to_str().unwrap());
        }
        kafka.create(topics).await;
        kafka
    }

    /// Ends all connections to the front, so that it asks all clients anew.
    pub async fn ask_again(&mut self) {
        let front = self.front.as_mut().unwrap();
        block_in_place(|| front.down());
        front.up().await;
    }

    /// On a port, telling clients that it is at an address.
    async fn listening(port: u16, address: &str, more: &'static [&'static str]) -> Self {
        let (listener, advertised) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://{address}"));
        let command = move || {
            let mut command = Command::new(program("tansu"));
            command.args(["broker", "--listener-url", &listener, "--advertised-listener-url", &advertised]);
            command.args(["--storage-engine", "memory://tansu/"]).args(more);
            command
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        Self { server: Server::start(port, command).await, front: None, address: address.to_owned(), config }
    }

    pub async fn create(&self, topics: &[(&str, i32)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topics: Vec<NewTopic<'_>> =
            topics.iter().map(|(name, n)| NewTopic::new(name, *n, TopicReplication::Fixed(1))).collect();
        let made = admin.create_topics(&topics, &AdminOptions::new()).await.unwrap();
        for made in made {
            match made {
                // The broker makes a topic that a client asks for, and one may have been faster.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        block_in_place(|| self.server.down());
    }

    /// Starts it on the same port, with nothing in it but these topics.
    pub async fn start_again(&mut self, topics: &[(&str, i32)]) {
        self.server.up().await;
        self.create(topics).await;
    }

    pub fn producer(&self) -> FutureProducer {
        self.config().set("enable.idempotence", "true").create().unwrap()
    }

    /// Sends a record and waits for its ack.
    pub async fn send(&self, topic: &str, key: &str, headers: &[(&str, &str)], value: &[u8]) {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header { key, value: Some(*value) });
        }
        let record = FutureRecord::to(topic).key(key).payload(value).headers(all);
        self.producer().send(record, PATIENCE).await.unwrap();
    }

    /// The first `count` records of a topic with so many partitions.
    pub fn records(&self, topic: &str, partitions: i32, count: usize) -> Vec<KafkaRecord> {
        block_in_place(|| {
            let consumer: BaseConsumer = self.config().set("group.id", "test").create().unwrap();
            let mut all = TopicPartitionList::new();
            for partition in 0..partitions {
                all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            }
            consumer.assign(&all).unwrap();
            let (mut records, end) = (Vec::new(), Instant::now() + PATIENCE);
            while records.len() < count {
                assert!(Instant::now() < end, "{topic}: {count} records were expected: {records:?}");
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                records.push(KafkaRecord {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(text),
                    value: text(message.payload().unwrap_or_default()),
                    headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect(),
                });
            }
            records
        })
    }

    /// How many records a topic with so many partitions holds.
    pub fn count(&self, topic: &str, partitions: i32) -> i64 {
        block_in_place(|| {
            let consumer: BaseConsumer = self.config().create().unwrap();
            (0..partitions).map(|partition| consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1).sum()
        })
    }

    /// The offset that a group has committed; none when it has committed none.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        block_in_place(|| {
            let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, 0);
            let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
            match committed.find_partition(topic, 0).unwrap().offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }
        })
    }
}

/// Ends TLS, and passes on what was in it.
async fn end_tls(listener: TcpListener, acceptor: TlsAcceptor, port: u16) {
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let (Ok(mut client), Ok(mut server)) =
                (acceptor.accept(client).await, TcpStream::connect(("127.0.0.1", port)).await)
            else {
                return;
            };
            // Either may end it at any time.
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        });
    }
}

/// A NATS server with JetStream, whose streams are on disk.
pub struct Nats {
    server: Server,
    pub address: String,
    _store: TempDir,
}

impl Nats {
    /// With more arguments.
    pub async fn start(more: &[&str]) -> Self {
        let port = free_port();
        let store = tempfile::tempdir().unwrap();
        let (path, more): (PathBuf, Vec<String>) =
            (store.path().to_owned(), more.iter().map(|m| (*m).to_owned()).collect());
        let command = move || {
            let mut command = Command::new(program("nats-server"));
            command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(&path).args(&more);
            command
        };
        let server = Server::start(port, command).await;
        Self { server, address: format!("127.0.0.1:{port}"), _store: store }
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(&self.address).await.unwrap()
    }

    /// A stream that takes these subjects.
    pub async fn stream(&self, name: &str, subjects: &[&str]) -> async_nats::jetstream::stream::Stream {
        let config = async_nats::jetstream::stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
            ..Default::default()
        };
        async_nats::jetstream::new(self.client().await).get_or_create_stream(config).await.unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        block_in_place(|| self.server.down());
    }

    /// Starts it again on the same port and the same store.
    pub async fn start_again(&mut self) {
        self.server.up().await;
    }
}
