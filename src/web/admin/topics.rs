//! Topics, their events, and subscriptions.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::definitions::TopicDurability;
use hexafn_actors::event::{Event, Str, is_json_type};
use hexafn_actors::source::cloudevents;
use hexafn_actors::system::outside;
use hexafn_actors::topic::{Act, DeliverFrom, TopicMessage, pattern};
use hexafn_actors::trace::{Detail, Stage, Step};
use hexafn_dsl::json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Instant;

use super::super::body::{Body, Json};
use super::super::problem::Problem;
use super::super::{App, printable, ws};

/// The most events of one answer.
const MAX_LIMIT: usize = 1_000;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/topics").route(web::get().to(list)))
        .service(web::resource("/admin/topics/{name}").route(web::get().to(show)).route(web::delete().to(remove_topic)))
        .service(
            web::resource("/admin/topics/{name}/events")
                .route(web::get().to(events))
                .route(web::post().to(publish))
                .route(web::delete().to(trim)),
        )
        .service(web::resource("/admin/subscriptions").route(web::get().to(subscriptions)))
        .service(
            web::resource("/admin/subscriptions/{name}")
                .route(web::get().to(subscription))
                .route(web::put().to(register))
                .route(web::delete().to(remove)),
        )
        .service(web::resource("/admin/subscriptions/{name}/{act}").route(web::post().to(act)));
}

async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "topics", "read", "*")?;
    Ok(HttpResponse::Ok().json(app.system.topics().await))
}

async fn show(app: web::Data<App>, request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "topics", "read", &name)?;
    let topic = app.system.cast().find(&name)?;
    let status = app.system.topic(&topic).await;
    let silent = "the topic is being restarted, or does not answer";
    let status = status.ok_or_else(|| Problem::new(503, "topic-restarting", silent).retry_after(1))?;
    Ok(HttpResponse::Ok().json(status))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    from: Option<u64>,
    limit: Option<usize>,
}

async fn events(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    page: web::Query<Page>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "topics", "read", &name)?;
    let topic = app.system.cast().find(&name)?;
    let limit = page.limit.unwrap_or(100);
    if limit == 0 || limit > MAX_LIMIT {
        return Err(Problem::new(
            400,
            "limit-invalid",
            format!("limit={limit}: 1 to {MAX_LIMIT} events can be asked for"),
        ));
    }
    if topic.durability == TopicDurability::Memory {
        return Err(Problem::new(
            409,
            "topic-in-memory",
            "a topic in memory keeps nothing to read; watch it at /ws/topics/",
        ));
    }
    let log = app.system.cast().log().clone();
    let from = page.from.unwrap_or(1).max(1);
    let read = web::block(move || log.read(topic.id, from, limit, 8 << 20)).await;
    let records = read.map_err(|e| Problem::new(500, "thread", e.to_string()))??;
    let mut body = b"{\"events\":[".to_vec();
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        ws::json(record, &mut body);
    }
    let next = records.last().map_or(from, |r| r.seq + 1);
    body.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject: Option<String>,
    key: Option<String>,
}

async fn publish(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    attributes: web::Query<Attributes>,
    Body(body): Body,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "events", "write", &name)?;
    pattern::check_name(&name).map_err(|e| Problem::new(400, "topic-name", e.to_string()))?;
    let content_type = request.headers().get(actix_web::http::header::CONTENT_TYPE);
    let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or("application/json").to_owned();
    let attributes = attributes.into_inner();
    cloudevents::may_say(attributes.kind.as_deref(), attributes.subject.as_deref(), attributes.key.as_deref())?;
    let mut event = Event::new("/admin", attributes.kind.as_deref().unwrap_or("published"), body);
    if is_json_type(&content_type) {
        let doc = json::Doc::parse(event.data.clone(), &json::Limits::default());
        let doc = doc.map_err(|e| Problem::new(400, e.code(), e.to_string()))?;
        event = event.with_doc(doc);
    }
    event.content_type = Some(content_type.into());
    event.subject = attributes.subject.map(Into::into);
    event.key = attributes.key.map(Into::into);
    let topic = app.system.cast().ensure_for_event(&name).await?;
    let began = Instant::now();
    let record = app.system.publish(&topic, event).await?;
    let place = Detail::Place(record.topic.clone(), record.seq);
    let step = Step::ended(&record.event, Stage::Stored, record.topic.clone(), began.elapsed());
    app.system.tracer().record(vec![step.begins(&record.event).with(place)]);
    let durability = super::super::durability(&app, topic.durability);
    Ok(HttpResponse::Accepted().json(Published {
        id: record.event.id.clone(),
        trace_id: record.event.trace.trace_id.clone(),
        topic: record.topic.clone(),
        seq: record.seq,
        durability,
    }))
}

/// Where a published event is.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Published {
    id: Str,
    trace_id: Str,
    topic: Str,
    seq: u64,
    /// `disk`: it is on disk; `disk-later` (`storage.sync = "lazy"`): soon; `memory`: never.
    durability: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Below {
    below: u64,
}

async fn trim(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    below: web::Query<Below>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "topics", "write", &name)?;
    let topic = app.system.cast().find(&name)?;
    let sent = topic.front.send(TopicMessage::Trim(below.below)).await;
    sent.map_err(|e| Problem::new(503, "topic-restarting", e.to_string()).retry_after(1))?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// Also what a subscription has not handled.
    #[serde(default)]
    force: bool,
}

async fn remove_topic(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    removal: web::Query<Removal>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "topics", "write", &name)?;
    app.system.remove_topic(&name, removal.force).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn subscriptions(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "read", "*")?;
    Ok(HttpResponse::Ok().json(app.system.subscriptions().await))
}

fn unknown(app: &App, name: &str) -> Problem {
    let known = app.system.cast().subscriptions().unwrap_or_default();
    if known.iter().any(|s| **s == *name) {
        let name = printable(name);
        let message = format!(
            "`{name}` is not served any more: what it belongs to is not configured. Its place is kept; `hexafn sub rm {name}` \
             gives it up"
        );
        return Problem::new(404, "subscription-unknown", message);
    }
    let near = hexafn_actors::names::near(name, known.iter().map(|s| &**s));
    Problem::unknown("subscription", name, near)
}

async fn subscription(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "read", &name)?;
    let rows: Vec<_> = app.system.subscriptions().await.into_iter().filter(|s| *s.name == **name).collect();
    // One whose pattern matches no topic yet has no row, and neither has one whose topics do not answer.
    let known = || app.system.cast().subscribers().iter().any(|known| *known.name == **name);
    if rows.is_empty() && !known() {
        return Err(unknown(&app, &name));
    }
    Ok(HttpResponse::Ok().json(rows))
}

/// Registers a subscription of a client, or changes it.
async fn register(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    Json(asked): Json<serde_json::Value>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "write", &name)?;
    // Whoever is given it sees all events of its topics.
    if let Some(pattern) = asked["pattern"].as_str() {
        app.may_read(&request, "topics", pattern)?;
    }
    let created = app.system.register(&name, asked).await?;
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    let stream = format!("/ws/subscriptions/{name}");
    Ok(response.json(Registration { subscription: name.into_inner(), stream, created }))
}

/// A subscription of a client.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Registration {
    subscription: String,
    /// Where its events are.
    stream: String,
    /// Whether it is new.
    created: bool,
}

async fn remove(app: web::Data<App>, request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "subscriptions", "write", &name)?;
    let used = name.strip_prefix("trigger.").is_some_and(|t| app.system.definitions().triggers.contains_key(t))
        || name.strip_prefix("target.").is_some_and(|t| app.system.target_definition(t).is_some());
    if used {
        // Where it was served before, and is not any more, it may go.
        if app.system.give_up_places(&name).await? > 0 {
            return Ok(HttpResponse::NoContent().finish());
        }
        let message = format!(
            "`{}` belongs to a trigger or target that is configured; remove that, or pause the subscription",
            printable(&name)
        );
        return Err(Problem::new(409, "subscription-in-use", message));
    }
    if app.system.unregister(&name).await? {
        return Ok(HttpResponse::NoContent().finish());
    }
    if !app.system.cast().subscriptions()?.iter().any(|s| **s == **name) {
        return Err(unknown(&app, &name));
    }
    // One of a trigger that was removed is not served any more, but its cursor is kept until now.
    app.system.cast().unsubscribe(&name, true).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Where a replay begins.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ReplayBody {
    /// `all`, `new`, a sequence, or an RFC 3339 time.
    from: Option<serde_json::Value>,
}

async fn act(
    app: web::Data<App>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    Body(body): Body,
) -> Result<HttpResponse, Problem> {
    let (name, what) = path.into_inner();
    app.allow(&request, "subscriptions", "write", &name)?;
    let act = match what.as_str() {
        "pause" => Act::Pause,
        "resume" => Act::Resume,
        "retry" => Act::RetryNow,
        "replay" => {
            let body: ReplayBody = if body.is_empty() {
                ReplayBody::default()
            } else {
                serde_json::from_slice(&body).map_err(|e| Problem::new(400, "body-invalid", e.to_string()))?
            };
            let from = outside::place(body.from.as_ref());
            Act::Seek(from.map_err(|e| Problem::new(400, "from-invalid", e.to_string()))?.unwrap_or(DeliverFrom::All))
        }
        _ => {
            let message = format!(
                "`{}` cannot be done to a subscription; there are pause, resume, replay, retry",
                printable(&what)
            );
            return Err(Problem::new(404, "act-unknown", message));
        }
    };
    if app.system.cast().act(&name, act).await? {
        tracing::info!(subscription = name, act = what, "by hand");
        return Ok(HttpResponse::NoContent().finish());
    }
    Err(unknown(&app, &name))
}
