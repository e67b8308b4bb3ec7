//! One trigger, four targets: what hangs, refuses or is slow holds up nobody, and afterwards everything arrives.

use super::receiver::{Answer, Receiver};
use super::sender::{answer, client};
use super::service::{Scenario, Service};
use super::watch::{eventually, idle};
use std::collections::BTreeMap;
use std::time::Duration;

const EVENTS: usize = 2_000;
/// The `concurrency` of the slow target. A slot is free for the next delivery when what came of the one before is written, so
/// that is how many a kill repeats at most.
const SLOTS: usize = 256;

/// The ids of the events that a target got, without what their results' ids have beside them.
fn got(receiver: &Receiver, path: &str) -> Vec<String> {
    let mut ids: Vec<String> = receiver.ids(path).iter().map(|id| id.split('-').next().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// Sends CloudEvents in batches; gives their ids.
async fn send_many(service: &Service) -> Vec<String> {
    let mut ids = Vec::new();
    for batch in 0..EVENTS / 100 {
        let events: Vec<serde_json::Value> = (0..100)
            .map(|n| {
                let id = format!("e{}", batch * 100 + n);
                ids.push(id.clone());
                serde_json::json!({ "specversion": "1.0", "id": id, "source": "/t", "type": "t", "data": { "n": n } })
            })
            .collect();
        let body = serde_json::Value::from(events).to_string();
        let request = client().post(service.url("/hooks/in")).body(body);
        let answered = answer(request.header("content-type", "application/cloudevents-batch+json")).await;
        assert_eq!(answered.status, 202, "{}", answered.text);
    }
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_targets_hold_up_no_good_one_and_get_everything_when_they_recover() {
    let receiver = Receiver::start().await;
    receiver.answer("/hangs", Answer::Hang);
    receiver.answer("/busy", Answer::Status(503));
    receiver.answer("/slow", Answer::Slow(Duration::from_millis(200)));
    let mut service = Scenario::new("isolation").receiver(&receiver.base).start();
    let ids = send_many(&service).await;

    // The healthy one has everything while nothing has arrived at two of its neighbours.
    eventually("the healthy target has everything", async || {
        let got = got(&receiver, "/good");
        (got.len() == EVENTS, got.len())
    })
    .await;
    assert_eq!(receiver.seen("/good").len(), EVENTS, "each once");
    assert_eq!(got(&receiver, "/good"), ids);
    let tree = service.hexafn(&["-o", "json", "sub", "ls"]).json();
    let waiting = |name: &str| {
        let row = tree.as_array().unwrap().iter().find(|row| row["name"] == format!("target.{name}")).cloned();
        row.unwrap_or_else(|| panic!("{tree}"))
    };
    assert!(
        waiting("busy").to_string().contains("503") || waiting("busy")["lag"].as_u64() > Some(0),
        "{}",
        waiting("busy")
    );

    // Killed with thousands of deliveries under way; then both recover.
    service.kill_and_restart();
    let before: BTreeMap<&str, usize> =
        ["/hangs", "/busy", "/slow"].into_iter().map(|path| (path, receiver.seen(path).len())).collect();
    for path in ["/hangs", "/busy", "/slow"] {
        receiver.answer(path, Answer::Status(200));
    }
    service.ask(&["target", "reset", "hangs"]);
    service.ask(&["target", "reset", "busy"]);
    for path in ["/hangs", "/busy", "/slow"] {
        eventually(&format!("{path} has everything"), async || {
            let got = receiver.ids(path);
            (got.len() == EVENTS, got.len())
        })
        .await;
        assert_eq!(got(&receiver, path), ids, "{path}");
    }
    idle(&service).await;
    // A kill repeats what was not settled, under the same id. (The good one had nothing in flight.)
    assert_eq!(receiver.seen("/good").len(), EVENTS);
    let repeated = receiver.seen("/slow").len() - EVENTS;
    assert!(repeated <= SLOTS, "{repeated} repeated of {before:?}");
}
