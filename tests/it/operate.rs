//! Operating the service: switches, actors, tokens, exit codes.

use super::service::{Service, binary, client, eventually, post};

const CONFIG: &str = r#"
[[source]]
name = "in"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
[[source]]
name = "ask"
kind = "webhook"
topic = "quick"
verify = { scheme = "none" }
reply = { trigger = "answer", timeout = "5s" }
[[topic]]
name = "quick"
durability = "memory"
[[trigger]]
name = "answer"
on = "quick"
run = "sum"
[[trigger]]
name = "copy"
on = "in"
to = ["out"]
[[trigger]]
name = "broken"
on = "bad"
run = "fails"
[[function]]
name = "sum"
code = "{ sum: event.data.a + event.data.b }"
[[function]]
name = "fails"
code = 'fail "always"'
[[target]]
name = "out"
kind = "topic"
"#;

fn count(service: &Service) -> u64 {
    service.ask(&["topic", "show", "out"])["records"].as_u64().unwrap()
}

#[tokio::test]
async fn a_request_is_answered_with_the_result_of_its_trigger() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    let (status, answer) = post(&service.url("/hooks/ask"), &[], r#"{"a":2,"b":40}"#).await;
    assert_eq!((status, answer["sum"].as_i64()), (200, Some(42)), "{answer}");
    let (status, problem) = post(&service.url("/hooks/ask"), &[], r#"{"a":2,"b":"x"}"#).await;
    assert_eq!((status, problem["code"].as_str()), (502, Some("function-failed")), "{problem}");
}

#[tokio::test]
async fn a_switch_survives_a_restart_and_sigterm_drains() {
    let mut service = Service::start(&[("a.toml", CONFIG)]);
    assert_eq!(service.ask(&["trigger", "disable", "copy"])["enabled"], false);
    assert_eq!(service.terminate(), Some(0));
    service.start_again();
    assert_eq!(service.ask(&["trigger", "show", "copy"])["enabled"], false);
    post(&service.url("/hooks/in"), &[], "{}").await;
    eventually("the event to pass by", async || {
        let lag = service.ask(&["sub", "show", "trigger.copy"])[0]["lag"].as_u64().unwrap();
        (lag == 0, lag)
    })
    .await;
    assert_eq!(count(&service), 0);
    service.ask(&["trigger", "enable", "copy"]);
    post(&service.url("/hooks/in"), &[], "{}").await;
    eventually("the copy", async || (count(&service) == 1, count(&service))).await;
}

#[tokio::test]
async fn events_of_a_stopped_actor_wait_for_it() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    service.ask(&["actors", "stop", "/triggers/copy"]);
    post(&service.url("/hooks/in"), &[], "{}").await;
    assert_eq!(count(&service), 0);
    service.ask(&["actors", "start", "/triggers/copy"]);
    eventually("the copy", async || (count(&service) == 1, count(&service))).await;
    let unknown = service.hexafn(&["actors", "restart", "/triggers/cpy"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("/triggers/copy"), "what exists is named");
}

#[tokio::test]
async fn a_trigger_that_always_fails_is_quarantined_with_an_alert_and_can_be_enabled() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    for n in 0..12 {
        service.ask(&["publish", "bad", "--data", &format!("{{\"n\":{n}}}")]);
    }
    eventually("the alert", async || {
        let (_, events) = super::service::get(&service.url("/admin/topics/hexafn.alerts/events")).await;
        let found = events["events"].as_array().is_some_and(|e| e.iter().any(|e| e["subject"] == "/triggers/broken"));
        (found, events)
    })
    .await;
    let state = |service: &Service| {
        let nodes = service.ask(&["actors", "ls"]);
        nodes.as_array().unwrap().iter().find(|n| n["path"] == "/triggers/broken").unwrap()["state"].clone()
    };
    assert_eq!(state(&service), "quarantined");
    assert_eq!(service.ask(&["trigger", "show", "copy"])["enabled"], true, "its neighbour lives");
    service.ask(&["trigger", "enable", "broken"]);
}

#[tokio::test]
async fn tokens_open_what_their_scopes_say() {
    let made = binary().args(["token", "new", "reader", "--scope", "topics:read:*"]).output().unwrap();
    let (block, told) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    let token = told.lines().find(|l| l.starts_with("hxf_")).unwrap().to_owned();
    let service = Service::start(&[("a.toml", CONFIG), ("tokens.toml", &block)]);
    let ask = |path: &str, token: Option<&str>| {
        let mut request = client().get(service.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask("/admin/topics", None).await, 401);
    assert_eq!(ask("/admin/topics", Some("hxf_wrong")).await, 401);
    assert_eq!(ask("/admin/topics", Some(&token)).await, 200);
    assert_eq!(ask("/admin/triggers", Some(&token)).await, 403);
    assert_eq!(ask("/metrics", None).await, 401);
    assert_eq!(ask("/health/ready", None).await, 200);
    let refused = service.hexafn(&["topic", "ls"]);
    assert_eq!(refused.status.code(), Some(77));
}

#[tokio::test]
async fn one_data_folder_serves_one_process_and_commands_say_how_they_end() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    let second = binary()
        .args(["serve", "--config", "cfg", "--set", "server.listen=127.0.0.1:0"])
        .current_dir(service.dir.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{}", String::from_utf8_lossy(&second.stderr));
    let nobody = binary().args(["topic", "ls", "--server", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(69));
    assert_eq!(binary().args(["topic", "fly"]).output().unwrap().status.code(), Some(2));
    let open = binary()
        .args(["check", "--config", "cfg"])
        .env("HEXAFN_SERVER__LISTEN", "0.0.0.0:80")
        .current_dir(service.dir.path())
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&open.stderr).contains("token"));
}

#[tokio::test]
async fn a_live_stream_replays_then_follows_without_a_gap() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    for n in 0..50 {
        post(&service.url("/hooks/in"), &[], &format!("{{\"n\":{n}}}")).await;
    }
    let tail = binary()
        .args(["tail", "in", "--from", "all", "-n", "100", "-o", "json"])
        .env("HEXAFN_SERVER", &service.base)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for n in 50..100 {
        post(&service.url("/hooks/in"), &[], &format!("{{\"n\":{n}}}")).await;
    }
    let output = tokio::task::spawn_blocking(|| tail.wait_with_output().unwrap()).await.unwrap();
    let seqs: Vec<u64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn metrics_are_what_prometheus_reads() {
    let service = Service::start(&[("a.toml", CONFIG)]);
    post(&service.url("/hooks/in"), &[], "{}").await;
    let text = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#"hexafn_source_requests_total{outcome="accepted",source="in"} 1"#), "{text}");
    assert!(text.contains("hexafn_journal_syncs_total") && text.contains("process_resident_memory_bytes"), "{text}");
    use std::io::Write;
    let mut check = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("promtool is installed by scripts/deps test");
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
