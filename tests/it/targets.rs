//! Targets that fail in every way, and their neighbours.

use super::dead::letters_when;
use super::receiver::{Answer, Received, Receiver};
use super::sender::{answer, client, send};
use super::service::{Scenario, Service};
use super::watch::{events, events_when, eventually, idle, ids_of, subscription, target};
use serde_json::Value;
use std::time::Duration;

async fn start() -> (Receiver, Service) {
    let receiver = Receiver::start().await;
    let service = Scenario::new("targets").receiver(&receiver.base).start();
    (receiver, service)
}

async fn breaker(service: &Service, name: &str, state: &str) -> Value {
    eventually(&format!("breaker of {name}: {state}"), async || {
        let status = target(service, name).await;
        (status["breaker"] == state, status)
    })
    .await
}

fn ids(ids: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| format!("{id}-spread")).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_gone_is_disabled_and_keeps_its_events_until_it_is_enabled() {
    let (receiver, mut service) = start().await;
    receiver.answer("/gone", Answer::Status(410));
    let mut sent = vec![send(&service, r#"{"for":"gone"}"#).await];
    breaker(&service, "gone", "disabled").await;
    for _ in 0..3 {
        sent.push(send(&service, r#"{"for":"gone"}"#).await);
    }
    receiver.arrivals("/good", 4).await;
    assert_eq!(receiver.seen("/gone").len(), 1, "no attempt is made while it is disabled");
    let alerts = events_when(&service, "hexafn.alerts", 1).await;
    assert_eq!((&alerts[0]["type"], &alerts[0]["subject"]), (&"hexafn.alert.target.disabled".into(), &"gone".into()));

    service.kill_and_restart();
    breaker(&service, "gone", "disabled").await;
    assert_eq!(receiver.seen("/gone").len(), 1, "nor after a restart");
    let people = service.hexafn(&["target", "ls"]).out;
    assert!(people.lines().any(|l| l.starts_with("gone") && l.contains("disabled") && l.contains("410")), "{people}");
    let shown = service.ask(&["target", "show", "gone"]);
    let why = shown["disabled_why"].as_str().unwrap_or_default();
    assert!(why.contains("answered 410") && shown["disabled_by"] == "receiver", "{shown}");
    assert!(shown["disabled_at"].as_str().is_some_and(|at| at.starts_with("20")), "{shown}");
    let waits = service.ask(&["sub", "show", "target.gone"]);
    let first = &waits[0]["next_attempts"][0];
    assert!(first["reason"] == "disabled" && first["cause"].as_str().unwrap_or_default().contains("410"), "{waits}");
    let told = service.ask(&["reload"]);
    let disabled = told["disabled"][0].as_str().unwrap_or_default();
    assert!(disabled.starts_with("target `gone` is disabled since 20") && disabled.contains("by receiver: "), "{told}");

    receiver.answer("/gone", Answer::Status(200));
    service.ask(&["target", "enable", "gone"]);
    receiver.arrivals("/gone", 5).await;
    idle(&service).await;
    assert_eq!(receiver.ids("/gone"), ids(&sent), "all that was kept, the refused one too");
    assert_eq!(receiver.seen("/gone").len(), 5);
    assert_eq!(events(&service, "hexafn.dead.target.gone").await, [] as [Value; 0]);

    // A reset brings it back as well, and for good.
    let by_hand = service.ask(&["target", "disable", "gone"]);
    assert_eq!((&by_hand["disabled_by"], &by_hand["disabled_why"]), (&"hand".into(), &"by hand".into()), "{by_hand}");
    let back = service.ask(&["target", "reset", "gone"]);
    assert!(back["disabled_by"].is_null() && service.ask(&["reload"])["disabled"].is_null(), "{back}");
    service.kill_and_restart();
    breaker(&service, "gone", "closed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_spares_the_target_and_its_neighbours_notice_nothing() {
    let (receiver, service) = start().await;
    receiver.answer("/broken", Answer::Status(503));
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(send(&service, r#"{"for":"broken"}"#).await);
    }
    let status = breaker(&service, "broken", "open").await;
    assert!(status["opens_in"].as_f64().is_some_and(|s| s > 60.0), "{status}");
    receiver.arrivals("/good", 10).await;
    assert_eq!(receiver.ids("/good"), ids(&sent));
    assert_eq!(receiver.seen("/broken").len(), 3, "it opened at the third failure, and no attempt was made since");
    let people = service.hexafn(&["target", "ls"]).out;
    assert!(people.lines().any(|l| l.starts_with("broken") && l.contains("open")), "{people}");
    eventually("what is not settled is seen where the breaker is", async || {
        let behind = service.ask(&["target", "show", "broken"]);
        (
            behind["lag"].as_u64().zip(behind["waiting"].as_u64()).is_some_and(|(lag, waiting)| lag + waiting == 10),
            behind,
        )
    })
    .await;
    assert!(["LAG", "WAITING"].iter().all(|head| people.lines().next().unwrap().contains(head)), "{people}");
    assert!(people.lines().any(|l| l.starts_with("good") && l.contains("closed")), "{people}");

    receiver.answer("/broken", Answer::Status(200));
    service.ask(&["target", "reset", "broken"]);
    receiver.arrivals("/broken", 13).await;
    idle(&service).await;
    assert_eq!(receiver.ids("/broken"), ids(&sent), "each arrived when it was back");
    assert_eq!(receiver.seen("/broken").len(), 13, "each once");
    assert_eq!(target(&service, "broken").await["breaker"], "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_says_when_to_come_again_and_when_to_stop() {
    let (receiver, service) = start().await;
    receiver.answer("/polite", Answer::With(429, "retry-after: 1".into()));
    receiver.answer("/quits", Answer::With(500, "webhook-delivery: abort-message".into()));
    let elsewhere = format!("location: {}/elsewhere", receiver.base);
    receiver.answer("/moved", Answer::With(302, elsewhere));
    let polite = send(&service, r#"{"for":"polite"}"#).await;
    send(&service, r#"{"for":"quits"}"#).await;
    send(&service, r#"{"for":"moved"}"#).await;
    receiver.arrivals("/polite", 1).await;
    receiver.answer("/polite", Answer::Status(200));
    let seen = receiver.arrivals("/polite", 2).await;
    let pause = seen[1].at - seen[0].at;
    assert!(pause >= Duration::from_millis(990), "its schedule says 10 ms, the receiver said 1 s: {pause:?}");
    assert_eq!(receiver.ids("/polite"), ids(&[polite]));

    let dead = events_when(&service, "hexafn.dead.target.quits", 1).await;
    assert_eq!(dead[0]["extensions"]["deadattempts"], "1", "{}", dead[0]);
    assert_eq!(receiver.seen("/quits").len(), 1);

    let dead = events_when(&service, "hexafn.dead.target.moved", 1).await;
    assert!(dead[0]["extensions"]["deadcause"].as_str().unwrap().contains("redirect"), "{}", dead[0]);
    assert_eq!(receiver.seen("/moved").len(), 2);
    assert_eq!(receiver.seen("/elsewhere").len(), 0, "a redirect is not followed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_say_why_and_a_replay_of_the_trigger_delivers_under_the_same_ids() {
    let (receiver, service) = start().await;
    receiver.answer("/flaky", Answer::Status(500));
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(send(&service, &format!(r#"{{"for":"flaky","n":{n}}}"#)).await);
    }
    let dead = events_when(&service, "hexafn.dead.target.flaky", 3).await;
    for letter in &dead {
        let why = &letter["extensions"];
        assert_eq!((&why["deadby"], &why["deadattempts"]), (&"target.flaky".into(), &"3".into()), "{letter}");
        assert_eq!(why["deadtopic"], "hexafn.out.flaky", "{letter}");
        assert!(why["deadcause"].as_str().unwrap().contains("500"), "{letter}");
        assert_eq!(letter["data"]["for"], "flaky", "the payload is there");
    }
    assert_eq!(ids_of(&dead), ids(&sent));
    let failed = receiver.seen("/flaky");
    assert_eq!((failed.len(), receiver.ids("/flaky")), (9, ids(&sent)));
    let shown = subscription(&service, "target.flaky").await;
    assert_eq!((&shown["dead_lettered"], &shown["lag"]), (&3.into(), &0.into()), "{shown}");

    receiver.answer("/flaky", Answer::Status(200));
    // An outbox keeps nothing that is handled, so it is the trigger that is replayed.
    service.ask(&["sub", "replay", "trigger.spread", "--from", "all"]);
    let seen = receiver.arrivals("/flaky", 12).await;
    let mut again: Vec<String> = seen[9..].iter().map(Received::id).collect();
    again.sort();
    assert_eq!(again, ids(&sent), "the same webhook-ids");
    idle(&service).await;
    assert_eq!(receiver.seen("/flaky").len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_order_holds_across_retries() {
    let (receiver, service) = start().await;
    receiver.answer("/strict", Answer::Status(503));
    for n in 0..6 {
        send(&service, &format!(r#"{{"for":"strict","n":{n}}}"#)).await;
    }
    receiver.arrivals("/strict", 2).await;
    receiver.answer("/strict", Answer::Status(200));
    idle(&service).await;
    let mut order: Vec<i64> = receiver
        .seen("/strict")
        .iter()
        .map(|r| serde_json::from_str::<Value>(&r.body).unwrap()["n"].as_i64().unwrap())
        .collect();
    assert!(order.iter().filter(|n| **n == 0).count() >= 2, "the first was tried again: {order:?}");
    order.dedup();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_nobody_answers_at_delivers_when_somebody_does() {
    // A port that was free a moment ago: connections are refused.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = Scenario::new("pipeline").receiver(&format!("http://127.0.0.1:{port}")).start();
    let id = send(&service, r#"{"n":7}"#).await;
    let status = eventually("the failure", async || {
        let status = target(&service, "web").await;
        (status["failed"].as_u64() > Some(1), status)
    })
    .await;
    assert!(status["last"].as_str().unwrap().starts_with("connect"), "{status}");
    assert_eq!(events_when(&service, "out", 1).await.len(), 1, "its neighbour was served");
    // Switched off it is left alone, and keeps its event.
    let off = service.ask(&["target", "disable", "web"]);
    assert_eq!(off["breaker"], "disabled", "{off}");
    let receiver = Receiver::at(port).await;
    let row = subscription(&service, "target.web").await;
    assert_eq!((&row["waiting"], &row["dead_lettered"]), (&1.into(), &0.into()), "the event is kept: {row}");
    assert_eq!(receiver.seen("/web").len(), 0);
    service.ask(&["target", "enable", "web"]);
    receiver.arrivals("/web", 1).await;
    idle(&service).await;
    assert_eq!((receiver.ids("/web"), receiver.seen("/web").len()), (vec![format!("{id}-double")], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_a_topic_is_shown_like_the_others() {
    let service = Scenario::new("pipeline").receiver("http://127.0.0.1:9").start();
    let listed = service.ask(&["target", "ls"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["file", "out", "web"]);
    for name in names {
        let shown = service.ask(&["target", "show", name]);
        assert_eq!(shown["name"], name, "what is listed can be shown: {shown}");
    }
    let unknown = service.hexafn(&["target", "show", "wbe"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("web"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_shows_its_version_where_it_is_defined_and_what_holds_it_up() {
    let (receiver, service) = start().await;
    receiver.answer("/gone", Answer::Status(400));
    service.edit(
        "[[target]]\nname = \"gone\"",
        "[[target]]\nretry = { schedule = [], max_age = \"1h\" }\nname = \"gone\"",
    );
    service.ask(&["reload"]);
    send(&service, r#"{"for":"gone"}"#).await;
    let letter = letters_when(&service, "target.gone", 1).await.remove(0);
    let shown = service.ask(&["target", "show", "gone"]);
    assert_eq!(shown["version"], letter["version"], "what failed is what runs");
    assert!(shown["origin"].as_str().unwrap().contains("hexafn.toml:"), "{shown}");
    assert!(
        shown["retries"].as_str().unwrap().starts_with("1 attempts at most, max_age 1h; breaker after "),
        "{shown}"
    );
    assert!(shown["sends"].as_str().unwrap().starts_with("timeout "), "{shown}");
    service.ask(&["sub", "pause", "target.gone"]);
    assert_eq!(service.ask(&["target", "show", "gone"])["paused"], true);
    assert!(service.hexafn(&["target", "ls"]).out.lines().next().unwrap().contains("PAUSED"));
    assert!(service.hexafn(&["sub", "ls"]).out.contains("paused"));

    // Every attempt by hand is shown as it is sent.
    let tried = service.hexafn(&["target", "test", "good", "--data", r#"{"a":"b"}"#]);
    assert!(tried.out.contains("\nwebhook-id: ") && tried.out.ends_with("\n{\"a\":\"b\"}\n"), "{tried:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_removed_is_told_by_what_waits_and_by_no_metric() {
    let (receiver, service) = start().await;
    receiver.answer("/gone", Answer::Status(503));
    let text = service.scenario.text();
    send(&service, r#"{"for":"gone"}"#).await;
    receiver.arrivals("/gone", 1).await;
    let metrics = async || answer(client().get(service.url("/metrics"))).await.text;
    assert!(metrics().await.contains(r#"hexafn_target_breaker_state{target="gone"} 0"#));
    service.ask(&["target", "disable", "gone"]);
    eventually("a disabled target is none with an open breaker", async || {
        let text = metrics().await;
        (text.contains(r#"hexafn_target_breaker_state{target="gone"} 3"#), text)
    })
    .await;
    let at = text.find("[[target]]\nname = \"gone\"").unwrap();
    let end = text[at + 1..].find("[[").map_or(text.len(), |next| at + 1 + next);
    let without = format!("{}{}", &text[..at], &text[end..]).replace("\"gone\", ", "");
    service.configure("hexafn.toml", &without);
    service.ask(&["reload"]);
    let text = metrics().await;
    assert!(!text.contains(r#"target="gone""#), "{text}");
    let row = service.ask(&["sub", "show", "target.gone"]).as_array().unwrap()[0].clone();
    assert_eq!((&row["configured"], &row["topic"]), (&false.into(), &"hexafn.out.gone".into()), "{row}");
    assert_eq!(row["lag"].as_u64().unwrap() + row["waiting"].as_u64().unwrap(), 1, "{row}");
    assert!(service.hexafn(&["sub", "ls"]).out.contains("not configured"));
    let refused = service.hexafn(&["sub", "pause", "target.gone"]);
    assert!(refused.err.contains("hexafn sub rm target.gone") && !refused.err.contains("did you mean"), "{refused:?}");
    for act in ["show", "log", "test", "enable", "reset"] {
        let unknown = service.hexafn(&["target", act, "gone"]);
        assert!(
            unknown.code == Some(1) && unknown.err.contains("not configured any more; 1 events wait"),
            "{unknown:?}"
        );
        let misspelt = service.hexafn(&["target", act, "gonne"]);
        assert!(misspelt.code == Some(1) && misspelt.err.contains("there is no target `gonne`"), "{misspelt:?}");
    }
}
