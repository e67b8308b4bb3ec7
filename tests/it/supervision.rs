//! The tree of actors in the hands of a person: seen, restarted, stopped and started.

use super::sender::{post, send};
use super::service::{Scenario, Service};
use super::watch::{Live, events_when, eventually, ids_of, node, state, subscription};

fn start() -> Service {
    Scenario::new("supervision").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_can_be_seen_live_and_every_kind_of_actor_restarted_without_a_loss() {
    let service = start();
    let mut live = Live::open(&service, "/ws/actors").await;
    let first = live.json().await;
    assert!(first["nodes"].as_array().unwrap().iter().any(|n| n["path"] == "/triggers/copy"), "{first}");
    let mut sent = Vec::new();
    for path in ["/triggers/copy", "/topics/in", "/topics/out", "/watch/traces", "/triggers", "/topics", "/journal"] {
        let one = path.matches('/').count() > 1 || path == "/journal";
        let before = if one { Some(node(&service, path).await) } else { None };
        sent.push(format!("{}-copy", send(&service, "{}").await));
        let shown = service.hexafn(&["actors", "restart", path]);
        assert_eq!(shown.code, Some(0), "{path}: {}", shown.err);
        let after = state(&service, path, "running").await;
        if let Some(before) = before {
            assert!(after["incarnation"].as_u64() > before["incarnation"].as_u64(), "{path}: a fresh actor: {after}");
        }
        sent.push(eventually_sent(&service).await);
    }
    let out = events_when(&service, "out", sent.len()).await;
    sent.sort();
    assert_eq!(ids_of(&out), sent, "each event once");
    while !live.json().await.to_string().contains("/topics/in") {}
}

/// A person's restart of the journal or a topic is answered 503 for a moment: sent again as a client would.
async fn eventually_sent(service: &Service) -> String {
    let told = eventually("the event to be taken", async || {
        let (status, told) = post(&service.url("/hooks/in"), &[], "{}").await;
        assert!(status == 202 || status == 503, "{status} {told}");
        (status == 202, told)
    })
    .await;
    format!("{}-copy", told["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_group_waits_for_a_person_and_says_so() {
    let service = start();
    service.ask(&["actors", "stop", "/triggers"]);
    state(&service, "/triggers/copy", "stopped").await;
    let id = send(&service, "{}").await;
    let row = subscription(&service, "trigger.copy").await;
    assert_eq!(row["ack_floor"], 0, "the event waits: {row}");
    let people = service.hexafn(&["actors", "ls"]).out;
    assert!(people.lines().any(|l| l.starts_with("/triggers/copy") && l.contains("stopped")), "{people}");
    service.ask(&["actors", "start", "/triggers"]);
    let out = events_when(&service, "out", 1).await;
    assert_eq!(out[0]["id"], *format!("{id}-copy"));
    let wrong = service.hexafn(&["actors", "start", "/triggers/copy"]);
    assert_eq!(wrong.code, Some(1), "it runs already");
    assert!(wrong.err.contains("control-refused"), "{wrong:?}");
    let unknown = service.hexafn(&["actors", "restart", "/triggers/cpy"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("/triggers/copy"), "what exists is named: {unknown:?}");
    let (status, problem) =
        post(&service.url("/admin/actors/control"), &[], r#"{"path":"/triggers/copy","verb":"explode"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("body-invalid")), "{problem}");
}
