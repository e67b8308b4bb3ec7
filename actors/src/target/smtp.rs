//! The target of kind `smtp`: an e-mail for each event, handed to a mail server over SMTP.
//!
//! The library speaks SMTP and TLS and writes the mail; the addresses that it connects to are those that the guard let
//! through, under the host's name for TLS. A connection is used again for the next mails, as servers like it. Parts:
//! [`mail`] (what is sent), [`session`] (how), [`capped`] (how much is read).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use crate::event::Str;
use crate::target::dial::{self, Endpoint};
use crate::target::format::{Column, Format};
use crate::target::http::settings::is_reference;
use crate::target::{
    Common, Context, Delivery, Detail, Error, Factory, Failure, FailureClass, Mode, Outcome, Preview, Span, Target,
};

mod capped;
mod mail;
mod session;

use mail::Writer;
use session::GOODBYE;

/// Connections that are kept for the next mail.
const MAX_IDLE: usize = 4;

/// The settings of a target of kind `smtp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The mail server.
    pub host: String,
    /// Its port; 465, with `starttls` 587, without TLS 25.
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Protection,
    /// A file of PEM certificates in the configuration folder: only servers certified by one of these are trusted.
    pub ca: Option<String>,
    /// Who signs in: a name, or a reference to it. Needs TLS.
    pub username: Option<String>,
    /// The password by reference.
    pub password: Option<String>,
    /// Who the mail is from, a template: `hexaFn <alerts@example.com>`.
    pub from: String,
    /// Who it is to: templates, each for one address (`Jo <jo@example.org>`) or, when it gives an empty text, for none.
    pub to: Vec<String>,
    /// Who sees a copy, in the same way.
    #[serde(default)]
    pub cc: Vec<String>,
    /// Who gets a copy unseen, in the same way.
    #[serde(default)]
    pub bcc: Vec<String>,
    /// Where answers go, a template.
    pub reply_to: Option<String>,
    /// The subject, a template; the event's type when absent. Line ends become spaces, and what is longer than 250
    /// characters is cut.
    pub subject: Option<String>,
    /// What the text is made of; `json`, the data.
    pub format: Option<Format>,
    /// The text, a template.
    pub body: Option<String>,
    /// The columns of `csv`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// The same as HTML beside the text, a template. What comes from an event is not escaped for you.
    pub html: Option<String>,
    /// The name that this machine greets with; its host name when absent.
    pub hello: Option<String>,
    /// The connection alone; 5 s.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
}

/// `tls` of a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// TLS from the first byte (RFC 8314).
    #[default]
    Required,
    /// TLS after `STARTTLS`; a server that does not offer it is not used.
    Starttls,
    /// No TLS: only in a private network that is allowed, and without signing in.
    None,
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

impl Factory for Settings {
    fn build(&self, common: &Common, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
        Ok(Arc::new(SmtpTarget::new(common, self, context)?))
    }
}

/// A target of kind `smtp`, ready to send.
pub struct SmtpTarget {
    endpoint: Endpoint,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
    writer: Writer,
    timeout: Span,
    concurrency: usize,
    idle: Mutex<Vec<Kept>>,
}

/// How a connection is protected, and what is trusted then.
enum Security {
    None,
    /// From the first byte.
    AtOnce(Arc<ClientConfig>, ServerName<'static>),
    Starttls(TlsParameters),
}

/// A connection between two mails.
struct Kept {
    connection: AsyncSmtpConnection,
    since: Instant,
    mails: u32,
}

impl std::fmt::Debug for SmtpTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpTarget").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl SmtpTarget {
    /// Checks the settings.
    pub fn new(common: &Common, settings: &Settings, context: &Context<'_>) -> Result<Self, Error> {
        let name = &common.name;
        let bad = |field: &str, message: String| Error::setting(name, field, message);
        let host = settings.host.trim_matches(['[', ']']);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(bad("host", "expected the name or address of a mail server, without a port".into()));
        }
        if host.contains(':') && host.parse::<IpAddr>().is_err() {
            return Err(bad("host", "a port goes into `port`".into()));
        }
        if settings.port == Some(0) {
            return Err(bad("port", "expected 1 to 65535; without it, that of `tls` is taken".into()));
        }
        let port = settings.port.unwrap_or(match settings.tls {
            Protection::Required => 465,
            Protection::Starttls => 587,
            Protection::None => 25,
        });
        let guard = dial::guard(name, &settings.allow_networks, context)?;
        let endpoint = Endpoint::new(name, "host", (host, port), settings.connect_timeout, guard)?;
        let credentials = match (&settings.username, &settings.password) {
            (None, None) => None,
            (Some(_), Some(_)) if settings.tls == Protection::None => {
                return Err(bad(
                    "password",
                    "it is not sent without TLS; set `tls` to `required` or `starttls`".into(),
                ));
            }
            (Some(username), Some(password)) => {
                let read = |field: &str, reference: &String| {
                    let secret = context.secrets.get(reference).map_err(|e| bad(field, e))?;
                    Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
                };
                let username = if is_reference(username) { read("username", username)? } else { username.clone() };
                if !is_reference(password) {
                    let message = "expected a reference, `env:NAME` or `file:PATH`, not the password itself";
                    return Err(bad("password", message.into()));
                }
                Some(Credentials::new(username, read("password", password)?))
            }
            (Some(_), None) => return Err(bad("username", "needs a `password`, by reference".into())),
            (None, Some(_)) => return Err(bad("password", "needs a `username`".into())),
        };
        let ca = settings.ca.as_deref();
        let security = match settings.tls {
            Protection::None if ca.is_some() => return Err(bad("ca", "goes with TLS only".into())),
            Protection::None => Security::None,
            Protection::Required => {
                let server = ServerName::try_from(host.to_owned()).map_err(|e| bad("host", e.to_string()))?;
                Security::AtOnce(Arc::new(dial::trusting(name, "ca", ca, context)?.with_no_client_auth()), server)
            }
            Protection::Starttls => Security::Starttls(starttls(name, host, ca, context)?),
        };
        let hello = match &settings.hello {
            Some(text) if text.is_empty() || text.len() > 253 || !text.chars().all(plain) => {
                return Err(bad("hello", "expected the name of a host".into()));
            }
            Some(text) => ClientId::Domain(text.clone()),
            None => ClientId::default(),
        };
        Ok(Self {
            endpoint,
            security,
            credentials,
            hello,
            writer: Writer::new(name, settings)?,
            timeout: common.timeout,
            concurrency: common.concurrency,
            idle: Mutex::new(Vec::new()),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, kept: Kept) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(kept);
        }
    }

    async fn attempt(&self, delivery: Delivery<'_>) -> Outcome {
        let started = Instant::now();
        let mut detail = Detail::default();
        let result = match self.writer.write(delivery) {
            Ok(mail) => {
                let deadline = started + self.timeout.0;
                let sent = tokio::time::timeout_at(deadline, self.send(&mail, deadline, &mut detail)).await;
                sent.unwrap_or_else(|_| {
                    let limit = self.timeout;
                    let message = format!("`{}` did not take the mail within {limit} (`timeout`)", self.endpoint);
                    Err(Failure::new(FailureClass::Timeout, message))
                })
            }
            Err(failure) => Err(failure),
        };
        detail.took = started.elapsed();
        match result {
            Ok(()) => Outcome::Delivered { detail },
            Err(failure) => Outcome::Failed(Failure { detail, ..failure }),
        }
    }
}

/// The library begins TLS by itself after `STARTTLS`, with a configuration of its own.
fn starttls(name: &Str, host: &str, ca: Option<&str>, context: &Context<'_>) -> Result<TlsParameters, Error> {
    let bad = |message: String| Error::setting(name, "ca", message);
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        tls = tls.certificate_store(CertificateStore::None);
        for certificate in dial::certificates(path, context).map_err(bad)? {
            let certificate = Certificate::from_der(certificate.to_vec()).map_err(|e| bad(e.to_string()))?;
            tls = tls.add_root_certificate(certificate);
        }
    }
    tls.build().map_err(|e| Error::Client { target: name.clone(), message: e.to_string() })
}

impl Target for SmtpTarget {
    fn kind(&self) -> &'static str {
        "smtp"
    }

    fn destination(&self) -> String {
        format!("{} by {}", self.writer.shown(), self.endpoint)
    }

    fn mode(&self) -> Mode {
        Mode::Each { concurrency: self.concurrency }
    }

    fn preview(&self, delivery: Delivery<'_>) -> Result<Preview, Failure> {
        let mail = self.writer.write(delivery)?;
        let to: Vec<&str> = mail.to.iter().map(|recipient| recipient.address.as_ref()).collect();
        let whole = String::from_utf8_lossy(&mail.bytes);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or((&whole, ""));
        // A line that begins with a space goes on with the one before.
        let unfolded = head.replace("\r\n ", " ");
        let headers = unfolded.lines().filter_map(|line| line.split_once(": "));
        Ok(Preview {
            destination: format!("{} by {}", to.join(", "), self.endpoint),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: body.replace("\r\n", "\n"),
        })
    }

    fn deliver<'a>(&'a self, delivery: Delivery<'a>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let idle = std::mem::take(&mut *self.idle());
            for mut kept in idle {
                if tokio::time::timeout(GOODBYE, kept.connection.quit()).await.is_err() {
                    tracing::debug!(to = %self.endpoint, "the mail server did not say goodbye");
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
