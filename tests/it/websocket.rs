//! Events over a WebSocket to a server that acknowledges them, or does not.

use super::outlets::{certify, scenario};
use super::sender::send;
use super::service::KEY;
use super::watch::{PATIENCE, events_when, eventually, idle, target};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, as the server sees it.
pub struct Client {
    socket: WebSocketStream<Box<dyn Io>>,
    pub authorization: Option<String>,
}

impl Client {
    /// The next message that is no ping.
    async fn text(&mut self) -> String {
        let next = async {
            loop {
                match self.socket.next().await.expect("the client stays").unwrap() {
                    Message::Text(text) => return text.to_string(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message")
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    pub async fn say(&mut self, what: Value) {
        self.socket.send(Message::text(what.to_string())).await.unwrap();
    }
}

pub struct Server {
    pub port: u16,
    clients: mpsc::UnboundedReceiver<Client>,
}

impl Server {
    pub async fn start(tls: Option<&Path>) -> Self {
        let acceptor = tls.map(|folder| {
            let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
            let config = rustls::ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key);
            tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (arrivals, clients) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let stream: Box<dyn Io> = match &acceptor {
                    None => Box::new(tcp),
                    Some(acceptor) => match acceptor.accept(tcp).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let mut authorization = None;
                #[expect(clippy::result_large_err, reason = "the library's signature")]
                let look = |request: &Request, response: Response| {
                    authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
                    Ok(response)
                };
                let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else { continue };
                if arrivals.send(Client { socket, authorization }).is_err() {
                    return;
                }
            }
        });
        Self { port, clients }
    }

    pub async fn client(&mut self) -> Client {
        tokio::time::timeout(PATIENCE, self.clients.recv()).await.expect("a connection").unwrap()
    }

    fn toml(&self, more: &str) -> String {
        format!("kind = \"websocket\"\nurl = \"ws://127.0.0.1:{}/in\"\n{more}\n", self.port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_messages_on_one_connection_which_is_made_again_when_it_ends() {
    let mut server = Server::start(None).await;
    let more = "headers = { authorization = \"file:secrets/key\" }\nformat = \"data\"";
    let service = scenario(&server.toml(more)).start();
    send(&service, r#"{"n":1}"#).await;
    let mut client = server.client().await;
    assert_eq!(client.authorization.as_deref(), Some(KEY));
    assert_eq!(client.text().await, r#"{"n":1}"#);
    send(&service, r#"{"n":2}"#).await;
    assert_eq!(client.text().await, r#"{"n":2}"#, "over the same connection");
    idle(&service).await;
    client.socket.close(None).await.unwrap();
    drop(client);
    send(&service, r#"{"n":3}"#).await;
    assert_eq!(server.client().await.text().await, r#"{"n":3}"#);
    idle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_replies_an_event_is_delivered_when_the_server_says_so() {
    let mut server = Server::start(None).await;
    let service = scenario(&server.toml("ack = \"reply\"\ntimeout = \"20s\"")).start();
    let first = send(&service, r#"{"n":1}"#).await;
    let mut client = server.client().await;
    let event = client.json().await;
    assert_eq!((&event["id"], &event["data"]["n"]), (&format!("{first}-pass").into(), &1.into()), "{event}");
    let row = super::watch::subscription(&service, "target.out").await;
    assert_eq!(row["in_flight"], 1, "nothing is settled yet: {row}");
    client.say(json!({ "nak": event["id"], "reason": "later\u{1b}[2J" })).await;
    let again = client.json().await;
    assert_eq!(again["id"], event["id"], "the same event again");
    let status = target(&service, "out").await;
    let why = status["last"].as_str().unwrap();
    assert!(why.starts_with("rejected") && why.contains("later\\u{1b}[2J"), "{why}");
    client.say(json!({ "ack": [again["id"], "somebody else's"] })).await;
    idle(&service).await;

    // An end in between is a failure, and the event comes again over the next connection.
    send(&service, r#"{"n":2}"#).await;
    let event = client.json().await;
    drop(client);
    let mut client = server.client().await;
    assert_eq!(client.json().await["id"], event["id"]);
    client.say(json!({ "term": event["id"], "reason": "no such order" })).await;
    let dead = events_when(&service, "hexafn.dead.target.out", 1).await;
    let why = dead[0]["extensions"]["deadcause"].as_str().unwrap();
    assert!(why.contains("no such order"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_a_time_out_and_one_that_is_gone_no_connection() {
    let mut server = Server::start(None).await;
    let service = scenario(&server.toml("ack = \"reply\"\ntimeout = \"100ms\"")).start();
    send(&service, r#"{"n":1}"#).await;
    let mut client = server.client().await;
    let event = client.json().await;
    assert_eq!(client.json().await["id"], event["id"], "tried again");
    let status = target(&service, "out").await;
    assert!(status["last"].as_str().unwrap().starts_with("timeout"), "{status}");
    drop((client, server));
    // The listener goes with the runtime's task; a port that nobody listens at is the same to the target.
    service.edit("timeout = \"100ms\"", "timeout = \"200ms\"\nmax_frame = \"1KiB\"");
    service.ask(&["reload"]);
    send(&service, &format!("{{\"x\":\"{}\"}}", "y".repeat(2000))).await;
    let dead = events_when(&service, "hexafn.dead.target.out", 1).await;
    let why = dead[0]["extensions"]["deadcause"].as_str().unwrap();
    assert!(why.contains("max_frame"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_sign_of_life_is_given_up() {
    let mut server = Server::start(None).await;
    let service = scenario(&server.toml("ack = \"reply\"\nping = \"1s\"\ntimeout = \"5m\"")).start();
    send(&service, r#"{"n":1}"#).await;
    // Who does not read answers no ping.
    let _silent = server.client().await;
    let mut second = server.client().await;
    let event = second.json().await;
    second.say(json!({ "ack": event["id"] })).await;
    // Who reads does.
    let reading = tokio::spawn(async move { while second.socket.next().await.is_some_and(|m| m.is_ok()) {} });
    idle(&service).await;
    let status = target(&service, "out").await;
    assert_eq!((&status["delivered"], &status["failed"]), (&1.into(), &1.into()), "{status}");
    reading.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_an_authority_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let mut server = Server::start(Some(folder.path())).await;
    let toml = format!("kind = \"websocket\"\nurl = \"wss://localhost:{}/in\"\n", server.port);
    let scenario = scenario(&toml).edit("[\"127.0.0.0/8\"]", "[\"127.0.0.0/8\", \"::1\"]");
    std::fs::copy(folder.path().join("client.pem"), scenario.path("cfg/ca.pem")).unwrap();
    let service = scenario.start();
    send(&service, r#"{"n":1}"#).await;
    let status = eventually("the refusal", async || {
        let status = target(&service, "out").await;
        (status["last"].is_string(), status)
    })
    .await;
    assert!(status["last"].as_str().unwrap().starts_with("tls"), "{status}");
    service.edit("/in\"\n", "/in\"\ntls = { ca = \"ca.pem\" }\n");
    service.ask(&["reload"]);
    assert_eq!(server.client().await.text().await, r#"{"n":1}"#);
    idle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_is_refused() {
    let server = Server::start(None).await;
    let refused = scenario(&server.toml("")).edit("allow_networks = [\"127.0.0.0/8\"]", "");
    let refused = refused.run(&["check", "--config", "cfg"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("allow_networks = [\"127.0.0.0/8\"]"), "{}", refused.err);
    // A name is refused when it resolves to one.
    let text = server.toml("").replace("127.0.0.1", "localhost");
    let service = scenario(&text).edit("allow_networks = [\"127.0.0.0/8\"]", "").start();
    send(&service, r#"{"n":1}"#).await;
    let status = eventually("the refusal", async || {
        let status = target(&service, "out").await;
        (status["last"].is_string(), status)
    })
    .await;
    assert!(status["last"].as_str().unwrap().starts_with("refused"), "{status}");
}
