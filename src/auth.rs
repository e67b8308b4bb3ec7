//! Who may do what: tokens of 256 bits, of which the configuration (`[[token]]`) holds the SHA-256, compared in constant
//! time.
//!
//! Without a token the service answers to loopback only, and to everybody there. With the first token every request to
//! the API needs one. A reload puts new tokens in place and ends those that are gone.

use hexafn_actors::clock::Tick;
use hexafn_actors::source::rate::{Bucket, Limit};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

use crate::config::TokenSettings;

/// The resources that a scope can name.
pub const RESOURCES: [&str; 12] = [
    "actors",
    "config",
    "events",
    "functions",
    "logs",
    "metrics",
    "sources",
    "subscriptions",
    "targets",
    "topics",
    "traces",
    "triggers",
];
/// The verbs that a scope can name.
pub const VERBS: [&str; 2] = ["read", "write"];

/// Failures of one address a minute before it is answered 429.
const FAILURES_A_MINUTE: u32 = 10;

/// `resource:verb:namespace`, each of which may be `*`. The namespace is a topic, trigger, target … by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    resource: String,
    verb: String,
    namespace: String,
}

impl Scope {
    /// Whether it covers an action.
    pub fn covers(&self, resource: &str, verb: &str, namespace: &str) -> bool {
        let is = |scope: &str, asked: &str| scope == "*" || scope == asked;
        is(&self.resource, resource) && is(&self.verb, verb) && is(&self.namespace, namespace)
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [resource, verb, namespace] = parts[..] else {
            return Err(format!("`{text}` is not a scope; write resource:verb:namespace, e.g. topics:read:* or *:*:*"));
        };
        if resource != "*" && !RESOURCES.contains(&resource) {
            return Err(format!("`{resource}` is not a resource; there are {} and *", RESOURCES.join(", ")));
        }
        if verb != "*" && !VERBS.contains(&verb) {
            return Err(format!("`{verb}` is not a verb; there are {} and *", VERBS.join(", ")));
        }
        if namespace.is_empty() {
            return Err(format!("`{text}` names nothing; end it with a name, or with * for all"));
        }
        Ok(Self { resource: resource.into(), verb: verb.into(), namespace: namespace.into() })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.resource, self.verb, self.namespace)
    }
}

/// A fresh token: its text, which is shown once, and its SHA-256, which is kept.
pub fn create() -> Result<(String, String), getrandom::Error> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random)?;
    let text = format!("hxf_{}", hex::encode(random));
    let hash = hex::encode(Sha256::digest(&text));
    Ok((text, hash))
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No token, or an unknown one.
    Unknown,
    /// A token that may not do this.
    Scope(String),
    /// More requests a second than a token may make; seconds to wait.
    Busy(u64),
    /// Too many failures from this address; seconds to wait.
    Limited(u64),
}

struct Token {
    name: String,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    expires: Option<jiff::Timestamp>,
    bucket: Mutex<Bucket>,
}

/// The door of the API.
#[derive(Default)]
pub struct Auth {
    tokens: RwLock<Vec<Token>>,
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Auth {
    /// Lets these tokens in, and no others.
    pub fn replace(&self, tokens: &[TokenSettings], rate: u32) {
        let limit = Limit { per_second: rate, burst: None };
        let tokens = tokens.iter().map(|t| Token {
            name: t.name.clone(),
            sha256: t.sha256,
            // The configuration was checked; a scope that this version does not know grants nothing.
            scopes: t.scopes.iter().filter_map(|s| s.parse().ok()).collect(),
            expires: t.expires,
            bucket: Mutex::new(Bucket::new(limit)),
        });
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens.collect();
    }

    /// May the holder of this bearer token do this? `Ok` names the token, or is `None` where none is needed.
    pub fn check(
        &self,
        bearer: Option<&str>,
        from: Option<IpAddr>,
        (resource, verb, namespace): (&str, &str, &str),
    ) -> Result<Option<String>, Refusal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = self.find(&tokens, bearer, from)? else { return Ok(None) };
        if let Err(wait) = token.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(1, Tick::now()) {
            return Err(Refusal::Busy(wait.as_secs().max(1)));
        }
        if token.scopes.iter().any(|s| s.covers(resource, verb, namespace)) {
            return Ok(Some(token.name.clone()));
        }
        Err(Refusal::Scope(format!("{resource}:{verb}:{namespace}")))
    }

    /// Whether the holder of a token that was let in may also do this; not counted as a request of its own.
    pub fn covers(&self, bearer: Option<&str>, from: Option<IpAddr>, action: (&str, &str, &str)) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        match self.find(&tokens, bearer, from) {
            Ok(Some(token)) => token.scopes.iter().any(|s| s.covers(action.0, action.1, action.2)),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Whether a token is needed.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Is this a token that is let in, or is none needed? Before anything of a request is read.
    pub fn identify(&self, bearer: Option<&str>, from: Option<IpAddr>) -> Result<(), Refusal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        self.find(&tokens, bearer, from).map(drop)
    }

    /// The token, or `None` where none is needed.
    fn find<'t>(
        &self,
        tokens: &'t [Token],
        bearer: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Option<&'t Token>, Refusal> {
        if tokens.is_empty() {
            return Ok(None);
        }
        if let Some(wait) = from.and_then(|ip| self.limited(ip)) {
            return Err(Refusal::Limited(wait));
        }
        let mut found = None;
        if let Some(bearer) = bearer {
            let hash: [u8; 32] = Sha256::digest(bearer).into();
            // All are compared, so that the time says nothing of which one matched.
            for token in tokens.iter() {
                if bool::from(token.sha256.ct_eq(&hash)) {
                    found = Some(token);
                }
            }
        }
        let now = jiff::Timestamp::now();
        let found = found.filter(|t| t.expires.is_none_or(|end| now < end));
        if found.is_none()
            && let Some(ip) = from
        {
            self.failed(ip);
        }
        found.map(Some).ok_or(Refusal::Unknown)
    }

    fn limited(&self, ip: IpAddr) -> Option<u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = failures.get(&ip)?;
        let left = Duration::from_secs(60).checked_sub(since.elapsed())?;
        (*count >= FAILURES_A_MINUTE).then_some(left.as_secs().max(1))
    }

    fn failed(&self, ip: IpAddr) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: an attacker with many addresses makes the oldest forgotten, not the memory grow.
        if failures.len() > 10_000 {
            failures.retain(|_, (since, _)| since.elapsed() < Duration::from_secs(60));
            if failures.len() > 10_000 {
                failures.clear();
            }
        }
        let entry = failures.entry(ip).or_insert((Instant::now(), 0));
        if entry.0.elapsed() >= Duration::from_secs(60) {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    fn token(name: &str, scopes: &[&str], expires: Option<&str>) -> (String, TokenSettings) {
        let (text, hash) = create().unwrap();
        let mut sha256 = [0; 32];
        hex::decode_to_slice(hash, &mut sha256).unwrap();
        let scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        (text, TokenSettings { name: name.into(), sha256, scopes, expires: expires.map(|e| e.parse().unwrap()) })
    }

    #[test]
    fn scopes_cover_what_they_name() {
        assert!(scope("*:*:*").covers("topics", "write", "orders"));
        assert!(scope("topics:read:*").covers("topics", "read", "orders"));
        assert!(!scope("topics:read:*").covers("topics", "write", "orders"));
        assert!(!scope("topics:read:orders").covers("topics", "read", "payments"));
        for bad in ["", "topics", "topics:read", "x:read:*", "topics:fly:*", "topics:read:", "a:b:c:d"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_needed_once_one_exists_and_ends_when_it_is_gone() {
        let auth = Auth::default();
        assert_eq!(auth.check(None, None, ("topics", "read", "a")), Ok(None));
        let (text, ci) = token("ci", &["topics:read:*"], None);
        let (old, expired) = token("old", &["*:*:*"], Some("2020-01-01T00:00:00Z"));
        auth.replace(&[ci, expired.clone()], 100);
        assert_eq!(auth.check(Some(&text), None, ("topics", "read", "a")), Ok(Some("ci".into())));
        assert_eq!(
            auth.check(Some(&text), None, ("topics", "write", "a")),
            Err(Refusal::Scope("topics:write:a".into()))
        );
        assert_eq!(auth.check(Some(&old), None, ("topics", "read", "a")), Err(Refusal::Unknown));
        assert_eq!(auth.check(None, None, ("topics", "read", "a")), Err(Refusal::Unknown));
        auth.replace(&[expired], 100);
        assert_eq!(auth.check(Some(&text), None, ("topics", "read", "a")), Err(Refusal::Unknown));
    }

    #[test]
    fn ten_failures_a_minute_are_enough() {
        let auth = Auth::default();
        let (good, stored) = token("a", &["*:*:*"], None);
        auth.replace(&[stored], 100);
        let ip = Some("192.0.2.1".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(auth.check(Some("wrong"), ip, ("topics", "read", "a")), Err(Refusal::Unknown));
        }
        assert!(matches!(auth.check(Some(&good), ip, ("topics", "read", "a")), Err(Refusal::Limited(_))));
        assert!(auth.check(Some(&good), Some("192.0.2.2".parse().unwrap()), ("topics", "read", "a")).is_ok());
    }
}
