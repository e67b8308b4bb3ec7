//! No verification: every request is accepted, as it comes. For tests, and for senders on a private network.
//!
//! It is a scheme with a name, not a default: a source without `verify` is an error, so nobody opens a door by
//! forgetting a line.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{BodyFields, Delivery, Error, Refusal, Scheme, Verified, header_name, label};
use crate::clock::Wall;
use crate::source::RequestParts;

/// `{ scheme = "none" }`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The header of the delivery id, for deduplication.
    #[serde(default)]
    pub id_header: Option<String>,
    /// The header of the event type.
    #[serde(default)]
    pub type_header: Option<String>,
}

impl Config {
    pub(super) fn build(&self) -> Result<Box<dyn Scheme>, Error> {
        let optional = |option, name: &Option<String>| name.as_deref().map(|n| header_name(option, n)).transpose();
        Ok(Box::new(Everybody {
            id_header: optional("id_header", &self.id_header)?,
            type_header: optional("type_header", &self.type_header)?,
        }))
    }
}

#[derive(Debug)]
struct Everybody {
    id_header: Option<Box<str>>,
    type_header: Option<Box<str>>,
}

impl Scheme for Everybody {
    fn check(&self, request: &RequestParts<'_>, _body: &[u8], _now: Wall) -> Result<Verified, Refusal> {
        let named = |header: &Option<Box<str>>| header.as_deref().and_then(|header| label(request, header));
        Ok(Verified {
            delivery_id: named(&self.id_header),
            kind: named(&self.type_header),
            timestamp: None,
            body: BodyFields::default(),
        })
    }

    fn sign(&self, delivery: &Delivery<'_>) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        headers.extend(self.id_header.as_ref().map(|name| (name.to_string(), delivery.id.to_owned())));
        headers
            .extend(self.type_header.as_ref().zip(delivery.kind).map(|(name, kind)| (name.to_string(), kind.into())));
        headers
    }

    fn secret_headers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Refuses everybody: the scheme of a source that does not exist.
#[derive(Debug)]
pub(super) struct Nobody;

impl Scheme for Nobody {
    fn check(&self, _request: &RequestParts<'_>, _body: &[u8], _now: Wall) -> Result<Verified, Refusal> {
        Err(Refusal::MissingSignature)
    }

    fn sign(&self, _delivery: &Delivery<'_>) -> Vec<(String, String)> {
        Vec::new()
    }

    fn secret_headers(&self) -> Vec<String> {
        Vec::new()
    }
}
