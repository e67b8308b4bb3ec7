//! The way of an event: trigger, function, targets, reload, crash.

use super::service::{Service, eventually, post, receiver};

const PIPE: &str = r#"
[targets]
allow_networks = ["127.0.0.0/8"]
[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
[[trigger]]
name = "double"
on = "in"
when = "event.data.n > 0"
run = "double"
to = ["out", "file", "web"]
[[function]]
name = "double"
code = "{ id: event.id, n: event.data.n * 2 }"
[[target]]
name = "out"
kind = "topic"
[[target]]
name = "file"
kind = "file"
path = "data/out.jsonl"
[[target]]
name = "web"
kind = "http"
url = "URL"
retry = { schedule = ["50ms", "50ms"], jitter = 0.0 }
"#;

async fn outputs(service: &Service, count: usize) -> serde_json::Value {
    eventually("outputs", async || {
        let events = service.ask(&["topic", "events", "out", "--limit", "1000"]);
        (events.as_array().is_some_and(|e| e.len() >= count), events)
    })
    .await
}

#[tokio::test]
async fn a_result_reaches_topic_file_and_receiver_and_the_trace_tells() {
    let (url, seen) = receiver(&[503, 503, 200]).await;
    let service = Service::start(&[("a.toml", &PIPE.replace("URL", &url))]);
    let (status, told) = post(&service.url("/hooks/in"), &[], r#"{"n":21}"#).await;
    assert_eq!(status, 202);
    let id = told["id"].as_str().unwrap();
    let out = outputs(&service, 1).await;
    assert_eq!((out[0]["data"]["n"].as_i64(), out[0]["id"].as_str()), (Some(42), Some(&*format!("{id}-double"))));
    eventually("the receiver's third attempt", async || {
        let n = seen.lock().unwrap().len();
        (n >= 3, n)
    })
    .await;
    let seen = seen.lock().unwrap().clone();
    let ids: Vec<_> = seen.iter().map(|r| r.header("webhook-id").unwrap()).collect();
    assert_eq!(ids, vec![format!("{id}-double"); 3], "one idempotency id on every attempt");
    assert!(seen[2].body.contains("\"n\":42"), "{}", seen[2].body);
    assert!(seen[2].header("traceparent").unwrap().contains(told["trace_id"].as_str().unwrap()));
    let file = std::fs::read_to_string(service.path("data/out.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 1);
    eventually("the trace", async || {
        let trace = service.ask(&["trace", "show", id]);
        let stages: Vec<String> =
            trace["steps"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap().to_owned()).collect();
        let all = ["received", "stored", "evaluated", "executed", "produced", "attempted"];
        (all.iter().all(|s| stages.iter().any(|t| t == s)), stages)
    })
    .await;
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter_with_its_cause_and_others_are_not_held_up() {
    let (url, seen) = receiver(&[500]).await;
    let service = Service::start(&[("a.toml", &PIPE.replace("URL", &url))]);
    post(&service.url("/hooks/in"), &[], r#"{"n":1}"#).await;
    let dead = eventually("the dead letter", async || {
        let events = service.ask(&["topic", "events", "hexafn.dead.target.web"]);
        (events.as_array().is_some_and(|e| e.len() == 1), events)
    })
    .await;
    assert_eq!(seen.lock().unwrap().len(), 3, "one attempt and two more");
    assert_eq!(dead[0]["data"]["n"], 2, "the payload as it was");
    let why = &dead[0]["extensions"];
    assert_eq!((why["deadattempts"].as_str(), why["deadby"].as_str()), (Some("3"), Some("target.web")));
    assert!(why["deadcause"].as_str().unwrap().contains("500"), "{why}");
    assert_eq!(std::fs::read_to_string(service.path("data/out.jsonl")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_target_that_hangs_delays_neither_its_neighbours_nor_a_reload() {
    let (url, seen) = receiver(&[0]).await;
    let config = PIPE.replace("URL", &url);
    let service = Service::start(&[("a.toml", &config)]);
    post(&service.url("/hooks/in"), &[], r#"{"n":1}"#).await;
    eventually("the attempt that hangs", async || {
        let n = seen.lock().unwrap().len();
        (n == 1, n)
    })
    .await;
    outputs(&service, 1).await;
    std::fs::write(service.path("cfg/a.toml"), config.replace("* 2", "* 3")).unwrap();
    let applied = service.ask(&["reload"]);
    // The file watcher may have been first.
    assert!(applied["changed"].as_array().is_some(), "{applied}");
    post(&service.url("/hooks/in"), &[], r#"{"n":5}"#).await;
    let out = outputs(&service, 2).await;
    assert_eq!(out[1]["data"]["n"], 15, "the new function works");
    eventually("the second attempt, which hangs beside the first", async || {
        let n = seen.lock().unwrap().len();
        (n == 2, n)
    })
    .await;
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_whole() {
    let (url, _) = receiver(&[200]).await;
    let config = PIPE.replace("URL", &url);
    let service = Service::start(&[("a.toml", &config)]);
    std::fs::write(service.path("cfg/a.toml"), config.replace("n > 0", "n >")).unwrap();
    let refused = service.hexafn(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    let checked = service.hexafn(&["check", "--config", "cfg"]);
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78));
    assert!(text.contains("a.toml:12"), "{text}");
    post(&service.url("/hooks/in"), &[], r#"{"n":4}"#).await;
    assert_eq!(outputs(&service, 1).await[0]["data"]["n"], 8, "the old one goes on");
}

// Senders on threads of their own: asking by the command line blocks the thread that asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_arrives_once() {
    let (url, _) = receiver(&[200]).await;
    let mut service = Service::start(&[("a.toml", &PIPE.replace("URL", &url))]);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=8 {
        let url = service.url("/hooks/in");
        tasks.spawn(async move {
            let client = super::service::client();
            let mut acknowledged = Vec::new();
            loop {
                let sent = client.post(&url).body(format!("{{\"n\":{n}}}")).header("content-type", "application/json");
                let Ok(answer) = sent.send().await else { return acknowledged };
                let Ok(told) = answer.json::<serde_json::Value>().await else { return acknowledged };
                acknowledged.push(told["id"].as_str().unwrap().to_owned());
            }
        });
    }
    eventually("some load", async || {
        let records = service.ask(&["topic", "show", "in"])["records"].as_u64().unwrap();
        (records > 200, records)
    })
    .await;
    service.kill_and_restart();
    let mut acknowledged: Vec<String> = tasks.join_all().await.concat();
    acknowledged.sort();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    eventually("the drain", async || {
        let subs = service.ask(&["sub", "ls"]);
        let idle = subs.as_array().unwrap().iter().all(|s| s["lag"] == 0 && s["in_flight"] == 0 && s["waiting"] == 0);
        (idle, subs)
    })
    .await;
    let mut ids = Vec::new();
    let mut from = 1;
    loop {
        let page = service.ask(&["topic", "events", "out", "--limit", "1000", "--from", &from.to_string()]);
        let page = page.as_array().unwrap();
        let Some(last) = page.last() else { break };
        from = last["seq"].as_u64().unwrap() + 1;
        ids.extend(page.iter().map(|e| e["id"].as_str().unwrap().trim_end_matches("-double").to_owned()));
    }
    ids.sort();
    let unique = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), unique, "an output was written twice");
    for id in &acknowledged {
        assert!(ids.binary_search(id).is_ok(), "{id} was acknowledged and is lost");
    }
}
