//! What the door lets in, and what it refuses.

use super::service::{Service, client, get, post};

const CONFIG: &str = r#"
[[source]]
name = "open"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
dedupe_header = "x-id"
limits = { body = "4KiB", body_time = "1s" }

[[source]]
name = "signed"
kind = "webhook"
topic = "in"
verify = { scheme = "github", secrets = ["env:IT_SECRET"] }

[[source]]
name = "slow"
kind = "webhook"
topic = "in"
verify = { scheme = "none" }
rate = { per_second = 1, burst = 2 }
"#;

fn start() -> Service {
    Service::start(&[("a.toml", CONFIG)])
}

#[tokio::test]
async fn bodies_are_refused_with_a_code_and_a_place() {
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
    let (status, _) = post(&service.url("/hooks/open"), &[("content-encoding", "gzip")], "{}").await;
    assert_eq!(status, 415);
    let request = client().request(reqwest::Method::TRACE, service.url("/hooks/open"));
    assert_eq!(request.send().await.unwrap().status().as_u16(), 405);
    assert_eq!(service.ask(&["topic", "show", "in"])["records"], 0, "nothing of it was stored");
}

#[tokio::test]
async fn a_wrong_signature_and_an_unknown_source_are_answered_alike() {
    let service = start();
    let (status, wrong) = post(&service.url("/hooks/signed"), &[("x-hub-signature-256", "sha256=00")], "{}").await;
    let (other, unknown) = post(&service.url("/hooks/nobody"), &[("x-hub-signature-256", "sha256=00")], "{}").await;
    let (missing, none) = post(&service.url("/hooks/signed"), &[], "{}").await;
    assert_eq!((status, other, missing), (401, 401, 401));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, none);
}

#[tokio::test]
async fn a_repeated_delivery_is_answered_200_and_stored_once() {
    let service = start();
    let (first, told) = post(&service.url("/hooks/open"), &[("x-id", "7")], "{}").await;
    let (second, again) = post(&service.url("/hooks/open"), &[("x-id", "7")], "{}").await;
    assert_eq!((first, second), (202, 200));
    assert_eq!((&told["id"], &told["seq"]), (&again["id"], &again["seq"]));
    assert_eq!((&told["durability"], &again["duplicate"]), (&"disk".into(), &true.into()));
    assert_eq!(service.ask(&["topic", "show", "in"])["records"], 1);
}

#[tokio::test]
async fn too_many_are_told_when_to_come_again() {
    let service = start();
    let mut last = None;
    for _ in 0..3 {
        last = Some(client().post(service.url("/hooks/slow")).body("{}").send().await.unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.status().as_u16(), 429);
    let wait: u64 = last.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let service = start();
    let address = service.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /hooks/open HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let n = stream.read(&mut answer).await.unwrap();
    assert!(
        String::from_utf8_lossy(&answer[..n]).starts_with("HTTP/1.1 408"),
        "{:?}",
        String::from_utf8_lossy(&answer[..n])
    );
}

#[tokio::test]
async fn cloudevents_come_in_all_three_modes() {
    let service = start();
    let binary = [("ce-id", "b1"), ("ce-source", "/s"), ("ce-type", "t.b"), ("ce-specversion", "1.0")];
    let (status, told) = post(&service.url("/hooks/open"), &binary, r#"{"n":1}"#).await;
    assert_eq!((status, told["id"].as_str()), (202, Some("b1")), "{told}");
    let structured = r#"{"specversion":"1.0","id":"s1","source":"/s","type":"t.s","data":{"n":2}}"#;
    let send = |kind: &'static str, body: String| {
        client().post(service.url("/hooks/open")).header("content-type", kind).body(body).send()
    };
    let answer = send("application/cloudevents+json", structured.to_owned()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let batch = format!("[{},{}]", structured.replace("s1", "c1"), structured.replace("s1", "c2"));
    let answer = send("application/cloudevents-batch+json", batch).await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let events = service.ask(&["topic", "events", "in"]);
    let ids: Vec<&str> = events.as_array().unwrap().iter().filter_map(|e| e["id"].as_str()).collect();
    assert_eq!(ids, ["b1", "s1", "c1", "c2"]);
    assert_eq!(events[1]["data"]["n"], 2);
}

#[tokio::test]
async fn the_api_refuses_foreign_hosts_origins_and_tokens_in_the_query() {
    let service = start();
    let ask = |header: &'static str, value: &'static str| {
        let request = client().get(service.url("/admin/topics")).header(header, value);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask("host", "evil.example").await, 421);
    assert_eq!(ask("origin", "https://evil.example").await, 403);
    assert_eq!(get(&service.url("/admin/topics?token=x")).await.0, 400);
    let (status, problem) = get(&service.url("/admin/nothing")).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("not-found")));
    assert_eq!(get(&service.url("/admin/topics/in/events?limit=100000")).await.0, 400);
}

#[tokio::test]
async fn every_operation_of_the_document_is_there() {
    let service = start();
    let (_, document) = get(&service.url("/admin/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{name}", "in").replace("{pattern}", "in").replace("{source}", "open");
            let path = path.replace("{act}", "pause").replace("{id}", "x");
            let method: reqwest::Method = method.to_uppercase().parse().unwrap();
            let response = client().request(method.clone(), service.url(&path)).send().await.unwrap();
            let text = response.text().await.unwrap();
            assert!(!text.contains("\"not-found\""), "{method} {path}: {text}");
        }
    }
}
