//! Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,<base64> [v1a,<base64> …]` over
//! `{id}.{timestamp}.{body}` (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! `v1` is HMAC-SHA-256 under a `whsec_` secret, `v1a` is Ed25519 under a `whpk_` public key; a source may know one of
//! each, or two of a kind while rotating.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use zeroize::Zeroizing;

use super::keys::{Algorithm, Encoding, Keys, Tag};
use super::{
    BodyFields, Delivery, Error, KEY_BYTES, MAX_ID, MAX_SIGNATURES, Refusal, Role, Scheme, Verified, check_fresh,
    check_length, check_tolerance, read_all, unix_seconds,
};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{Secret, SecretRef, SecretSource};
use crate::source::units;

const SIGNATURE: &str = "webhook-signature";
const TIMESTAMP: &str = "webhook-timestamp";
const ID: &str = "webhook-id";

/// `{ scheme = "standard", secrets = ["env:WEBHOOK_SECRET"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `whsec_…` (HMAC) or `whpk_…` (Ed25519 public key; the sender's side uses `whsk_…`); two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
    /// How far the timestamp may be from now; default 300 s.
    #[serde(default = "super::default_tolerance", with = "units::duration")]
    #[schemars(schema_with = "units::duration::schema")]
    pub tolerance: Duration,
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource, role: Role) -> Result<Box<dyn Scheme>, Error> {
        check_tolerance(self.tolerance)?;
        let mut scheme = Standard { hmac: None, public: Vec::new(), private: None, tolerance: self.tolerance };
        let mut symmetric = Vec::new();
        for (reference, secret) in read_all(&self.secrets, resolve)? {
            match read_key(&reference, &secret)? {
                Key::Hmac(key) => symmetric.push(key),
                Key::Public(_) if role == Role::Send => {
                    let why = "is a public key (whpk_), which cannot sign: give the sender's whsk_ key";
                    return Err(Error::Key { reference, why });
                }
                Key::Public(key) => scheme.public.push(key),
                Key::Private(_) if role == Role::Receive => {
                    let why = "is a private key (whsk_), which belongs to the sender only: give its whpk_ key";
                    return Err(Error::Key { reference, why });
                }
                Key::Private(key) => scheme.private = scheme.private.take().or(Some(*key)),
            }
        }
        if !symmetric.is_empty() {
            scheme.hmac = Some(Keys::new(Algorithm::Sha256, &symmetric)?);
        }
        Ok(Box::new(scheme))
    }
}

enum Key {
    Hmac(Secret),
    Public(VerifyingKey),
    Private(Box<SigningKey>),
}

fn read_key(reference: &str, secret: &Secret) -> Result<Key, Error> {
    let wrong = |why| Error::Key { reference: reference.to_owned(), why };
    let text = std::str::from_utf8(secret.expose()).map_err(|_| wrong("is not text"))?;
    let form = "must begin with whsec_ (HMAC) or whpk_ (Ed25519 public key), followed by base64";
    let (prefix, encoded) = text.split_once('_').ok_or(wrong(form))?;
    let key = STANDARD.decode(encoded).map(Zeroizing::new);
    let key = key.map_err(|_| wrong("is not base64 after its prefix"))?;
    match prefix {
        "whsec" => {
            check_length(reference, key.len(), KEY_BYTES.0, KEY_BYTES.1)?;
            Ok(Key::Hmac(Secret::new(key.to_vec())))
        }
        "whpk" => {
            let bytes = key.as_slice().try_into().map_err(|_| wrong("is not an Ed25519 public key of 32 bytes"))?;
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| wrong("is not a point of Ed25519"))?;
            if key.is_weak() {
                return Err(wrong("is a weak Ed25519 key, which verifies almost anything"));
            }
            Ok(Key::Public(key))
        }
        "whsk" => {
            // The seed alone, or the seed followed by the public key.
            let seed = match key.len() {
                32 | 64 => key.first_chunk::<32>(),
                _ => None,
            };
            let seed = seed.ok_or(wrong("is not an Ed25519 private key of 32 or 64 bytes"))?;
            Ok(Key::Private(Box::new(SigningKey::from_bytes(seed))))
        }
        _ => Err(wrong(form)),
    }
}

#[derive(Debug)]
struct Standard {
    hmac: Option<Keys>,
    public: Vec<VerifyingKey>,
    private: Option<SigningKey>,
    tolerance: Duration,
}

impl Scheme for Standard {
    fn check(&self, request: &RequestParts<'_>, body: &[u8], now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(SIGNATURE).ok_or(Refusal::MissingSignature)?;
        let id = request.header(ID).ok_or(Refusal::MissingSignature)?;
        let time = request.header(TIMESTAMP).ok_or(Refusal::MissingSignature)?;
        if !(1..=MAX_ID).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refusal::Malformed("webhook-id must be 1 to 256 visible ASCII characters"));
        }
        let sent = unix_seconds(time).ok_or(Refusal::Malformed("webhook-timestamp is not a Unix time"))?;
        check_fresh(sent, now, self.tolerance)?;

        let entries = || value.split_ascii_whitespace().take(MAX_SIGNATURES).filter_map(|entry| entry.split_once(','));
        if entries().next().is_none() {
            return Err(Refusal::Malformed("webhook-signature must be `v1,<base64>`, several separated by spaces"));
        }
        let tags = |version: &'static str| {
            entries().filter(move |(v, _)| *v == version).filter_map(|(_, text)| Tag::from_base64(text))
        };
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let by_hmac = self.hmac.as_ref().is_some_and(|keys| keys.any(&signed, tags("v1")));
        if !by_hmac && !self.by_public_key(&signed, tags("v1a")) {
            return Err(Refusal::BadSignature);
        }
        // The convention of the specification: the payload has a `type`.
        let body = BodyFields { id: &[], kind: &[&["type"]] };
        Ok(Verified { delivery_id: Some(id.into()), kind: None, timestamp: Some(sent), body })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let time = (delivery.now.0 / 1_000_000).to_string();
        let signed = [delivery.id.as_bytes(), b".", time.as_bytes(), b".", delivery.body];
        let mut signatures = Vec::new();
        if let Some(keys) = &self.hmac {
            signatures.push(format!("v1,{}", Encoding::Base64.write(&keys.tag(&signed))));
        }
        if let Some(key) = &self.private {
            signatures.push(format!("v1a,{}", STANDARD.encode(key.sign(&signed.concat()).to_bytes())));
        }
        vec![
            ("webhook-id".into(), delivery.id.into()),
            ("webhook-timestamp".into(), time),
            ("webhook-signature".into(), signatures.join(" ")),
        ]
    }

    fn secret_headers(&self) -> Vec<String> {
        vec![SIGNATURE.into()]
    }
}

impl Standard {
    fn by_public_key(&self, signed: &[&[u8]], tags: impl Iterator<Item = Tag> + Clone) -> bool {
        if self.public.is_empty() || tags.clone().next().is_none() {
            return false;
        }
        let message = signed.concat();
        let signatures = tags.filter_map(|tag| Signature::from_slice(tag.bytes()).ok());
        // Strict: refuses the malleable and small-order signatures that plain verification lets through.
        self.public.iter().any(|key| signatures.clone().any(|s| key.verify_strict(&message, &s).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{verifier, wrong};
    use super::*;

    const ONE: &str = r#"{ "scheme": "standard", "secrets": ["env:A"] }"#;
    const TWO: &str = r#"{ "scheme": "standard", "secrets": ["env:A", "env:B"] }"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const MSG: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const VECTOR: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    // The key pair of RFC 8032 section 7.1, test 1; the signature over the message above was made with it by OpenSSL:
    // openssl pkeyutl -sign -rawin -inkey key.pem -in message | base64 -w0
    const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const ED_VECTOR: &str =
        "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9jSeGlHFG2NVAw==";

    fn check(config: &str, secrets: &[&str], signature: &str, now: i64) -> Result<Verified, Refusal> {
        let headers = vec![("webhook-id", MSG), ("webhook-timestamp", "1614265330"), ("webhook-signature", signature)];
        verifier(config, secrets).check(&RequestParts::post(&headers), BODY, Wall(now * 1_000_000))
    }

    #[test]
    fn the_specifications_vector() {
        let verified = check(ONE, &[SECRET], VECTOR, TIME).unwrap();
        assert_eq!((verified.delivery_id.as_deref(), verified.timestamp), (Some(MSG), Some(Wall(TIME * 1_000_000))));
        assert!(check(ONE, &[SECRET], &format!("v2,AAAA v1,AAAA {VECTOR}"), TIME).is_ok());
        assert!(check(TWO, &[OTHER, SECRET], VECTOR, TIME).is_ok(), "while rotating, either secret");
        assert_eq!(check(ONE, &[OTHER], VECTOR, TIME), Err(Refusal::BadSignature));
    }

    #[test]
    fn ed25519_fixed_vector_and_a_mixed_pair() {
        assert!(check(ONE, &[PUBLIC], ED_VECTOR, TIME).is_ok());
        assert!(check(TWO, &[SECRET, PUBLIC], ED_VECTOR, TIME).is_ok());
        assert!(check(TWO, &[SECRET, PUBLIC], VECTOR, TIME).is_ok());
        assert_eq!(check(ONE, &[PUBLIC], VECTOR, TIME), Err(Refusal::BadSignature));
        assert_eq!(check(ONE, &[SECRET], ED_VECTOR, TIME), Err(Refusal::BadSignature));
        // The label decides: an HMAC is not tried as an Ed25519 signature, nor the other way round.
        assert_eq!(check(ONE, &[PUBLIC], &ED_VECTOR.replace("v1a,", "v1,"), TIME), Err(Refusal::BadSignature));
    }

    #[test]
    fn ed25519_generated_pair() {
        let seed: [u8; 32] = rand::random();
        let key = SigningKey::from_bytes(&seed);
        let public = format!("whpk_{}", STANDARD.encode(key.verifying_key().to_bytes()));
        let config: super::super::VerifyConfig = serde_json::from_str(ONE).unwrap();
        let private = crate::source::secret::Fixed::default().with("A", &format!("whsk_{}", STANDARD.encode(seed)));
        let signer = config.build_signer(&private).unwrap();
        let none: Vec<(&str, &str)> = Vec::new();
        let request = RequestParts::post(&none);
        let now = Wall(TIME * 1_000_000);
        let headers = signer.sign(&Delivery { id: MSG, kind: None, now, request, body: BODY });
        assert!(verifier(ONE, &[&public]).check(&RequestParts::post(&headers), BODY, now).is_ok());
        let other = verifier(ONE, &[PUBLIC]).check(&RequestParts::post(&headers), BODY, now);
        assert_eq!(other, Err(Refusal::BadSignature));
    }

    #[test]
    fn stale_thousand_malformed() {
        assert_eq!(check(ONE, &[SECRET], VECTOR, TIME + 301), Err(Refusal::Stale));
        assert_eq!(check(ONE, &[SECRET], VECTOR, TIME - 301), Err(Refusal::Stale));
        let wrong = format!("v1,{} ", STANDARD.encode([0u8; 32]));
        assert!(check(ONE, &[SECRET], &format!("{}{VECTOR}", wrong.repeat(7)), TIME).is_ok());
        assert_eq!(check(ONE, &[SECRET], &format!("{}{VECTOR}", wrong.repeat(8)), TIME), Err(Refusal::BadSignature));
        assert_eq!(check(ONE, &[SECRET], &format!("{}{VECTOR}", wrong.repeat(999)), TIME), Err(Refusal::BadSignature));
        for malformed in ["", "v1", "g0hM9SsE+OTPJTGt"] {
            assert!(matches!(check(ONE, &[SECRET], malformed, TIME), Err(Refusal::Malformed(_))), "{malformed}");
        }
    }

    #[test]
    fn keys_are_checked_when_the_configuration_is() {
        let short = format!("whsec_{}", STANDARD.encode([1u8; 23]));
        assert!(wrong(ONE, &[&short]).contains("has 23 bytes; 24 to 64 are needed"));
        assert!(wrong(ONE, &["plain-secret-of-24-bytes-or-so"]).contains("whsec_"));
        assert!(wrong(ONE, &["whsec_***"]).contains("base64"));
        assert!(wrong(ONE, &[PRIVATE]).contains("private key"));
        assert!(wrong(ONE, &["whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]).contains("weak"));
        assert!(wrong(ONE, &["whpk_AAAA"]).contains("32 bytes"));
        let config: super::super::VerifyConfig = serde_json::from_str(ONE).unwrap();
        let public = crate::source::secret::Fixed::default().with("A", PUBLIC);
        assert!(config.build_signer(&public).unwrap_err().to_string().contains("cannot sign"));
    }
}
