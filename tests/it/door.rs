//! The door of webhooks: which bodies are taken, how often, how slowly, and what is refused before it is read.

use super::sender::{answer, client, post};
use super::service::{Scenario, Service};
use super::watch::{PATIENCE, events};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn start() -> Service {
    Scenario::new("doors").start()
}

/// What is right is taken, and is the first event of its topic: nothing of what came before it was stored.
async fn is_the_first(service: &Service, source: &str) {
    let (status, told) = post(&service.url(&format!("/hooks/{source}")), &[], "{}").await;
    assert_eq!((status, &told["seq"]), (202, &1.into()), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_refused_with_a_code_and_a_reason_and_nothing_of_them_is_stored() {
    let service = start();
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    let large = format!("\"{}\"", "x".repeat(5000));
    for (body, status, code) in [
        (r#"{"a":1,"a":2}"#, 400, "json-duplicate-key"),
        (&*deep, 400, "json-depth"),
        (r#""\ud800""#, 400, "json-surrogate"),
        ("1e999", 400, "json-number"),
        ("{", 400, "json-syntax"),
        (&*large, 413, "body-too-large"),
    ] {
        let (got, problem) = post(&service.url("/hooks/open"), &[], body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{problem}");
    }
    let (status, problem) = post(&service.url("/hooks/open"), &[("content-encoding", "gzip")], "{}").await;
    assert_eq!(status, 415, "a bomb is not unpacked: {problem}");
    is_the_first(&service, "open").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_delivery_is_answered_200_and_stored_once() {
    let service = start();
    let (first, told) = post(&service.url("/hooks/open"), &[("x-id", "7")], "{}").await;
    let (second, again) = post(&service.url("/hooks/open"), &[("x-id", "7")], "{}").await;
    assert_eq!((first, second), (202, 200));
    assert_eq!((&told["id"], &told["seq"]), (&again["id"], &again["seq"]));
    assert_eq!((&told["durability"], &again["duplicate"]), (&"disk".into(), &true.into()));
    assert_eq!(told["duplicate"], serde_json::Value::Null);
    assert_eq!(events(&service, "open").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_are_told_when_to_come_again() {
    let service = start();
    let mut statuses = Vec::new();
    let last = loop {
        let answered = answer(client().post(service.url("/hooks/slow")).body("{}")).await;
        statuses.push(answered.status);
        if answered.status != 202 || statuses.len() > 50 {
            break answered;
        }
    };
    // Two at once; a third and more only when the machine is so slow that a second has gone by.
    assert_eq!((last.status, statuses.len() >= 3), (429, true), "{statuses:?}");
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
}

/// Sends bytes as they are; everything that is answered until the service closes.
async fn raw(service: &Service, bytes: &str) -> String {
    let address = service.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.replace("ADDRESS", address).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is not closed; {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_of_request_smuggling_are_refused_and_closed() {
    let service = start();
    let head = "POST /hooks/open HTTP/1.1\r\nhost: ADDRESS\r\n";
    for rest in [
        "content-length: 3\r\ncontent-length: 4\r\n\r\n{}  ",
        "content-length: +2\r\n\r\n{}",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "content-length : 2\r\n\r\n{}",
    ] {
        let answer = raw(&service, &format!("{head}{rest}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{rest:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{rest:?}: {answer}");
    }
    // A version that does not exist gets an answer or none, but nothing is stored.
    let answer = raw(&service, "POST /hooks/open HTTP/9.9\r\nhost: ADDRESS\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                GET /health/live HTTP/1.1\r\nhost: ADDRESS\r\nconnection: close\r\n\r\n";
    let answer = raw(&service, &format!("{head}{both}")).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "a length beside chunks is refused: {answer}");
    assert!(!answer.contains("live"), "nothing is read from behind it: {answer}");
    is_the_first(&service, "open").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    // Short for this test alone: a sender that the machine holds up is slow, too.
    let service = Scenario::new("doors").file("limits.toml", "[server.limits]\nhead = \"500ms\"\n").start();
    for begun in
        ["POST /hooks/open HTTP/1.1\r\nhost: ADDR", "POST /hooks/open HTTP/1.1\r\nhost: ADDRESS\r\nx: y\r\n", ""]
    {
        let answer = raw(&service, begun).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{begun:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_or_does_not_end_is_not_waited_for() {
    let service = Scenario::new("doors").edit("{ body = \"4KiB\" }", "{ body = \"4KiB\", body_time = \"1s\" }").start();
    let head = "POST /hooks/open HTTP/1.1\r\nhost: ADDRESS\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let answer = raw(&service, &format!("{head}content-length: 9\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-timeout"), "{answer:?}");
    // 10,000 bytes in chunks: more than the 4 KiB of the source, and no content-length that would tell.
    let chunks = format!("64\r\n{}\r\n", "1".repeat(100)).repeat(100);
    let answer = raw(&service, &format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    assert_eq!(events(&service, "open").await.len(), 0);
}
