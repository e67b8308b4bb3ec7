//! Against real servers on loopback that misbehave on demand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::settings::AGENT;
use super::*;
use crate::clock::Wall;
use crate::event::{Event, TraceContext};
use crate::log::{Record, TopicId};
use crate::target::kinds::sample::Sample;
use crate::target::{Lookup, Secrets, attempt};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

mod batch;
mod place;
mod proxy;
mod token;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: Wall = Wall(784_111_777_000_000);

struct Vault;

impl Secrets for Vault {
    fn get(&self, reference: &str) -> Result<Zeroizing<String>, String> {
        match reference {
            "env:SIGN" => Ok(Zeroizing::new(SECRET.into())),
            "env:URL" => Ok(Zeroizing::new("https://hooks.example.com/T0/secret".into())),
            "env:TOKEN" => Ok(Zeroizing::new("Bearer s3cr3t".into())),
            other => Err(format!("`{other}` is not set")),
        }
    }
}

struct FixedLookup(Vec<IpAddr>, AtomicUsize);

impl Lookup for FixedLookup {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// What a server does with a connection once it has read a request.
#[derive(Clone)]
enum Answer {
    /// Sends these bytes and keeps the connection for the next request.
    Text(String),
    /// Sends these bytes and closes.
    Cut(String),
    /// Sends these bytes, then waits until the client is gone.
    Hang(&'static str),
    /// Sends the head, then a byte at a time for ever.
    Drip,
    /// Sends the head, then as much as the client takes.
    Endless,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (log, count) = (Arc::clone(&seen), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer.clone(), Arc::clone(&log)));
            }
        });
        Self { address, seen, connections }
    }

    async fn text(head_and_body: &str) -> Self {
        Self::start(Answer::Text(head_and_body.to_owned())).await
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn request(&self) -> String {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, log: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    while let Some(request) = read_request(&mut stream).await? {
        log.lock().unwrap().push(request);
        match &answer {
            Answer::Text(text) => stream.write_all(text.as_bytes()).await?,
            Answer::Cut(text) => return stream.write_all(text.as_bytes()).await,
            Answer::Hang(text) => {
                stream.write_all(text.as_bytes()).await?;
                stream.read_u8().await?;
            }
            Answer::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
                loop {
                    stream.write_all(b".").await?;
                    tokio::task::yield_now().await;
                }
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(format!("1000\r\n{}\r\n", "x".repeat(4096)).as_bytes()).await?;
                }
            }
        }
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0u8; 4096];
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return Ok(Some(text));
            }
        }
    }
}

fn settings(toml: &str) -> Sample {
    Sample::read(toml).unwrap_or_else(|e| panic!("{e}\n{toml}"))
}

fn build_with(toml: &str, lookup: Option<&Arc<dyn Lookup>>) -> Result<Arc<dyn Target>, Error> {
    settings(toml).build(&Context { base_dir: Path::new("."), secrets: &Vault, allow_networks: &[], lookup })
}

fn build(toml: &str) -> Result<Arc<dyn Target>, Error> {
    build_with(toml, None)
}

/// A target for a local server.
fn target(url: &str, more: &str) -> Arc<dyn Target> {
    build(&format!("name = \"t\"\nkind = \"http\"\nurl = \"{url}\"\nallow_networks = [\"127.0.0.0/8\"]\n{more}"))
        .unwrap()
}

fn record(data: &str) -> Arc<Record> {
    let mut event = Event::new("src", "push", Bytes::copy_from_slice(data.as_bytes()));
    event.id = "ev-1".into();
    event.subject = Some("s".into());
    event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=b")).unwrap();
    Arc::new(Record::new("t".into(), TopicId(1), 1, NOW, event))
}

async fn send(target: &dyn Target, data: &str) -> Outcome {
    attempt(target, Delivery { record: &record(data), attempt: 1, now: NOW }).await
}

async fn fail(server: &Server, more: &str) -> Failure {
    match send(&*target(&server.url(), more), "{}").await {
        Outcome::Failed(failure) => failure,
        Outcome::Delivered { detail } => panic!("delivered: {detail:?}"),
    }
}

#[tokio::test]
async fn a_signed_request_as_the_receiver_sees_it() {
    let server = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let target = target(
        &server.url(),
        "headers = { \"x-type\" = \"${event.type}\", \"x-const\" = \"c\", authorization = \"env:TOKEN\" }\n\
         sign = { secrets = [\"env:SIGN\", \"env:SIGN\"] }",
    );
    let outcome = send(&*target, "{\"test\": 2432232314}").await;
    let detail = outcome.detail();
    assert!(outcome.is_delivered(), "{outcome:?}");
    assert_eq!((detail.status, detail.sent, detail.received), (Some(200), 20, 2));
    assert_eq!((detail.reply.as_deref(), detail.remote), (Some("ok"), Some(server.address)));
    let request = server.request();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    let signature = sign::Signer::new(&[Zeroizing::new(SECRET.into())]).unwrap();
    let signature = signature.sign("ev-1", 784_111_777, b"{\"test\": 2432232314}");
    for line in [
        "x-type: push",
        "x-const: c",
        "authorization: Bearer s3cr3t",
        "content-type: application/json",
        "webhook-id: ev-1",
        "webhook-timestamp: 784111777",
        &format!("webhook-signature: {signature} {signature}"),
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        &format!("user-agent: {AGENT}"),
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "`{line}` is missing in:\n{request}");
    }
    assert!(request.ends_with("\r\n\r\n{\"test\": 2432232314}"), "{request}");
}

#[tokio::test]
async fn the_connection_is_used_again() {
    let server = Server::text("HTTP/1.1 204 No Content\r\n\r\n").await;
    let target = target(&server.url(), "");
    for _ in 0..20 {
        assert!(send(&*target, "{}").await.is_delivered());
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn formats() {
    let server = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for (more, expected) in [
        (
            "format = \"cloudevents\"",
            vec!["content-type: application/cloudevents+json", "\"data\":{\"a\":1}}", "\"id\":\"ev-1\""],
        ),
        (
            "format = \"cloudevents-binary\"",
            vec!["ce-id: ev-1", "ce-type: push", "content-type: application/json", "{\"a\":1}"],
        ),
        (
            "body = \"n=${event.data.a}\"\ncontent_type = \"application/x-www-form-urlencoded\"",
            vec!["content-type: application/x-www-form-urlencoded", "\r\n\r\nn=1"],
        ),
        ("body = \"constant\"", vec!["content-type: text/plain; charset=utf-8", "\r\n\r\nconstant"]),
        ("format = \"json\"\nmethod = \"PUT\"", vec!["PUT /hook", "content-type: application/json"]),
        ("method = \"GET\"", vec!["GET /hook HTTP/1.1\r\n"]),
    ] {
        let outcome = send(&*target(&server.url(), more), "{\"a\":1}").await;
        assert!(outcome.is_delivered(), "{more}: {outcome:?}");
        for part in expected {
            assert!(server.request().contains(part), "{more}: `{part}` is missing in:\n{}", server.request());
        }
    }
}

#[tokio::test]
async fn statuses_and_their_verdicts() {
    use FailureClass::{Redirect, Status};
    use Verdict::{DeadLetter, DisableTarget, Retry};
    for (head, class, verdict, pause) in [
        ("500 X\r\n", Status(500), Retry, None),
        ("404 X\r\n", Status(404), Retry, None),
        ("503 X\r\nRetry-After: 7\r\n", Status(503), Retry, Some(7)),
        ("429 X\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", Status(429), Retry, Some(30)),
        ("429 X\r\nRetry-After: -10\r\n", Status(429), Retry, Some(0)),
        ("429 X\r\nRetry-After: 315360000\r\n", Status(429), Retry, Some(86_400)),
        ("410 Gone\r\nRetry-After: 7\r\n", Status(410), DisableTarget, None),
        ("400 X\r\nwebhook-delivery: abort-message\r\n", Status(400), DeadLetter, None),
        ("500 X\r\nWebhook-Delivery: disable\r\n", Status(500), DisableTarget, None),
        ("302 Found\r\nLocation: http://127.0.0.1:1/\r\n", Redirect, Retry, None),
        ("308 X\r\nLocation: http://169.254.169.254/\r\n", Redirect, Retry, None),
    ] {
        let server = Server::text(&format!("HTTP/1.1 {head}Content-Length: 6\r\n\r\nwhy\x1b\n!")).await;
        let failure = fail(&server, "").await;
        assert_eq!((failure.class, failure.verdict), (class, verdict), "{head}: {failure:?}");
        assert_eq!(failure.retry_after, pause.map(Duration::from_secs), "{head}");
        assert_eq!(failure.detail.reply.as_deref(), Some("why\\u{1b}\\n!"), "{head}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "one attempt, no redirect followed: {head}");
    }
    let server = Server::text("HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(fail(&server, "retry_client_errors = false").await.verdict, DeadLetter);
}

#[tokio::test]
async fn a_receiver_that_takes_the_event_and_wants_no_more() {
    let server = Server::text("HTTP/1.1 202 X\r\nwebhook-delivery: disable\r\nContent-Length: 0\r\n\r\n").await;
    let outcome = send(&*target(&server.url(), ""), "{}").await;
    assert!(outcome.is_delivered() && outcome.detail().disable_target, "{outcome:?}");
}

#[tokio::test]
async fn a_hanging_or_dripping_receiver_is_a_time_out() {
    for (answer, status, said) in [
        (Answer::Hang(""), None, "did not answer within 150ms"),
        (Answer::Hang("HTTP/1.1 200 OK\r\nX-Slow: "), None, "did not answer within 150ms"),
        (Answer::Hang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"), Some(200), "the answer did not end"),
        (Answer::Drip, Some(200), "the answer did not end"),
    ] {
        let server = Server::start(answer).await;
        let failure = fail(&server, "timeout = \"150ms\"\nmax_reply = \"16MiB\"").await;
        assert_eq!((failure.class, failure.verdict), (FailureClass::Timeout, Verdict::Retry), "{failure:?}");
        assert_eq!(failure.detail.status, status);
        assert!(failure.message.contains(said), "{failure:?}");
        assert!(failure.detail.took >= Duration::from_millis(150) && failure.detail.took < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_the_limit() {
    let server = Server::start(Answer::Endless).await;
    let outcome = send(&*target(&server.url(), ""), "{}").await;
    assert!(outcome.is_delivered(), "{outcome:?}");
    assert_eq!(outcome.detail().received, 64 * 1024);
}

#[tokio::test]
async fn answers_that_are_cut_off_or_not_http() {
    use FailureClass::{Body, Protocol};
    let huge = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Filler: 0123456789abcdef0123456789abcdef\r\n".repeat(50_000));
    for (text, class) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123".to_owned(), Body),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12".to_owned(), Body),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12".to_owned(), Body),
        (String::new(), Protocol),
        ("HTTP/1.1 20".to_owned(), Protocol),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), Protocol),
        (huge, Protocol),
    ] {
        let server = Server::start(Answer::Cut(text.clone())).await;
        let failure = fail(&server, "").await;
        assert_eq!(
            (failure.class, failure.verdict),
            (class, Verdict::Retry),
            "{:?}: {failure:?}",
            &text[..text.len().min(60)]
        );
    }
}

#[tokio::test]
async fn nobody_listens_or_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = send(&*target(&format!("http://{address}/"), ""), "{}").await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.class, failure.verdict), (FailureClass::Connect, Verdict::Retry), "{failure:?}");
    assert!(failure.message.contains(&address.to_string()), "{failure:?}");

    // A server that answers a handshake in plain text.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let outcome = send(&*target(&format!("https://{address}/"), ""), "{}").await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.class, failure.verdict), (FailureClass::Tls, Verdict::Retry), "{failure:?}");
}

#[tokio::test]
async fn names_are_checked_when_they_are_resolved() {
    let server = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = server.address.port();
    let lookup = |addresses: &[&str]| -> Arc<dyn Lookup> {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(FixedLookup(addresses, AtomicUsize::new(0)))
    };
    let toml = format!("name = \"t\"\nkind = \"http\"\nurl = \"http://rebind.example:{port}/\"\n");
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0"]
    {
        let target = build_with(&toml, Some(&lookup(&[address]))).unwrap();
        let Outcome::Failed(failure) = send(&*target, "{}").await else { panic!("{address} was reached") };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Refused, Verdict::Retry), "{failure:?}");
        assert!(failure.message.contains("allow_networks = ["), "{failure:?}");
    }
    let none = build_with(&toml, Some(&lookup(&[]))).unwrap();
    let Outcome::Failed(failure) = send(&*none, "{}").await else { panic!("reached") };
    assert_eq!(failure.class, FailureClass::Connect, "{failure:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0, "nothing was connected to");

    // Of several addresses only the allowed one is used: the connection goes where the check was made.
    let allowed = format!("{toml}allow_networks = [\"127.0.0.1/32\"]");
    let target = build_with(&allowed, Some(&lookup(&["10.0.0.1", "127.0.0.1"]))).unwrap();
    let outcome = send(&*target, "{}").await;
    assert!(outcome.is_delivered(), "{outcome:?}");
    assert_eq!(outcome.detail().remote, Some(server.address));
}

#[tokio::test]
async fn what_an_event_may_not_do_to_a_request() {
    let server = Server::text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let header = target(&server.url(), "headers = { \"x-a\" = \"${event.data.v}\" }");
    for value in ["a\\r\\nx-evil: 1", "a\\nb", "a\\u0000b", "a\\rb"] {
        let outcome = send(&*header, &format!("{{\"v\":\"{value}\"}}")).await;
        let Outcome::Failed(failure) = outcome else { panic!("{value} was sent") };
        assert_eq!((failure.class, failure.verdict), (FailureClass::Template, Verdict::DeadLetter), "{failure:?}");
        assert!(!failure.counts_for_breaker());
    }
    let failing = target(&server.url(), "headers = { \"x-a\" = \"${1 / event.data.n}\" }");
    let outcome = send(&*failing, "{\"n\":0}").await;
    assert!(matches!(&outcome, Outcome::Failed(f) if f.class == FailureClass::Template), "{outcome:?}");

    let url = build("name = \"t\"\nkind = \"http\"\nurl = \"${event.data.v}\"").unwrap();
    for (value, class) in [
        ("http://127.1/", FailureClass::Refused),
        ("http://2130706433/", FailureClass::Refused),
        ("http://[::ffff:10.0.0.1]/", FailureClass::Refused),
        ("http://localhost/", FailureClass::Refused),
        ("ftp://example.com/", FailureClass::Template),
        ("file:///etc/passwd", FailureClass::Template),
        ("http://user:pw@example.com/", FailureClass::Template),
        ("http://exa\\nmple.com/", FailureClass::Template),
        ("/relative", FailureClass::Template),
        ("", FailureClass::Template),
    ] {
        let outcome = send(&*url, &format!("{{\"v\":\"{value}\"}}")).await;
        let Outcome::Failed(failure) = outcome else { panic!("{value} was sent") };
        assert_eq!((failure.class, failure.verdict), (class, Verdict::DeadLetter), "{value}: {failure:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn settings_that_are_refused() {
    for (toml, said) in [
        ("url = \"http://10.0.0.1/\"", "allow_networks = [\"10.0.0.1/32\"]"),
        ("url = \"ftp://example.com/\"", "expected `http` or `https`"),
        ("url = \"file:///etc/passwd\"", "expected `http` or `https`"),
        ("url = \"javascript:${event.id}\"", "expected `http://`"),
        ("url = \"https://e.com/a/%2e./${event.id}\"", "has the part `%2e.`"),
        ("url = \"https://e.com/..?id=${event.id}\"", "has the part `..`"),
        ("url = \"http://u:p@example.com/\"", "user name or password"),
        ("url = \"https://e.com/\"\nmethod = \"BREW\"", "`BREW`"),
        ("url = \"https://e.com/\"\nheaders = { host = \"x\" }", "set by hexaFn itself"),
        ("url = \"https://e.com/\"\nheaders = { \"webhook-id\" = \"x\" }", "set by hexaFn itself"),
        ("url = \"https://e.com/\"\nheaders = { \"a b\" = \"x\" }", "not a header name"),
        (
            "url = \"https://e.com/\"\nheaders = { X-One = \"1\", x-one = \"${event.id}\" }",
            "the same header as `x-one`",
        ),
        (
            "url = \"https://e.com/\"\nheaders = { Ce-Id = \"mine\" }\nformat = \"cloudevents-binary\"",
            "attributes of the event",
        ),
        ("url = \"https://e.com/\"\nmethod = \"GET\"\nbody = \"x\"", "`body`: GET sends no body"),
        ("url = \"https://e.com/\"\nmethod = \"GET\"\nformat = \"json\"", "`format`: GET sends no body"),
        (
            "url = \"https://e.com/\"\nmethod = \"GET\"\ncolumns = [{ name = \"a\", value = \"b\" }]",
            "`columns`: GET sends no body",
        ),
        ("url = \"https://e.com/\"\nmethod = \"GET\"\ncompress = \"gzip\"", "`compress`: GET sends no body"),
        (
            "url = \"https://e.com/\"\nmethod = \"GET\"\ncontent_type = \"text/plain\"",
            "`content_type`: GET sends no body",
        ),
        ("url = \"https://e.com/\"\ncontent_type = \"no slash\"", "expected a media type"),
        ("url = \"https://e.com/\"\ncontent_type = \"\"", "expected a media type"),
        ("url = \"https://e.com/\"\ncontent_type = \"a/b c\"", "expected a media type"),
        ("url = \"https://e.com/\"\ncontent_type = \"a/b; c\"", "expected a media type"),
        ("url = \"https://e.com/\"\ncontent_type = \"a/b\\r\\nx: y\"", "expected a media type"),
        ("url = \"https://e.com/\"\nretry = { schedule = [\"1s\", \"0s\"] }", "`retry.schedule.1`"),
        ("url = \"https://e.com/\"\nretry = { backoff = { delays = [\"0s\"] } }", "0s is not possible"),
        ("url = \"https://e.com/\"\nheaders = { a = \"x\\r\\ny\" }", "no header may have"),
        ("url = \"https://e.com/\"\nsign = { secrets = [\"whsec_abc\"] }", "not the secrets themselves"),
        ("url = \"https://e.com/\"\nsign = { secrets = [] }", "1 to 4 secrets"),
        ("url = \"https://e.com/\"\nsign = { secrets = [\"env:NONE\"] }", "`env:NONE` is not set"),
        ("url = \"https://e.com/\"\nformat = \"template\"", "needs the setting `body`"),
        ("url = \"https://e.com/\"\nbody = \"x\"\nformat = \"json\"", "goes with"),
        ("url = \"https://e.com/\"\nbody = \"${nobody.x}\"", "HX"),
        ("url = \"https://e.com/\"\nallow_networks = [\"10/8\"]", "is not a network"),
        ("url = \"https://e.com/\"\nconcurrency = 0", "1 to 1024"),
        ("url = \"https://e.com/\"\ntimeout = \"1h\"", "10ms to 5m"),
        ("url = \"https://e.com/\"\nretry = { jitter = 2.0 }", "0 to 1"),
    ] {
        let error = build(&format!("name = \"t\"\nkind = \"http\"\n{toml}")).expect_err(toml).to_string();
        assert!(error.contains(said) && error.starts_with("target `t`"), "{toml}: {error}");
    }
}

#[test]
fn settings_that_go_together() {
    for toml in [
        "headers = { \"ce-id\" = \"mine\" }",
        "method = \"GET\"\nformat = \"cloudevents-binary\"",
        "content_type = \"application/vnd.acme.order+json\"",
        "content_type = \"text/plain;charset=utf-8\"",
        "content_type = \"multipart/mixed; boundary=\\\"a;b\\\"\"",
        "retry = { schedule = [] }",
    ] {
        build(&format!("name = \"t\"\nkind = \"http\"\nurl = \"https://e.com/\"\n{toml}"))
            .unwrap_or_else(|error| panic!("{toml}: {error}"));
    }
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let target = build("name = \"t\"\nkind = \"http\"\nurl = \"env:URL\"\nheaders = { a = \"env:TOKEN\" }").unwrap();
    assert_eq!(target.destination(), "POST https://hooks.example.com/…");
    let debug = format!("{target:?}");
    assert!(!debug.contains("s3cr3t"), "{debug}");
    let lookup: Arc<dyn Lookup> = Arc::new(FixedLookup(Vec::new(), AtomicUsize::new(0)));
    let target = build_with("name = \"t\"\nkind = \"http\"\nurl = \"env:URL\"", Some(&lookup)).unwrap();
    let Outcome::Failed(failure) = send(&*target, "{}").await else { panic!("delivered") };
    assert!(!failure.message.contains("secret"), "{failure:?}");
}

proptest::proptest! {
    #[test]
    fn no_event_panics_a_request(id in ".{0,20}", subject in ".{0,20}", v in ".{0,40}", data: Vec<u8>, binary: bool) {
        let format = if binary { "format = \"cloudevents-binary\"" } else { "body = \"${event.data.v}\"" };
        let toml = format!("name = \"t\"\nkind = \"http\"\nurl = \"https://e.com/${{event.data.v}}\"\n\
            headers = {{ a = \"${{event.subject}}\" }}\n{format}");
        let target = build(&toml).unwrap();
        for data in [data, serde_json::to_vec(&serde_json::json!({ "v": v })).unwrap()] {
            let mut event = Event::new("s", "t", data.into());
            event.id = id.as_str().into();
            event.subject = Some(subject.as_str().into());
            let record = Arc::new(Record::new("t".into(), TopicId(1), 1, NOW, event));
            drop(target.preview(Delivery { record: &record, attempt: 1, now: NOW }));
        }
    }

    #[test]
    fn no_template_panics(text in ".{0,40}", tail in "[${}a-z.]{0,20}") {
        for text in [text.clone(), format!("https://e.com/{text}"), format!("https://e.com/{tail}")] {
            let literal = toml::Value::String(text);
            drop(build(&format!("name = \"t\"\nkind = \"http\"\nurl = {literal}")));
        }
    }
}
