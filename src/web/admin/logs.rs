//! `/admin/logs/level`: which lines are written, and a change of it that holds until the process ends.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::App;
use super::super::body::Json;
use super::super::problem::Problem;
use crate::telemetry::levels;

/// The routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource("/admin/logs/level").route(web::get().to(show)).route(web::put().to(change)));
}

async fn show(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "logs", "read", "*")?;
    Ok(HttpResponse::Ok().json(levels::now()))
}

async fn change(
    app: web::Data<App>,
    request: HttpRequest,
    Json(change): Json<levels::Change>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "logs", "write", "*")?;
    let (module, level) = (change.module.clone().unwrap_or_default(), change.level.name());
    let levels = levels::change(change).map_err(|why| Problem::new(400, "log-module", why))?;
    tracing::info!(module, to = level, "the log level was changed by hand");
    Ok(HttpResponse::Ok().json(levels))
}
