//! How requests to S3 go out: by the client of the target, whose resolver is the guard; and what came back, for the
//! outcome. The library's own errors say less.

use bytes::BytesMut;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::{Client, StatusCode};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Wall;
use crate::event::Str;
use crate::target::http::failure::{classify, host_of, with_host};
use crate::target::http::reply;
use crate::target::{Detail, Failure, FailureClass, Verdict};

/// How much of an answer is read. S3 answers errors with a short XML.
const MAX_REPLY: usize = 64 << 10;

/// Connects the library to our client.
#[derive(Debug)]
pub(super) struct Wire(pub Client);

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Client);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    // As `async_trait` writes it.
    fn call<'life0, 'async_trait>(&'life0 self, request: HttpRequest) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.send(request))
    }
}

impl Service {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let seen = request.extensions().get::<Seen>().cloned().unwrap_or_default();
        let (parts, body) = request.into_parts();
        let url = url::Url::parse(&parts.uri.to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let host = host_of(&url);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        let failed = |error: reqwest::Error| {
            let failure = with_host(classify(error, Verdict::Retry), &host);
            let message = failure.message.to_string();
            seen.lock().failure = Some(failure);
            // A kind that the library does not try again.
            HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(message))
        };
        let mut response = self.0.execute(request).await.map_err(failed)?;
        let (status, headers, remote) = (response.status(), response.headers().clone(), response.remote_addr());
        let mut kept = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            let room = MAX_REPLY.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        let body = String::from_utf8_lossy(&kept).into_owned();
        {
            let mut seen = seen.lock();
            (seen.status, seen.remote) = (Some(status), remote);
            seen.retry_after = headers.get("retry-after").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
            seen.body.clone_from(&body);
        }
        let mut answer = HttpResponse::new(body.into());
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }
}

/// What was seen of one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<What>>);

#[derive(Debug, Default)]
struct What {
    status: Option<StatusCode>,
    remote: Option<SocketAddr>,
    retry_after: Option<String>,
    body: String,
    /// It failed before there was an answer.
    failure: Option<Failure>,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, What> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in what the trace shows.
    pub(super) fn describe(&self, detail: &mut Detail) {
        let seen = self.lock();
        detail.status = seen.status.map(|status| status.as_u16());
        detail.remote = seen.remote;
        detail.received = seen.body.len() as u64;
        detail.reply = reply::beginning(seen.body.as_bytes());
    }

    /// What an error means; `None` when nothing was seen.
    pub(super) fn failure(&self, bucket: &str, now: Wall) -> Option<Failure> {
        let seen = self.lock();
        if let Some(failure) = &seen.failure {
            return Some(failure.clone());
        }
        let status = seen.status?;
        let code = element(&seen.body, "Code");
        let hint = match (status.as_u16(), code.as_deref()) {
            (404, _) => "; make the bucket, or correct `bucket`, `region` or `endpoint`",
            (403, Some("SignatureDoesNotMatch")) => "; the secret of `credentials` is not that of its `access_key_id`",
            (403, Some("InvalidAccessKeyId")) => "; the server does not know `access_key_id`",
            (403, Some("RequestTimeTooSkewed")) => "; set the clock of this machine",
            (401 | 403, _) => "; give the owner of `credentials` the right s3:PutObject on the bucket",
            (301 | 307, _) | (400, Some("AuthorizationHeaderMalformed")) => "; the bucket is in another `region`",
            (400, Some("EntityTooLarge")) => "; make batches smaller: `batch.max_bytes`",
            _ => "",
        };
        let said = match (code, element(&seen.body, "Message")) {
            (Some(code), Some(message)) => format!(" ({code}: {message})"),
            (Some(code), None) => format!(" ({code})"),
            _ => String::new(),
        };
        let message: Str = format!("the bucket `{bucket}` answered {status}{said}{hint}").into();
        let class = match status {
            _ if status.is_redirection() => FailureClass::Redirect,
            // An error within an answer that began well.
            _ if status.is_success() => FailureClass::Body,
            _ => FailureClass::Status(status.as_u16()),
        };
        let retry_after = seen.retry_after.as_deref().and_then(|text| reply::retry_after(text, now));
        Some(Failure { retry_after, ..Failure::new(class, message) })
    }
}

/// The text of the first element of this name, short and harmless.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    Some(text.chars().take(200).flat_map(char::escape_debug).collect())
}
