//! Subscriptions in the hands of a person: replay from a place, pause that outlives a crash, forgetting.

use super::sender::{client, publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, node, subscription};
use serde_json::{Value, json};

/// Without the retention of `in`: a replay needs what was handled.
fn start() -> Service {
    Scenario::new("topics").edit("retention = { count = 2 }", "").start()
}

/// Sends five events, and waits for their copies; the ids of the copies.
async fn five(service: &Service) -> Vec<String> {
    let mut copies = Vec::new();
    for n in 0..5 {
        copies.push(format!("{}-copy", send(service, &format!("{{\"n\":{n}}}")).await));
    }
    events_when(service, "out", 5).await;
    idle(service).await;
    copies
}

/// The ids of the results from the one at `at` on, in order.
async fn results_from(service: &Service, at: usize, count: usize) -> Vec<String> {
    events_when(service, "out", at + count).await;
    idle(service).await;
    let out = events(service, "out").await;
    out[at..].iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_from_the_start_runs_every_event_again_under_the_same_ids_and_survives_a_restart() {
    let mut service = start();
    let copies = five(&service).await;
    assert_eq!(service.ask(&["sub", "replay", "trigger.copy", "--from", "all"])["did"], "replay");
    assert_eq!(results_from(&service, 5, 5).await, copies);
    let new = format!("{}-copy", send(&service, "{}").await);
    assert_eq!(results_from(&service, 10, 1).await, [new], "then it goes on with what is new");
    // Its neighbour on the same topic was not replayed.
    assert_eq!(events(&service, "mirrored").await.len(), 6);
    service.kill_and_restart();
    idle(&service).await;
    assert_eq!(events(&service, "out").await.len(), 11, "the replay is not begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_from_a_time_begins_with_the_first_event_that_was_stored_then() {
    let service = start();
    let copies = five(&service).await;
    let stored = events(&service, "in").await;
    let time = stored[2]["stored"].as_str().unwrap();
    let first = stored.iter().position(|e| e["stored"] == time).unwrap();
    service.ask(&["sub", "replay", "trigger.copy", "--from", time]);
    assert_eq!(results_from(&service, 5, 5 - first).await, copies[first..]);
    // From a time with an offset, before everything, and from one that is to come.
    let done = 10 - first;
    service.ask(&["sub", "replay", "trigger.copy", "--from", "2020-01-01T00:00:00+01:00"]);
    assert_eq!(results_from(&service, done, 5).await, copies);
    service.ask(&["sub", "replay", "trigger.copy", "--from", "2100-01-01T00:00:00Z"]);
    let new = format!("{}-copy", send(&service, "{}").await);
    assert_eq!(results_from(&service, done + 5, 1).await, [new]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_from_a_sequence_or_from_what_is_new_begins_there() {
    let service = start();
    let copies = five(&service).await;
    service.ask(&["sub", "replay", "trigger.copy", "--from", "4"]);
    assert_eq!(results_from(&service, 5, 2).await, copies[3..]);
    // What waits is passed over by going on with what is new.
    service.ask(&["sub", "pause", "trigger.copy"]);
    send(&service, r#"{"n":"passed over"}"#).await;
    service.ask(&["sub", "replay", "trigger.copy", "--from", "new"]);
    service.ask(&["sub", "resume", "trigger.copy"]);
    let new = format!("{}-copy", send(&service, "{}").await);
    assert_eq!(results_from(&service, 7, 1).await, [new]);
}

/// Paused, with so many events that wait, and nothing under way.
async fn paused(service: &Service, waiting: u64) {
    let row = subscription(service, "trigger.copy").await;
    let seen = (&row["paused"], &row["lag"], &row["in_flight"]);
    assert_eq!(seen, (&true.into(), &waiting.into(), &0.into()), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_survives_kill_9_and_a_restart_of_its_topic_and_ends_by_hand() {
    let mut service = start();
    let told = service.ask(&["sub", "pause", "trigger.copy"]);
    assert_eq!(told, json!({ "subscription": "trigger.copy", "did": "pause" }));
    // The neighbour on the same topic has what came: the topic has served it, and could have served the other.
    let mut sent = Vec::new();
    for kill in [false, true, true] {
        if kill {
            service.kill_and_restart();
        }
        sent.push(send(&service, "{}").await);
        events_when(&service, "mirrored", sent.len()).await;
        paused(&service, sent.len() as u64).await;
    }
    let before = node(&service, "/topics/in").await["incarnation"].as_u64().unwrap();
    service.ask(&["actors", "restart", "/topics/in"]);
    eventually("the topic's actor", async || {
        let node = node(&service, "/topics/in").await;
        (node["state"] == "running" && node["incarnation"].as_u64().unwrap() > before, node)
    })
    .await;
    sent.push(send(&service, "{}").await);
    events_when(&service, "mirrored", sent.len()).await;
    paused(&service, sent.len() as u64).await;
    assert_eq!(events(&service, "out").await.len(), 0);

    let told = service.ask(&["sub", "resume", "trigger.copy"]);
    assert_eq!(told, json!({ "subscription": "trigger.copy", "did": "resume" }));
    let out = events_when(&service, "out", sent.len()).await;
    let mut expected: Vec<String> = sent.iter().map(|id| format!("{id}-copy")).collect();
    expected.sort();
    assert_eq!(ids_of(&out), expected, "all that waited, once");
    service.kill_and_restart();
    assert_eq!(subscription(&service, "trigger.copy").await["paused"], false, "the end of a pause is kept too");
    send(&service, "{}").await;
    events_when(&service, "out", sent.len() + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_on_several_topics_holds_on_each_and_on_those_that_come_later() {
    let mut service = start();
    publish(&service, "region.eu", "{}").await;
    events_when(&service, "regions", 1).await;
    service.ask(&["sub", "pause", "trigger.regions"]);
    service.kill_and_restart();
    for topic in ["region.eu", "region.us"] {
        publish(&service, topic, "{}").await;
    }
    let rows = eventually("both topics", async || {
        let rows = service.ask(&["sub", "show", "trigger.regions"]);
        (rows.as_array().is_some_and(|r| r.iter().filter(|r| r["lag"] == 1).count() == 2), rows)
    })
    .await;
    assert!(rows.as_array().unwrap().iter().all(|r| r["paused"] == true && r["in_flight"] == 0), "{rows}");
    assert_eq!(events(&service, "regions").await.len(), 1);
    service.ask(&["sub", "resume", "trigger.regions"]);
    events_when(&service, "regions", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_or_is_in_use_is_not_forgotten_and_what_is_left_over_is() {
    let service = start();
    for args in [&["rm", "trigger.cpoy"][..], &["pause", "trigger.cpoy"], &["show", "trigger.cpoy"]] {
        let refused = service.hexafn(&[&["-o", "json", "sub"], args].concat());
        let problem: Value = serde_json::from_str(&refused.err).unwrap_or_else(|e| panic!("{e}: {refused:?}"));
        assert_eq!((refused.code, &problem["status"]), (Some(1), &404.into()), "{args:?}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("trigger.copy"), "what was probably meant: {problem}");
    }
    let used = client().delete(service.url("/admin/subscriptions/trigger.copy")).send().await.unwrap();
    assert_eq!(used.status().as_u16(), 409, "it is configured");
    assert_eq!(service.hexafn(&["sub", "rm", "trigger.copy"]).code, Some(1));

    // A trigger that is taken away leaves its place behind, until it is forgotten. Then it begins anew.
    five(&service).await;
    let with = service.scenario.text();
    service.edit("[[trigger]]\nname = \"copy\"\non = \"in\"\nto = [\"out\"]\n", "");
    service.ask(&["reload"]);
    let told = service.ask(&["sub", "rm", "trigger.copy"]);
    assert_eq!(told["subscription"], "trigger.copy", "{told}");
    assert_eq!(service.hexafn(&["sub", "rm", "trigger.copy"]).code, Some(1), "once");
    send(&service, r#"{"n":"while it is not there"}"#).await;
    service.configure("hexafn.toml", &with);
    service.ask(&["reload"]);
    let new = format!("{}-copy", send(&service, "{}").await);
    assert_eq!(results_from(&service, 5, 1).await, [new], "a trigger that is new begins with what comes after it");
}
