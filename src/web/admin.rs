//! `/admin/…`: everything that can be seen and done, as JSON; errors are problem details. The CLI calls the same.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::supervision::{Control, Verb};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::App;
use super::body::Json;
use super::problem::Problem;

pub(super) mod dead;
pub(super) mod flow;
pub(super) mod functions;
pub(super) mod graph;
pub(super) mod logs;
pub(super) mod topics;

/// The routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/openapi.json").route(web::get().to(openapi)))
        .service(web::resource("/admin/actors").route(web::get().to(actors)))
        .service(web::resource("/admin/actors/control").route(web::post().to(control)))
        .service(web::resource("/admin/tickets").route(web::post().to(ticket)))
        .service(web::resource("/admin/graph").route(web::get().to(graph::graph)))
        .service(web::resource("/admin/config").route(web::get().to(show_config)))
        .service(web::resource("/admin/reload").route(web::post().to(reload)))
        .service(web::resource("/admin/simulate").route(web::post().to(super::simulate::simulate)))
        .configure(topics::configure)
        .configure(dead::configure)
        .configure(flow::configure)
        .configure(logs::configure);
}

async fn openapi(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.check_host(&request)?;
    Ok(HttpResponse::Ok().json(super::openapi::document()))
}

async fn actors(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "actors", "read", "*")?;
    Ok(HttpResponse::Ok().json(app.system.nodes().await?))
}

/// What is to be done to a node of the tree.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlBody {
    /// For example `/triggers/big-push`; on a group, all below it.
    path: String,
    verb: Verb,
}

async fn control(
    app: web::Data<App>,
    request: HttpRequest,
    Json(body): Json<ControlBody>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "actors", "write", "*")?;
    let ControlBody { path, verb } = body;
    let node = app.system.supervisor().send(Control { path, verb }).await;
    let node = node.map_err(|_| Problem::new(503, "supervisor-gone", "the supervisor has ended"))??;
    // Not before there is such an actor: anything could be written as its path.
    tracing::info!(path = %node.path, verb = verb.name(), "control by hand");
    Ok(HttpResponse::Ok().json(node))
}

/// How long a ticket can be used.
const TICKET: Duration = Duration::from_secs(30);
/// Tickets that may be open at a time.
const MAX_TICKETS: usize = 10_000;

/// Open tickets: when each was made, and the token that it stands for.
type Tickets = HashMap<String, (Instant, Option<String>)>;

static TICKETS: LazyLock<Mutex<Tickets>> = LazyLock::new(Mutex::default);

/// A single-use ticket for a WebSocket, which a browser cannot give a header: a token in a query would end up in logs. It opens
/// what the token may open: the stream asks for its scope when the ticket is used.
async fn ticket(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.enter(&request)?;
    let bearer = super::bearer_of(&request).map(str::to_owned);
    let mut random = [0u8; 24];
    getrandom::fill(&mut random).map_err(|e| Problem::new(500, "random", e.to_string()))?;
    let ticket = hex::encode(random);
    let mut tickets = TICKETS.lock().unwrap_or_else(PoisonError::into_inner);
    tickets.retain(|_, (made, _)| made.elapsed() < TICKET);
    if tickets.len() >= MAX_TICKETS {
        return Err(Problem::new(503, "too-many-tickets", "too many tickets are open").retry_after(30));
    }
    tickets.insert(ticket.clone(), (Instant::now(), bearer));
    Ok(HttpResponse::Created().json(Ticket { ticket, expires_in: TICKET.as_secs() }))
}

/// A ticket, for `?ticket=`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ticket {
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

/// Uses a ticket up: the token that it stands for.
pub fn redeem(ticket: &str) -> Result<Option<String>, Problem> {
    let taken = TICKETS.lock().unwrap_or_else(PoisonError::into_inner).remove(ticket);
    match taken {
        Some((made, bearer)) if made.elapsed() < TICKET => Ok(bearer),
        _ => Err(Problem::new(
            401,
            "ticket-unknown",
            "the ticket is used, expired or unknown; get one by POST /admin/tickets",
        )),
    }
}

async fn show_config(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "config", "read", "*")?;
    Ok(HttpResponse::Ok().json(app.reloader.status()))
}

async fn reload(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "config", "write", "*")?;
    // In a task of its own: whoever asked may hang up in the middle.
    let reload = actix_web::rt::spawn(async move { app.reloader.reload(&app, "REST").await });
    let applied = reload.await.map_err(|e| Problem::new(500, "thread", e.to_string()))??;
    Ok(HttpResponse::Ok().json(applied))
}
