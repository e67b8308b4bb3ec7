//! The client of the API.

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

use super::exact::Page;
use super::{Failure, Output};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: a reload of everything, or an attempt of a target.
const ANSWER: Duration = Duration::from_secs(120);

/// Talks to one service.
pub struct Client {
    base: String,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    /// How to print.
    pub output: Output,
}

impl Client {
    /// A client of the service at `base`; the token comes from a file or from `HEXAFN_TOKEN`.
    pub fn new(base: &str, token_file: Option<&Path>, output: Output) -> Result<Self, Failure> {
        let token = match token_file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|e| Failure::new(1, format!("{}: {e}", path.display())))?;
                Some(text.trim().to_owned())
            }
            None => std::env::var("HEXAFN_TOKEN").ok().filter(|t| !t.is_empty()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|e| Failure::new(1, format!("the HTTP client cannot be set up: {e}")))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, runtime, http, output })
    }

    /// The service's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token, for a WebSocket.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Runs a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(self.http.get(self.url(path)))
    }

    /// GET of a page of events or dead letters, as they are.
    pub fn page(&self, path: &str) -> Result<Page, Failure> {
        let bytes = self.bytes(self.http.get(self.url(path)))?;
        serde_json::from_slice(&bytes).map_err(|e| Failure::new(1, format!("{path}: not the answer of hexaFn: {e}")))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(self.http.delete(self.url(path)))
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.send(self.http.post(self.url(path)).json(body))
    }

    /// PATCH with a JSON body.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.http.patch(self.url(path)).json(body))
    }

    /// PUT with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(self.http.put(self.url(path)).json(body))
    }

    /// Bytes with headers.
    pub fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Value, Failure> {
        let mut request = self.http.request(method, self.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        self.bytes(request).map(|bytes| value(&bytes))
    }

    fn bytes(&self, request: reqwest::RequestBuilder) -> Result<bytes::Bytes, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        self.block_on(async {
            let response = request.send().await.map_err(|e| {
                // The outer errors say that it was a request; the innermost says what happened.
                let causes = std::iter::successors(std::error::Error::source(&e), |e| e.source());
                let why = causes.last().map_or_else(|| e.to_string(), ToString::to_string);
                if e.is_timeout() {
                    return Failure::new(69, format!("the service at {} did not answer in time ({why})", self.base));
                }
                let hint = "start it with `hexafn serve`, or name another with --server or HEXAFN_SERVER";
                Failure::new(69, format!("the service at {} cannot be reached ({why}); {hint}", self.base))
            })?;
            let status = response.status();
            let bytes = response.bytes().await.map_err(|e| Failure::new(69, e.to_string()))?;
            if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
        })
    }
}

/// What an answer other than a success says: a problem document, or what somebody in the place of the service says.
pub fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let said = value(body);
    let code = match (status.as_u16(), said["code"].as_str()) {
        (401 | 403, _) | (429, Some("too-many-failures")) => 77,
        (422, Some("config-invalid")) => 78,
        _ => 1,
    };
    let message = match (said["code"].as_str(), said["detail"].as_str()) {
        (Some(code), Some(detail)) => super::table::plain_lines(&format!("{code}: {detail}")),
        _ if body.is_empty() => status.to_string(),
        _ => format!("{status}: {}", super::table::cell(&said)),
    };
    Failure { code, message, json: Some(said).filter(Value::is_object) }
}

/// An answer, which may be no JSON where somebody else answers.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// A part of a path, percent-encoded.
pub fn part(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~*>".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect::<String>()
        .replace('>', "%3E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_told_with_a_code_whoever_answers() {
        let problem = |code: &str| format!(r#"{{"code":"{code}","detail":"no"}}"#);
        for (status, body, code, message) in [
            (401, problem("token-required"), 77, "token-required: no"),
            (403, problem("scope-missing"), 77, "scope-missing: no"),
            (429, problem("too-many-failures"), 77, "too-many-failures: no"),
            (429, problem("token-rate"), 1, "token-rate: no"),
            (422, problem("config-invalid"), 78, "config-invalid: no"),
            (404, problem("topic-unknown"), 1, "topic-unknown: no"),
            (502, "<p>".to_owned(), 1, "502 Bad Gateway: <p>"),
            (502, String::new(), 1, "502 Bad Gateway"),
        ] {
            let failure = refused(StatusCode::from_u16(status).unwrap_or_default(), body.as_bytes());
            assert_eq!((failure.code, &*failure.message), (code, message));
            assert_eq!(failure.json.is_some(), status != 502, "only an object is told as it came: {message}");
        }
    }
}
