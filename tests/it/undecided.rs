//! A target whose own condition fails on a result, and what its neighbours and its trigger notice of it: nothing. Outcomes that
//! are delivered, and tell nothing of themselves.

use super::dead::letters_when;
use super::receiver::{Answer, Receiver};
use super::sender::publish;
use super::service::Scenario;
use super::watch::{events, events_when, eventually, idle};
use serde_json::{Value, json};

const PICKY: &str = r#"
[targets]
outcomes = "failures"

[[topic]]
name = "in"

[[trigger]]
name = "t"
on = "in"
to = ["picky", "masked", "aside", "plain"]

[[target]]
name = "picky"
kind = "file"
path = "picky.jsonl"
when = "event.data.n > 5"

[[target]]
name = "masked"
kind = "topic"
topic = "masked"
when = "event.data.n > 5"
redact = { paths = ["n"] }

[[target]]
name = "aside"
kind = "file"
path = "aside.jsonl"
when = "event.data.n > 5"
fallback = "spare"

[[target]]
name = "spare"
kind = "topic"
topic = "spare"

[[target]]
name = "plain"
kind = "topic"
topic = "plain"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_fails_is_that_targets_failure_alone() {
    let service = Scenario::empty_config().file("hexafn.toml", PICKY).start();
    let mut ids = Vec::new();
    // More than would quarantine the trigger.
    for n in 0..12 {
        ids.push(publish(&service, "in", &format!("{{\"n\":\"text {n}\"}}")).await);
    }
    publish(&service, "in", r#"{"n":6}"#).await;
    let plain = events_when(&service, "plain", 13).await;
    assert_eq!(plain.len(), 13, "its neighbour has them all");
    let letters = letters_when(&service, "target.picky", 12).await;
    let letter = &letters[0];
    assert!(letter["cause"].as_str().unwrap().starts_with("template: `when` fails: "), "{letter}");
    assert_eq!(
        (&letter["topic"], &letter["topic_seq"], &letter["attempts"], &letter["event"]["id"]),
        (&json!("in"), &json!(1), &json!(1), &json!(format!("{}-t", ids[0]))),
        "{letter}"
    );
    assert_eq!(letter["event"]["data"], json!({ "n": "text 0" }), "{letter}");
    assert_eq!(events(&service, "spare").await.len(), 12, "its fallback has them instead of a letter");
    assert!(letter["made_by"].as_str().unwrap().starts_with("t@"), "{letter}");
    let masked = letters_when(&service, "target.masked", 12).await;
    assert!(!masked[0].to_string().contains("text 0"), "nothing behind the trigger shows it: {}", masked[0]);

    let trigger = service.ask(&["trigger", "show", "t"]);
    let shown = (&trigger["state"], &trigger["failed"], &trigger["fired"]);
    assert_eq!(shown, (&json!("running"), &json!(0), &json!(13)), "{trigger}");
    let told = events(&service, "hexafn.outcomes").await;
    let of = |what: &str, by: &str| {
        told.iter().filter(|e| e["data"]["outcome"] == what && e["data"]["subscription"] == by).count()
    };
    let counts = (of("dead-lettered", "target.picky"), of("fell-back", "target.aside"));
    assert_eq!(counts, (12, 12), "{told:?}");
    // Sent again it is delivered: its condition is not asked once more. That of a topic goes to the topic.
    assert_eq!(service.ask(&["dlq", "replay", "target.picky", "--all"])["settled"], 12);
    assert_eq!(service.ask(&["dlq", "replay", "target.masked", "1"])["settled"], 1);
    idle(&service).await;
    assert_eq!(events(&service, "masked").await.len(), 2);
    let lines = std::fs::read_to_string(service.scenario.path("picky.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 13, "{lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_is_quarantined_says_so() {
    let text = "[[topic]]\nname = 'in'\n[[function]]\nname = 'f'\ncode = 'event.data.n * 2'\n\
        [[trigger]]\nname = 't'\non = 'in'\nwhen = 'event.data.n != 5'\nrun = 'f'\nto = 'out'\n\
        retry = { max_attempts = 1 }\n[[target]]\nname = 'out'\nkind = 'topic'\n";
    let service = Scenario::empty_config().file("hexafn.toml", text).start();
    for _ in 0..10 {
        publish(&service, "in", r#"{"n":"x"}"#).await;
    }
    let shown = eventually("the quarantine", async || {
        let shown = service.ask(&["trigger", "show", "t"]);
        (shown["state"] == "quarantined", shown)
    })
    .await;
    assert!(shown["why"].as_str().unwrap().contains("most of its events fail"), "{shown}");
    assert_eq!(shown["enabled"], true, "{shown}");
    let people = service.hexafn(&["trigger", "ls"]).out;
    assert!(people.lines().any(|l| l.starts_with("t ") && l.contains("quarantined")), "{people}");
    let on = service.ask(&["trigger", "enable", "t"]);
    assert_eq!(on["name"], "t");
    eventually("it runs again", async || {
        let shown = service.ask(&["trigger", "show", "t"]);
        (shown["state"] == "running" && shown["why"].is_null(), shown)
    })
    .await;
}

/// Whoever may send must not stop a trigger for all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_on_which_the_condition_fails_are_dead_letters_at_once_and_the_trigger_goes_on() {
    let text = "[[topic]]\nname = 'in'\n[[trigger]]\nname = 't'\non = 'in'\nwhen = 'event.data.n > 5'\nto = 'out'\n\
        [[target]]\nname = 'out'\nkind = 'topic'\n";
    let service = Scenario::empty_config().file("hexafn.toml", text).start();
    for _ in 0..12 {
        publish(&service, "in", r#"{"n":"x"}"#).await;
    }
    let letters = letters_when(&service, "trigger.t", 12).await;
    assert_eq!(letters[0]["attempts"], 1, "{:#}", letters[0]);
    assert!(letters[0]["cause"].as_str().unwrap().contains("HX0501"), "{:#}", letters[0]);
    publish(&service, "in", r#"{"n":6}"#).await;
    events_when(&service, "out", 1).await;
    assert_eq!(service.ask(&["trigger", "show", "t"])["state"], "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_do_not_feed_themselves() {
    let receiver = Receiver::start().await;
    receiver.answer("/pager", Answer::Status(503));
    let text = format!(
        r#"
[targets]
outcomes = "all"
allow_networks = ["127.0.0.0/8"]

[[topic]]
name = "in"

[[trigger]]
name = "send"
on = "in"
to = ["web"]

[[target]]
name = "web"
kind = "file"
path = "web.jsonl"

[[trigger]]
name = "note"
on = "hexafn.outcomes"
run = "short"
to = ["notes", "pager", "onward"]

[[function]]
name = "short"
code = "{{ of: event.data.subscription ?? null }}"

[[target]]
name = "notes"
kind = "file"
path = "notes.jsonl"

[[target]]
name = "pager"
kind = "http"
url = "{}/pager"
retry = {{ schedule = ["10ms"], max_attempts = 3, jitter = 0.0 }}
breaker = {{ failures = 1000 }}

# What is told goes once more through a topic, where it is an event like any other.
[[target]]
name = "onward"
kind = "topic"
topic = "onward"

[[trigger]]
name = "further"
on = "onward"
to = ["notes"]
"#,
        receiver.base
    );
    let mut service = Scenario::empty_config().file("hexafn.toml", &text).start();
    for n in 0..3 {
        publish(&service, "in", &format!("{{\"n\":{n}}}")).await;
    }
    let letters = letters_when(&service, "target.pager", 3).await;
    idle(&service).await;
    let told: Vec<Value> = events(&service, "hexafn.outcomes").await;
    assert!(told.iter().all(|e| e["data"]["subscription"] == "target.web"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
    let notes = std::fs::read_to_string(service.scenario.path("notes.jsonl")).unwrap();
    assert_eq!(notes.lines().count(), 6, "each twice, and no note of a note: {notes}");
    assert!(letters.iter().all(|l| l["attempts"] == 3), "{letters:?}");

    // The mark is stored with the event: neither a restart nor a replay loses it.
    receiver.answer("/pager", Answer::Status(200));
    service.kill_and_restart();
    service.ask(&["dlq", "replay", "target.pager", "--all"]);
    receiver.arrivals("/pager", 12).await;
    idle(&service).await;
    assert_eq!(events(&service, "hexafn.outcomes").await.len(), 3);
}
