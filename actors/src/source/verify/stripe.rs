//! Stripe: HMAC-SHA-256 of `{t}.{body}` in `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…]`
//! (<https://docs.stripe.com/webhooks/signature>). Any `v1` may match; other schemes (`v0`) are ignored.
//!
//! The event's id and type stand in the body (`id`, `type`).

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

use super::keys::{Algorithm, Encoding, Keys};
use super::{
    BodyFields, Delivery, Error, KEY_BYTES, MAX_SIGNATURES, Refusal, Scheme, Verified, check_fresh, check_tolerance,
    load, unix_seconds,
};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{SecretRef, SecretSource};
use crate::source::units;

const SIGNATURE: &str = "stripe-signature";

/// `{ scheme = "stripe", secrets = ["env:STRIPE_ENDPOINT_SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The endpoint's signing secret, whole (`whsec_…`); two while rolling it.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
    /// How far `t` may be from now; default 300 s, as Stripe's libraries do.
    #[serde(default = "super::default_tolerance", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub tolerance: Duration,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        check_tolerance(self.tolerance)?;
        let secrets = load(&self.secrets, resolve, KEY_BYTES.0, KEY_BYTES.1)?;
        Ok(Box::new(Stripe { keys: Keys::new(Algorithm::Sha256, &secrets)?, tolerance: self.tolerance }))
    }
}

#[derive(Debug)]
struct Stripe {
    keys: Keys,
    tolerance: Duration,
}

impl Scheme for Stripe {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(SIGNATURE).ok_or(Refusal::MissingSignature)?;
        // A few items beside the signatures, and then no more of the header is read.
        let items = || value.split(',').take(2 * MAX_SIGNATURES).filter_map(|item| item.trim().split_once('='));
        let mut times = items().filter(|(name, _)| *name == "t").map(|(_, value)| value);
        let text = times.next().ok_or(Refusal::Malformed("Stripe-Signature has no t="))?;
        if times.next().is_some() {
            return Err(Refusal::Malformed("Stripe-Signature has two t="));
        }
        let sent = unix_seconds(text).ok_or(Refusal::Malformed("t= of Stripe-Signature is not a Unix time"))?;
        let signatures = items().filter(|(name, _)| *name == "v1");
        if signatures.clone().next().is_none() {
            return Err(Refusal::MissingSignature);
        }
        check_fresh(sent, now, self.tolerance)?;
        let tags = signatures.take(MAX_SIGNATURES).filter_map(|(_, hex)| Encoding::Hex.read(hex));
        if !self.keys.any(&[text.as_bytes(), b".", body], tags) {
            return Err(Refusal::BadSignature);
        }
        let body = BodyFields { id: &[&["id"]], kind: &[&["type"]] };
        Ok(Verified { delivery_id: None, kind: None, timestamp: Some(sent), body })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let t = (delivery.now.0 / 1_000_000).to_string();
        let hex = Encoding::Hex.write(&self.keys.tag(&[t.as_bytes(), b".", delivery.body]));
        vec![("Stripe-Signature".into(), format!("t={t},v1={hex}"))]
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

    const SECRET: &str = "whsec_test_secret_of_24_bytes_or_more";
    const BODY: &[u8] = br#"{"id":"evt_1","type":"charge.succeeded"}"#;
    const CONFIG: &str = r#"{ "scheme": "stripe", "secrets": ["env:A"] }"#;
    /// `printf '1492774577.{"id":"evt_1","type":"charge.succeeded"}' | openssl dgst -sha256 -hmac "$SECRET"`
    const HEX: &str = "b2473932e94caf1d07d2da92bba27128ea0b5573592a9cd71a8602e50b53547b";

    fn at(seconds: i64, signature: &str) -> Result<Verified, Refusal> {
        let headers = vec![("Stripe-Signature", signature)];
        verifier(CONFIG, &[SECRET]).check(&RequestParts::post(&headers), BODY, Wall(seconds * 1_000_000))
    }

    #[test]
    fn a_vector_made_with_openssl() {
        let verified = at(1_492_774_577, &format!("t=1492774577,v1={HEX}")).unwrap();
        assert_eq!(verified.timestamp, Some(Wall(1_492_774_577_000_000)));
        assert!(at(1_492_774_577, &format!("t=1492774577,v1=00ff,v0=aa,v1={HEX}")).is_ok());
        assert!(at(1_492_774_577, &format!("v1=zz, v1={HEX}, t=1492774577")).is_ok());
    }

    #[test]
    fn the_window_is_300_seconds_either_way() {
        let signature = format!("t=1492774577,v1={HEX}");
        assert!(at(1_492_774_877, &signature).is_ok());
        assert!(at(1_492_774_277, &signature).is_ok());
        assert_eq!(at(1_492_774_878, &signature), Err(Refusal::Stale));
        assert_eq!(at(1_492_774_276, &signature), Err(Refusal::Stale));
    }

    #[test]
    fn of_a_thousand_signatures_eight_are_checked() {
        let filled = |wrong: usize| {
            let mut signature = format!("t=1492774577{}", format!(",v1={}", "00".repeat(32)).repeat(wrong));
            signature.push_str(&format!(",v1={HEX}"));
            signature.push_str(&format!(",v1={}", "11".repeat(32)).repeat(1_000));
            signature
        };
        assert!(at(1_492_774_577, &filled(7)).is_ok());
        assert_eq!(at(1_492_774_577, &filled(8)), Err(Refusal::BadSignature));
    }

    #[test]
    fn refusals() {
        let now = 1_492_774_577;
        assert_eq!(at(now, "t=1492774577"), Err(Refusal::MissingSignature));
        assert_eq!(at(now, &format!("t=1492774578,v1={HEX}")), Err(Refusal::BadSignature));
        for malformed in [
            "".to_owned(),
            format!("v1={HEX}"),
            format!("t=,v1={HEX}"),
            format!("t=-1492774577,v1={HEX}"),
            format!("t=+1492774577,v1={HEX}"),
            format!("t=1492774577.0,v1={HEX}"),
            format!("t=1492774577,t=1492774577,v1={HEX}"),
            format!("t=99999999999999999999,v1={HEX}"),
        ] {
            assert!(matches!(at(now, &malformed), Err(Refusal::Malformed(_))), "{malformed}");
        }
    }
}
