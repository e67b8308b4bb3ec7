//! The HTTP and WebSocket surface: extraction, mapping and wiring. What it does is done by the actors.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::definitions::TopicDurability;
use hexafn_actors::system::System;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::auth::{Auth, Refusal};
use crate::config::settings::ServerSettings;
use crate::reload::Reloader;
use problem::Problem;

pub mod admin;
pub mod body;
mod console;
pub mod gate;
pub mod hooks;
pub mod link;
pub mod openapi;
pub mod problem;
pub mod simulate;
pub mod ws;

/// What every worker shares.
pub struct App {
    /// The running system.
    pub system: System,
    /// Who may do what.
    pub auth: Auth,
    /// `[server]` as it was at the start.
    pub server: ServerSettings,
    /// The sources, replaced as a whole by a reload.
    pub sources: RwLock<Arc<hooks::Sources>>,
    /// Reloads the configuration.
    pub reloader: Reloader,
    /// Raised at the beginning of the drain: readiness says no, hooks say 503.
    pub draining: AtomicBool,
    /// Tells those who wait for that.
    pub drain: tokio::sync::Notify,
    /// Open WebSocket streams.
    pub streams: AtomicUsize,
    /// What the bodies of open requests hold.
    pub bodies: Arc<body::Bodies>,
}

impl App {
    /// From now on nothing is accepted, and streams end.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain.notify_waiters();
    }

    /// Ends when the drain begins.
    pub async fn until_draining(&self) {
        let told = self.drain.notified();
        let mut told = std::pin::pin!(told);
        told.as_mut().enable();
        if !self.draining.load(Ordering::Acquire) {
            told.await;
        }
    }

    /// The sources now.
    pub fn sources(&self) -> Arc<hooks::Sources> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// May the request do this? The token's name, where one is needed.
    pub fn allow(
        &self,
        request: &HttpRequest,
        resource: &str,
        verb: &str,
        namespace: &str,
    ) -> Result<Option<String>, Problem> {
        let bearer = self.bearer(request)?;
        let from = request.peer_addr().map(|a| a.ip());
        self.auth.check(bearer, from, (resource, verb, namespace)).map_err(refused)
    }

    /// May the request do what any token may?
    pub fn enter(&self, request: &HttpRequest) -> Result<(), Problem> {
        let from = request.peer_addr().map(|a| a.ip());
        let bearer = self.bearer(request)?;
        self.auth.enter(bearer, from).map_err(refused)
    }

    /// May the request, which was let in, also see this?
    pub fn may_read(&self, request: &HttpRequest, resource: &str, namespace: &str) -> Result<(), Problem> {
        let from = request.peer_addr().map(|a| a.ip());
        let bearer = self.bearer(request)?;
        self.auth.covers(bearer, from, (resource, "read", namespace)).map(drop).map_err(refused)
    }

    /// What the request, which was let in, may read: called with the resource and the namespace.
    pub fn reader<'r>(&'r self, request: &'r HttpRequest) -> Result<impl Fn(&str, &str) -> bool + 'r, Problem> {
        let from = request.peer_addr().map(|a| a.ip());
        let bearer = self.bearer(request)?;
        Ok(move |resource: &str, namespace: &str| self.auth.covers(bearer, from, (resource, "read", namespace)).is_ok())
    }

    /// Does the request come with a token that is known, where one is needed?
    pub fn identify(&self, request: &HttpRequest) -> Result<(), Problem> {
        let bearer = self.bearer(request)?;
        self.auth.identify(bearer, request.peer_addr().map(|a| a.ip())).map_err(refused)
    }

    fn bearer<'r>(&self, request: &'r HttpRequest) -> Result<Option<&'r str>, Problem> {
        self.check_host(request)?;
        if request.query_string().split('&').any(|p| p.starts_with("token=") || p.starts_with("access_token=")) {
            return Err(Problem::new(
                400,
                "token-in-query",
                "a token in the query ends up in logs; send it as `Authorization: Bearer …`",
            ));
        }
        Ok(bearer_of(request))
    }

    /// A foreign `Host` is the mark of a DNS rebinding attack; a foreign `Origin` that of a page that is not ours.
    pub fn check_host(&self, request: &HttpRequest) -> Result<(), Problem> {
        let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = strip_port(host);
        let listen = self.server.listen.ip();
        let local = listen.is_loopback() || listen.is_unspecified();
        let is_local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let ours = (local && is_local)
            || name.trim_matches(['[', ']']) == listen.to_string()
            || self.server.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(name) || h.eq_ignore_ascii_case(host));
        if !ours {
            let message = format!("the Host `{}` is not served here; add it to server.allowed_hosts", printable(host));
            return Err(Problem::new(421, "host-unknown", message));
        }
        if let Some(origin) = request.headers().get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let own = [format!("http://{host}"), format!("https://{host}")];
            let known = own.iter().any(|o| o == origin) || self.server.allowed_origins.iter().any(|o| o == origin);
            if !known {
                let message =
                    format!("pages of `{}` may not call this; add it to server.allowed_origins", printable(origin));
                return Err(Problem::new(403, "origin-unknown", message));
            }
        }
        Ok(())
    }
}

/// The token of `Authorization: Bearer …`; the case of the scheme does not matter (RFC 9110, section 11.1).
fn bearer_of(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown => Problem::new(
            401,
            "token-required",
            "send a valid token as `Authorization: Bearer …`; make one with `hexafn token new NAME`",
        ),
        Refusal::Busy(wait) => {
            Problem::new(429, "token-rate", "this token asks more often than server.limits.token_rate allows")
                .retry_after(wait)
        }
        Refusal::Scope(needed) => {
            Problem::new(403, "scope-missing", format!("this token may not do that; it needs the scope {needed}"))
        }
        Refusal::Limited(wait) => {
            Problem::new(429, "too-many-failures", "too many wrong tokens from this address; the right one passes")
                .retry_after(wait)
        }
    }
}

/// What an answer says of where an event is: `disk`, `disk-later` with `storage.sync = "lazy"`, `memory`.
fn durability(app: &App, topic: TopicDurability) -> &'static str {
    match topic {
        TopicDurability::Memory => "memory",
        TopicDurability::Disk if app.system.is_synced() => "disk",
        TopicDurability::Disk => "disk-later",
    }
}

fn strip_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// At most 100 characters without control characters: what came from outside is shown, never interpreted.
pub fn printable(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The routes, for each worker.
pub fn configure(config: &mut web::ServiceConfig, app: web::Data<App>) {
    config
        .app_data(app)
        .app_data(
            web::QueryConfig::default()
                .error_handler(|e, request| Problem::new(400, "query-invalid", query_fault(&e, request)).into()),
        )
        .app_data(
            web::PathConfig::default().error_handler(|e, _| Problem::new(400, "path-invalid", e.to_string()).into()),
        )
        .service(
            web::resource("/hooks/{source}").wrap(actix_web::middleware::from_fn(gate::contain)).to(hooks::receive),
        )
        .service(
            web::scope("")
                .wrap(actix_web::middleware::from_fn(gate::gate))
                .wrap(actix_web::middleware::from_fn(gate::contain))
                .service(web::resource("/health/live").route(web::get().to(live)).route(web::head().to(live)))
                .service(web::resource("/health/ready").route(web::get().to(ready)).route(web::head().to(ready)))
                .service(web::resource("/metrics").route(web::get().to(metrics)))
                .service(web::resource("/").route(web::get().to(index)).route(web::head().to(index)))
                .configure(console::configure)
                .configure(ws::configure)
                .configure(admin::configure),
        )
        .default_service(web::to(nothing_here));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "live" }))
}

/// What is wrong with a query, with the parameter where the parser leaves it out: those that are numbers.
fn query_fault(error: &actix_web::error::QueryPayloadError, request: &HttpRequest) -> String {
    let text = error.to_string();
    let said = text.trim_start_matches("Query deserialize error: ");
    let numbers = ["from", "limit", "below"];
    let wrong = request.query_string().split('&').filter_map(|pair| pair.split_once('=')).find(|(name, value)| {
        numbers.contains(name) && (value.is_empty() || value.bytes().any(|b| !b.is_ascii_digit()))
    });
    match wrong.filter(|_| !said.contains("unknown field")) {
        Some((name, value)) => format!("`{name}={}`: expected a number; {said}", printable(value)),
        None => said.to_owned(),
    }
}

async fn ready(app: web::Data<App>) -> HttpResponse {
    let reason = if app.draining.load(Ordering::Acquire) {
        "draining"
    } else if !app.system.is_healthy() {
        "the journal does not write"
    } else {
        // What is stored is read and delivered all the same.
        if app.system.cast().log().is_low() {
            let warning = "less space is free than `storage.min_free` asks for: new events are answered 507";
            return HttpResponse::Ok().json(serde_json::json!({ "status": "ready", "warning": warning }));
        }
        return HttpResponse::Ok().json(serde_json::json!({ "status": "ready" }));
    };
    HttpResponse::ServiceUnavailable().json(serde_json::json!({ "status": "not ready", "reason": reason }))
}

async fn metrics(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "metrics", "read", "*")?;
    app.system.metrics().request_bodies.set(i64::try_from(app.bodies.held()).unwrap_or(i64::MAX));
    let text = app.system.metrics().render().map_err(|e| Problem::new(500, "metrics", e.to_string()))?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

async fn index(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.check_host(&request)?;
    if console::is_wanted(&request) {
        return Ok(console::page(&request));
    }
    Ok(HttpResponse::Ok().insert_header((header::VARY, "Accept")).json(serde_json::json!({
        "service": "hexafn",
        "version": env!("CARGO_PKG_VERSION"),
        "hooks": "/hooks/{source}",
        "api": "/admin/openapi.json",
        "streams": ["/ws/topics/{pattern}", "/ws/targets/{name}", "/ws/subscriptions/{name}", "/ws/actors", "/ws/logs"],
        "health": ["/health/live", "/health/ready"],
        "metrics": "/metrics",
    })))
}

async fn nothing_here(request: HttpRequest) -> Problem {
    if matches!(request.method().as_str(), "TRACE" | "CONNECT") {
        return Problem::new(405, "method-not-allowed", "this method is never accepted");
    }
    not_found(&request)
}

fn not_found(request: &HttpRequest) -> Problem {
    Problem::new(
        404,
        "not-found",
        format!("there is nothing at {}; see / for what there is", printable(request.path())),
    )
}
