//! Shopify: HMAC-SHA-256 of the body, base64, in `X-Shopify-Hmac-SHA256`
//! (<https://shopify.dev/docs/apps/build/webhooks/subscribe/https>). `X-Shopify-Topic` is the type and
//! `X-Shopify-Webhook-Id` the delivery id; no time is signed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::{Algorithm, Encoding, Keys};
use super::{BodyFields, Delivery, Error, KEY_BYTES, Refusal, Scheme, Verified, label, load};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{SecretRef, SecretSource};

const SIGNATURE: &str = "x-shopify-hmac-sha256";

/// `{ scheme = "shopify", secrets = ["env:SHOPIFY_CLIENT_SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The app's client secret; two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        let secrets = load(&self.secrets, resolve, KEY_BYTES.0, KEY_BYTES.1)?;
        Ok(Box::new(Shopify { keys: Keys::new(Algorithm::Sha256, &secrets)? }))
    }
}

#[derive(Debug)]
struct Shopify {
    keys: Keys,
}

impl Scheme for Shopify {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], _now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(SIGNATURE).ok_or(Refusal::MissingSignature)?;
        let tag = Encoding::Base64.read(value).ok_or(Refusal::Malformed("X-Shopify-Hmac-SHA256 is not base64"))?;
        if !self.keys.any(&[body], std::iter::once(tag)) {
            return Err(Refusal::BadSignature);
        }
        Ok(Verified {
            delivery_id: label(request, "x-shopify-webhook-id"),
            kind: label(request, "x-shopify-topic"),
            timestamp: None,
            body: BodyFields::default(),
        })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let mac = Encoding::Base64.write(&self.keys.tag(&[delivery.body]));
        let mut headers =
            vec![("X-Shopify-Hmac-SHA256".into(), mac), ("X-Shopify-Webhook-Id".into(), delivery.id.into())];
        headers.extend(delivery.kind.map(|kind| ("X-Shopify-Topic".into(), kind.into())));
        headers
    }

    fn secret_headers(&self) -> Vec<String> {
        vec![SIGNATURE.into()]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::verifier;
    use super::*;

    const CONFIG: &str = r#"{ "scheme": "shopify", "secrets": ["env:A"] }"#;
    const SECRET: &str = "shpss_0123456789abcdef0123456789abcdef";
    /// `printf '{"id":1}' | openssl dgst -sha256 -hmac "$SECRET" -binary | base64`
    const VECTOR: &str = "4GHarqKT6Ii21bNJz9F4jAwZD+ZP23np8M9NQRhQqZI=";

    fn check(signature: &str, body: &[u8]) -> Result<Verified, Refusal> {
        let headers = vec![("X-Shopify-Hmac-Sha256", signature), ("X-Shopify-Topic", "orders/create")];
        verifier(CONFIG, &[SECRET]).check(&RequestParts::post(&headers), body, Wall(0))
    }

    #[test]
    fn a_vector_made_with_openssl() {
        assert_eq!(check(VECTOR, br#"{"id":1}"#).unwrap().kind.as_deref(), Some("orders/create"));
    }

    #[test]
    fn refusals() {
        assert_eq!(check(VECTOR, br#"{"id":2}"#), Err(Refusal::BadSignature));
        assert_eq!(check("AAAA", br#"{"id":1}"#), Err(Refusal::BadSignature));
        for malformed in ["", "=", "%%%", &VECTOR[1..]] {
            assert!(matches!(check(malformed, br#"{"id":1}"#), Err(Refusal::Malformed(_))), "{malformed}");
        }
    }
}
