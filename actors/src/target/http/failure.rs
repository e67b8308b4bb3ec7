//! What is said of a request that failed before there was an answer.

use std::error::Error as StdError;
use url::Url;

use super::guard::Refused;
use crate::target::{Failure, FailureClass, Verdict};

/// The host of a URL, with its port where it is not the usual one.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(crate) fn with_host(failure: Failure, host: &str) -> Failure {
    if failure.class == FailureClass::Refused {
        return failure;
    }
    Failure { message: format!("`{host}` {}", failure.message).into(), ..failure }
}

pub(crate) fn refusal(refused: &Refused, verdict: Verdict) -> Failure {
    Failure::new(FailureClass::Refused, refused.to_string()).verdict(verdict)
}

/// The class of what the client reports before there is an answer.
pub(crate) fn classify(error: reqwest::Error, refused: Verdict) -> Failure {
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
pub(crate) fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    held.is_some_and(|inner| is_tls(inner))
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn StdError) -> String {
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
