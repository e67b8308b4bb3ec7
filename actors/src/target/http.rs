//! The HTTP target: one request an attempt, for one event or a batch, over the target's own keep-alive pool.
//!
//! Only 2xx, with an answer that ends or is longer than is read, is a delivery. Whatever leaves a doubt (an answer cut
//! off or dripping past the time-out) is a failure: the receiver knows a repetition by its `webhook-id`, and nothing
//! repairs a loss. Parts: [`settings`], [`request`], [`batch`], [`auth`], [`guard`] (which addresses), [`sign`],
//! [`reply`] and [`failure`] (what is made of an answer, or of none).

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::format::{Format, Formatter};
use crate::target::statuses::Retries;
use crate::target::{
    Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Ordering, Outcome, Preview, Span,
    Target, Template, Verdict, veil,
};

mod auth;
mod batch;
mod client;
pub(crate) mod failure;
pub mod guard;
mod host;
pub mod reply;
mod request;
pub mod settings;
pub mod sign;
#[cfg(test)]
mod tests;

use auth::Auth;
use client::{Client, Request};
use failure::{unanswered, with_host};
use guard::Guard;
pub use guard::SystemLookup;
use host::Host;
use reply::{Given, Meaning};
pub use settings::{Compress, Settings};

/// The longest URL or header value that a template may give, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// How much more of a 207 is read for each event that it may name, in bytes: its id, its status and a message.
const OF_EACH: usize = 1024;

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(HttpTarget::new(common, self, context)?))
    }
}

/// A target of kind `http`, ready to deliver.
pub struct HttpTarget {
    client: Client,
    guard: Guard,
    method: Method,
    url: Address,
    constant_headers: HeaderMap,
    headers: Vec<(HeaderName, Template)>,
    formatter: Formatter,
    content_type: Option<HeaderValue>,
    signer: Option<sign::Signer>,
    timeout: Duration,
    max_reply: usize,
    auth: Option<Auth>,
    compress: Option<Compress>,
    mode: Mode,
    ordering: Ordering,
    retries: Retries,
    /// The requests of batches that may be under way, and how many that are: a batch whose events go to several places is as
    /// many requests.
    requests: (Semaphore, usize),
    warnings: Vec<(&'static str, String)>,
}

/// The answer to a request that arrived.
struct Answer {
    status: StatusCode,
    /// The part of its body that was read.
    body: Bytes,
    /// Whether there was more of it than is read.
    cut: bool,
}

/// Where to.
enum Address {
    Constant { uri: Uri, secret: bool },
    Template { template: Template, host: Host },
}

impl std::fmt::Debug for HttpTarget {
    /// Without its URL and headers, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTarget").field("to", &self.destination()).finish_non_exhaustive()
    }
}

impl HttpTarget {
    /// Checks the settings and sets up the client.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
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
        let url = settings::address(name, &settings.url, &guard, context)?;
        let secure = match &url {
            Address::Constant { uri, .. } => uri.scheme() == Some(&http::uri::Scheme::HTTPS),
            Address::Template { template, .. } => template.prefix().starts_with("https://"),
        };
        if settings.http_version == settings::HttpVersion::Two && settings.proxy.is_some() && !secure {
            let message = "\"2\" goes through a `proxy` within TLS only, since the proxy itself reads HTTP/1.1: begin `url` with \
                           `https://`, or leave out `http_version` or `proxy`";
            return Err(bad("http_version", message.into()));
        }
        let formatter =
            Formatter::new(name, settings.format, settings.body.as_deref(), &settings.columns, Format::Data)?;
        if method == Method::GET {
            settings::without_body(name, settings)?;
        }
        let content_type = settings.content_type.as_deref().map(settings::content_type).transpose();
        let content_type = content_type.map_err(|e| bad("content_type", e))?;
        let (mut constant_headers, headers) = settings::headers(name, settings, context)?;
        let auth = settings::auth(name, settings, &guard, &mut constant_headers, context)?;
        let signer = settings.sign.as_ref().map(|sign| settings::signer(name, sign, context)).transpose()?;
        let connect = settings.connect_timeout.0;
        if connect.is_zero() {
            return Err(bad("connect_timeout", "expected more than 0".into()));
        }
        let max_reply = usize::try_from(settings.max_reply.0).unwrap_or(usize::MAX);
        if max_reply > 16 << 20 {
            return Err(bad("max_reply", format!("expected at most 16MiB, found {}", settings.max_reply)));
        }
        let (formatter, batch) = match common.batch {
            Some(_) if method == Method::GET => {
                return Err(bad("batch", "GET sends no body, and so no batch".into()));
            }
            Some(batch) => {
                // Where only a batch is asked for, the array is what receivers expect.
                let formatter = if settings.format.is_none() && formatter.format() == Format::Data {
                    Formatter::new(name, Some(Format::Json), None, &[], Format::Json)?
                } else {
                    formatter
                };
                (formatter.for_batches(name)?, Some(batch))
            }
            None => (formatter, None),
        };
        let client = settings::client(common, settings, &guard, context)?;
        Ok(Self {
            warnings: settings::warnings(settings, &url, &guard),
            client,
            guard,
            method,
            url,
            constant_headers,
            headers,
            formatter,
            content_type,
            signer,
            timeout: common.timeout.0,
            max_reply,
            auth,
            compress: settings.compress,
            mode: match batch {
                Some(batch) => batch.mode(common.concurrency),
                None => Mode::Each { concurrency: common.concurrency },
            },
            ordering: common.ordering,
            requests: (Semaphore::new(common.concurrency), common.concurrency),
            retries: Retries::new(&common.retry, settings.retry_client_errors),
        })
    }

    /// Sends and reads within the time-out.
    async fn attempt(&self, delivery: Delivery<'_>) -> Outcome {
        let start = Instant::now();
        let mut detail = Detail::default();
        let result = match self.request(delivery) {
            // Nothing is looked for in the answer.
            Ok(request) => self.send(request, 0, delivery.now, self.timeout, &mut detail).await,
            Err(failure) => Err(failure),
        };
        detail.took = start.elapsed();
        match result {
            Ok(_) => Outcome::Delivered { detail },
            Err(failure) => Outcome::Failed(Failure { detail, ..failure }),
        }
    }

    fn too_slow(&self, host: &str, within: Duration, detail: &Detail) -> Failure {
        let seen = match detail.status {
            Some(status) => format!("answered {status}, but the answer did not end"),
            None => "did not answer".into(),
        };
        let limit = Span(within);
        Failure::new(FailureClass::Timeout, format!("`{host}` {seen} within {limit} (`timeout` of the target)"))
    }

    /// Sends a request and reads its answer, within a time of at most the time-out. The answer may say of so many events what
    /// became of each.
    async fn send(
        &self,
        request: Request,
        events: usize,
        now: Wall,
        within: Duration,
        detail: &mut Detail,
    ) -> Result<Answer, Failure> {
        let until = Instant::now() + within;
        let token = self.token(now, until, within).await?;
        detail.sent = request.body.len() as u64;
        // Said when it fails.
        let authority = request.uri.authority().cloned();
        let host = || authority.as_ref().map_or("", |authority| authority.as_str());
        match tokio::time::timeout_at(until, self.exchange(request, token, events, now, detail)).await {
            Ok(result) => result.map_err(|failure| with_host(failure, host())),
            Err(_) => Err(self.too_slow(host(), within, detail)),
        }
    }

    /// The token that a request needs, by the end of its time. What fails here says so of the token endpoint, since nothing
    /// was sent to the target.
    async fn token(&self, now: Wall, until: Instant, within: Duration) -> Result<Option<HeaderValue>, Failure> {
        let Some(auth) = &self.auth else { return Ok(None) };
        match tokio::time::timeout_at(until, auth.token(&self.client, now)).await {
            Ok(token) => token.map(Some),
            Err(_) => Err(auth.too_slow(Span(within))),
        }
    }

    /// How much of an answer is read, in bytes. A 207 must be read whole, and is longer for more events.
    fn limit(&self, status: StatusCode, events: usize) -> usize {
        let more = if status == StatusCode::MULTI_STATUS { events.saturating_mul(OF_EACH) } else { 0 };
        self.max_reply.saturating_add(more)
    }

    /// What of the URL an event gives.
    fn given(&self) -> Given {
        match &self.url {
            Address::Constant { .. } => Given::Nothing,
            Address::Template { host, .. } if host.constant => Given::Path,
            Address::Template { .. } => Given::Host,
        }
    }

    async fn exchange(
        &self,
        mut request: Request,
        asked: Option<HeaderValue>,
        events: usize,
        now: Wall,
        detail: &mut Detail,
    ) -> Result<Answer, Failure> {
        // A refused constant host may be a passing error of its DNS; one that the event named is the event's doing.
        let refused = if self.given() == Given::Nothing { Verdict::Retry } else { Verdict::DeadLetter };
        // A token that was asked for is known to nobody else: what echoes it is masked right here.
        let mut token = Vec::new();
        if let Some(header) = asked {
            let text = String::from_utf8_lossy(header.as_bytes());
            token.push(Zeroizing::new(text.strip_prefix("Bearer ").unwrap_or(&text).to_owned()));
            request.headers.insert(AUTHORIZATION, header);
        }
        let hidden = |text: Str| match veil::masked(&text, &token) {
            Cow::Borrowed(_) => text.clone(),
            Cow::Owned(masked) => masked.into(),
        };
        let answer = self.client.send(request).await.map_err(|error| unanswered(&error, refused))?;
        detail.remote = client::remote(&answer);
        let (head, mut body) = answer.into_parts();
        let status = head.status;
        detail.status = Some(status.as_u16());
        if let Some(auth) = self.auth.as_ref().filter(|_| status == StatusCode::UNAUTHORIZED) {
            auth.forget();
        }
        let meaning = reply::meaning(status, &head.headers, now, &self.retries, self.given());
        let limit = self.limit(status, events);
        let mut kept = BytesMut::new();
        let mut cut = false;
        let broken = loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    // Trailers say nothing to us.
                    let Ok(chunk) = frame.into_data() else { continue };
                    let room = limit.saturating_sub(kept.len());
                    kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    detail.received = kept.len() as u64;
                    detail.reply = reply::beginning(&kept).map(hidden);
                    // The rest is not read: dropping the answer closes its connection.
                    if chunk.len() > room {
                        cut = true;
                        break None;
                    }
                }
                None => break None,
                Some(Err(error)) => break Some(error),
            }
        };
        match (meaning, broken) {
            (Meaning::Received { disable_target }, None) => {
                detail.disable_target = disable_target;
                Ok(Answer { status, body: kept.freeze(), cut })
            }
            (Meaning::Received { .. }, Some(error)) => {
                let message = format!("answered {status}, but the answer was cut off: {}", failure::chain(&error));
                Err(Failure::new(FailureClass::Body, message))
            }
            (Meaning::Failed { class, message, retry_after, verdict, of_event }, _) => {
                Err(Failure { retry_after, verdict, of_event, ..Failure::new(class, hidden(message.into())) })
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
            Address::Constant { uri, secret } => {
                let scheme = uri.scheme_str().unwrap_or_default();
                let host = uri.authority().map_or("", |authority| authority.as_str());
                format!("{} {scheme}://{host}{}", self.method, if *secret { "/…" } else { uri.path() })
            }
            Address::Template { template, .. } => format!("{} {}", self.method, template.source()),
        }
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn warnings(&self) -> Vec<(&'static str, String)> {
        self.warnings.clone()
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let request = match self.mode {
            Mode::Each { .. } => self.request(delivery)?,
            Mode::Batch { .. } => self.preview_of_batch(delivery)?,
        };
        let destination = match &self.url {
            Address::Constant { secret: true, .. } => self.destination(),
            _ => format!("{} {}", request.method, request.uri),
        };
        let shown = |v: &HeaderValue| match v.is_sensitive() {
            true => "***".to_owned(),
            false => String::from_utf8_lossy(v.as_bytes()).into_owned(),
        };
        let headers = request.headers.iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
        Ok(Preview { destination, headers, body: String::from_utf8_lossy(&request.body).into_owned() })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).boxed()
    }

    fn deliver_batch<'a>(&'a self, records: &'a [Arc<Record>], now: Wall) -> BoxFuture<'a, Vec<Outcome>> {
        self.attempt_many(records, now).boxed()
    }
}
