//! One call as the host sees it: what the function did so far, held against its limits and grants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{Code, Ctx, Emit, Error, Level, Line, Settings, Write};

/// The longest ordering key of an emitted event, in bytes.
pub(crate) const MOST_KEY: usize = 4 << 10;
/// What an emitted event or a stored value takes beside its texts, in bytes, about: so that many small ones have an end, too.
pub const ENTRY: usize = 128;
/// What a header takes beside name and value, in bytes: `: ` and the end of its line.
pub const HEADER: usize = 4;

/// What the host does for functions: the store and the network. Blocks; called on the thread of the call.
pub trait Host: Send + Sync {
    /// The value of a key, as JSON text.
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError>;

    /// Sends a request, to a host that is granted, until `deadline` at the latest.
    fn http(&self, request: HttpRequest, deadline: Instant) -> Result<HttpResponse, HostError>;
}

/// What the host could not do, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostError(pub String);

/// A request that a function sends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// `GET` when empty.
    #[serde(default)]
    pub method: String,
    /// `http` or `https`.
    pub url: String,
    /// Names and values.
    #[serde(default, deserialize_with = "crate::protocol::few")]
    pub headers: Vec<(String, String)>,
    /// The body, as text.
    #[serde(default)]
    pub body: Option<String>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, as text; what is not UTF-8 is replaced, what is longer than `limits.output` is an error.
    pub body: String,
}

/// A host that has no store and no network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn kv_get(&self, _: &str, _: &str) -> Result<Option<String>, HostError> {
        Ok(None)
    }

    fn http(&self, _: HttpRequest, _: Instant) -> Result<HttpResponse, HostError> {
        Err(HostError("there is no network here".to_owned()))
    }
}

/// See the module. Owned by the engine during the call, and handed back in [`crate::Ended`].
pub struct Session {
    settings: Arc<Settings>,
    ctx: Arc<Ctx>,
    host: Arc<dyn Host>,
    began: Instant,
    deadline: Instant,
    random: u64,
    host_calls: u64,
    logs: Vec<Line>,
    logs_refused: u64,
    log_bytes: usize,
    logs_cut: bool,
    emitted: Vec<Emit>,
    kept_bytes: usize,
    writes: Vec<Write>,
    /// The newest write to each key: what the function reads back.
    written: HashMap<(String, String), usize>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("function", &self.ctx.function).finish_non_exhaustive()
    }
}

/// What a session leaves.
#[derive(Debug)]
pub(crate) struct Parts {
    pub host_calls: u64,
    pub logs: Vec<Line>,
    pub logs_refused: u64,
    pub logs_cut: bool,
    pub emitted: Vec<Emit>,
    pub writes: Vec<Write>,
}

impl Session {
    /// A call that begins now.
    pub fn new(settings: Arc<Settings>, ctx: Arc<Ctx>, host: Arc<dyn Host>) -> Self {
        let began = Instant::now();
        Self {
            random: ctx.seed,
            began,
            deadline: began + settings.limits.wall,
            settings,
            ctx,
            host,
            host_calls: 0,
            logs: Vec::new(),
            logs_refused: 0,
            log_bytes: 0,
            logs_cut: false,
            emitted: Vec::new(),
            kept_bytes: 0,
            writes: Vec::new(),
            written: HashMap::new(),
        }
    }

    /// Hands it over; one that has done nothing stays behind, for an engine that cannot let go of what it was given.
    #[cfg(feature = "wasmer")]
    pub(crate) fn hand_over(&mut self) -> Self {
        let fresh = Self::new(Arc::clone(&self.settings), Arc::clone(&self.ctx), Arc::clone(&self.host));
        std::mem::replace(self, fresh)
    }

    /// Its limits and grants.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the function is told beside its event.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// When the call began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When the call must have ended.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until then.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether it is later than that.
    pub fn is_late(&self) -> bool {
        self.is_late_at(Instant::now())
    }

    /// The same for who knows the time.
    pub(crate) fn is_late_at(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// The error of a call that is late.
    pub fn late(&self) -> Error {
        Error::timeout(self.settings.limits.wall)
    }

    /// Counts a call to the host. Each of the following counts by itself.
    fn count(&mut self) -> Result<(), Error> {
        let limit = self.settings.limits.host_calls;
        if self.host_calls >= limit {
            return Err(Error::new(
                Code::HostCalls,
                format!("it made more than {limit} calls to the host (`limits.host_calls`)"),
            ));
        }
        self.host_calls += 1;
        if self.is_late() { Err(self.late()) } else { Ok(()) }
    }

    /// Takes a log line, where the function is granted to write any; what is beyond `limits.logs` is cut. Without the grant the
    /// line is counted: a library that says something on a path that is seldom taken is no reason to lose an event.
    ///
    /// # Errors
    /// Too many calls to the host, or too late.
    pub fn log(&mut self, level: Level, message: &str) -> Result<(), Error> {
        self.count()?;
        if !self.settings.grants.log {
            self.logs_refused += 1;
            return Ok(());
        }
        let left = self.settings.limits.logs.saturating_sub(self.log_bytes);
        if left == 0 {
            self.logs_cut = true;
            return Ok(());
        }
        let mut end = message.len().min(left);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        self.logs_cut |= end < message.len();
        // A line counts as one byte at least, so that empty ones have an end, too.
        self.log_bytes += end.max(1);
        self.logs.push(Line { level, message: message[..end].to_owned() });
        Ok(())
    }

    /// How many bytes of log lines are still kept.
    pub(crate) fn log_room(&self) -> usize {
        match self.settings.grants.log {
            true => self.settings.limits.logs.saturating_sub(self.log_bytes),
            false => 0,
        }
    }

    /// Takes an event for a topic; `data` is JSON text.
    ///
    /// # Errors
    /// The topic is none or not granted, the data is not JSON or too large, or there are too many.
    pub fn emit(&mut self, topic: &str, key: Option<&str>, data: String) -> Result<(), Error> {
        self.count()?;
        let (limits, grants) = (&self.settings.limits, &self.settings.grants);
        check_topic(topic)?;
        if !grants.may_emit(topic) {
            return Err(denied("emit to the topic", topic, "emit", &grants.emit));
        }
        if self.emitted.len() >= limits.emits {
            return Err(Error::new(
                Code::Emits,
                format!("it emitted more than {} events (`limits.emits`)", limits.emits),
            ));
        }
        let key_size = key.map_or(0, str::len);
        if key_size > MOST_KEY {
            return Err(Error::new(
                Code::OutputTooLarge,
                format!("the key of an emitted event has {key_size} bytes; at most {MOST_KEY} are allowed"),
            ));
        }
        self.keep(data.len() + key_size, topic.len(), "the data of emitted events and stored values")?;
        check_json(&data, "the data of an emitted event")?;
        self.emitted.push(Emit { topic: topic.to_owned(), key: key.map(str::to_owned), data });
        Ok(())
    }

    /// What a function leaves for the host is held in memory until its end: all of it within its memory.
    fn keep(&mut self, size: usize, names: usize, what: &str) -> Result<(), Error> {
        let limits = &self.settings.limits;
        if size > limits.output {
            return Err(Error::new(
                Code::OutputTooLarge,
                format!("one of {what} has {size} bytes; at most {} are allowed (`limits.output`)", limits.output),
            ));
        }
        let held = size.saturating_add(names).saturating_add(ENTRY);
        if held > limits.memory.saturating_sub(self.kept_bytes) {
            return Err(Error::new(
                Code::Memory,
                format!("{what} together have more than {} bytes (`limits.memory`)", limits.memory),
            ));
        }
        self.kept_bytes += held;
        Ok(())
    }

    /// An environment variable that it is granted.
    ///
    /// # Errors
    /// It is not granted.
    pub fn env(&mut self, name: &str) -> Result<String, Error> {
        self.count()?;
        let found = self.ctx.env.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<String> = self.ctx.env.iter().map(|(name, _)| name.clone()).collect();
            denied("read the environment variable", name, "env", &names)
        })
    }

    /// The time, in whole milliseconds since 1970; when the run began for a function that is not granted the clock.
    pub fn now_ms(&self) -> i64 {
        if !self.settings.grants.time {
            return self.ctx.now_ms;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// How long the call runs, as far as its function is granted to know.
    pub(crate) fn elapsed(&self) -> Duration {
        if self.settings.grants.time { self.began.elapsed() } else { Duration::ZERO }
    }

    /// The next random number: the system's, or, for a function that is not granted those, SplitMix64 from the record's seed,
    /// which is for sampling and jitter, not for secrets.
    pub fn random(&mut self) -> u64 {
        // The system refuses only where it has no randomness at all, which a kernel of these years has.
        if self.settings.grants.random
            && let Ok(random) = getrandom::u64()
        {
            return random;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next random number from 0 up to but without 1.
    pub fn random_unit(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The value of a key, as JSON text, with what this call wrote.
    ///
    /// # Errors
    /// The namespace is not granted, or the store failed.
    pub fn kv_get(&mut self, namespace: &str, key: &str) -> Result<Option<String>, Error> {
        self.kv_access(namespace, key)?;
        let at = self.written.get(&(namespace.to_owned(), key.to_owned()));
        if let Some(write) = at.and_then(|&at| self.writes.get(at)) {
            return Ok(write.value.clone());
        }
        self.host.kv_get(namespace, key).map_err(|e| Error::new(Code::Host, e.0))
    }

    /// Stores a value (JSON text), or deletes the key; takes effect with the output.
    ///
    /// # Errors
    /// The namespace is not granted, or the value is not JSON or too large.
    pub fn kv_put(&mut self, namespace: &str, key: &str, value: Option<String>) -> Result<(), Error> {
        self.kv_access(namespace, key)?;
        if let Some(value) = &value {
            check_json(value, "a stored value")?;
        }
        let size = key.len() + value.as_ref().map_or(0, String::len);
        // What is written is found by its names, which are held a second time for that.
        let names = 2 * namespace.len() + key.len();
        self.keep(size, names, "the data of emitted events and stored values")?;
        self.written.insert((namespace.to_owned(), key.to_owned()), self.writes.len());
        self.writes.push(Write { namespace: namespace.to_owned(), key: key.to_owned(), value });
        Ok(())
    }

    fn kv_access(&mut self, namespace: &str, key: &str) -> Result<(), Error> {
        self.count()?;
        let granted = &self.settings.grants.kv;
        if !granted.iter().any(|g| g == namespace) {
            return Err(denied("use the namespace", namespace, "kv", granted));
        }
        if !is_key(key) {
            return Err(Error::new(
                Code::Host,
                "a key has 1 to 512 bytes, no NUL and no `..` between slashes".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether it may send a request to this URL, looked at before the rest of the request is.
    ///
    /// # Errors
    /// The host is not granted.
    pub(crate) fn may_request(&self, url: &str) -> Result<(), Error> {
        let grants = &self.settings.grants;
        match grants.may_request(url) {
            true => Ok(()),
            false => Err(denied("send a request to", url, "http", &grants.http)),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// It is too large, the host is not granted, or the request failed; an answer with any status is none.
    pub fn http(&mut self, request: HttpRequest) -> Result<HttpResponse, Error> {
        self.count()?;
        let HttpRequest { method, url, headers, body } = &request;
        let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + HEADER).sum();
        let size = method.len() + url.len() + headers + body.as_ref().map_or(0, String::len);
        let limit = self.settings.limits.output;
        if size > limit {
            return Err(request_too_large(size, limit));
        }
        self.may_request(url)?;
        let response = self.host.http(request, self.deadline).map_err(|e| Error::new(Code::Host, e.0))?;
        if self.is_late() { Err(self.late()) } else { Ok(response) }
    }

    pub(crate) fn into_parts(self) -> Parts {
        let Self { host_calls, logs, logs_refused, logs_cut, emitted, writes, .. } = self;
        Parts { host_calls, logs, logs_refused, logs_cut, emitted, writes }
    }
}

/// The headers of a request while they are read from what a function gave, which can name one long text many times.
#[derive(Debug)]
pub(crate) struct Headers {
    pairs: Vec<(String, String)>,
    size: usize,
    limit: usize,
}

impl Headers {
    /// None yet, and at most this many bytes.
    pub fn within(limit: usize) -> Self {
        Self { pairs: Vec::new(), size: 0, limit }
    }

    /// Adds one.
    ///
    /// # Errors
    /// All together are larger than a request may be.
    pub fn add(&mut self, name: String, value: String) -> Result<(), Error> {
        self.size = self.size.saturating_add(name.len() + value.len() + HEADER);
        if self.size > self.limit {
            return Err(request_too_large(self.size, self.limit));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<(String, String)> {
        self.pairs
    }
}

fn request_too_large(size: usize, limit: usize) -> Error {
    Error::new(
        Code::OutputTooLarge,
        format!("a request has {size} bytes or more; at most {limit} are allowed (`limits.output`)"),
    )
}

/// Whether the store takes a key of this name.
pub(crate) fn is_key(key: &str) -> bool {
    (1..=512).contains(&key.len()) && !key.contains('\0') && key.split('/').all(|part| part != "..")
}

fn denied(what: &str, name: &str, grant: &str, granted: &[String]) -> Error {
    let have = if granted.is_empty() { "nothing".to_owned() } else { format!("`{}`", granted.join("`, `")) };
    let name: String = name.chars().take(200).collect();
    Error::new(
        Code::Denied,
        format!("it may not {what} `{name}`: `{grant}` of the function grants {have}; add it there if it should"),
    )
}

/// The longest name of a topic, in bytes.
pub const MAX_TOPIC_NAME: usize = 200;

/// What the names of hexaFn's own topics begin with.
pub const OWN_TOPICS: &str = "hexafn.";

/// Whether this can be a part of the name of a topic; dots join them.
pub fn is_topic_segment(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Checks the name of a topic that a function may emit to: what of it is held has an end, and what no topic can have is said where
/// it was emitted.
///
/// # Errors
/// [`Code::EmitTopic`].
pub fn check_topic(name: &str) -> Result<(), Error> {
    if name.len() > MAX_TOPIC_NAME {
        let message =
            format!("it emitted to a topic whose name has {} bytes; at most {MAX_TOPIC_NAME} are allowed", name.len());
        return Err(Error::new(Code::EmitTopic, message));
    }
    if !name.split('.').all(is_topic_segment) {
        let message = format!(
            "it emitted to {name:?}, which is no name of a topic: segments of letters, digits, `_` and `-`, joined by single \
             dots, e.g. `orders.eu.paid`"
        );
        return Err(Error::new(Code::EmitTopic, message));
    }
    if name.starts_with(OWN_TOPICS) {
        let message = format!("it emitted to `{name}`; names that begin with `hexafn.` are for hexaFn's own topics");
        return Err(Error::new(Code::EmitTopic, message));
    }
    Ok(())
}

/// Whether a topic matches a name or a pattern: `*` is one part, `>` at the end the rest.
pub(crate) fn matches(pattern: &str, topic: &str) -> bool {
    let (mut pattern, mut topic) = (pattern.split('.'), topic.split('.'));
    loop {
        match (pattern.next(), topic.next()) {
            (Some(">"), Some(_)) => return pattern.next().is_none(),
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(want), Some(part)) if want == part => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Host and port of an absolute http or https URL, in lower case; the scheme's own port is left out. Without one when
/// the URL names a user: what looks like a host there is not the host.
pub(crate) fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let authority = rest[..end].to_ascii_lowercase();
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    Some(authority.strip_suffix(default).map_or_else(|| authority.clone(), str::to_owned))
}

pub(crate) fn host_matches(granted: &str, host: &str) -> bool {
    let granted = granted.to_ascii_lowercase();
    match granted.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        None => granted == host,
    }
}

fn check_json(text: &str, what: &str) -> Result<(), Error> {
    crate::json::check(text.as_bytes())
        .map_err(|e| Error::new(Code::BadOutput, format!("{what} is no JSON that an event may have: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Grants, Limits};

    fn session(limits: Limits, grants: Grants) -> Session {
        let ctx = Ctx { env: vec![("TOKEN".into(), "t".into())], seed: 7, ..Ctx::default() };
        Session::new(Arc::new(Settings { limits, grants }), Arc::new(ctx), Arc::new(NoHost))
    }

    fn granted() -> Grants {
        Grants {
            emit: vec!["orders.*".into(), "audit.>".into()],
            kv: vec!["carts".into()],
            http: vec!["api.example.com".into(), "*.example.org".into(), "local:8080".into()],
            log: true,
            time: true,
            random: false,
        }
    }

    #[test]
    fn nothing_is_allowed_that_is_not_granted() {
        let mut s = session(Limits::default(), Grants::default());
        let refused = [
            s.emit("orders", None, "1".into()),
            s.kv_put("carts", "a", None),
            s.kv_get("carts", "a").map(drop),
            s.env("HOME").map(drop),
            s.http(HttpRequest { url: "https://api.example.com/".into(), ..Default::default() }).map(drop),
        ];
        for error in refused {
            assert_eq!(error.unwrap_err().code, Code::Denied);
        }
        assert_eq!(s.env("TOKEN").unwrap(), "t");
    }

    #[test]
    fn patterns_of_topics_are_those_of_subscriptions() {
        for (pattern, topic, holds) in [
            ("orders.*", "orders.new", true),
            ("orders.*", "orders.new.eu", false),
            ("orders.*", "orders", false),
            ("audit.>", "audit.a.b", true),
            ("audit.>", "audit", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, topic), holds, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_host_is_the_host_that_the_request_goes_to() {
        for (url, allowed) in [
            ("https://api.example.com/x", true),
            ("HTTPS://API.example.com:443/x", true),
            ("https://api.example.com:444/x", false),
            ("https://api.example.com@evil.test/", false),
            ("https://evil.test/api.example.com", false),
            ("https://evil.test\\@api.example.com/", false),
            ("https://a.example.org", true),
            ("https://example.org", false),
            ("https://evilexample.org", false),
            ("http://local:8080", true),
            ("http://local", false),
            ("file://api.example.com/etc/passwd", false),
            ("api.example.com", false),
        ] {
            let mut s = session(Limits::default(), granted());
            let code = s.http(HttpRequest { url: url.into(), ..Default::default() }).unwrap_err().code;
            assert_eq!(code == Code::Host, allowed, "{url}: {code}");
        }
    }

    #[test]
    fn every_text_that_is_held_has_an_end() {
        let grants = Grants { emit: vec![">".into()], ..granted() };
        let limits = Limits { host_calls: 100_000, emits: 10_000, memory: 1 << 20, ..Limits::default() };
        let mut s = session(limits, grants);
        let long = "a".repeat(201);
        for topic in ["", "a..b", "a b", "ä", ".a", "a.", "a.*", ">", "hexafn.alerts", &long, &"a.".repeat(6_000_000)]
        {
            let error = s.emit(topic, None, "1".into()).unwrap_err();
            assert_eq!(error.code, Code::EmitTopic, "{topic:.20}");
            assert!(error.message.len() < 600, "{topic:.20}");
        }
        s.emit(&long[1..], Some(&"k".repeat(MOST_KEY)), "1".into()).unwrap();
        let key = "k".repeat(MOST_KEY + 1);
        assert_eq!(s.emit("a", Some(&key), "1".into()).unwrap_err().code, Code::OutputTooLarge);
        let url = format!("https://api.example.com/{}", "a".repeat(256 << 10));
        let request = |url: &str, headers| HttpRequest { url: url.into(), headers, ..HttpRequest::default() };
        assert_eq!(s.http(request(&url, Vec::new())).unwrap_err().code, Code::OutputTooLarge);
        let headers = vec![(String::new(), String::new()); 66_000];
        assert_eq!(s.http(request("https://api.example.com/", headers)).unwrap_err().code, Code::OutputTooLarge);
        assert_eq!(s.kv_put(&long, "a", None).unwrap_err().code, Code::Denied);
        assert!(s.env(&key).unwrap_err().message.len() < 600);
        // Many of them that are small.
        let stored = (0..100_000).take_while(|n| s.kv_put("carts", &n.to_string(), None).is_ok()).count();
        assert!((1_000..10_000).contains(&stored), "{stored}");
    }

    #[test]
    fn a_flood_ends_at_its_limit() {
        let mut s = session(Limits { host_calls: 10, emits: 2, logs: 5, ..Limits::default() }, granted());
        s.log(Level::Info, "äää").unwrap();
        s.log(Level::Info, "b").unwrap();
        s.log(Level::Info, "c").unwrap();
        s.emit("orders.a", Some("k"), "1".into()).unwrap();
        s.emit("orders.a", None, "{}".into()).unwrap();
        assert_eq!(s.emit("orders.a", None, "{}".into()).unwrap_err().code, Code::Emits);
        for _ in 0..4 {
            s.log(Level::Info, "").unwrap();
        }
        assert_eq!(s.log(Level::Info, "").unwrap_err().code, Code::HostCalls);
        let parts = s.into_parts();
        assert_eq!(parts.logs.iter().map(|l| &*l.message).collect::<Vec<_>>(), ["ää", "b"]);
        assert!(parts.logs_cut);
        assert_eq!((parts.emitted.len(), parts.host_calls), (2, 10));
    }

    #[test]
    fn a_call_reads_what_it_wrote() {
        let mut s = session(Limits::default(), granted());
        assert_eq!(s.kv_get("carts", "a").unwrap(), None);
        s.kv_put("carts", "a", Some("1".into())).unwrap();
        assert_eq!(s.kv_get("carts", "a").unwrap().as_deref(), Some("1"));
        s.kv_put("carts", "a", None).unwrap();
        assert_eq!(s.kv_get("carts", "a").unwrap(), None);
        assert_eq!(s.kv_put("carts", "a", Some("{".into())).unwrap_err().code, Code::BadOutput);
        assert_eq!(s.kv_get("carts", "a/../b").unwrap_err().code, Code::Host);
        assert_eq!(s.into_parts().writes.len(), 2);
    }

    #[test]
    fn random_numbers_begin_with_the_seed() {
        let (mut a, mut b) = (session(Limits::default(), granted()), session(Limits::default(), granted()));
        assert_eq!(a.random(), b.random());
        assert!((0.0..1.0).contains(&a.random_unit()));
        assert_ne!(a.random(), b.random());
        let of_the_system = Grants { random: true, ..granted() };
        let mut c = session(Limits::default(), of_the_system);
        assert!(c.random() != session(Limits::default(), granted()).random() && c.random() != c.random());
    }

    #[test]
    fn without_a_grant_the_clock_stands_and_lines_are_counted() {
        let mut s = session(Limits::default(), Grants { log: false, time: false, ..granted() });
        assert_eq!((s.now_ms(), s.elapsed()), (0, Duration::ZERO));
        s.log(Level::Error, "no").unwrap();
        let parts = s.into_parts();
        assert_eq!((parts.logs.len(), parts.logs_refused, parts.host_calls), (0, 1, 1));
        assert!(session(Limits::default(), granted()).now_ms() > 1_700_000_000_000);
    }
}
