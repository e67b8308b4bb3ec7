//! Sources: how events come in. Pure logic without an actor, a socket or a clock: who sent it ([`verify`]), what it is
//! ([`normalise`], [`cloudevents`]), how often ([`rate`]), when a timer fires ([`timer`]), and the settings of each.
//!
//! The order at the door is fixed, cheapest and least trusting first: method and size (the web layer), signature over the
//! raw bytes, rate (so that a stranger cannot use up what the sender may send), and only then anything that parses.

pub mod cloudevents;
pub mod door;
mod form;
pub mod kafka;
pub mod nats;
pub mod normalise;
pub mod pull;
pub mod pull_actor;
pub mod rate;
pub mod secret;
pub mod settings;
pub mod timer;
pub mod timer_actor;
pub mod units;
pub mod verify;

/// The headers of a request, as the web layer holds them.
pub trait Headers {
    /// The first value of a header; `name` is in lower case. `None` when absent or not text.
    fn get(&self, name: &str) -> Option<&str>;

    /// Visits every header line: name (any case) and raw value.
    fn each(&self, visit: &mut dyn FnMut(&str, &[u8]));
}

/// A list of pairs, for tests and for the sending direction. Names match in any case.
impl<N: AsRef<str>, V: AsRef<str>> Headers for Vec<(N, V)> {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.as_ref().eq_ignore_ascii_case(name)).map(|(_, v)| v.as_ref())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self {
            visit(name.as_ref(), value.as_ref().as_bytes());
        }
    }
}

/// What a signature can cover besides the body.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The query string as received, without the question mark.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a dyn Headers,
}

impl<'a> RequestParts<'a> {
    /// A POST without a query.
    pub fn post(headers: &'a dyn Headers) -> Self {
        Self { method: "POST", query: "", headers }
    }

    /// The first value of a header (`name` in lower case), without surrounding blanks.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).map(str::trim)
    }
}

/// Whether `name` can be a header name: a token of RFC 9110, at most 64 bytes.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(token)
}
