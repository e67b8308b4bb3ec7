//! What deliveries wait for, as the supervision tree and the subscription show it; letters that stay; batches in order.

use super::dead::{letters, letters_when};
use super::receiver::{Answer, Receiver};
use super::sender::{answer, client, publish};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, node, subscription, target};
use serde_json::{Value, json};

fn http(receiver: &Receiver, name: &str, more: &str) -> String {
    format!(
        "[[trigger]]\nname = '{name}'\non = 'in.{name}'\nto = '{name}'\n[[target]]\nname = '{name}'\nkind = 'http'\nurl = '{}/{name}'\n{more}\n",
        receiver.base
    )
}

fn start(text: &str) -> Service {
    let text = format!("[targets]\nallow_networks = ['127.0.0.0/8']\n{text}");
    Scenario::empty_config().file("hexafn.toml", &text).start()
}

/// Waits until a forwarder's node says that so many deliveries wait, the first for this.
async fn waits(service: &Service, name: &str, count: u64, reason: &str) -> Value {
    eventually(&format!("{count} deliveries of {name} wait for {reason}"), async || {
        let seen = node(service, &format!("/forwarders/{name}")).await["observed"].clone();
        (seen["waits"] == count && seen["reason"] == reason, seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_says_what_each_delivery_waits_for_and_until_when() {
    let receiver = Receiver::start().await;
    let slow = "retry = { schedule = ['1h'], jitter = 0.0 }\n";
    let text = [
        http(&receiver, "later", slow),
        http(&receiver, "asked", slow),
        http(&receiver, "open", &format!("{slow}concurrency = 1\nbreaker = {{ failures = 1, open = '10m' }}")),
        http(&receiver, "keyed", &format!("{slow}ordering = 'key'")),
        http(&receiver, "strict", &format!("{slow}ordering = 'strict'")),
        http(&receiver, "full", "concurrency = 1\ntimeout = '5m'"),
        http(&receiver, "paced", "rate = '1/h'"),
        http(&receiver, "off", ""),
    ];
    let service = start(&text.concat());
    for name in ["later", "open", "keyed", "strict"] {
        receiver.answer(&format!("/{name}"), Answer::Status(503));
    }
    receiver.answer("/asked", Answer::With(429, "retry-after: 7200".into()));
    receiver.answer("/full", Answer::Hang);
    service.ask(&["target", "disable", "off"]);
    for name in ["later", "asked", "open", "keyed", "strict", "full", "paced", "off"] {
        for n in 0..3 {
            let args = ["publish", &format!("in.{name}"), "--data", &format!("{{\"n\":{n}}}"), "--key", "k"];
            service.ask(&args);
        }
    }
    let later = waits(&service, "later", 3, "backoff").await;
    let first = &later["first"][0];
    assert!(first["cause"].as_str().unwrap().contains("503") && first["attempts"] == 1, "{later}");
    assert_eq!((&first["due"], later["first"].as_array().map(Vec::len)), (&later["next"], Some(3)), "{later}");
    waits(&service, "asked", 3, "retry-after").await;
    let open = waits(&service, "open", 3, "backoff").await;
    assert_eq!((&open["first"][1]["reason"], &open["first"][1]["attempts"]), (&json!("breaker"), &json!(0)), "{open}");
    assert!(open["first"][1]["due"].is_string(), "{open}");
    let keyed = waits(&service, "keyed", 3, "backoff").await;
    assert_eq!(keyed["first"][2]["reason"], "key-order", "{keyed}");
    let strict = waits(&service, "strict", 3, "backoff").await;
    assert_eq!(strict["first"][1]["reason"], "strict-order", "{strict}");
    waits(&service, "full", 2, "concurrency").await;
    let paced = waits(&service, "paced", 2, "rate").await;
    assert!(paced["next"].is_string(), "{paced}");
    waits(&service, "off", 3, "disabled").await;

    let people = service.hexafn(&["actors", "ls"]).out;
    let line = people.lines().find(|l| l.starts_with("/forwarders/asked")).unwrap();
    assert!(line.contains("retry-after"), "{people}");
    let people = service.hexafn(&["sub", "show", "target.open"]).out;
    assert!(people.contains("WAITS FOR") && people.contains("breaker"), "{people}");
    service.ask(&["sub", "pause", "target.later"]);
    waits(&service, "later", 3, "paused").await;

    // An attempt is no delivery, and a target that is switched by hand says so.
    let row = subscription(&service, "target.later").await;
    assert_eq!((&row["attempts"], &row["delivered"]), (&json!(3), &json!(0)), "{row}");
    let told = events(&service, "hexafn.outcomes").await;
    let by_hand = |e: &&Value| e["type"] == "hexafn.target.disabled" && e["subject"] == "off";
    assert_eq!(told.iter().filter(by_hand).count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_order_share_a_batch() {
    let receiver = Receiver::start().await;
    let batch = "batch = { max_records = 6, max_age = '5m' }\nformat = 'json'";
    let text = [
        http(&receiver, "keyed", &format!("{batch}\nordering = 'key'")),
        http(&receiver, "strict", &format!("{batch}\nordering = 'strict'")),
    ];
    let service = start(&text.concat());
    for name in ["keyed", "strict"] {
        for n in 0..6 {
            service.ask(&["publish", &format!("in.{name}"), "--data", &n.to_string(), "--key", &format!("k{}", n % 2)]);
        }
        let seen = receiver.arrivals(&format!("/{name}"), 1).await;
        assert_eq!(seen[0].body, "[0,1,2,3,4,5]", "one request, full before `max_age`");
    }
}

/// The data of the events that came with each request.
fn batches(receiver: &Receiver, path: &str) -> Vec<Vec<i64>> {
    let data = |body: &str| -> Vec<i64> {
        let events: Vec<Value> = serde_json::from_str(body).unwrap();
        events.iter().map(|event| event["data"].as_i64().unwrap()).collect()
    };
    receiver.seen(path).iter().map(|received| data(&received.body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_a_failure_of_its_key_is_repeated_behind_it() {
    let receiver = Receiver::start().await;
    let more = "batch = { max_records = 4, max_age = '5m' }\nformat = 'cloudevents'\nordering = 'key'\n\
                retry = { schedule = ['1h'], jitter = 0.0, again = [422] }";
    let service = start(&[http(&receiver, "told", more), http(&receiver, "refused", more)].concat());

    let publish = |name: &str, events: &[(i64, &str)]| {
        for (n, key) in events {
            service.ask(&["publish", &format!("in.{name}"), "--data", &n.to_string(), "--key", key]);
        }
    };
    let (first, others) = ([(1, "k"), (2, "k"), (3, "k"), (4, "other")], [(5, "a"), (6, "b"), (7, "c")]);
    // A receiver that takes an event behind one that it does not take, and says so of each; and one that refuses a request
    // for an event in it, so that halves show which: what is behind that one is not sent.
    let second = "\"data\":2";
    receiver.answer("/told", Answer::Partly(second.into()));
    receiver.answer("/refused", Answer::Refuse(second.into()));
    let asked =
        [("told", vec![vec![1, 2, 3, 4]]), ("refused", vec![vec![1, 2, 3, 4], vec![1, 2], vec![1], vec![2], vec![4]])];
    for (name, expected) in asked {
        let path = format!("/{name}");
        publish(name, &first);
        let waiting = waits(&service, name, 2, "backoff").await;
        assert_eq!(waiting["first"][1]["reason"], "key-order", "{waiting}");
        assert_eq!(batches(&receiver, &path), expected);
        receiver.answer(&path, Answer::Status(200));
        service.ask(&["sub", "retry", &format!("target.{name}")]);
        // It does not wait for company, since others wait behind it; they do.
        let seen = receiver.arrivals(&path, expected.len() + 1).await;
        assert!(seen[expected.len()].body.contains(second), "{:?}", batches(&receiver, &path));
        publish(name, &others);
        receiver.arrivals(&path, expected.len() + 2).await;
        let last = batches(&receiver, &path).pop().unwrap();
        assert!(last.len() == 4 && last.contains(&3), "3 comes again, behind 2: {last:?}");
    }
    idle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_of_letters_is_configured_and_what_it_removes_is_told() {
    let rows = "[[trigger]]\nname = 't'\non = 'in'\nto = 'picky'\n[[target]]\nname = 'picky'\nkind = 'topic'\nwhen = 'event.data.n > 5'\n";
    let mut service = start(&format!("{rows}[[topic]]\nname = 'in'\n"));
    for n in 0..4 {
        publish(&service, "in", &format!("{{\"n\":\"{n}\"}}")).await;
    }
    letters_when(&service, "target.picky", 4).await;
    service.ask(&["dlq", "drop", "target.picky", "1"]);
    let more = "[[topic]]\nname = 'hexafn.dead.target.picky'\nretention = { count = 1 }\n";
    service.configure("hexafn.toml", &format!("{rows}[[topic]]\nname = 'in'\n{more}"));
    service.ask(&["reload"]);
    let alert = events_when(&service, "hexafn.alerts", 1).await.remove(0);
    assert_eq!((&alert["type"], &alert["subject"]), (&json!("hexafn.alert.letters.removed"), &json!("target.picky")));
    assert!(alert["data"]["message"].as_str().unwrap().contains("removed 2 dead letters"), "{alert}");
    assert_eq!(letters(&service, "target.picky").len(), 1);
    let metrics = answer(client().get(service.url("/metrics"))).await.text;
    assert!(metrics.contains("hexafn_dead_letters_removed_total{subscription=\"target.picky\"} 2"), "{metrics}");
    service.kill_and_restart();
    assert_eq!(letters(&service, "target.picky").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_tried_again_or_not_by_their_status_with_a_backoff_as_of_triggers() {
    let receiver = Receiver::start().await;
    let settings = "retry = { backoff = { base = '10ms', factor = 3, max = '40ms', jitter = 0.0 }, max_attempts = 25, never = [501] }\n\
                    breaker = { failures = 1000, min_attempts = 1000 }";
    let service =
        start(&[http(&receiver, "web", settings), http(&receiver, "gone", "retry = { again = [410] }")].concat());
    receiver.answer("/web", Answer::Status(501));
    publish(&service, "in.web", r#"{"n":1}"#).await;
    let letter = letters_when(&service, "target.web", 1).await.remove(0);
    assert_eq!((&letter["attempts"], receiver.seen("/web").len()), (&json!(1), 1), "{letter}");
    let version = service.ask(&["trigger", "show", "web"])["version"].clone();
    assert_eq!(letter["made_by"], format!("web@{}", version.as_str().unwrap()), "{letter}");
    receiver.answer("/web", Answer::Status(500));
    publish(&service, "in.web", r#"{"n":2}"#).await;
    let letter = letters_when(&service, "target.web", 2).await.remove(1);
    let failures = letter["failures"].as_array().unwrap();
    assert_eq!((&letter["attempts"], failures.len()), (&json!(25), 25), "every attempt: {letter}");
    assert!(failures.iter().all(|f| f["cause"].as_str().unwrap().contains("500")), "{letter}");
    receiver.answer("/gone", Answer::Status(410));
    publish(&service, "in.gone", r#"{"n":1}"#).await;
    waits(&service, "gone", 1, "backoff").await;
    assert_eq!(target(&service, "gone").await["breaker"], "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_removes_a_target_says_what_waits_for_it() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(503));
    let text = http(&receiver, "web", "");
    let service = start(&text);
    publish(&service, "in.web", "{}").await;
    receiver.arrivals("/web", 1).await;
    service.configure("hexafn.toml", "[targets]\nallow_networks = ['127.0.0.0/8']\n");
    let told = service.ask(&["reload"]);
    let left = told["left"][0].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(left.starts_with("1 events wait in `hexafn.out.web`"), "{left}");
    receiver.answer("/web", Answer::Status(200));
    service.configure("hexafn.toml", &format!("[targets]\nallow_networks = ['127.0.0.0/8']\n{text}"));
    assert_eq!(service.ask(&["reload"])["left"], Value::Null);
    service.ask(&["sub", "retry", "target.web"]);
    receiver.arrivals("/web", 2).await;
    idle(&service).await;
}
