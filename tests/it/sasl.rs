//! Kafka with names and passwords: the real broker behind a front that asks for them (`tests/servers/sasl.py`).

use super::brokers::{Kafka, Login};
use super::sender::post;
use super::service::{KEY, NEW_KEY, Scenario, Service};
use super::watch::{events_when, eventually, idle, ids_of, target};
use serde_json::Value;

const TOPICS: [(&str, i32); 2] = [("orders", 3), ("plain", 1)];

/// The scenario, whose target and sources say who they are; the password is that of `secrets/key`.
fn scenario(kafka: &Kafka, login: &Login) -> Scenario {
    let (mechanism, user) = (login.mechanism, Login::USER);
    let sasl = format!("{{ mechanism = \"{mechanism}\", username = \"{user}\", password = \"file:secrets/key\" }}");
    let tls = if login.tls { "tls = { ca = \"ca.pem\" }" } else { "" };
    let scenario = Scenario::new("kafka")
        .edit("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]")
        .edit("brokers = [\"{{receiver}}\"]", &format!("brokers = [\"{}\"]\nsasl = {sasl}\n{tls}", kafka.address));
    if login.tls {
        std::fs::copy(login.folder.path().join("client.pem"), scenario.path("cfg/ca.pem")).unwrap();
    }
    scenario
}

/// Sends an order; the id of the event that is delivered.
async fn order(service: &Service) -> String {
    let (status, answer) = post(&service.url("/hooks/in"), &[], r#"{"customer":"c","n":1}"#).await;
    assert_eq!(status, 202, "{answer}");
    format!("{}-forward", answer["id"].as_str().unwrap())
}

/// The attempts of the target, the newest first.
fn attempts(service: &Service) -> Vec<Value> {
    service.ask(&["target", "log", "orders"]).as_array().unwrap().clone()
}

async fn a_wrong_password_is_told_and_a_right_one_delivers(mechanism: &'static str, tls: bool) {
    let login = Login::new(mechanism, tls);
    let kafka = Kafka::start_behind_sasl(&TOPICS, &login, NEW_KEY).await;
    let service = scenario(&kafka, &login).start_logged("debug");
    let id = order(&service).await;
    eventually("an attempt failed", async || {
        let target = target(&service, "orders").await;
        (target["failed"].as_u64() > Some(0), target)
    })
    .await;
    let failed = &attempts(&service)[0];
    let why = failed["message"].as_str().unwrap();
    assert_eq!((&failed["result"], &failed["event_id"]), (&"rejected".into(), &(&*id).into()), "{failed}");
    assert!(why.starts_with("authentication failed, check `sasl`:"), "{failed}");
    assert!(
        why.contains("invalid credentials") && why.contains(mechanism),
        "the front's words are passed on: {failed}"
    );
    assert_eq!(kafka.count("orders", 3), 0);
    let mut printed = String::new();
    for command in [&["target", "ls"][..], &["target", "log", "orders"], &["target", "show", "orders"]] {
        let ran = service.hexafn(command);
        assert!(ran.out.contains("authentication failed"), "people are told by {command:?}: {ran:?}");
        printed += &ran.out;
    }

    std::fs::write(service.path("cfg/secrets/key"), NEW_KEY).unwrap();
    printed += &service.ask(&["reload"]).to_string();
    assert_eq!(ids_of(&events_when(&service, "back", 1).await), [&*id], "the source reads it back");
    idle(&service).await;
    let records = kafka.records("orders", 3, 1);
    assert_eq!((records[0].header("webhook-id"), kafka.count("orders", 3)), (Some(&*id), 1), "the same, and once");
    assert_eq!(attempts(&service)[0]["result"], "delivered");
    for command in
        [&["source", "ls"][..], &["target", "ls"], &["target", "show", "orders"], &["target", "log", "orders"]]
    {
        printed += &service.hexafn(command).out;
    }
    printed += &std::fs::read_to_string(service.path("log")).unwrap();
    assert!(printed.contains("invalid credentials"), "the client's own words are in the log");
    assert!(!printed.contains(KEY) && !printed.contains(NEW_KEY), "a password was printed: {printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_over_tls() {
    a_wrong_password_is_told_and_a_right_one_delivers("PLAIN", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_sha_256() {
    a_wrong_password_is_told_and_a_right_one_delivers("SCRAM-SHA-256", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_sha_512_over_tls() {
    a_wrong_password_is_told_and_a_right_one_delivers("SCRAM-SHA-512", true).await;
}

/// To the client, a broker that does not take its password any more is one that is down for a while: the record times out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_changed_under_a_connected_producer_is_told() {
    let login = Login::new("SCRAM-SHA-256", false);
    let mut kafka = Kafka::start_behind_sasl(&TOPICS, &login, KEY).await;
    let service = scenario(&kafka, &login).start();
    let mut sent = vec![order(&service).await];
    events_when(&service, "back", 1).await;
    login.set(NEW_KEY);
    kafka.ask_again().await;
    sent.push(order(&service).await);
    let failed = eventually("an attempt failed", async || {
        let attempts = attempts(&service);
        (attempts[0]["event_id"] == *sent[1], attempts[0].clone())
    })
    .await;
    let why = failed["message"].as_str().unwrap();
    assert_eq!(failed["result"], "rejected", "{failed}");
    assert!(why.starts_with("authentication failed, check `sasl`:") && why.contains("did not confirm"), "{failed}");
    // The next attempt has a new producer, which finds the same when it connects.
    let failed = eventually("another attempt failed", async || {
        let attempts = attempts(&service);
        (attempts[0]["attempt"] == 2, attempts[0].clone())
    })
    .await;
    assert!(failed["message"].as_str().unwrap().starts_with("authentication failed, check `sasl`:"), "{failed}");
    // The old password is taken again, and nothing has to be done here.
    login.set(KEY);
    eventually("it is delivered", async || {
        let newest = attempts(&service)[0].clone();
        (newest["result"] == "delivered", newest)
    })
    .await;
    let records = kafka.records("orders", 3, 2);
    let mut ids: Vec<&str> = records.iter().map(|r| r.header("webhook-id").unwrap()).collect();
    ids.sort_unstable();
    sent.sort();
    assert_eq!(ids, sent);
}
