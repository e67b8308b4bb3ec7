//! OAuth 2.0 client credentials (RFC 6749, 4.4): one token of a target, asked for when it is needed.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use http::HeaderValue;
use http_body_util::BodyExt;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    RefreshToken, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Url;

use super::client::{Client, Request};
use super::failure::{chain, host_of, unanswered};
use crate::clock::Wall;
use crate::event::Str;
use crate::target::{Failure, FailureClass, Span, Verdict};

/// How long before its end a token is replaced: it must outlive the request that carries it.
const EARLY: Duration = Duration::from_secs(30);
/// How long a token without `expires_in` is kept.
const UNKNOWN: Duration = Duration::from_secs(300);
/// The largest answer of a token endpoint that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The client of the library, which is given answers of ours.
type Tokens<HasTokenUrl = EndpointSet> = oauth2::Client<
    BasicErrorResponse,
    Given,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    HasTokenUrl,
>;

/// What a token endpoint gives (RFC 6749, 5.1), as far as it is used. The one of the library refuses a token for an
/// `expires_in` that is no whole number: Azure AD v1 and ADFS write it as a text.
#[derive(Debug, Deserialize, Serialize)]
struct Given {
    access_token: AccessToken,
    #[serde(deserialize_with = "oauth2::helpers::deserialize_untagged_enum_case_insensitive")]
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<Duration>,
}

impl TokenResponse for Given {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Reads an `expires_in`: seconds, whole or not, as a number or a text. What is not to be read, or not in the future, is as
/// if it were not said: the token is there, and a receiver that does not take it any more says so.
fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(lifetime.filter(|lifetime| !lifetime.is_zero()))
}

/// The credentials, and the token that they gave.
#[derive(Debug)]
pub(super) struct Auth {
    client: Tokens,
    /// The host of the token endpoint, for messages.
    host: String,
    scopes: Vec<Scope>,
    params: Vec<(String, String)>,
    token: Mutex<Option<(HeaderValue, Wall)>>,
    /// One request for a token at a time; the others wait for its result.
    asking: tokio::sync::Mutex<()>,
}

/// Why there was no answer of the token endpoint.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
struct NoAnswer(Failure);

impl Auth {
    pub(super) fn new(
        token_url: Url,
        client_id: &str,
        secret: &str,
        scopes: &[String],
        params: &BTreeMap<String, String>,
    ) -> Self {
        let host = host_of(&token_url);
        let client = Tokens::<EndpointNotSet>::new(ClientId::new(client_id.to_owned()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_token_uri(TokenUrl::from_url(token_url));
        Self {
            client,
            host,
            scopes: scopes.iter().cloned().map(Scope::new).collect(),
            params: params.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            token: Mutex::new(None),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// The `Authorization` of a request.
    ///
    /// # Errors
    /// The token endpoint gave none.
    pub(super) async fn token(&self, http: &Client, now: Wall) -> Result<HeaderValue, Failure> {
        if let Some(token) = self.known(now) {
            return Ok(token);
        }
        let _one = self.asking.lock().await;
        if let Some(token) = self.known(now) {
            return Ok(token);
        }
        let mut request = self.client.exchange_client_credentials().add_scopes(self.scopes.iter().cloned());
        for (name, value) in &self.params {
            request = request.add_extra_param(name, value);
        }
        let through = Through(http.clone(), AtomicU16::new(0));
        let answer = request.request_async(&through).await.map_err(|error| match error {
            oauth2::RequestTokenError::Request(NoAnswer(failure)) => {
                Failure { message: self.no_token(&failure.message), ..failure }
            }
            oauth2::RequestTokenError::ServerResponse(said) => {
                let code = said.error().to_string();
                let more = said.error_description().map(|d| format!(" ({d})")).unwrap_or_default();
                self.refused(through.status(), &format!("`{code}`{more}; check `auth`"))
            }
            other => match through.status() {
                // Its body may hold a token all the same, so it is not told.
                status @ 200..=299 => {
                    self.unusable(&format!("answered {status} with what is no token: {}", chain(&other)))
                }
                status => {
                    self.refused(status, &format!("{status} and names no error: {}; check `auth`", chain(&other)))
                }
            },
        })?;
        let value = HeaderValue::from_str(&format!("Bearer {}", answer.access_token().secret()));
        let mut value = value.map_err(|_| self.unusable("answered a token that no header can hold"))?;
        value.set_sensitive(true);
        let until = now.plus(answer.expires_in().unwrap_or(UNKNOWN).saturating_sub(EARLY));
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some((value.clone(), until));
        Ok(value)
    }

    /// Forgets the token: the receiver did not take it.
    pub(super) fn forget(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn known(&self, now: Wall) -> Option<HeaderValue> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// The failure of who waited for a token for as long as an attempt may take.
    pub(super) fn too_slow(&self, within: Span) -> Failure {
        let said = format!("did not answer within {within} (`timeout` of the target)");
        Failure::new(FailureClass::Timeout, self.no_token(&said))
    }

    fn refused(&self, status: u16, said: &str) -> Failure {
        self.failed(FailureClass::Status(status), &format!("answered {said}"))
    }

    fn unusable(&self, said: &str) -> Failure {
        self.failed(FailureClass::Protocol, said)
    }

    fn failed(&self, class: FailureClass, said: &str) -> Failure {
        let said: String = said.chars().take(300).flat_map(char::escape_debug).collect();
        Failure::new(class, self.no_token(&said))
    }

    fn no_token(&self, said: &str) -> Str {
        format!("no access token: the token endpoint `{}` {said}", self.host).into()
    }
}

/// The target's own client: tokens are asked for through the same guard, proxy and trust. With the status of the answer.
struct Through(Client, AtomicU16);

impl Through {
    fn status(&self) -> u16 {
        self.1.load(Ordering::Relaxed)
    }
}

impl<'c> AsyncHttpClient<'c> for Through {
    type Error = NoAnswer;
    type Future = BoxFuture<'c, Result<HttpResponse, NoAnswer>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let answered = answer(self.0.clone(), request);
        answered.inspect_ok(|answer| self.1.store(answer.status().as_u16(), Ordering::Relaxed)).boxed()
    }
}

async fn answer(http: Client, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
    let (parts, body) = request.into_parts();
    let request = Request { method: parts.method, uri: parts.uri, headers: parts.headers, body: body.into() };
    let answer = http.send(request).await.map_err(|error| {
        let failure = unanswered(&error, Verdict::Retry);
        NoAnswer(match failure.class {
            // It is a sentence of its own.
            FailureClass::Refused => {
                Failure { message: format!("is not connected to: {}", failure.message).into(), ..failure }
            }
            _ => failure,
        })
    })?;
    let (parts, mut body) = answer.into_parts();
    let mut read = Vec::new();
    let broken = |message| NoAnswer(Failure::new(FailureClass::Body, message));
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| broken(format!("answered, but the answer was cut off: {}", chain(&error))))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if read.len() + chunk.len() > MAX_ANSWER {
            return Err(broken(format!("answered more than {MAX_ANSWER} bytes")));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(http::Response::from_parts(parts, read))
}
