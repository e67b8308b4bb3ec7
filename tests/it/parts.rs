//! Batches whose events go to different places: they are sent in parts, and what is not sent has not failed.

use super::receiver::{Answer, Receiver};
use super::sender::publish;
use super::service::{KEY, Scenario, Service};
use super::watch::{events, eventually, idle, target};
use serde_json::Value;
use std::time::Duration;

/// A target `parted` that gets what is published to `in`.
fn start(kind: &str) -> Service {
    let text = format!(
        "[targets]\nallow_networks = ['127.0.0.0/8']\n[[trigger]]\nname = 'pass'\non = 'in'\nto = 'parted'\n\
         [[target]]\nname = 'parted'\nretry = {{ schedule = [] }}\n{kind}\n"
    );
    Scenario::new("pipeline").file("hexafn.toml", &text).start()
}

async fn publish_many(service: &Service, count: usize) {
    service.ask(&["target", "disable", "parted"]);
    for n in 0..count {
        publish(service, "in", &format!("{{\"n\":{n},\"k\":{}}}", n % 4)).await;
    }
    service.ask(&["target", "enable", "parted"]);
}

/// Each event is delivered once, and none was given up or failed.
async fn all_arrive(service: &Service, receiver: &Receiver, count: usize) {
    let state = eventually("everything arrives", async || {
        let state = target(service, "parted").await;
        (state["delivered"] == count, state)
    })
    .await;
    idle(service).await;
    assert_eq!((&state["failed"], receiver.count()), (&Value::from(0), (count, count)), "{state}");
    assert!(events(service, "hexafn.dead.target.parted").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_slower_than_the_parts_of_a_batch_fails_none_of_them() {
    for more in ["concurrency = 2", "ordering = 'strict'"] {
        let receiver = Receiver::start().await;
        receiver.answer_others(Answer::Slow(Duration::from_millis(100)));
        let url = format!("{}/un/${{event.data.n}}", receiver.base);
        let batch = "batch = { max_records = 100, max_age = '50ms' }\ntimeout = '500ms'";
        let service = start(&format!("kind = 'http'\nurl = '{url}'\n{batch}\n{more}"));
        publish_many(&service, 30).await;
        all_arrive(&service, &receiver, 30).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_side_by_side_where_nothing_is_in_order() {
    let receiver = Receiver::start().await;
    receiver.answer("/side/0", Answer::Hang);
    let url = format!("{}/side/${{event.data.k}}", receiver.base);
    let batch = "batch = { max_records = 8, max_age = '50ms' }\ntimeout = '5m'";
    let service = start(&format!("kind = 'http'\nurl = '{url}'\n{batch}\nconcurrency = 4"));
    publish_many(&service, 8).await;
    // The first part has no answer, and the others have theirs all the same.
    for k in 0..4 {
        let part = receiver.arrivals(&format!("/side/{k}"), 1).await.remove(0);
        let members: Vec<Value> = serde_json::from_str(&part.body).unwrap();
        assert!(members.len() == 2 && members.iter().all(|one| one["k"] == k), "{part:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_a_slow_bucket_was_not_asked_for_have_not_failed() {
    let receiver = Receiver::start().await;
    receiver.answer_others(Answer::Slow(Duration::from_millis(200)));
    let (base, batch) = (&receiver.base, "batch = { max_records = 100, max_age = '50ms' }\ntimeout = '600ms'");
    let service = start(&format!(
        "kind = 's3'\nbucket = 'events'\nendpoint = '{base}'\nprefix = '${{event.data.n}}/'\n{batch}\n\
         credentials = {{ access_key_id = 'writer', secret = 'file:secrets/key' }}"
    ));
    assert!(!KEY.is_empty(), "the secret of the credentials");
    publish_many(&service, 60).await;
    all_arrive(&service, &receiver, 60).await;
}
