//! TLS of all kinds, and connections of those that do not speak HTTP: to addresses that the guard lets through, and to no others.

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::failure::chain;
use super::http::guard::{self, Guard, SystemLookup, Unreachable};
use super::http::settings::TlsSettings;
use crate::event::Str;
use crate::target::{Context, Error, Failure, FailureClass, Span};

/// The guard of a target with these `allow_networks`.
pub(super) fn guard(name: &Str, networks: &[String], context: &Context<'_>) -> Result<Guard, Error> {
    let mut allowed =
        guard::parse_networks(networks).map_err(|message| Error::setting(name, "allow_networks", message))?;
    allowed.extend_from_slice(context.allow_networks);
    let lookup = context.lookup.cloned().unwrap_or_else(|| Arc::new(SystemLookup));
    Ok(Guard::new(allowed.into(), lookup))
}

/// A host and port to connect to.
#[derive(Debug)]
pub(super) struct Endpoint {
    guard: Guard,
    host: String,
    port: u16,
    connect_timeout: Duration,
}

impl Endpoint {
    /// Checks the host where it is an address; a name is checked whenever it is resolved.
    pub(super) fn new(
        name: &Str,
        field: &str,
        (host, port): (&str, u16),
        connect_timeout: Span,
        guard: Guard,
    ) -> Result<Self, Error> {
        if connect_timeout.0.is_zero() {
            return Err(Error::setting(name, "connect_timeout", "expected more than 0"));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            guard.check(host, address).map_err(|e| Error::setting(name, field, e.to_string()))?;
        }
        Ok(Self { guard, host: host.to_owned(), port, connect_timeout: connect_timeout.0 })
    }

    /// Where it may be connected to: resolved now, and checked.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let found = self.guard.addresses(&self.host).await.map_err(|error| match error {
            // It may be a passing error of its DNS.
            Unreachable::Refused(refused) => Failure::new(FailureClass::Refused, refused.to_string()),
            other => Failure::new(FailureClass::Connect, other.to_string()),
        })?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }

    /// Connects to the first address that answers.
    pub(super) async fn connect(&self) -> Result<TcpStream, Failure> {
        self.connect_to(self.addresses().await?).await
    }

    /// Connects to the first of these [`addresses`](Self::addresses) that answers.
    pub(super) async fn connect_to(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, Failure> {
        let failed = |what: String| Failure::new(FailureClass::Connect, format!("`{self}` {what}"));
        // Each address has its share of the time: one that swallows everything must not hide one that answers.
        let share = self.connect_timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = None;
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(format!("cannot be connected to: {error}")),
                Err(_) => {
                    let limit = Span(self.connect_timeout);
                    last = Some(format!("did not accept a connection within {limit} (`connect_timeout`)"));
                }
            }
        }
        Err(failed(last.unwrap_or_else(|| "has no address".to_owned())))
    }

    /// TLS over a connection, with a server that must be `name`.
    pub(super) async fn secure(
        &self,
        tcp: TcpStream,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let connected = TlsConnector::from(config.clone()).connect(name.clone(), tcp).await;
        connected.map_err(|error| {
            let message = format!("`{self}` cannot be trusted or does not speak TLS: {}", chain(&error));
            Failure::new(FailureClass::Tls, message)
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// TLS of a client that trusts what the machine trusts.
///
/// # Errors
/// The machine's certificates cannot be read.
pub fn platform_tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    Ok(Arc::new(builder()?.with_platform_verifier()?.with_no_client_auth()))
}

/// What a target trusts, and what it shows of itself.
pub(super) fn tls(
    name: &Str,
    settings: Option<&TlsSettings>,
    context: &Context<'_>,
) -> Result<Arc<ClientConfig>, Error> {
    let bad = |field: &str, message: String| Error::setting(name, field, message);
    let settings = settings.cloned().unwrap_or_default();
    let builder = trusting(name, "tls.ca", settings.ca.as_deref(), context)?;
    let config = match (&settings.cert, &settings.private_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(path), Some(key)) => {
            let chain = certificates(path, context).map_err(|e| bad("tls.cert", e))?;
            match context.secrets.pem(key).map_err(|e| bad("tls.private_key", e))? {
                Some(pem) => {
                    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
                    let key = key.map_err(|_| bad("tls.private_key", "holds no private key in PEM".into()))?;
                    builder.with_client_auth_cert(chain, key).map_err(|e| bad("tls.cert", e.to_string()))?
                }
                None => builder.with_no_client_auth(),
            }
        }
        (None, Some(_)) => return Err(bad("tls.private_key", "a key needs its certificate, `cert`".into())),
        (Some(_), None) => return Err(bad("tls.cert", "a certificate needs its `private_key`, by reference".into())),
    };
    Ok(Arc::new(config))
}

/// A client that trusts the authorities of the file that `field` names; those of the system when there is none.
pub(super) fn trusting(
    name: &Str,
    field: &str,
    ca: Option<&str>,
    context: &Context<'_>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let bad = |message: String| Error::setting(name, field, message);
    let client = |error: rustls::Error| Error::Client { target: name.clone(), message: error.to_string() };
    let builder = builder().map_err(client)?;
    let Some(path) = ca else { return builder.with_platform_verifier().map_err(client) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, context).map_err(bad)? {
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    Ok(builder.with_root_certificates(roots))
}

/// The certificates in a file of the configuration folder.
pub(super) fn certificates(path: &str, context: &Context<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = context.secrets.file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("`{path}` holds no certificate in PEM")),
    }
}
