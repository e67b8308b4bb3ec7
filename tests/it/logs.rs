//! The log: lines with ids, results, durations and the actor whose work they are; levels that change by hand; lines live.

use super::access::token;
use super::outlets::lines;
use super::sender::{answer, client, post, send};
use super::service::{Scenario, Service};
use super::watch::{Live, events_when, eventually, idle};
use serde_json::{Value, json};

/// A service whose log is in the file `log`.
fn start(level: &str) -> Service {
    Scenario::new("supervision").start_logged(level)
}

/// The lines that a choice takes, once there are so many.
async fn logged(service: &Service, count: usize, chosen: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually("log lines", async || {
        let mut all = lines(&service.path("log"));
        all.retain(&chosen);
        (all.len() >= count, all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_evaluation_and_each_run_is_a_line_with_ids_result_and_duration() {
    let service = start("warn,hexafn_actors::trigger=debug");
    let (status, told) = post(&service.url("/admin/topics/chain/events"), &[], r#"{"n":7}"#).await;
    assert_eq!(status, 202, "{told}");
    events_when(&service, "chained", 1).await;
    let of_trace = logged(&service, 4, |line| line["trace_id"] == told["trace_id"]).await;
    let evaluated: Vec<&Value> = of_trace.iter().filter(|line| line["message"] == "evaluated").collect();
    let [evaluated] = evaluated[..] else { panic!("{of_trace:#?}") };
    let expected = json!({
        "level": "DEBUG", "target": "hexafn_actors::trigger", "actor": "/triggers/chain", "message": "evaluated",
        "trigger": "chain", "topic": "chain", "seq": 1, "attempt": 1, "event_id": told["id"],
        "trace_id": told["trace_id"], "result": "fired",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&evaluated[name], value, "{name}: {evaluated}");
    }
    assert!(evaluated["timestamp"].as_str().unwrap().ends_with('Z'), "{evaluated}");
    assert!(evaluated["condition_us"].is_u64() && evaluated["took_us"].is_u64(), "{evaluated}");
    let runs: Vec<(&Value, &Value)> = of_trace
        .iter()
        .filter(|line| line["message"] == "ran")
        .map(|line| (&line["function"], &line["result"]))
        .collect();
    let value = |text: &'static str| Value::from(text);
    let (first, second, third) = (value("first"), value("second"), value("third"));
    let (failed, ok) = (value("failed"), value("ok"));
    assert_eq!(runs, [(&first, &failed), (&second, &failed), (&third, &ok)]);
    let run = of_trace.iter().find(|line| line["function"] == "first").unwrap();
    assert!(run["took_us"].is_u64() && run["error"].as_str().unwrap().contains("first"), "{run}");
    assert_eq!((&run["actor"], &run["event_id"]), (&"/triggers/chain".into(), &told["id"]), "{run}");

    // What fails is told without debugging, too.
    let (_, told) = post(&service.url("/admin/topics/bad/events"), &[], "{}").await;
    let failed = logged(&service, 1, |line| line["event_id"] == told["id"] && line["level"] == "WARN").await;
    assert_eq!((&failed[0]["result"], &failed[0]["actor"]), (&"failed".into(), &"/triggers/broken".into()));
    // Only what was asked for: no line of another module below warn.
    let others = lines(&service.path("log"));
    let low = others.iter().filter(|l| l["level"] == "DEBUG" && l["target"] != "hexafn_actors::trigger");
    assert_eq!(low.count(), 0, "{others:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_of_a_module_is_changed_by_hand_and_outlives_a_reload() {
    let service = start("warn");
    let quiet = send(&service, "{}").await;
    idle(&service).await;
    let levels = service.ask(&["logs", "level", "hexafn_actors::trigger=debug"]);
    assert_eq!(
        levels,
        json!({ "configured": "warn", "level": null, "modules": { "hexafn_actors::trigger": "debug" } })
    );
    let loud = send(&service, "{}").await;
    logged(&service, 1, |line| line["event_id"] == *loud && line["result"] == "fired").await;
    assert_eq!(service.hexafn(&["reload"]).code, Some(0));
    assert_eq!(service.ask(&["logs", "level"]), levels, "a reload leaves it");
    let after = send(&service, "{}").await;
    logged(&service, 1, |line| line["event_id"] == *after && line["result"] == "fired").await;
    assert_eq!(lines(&service.path("log")).iter().filter(|l| l["event_id"] == *quiet).count(), 0);

    let back = service.ask(&["logs", "level", "hexafn_actors::trigger=default"]);
    assert_eq!(back["modules"], json!({}));
    let last = send(&service, "{}").await;
    idle(&service).await;
    assert_eq!(lines(&service.path("log")).iter().filter(|l| l["event_id"] == *last).count(), 0);

    for (body, status, code) in [
        (r#"{"module":"a,b=trace","level":"debug"}"#, 400, "log-module"),
        (r#"{"module":"a","level":"loud"}"#, 400, "body-invalid"),
        (r#"{"modul":"a","level":"info"}"#, 400, "body-invalid"),
    ] {
        let request = client().put(service.url("/admin/logs/level")).header("content-type", "application/json");
        let refused = answer(request.body(body)).await;
        assert_eq!(refused.problem(), (status, Some(code)), "{body}: {refused:?}");
    }
    let wrong = service.hexafn(&["logs", "level", "loud"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("debug"), "what exists is named: {wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_watched_live_by_those_with_the_scope() {
    let ((reader, reads), (other, others)) =
        (token("reader", &["--scope", "logs:read:*"]), token("other", &["--scope", "topics:*:*"]));
    let service = Scenario::new("supervision")
        .file("tokens.toml", &format!("{reads}{others}"))
        .start_logged("info,hexafn_actors=debug");
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(Live::with(&service, "/ws/logs", &[("authorization", &bearer(&other))]).await.err(), Some(403));
    assert_eq!(Live::with(&service, "/ws/logs", &[]).await.err(), Some(401));
    let mine = bearer(&reader);
    let mine = [("authorization", &*mine)];
    assert_eq!(Live::with(&service, "/ws/logs?level=loud", &mine).await.err(), Some(400));
    let mut live =
        Live::with(&service, "/ws/logs?actor=/triggers&module=hexafn_actors&level=debug", &mine).await.unwrap();
    let change = client().put(service.url("/admin/logs/level")).bearer_auth(&reader).json(&json!({ "level": "debug" }));
    assert_eq!(answer(change).await.problem(), (403, Some("scope-missing")), "reading is not changing");
    // The session begins to watch when its connection is open; what comes before is not shown.
    let line = eventually("a line", async || {
        let id = send(&service, "{}").await;
        let next = tokio::time::timeout(std::time::Duration::from_millis(500), live.json()).await;
        (next.is_ok(), (id, next.unwrap_or_default()))
    })
    .await
    .1;
    assert_eq!((&line["actor"], &line["message"]), (&"/triggers/copy".into(), &"evaluated".into()), "{line}");
    std::fs::write(service.path("token"), &reader).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hexafn"));
    command.args(["--token-file", "token", "logs", "-n", "1", "--actor", "/triggers/copy"]);
    command.current_dir(service.path("")).env("HEXAFN_SERVER", &service.base);
    // Lines must go on coming until it watches, and nothing says when it does.
    let lines_come = async {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            pace.tick().await;
            send(&service, "{}").await;
        }
    };
    let watched = tokio::select! {
        watched = command.output() => watched.unwrap(),
        () = lines_come => unreachable!(),
    };
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.status.success() && text.lines().count() == 1, "{text}");
    for part in [" DEBUG hexafn_actors::trigger /triggers/copy: evaluated ", " result=fired ", " trace_id="] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = service.hexafn(&["--token-file", "token", "logs", "level"]);
    assert!(shown.code == Some(0) && shown.out.contains("hexafn_actors=debug"), "{shown:?}");
}
