//! What can be seen of the service from outside: events, subscriptions, actors, live streams; and waiting with an end.

use super::sender::get;
use super::service::Service;
use futures_util::StreamExt;
use serde_json::Value;
use std::fmt::Debug;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The longest that anything may take before a test says that it does not happen. Long, since machines are loaded; a test
/// that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again until it holds; fails with what was seen last. What is waited for crosses processes, and has no event to
/// wait on but the question itself.
pub async fn eventually<T: Debug>(what: &str, mut ask: impl AsyncFnMut() -> (bool, T)) -> T {
    let end = Instant::now() + PATIENCE;
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        pause.tick().await;
        let (holds, seen) = ask().await;
        if holds {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: {seen:?}");
    }
}

/// All events of a topic, by pages; none of a topic that is not there yet.
pub async fn events(service: &Service, topic: &str) -> Vec<Value> {
    let (mut all, mut from) = (Vec::new(), 1);
    loop {
        let path = format!("/admin/topics/{topic}/events?limit=1000&from={from}");
        let (status, page) = get(&service.url(&path)).await;
        if status == 404 {
            return all;
        }
        let page = page["events"].as_array().unwrap_or_else(|| panic!("{topic}: {status} {page}")).clone();
        let Some(last) = page.last() else { return all };
        from = last["seq"].as_u64().unwrap() + 1;
        all.extend(page);
    }
}

/// Waits until a topic holds `count` events.
pub async fn events_when(service: &Service, topic: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} events of {topic}"), async || {
        let events = events(service, topic).await;
        (events.len() >= count, events)
    })
    .await
}

/// The ids of events, sorted.
pub fn ids_of(events: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = events.iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// The row of a subscription that is on one topic.
pub async fn subscription(service: &Service, name: &str) -> Value {
    let (status, rows) = get(&service.url(&format!("/admin/subscriptions/{name}"))).await;
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(1)), "{name}: {rows}");
    rows[0].clone()
}

/// Waits until nothing is on its way any more. Topics are asked one after the other, so that an event may pass from one
/// that is asked later to one that was asked before: it takes two answers in a row that are idle and alike.
pub async fn idle(service: &Service) {
    let mut before = Value::Null;
    eventually("everything delivered", async || {
        let (_, subs) = get(&service.url("/admin/subscriptions")).await;
        let zero = |s: &Value| s["lag"] == 0 && s["in_flight"] == 0 && s["waiting"] == 0;
        let still = before == subs;
        before = subs.clone();
        (still && subs.as_array().is_some_and(|s| !s.is_empty() && s.iter().all(zero)), subs)
    })
    .await;
}

/// An actor, as the tree shows it.
pub async fn node(service: &Service, path: &str) -> Value {
    let (_, nodes) = get(&service.url("/admin/actors")).await;
    nodes.as_array().unwrap().iter().find(|n| n["path"] == path).cloned().unwrap_or_else(|| panic!("no {path}"))
}

/// Waits until an actor is in a state.
pub async fn state(service: &Service, path: &str, wanted: &str) -> Value {
    eventually(&format!("{path} {wanted}"), async || {
        let node = node(service, path).await;
        (node["state"] == wanted, node)
    })
    .await
}

/// A target, as the API shows it.
pub async fn target(service: &Service, name: &str) -> Value {
    get(&service.url(&format!("/admin/targets/{name}"))).await.1
}

/// A live stream of the service.
pub struct Live(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    /// Connects to a path such as `/ws/topics/in?from=all`.
    pub async fn open(service: &Service, path: &str) -> Self {
        Self::with(service, path, &[]).await.unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// Connects with these headers; the status of a refusal.
    pub async fn with(service: &Service, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = service.url(path).replacen("http", "ws", 1).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{path}: {other}"),
        }
    }

    /// The next message of the service, which must come.
    pub async fn message(&mut self) -> Message {
        // One end for all: a stream on which there are but pings says nothing.
        let next = async {
            loop {
                match self.0.next().await.expect("the stream goes on").unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message")
    }

    /// The next message, as JSON.
    pub async fn json(&mut self) -> Value {
        let message = self.message().await;
        serde_json::from_str(message.to_text().unwrap_or_else(|_| panic!("{message:?}"))).unwrap()
    }

    /// The code that the service closes the stream with, whatever comes before.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.message().await {
                return frame.expect("a reason").code.into();
            }
        }
    }
}
