//! The way of an event: from a signed webhook through trigger and function to a topic, a file and a receiver; retries;
//! requests that are answered with the result.

use super::receiver::{Answer, Receiver};
use super::sender::{get, post, send, standard};
use super::service::Scenario;
use super::watch::{Live, events, events_when, eventually};
use serde_json::Value;
use std::time::{Duration, Instant};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/github");

/// The stages of a trace, in its order.
fn stages(trace: &Value) -> Vec<&str> {
    trace["steps"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_takes_a_push_to_a_topic_a_file_and_a_receiver() {
    let receiver = Receiver::start().await;
    let scenario = Scenario::empty();
    assert_eq!(scenario.run(&["new", "cfg"]).code, Some(0));
    assert_eq!(scenario.run(&["new", "cfg"]).code, Some(1), "what is there is not overwritten");
    let checked = scenario.run(&["check", "--config", "cfg"]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    scenario.lay("walk");
    let service = scenario.receiver(&receiver.base).start();

    let mut live = Live::open(&service, "/ws/topics/%3E?from=all").await;
    let push = |id: &'static str| {
        let data = format!("@{FIXTURES}/push.json");
        service.ask(&["hook", "send", "github", "--config", "cfg", "--event", "push", "--id", id, "-d", &data])
    };
    let told = push("1");
    assert_eq!((&told["topic"], &told["durability"]), (&"github".into(), &"disk".into()), "{told}");
    let (id, trace_id) = (told["id"].as_str().unwrap(), told["trace_id"].as_str().unwrap());
    let result = format!("{id}-big-push");

    // Live: the push, then its summary.
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = live.json().await;
        let topic = event["topic"].as_str().unwrap().to_owned();
        if !topic.starts_with("hexafn.") {
            seen.push((topic, event["id"].as_str().unwrap().to_owned()));
        }
    }
    seen.sort();
    assert_eq!(seen, [("github".into(), id.to_owned()), ("pushes".into(), result.clone())]);

    // Stored as it was sent; the topic, the receiver and the file have the same summary.
    let sent: Value = serde_json::from_slice(&std::fs::read(format!("{FIXTURES}/push.json")).unwrap()).unwrap();
    assert_eq!(events(&service, "github").await[0]["data"], sent);
    let summary = events_when(&service, "pushes", 1).await.remove(0);
    assert_eq!((summary["id"].as_str(), summary["trace_id"].as_str()), (Some(&*result), Some(trace_id)));
    assert_eq!((&summary["data"]["repository"], &summary["data"]["count"]), (&"pier/quay".into(), &6.into()));
    let arrived = receiver.arrivals("/chat", 1).await.remove(0);
    assert_eq!(serde_json::from_str::<Value>(&arrived.body).unwrap(), summary["data"]);
    assert_eq!(arrived.id(), result);
    let timestamp = arrived.header("webhook-timestamp").unwrap();
    assert_eq!(arrived.header("webhook-signature").unwrap(), standard(&result, timestamp, &arrived.body));
    assert!(arrived.header("traceparent").unwrap().contains(trace_id));
    let file = eventually("the line of the file", async || {
        let text = std::fs::read_to_string(service.path("data/out/audit.jsonl")).unwrap_or_default();
        (text.ends_with('\n'), text)
    })
    .await;
    let lines: Vec<Value> = file.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, [summary["data"].clone()]);

    // Every step can be told, by the event and by the trace.
    for id in [id, trace_id] {
        eventually("the steps of the push, in order", async || {
            let trace = service.ask(&["trace", "show", id]);
            // Produced for three targets; the topic needs no attempt.
            let first = ["received", "stored", "evaluated", "executed", "produced", "produced", "produced"];
            (stages(&trace) == [&first[..], &["attempted"; 2]].concat(), trace)
        })
        .await;
    }
    let people = service.hexafn(&["trace", "show", id]).out;
    assert!(people.contains("summarize") && people.contains("chat"), "{people}");

    let again = push("1");
    assert_eq!((&again["id"], &again["duplicate"]), (&told["id"], &true.into()), "the same delivery again is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_tried_again_under_one_id_and_the_trace_tells_every_attempt() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(503));
    let service = Scenario::new("pipeline").receiver(&receiver.base).start();
    let id = send(&service, r#"{"n":21}"#).await;
    receiver.arrivals("/web", 2).await;
    receiver.answer("/web", Answer::Status(200));
    let trace = eventually("the attempt that succeeds", async || {
        let trace = service.ask(&["trace", "show", &id]);
        let steps = trace["steps"].as_array().unwrap();
        (steps.iter().any(|s| s["stage"] == "attempted" && s["name"] == "web" && s["ok"] == true), trace)
    })
    .await;
    let attempts: Vec<&Value> =
        trace["steps"].as_array().unwrap().iter().filter(|s| s["stage"] == "attempted" && s["name"] == "web").collect();
    let (last, failed) = attempts.split_last().unwrap();
    assert!(failed.len() >= 2 && failed.iter().all(|s| s["ok"] == false), "{trace}");
    assert_eq!(last["ok"], true, "nothing comes after a success: {trace}");
    let seen = receiver.seen("/web");
    assert_eq!((seen.len(), receiver.ids("/web")), (attempts.len(), vec![format!("{id}-double")]), "one id");
    assert!(seen.iter().all(|r| r.body == seen[0].body), "and the same body: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_with_the_result_of_its_trigger_and_else_with_what_became_of_it() {
    let service = Scenario::new("supervision").start();
    let ask = async |body: &str| post(&service.url("/hooks/ask"), &[], body).await;
    let (status, answer) = ask(r#"{"a":2,"b":40}"#).await;
    assert_eq!((status, answer), (200, serde_json::json!({ "sum": 42 })));
    assert_eq!(events(&service, "asked").await.len(), 1, "and it is on disk");
    let (status, problem) = ask(r#"{"a":2,"b":"x"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (502, Some("function-failed")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.contains("event.data") && !detail.contains("HX"), "the program is not the sender's: {detail}");
    assert_eq!(ask(r#"{"a":-2,"b":40}"#).await.0, 204, "the trigger passes it over: there is no result");
    // It is switched off: there will be no result, and nobody is waited for.
    service.ask(&["trigger", "disable", "answer"]);
    let began = Instant::now();
    assert_eq!(ask(r#"{"a":2,"b":40}"#).await.0, 204);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    service.ask(&["trigger", "enable", "answer"]);
    // Nobody answers: the event is taken, and is worked on later.
    service.ask(&["actors", "stop", "/triggers/answer"]);
    service.edit("timeout = \"10s\"", "timeout = \"100ms\"");
    service.ask(&["reload"]);
    let (status, told) = ask(r#"{"a":1,"b":1}"#).await;
    assert_eq!((status, told["durability"].as_str()), (202, Some("disk")), "{told}");
    let (_, stored) = get(&service.url("/admin/topics/asked/events?from=5")).await;
    assert_eq!(stored["events"][0]["id"], told["id"]);
}
