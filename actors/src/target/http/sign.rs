//! Signing by Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256 over `{id}.{timestamp}.{body}`.
//!
//! While a secret is rotated both are given, and a request carries one signature of each. The keyed state is made
//! once; a request only copies it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// The number of live secrets; two while rotating, and room for a fleet that rotates slowly.
pub(super) const MAX_SECRETS: usize = 4;

/// The secrets of a target, ready to sign.
pub struct Signer {
    keyed: Vec<Hmac<Sha256>>,
}

impl Signer {
    /// Takes secrets of the form `whsec_<base64>` (the prefix may be absent) of 24 to 64 bytes.
    pub fn new(secrets: &[Zeroizing<String>]) -> Result<Self, String> {
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(format!("expected 1 to {MAX_SECRETS} secrets, found {}", secrets.len()));
        }
        let keyed =
            secrets.iter().enumerate().map(|(i, secret)| keyed(secret).map_err(|e| format!("secret {}: {e}", i + 1)));
        Ok(Self { keyed: keyed.collect::<Result<_, _>>()? })
    }

    /// The value of the header `webhook-signature`: `v1,<base64>` of each secret, separated by spaces.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut out = String::with_capacity(48 * self.keyed.len());
        for keyed in &self.keyed {
            let mut mac = keyed.clone();
            mac.update(id.as_bytes());
            mac.update(format!(".{timestamp}.").as_bytes());
            mac.update(body);
            let separator = if out.is_empty() { "" } else { " " };
            // Writing to a String cannot fail.
            write!(out, "{separator}v1,{}", STANDARD.encode(mac.finalize().into_bytes())).unwrap_or_default();
        }
        out
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({} secrets)", self.keyed.len())
    }
}

fn keyed(secret: &str) -> Result<Hmac<Sha256>, String> {
    let text = secret.trim();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let key = STANDARD.decode(encoded).map(Zeroizing::new);
    let key = key.map_err(|_| "expected `whsec_` and base64, as Standard Webhooks writes secrets".to_owned())?;
    if !(24..=64).contains(&key.len()) {
        return Err(format!("expected 24 to 64 bytes, found {}; make one with `openssl rand -base64 32`", key.len()));
    }
    Hmac::new_from_slice(&key).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn the_published_vector() {
        let signer = Signer::new(&[secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).unwrap();
        let got = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(got, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let (a, b) = (secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), secret(&STANDARD.encode([7u8; 32])));
        let both = Signer::new(&[a.clone(), b.clone()]).unwrap().sign("id", 1, b"x");
        let one = |s: &Zeroizing<String>| Signer::new(std::slice::from_ref(s)).unwrap().sign("id", 1, b"x");
        assert_eq!(both, format!("{} {}", one(&a), one(&b)));
    }

    #[test]
    fn bad_secrets_are_refused_without_being_shown() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all!", &STANDARD.encode([1u8; 65])] {
            let error = Signer::new(&[secret(text)]).unwrap_err();
            assert!(error.starts_with("secret 1: expected"), "{error}");
            assert!(text.len() < 7 || !error.contains(text), "{error}");
        }
        assert!(Signer::new(&[]).is_err());
        assert!(!format!("{:?}", Signer::new(&[secret(&STANDARD.encode([1u8; 32]))]).unwrap()).contains("AQEB"));
    }
}
