//! Subscriptions of clients over time: newer connections, crashes, pauses, order, credit, removal, tokens.

use super::access::token;
use super::clients::{ack, connect, floor, place, put, register, say, twice};
use super::sender::{answer, client, get, publish};
use super::service::{Scenario, Service};
use super::watch::{Live, eventually, subscription};
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

fn start() -> Service {
    Scenario::new("topics").start()
}

/// Publishes with a key; the id.
fn keyed(service: &Service, topic: &str, key: &str) -> String {
    service.ask(&["publish", topic, "-d", "{}", "--key", key])["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_takes_over_and_the_older_one_is_closed() {
    let service = start();
    register(&service, "billing", json!({ "pattern": "plain" })).await;
    publish(&service, "plain", "{}").await;
    let mut old = connect(&service, "billing").await;
    let first = old.json().await;
    let mut new = connect(&service, "billing").await;
    assert_eq!(new.json().await, first, "what was open is the newer one's, with no attempt counted");
    // New events go to the newer one alone, also before the older one is closed.
    let second = publish(&service, "plain", "{}").await;
    let event = new.json().await;
    assert_eq!(place(&event), (&*second, 2, 1));
    assert_eq!(old.closed().await, 1008);
    ack(&mut new, &first).await;
    ack(&mut new, &event).await;
    floor(&service, "billing", 2).await;
    let third = publish(&service, "plain", "{}").await;
    assert_eq!(place(&new.json().await), (&*third, 3, 1), "the end of the older one takes nothing away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_refused_can_be_asked_for_again() {
    let mut service = start();
    register(&service, "billing", json!({ "pattern": "plain" })).await;
    let url = |service: &Service| service.url("/admin/subscriptions/billing");
    service.ask(&["actors", "stop", "/journal"]);
    assert_eq!(answer(client().delete(url(&service))).await.status, 503);
    service.ask(&["actors", "start", "/journal"]);
    assert_eq!(get(&url(&service)).await.0, 200, "it is as it was");
    assert_eq!(answer(client().delete(url(&service))).await.status, 204);
    service.kill_and_restart();
    assert_eq!(get(&url(&service)).await.0, 404, "also after the next start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_place_and_what_waits_survive_kill_9_unless_it_was_said_to_be_for_the_process() {
    let mut service = start();
    let mut asked = twice("plain");
    asked["retry"]["backoff"]["delays"] = json!(["2s"]);
    register(&service, "billing", asked).await;
    register(&service, "passing", json!({ "pattern": "plain", "durable": false })).await;
    for _ in 0..4 {
        publish(&service, "plain", "{}").await;
    }
    let mut live = connect(&service, "billing").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(live.json().await);
    }
    say(&mut live, json!({ "ack": [seen[0]["ack_id"], seen[2]["ack_id"]] })).await;
    say(&mut live, json!({ "nak": seen[1]["ack_id"], "reason": "not now" })).await;
    let row = eventually("three settled", async || {
        let row = subscription(&service, "billing").await;
        (row["waiting"] == 1 && row["ack_floor"] == 3, row)
    })
    .await;
    assert_eq!(row["in_flight"], 1, "the fourth is open: {row}");
    // What was settled is written before what is acknowledged after it.
    publish(&service, "elsewhere", "{}").await;
    service.kill_and_restart();
    let mut live = connect(&service, "billing").await;
    let fourth = live.json().await;
    assert_eq!((&fourth["id"], &fourth["attempt"]), (&seen[3]["id"], &1.into()), "open, and not counted: {fourth}");
    let second = live.json().await;
    assert_eq!((&second["id"], &second["attempt"]), (&seen[1]["id"], &2.into()), "its attempt is known: {second}");
    for event in [&fourth, &second] {
        ack(&mut live, event).await;
    }
    floor(&service, "billing", 4).await;
    let fifth = publish(&service, "plain", "{}").await;
    assert_eq!(place(&live.json().await), (&*fifth, 5, 1));
    assert_eq!(get(&service.url("/admin/subscriptions/passing")).await.0, 404);
    assert_eq!(Live::with(&service, "/ws/subscriptions/passing", &[]).await.err(), Some(404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_passes_over_what_it_does_not_want() {
    let service = start();
    register(&service, "large", json!({ "pattern": "orders.>", "filter": "event.data.total > 100" })).await;
    for total in [50, 150, 100] {
        publish(&service, "orders.eu", &format!("{{\"total\":{total}}}")).await;
    }
    // One that the filter cannot be asked of is not wanted either.
    publish(&service, "orders.eu", r#"{"total":"much"}"#).await;
    let last = publish(&service, "orders.eu", r#"{"total":101}"#).await;
    let mut live = connect(&service, "large").await;
    let (first, second) = (live.json().await, live.json().await);
    assert_eq!((&first["data"]["total"], place(&second)), (&150.into(), (&*last, 5, 1)), "{first} {second}");
    for event in [&first, &second] {
        ack(&mut live, event).await;
    }
    floor(&service, "large", 5).await;
    assert_eq!(service.ask(&["dlq", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_until_it_ends_also_over_a_crash() {
    let mut service = start();
    for name in ["held", "other"] {
        register(&service, name, json!({ "pattern": "plain" })).await;
    }
    service.ask(&["sub", "pause", "held"]);
    let mut id = String::new();
    for kill in [false, true] {
        if kill {
            service.kill_and_restart();
        }
        let (_held, mut other) = (connect(&service, "held").await, connect(&service, "other").await);
        id = publish(&service, "plain", "{}").await;
        // The neighbour on the same topic has it: the topic could have served the other.
        while other.json().await["id"] != id {}
        let row = subscription(&service, "held").await;
        assert_eq!(
            (&row["paused"], &row["in_flight"], &row["ack_floor"]),
            (&true.into(), &0.into(), &0.into()),
            "{row}"
        );
    }
    let mut held = connect(&service, "held").await;
    service.ask(&["sub", "resume", "held"]);
    assert_eq!(held.json().await["seq"], 1);
    assert_eq!(place(&held.json().await), (&*id, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_key_come_in_order_across_attempts_and_other_keys_go_by() {
    let service = start();
    let mut asked = twice("plain");
    asked["ordering"] = json!("key");
    register(&service, "ledger", asked).await;
    let ids = ["a", "a", "b", "a"].map(|key| keyed(&service, "plain", key));
    let mut live = connect(&service, "ledger").await;
    let first = live.json().await;
    let other = live.json().await;
    assert_eq!((place(&first), place(&other)), ((&*ids[0], 1, 1), (&*ids[2], 3, 1)), "one of each key");
    say(&mut live, json!({ "nak": first["ack_id"] })).await;
    ack(&mut live, &other).await;
    let again = live.json().await;
    assert_eq!(place(&again), (&*ids[0], 1, 2), "those after it wait for its next attempt");
    ack(&mut live, &again).await;
    for (id, seq) in [(&ids[1], 2), (&ids[3], 4)] {
        let event = live.json().await;
        assert_eq!(place(&event), (&**id, seq, 1));
        ack(&mut live, &event).await;
    }
    floor(&service, "ledger", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_under_way_than_was_asked_for() {
    let service = start();
    register(&service, "narrow", json!({ "pattern": "plain", "max_in_flight": 2 })).await;
    register(&service, "wide", json!({ "pattern": "plain" })).await;
    let (mut live, mut wide) = (connect(&service, "narrow").await, connect(&service, "wide").await);
    for _ in 0..5 {
        publish(&service, "plain", "{}").await;
    }
    for seq in 1..=5 {
        assert_eq!(wide.json().await["seq"], seq);
    }
    assert_eq!(subscription(&service, "narrow").await["in_flight"], 2);
    let (first, second) = (live.json().await, live.json().await);
    assert_eq!((&first["seq"], &second["seq"]), (&1.into(), &2.into()));
    ack(&mut live, &second).await;
    assert_eq!(live.json().await["seq"], 3);
    assert_eq!(subscription(&service, "narrow").await["in_flight"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_forgets_the_place_and_ends_the_connection() {
    let mut service = start();
    register(&service, "billing", json!({ "pattern": "plain", "from": "all" })).await;
    publish(&service, "plain", "{}").await;
    let mut live = connect(&service, "billing").await;
    let event = live.json().await;
    ack(&mut live, &event).await;
    floor(&service, "billing", 1).await;
    let url = service.url("/admin/subscriptions/billing");
    for status in [204, 404] {
        assert_eq!(answer(client().delete(&url)).await.status, status);
    }
    assert_eq!(get(&url).await.0, 404);
    assert_eq!(Live::with(&service, "/ws/subscriptions/billing", &[]).await.err(), Some(404));
    service.kill_and_restart();
    assert_eq!(get(&service.url("/admin/subscriptions/billing")).await.0, 404, "nor does it come back");
    register(&service, "billing", json!({ "pattern": "plain", "from": "all" })).await;
    let mut live = connect(&service, "billing").await;
    assert_eq!(live.json().await, event, "one of the same name begins anew");
    // Whoever still listens is told: nothing would ever come.
    assert_eq!(answer(client().delete(service.url("/admin/subscriptions/billing"))).await.status, 204);
    assert_eq!(live.closed().await, 1008);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_in_the_hands_of_those_with_its_scope_for_as_long_as_they_have_it() {
    let scopes = ["--scope", "subscriptions:*:billing", "--scope", "topics:read:plain"];
    let ((owner, owning), (reader, reading)) =
        (token("owner", &scopes), token("reader", &["--scope", "subscriptions:read:*", "--scope", "topics:read:*"]));
    let (admin, admins) = token("admin", &[]);
    let service = Scenario::new("topics").file("tokens.toml", &format!("{owning}{reading}{admins}")).start();
    let asked = json!({ "pattern": "plain", "from": "all" });
    assert_eq!(put(&service, "billing", &asked).await.status, 401);
    let bearers = [&owner, &reader, &admin].map(|t| format!("Bearer {t}"));
    let register = async |name: &str, who: &str| {
        let request = client().put(service.url(&format!("/admin/subscriptions/{name}"))).bearer_auth(who);
        answer(request.json(&asked)).await
    };
    let refused = register("billing", &reader).await;
    assert_eq!(refused.problem(), (403, Some("scope-missing")), "{refused:?}");
    assert!(refused.text.contains("subscriptions:write:billing"), "the scope is named: {refused:?}");
    assert_eq!(register("other", &owner).await.status, 403, "its scope is for one name");
    let all = client().put(service.url("/admin/subscriptions/billing")).bearer_auth(&owner);
    let refused = answer(all.json(&json!({ "pattern": "plain.>" }))).await;
    assert_eq!(refused.problem(), (403, Some("scope-missing")), "it would read more than it may: {refused:?}");
    assert!(refused.text.contains("topics:read:plain.>"), "{refused:?}");
    assert_eq!(register("billing", &owner).await.status, 201);
    let path = "/ws/subscriptions/billing";
    let by = async |at: usize| Live::with(&service, path, &[("authorization", &*bearers[at])]).await;
    assert_eq!(Live::with(&service, path, &[]).await.err(), Some(401));
    assert_eq!(by(1).await.err(), Some(403), "to read is not enough: an acknowledgement moves its place");
    let published = client().post(service.url("/admin/topics/plain/events")).bearer_auth(&admin).json(&json!({}));
    assert_eq!(answer(published).await.status, 202);
    let mut live = by(0).await.unwrap();
    assert_eq!(live.json().await["seq"], 1);
    let removal = client().delete(service.url("/admin/subscriptions/billing")).bearer_auth(&reader);
    assert_eq!(answer(removal).await.status, 403);

    service.configure("tokens.toml", &format!("{reading}{admins}"));
    let began = Instant::now();
    assert_eq!(answer(client().post(service.url("/admin/reload")).bearer_auth(&admin)).await.status, 200);
    assert_eq!(live.closed().await, 1008, "the token was revoked");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let mut next = by(2).await.unwrap();
    assert_eq!(place(&next.json().await).2, 1, "what was open is offered to the next one");
    let stored = answer(client().get(service.url("/admin/topics/plain/events")).bearer_auth(&reader)).await;
    assert_eq!(stored.json["events"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_durable_any_more_does_not_come_back_with_a_restart() {
    let mut service = start();
    register(&service, "passing", json!({ "pattern": "plain" })).await;
    assert_eq!(put(&service, "passing", &json!({ "pattern": "plain", "durable": false })).await.status, 200);
    service.kill_and_restart();
    assert_eq!(get(&service.url("/admin/subscriptions/passing")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nonsense_and_reads_nothing_is_closed() {
    let service = start();
    register(&service, "billing", json!({ "pattern": "plain" })).await;
    let mut live = connect(&service, "billing").await;
    // Each is told what is wrong with it, at length.
    let nonsense = json!({ "x".repeat(60 << 10): 1 }).to_string();
    eventually("the client to be closed", async || {
        // It may be closed while it says this.
        live.0.send(Message::Text(nonsense.clone().into())).await.ok();
        let text = answer(client().get(service.url("/metrics"))).await.text;
        let closed = text.contains("hexafn_viewers_closed_slow_total 1\n");
        (closed, text.lines().find(|l| l.starts_with("hexafn_viewers_closed")).map(ToOwned::to_owned))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_wait_in_the_topic_for_a_client_that_reads_nothing() {
    let service = start();
    let retry = json!({ "backoff": { "delays": ["1h"] }, "max_attempts": 2 });
    let asked = json!({ "pattern": "plain", "from": "all", "ack_wait": "100ms", "retry": retry });
    register(&service, "billing", asked).await;
    let (count, large) = (200, format!("{{\"x\":\"{}\"}}", "x".repeat(900 << 10)));
    for _ in 0..count {
        publish(&service, "plain", &large).await;
    }
    let mut live = connect(&service, "billing").await;
    // Each that is not settled in time makes room for the next one; what the client has not read is none the less there.
    let mut before = (Value::Null, 0);
    let row = eventually("deliveries to stop", async || {
        let row = subscription(&service, "billing").await;
        let alike = if before.0 == row["attempts"] && row["in_flight"] == 0 { before.1 + 1 } else { 0 };
        before = (row["attempts"].clone(), alike);
        // More looks than the second in which a topic tries again has.
        (row["attempts"].as_u64().unwrap() > 0 && alike > 100, row)
    })
    .await;
    let attempts = row["attempts"].as_u64().unwrap();
    assert!(attempts < count, "{row}");
    // Now it reads, and gets the others.
    for seq in 1..=count {
        assert_eq!(live.json().await["seq"], seq);
    }
}
