//! What a target must not see is nowhere behind it: not in what it is sent, not in traces, and not in what its receiver says.

use super::dead::letters_when;
use super::receiver::{Answer, Receiver};
use super::sender::{client, post};
use super::service::{KEY, Scenario, Service};
use super::watch::{eventually, idle};
use serde_json::{Value, json};

const CONFIG: &str = r#"
[targets]
allow_networks = ["127.0.0.0/8"]

[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
headers = ["x-from", "x-api-token"]

[[trigger]]
name = "pass"
on = "in"
to = ["shy"]

[[target]]
name = "shy"
kind = "http"
url = "{{receiver}}/shy"
format = "cloudevents-binary"
when = "event.data.n > 20 and event.data.secret != 'x'"
headers = { x-from = '${event.headers["x-from"]}', x-api-token = '${event.headers["x-api-token"]}' }
auth = { kind = "bearer", access_token = "file:secrets/key" }
redact = { paths = ["secret"], emails = true, keys = "(?i)token", patterns = ['id-\d+'] }
retry = { schedule = [] }
"#;

async fn start() -> (Receiver, Service) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("pipeline").file("hexafn.toml", CONFIG).receiver(&receiver.base).start();
    (receiver, service)
}

async fn give(service: &Service, id: &str) {
    let headers = [
        ("x-from", "jo@example.org"),
        ("x-api-token", "abc"),
        ("ce-id", id),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-specversion", "1.0"),
        ("ce-owner", "jo@example.org"),
        ("ce-partitionkey", "jo@example.org"),
    ];
    let body = r#"{"secret":"TOPSECRET","n":21,"by":{"jo@example.org":1}}"#;
    let (status, told) = post(&service.url("/hooks/in"), &headers, body).await;
    assert_eq!(status, 202, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_headers_and_names_of_members_reach_no_receiver() {
    let (receiver, service) = start().await;
    give(&service, "1").await;
    let arrived = receiver.arrivals("/shy", 1).await.remove(0);
    assert_eq!(arrived.body, r#"{"secret":"[redacted]","n":21,"by":{"[redacted]":1}}"#);
    for name in ["ce-owner", "ce-partitionkey", "x-from", "x-api-token"] {
        let value = arrived.header(name).unwrap_or_default();
        // In a header of CloudEvents brackets are percent-encoded or not, as its rules say.
        assert!(value.contains("redacted") && !value.contains("example"), "{name}: {value}\n{}", arrived.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_does_not_show_what_the_target_redacts() {
    let (receiver, service) = start().await;
    give(&service, "1").await;
    receiver.arrivals("/shy", 1).await;
    let target = eventually("the condition of the target", async || {
        let trace = service.ask(&["trace", "show", "1"]);
        let all = trace["conditions"].as_array().unwrap();
        let target = all.iter().find(|c| c["topic"] == "in").map(|c| c["evaluations"][0]["targets"][0].clone());
        let target = target.unwrap_or_default();
        (target["name"] == "shy", target)
    })
    .await;
    assert_eq!(target["result"], "holds", "it was tried on the whole event: {target}");
    let parts = target["explanation"].as_str().unwrap();
    assert!(parts.contains("event.data.n = 21"), "what it may see is shown: {parts}");
    assert!(parts.contains("event.data.secret = [redacted]"), "{parts}");
    let people = service.hexafn(&["trace", "show", "1"]).out;
    let trace = client().get(service.url("/admin/traces/1")).send().await.unwrap().text().await.unwrap();
    assert!(people.contains("target shy") && !people.contains("TOPSECRET") && !trace.contains("TOPSECRET"), "{people}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_echoes_is_masked_wherever_it_is_shown() {
    let (receiver, service) = start().await;
    let echo =
        json!({ "got": format!("Bearer {KEY}"), "who": "jo@example.org", "apiToken": { "a": 1 }, "about": "id-77" });
    receiver.answer("/shy", Answer::Json(500, echo.to_string()));
    give(&service, "1").await;
    receiver.arrivals("/shy", 1).await;
    idle(&service).await;
    let expected = json!({ "got": "Bearer ***", "who": "[redacted]", "apiToken": "[redacted]", "about": "[redacted]" });
    let reply = |seen: &Value| serde_json::from_str::<Value>(seen["reply"].as_str().unwrap()).unwrap();
    let log = service.ask(&["target", "log", "shy"]);
    assert_eq!(reply(&log[0]), expected);
    let tested = service.hexafn(&["-o", "json", "target", "test", "shy", "--data", r#"{"n":1}"#]);
    assert_eq!(tested.code, Some(1));
    assert_eq!(reply(&serde_json::from_str(&tested.out).unwrap()), expected);

    // What becomes part of the message of a failure is told to many more: traces, dead letters, `hexafn.outcomes`.
    receiver.answer("/shy", Answer::With(302, format!("location: https://example.com/{KEY}/id-77")));
    give(&service, "2").await;
    receiver.arrivals("/shy", 3).await;
    idle(&service).await;
    let told = service.ask(&["dlq", "list", "target.shy"]);
    let cause = told[1]["cause"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(cause.contains("https://example.com/***/[redacted];"), "{cause}");
    for path in [
        "/admin/dead/target.shy",
        "/admin/topics/hexafn.outcomes/events",
        "/admin/targets/shy",
        "/admin/targets/shy/log",
    ] {
        let text = client().get(service.url(path)).send().await.unwrap().text().await.unwrap();
        assert!(text.len() > 100 && !text.contains(KEY) && !text.contains("jo@example.org"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_edited_is_redacted_again() {
    let (receiver, service) = start().await;
    receiver.answer("/shy", Answer::Status(503));
    give(&service, "late").await;
    letters_when(&service, "target.shy", 1).await;
    let whole = r#"{"secret":"TOPSECRET","n":21,"note":"jo@example.org"}"#;
    let seq = service.ask(&["dlq", "edit", "target.shy", "1", "--data", whole])["seq"].clone();
    let letter = letters_when(&service, "target.shy", 1).await.remove(0);
    assert_eq!(letter["event"]["data"], json!({ "secret": "[redacted]", "n": 21, "note": "[redacted]" }), "{letter}");
    assert!(letter["seq"] == seq && letter["edited"].is_string() && letter["cause"].is_string(), "{letter}");
    receiver.answer("/shy", Answer::Status(200));
    service.ask(&["dlq", "replay", "target.shy", "--all"]);
    let got = receiver.arrivals("/shy", 2).await.remove(1);
    assert!(!got.body.contains("TOPSECRET") && !got.body.contains("jo@"), "{got:?}");
}
