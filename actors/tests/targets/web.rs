//! Receivers that are asked over HTTP and WebSocket, spoken here over TCP: the other side of these kinds is anybody's code.

use super::contract::{SECRET, Subject};
use super::line::Line;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// What a receiver was told and what it saw.
#[derive(Default)]
pub struct Told {
    refuses: AtomicBool,
    seen: Mutex<Vec<String>>,
}

impl Told {
    fn see(&self, id: &str) {
        self.seen.lock().unwrap().push(id.to_owned());
    }

    fn seen(&self, id: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == id).cloned().collect()
    }
}

/// A server of which each connection is served by `serve`, behind a line.
async fn behind_a_line<F>(serve: impl Fn(TcpStream, Arc<Told>) -> F + Send + 'static) -> (Line, Arc<Told>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let told: Arc<Told> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = told.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, shared.clone()));
        }
    });
    (Line::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), port).await, told)
}

pub struct Http {
    line: Line,
    told: Arc<Told>,
}

/// Serves requests with a `content-length` until the connection ends.
async fn serve_http(mut stream: TcpStream, told: Arc<Told>) {
    let mut read: Vec<u8> = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = read.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut read, rest)).unwrap();
            }
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        };
        let header = |name: &str| {
            let mut named = head.lines().filter_map(|line| line.split_once(':'));
            named.find_map(|(n, value)| n.eq_ignore_ascii_case(name).then(|| value.trim()))
        };
        let length: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
        while read.len() < length {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        read.drain(..length);
        assert_eq!(header("authorization"), Some(SECRET));
        // What a careless receiver does: it repeats what it was sent.
        let answer = if told.refuses.load(Ordering::SeqCst) {
            format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{SECRET}", SECRET.len())
        } else {
            told.see(header("webhook-id").expect("a delivery has a webhook-id"));
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Subject for Http {
    const KIND: &'static str = "http";

    async fn start() -> Self {
        let (line, told) = behind_a_line(serve_http).await;
        Self { line, told }
    }

    fn toml(&self) -> String {
        let headers = "headers = { authorization = \"env:KEY\", x-to = '${event.data.to}' }";
        format!("url = \"http://{}/in\"\n{headers}", self.line.address)
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string()]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": "a" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "a\r\nx-more: b" })
    }

    async fn refuse(&self) -> Option<Value> {
        self.told.refuses.store(true, Ordering::SeqCst);
        Some(self.good())
    }

    async fn recover(&self) {
        self.told.refuses.store(false, Ordering::SeqCst);
        self.line.recover();
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        self.told.seen(id)
    }
}

/// HTTP, many events in a request.
pub struct Batches(Http);

/// Serves requests whose body is an array of CloudEvents.
async fn serve_batches(mut stream: TcpStream, told: Arc<Told>) {
    let mut read: Vec<u8> = Vec::new();
    while matches!(stream.read_buf(&mut read).await, Ok(1..)) {
        let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        // A body that is not whole yet is no JSON yet.
        let Ok(Value::Array(events)) = serde_json::from_slice(&read[end + 4..]) else { continue };
        read.clear();
        let answer: &[u8] = if told.refuses.load(Ordering::SeqCst) {
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
        } else {
            events.iter().for_each(|event| told.see(event["id"].as_str().unwrap()));
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

impl Subject for Batches {
    const KIND: &'static str = "http";

    async fn start() -> Self {
        let (line, told) = behind_a_line(serve_batches).await;
        Self(Http { line, told })
    }

    fn toml(&self) -> String {
        let more = "format = \"cloudevents\"\nbatch = { max_records = 10 }\nheaders = { authorization = \"env:KEY\" }";
        format!("url = 'http://{}/in/${{event.data.n + 1}}'\n{more}", self.0.line.address)
    }

    fn places(&self) -> Vec<String> {
        self.0.places()
    }

    fn line(&self) -> Option<&Line> {
        self.0.line()
    }

    fn good(&self) -> Value {
        json!({ "n": 1 })
    }

    fn bad(&self) -> Value {
        json!({ "n": "one" })
    }

    async fn refuse(&self) -> Option<Value> {
        self.0.refuse().await.map(|_| self.good())
    }

    async fn recover(&self) {
        self.0.recover().await;
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        self.0.arrived(id).await
    }
}

pub struct WebSocket {
    line: Line,
    told: Arc<Told>,
}

/// Acknowledges events, or does not.
async fn serve_websocket(stream: TcpStream, told: Arc<Told>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let event: Value = serde_json::from_str(&text).unwrap();
        let id = event["id"].as_str().unwrap();
        let answer = if told.refuses.load(Ordering::SeqCst) {
            json!({ "nak": id, "reason": "not now" })
        } else {
            told.see(id);
            json!({ "ack": id })
        };
        if socket.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

impl Subject for WebSocket {
    const KIND: &'static str = "websocket";

    async fn start() -> Self {
        let (line, told) = behind_a_line(serve_websocket).await;
        Self { line, told }
    }

    fn toml(&self) -> String {
        let more = "ack = \"reply\"\nmax_frame = \"2KiB\"\nheaders = { authorization = \"env:KEY\" }";
        format!("url = \"ws://{}/in\"\n{more}", self.line.address)
    }

    fn places(&self) -> Vec<String> {
        vec![self.line.address.to_string(), format!("ws://{}", self.line.address.ip())]
    }

    fn line(&self) -> Option<&Line> {
        Some(&self.line)
    }

    fn good(&self) -> Value {
        json!({ "to": "a" })
    }

    fn bad(&self) -> Value {
        json!({ "to": "a".repeat(3000) })
    }

    async fn refuse(&self) -> Option<Value> {
        self.told.refuses.store(true, Ordering::SeqCst);
        Some(self.good())
    }

    async fn recover(&self) {
        self.told.refuses.store(false, Ordering::SeqCst);
        self.line.recover();
    }

    async fn arrived(&self, id: &str) -> Vec<String> {
        self.told.seen(id)
    }
}
