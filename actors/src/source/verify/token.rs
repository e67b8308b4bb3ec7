//! A shared token in a header: `Authorization: Bearer <token>` by default, or any header (GitLab's `X-Gitlab-Token`).
//!
//! A token says who sends, not what: whoever reads it once can send anything. Prefer a signature where there is one.

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{BodyFields, Delivery, Error, Refusal, Scheme, Verified, header_name, label, load};
use crate::clock::Wall;
use crate::source::RequestParts;
use crate::source::secret::{Secret, SecretRef, SecretSource};

/// Tokens are compared whole, so they may be longer than keys.
const TOKEN_BYTES: (usize, usize) = (24, 256);

/// `{ scheme = "token", secrets = ["env:HOOK_TOKEN"] }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The token, 24 to 256 bytes; two while rotating.
    #[schemars(length(min = 1, max = super::MAX_SECRETS))]
    pub secrets: Vec<SecretRef>,
    /// The header; default `Authorization`, whose value is `Bearer <token>`.
    #[serde(default = "default_header")]
    pub header: String,
    /// The header of the delivery id, for deduplication.
    #[serde(default)]
    pub id_header: Option<String>,
    /// The header of the event type.
    #[serde(default)]
    pub type_header: Option<String>,
}

fn default_header() -> String {
    "authorization".into()
}

impl Config {
    pub(super) fn build(&self, resolve: &dyn SecretSource) -> Result<Box<dyn Scheme>, Error> {
        let optional = |option, name: &Option<String>| name.as_deref().map(|n| header_name(option, n)).transpose();
        let tokens = load(&self.secrets, resolve, TOKEN_BYTES.0, TOKEN_BYTES.1)?;
        if tokens.iter().any(|token| !token.expose().iter().all(u8::is_ascii_graphic)) {
            let why = "cannot be sent in a header: use visible ASCII characters without spaces";
            let references: Vec<String> = self.secrets.iter().map(ToString::to_string).collect();
            return Err(Error::Key { reference: references.join(", "), why });
        }
        Ok(Box::new(Token {
            digests: tokens.iter().map(|token| Sha256::digest(token.expose()).into()).collect(),
            tokens,
            header: header_name("header", &self.header)?,
            id_header: optional("id_header", &self.id_header)?,
            type_header: optional("type_header", &self.type_header)?,
        }))
    }
}

#[derive(Debug)]
struct Token {
    tokens: Vec<Secret>,
    /// Digests are compared, so that the time does not tell the length either.
    digests: Vec<[u8; 32]>,
    header: Box<str>,
    id_header: Option<Box<str>>,
    type_header: Option<Box<str>>,
}

impl Token {
    fn is_bearer(&self) -> bool {
        &*self.header == "authorization"
    }
}

impl Scheme for Token {
    fn check(&self, request: &RequestParts<'_>, _body: &[u8], _now: Wall) -> Result<Verified, Refusal> {
        let value = request.header(&self.header).ok_or(Refusal::MissingSignature)?;
        let token = if self.is_bearer() {
            let (scheme, token) =
                value.split_once(' ').ok_or(Refusal::Malformed("Authorization is not `Bearer <token>`"))?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Refusal::Malformed("Authorization is not `Bearer <token>`"));
            }
            token.trim_start()
        } else {
            value
        };
        if token.len() > TOKEN_BYTES.1 {
            return Err(Refusal::Malformed("the token is longer than 256 bytes"));
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let hit = self.digests.iter().fold(Choice::from(0), |hit, known| hit | known.ct_eq(&digest));
        if !bool::from(hit) {
            return Err(Refusal::BadSignature);
        }
        let named = |header: &Option<Box<str>>| header.as_deref().and_then(|header| label(request, header));
        Ok(Verified {
            delivery_id: named(&self.id_header),
            kind: named(&self.type_header),
            timestamp: None,
            body: BodyFields::default(),
        })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let token = self.tokens.first().map(|t| String::from_utf8_lossy(t.expose()).into_owned()).unwrap_or_default();
        let value = if self.is_bearer() { format!("Bearer {token}") } else { token };
        let mut headers = vec![(self.header.to_string(), value)];
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

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn check(options: &str, header: &str, value: &str) -> Result<Verified, Refusal> {
        let config = format!(r#"{{ "scheme": "token", "secrets": ["env:A"] {options} }}"#);
        verifier(&config, &[TOKEN]).check(&RequestParts::post(&vec![(header, value)]), b"", Wall(0))
    }

    #[test]
    fn bearer_and_any_header() {
        assert!(check("", "Authorization", &format!("Bearer {TOKEN}")).is_ok());
        assert!(check("", "authorization", &format!("bearer  {TOKEN}")).is_ok());
        assert!(check(r#", "header": "X-Gitlab-Token""#, "X-GitLab-Token", TOKEN).is_ok());
    }

    #[test]
    fn refusals() {
        assert_eq!(check("", "X-Token", TOKEN), Err(Refusal::MissingSignature));
        assert_eq!(check("", "Authorization", &format!("Bearer {}", &TOKEN[1..])), Err(Refusal::BadSignature));
        assert_eq!(
            check("", "Authorization", "Bearer "),
            Err(Refusal::Malformed("Authorization is not `Bearer <token>`"))
        );
        for malformed in
            [TOKEN.to_owned(), format!("Basic {TOKEN}"), format!("Bearer {}", "x".repeat(300)), String::new()]
        {
            assert!(matches!(check("", "Authorization", &malformed), Err(Refusal::Malformed(_))), "{malformed}");
        }
    }

    #[test]
    fn weak_tokens_are_refused_when_the_configuration_is_read() {
        let config = r#"{ "scheme": "token", "secrets": ["env:A"] }"#;
        assert!(wrong(config, &["short"]).contains("24 to 256"));
        assert!(wrong(config, &["a token that has blanks in it"]).contains("visible"));
    }
}
