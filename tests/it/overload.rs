//! Overload: a mailbox that is full is answered 503 with a time to come again, and what was taken before is worked on.

use super::sender::{Answered, answer, client, get};
use super::service::{Scenario, Service};
use super::watch::{eventually, node};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Messages that the mailbox of a topic holds.
const MAILBOX: u64 = 1024;
/// Requests that are open at a time: far below the usual limit of open files.
const OPEN: u64 = 128;

async fn waiting(service: &Service) -> u64 {
    node(service, "/topics/crowded").await["mailbox"]["depth"].as_u64().unwrap()
}

/// Sends one event, and does not wait for the answer.
async fn throw(service: &Service, body: &str) -> TcpStream {
    let address = service.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /hooks/crowded HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Fills the mailbox while the thread of its topic is busy with a function, which nothing interrupts. Senders that hang up
/// leave their events in it, so it takes few connections. What the next sender is told: 503, unless the function has ended
/// before the mailbox was full.
async fn fill(service: &Service) -> Answered {
    let runs = async || get(&service.url("/admin/triggers/busy")).await.1["fired"].as_u64().unwrap();
    let before = runs().await;
    let busy = throw(service, r#"{"busy":true}"#).await;
    for round in 1..=MAILBOX / OPEN + 1 {
        let mut open = Vec::new();
        for _ in 0..OPEN {
            open.push(throw(service, r#"{"busy":false}"#).await);
        }
        let goal = (round * OPEN).min(MAILBOX);
        let ended = eventually("messages that wait", async || {
            let (now, ended) = (waiting(service).await, runs().await > before);
            (now >= goal || ended, (now, ended))
        })
        .await
        .1;
        if ended {
            break;
        }
    }
    drop(busy);
    once(service, "crowded").await
}

/// Sends one event to a source.
async fn once(service: &Service, source: &str) -> Answered {
    let request = client().post(service.url(&format!("/hooks/{source}"))).header("content-type", "application/json");
    answer(request.body(r#"{"busy":false}"#)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_is_answered_503_with_retry_after_and_takes_events_again_when_it_is_empty() {
    let service = Scenario::new("topics").start();
    assert_eq!(once(&service, "crowded").await.status, 202);
    let refused = eventually("a full mailbox", async || {
        let answered = fill(&service).await;
        (answered.status == 503, answered)
    })
    .await;
    assert_eq!(refused.problem(), (503, Some("overloaded")), "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let wait: u64 = refused.header("retry-after").expect("when to come again").parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    let sources = service.ask(&["source", "ls"]);
    let crowded = sources.as_array().unwrap().iter().find(|s| s["name"] == "crowded").unwrap();
    assert!(crowded["overloaded"].as_u64().unwrap() >= 1, "it is counted: {crowded}");
    // Others are not concerned, and the topic takes events again.
    assert_eq!(get(&service.url("/health/ready")).await.0, 200);
    assert_eq!(once(&service, "in").await.status, 202);
    eventually("the mailbox to be worked off", async || {
        let answered = once(&service, "crowded").await;
        (answered.status == 202, answered)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_down_is_answered_503_with_retry_after_and_nothing_is_acknowledged() {
    let service = Scenario::new("topics").start();
    assert_eq!(once(&service, "in").await.status, 202);
    service.ask(&["actors", "stop", "/journal"]);
    let refused = once(&service, "in").await;
    assert_eq!(refused.problem(), (503, Some("journal-restarting")), "{refused:?}");
    let wait: u64 = refused.header("retry-after").expect("when to come again").parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(get(&service.url("/health/live")).await.0, 200);
    service.ask(&["actors", "start", "/journal"]);
    let taken = eventually("the journal", async || {
        let answered = once(&service, "in").await;
        (answered.status == 202, answered)
    })
    .await;
    assert_eq!(taken.json["seq"], 2, "what was refused took no place");
}
