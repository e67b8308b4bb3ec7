//! Who sent it: the signature schemes of webhooks, one file a scheme, with its published vectors as tests.
//!
//! The configuration type is the factory: [`VerifyConfig::build`] resolves the secrets and keys the MACs once, and
//! [`Verifier::check`] clones a keyed state per request. Comparisons are in constant time. Every refusal is answered
//! alike ([`DoorError::unauthorized`](super::door::DoorError::unauthorized)) and takes the time of one MAC over the
//! body, so that neither the answer nor its time says what was wrong, or whether the source exists.

use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

use super::RequestParts;
use super::secret::{self, Secret, SecretRef, SecretSource};
use crate::clock::Wall;
use crate::event::Str;

pub mod github;
pub mod hmac;
mod keys;
pub mod none;
pub mod shopify;
pub mod slack;
pub mod standard;
pub mod stripe;
mod template;
pub mod token;

pub use keys::{Algorithm, Encoding};

/// At most this many signatures of one header are compared; a sender that rotates its secret sends two.
pub const MAX_SIGNATURES: usize = 8;

/// At most this many secrets are live at once: the current one, and the previous one while rotating.
pub const MAX_SECRETS: usize = 2;

/// How far a timestamp may be from now, either way: long enough for a slow clock and a retry on the wire, short enough
/// that a recorded request is soon worthless.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Longest delivery id that is kept, in bytes.
pub const MAX_ID: usize = 256;

/// `verify = { scheme = "…", … }`: how a source's senders are authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "scheme", rename_all = "lowercase")]
pub enum VerifyConfig {
    /// GitHub.
    Github(github::Config),
    /// Stripe.
    Stripe(stripe::Config),
    /// Slack.
    Slack(slack::Config),
    /// Standard Webhooks, HMAC and Ed25519.
    Standard(standard::Config),
    /// Shopify.
    Shopify(shopify::Config),
    /// Any HMAC over a template.
    Hmac(hmac::Config),
    /// A shared token in a header.
    Token(token::Config),
    /// Nobody is asked: every request is accepted.
    None(none::Config),
}

impl VerifyConfig {
    /// The receiving side: resolves the secrets and prepares the keys.
    ///
    /// # Errors
    /// A secret that cannot be read or is too short, more than two secrets, an option that makes no sense.
    pub fn build(&self, resolve: &dyn SecretSource) -> Result<Verifier, Error> {
        Ok(Verifier { scheme: self.scheme(resolve, Role::Receive)?, decoy: keys::Keys::random()? })
    }

    /// The sending side, for `hexafn hook send` and for tests: the same configuration, signed with its first secret.
    ///
    /// # Errors
    /// As [`VerifyConfig::build`]; and an Ed25519 public key, which cannot sign.
    pub fn build_signer(&self, resolve: &dyn SecretSource) -> Result<Signer, Error> {
        Ok(Signer { scheme: self.scheme(resolve, Role::Send)? })
    }

    fn scheme(&self, resolve: &dyn SecretSource, role: Role) -> Result<Box<dyn Scheme>, Error> {
        match self {
            Self::Github(config) => config.build(resolve),
            Self::Stripe(config) => config.build(resolve),
            Self::Slack(config) => config.build(resolve),
            Self::Standard(config) => config.build(resolve, role),
            Self::Shopify(config) => config.build(resolve),
            Self::Hmac(config) => config.build(resolve),
            Self::Token(config) => config.build(resolve),
            Self::None(config) => config.build(),
        }
    }

    /// The scheme's name as configured.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
            Self::Stripe(_) => "stripe",
            Self::Slack(_) => "slack",
            Self::Standard(_) => "standard",
            Self::Shopify(_) => "shopify",
            Self::Hmac(_) => "hmac",
            Self::Token(_) => "token",
            Self::None(_) => "none",
        }
    }

    /// Whether the scheme belongs to one provider, whose bodies are not CloudEvents and whose signature does not cover
    /// the headers: there, `ce-*` headers are ignored unless the source asks for them.
    pub fn is_provider(&self) -> bool {
        matches!(self, Self::Github(_) | Self::Stripe(_) | Self::Slack(_) | Self::Shopify(_))
    }
}

/// Which side a scheme is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Receive,
    Send,
}

/// What every scheme does. A new scheme is a file with a `Config` and an implementation of this.
trait Scheme: fmt::Debug + Send + Sync {
    /// Checks a request.
    fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal>;

    /// The headers that a sender of this scheme adds.
    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)>;

    /// The headers (lower case) that carry signatures or tokens: never kept with an event.
    fn secret_headers(&self) -> Vec<String>;

    /// Whether a body may be a challenge that the source answers itself.
    fn challenge(&self, _body: &[u8]) -> Option<String> {
        None
    }
}

/// Where the body, once parsed, tells the delivery id and the type, for providers that send no header of that kind.
/// Each is a list of paths, tried in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyFields {
    /// The delivery id.
    pub id: &'static [&'static [&'static str]],
    /// The event type.
    pub kind: &'static [&'static [&'static str]],
}

/// A request whose sender is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// The sender's id of this delivery: the same when it is sent again.
    pub delivery_id: Option<Str>,
    /// The type of the event, where a header tells it (`X-GitHub-Event`, `X-Shopify-Topic`, …).
    pub kind: Option<Str>,
    /// When it was sent, where the scheme tells it.
    pub timestamp: Option<Wall>,
    /// Where the body tells what the headers do not.
    pub body: BodyFields,
}

/// Why a sender is not believed. Told to metrics and logs, never to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature, or no timestamp or id that the signature needs.
    #[error("the signature is missing")]
    MissingSignature,
    /// No signature of the first eight matches.
    #[error("the signature does not match")]
    BadSignature,
    /// The timestamp is too far from now.
    #[error("the timestamp is too far from now")]
    Stale,
    /// A header that is not what the scheme prescribes.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Refusal {
    /// The label in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingSignature => "missing",
            Self::BadSignature => "bad",
            Self::Stale => "stale",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Why a `verify` setting cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No secret.
    #[error("verify.secrets is empty: name one, for example secrets = [\"env:WEBHOOK_SECRET\"]")]
    NoSecret,
    /// More than two.
    #[error("verify.secrets names {0} secrets; at most 2 are live at once: the new one and the one it replaces")]
    TooManySecrets(usize),
    /// It cannot be read.
    #[error("verify.secrets: {0}")]
    Secret(#[from] secret::Error),
    /// Too short to be safe, or too long to be a key.
    #[error(
        "the secret {reference} has {len} bytes; {min} to {max} are needed: generate one with `openssl rand -hex 24`"
    )]
    Length {
        /// Where it is.
        reference: String,
        /// Its length, decoded.
        len: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// It is not in the form that its scheme prescribes.
    #[error("the secret {reference} {why}")]
    Key {
        /// Where it is.
        reference: String,
        /// What is wrong and what to do.
        why: &'static str,
    },
    /// An option of the scheme.
    #[error("verify.{option}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
}

/// What a sender is about to send.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The delivery id.
    pub id: &'a str,
    /// The event type, where the scheme has a header for it.
    pub kind: Option<&'a str>,
    /// When.
    pub now: Wall,
    /// The method, query and other headers, which a template of scheme `hmac` may cover.
    pub request: RequestParts<'a>,
    /// The body.
    pub body: &'a [u8],
}

/// The sending side of a scheme.
#[derive(Debug)]
pub struct Signer {
    scheme: Box<dyn Scheme>,
}

impl Signer {
    /// The headers to add to the request.
    pub fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        self.scheme.sign(delivery)
    }
}

/// The receiving side of a scheme.
#[derive(Debug)]
pub struct Verifier {
    scheme: Box<dyn Scheme>,
    decoy: keys::Keys,
}

impl Verifier {
    /// Checks a request over its raw body.
    ///
    /// # Errors
    /// Why the sender is not believed; all of them are answered 401 alike.
    pub fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
        let outcome = self.scheme.check(request, body, now);
        if let Err(Refusal::MissingSignature | Refusal::Malformed(_) | Refusal::Stale) = outcome {
            // These are known before the body is read; spend the time that a wrong signature takes.
            std::hint::black_box(self.decoy.tag(&[body]));
        }
        outcome
    }

    /// A verifier that refuses everything in the time of a wrong signature: what an unknown source answers with.
    ///
    /// # Errors
    /// No random bytes from the operating system.
    pub fn decoy() -> Result<Self, Error> {
        Ok(Self { scheme: Box::new(none::Nobody), decoy: keys::Keys::random()? })
    }

    /// The headers (lower case) that carry the signature or token: never kept with an event.
    pub fn secret_headers(&self) -> Vec<String> {
        self.scheme.secret_headers()
    }

    /// After [`Verifier::check`] succeeded: the text to answer (200, `text/plain`) when the request is a challenge of
    /// the provider (Slack's `url_verification`) and not an event.
    pub fn challenge(&self, body: &[u8]) -> Option<String> {
        self.scheme.challenge(body)
    }
}

/// Reads the one or two secrets as raw bytes, within the lengths.
fn load(refs: &[SecretRef], resolve: &dyn SecretSource, min: usize, max: usize) -> Result<Vec<Secret>, Error> {
    read_all(refs, resolve)?
        .into_iter()
        .map(|(reference, secret)| {
            check_length(&reference, secret.expose().len(), min, max)?;
            Ok(secret)
        })
        .collect()
}

/// Reads the one or two secrets with the names to report them by.
fn read_all(refs: &[SecretRef], resolve: &dyn SecretSource) -> Result<Vec<(String, Secret)>, Error> {
    match refs.len() {
        0 => return Err(Error::NoSecret),
        n if n > MAX_SECRETS => return Err(Error::TooManySecrets(n)),
        _ => {}
    }
    refs.iter().map(|at| Ok((at.to_string(), resolve.read(at)?))).collect()
}

fn check_length(reference: &str, len: usize, min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    Err(Error::Length { reference: reference.to_owned(), len, min, max })
}

/// HMAC keys: below 24 bytes they can be guessed offline from one recorded request; beyond 64 they are hashed anyway.
const KEY_BYTES: (usize, usize) = (24, 64);

fn default_tolerance() -> Duration {
    TOLERANCE
}

/// A tolerance of zero refuses everything, one of days protects nothing.
fn check_tolerance(tolerance: Duration) -> Result<(), Error> {
    if (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&tolerance) {
        return Ok(());
    }
    Err(Error::Option { option: "tolerance", why: "must be between \"1s\" and \"24h\"".into() })
}

/// A header name of the configuration in lower case.
fn header_name(option: &'static str, name: &str) -> Result<Box<str>, Error> {
    if !super::is_header_name(name) {
        let name: String = name.chars().take(70).collect();
        return Err(Error::Option {
            option,
            why: format!("{name:?} is not a header name, for example \"X-Signature\""),
        });
    }
    Ok(name.to_ascii_lowercase().into())
}

/// Whole seconds since the epoch, digits only.
fn unix_seconds(text: &str) -> Option<Wall> {
    digits(text, 12).map(|n| Wall(n * 1_000_000))
}

fn digits(text: &str, most: usize) -> Option<i64> {
    let only_digits = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    if only_digits { text.parse().ok() } else { None }
}

fn check_fresh(sent: Wall, now: Wall, tolerance: Duration) -> Result<(), Refusal> {
    // Seconds are truncated by the sender, so the limit itself is still fresh.
    let distance = now.since(sent).max(sent.since(now));
    if distance < tolerance + Duration::from_secs(1) { Ok(()) } else { Err(Refusal::Stale) }
}

/// A delivery id or type of a header, when it is short, visible ASCII: else it is left out, since neither is signed.
fn label(request: &RequestParts<'_>, header: &str) -> Option<Str> {
    let text = request.header(header)?;
    let fits = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests;
