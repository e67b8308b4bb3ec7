//! In front of everything but hooks: who has no token, where one is needed, is refused before anything that he sent is
//! read; what a path does not do is answered as a problem. Scopes are checked where the thing asked for is known.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::App;
use super::openapi::OPERATIONS;
use super::problem::Problem;

/// Paths below these need a token, where there are tokens.
const GUARDED: [&str; 3] = ["/admin", "/ws", "/metrics"];
/// Open to everybody: it describes the API and holds nothing of the service.
const OPEN: &str = "/admin/openapi.json";

/// The middleware.
pub async fn gate(
    app: web::Data<App>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let path = request.path();
    let guarded = path != OPEN && GUARDED.iter().any(|g| path.strip_prefix(g).is_some_and(is_segment_end));
    // A browser cannot give a WebSocket a header: its ticket is looked at by the stream itself.
    let by_ticket = path.starts_with("/ws/") && request.query_string().split('&').any(|p| p.starts_with("ticket="));
    if guarded && !by_ticket {
        app.identify(request.request())?;
    }
    let response = next.call(request).await?;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(CONTENT_TYPE) {
        return Ok(response.map_into_left_body());
    }
    let pattern = response.request().match_pattern().unwrap_or_default();
    let allowed: Vec<String> =
        OPERATIONS.iter().filter(|(_, path, ..)| *path == pattern).map(|(m, ..)| m.to_uppercase()).collect();
    let allowed = allowed.join(", ");
    let mut problem =
        Problem::new(405, "method-not-allowed", format!("this path answers {allowed}; see {OPEN}")).response();
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        problem.headers_mut().insert(ALLOW, value);
    }
    Ok(response.into_response(problem).map_into_right_body())
}

fn is_segment_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}
