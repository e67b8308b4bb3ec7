//! The hand-written server. `POST /hook/{a,c,d,db}` does the job of that name, `GET /sub` watches what `c` publishes.
//!
//! Environment: PORT, DATA (a folder, for d and db), SINK (the URL that db forwards to).

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::sync::mpsc;
use tokio::sync::{broadcast, oneshot};

/// Where d and db put events. One thread owns it; a group of events has one sync.
pub trait Log: Send + 'static {
    /// Opens it in a folder.
    fn open(folder: &str) -> crate::Result<Self>
    where
        Self: Sized;
    /// Adds an event to the group.
    fn add(&mut self, event: &[u8]);
    /// Puts the group on disk.
    fn sync(&mut self) -> crate::Result<()>;
}

struct Write {
    event: Vec<u8>,
    done: oneshot::Sender<()>,
}

struct State {
    log: mpsc::Sender<Write>,
    topic: broadcast::Sender<Bytes>,
    client: reqwest::Client,
    sink: String,
}

fn write_groups(mut log: impl Log, queue: mpsc::Receiver<Write>) {
    let mut waiting = Vec::new();
    while let Ok(first) = queue.recv() {
        log.add(&first.event);
        waiting.push(first.done);
        for next in queue.try_iter() {
            log.add(&next.event);
            waiting.push(next.done);
        }
        if let Err(e) = log.sync() {
            // What waits is answered 500, as its sender is dropped.
            eprintln!("raw: {e}");
            return;
        }
        for done in waiting.drain(..) {
            // Whoever has hung up does not wait any more.
            done.send(()).ok();
        }
    }
}

impl State {
    async fn store(&self, event: Vec<u8>) -> bool {
        let (done, stored) = oneshot::channel();
        self.log.send(Write { event, done }).is_ok() && stored.await.is_ok()
    }
}

/// The condition and the function of all jobs.
fn five(body: &[u8]) -> serde_json::Result<Option<Value>> {
    let event: Value = serde_json::from_slice(body)?;
    let Some(reference @ "refs/heads/main") = event["ref"].as_str() else { return Ok(None) };
    let mut made = json!({
        "repo": event["repository"]["full_name"],
        "branch": &reference["refs/heads/".len()..],
        "pusher": event["pusher"]["name"],
        "commit_count": event["commits"].as_array().map_or(0, Vec::len),
        "message": event["head_commit"]["message"],
    });
    if let Some(t) = event.get("t") {
        made["t"] = t.clone();
    }
    Ok(Some(made))
}

async fn hook(state: web::Data<State>, job: web::Path<String>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let made = match five(&body) {
        Ok(Some(made)) => made,
        Ok(None) => return HttpResponse::NoContent().finish(),
        Err(e) => return HttpResponse::BadRequest().body(e.to_string()),
    };
    match job.as_str() {
        "a" => return HttpResponse::Ok().json(made),
        "c" => {
            // Nobody watches: nobody misses it.
            state.topic.send(body).ok();
        }
        "d" => {
            let mut event = body.to_vec();
            event.extend_from_slice(made.to_string().as_bytes());
            if !state.store(event).await {
                return HttpResponse::InternalServerError().finish();
            }
        }
        "db" => {
            if !state.store(body.to_vec()).await {
                return HttpResponse::InternalServerError().finish();
            }
            let id = request.headers().get("x-github-delivery").cloned();
            actix_web::rt::spawn(async move {
                let mut call = state.client.post(&state.sink).json(&made);
                if let Some(id) = id {
                    call = call.header("webhook-id", id.as_bytes());
                }
                if let Err(e) = call.send().await {
                    eprintln!("raw: lost an event: {e}");
                }
            });
        }
        _ => return HttpResponse::NotFound().finish(),
    }
    HttpResponse::Accepted().finish()
}

async fn watch(state: web::Data<State>, request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut input) = actix_ws::handle(&request, body)?;
    let mut events = state.topic.subscribe();
    actix_web::rt::spawn(async move {
        loop {
            tokio::select! {
                event = events.recv() => {
                    let event = match event {
                        Ok(event) => event,
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => return,
                    };
                    // It was parsed as JSON, so it is text.
                    let Ok(text) = std::str::from_utf8(&event) else { continue };
                    if session.text(text).await.is_err() {
                        return;
                    }
                }
                message = input.next() => match message {
                    Some(Ok(actix_ws::Message::Ping(bytes))) => if session.pong(&bytes).await.is_err() { return },
                    Some(Ok(actix_ws::Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    });
    Ok(response)
}

/// Serves until it is killed.
pub async fn serve<L: Log>() -> crate::Result<()> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let port: u16 = setting("PORT", "8190").parse()?;
    let folder = setting("DATA", "data");
    std::fs::create_dir_all(&folder)?;
    let log = L::open(&folder)?;
    let (queue, writes) = mpsc::channel();
    std::thread::spawn(move || write_groups(log, writes));
    let state = web::Data::new(State {
        log: queue,
        topic: broadcast::channel(1 << 16).0,
        client: reqwest::Client::builder().pool_max_idle_per_host(256).build()?,
        sink: setting("SINK", "http://127.0.0.1:9099/sink"),
    });
    HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(web::PayloadConfig::new(1 << 20))
            .route("/health/ready", web::get().to(HttpResponse::Ok))
            .route("/hook/{job}", web::post().to(hook))
            .route("/sub", web::get().to(watch))
    })
    .on_connect(|connection, _| {
        if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
            // Without it a push to a viewer waits for the acknowledgement of the one before.
            stream.set_nodelay(true).ok();
        }
    })
    .bind(("127.0.0.1", port))?
    .run()
    .await?;
    Ok(())
}
