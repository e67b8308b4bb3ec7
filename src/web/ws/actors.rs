//! `/ws/actors`: the supervision tree, then each change of it.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::supervision::Watch;
use serde::Deserialize;

use super::super::App;
use super::super::problem::Problem;
use super::{Holder, feed};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    ticket: Option<String>,
}

/// First the whole tree, then each change.
pub(super) async fn open(
    app: web::Data<App>,
    request: HttpRequest,
    query: web::Query<Ticket>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let holder = Holder::of(&app, &request, query.ticket.as_deref(), ("actors", "read", "*"))?;
    let (supervisor, system) = (app.system.supervisor().clone(), app.system.clone());
    feed::open(app, &request, payload, holder, async move |viewer| {
        while let Ok(mut watching) = supervisor.send(Watch).await {
            let nodes = system.with_waits(std::mem::take(&mut watching.nodes)).await;
            if !viewer.push(&serde_json::json!({ "nodes": nodes }).to_string()) {
                return;
            }
            // Lagged: a new snapshot makes up for what was missed.
            while let Ok(change) = watching.changes.recv().await {
                if !viewer.push(&serde_json::json!(change).to_string()) {
                    return;
                }
            }
        }
    })
}
