//! Dead letters: what a person sees of them, and what becomes of those that are replayed.

use super::clients::{ack, connect, register, say, twice};
use super::receiver::{Answer, Receiver};
use super::sender::{post, publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, subscription};
use serde_json::{Value, json};

/// Without a receiver that anybody is.
pub fn start() -> Service {
    Scenario::new("dead").receiver("http://127.0.0.1:9").start()
}

/// What cannot be halved; the id.
pub async fn bad(service: &Service, n: i64) -> String {
    send(service, &format!("{{\"n\":{n},\"by\":0}}")).await
}

/// The letters of a subscription; none before the first.
pub fn letters(service: &Service, name: &str) -> Vec<Value> {
    let listed = service.hexafn(&["-o", "json", "dlq", "list", name, "--limit", "1000"]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap_or_default();
    listed.as_array().cloned().unwrap_or_default()
}

/// Waits until there are so many letters.
pub async fn letters_when(service: &Service, name: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} letters of {name}"), async || {
        let letters = letters(service, name);
        (letters.len() == count, letters)
    })
    .await
}

fn seqs(letters: &[Value]) -> Vec<u64> {
    letters.iter().map(|l| l["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_has_the_event_as_it_was_where_it_stood_and_every_attempt() {
    let service = start();
    assert_eq!(service.ask(&["dlq", "list"]), json!([]));
    send(&service, r#"{"n":6,"by":2}"#).await;
    let id = bad(&service, 6).await;
    let letter = letters_when(&service, "trigger.half", 1).await.remove(0);
    let version = service.ask(&["trigger", "show", "half"])["version"].clone();
    for (name, expected) in [
        ("seq", json!(1)),
        ("topic", json!("in")),
        ("topic_seq", json!(2)),
        ("attempts", json!(2)),
        ("version", version),
        ("edited", Value::Null),
    ] {
        assert_eq!(letter[name], expected, "{name}: {letter}");
    }
    assert!(letter["cause"].as_str().unwrap().contains("divides by zero"), "{letter}");
    let stored = &events(&service, "in").await[1];
    for name in ["id", "data", "type", "source", "time", "trace_id"] {
        assert_eq!(letter["event"][name], stored[name], "{name}: {letter}");
    }
    let failures = letter["failures"].as_array().unwrap();
    let attempts: Vec<&Value> = failures.iter().map(|f| &f["attempt"]).collect();
    assert_eq!(attempts, [1, 2], "{letter}");
    assert!(failures[0]["at"].as_str() < failures[1]["at"].as_str(), "{letter}");
    assert!(failures.iter().all(|f| f["cause"].as_str().unwrap().contains("divides by zero")), "{letter}");

    assert_eq!(service.ask(&["dlq", "show", "trigger.half", "1"]), letter);
    let people = service.hexafn(&["dlq", "show", "trigger.half", "1"]).out;
    assert!(people.contains(&id) && people.matches("divides by zero").count() >= 3, "{people}");
    let summary = service.ask(&["dlq", "list"]);
    let row = (&summary[0]["subscription"], &summary[0]["letters"], &summary[0]["oldest"], &summary[0]["cause"]);
    assert_eq!(row, (&"trigger.half".into(), &1.into(), &letter["at"], &letter["cause"]), "{summary}");
    assert_eq!(subscription(&service, "trigger.half").await["dead_lettered"], 1);
    let absent = service.hexafn(&["dlq", "show", "trigger.half", "2"]);
    assert!(absent.code == Some(1) && absent.err.contains("dlq list trigger.half"), "{absent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_goes_to_the_subscription_alone_and_the_event_is_still_of_its_topic() {
    let service = start();
    let id = bad(&service, 6).await;
    letters_when(&service, "trigger.half", 1).await;
    service.edit("event.data.n / event.data.by", "event.data.n / 2");
    service.ask(&["reload"]);
    assert_eq!(service.ask(&["dlq", "replay", "trigger.half", "1"]), json!({ "settled": 1, "left": 0 }));
    let half = events_when(&service, "halves", 1).await.remove(0);
    let told = (half["id"].as_str(), &half["data"]);
    assert_eq!(told, (Some(&*format!("{id}-half")), &json!({ "half": 3, "topic": "in" })), "{half}");
    idle(&service).await;
    assert_eq!(events(&service, "copies").await.len(), 1, "its neighbour on the topic does not see it again");
    assert_eq!(events(&service, "in").await.len(), 1);
    assert_eq!(letters(&service, "trigger.half"), [] as [Value; 0]);
    assert_eq!(service.ask(&["dlq", "list"]), json!([]));
    let twice = service.hexafn(&["-o", "json", "dlq", "replay", "trigger.half", "1"]);
    let told: Value = serde_json::from_str(&twice.out).unwrap();
    assert_eq!((twice.code, told), (Some(1), json!({ "settled": 0, "left": 0, "absent": [1] })), "once");
    idle(&service).await;
    assert_eq!(events(&service, "halves").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_again_is_a_letter_again_of_the_place_where_it_stood_first() {
    let service = start();
    let id = bad(&service, 6).await;
    for round in 1..=3 {
        let letter = letters_when(&service, "trigger.half", 1).await.remove(0);
        let place = (&letter["seq"], &letter["topic"], &letter["topic_seq"], &letter["attempts"]);
        assert_eq!(place, (&round.into(), &"in".into(), &1.into(), &2.into()), "{letter}");
        assert_eq!(letter["event"]["id"], *id);
        assert_eq!(letter["failures"].as_array().map(Vec::len), Some(2), "of this time: {letter}");
        if round < 3 {
            // Ten failures in a row would be a quarantine.
            send(&service, r#"{"n":6,"by":2}"#).await;
            events_when(&service, "halves", round).await;
            let told = service.ask(&["dlq", "replay", "trigger.half", "--all"]);
            assert_eq!(told["settled"], 1, "{told}");
            eventually("the next letter", async || {
                let letters = letters(&service, "trigger.half");
                (seqs(&letters) == [round as u64 + 1], letters)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_may_go_to_a_topic_or_to_a_target_instead() {
    let receiver = Receiver::start().await;
    let service = Scenario::new("dead").receiver(&receiver.base).start();
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(bad(&service, n).await);
        letters_when(&service, "trigger.half", ids.len()).await;
    }
    for (args, count) in [(["--topic", "elsewhere"], 2), (["--target", "aside"], 1), (["--target", "web"], 0)] {
        let seq = (3 - count).to_string();
        let told = service.ask(&[&["dlq", "replay", "trigger.half", &seq][..], &args].concat());
        assert_eq!(told, json!({ "settled": 1, "left": count }), "{args:?}");
    }
    for (topic, n) in [("elsewhere", 1), ("aside", 2)] {
        let event = events_when(&service, topic, 1).await.remove(0);
        assert_eq!((&event["id"], &event["data"]["n"]), (&ids[n - 1].clone().into(), &n.into()), "{event}");
        assert_eq!(event["extensions"], json!({ "replayof": format!("in/{n}") }), "no mark of a letter is left");
    }
    let arrived = receiver.arrivals("/web", 1).await.remove(0);
    assert_eq!((arrived.id(), arrived.body), (ids[2].clone(), r#"{"n":3,"by":0}"#.to_owned()));
    idle(&service).await;
    assert_eq!((events(&service, "halves").await.len(), events(&service, "copies").await.len()), (0, 3));

    // Ten failures in a row would be a quarantine.
    send(&service, r#"{"n":6,"by":2}"#).await;
    bad(&service, 4).await;
    let letter = letters_when(&service, "trigger.half", 1).await.remove(0);
    for (args, expected) in [
        (["--target", "asied"], "aside"),
        (["--topic", "hexafn.alerts"], "hexafn."),
        (["--topic", "a b"], "not a topic name"),
    ] {
        let refused = service.hexafn(&[&["dlq", "replay", "trigger.half", "--all"][..], &args].concat());
        assert!(refused.code == Some(1) && refused.err.contains(expected), "{args:?}: {refused:?}");
    }
    let both = r#"{"target":"aside","topic":"elsewhere"}"#;
    let (status, problem) = post(&service.url("/admin/dead/trigger.half/replay"), &[], both).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("body-invalid")), "{problem}");
    assert_eq!(letters(&service, "trigger.half"), [letter], "a refusal settles nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_letters_of_a_trigger_that_is_gone_can_go_elsewhere() {
    let service = start();
    let id = bad(&service, 1).await;
    letters_when(&service, "trigger.half", 1).await;
    let rest = service.scenario.text();
    let from = rest.find("[[trigger]]\nname = \"half\"").unwrap();
    let to = from + rest[from..].find("[[trigger]]\nname = \"copy\"").unwrap();
    service.configure("hexafn.toml", &format!("{}{}", &rest[..from], &rest[to..]));
    service.ask(&["reload"]);
    let refused = service.hexafn(&["dlq", "replay", "trigger.half", "--all"]);
    assert!(refused.code == Some(1) && refused.err.contains("target or a topic"), "{refused:?}");
    assert_eq!(letters(&service, "trigger.half").len(), 1);
    service.ask(&["dlq", "replay", "trigger.half", "--all", "--topic", "elsewhere"]);
    assert_eq!(events_when(&service, "elsewhere", 1).await[0]["id"], *id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_of_a_target_is_delivered_once_its_receiver_is_well() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(500));
    let mut service = Scenario::new("dead").receiver(&receiver.base).start();
    let id = publish(&service, "sent", r#"{"n":1}"#).await;
    let letter = letters_when(&service, "target.web", 1).await.remove(0);
    assert_eq!((&letter["attempts"], receiver.seen("/web").len()), (&3.into(), 3), "{letter}");
    assert_eq!(letter["event"]["id"], format!("{id}-send"), "{letter}");
    let failures = letter["failures"].as_array().unwrap();
    assert!(failures.len() == 3 && failures.iter().all(|f| f["cause"].as_str().unwrap().contains("500")), "{letter}");
    // Still ill: it is given up again, with the same body under the same id.
    service.ask(&["dlq", "replay", "target.web", "--all"]);
    receiver.arrivals("/web", 6).await;
    let again = eventually("the next letter", async || {
        let letters = letters(&service, "target.web");
        (seqs(&letters) == [2], letters)
    })
    .await;
    assert_eq!(again[0]["topic_seq"], letter["topic_seq"], "{again:?}");
    receiver.answer("/web", Answer::Status(200));
    service.kill_and_restart();
    assert_eq!(service.ask(&["dlq", "replay", "target.web", "2"]), json!({ "settled": 1, "left": 0 }));
    let seen = receiver.arrivals("/web", 7).await;
    assert!(seen.iter().all(|r| r.id() == format!("{id}-send") && r.body == seen[0].body), "{seen:?}");
    idle(&service).await;
    assert_eq!(receiver.seen("/web").len(), 7);
    assert_eq!(letters(&service, "target.web"), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_arrived_is_settled_and_not_delivered_once_more() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(500));
    let mut service = Scenario::new("dead").receiver(&receiver.base).start();
    publish(&service, "sent", "{}").await;
    letters_when(&service, "target.web", 1).await;
    receiver.answer("/web", Answer::Status(200));
    service.ask(&["dlq", "replay", "target.web", "1"]);
    receiver.arrivals("/web", 4).await;
    idle(&service).await;
    service.kill_and_restart();
    // Behind it in its queue, had it been left there.
    publish(&service, "sent", "{}").await;
    receiver.arrivals("/web", 5).await;
    idle(&service).await;
    assert_eq!(receiver.seen("/web").len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_of_a_client_comes_to_its_connection_again() {
    let service = start();
    register(&service, "billing", twice("in")).await;
    let id = send(&service, r#"{"n":6,"by":2}"#).await;
    let mut live = connect(&service, "billing").await;
    let event = live.json().await;
    say(&mut live, json!({ "term": event["ack_id"], "reason": "not an order" })).await;
    letters_when(&service, "billing", 1).await;
    assert_eq!(service.ask(&["dlq", "replay", "billing", "1"])["settled"], 1);
    let again = live.json().await;
    assert_eq!((&again["id"], &again["data"], &again["attempt"]), (&id.into(), &event["data"], &1.into()), "{again}");
    assert_eq!(again["extensions"]["replayof"], "in/1", "{again}");
    ack(&mut live, &again).await;
    let next = send(&service, r#"{"n":6,"by":3}"#).await;
    let event = live.json().await;
    assert_eq!(event["id"], *next, "{event}");
    ack(&mut live, &event).await;
    eventually("all settled", async || {
        let rows = service.ask(&["sub", "show", "billing"]);
        (rows.as_array().unwrap().iter().all(|r| r["lag"] == 0 && r["in_flight"] == 0), rows)
    })
    .await;
    assert_eq!(again["topic"], "in", "a client sees the topic of the event, as a function does: {again}");
}
