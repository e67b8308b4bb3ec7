//! Topic names and patterns: `orders.eu.paid`, `orders.*.paid` (one segment), `orders.>` (all the rest).

use crate::event::Str;
use hexafn_runtimes::{OWN_TOPICS, is_topic_segment};

/// The longest topic name, in bytes. The grammar of names stands with those that functions emit to, below this crate.
pub use hexafn_runtimes::MAX_TOPIC_NAME as MAX_NAME;

/// Why a name or a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("a topic name cannot be empty")]
    Empty,
    /// Longer than [`MAX_NAME`].
    #[error("the topic name has {0} bytes; at most {MAX_NAME} are allowed")]
    Long(usize),
    /// A bad character or an empty segment.
    #[error(
        "`{0}` is not a topic name: segments of letters, digits, `_` and `-`, joined by single dots, e.g. `orders.eu.paid`"
    )]
    Malformed(String),
    /// `>` not at the end.
    #[error("in the pattern `{0}`, `>` matches all the rest and can only be the last segment")]
    Tail(String),
    /// Beginning with `hexafn.`.
    #[error("`{0}`: names that begin with `hexafn.` are for hexaFn's own topics")]
    Reserved(String),
    /// Matches queues.
    #[error(
        "`{0}` matches the queues of targets (`hexafn.out.…`) or of what is delivered again (`hexafn.again.…`), whose events are \
        removed when they are handled; watch one live (`hexafn tail target:NAME`, `/ws/targets/NAME`), or subscribe to \
        `hexafn.outcomes`"
    )]
    Queue(String),
}

/// Checks the name of a topic that users publish to.
pub fn check_name(name: &str) -> Result<(), Error> {
    check(name, false)?;
    if name.starts_with(OWN_TOPICS) { Err(Error::Reserved(name.to_owned())) } else { Ok(()) }
}

/// Checks the name of a topic that settings are written for: one of yours, or one of hexaFn's that people settle or read.
///
/// # Errors
/// It is no name, or of a topic that is none of these.
pub fn check_settable(name: &str) -> Result<(), Error> {
    let own = name.strip_prefix(OWN_TOPICS);
    let settable = |rest: &str| ["alerts", "executions", "outcomes"].contains(&rest) || rest.starts_with("dead.");
    if own.is_some_and(settable) { check(name, false) } else { check_name(name) }
}

fn check(name: &str, wildcards: bool) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(Error::Long(name.len()));
    }
    let mut segments = name.split('.').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "*" if wildcards => {}
            ">" if wildcards && segments.peek().is_none() => {}
            ">" if wildcards => return Err(Error::Tail(name.to_owned())),
            _ if is_topic_segment(segment) => {}
            _ => return Err(Error::Malformed(name.to_owned())),
        }
    }
    Ok(())
}

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Str);

impl Pattern {
    /// Checks a pattern; a plain name is one that matches itself.
    pub fn new(text: &str) -> Result<Self, Error> {
        check(text, true)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, when it has no wildcard.
    pub fn literal(&self) -> Option<&Str> {
        (!self.0.contains(['*', '>'])).then_some(&self.0)
    }

    /// A pattern that a subscription is made with by a person or the configuration: none that matches a queue of hexaFn's own
    /// (`hexafn.out.…`, `hexafn.again.…`), whose records are removed once all subscriptions on it have handled them, so that
    /// one that does not would keep them for ever.
    pub fn subscribable(text: &str) -> Result<Self, Error> {
        let pattern = Self::new(text)?;
        let mut segments = text.split('.');
        // Wildcards do not reach into `hexafn.`.
        let own = segments.next() == Some("hexafn");
        let queue = match (segments.next(), segments.next()) {
            (Some(">"), _) => true,
            (Some("out" | "again" | "*"), rest) => rest.is_some(),
            _ => false,
        };
        if own && queue { Err(Error::Queue(text.to_owned())) } else { Ok(pattern) }
    }

    /// Whether a topic matches. Wildcards do not reach into `hexafn.` topics unless the pattern begins so.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with(OWN_TOPICS) && !self.0.starts_with(OWN_TOPICS) {
            return false;
        }
        let (mut pattern, mut name) = (self.0.split('.'), topic.split('.'));
        loop {
            match (pattern.next(), name.next()) {
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(p), Some(n)) if p == n => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Functions in other languages are told where they emit; both must say the same.
    #[test]
    fn what_a_function_may_emit_to_is_what_may_be_published_to() {
        let (longest, longer) = ("a".repeat(MAX_NAME), "a".repeat(MAX_NAME + 1));
        for name in [
            "a",
            "orders.eu-1.paid_2",
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "ä",
            "a.*",
            ">",
            "*",
            "a\n",
            "a/b",
            "hexafn",
            "hexafn.",
            "hexafn.alerts",
            "hexafn-a",
            "Hexafn.a",
            &longest,
            &longer,
        ] {
            assert_eq!(check_name(name).is_ok(), hexafn_runtimes::check_topic(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn wildcards() {
        let m = |p: &str, t: &str| Pattern::new(p).unwrap().matches(t);
        assert!(m("orders.*", "orders.eu") && !m("orders.*", "orders") && !m("orders.*", "orders.eu.paid"));
        assert!(m("orders.>", "orders.eu") && m("orders.>", "orders.eu.paid") && !m("orders.>", "orders"));
        assert!(m(">", "a") && m(">", "a.b") && !m(">", "hexafn.alerts") && m("hexafn.>", "hexafn.alerts"));
        assert!(m("*.paid", "eu.paid") && !m("*.paid", "eu.open") && m("a.b", "a.b") && !m("a.b", "a.bc"));
    }

    #[test]
    fn queues_cannot_be_subscribed_to() {
        for queues in [
            "hexafn.>",
            "hexafn.out.>",
            "hexafn.out.*",
            "hexafn.out.chat",
            "hexafn.*.chat",
            "hexafn.*.>",
            "hexafn.again.>",
        ] {
            assert_eq!(Pattern::subscribable(queues), Err(Error::Queue(queues.into())));
        }
        for others in
            [">", "*.out.>", "hexafn.*", "hexafn.out", "hexafn.outcomes", "hexafn.dead.>", "hexafn.timer.x", "out.>"]
        {
            assert!(Pattern::subscribable(others).is_ok(), "{others}");
        }
        assert!(matches!(Pattern::subscribable("hexafn..x"), Err(Error::Malformed(_))));
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(check_name(""), Err(Error::Empty));
        assert_eq!(check_name(&"a".repeat(201)), Err(Error::Long(201)));
        for bad in ["a..b", ".a", "a.", "a b", "a/b", "ä", "a.*", ">"] {
            assert!(matches!(check_name(bad), Err(Error::Malformed(_))), "{bad}");
        }
        assert!(matches!(check_name("hexafn.x"), Err(Error::Reserved(_))));
        assert!(matches!(Pattern::new("a.>.b"), Err(Error::Tail(_))));
        assert!(matches!(Pattern::new("a*"), Err(Error::Malformed(_))));
    }
}
