//! `hexafn tail`, `hexafn sub read` and `hexafn logs`: streams, a line for each message.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_tungstenite::Connector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::client::{self, Client, part};
use super::table::{cell, plain};
use super::{Done, Failure, Output, print, say};

/// Watches until the stream ends or enough was seen.
pub fn tail(client: &Client, pattern: &str, from: &str, filter: Option<String>, count: Option<u64>) -> Done {
    let (what, name) = match pattern.strip_prefix("target:") {
        Some(target) => ("targets", target),
        None => ("topics", pattern),
    };
    let mut url = format!("{}/ws/{what}/{}?from={}", client.base().replacen("http", "ws", 1), part(name), part(from));
    if let Some(filter) = filter {
        url.push_str(&format!("&filter={}", part(&filter)));
    }
    client.block_on(watch(client, &url, count, false, show))
}

/// Receives the events of a registered subscription, and settles each after it was printed.
pub fn read(client: &Client, name: &str, count: Option<u64>) -> Done {
    let url = format!("{}/ws/subscriptions/{}", client.base().replacen("http", "ws", 1), part(name));
    client.block_on(watch(client, &url, count, true, show))
}

/// Shows the messages of a stream, until it ends or enough was seen.
pub async fn watch(client: &Client, url: &str, count: Option<u64>, settle: bool, show: fn(&Client, &str)) -> Done {
    let mut request = url.into_client_request().map_err(|e| Failure::new(2, e.to_string()))?;
    if let Some(token) = client.token() {
        let value = format!("Bearer {token}").parse().map_err(|_| Failure::new(77, "the token is not text"))?;
        request.headers_mut().insert("authorization", value);
    }
    let connector = match request.uri().scheme_str() {
        Some("wss") => {
            let tls = hexafn_actors::target::platform_tls();
            Connector::Rustls(tls.map_err(|e| Failure::new(69, format!("TLS cannot be set up: {e}")))?)
        }
        _ => Connector::Plain,
    };
    let connected = tokio_tungstenite::connect_async_tls_with_config(request, None, false, Some(connector)).await;
    let (mut stream, _) = connected.map_err(|e| refused(client, e))?;
    let mut seen = 0;
    while let Some(message) = stream.next().await {
        match message.map_err(|e| Failure::new(69, format!("the stream broke: {e}")))? {
            Message::Text(text) => {
                let said: Value = serde_json::from_str(&text).unwrap_or_default();
                if let (Some(why), Some(resume)) = (said["closed"].as_str(), said["resume_from"].as_object()) {
                    return Err(closed(why, resume));
                }
                if settle && let Some(error) = said["error"].as_str() {
                    return Err(Failure::new(1, plain(error)));
                }
                show(client, &text);
                // What could not be printed is not settled, and nothing that follows can be printed.
                if print::is_closed() {
                    return Ok(());
                }
                if settle {
                    let ack = json!({ "ack": said["ack_id"] }).to_string();
                    let sent = stream.send(Message::text(ack)).await;
                    sent.map_err(|e| Failure::new(69, format!("the stream broke: {e}")))?;
                }
                seen += 1;
                if count.is_some_and(|n| seen >= n) {
                    // Waits until the service has read what was said; without acks nothing is lost with the connection.
                    if settle && stream.close(None).await.is_ok() {
                        while stream.next().await.is_some_and(|m| m.is_ok()) {}
                    }
                    return Ok(());
                }
            }
            Message::Close(reason) => {
                let why = reason.map(|r| plain(&r.reason)).unwrap_or_default();
                return Err(Failure::new(1, format!("the service closed the stream: {why}")));
            }
            _ => {}
        }
    }
    Err(Failure::new(69, "the stream ended"))
}

/// The last message of a stream that the service closes: where to go on, in each topic.
fn closed(why: &str, resume: &Map<String, Value>) -> Failure {
    let places: Vec<String> = resume.iter().map(|(topic, seq)| format!("{}#{seq}", plain(topic))).collect();
    let go_on = if places.is_empty() { String::new() } else { format!("; resume at {}", places.join(", ")) };
    let message = format!("the service closed the stream: {}{go_on}", plain(why));
    let json = json!({ "error": message, "exit": 1, "resume_from": resume });
    Failure { code: 1, message, json: Some(json) }
}

fn refused(client: &Client, error: tokio_tungstenite::tungstenite::Error) -> Failure {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::Http(response) => client::refused(response.status(), response.body().as_deref().unwrap_or_default()),
        other => Failure::new(69, format!("the service at {} cannot be reached ({other})", client.base())),
    }
}

fn show(client: &Client, text: &str) {
    let value: Value = match client.output {
        // A line for each event: a raw line end in JSON is white space, never part of a string.
        Output::Json => return say(text.replace(['\n', '\r'], " ")),
        Output::Table => serde_json::from_str(text).unwrap_or_default(),
    };
    let data = value.get("data").map(cell).unwrap_or_default();
    let data: String = data.chars().take(200).collect();
    say(format!(
        "{}  {}#{}  {}  {}  {data}",
        cell(&value["stored"]),
        cell(&value["topic"]),
        cell(&value["seq"]),
        cell(&value["type"]),
        cell(&value["id"]),
    ));
}
