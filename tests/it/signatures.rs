//! Signatures of webhooks: whose are taken, for how long, and that a stranger learns nothing and uses nothing up.

use super::sender::{answer, client, hex_hmac, now, post, standard};
use super::service::{KEY, NEW_KEY, Scenario, Service};
use super::watch::events;
use reqwest::Method;
use serde_json::Value;

fn start() -> Service {
    Scenario::new("doors").start()
}

type Headers = &'static [(&'static str, &'static str)];

/// A signed delivery of GitHub's scheme to a source; its status.
async fn github(service: &Service, source: &str, key: &str, id: &str) -> u16 {
    let signature = format!("sha256={}", hex_hmac(key, "{}"));
    let headers = [("x-hub-signature-256", &*signature), ("x-github-delivery", id), ("x-github-event", "ping")];
    post(&service.url(&format!("/hooks/{source}")), &headers, "{}").await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_refuses_and_one_that_does_not_exist_are_answered_alike() {
    let service = start();
    let large = "x".repeat((1 << 20) + 1);
    let cases: [(&str, Method, Headers, &str); 7] = [
        ("no signature", Method::POST, &[], "{}"),
        ("a wrong one", Method::POST, &[("x-hub-signature-256", "sha256=00")], "{}"),
        ("GET", Method::GET, &[], ""),
        ("OPTIONS", Method::OPTIONS, &[], ""),
        ("TRACE", Method::TRACE, &[("x-secret", "do not echo")], ""),
        ("packed", Method::POST, &[("content-encoding", "gzip")], "{}"),
        ("too large", Method::POST, &[], &large),
    ];
    for (what, method, headers, body) in cases {
        let mut answers = Vec::new();
        for source in ["signed", "nobody"] {
            let mut request = client().request(method.clone(), service.url(&format!("/hooks/{source}")));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answered = answer(request.header("content-type", "application/json").body(body.to_owned())).await;
            assert!(answered.status >= 400 && !answered.text.contains("do not echo"), "{what}: {answered:?}");
            let allow = answered.header("allow").map(str::to_owned);
            answers.push((answered.status, allow, answered.text));
        }
        assert_eq!(answers[0], answers[1], "{what}: the name of the source is given away");
    }
    assert_eq!(events(&service, "signed").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_use_up_what_the_true_sender_may_send() {
    let service = start();
    for _ in 0..5 {
        assert_eq!(github(&service, "signed", "another key of thirty-two bytes..", "x").await, 401);
    }
    assert_eq!(github(&service, "signed", KEY, "1").await, 202, "the source takes one a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_secrets_are_live_while_one_is_rotated() {
    let service = start();
    for (key, id, status) in [(KEY, "1", 202), (NEW_KEY, "2", 202), ("another key of thirty-two bytes..", "3", 401)] {
        assert_eq!(github(&service, "rotating", key, id).await, status, "{key}");
    }
    let at = now();
    let signature = format!("t={at},v1={},v1={}", "0".repeat(64), hex_hmac(KEY, &format!("{at}.{{}}")));
    let signed = [("stripe-signature", signature.as_str())];
    assert_eq!(post(&service.url("/hooks/stripe"), &signed, "{ }").await.0, 401, "another body");
    assert_eq!(post(&service.url("/hooks/stripe"), &signed, "{}").await.0, 202, "one of two signatures fits");
}

async fn slack(service: &Service, at: u64, body: &str) -> super::sender::Answered {
    let signature = format!("v0={}", hex_hmac(KEY, &format!("v0:{at}:{body}")));
    let request = client().post(service.url("/hooks/slack")).header("content-type", "application/json");
    let request = request.header("x-slack-request-timestamp", at.to_string()).header("x-slack-signature", signature);
    answer(request.body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_is_good_for_five_minutes_and_a_challenge_makes_no_event() {
    let service = start();
    let challenge = include_str!("../fixtures/slack-url_verification.json");
    let answered = slack(&service, now(), challenge).await;
    let expected: Value = serde_json::from_str(challenge).unwrap();
    assert_eq!((answered.status, Some(&*answered.text)), (200, expected["challenge"].as_str()));
    assert_eq!(events(&service, "slack").await.len(), 0);

    let body = include_str!("../fixtures/slack-event.json");
    for (at, status) in [(now() - 290, 202), (now() + 290, 200), (now() - 310, 401), (now() + 310, 401), (0, 401)] {
        assert_eq!(slack(&service, at, body).await.status, status, "{at}");
    }
    assert_eq!(events(&service, "slack").await.len(), 1, "the repeated event was not taken again");
}

/// A delivery of Standard Webhooks with these signatures.
async fn deliver(service: &Service, source: &str, at: &str, signatures: &str) -> (u16, Value) {
    let headers = [("webhook-id", "m1"), ("webhook-timestamp", at), ("webhook-signature", signatures)];
    post(&service.url(&format!("/hooks/{source}")), &headers, "{}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_signatures_eight_are_looked_at_and_an_old_one_is_no_different_from_a_wrong_one() {
    let service = start();
    let old = (now() - 301).to_string();
    let stale = deliver(&service, "standard", &old, &standard("m1", &old, "{}")).await;
    let wrong = deliver(&service, "standard", &old, "v1,AAAA").await;
    assert_eq!((stale.0, &stale), (401, &wrong));
    let at = now().to_string();
    let good = standard("m1", &at, "{}");
    let bad = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ";
    let ninth = format!("{}{good}", bad.repeat(8));
    assert_eq!(deliver(&service, "standard", &at, &ninth).await.0, 401, "the ninth signature is not looked at");
    let eighth = format!("{}{good}", bad.repeat(7));
    assert_eq!(deliver(&service, "standard", &at, &eighth).await.0, 202);
    assert_eq!(deliver(&service, "standard", &at, &good).await.0, 200, "the same delivery, once");
    assert_eq!(events(&service, "standard").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_sent_by_hand_with_a_method_that_the_source_takes() {
    let put = format!(
        "[[source]]\nname = \"put\"\nkind = \"webhook\"\ntopic = \"put\"\nmethods = [\"PUT\", \"PATCH\"]\nverify = {}\n",
        r#"{ scheme = "hmac", header = "X-Signature", template = "{method} {body}", secrets = ["file:secrets/key"] }"#
    );
    let service = Scenario::new("doors").file("put.toml", &put).start();
    let sent =
        |method: &[&str]| service.hexafn(&[&["hook", "send", "put", "--config", "cfg", "-d", "{}"], method].concat());
    for method in [&[][..], &["--method", "PATCH"], &["--method", "put"]] {
        let ran = sent(method);
        assert_eq!(ran.code, Some(0), "{method:?}: {ran:?}");
    }
    let ran = sent(&["--method", "POST"]);
    assert!(ran.code == Some(2) && ran.err.contains("takes PUT, PATCH, not POST"), "what it takes is named: {ran:?}");
    assert_eq!(events(&service, "put").await.len(), 3);
}
