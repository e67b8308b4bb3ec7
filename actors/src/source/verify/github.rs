//! GitHub: HMAC-SHA-256 of the body in `X-Hub-Signature-256: sha256=<hex>`
//! (<https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>).
//!
//! GitHub signs neither a time nor the delivery id, so a recorded request stays valid until the secret is changed; the
//! deduplication window stops the repetition of a delivery id. A `ping` is an event like any other.

use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::{Algorithm, Encoding, Keys};
use super::{BodyFields, Delivery, Error, KEY_BYTES, Refusal, Scheme, Verified, label, load};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{SecretRef, SecretSource};

const SIGNATURE: &str = "x-hub-signature-256";

/// `{ scheme = "github", secrets = ["env:GITHUB_WEBHOOK_SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The secret of the webhook's settings page; two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        let secrets = load(&self.secrets, resolve, KEY_BYTES.0, KEY_BYTES.1)?;
        Ok(Box::new(Github { keys: Keys::new(Algorithm::Sha256, &secrets)? }))
    }
}

#[derive(Debug)]
struct Github {
    keys: Keys,
}

impl Scheme for Github {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], _now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(SIGNATURE).ok_or(Refusal::MissingSignature)?;
        let hex =
            value.strip_prefix("sha256=").ok_or(Refusal::Malformed("X-Hub-Signature-256 must begin with sha256="))?;
        let tag = Encoding::Hex.read(hex).ok_or(Refusal::Malformed("X-Hub-Signature-256 is not hex"))?;
        if !self.keys.any(&[body], std::iter::once(tag)) {
            return Err(Refusal::BadSignature);
        }
        Ok(Verified {
            delivery_id: label(request, "x-github-delivery"),
            kind: label(request, "x-github-event"),
            timestamp: None,
            body: BodyFields::default(),
        })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let hex = Encoding::Hex.write(&self.keys.tag(&[delivery.body]));
        let mut headers = vec![
            ("X-Hub-Signature-256".into(), format!("sha256={hex}")),
            ("X-GitHub-Delivery".into(), delivery.id.into()),
        ];
        headers.extend(delivery.kind.map(|kind| ("X-GitHub-Event".into(), kind.into())));
        headers
    }

    fn secret_headers(&self) -> Vec<String> {
        vec![SIGNATURE.into(), "x-hub-signature".into()]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::verifier;
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const VECTOR: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(signature: &str, body: &[u8]) -> Result<Verified, Refusal> {
        let headers =
            vec![("x-hub-signature-256", signature), ("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "d-1")];
        let config = r#"{ "scheme": "github", "secrets": ["env:A"] }"#;
        verifier(config, &[SECRET]).check(&RequestParts::post(&headers), body, Wall(0))
    }

    #[test]
    fn githubs_own_vector() {
        let verified = check(VECTOR, b"Hello, World!").unwrap();
        assert_eq!((verified.kind.as_deref(), verified.delivery_id.as_deref()), (Some("push"), Some("d-1")));
        assert!(check(&VECTOR.replace("757107ea", "757107EA"), b"Hello, World!").is_ok());
    }

    #[test]
    fn refusals() {
        assert_eq!(check(VECTOR, b"Hello, World"), Err(Refusal::BadSignature));
        assert_eq!(check("sha256=00", b"Hello, World!"), Err(Refusal::BadSignature));
        for malformed in ["", "sha256=", "sha256=xyz", "sha1=757107ea", &VECTOR[7..], "sha256=7571 07ea"] {
            assert!(matches!(check(malformed, b"Hello, World!"), Err(Refusal::Malformed(_))), "{malformed}");
        }
    }
}
