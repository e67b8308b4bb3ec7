//! Who may do what: tokens of 256 bits, of which the configuration (`[[token]]`) holds the SHA-256, compared in constant
//! time.
//!
//! Without a token the service answers to loopback only, and to everybody there. With the first token every request to
//! the API needs one. A reload puts new tokens in place and ends those that are gone.

use hexafn_actors::clock::Tick;
use hexafn_actors::names::near;
use hexafn_actors::source::rate::{Bucket, Limit};
use hexafn_actors::topic::pattern::Pattern;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
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

/// Wrong tokens of one address a minute before it is answered 429 for them.
const FAILURES_A_MINUTE: u32 = 10;

/// `resource:verb:namespace`, each of which may be `*`. The namespace is a topic, trigger, target … by name, or a pattern of
/// names (`orders.*`, `orders.>`).
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
        let named = is(&self.namespace, namespace) || includes(&self.namespace, namespace);
        is(&self.resource, resource) && is(&self.verb, verb) && named
    }

    /// What a scope looks like, as a regular expression.
    fn pattern() -> String {
        const SEGMENT: &str = r"(\*|[A-Za-z0-9_-]+)";
        let (resources, verbs) = (RESOURCES.join("|"), VERBS.join("|"));
        format!(r"^(\*|{resources}):(\*|{verbs}):(>|{SEGMENT}(\.{SEGMENT})*(\.>)?)$")
    }
}

/// Whether a pattern has every name that what is asked for has, which is a name or a pattern too. As everywhere, wildcards do
/// not reach into `hexafn.` topics; and everything there is (`*`) is no part of a pattern.
fn includes(pattern: &str, asked: &str) -> bool {
    if asked == "*" || (asked.starts_with("hexafn.") && !pattern.starts_with("hexafn.")) {
        return false;
    }
    let (mut pattern, mut asked) = (pattern.split('.'), asked.split('.'));
    loop {
        match (pattern.next(), asked.next()) {
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(segment)) if segment != ">" => {}
            (Some(own), Some(segment)) if own == segment => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [resource, verb, namespace] = parts[..] else {
            return Err(format!("`{text}` is not a scope; write resource:verb:namespace, e.g. topics:read:* or *:*:*"));
        };
        let known = |kind: &str, word: &str, all: &[&str]| {
            if word == "*" || all.contains(&word) {
                return Ok(());
            }
            let near = near(word, all.iter().copied());
            Err(format!("`{text}`: `{word}` is not a {kind}; {near}; or * for all"))
        };
        known("resource", resource, &RESOURCES)?;
        known("verb", verb, &VERBS)?;
        if Pattern::new(namespace).is_err() {
            return Err(format!(
                "`{text}` names nothing; end it with a name, a pattern such as orders.* or orders.>, or * for all"
            ));
        }
        Ok(Self { resource: resource.into(), verb: verb.into(), namespace: namespace.into() })
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Scope {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::pattern() })
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
    /// A wrong token, after too many of them from this address; seconds to wait.
    Limited(u64),
}

struct Token {
    name: String,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    expires: Option<jiff::Timestamp>,
    bucket: Mutex<Bucket>,
}

impl Token {
    /// Takes a request from what it may make.
    fn count(&self) -> Result<(), Refusal> {
        let taken = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(1, Tick::now());
        taken.map_err(|wait| Refusal::Busy(wait.as_secs().max(1)))
    }

    fn may(&self, resource: &str, verb: &str, namespace: &str) -> Result<(), Refusal> {
        if self.scopes.iter().any(|s| s.covers(resource, verb, namespace)) {
            return Ok(());
        }
        Err(Refusal::Scope(format!("{resource}:{verb}:{namespace}")))
    }
}

/// The door of the API.
#[derive(Default)]
pub struct Auth {
    tokens: RwLock<Vec<Token>>,
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Auth {
    /// Lets these tokens in, and no others. What a token has used up of its rate it has used up still.
    pub fn replace(&self, tokens: &[TokenSettings], rate: u32) {
        let limit = Limit { per_second: rate, burst: None };
        let mut now = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = |sha256: [u8; 32]| {
            let fresh = Bucket::new(limit);
            let before = now.iter().find(|token| token.sha256 == sha256);
            before
                .map_or(fresh.clone(), |b| fresh.in_place_of(&b.bucket.lock().unwrap_or_else(PoisonError::into_inner)))
        };
        let tokens = tokens.iter().map(|t| Token {
            name: t.name.clone(),
            sha256: t.sha256,
            scopes: t.scopes.clone(),
            expires: t.expires,
            bucket: Mutex::new(bucket(t.sha256)),
        });
        *now = tokens.collect();
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
        token.count()?;
        token.may(resource, verb, namespace)?;
        Ok(Some(token.name.clone()))
    }

    /// May the holder of this bearer token do what any token may?
    pub fn enter(&self, bearer: Option<&str>, from: Option<IpAddr>) -> Result<(), Refusal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        self.find(&tokens, bearer, from)?.map_or(Ok(()), Token::count)
    }

    /// May the holder of this bearer token also do this? Not counted as a request of its own. `Ok(true)` says by a token,
    /// `Ok(false)` that none is needed.
    pub fn covers(
        &self,
        bearer: Option<&str>,
        from: Option<IpAddr>,
        (resource, verb, namespace): (&str, &str, &str),
    ) -> Result<bool, Refusal> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        self.find(&tokens, bearer, from)?.map_or(Ok(false), |token| token.may(resource, verb, namespace).map(|()| true))
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

    /// The token, or `None` where none is needed. A right one always passes, whatever others behind the same address
    /// (a proxy's, say) did; wrong ones are counted by address, and none at all is no guess.
    fn find<'t>(
        &self,
        tokens: &'t [Token],
        bearer: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Option<&'t Token>, Refusal> {
        if tokens.is_empty() {
            return Ok(None);
        }
        let Some(bearer) = bearer else { return Err(Refusal::Unknown) };
        let hash: [u8; 32] = Sha256::digest(bearer).into();
        let mut found = None;
        // All are compared, so that the time says nothing of which one matched.
        for token in tokens {
            if bool::from(token.sha256.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        let now = jiff::Timestamp::now();
        let found = found.filter(|t| t.expires.is_none_or(|end| now < end));
        if found.is_none()
            && let Some(ip) = from
        {
            if let Some(wait) = self.limited(ip) {
                return Err(Refusal::Limited(wait));
            }
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
        let scopes = scopes.iter().map(|s| scope(s)).collect();
        (text, TokenSettings { name: name.into(), sha256, scopes, expires: expires.map(|e| e.parse().unwrap()) })
    }

    #[test]
    fn scopes_cover_what_they_name() {
        assert!(scope("*:*:*").covers("topics", "write", "orders"));
        assert!(scope("topics:read:*").covers("topics", "read", "orders"));
        assert!(!scope("topics:read:*").covers("topics", "write", "orders"));
        assert!(!scope("topics:read:orders").covers("topics", "read", "payments"));
        let pattern = Scope::pattern();
        let written = regex(&pattern);
        for good in ["*:*:*", "topics:read:orders", "topics:read:orders.*", "topics:read:orders.>", "topics:read:>"] {
            assert_eq!(scope(good).to_string(), good);
            assert!(written(good), "{good}");
        }
        for bad in [
            "",
            "topics",
            "topics:read",
            "x:read:*",
            "topics:fly:*",
            "topics:read:",
            "a:b:c:d",
            "topic:read:*",
            "topics:read:a*",
            "topics:read:a..b",
            "topics:read:>.a",
            "topics:read:a b",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
            assert!(!written(bad), "{bad}");
        }
        let told = "topic:raed:*".parse::<Scope>().unwrap_err();
        assert!(told.contains("did you mean `topics`") && told.contains("subscriptions"), "{told}");
    }

    /// Whether a text is as an editor is told.
    fn regex(pattern: &str) -> impl Fn(&str) -> bool + use<> {
        let schema = serde_json::json!({ "type": "string", "pattern": pattern });
        let validator = jsonschema::validator_for(&schema).unwrap();
        move |text| validator.is_valid(&text.into())
    }

    #[test]
    fn patterns_cover_what_they_have_and_no_more() {
        let read =
            |namespace: &str, asked: &str| scope(&format!("topics:read:{namespace}")).covers("topics", "read", asked);
        for (namespace, asked) in [
            ("orders.*", "orders.*"),
            ("orders.*", "orders.eu"),
            ("orders.>", "orders.eu.paid"),
            ("orders.>", "orders.*"),
            ("orders.>", "orders.*.paid"),
            ("*.paid", "eu.paid"),
            (">", "orders"),
            (">", ">"),
            ("hexafn.>", "hexafn.alerts"),
            ("*", "*"),
            ("*", "hexafn.alerts"),
        ] {
            assert!(read(namespace, asked), "{namespace} has {asked}");
        }
        for (namespace, asked) in [
            ("orders.*", "orders"),
            ("orders.*", "orders.>"),
            ("orders.*", "orders.eu.paid"),
            ("orders.>", "orders"),
            ("orders.>", ">"),
            ("orders.eu", "orders.*"),
            (">", "*"),
            (">", "hexafn.alerts"),
            ("orders.>", "*"),
        ] {
            assert!(!read(namespace, asked), "{namespace} has not {asked}");
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
    fn what_is_only_looked_at_again_takes_nothing_from_the_rate() {
        let auth = Auth::default();
        let action = ("topics", "read", "a");
        assert_eq!(auth.covers(None, None, action), Ok(false));
        let (text, stored) = token("a", &["topics:read:*"], None);
        auth.replace(&[stored], 1);
        for _ in 0..3 {
            assert_eq!(auth.covers(Some(&text), None, action), Ok(true));
        }
        assert!(auth.check(Some(&text), None, action).is_ok());
        assert!(matches!(auth.check(Some(&text), None, action), Err(Refusal::Busy(_))));
        assert_eq!(auth.covers(Some(&text), None, action), Ok(true), "one that is busy is not a wrong one");
        assert_eq!(
            auth.covers(Some(&text), None, ("topics", "write", "a")),
            Err(Refusal::Scope("topics:write:a".into()))
        );
        assert_eq!(auth.covers(Some("wrong"), None, action), Err(Refusal::Unknown));
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
        assert!(matches!(auth.check(Some("wrong"), ip, ("topics", "read", "a")), Err(Refusal::Limited(_))));
        let other = Some("192.0.2.2".parse().unwrap());
        assert_eq!(auth.check(Some("wrong"), other, ("topics", "read", "a")), Err(Refusal::Unknown));
        assert!(auth.check(Some(&good), ip, ("topics", "read", "a")).is_ok(), "the right one is no guess");
        assert_eq!(auth.check(None, ip, ("topics", "read", "a")), Err(Refusal::Unknown), "nor is none");
    }
}
