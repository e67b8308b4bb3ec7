//! The settings of the HTTP target, and what is made of them once.

use http::Uri;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

use super::auth::Auth;
use super::client::{Client, IDLE, Parts, Proxy};
use super::guard::Guard;
use super::host::Host;
use super::{Address, MAX_TEXT, sign};
use crate::event::Str;
use crate::target::format::{Column, Format};
use crate::target::{Common, Context, Error, Size, Span, Template, dial};

/// What every request says it is from.
pub(super) const AGENT: &str = concat!("hexafn/", env!("CARGO_PKG_VERSION"));

/// The settings of a target of kind `http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to: `http` or `https`; a template, or a secret (`env:…`, `file:…`) when it holds one.
    pub url: String,
    /// `POST` (default), `PUT`, `PATCH`, `DELETE` or `GET` (which sends no body).
    #[serde(default = "post")]
    #[schemars(extend("enum" = ["POST", "PUT", "PATCH", "DELETE", "GET"]))]
    pub method: String,
    /// More headers: templates, or secrets by reference.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the body is; `template` when `body` is given, else `data`.
    pub format: Option<Format>,
    /// The body, a template.
    pub body: Option<String>,
    /// The columns of `csv`.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// The Content-Type, instead of the one of the format.
    pub content_type: Option<String>,
    /// Signs each request by Standard Webhooks.
    pub sign: Option<SignSettings>,
    /// The connection alone; 5 s.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// How much of an answer is read; 64 KiB.
    #[serde(default = "reply_size")]
    pub max_reply: Size,
    /// Private networks that this target may reach, besides those of `[targets]`.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// How this client is known to the receiver, beside `headers`.
    pub auth: Option<AuthSettings>,
    /// Certificates, where those of the system are not enough.
    pub tls: Option<TlsSettings>,
    /// The proxy that connects in place of this machine: `http://host:port`, or a secret by reference when it holds a
    /// password. Which addresses are reached is then its decision; its own address is checked here.
    pub proxy: Option<String>,
    /// `auto` (HTTP/2 where a TLS server offers it), `1.1`, or `2` (without TLS, too).
    #[serde(default)]
    pub http_version: HttpVersion,
    /// Compresses bodies of 256 bytes and more. A signature is that of the body before.
    pub compress: Option<Compress>,
    /// Whether 4xx other than 408, 410, 425 and 429 are tried again; true.
    #[serde(default = "yes")]
    pub retry_client_errors: bool,
}

/// `sign`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignSettings {
    /// References of secrets; two while rotating.
    #[schemars(with = "Vec<crate::source::secret::SecretRef>", length(min = 1, max = sign::MAX_SECRETS))]
    pub secrets: Vec<String>,
}

fn post() -> String {
    "POST".into()
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn reply_size() -> Size {
    Size(64 * 1024)
}

fn yes() -> bool {
    true
}

/// `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuthSettings {
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user; no colon.
        username: String,
        /// The password by reference.
        password: String,
    },
    /// A bearer token (RFC 6750).
    Bearer {
        /// The token by reference.
        access_token: String,
    },
    /// OAuth 2.0 client credentials (RFC 6749, 4.4): a token is asked for when the first delivery needs one, kept until
    /// it expires, and asked for anew after a 401.
    Oauth2 {
        /// Where tokens are issued.
        token_url: String,
        /// The client.
        client_id: String,
        /// Its secret by reference.
        secret: String,
        /// The scopes to ask for.
        #[serde(default)]
        scopes: Vec<String>,
        /// More parameters of the request, such as `audience`.
        #[serde(default)]
        params: BTreeMap<String, String>,
    },
}

/// `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// A file of PEM certificates in the configuration folder: only servers certified by one of these are trusted.
    pub ca: Option<String>,
    /// A file with the certificate of this client and those of its issuers, in PEM, in the configuration folder.
    pub cert: Option<String>,
    /// The key of `cert` in PEM, by reference.
    pub private_key: Option<String>,
}

/// `http_version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// What the server offers.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, also without TLS ("prior knowledge", RFC 9113, 3.3).
    #[serde(rename = "2")]
    Two,
}

/// `compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The client of a target: its own pool, its own trust.
pub(super) fn client(
    common: &Common,
    settings: &Settings,
    guard: &Guard,
    context: &Context<'_>,
) -> Result<Client, Error> {
    let tls = dial::tls(&common.name, settings.tls.as_ref(), context)?;
    Ok(Client::new(Parts {
        guard: guard.clone(),
        version: settings.http_version,
        tls: Arc::unwrap_or_clone(tls),
        proxy: proxy(&common.name, settings, guard, context)?,
        connect_timeout: settings.connect_timeout.0,
        idle: common.concurrency,
    }))
}

/// Reads `proxy`.
fn proxy(name: &Str, settings: &Settings, guard: &Guard, context: &Context<'_>) -> Result<Option<Proxy>, Error> {
    let bad = |message: String| Error::setting(name, "proxy", message);
    let Some(text) = &settings.proxy else { return Ok(None) };
    let read = if is_reference(text) { context.secrets.address(text) } else { Ok(text.clone().into()) };
    let mut url = Url::parse(read.map_err(bad)?.trim()).map_err(|e| bad(format!("not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("the scheme `{}`; expected `http` or `https`", url.scheme())));
    }
    if url.password().is_some() && !is_reference(text) {
        return Err(bad("a password is written down; put the URL into a secret: `env:NAME`".into()));
    }
    guard.check_url(&url).map_err(|e| bad(e.to_string()))?;
    let mut authorization = None;
    if !url.username().is_empty() || url.password().is_some() {
        let mut pair = zeroize::Zeroizing::new(percent_decode_str(url.username()).collect::<Vec<u8>>());
        pair.push(b':');
        pair.extend(percent_decode_str(url.password().unwrap_or_default()));
        authorization = Some(basic(&pair, context).map_err(bad)?);
    }
    // Neither fails: the URL has a host.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(bad("a URL without a host".into()));
    }
    Ok(Some(Proxy { uri: uri(&url).map_err(bad)?, authorization }))
}

/// The value of an `Authorization` of scheme `Basic` (RFC 7617).
fn basic(pair: &[u8], context: &Context<'_>) -> Result<HeaderValue, String> {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    context.secrets.sent_as(&encoded);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A URL as requests have it.
pub(super) fn uri(url: &Url) -> Result<Uri, String> {
    url.as_str().parse().map_err(|e| format!("no URL that a request can have: {e}"))
}

/// The client of libraries that bring no request of ours (S3, and functions): it connects where the guard lets it, and does
/// nothing of its own accord.
pub(crate) fn base_client(guard: &Guard, connect_timeout: Span, idle: usize) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .dns_resolver(guard.clone())
        // A proxy named in the environment would connect for us, past the guard.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // The forwarder's restart strategy is the only retry there is.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect_timeout.0)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
}

/// The client of who sends requests without settings of its own: functions.
pub(crate) fn outgoing_client(
    guard: &Guard,
    connect_timeout: Duration,
    idle: usize,
) -> reqwest::Result<reqwest::Client> {
    base_client(guard, Span(connect_timeout), idle).build()
}

/// Reads `auth`; what is the same for all requests becomes a header.
pub(super) fn auth(
    name: &Str,
    settings: &Settings,
    guard: &Guard,
    constants: &mut HeaderMap,
    context: &Context<'_>,
) -> Result<Option<Auth>, Error> {
    let Some(auth) = &settings.auth else { return Ok(None) };
    let bad = |field: &str, message: String| Error::setting(name, field, message);
    if settings.headers.keys().any(|key| key.eq_ignore_ascii_case("authorization")) {
        return Err(bad("auth", "`headers.authorization` is set, too; leave one of them out".into()));
    }
    let secret = |field: &str, reference: &String| {
        if !is_reference(reference) {
            return Err(bad(field, "expected a reference, `env:NAME` or `file:PATH`, not the secret itself".into()));
        }
        context.secrets.get(reference).map_err(|e| bad(field, e))
    };
    let (field, value) = match auth {
        AuthSettings::Basic { username, password } => {
            if username.contains(':') || username.chars().any(char::is_control) {
                return Err(bad("auth.username", "a user name without colons and control characters".into()));
            }
            let password = secret("auth.password", password)?;
            let pair = zeroize::Zeroizing::new(format!("{username}:{}", password.trim_end_matches(['\r', '\n'])));
            let value = basic(pair.as_bytes(), context).map_err(|e| bad("auth.password", e))?;
            constants.insert(AUTHORIZATION, value);
            return Ok(None);
        }
        AuthSettings::Bearer { access_token } => {
            let token = secret("auth.access_token", access_token)?;
            ("auth.access_token", format!("Bearer {}", token.trim()))
        }
        AuthSettings::Oauth2 { token_url, client_id, secret: reference, scopes, params } => {
            let url = parse_url(token_url).map_err(|e| bad("auth.token_url", e))?;
            guard.check_url(&url).map_err(|e| bad("auth.token_url", e.to_string()))?;
            let secret = secret("auth.secret", reference)?;
            return Ok(Some(Auth::new(url, client_id, secret.trim(), scopes, params)));
        }
    };
    let value = HeaderValue::from_str(&value);
    let mut value = value.map_err(|_| bad(field, "the secret holds characters that no header may have".into()))?;
    value.set_sensitive(true);
    constants.insert(AUTHORIZATION, value);
    Ok(None)
}

/// Reads `url`: a secret by reference, a constant, or a template.
pub(super) fn address(name: &Str, text: &str, guard: &Guard, context: &Context<'_>) -> Result<Address, Error> {
    let bad = |message: String| Error::setting(name, "url", message);
    if is_reference(text) {
        let secret = context.secrets.address(text).map_err(bad)?;
        let url = parse_url(secret.trim()).map_err(|e| bad(format!("the secret `{text}` is no URL: {e}")))?;
        guard.check_url(&url).map_err(|e| bad(e.to_string()))?;
        return Ok(Address::Constant { uri: uri(&url).map_err(bad)?, secret: true });
    }
    let template = Template::compile(name, "url", text)?;
    let Some(constant) = template.constant() else {
        let starts_ok = ["http://", "https://"].iter().any(|s| text.starts_with(s)) || text.starts_with("${");
        if starts_ok {
            // What no event can change is told now. The last part of a path may go on with what an event gives.
            let prefix = template.prefix();
            let parts = prefix.rsplit_once('/').filter(|_| !prefix.contains(['?', '#']));
            stays_in_place(parts.map_or(prefix, |(whole, _)| whole)).map_err(bad)?;
            let host = Host::of(&template).map_err(|e| bad(e.to_string()))?;
            return Ok(Address::Template { template, host });
        }
        return Err(bad("expected `http://`, `https://` or `${` at its beginning".into()));
    };
    let url = parse_url(constant).map_err(bad)?;
    guard.check_url(&url).map_err(|e| bad(e.to_string()))?;
    Ok(Address::Constant { uri: uri(&url).map_err(bad)?, secret: false })
}

/// What is probably not meant: secrets that go where others may get them.
pub(super) fn warnings(settings: &Settings, url: &Address, guard: &Guard) -> Vec<(&'static str, String)> {
    let mut warnings = Vec::new();
    let (auth, header) = (settings.auth.is_some(), settings.headers.values().any(|text| is_reference(text)));
    let told = [("auth", auth), ("headers", header), ("sign", settings.sign.is_some())];
    let chosen = !matches!(url, Address::Template { host, .. } if !host.chosen);
    if let Some((what, _)) = told.iter().find(|(_, told)| *told && !chosen) {
        warnings.push((
            "url",
            format!(
                "an event chooses the host, and with it who gets what `{what}` sends: end the host with a name of your own \
                 (`https://${{…}}.example.com/`), or send such events by a target without secrets"
            ),
        ));
    }
    // What a proxy does with a request is the proxy's.
    let read_on_the_way = |host: &str| settings.proxy.is_none() && !guard.may_stay_inside(host);
    let plain = match url {
        Address::Constant { uri, .. } => {
            uri.scheme_str() == Some("http") && read_on_the_way(uri.host().unwrap_or_default())
        }
        Address::Template { template, .. } => template.prefix().starts_with("http://") && read_on_the_way(""),
    };
    if let Some((what, _)) = told[..2].iter().find(|(_, told)| *told && plain) {
        warnings.push(("url", in_the_clear(what, "https")));
    }
    if let Some(AuthSettings::Oauth2 { token_url, .. }) = &settings.auth
        && let Ok(url) = Url::parse(token_url)
        && url.scheme() == "http"
        && read_on_the_way(url.host_str().unwrap_or_default())
    {
        warnings.push(("auth.token_url", in_the_clear("auth", "https")));
    }
    warnings
}

/// What is said of secrets that are sent without TLS.
pub(crate) fn in_the_clear(what: &str, scheme: &str) -> String {
    format!("without TLS whoever is on the way to the host reads the secret of `{what}`: begin it with `{scheme}://`")
}

pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("a URL of {} bytes; at most {MAX_TEXT} are sent", text.len()));
    }
    // The parser of browsers removes these silently; here they are an injection.
    if text.chars().any(|c| c.is_control()) {
        return Err("a URL with a control character in it".into());
    }
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme `{}`; expected `http` or `https`", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in the URL; send it by `headers` and a secret".into());
    }
    Ok(url)
}

/// Whether the path of a URL has nothing in it that the parser would fold: a part that is one or two dots, however they are
/// spelt (`%2e`), or a backslash, which it takes for a slash. Looked at before it is parsed, since nothing of it is left then.
pub(super) fn stays_in_place(text: &str) -> Result<(), String> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    if path.contains('\\') {
        return Err("a backslash before the query: write a slash, or encode it with `url_encode`".into());
    }
    // The parser takes blanks at the ends away first.
    match path.trim_matches(' ').split('/').find(|part| is_dots(part)) {
        Some(part) => Err(format!(
            "its path has the part `{part}`, which would take it elsewhere: expected a path without `.` and `..`, encoded or not"
        )),
        None => Ok(()),
    }
}

/// One or two dots, as the URL standard reads them ("single-dot" and "double-dot URL path segment").
fn is_dots(part: &str) -> bool {
    after_dot(part).is_some_and(|rest| rest.is_empty() || after_dot(rest) == Some(""))
}

fn after_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"].iter().find_map(|dot| text.strip_prefix(dot))
}

/// Whether a setting refers to a secret (a URL of scheme `file` does not).
pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.strip_prefix("file:").is_some_and(|rest| !rest.starts_with("//"))
}

/// Another name of the same header, which would be sent in its place. (RFC 9110, 5.1: names know no case.)
pub(crate) fn same_header<'a>(headers: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    headers.keys().map(String::as_str).find(|other| *other != name && other.eq_ignore_ascii_case(name))
}

/// Reads `content_type`.
pub(super) fn content_type(text: &str) -> Result<HeaderValue, String> {
    let expected = || {
        let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
        format!("expected a media type such as `application/json` or `text/plain; charset=utf-8`, found `{shown}`")
    };
    let token = |part: &str| !part.is_empty() && part.bytes().all(is_token);
    let mut parts = text.split(';');
    let is_type =
        parts.next().and_then(|first| first.trim_end().split_once('/')).is_some_and(|(a, b)| token(a) && token(b));
    // The value of a parameter may be a quoted text, which holds a `;` of its own.
    let named =
        |part: &str| part.split_once('=').is_some_and(|(name, value)| token(name.trim_start()) && !value.is_empty());
    let are_parameters = text.contains('"') || parts.all(named);
    HeaderValue::from_str(text).ok().filter(|_| is_type && are_parameters).ok_or_else(expected)
}

/// What names in headers consist of (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Refuses what `GET` would not send.
pub(super) fn without_body(name: &Str, settings: &Settings) -> Result<(), Error> {
    let format = settings.format.filter(|format| *format != Format::CloudeventsBinary);
    let set = [
        ("body", settings.body.is_some()),
        ("columns", !settings.columns.is_empty()),
        ("format", format.is_some()),
        ("content_type", settings.content_type.is_some()),
        ("compress", settings.compress.is_some()),
    ];
    let Some((field, _)) = set.into_iter().find(|(_, set)| *set) else { return Ok(()) };
    let message = "GET sends no body, so this would do nothing; leave it out, or choose another `method`";
    Err(Error::setting(name, field, message))
}

pub(super) type Headers = (HeaderMap, Vec<(HeaderName, Template)>);

pub(super) fn headers(name: &Str, settings: &Settings, context: &Context<'_>) -> Result<Headers, Error> {
    const OURS: [&str; 14] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ];
    let (mut constants, mut templates) = (HeaderMap::new(), Vec::new());
    constants.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    constants.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (key, text) in &settings.headers {
        let field = format!("headers.{}", key.escape_debug());
        let bad = |message: &str| Error::setting(name, field.as_str(), message);
        let header = HeaderName::try_from(key.as_str()).map_err(|_| bad("not a header name"))?;
        if let Some(other) = same_header(&settings.headers, key) {
            return Err(bad(&format!(
                "the same header as `{other}`, whose name differs in case only; leave one of them out"
            )));
        }
        if settings.format == Some(Format::CloudeventsBinary) && header.as_str().starts_with("ce-") {
            return Err(bad(
                "with `format = \"cloudevents-binary\"` headers with `ce-` are attributes of the event, set by hexaFn",
            ));
        }
        if header == CONTENT_TYPE {
            return Err(bad("set `content_type` of the target instead"));
        }
        if OURS.contains(&header.as_str()) || header.as_str().starts_with("proxy-") {
            return Err(bad("this header is set by hexaFn itself"));
        }
        if is_reference(text) {
            let secret = context.secrets.get(text).map_err(|e| bad(&e))?;
            let value = HeaderValue::from_str(secret.trim());
            let mut value = value.map_err(|_| bad("the secret holds characters that no header may have"))?;
            value.set_sensitive(true);
            constants.insert(header, value);
            continue;
        }
        let template = Template::compile(name, &field, text)?;
        match template.constant() {
            Some(text) => {
                let value = HeaderValue::from_str(text).map_err(|_| bad("characters that no header may have"))?;
                constants.insert(header, value);
            }
            None => templates.push((header, template)),
        }
    }
    Ok((constants, templates))
}

pub(super) fn signer(name: &Str, settings: &SignSettings, context: &Context<'_>) -> Result<sign::Signer, Error> {
    let bad = |message: String| Error::setting(name, "sign.secrets", message);
    let read = |reference: &String| {
        if is_reference(reference) {
            context.secrets.get(reference).map_err(bad)
        } else {
            Err(bad("expected references, `env:NAME` or `file:PATH`, not the secrets themselves".into()))
        }
    };
    let secrets = settings.secrets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    sign::Signer::new(&secrets).map_err(bad)
}
