//! The door of webhooks: which bodies are taken, how often, how slowly, and what is refused before it is read.

use super::sender::{answer, client, get, post};
use super::service::{Scenario, Service};
use super::watch::{PATIENCE, events, eventually};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    let mut stream = TcpStream::connect(address).await.unwrap();
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

/// Begins a request to the source `big` with so many bytes announced, and sends these of them.
async fn begin(service: &Service, announced: usize, sent: usize) -> TcpStream {
    let address = service.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /hooks/big HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\ncontent-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; sent]).await.unwrap();
    stream
}

/// Reads the head of an answer.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    let read = async {
        while !head.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut part).await.unwrap() {
                0 => break,
                n => head.extend_from_slice(&part[..n]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_open_requests_hold_is_bounded_and_given_back_when_they_end() {
    const MIB: usize = 1 << 20;
    let source = "[[source]]\nname = \"big\"\nkind = \"webhook\"\ntopic = \"big\"\nverify = { scheme = \"none\" }\n\
                  limits = { body = \"25MiB\", body_time = \"60s\" }\n[server.limits]\nbodies = \"25MiB\"\n";
    let service = Scenario::new("doors").file("big.toml", source).start();
    let held = async |what: &str, holds: &dyn Fn(usize) -> bool| {
        eventually(what, async || {
            let text = answer(client().get(service.url("/metrics"))).await.text;
            let line = text.lines().find_map(|l| l.strip_prefix("hexafn_request_body_bytes ")).unwrap();
            let bytes: usize = line.parse().unwrap();
            (holds(bytes), bytes)
        })
        .await;
    };
    // One that is nearly there, and waits.
    let mut first = begin(&service, 20 * MIB, 20 * MIB - 1).await;
    held("the first body", &|bytes| bytes == 20 * MIB - 1).await;
    // There is no room for this one beside it, however little of it each packet brings.
    let second = begin(&service, 10 * MIB, 0).await;
    let (mut reading, mut writing) = second.into_split();
    let pour = async {
        while writing.write_all(&[b'x'; 16 << 10]).await.is_ok() {}
        // What was answered is there to be read.
        std::future::pending::<String>().await
    };
    let refused = tokio::select! {
        answer = head(&mut reading) => answer,
        never = pour => never,
    };
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1\r\n"), "{refused:?}");
    assert!(refused.contains("application/problem+json"), "{refused:?}");
    // What is small still fits.
    is_the_first(&service, "open").await;
    first.write_all(b"x").await.unwrap();
    let taken = head(&mut first).await;
    assert!(taken.starts_with("HTTP/1.1 202"), "{taken:?}");
    held("nothing to be held", &|bytes| bytes == 0).await;
    // Nor does a sender that hangs up leave anything.
    let gone = begin(&service, 20 * MIB, 15 * MIB).await;
    held("the third body", &|bytes| bytes == 15 * MIB).await;
    drop(gone);
    held("nothing to be held", &|bytes| bytes == 0).await;
    let sources = service.ask(&["source", "ls"]);
    let big = sources.as_array().unwrap().iter().find(|s| s["name"] == "big").unwrap();
    assert_eq!((&big["accepted"], &big["overloaded"]), (&1.into(), &1.into()), "{big}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_is_answered_with_the_result_of_its_own_event_and_of_no_other_of_the_same_id() {
    let text = "[[source]]\nname = 'ask'\nkind = 'webhook'\ntopic = 'asked'\nverify = { scheme = 'none' }\nreply = { trigger = 'price', timeout = '10s' }\n\
                [[topic]]\nname = 'asked'\n[[trigger]]\nname = 'price'\non = 'asked'\nrun = 'echo'\nto = []\n\
                [[function]]\nname = 'echo'\nruntime = 'dsl'\ncode = '{ of: event.data.n }'\n";
    let service = Scenario::empty_config().file("hexafn.toml", text).start();
    service.ask(&["sub", "pause", "trigger.price"]);
    let asked = |source: &'static str| {
        let body = json!({ "specversion": "1.0", "id": "1", "source": source, "type": "t", "data": { "n": source } });
        let request = client().post(service.url("/hooks/ask")).header("content-type", "application/cloudevents+json");
        tokio::spawn(answer(request.body(body.to_string())))
    };
    let (alice, bob) = (asked("/alice"), asked("/bob"));
    eventually("both are stored", async || {
        let (_, topic) = get(&service.url("/admin/topics/asked")).await;
        (topic["records"] == 2, topic)
    })
    .await;
    service.ask(&["sub", "resume", "trigger.price"]);
    for (asked, of) in [(alice, "/alice"), (bob, "/bob")] {
        let answered = asked.await.unwrap();
        assert_eq!((answered.status, &answered.json["of"]), (200, &json!(of)), "{answered:?}");
    }
}
