//! Senders: requests to the service, webhooks with their signatures, and load that keeps a journal of what it was told.

use super::service::{SIGN, Service};
use super::watch::eventually;
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// An answer: status, headers, and the body as JSON (null when it is none).
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Status and code of a problem document.
    pub fn problem(&self) -> (u16, Option<&str>) {
        (self.status, self.json["code"].as_str())
    }
}

/// Sends a request, which must be answered.
pub async fn answer(request: RequestBuilder) -> Answered {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answered { status, headers, text, json }
}

/// POST of JSON text: the status and the answer.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = client().post(url).header("content-type", "application/json").body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answered = answer(request).await;
    (answered.status, answered.json)
}

pub async fn get(url: &str) -> (u16, Value) {
    let answered = answer(client().get(url)).await;
    (answered.status, answered.json)
}

/// Sends JSON to the source `in`, which must take it; the event id.
pub async fn send(service: &Service, body: &str) -> String {
    let (status, told) = post(&service.url("/hooks/in"), &[], body).await;
    assert_eq!(status, 202, "{told}");
    told["id"].as_str().unwrap().to_owned()
}

/// Publishes JSON to a topic, which must take it; the event id.
pub async fn publish(service: &Service, topic: &str, body: &str) -> String {
    let (status, told) = post(&service.url(&format!("/admin/topics/{topic}/events")), &[], body).await;
    assert_eq!(status, 202, "{told}");
    told["id"].as_str().unwrap().to_owned()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// HMAC-SHA256 in hex, as GitHub, Slack and Stripe sign.
pub fn hex_hmac(key: &str, signed: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The signature of Standard Webhooks, computed from its specification.
pub fn standard(id: &str, timestamp: &str, body: &str) -> String {
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = base64.decode(SIGN.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", base64.encode(mac.finalize().into_bytes()))
}

/// One delivery of the load.
#[derive(Debug, Clone)]
pub struct Sent {
    pub n: u64,
    /// Id and sequence of the event; none when no acknowledgement came.
    pub told: Option<(String, u64)>,
}

/// Sends `{"n": …}` as the delivery of this number, which is the same one however often it is sent. The status, the id
/// and the sequence of the event; none when there is no answer, or none that acknowledges.
pub async fn deliver(client: &reqwest::Client, url: &str, n: u64) -> Option<(u16, String, u64)> {
    let request = client.post(url).header("content-type", "application/json").header("x-id", format!("d-{n}"));
    let response = request.body(format!("{{\"n\":{n}}}")).send().await.ok()?;
    let status = response.status().as_u16();
    assert!(matches!(status, 200 | 202 | 503), "{n}: {status}");
    let told: Value = if status == 503 { return None } else { response.json().await.ok()? };
    Some((status, told["id"].as_str()?.to_owned(), told["seq"].as_u64()?))
}

/// Senders on tasks of their own that write down what was acknowledged.
pub struct Load {
    tasks: tokio::task::JoinSet<Vec<Sent>>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Each number is sent once, from so many connections, beginning with `first`, until told to stop. A sender that is
    /// not acknowledged ends.
    pub fn start(service: &Service, senders: u64, first: u64) -> Self {
        let (acknowledged, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let next = Arc::new(AtomicU64::new(first));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..senders {
            let (url, client) = (service.url("/hooks/in"), client());
            let (acknowledged, stop, next) = (acknowledged.clone(), stop.clone(), next.clone());
            tasks.spawn(async move {
                let mut journal = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let told = deliver(&client, &url, n).await.map(|(_, id, seq)| (id, seq));
                    let cut = told.is_none();
                    journal.push(Sent { n, told });
                    if cut {
                        break;
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                journal
            });
        }
        Self { tasks, acknowledged, stop }
    }

    /// Waits for so many acknowledgements more.
    pub async fn more(&self, count: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        eventually("acknowledgements", async || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            (now >= goal, now)
        })
        .await;
    }

    /// Stops, and gives the journal.
    pub async fn end(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.concat()
    }
}
