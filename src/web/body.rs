//! Reading the body of a request within a size and a time, for hooks and for the API alike.

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use hexafn_actors::event::is_json_type;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::problem::Problem;
use super::{App, printable};

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// The body of a request to the API, within `server.limits.max_body` and `server.limits.body`.
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request.app_data::<web::Data<App>>().map(|app| app.server.limits.clone());
        let payload = payload.take();
        Box::pin(async move {
            let limits = limits.ok_or_else(|| Problem::new(500, "not-wired", "the service is not set up"))?;
            let most = usize::try_from(limits.max_body.0).unwrap_or(usize::MAX);
            let too_large = || {
                let detail = format!("the body is longer than the {most} bytes of server.limits.max_body");
                Problem::new(413, "body-too-large", detail)
            };
            read(payload, most, limits.body, &too_large).await.map(Self)
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
            serde_json::from_slice(&body).map(Self).map_err(|e| Problem::new(400, "body-invalid", e.to_string()))
        })
    }
}

/// The whole body within the size and the time. What is there already is taken without a timer.
///
/// # Errors
/// `too_large()`, 408 `body-timeout`, 400 `body-broken`.
pub async fn read<P, F>(mut payload: P, limit: usize, within: Duration, too_large: &F) -> Result<Bytes, Problem>
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
        match payload.next().now_or_never() {
            Some(None) => return Ok(first),
            Some(Some(second)) => {
                body.reserve(first.len() * 2);
                body.extend_from_slice(&first);
                body.extend_from_slice(&second.map_err(broken)?);
            }
            None => body = BytesMut::from(&first[..]),
        }
    }
    tokio::time::timeout(within, collect(payload, body, limit, too_large)).await.unwrap_or_else(|_| Err(late()))
}

fn broken(e: actix_web::error::PayloadError) -> Problem {
    Problem::new(400, "body-broken", format!("the body could not be read: {e}"))
}

async fn collect<P, F>(mut payload: P, mut body: BytesMut, limit: usize, too_large: &F) -> Result<Bytes, Problem>
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
            Some(chunk) => body.extend_from_slice(&chunk.map_err(broken)?),
        }
    }
}
