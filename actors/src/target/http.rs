//! The HTTP target: one request an attempt, over the target's own keep-alive pool.
//!
//! Only 2xx, with an answer that ends or is longer than is read, is a delivery. Whatever leaves a doubt (an answer cut
//! off or dripping past the time-out) is a failure: the receiver knows a repetition by its `webhook-id`, and nothing
//! repairs a loss. Parts: [`guard`] (which addresses), [`sign`], [`body`], [`reply`], [`template`].

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, Method, Request};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

use crate::event::Str;
use crate::target::{
    Context, Delivery, Detail, Error, Failure, FailureClass, Mode, Outcome, Preview, Size, Span, Target,
    TargetSettings, Verdict,
};

pub mod body;
pub mod guard;
pub mod reply;
pub mod sign;
pub mod template;
#[cfg(test)]
mod tests;

pub use body::Format;
pub use guard::SystemLookup;
use guard::{Guard, Refused};
use reply::Meaning;
use template::Template;

/// How long a connection waits for the next request. Shorter than the 5 s after which Node's servers close theirs, so
/// that a request rarely meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(4);
/// The longest URL or header value that a template may give, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// What every request says it is from.
const AGENT: &str = concat!("hexafn/", env!("CARGO_PKG_VERSION"));

/// The settings of a target of kind `http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to: `http` or `https`; a template, or a secret (`env:…`, `file:…`) when it holds one.
    pub url: String,
    /// `POST` (default), `PUT`, `PATCH`, `DELETE` or `GET` (which sends no body).
    #[serde(default = "post")]
    pub method: String,
    /// More headers: templates, or secrets by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the body is; `template` when `body` is given, else `data`.
    pub format: Option<Format>,
    /// The body, a template.
    pub body: Option<String>,
    /// The Content-Type, instead of the one of the format.
    pub content_type: Option<String>,
    /// Signs each request by Standard Webhooks.
    pub sign: Option<SignSettings>,
    /// The connection alone; 5 s.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// How much of an answer is read; 64 KiB.
    #[serde(default = "reply_size")]
    pub max_reply: Size,
    /// Private networks that this target may reach, besides those of `[server]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Whether 4xx other than 408, 410, 425 and 429 are tried again; true.
    #[serde(default = "yes")]
    pub retry_client_errors: bool,
}

/// `sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignSettings {
    /// References of secrets; two while rotating.
    pub secrets: Vec<String>,
}

fn post() -> String {
    "POST".into()
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn reply_size() -> Size {
    Size(64 * 1024)
}

fn yes() -> bool {
    true
}

/// A target of kind `http`, ready to deliver.
#[derive(Debug)]
pub struct HttpTarget {
    client: Client,
    guard: Guard,
    method: Method,
    url: Address,
    constant_headers: HeaderMap,
    headers: Vec<(HeaderName, Template)>,
    format: Format,
    body: Option<Template>,
    content_type: Option<HeaderValue>,
    signer: Option<sign::Signer>,
    timeout: Duration,
    max_reply: usize,
    concurrency: usize,
    retry_client_errors: bool,
}

/// Where to.
#[derive(Debug)]
enum Address {
    Constant { url: Url, secret: bool },
    Template(Template),
}

impl HttpTarget {
    /// Checks the settings and sets up the client.
    pub fn new(common: &TargetSettings, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |field: &str, message: String| Error::setting(name, field, message);
        let mut allowed = guard::parse_networks(&settings.allow_networks).map_err(|e| bad("allow_networks", e))?;
        allowed.extend_from_slice(context.allow_networks);
        let lookup = context.lookup.cloned().unwrap_or_else(|| Arc::new(SystemLookup));
        let guard = Guard::new(allowed.into(), lookup);

        let method = match settings.method.as_str() {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            "GET" => Method::GET,
            other => {
                let other = other.escape_debug();
                return Err(bad("method", format!("expected POST, PUT, PATCH, DELETE or GET, found `{other}`")));
            }
        };
        let url = address(name, &settings.url, &guard, context)?;
        let (format, body) = match (&settings.body, settings.format) {
            (Some(text), None | Some(Format::Template)) => {
                (Format::Template, Some(Template::compile(name, "body", text)?))
            }
            (Some(_), Some(_)) => {
                return Err(bad(
                    "body",
                    "a `body` goes with `format = \"template\"` only; leave one of them out".into(),
                ));
            }
            (None, Some(Format::Template)) => {
                return Err(bad("format", "`template` needs the setting `body` with the text".into()));
            }
            (None, format) => (format.unwrap_or_default(), None),
        };
        let content_type = settings.content_type.as_deref().map(HeaderValue::from_str).transpose();
        let content_type = content_type.map_err(|_| bad("content_type", "expected a media type".into()))?;
        let (constant_headers, headers) = headers(name, settings, context)?;
        let signer = settings.sign.as_ref().map(|sign| signer(name, sign, context)).transpose()?;
        let connect = settings.connect_timeout.0;
        if connect.is_zero() {
            return Err(bad("connect_timeout", "expected more than 0".into()));
        }
        let max_reply = usize::try_from(settings.max_reply.0).unwrap_or(usize::MAX);
        if max_reply > 16 << 20 {
            return Err(bad("max_reply", format!("expected at most 16MiB, found {}", settings.max_reply)));
        }
        let client = client(&guard, connect, common.concurrency);
        let client = client.map_err(|e| Error::Client { target: name.clone(), message: chain(&e) })?;
        Ok(Self {
            client,
            guard,
            method,
            url,
            constant_headers,
            headers,
            format,
            body,
            content_type,
            signer,
            timeout: common.timeout.0,
            max_reply,
            concurrency: common.concurrency,
            retry_client_errors: settings.retry_client_errors,
        })
    }

    /// Sends and reads within the time-out.
    async fn attempt(&self, delivery: Delivery<'_>) -> Outcome {
        let start = Instant::now();
        let mut detail = Detail::default();
        let result = match self.request(delivery) {
            Ok(request) => {
                detail.sent = request.body().and_then(|b| b.as_bytes()).map_or(0, |b| b.len() as u64);
                let host = host_of(request.url());
                match tokio::time::timeout(self.timeout, self.exchange(request, delivery, &mut detail)).await {
                    Ok(result) => result.map_err(|failure| with_host(failure, &host)),
                    Err(_) => Err(self.too_slow(&host, &detail)),
                }
            }
            Err(failure) => Err(failure),
        };
        detail.took = start.elapsed();
        match result {
            Ok(()) => Outcome::Delivered { detail },
            Err(failure) => Outcome::Failed(Failure { detail, ..failure }),
        }
    }

    fn too_slow(&self, host: &str, detail: &Detail) -> Failure {
        let seen = match detail.status {
            Some(status) => format!("answered {status}, but the answer did not end"),
            None => "did not answer".into(),
        };
        let limit = Span(self.timeout);
        Failure::new(FailureClass::Timeout, format!("`{host}` {seen} within {limit} (`timeout` of the target)"))
    }

    /// Makes the request of one event. What fails here fails with every attempt.
    fn request(&self, delivery: Delivery<'_>) -> Result<Request, Failure> {
        let event = &delivery.record.event;
        let mut request = Request::new(self.method.clone(), self.url_for(delivery)?);
        let (body, content_type) = self.body_for(delivery)?;
        let headers = request.headers_mut();
        *headers = self.constant_headers.clone();
        for (name, template) in &self.headers {
            let value = render(template, name.as_str(), delivery)?;
            headers.insert(name.clone(), header_value(name.as_str(), &value)?);
        }
        if self.format == Format::CloudeventsBinary {
            body::put_ce_headers(headers, event);
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert("traceparent", header_value("traceparent", &event.trace.traceparent())?);
        if let Some(state) = &event.trace.state {
            headers.insert("tracestate", header_value("tracestate", state)?);
        }
        // The id is the receiver's idempotency key: the same on every attempt, signed or not.
        let id = body::header_text(&event.id);
        headers.insert("webhook-id", header_value("webhook-id", &id)?);
        if let Some(signer) = &self.signer {
            let seconds = delivery.now.0.div_euclid(1_000_000);
            headers.insert("webhook-timestamp", HeaderValue::from(seconds));
            let signature = signer.sign(&id, seconds, &body);
            headers.insert("webhook-signature", header_value("webhook-signature", &signature)?);
        }
        if self.method != Method::GET {
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }

    fn url_for(&self, delivery: Delivery<'_>) -> Result<Url, Failure> {
        match &self.url {
            Address::Constant { url, .. } => Ok(url.clone()),
            Address::Template(template) => {
                let text = render(template, "url", delivery)?;
                let url = parse_url(&text).map_err(|e| unusable("url", &e))?;
                self.guard.check_url(&url).map_err(|refused| refusal(&refused, Verdict::DeadLetter))?;
                Ok(url)
            }
        }
    }

    fn body_for(&self, delivery: Delivery<'_>) -> Result<(Bytes, Option<HeaderValue>), Failure> {
        let event = &delivery.record.event;
        let json = || Some(HeaderValue::from_static("application/json"));
        if self.method == Method::GET {
            return Ok((Bytes::new(), None));
        }
        let own_type = || {
            let known = event.content_type.as_deref().and_then(|t| HeaderValue::from_str(t).ok());
            known.or(Some(HeaderValue::from_static("application/octet-stream")))
        };
        let (bytes, natural) = match (self.format, &self.body) {
            (Format::Template, Some(template)) => {
                let text = render(template, "body", delivery)?.into_owned();
                (text.into(), Some(HeaderValue::from_static("text/plain; charset=utf-8")))
            }
            (Format::Json, _) => (body::data_json(event), json()),
            (Format::Cloudevents, _) => {
                let mut out = Vec::with_capacity(event.data.len() + 512);
                body::put_cloudevent(&mut out, event, event.is_json().then_some(&event.data[..]));
                (out.into(), Some(HeaderValue::from_static("application/cloudevents+json; charset=utf-8")))
            }
            (Format::Data | Format::CloudeventsBinary | Format::Template, _) => (event.data.clone(), own_type()),
        };
        Ok((bytes, self.content_type.clone().or(natural)))
    }

    async fn exchange(&self, request: Request, delivery: Delivery<'_>, detail: &mut Detail) -> Result<(), Failure> {
        // A refused constant host may be a passing error of its DNS; one that the event named is the event's doing.
        let refused = if matches!(self.url, Address::Template(_)) { Verdict::DeadLetter } else { Verdict::Retry };
        let mut response = self.client.execute(request).await.map_err(|e| classify(e, refused))?;
        detail.status = Some(response.status().as_u16());
        detail.remote = response.remote_addr();
        let meaning = reply::meaning(response.status(), response.headers(), delivery.now, self.retry_client_errors);
        let mut kept = BytesMut::new();
        let cut = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = self.max_reply.saturating_sub(kept.len());
                    kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    detail.received = kept.len() as u64;
                    detail.reply = reply::excerpt(&kept);
                    // The rest is not read: dropping the answer closes its connection.
                    if chunk.len() > room {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match (meaning, cut) {
            (Meaning::Received { disable_target }, None) => {
                detail.disable_target = disable_target;
                Ok(())
            }
            (Meaning::Received { .. }, Some(error)) => {
                let message = format!(
                    "answered {}, but the answer was cut off: {}",
                    response.status(),
                    chain(&error.without_url())
                );
                Err(Failure::new(FailureClass::Body, message))
            }
            (Meaning::Failed { class, message, retry_after, verdict }, _) => {
                Err(Failure { retry_after, verdict, ..Failure::new(class, message) })
            }
        }
    }
}

impl Target for HttpTarget {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn destination(&self) -> String {
        match &self.url {
            Address::Constant { url, secret: true } => format!("{} {}://{}/…", self.method, url.scheme(), host_of(url)),
            Address::Constant { url, .. } => {
                format!("{} {}://{}{}", self.method, url.scheme(), host_of(url), url.path())
            }
            Address::Template(template) => format!("{} {}", self.method, template.source()),
        }
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: self.concurrency }
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let request = self.request(delivery)?;
        let destination = match &self.url {
            Address::Constant { secret: true, .. } => self.destination(),
            _ => format!("{} {}", request.method(), request.url()),
        };
        let shown = |v: &HeaderValue| match v.is_sensitive() {
            true => "***".to_owned(),
            false => String::from_utf8_lossy(v.as_bytes()).into_owned(),
        };
        let headers = request.headers().iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
        let body = request.body().and_then(|b| b.as_bytes()).unwrap_or_default();
        Ok(Preview { destination, headers, body: String::from_utf8_lossy(body).into_owned() })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).boxed()
    }
}

fn client(guard: &Guard, connect: Duration, concurrency: usize) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(guard.clone())
        // A proxy named in the environment would connect for us, past the guard.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The forwarder's restart strategy is the only retry there is.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(concurrency)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .build()
}

/// Reads `url`: a secret by reference, a constant, or a template.
fn address(name: &Str, text: &str, guard: &Guard, context: &Context<'_>) -> Result<Address, Error> {
    let bad = |message: String| Error::setting(name, "url", message);
    if is_reference(text) {
        let secret = context.secrets.address(text).map_err(bad)?;
        let url = parse_url(secret.trim()).map_err(|e| bad(format!("the secret `{text}` is no URL: {e}")))?;
        guard.check_url(&url).map_err(|e| bad(e.to_string()))?;
        return Ok(Address::Constant { url, secret: true });
    }
    let template = Template::compile(name, "url", text)?;
    let Some(constant) = template.constant() else {
        let starts_ok = ["http://", "https://"].iter().any(|s| text.starts_with(s)) || text.starts_with("${");
        if starts_ok {
            return Ok(Address::Template(template));
        }
        return Err(bad("expected `http://`, `https://` or `${` at its beginning".into()));
    };
    let url = parse_url(constant).map_err(bad)?;
    guard.check_url(&url).map_err(|e| bad(e.to_string()))?;
    Ok(Address::Constant { url, secret: false })
}

fn parse_url(text: &str) -> Result<Url, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("a URL of {} bytes; at most {MAX_TEXT} are sent", text.len()));
    }
    // The parser of browsers removes these silently; here they are an injection.
    if text.chars().any(|c| c.is_control()) {
        return Err("a URL with a control character in it".into());
    }
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme `{}`; expected `http` or `https`", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in the URL; send it by `headers` and a secret".into());
    }
    Ok(url)
}

/// Whether a setting refers to a secret (a URL of scheme `file` does not).
fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.strip_prefix("file:").is_some_and(|rest| !rest.starts_with("//"))
}

type Headers = (HeaderMap, Vec<(HeaderName, Template)>);

fn headers(name: &Str, settings: &Settings, context: &Context<'_>) -> Result<Headers, Error> {
    const OURS: [&str; 14] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ];
    let (mut constants, mut templates) = (HeaderMap::new(), Vec::new());
    constants.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (key, text) in &settings.headers {
        let field = format!("headers.{}", key.escape_debug());
        let bad = |message: &str| Error::setting(name, field.as_str(), message);
        let header = HeaderName::try_from(key.as_str()).map_err(|_| bad("not a header name"))?;
        if header == CONTENT_TYPE {
            return Err(bad("set `content_type` of the target instead"));
        }
        if OURS.contains(&header.as_str()) || header.as_str().starts_with("proxy-") {
            return Err(bad("this header is set by hexaFn itself"));
        }
        if is_reference(text) {
            let secret = context.secrets.get(text).map_err(|e| bad(&e))?;
            let value = HeaderValue::from_str(secret.trim());
            let mut value = value.map_err(|_| bad("the secret holds characters that no header may have"))?;
            value.set_sensitive(true);
            constants.insert(header, value);
            continue;
        }
        let template = Template::compile(name, &field, text)?;
        match template.constant() {
            Some(text) => {
                let value = HeaderValue::from_str(text).map_err(|_| bad("characters that no header may have"))?;
                constants.insert(header, value);
            }
            None => templates.push((header, template)),
        }
    }
    Ok((constants, templates))
}

fn signer(name: &Str, settings: &SignSettings, context: &Context<'_>) -> Result<sign::Signer, Error> {
    let bad = |message: String| Error::setting(name, "sign.secrets", message);
    let read = |reference: &String| {
        if is_reference(reference) {
            context.secrets.get(reference).map_err(bad)
        } else {
            Err(bad("expected references, `env:NAME` or `file:PATH`, not the secrets themselves".into()))
        }
    };
    let secrets = settings.secrets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    sign::Signer::new(&secrets).map_err(bad)
}

fn render<'a>(
    template: &'a Template,
    field: &str,
    delivery: Delivery<'_>,
) -> Result<std::borrow::Cow<'a, str>, Failure> {
    template.render(delivery).map_err(|e| unusable(field, &e))
}

/// A template gave something that cannot be sent; no attempt with the same event would differ.
fn unusable(field: &str, message: &str) -> Failure {
    let message = format!("`{field}` of the target cannot be used for this event: {message}");
    Failure::new(FailureClass::Template, message).verdict(Verdict::DeadLetter)
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    if text.len() > MAX_TEXT {
        return Err(unusable(name, &format!("{} bytes; a header holds at most {MAX_TEXT}", text.len())));
    }
    // Line ends and control characters would begin another header; the type refuses them.
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| unusable(name, "a header holds no line ends or control characters"))
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn with_host(failure: Failure, host: &str) -> Failure {
    if failure.class == FailureClass::Refused {
        return failure;
    }
    Failure { message: format!("`{host}` {}", failure.message).into(), ..failure }
}

fn refusal(refused: &Refused, verdict: Verdict) -> Failure {
    Failure::new(FailureClass::Refused, refused.to_string()).verdict(verdict)
}

/// The class of what the client reports before there is an answer.
fn classify(error: reqwest::Error, refused: Verdict) -> Failure {
    let error = error.without_url();
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(reason) = cause.downcast_ref::<Refused>() {
            return refusal(reason, refused);
        }
        if is_tls(cause) {
            return Failure::new(
                FailureClass::Tls,
                format!("cannot be trusted or does not speak TLS: {}", chain(&error)),
            );
        }
        source = cause.source();
    }
    if error.is_dns() {
        return Failure::new(FailureClass::Connect, format!("cannot be resolved: {}", chain(&error)));
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::new(FailureClass::Connect, "did not accept a connection within `connect_timeout`"),
        (true, false) => Failure::new(FailureClass::Connect, format!("cannot be connected to: {}", chain(&error))),
        (false, true) => Failure::new(FailureClass::Timeout, "did not answer in time"),
        (false, false) => Failure::new(FailureClass::Protocol, format!("did not answer in HTTP: {}", chain(&error))),
    }
}

/// Whether an error is one of TLS. The connector wraps it in I/O errors, whose `source` skips what they hold.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    held.is_some_and(|inner| is_tls(inner))
}

/// An error with its causes, each said once.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
