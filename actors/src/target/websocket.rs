//! The target of kind `websocket`: a client that sends each event as one message over a connection that stays.
//!
//! The connection is made by the delivery that needs it and kept by a task of its own ([`connection`]); when it ends, what
//! waited on it has failed, and the next delivery connects again: the retry of the forwarder is the only one there is.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Host, Url};

use crate::clock::Wall;
use crate::event::Str;
use crate::target::dial::{self, Endpoint};
use crate::target::format::{Column, Format, Formatter};
use crate::target::http::failure::{chain, host_of};
use crate::target::http::reply::retry_after;
use crate::target::http::settings::{TlsSettings, in_the_clear, is_reference, same_header};
use crate::target::{
    Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Size, Span,
    Target, Verdict,
};

mod connection;

use connection::{Connection, Frame, Io};

/// The longest message that a server may send, in bytes. What became of events is told in less; servers that also tell
/// others (a snapshot at the beginning) send more. A longer one ends the connection: its rest cannot be passed over unread.
const MAX_MESSAGE: usize = 1 << 20;
/// How long a connection is given to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The settings of a target of kind `websocket`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to: `ws` or `wss`; a secret (`env:…`, `file:…`) when it holds one. One connection serves all events, so it
    /// is no template.
    pub url: String,
    /// Headers of the handshake: texts, or secrets by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What a message holds; `json`, with `ack = "reply"` `cloudevents`.
    pub format: Option<Format>,
    /// The text of `format = "template"`.
    pub body: Option<String>,
    /// The columns of `csv`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// When an event counts as delivered.
    #[serde(default)]
    pub ack: Ack,
    /// How often a sign of life is asked for; a connection without one for twice as long is given up. 20 s, less than
    /// the minute after which most proxies close a silent connection.
    #[serde(default = "twenty_seconds")]
    pub ping: Span,
    /// The largest message that is sent; an event that is larger is a dead letter. 1 MiB, what servers commonly take.
    #[serde(default = "mebibyte")]
    pub max_frame: Size,
    /// The connection alone; 5 s.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Certificates, where those of the system are not enough.
    pub tls: Option<TlsSettings>,
}

/// `ack`: when an event counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// When the system has taken the message. What is on its way when a connection breaks is lost.
    #[default]
    None,
    /// When the server has answered `{"ack": "<event id>"}`; `{"nak": …}` and `{"term": …}` are failures.
    Reply,
}

fn twenty_seconds() -> Span {
    Span(Duration::from_secs(20))
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn mebibyte() -> Size {
    Size(1 << 20)
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(WebSocketTarget::new(common, self, context)?))
    }
}

/// A target of kind `websocket`, ready to connect.
pub struct WebSocketTarget {
    url: Url,
    secret_url: bool,
    /// Whether secrets go over the network without TLS.
    in_the_clear: bool,
    headers: HeaderMap,
    endpoint: Endpoint,
    /// For `wss`.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    formatter: Formatter,
    ack: Ack,
    ping: Duration,
    max_frame: usize,
    timeout: Span,
    concurrency: usize,
    /// The connection of the moment.
    connection: Mutex<Option<Arc<Connection>>>,
}

impl std::fmt::Debug for WebSocketTarget {
    /// Without its URL, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketTarget").field("to", &self.destination()).finish_non_exhaustive()
    }
}

impl WebSocketTarget {
    /// Checks the settings.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |field: &str, message: String| Error::setting(name, field, message);
        let default = if settings.ack == Ack::Reply { Format::Cloudevents } else { Format::Json };
        let formatter = Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, default)?;
        if settings.ack == Ack::Reply
            && !matches!(formatter.format(), Format::Cloudevents | Format::Template | Format::Csv)
        {
            let message = "with `ack = \"reply\"` the server must see the event's id: use `cloudevents`, or a `body` or \
                           `columns` with ${event.id}";
            return Err(bad("format", message.into()));
        }
        let texts = settings.body.iter().chain(settings.columns.iter().map(|column| &column.value));
        let mut texts = texts.peekable();
        if settings.ack == Ack::Reply && texts.peek().is_some() && !texts.any(|text| may_hold_id(text)) {
            let field = if settings.body.is_some() { "body" } else { "columns" };
            let message = "with `ack = \"reply\"` the server says by the event's id what became of it, and so must see it: \
                           write ${event.id} into it";
            return Err(bad(field, message.into()));
        }
        if settings.ping.0 < Duration::from_secs(1) {
            return Err(bad("ping", format!("expected at least 1s, found {}", settings.ping)));
        }
        if !(1024..=64 << 20).contains(&settings.max_frame.0) {
            return Err(bad("max_frame", format!("expected 1KiB to 64MiB, found {}", settings.max_frame)));
        }
        let secret_url = is_reference(&settings.url);
        let url = read_url(&settings.url, secret_url, context).map_err(|e| bad("url", e))?;
        let host = match url.host() {
            Some(Host::Domain(host)) => host.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(bad("url", "a URL without a host".into())),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let guard = dial::guard(name, &settings.allow_networks, context)?;
        let tls = if url.scheme() == "wss" {
            let server = ServerName::try_from(host.clone()).map_err(|e| bad("url", e.to_string()))?;
            Some((dial::tls(name, settings.tls.as_ref(), context)?, server))
        } else if settings.tls.is_some() {
            return Err(bad("tls", "goes with `wss://` only".into()));
        } else {
            None
        };
        let in_the_clear =
            tls.is_none() && settings.headers.values().any(|text| is_reference(text)) && !guard.may_stay_inside(&host);
        let endpoint = Endpoint::new(name, "url", (&host, port), settings.connect_timeout, guard)?;
        Ok(Self {
            headers: headers(name, &settings.headers, context)?,
            url,
            secret_url,
            in_the_clear,
            endpoint,
            tls,
            formatter,
            ack: settings.ack,
            ping: settings.ping.0,
            max_frame: usize::try_from(settings.max_frame.0).unwrap_or(usize::MAX),
            timeout: common.timeout,
            concurrency: common.concurrency,
            connection: Mutex::new(None),
        })
    }

    /// The message of an event. What fails here fails with every attempt.
    fn message(&self, delivery: Delivery<'_>) -> Result<Message, Failure> {
        let bytes = self.formatter.one(delivery)?.bytes;
        if bytes.len() > self.max_frame {
            let message = format!(
                "a message of {} bytes; the target sends at most {} (`max_frame`)",
                bytes.len(),
                Size(self.max_frame as u64)
            );
            return Err(Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter));
        }
        // What is text travels as text: a server that expects JSON reads no binary messages.
        Ok(match Utf8Bytes::try_from(bytes.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(bytes),
        })
    }

    async fn attempt(&self, delivery: Delivery<'_>) -> Outcome {
        let started = Instant::now();
        let mut detail = Detail::default();
        let result = match self.message(delivery) {
            Ok(message) => {
                detail.sent = message.len() as u64;
                let id = delivery.record.event.id.clone();
                match tokio::time::timeout(self.timeout.0, self.exchange(message, &id, delivery.now, &mut detail)).await
                {
                    Ok(result) => result,
                    Err(_) => Err(self.too_slow(&id).await),
                }
            }
            Err(failure) => Err(failure),
        };
        detail.took = started.elapsed();
        match result {
            Ok(()) => Outcome::Delivered { detail },
            Err(failure) => Outcome::Failed(Failure { detail, ..failure }),
        }
    }

    async fn too_slow(&self, id: &Str) -> Failure {
        // Whoever connects holds the lock, and no answer is waited for then.
        if let Ok(connection) = self.connection.try_lock()
            && let Some(connection) = &*connection
        {
            connection.forget(id);
        }
        let what = match self.ack {
            Ack::None => "did not take the message",
            Ack::Reply => "did not acknowledge the event",
        };
        let limit = self.timeout;
        Failure::new(
            FailureClass::Timeout,
            format!("`{}` {what} within {limit} (`timeout` of the target)", self.endpoint),
        )
    }

    async fn exchange(&self, message: Message, id: &Str, now: Wall, detail: &mut Detail) -> Result<(), Failure> {
        let connection = self.connected(now, detail).await?;
        detail.remote = connection.remote;
        let (done, answer) = oneshot::channel();
        let frame = Frame { message, id: id.clone(), done };
        if connection.frames.send(frame).await.is_err() {
            return Err(self.ended(&connection));
        }
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(said)) => {
                let message = format!("`{}` refused the event: {}", self.endpoint, said.reason);
                let verdict = if said.last { Verdict::DeadLetter } else { Verdict::Retry };
                Err(Failure::new(FailureClass::Rejected, message).verdict(verdict))
            }
            Err(_) => Err(self.ended(&connection)),
        }
    }

    fn ended(&self, connection: &Connection) -> Failure {
        let why = connection.why_ended();
        Failure::new(FailureClass::Protocol, format!("the connection to `{}` ended: {why}", self.endpoint))
    }

    /// The connection, made anew when there is none or the last one has ended.
    async fn connected(&self, now: Wall, detail: &mut Detail) -> Result<Arc<Connection>, Failure> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| !connection.frames.is_closed()) {
            return Ok(connection.clone());
        }
        let tcp = self.endpoint.connect().await?;
        let remote = tcp.peer_addr().ok();
        detail.remote = remote;
        let stream: Box<dyn Io> = match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => Box::new(self.endpoint.secure(tcp, config, name).await?),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(32 << 10)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let handshake = client_async_with_config(self.request()?, stream, Some(config)).await;
        let (socket, response): (WebSocketStream<Box<dyn Io>>, _) =
            handshake.map_err(|error| self.handshake_failed(error, now, detail))?;
        detail.status = Some(response.status().as_u16());
        let connection = Arc::new(Connection::start(socket, remote, self.ack, self.ping, self.timeout.0));
        *current = Some(connection.clone());
        Ok(connection)
    }

    fn request(&self) -> Result<Request, Failure> {
        let request = self.url.as_str().into_client_request();
        let mut request = request.map_err(|e| Failure::new(FailureClass::Protocol, format!("the handshake: {e}")))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    fn handshake_failed(&self, error: tungstenite::Error, now: Wall, detail: &mut Detail) -> Failure {
        let tungstenite::Error::Http(response) = error else {
            let message = format!("`{}` did not answer in WebSocket: {}", self.endpoint, chain(&error));
            return Failure::new(FailureClass::Protocol, message);
        };
        let status = response.status();
        detail.status = Some(status.as_u16());
        if status.is_redirection() {
            let message = format!("`{}` answered {status}; redirects are not followed", self.endpoint);
            return Failure::new(FailureClass::Redirect, message);
        }
        let message = format!("`{}` answered the handshake with {status}; expected 101", self.endpoint);
        let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let retry_after = after.and_then(|text| retry_after(text, now));
        Failure { retry_after, ..Failure::new(FailureClass::Status(status.as_u16()), message) }
    }
}

impl Target for WebSocketTarget {
    fn kind(&self) -> &'static str {
        "websocket"
    }

    fn destination(&self) -> String {
        let path = if self.secret_url { "/…" } else { self.url.path() };
        format!("{}://{}{path}", self.url.scheme(), host_of(&self.url))
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: self.concurrency }
    }

    fn warnings(&self) -> Vec<(&'static str, String)> {
        self.in_the_clear.then(|| ("url", in_the_clear("headers", "wss"))).into_iter().collect()
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let message = self.message(delivery)?;
        let shown = |value: &HeaderValue| match value.is_sensitive() {
            true => "***".to_owned(),
            false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
        let body = String::from_utf8_lossy(&message.into_data()).into_owned();
        Ok(Preview { destination: self.destination(), headers, body })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let connection = self.connection.lock().await.take();
            if let Some(connection) = connection
                && tokio::time::timeout(GOODBYE, connection.close()).await.is_err()
            {
                tracing::debug!(to = %self.endpoint, "the server did not say goodbye");
            }
        }
        .boxed()
    }
}

/// Whether a template may write the event's id: it names it, or the event as a whole.
fn may_hold_id(text: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices("event").any(|(at, word)| {
        let (before, after) = (&text[..at], text[at + word.len()..].trim_start());
        let id = [".id", "?.id", "[\"id\"]", "['id']"].iter().find_map(|id| after.strip_prefix(id));
        let whole = !after.starts_with(['.', '?', '[']) && !after.starts_with(name);
        !before.ends_with(|c| name(c) || c == '.') && (whole || id.is_some_and(|rest| !rest.starts_with(name)))
    })
}

fn read_url(text: &str, secret: bool, context: &Context<'_>) -> Result<Url, String> {
    let text = if secret { context.secrets.address(text)? } else { text.to_owned().into() };
    if text.contains("${") {
        return Err(
            "one connection serves all events, so it is no template; what is about an event goes into `body`".into()
        );
    }
    if text.len() > 8 << 10 || text.trim().chars().any(char::is_control) {
        return Err("a URL that is too long, or with a control character in it".into());
    }
    let mut url = Url::parse(text.trim()).map_err(|e| format!("not a URL: {e}"))?;
    // Secrets of samples are HTTP addresses; for a handshake the two are the same.
    let scheme = match url.scheme() {
        "ws" => "ws",
        "wss" => "wss",
        "http" if secret => "ws",
        "https" if secret => "wss",
        other => return Err(format!("the scheme `{other}`; expected `ws` or `wss`")),
    };
    if url.set_scheme(scheme).is_err() {
        return Err("expected `ws` or `wss`".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in the URL; send it by `headers` and a secret".into());
    }
    url.set_fragment(None);
    Ok(url)
}

fn headers(name: &Str, settings: &BTreeMap<String, String>, context: &Context<'_>) -> Result<HeaderMap, Error> {
    const OURS: [&str; 7] = [
        "connection",
        "content-length",
        "host",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
    ];
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static(concat!("hexafn/", env!("CARGO_PKG_VERSION"))));
    for (key, text) in settings {
        let field = format!("headers.{}", key.escape_debug());
        let bad = |message: &str| Error::setting(name, field.as_str(), message);
        let header = HeaderName::try_from(key.as_str()).map_err(|_| bad("not a header name"))?;
        if let Some(other) = same_header(settings, key) {
            return Err(bad(&format!(
                "the same header as `{other}`, whose name differs in case only; leave one of them out"
            )));
        }
        if OURS.contains(&header.as_str()) {
            return Err(bad("this header is set by hexaFn itself"));
        }
        if text.contains("${") {
            return Err(bad("headers are those of the handshake, which is about no event: no template"));
        }
        let value = if is_reference(text) {
            let secret = context.secrets.get(text).map_err(|e| bad(&e))?;
            let value = HeaderValue::from_str(secret.trim());
            let mut value = value.map_err(|_| bad("the secret holds characters that no header may have"))?;
            value.set_sensitive(true);
            value
        } else {
            HeaderValue::from_str(text).map_err(|_| bad("characters that no header may have"))?
        };
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
