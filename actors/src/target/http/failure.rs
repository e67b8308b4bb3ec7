//! What is said of a request that failed before there was an answer.

use std::error::Error as StdError;
use url::Url;

use super::client::{Blocked, NoWay, TooSlow, Unresolved};
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

/// How far a request came that has no answer.
enum Reached {
    /// Its host has no address.
    Nothing,
    /// There is no connection: in time, or at all.
    Address { too_slow: bool },
    /// What came back over the connection is no answer: nothing in time, or not HTTP.
    Server { too_slow: bool },
}

/// The class of what the client reports before there is an answer.
pub(super) fn unanswered(error: &hyper_util::client::legacy::Error, refused: Verdict) -> Failure {
    if let Some(no_way) = causes(error).find_map(|cause| cause.downcast_ref::<NoWay>()) {
        return through(no_way, refused);
    }
    let reached = if error.is_connect() { connecting(error) } else { Reached::Server { too_slow: false } };
    // The first of the causes says only that it is one of the client.
    explain(error.source().unwrap_or(error), reached, refused)
}

/// How far a connection came that was not made.
fn connecting(error: &(dyn StdError + 'static)) -> Reached {
    let is = |what: fn(&(dyn StdError + 'static)) -> bool| causes(error).any(what);
    if is(<dyn StdError>::is::<Unresolved>) {
        return Reached::Nothing;
    }
    let timed_out = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
    };
    Reached::Address { too_slow: is(<dyn StdError>::is::<TooSlow>) || is(timed_out) }
}

/// What is said of a host behind a proxy that lets nobody through. It may well be there, so the proxy is named.
fn through(no_way: &NoWay, refused: Verdict) -> Failure {
    let proxy = &no_way.proxy;
    match &no_way.what {
        Blocked::Unconnected(error) => {
            let failure = explain(&**error, connecting(&**error), refused);
            match failure.class {
                FailureClass::Refused => failure,
                _ => Failure {
                    message: format!("was not reached: the proxy `{proxy}` {}", failure.message).into(),
                    ..failure
                },
            }
        }
        Blocked::TooSlow => {
            let message = format!("was not reached through the proxy `{proxy}` within `connect_timeout`");
            Failure::new(FailureClass::Connect, message)
        }
        what @ (Blocked::Unauthorized | Blocked::Closed(_)) => {
            Failure::new(FailureClass::Connect, format!("was not reached: the proxy `{proxy}` {what}"))
        }
    }
}

/// The same of the client of libraries.
pub(crate) fn classify(error: reqwest::Error, refused: Verdict) -> Failure {
    let error = error.without_url();
    let too_slow = error.is_timeout();
    let reached = match (error.is_dns(), error.is_connect()) {
        (true, _) => Reached::Nothing,
        (false, true) => Reached::Address { too_slow },
        (false, false) => Reached::Server { too_slow },
    };
    explain(&error, reached, refused)
}

fn explain(error: &(dyn StdError + 'static), reached: Reached, refused: Verdict) -> Failure {
    for cause in causes(error) {
        if let Some(reason) = cause.downcast_ref::<Refused>() {
            return refusal(reason, refused);
        }
        if is_tls(cause) {
            let message = format!("cannot be trusted or does not speak TLS: {}", chain(error));
            return Failure::new(FailureClass::Tls, message);
        }
    }
    match reached {
        Reached::Nothing => Failure::new(FailureClass::Connect, format!("cannot be resolved: {}", chain(error))),
        Reached::Address { too_slow: true } => {
            Failure::new(FailureClass::Connect, "did not accept a connection within `connect_timeout`")
        }
        Reached::Address { too_slow: false } => {
            Failure::new(FailureClass::Connect, format!("cannot be connected to: {}", chain(error)))
        }
        Reached::Server { too_slow: true } => Failure::new(FailureClass::Timeout, "did not answer in time"),
        Reached::Server { too_slow: false } => {
            Failure::new(FailureClass::Protocol, format!("did not answer in HTTP: {}", chain(error)))
        }
    }
}

/// An error, and what it came from.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
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
