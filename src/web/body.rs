//! Reading the body of a request within a size and a time, for hooks and for the API alike; and what the bodies of all
//! open requests hold together.

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use hexafn_actors::event::is_json_type;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::problem::Problem;
use super::{App, printable};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// What the bodies of all open requests hold.
#[derive(Debug)]
pub struct Bodies {
    most: usize,
    held: AtomicUsize,
}

impl Bodies {
    /// At most so many bytes (`server.limits.bodies`).
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most: usize::try_from(most).unwrap_or(usize::MAX), held: AtomicUsize::new(0) })
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The share of a request that begins.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { of: Arc::clone(self), bytes: 0 }
    }
}

/// What the body of one request holds; dropped with the request, it is given back.
#[derive(Debug)]
pub struct Share {
    of: Arc<Bodies>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) <= self.of.most {
            return Ok(());
        }
        let detail = "the bodies of the requests that are open take as much memory as server.limits.bodies allows";
        Err(Problem::new(503, "overloaded", detail).retry_after(1))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The body of a request to the API, within `server.limits.max_body` and `server.limits.body`.
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let app = request.app_data::<web::Data<App>>().cloned();
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let app = app.ok_or_else(|| Problem::new(500, "not-wired", "the service is not set up"))?;
            let limits = &app.server.limits;
            let most = usize::try_from(limits.max_body.0).unwrap_or(usize::MAX);
            let too_large = || {
                let detail = format!("the body is longer than the {most} bytes of server.limits.max_body");
                Problem::new(413, "body-too-large", detail)
            };
            let mut share = app.bodies.share();
            let body = read(payload, most, limits.body, &too_large, &mut share).await?;
            request.extensions_mut().insert(share);
            Ok(Self(body))
        })
    }
}

/// A body of JSON as a type.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            if !is_json_type(&kind) {
                let detail = format!("the body must be application/json, and is `{}`", printable(&kind));
                return Err(Problem::new(415, "media-type", detail));
            }
            let Body(body) = body.await?;
            // A list would be taken for the members of an object in their order.
            if body.trim_ascii_start().first() == Some(&b'[') {
                return Err(Problem::new(400, "body-invalid", "the body is an array; expected an object, {…}"));
            }
            serde_json::from_slice(&body).map(Self).map_err(|e| Problem::new(400, "body-invalid", e.to_string()))
        })
    }
}

/// The whole body within the size, the time and the share, which grows as bytes arrive. What is there already is taken
/// without a timer.
///
/// # Errors
/// `too_large()`, 408 `body-timeout`, 400 `body-broken`, 503 `overloaded`.
pub async fn read<P, F>(
    mut payload: P,
    limit: usize,
    within: Duration,
    too_large: &F,
    share: &mut Share,
) -> Result<Bytes, Problem>
where
    P: futures_util::Stream<Item = Result<Bytes, actix_web::error::PayloadError>> + Unpin,
    F: Fn() -> Problem,
{
    let late = || Problem::new(408, "body-timeout", format!("the body did not arrive within {within:?}"));
    let mut body = BytesMut::new();
    if let Some(first) = payload.next().now_or_never() {
        let Some(first) = first.transpose().map_err(broken)? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large());
        }
        share.grow(first.len())?;
        match payload.next().now_or_never() {
            Some(None) => return Ok(first),
            Some(Some(second)) => {
                let second = second.map_err(broken)?;
                share.grow(second.len())?;
                body.reserve(first.len() * 2);
                body.extend_from_slice(&first);
                body.extend_from_slice(&second);
            }
            None => body = BytesMut::from(&first[..]),
        }
    }
    tokio::time::timeout(within, collect(payload, body, limit, too_large, share)).await.unwrap_or_else(|_| Err(late()))
}

fn broken(e: actix_web::error::PayloadError) -> Problem {
    Problem::new(400, "body-broken", format!("the body could not be read: {e}"))
}

async fn collect<P, F>(
    mut payload: P,
    mut body: BytesMut,
    limit: usize,
    too_large: &F,
    share: &mut Share,
) -> Result<Bytes, Problem>
where
    P: futures_util::Stream<Item = Result<Bytes, actix_web::error::PayloadError>> + Unpin,
    F: Fn() -> Problem,
{
    loop {
        if body.len() > limit {
            return Err(too_large());
        }
        match payload.next().await {
            None => return Ok(body.freeze()),
            Some(chunk) => {
                let chunk = chunk.map_err(broken)?;
                share.grow(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
        }
    }
}
