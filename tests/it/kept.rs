//! What a person does, or a fault leads to, and takes no event with it: replays, trims, resets, restarts of workers.

use super::dead::letters_when;
use super::receiver::{Answer, Receiver};
use super::sender::{get, publish};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, subscription};
use serde_json::{Value, json};

/// A trigger that fails on what has no number, and tries again as the test says.
fn halving(on: &str, more: &str) -> String {
    format!(
        "[[trigger]]\nname = 'half'\non = '{on}'\nrun = 'half'\nto = 'out'\n{more}\n\
         [[function]]\nname = 'half'\nruntime = 'js'\ncode = 'export default ({{data}}) => {{ if (data.bad) throw new Error(\"bad\"); return data }}'\n\
         [[target]]\nname = 'out'\nkind = 'topic'\n"
    )
}

fn start(text: &str) -> Service {
    let text = format!("[targets]\nallow_networks = ['127.0.0.0/8']\n{text}");
    Scenario::empty_config().file("hexafn.toml", &text).start()
}

/// Events on which the trigger fails, as long as they wait for another attempt.
async fn waiting(service: &Service, topic: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(publish(service, topic, &format!("{{\"bad\":true,\"n\":{n}}}")).await);
    }
    waits(service, count).await;
    ids
}

async fn waits(service: &Service, count: usize) {
    eventually(&format!("{count} wait"), async || {
        // Also where it has a place on another topic.
        let (_, rows) = get(&service.url("/admin/subscriptions/trigger.half")).await;
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["topic"] == "a"));
        (row.is_some_and(|row| row["waiting"] == count && row["in_flight"] == 0), rows.clone())
    })
    .await;
}

const LATER: &str = "retry = { backoff = { delays = ['1h'] } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_leaves_alone_what_waits_on_topics_that_the_trigger_does_not_listen_to_now() {
    let mut service = start(&halving("a", LATER));
    let ids = waiting(&service, "a", 3).await;
    service.edit("on = 'a'", "on = 'b'");
    service.ask(&["reload"]);
    service.ask(&["sub", "replay", "trigger.half", "--from", "all"]);
    service.edit("on = 'b'", "on = 'a'");
    service.kill_and_restart();
    waits(&service, 3).await;
    service.edit("if (data.bad) throw new Error(\"bad\"); ", "");
    service.ask(&["reload"]);
    service.ask(&["sub", "retry", "trigger.half"]);
    let out = events_when(&service, "out", 3).await;
    let mut wanted: Vec<String> = ids.iter().map(|id| format!("{id}-half")).collect();
    wanted.sort();
    assert_eq!(ids_of(&out), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forgets_a_place_is_told_what_nobody_gets_then() {
    let service = start(&halving("a", LATER));
    waiting(&service, "a", 3).await;
    service.edit("on = 'a'", "on = 'b'");
    service.ask(&["reload"]);
    let told = service.hexafn(&["sub", "rm", "trigger.half"]);
    assert!(told.out.contains("3 events that it had not handled"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_one_write_so_a_crash_finds_it_done_or_not_begun() {
    let mut service = start(&halving("a", LATER));
    let ids = waiting(&service, "a", 3).await;
    service.ask(&["sub", "pause", "trigger.half"]);
    service.ask(&["sub", "replay", "trigger.half", "--from", "1"]);
    service.kill_and_restart();
    let row = subscription(&service, "trigger.half").await;
    let there = row["lag"].as_u64().unwrap() + row["waiting"].as_u64().unwrap();
    assert_eq!(there, 3, "each is to come, or waits: {row}");
    service.edit("if (data.bad) throw new Error(\"bad\"); ", "");
    service.ask(&["reload"]);
    service.ask(&["sub", "resume", "trigger.half"]);
    service.ask(&["sub", "retry", "trigger.half"]);
    assert_eq!(events_when(&service, "out", 3).await.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_ends_when_all_of_its_topic_is_removed_by_hand() {
    let service = start(&halving("a", "retry = { backoff = { delays = ['300ms'] }, max_attempts = 1000 }"));
    for n in 0..3 {
        publish(&service, "a", &format!("{{\"bad\":true,\"n\":{n}}}")).await;
    }
    eventually("they have failed", async || {
        let row = subscription(&service, "trigger.half").await;
        (row["attempts"].as_u64() >= Some(3), row)
    })
    .await;
    service.ask(&["topic", "trim", "a", "--below", "4"]);
    waits(&service, 0).await;
    assert_eq!(service.ask(&["topic", "show", "a"])["records"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_and_its_end_hold_where_the_trigger_does_not_listen_at_the_time() {
    let service = start(&halving("a", LATER));
    service.ask(&["sub", "pause", "trigger.half"]);
    service.edit("on = 'a'", "on = 'b'");
    service.ask(&["reload"]);
    service.ask(&["sub", "resume", "trigger.half"]);
    service.edit("on = 'b'", "on = 'a'");
    service.ask(&["reload"]);
    let id = publish(&service, "a", r#"{"n":1}"#).await;
    assert_eq!(events_when(&service, "out", 1).await[0]["id"], format!("{id}-half"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_not_replayed_into_memory() {
    let text =
        format!("{}[[topic]]\nname = 'quick'\ndurability = 'memory'\n", halving("a", "retry = { max_attempts = 1 }"));
    let service = start(&text);
    publish(&service, "a", r#"{"bad":true}"#).await;
    letters_when(&service, "trigger.half", 1).await;
    let refused = service.hexafn(&["dlq", "replay", "trigger.half", "--all", "--topic", "quick"]);
    assert!(refused.code == Some(1) && refused.err.contains("`quick` lives in memory"), "{refused:?}");
    letters_when(&service, "trigger.half", 1).await;
    service.ask(&["dlq", "replay", "trigger.half", "--all", "--topic", "elsewhere"]);
    assert_eq!(events_when(&service, "elsewhere", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_are_large_are_settled_in_portions_and_all_of_them() {
    // A condition that fails on an event is no reason to stop the trigger, however many there are.
    let service = start(
        "[[trigger]]\nname = 'half'\non = 'a'\nwhen = 'event.data.n / event.data.none > 1'\nto = 'out'\n\
         [[target]]\nname = 'out'\nkind = 'topic'\n",
    );
    let large = "x".repeat(900_000);
    for n in 0..24 {
        publish(&service, "a", &format!("{{\"bad\":true,\"n\":{n},\"text\":\"{large}\"}}")).await;
    }
    eventually("24 letters", async || {
        let all = service.ask(&["dlq", "list"]);
        (all[0]["letters"] == 24, all)
    })
    .await;
    // A page is as many bytes as are shown at once, and says that there is more.
    let page = service.hexafn(&["dlq", "list", "trigger.half"]).out;
    assert!(page.contains("of 24 letters; go on with `--from"), "{page}");
    assert_eq!(
        service.ask(&["dlq", "drop", "trigger.half", "1", "2", "--limit", "1"]),
        json!({ "settled": 1, "left": 23 })
    );
    let newest = service.ask(&["dlq", "list"])[0]["newest"].clone();
    assert_eq!(service.ask(&["dlq", "drop", "trigger.half", "24"]), json!({ "settled": 1, "left": 22 }));
    assert!(service.ask(&["dlq", "list"])[0]["newest"].as_str() < newest.as_str(), "that of one that is still there");
    // By their numbers, and as a whole.
    let seqs: Vec<String> = (2..14).map(|seq| seq.to_string()).collect();
    let mut args = vec!["dlq", "replay", "trigger.half", "--topic", "elsewhere"];
    args.extend(seqs.iter().map(String::as_str));
    assert_eq!(service.ask(&args), json!({ "settled": 12, "left": 10 }));
    assert_eq!(
        service.ask(&["dlq", "replay", "trigger.half", "--all", "--topic", "elsewhere"]),
        json!({ "settled": 10, "left": 0 })
    );
    let numbers: Vec<Value> =
        events_when(&service, "elsewhere", 22).await.iter().map(|e| e["data"]["n"].clone()).collect();
    assert_eq!(numbers, (1..23).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_opens_again_after_a_reset_hands_nothing_to_and_fro() {
    let receiver = Receiver::start().await;
    receiver.answer("/web", Answer::Status(503));
    let service = start(&format!(
        "[[trigger]]\nname = 'web'\non = 'a'\nto = 'web'\n[[target]]\nname = 'web'\nkind = 'http'\nurl = '{}/web'\n\
         retry = {{ schedule = ['10ms'], jitter = 0.0, max_attempts = 1000 }}\nbreaker = {{ failures = 1, open = '3s' }}\n",
        receiver.base
    ));
    publish(&service, "a", "{}").await;
    receiver.arrivals("/web", 1).await;
    let opens = service.ask(&["target", "show", "web"]);
    eventually("the breaker is open", async || {
        let seen = service.ask(&["target", "show", "web"]);
        (seen["breaker"].to_string().contains("open"), seen)
    })
    .await;
    service.ask(&["target", "reset", "web"]);
    // The attempt of the reset, and the look of the second opening; that of the first comes between.
    receiver.arrivals("/web", 3).await;
    let row = subscription(&service, "target.web").await;
    assert!(row["attempts"].as_u64().unwrap() < 20, "{row} {opens}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_before_a_target_redacts_is_delivered_without_what_it_must_not_see() {
    let receiver = Receiver::start().await;
    let service = start(&format!(
        "[[trigger]]\nname = 'web'\non = 'a'\nto = 'web'\n[[target]]\nname = 'web'\nkind = 'http'\nurl = '{}/web'\n# here\n",
        receiver.base
    ));
    service.ask(&["target", "disable", "web"]);
    publish(&service, "a", r#"{"card":"4111","n":1}"#).await;
    eventually("it waits", async || {
        let row = subscription(&service, "target.web").await;
        (row["lag"] == 1, row)
    })
    .await;
    service.edit("# here", "redact = { paths = ['card'] }");
    service.ask(&["reload"]);
    service.ask(&["target", "enable", "web"]);
    let arrived = receiver.arrivals("/web", 1).await.remove(0);
    assert!(arrived.body.contains("\"n\":1") && !arrived.body.contains("4111"), "{}", arrived.body);
}

/// A function that computes for so long, and its one worker.
fn slow(millis: u32) -> Service {
    start(&format!(
        "[[trigger]]\nname = 'slow'\non = 'a'\nrun = 'slow'\nto = 'out'\n\
         [[function]]\nname = 'slow'\nruntime = 'js'\ntimeout = '10s'\ntime = true\npool = {{ workers = 1 }}\n\
         code = 'export default ({{data}}) => {{ const end = Date.now() + {millis}; while (Date.now() < end); return data }}'\n\
         [[target]]\nname = 'out'\nkind = 'topic'\n"
    ))
}

async fn worker(service: &Service) -> i64 {
    eventually("a worker process", async || {
        let (_, nodes) = get(&service.url("/admin/actors")).await;
        let process = nodes.as_array().unwrap().iter().find_map(|node| node["observed"]["process"].as_i64());
        (process.is_some(), process)
    })
    .await
    .unwrap()
}

fn signal(process: i64, name: &str) {
    let sent = std::process::Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_ends_while_it_has_nothing_to_do_costs_no_event_an_attempt() {
    let service = slow(0);
    publish(&service, "a", "{}").await;
    events_when(&service, "out", 1).await;
    let before = worker(&service).await;
    signal(before, "KILL");
    eventually("it has ended", async || {
        let stat = std::fs::read_to_string(format!("/proc/{before}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z "), stat)
    })
    .await;
    publish(&service, "a", "{}").await;
    events_when(&service, "out", 2).await;
    let row = service.ask(&["function", "ls"])[0].clone();
    assert_eq!((&row["ok"], &row["failed"]), (&json!(2), &json!(0)), "{row}");
    assert_ne!(worker(&service).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_is_told_does_not_end_workers_and_a_drain_keeps_what_they_were_at() {
    let mut service = slow(1_500);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(format!("{}-slow", publish(&service, "a", "{}").await));
    }
    let process = worker(&service).await;
    eventually("the calls are with the worker, and the first has begun", async || {
        let row = subscription(&service, "trigger.slow").await;
        (row["in_flight"] == 3, row)
    })
    .await;
    // As systemd and a terminal tell all that belong to a service.
    for name in ["TERM", "INT", "HUP"] {
        signal(process, name);
    }
    assert_eq!(service.terminate(), Some(0));
    service.start_again();
    events_when(&service, "out", 3).await;
    idle(&service).await;
    let out = ids_of(&events(&service, "out").await);
    ids.sort();
    assert_eq!(out, ids, "each once");
    let again = service.ask(&["function", "ls"])[0]["ok"].clone();
    assert_eq!(again, 2, "the first is not run once more");
}
