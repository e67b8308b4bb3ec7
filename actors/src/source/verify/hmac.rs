//! Any other HMAC: the header, its prefix, the hash, the encoding and the signed text are configured.
//!
//! Covers most senders that have a scheme of their own, for example GitLab-like, Linear, Zendesk, Twitch, Box.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::keys::{Algorithm, Encoding, Keys};
use super::template::{Filling, Template};
use super::{
    BodyFields, Delivery, Error, KEY_BYTES, MAX_ID, MAX_SIGNATURES, Refusal, Scheme, TOLERANCE, Verified, check_fresh,
    check_tolerance, digits, header_name, label, load,
};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{SecretRef, SecretSource};
use crate::source::units;

/// How a timestamp header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// Whole seconds since 1970.
    #[default]
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// RFC 3339, for example `2026-11-24T08:00:00Z`.
    Rfc3339,
}

impl TimestampFormat {
    fn read(self, text: &str) -> Option<Wall> {
        match self {
            Self::Unix => super::unix_seconds(text),
            Self::UnixMs => digits(text, 15).map(|n| Wall(n * 1_000)),
            Self::Rfc3339 if text.len() <= 40 => text.parse::<jiff::Timestamp>().ok().map(|t| Wall(t.as_microsecond())),
            Self::Rfc3339 => None,
        }
    }

    fn write(self, time: Wall) -> String {
        match self {
            Self::Unix => (time.0 / 1_000_000).to_string(),
            Self::UnixMs => (time.0 / 1_000).to_string(),
            Self::Rfc3339 => time.rfc3339(),
        }
    }
}

/// `{ scheme = "hmac", header = "X-Signature", secrets = ["env:SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The shared secret; two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
    /// The header of the signature.
    pub header: String,
    /// What stands before the signature in its header, for example `"sha256="`; default nothing.
    #[serde(default)]
    pub prefix: String,
    /// Separates several signatures in the header, for example `","`; default: there is one.
    #[serde(default)]
    pub separator: Option<char>,
    /// `sha1`, `sha256` (default) or `sha512`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// `hex` (default) or `base64`.
    #[serde(default)]
    pub encoding: Encoding,
    /// The signed text: default `"{body}"`. Also `{timestamp}`, `{id}`, `{method}`, `{query}`, `{header:name}`.
    #[serde(default = "default_template")]
    pub template: String,
    /// The header of the time of sending, which the template must cover; default none.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// `unix` (default), `unix_ms` or `rfc3339`.
    #[serde(default)]
    pub timestamp_format: TimestampFormat,
    /// How far the time may be from now; default 300 s. Only with `timestamp_header`.
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub tolerance: Option<Duration>,
    /// The header of the delivery id, for deduplication.
    #[serde(default)]
    pub id_header: Option<String>,
    /// The header of the event type.
    #[serde(default)]
    pub type_header: Option<String>,
}

fn default_template() -> String {
    "{body}".into()
}

fn some_duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    units::duration::deserialize(from).map(Some)
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        let wrong = |option, why: &str| Err(Error::Option { option, why: why.to_owned() });
        let tolerance = self.tolerance.unwrap_or(TOLERANCE);
        check_tolerance(tolerance)?;
        let template = Template::parse(&self.template)?;
        let optional = |option, name: &Option<String>| name.as_deref().map(|n| header_name(option, n)).transpose();
        let scheme = Hmac {
            header: header_name("header", &self.header)?,
            prefix: self.prefix.clone(),
            separator: self.separator,
            encoding: self.encoding,
            timestamp_header: optional("timestamp_header", &self.timestamp_header)?,
            timestamp_format: self.timestamp_format,
            tolerance,
            id_header: optional("id_header", &self.id_header)?,
            type_header: optional("type_header", &self.type_header)?,
            template,
            keys: Keys::new(self.algorithm, &load(&self.secrets, resolve, KEY_BYTES.0, KEY_BYTES.1)?)?,
        };
        match (&scheme.timestamp_header, scheme.template.has_timestamp()) {
            (None, true) => return wrong("timestamp_header", "is needed, since the template names {timestamp}"),
            (Some(_), false) => {
                let why = "must name {timestamp}: an unsigned time can be changed by whoever repeats the request";
                return wrong("template", why);
            }
            (None, false) if self.tolerance.is_some() => {
                return wrong("tolerance", "has no effect without timestamp_header: remove it, or name the header");
            }
            _ => {}
        }
        if scheme.template.has_id() && scheme.id_header.is_none() {
            return wrong("id_header", "is needed, since the template names {id}");
        }
        Ok(Box::new(scheme))
    }
}

#[derive(Debug)]
struct Hmac {
    header: Box<str>,
    prefix: String,
    separator: Option<char>,
    encoding: Encoding,
    template: Template,
    timestamp_header: Option<Box<str>>,
    timestamp_format: TimestampFormat,
    tolerance: Duration,
    id_header: Option<Box<str>>,
    type_header: Option<Box<str>>,
    keys: Keys,
}

impl Scheme for Hmac {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(&self.header).ok_or(Refusal::MissingSignature)?;
        let mut filling = Filling { timestamp: "", id: "", body };
        let mut timestamp = None;
        if let Some(header) = &self.timestamp_header {
            filling.timestamp = request.header(header).ok_or(Refusal::MissingSignature)?;
            let sent = self.timestamp_format.read(filling.timestamp);
            let sent = sent.ok_or(Refusal::Malformed("the timestamp header is not in the configured format"))?;
            check_fresh(sent, now, self.tolerance)?;
            timestamp = Some(sent);
        }
        if self.template.has_id() {
            let id = self.id_header.as_deref().and_then(|header| request.header(header));
            filling.id = id.filter(|id| !id.is_empty() && id.len() <= MAX_ID).ok_or(Refusal::MissingSignature)?;
        }
        let signed = self.template.fill(request, &filling).ok_or(Refusal::MissingSignature)?;

        let read = |text: &str| self.encoding.read(text.trim().strip_prefix(self.prefix.as_str())?);
        let matches = match self.separator {
            None => {
                let tag = read(value).ok_or(Refusal::Malformed("the signature lacks its prefix or its encoding"))?;
                self.keys.any(&signed, std::iter::once(tag))
            }
            Some(separator) => self.keys.any(&signed, value.split(separator).take(MAX_SIGNATURES).filter_map(read)),
        };
        if !matches {
            return Err(Refusal::BadSignature);
        }
        let named = |header: &Option<Box<str>>| header.as_deref().and_then(|header| label(request, header));
        Ok(Verified {
            delivery_id: named(&self.id_header),
            kind: named(&self.type_header),
            timestamp,
            body: BodyFields::default(),
        })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let timestamp = self.timestamp_format.write(delivery.now);
        let filling = Filling { timestamp: &timestamp, id: delivery.id, body: delivery.body };
        // A header that the template covers and the sender did not give is signed as empty, and will be refused.
        let signed = self.template.fill(&delivery.request, &filling).unwrap_or_default();
        let signature = self.encoding.write(&self.keys.tag(&signed));
        let mut headers = vec![(self.header.to_string(), format!("{}{signature}", self.prefix))];
        headers.extend(self.timestamp_header.as_ref().map(|name| (name.to_string(), timestamp.clone())));
        headers.extend(self.id_header.as_ref().map(|name| (name.to_string(), delivery.id.to_owned())));
        headers
            .extend(self.type_header.as_ref().zip(delivery.kind).map(|(name, kind)| (name.to_string(), kind.into())));
        headers
    }

    fn secret_headers(&self) -> Vec<String> {
        vec![self.header.to_string()]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{verifier, wrong};
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(options: &str, headers: &[(&str, &str)], body: &[u8], now: i64) -> Result<Verified, Refusal> {
        let config = format!(r#"{{ "scheme": "hmac", "secrets": ["env:A"], "header": "X-Sig" {options} }}"#);
        verifier(&config, &[SECRET]).check(&RequestParts::post(&headers.to_vec()), body, Wall(now * 1_000_000))
    }

    #[test]
    fn the_defaults_are_githubs_scheme_without_its_prefix() {
        assert!(check("", &[("X-Sig", HEX)], b"Hello, World!", 0).is_ok());
        let prefix = r#", "prefix": "sha256=""#;
        assert!(check(prefix, &[("X-Sig", &format!("sha256={HEX}"))], b"Hello, World!", 0).is_ok());
        assert!(matches!(check(prefix, &[("X-Sig", HEX)], b"Hello, World!", 0), Err(Refusal::Malformed(_))));
        let headers = [("X-Sig", HEX), ("X-Id", "7"), ("X-Type", "t")];
        let verified =
            check(r#", "id_header": "X-Id", "type_header": "X-Type""#, &headers, b"Hello, World!", 0).unwrap();
        assert_eq!((verified.delivery_id.as_deref(), verified.kind.as_deref()), (Some("7"), Some("t")));
    }

    /// Made with `printf 'Hello, World!' | openssl dgst -sha1 -hmac "$SECRET"`, and -sha512 -binary | base64.
    #[test]
    fn other_hashes_and_encodings() {
        assert!(
            check(
                r#", "algorithm": "sha1""#,
                &[("X-Sig", "01dc10d0c83e72ed246219cdd91669667fe2ca59")],
                b"Hello, World!",
                0
            )
            .is_ok()
        );
        let base64 = "Ee01WmF+mBNOhCASp5RMz1nBAlbLGCNXvX46QgE/8Hw3b4wUz1zBkj2iC1HWQlay+4678QCqZ6YTJvYf6oERvA==";
        let options = r#", "algorithm": "sha512", "encoding": "base64""#;
        assert!(check(options, &[("X-Sig", base64)], b"Hello, World!", 0).is_ok());
        assert_eq!(
            check(r#", "algorithm": "sha512""#, &[("X-Sig", HEX)], b"Hello, World!", 0),
            Err(Refusal::BadSignature)
        );
    }

    #[test]
    fn several_signatures() {
        let options = r#", "separator": ",", "prefix": "v1=""#;
        let wrong = format!("v1={},", "00".repeat(32));
        assert!(check(options, &[("X-Sig", &format!("{}v1={HEX}", wrong.repeat(7)))], b"Hello, World!", 0).is_ok());
        let ninth = format!("{} v1={HEX}", wrong.repeat(8));
        assert_eq!(check(options, &[("X-Sig", &ninth)], b"Hello, World!", 0), Err(Refusal::BadSignature));
    }

    #[test]
    fn a_timestamp_is_checked_in_each_format() {
        let body = b"x";
        for (format, text, now) in [
            ("unix", "1700000000", 1_700_000_300),
            ("unix_ms", "1700000000000", 1_699_999_700),
            ("rfc3339", "2023-11-14T22:13:20Z", 1_700_000_000),
        ] {
            let options = format!(
                r#", "template": "{{timestamp}}.{{body}}", "timestamp_header": "X-Time", "timestamp_format": "{format}""#
            );
            let keys = Keys::new(Algorithm::Sha256, &[crate::source::secret::Secret::new(SECRET.into())]).unwrap();
            let hex = Encoding::Hex.write(&keys.tag(&[text.as_bytes(), b".", body]));
            let headers = [("X-Sig", hex.as_str()), ("X-Time", text)];
            assert!(check(&options, &headers, body, now).is_ok(), "{format}");
            assert_eq!(check(&options, &headers, body, now + 1_000), Err(Refusal::Stale), "{format}");
            assert_eq!(check(&options, &headers[..1], body, now), Err(Refusal::MissingSignature), "{format}");
            let other = [("X-Sig", hex.as_str()), ("X-Time", "now")];
            assert!(matches!(check(&options, &other, body, now), Err(Refusal::Malformed(_))), "{format}");
        }
    }

    #[test]
    fn options_that_protect_nothing_are_refused() {
        let told = |options: &str| {
            wrong(&format!(r#"{{ "scheme": "hmac", "secrets": ["env:A"], "header": "X-Sig" {options} }}"#), &[SECRET])
        };
        assert!(told(r#", "timestamp_header": "X-Time""#).contains("unsigned time"));
        assert!(told(r#", "template": "{timestamp}{body}""#).contains("timestamp_header"));
        assert!(told(r#", "template": "{id}{body}""#).contains("id_header"));
        assert!(told(r#", "tolerance": "5m""#).contains("no effect"));
        assert!(
            told(r#", "tolerance": "2d", "template": "{timestamp}{body}", "timestamp_header": "T""#).contains("24h")
        );
        assert!(told(r#", "id_header": "a b""#).contains("not a header name"));
    }
}
