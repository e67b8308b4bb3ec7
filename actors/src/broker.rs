//! Connections to message brokers, shared by the sources that pull from them and the targets that publish to them:
//! settings of TLS, secrets by reference, and which addresses may be connected to. Parts: [`kafka`], [`nats`].
//!
//! The libraries connect by themselves, so the guard decides over the names before it lets them: all addresses of a
//! name must be allowed, since nobody knows which one is taken.

use std::sync::Arc;
use zeroize::Zeroizing;

use crate::target::Context;
use crate::target::http::guard::SystemLookup;
use crate::target::http::guard::{self, Guard, Unreachable};
pub use crate::target::http::settings::TlsSettings;

pub mod kafka;
pub mod nats;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The setting, dotted.
    pub field: String,
    /// What is wrong and what to do, without secrets.
    pub message: String,
}

impl Wrong {
    /// A setting and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why nothing can be sent to or read from a broker now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// An address that may not be connected to.
    #[error("{0}")]
    Refused(String),
    /// Not reached, or it does not answer.
    #[error("{0}")]
    Down(String),
    /// The certificate or the handshake.
    #[error("{0}")]
    Tls(String),
    /// It answers, and refuses: wrong credentials, no right, no such topic or stream.
    #[error("{0}")]
    Rejected(String),
}

const NO_REFERENCE: &str = "expected a reference, `env:NAME` or `file:PATH`, not the secret itself";

/// The texts that `tls` names, read.
#[derive(Clone, Default)]
pub struct Pem {
    /// Authorities.
    pub ca: Option<String>,
    /// The certificate to show.
    pub certificate: Option<String>,
    /// Its key.
    pub private_key: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(***)")
    }
}

impl Pem {
    /// Reads the files and the key that `tls` names.
    ///
    /// # Errors
    /// What cannot be read, by its setting.
    pub fn read(settings: &TlsSettings, context: &Context<'_>) -> Result<Self, Wrong> {
        let file = |field: &str, path: &Option<String>| -> Result<Option<String>, Wrong> {
            let Some(path) = path else { return Ok(None) };
            let bytes = context.secrets.file(path).map_err(|e| Wrong::new(field, e))?;
            let text = String::from_utf8(bytes.to_vec()).ok().filter(|text| text.contains("-----BEGIN "));
            let none = || Wrong::new(field, format!("`{path}` is no PEM file: it has no line `-----BEGIN …-----`"));
            text.map(Some).ok_or_else(none)
        };
        if settings.cert.is_some() != settings.private_key.is_some() {
            return Err(Wrong::new("tls.cert", "`cert` and `private_key` belong together: give both or none"));
        }
        let (ca, certificate) = (file("tls.ca", &settings.ca)?, file("tls.cert", &settings.cert)?);
        let wrong = |e| Wrong::new("tls.private_key", e);
        let private_key = match &settings.private_key {
            Some(key) if !is_reference(key) => return Err(wrong(NO_REFERENCE.into())),
            Some(key) => context.secrets.pem(key).map_err(wrong)?,
            None => None,
        };
        // A sample of a secret is no key: then there is no certificate to show either.
        let certificate = certificate.filter(|_| private_key.is_some());
        Ok(Self { ca, certificate, private_key })
    }
}

/// A secret by reference; a text that is none is refused without being repeated.
pub(crate) fn secret(field: &str, reference: &str, context: &Context<'_>) -> Result<Zeroizing<String>, Wrong> {
    if !is_reference(reference) {
        return Err(Wrong::new(field, NO_REFERENCE));
    }
    let secret = context.secrets.get(reference).map_err(|e| Wrong::new(field, e))?;
    Ok(Zeroizing::new(secret.trim().to_owned()))
}

/// A text, or a secret by reference.
pub(crate) fn text_or_secret(field: &str, text: &str, context: &Context<'_>) -> Result<Zeroizing<String>, Wrong> {
    if is_reference(text) { secret(field, text, context) } else { Ok(Zeroizing::new(text.to_owned())) }
}

fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

/// The guard of a broker's addresses.
pub(crate) fn guard(own: &[String], context: &Context<'_>) -> Result<Guard, Wrong> {
    let mut allowed = guard::parse_networks(own).map_err(|e| Wrong::new("allow_networks", e))?;
    allowed.extend_from_slice(context.allow_networks);
    let lookup = context.lookup.cloned().unwrap_or_else(|| Arc::new(SystemLookup));
    Ok(Guard::new(allowed.into(), lookup))
}

/// Checks every host; those that have no address are passed over while another has one.
pub(crate) async fn check_hosts(guard: &Guard, hosts: &[&str]) -> Result<(), Trouble> {
    let mut unresolved = None;
    let mut found = false;
    for host in hosts {
        match guard.check_host(host).await {
            Ok(()) => found = true,
            Err(Unreachable::Refused(refused)) => return Err(Trouble::Refused(refused.to_string())),
            Err(other) => unresolved = Some(format!("`{host}`: {other}")),
        }
    }
    match unresolved {
        Some(why) if !found => Err(Trouble::Down(why)),
        _ => Ok(()),
    }
}
