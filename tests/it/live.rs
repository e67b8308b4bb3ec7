//! Live streams: replay, then live; filters; what a viewer may send; viewers that do not keep up.

use super::clients::{connect, floor, register};
use super::sender::{answer, client, get, publish, send};
use super::service::{Scenario, Service};
use super::watch::{Live, PATIENCE, events_when, eventually};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

fn start() -> Service {
    Scenario::new("doors").start()
}

/// Sends so many JSON objects to the source, one after the other.
async fn fill(service: &Service, source: &str, bodies: impl IntoIterator<Item = String>) {
    let (url, client) = (service.url(&format!("/hooks/{source}")), client());
    for body in bodies {
        let sent = client.post(&url).header("content-type", "application/json").body(body);
        assert_eq!(sent.send().await.unwrap().status().as_u16(), 202);
    }
}

fn numbers(range: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    range.map(|n| format!("{{\"n\":{n}}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_replays_and_goes_on_under_load_and_a_filter_chooses() {
    let service = start();
    fill(&service, "open", numbers(0..300)).await;
    let under_load = async {
        let from = |s: u64| fill(&service, "open", numbers(s * 1000..s * 1000 + 150));
        tokio::join!(from(1), from(2), from(3), from(4));
    };
    let watching = async {
        let mut all = Live::open(&service, "/ws/topics/open?from=all").await;
        let mut wild = Live::open(&service, "/ws/topics/%3E?from=200").await;
        let filter = "event.data.n%20%25%202%20%3D%3D%200";
        let mut even = Live::open(&service, &format!("/ws/topics/open?from=all&filter={filter}")).await;
        let mut seqs = Vec::new();
        for _ in 0..900 {
            let event = all.json().await;
            seqs.push(event["seq"].as_u64().unwrap_or_else(|| panic!("no event: {event}")));
        }
        assert_eq!(seqs, (1..=900).collect::<Vec<_>>(), "replay and live without a gap or a repetition");
        for seq in 200..=900 {
            assert_eq!(wild.json().await["seq"], seq);
        }
        let mut last = 0;
        for _ in 0..450 {
            let event = even.json().await;
            assert_eq!(event["data"]["n"].as_u64().unwrap() % 2, 0);
            assert!(event["seq"].as_u64().unwrap() > last);
            last = event["seq"].as_u64().unwrap();
        }
    };
    tokio::join!(under_load, watching);
    // From a time on: nothing that was stored before it.
    let stored = events_when(&service, "open", 900).await;
    let time = stored[850]["stored"].as_str().unwrap().replace('+', "%2B");
    let mut late = Live::open(&service, &format!("/ws/topics/open?from={time}")).await;
    let first = late.json().await["seq"].as_u64().unwrap();
    let expected = 1 + stored.iter().position(|e| e["stored"] == stored[850]["stored"]).unwrap() as u64;
    assert_eq!(first, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_reads_nothing_is_closed_and_told_where_to_resume() {
    let service = start();
    fill(&service, "large", ["{}".to_owned()]).await;
    let mut slow = Live::open(&service, "/ws/topics/large?from=all").await;
    let mut quick = Live::open(&service, "/ws/topics/large?from=all").await;
    assert_eq!(quick.json().await["seq"], 1);
    // More than the buffers of the sockets hold, and the 4 MiB that a viewer may be behind.
    let (count, large) = (33_u64, "x".repeat(900 << 10));
    for n in 2..=count {
        fill(&service, "large", [format!("{{\"x\":\"{large}\"}}")]).await;
        assert_eq!(quick.json().await["seq"], n, "its neighbour is not held up");
    }
    // Its place is another's, though it has taken nothing of its end and is there still.
    eventually("its place to be given back", async || {
        let text = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let viewers = text.lines().find_map(|l| l.strip_prefix("hexafn_viewers ").map(ToOwned::to_owned));
        (viewers.as_deref() == Some("1"), viewers)
    })
    .await;
    // Only now it reads.
    let (mut last, mut resume) = (0, Value::Null);
    let code: u16 = loop {
        match slow.message().await {
            Message::Text(text) => {
                let value: Value = serde_json::from_str(&text).unwrap();
                match value["seq"].as_u64() {
                    Some(seq) => {
                        assert_eq!((seq, &resume), (last + 1, &Value::Null));
                        last = seq;
                    }
                    None => resume = value["resume_from"]["large"].clone(),
                }
            }
            Message::Close(frame) => break frame.unwrap().code.into(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((code, resume.as_u64()), (1013, Some(last + 1)));
    assert!(last < count);
    let mut again = Live::open(&service, &format!("/ws/topics/large?from={}", last + 1)).await;
    for seq in last + 1..=count {
        assert_eq!(again.json().await["seq"], seq);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_sends_too_much_is_closed_and_nobody_else() {
    let service = start();
    fill(&service, "open", ["{}".to_owned()]).await;
    let mut stream = Live::open(&service, "/ws/topics/open").await;
    let mut other = Live::open(&service, "/ws/topics/open?from=all").await;
    assert_eq!(other.json().await["seq"], 1);
    stream.0.send(Message::Text("hello".into())).await.unwrap();
    stream.0.send(Message::Binary(vec![0; 100 << 10].into())).await.unwrap();
    assert_eq!(stream.closed().await, 1009);
    fill(&service, "open", ["{}".to_owned()]).await;
    assert_eq!(other.json().await["seq"], 2);
    assert_eq!(get(&service.url("/health/ready")).await.0, 200);
}

/// A part of a message.
fn part(kind: Data, last: bool, bytes: &[u8]) -> Message {
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), last))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_several_frames_is_heard_up_to_the_size_of_one() {
    let service = Scenario::new("topics").start();
    register(&service, "parts", json!({ "pattern": "orders.*" })).await;
    publish(&service, "orders.eu", "{}").await;
    let mut live = connect(&service, "parts").await;
    let ack = json!({ "ack": live.json().await["ack_id"] }).to_string();
    let (first, rest) = ack.as_bytes().split_at(5);
    live.0.send(part(Data::Text, false, first)).await.unwrap();
    live.0.send(Message::Ping("between".into())).await.unwrap();
    live.0.send(part(Data::Continue, false, b"")).await.unwrap();
    live.0.send(part(Data::Continue, true, rest)).await.unwrap();
    floor(&service, "parts", 1).await;

    let half = vec![b'x'; 33 << 10];
    for (parts, code) in [
        (vec![part(Data::Text, false, &half), part(Data::Continue, false, &half)], 1009),
        (vec![part(Data::Binary, false, &half)], 1003),
        (vec![part(Data::Text, false, b"\xe2\x82"), part(Data::Continue, true, b"!")], 1007),
    ] {
        let mut live = Live::open(&service, "/ws/topics/orders.eu").await;
        for part in parts {
            live.0.send(part).await.unwrap();
        }
        assert_eq!(live.closed().await, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_replay_waits_for_its_viewer_is_bounded_by_bytes() {
    let service = start();
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(1000 << 10));
    // More than the buffers of the sockets hold and the 4 MiB that a viewer may be behind: the replay waits.
    fill(&service, "large", std::iter::repeat_n(large.clone(), 30)).await;
    let mut slow = Live::open(&service, "/ws/topics/large?from=all").await;
    let slow_ones = async || {
        let text = answer(client().get(service.url("/metrics"))).await.text;
        text.lines().find_map(|l| l.strip_prefix("hexafn_viewers_closed_slow_total ")).unwrap().to_owned()
    };
    assert_eq!(slow_ones().await, "0");
    fill(&service, "large", std::iter::repeat_n(large, 40)).await;
    eventually("the viewer to be closed", async || {
        let count = slow_ones().await;
        (count == "1", count)
    })
    .await;
    assert_eq!(slow.closed().await, 1013);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_announces_too_much_is_refused_before_it_comes() {
    let service = Scenario::new("topics").start();
    let address = service.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /ws/topics/in HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // 2^40 bytes, of which none comes.
    stream.write_all(&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("the service ends the connection").unwrap();
    let close = [0x88, 2 + b"the message is larger than 64 KiB".len() as u8, 0x03, 0xf1];
    assert!(answer.windows(4).any(|bytes| bytes == close), "closed with 1009: {}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_with_the_place_to_resume_and_does_not_wait_for_them() {
    let mut service = Scenario::new("topics").start();
    let mut topic = Live::open(&service, "/ws/topics/in").await;
    let mut actors = Live::open(&service, "/ws/actors").await;
    // Counted as a viewer once it has been sent something.
    send(&service, r#"{"n":1}"#).await;
    assert_eq!(topic.json().await["seq"], 1);
    service.signal("TERM");
    let last = topic.json().await;
    assert_eq!((&last["closed"], &last["resume_from"]), (&json!("draining"), &json!({ "in": 2 })), "{last}");
    assert_eq!((topic.closed().await, actors.closed().await), (1012, 1012));
    assert_eq!(service.ended(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_takes_the_end_of_a_stream_for_no_event() {
    let mut service = Scenario::new("topics").start();
    send(&service, r#"{"n":1}"#).await;
    let tails = ["json", "table"].map(|output| {
        let args = ["--server", &service.base, "-o", output, "tail", "in", "--from", "all", "-n", "2"];
        let mut child = service.scenario.spawn(&args);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.contains("\"n\":1"), "{line}");
        (child, out)
    });
    assert_eq!(service.terminate(), Some(0));
    let errors = tails.map(|(child, mut out)| {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &*rest), (Some(1), ""), "{ended:?}");
        String::from_utf8(ended.stderr).unwrap()
    });
    let json: Value = serde_json::from_str(&errors[0]).unwrap_or_else(|e| panic!("{e}: {errors:?}"));
    assert_eq!((&json["resume_from"], &json["exit"]), (&json!({ "in": 2 }), &json!(1)), "{json}");
    assert!(errors[1].contains("draining") && errors[1].contains("resume at in#2"), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_watches_is_asked_for_a_sign_of_life_too() {
    let service = start();
    fill(&service, "open", ["{}".to_owned()]).await;
    let asked = async |path: &str| {
        let mut stream = Live::open(&service, path).await;
        let ping = async { while !matches!(stream.0.next().await.unwrap().unwrap(), Message::Ping(_)) {} };
        assert!(tokio::time::timeout(PATIENCE, ping).await.is_ok(), "{path}: nobody asks");
    };
    tokio::join!(asked("/ws/topics/open"), asked("/ws/actors"), asked("/ws/logs"));
}
