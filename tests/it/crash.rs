//! Nothing that was acknowledged is lost, and nothing is done twice: by SIGKILL in the middle of everything, by SIGTERM
//! under load, by restarts of actors under load, by a sender that repeats, and by a store that is full.

use super::receiver::{Answer, Receiver};
use super::sender::{Load, Sent, answer, client, deliver, post, send};
use super::service::{Scenario, Service};
use super::watch::{events, eventually, idle, ids_of, node, state};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

async fn start() -> (Receiver, Service) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("pipeline").receiver(&receiver.base).start();
    (receiver, service)
}

/// Holds the promises against what the sources, the topics, the file and the receiver have.
async fn nothing_is_lost(service: &Service, receiver: &Receiver, sent: &[Sent]) {
    idle(service).await;
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    let stored: BTreeMap<String, u64> =
        events(service, "in").await.iter().map(|e| (id(e), e["data"]["n"].as_u64().unwrap())).collect();
    for Sent { n, told } in sent {
        let Some((id, _)) = told else { continue };
        assert_eq!(stored.get(id), Some(n), "{id} was acknowledged");
    }
    let expected: Vec<String> = stored.keys().map(|id| format!("{id}-double")).collect();

    let out = events(service, "out").await;
    assert_eq!(ids_of(&out), expected, "each event has one result in the topic, and nothing is invented");
    for event in &out {
        let (n, from) = (event["data"]["n"].as_u64().unwrap(), event["data"]["id"].as_str().unwrap());
        assert_eq!(stored.get(from), Some(&n));
        assert_eq!(event["data"]["twice"], 2 * n);
    }

    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for line in std::fs::read_to_string(service.path("data/out.jsonl")).unwrap().lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let before = lines.insert(format!("{}-double", id(&value)), line.to_owned());
        assert!(before.is_none_or(|b| b == line), "what is written twice is the same");
    }
    assert_eq!(lines.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "the file has all");

    assert_eq!(receiver.ids("/web"), expected, "the receiver has all, each under its own webhook-id");
    let bodies: BTreeSet<(String, String)> = receiver.seen("/web").into_iter().map(|r| (r.id(), r.body)).collect();
    assert_eq!(bodies.len(), expected.len(), "what came twice under a webhook-id was the same");
}

/// Those that got an answer.
fn acknowledged(sent: &[Sent]) -> usize {
    sent.iter().filter(|s| s.told.is_some()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_twice_and_a_sender_that_repeats_all_makes_nothing_twice() {
    let (receiver, mut service) = start().await;
    let mut sent = Vec::new();
    for round in 0..2 {
        let load = Load::start(&service, 8, round * 1_000_000);
        load.more(200).await;
        service.kill_and_restart();
        sent.extend(load.end().await);
    }
    assert!(acknowledged(&sent) >= 400, "{}", sent.len());
    assert_eq!(sent.len() - acknowledged(&sent), 16, "each sender was cut off in the middle of a delivery, twice");
    nothing_is_lost(&service, &receiver, &sent).await;

    // Nobody knows what became of those without an answer, so they are sent again, and the others as well.
    let (url, http) = (service.url("/hooks/in"), client());
    let mut repeated = Vec::new();
    for Sent { n, told } in &sent {
        let (status, id, seq) = deliver(&http, &url, *n).await.expect("an answer");
        if let Some(told) = told {
            assert_eq!((status, &(id.clone(), seq)), (200, told), "{n}: a repeated delivery is the same event");
        }
        repeated.push(Sent { n: *n, told: Some((id, seq)) });
    }
    nothing_is_lost(&service, &receiver, &repeated).await;
    assert_eq!(events(&service, "in").await.len(), sent.len(), "each number is stored once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_restarted_under_load_lose_nothing_and_repeat_nothing() {
    let (receiver, service) = start().await;
    let before = node(&service, "/triggers/double").await["incarnation"].as_u64().unwrap();
    let load = Load::start(&service, 8, 0);
    for path in ["/triggers/double", "/topics/in", "/forwarders/web", "/triggers", "/topics/out"] {
        load.more(50).await;
        let body = serde_json::json!({ "path": path, "verb": "restart" }).to_string();
        let (status, node) = post(&service.url("/admin/actors/control"), &[], &body).await;
        assert_eq!(status, 200, "{path}: {node}");
    }
    load.more(50).await;
    let after = state(&service, "/triggers/double", "running").await;
    assert!(after["incarnation"].as_u64().unwrap() >= before + 2, "by its own name and with its group: {after}");
    let sent = load.end().await;
    assert_eq!(acknowledged(&sent), sent.len(), "no sender was cut off");
    nothing_is_lost(&service, &receiver, &sent).await;
    assert_eq!(events(&service, "in").await.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_drains_and_exits_0() {
    let (receiver, mut service) = start().await;
    let load = Load::start(&service, 8, 0);
    load.more(200).await;
    let began = Instant::now();
    assert_eq!(service.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let sent = load.end().await;
    service.start_again();
    nothing_is_lost(&service, &receiver, &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_does_not_wait_for_a_target_that_hangs_longer_than_the_drain() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Hang);
    let drain = "[server]\ndrain = \"1s\"\n";
    let mut service = Scenario::new("pipeline").receiver(&receiver.base).file("drain.toml", drain).start();
    let id = send(&service, r#"{"n":1}"#).await;
    receiver.arrivals("/web", 1).await;
    let began = Instant::now();
    assert_eq!(service.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    receiver.answer("/web", Answer::Status(200));
    service.start_again();
    nothing_is_lost(&service, &receiver, &[Sent { n: 1, told: Some((id, 1)) }]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_new_events_and_goes_on_delivering_until_there_is_room() {
    let receiver = Receiver::start().await;
    let small = "[storage]\nmax_size = \"16MiB\"\n";
    let service = Scenario::new("pipeline").receiver(&receiver.base).file("small.toml", small).start();
    let large = format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(900 << 10));
    let mut sent = Vec::new();
    let refused = loop {
        let request = client().post(service.url("/hooks/in")).header("content-type", "application/json");
        let answered = answer(request.body(large.clone())).await;
        if answered.status != 202 {
            break answered;
        }
        let told = (answered.json["id"].as_str().unwrap().to_owned(), answered.json["seq"].as_u64().unwrap());
        sent.push(Sent { n: 1, told: Some(told) });
        assert!(sent.len() < 200, "it is never full");
    };
    assert_eq!(refused.problem(), (507, Some("storage-full")), "{refused:?}");
    assert!(refused.header("retry-after").is_some_and(|s| s.parse::<u64>().is_ok()), "{refused:?}");
    nothing_is_lost(&service, &receiver, &sent).await;
    let below = (sent.len() + 1).to_string();
    assert_eq!(service.hexafn(&["topic", "trim", "in", "--below", &below]).code, Some(0));
    eventually("room for new events", async || {
        let (status, told) = post(&service.url("/hooks/in"), &[], r#"{"n":2}"#).await;
        (status == 202, told)
    })
    .await;
}
