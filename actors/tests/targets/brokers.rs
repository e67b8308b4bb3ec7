//! Message brokers: a broker of the Kafka protocol (Tansu), and a NATS server with JetStream.

use super::PATIENCE;
use super::contract::{SECRET, Subject, build_with, record};
use super::line::Line;
use super::servers::{Server, free_port, program};
use async_nats::jetstream::stream::{Config, Stream};
use hexafn_actors::clock::Wall;
use hexafn_actors::target::{FailureClass, Outcome, Verdict, attempt_batch};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;

const TOPIC: &str = "orders";

/// A broker that names the line as its address, so that clients do not get past it.
pub struct Kafka {
    _server: Server,
    line: Line,
}

impl Kafka {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.line.address.to_string());
        config
    }
}

/// The `webhook-id` of every record of the topic.
fn webhook_ids(config: &ClientConfig) -> Vec<String> {
    let consumer: BaseConsumer = config.clone().set("group.id", "suite").create().unwrap();
    let (_, high) = consumer.fetch_watermarks(TOPIC, 0, PATIENCE).unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (mut ids, mut next, end) = (Vec::new(), 0, Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < end, "{next} of {high} records");
        let message = match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => message,
            // The broker counts the last batch as one record, so what it says is a lower bound.
            None if next >= high => break,
            _ => continue,
        };
        next = message.offset() + 1;
        let mut headers = message.headers().into_iter().flat_map(Headers::iter);
        let id = headers.find(|header| header.key == "webhook-id").expect("a record has a webhook-id");
        ids.push(String::from_utf8(id.value.unwrap().to_vec()).unwrap());
    }
    ids
}

impl Subject for Kafka {
    const KIND: &'static str = "kafka";
    /// A new producer asks for its number only every half a second.
    const TIMEOUT: Duration = Duration::from_secs(3);

    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free_port();
        let mut command = Command::new(program("tansu"));
        command.args(["broker", "--listener-url", &format!("tcp://127.0.0.1:{port}"), "--advertised-listener-url"]);
        command.arg(format!("tcp://{}", listener.local_addr().unwrap()));
        command.args(["--storage-engine", "memory://tansu/"]);
        let server = Server::start(command, port).await;
        let kafka = Self { _server: server, line: Line::start(listener, port).await };
        let admin: AdminClient<DefaultClientContext> = kafka.config().create().unwrap();
        let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
        let made = admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        kafka
    }

    fn toml(&self) -> String {
        let more = "topic = '${event.data.to}'\npartition = '${event.data.partition}'";
        format!("brokers = [\"{}\"]\n{more}", self.line.address)
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string(), format!("`{TOPIC}`")]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": TOPIC, "partition": "" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "no topic", "partition": "" })
    }

    /// The broker makes topics that it does not know, but no partitions.
    async fn refuse(&self) -> Option<Value> {
        Some(json!({ "to": TOPIC, "partition": "99" }))
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        let config = self.config();
        let ids = tokio::task::spawn_blocking(move || webhook_ids(&config)).await.unwrap();
        ids.into_iter().filter(|found| found == id).collect()
    }
}

/// A server whose one stream takes `orders.a`, and asks for a token.
pub struct Nats {
    _server: Server,
    _store: TempDir,
    line: Line,
    stream: Stream,
}

impl Subject for Nats {
    const KIND: &'static str = "nats";
    const ONCE: bool = true;

    async fn start() -> Self {
        let (port, store) = (free_port(), tempfile::tempdir().unwrap());
        let mut command = Command::new(program("nats-server"));
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--auth", SECRET, "-js", "-sd"]).arg(store.path());
        let server = Server::start(command, port).await;
        let client = async_nats::ConnectOptions::with_token(SECRET.into()).connect(format!("127.0.0.1:{port}"));
        let config = Config { name: TOPIC.into(), subjects: vec!["orders.a".into()], ..Config::default() };
        let stream = async_nats::jetstream::new(client.await.unwrap()).create_stream(config).await.unwrap();
        let line = Line::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), port).await;
        Self { _server: server, _store: store, line, stream }
    }

    fn toml(&self) -> String {
        let more = "subject = 'orders.${event.data.to}'\nauth = { access_token = \"env:KEY\" }";
        format!("servers = [\"nats://{}\"]\n{more}", self.line.address)
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string()]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": "a" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "a b" })
    }

    async fn refuse(&self) -> Option<Value> {
        Some(json!({ "to": "nowhere" }))
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        let last = self.stream.get_info().await.unwrap().state.last_sequence;
        let mut ids = Vec::new();
        for sequence in 1..=last {
            let message = self.stream.get_raw_message(sequence).await.unwrap();
            let header = |name: &str| message.headers.get(name).expect("the id").to_string();
            assert!(header("Nats-Msg-Id").ends_with(&format!("/{}", header("webhook-id"))));
            ids.push(header("webhook-id"));
        }
        ids.retain(|found| found == id);
        ids
    }
}

/// More than the client holds for a server that takes nothing: what finds no room in it waits no longer than the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_for_a_silent_nats_server_waits_once() {
    let subject = Nats::start().await;
    let target = build_with(&subject, "batch = { max_records = 4000, max_bytes = \"64MiB\" }");
    let first = [record(&subject.good())];
    assert!(attempt_batch(&*target, &first, Wall::now()).await[0].is_delivered());
    subject.line.hang();
    let data = json!({ "to": "a", "filler": "x".repeat(16_000) });
    let records: Vec<_> = (0..4_000).map(|_| record(&data)).collect();
    let (began, all) = (Instant::now(), attempt_batch(&*target, &records, Wall::now()));
    let outcomes = tokio::time::timeout(PATIENCE, all).await.expect("each waited for itself");
    let took = began.elapsed();
    assert!(took < Nats::TIMEOUT + Nats::MARGIN, "{took:?}");
    assert_eq!(outcomes.len(), records.len());
    for outcome in &outcomes {
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Timeout, Verdict::Retry), "{failure:?}");
    }
}
