//! Sources, triggers, functions, targets and traces.

use actix_web::{HttpRequest, HttpResponse, web};
use hexafn_actors::definitions::{SourceDefinition, SourceKind, TargetDefinition, TargetKind};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::source::cloudevents;
use hexafn_actors::system::explained::Explained;
use hexafn_actors::target::forwarder::TargetStatus;
use hexafn_actors::trace::{Ask, Step, Trace};
use hexafn_dsl::json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::super::body::Json;
use super::super::problem::Problem;
use super::super::{App, printable};

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/sources").route(web::get().to(sources)))
        .service(web::resource("/admin/triggers").route(web::get().to(triggers)))
        .service(
            web::resource("/admin/triggers/{name}")
                .route(web::get().to(trigger))
                .route(web::patch().to(change_trigger)),
        )
        .service(web::resource("/admin/triggers/{name}/{act}").route(web::post().to(switch_trigger)))
        .service(web::resource("/admin/functions").route(web::get().to(super::functions::functions)))
        .service(web::resource("/admin/functions/{name}").route(web::get().to(super::functions::function)))
        .service(web::resource("/admin/targets").route(web::get().to(targets)))
        .service(web::resource("/admin/targets/{name}").route(web::get().to(target)))
        .service(web::resource("/admin/targets/{name}/log").route(web::get().to(target_log)))
        .service(web::resource("/admin/targets/{name}/test").route(web::post().to(test_target)))
        .service(web::resource("/admin/targets/{name}/{act}").route(web::post().to(switch_target)))
        .service(web::resource("/admin/traces").route(web::get().to(traces)))
        .service(web::resource("/admin/traces/{id}").route(web::get().to(trace)));
}

async fn sources(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "sources", "read", "*")?;
    let definitions = app.system.definitions();
    let counted = |name: &str, outcome| app.system.metrics().source_requests.with_label_values(&[name, outcome]).get();
    let of = |source: &SourceDefinition| match &source.kind {
        SourceKind::Webhook { settings, .. } => SourceStatus::Webhook(Box::new(WebhookStatus {
            name: source.name.clone(),
            kind: "webhook",
            path: format!("/hooks/{}", source.name),
            scheme: settings.verify.name(),
            topic: settings.topic.clone().or_else(|| settings.topic_expr.clone()),
            schema: settings.schema.clone(),
            accepted: counted(&source.name, "accepted"),
            duplicates: counted(&source.name, "duplicate"),
            unauthorized: counted(&source.name, "unauthorized"),
            invalid: counted(&source.name, "invalid"),
            mismatched: counted(&source.name, "mismatched"),
            limited: counted(&source.name, "limited"),
            overloaded: counted(&source.name, "overloaded"),
        })),
        SourceKind::Pull { upstream, topic, .. } => SourceStatus::Pull(Box::new(PullStatus {
            name: source.name.clone(),
            kind: upstream.kind(),
            origin: upstream.origin(),
            topic: topic.clone(),
            accepted: counted(&source.name, "accepted"),
            duplicates: counted(&source.name, "duplicate"),
            dead_lettered: counted(&source.name, "dead-lettered"),
            now: app.system.pulling(&source.name),
        })),
        SourceKind::Timer { schedule, topic, .. } => SourceStatus::Timer(TimerStatus {
            name: source.name.clone(),
            kind: "timer",
            topic: topic.clone(),
            accepted: counted(&source.name, "accepted"),
            next: schedule.next(hexafn_actors::clock::Wall::now()).map(|t| t.rfc3339()),
        }),
    };
    Ok(HttpResponse::Ok().json(definitions.sources.values().map(|source| of(source)).collect::<Vec<_>>()))
}

/// A source with its counts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in super::super) enum SourceStatus {
    /// Receives requests.
    Webhook(Box<WebhookStatus>),
    /// Fetches from a broker.
    Pull(Box<PullStatus>),
    /// Ticks.
    Timer(TimerStatus),
}

/// A source that fetches. Counts are records since the start.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PullStatus {
    name: Str,
    /// `kafka`, `nats`.
    kind: &'static str,
    /// Where it fetches from.
    origin: String,
    topic: Str,
    accepted: u64,
    duplicates: u64,
    /// Records that could not be read.
    dead_lettered: u64,
    /// What it does at the moment.
    #[serde(flatten)]
    now: Option<hexafn_actors::source::pull_actor::Shown>,
}

/// A webhook. Counts are requests since the start.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct WebhookStatus {
    name: Str,
    /// `webhook`.
    kind: &'static str,
    path: String,
    scheme: &'static str,
    /// The topic, or the template that gives it.
    topic: Option<String>,
    /// The file of the schema that its events meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    accepted: u64,
    duplicates: u64,
    unauthorized: u64,
    invalid: u64,
    /// Refused by the schema.
    mismatched: u64,
    limited: u64,
    overloaded: u64,
}

/// A timer.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TimerStatus {
    name: Str,
    /// `timer`.
    kind: &'static str,
    topic: Str,
    /// Ticks that were stored since the start.
    accepted: u64,
    /// The next tick.
    next: Option<String>,
}

async fn triggers(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "triggers", "read", "*")?;
    Ok(HttpResponse::Ok().json(app.system.triggers().await?))
}

async fn trigger(app: web::Data<App>, request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "triggers", "read", &name)?;
    Ok(HttpResponse::Ok().json(app.system.trigger(&name).await?))
}

/// What of a trigger can be changed while it runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Change {
    priority: i32,
}

async fn change_trigger(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    Json(change): Json<Change>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "triggers", "write", &name)?;
    Ok(HttpResponse::Ok().json(app.system.prioritise(&name, change.priority).await?))
}

fn on_or_off(act: &str, more: &str) -> Result<bool, Problem> {
    match act {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => {
            let message = format!("`{}` cannot be done here; there are enable, disable{more}", printable(act));
            Err(Problem::new(404, "act-unknown", message))
        }
    }
}

async fn switch_trigger(
    app: web::Data<App>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (name, act) = path.into_inner();
    app.allow(&request, "triggers", "write", &name)?;
    let on = on_or_off(&act, "")?;
    Ok(HttpResponse::Ok().json(app.system.switch_trigger(&name, on).await?))
}

async fn targets(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.allow(&request, "targets", "read", "*")?;
    let mut rows: Vec<TargetRow> =
        app.system.targets().await.into_iter().map(|t| TargetRow::Outside(Box::new(t))).collect();
    rows.extend(app.system.definitions().targets.values().filter_map(|t| of_topic(t)));
    rows.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(HttpResponse::Ok().json(rows))
}

/// A target.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in super::super) enum TargetRow {
    /// One outside, with its breaker.
    Outside(Box<TargetStatus>),
    /// A topic: it has no forwarder, since what reaches it is stored in the same write as its cause.
    Topic {
        name: Str,
        /// `topic`.
        kind: &'static str,
        /// The topic.
        destination: Str,
        /// Its version.
        version: String,
        /// Where it is defined.
        origin: Str,
        /// What waits since it was a target of another kind, and what can be done about it; only where one target is asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
}

impl TargetRow {
    fn name(&self) -> &Str {
        match self {
            Self::Outside(status) => &status.name,
            Self::Topic { name, .. } => name,
        }
    }
}

fn of_topic(target: &TargetDefinition) -> Option<TargetRow> {
    let TargetKind::Topic(topic) = &target.kind else { return None };
    let (version, origin) = (format!("{:016x}", target.fingerprint), target.origin.clone());
    let (name, destination) = (target.name.clone(), topic.clone());
    Some(TargetRow::Topic { name, kind: "topic", destination, version, origin, left: None })
}

async fn target(app: web::Data<App>, request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "targets", "read", &name)?;
    let definition = app.system.definitions().targets.get(&**name).cloned();
    if let Some(mut topic) = definition.as_deref().and_then(of_topic) {
        if let TargetRow::Topic { left, .. } = &mut topic {
            let system = app.system.clone();
            let all = web::block(move || system.left(&system.definitions())).await;
            let mut all = all.map_err(|e| Problem::new(500, "thread", e.to_string()))?;
            *left = all.remove(&*format!("target.{name}"));
        }
        return Ok(HttpResponse::Ok().json(topic));
    }
    not_removed(&app, &name).await?;
    Ok(HttpResponse::Ok().json(app.system.target(&name).await?))
}

/// Refuses a target that was removed while events waited for it, and says so: whoever asks for it by its name misspells nothing.
async fn not_removed(app: &App, name: &str) -> Result<(), Problem> {
    if app.system.definitions().targets.contains_key(name) {
        return Ok(());
    }
    let subscription = format!("target.{name}");
    let kept: Vec<_> = app.system.subscriptions().await.into_iter().filter(|row| *row.name == *subscription).collect();
    let Some(first) = kept.first() else { return Ok(()) };
    let (events, topic): (u64, _) = (kept.iter().map(|row| row.waits).sum(), &first.topic);
    let message = format!(
        "target `{}` is not configured any more; {events} events wait for it in `{topic}` (`hexafn sub show {}`)",
        printable(name),
        printable(&subscription)
    );
    Err(Problem::new(404, "target-unknown", message))
}

async fn switch_target(
    app: web::Data<App>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (name, act) = path.into_inner();
    let by = app.allow(&request, "targets", "write", &name)?;
    if app.system.definitions().targets.get(&*name).is_some_and(|t| matches!(t.kind, TargetKind::Topic(_))) {
        let message = format!("`{}` is a topic: nothing can be switched off or reset", printable(&name));
        return Err(Problem::new(409, "target-is-topic", message));
    }
    not_removed(&app, &name).await?;
    let status = if act == "reset" {
        app.system.reset_target(&name, by.as_deref()).await?
    } else {
        app.system.switch_target(&name, on_or_off(&act, ", reset")?, by.as_deref()).await?
    };
    Ok(HttpResponse::Ok().json(status))
}

/// The newest attempts of a target.
async fn target_log(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "targets", "read", &name)?;
    if app.system.definitions().targets.get(&**name).is_some_and(|t| matches!(t.kind, TargetKind::Topic(_))) {
        return Err(hexafn_actors::system::Error::NoAttempts(name.as_str().into()).into());
    }
    not_removed(&app, &name).await?;
    Ok(HttpResponse::Ok().json(app.system.target_log(&name).await?))
}

/// The event of an attempt by hand.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Probe {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    /// Any JSON; `{"test":true}` when it is absent.
    #[schemars(with = "Option<serde_json::Value>")]
    data: Option<Box<RawValue>>,
}

/// One attempt by hand.
async fn test_target(
    app: web::Data<App>,
    request: HttpRequest,
    name: web::Path<String>,
    Json(probe): Json<Probe>,
) -> Result<HttpResponse, Problem> {
    app.allow(&request, "targets", "write", &name)?;
    cloudevents::may_say(probe.kind.as_deref(), probe.subject.as_deref(), probe.key.as_deref())?;
    let data = probe.data.map_or_else(|| r#"{"test":true}"#.to_owned(), |data| data.get().to_owned());
    let doc = json::Doc::parse(data.clone().into(), &json::Limits::default());
    let doc = doc.map_err(|e| Problem::new(400, e.code(), e.to_string()))?;
    let event = Event::new("/targets/test", probe.kind.as_deref().unwrap_or("hexafn.test"), data.into());
    let mut event = event.with_doc(doc);
    event.subject = probe.subject.map(Into::into);
    event.key = probe.key.map(Into::into);
    not_removed(&app, &name).await?;
    Ok(HttpResponse::Ok().json(app.system.probe_target(&name, event).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    limit: Option<usize>,
}

async fn traces(app: web::Data<App>, request: HttpRequest, query: web::Query<Newest>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "traces", "read", "*")?;
    let limit = query.limit.unwrap_or(50);
    if limit == 0 || limit > 1_000 {
        return Err(Problem::new(400, "limit-invalid", format!("limit={limit}: 1 to 1000 traces can be asked for")));
    }
    let (reply, answer) = oneshot::channel();
    let newest = ask(&app, Ask::Newest(limit, reply), answer).await?;
    let of = |(first, steps, ok): (Step, usize, bool)| TraceRow {
        trace_id: first.trace_id,
        event_id: first.event_id,
        at: first.at.rfc3339(),
        source: first.name,
        steps,
        ok,
    };
    Ok(HttpResponse::Ok().json(newest.into_iter().map(of).collect::<Vec<_>>()))
}

/// A trace, in short.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TraceRow {
    trace_id: Str,
    event_id: Str,
    /// When it began.
    at: String,
    /// Who took the event in.
    source: Str,
    /// How many steps there are.
    steps: usize,
    /// Whether all of them went well.
    ok: bool,
}

async fn trace(app: web::Data<App>, request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    app.allow(&request, "traces", "read", "*")?;
    let (reply, answer) = oneshot::channel();
    let found = ask(&app, Ask::Find(id.to_string(), reply), answer).await?;
    let found = found.ok_or_else(|| {
        let message = format!(
            "no trace or event `{}` is among the newest ones that are kept; `hexafn trace ls` lists some",
            printable(&id)
        );
        Problem::new(404, "trace-unknown", message)
    })?;
    let conditions = app.system.explain(&found, |topic| app.may_read(&request, "topics", topic).is_ok()).await;
    Ok(HttpResponse::Ok().json(Journey { trace: found, conditions }))
}

/// A trace with what the conditions on its way said.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Journey {
    #[serde(flatten)]
    trace: Trace,
    /// Which conditions its events met, and what decided.
    conditions: Vec<Explained>,
}

async fn ask<T>(app: &App, ask: Ask, answer: oneshot::Receiver<T>) -> Result<T, Problem> {
    let gone = || Problem::new(503, "recorder-restarting", "the recorder of traces is being restarted").retry_after(1);
    app.system.ask().send(ask).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
}
