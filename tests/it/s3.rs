//! Objects in a bucket.

use super::outlets::{Server, free_port, scenario};
use super::sender::{client, send};
use super::watch::{events_when, eventually, idle, target};
use std::io::Read;

fn toml(port: u16, more: &str) -> String {
    format!(
        "kind = \"s3\"\nbucket = \"events\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
         credentials = {{ access_key_id = \"writer\", secret = \"file:secrets/key\" }}\n{more}\n"
    )
}

/// The keys of a bucket, sorted.
pub async fn keys(port: u16, bucket: &str) -> Vec<String> {
    let url = format!("http://127.0.0.1:{port}/{bucket}?list-type=2");
    let list = client().get(url).send().await.unwrap().text().await.unwrap();
    let mut keys: Vec<String> =
        list.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0.to_owned()).collect();
    keys.sort();
    keys
}

async fn object(port: u16, key: &str) -> reqwest::Response {
    let request = client().get(format!("http://127.0.0.1:{port}/events/{key}"));
    // The server looks at who asks, and checks no signature.
    let who = "AWS4-HMAC-SHA256 Credential=reader/20261124/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let answer = request.header("authorization", who).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{key}");
    answer
}

pub async fn make_bucket(port: u16, name: &str) {
    let made = client().put(format!("http://127.0.0.1:{port}/{name}")).send().await.unwrap();
    assert_eq!(made.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_lie_in_the_objects_that_their_prefix_names() {
    let server = Server::s3(free_port());
    make_bucket(server.port, "events").await;
    let more = "prefix = 'log/${event.data.to}/'\ncompress = \"gzip\"\nencryption = \"AES256\"\nstorage_class = \
                \"STANDARD_IA\"\nbatch = { max_records = 4, max_age = \"5m\" }";
    let service = scenario(&toml(server.port, more)).start();
    for (n, to) in ["a", "b", "a", "a"].iter().enumerate() {
        send(&service, &format!(r#"{{"n":{n},"to":"{to}"}}"#)).await;
    }
    let found = eventually("two objects", async || {
        let keys = keys(server.port, "events").await;
        (keys.len() == 2, keys)
    })
    .await;
    assert!(found[0].starts_with("log/a/") && found[0].ends_with(".jsonl.gz"), "{found:?}");
    assert!(found[1].starts_with("log/b/"), "{found:?}");
    let answer = object(server.port, &found[0]).await;
    let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/x-ndjson"));
    assert_eq!(header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(header("x-amz-storage-class").as_deref(), Some("STANDARD_IA"));
    assert_eq!(header("x-amz-server-side-encryption").as_deref(), Some("AES256"));
    let bytes = answer.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    let numbers: Vec<i64> =
        text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["n"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [0, 2, 3], "in their order");
    idle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_named_and_events_wait_for_it() {
    let server = Server::s3(free_port());
    let service = scenario(&toml(server.port, "batch = { max_records = 1 }")).start();
    send(&service, r#"{"n":1}"#).await;
    let status = eventually("the refusal", async || {
        let status = target(&service, "out").await;
        (status["last"].is_string(), status)
    })
    .await;
    let why = status["last"].as_str().unwrap();
    assert!(["status_4xx", "404", "NoSuchBucket", "make the bucket"].iter().all(|t| why.contains(t)), "{why}");
    make_bucket(server.port, "events").await;
    idle(&service).await;
    let found = keys(server.port, "events").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("out/"), "{found:?}");
    assert_eq!(object(server.port, &found[0]).await.text().await.unwrap(), "{\"n\":1}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_tried_again() {
    let port = free_port();
    let mut service = scenario(&toml(port, "batch = { max_records = 3, max_age = \"1s\" }")).start();
    for n in 0..3 {
        send(&service, &format!(r#"{{"n":{n}}}"#)).await;
    }
    let status = eventually("the failure", async || {
        let status = target(&service, "out").await;
        (status["last"].is_string(), status)
    })
    .await;
    assert!(status["last"].as_str().unwrap().starts_with("connect"), "{status}");
    service.kill();
    let server = Server::s3(port);
    make_bucket(port, "events").await;
    service.start_again();
    idle(&service).await;
    let found = keys(port, "events").await;
    let mut all = String::new();
    for key in &found {
        all += &object(port, key).await.text().await.unwrap();
    }
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"], "{found:?}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_batch_again_has_the_same_name() {
    let server = Server::s3(free_port());
    make_bucket(server.port, "events").await;
    let service = scenario(&toml(server.port, "batch = { max_records = 3, max_age = \"5m\" }")).start();
    for n in 0..3 {
        send(&service, &format!(r#"{{"n":{n}}}"#)).await;
    }
    idle(&service).await;
    let once = keys(server.port, "events").await;
    assert_eq!(once.len(), 1, "{once:?}");
    service.ask(&["sub", "replay", "trigger.pass", "--from", "all"]);
    eventually("the batch again", async || {
        let status = target(&service, "out").await;
        (status["delivered"] == 6, status)
    })
    .await;
    // But for the second in which its results were made, which is another one when they are made again.
    let names = |keys: &[String]| -> Vec<String> {
        let mut names: Vec<_> = keys.iter().map(|key| key.rsplit_once('-').unwrap().1.to_owned()).collect();
        names.dedup();
        names
    };
    assert_eq!(names(&keys(server.port, "events").await), names(&once));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_names_no_key_is_a_dead_letter_alone() {
    let server = Server::s3(free_port());
    make_bucket(server.port, "events").await;
    let more = "prefix = 'log/${event.data.to}/'\nbatch = { max_records = 2, max_age = \"5m\" }";
    let service = scenario(&toml(server.port, more)).start();
    send(&service, r#"{"to":"../b"}"#).await;
    send(&service, r#"{"to":"a"}"#).await;
    let dead = events_when(&service, "hexafn.dead.target.out", 1).await;
    let why = dead[0]["extensions"]["deadcause"].as_str().unwrap();
    assert!(why.contains("no beginning of a key"), "{why}");
    let found = eventually("the other", async || {
        let keys = keys(server.port, "events").await;
        (keys.len() == 1, keys)
    })
    .await;
    assert!(found[0].starts_with("log/a/"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_an_upload_leaves_nothing_but_whole_objects() {
    let server = Server::s3(free_port());
    make_bucket(server.port, "events").await;
    let batch = "batch = { max_records = 3, max_bytes = \"8MiB\", max_age = \"5m\" }";
    let mut service = scenario(&toml(server.port, batch)).start();
    // It takes connections and the beginning of what comes, and answers nothing.
    server.signal("STOP");
    let filler = "x".repeat(900 << 10);
    for n in 0..3 {
        send(&service, &format!(r#"{{"n":{n},"filler":"{filler}"}}"#)).await;
    }
    eventually("the upload", async || {
        let status = target(&service, "out").await;
        (status["attempting"] == 1, status)
    })
    .await;
    service.kill();
    server.signal("CONT");
    service.start_again();
    idle(&service).await;
    let mut numbers = Vec::new();
    for key in keys(server.port, "events").await {
        let text = object(server.port, &key).await.text().await.unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line"));
        numbers.extend(lines.map(|event| event["n"].as_i64().unwrap()));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2], "each once: the same batch has the same name");
}

#[test]
fn a_private_endpoint_must_be_allowed() {
    let scenario = scenario(&toml(9, "")).edit("allow_networks = [\"127.0.0.0/8\"]", "");
    let refused = scenario.run(&["check", "--config", "cfg"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("allow_networks = [\"127.0.0.0/8\"]"), "{}", refused.err);
}
