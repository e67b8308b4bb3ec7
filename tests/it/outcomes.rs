//! What became of deliveries, as events that triggers can listen to; and the picture of the flow.

use super::receiver::{Answer, Receiver};
use super::sender::publish;
use super::service::Scenario;
use super::watch::{events, events_when, eventually, idle};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_breakers_are_told_and_a_trigger_can_act_on_what_was_given_up() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(503));
    let service = Scenario::new("outcomes").receiver(&receiver.base).start();
    let id = publish(&service, "in", r#"{"n":1}"#).await;
    let lost = events_when(&service, "lost", 1).await.remove(0);
    let data = &lost["data"];
    assert_eq!(
        (&data["outcome"], &data["subscription"], &data["attempt"], &data["event_id"]),
        (&json!("dead-lettered"), &json!("target.web"), &json!(3), &json!(format!("{id}-send"))),
        "{lost}"
    );
    assert!(data["cause"].as_str().unwrap().contains("503"), "{lost}");
    let told = events(&service, "hexafn.outcomes").await;
    let of = |kind: &str| told.iter().filter(|e| e["type"] == format!("hexafn.{kind}")).count();
    assert_eq!(
        (of("delivery.retrying"), of("delivery.dead-lettered"), of("delivery.delivered")),
        (2, 1, 0),
        "{told:?}"
    );
    assert!(of("breaker.opened") >= 1, "{told:?}");
    let retrying = told.iter().find(|e| e["type"] == "hexafn.delivery.retrying").unwrap();
    assert!(retrying["data"]["next_attempt"].is_string() && retrying["subject"] == "target.web", "{retrying}");

    receiver.answer("/web", Answer::Status(200));
    // Three probes in a row close it.
    for _ in 0..3 {
        publish(&service, "in", r#"{"n":2}"#).await;
    }
    eventually("the breaker is told to be closed", async || {
        let told = events(&service, "hexafn.outcomes").await;
        (told.iter().any(|e| e["type"] == "hexafn.breaker.closed"), told)
    })
    .await;
    let told = events(&service, "hexafn.outcomes").await;
    assert!(!told.iter().any(|e| e["type"] == "hexafn.delivery.delivered"), "not asked for: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_outcomes_or_none_are_told_as_configured_and_a_reload_changes_that() {
    let receiver = Receiver::start().await;
    let service = Scenario::new("outcomes").receiver(&receiver.base).start();
    let setting = |from: &str, to: &str| {
        service.edit(&format!("outcomes = \"{from}\""), &format!("outcomes = \"{to}\""));
        service.ask(&["reload"]);
    };
    setting("failures", "all");
    let id = publish(&service, "in", r#"{"n":1}"#).await;
    let told = events_when(&service, "hexafn.outcomes", 1).await.remove(0);
    assert_eq!(
        (&told["type"], &told["data"]["event_id"]),
        (&json!("hexafn.delivery.delivered"), &json!(format!("{id}-send")))
    );
    setting("all", "off");
    receiver.answer("/web", Answer::Status(503));
    publish(&service, "in", r#"{"n":2}"#).await;
    receiver.arrivals("/web", 4).await;
    assert_eq!(events(&service, "hexafn.outcomes").await.len(), 1, "nothing is told when it is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flow_is_drawn_in_both_languages() {
    let receiver = Receiver::start().await;
    let service = Scenario::new("outcomes").receiver(&receiver.base).start();
    let dot = service.hexafn(&["graph", "--seconds", "0"]).out;
    for line in [
        "digraph",
        "\"topic.in\" -> \"trigger.send\"",
        "\"trigger.send\" -> \"target.web\"",
        "\"target.lost\" -> \"topic.lost\"",
    ] {
        assert!(dot.contains(line), "{line} is not in\n{dot}");
    }
    let mermaid = service.hexafn(&["graph", "--seconds", "0.1", "--format", "mermaid"]).out;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("trigger send<br/>0.0/s"), "{mermaid}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_not_told_of_its_own_breaker_and_others_are() {
    let receiver = Receiver::start().await;
    receiver.answer("/pager", Answer::Status(503));
    let text = format!(
        "[targets]\nallow_networks = ['127.0.0.0/8']\n\
         [[trigger]]\nname = 'page'\non = 'in'\nto = 'pager'\n\
         [[trigger]]\nname = 'watch'\non = 'hexafn.outcomes'\nto = ['pager', 'log']\n\
         [[target]]\nname = 'log'\nkind = 'topic'\n\
         [[target]]\nname = 'pager'\nkind = 'http'\nurl = '{}/pager'\nformat = 'cloudevents'\n\
         retry = {{ schedule = ['50ms'], jitter = 0.0, max_attempts = 1000 }}\n\
         breaker = {{ failures = 1, successes = 1, open = '100ms', open_max = '100ms' }}\n",
        receiver.base
    );
    let service = Scenario::empty_config().file("hexafn.toml", &text).start();
    publish(&service, "in", r#"{"n":1}"#).await;
    let logged = async |kind: &str, count: usize| {
        eventually(&format!("{count} of {kind}"), async || {
            let told = events(&service, "log").await;
            let of_kind = told.iter().filter(|e| e["type"] == kind && e["subject"] == "pager").count();
            (of_kind >= count, told)
        })
        .await
    };
    // It rests several times, and others are told of each.
    logged("hexafn.breaker.opened", 3).await;
    service.ask(&["target", "disable", "pager"]);
    logged("hexafn.target.disabled", 1).await;
    receiver.answer("/pager", Answer::Status(200));
    service.ask(&["target", "enable", "pager"]);
    logged("hexafn.target.enabled", 1).await;
    idle(&service).await;
    let paged: Vec<String> = receiver.seen("/pager").into_iter().map(|received| received.body).collect();
    assert!(paged.iter().any(|body| body.contains("hexafn.delivery.retrying")), "{paged:?}");
    let own = |body: &&String| body.contains("hexafn.breaker.") || body.contains("hexafn.target.");
    assert_eq!(paged.iter().find(own), None);
}
