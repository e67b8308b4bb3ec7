//! An HTTP server that targets deliver to, and that misbehaves as it is told.

use super::watch::PATIENCE;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One request as the receiver saw it.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub path: String,
    pub head: String,
    pub body: String,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The `webhook-id`, which every delivery has.
    pub fn id(&self) -> String {
        self.header("webhook-id").expect("a delivery has a webhook-id").to_owned()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// How a path is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With this status and this line in its head.
    With(u16, String),
    /// With this status and this JSON.
    Json(u16, String),
    /// 422 to a body with this text in it, and 200 to others.
    Refuse(String),
    /// 207 to an array of events, of which those with this text failed with 503 and the others did not.
    Partly(String),
    /// 200, after a while; with an `etag`, which buckets answer with.
    Slow(Duration),
    /// Never.
    Hang,
}

#[derive(Default)]
struct Told {
    answers: HashMap<String, Answer>,
    usual: Option<Answer>,
    seen: Vec<Received>,
}

/// The server. Paths that it was told nothing about are answered 200.
pub struct Receiver {
    pub base: String,
    told: Arc<Mutex<Told>>,
    arrived: watch::Receiver<usize>,
}

impl Receiver {
    /// On a free port.
    pub async fn start() -> Self {
        Self::at(0).await
    }

    /// On this port.
    pub async fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let told: Arc<Mutex<Told>> = Arc::default();
        let (arrival, arrived) = watch::channel(0);
        let (shared, arrival) = (told.clone(), Arc::new(arrival));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, shared.clone(), arrival.clone()));
            }
        });
        Self { base, told, arrived }
    }

    /// From now on `path` is answered so.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.told.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// From now on all other paths are answered so.
    pub fn answer_others(&self, answer: Answer) {
        self.told.lock().unwrap().usual = Some(answer);
    }

    /// How many requests came, and to how many paths.
    pub fn count(&self) -> (usize, usize) {
        let told = self.told.lock().unwrap();
        let paths: std::collections::HashSet<&str> = told.seen.iter().map(|r| r.path.as_str()).collect();
        (told.seen.len(), paths.len())
    }

    /// What came to a path, in order.
    pub fn seen(&self, path: &str) -> Vec<Received> {
        self.told.lock().unwrap().seen.iter().filter(|r| r.path == path).cloned().collect()
    }

    /// Waits for the first `count` requests to a path.
    pub async fn arrivals(&self, path: &str, count: usize) -> Vec<Received> {
        let mut arrived = self.arrived.clone();
        let enough = tokio::time::timeout(PATIENCE, arrived.wait_for(|_| self.seen(path).len() >= count)).await;
        let seen = self.seen(path);
        assert!(enough.is_ok(), "{path}: {count} requests were expected, {} came: {seen:?}", seen.len());
        seen
    }

    /// The `webhook-id`s that came to a path, sorted, each once.
    pub fn ids(&self, path: &str) -> Vec<String> {
        let mut ids: Vec<String> = self.seen(path).iter().map(Received::id).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

/// What a 207 says of an array of events.
fn each(body: &str, fails: &str) -> String {
    let events: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
    let said = events.iter().map(|event| {
        let status = if event.to_string().contains(fails) { 503 } else { 200 };
        serde_json::json!({ "id": event["id"], "status": status })
    });
    serde_json::Value::from_iter(said).to_string()
}

/// Serves one connection until its client leaves, or an answer never comes.
async fn converse(mut stream: TcpStream, told: Arc<Mutex<Told>>, arrival: Arc<watch::Sender<usize>>) {
    let mut buffer = Vec::new();
    while let Some(received) = request(&mut stream, &mut buffer).await {
        let answer = {
            let mut told = told.lock().unwrap();
            let answer = match told
                .answers
                .get(&received.path)
                .or(told.usual.as_ref())
                .cloned()
                .unwrap_or(Answer::Status(200))
            {
                Answer::Refuse(text) => Answer::Status(if received.body.contains(&text) { 422 } else { 200 }),
                Answer::Partly(text) => Answer::Json(207, each(&received.body, &text)),
                other => other,
            };
            told.seen.push(received);
            answer
        };
        arrival.send_modify(|n| *n += 1);
        let (status, line, body) = match answer {
            Answer::Status(status) => (status, String::new(), String::new()),
            Answer::With(status, line) => (status, format!("{line}\r\n"), String::new()),
            Answer::Slow(pause) => {
                // What a slow server does is to take its time.
                tokio::time::sleep(pause).await;
                (200, "etag: \"1\"\r\n".to_owned(), String::new())
            }
            Answer::Json(status, body) => (status, "content-type: application/json\r\n".to_owned(), body),
            Answer::Refuse(_) | Answer::Partly(_) | Answer::Hang => return std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {status} X\r\n{line}content-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request of a connection; none when the client has left.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length: usize = header(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let whole = end + 4 + length;
    while buffer.len() < whole {
        more(stream, buffer).await?;
    }
    let bytes = buffer[end + 4..whole].to_vec();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    buffer.drain(..whole);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Some(Received { at: Instant::now(), path, head, body, bytes })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.unwrap_or(0);
    (read > 0).then_some(())
}
