//! In front of everything: a handler that panics is answered 500. In front of everything but hooks: who has no token, where one
//! is needed, is refused before anything that he sent is read; what a path does not do is answered as a problem; and which names
//! there are, where one is asked for that is not there, is told to those who may list them. Scopes are checked where the thing
//! asked for is known.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

use super::App;
use super::openapi::OPERATIONS;
use super::problem::Problem;

/// Paths below these need a token, where there are tokens.
const GUARDED: [&str; 3] = ["/admin", "/ws", "/metrics"];
/// Open to everybody: it describes the API and holds nothing of the service.
const OPEN: &str = "/admin/openapi.json";

/// Contains a panic of what is behind it: the sender is told, and the connection goes on. Without this it would be closed
/// without an answer.
pub async fn contain(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let path = request.path().to_owned();
    AssertUnwindSafe(next.call(request)).catch_unwind().await.unwrap_or_else(|_| {
        // What was said with the panic is in the log already.
        tracing::error!(path, "a request panicked; this is a defect of hexaFn");
        Err(Problem::new(500, "internal", "the request met a defect of hexaFn; see the log of the service").into())
    })
}

/// The middleware of tokens and methods.
pub async fn gate(
    app: web::Data<App>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // As it is matched: one that is written with `%61` for `a` leads to the same handler.
    let path = request.match_info().as_str();
    let guarded = path != OPEN && GUARDED.iter().any(|g| path.strip_prefix(g).is_some_and(is_segment_end));
    // A browser cannot give a WebSocket a header: its ticket is looked at by the stream itself.
    let by_ticket = path.starts_with("/ws/") && request.query_string().split('&').any(|p| p.starts_with("ticket="));
    if guarded && !by_ticket {
        app.identify(request.request())?;
    }
    if !request.query_string().is_empty() && path.starts_with("/admin/") && !takes_query(request.method(), path) {
        return Err(Problem::new(400, "query-invalid", format!("this path takes no query; see {OPEN}")).into());
    }
    let response = next.call(request).await?;
    let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
    let may_list = |resource: &str| app.may_read(response.request(), resource, "*").is_ok();
    if let Some(told) = problem.and_then(|problem| problem.with_names(may_list)) {
        return Ok(response.into_response(told.response()).map_into_right_body());
    }
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

/// The requests of the API that have parameters in their query; those check them.
fn takes_query(method: &Method, path: &str) -> bool {
    let parts: Vec<&str> = path.trim_start_matches("/admin/").split('/').collect();
    match parts[..] {
        ["topics", _, "events"] => true,
        ["topics", _] => *method == Method::DELETE,
        ["dead", _] | ["traces"] => *method == Method::GET,
        _ => false,
    }
}

fn is_segment_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::contain;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, HttpServer, web};

    async fn panics() -> HttpResponse {
        panic!("a defect, made by a test")
    }

    #[actix_web::test]
    async fn a_handler_that_panics_is_a_500_and_the_worker_goes_on() {
        let app = || {
            App::new()
                .service(web::resource("/panics").wrap(from_fn(contain)).to(panics))
                .service(web::resource("/fine").wrap(from_fn(contain)).to(HttpResponse::Ok))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let base = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..2 {
            let answer = client.get(format!("{base}/panics")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 500);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert!(answer.text().await.unwrap().contains("\"internal\""));
            assert_eq!(client.get(format!("{base}/fine")).send().await.unwrap().status().as_u16(), 200);
        }
        handle.stop(false).await;
    }
}
