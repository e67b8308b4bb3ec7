//! Functions that send events of their own: to topics that they name, in the write of their result, or not at all.

use super::dead::letters_when;
use super::sender::{answer, client, get, publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, subscription};
use serde_json::{Value, json};

fn start() -> Service {
    Scenario::new("emit").start()
}

/// An event with a line for each region.
fn order<'a>(regions: impl IntoIterator<Item = &'a String>) -> String {
    let lines: Vec<Value> = regions.into_iter().map(|region| json!({ "region": region, "sku": "s" })).collect();
    json!({ "lines": lines }).to_string()
}

/// Regions that no topic is named by.
fn fresh(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// The ids that the pattern trigger gives to what these events emit, when each has so many lines: the first that `split`
/// emits is for the audit.
fn seen_of(ids: &[String], lines: usize) -> Vec<String> {
    let of = |id: &String| (2..lines + 2).map(|n| format!("{id}-split.{n}-orders")).collect::<Vec<_>>();
    let mut all: Vec<String> = ids.iter().flat_map(of).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_sends_events_to_topics_that_it_names_with_their_keys() {
    let service = start();
    let body = json!({ "lines": [
        { "region": "eu", "sku": "a", "customer": "c1" },
        { "region": "us", "sku": "b" },
        { "region": "eu", "sku": "c", "customer": "c2" },
    ] });
    let id = send(&service, &body.to_string()).await;
    let result = events_when(&service, "done", 1).await.remove(0);
    assert_eq!((result["id"].as_str(), &result["data"]), (Some(&*format!("{id}-split")), &json!({ "lines": 3 })));
    // In the same write as the result: they are there with it.
    let audit = events(&service, "audit").await;
    assert_eq!((audit.len(), &audit[0]["data"], &audit[0]["key"]), (1, &json!({ "id": id }), &Value::Null));
    let eu = events(&service, "orders.eu").await;
    let told: Vec<_> = eu.iter().map(|e| (e["key"].as_str(), e["data"]["sku"].as_str(), e["id"].as_str())).collect();
    let ids = [2, 3, 4].map(|n| format!("{id}-split.{n}"));
    assert_eq!(told, [(Some("c1"), Some("a"), Some(&*ids[0])), (Some("c2"), Some("c"), Some(&*ids[2]))], "in order");
    let us = events(&service, "orders.us").await;
    assert_eq!((us.len(), &us[0]["key"], &us[0]["data"]), (1, &Value::Null, &json!({ "sku": "b", "from": "in" })));
    for event in audit.iter().chain(&eu).chain(&us) {
        assert_eq!((&event["trace_id"], &event["source"]), (&result["trace_id"], &"/triggers/split".into()), "{event}");
    }
    assert_eq!(ids_of(&events_when(&service, "seen", 3).await), seen_of(&[id], 3), "others are triggered by them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_sees_the_first_event_of_a_topic_that_was_not_there_before() {
    let service = start();
    // Twenty topics by one event.
    let first = send(&service, &order(&fresh("one", 20))).await;
    let mut expected = seen_of(std::slice::from_ref(&first), 20);
    // And twenty more by twenty events at once.
    let (regions, service) = (fresh("own", 20), std::sync::Arc::new(service));
    let mut senders = tokio::task::JoinSet::new();
    for region in regions {
        let service = service.clone();
        senders.spawn(async move { send(&service, &order([&region])).await });
    }
    expected.extend(seen_of(&senders.join_all().await, 1));
    expected.sort();
    events_when(&service, "seen", expected.len()).await;
    idle(&service).await;
    assert_eq!(ids_of(&events(&service, "seen").await), expected, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_sees_the_first_event_of_a_new_topic_once_also_where_the_process_ends_at_that_moment() {
    let mut service = start();
    let mut expected = Vec::new();
    for round in ["a", "b", "c", "d", "e"] {
        let mut ids = Vec::new();
        for region in fresh(round, 20) {
            ids.push(send(&service, &order([&region])).await);
        }
        let whole = send(&service, &order(&fresh(&format!("{round}x"), 20))).await;
        service.kill_and_restart();
        expected.extend(seen_of(&ids, 1));
        expected.extend(seen_of(&[whole], 20));
    }
    events_when(&service, "seen", expected.len()).await;
    idle(&service).await;
    expected.sort();
    assert_eq!(ids_of(&events(&service, "seen").await), expected, "each once");
    assert_eq!(events(&service, "audit").await.len(), 5 * 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_drops_its_event_keeps_what_it_sent_and_one_that_fails_sends_nothing() {
    let service = start();
    let quiet = json!({ "lines": [{ "region": "eu", "sku": "a" }], "quiet": true });
    let id = send(&service, &quiet.to_string()).await;
    assert_eq!(ids_of(&events_when(&service, "seen", 1).await), seen_of(&[id], 1));
    idle(&service).await;
    assert_eq!(events(&service, "done").await.len(), 0, "its own result was dropped");
    assert_eq!(events(&service, "audit").await.len(), 1);

    // Twice it failed after it had sent: only the third attempt counts.
    publish(&service, "hesitant", "{}").await;
    events_when(&service, "done", 1).await;
    idle(&service).await;
    let audit = events(&service, "audit").await;
    assert_eq!((audit.len(), &audit[1]["data"]), (2, &json!({ "attempt": 3 })), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_sends_too_many_fails_with_a_code_and_sends_none() {
    let service = start();
    publish(&service, "many", r#"{"count":100}"#).await;
    events_when(&service, "done", 1).await;
    assert_eq!(events(&service, "crowd").await.len(), 100, "as many as are allowed");
    let id = publish(&service, "many", r#"{"count":101}"#).await;
    let letter = letters_when(&service, "trigger.many", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.contains("HX0514") && cause.contains("at most 100"), "{cause}");
    assert_eq!((&letter["event"]["id"], &letter["attempts"]), (&id.clone().into(), &2.into()), "{letter}");
    assert_eq!(events(&service, "crowd").await.len(), 100);
    assert_eq!(events(&service, "done").await.len(), 1);
    // The code is what a program can go by.
    let trace = service.ask(&["trace", "show", &id]).to_string();
    assert!(trace.contains("HX0514"), "{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_names_no_topic_fails_and_nothing_of_its_run_is_stored() {
    let service = start();
    let topics = service.ask(&["topic", "ls"]).as_array().unwrap().len();
    let long = "x".repeat(201);
    let mut count = 0;
    for bad in ["", "a b", "a..b", "orders.>", "../x", "hexafn.alerts", &*long] {
        count += 1;
        let id = publish(&service, "anywhere", &json!({ "topic": bad }).to_string()).await;
        let letter = letters_when(&service, "trigger.anywhere", count).await.remove(count - 1);
        let cause = letter["cause"].as_str().unwrap();
        assert!(letter["event"]["id"] == *id && cause.contains("topic"), "{bad}: {letter}");
        // Ten failures in a row, or half of twenty, would be a quarantine.
        publish(&service, "anywhere", r#"{"topic":"fine"}"#).await;
        events_when(&service, "fine", count).await;
    }
    assert_eq!(events(&service, "audit").await.len(), count, "only those of the runs that ended well");
    // `fine` and the letters are new; a topic for what is none is not.
    let after = service.ask(&["topic", "ls"]);
    let names: Vec<&str> = after.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.len() <= topics + 3, "{names:?}");
    let row = subscription(&service, "trigger.anywhere").await;
    assert_eq!((&row["lag"], &row["waiting"]), (&0.into(), &0.into()), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_an_event_shows_what_was_sent_because_of_it() {
    let service = start();
    let id = send(&service, &order(&["eu".to_owned(), "us".to_owned()])).await;
    let steps = eventually("the whole way", async || {
        let steps = service.ask(&["trace", "show", &id])["steps"].clone();
        let produced = |s: &&Value| s["stage"] == "produced";
        let steps: Vec<Value> = steps.as_array().unwrap().iter().filter(produced).cloned().collect();
        (steps.len() == 6, steps)
    })
    .await;
    let mut emitted: Vec<String> = steps.iter().filter(|s| s["name"] == "emit").map(Value::to_string).collect();
    emitted.sort();
    for (at, topic) in ["audit", "orders.eu", "orders.us"].iter().enumerate() {
        let event = format!("{id}-split.{}", at + 1);
        assert!(emitted.iter().any(|s| s.contains(topic) && s.contains(&event)), "{topic} {event}: {steps:?}");
    }
    assert_eq!(emitted.len(), 3);
    // And by the id of what was sent, the same.
    let by_emitted = service.ask(&["trace", "show", &format!("{id}-split.2")]);
    assert_eq!(by_emitted["trace_id"], service.ask(&["trace", "show", &id])["trace_id"]);
}

#[test]
fn a_trial_tells_what_would_be_sent_and_sends_nothing() {
    let scenario = Scenario::new("emit");
    let trial = |more: &[&str], topic: &str, data: &str| {
        scenario.run(&[more, &["simulate", "--config", "cfg", "--topic", topic, "-d", data]].concat())
    };
    let data = r#"{"lines":[{"region":"eu","sku":"a","customer":"c"},{"region":"us","sku":"b"}]}"#;
    let runs = trial(&["-o", "json"], "in", data).json();
    assert_eq!(
        (&runs[0]["outcome"], &runs[0]["to"], &runs[0]["output"]),
        (&json!("fired"), &json!(["done"]), &json!({ "lines": 2 }))
    );
    let mut emitted = runs[0]["emitted"].clone();
    assert_eq!(emitted[0].as_object_mut().unwrap().remove("data").map(|d| d["id"].is_string()), Some(true));
    let expected = json!([
        { "topic": "audit" },
        { "topic": "orders.eu", "key": "c", "data": { "sku": "a", "from": "in" } },
        { "topic": "orders.us", "data": { "sku": "b", "from": "in" } },
    ]);
    assert_eq!(emitted, expected);
    let people = trial(&[], "in", data).out;
    assert!(people.lines().any(|l| l.contains("emit") && l.contains("orders.eu") && l.contains("key c")), "{people}");
    for (topic, data) in [("many", r#"{"count":101}"#), ("anywhere", r#"{"topic":"a b"}"#)] {
        let runs = trial(&["-o", "json"], topic, data).json();
        assert_eq!((&runs[0]["outcome"], &runs[0]["emitted"]), (&json!("failed"), &Value::Null), "{runs}");
    }
    assert!(!scenario.path("data").exists(), "nothing was written");
}

const BURST: &str = r#"
[[source]]
name = "burst"
kind = "webhook"
topic = "burst"
verify = { scheme = "none" }

[[topic]]
name = "quick"
durability = "memory"

[[topic]]
name = "beside"
durability = "memory"

[[function]]
name = "hundred"
code = '[emit "quick" n for n in range(0, 100)]'

[[function]]
name = "hundred-lua"
runtime = "lua"
emit = ["quick"]
code = "return function(event, ctx) for n = 1, 100 do ctx.emit('quick', n) end return {} end"

[[trigger]]
name = "burst"
on = "burst"
run = "hundred"
to = ["beside"]

[[trigger]]
name = "burst-lua"
on = "burst"
run = "hundred-lua"
to = ["beside"]

[[target]]
name = "beside"
kind = "topic"
"#;

/// Many times what a topic's mailbox has room for: its triggers wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_a_trigger_and_a_topic_in_memory() {
    let service = Scenario::new("emit").file("burst.toml", BURST).start();
    let of = |n| json!({ "specversion": "1.0", "id": format!("{n}"), "source": "/s", "type": "t", "data": {} });
    let batch: Vec<Value> = (0..200).map(of).collect();
    let request = client().post(service.url("/hooks/burst"));
    let request = request.header("content-type", "application/cloudevents-batch+json").body(json!(batch).to_string());
    assert_eq!(answer(request).await.status, 202);
    idle(&service).await;
    let last = async |topic: &str| get(&service.url(&format!("/admin/topics/{topic}"))).await.1["last"].clone();
    assert_eq!((last("quick").await, last("beside").await), (json!(2 * 200 * 100), json!(2 * 200)));
}
