//! Kafka as a target and as a source, with a real broker.

use super::brokers::Kafka;
use super::outlets::certify;
use super::sender::{client, get, post};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, node};
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::Value;

const TOPICS: [(&str, i32); 2] = [("orders", 3), ("plain", 1)];

async fn start() -> (Kafka, Service) {
    let kafka = Kafka::start(&TOPICS).await;
    let service = Scenario::new("kafka").receiver(&kafka.address).start();
    (kafka, service)
}

/// Sends an order; the event's id.
async fn order(service: &Service, customer: &str, n: u64) -> String {
    let body = format!(r#"{{"customer":"{customer}","n":{n}}}"#);
    let (status, answer) = post(&service.url("/hooks/in"), &[], &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

/// A source, as the API shows it.
async fn source(service: &Service, name: &str) -> Value {
    let (_, rows) = get(&service.url("/admin/sources")).await;
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap_or_else(|| panic!("no {name}"))
}

async fn source_state(service: &Service, name: &str, state: &str) -> Value {
    eventually(&format!("source {name} {state}"), async || {
        let row = source(service, name).await;
        (row["state"] == state, row)
    })
    .await
}

/// Produces records `{"n": from}` … to the topic `plain`.
async fn produce(kafka: &Kafka, from: usize, count: usize) {
    let producer = kafka.producer();
    let values: Vec<String> = (from..from + count).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let sent = values.iter().map(|value| {
        producer.send(FutureRecord::<str, str>::to("plain").payload(value), std::time::Duration::from_secs(30))
    });
    for sent in join_all(sent).await {
        sent.unwrap();
    }
}

/// Every `n` of the events, sorted.
fn numbers(events: &[Value]) -> Vec<u64> {
    let mut all: Vec<u64> = events.iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_to_a_broker_and_comes_back_as_what_it_was() {
    let (kafka, service) = start().await;
    let mut sent = Vec::new();
    for n in 0..30 {
        sent.push(format!("{}-forward", order(&service, &format!("c{}", n % 4), n).await));
    }
    sent.sort();
    let records = kafka.records("orders", 3, 30);
    let mut delivered: Vec<String> = records.iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    delivered.sort();
    assert_eq!(delivered, sent, "each once, under its id");
    for record in &records {
        assert_eq!(record.header("ce_id"), record.header("webhook-id"));
        assert_eq!((record.header("content-type"), record.header("x-team")), (Some("application/json"), Some("shop")));
        let value: Value = serde_json::from_str(&record.value).unwrap();
        assert_eq!(value["customer"].as_str(), record.key.as_deref());
    }

    let back = events_when(&service, "back", 30).await;
    assert_eq!(ids_of(&back), sent, "CloudEvents keep their ids");
    let first = back.iter().find(|e| e["data"]["n"] == 0).unwrap();
    assert_eq!((&first["key"], &first["extensions"]["kafkatopic"]), (&"c0".into(), &"orders".into()));
    let origin = &events(&service, "in").await[0];
    assert_eq!(first["trace_id"], origin["trace_id"], "the trace goes on: {first}");

    let row = source_state(&service, "back", "running").await;
    assert_eq!((&row["kind"], &row["accepted"]), (&"kafka".into(), &30.into()), "{row}");
    let people = service.hexafn(&["source", "ls"]).out;
    assert!(people.lines().any(|l| l.starts_with("back") && l.contains("running")), "{people}");
    assert_eq!(node(&service, "/sources/back").await["state"], "running");
    let seen = service.ask(&["target", "log", "orders"]);
    assert!(seen.to_string().contains("orders/"), "the place in the topic is in the log: {seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_is_a_dead_letter_and_holds_up_nothing() {
    let (kafka, service) = start().await;
    kafka.send("plain", "k", &[("x-team", "a"), ("x-other", "b")], br#"{"n":1}"#).await;
    kafka.send("plain", "k", &[], br#"{"n":"#).await;
    kafka.send("plain", "k", &[], br#"{"n":2}"#).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let structured = r#"{"specversion":"1.0","id":"s1","source":"/shop","type":"made","data":{"n":3}}"#;
    let headers = [("content-type", "application/cloudevents+json"), ("traceparent", parent)];
    kafka.send("plain", "k", &headers, structured.as_bytes()).await;
    let stored = events_when(&service, "plain", 3).await;
    assert_eq!(numbers(&stored), [1, 2, 3]);
    let ids: Vec<&str> = stored.iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["plain/0/0", "plain/0/2", "s1"], "the id is the place, but of CloudEvents");
    assert_eq!(stored[0]["headers"], serde_json::json!({ "x-team": "a" }), "{}", stored[0]);
    assert_eq!(stored[2]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let dead = events_when(&service, "hexafn.dead.source.plain", 1).await;
    assert_eq!((&dead[0]["id"], &dead[0]["extensions"]["deadtopic"]), (&"plain/0/1".into(), &"plain/0".into()));
    assert!(dead[0]["extensions"]["deadcause"].as_str().unwrap().contains("line 1"), "{}", dead[0]);
    let letters = service.ask(&["dlq", "list"]).to_string();
    assert!(letters.contains("source.plain"), "{letters}");
    assert_eq!(dead[0]["datacontenttype"], "application/octet-stream", "nothing reads it: {}", dead[0]);

    // What was meant as JSON is JSON again once it can be read, and only then.
    let worse = service.hexafn(&["dlq", "edit", "source.plain", "1", "-d", r#"{"n":,}"#]);
    assert!(worse.code == Some(1) && worse.err.contains("not JSON"), "{worse:?}");
    let told = service.ask(&["dlq", "edit", "source.plain", "1", "-d", r#"{"n":4}"#]);
    assert_eq!(told["seq"], 2, "{told}");
    service.ask(&["dlq", "replay", "source.plain", "--all", "--topic", "plain"]);
    let repaired = events_when(&service, "plain", 4).await.remove(3);
    assert_eq!((&repaired["id"], &repaired["data"]["n"]), (&"plain/0/1".into(), &4.into()), "{repaired}");
    assert_eq!(repaired["datacontenttype"], "application/json", "{repaired}");
    assert!(!repaired["extensions"].to_string().contains("dead"), "{repaired}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_it_reads_loses_nothing_and_doubles_nothing() {
    let (kafka, mut service) = start().await;
    for round in 0..4 {
        produce(&kafka, round * 1_000, 1_000).await;
        // In the middle of a round: some of its records are stored, some not, some stored and not committed.
        let some = round * 1_000 + 100;
        eventually("some are stored", async || {
            let stored = source(&service, "plain").await["accepted"].as_u64().unwrap_or(0);
            let all = if stored > 0 { events(&service, "plain").await.len() } else { 0 };
            (all >= some, all)
        })
        .await;
        service.kill_and_restart();
    }
    let stored = events_when(&service, "plain", 4_000).await;
    assert_eq!(numbers(&stored), (0..4_000).collect::<Vec<u64>>(), "each once");
    eventually("all is committed", async || {
        let committed = kafka.committed("hexafn-plain", "plain");
        (committed == Some(4_000), committed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_of_a_group_share_its_partitions_and_each_has_the_lag_of_its_own() {
    const EACH: u64 = 300;
    let (kafka, first) = start().await;
    let fill = async |from: u64| {
        let producer = kafka.producer();
        let values: Vec<_> = (from..from + EACH).map(|n| (format!("c{}", n % 30), format!(r#"{{"n":{n}}}"#))).collect();
        let sent = values.iter().map(|(key, value)| {
            let json = Header { key: "content-type", value: Some("application/json") };
            let record = FutureRecord::to("orders").key(key).payload(value).headers(OwnedHeaders::new().insert(json));
            producer.send(record, std::time::Duration::from_secs(30))
        });
        for sent in join_all(sent).await {
            sent.unwrap();
        }
    };
    fill(0).await;
    events_when(&first, "back", 300).await;
    let second = Scenario::new("kafka").receiver(&kafka.address).start();
    // Partitions change hands while records come. What was stored at one of them and is not committed yet is read by the other, too.
    for round in 1.. {
        assert!(round < 50, "the second member is given nothing");
        fill(round * EACH).await;
        let all: Vec<u64> = (0..(round + 1) * EACH).collect();
        eventually("all is stored, at one of them at least", async || {
            let mut stored = numbers(&[events(&first, "back").await, events(&second, "back").await].concat());
            stored.dedup();
            (stored == all, stored.len())
        })
        .await;
        if !events(&second, "back").await.is_empty() {
            break;
        }
    }
    for (name, service) in [("first", &first), ("second", &second)] {
        eventually(&format!("the {name} has read all of its own"), async || {
            let row = source(service, "back").await;
            (row["lag"] == 0 && row["state"] == "running", row)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_is_not_committed_before_its_record_is_stored() {
    let kafka = Kafka::start(&TOPICS).await;
    let limit = "[storage]\nmax_size = \"16MiB\"\n";
    let scenario = Scenario::new("kafka").receiver(&kafka.address).edit("[targets]", &format!("{limit}[targets]"));
    let mut service = scenario.start();
    let filler = format!(r#"{{"filler":"{}"}}"#, "x".repeat(900_000));
    eventually("the store is full", async || {
        let (status, answer) = post(&service.url("/admin/topics/filler/events"), &[], &filler).await;
        (status == 507, answer)
    })
    .await;
    produce(&kafka, 0, 100).await;
    let row = source_state(&service, "plain", "paused").await;
    assert!(row["last_error"].as_str().unwrap().contains("max_size"), "{row}");
    assert_eq!(events(&service, "plain").await, [] as [Value; 0]);
    assert_eq!(kafka.committed("hexafn-plain", "plain"), None, "what is not stored here is not committed there");
    service.kill();
    assert_eq!(kafka.committed("hexafn-plain", "plain"), None);
    service.edit("max_size = \"16MiB\"", "max_size = \"1GiB\"");
    service.start_again();
    assert_eq!(numbers(&events_when(&service, "plain", 100).await), (0..100).collect::<Vec<u64>>());
    assert_eq!(service.terminate(), Some(0));
    assert_eq!(kafka.committed("hexafn-plain", "plain"), Some(100), "an orderly end commits what is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_while_the_broker_is_killed_arrives_when_it_is_back() {
    let (mut kafka, service) = start().await;
    for n in 0..20 {
        order(&service, "before", n).await;
    }
    kafka.records("orders", 3, 20);
    events_when(&service, "back", 20).await;
    kafka.kill();
    let mut sent = Vec::new();
    for n in 0..50 {
        sent.push(format!("{}-forward", order(&service, "while", n).await));
    }
    let row = source_state(&service, "back", "failed").await;
    assert!(row["last_error"].as_str().unwrap().contains(&kafka.address), "{row}");
    let failed = eventually("an attempt failed", async || {
        let target = super::watch::target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    assert!(
        failed["last"].as_str().is_some_and(|last| last.contains("timeout") || last.contains("connect")),
        "{failed}"
    );
    kafka.start_again(&TOPICS).await;
    sent.sort();
    eventually("all that was sent while it was away", async || {
        let target = super::watch::target(&service, "orders").await;
        (
            target["delivered"].as_u64() >= Some(70),
            (target, service.hexafn(&["-o", "json", "target", "log", "orders"]).out),
        )
    })
    .await;
    idle(&service).await;
    let mut ids: Vec<String> =
        kafka.records("orders", 3, 50).iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids, sent);
    source_state(&service, "back", "running").await;
    let after = format!("{}-forward", order(&service, "after", 1).await);
    eventually("the source reads on", async || {
        let ids = ids_of(&events(&service, "back").await);
        (ids.contains(&after), ids.len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_it_delivers_repeats_under_the_same_id_alone() {
    let (kafka, mut service) = start().await;
    let http = client();
    let mut sent = Vec::new();
    for round in 0..3 {
        let url = service.url("/hooks/in");
        let posts = (0..200).map(|n| {
            let body = format!(r#"{{"customer":"c{}","n":{}}}"#, n % 7, round * 200 + n);
            http.post(&url).header("content-type", "application/json").body(body).send()
        });
        for answer in join_all(posts).await {
            let answer: Value = answer.unwrap().json().await.unwrap();
            sent.push(format!("{}-forward", answer["id"].as_str().unwrap()));
        }
        service.kill_and_restart();
    }
    idle(&service).await;
    sent.sort();
    let records = kafka.records("orders", 3, 600);
    let mut ids: Vec<String> = records.iter().map(|r| r.header("webhook-id").unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    // Repetitions may stand between them, so the first 600 need not be all.
    assert!(ids.iter().all(|id| sent.contains(id)), "nothing is invented");
    let back = events_when(&service, "back", 600).await;
    assert_eq!(ids_of(&back), sent, "the source knows repetitions by `dedupe_header`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_works() {
    let kafka = Kafka::start(&[("payments", 1), ("orders.eu", 1), ("orders.none", 1)]).await;
    let text = include_str!("../../config/examples/kafka.toml").replace("127.0.0.1:9092", &kafka.address);
    let scenario = Scenario::new("kafka").file("hexafn.toml", &text.replace("env:ORDERS_TOKEN", "file:secrets/key"));
    let service = scenario.start();
    let bearer = format!("Bearer {}", super::service::KEY);
    let body = r#"{"region":"eu","customer":"c1"}"#;
    let (status, answer) = post(&service.url("/hooks/orders"), &[("authorization", &bearer)], body).await;
    assert_eq!(status, 202, "{answer}");
    let records = kafka.records("orders.eu", 1, 1);
    assert_eq!((records[0].key.as_deref(), records[0].value.as_str()), (Some("c1"), body));
    kafka.send("payments", "p", &[], br#"{"state":"paid","customer":"c2"}"#).await;
    let records = kafka.records("orders.none", 1, 1);
    assert_eq!(records[0].key.as_deref(), Some("c2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_with_an_authority_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let kafka = Kafka::start_behind_tls(&TOPICS, folder.path()).await;
    let text =
        include_str!("../scenarios/kafka/hexafn.toml").replace("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]");
    let at = |text: &str, tls: &str| {
        text.replace("brokers = [\"{{receiver}}\"]", &format!("brokers = [\"{}\"]\ntls = {{ {tls} }}", kafka.address))
    };
    // The target does not know the authority yet.
    let (before, target) = text.split_once("[[target]]").unwrap();
    let whole = format!("{}[[target]]{}", at(before, "ca = \"ca.pem\""), at(target, ""));
    let ca = std::fs::read_to_string(folder.path().join("client.pem")).unwrap();
    let service = Scenario::new("kafka").file("hexafn.toml", &whole).file("ca.pem", &ca).start();
    source_state(&service, "back", "running").await;
    let id = order(&service, "c", 1).await;
    let failed = eventually("an attempt failed", async || {
        let target = super::watch::target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    let why = failed["last"].as_str().unwrap();
    assert!(why.starts_with("tls:") && why.contains("certificate"), "{failed}");
    service.configure("hexafn.toml", &whole.replace("tls = {  }", "tls = { ca = \"ca.pem\" }"));
    service.ask(&["reload"]);
    assert_eq!(ids_of(&events_when(&service, "back", 1).await), [format!("{id}-forward")]);
}

/// The broker's own SASL, which has no way to be told a user: it refuses all. What is let in is in `sasl.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_knows_no_such_user_is_explained() {
    let kafka = Kafka::start_for_nobody().await;
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let sasl =
            format!("sasl = {{ mechanism = \"{mechanism}\", username = \"hexafn\", password = \"file:secrets/key\" }}");
        let brokers = "brokers = [\"{{receiver}}\"]";
        let scenario = Scenario::new("kafka").edit(brokers, &format!("{brokers}\n{sasl}")).receiver(&kafka.address);
        let service = scenario.start();
        let row = source_state(&service, "plain", "failed").await;
        let why = row["last_error"].as_str().unwrap();
        assert!(why.contains("check `sasl`") && !why.contains(super::service::KEY), "{why}");
        order(&service, "c", 1).await;
        let failed = eventually("an attempt failed", async || {
            let target = super::watch::target(&service, "orders").await;
            (target["failed"].as_u64() > Some(0), target)
        })
        .await;
        let why = failed["last"].as_str().unwrap();
        assert!(why.starts_with("rejected:") && why.contains("check `sasl`"), "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_key_share_a_batch_and_keep_their_order() {
    let kafka = Kafka::start(&TOPICS).await;
    let text = format!(
        "[targets]\nallow_networks = ['127.0.0.0/8']\n[[trigger]]\nname = 't'\non = 'in'\nto = 'out'\n\
         [[target]]\nname = 'out'\nkind = 'kafka'\nbrokers = ['{}']\ntopic = 'orders'\nordering = 'key'\n\
         batch = {{ max_records = 40, max_age = '5m' }}\n",
        kafka.address
    );
    let service = Scenario::empty_config().file("hexafn.toml", &text).start();
    for n in 0..40 {
        let path = format!("/admin/topics/in/events?key=k{}", n % 2);
        assert_eq!(post(&service.url(&path), &[], &format!("{{\"n\":{n}}}")).await.0, 202);
    }
    let records = kafka.records("orders", 3, 40);
    for key in ["k0", "k1"] {
        let of_key = records.iter().filter(|record| record.key.as_deref() == Some(key));
        let values: Vec<Value> = of_key.map(|record| serde_json::from_str(&record.value).unwrap()).collect();
        let numbers: Vec<u64> = values.iter().map(|value| value["n"].as_u64().unwrap()).collect();
        assert!(numbers.len() == 20 && numbers.is_sorted(), "{key}: {numbers:?}");
    }
    // One batch, full before `max_age`: an attempt each.
    let row = service.ask(&["sub", "show", "target.out"]);
    assert_eq!(row[0]["attempts"], 40, "{row}");
}
