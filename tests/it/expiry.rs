//! Events that are given up because their time is over: in an outage nobody tries them.

use super::dead::letters_when;
use super::receiver::{Answer, Receiver};
use super::sender::{answer, client, publish};
use super::service::{Scenario, Service};
use super::watch::{events, eventually, idle, target};
use serde_json::Value;

/// A target `web` that answers 503, whose breaker opens at once for long, and one, `archive`, that takes everything.
fn start(receiver: &Receiver, more: &str) -> Service {
    receiver.answer("/web", Answer::Status(503));
    let base = &receiver.base;
    let text = format!(
        "[targets]\nallow_networks = ['127.0.0.0/8']\n[[trigger]]\nname = 'pass'\non = 'in'\nto = 'web'\n\
         [[target]]\nname = 'web'\nkind = 'http'\nurl = '{base}/web'\nconcurrency = 1\n\
         breaker = {{ failures = 1, open = '10m' }}\n{more}\n\
         [[target]]\nname = 'archive'\nkind = 'http'\nurl = '{base}/archive'\n"
    );
    Scenario::empty_config().file("hexafn.toml", &text).start()
}

async fn open(service: &Service) -> Value {
    eventually("an open breaker", async || {
        let state = target(service, "web").await;
        (state["breaker"] == "open", state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_outage_what_is_too_old_goes_to_the_fallback_tried_or_not_and_in_its_order() {
    let receiver = Receiver::start().await;
    for ordering in ["none", "strict", "key"] {
        let more =
            format!("ordering = '{ordering}'\nfallback = 'archive'\nretry = {{ schedule = ['1h'], max_age = '1s' }}");
        let service = start(&receiver, &more);
        let before = receiver.seen("/archive").len();
        for n in 0..30 {
            service.ask(&["publish", "in", "--key", "k", "--data", &n.to_string()]);
        }
        let got = receiver.arrivals("/archive", before + 30).await.split_off(before);
        idle(&service).await;
        let mut numbers: Vec<i64> = got.iter().map(|one| one.body.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30).collect::<Vec<_>>(), "each once");
        let told = events(&service, "hexafn.outcomes").await;
        let fell: Vec<&Value> = told.iter().filter(|e| e["type"] == "hexafn.delivery.fell-back").collect();
        let seqs: Vec<u64> = fell.iter().map(|e| e["data"]["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=30).collect::<Vec<_>>(), "{ordering}: in the order in which they came");
        assert!(fell.iter().all(|e| e["data"]["cause"].as_str().unwrap().starts_with("expired: it came ")), "{fell:?}");
        let untried = fell.iter().filter(|e| e["data"]["attempt"] == 0).count();
        assert!(untried >= 20, "nobody tries them while the breaker is open: {untried}");
        let metrics = answer(client().get(service.url("/metrics"))).await.text;
        for line in ["expired_total{subscription=\"target.web\"} 30", "fell_back_total{subscription=\"target.web\"} 30"]
        {
            assert!(metrics.contains(&format!("hexafn_subscription_{line}\n")), "{line}: {metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_person_is_kept_however_old_it_is() {
    let receiver = Receiver::start().await;
    let retry = "retry = { schedule = ['1h'], max_age = '1s' }";
    let mut service = start(&receiver, retry);
    let twin = format!(
        "[[trigger]]\nname = 'twin'\non = 'twin'\nto = 'twin'\n[[target]]\nname = 'twin'\nkind = 'http'\nurl = '{}/web'\n\
         breaker = {{ failures = 1, open = '10m' }}\n{retry}\n",
        receiver.base
    );
    service.configure("twin.toml", &twin);
    service.ask(&["reload"]);
    service.ask(&["target", "disable", "web"]);
    for n in 0..5 {
        publish(&service, "in", &n.to_string()).await;
    }
    // One that came later is too old: so are the others, and nobody gives them up.
    publish(&service, "twin", "1").await;
    letters_when(&service, "target.twin", 1).await;
    let state = target(&service, "web").await;
    assert_eq!((&state["breaker"], &state["lag"]), (&"disabled".into(), &5.into()), "{state}");
    service.ask(&["sub", "pause", "target.web"]);
    service.ask(&["target", "enable", "web"]);
    service.kill_and_restart();
    publish(&service, "twin", "2").await;
    letters_when(&service, "target.twin", 2).await;
    assert_eq!(target(&service, "web").await["lag"], 5, "paused");
    service.ask(&["sub", "resume", "target.web"]);
    let letters = letters_when(&service, "target.web", 5).await;
    assert!(letters.iter().all(|l| l["cause"].as_str().unwrap().contains("`retry.max_age`")), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_what_has_failed_ends_also_while_the_breaker_is_open() {
    let receiver = Receiver::start().await;
    let service = start(&receiver, "retry = { schedule = ['10ms'], max_attempts = 9, max_time = '1s' }");
    publish(&service, "in", "0").await;
    open(&service).await;
    publish(&service, "in", "1").await;
    let letter = letters_when(&service, "target.web", 1).await.remove(0);
    let cause = letter["cause"].as_str().unwrap();
    assert!(cause.starts_with("expired: it failed ") && cause.contains("`retry.max_time`"), "{cause}");
    assert!(cause.contains("503") && letter["attempts"] == 1 && letter["event"]["data"] == 0, "{letter}");
    let state = open(&service).await;
    assert_eq!(
        (&state["lag"], &state["waiting"]),
        (&1.into(), &0.into()),
        "what was not tried has not failed: {state}"
    );
}
