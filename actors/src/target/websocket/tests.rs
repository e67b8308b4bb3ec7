//! Settings, messages, and how long those of a server may be; other conversations are tested through the binary.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;
use crate::log::{Record, TopicId};
use crate::target::Secrets;
use crate::target::attempt;
use crate::target::kinds::sample::Sample;
use futures_util::{SinkExt, StreamExt};
use zeroize::Zeroizing;

struct Known;

impl Secrets for Known {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        match reference {
            "env:URL" => Ok("wss://example.com/in?key=hidden\n".to_owned().into()),
            "env:TOKEN" => Ok("Bearer hidden".to_owned().into()),
            other => Err(format!("`{other}` is not set")),
        }
    }
}

fn build(toml: &str) -> Result<Arc<dyn Target>, String> {
    let sample = Sample::read(&format!("name = \"t\"\nkind = \"websocket\"\n{toml}"))?;
    let context = Context { base_dir: std::path::Path::new("/"), secrets: &Known, allow_networks: &[], lookup: None };
    sample.build(&context).map_err(|e| e.to_string())
}

fn record(data: &[u8], content_type: &str) -> Arc<Record> {
    let mut event = Event::new("s", "t", bytes::Bytes::copy_from_slice(data));
    event.content_type = Some(content_type.into());
    Arc::new(Record::new("t".into(), TopicId(1), 1, Wall(0), event))
}

#[test]
fn settings_that_are_refused() {
    for (toml, said) in [
        ("url = \"https\"", "`url`"),
        ("url = \"ftp://example.com\"", "expected `ws` or `wss`"),
        ("url = \"wss://u:p@example.com\"", "user name or password"),
        ("url = \"wss://example.com/${event.id}\"", "no template"),
        ("url = \"wss://10.0.0.1/\"", "allow_networks = ["),
        ("url = \"ws://0x7f.1/\"", "allow_networks = ["),
        ("url = \"ws://[::1]/\"", "allow_networks = ["),
        ("url = \"ws://example.com\"\ntls = { ca = \"x\" }", "`wss://` only"),
        ("url = \"wss://example.com\"\nheaders = { upgrade = \"x\" }", "set by hexaFn itself"),
        ("url = \"wss://example.com\"\nheaders = { a = \"${event.id}\" }", "no template"),
        ("url = \"wss://example.com\"\nheaders = { X-A = \"1\", x-a = \"2\" }", "differs in case only"),
        ("url = \"wss://example.com\"\nack = \"reply\"\nformat = \"json\"", "must see the event's id"),
        ("url = \"wss://example.com\"\nping = \"1ms\"", "`ping`"),
        ("url = \"wss://example.com\"\nmax_frame = \"1B\"", "`max_frame`"),
        ("url = \"env:NO\"", "is not set"),
    ] {
        let error = build(toml).expect_err(toml);
        assert!(error.contains(said), "{toml}: {error}");
    }
}

#[test]
fn secrets_are_not_shown_and_bytes_are_binary() {
    let target = build("url = \"env:URL\"\nheaders = { authorization = \"env:TOKEN\" }\nformat = \"data\"").unwrap();
    let record = record(b"{\"a\":1}", "application/json");
    let preview = target.preview(Delivery { record: &record, attempt: 1, now: Wall(0) }).unwrap();
    let shown = format!("{preview:?} {target:?}");
    assert!(shown.contains("wss://example.com/…") && shown.contains("{\\\"a\\\":1}"), "{shown}");
    assert!(!format!("{preview:?}").contains("hidden"), "{preview:?}");
}

#[test]
fn the_destination_has_the_port() {
    let shown = |url: &str| build(&format!("url = \"{url}\"")).unwrap().destination();
    assert_eq!(shown("wss://example.com:8443/in?key=x"), "wss://example.com:8443/in");
    assert_eq!(shown("wss://example.com:443/in"), "wss://example.com/in", "the usual one is not said");
    assert_eq!(shown("env:URL"), "wss://example.com/…");
}

/// A target of a server that greets each connection with a message of so many bytes, and then acknowledges what comes.
async fn greeted(bytes: usize) -> Arc<dyn Target> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            // Where it is too long the target does not read it to its end.
            socket.send(Message::text("x".repeat(bytes))).await.ok();
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                let event: serde_json::Value = serde_json::from_str(&text).unwrap();
                let answer = serde_json::json!({ "ack": event["id"] });
                // The target may be gone already.
                if socket.send(Message::text(answer.to_string())).await.is_err() {
                    break;
                }
            }
        }
    });
    build(&format!("url = \"ws://{address}\"\nack = \"reply\"\nallow_networks = [\"127.0.0.0/8\"]")).unwrap()
}

#[tokio::test]
async fn a_long_message_of_the_server_is_passed_over_and_one_that_is_too_long_is_told() {
    let record = record(b"{}", "application/json");
    let delivery = Delivery { record: &record, attempt: 1, now: Wall(0) };
    for bytes in [100_000, MAX_MESSAGE] {
        let outcome = attempt(&*greeted(bytes).await, delivery).await;
        assert!(outcome.is_delivered(), "{bytes}: {outcome:?}");
    }
    let outcome = attempt(&*greeted(MAX_MESSAGE + 1).await, delivery).await;
    let Outcome::Failed(failure) = outcome else { panic!("delivered") };
    assert_eq!((failure.class, failure.verdict), (FailureClass::Protocol, Verdict::Retry), "{failure:?}");
    assert!(failure.message.ends_with("ended: the server sent a message of more than 1MiB"), "{failure:?}");
}
