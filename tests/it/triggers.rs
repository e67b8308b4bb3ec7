//! Triggers that fail: quarantine, fallbacks, endless functions, circles, poison; and how they are repaired.

use super::sender::{publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, node, state, subscription};
use serde_json::Value;

fn start() -> Service {
    Scenario::new("supervision").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_trigger_keeps_its_events_and_is_revived_after_its_repair() {
    let mut service = start();
    let mut sent = Vec::new();
    for n in 0..12 {
        sent.push(format!("{}-broken", publish(&service, "bad", &format!("{{\"n\":{n}}}")).await));
    }
    let node = state(&service, "/triggers/broken", "quarantined").await;
    assert!(node["last_failure"]["message"].as_str().unwrap().contains("always"), "{node}");
    let alerts = events_when(&service, "hexafn.alerts", 1).await;
    assert_eq!(alerts[0]["type"], "hexafn.alert.actor.quarantined", "{}", alerts[0]);
    assert_eq!(alerts[0]["subject"], "/triggers/broken");
    // Its neighbours work.
    let id = send(&service, "{}").await;
    assert_eq!(events_when(&service, "out", 1).await[0]["id"], *format!("{id}-copy"));

    // Repaired, it does what waited: nothing was lost meanwhile.
    service.edit("fail \"always\"", "event.data");
    service.ask(&["reload"]);
    assert_eq!(service.ask(&["trigger", "enable", "broken"])["enabled"], true);
    state(&service, "/triggers/broken", "running").await;
    assert_eq!(service.hexafn(&["sub", "retry", "trigger.broken"]).code, Some(0));
    events_when(&service, "mended", sent.len()).await;
    idle(&service).await;
    sent.sort();
    assert_eq!(ids_of(&events(&service, "mended").await), sent);
    assert_eq!(events(&service, "hexafn.dead.trigger.broken").await.len(), 0);
    service.kill_and_restart();
    assert_eq!(events(&service, "mended").await.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_answers_for_what_fails_and_the_trace_says_so() {
    let service = start();
    let id = publish(&service, "chain", r#"{"n":1}"#).await;
    let chained = events_when(&service, "chained", 1).await;
    assert_eq!((&chained[0]["data"]["by"], &chained[0]["data"]["n"]), (&"third".into(), &1.into()), "{}", chained[0]);
    let runs = eventually("the runs", async || {
        let trace = service.ask(&["trace", "show", &id]);
        let of = |s: &&Value| s["stage"] == "executed";
        let steps: Vec<Value> = trace["steps"].as_array().unwrap().iter().filter(of).cloned().collect();
        (steps.len() == 3, steps)
    })
    .await;
    let runs: Vec<(&str, bool)> =
        runs.iter().map(|s| (s["name"].as_str().unwrap(), s["ok"].as_bool().unwrap())).collect();
    assert_eq!(runs, [("first", false), ("second", false), ("third", true)]);
    assert_eq!(service.ask(&["trigger", "show", "chain"])["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_does_not_end_is_ended_and_becomes_a_dead_letter() {
    let service = start();
    publish(&service, "endless", "{}").await;
    let id = send(&service, "{}").await;
    assert_eq!(events_when(&service, "out", 1).await[0]["id"], *format!("{id}-copy"));
    let dead = events_when(&service, "hexafn.dead.trigger.endless", 1).await;
    let why = &dead[0]["extensions"];
    assert_eq!(why["deadby"], "trigger.endless", "{why}");
    let cause = why["deadcause"].as_str().unwrap();
    assert!(cause.contains("time") || cause.contains("budget") || cause.contains("steps"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_ends_in_a_dead_letter_and_not_in_a_quarantine() {
    let service = start();
    publish(&service, "ring", r#"{"times":"many"}"#).await;
    let dead = events_when(&service, "hexafn.dead.trigger.around", 1).await;
    assert!(dead[0]["extensions"]["deadcause"].as_str().unwrap().contains("16"), "{}", dead[0]);
    publish(&service, "ring", r#"{"times":"once"}"#).await;
    eventually("the next event", async || {
        let row = subscription(&service, "trigger.around").await;
        (row["lag"] == 0 && row["ack_floor"] == 18, row)
    })
    .await;
    assert_eq!(node(&service, "/triggers/around").await["state"], "running", "one event is not the trigger's fault");
    assert_eq!(events(&service, "ring").await.len(), 18, "the first, 16 rounds, and the other one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_is_put_aside_and_can_be_run_again_after_the_repair() {
    let service = start();
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(format!("{}-picky", publish(&service, "picked", &format!("{{\"n\":{n}}}")).await));
    }
    let dead = events_when(&service, "hexafn.dead.trigger.picky", 1).await;
    let why = &dead[0]["extensions"];
    assert_eq!((&dead[0]["data"]["n"], &why["deadattempts"]), (&3.into(), &"2".into()), "{why}");
    assert!(why["deadcause"].as_str().unwrap().contains("poison"), "{why}");
    assert_eq!(events_when(&service, "picks", 4).await.len(), 4);
    assert_eq!(node(&service, "/triggers/picky").await["state"], "running");

    service.edit("if event.data.n == 3 { fail \"poison\" } else { event.data }", "event.data");
    service.ask(&["reload"]);
    let replayed = service.hexafn(&["sub", "replay", "trigger.picky", "--from", "3"]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    let picks = events_when(&service, "picks", 7).await;
    let mut expected = ids.split_off(2);
    expected.sort();
    assert_eq!(ids_of(&picks[4..]), expected, "from the third on, under the same ids as the first time");
}
