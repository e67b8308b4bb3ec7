//! What the answer of a receiver means: status, `Retry-After`, `webhook-delivery`, and how much of it is read.

use http::StatusCode;
use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use std::time::Duration;

use crate::clock::Wall;
use crate::event::Str;
use crate::target::statuses::Retries;
use crate::target::{FailureClass, Verdict};

/// The longest `Retry-After` that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How much of an answer's body is shown in the delivery log, in bytes.
pub const EXCERPT: usize = 512;
/// How much of it is kept for that: what is to be masked at the end of what is shown must be whole.
const KEPT: usize = EXCERPT + 512;

/// What of a URL an event gives. An answer may speak of that, and not of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Nothing: it is the same for all events.
    Nothing,
    /// What comes behind the host.
    Path,
    /// The host, or a part of it.
    Host,
}

/// What the head of an answer means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// 2xx: received.
    Received {
        /// And no more of them, please (`webhook-delivery: disable`).
        disable_target: bool,
    },
    /// Anything else.
    Failed {
        /// The kind of failure.
        class: FailureClass,
        /// For people.
        message: String,
        /// A floor for the next attempt.
        retry_after: Option<Duration>,
        /// What may follow.
        verdict: Verdict,
        /// Whether it is about what the event gave of the URL.
        of_event: bool,
    },
}

/// Reads the head of an answer. What `retries` does not name is tried again where it is passing by nature, and else where
/// they say so for 4xx (receivers answer 401 and 404 while they are being deployed).
pub fn meaning(status: StatusCode, headers: &HeaderMap, now: Wall, retries: &Retries, given: Given) -> Meaning {
    let wish = headers.get("webhook-delivery").and_then(|v| v.to_str().ok()).map(str::trim).unwrap_or_default();
    let disable = wish.eq_ignore_ascii_case("disable");
    // A host that an event gave speaks for itself: the events of others do not go there.
    let (disable, alone) = (disable && given != Given::Host, disable && given == Given::Host);
    let abort = alone || wish.eq_ignore_ascii_case("abort-message");
    if status.is_success() {
        return Meaning::Received { disable_target: disable };
    }
    let code = status.as_u16();
    let (class, mut message) = if status.is_redirection() {
        // A 304 names no other address, and so there is none to set.
        let said = match headers.get(LOCATION).and_then(|v| v.to_str().ok()) {
            Some(to) => {
                let to: String = to.chars().take(200).flat_map(char::escape_debug).collect();
                format!("answered {status} to {to}; redirects are not followed: set `url` to the final address")
            }
            None => format!("answered {status}; expected 2xx"),
        };
        (FailureClass::Redirect, said)
    } else {
        (FailureClass::Status(code), format!("answered {status}; expected 2xx"))
    };
    // Nothing is there, or not for this, or the address is too long.
    let of_event = given != Given::Nothing && matches!(code, 404 | 405 | 410 | 414);
    let temporary = matches!(code, 408 | 425 | 429 | 500..=599);
    let asked = retries.by_status(code);
    let verdict = if disable || (code == 410 && asked.is_none() && !of_event) {
        message.push_str("; the receiver wants no more events: the target is disabled, its events are kept");
        Verdict::DisableTarget
    } else if abort {
        message.push_str("; the receiver wants this event not to be sent again");
        Verdict::DeadLetter
    } else if let Some(asked) = asked {
        asked
    } else if code == 410 {
        message.push_str("; the receiver wants no more events at this URL");
        Verdict::DeadLetter
    } else if temporary || status.is_redirection() || retries.client_errors {
        Verdict::Retry
    } else {
        Verdict::DeadLetter
    };
    let retry_after = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|text| retry_after(text, now));
    let retry_after = retry_after.filter(|_| verdict == Verdict::Retry);
    Meaning::Failed { class, message, retry_after, verdict, of_event }
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in any of the three forms of HTTP. What lies in the
/// past or is negative is zero; what lies further than 24 h ahead is 24 h; what is neither is `None`.
pub fn retry_after(text: &str, now: Wall) -> Option<Duration> {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let integer = digits.split('.').next().unwrap_or_default();
    if !integer.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        if text.starts_with('-') {
            return Some(Duration::ZERO);
        }
        // A number beyond u64 is beyond the cap as well.
        let seconds = integer.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let until = http_date(text)?;
    Some(until.since(now).min(MAX_RETRY_AFTER))
}

/// A date of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT` and the two obsolete forms.
fn http_date(text: &str) -> Option<Wall> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    FORMS.iter().find_map(|form| {
        let civil = jiff::civil::DateTime::strptime(form, text).ok()?;
        Some(Wall(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond()))
    })
}

/// The beginning of an answer's body for a message: text, control characters escaped.
pub fn excerpt(body: &[u8]) -> Option<Str> {
    escaped(&body[..body.len().min(EXCERPT)])
}

/// The beginning of an answer's body for the delivery log, which cuts it once it is masked.
pub fn beginning(body: &[u8]) -> Option<Str> {
    escaped(&body[..body.len().min(KEPT)])
}

fn escaped(head: &[u8]) -> Option<Str> {
    let text = String::from_utf8_lossy(head);
    let escape = |c: char| if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() };
    let text: String = text.trim_end().chars().map(escape).collect();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const THEN: Wall = Wall(784_111_777_000_000);

    #[test]
    fn retry_after_in_all_forms_and_absurd_values() {
        let just_before = Wall(THEN.0 - 30_000_000);
        for (text, now, expected) in [
            ("0", THEN, Some(0)),
            ("120", THEN, Some(120)),
            (" 7 ", THEN, Some(7)),
            ("1.5", THEN, Some(1)),
            ("-5", THEN, Some(0)),
            ("315360000", THEN, Some(86_400)),
            ("99999999999999999999999999", THEN, Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", just_before, Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", just_before, Some(30)),
            ("Sun Nov  6 08:49:37 1994", just_before, Some(30)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Wall(THEN.0 + 1_000_000), Some(0)),
            ("Thu, 06 Nov 2104 08:49:37 GMT", THEN, Some(86_400)),
            ("soon", THEN, None),
            ("", THEN, None),
            ("-", THEN, None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn what_an_answer_says_of_a_url_that_an_event_gave_it_says_of_that_alone() {
        use Verdict::{DeadLetter, DisableTarget, Retry};
        let named = serde_json::from_str(r#"{"again": [410]}"#).unwrap();
        let (usual, named) = (Retries::new(&Default::default(), true), Retries::new(&named, true));
        for (status, wish, given, retries, expected) in [
            (410, "", Given::Nothing, &usual, (DisableTarget, false)),
            (410, "", Given::Path, &usual, (DeadLetter, true)),
            (410, "", Given::Host, &named, (Retry, true)),
            (404, "", Given::Nothing, &usual, (Retry, false)),
            (404, "", Given::Path, &usual, (Retry, true)),
            (405, "", Given::Path, &usual, (Retry, true)),
            (414, "", Given::Host, &usual, (Retry, true)),
            (400, "", Given::Host, &usual, (Retry, false)),
            (503, "", Given::Host, &usual, (Retry, false)),
            (503, "disable", Given::Path, &usual, (DisableTarget, false)),
            (503, "disable", Given::Host, &usual, (DeadLetter, false)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("webhook-delivery", HeaderValue::from_str(wish).unwrap());
            match meaning(StatusCode::from_u16(status).unwrap(), &headers, THEN, retries, given) {
                Meaning::Failed { verdict, of_event, .. } => {
                    assert_eq!((verdict, of_event), expected, "{status} {wish} {given:?}");
                }
                Meaning::Received { .. } => panic!("{status} is no delivery"),
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert("webhook-delivery", HeaderValue::from_static("disable"));
        for (given, disable_target) in [(Given::Path, true), (Given::Host, false)] {
            assert_eq!(meaning(StatusCode::OK, &headers, THEN, &usual, given), Meaning::Received { disable_target });
        }
    }

    fn verdict_of(status: u16, wish: &str, client_errors: bool) -> Option<Verdict> {
        verdict_by(status, wish, &Retries::new(&crate::target::RetrySettings::default(), client_errors))
    }

    fn verdict_by(status: u16, wish: &str, retries: &Retries) -> Option<Verdict> {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-delivery", HeaderValue::from_str(wish).unwrap());
        match meaning(StatusCode::from_u16(status).unwrap(), &headers, THEN, retries, Given::Nothing) {
            Meaning::Received { .. } => None,
            Meaning::Failed { verdict, .. } => Some(verdict),
        }
    }

    #[test]
    fn verdicts() {
        use Verdict::{DeadLetter, DisableTarget, Retry};
        for (status, wish, retry_4xx, expected) in [
            (200, "", true, None),
            (204, "abort-message", true, None),
            (302, "", false, Some(Retry)),
            (400, "", true, Some(Retry)),
            (400, "", false, Some(DeadLetter)),
            (408, "", false, Some(Retry)),
            (425, "", false, Some(Retry)),
            (429, "", false, Some(Retry)),
            (503, "", false, Some(Retry)),
            (503, "Abort-Message", true, Some(DeadLetter)),
            (503, "disable", true, Some(DisableTarget)),
            (410, "", true, Some(DisableTarget)),
            (700, "", true, Some(Retry)),
        ] {
            assert_eq!(verdict_of(status, wish, retry_4xx), expected, "{status} {wish}");
        }
    }

    #[test]
    fn a_3xx_names_an_address_where_it_has_one() {
        let mut headers = HeaderMap::new();
        let said = |status: u16, headers: &HeaderMap| {
            let retries = Retries::new(&crate::target::RetrySettings::default(), true);
            match meaning(StatusCode::from_u16(status).unwrap(), headers, THEN, &retries, Given::Nothing) {
                Meaning::Failed { class: FailureClass::Redirect, message, .. } => message,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(said(304, &headers), "answered 304 Not Modified; expected 2xx");
        assert_eq!(said(301, &headers), "answered 301 Moved Permanently; expected 2xx");
        headers.insert(LOCATION, HeaderValue::from_static("https://b.example/"));
        let moved = "answered 308 Permanent Redirect to https://b.example/; redirects are not followed: set `url` to the \
                     final address";
        assert_eq!(said(308, &headers), moved);
    }

    #[test]
    fn statuses_that_are_named_go_before_what_is_usual() {
        use Verdict::{DeadLetter, DisableTarget, Retry};
        let settings: crate::target::RetrySettings =
            serde_json::from_str(r#"{"again": [409, 410, "520-529"], "never": ["4xx", 501, "3xx"]}"#).unwrap();
        let retries = Retries::new(&settings, true);
        for (status, wish, expected) in [
            (200, "", None),
            (302, "", Some(DeadLetter)),
            (400, "", Some(DeadLetter)),
            (409, "", Some(Retry)),
            (410, "", Some(Retry)),
            (429, "", Some(DeadLetter)),
            (500, "", Some(Retry)),
            (501, "", Some(DeadLetter)),
            (521, "", Some(Retry)),
            (501, "disable", Some(DisableTarget)),
            (409, "abort-message", Some(DeadLetter)),
        ] {
            assert_eq!(verdict_by(status, wish, &retries), expected, "{status} {wish}");
        }
        // A class does not take from 410 what it says of the target.
        let settings = serde_json::from_str(r#"{"never": ["4xx"]}"#).unwrap();
        assert_eq!(verdict_by(410, "", &Retries::new(&settings, true)), Some(DisableTarget));
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(text in ".{0,40}", now: i64) {
            if let Some(pause) = retry_after(&text, Wall(now)) {
                proptest::prop_assert!(pause <= MAX_RETRY_AFTER);
            }
        }

        #[test]
        fn excerpts_hold_no_control_characters(body: Vec<u8>) {
            proptest::prop_assert!(excerpt(&body).is_none_or(|text| !text.chars().any(char::is_control)));
        }
    }
}
