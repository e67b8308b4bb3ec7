//! Keys of JSON Web Tokens: secrets, PEM, JWK (RFC 7517) and JWK sets. A key is of one kind, and a signature is only
//! checked by the algorithms of that kind: a public key is never taken for the secret of an HMAC.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::DecodePublicKey as _;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, PublicKey, pkcs1v15};
use sha2::{Sha256, Sha384, Sha512};

use crate::builtins::Prepared;
use crate::value::Value;

type Result<T> = std::result::Result<T, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Es256,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 7] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("ES256", Self::Es256),
    ];

    pub(super) fn named(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("none") {
            return Err("the algorithm 'none' is no signature: anybody could write such a token".to_owned());
        }
        let known = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm);
        known.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("unknown algorithm {name:?}; there are {}", all.join(", "))
        })
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(name, _)| name)
    }

    /// About how many steps of the budget a verification costs.
    pub(super) fn steps(self) -> u64 {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => 100,
            _ => 20_000,
        }
    }
}

enum Material {
    Secret(Vec<u8>),
    Rsa(Box<PublicKey>),
    P256(Box<p256::ecdsa::VerifyingKey>),
}

struct Key {
    id: Option<String>,
    /// A JWK may name the only algorithm that it is for.
    only: Option<String>,
    material: Material,
}

/// The keys that a token may be signed with.
pub(crate) struct Keys {
    keys: Vec<Key>,
    /// A set: the token says which one.
    set: bool,
}

// Secrets stay out of whatever is printed for debugging.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

/// A secret, a public key in PEM, a JWK or a JWK set.
pub(super) fn read(value: &Value<'_>) -> Result<Prepared> {
    const MOST: usize = 64;
    if let Some(text) = value.as_str() {
        let material =
            if text.trim_start().starts_with("-----BEGIN") { pem(text.trim())? } else { secret(text.as_bytes())? };
        let keys = vec![Key { id: None, only: None, material }];
        return Ok(Prepared::Keys(Keys { keys, set: false }));
    }
    let Some(set) = value.get("keys") else {
        return Ok(Prepared::Keys(Keys { keys: vec![jwk(value)?], set: false }));
    };
    if set.array_len().is_none_or(|size| size > MOST) {
        return Err(format!("`keys` of a JWK set is an array of at most {MOST} keys"));
    }
    // A set may hold keys of kinds that are not known here; they sign nothing that is accepted.
    let keys: Vec<Key> = set.items().into_iter().flatten().filter_map(|key| jwk(&key).ok()).collect();
    if keys.is_empty() {
        return Err("no key of the JWK set is a usable key of RSA, of the curve P-256, or a secret".to_owned());
    }
    Ok(Prepared::Keys(Keys { keys, set: true }))
}

fn secret(bytes: &[u8]) -> Result<Material> {
    if bytes.is_empty() { Err("the secret is empty".to_owned()) } else { Ok(Material::Secret(bytes.to_vec())) }
}

fn pem(text: &str) -> Result<Material> {
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key; a token is verified with the public one".to_owned());
    }
    if text.contains("CERTIFICATE") {
        return Err("this is a certificate; take its public key (`openssl x509 -pubkey -noout`)".to_owned());
    }
    if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(text) {
        return Ok(Material::P256(Box::new(key)));
    }
    let key = PublicKey::from_public_key_pem(text).ok().or_else(|| PublicKey::from_pkcs1_pem(text).ok());
    strong(key.ok_or("the PEM holds no public key of RSA (2048 to 4096 bits) or of the curve P-256")?)
}

/// Short keys can be broken, long ones are a lot of work.
fn strong(key: PublicKey) -> Result<Material> {
    let bits = key.size() * 8;
    if !(2048..=4096).contains(&bits) {
        return Err(format!("a key of RSA has 2048 to 4096 bits, not {bits}"));
    }
    Ok(Material::Rsa(Box::new(key)))
}

fn jwk(value: &Value<'_>) -> Result<Key> {
    let text = |name: &str| value.get(name).and_then(|part| part.as_str().map(str::to_owned));
    let bytes = |name: &str| {
        let part = text(name).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        part.filter(|part| part.len() <= 1024).ok_or_else(|| format!("`{name}` of the JWK is not base64url"))
    };
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Err("the JWK is not for signatures (`use`)".to_owned());
    }
    let material = match (text("kty").as_deref(), text("crv").as_deref()) {
        (Some("oct"), _) => secret(&bytes("k")?)?,
        (Some("RSA"), _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            let key = PublicKey::new(BoxedUint::from_be_slice_vartime(&n), BoxedUint::from_be_slice_vartime(&e));
            strong(key.map_err(|why| format!("the JWK is not a key of RSA: {why}"))?)?
        }
        (Some("EC"), Some("P-256")) => {
            let point = [&[4], bytes("x")?.as_slice(), bytes("y")?.as_slice()].concat();
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point);
            Material::P256(Box::new(key.map_err(|_| "the JWK is not a point of the curve P-256")?))
        }
        _ => return Err("a JWK has a `kty` of 'oct', 'RSA', or 'EC' with the `crv` 'P-256'".to_owned()),
    };
    Ok(Key { id: text("kid"), only: text("alg"), material })
}

impl Keys {
    /// Checks the signature.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let mut fitting = self.keys.iter().filter(|key| {
            let meant = !self.set || kid.is_none_or(|kid| key.id.as_deref() == Some(kid));
            meant && key.only.as_deref().is_none_or(|only| only == algorithm.name()) && key.material.fits(algorithm)
        });
        let Some(key) = fitting.next() else {
            return Err(match kid.filter(|_| self.set) {
                Some(kid) => format!("no key of the set with the `kid` {kid:?} is for {}", algorithm.name()),
                None => format!("the key is not one for {}", algorithm.name()),
            });
        };
        // One signature is one verification: a token cannot make every key of a set be tried.
        if fitting.next().is_some() {
            return Err("it has no `kid`, and several keys of the set fit".to_owned());
        }
        if key.material.verifies(algorithm, signed, signature) {
            Ok(())
        } else {
            Err("the signature is not that of the key".to_owned())
        }
    }
}

impl Material {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secret(_) => matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512),
            Self::Rsa(_) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512),
            Self::P256(_) => algorithm == Algorithm::Es256,
        }
    }

    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Secret(secret), Algorithm::Hs256) => keyed::<Hmac<Sha256>>(secret, signed, signature),
            (Self::Secret(secret), Algorithm::Hs384) => keyed::<Hmac<Sha384>>(secret, signed, signature),
            (Self::Secret(secret), Algorithm::Hs512) => keyed::<Hmac<Sha512>>(secret, signed, signature),
            (Self::Rsa(key), algorithm) => {
                let Ok(signature) = pkcs1v15::Signature::try_from(signature) else { return false };
                let key = PublicKey::clone(key);
                match algorithm {
                    Algorithm::Rs256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(signed, &signature),
                    Algorithm::Rs384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(signed, &signature),
                    Algorithm::Rs512 => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(signed, &signature),
                    _ => return false,
                }
                .is_ok()
            }
            (Self::P256(key), Algorithm::Es256) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
            _ => false,
        }
    }
}

/// Compared in constant time.
fn keyed<M: Mac + KeyInit>(secret: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
}
