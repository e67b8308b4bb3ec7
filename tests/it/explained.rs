//! Why a trigger fired on a real event, or passed it over: what a trace says of conditions, of the targets' own and of the
//! filters of subscriptions; and what it cannot say any more.

use super::access::token;
use super::sender::{answer, client, send};
use super::service::{Scenario, Service};
use super::watch::{eventually, idle};
use reqwest::Method;
use serde_json::{Value, json};

/// Beside `double`: a trigger that passes over, a target with a condition, and a trigger on what `double` makes.
const MORE: &str = r#"
[[trigger]]
name = "rare"
on = "in"
when = "event.data.n > 100 and event.data.kind == 'x'"
to = ["out"]

[[trigger]]
name = "after"
on = "out"
when = "event.data.n == 0"
to = ["big"]

[[target]]
name = "big"
kind = "topic"
when = "event.data.twice > 100"
"#;

fn start() -> Service {
    let scenario = Scenario::new("pipeline").receiver("http://127.0.0.1:9");
    scenario.edit("to = [\"out\", \"file\", \"web\"]", "to = [\"out\", \"big\"]").file("more.toml", MORE).start()
}

/// What the trace of an event says of the conditions on it in a topic, once the trigger `double` has left its step.
async fn conditions(service: &Service, id: &str, topic: &str) -> Value {
    eventually("the conditions of the event", async || {
        let trace = service.ask(&["trace", "show", id]);
        let of = trace["conditions"].as_array().unwrap().iter().find(|c| c["topic"] == topic).cloned();
        let fired = trace["steps"].as_array().unwrap().iter().any(|s| s["stage"] == "produced");
        (fired && of.is_some(), of.unwrap_or(trace))
    })
    .await
}

fn evaluation<'v>(explained: &'v Value, name: &str) -> &'v Value {
    let all = explained["evaluations"].as_array().unwrap_or_else(|| panic!("{explained}"));
    all.iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name}: {explained}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_says_which_part_of_each_condition_decided_and_with_which_values() {
    let service = start();
    let asked = json!({ "pattern": "in", "filter": "event.data.n < 5" }).to_string();
    let request = client().request(Method::PUT, service.url("/admin/subscriptions/mine"));
    assert_eq!(answer(request.header("content-type", "application/json").body(asked)).await.status, 201);
    let id = send(&service, r#"{"n":21}"#).await;
    idle(&service).await;

    let explained = conditions(&service, &id, "in").await;
    assert_eq!((&explained["seq"], &explained["event_id"]), (&json!(1), &json!(id)), "{explained}");
    let double = evaluation(&explained, "double");
    assert_eq!((&double["kind"], &double["result"]), (&json!("trigger"), &json!("holds")), "{double}");
    assert!(double["explanation"].as_str().unwrap().contains("event.data.n = 21"), "{double}");
    assert_eq!(double.get("note"), None, "this version looked at it: {double}");
    let big = &double["targets"][0];
    assert_eq!((&big["name"], &big["result"]), (&json!("big"), &json!("does-not-hold")), "{double}");
    assert!(big["explanation"].as_str().unwrap().contains("event.data.twice = 42"), "{big}");
    let rare = evaluation(&explained, "rare");
    assert_eq!((&rare["result"], rare.get("note")), (&json!("does-not-hold"), None), "{rare}");
    let parts = rare["explanation"].as_str().unwrap();
    assert!(parts.contains("event.data.n > 100 = false") && parts.contains("(not reached)"), "{parts}");
    let mine = evaluation(&explained, "mine");
    assert_eq!((&mine["kind"], &mine["result"]), (&json!("subscription"), &json!("does-not-hold")), "{mine}");

    // The result of `double`, which left no sequence in the trace, is found and explained, too.
    let made = conditions(&service, &id, "out").await;
    assert_eq!((&made["seq"], &made["event_id"]), (&json!(1), &json!(format!("{id}-double"))), "{made}");
    assert_eq!(evaluation(&made, "after")["result"], "does-not-hold");

    let people = service.hexafn(&["trace", "show", &id]).out;
    for part in ["trigger rare: does not hold", "event.data.n > 100 = false", "target big: does not hold"] {
        assert!(people.contains(part), "{part}: {people}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_says_when_what_looked_at_the_event_is_not_there_any_more() {
    let service = start();
    let id = send(&service, r#"{"n":21}"#).await;
    idle(&service).await;
    conditions(&service, &id, "in").await;

    // Both are changed after they have looked: the one left a step with its version, the other none.
    service.edit("event.data.n >= 0", "event.data.n >= 1000");
    service.configure("more.toml", &MORE.replace("event.data.n > 100", "event.data.n > 10"));
    service.ask(&["reload"]);
    let explained = conditions(&service, &id, "in").await;
    let double = evaluation(&explained, "double");
    assert_eq!(double["result"], "does-not-hold", "what the condition of now says: {double}");
    assert!(double["note"].as_str().unwrap().contains("changed since"), "{double}");
    let rare = evaluation(&explained, "rare");
    assert!(rare["note"].as_str().unwrap().contains("after the event was stored"), "{rare}");

    let paused = send(&service, r#"{"n":1}"#).await;
    idle(&service).await;
    service.ask(&["trigger", "disable", "rare"]);
    let trace = service.ask(&["trace", "show", &paused]);
    let explained = trace["conditions"].as_array().unwrap().iter().find(|c| c["topic"] == "in").unwrap();
    assert!(evaluation(explained, "rare")["note"].as_str().unwrap().contains("switched off"), "{trace}");

    service.hexafn(&["topic", "trim", "in", "--below", "3"]);
    let gone = eventually("the record is gone", async || {
        let explained = conditions(&service, &id, "in").await;
        (explained["note"].is_string(), explained)
    })
    .await;
    assert!(gone["note"].as_str().unwrap().contains("the topic keeps what is from sequence 3 on"), "{gone}");
    assert_eq!(gone["evaluations"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_an_event_are_shown_only_to_whoever_may_read_its_topic() {
    let (narrow, first) = token("narrow", &["--scope", "traces:read:*", "--scope", "topics:read:out"]);
    let (all, second) = token("all", &[]);
    let scenario = Scenario::new("pipeline").receiver("http://127.0.0.1:9");
    let scenario = scenario.edit("to = [\"out\", \"file\", \"web\"]", "to = [\"out\", \"big\"]");
    let service = scenario.file("more.toml", MORE).file("tokens.toml", &format!("{first}{second}")).start();
    let id = send(&service, r#"{"n":21}"#).await;
    let show = async |token: &str| {
        let request = client().get(service.url(&format!("/admin/traces/{id}"))).bearer_auth(token);
        answer(request).await.json["conditions"].clone()
    };
    let of = |conditions: &Value, topic: &str| {
        conditions.as_array().into_iter().flatten().find(|c| c["topic"] == topic).cloned().unwrap_or_default()
    };
    eventually("both topics are explained to whoever may see all", async || {
        let seen = show(&all).await;
        (of(&seen, "in")["evaluations"][0].is_object() && of(&seen, "out")["evaluations"][0].is_object(), seen)
    })
    .await;
    let seen = show(&narrow).await;
    assert_eq!(of(&seen, "in")["evaluations"], json!([]), "{seen}");
    assert!(of(&seen, "in")["note"].as_str().unwrap().contains("topics:read:in"), "{seen}");
    assert!(of(&seen, "out")["evaluations"][0]["explanation"].is_string(), "{seen}");
}
