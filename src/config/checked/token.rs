//! `[[token]]`: who may use the API. Only the hash of a token stands here; `hexafn token new` prints both once.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{Checker, who};
use crate::auth::Scope;
use crate::config::codes;
use crate::config::problem::Problem;
use crate::config::read::read;
use crate::config::tree::{Node, Step};

/// `[[token]]`: a token of the API. `hexafn token new` prints one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Its name: what logs and the console show.
    pub name: String,
    /// The SHA-256 of the token.
    #[serde(deserialize_with = "hash")]
    #[schemars(with = "String", extend("pattern" = "^[0-9A-Fa-f]{64}$"))]
    pub sha256: [u8; 32],
    /// What it may do: `resource:verb:namespace`.
    #[schemars(length(min = 1), example = ["*:read:*"])]
    pub scopes: Vec<Scope>,
    /// The moment (RFC 3339) from which on it is refused; never when absent.
    #[serde(default, deserialize_with = "moment")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires: Option<jiff::Timestamp>,
}

fn hash<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(from)?;
    let mut out = [0; 32];
    hex::decode_to_slice(&text, &mut out).map_err(|_| {
        de::Error::custom("not a SHA-256 in 64 hex digits; `hexafn token new` prints the line to put here")
    })?;
    Ok(out)
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map(Some)
        .map_err(|_| de::Error::custom("not a moment; write date, time and zone, e.g. 2027-01-31T00:00:00Z"))
}

impl Checker<'_> {
    pub(super) fn token(&mut self, node: &Node) -> Option<TokenSettings> {
        let who = who("token", node);
        let token: TokenSettings = read(node, &who, self.problems)?;
        if token.scopes.is_empty() {
            let span = node.span_of(&[Step::Key("scopes")]);
            self.problems.push(
                Problem::error(&codes::VALUE, span, format!("{who} may do nothing: its scopes are empty"))
                    .help("for example scopes = [\"*:read:*\"], or [\"*:*:*\"] for everything"),
            );
        }
        Some(token)
    }
}
