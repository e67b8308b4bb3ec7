//! Operating the service: switches and priorities that survive a restart, the order of triggers, the end, and metrics.

use super::sender::{client, get, post, publish, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, subscription};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

fn start() -> Service {
    Scenario::new("topics").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_survives_a_restart_and_what_passed_by_is_not_run_later() {
    let mut service = start();
    assert_eq!(service.ask(&["trigger", "disable", "copy"])["enabled"], false);
    assert_eq!(service.terminate(), Some(0), "an orderly end");
    service.start_again();
    assert_eq!(service.ask(&["trigger", "show", "copy"])["enabled"], false);
    send(&service, "{}").await;
    eventually("the event to pass by", async || {
        let row = subscription(&service, "trigger.copy").await;
        (row["lag"] == 0, row)
    })
    .await;
    assert_eq!(events(&service, "out").await.len(), 0);
    assert_eq!(service.ask(&["trigger", "enable", "copy"])["enabled"], true);
    let id = send(&service, "{}").await;
    let out = events_when(&service, "out", 1).await;
    assert_eq!((out.len(), &out[0]["id"]), (1, &format!("{id}-copy").into()));
    service.kill_and_restart();
    assert_eq!(service.ask(&["trigger", "show", "copy"])["enabled"], true);
}

/// Publishes to the topic of `low` and `high`, ten times; the triggers in the order of their results.
async fn order(service: &Service) -> Vec<String> {
    let before = events(service, "ranks").await.len();
    for n in 0..10 {
        publish(service, "ranked", "{}").await;
        // One after the other, so that both have the same event before them.
        events_when(service, "ranks", before + 2 * (n + 1)).await;
    }
    let ranks = events(service, "ranks").await;
    ranks[before..].iter().map(|e| e["source"].as_str().unwrap().trim_start_matches("/triggers/").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trigger_of_higher_priority_runs_first_and_a_changed_priority_survives_a_restart() {
    let mut service = start();
    let high_first = ["high", "low"].repeat(10);
    let low_first = ["low", "high"].repeat(10);
    assert_eq!(order(&service).await, high_first, "though `low` is written before it");
    let listed = service.ask(&["trigger", "ls"]);
    let of = |name: &str| listed.as_array().unwrap().iter().find(|t| t["name"] == name).unwrap()["priority"].clone();
    assert_eq!((of("low"), of("high")), (json!(0), json!(10)));

    let patched = client().patch(service.url("/admin/triggers/low")).json(&json!({ "priority": 20 })).send().await;
    let patched: Value = patched.unwrap().json().await.unwrap();
    assert_eq!((&patched["name"], &patched["priority"]), (&"low".into(), &20.into()), "{patched}");
    assert_eq!(order(&service).await, low_first, "at once");
    service.kill_and_restart();
    assert_eq!(service.ask(&["trigger", "show", "low"])["priority"], 20);
    assert_eq!(order(&service).await, low_first, "after the restart");

    // By the command line, and below what is not set.
    assert_eq!(service.ask(&["trigger", "priority", "low", "-5"])["priority"], -5);
    assert_eq!(order(&service).await, high_first);
    // A definition that is written anew counts again.
    service.edit("priority = 10", "priority = -10");
    service.ask(&["reload"]);
    assert_eq!(service.ask(&["trigger", "show", "high"])["priority"], -10);
    assert_eq!(order(&service).await, low_first);
    let unknown = service.hexafn(&["trigger", "priority", "hihg", "1"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("high"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_drain_at_once() {
    let mut service = start();
    let address = service.base.trim_start_matches("http://").to_owned();
    // A request whose body does not come is waited for.
    let mut slow = std::net::TcpStream::connect(&address).unwrap();
    let head = format!("POST /hooks/in HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\n\r\n{{");
    slow.write_all(head.as_bytes()).unwrap();
    eventually("the request to have begun", async || {
        let text = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
        (text.contains("hexafn_request_body_bytes 1\n"), ())
    })
    .await;
    service.signal("TERM");
    eventually("the drain to have begun", async || (std::net::TcpStream::connect(&address).is_err(), ())).await;
    let began = std::time::Instant::now();
    assert_eq!(service.terminate(), Some(143));
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_what_prometheus_reads_and_count_what_happened() {
    let service = start();
    send(&service, "{}").await;
    post(&service.url("/hooks/in"), &[], "{").await;
    events_when(&service, "out", 1).await;
    let text = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        r#"hexafn_source_requests_total{outcome="accepted",source="in"} 1"#,
        r#"hexafn_source_requests_total{outcome="invalid",source="in"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("hexafn_journal_syncs_total") && text.contains("process_resident_memory_bytes"), "{text}");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by scripts/deps test");
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(get(&service.url("/health/ready")).await.0, 200);
}
