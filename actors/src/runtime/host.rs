//! What the service does for functions: the key-value store and requests out.

use hexafn_runtimes::{ENTRY, HEADER, Host, HostError, HttpRequest, HttpResponse, Write};
use reqwest::{Client, Method};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

use super::Hosted;
use crate::target::http::guard::{Guard, SystemLookup};
use crate::target::http::settings::outgoing_client;

/// The most bytes that keys and values take together.
const MAX_STORE: usize = 64 << 20;

/// Keys and values by namespace, in memory: gone with the process.
#[derive(Debug, Default)]
pub struct Store(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    values: HashMap<(String, String), String>,
    bytes: usize,
}

impl Store {
    /// The value of a key, as JSON text.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.values.get(&(namespace.to_owned(), key.to_owned())).cloned()
    }

    /// All changes of one run, or none.
    ///
    /// # Errors
    /// They do not fit.
    pub fn apply(&self, writes: &[Write]) -> Result<(), String> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let more: usize = writes.iter().map(|write| write.value.as_ref().map_or(0, |value| size(write, value))).sum();
        if entries.bytes + more > MAX_STORE && !entries.fit(writes) {
            return Err(format!("the key-value store in memory holds {MAX_STORE} bytes at most; delete keys"));
        }
        for write in writes {
            let key = (write.namespace.clone(), write.key.clone());
            let old = match &write.value {
                Some(value) => {
                    entries.bytes += size(write, value);
                    entries.values.insert(key, value.clone())
                }
                None => entries.values.remove(&key),
            };
            entries.bytes -= old.map_or(0, |old| size(write, &old));
        }
        Ok(())
    }
}

impl Entries {
    /// Whether there is room for what is there once all is done: of several writes to one key the last one counts.
    fn fit(&self, writes: &[Write]) -> bool {
        let last: HashMap<(&str, &str), &Write> =
            writes.iter().map(|write| ((&*write.namespace, &*write.key), write)).collect();
        let (mut more, mut less) = (0, 0);
        for write in last.into_values() {
            more += write.value.as_ref().map_or(0, |value| size(write, value));
            let old = self.values.get(&(write.namespace.clone(), write.key.clone()));
            less += old.map_or(0, |old| size(write, old));
        }
        more <= less || self.bytes - less + more <= MAX_STORE
    }
}

/// What a value takes under the key of a write, in bytes.
fn size(write: &Write, value: &str) -> usize {
    write.namespace.len() + write.key.len() + value.len() + ENTRY
}

/// The host of one function.
pub struct ServiceHost {
    store: Arc<Store>,
    client: Client,
    guard: Guard,
    /// Where requests run while the worker's thread waits.
    runtime: Handle,
    max_reply: usize,
}

impl ServiceHost {
    /// A host over the store, with a client that reaches what the guard lets it.
    ///
    /// # Errors
    /// TLS could not be set up.
    pub fn new(function: &Hosted, store: Arc<Store>, runtime: Handle) -> Result<Self, String> {
        let guard = Guard::new(function.allow_networks.clone(), Arc::new(SystemLookup));
        let client =
            outgoing_client(&guard, Duration::from_secs(5), function.pool.workers).map_err(|e| e.to_string())?;
        Ok(Self { store, client, guard, runtime, max_reply: function.settings.limits.output })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, String> {
        let url = reqwest::Url::parse(&request.url).map_err(|e| format!("`{}` is no URL: {e}", shown(&request.url)))?;
        self.guard.check_url(&url).map_err(|e| e.to_string())?;
        let method = if request.method.is_empty() { "GET".to_owned() } else { request.method.to_ascii_uppercase() };
        let method = match method.as_str() {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => {
                Method::from_bytes(method.as_bytes()).map_err(|e| e.to_string())?
            }
            other => return Err(format!("expected GET, HEAD, POST, PUT, PATCH or DELETE, got `{}`", shown(other))),
        };
        let mut builder = self.client.request(method, url);
        for (name, value) in &request.headers {
            if ["host", "content-length", "transfer-encoding", "connection"].contains(&&*name.to_ascii_lowercase()) {
                return Err(format!("the header `{name}` is set by hexaFn"));
            }
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let mut response = builder.send().await.map_err(|e| crate::target::http::failure::chain(&e.without_url()))?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers: Vec<(String, String)> =
            headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        let of_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + HEADER).sum();
        let too_large =
            || Err(format!("the answer is larger than {} bytes, headers and body (`limits.output`)", self.max_reply));
        if of_headers > self.max_reply {
            return too_large();
        }
        let mut body = Vec::new();
        while let Some(part) =
            response.chunk().await.map_err(|e| crate::target::http::failure::chain(&e.without_url()))?
        {
            if of_headers + body.len() + part.len() > self.max_reply {
                return too_large();
            }
            body.extend_from_slice(&part);
        }
        Ok(HttpResponse { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

impl Host for ServiceHost {
    fn kv_get(&self, namespace: &str, key: &str) -> Result<Option<String>, HostError> {
        Ok(self.store.get(namespace, key))
    }

    fn http(&self, request: HttpRequest, deadline: Instant) -> Result<HttpResponse, HostError> {
        let (send, wait) = (self.send(request), deadline.saturating_duration_since(Instant::now()));
        // The thread of a worker is nobody else's; it polls the request itself, beside the reactor of the service.
        let _reactor = self.runtime.enter();
        // Within the actor's one poll the runtime would make everything wait once this has been ready often enough, and wake
        // it only after that poll: never.
        let send = tokio::task::coop::unconstrained(tokio::time::timeout(wait, send));
        match futures_executor::block_on(send) {
            Ok(answer) => answer.map_err(HostError),
            Err(_) => Err(HostError("no answer before the function's time was over".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_keeps_what_fits_and_nothing_of_what_does_not() {
        let store = Store::default();
        let put = |key: &str, value: Option<String>| Write { namespace: "n".into(), key: key.into(), value };
        store.apply(&[put("a", Some("1".into())), put("b", Some("2".into())), put("a", None)]).unwrap();
        assert_eq!((store.get("n", "a"), store.get("n", "b").as_deref()), (None, Some("2")));
        let large = "x".repeat(MAX_STORE);
        store.apply(&[put("c", Some("3".into())), put("d", Some(large))]).unwrap_err();
        assert_eq!(store.get("n", "c"), None);
        store.apply(&[put("b", None)]).unwrap();
        assert_eq!(store.0.read().unwrap().bytes, 0);

        // One that takes more than half can be replaced, also in several steps, and by less when there is too much.
        let most = |letter: &str| Some(letter.repeat(MAX_STORE - 3 * ENTRY));
        store.apply(&[put("e", most("a"))]).unwrap();
        store.apply(&[put("e", most("b")), put("e", most("c"))]).unwrap();
        store.apply(&[put("e", most("d")), put("f", most("d"))]).unwrap_err();
        assert_eq!(store.get("n", "e").unwrap().as_bytes()[0], b'c');
        store.apply(&[put("f", Some("1".into()))]).unwrap();
        // Small ones have an end, too.
        store.apply(&[put("g", Some("1".into())), put("h", Some("1".into()))]).unwrap_err();
        store.apply(&[put("e", None), put("g", Some("1".into())), put("h", Some("1".into()))]).unwrap();
        store.apply(&[put("f", None), put("g", None), put("h", None)]).unwrap();
        assert_eq!(store.0.read().unwrap().bytes, 0);
    }
}
