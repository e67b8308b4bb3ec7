//! Where jobs forward to. Counts requests and distinct `webhook-id`s, and how long each event that carries its time took
//! from when it was due. `GET /count` tells, `POST /reset` forgets. PORT: where it listens. Bad neighbours are at `/hang`, which never
//! answers, `/busy`, which answers 503, and `/slow`, which takes 200 ms.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hexafn_rig::histogram::Histogram;
use hexafn_rig::{now, stamp};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Seen {
    requests: u64,
    ids: HashSet<Box<[u8]>>,
    latency: Histogram,
}

async fn take(seen: web::Data<Mutex<Seen>>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.requests += 1;
    if let Some(id) = request.headers().get("webhook-id") {
        seen.ids.insert(id.as_bytes().into());
    }
    if let Some(made) = stamp(&body) {
        seen.latency.record(now().saturating_sub(made));
    }
    HttpResponse::NoContent().finish()
}

async fn count(seen: web::Data<Mutex<Seen>>) -> HttpResponse {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    HttpResponse::Ok().body(format!(
        "{{\"requests\":{},\"ids\":{},\"stamped\":{},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1}}}",
        seen.requests,
        seen.ids.len(),
        seen.latency.len(),
        seen.latency.micros(0.5),
        seen.latency.micros(0.99),
        seen.latency.micros(1.0)
    ))
}

async fn reset(seen: web::Data<Mutex<Seen>>) -> HttpResponse {
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    HttpResponse::NoContent().finish()
}

async fn hang() -> HttpResponse {
    std::future::pending().await
}

async fn busy() -> HttpResponse {
    HttpResponse::ServiceUnavailable().finish()
}

async fn slow() -> HttpResponse {
    actix_web::rt::time::sleep(Duration::from_millis(200)).await;
    HttpResponse::NoContent().finish()
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::var("PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(9099);
    let seen = web::Data::new(Mutex::new(Seen::default()));
    HttpServer::new(move || {
        App::new()
            .app_data(seen.clone())
            .route("/count", web::get().to(count))
            .route("/reset", web::post().to(reset))
            .route("/sink", web::post().to(take))
            .route("/hang", web::post().to(hang))
            .route("/busy", web::post().to(busy))
            .route("/slow", web::post().to(slow))
    })
    .workers(1)
    .bind(("127.0.0.1", port))?
    .run()
    .await
}
