//! The request of one event or of a batch: where to, headers, body, signature.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use std::borrow::Cow;
use std::io::Write;

use super::client::Request;
use super::failure::refusal;
use super::settings::{Compress, parse_url, stays_in_place, uri};
use super::{Address, HttpTarget, MAX_TEXT};
use crate::clock::Wall;
use crate::event::TraceContext;
use crate::target::format::Body;
use crate::target::format::cloudevents::header_text;
use crate::target::{Delivery, Failure, FailureClass, Template, Verdict, unusable};

/// Bodies below this are sent as they are: compressed they are hardly shorter.
const WORTH_COMPRESSING: usize = 256;

/// Where a request goes and what it says besides its body; events with the same head can share a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl HttpTarget {
    /// Makes the request of one event. What fails here fails with every attempt.
    pub(super) fn request(&self, delivery: Delivery<'_>) -> Result<Request, Failure> {
        let event = &delivery.record.event;
        let mut head = self.head(delivery)?;
        for (name, value) in self.formatter.attributes(event, "ce-") {
            // Neither can fail: names are checked lower-case ASCII, values are encoded.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&header_text(&value))) {
                head.headers.insert(name, value);
            }
        }
        let body = match self.method {
            Method::GET => Body { bytes: Bytes::new(), content_type: None },
            _ => self.formatter.one(delivery)?,
        };
        // The id is the receiver's idempotency key: the same on every attempt, signed or not.
        self.finish(head, body, &header_text(&event.id), &event.trace, delivery.now)
    }

    /// What does not depend on the body.
    pub(super) fn head(&self, delivery: Delivery<'_>) -> Result<Head, Failure> {
        let mut headers = self.constant_headers.clone();
        for (name, template) in &self.headers {
            let value = render(template, name.as_str(), delivery)?;
            headers.insert(name.clone(), header_value(name.as_str(), &value)?);
        }
        Ok(Head { uri: self.uri_for(delivery)?, headers })
    }

    /// The request with its body, its idempotency key, its trace and its signature.
    pub(super) fn finish(
        &self,
        head: Head,
        body: Body,
        id: &str,
        trace: &TraceContext,
        now: Wall,
    ) -> Result<Request, Failure> {
        let Head { uri, mut headers } = head;
        let natural = match body.content_type {
            Some(Cow::Borrowed(text)) => Some(HeaderValue::from_static(text)),
            Some(Cow::Owned(text)) => HeaderValue::from_str(&text).ok(),
            None => None,
        };
        if let Some(content_type) = self.content_type.clone().filter(|_| self.method != Method::GET).or(natural) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert("traceparent", header_value("traceparent", &trace.traceparent())?);
        if let Some(state) = &trace.state {
            headers.insert("tracestate", header_value("tracestate", state)?);
        }
        headers.insert("webhook-id", header_value("webhook-id", id)?);
        if let Some(signer) = &self.signer {
            let seconds = now.0.div_euclid(1_000_000);
            headers.insert("webhook-timestamp", HeaderValue::from(seconds));
            let signature = signer.sign(id, seconds, &body.bytes);
            headers.insert("webhook-signature", header_value("webhook-signature", &signature)?);
        }
        let mut bytes = body.bytes;
        if let Some(compress) = self.compress.filter(|_| bytes.len() >= WORTH_COMPRESSING) {
            let (packed, name) = pack(&bytes, compress)
                .map_err(|e| Failure::new(FailureClass::Io, format!("the body cannot be compressed: {e}")))?;
            bytes = packed;
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        Ok(Request { method: self.method.clone(), uri, headers, body: bytes })
    }

    fn uri_for(&self, delivery: Delivery<'_>) -> Result<Uri, Failure> {
        match &self.url {
            Address::Constant { uri, .. } => Ok(uri.clone()),
            Address::Template { template, host } => {
                let text = render(template, "url", delivery)?;
                host.check(&text).and_then(|()| stays_in_place(&text)).map_err(|e| unusable("url", &e))?;
                let url = parse_url(&text).map_err(|e| unusable("url", &e))?;
                self.guard.check_url(&url).map_err(|refused| refusal(&refused, Verdict::DeadLetter))?;
                uri(&url).map_err(|e| unusable("url", &e))
            }
        }
    }
}

/// Compresses a body; the second is its name in `Content-Encoding`.
fn pack(body: &[u8], compress: Compress) -> std::io::Result<(Bytes, &'static str)> {
    match compress {
        Compress::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 2), flate2::Compression::fast());
            encoder.write_all(body)?;
            Ok((encoder.finish()?.into(), "gzip"))
        }
        Compress::Zstd => Ok((zstd::bulk::compress(body, 3)?.into(), "zstd")),
    }
}

fn render<'a>(template: &'a Template, field: &str, delivery: Delivery<'_>) -> Result<Cow<'a, str>, Failure> {
    template.render(delivery).map_err(|e| unusable(field, &e))
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    if text.len() > MAX_TEXT {
        return Err(unusable(name, &format!("{} bytes; a header holds at most {MAX_TEXT}", text.len())));
    }
    // Line ends and control characters would begin another header; the type refuses them.
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| unusable(name, "a header holds no line ends or control characters"))
}
