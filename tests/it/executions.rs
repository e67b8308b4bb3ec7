//! The runs of functions, as events that triggers can listen to and as figures; and the function that an event names.

use super::dead::letters_when;
use super::sender::{get, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when};
use serde_json::{Value, json};

const EXECUTIONS: &str = "hexafn.executions";

/// The run that is told of this function.
fn of<'a>(told: &'a [Value], function: &str) -> &'a Value {
    told.iter().find(|e| e["subject"] == function).unwrap_or_else(|| panic!("no run of {function}: {told:#?}"))
}

fn setting(service: &Service, from: &str, to: &str) {
    service.edit(&format!("executions = \"{from}\""), &format!("executions = \"{to}\""));
    service.ask(&["reload"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_failed_are_told_with_what_they_logged_and_a_trigger_can_act_on_them() {
    let service = Scenario::new("executions").start();
    send(&service, r#"{"n":1,"with":"-js"}"#).await;
    events_when(&service, "done", 1).await;
    assert_eq!(events(&service, EXECUTIONS).await, [] as [Value; 0], "what went well was not asked for");

    let id = send(&service, r#"{"n":-1,"with":"-js"}"#).await;
    let told = events_when(&service, EXECUTIONS, 2).await;
    let first = &told[0];
    assert_eq!((&first["type"], &first["subject"]), (&json!("hexafn.function.failed"), &json!("score-js")), "{first}");
    let data = &first["data"];
    for (field, wanted) in [
        ("function", json!("score-js")),
        ("runtime", json!("js")),
        ("trigger", json!("score")),
        ("topic", json!("in")),
        ("event_id", json!(id)),
        ("attempt", json!(1)),
        ("ok", json!(false)),
        ("code", json!("thrown")),
        ("host_calls", json!(1)),
        ("logs", json!([{"level": "info", "message": "n is -1"}])),
    ] {
        assert_eq!(data[field], wanted, "{field} of {first:#}");
    }
    assert!(data["message"].as_str().unwrap().contains("n is below 0"), "{first}");
    assert!(data["took_us"].as_u64().unwrap() >= data["cpu_us"].as_u64().unwrap() / 2, "{first}");
    assert!((1..1 << 20).contains(&data["peak_memory"].as_u64().unwrap()), "{first}");
    assert!(data["version"].as_str().unwrap().len() == 16 && data["output"].is_null(), "{first}");
    assert_eq!(told[1]["data"]["attempt"], 2, "each attempt is told: {:#}", told[1]);

    let complaints = events_when(&service, "complaints", 2).await;
    assert!(complaints[0]["data"].as_str().unwrap().starts_with("score-js: "), "{complaints:?}");

    // The letter says which version of which function gave up.
    let letter = letters_when(&service, "trigger.score", 1).await.remove(0);
    let version = format!("score-js@{}", data["version"].as_str().unwrap());
    assert_eq!(letter["failures"][1]["ran"], version, "{letter:#}");
    let shown = service.hexafn(&["dlq", "show", "trigger.score", &letter["seq"].to_string()]).out;
    assert!(shown.contains("RAN") && shown.contains(&version), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_runs_or_none_are_told_as_configured_and_nothing_is_told_of_what_is_told() {
    let service = Scenario::new("executions").start();
    setting(&service, "failures", "all");
    let id = send(&service, r#"{"n":4}"#).await;
    let told = events_when(&service, EXECUTIONS, 1).await.remove(0);
    let data = &told["data"];
    assert_eq!(
        (&told["type"], &data["event_id"], &data["output"], &data["output_bytes"], &data["runtime"]),
        (&json!("hexafn.function.succeeded"), &json!(id), &json!({"by":"dsl","n":8}), &json!(18), &json!("dsl")),
        "{told:#}"
    );

    // A run that failed, and its fallback that did not.
    send(&service, r#"{"n":5,"with":"-first-lua"}"#).await;
    let told = events_when(&service, EXECUTIONS, 3).await;
    assert_eq!(of(&told, "score-first-lua")["data"]["ok"], false);
    let saved = &of(&told, "score-js")["data"];
    assert_eq!((&saved["ok"], &saved["output"]), (&json!(true), &json!({"by":"js","n":10})), "{saved:#}");

    // `complain` ran on what was told, and that is told nowhere.
    events_when(&service, "complaints", 1).await;
    setting(&service, "all", "off");
    send(&service, r#"{"n":6}"#).await;
    events_when(&service, "done", 3).await;
    assert_eq!(events(&service, EXECUTIONS).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_function_that_may_not_log_are_counted_and_the_first_is_said() {
    let service =
        Scenario::new("executions").edit(r#"executions = "failures""#, r#"executions = "all""#).start_logged("warn");
    for n in 1..=2 {
        send(&service, &json!({ "n": n, "with": "-lua" }).to_string()).await;
    }
    for run in events_when(&service, EXECUTIONS, 2).await {
        let data = &run["data"];
        assert_eq!(
            (&data["logs_refused"], &data["logs"], &data["ok"]),
            (&json!(1), &Value::Null, &json!(true)),
            "{run:#}"
        );
    }
    let metrics = reqwest::get(service.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"hexafn_function_log_lines_dropped_total{function="score-lua"} 2"#), "{metrics}");
    let log = std::fs::read_to_string(service.scenario.path("log")).unwrap();
    let said: Vec<_> = log.lines().filter(|line| line.contains("log = true")).collect();
    assert!(matches!(said[..], [one] if one.contains("score-lua")) && !log.contains("lua looks"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_says_which_function_runs_and_an_unknown_name_lists_those_that_there_are() {
    let service = Scenario::new("executions").start();
    for with in ["", "-js", "-lua"] {
        send(&service, &json!({ "n": 2, "with": with }).to_string()).await;
    }
    let mut by: Vec<_> = events_when(&service, "done", 3).await.iter().map(|e| e["data"]["by"].to_string()).collect();
    by.sort();
    assert_eq!(by, ["\"dsl\"", "\"js\"", "\"lua\""]);

    send(&service, r#"{"n":2,"with":"-perl"}"#).await;
    let letter = letters_when(&service, "trigger.score", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.contains("`score-perl`") && cause.contains("score, score-js, score-lua"), "{cause}");
    // It is the event that is wrong: no second attempt, and however many there are, the trigger goes on.
    assert_eq!(letter["attempts"], 1, "{letter:#}");
    for _ in 0..12 {
        send(&service, r#"{"n":2,"with":"-perl"}"#).await;
    }
    letters_when(&service, "trigger.score", 13).await;
    send(&service, r#"{"n":3}"#).await;
    events_when(&service, "done", 4).await;

    let (_, triggers) = get(&service.url("/admin/triggers")).await;
    let of = &triggers.as_array().unwrap().iter().find(|t| t["name"] == "score").unwrap()["run"];
    assert_eq!(of, &json!(["score", "score-js", "score-lua", "score-first-lua"]));
    let drawn = service.hexafn(&["graph", "--seconds", "0"]).out;
    assert!(drawn.contains("\"trigger.score\" -> \"function.score-lua\""), "{drawn}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_cost_and_that_fail_are_found() {
    let service = Scenario::new("executions").start();
    // The interval has begun once the command runs; what it shows is of that time alone.
    let top = ["function", "top", "--interval", "2", "--count", "1", "--by", "failed"];
    let shown = std::thread::scope(|scope| {
        let top = scope.spawn(|| service.ask(&top));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                while !top.is_finished() {
                    send(&service, r#"{"n":-1,"with":"-js"}"#).await;
                    send(&service, r#"{"n":1,"with":"-lua"}"#).await;
                }
            });
        });
        top.join().unwrap()
    });
    let first = &shown[0];
    assert_eq!(first["name"], "score-js", "{shown:#}");
    assert!(first["failed_per_second"].as_f64().unwrap() > 0.0, "{shown:#}");
    assert_eq!(first["failed_per_second"], first["runs_per_second"], "{shown:#}");
    assert!(first["errors"].as_str().unwrap().starts_with("thrown "), "{shown:#}");
    assert!(first["p99_ms"].as_f64().unwrap() >= first["p50_ms"].as_f64().unwrap(), "{shown:#}");
    let lua = shown.as_array().unwrap().iter().find(|f| f["name"] == "score-lua").unwrap();
    assert!(lua["runs_per_second"].as_f64().unwrap() > 0.0 && lua["errors"] == "", "{shown:#}");

    let listed = service.ask(&["function", "ls"]);
    let js = listed.as_array().unwrap().iter().find(|f| f["name"] == "score-js").unwrap();
    assert_eq!(js["errors"]["thrown"], js["failed"], "{js:#}");
    assert!(js["p99_ms"].is_f64() && js["cpu_seconds"].as_f64().unwrap() > 0.0, "{js:#}");
    assert_eq!((&js["runtime"], js["workers"].as_u64().unwrap() > 0), (&json!("js"), true), "{js:#}");
    let table = service.hexafn(&["function", "ls"]).out;
    assert!(table.contains("thrown ") && table.contains("P99 ms"), "{table}");

    let refused = service.hexafn(&["function", "top", "--interval", "0"]);
    assert!(refused.code == Some(2) && refused.err.contains("0.1 to 3600 seconds"), "{}", refused.err);
}
