//! Against librdkafka's mock cluster, which fails on demand. A real broker is in `tests/it`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::{Event, TraceContext};
use crate::log::TopicId;
use crate::target::kinds::sample::Sample;
use crate::target::{Secrets, attempt_batch};
use futures_util::future::join_all;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::path::Path;
use zeroize::Zeroizing;

struct Vault;

impl Secrets for Vault {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        match reference {
            "env:PASSWORD" => Ok(Zeroizing::new("s3cr3t".into())),
            other => Err(format!("`{other}` is not set")),
        }
    }
}

fn build(text: &str) -> Result<Arc<dyn Target>, String> {
    let context = Context { base_dir: Path::new("."), secrets: &Vault, allow_networks: &[], lookup: None };
    Sample::read(text)?.build(&context).map_err(|e| e.to_string())
}

fn target(brokers: &str, more: &str) -> Arc<dyn Target> {
    let first = brokers.split(',').next().unwrap();
    build(&format!(
        "name = 'k'\nkind = 'kafka'\nbrokers = ['{first}']\nallow_networks = ['127.0.0.0/8', '::1']\n{more}"
    ))
    .unwrap()
}

fn record(n: u64, key: &str) -> Arc<Record> {
    let mut event = Event::new("/s", "order", bytes::Bytes::from(format!("{{\"n\":{n}}}")));
    event.id = format!("e{n}").into();
    event.content_type = Some("application/json".into());
    event.key = Some(key.into());
    event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=b")).unwrap();
    Arc::new(Record::new("orders".into(), TopicId(1), n, Wall(0), event))
}

fn failure(outcome: &Outcome) -> &Failure {
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    failure
}

#[test]
fn what_is_sent_is_shown_before() {
    let more = "topic = 'orders.${event.type}'\npartition = '${event.data.n}'\nformat = 'cloudevents-binary'\n\
                headers = { team = 'a-${event.key}' }\n";
    let target = target("127.0.0.1:9092", more);
    let preview = target.preview(Delivery { record: &record(3, "k1"), attempt: 1, now: Wall(0) }).unwrap();
    assert_eq!(preview.destination, "127.0.0.1:9092 orders.order/3");
    let header = |name: &str| preview.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    assert_eq!((header("key"), header("ce_id"), header("webhook-id")), (Some("k1"), Some("e3"), Some("e3")));
    assert_eq!((header("content-type"), header("tracestate")), (Some("application/json"), Some("a=b")));
    assert_eq!((header("team"), header("ce_specversion")), (Some("a-k1"), Some("1.0")));
    assert_eq!(preview.body, "{\"n\":3}");
    let bad = record(7, "k");
    let failing = self::target("127.0.0.1:9092", "topic = 'a ${event.data.n}'\n");
    let failure = failing.preview(Delivery { record: &bad, attempt: 1, now: Wall(0) }).unwrap_err();
    assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter));
}

#[test]
fn settings_that_cannot_be_used_are_told() {
    let wrong = |more: &str| build(&format!("name = 'k'\nkind = 'kafka'\n{more}")).unwrap_err();
    for (more, part) in [
        ("topic = 't'\n", "brokers"),
        ("brokers = []\ntopic = 't'\n", "at least one"),
        ("brokers = ['kafka']\ntopic = 't'\n", "host and port"),
        ("brokers = ['k:1']\ntopic = 'a b'\n", "`topic`"),
        ("brokers = ['k:1']\ntopic = 't'\npartition = '-1'\n", "`partition`"),
        ("brokers = ['k:1']\ntopic = 't'\nheaders = { webhook-id = 'x' }\n", "set by hexaFn"),
        ("brokers = ['k:1']\ntopic = 't'\ncompression = 'rar'\n", "rar"),
        ("brokers = ['k:1']\ntopic = 't'\nacks = '1'\n", "acks"),
        (
            "brokers = ['k:1']\ntopic = 't'\nsasl = { mechanism = 'PLAIN', username = 'u', password = 'env:PASSWORD' }\n",
            "readable",
        ),
        (
            "brokers = ['k:1']\ntopic = 't'\nsasl = { mechanism = 'SCRAM-SHA-256', username = 'u', password = 'hunter2' }\n",
            "not the secret itself",
        ),
    ] {
        let message = wrong(more);
        assert!(message.contains(part) && !message.contains("hunter2"), "{more}: {message}");
    }
}

#[tokio::test]
async fn every_mechanism_and_compression_is_in_the_library() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let more = format!(
                "topic = 't'\ncompression = '{compression}'\ntls = {{}}\n\
                 sasl = {{ mechanism = '{mechanism}', username = 'u', password = 'env:PASSWORD' }}\n"
            );
            let context = Context { base_dir: Path::new("."), secrets: &Vault, allow_networks: &[], lookup: None };
            let text = format!("name = 'k'\nkind = 'kafka'\nbrokers = ['127.0.0.1:9']\n{more}");
            let own = text.lines().filter(|line| !line.starts_with("name") && !line.starts_with("kind"));
            let settings: Settings = toml::from_str(&own.collect::<Vec<_>>().join("\n")).unwrap();
            let common = Sample::read(&text).unwrap().common;
            let target = KafkaTarget::new(&common, &settings, &context).unwrap();
            assert!(!format!("{target:?}").contains("s3cr3t"));
            let mut config = target.cluster.config();
            for (setting, value) in &target.config {
                config.set(*setting, value);
            }
            let made = FutureProducer::<Events>::from_config_and_context(&config, target.cluster.events());
            assert!(made.is_ok(), "{mechanism} {compression}: {:?}", made.err());
        }
    }
}

#[tokio::test]
async fn a_private_address_is_refused_before_anything_is_connected_to() {
    let target = build("name = 'k'\nkind = 'kafka'\nbrokers = ['localhost:9092']\ntopic = 't'\n").unwrap();
    let outcomes = attempt_batch(&*target, &[record(1, "k")], Wall(0)).await;
    let failure = failure(&outcomes[0]);
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(failure.message.contains("allow_networks"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_an_outcome_for_each_record() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 4, 1).unwrap();
    let target = target(&cluster.bootstrap_servers(), "topic = 't'\nmax_message = '1KB'\n");
    let mut records: Vec<Arc<Record>> = (0..100).map(|n| record(n, &format!("k{}", n % 5))).collect();
    let large = Event::new("/s", "order", bytes::Bytes::from(vec![b'x'; 2_000]));
    records[50] = Arc::new(Record::new("orders".into(), TopicId(1), 50, Wall(0), large));
    let outcomes = attempt_batch(&*target, &records, Wall(0)).await;
    assert_eq!(outcomes.len(), 100);
    let mut places = std::collections::BTreeSet::new();
    for (at, outcome) in outcomes.iter().enumerate() {
        if at == 50 {
            let failure = failure(outcome);
            assert_eq!((failure.class, failure.verdict), (FailureClass::Refused, Verdict::DeadLetter));
            assert!(failure.message.contains("max_message"), "{}", failure.message);
            continue;
        }
        let Outcome::Delivered { detail } = outcome else { panic!("{at}: {outcome:?}") };
        assert!(places.insert(detail.path.clone().unwrap()), "a place of its own: {detail:?}");
    }
    target.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_brokers_answer_is_explained() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster.topic_error("gone", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let brokers = cluster.bootstrap_servers();
    let gone = target(&brokers, "topic = 'gone'\ntimeout = '3s'\n");
    let outcomes = attempt_batch(&*gone, &[record(1, "k")], Wall(0)).await;
    let unknown = failure(&outcomes[0]);
    assert_eq!((unknown.class, unknown.verdict), (FailureClass::Rejected, Verdict::Retry), "{}", unknown.message);
    assert!(unknown.message.contains("no topic `gone`"), "{}", unknown.message);

    let by_event = target(&brokers, "topic = 't'\npartition = '${event.data.n}'\ntimeout = '3s'\n");
    let outcomes = attempt_batch(&*by_event, &[record(0, "k"), record(9, "k")], Wall(0)).await;
    assert!(outcomes[0].is_delivered(), "{outcomes:?}");
    let unknown = failure(&outcomes[1]);
    assert_eq!((unknown.class, unknown.verdict), (FailureClass::Refused, Verdict::Retry), "{}", unknown.message);
    assert!(unknown.message.contains("partition 9"), "{}", unknown.message);

    let strict = target(&brokers, "topic = 't'\ntimeout = '3s'\n");
    let too_large = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    cluster.request_errors(RDKafkaApiKey::Produce, &too_large);
    let outcomes = attempt_batch(&*strict, &[record(1, "k")], Wall(0)).await;
    let refused = failure(&outcomes[0]);
    assert_eq!((refused.class, refused.verdict), (FailureClass::Refused, Verdict::DeadLetter), "{}", refused.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_a_retry_and_takes_all_when_it_is_back() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let target = target(&cluster.bootstrap_servers(), "topic = 't'\ntimeout = '3s'\n");
    assert!(attempt_batch(&*target, &[record(1, "k")], Wall(0)).await[0].is_delivered());
    cluster.broker_down(1).unwrap();
    let began = Instant::now();
    let outcomes = attempt_batch(&*target, &[record(2, "k"), record(3, "k")], Wall(0)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for outcome in &outcomes {
        let away = failure(outcome);
        assert_eq!((away.class, away.verdict), (FailureClass::Timeout, Verdict::Retry), "{}", away.message);
        assert!(away.message.contains("within 3s"), "{}", away.message);
    }
    cluster.broker_up(1).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let outcomes = attempt_batch(&*target, &[record(2, "k"), record(3, "k")], Wall(0)).await;
        if outcomes.iter().all(Outcome::is_delivered) {
            break;
        }
        assert!(Instant::now() < end, "{outcomes:?}");
    }
    // The producer repeats what a broker refuses for a moment, without an attempt of the forwarder.
    let for_a_moment = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2];
    cluster.request_errors(RDKafkaApiKey::Produce, &for_a_moment);
    assert!(attempt_batch(&*target, &[record(4, "k")], Wall(0)).await[0].is_delivered());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_and_sending_have_one_deadline() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let target = target(&cluster.bootstrap_servers(), "topic = 't'\ntimeout = '3s'\n");
    // Asking for the brokers takes some round trips, and a new producer's first record some more.
    cluster.broker_round_trip_time(1, Duration::from_millis(400)).unwrap();
    let began = Instant::now();
    let outcomes = attempt_batch(&*target, &[record(1, "k")], Wall(0)).await;
    let took = began.elapsed();
    assert_eq!(failure(&outcomes[0]).class, FailureClass::Timeout, "{outcomes:?}");
    assert!(took < Duration::from_millis(3_900), "{took:?}");
    // What was connected late is kept, or no attempt would ever get further.
    let outcomes = attempt_batch(&*target, &[record(1, "k")], Wall(0)).await;
    assert!(outcomes[0].is_delivered(), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_side_by_side_keep_the_order_of_a_key() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let target = target(&cluster.bootstrap_servers(), "topic = 't'\n");
    let batches: Vec<Vec<Arc<Record>>> =
        (0..8).map(|batch| (0..50).map(|n| record(batch * 50 + n, "one")).collect()).collect();
    // All are begun before the first has connected.
    let outcomes = join_all(batches.iter().map(|batch| attempt_batch(&*target, batch, Wall(0)))).await;
    let offset = |outcome: &Outcome| -> u64 {
        let Outcome::Delivered { detail } = outcome else { panic!("{outcome:?}") };
        detail.path.as_deref().unwrap().rsplit('/').next().unwrap().parse().unwrap()
    };
    let offsets: Vec<u64> = outcomes.iter().flatten().map(offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert_eq!(offsets.len(), 400);
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let target = target("127.0.0.1:9", "topic = 't'\ntimeout = '3s'\n");
    let outcomes = attempt_batch(&*target, &[record(1, "k")], Wall(0)).await;
    let failure = failure(&outcomes[0]);
    assert_eq!((failure.class, failure.verdict), (FailureClass::Connect, Verdict::Retry), "{}", failure.message);
    assert!(failure.message.contains("127.0.0.1:9"), "{}", failure.message);
}
