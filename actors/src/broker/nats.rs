//! NATS servers: where they are and how to be let in.
//!
//! A client lives as long as its connection: when that is lost, a new one is made after the names were decided over
//! again, and by whoever needs it, so that the restart strategy is the only thing that tries again.

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, ServerAddr};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

use super::{Pem, TlsSettings, Trouble, Wrong, check_hosts, guard, secret, text_or_secret};
use crate::event::Str;
use crate::target::Context;
use crate::target::http::guard::Guard;

/// `auth`: who hexaFn is to the servers; one of a token, a user with a password, an nkey, a credentials file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// A token: `env:NAME`, or `file:PATH` of mode 0600, as all secrets here.
    pub access_token: Option<String>,
    /// The user, or a reference.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The seed of an nkey, `SU…`.
    pub nkey: Option<String>,
    /// The content of a credentials file (a JWT and the seed of its nkey).
    pub credentials: Option<String>,
}

/// The proof, read.
#[derive(Clone)]
enum Auth {
    None,
    Token(Zeroizing<String>),
    User(Zeroizing<String>, Zeroizing<String>),
    Nkey(Zeroizing<String>),
    Credentials(Zeroizing<String>),
}

/// How messages are published or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Stored in a stream and acknowledged: at least once.
    #[default]
    Jetstream,
    /// NATS alone, which keeps nothing: at most once. Who is not listening at that moment gets nothing.
    Core,
}

/// What is needed to connect.
#[derive(Clone)]
pub struct Servers {
    name: Str,
    servers: Vec<ServerAddr>,
    tls: Option<Pem>,
    auth: Auth,
    guard: Guard,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("servers", &self.list()).finish_non_exhaustive()
    }
}

/// A connection.
#[derive(Clone)]
pub struct Connected {
    /// The client.
    pub client: Client,
    /// What became of it.
    pub seen: Arc<Seen>,
}

/// What a client said.
#[derive(Debug, Default)]
pub struct Seen {
    lost: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Seen {
    /// Whether the connection was lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The last error, in its words.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.lost.store(true, Ordering::Release),
            Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => {
                let said: String = event.to_string().chars().filter(|c| !c.is_control()).take(300).collect();
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
            _ => {}
        }
    }
}

impl Servers {
    /// Checks the settings; nothing is connected to.
    ///
    /// # Errors
    /// What cannot be used, by its setting.
    pub fn new(
        name: &Str,
        servers: &[String],
        tls: Option<&TlsSettings>,
        auth: Option<&AuthSettings>,
        allow_networks: &[String],
        context: &Context<'_>,
    ) -> Result<Self, Wrong> {
        let servers = servers.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Wrong::new("servers", "expected at least one, e.g. [\"nats://nats.example.com:4222\"]"));
        }
        let tls = tls.map(|tls| Pem::read(tls, context)).transpose()?;
        if let Some(pem) = &tls {
            // Built again at each connection; a file that holds no certificate is told now.
            if pem.ca.is_some() {
                roots(pem)?;
            }
            identity(pem)?;
        }
        Ok(Self {
            name: name.clone(),
            servers,
            tls,
            auth: auth_of(auth, context)?,
            guard: guard(allow_networks, context)?,
        })
    }

    /// The servers, for tables.
    pub fn list(&self) -> String {
        let list: Vec<String> = self.servers.iter().map(|s| format!("{}:{}", s.host(), s.port())).collect();
        list.join(",")
    }

    /// Connects, after the names were decided over.
    ///
    /// # Errors
    /// A refused address, wrong credentials, or nobody is there.
    pub async fn connect(&self, patience: Duration, subscription: usize) -> Result<Connected, Trouble> {
        let hosts: Vec<&str> = self.servers.iter().map(|s| s.host().trim_matches(['[', ']'])).collect();
        check_hosts(&self.guard, &hosts).await?;
        let seen: Arc<Seen> = Arc::default();
        let (told, name) = (seen.clone(), self.name.clone());
        let options = ConnectOptions::new()
            .name(format!("hexafn-{}", self.name))
            .connection_timeout(patience)
            .request_timeout(Some(patience))
            .subscription_capacity(subscription)
            // Servers that others name are not connected to: nobody decided over them.
            .ignore_discovered_servers()
            .max_reconnects(self.servers.len())
            .event_callback(move |event| {
                tracing::debug!(target: "nats", %name, %event);
                told.event(&event);
                std::future::ready(())
            });
        let mut options = match &self.auth {
            Auth::None => options,
            Auth::Token(token) => options.token(token.to_string()),
            Auth::User(user, password) => options.user_and_password(user.to_string(), password.to_string()),
            Auth::Nkey(seed) => options.nkey(seed.to_string()),
            Auth::Credentials(text) => {
                let usable = options.credentials(text);
                usable.map_err(|e| Trouble::Rejected(format!("`auth.credentials` cannot be used: {e}")))?
            }
        };
        if let Some(pem) = &self.tls {
            options = options.require_tls(true);
            if pem.ca.is_some() || pem.certificate.is_some() {
                options = options.tls_client_config(tls(pem).map_err(|wrong| Trouble::Tls(wrong.message))?);
            }
        }
        let list = self.list();
        match tokio::time::timeout(patience, options.connect(self.servers.clone())).await {
            Ok(Ok(client)) => Ok(Connected { client, seen }),
            Ok(Err(error)) => {
                let why = format!("`{list}` cannot be connected to: {}", chain(&error));
                Err(match error.kind() {
                    ConnectErrorKind::Tls => Trouble::Tls(why),
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        Trouble::Rejected(format!("{why}; check `auth`"))
                    }
                    _ if why.contains("certificate") => Trouble::Tls(why),
                    _ => Trouble::Down(why),
                })
            }
            Err(_) => Err(Trouble::Down(format!("`{list}` did not answer in time"))),
        }
    }
}

fn auth_of(settings: Option<&AuthSettings>, context: &Context<'_>) -> Result<Auth, Wrong> {
    let Some(settings) = settings else { return Ok(Auth::None) };
    let wrong = || {
        let message = "expected one way: `access_token`, `username` with `password`, `nkey`, or `credentials`";
        Wrong::new("auth", message)
    };
    let AuthSettings { access_token, username, password, nkey, credentials } = settings;
    let read = |field: &str, reference: &str| secret(&format!("auth.{field}"), reference, context);
    match (access_token, username, password, nkey, credentials) {
        (Some(token), None, None, None, None) => Ok(Auth::Token(read("access_token", token)?)),
        (None, Some(user), Some(password), None, None) => {
            Ok(Auth::User(text_or_secret("auth.username", user, context)?, read("password", password)?))
        }
        (None, None, None, Some(seed), None) => Ok(Auth::Nkey(read("nkey", seed)?)),
        (None, None, None, None, Some(text)) => Ok(Auth::Credentials(read("credentials", text)?)),
        _ => Err(wrong()),
    }
}

/// Reads `nats://host:port`, `tls://host:port` or `host:port`.
fn address(text: &str) -> Result<ServerAddr, Wrong> {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    let wrong = |why: &str| Wrong::new("servers", why.to_owned());
    let no = || wrong(&format!("`{shown}` is no NATS server; write e.g. `nats://nats.example.com:4222`"));
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(no());
    }
    let address = ServerAddr::from_str(text).map_err(|_| no())?;
    if address.has_user_pass() || text.contains('@') {
        return Err(wrong("a user or password in the address of a NATS server: set `auth` and a secret instead"));
    }
    if address.is_websocket() || address.host().is_empty() {
        return Err(no());
    }
    Ok(address)
}

fn roots(pem: &Pem) -> Result<RootCertStore, Wrong> {
    let mut store = RootCertStore::empty();
    match &pem.ca {
        Some(text) => {
            for one in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let one = one.map_err(|e| Wrong::new("tls.ca", format!("not a certificate: {e}")))?;
                store.add(one).map_err(|e| Wrong::new("tls.ca", format!("not an authority: {e}")))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
    }
    if store.is_empty() {
        return Err(Wrong::new("tls.ca", "no authority was found: name a PEM file that holds one"));
    }
    Ok(store)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(pem: &Pem) -> Result<Option<Identity>, Wrong> {
    let (Some(certificate), Some(key)) = (&pem.certificate, &pem.private_key) else { return Ok(None) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|e| Wrong::new("tls.cert", format!("not a certificate: {e}")))?;
    // What the reader says may repeat parts of the key.
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| Wrong::new("tls.private_key", "the secret holds no private key in PEM"))?;
    Ok(Some((chain, key)))
}

fn tls(pem: &Pem) -> Result<ClientConfig, Wrong> {
    let builder = ClientConfig::builder().with_root_certificates(roots(pem)?);
    match identity(pem)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| Wrong::new("tls.cert", format!("it cannot be used with `private_key`: {e}"))),
    }
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// Headers; what no header can hold is refused by its name.
pub(crate) fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let key = HeaderName::from_str(name).map_err(|_| format!("`{name}` is no header name"))?;
        let text = HeaderValue::from_str(value).map_err(|_| format!("the header `{name}` holds line ends"))?;
        map.append(key, text);
    }
    Ok(map)
}

/// Whether messages can be published to a subject: words without blanks and wildcards, joined by dots.
pub(crate) fn check_subject(subject: &str, wildcards: bool) -> Result<(), String> {
    let last = subject.split('.').count().saturating_sub(1);
    let fits = |(at, word): (usize, &str)| {
        let plain = !word.is_empty() && !word.chars().any(|c| c.is_whitespace() || c.is_control());
        let wild = word == "*" || (word == ">" && at == last);
        plain && (wildcards && wild || !word.contains(['*', '>']))
    };
    if subject.len() <= 1_024 && subject.split('.').enumerate().all(fits) {
        return Ok(());
    }
    Err(format!("`{}` is no subject: words without blanks, joined by dots, e.g. `orders.eu`", shown(subject)))
}

/// The beginning of a subject, for messages.
pub(crate) fn shown(subject: &str) -> String {
    subject.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn servers_are_addresses_without_secrets() {
        for good in ["nats://nats.example.com:4222", "tls://nats.example.com", "127.0.0.1:4222", "nats://[::1]:4222"] {
            address(good).unwrap();
        }
        for bad in ["", "nats://u:p@h:1", "u@h", "http://h", "ws://h", "a b"] {
            let wrong = address(bad).unwrap_err();
            assert!(!wrong.message.contains("u:p"), "{wrong:?}");
        }
    }

    #[test]
    fn subjects() {
        for good in ["a", "orders.eu", "a-b.c_d"] {
            check_subject(good, false).unwrap();
        }
        for bad in ["", "a..b", ".a", "a.", "a b", "a.*", "a.>", "a\r\nb"] {
            assert!(check_subject(bad, false).is_err(), "{bad}");
        }
        check_subject("a.*.>", true).unwrap();
        assert!(check_subject("a.>.b", true).is_err());
    }
}
