//! Subscriptions of clients: registered over the API, received and settled over a WebSocket, one connection at a time.

use super::dead::letters_when;
use super::sender::{Answered, answer, client, get, publish};
use super::service::{Scenario, Service};
use super::watch::{Live, events, eventually, subscription};
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

fn start() -> Service {
    Scenario::new("topics").start()
}

pub async fn put(service: &Service, name: &str, asked: &Value) -> Answered {
    answer(client().put(service.url(&format!("/admin/subscriptions/{name}"))).json(asked)).await
}

pub async fn register(service: &Service, name: &str, asked: Value) {
    let told = put(service, name, &asked).await;
    assert_eq!(told.status, 201, "{asked}: {told:?}");
}

/// One that tries twice, the second time soon.
pub fn twice(pattern: &str) -> Value {
    json!({ "pattern": pattern, "retry": { "backoff": { "delays": ["200ms"] }, "max_attempts": 2 } })
}

pub async fn connect(service: &Service, name: &str) -> Live {
    Live::open(service, &format!("/ws/subscriptions/{name}")).await
}

pub async fn say(live: &mut Live, said: Value) {
    live.0.send(Message::Text(said.to_string().into())).await.unwrap();
}

/// Says that an event is done.
pub async fn ack(live: &mut Live, event: &Value) {
    say(live, json!({ "ack": event["ack_id"] })).await;
}

/// Waits until everything up to a sequence is settled.
pub async fn floor(service: &Service, name: &str, seq: u64) -> Value {
    eventually(&format!("the floor of {name} at {seq}"), async || {
        let row = subscription(service, name).await;
        (row["ack_floor"] == seq, row)
    })
    .await
}

/// What tells deliveries apart.
pub fn place(event: &Value) -> (&str, u64, u64) {
    (event["id"].as_str().unwrap_or_default(), event["seq"].as_u64().unwrap(), event["attempt"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_registered_once_and_changed_after_that() {
    let service = start();
    let mut asked = json!({ "pattern": "orders.*", "from": "all" });
    for (status, created) in [(201, true), (200, false)] {
        let told = put(&service, "billing", &asked).await;
        assert_eq!((told.status, &told.json["created"]), (status, &created.into()), "{told:?}");
        assert_eq!(told.json["stream"], "/ws/subscriptions/billing", "{told:?}");
    }
    let first = publish(&service, "orders.eu", r#"{"n":1}"#).await;
    let mut live = connect(&service, "billing").await;
    let event = live.json().await;
    assert_eq!(place(&event), (&*first, 1, 1), "{event}");
    assert_eq!((&event["ack_id"], &event["data"]["n"]), (&"orders.eu/1/1".into(), &1.into()), "{event}");
    ack(&mut live, &event).await;
    floor(&service, "billing", 1).await;
    // Changed, its place stays, though `from` is read of new ones.
    asked["filter"] = json!("event.data.n > 2");
    assert_eq!(put(&service, "billing", &asked).await.status, 200);
    publish(&service, "orders.eu", r#"{"n":2}"#).await;
    let third = publish(&service, "orders.eu", r#"{"n":3}"#).await;
    let event = live.json().await;
    assert_eq!(place(&event), (&*third, 3, 1), "the filter holds at once: {event}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_is_wrong_is_refused_with_a_sentence_and_leaves_nothing_behind() {
    let service = start();
    let before = service.ask(&["topic", "ls"]);
    let long = "x".repeat(65);
    for (name, asked, expected) in [
        ("b", json!({ "pattern": "in", "patern": "in" }), "patern"),
        ("b", json!({ "filter": "true" }), "pattern"),
        ("b", json!({ "pattern": "orders..eu" }), "orders..eu"),
        ("b", json!({ "pattern": "orders.>.eu" }), "last"),
        ("b", json!({ "pattern": "" }), "empty"),
        ("b", json!({ "pattern": "hexafn.out.>" }), "hexafn tail target:NAME"),
        ("b", json!({ "pattern": "hexafn.>" }), "queues"),
        ("b", json!({ "pattern": "in", "filter": "event.data.n >" }), "filter"),
        ("b", json!({ "pattern": "in", "filter": "event.nothing == 1" }), "nothing"),
        ("b", json!({ "pattern": "in", "from": "yesterday" }), "RFC 3339"),
        ("b", json!({ "pattern": "in", "from": -1 }), "sequence"),
        ("b", json!({ "pattern": "in", "ordering": "some" }), "strict"),
        ("b", json!({ "pattern": "in", "max_in_flight": 0 }), "1 to 10000"),
        ("b", json!({ "pattern": "in", "ack_wait": "25h" }), "24h"),
        ("b", json!({ "pattern": "in", "retry": { "max_attempts": 0 } }), "max_attempts"),
        ("b", json!([]), ""),
        ("trigger.copy", json!({ "pattern": "in" }), "1 to 64"),
        ("b%20b", json!({ "pattern": "in" }), "1 to 64"),
        (&*long, json!({ "pattern": "in" }), "1 to 64"),
    ] {
        let told = put(&service, name, &asked).await;
        let detail = told.json["detail"].as_str().unwrap_or_default();
        assert!(told.status == 400 && detail.contains(expected), "{name} {asked}: {told:?}");
        assert!(detail.contains(' ') && told.json["code"].is_string(), "a sentence and a code: {told:?}");
    }
    assert_eq!(get(&service.url("/admin/subscriptions/b")).await.0, 404);
    assert_eq!(Live::with(&service, "/ws/subscriptions/b", &[]).await.err(), Some(404));
    assert_eq!(service.ask(&["topic", "ls"]), before, "no topic was made for what is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_begins_where_it_says() {
    let service = start();
    for n in 1..=3 {
        publish(&service, "plain", &format!("{{\"n\":{n}}}")).await;
    }
    let stored = events(&service, "plain").await;
    let third = stored[2]["stored"].as_str().unwrap();
    // Two may be stored in the same microsecond.
    let from_third = 1 + stored.iter().position(|e| e["stored"] == third).unwrap() as u64;
    for (name, from, first) in [
        ("all", json!("all"), 1),
        ("two", json!(2), 2),
        ("time", json!(third), from_third),
        ("new", json!("new"), 4),
        ("default", Value::Null, 4),
    ] {
        register(&service, name, json!({ "pattern": "plain", "from": from })).await;
        let seq = if first == 4 { events(&service, "plain").await.len() as u64 + 1 } else { first };
        if first == 4 {
            publish(&service, "plain", "{}").await;
        }
        assert_eq!(connect(&service, name).await.json().await["seq"], seq, "{name}");
    }
    // The first event of a topic that was not there before is not missed by one that wants what is new.
    register(&service, "pattern", json!({ "pattern": "fresh.>" })).await;
    let id = publish(&service, "fresh.a.b", "{}").await;
    assert_eq!(place(&connect(&service, "pattern").await.json().await), (&*id, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_moves_the_floor_and_what_is_not_comes_again_with_no_attempt_counted() {
    let service = start();
    register(&service, "billing", json!({ "pattern": "plain" })).await;
    for _ in 0..4 {
        publish(&service, "plain", "{}").await;
    }
    let mut live = connect(&service, "billing").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(live.json().await);
    }
    say(&mut live, json!({ "ack": [seen[0]["ack_id"], seen[1]["ack_id"], seen[3]["ack_id"]] })).await;
    let row = floor(&service, "billing", 2).await;
    assert_eq!(row["in_flight"], 1, "the third is open: {row}");
    for _ in 0..3 {
        drop(live);
        live = connect(&service, "billing").await;
        let event = live.json().await;
        assert_eq!(event, seen[2], "the same, of the same attempt");
    }
    ack(&mut live, &seen[2]).await;
    floor(&service, "billing", 4).await;
    let next = publish(&service, "plain", "{}").await;
    assert_eq!(place(&live.json().await), (&*next, 5, 1), "and nothing in between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_counts_what_is_not_tried_or_is_being_tried_and_not_what_is_settled() {
    let service = start();
    register(&service, "billing", json!({ "pattern": "plain" })).await;
    for _ in 0..4 {
        publish(&service, "plain", "{}").await;
    }
    let mut live = connect(&service, "billing").await;
    assert_eq!(live.json().await["seq"], 1);
    say(&mut live, json!({ "ack": ["plain/2/1", "plain/3/1", "plain/4/1"] })).await;
    let row = eventually("three settled", async || {
        let row = subscription(&service, "billing").await;
        (row["in_flight"] == 1 && row["attempts"] == 4, row)
    })
    .await;
    assert_eq!(row["lag"], 1, "the first is open, and nothing else: {row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_comes_again_after_its_backoff_and_what_used_up_its_attempts_is_a_dead_letter() {
    let service = start();
    register(&service, "billing", twice("plain")).await;
    let id = publish(&service, "plain", r#"{"n":1}"#).await;
    let mut live = connect(&service, "billing").await;
    let first = live.json().await;
    let said = Instant::now();
    say(&mut live, json!({ "nak": first["ack_id"], "reason": "the database is down" })).await;
    let second = live.json().await;
    assert!(said.elapsed() > Duration::from_millis(90), "after {:?} of 200 ms with their jitter", said.elapsed());
    assert_eq!((place(&first), place(&second)), ((&*id, 1, 1), (&*id, 1, 2)));
    assert_eq!(second["ack_id"], "plain/1/2", "{second}");
    say(&mut live, json!({ "nak": "plain/1/2", "reason": "and it stays so" })).await;
    floor(&service, "billing", 1).await;
    // What is told to be hopeless is not tried again.
    publish(&service, "plain", r#"{"n":2}"#).await;
    let hopeless = live.json().await;
    say(&mut live, json!({ "term": [hopeless["ack_id"]], "reason": "not an order" })).await;
    floor(&service, "billing", 2).await;

    let letters = letters_when(&service, "billing", 2).await;
    let told = |at: usize| (letters[at]["attempts"].as_u64(), letters[at]["cause"].as_str(), &letters[at]["topic_seq"]);
    assert_eq!(told(0), (Some(2), Some("and it stays so"), &1.into()), "{letters:?}");
    assert_eq!(told(1), (Some(1), Some("not an order"), &2.into()), "{letters:?}");
    assert_eq!(letters[0]["failures"][0]["cause"], "the database is down", "{letters:?}");
    assert_eq!((&letters[0]["event"]["id"], &letters[1]["event"]["data"]["n"]), (&id.into(), &2.into()), "{letters:?}");
    let stored = events(&service, "hexafn.dead.billing").await;
    let causes: Vec<&Value> = stored.iter().map(|e| &e["extensions"]["deadcause"]).collect();
    assert_eq!(causes, ["and it stays so", "not an order"], "they are events like others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_settles_in_time_has_failed() {
    let service = start();
    let mut asked = twice("plain");
    asked["ack_wait"] = json!("150ms");
    register(&service, "slow", asked).await;
    publish(&service, "plain", "{}").await;
    let mut live = connect(&service, "slow").await;
    let attempts = [live.json().await, live.json().await];
    assert_eq!(attempts.map(|e| e["ack_id"].clone()), ["plain/1/1", "plain/1/2"]);
    floor(&service, "slow", 1).await;
    let letters = letters_when(&service, "slow", 1).await;
    assert!(letters[0]["cause"].as_str().is_some_and(|c| c.contains("150ms")), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_is_none_is_told_and_changes_nothing() {
    let service = start();
    for (name, topic) in [("billing", "plain"), ("other", "elsewhere")] {
        register(&service, name, json!({ "pattern": topic })).await;
        publish(&service, topic, "{}").await;
    }
    let (mut live, mut other) = (connect(&service, "billing").await, connect(&service, "other").await);
    let (event, foreign) = (live.json().await, other.json().await);
    for said in [
        json!({ "ack": foreign["ack_id"] }),
        json!({ "ack": "plain/1" }),
        json!({ "ack": "plain/one/1" }),
        json!({ "ack": "\u{1b}[2J" }),
        json!({ "ack": [event["ack_id"], "nonsense"] }),
        json!({ "ack": event["ack_id"], "nak": event["ack_id"] }),
        json!({ "reason": "none" }),
        json!({ "acknowledge": event["ack_id"] }),
        json!({ "ack": 1 }),
        json!([event["ack_id"]]),
    ] {
        say(&mut live, said.clone()).await;
        let told = live.json().await;
        let error = told["error"].as_str().unwrap_or_else(|| panic!("{said}: {told}"));
        assert!(error.len() > 10 && !error.contains('\u{1b}'), "{said}: {error:?}");
    }
    // Of an attempt or an event that is not under way: it says nothing, since it may be a repetition.
    say(&mut live, json!({ "ack": ["plain/1/2", "plain/7/1"] })).await;
    live.0.send(Message::Text("not JSON".into())).await.unwrap();
    assert!(live.json().await["error"].is_string());
    for name in ["billing", "other"] {
        let row = subscription(&service, name).await;
        assert_eq!((&row["ack_floor"], &row["in_flight"]), (&0.into(), &1.into()), "{row}");
    }
    ack(&mut live, &event).await;
    floor(&service, "billing", 1).await;
    assert_eq!(subscription(&service, "other").await["in_flight"], 1);
}
