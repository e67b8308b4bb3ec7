//! Reload under traffic: by the command line, by a changed file, by SIGHUP; what is refused, and what needs a restart.

use super::receiver::{Answer, Receiver};
use super::sender::{Load, client, get, post, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of};
use serde_json::Value;
use std::collections::HashMap;

async fn start() -> (Receiver, Service) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("pipeline").receiver(&receiver.base).start();
    (receiver, service)
}

/// The factor that `double` multiplies with, as written in the configuration.
fn factor(service: &Service, factor: u64) {
    let text = service.scenario.text();
    let at = text.find("event.data.n * ").unwrap() + "event.data.n * ".len();
    let end = at + text[at..].find(' ').unwrap();
    service.configure("hexafn.toml", &format!("{}{factor}{}", &text[..at], &text[end..]));
}

async fn result_of(service: &Service, id: &str) -> Value {
    let wanted = format!("{id}-double");
    let found = eventually("the result", async || {
        let event = events(service, "out").await.into_iter().find(|e| e["id"] == *wanted);
        (event.is_some(), event)
    })
    .await;
    found.unwrap()["data"].clone()
}

async fn last_reload(service: &Service, by: &str) -> Value {
    eventually(by, async || {
        let (_, config) = get(&service.url("/admin/config")).await;
        (config["last"]["by"] == by, config["last"].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_is_changed_three_ways_under_traffic_and_no_event_is_lost() {
    let (receiver, service) = start().await;
    let load = Load::start(&service, 4, 0);
    load.more(50).await;
    let result = async || {
        let id = send(&service, r#"{"n":1000000}"#).await;
        result_of(&service, &id).await["twice"].as_u64().unwrap() / 1_000_000
    };

    factor(&service, 3);
    service.ask(&["reload"]);
    assert_eq!(result().await, 3, "new as soon as `reload` is done");
    load.more(50).await;

    // The signal is sent before the watcher of files has waited for the last write; should it be first all the same, the
    // signal still reloads, and is noted.
    factor(&service, 4);
    service.signal("HUP");
    assert_eq!(last_reload(&service, "SIGHUP").await["applied"], true);
    assert_eq!(result().await, 4);
    load.more(50).await;

    factor(&service, 5);
    assert_eq!(last_reload(&service, "file change").await["applied"], true);
    assert_eq!(result().await, 5);
    load.more(50).await;

    let sent = load.end().await;
    idle(&service).await;
    let mut factors = [0; 6];
    let mut results: HashMap<String, u64> = HashMap::new();
    for event in events(&service, "out").await {
        let (n, by) = (event["data"]["n"].as_u64().unwrap(), event["data"]["twice"].as_u64().unwrap());
        if let Some(factor) = by.checked_div(n) {
            factors[usize::try_from(factor).unwrap()] += 1;
        }
        *results.entry(event["data"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for sent in &sent {
        let (id, _) = sent.told.as_ref().expect("no sender was cut off");
        assert_eq!(results.get(id), Some(&1), "{sent:?} has one result");
    }
    assert_eq!(factors[0] + factors[1], 0);
    assert!(factors[2..].iter().all(|f| *f > 0), "all four were at work: {factors:?}");
    assert_eq!(receiver.ids("/web").len(), results.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_that_is_wrong_and_a_signal_for_it_change_nothing() {
    let (_receiver, service) = start().await;
    service.edit("event.data.n * 2", "event.data.n *");
    let refused = last_reload(&service, "file change").await;
    assert_eq!(refused["applied"], false, "{refused}");
    assert!(refused["errors"].to_string().contains("hexafn.toml"), "the place is kept for whoever asks: {refused}");
    service.signal("HUP");
    assert_eq!(last_reload(&service, "SIGHUP").await["applied"], false);
    let id = send(&service, r#"{"n":4}"#).await;
    assert_eq!(result_of(&service, &id).await["twice"], 8, "the old one goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_configuration_changes_nothing_and_says_where() {
    let (_receiver, service) = start().await;
    let good = service.scenario.text();
    // A valid new source in one file, an error in another: none of it may take effect.
    service.configure(
        "more.toml",
        "[[source]]\nname = \"more\"\nkind = \"webhook\"\ntopic = \"in\"\nverify = { scheme = \"none\" }\n",
    );
    service.configure("hexafn.toml", &good.replace("run = \"double\"", "run = \"duble\""));
    let line = 1 + good.lines().position(|l| l.starts_with("run = ")).unwrap();
    let refused = service.hexafn(&["reload"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains(&format!("hexafn.toml:{line}:")), "the line is told: {refused:?}");
    assert!(refused.err.contains("double"), "what was probably meant is told: {refused:?}");
    let refused = service.hexafn(&["-o", "json", "reload"]);
    let problem: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(
        (problem["status"].as_u64(), problem["code"].as_str()),
        (Some(422), Some("config-invalid")),
        "{problem}"
    );

    let (_, config) = get(&service.url("/admin/config")).await;
    assert_eq!((&config["last"]["applied"], &config["reloads"]), (&false.into(), &0.into()), "{config}");
    assert_eq!(post(&service.url("/hooks/more"), &[], "{}").await.0, 401, "the valid part has not come either");
    let id = send(&service, r#"{"n":4}"#).await;
    assert_eq!(result_of(&service, &id).await["twice"], 8, "the old one goes on");

    service.configure("hexafn.toml", &good);
    service.ask(&["reload"]);
    assert_eq!(post(&service.url("/hooks/more"), &[], r#"{"n":1}"#).await.0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_changes_a_hanging_target_does_not_wait_for_it() {
    let (receiver, service) = start().await;
    receiver.answer("/web", Answer::Hang);
    let id = send(&service, r#"{"n":1}"#).await;
    receiver.arrivals("/web", 1).await;
    // The target itself is changed, while its attempt, which may take 15 s, hangs.
    let text = service.scenario.text().replace("/web\"", "/elsewhere\"").replace("n * 2", "n * 5");
    service.configure("hexafn.toml", &text);
    service.ask(&["reload"]);
    assert_eq!(receiver.seen("/web").len(), 1, "the attempt still hangs when the reload is done");
    let new = send(&service, r#"{"n":2}"#).await;
    assert_eq!(result_of(&service, &new).await["twice"], 10);
    // What hung goes to the new place, under the same id, and the new one too.
    receiver.arrivals("/elsewhere", 2).await;
    let mut expected = [format!("{id}-double"), format!("{new}-double")];
    expected.sort();
    assert_eq!(receiver.ids("/elsewhere"), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_and_added_follows_the_configuration() {
    let (_receiver, service) = start().await;
    send(&service, r#"{"n":1}"#).await;
    events_when(&service, "out", 1).await;
    idle(&service).await;
    let text = service.scenario.text();
    // Without its trigger an event passes by; the same trigger under another name begins with what comes from then on.
    service.configure("hexafn.toml", &text.replace("name = \"double\"\non", "name = \"again\"\non"));
    let applied = service.ask(&["reload"]);
    let expected = (&serde_json::json!(["trigger again"]), &serde_json::json!(["trigger double"]));
    // The watcher of files may have been first; then nothing is left to do.
    let nothing = (&serde_json::json!([]), &serde_json::json!([]));
    let did = (&applied["added"], &applied["removed"]);
    assert!(did == expected || did == nothing, "{applied}");
    assert_eq!(service.hexafn(&["trigger", "show", "double"]).code, Some(1));
    let metrics = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("trigger=\"again\"") && !metrics.contains("trigger=\"double\""), "{metrics}");
    let id = send(&service, r#"{"n":2}"#).await;
    let out = events_when(&service, "out", 2).await;
    assert_eq!(out[1]["id"], *format!("{id}-again"));
    assert_eq!(out.len(), 2, "the first event is not run again: {out:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_target_is_kept_while_the_target_is_not_configured() {
    let (receiver, mut service) = start().await;
    receiver.answer("/web", Answer::Status(503));
    let id = send(&service, r#"{"n":1}"#).await;
    receiver.arrivals("/web", 1).await;
    let text = service.scenario.text();
    let at = text.find("[[target]]\nname = \"web\"").unwrap();
    let without = text[..at].replace("to = [\"out\", \"file\", \"web\"]", "to = [\"out\", \"file\"]");
    service.configure("hexafn.toml", &without);
    service.ask(&["reload"]);
    receiver.answer("/web", Answer::Status(200));
    let other = send(&service, r#"{"n":2}"#).await;
    result_of(&service, &other).await;
    service.kill_and_restart();
    let before = receiver.seen("/web").len();
    service.configure("hexafn.toml", &text);
    service.ask(&["reload"]);
    let seen = receiver.arrivals("/web", before + 1).await;
    assert_eq!(seen[before].id(), format!("{id}-double"), "it waited, over a restart too");
    idle(&service).await;
    assert_eq!(receiver.ids("/web"), [format!("{id}-double")], "what came meanwhile was not for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_that_come_together_are_done_one_after_the_other() {
    let (_receiver, service) = start().await;
    let load = Load::start(&service, 2, 0);
    let mut reloads = tokio::task::JoinSet::new();
    for k in 3..11 {
        factor(&service, k);
        let url = service.url("/admin/reload");
        reloads.spawn(async move { post(&url, &[], "").await });
    }
    for (status, applied) in reloads.join_all().await {
        assert_eq!(status, 200, "{applied}");
    }
    let id = send(&service, r#"{"n":7}"#).await;
    assert_eq!(result_of(&service, &id).await["twice"], 70, "the last one written");
    let sent = load.end().await;
    idle(&service).await;
    let mut expected: Vec<String> =
        sent.iter().map(|s| s.told.as_ref().expect("no sender was cut off").0.clone()).collect();
    expected.push(id);
    expected.iter_mut().for_each(|id| id.push_str("-double"));
    expected.sort();
    assert_eq!(ids_of(&events(&service, "out").await), expected, "each event has one result");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_restart_is_told_by_the_reload() {
    let (_receiver, mut service) = start().await;
    service.configure("server.toml", "[server]\ndrain = \"7s\"\n[storage]\nmemory = \"16MiB\"\n");
    let applied = service.ask(&["reload"]);
    let told = applied["restart_needed"].to_string();
    assert!(told.contains("server") && told.contains("storage"), "{applied}");
    let people = service.hexafn(&["reload"]);
    assert!(people.out.contains("restart"), "still, at the next one: {people:?}");
    assert_eq!(service.terminate(), Some(0));
    service.start_again();
    assert_eq!(service.ask(&["reload"])["restart_needed"], Value::Null, "it was started again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_comes_and_goes_under_traffic_makes_each_output_once() {
    let (_receiver, service) = start().await;
    let extra = "[[trigger]]\nname = \"extra\"\non = \"in\"\nto = [\"extra\"]\n[[target]]\nname = \"extra\"\nkind = \"topic\"\n";
    let load = Load::start(&service, 8, 0);
    load.more(20).await;
    // One reload after the other: what was settled last is on its way to the log when it is served again.
    for round in 0..101 {
        service.configure("extra.toml", if round % 2 == 0 { extra } else { "" });
        let (status, told) = post(&service.url("/admin/reload"), &[], "").await;
        assert_eq!(status, 200, "{told}");
    }
    let sent = load.end().await;
    idle(&service).await;
    // One that was there before goes on where it was: what came while it was away is not lost on it.
    let mut outputs = ids_of(&events(&service, "extra").await);
    let count = outputs.len();
    outputs.dedup();
    assert_eq!(outputs.len(), count, "of {} events", sent.len());
    assert!(count > 20, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_rotated_in_its_file_is_taken_over_without_being_asked_to() {
    let text = "[[source]]\nname = 'in'\nkind = 'webhook'\ntopic = 'in'\nverify = { scheme = 'token', secrets = ['file:secret'] }\n";
    let (old, new) = ("a".repeat(40), "b".repeat(40));
    let service = Scenario::empty_config().file("hexafn.toml", text).file("secret", &old);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(service.path("cfg/secret"), private).unwrap();
    let service = service.start();
    let status = async |token: &str| {
        let token = format!("Bearer {token}");
        post(&service.url("/hooks/in"), &[("authorization", &token)], "{}").await.0
    };
    assert_eq!((status(&old).await, status(&new).await), (202, 401));
    std::fs::write(service.path("cfg/secret"), &new).unwrap();
    eventually("the new secret", async || {
        let told = (status(&old).await, status(&new).await);
        (told == (401, 202), told)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_comes_is_told_and_touches_no_trigger_and_no_rate() {
    let (_receiver, service) = start().await;
    let limited = "[[source]]\nname = 'limited'\nkind = 'webhook'\ntopic = 'in'\nverify = { scheme = 'none' }\nrate = { per_second = 1, burst = 1 }\n";
    service.configure("limited.toml", limited);
    service.ask(&["reload"]);
    let before = get(&service.url("/admin/triggers")).await.1;
    assert_eq!(post(&service.url("/hooks/limited"), &[], "{}").await.0, 202);
    let other = limited.replace("limited", "other");
    service.configure("other.toml", &other);
    let reloaded = service.ask(&["reload"]);
    let listed = |what: &str| reloaded[what].as_array().unwrap().clone();
    assert!(listed("changed").is_empty(), "{reloaded}");
    // By the watcher of files it may have been done already.
    assert!(listed("added").is_empty() || listed("added") == ["source other"], "{reloaded}");
    assert_eq!(post(&service.url("/hooks/other"), &[], "{}").await.0, 202);
    let placed = |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["placed"].clone()).collect::<Vec<_>>();
    assert_eq!(placed(&before), placed(&get(&service.url("/admin/triggers")).await.1));
    let (first, second) = (
        post(&service.url("/hooks/limited"), &[], "{}").await.0,
        post(&service.url("/hooks/limited"), &[], "{}").await.0,
    );
    assert!([first, second].contains(&429), "a reload fills no bucket: {first}, {second}");
}
