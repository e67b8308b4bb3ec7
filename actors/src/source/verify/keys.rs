//! Keyed MACs: the key schedule is run once at build time, and its state is cloned for each request.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

use super::{Error, MAX_SIGNATURES};
use crate::source::secret::Secret;

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA-1: still sound as a MAC, for senders that offer nothing else.
    Sha1,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hex digits of either case.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

impl Encoding {
    pub(super) fn read(self, text: &str) -> Option<Tag> {
        match self {
            Self::Hex => Tag::from_hex(text),
            Self::Base64 => Tag::from_base64(text),
        }
    }

    pub(super) fn write(self, tag: &Tag) -> String {
        match self {
            Self::Hex => hex::encode(tag.bytes()),
            Self::Base64 => STANDARD.encode(tag.bytes()),
        }
    }
}

/// A MAC or signature of up to 64 bytes.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    buf: [u8; 64],
    len: usize,
}

impl Tag {
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let mut buf = [0; 64];
        buf.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { buf, len: bytes.len() })
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut buf = [0; 64];
        let len = text.len() / 2;
        hex::decode_to_slice(text, buf.get_mut(..len)?).ok()?;
        (len > 0).then_some(Self { buf, len })
    }

    pub(super) fn from_base64(text: &str) -> Option<Self> {
        // The decoder wants room for its estimate, which is up to two bytes beyond the real length.
        let mut room = [0; 72];
        let len = STANDARD.decode_slice(text, &mut room).ok()?;
        Self::new(room.get(..len)?).filter(|tag| tag.len > 0)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

#[derive(Clone)]
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Keyed {
    fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Algorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Algorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }

    fn tag(&self, signed: &[&[u8]]) -> Tag {
        fn run<M: Mac + Clone>(keyed: &M, signed: &[&[u8]]) -> Tag {
            let mut mac = keyed.clone();
            for part in signed {
                mac.update(part);
            }
            let bytes = mac.finalize().into_bytes();
            // No hash here is longer than 64 bytes; an empty tag matches nothing.
            Tag::new(&bytes).unwrap_or(Tag { buf: [0; 64], len: 0 })
        }
        match self {
            Self::Sha1(mac) => run(mac, signed),
            Self::Sha256(mac) => run(mac, signed),
            Self::Sha512(mac) => run(mac, signed),
        }
    }
}

/// The live keys of a source: one, or two while rotating.
#[derive(Clone)]
pub(super) struct Keys {
    first: Keyed,
    second: Option<Keyed>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    pub(super) fn new(algorithm: Algorithm, secrets: &[Secret]) -> Result<Self, Error> {
        let mut keyed = secrets.iter().filter_map(|s| Keyed::new(algorithm, s.expose()));
        Ok(Self { first: keyed.next().ok_or(Error::NoSecret)?, second: keyed.next() })
    }

    /// A key that nobody knows.
    pub(super) fn random() -> Result<Self, Error> {
        let mut key = vec![0; 32];
        getrandom::fill(&mut key).map_err(|e| Error::Random(e.to_string()))?;
        Self::new(Algorithm::Sha256, &[Secret::new(key)])
    }

    /// Whether one of the candidates (the first eight are looked at) is the MAC under a live key. The time depends on
    /// the lengths and on which key matches, not on the bytes compared.
    pub(super) fn any(&self, signed: &[&[u8]], candidates: impl Iterator<Item = Tag> + Clone) -> bool {
        std::iter::once(&self.first).chain(&self.second).any(|key| {
            let expected = key.tag(signed);
            let mut hit = Choice::from(0);
            for candidate in candidates.clone().take(MAX_SIGNATURES) {
                hit |= expected.bytes().ct_eq(candidate.bytes()) & Choice::from(u8::from(expected.len > 0));
            }
            bool::from(hit)
        })
    }

    /// The MAC under the first key.
    pub(super) fn tag(&self, signed: &[&[u8]]) -> Tag {
        self.first.tag(signed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_are_read_strictly() {
        assert_eq!(Tag::from_hex("00fF").unwrap().bytes(), [0, 255]);
        for bad in ["", "0", "0g", &"00".repeat(65), "é0"] {
            assert!(Tag::from_hex(bad).is_none(), "{bad}");
        }
        let full = [7u8; 64];
        assert_eq!(Tag::from_base64(&STANDARD.encode(full)).unwrap().bytes(), full);
        for bad in ["", "A", "AA", "AA=A", "====", &STANDARD.encode([1u8; 65])] {
            assert!(Tag::from_base64(bad).is_none(), "{bad}");
        }
    }

    /// RFC 4231 test case 1 and RFC 2202 test case 1.
    #[test]
    fn hmac_vectors() {
        let key = [Secret::new(vec![0x0b; 20])];
        let mac = |a| Encoding::Hex.write(&Keys::new(a, &key).unwrap().tag(&[b"Hi", b" There"]));
        assert_eq!(mac(Algorithm::Sha1), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(mac(Algorithm::Sha256), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_eq!(
            mac(Algorithm::Sha512),
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        );
    }
}
