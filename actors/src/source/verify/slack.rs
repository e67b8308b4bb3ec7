//! Slack: HMAC-SHA-256 of `v0:{timestamp}:{body}` in `X-Slack-Signature: v0=<hex>`, the time in
//! `X-Slack-Request-Timestamp` (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).
//!
//! When an endpoint is set up, Slack sends a signed `url_verification` request and expects its challenge back.

use hexafn_dsl::json::{Doc, Limits};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

use super::keys::{Algorithm, Encoding, Keys};
use super::{
    BodyFields, Delivery, Error, KEY_BYTES, Refusal, Scheme, Verified, check_fresh, check_tolerance, load, unix_seconds,
};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{SecretRef, SecretSource};
use crate::source::units;

const SIGNATURE: &str = "x-slack-signature";
const TIMESTAMP: &str = "x-slack-request-timestamp";

/// A challenge request is small; a larger body is an event.
const CHALLENGE_BODY: usize = 4_096;

/// `{ scheme = "slack", secrets = ["env:SLACK_SIGNING_SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The app's signing secret; two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
    /// How far the timestamp may be from now; default 300 s, as Slack recommends.
    #[serde(default = "super::default_tolerance", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub tolerance: Duration,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        check_tolerance(self.tolerance)?;
        let secrets = load(&self.secrets, resolve, KEY_BYTES.0, KEY_BYTES.1)?;
        Ok(Box::new(Slack { keys: Keys::new(Algorithm::Sha256, &secrets)?, tolerance: self.tolerance }))
    }
}

#[derive(Debug)]
struct Slack {
    keys: Keys,
    tolerance: Duration,
}

impl Scheme for Slack {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(SIGNATURE).ok_or(Refusal::MissingSignature)?;
        let time = request.header(TIMESTAMP).ok_or(Refusal::MissingSignature)?;
        let sent = unix_seconds(time).ok_or(Refusal::Malformed("X-Slack-Request-Timestamp is not a Unix time"))?;
        let hex = value.strip_prefix("v0=").ok_or(Refusal::Malformed("X-Slack-Signature must begin with v0="))?;
        let tag = Encoding::Hex.read(hex).ok_or(Refusal::Malformed("X-Slack-Signature is not hex"))?;
        check_fresh(sent, now, self.tolerance)?;
        if !self.keys.any(&[b"v0:", time.as_bytes(), b":", body], std::iter::once(tag)) {
            return Err(Refusal::BadSignature);
        }
        let body = BodyFields { id: &[&["event_id"]], kind: &[&["event", "type"], &["type"]] };
        Ok(Verified { delivery_id: None, kind: None, timestamp: Some(sent), body })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let time = (delivery.now.0 / 1_000_000).to_string();
        let hex = Encoding::Hex.write(&self.keys.tag(&[b"v0:", time.as_bytes(), b":", delivery.body]));
        vec![("X-Slack-Signature".into(), format!("v0={hex}")), ("X-Slack-Request-Timestamp".into(), time)]
    }

    fn secret_headers(&self) -> Vec<String> {
        vec![SIGNATURE.into()]
    }

    fn challenge(&self, body: &[u8]) -> Option<String> {
        challenge(body)
    }
}

/// The text to answer when a (verified) body is Slack's `url_verification`.
pub fn challenge(body: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"url_verification";
    if body.len() > CHALLENGE_BODY || !body.windows(MARK.len()).any(|window| window == MARK) {
        return None;
    }
    let doc = Doc::parse(bytes::Bytes::copy_from_slice(body), &Limits::default()).ok()?;
    let root = doc.root();
    if root.get("type")?.as_str()? != "url_verification" {
        return None;
    }
    let text = root.get("challenge")?.as_str()?;
    // It is echoed as text/plain; anything but a plain token would let the sender choose what a browser shows.
    let plain = (1..=1_024).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::verifier;
    use super::*;

    const CONFIG: &str = r#"{ "scheme": "slack", "secrets": ["env:A"] }"#;
    // The published example of Slack's documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIME: i64 = 1_531_420_618;
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
        hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.\
        803a0bc887a14d10d2c447fce8b6703c";
    const VECTOR: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn check(signature: &str, time: &str, now: i64) -> Result<Verified, Refusal> {
        let headers = vec![("X-Slack-Signature", signature), ("X-Slack-Request-Timestamp", time)];
        verifier(CONFIG, &[SECRET]).check(&RequestParts::post(&headers), BODY, Wall(now * 1_000_000))
    }

    #[test]
    fn slacks_own_vector() {
        assert_eq!(check(VECTOR, "1531420618", TIME).unwrap().timestamp, Some(Wall(TIME * 1_000_000)));
    }

    #[test]
    fn refusals() {
        assert_eq!(check(VECTOR, "1531420618", TIME + 301), Err(Refusal::Stale));
        assert_eq!(check(VECTOR, "1531420618", TIME - 301), Err(Refusal::Stale));
        assert_eq!(check(VECTOR, "1531420619", TIME), Err(Refusal::BadSignature));
        assert!(matches!(check(VECTOR, "soon", TIME), Err(Refusal::Malformed(_))));
        assert!(matches!(check(&VECTOR[3..], "1531420618", TIME), Err(Refusal::Malformed(_))));
        assert!(matches!(check("v0=xx", "1531420618", TIME), Err(Refusal::Malformed(_))));
        let headers = vec![("X-Slack-Signature", VECTOR)];
        let checked = verifier(CONFIG, &[SECRET]).check(&RequestParts::post(&headers), BODY, Wall(0));
        assert_eq!(checked, Err(Refusal::MissingSignature));
    }

    #[test]
    fn the_challenge_is_answered_and_nothing_else() {
        let body = br#"{"token":"Jhj5","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
        assert_eq!(challenge(body).unwrap(), "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
        for other in [
            r#"{"type":"event_callback","challenge":"url_verification"}"#,
            r#"{"type":"url_verification"}"#,
            r#"{"type":"url_verification","challenge":"<script>alert(1) </script>"}"#,
            r#"{"type":"url_verification","challenge":7}"#,
            "url_verification",
            "",
        ] {
            assert_eq!(challenge(other.as_bytes()), None, "{other}");
        }
    }
}
