//! `POST /hooks/{source}`: the door. Least trusting first: method and size, signature over the raw bytes, rate, and only
//! then what parses. Answered 2xx after the event is on disk.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use bytes::Bytes;
use hexafn_actors::clock::{Tick, Wall};
use hexafn_actors::definitions::{Definitions, SourceDefinition, SourceKind, TopicDurability};
use hexafn_actors::event::{Event, Str};
use hexafn_actors::log::{Appended, DedupeKey, Op, Ops, Record};
use hexafn_actors::reply::Answer;
use hexafn_actors::source::door::{DoorError, MISMATCH};
use hexafn_actors::source::normalise::{Arrival, Arrivals, Incoming, Normaliser};
use hexafn_actors::source::rate::Bucket;
use hexafn_actors::source::settings::WebhookSettings;
use hexafn_actors::source::verify::{Verified, Verifier};
use hexafn_actors::source::{Headers, RequestParts, cloudevents};
use hexafn_actors::topic::{TopicHandle, TopicMessage};
use hexafn_actors::trace::{Detail, Stage, Step};
use prometheus::{Histogram, IntCounter};
use serde::Serialize;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use super::problem::Problem;
use super::{App, body};

/// The webhook sources, as one reload made them.
pub struct Sources {
    by_name: HashMap<Str, Arc<Source>>,
    /// Answers for sources that do not exist: with default settings, no valid signature, and the time that a wrong one
    /// takes, so that names of sources are not given away.
    nobody: Arc<Source>,
}

/// One webhook source, ready to receive.
pub struct Source {
    definition: Arc<SourceDefinition>,
    name: Str,
    normaliser: Normaliser,
    bucket: Option<Mutex<Bucket>>,
    topic: Option<TopicHandle>,
    /// Whether anybody reads the parsed data.
    read: bool,
    reply: Option<(Str, Duration)>,
    accepted: IntCounter,
    duplicate: IntCounter,
    unauthorized: IntCounter,
    invalid: IntCounter,
    mismatched: IntCounter,
    limited: IntCounter,
    overloaded: IntCounter,
    seconds: Histogram,
}

impl Sources {
    /// Makes the sources of a set of definitions.
    pub async fn build(
        system: &hexafn_actors::system::System,
        definitions: &Definitions,
        before: Option<&Self>,
    ) -> Result<Self, Problem> {
        let read = definitions.triggers.values().any(|t| {
            let functions = hexafn_actors::system::functions_of(t, definitions);
            t.when.iter().chain(&t.run.by).any(|program| program.reads_data())
                || functions.iter().any(|f| f.program().is_some_and(|p| p.reads_data()))
        });
        let mut by_name = HashMap::new();
        for definition in definitions.sources.values() {
            let SourceKind::Webhook { settings, topic_expr, .. } = &definition.kind else { continue };
            let topic = match &settings.topic {
                Some(topic) => Some(system.cast().ensure(topic).await?),
                None => None,
            };
            let name = definition.name.clone();
            let read = read || topic_expr.as_ref().is_some_and(|p| p.reads_data());
            let mut source = Source::new(system, definition.clone(), topic, read);
            if let Some(before) = before.and_then(|before| before.by_name.get(&name)) {
                source.in_place_of(before);
            }
            by_name.insert(name, Arc::new(source));
        }
        let settings = serde_json::json!({ "name": "none", "topic": "none", "verify": { "scheme": "none" } });
        let wrong = |e: &dyn std::fmt::Display| Problem::new(500, "decoy", e.to_string());
        let definition = SourceDefinition {
            // No source has such a name, and the metrics show how often strangers try.
            name: "(unknown)".into(),
            kind: SourceKind::Webhook {
                settings: serde_json::from_value(settings).map_err(|e| wrong(&e))?,
                verifier: Verifier::decoy().map_err(|e| wrong(&e))?,
                topic_expr: None,
                validator: None,
            },
            fingerprint: 0,
        };
        let nobody = Arc::new(Source::new(system, Arc::new(definition), None, false));
        Ok(Self { by_name, nobody })
    }

    /// The names of the sources.
    pub fn names(&self) -> Vec<Str> {
        let mut names: Vec<Str> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

/// The headers of actix as the door reads them.
struct Of<'a>(&'a HeaderMap);

impl Headers for Of<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|v| v.to_str().ok())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self.0 {
            visit(name.as_str(), value.as_bytes());
        }
    }
}

/// What an accepted request is told of each event.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Accepted<'a> {
    id: &'a str,
    /// Left out for a repeated delivery: its own trace ends here, that of the first one is found by the event's id.
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_id: &'a str,
    topic: &'a str,
    seq: u64,
    /// `disk`: it is on disk; `disk-later` (`storage.sync = "lazy"`): soon; `memory`: never.
    durability: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// The handler.
pub async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    let sources = app.sources();
    let source = sources.by_name.get(name.as_str()).unwrap_or(&sources.nobody);
    let settings = source.settings();
    let headers = Of(request.headers());
    let parts = RequestParts { method: request.method().as_str(), query: request.query_string(), headers: &headers };
    if parts.method == "OPTIONS" {
        return Ok(handshake(source, &parts));
    }
    if !settings.methods.iter().any(|m| m == parts.method) {
        source.invalid.inc();
        return Ok(not_allowed(settings));
    }
    source.normaliser.head(&parts).inspect_err(|_| source.invalid.inc())?;
    if app.draining.load(Ordering::Relaxed) {
        return Err(Problem::new(503, "draining", "the service is shutting down; try another instance or again soon")
            .retry_after(2));
    }
    let limits = settings.limits;
    let too_large = || Problem::from(DoorError::too_large(limits.body));
    let most = usize::try_from(limits.body).unwrap_or(usize::MAX);
    // Held to the end of the request.
    let mut share = app.bodies.share();
    let body = body::read(payload, most, limits.body_time, &too_large, &mut share).await;
    let body = body.inspect_err(|refused| {
        let no_room = refused.status_code() == StatusCode::SERVICE_UNAVAILABLE;
        if no_room { source.overloaded.inc() } else { source.invalid.inc() }
    })?;
    let began = Instant::now();
    let now = Wall::now();
    let verifier = source.verifier();
    let verified = verifier.check(&parts, &body, now).map_err(|refusal| {
        source.unauthorized.inc();
        tracing::info!(source = %source.name, reason = refusal.code(), "webhook refused");
        DoorError::unauthorized()
    })?;
    // After the signature: a stranger cannot use up what the true sender may send.
    if let Some(bucket) = &source.bucket
        && let Err(wait) = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(1, Tick::now())
    {
        source.limited.inc();
        return Err(DoorError::too_many(wait).into());
    }
    if let Some(text) = verifier.challenge(&body) {
        return Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text));
    }
    let arrivals = arrivals(source, parts, body, &verified, now)
        .and_then(|arrivals| named(source, arrivals))
        .inspect_err(|refused| if refused.code == MISMATCH { source.mismatched.inc() } else { source.invalid.inc() })?;
    let received = began.elapsed();
    let result = accept(&app, source, arrivals, received).await;
    match &result {
        Ok(_) => source.seconds.observe(began.elapsed().as_secs_f64()),
        Err(_) => source.overloaded.inc(),
    }
    let (response, steps) = result?;
    app.system.tracer().record(steps);
    Ok(response)
}

impl Source {
    fn new(
        system: &hexafn_actors::system::System,
        definition: Arc<SourceDefinition>,
        topic: Option<TopicHandle>,
        read: bool,
    ) -> Self {
        let SourceKind::Webhook { settings, verifier, validator, .. } = &definition.kind else {
            unreachable!("`Sources::build` takes webhooks only")
        };
        let name = definition.name.clone();
        let outcome = |o| system.metrics().source_requests.with_label_values(&[&*name, o]);
        Self {
            normaliser: Normaliser::new(settings, verifier).validating(validator.clone()),
            bucket: settings.rate.map(|limit| Mutex::new(Bucket::new(limit))),
            topic,
            read,
            reply: settings.reply.as_ref().map(|r| (r.trigger.as_str().into(), r.timeout)),
            accepted: outcome("accepted"),
            duplicate: outcome("duplicate"),
            unauthorized: outcome("unauthorized"),
            invalid: outcome("invalid"),
            mismatched: outcome("mismatched"),
            limited: outcome("limited"),
            overloaded: outcome("overloaded"),
            seconds: system.metrics().source_seconds.with_label_values(&[&*name]),
            name,
            definition,
        }
    }

    /// What the one of this name has used up of its rate is used up still.
    fn in_place_of(&mut self, before: &Self) {
        if let (Some(bucket), Some(before)) = (&mut self.bucket, &before.bucket) {
            let bucket = bucket.get_mut().unwrap_or_else(PoisonError::into_inner);
            *bucket = bucket.clone().in_place_of(&before.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn settings(&self) -> &WebhookSettings {
        self.kind().0
    }

    fn verifier(&self) -> &Verifier {
        self.kind().1
    }

    fn topic_expr(&self) -> Option<&hexafn_dsl::Program> {
        self.kind().2
    }

    fn kind(&self) -> (&WebhookSettings, &Verifier, Option<&hexafn_dsl::Program>) {
        match &self.definition.kind {
            SourceKind::Webhook { settings, verifier, topic_expr, .. } => (settings, verifier, topic_expr.as_ref()),
            SourceKind::Timer { .. } | SourceKind::Pull { .. } => unreachable!("`Sources::build` takes webhooks only"),
        }
    }
}

/// The CloudEvents web hook handshake (OPTIONS with `WebHook-Request-Origin`).
fn handshake(source: &Source, parts: &RequestParts<'_>) -> HttpResponse {
    let per_minute = source.settings().rate.map(|r| u64::from(r.per_second) * 60);
    let Some(headers) = cloudevents::handshake(parts, per_minute) else { return not_allowed(source.settings()) };
    let mut response = HttpResponse::Ok();
    for header in headers {
        response.insert_header(header);
    }
    response.finish()
}

/// 405, with the methods that the source takes.
fn not_allowed(settings: &WebhookSettings) -> HttpResponse {
    let mut response = Problem::from(DoorError::method(&settings.methods)).response();
    if let Ok(value) = HeaderValue::from_str(&settings.methods.join(", ")) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

fn arrivals(
    source: &Source,
    request: RequestParts<'_>,
    body: Bytes,
    verified: &Verified,
    now: Wall,
) -> Result<Arrivals, DoorError> {
    source.normaliser.events(Incoming { request, body, verified, now, read: source.read })
}

/// An arrival, and the name of its topic where the source computes it.
type Named = SmallVec<[(Arrival, Option<String>); 1]>;

/// The topics that the source's expression gives; nothing is done before it has given all of them.
fn named(source: &Source, arrivals: Arrivals) -> Result<Named, DoorError> {
    let Some(expr) = source.topic_expr() else { return Ok(arrivals.into_iter().map(|a| (a, None)).collect()) };
    let of = |Arrival { event, dedupe }| {
        let (event, name) = hexafn_actors::function::topic_of(expr, event, Wall::now());
        let name = name.map_err(|why| DoorError::new(422, "topic-expression", "The event has no topic", why))?;
        Ok((Arrival { event, dedupe }, Some(name)))
    };
    arrivals.into_iter().map(of).collect()
}

/// Puts an event into a topic in memory. When something of its request is out already it waits for room, since a refusal
/// would have the sender repeat all of it.
async fn remember(app: &App, topic: &TopicHandle, event: Event, waits: bool) -> Result<Arc<Record>, Problem> {
    if !waits {
        return Ok(app.system.publish(topic, event).await?);
    }
    let gone = || Problem::new(503, "restarting", "the topic was restarted; try again").retry_after(1);
    let (reply, record) = oneshot::channel();
    let message = TopicMessage::Publish { event: Box::new(event), reply: Some(reply) };
    topic.front.send(message).await.map_err(|_| gone())?;
    record.await.map_err(|_| gone())
}

/// Stores the events of a request, all or none, and makes the answer.
async fn accept(
    app: &App,
    source: &Source,
    arrivals: Named,
    received: Duration,
) -> Result<(HttpResponse, Vec<Step>), Problem> {
    let single = arrivals.len() == 1;
    let began = Instant::now();
    let mut ops = Ops::new();
    let mut to_memory: Vec<(TopicHandle, Event)> = Vec::new();
    let mut waiting = None;
    for (arrival, name) in arrivals {
        let topic = match (&source.topic, name) {
            (Some(topic), _) => topic.clone(),
            (None, Some(name)) => app.system.cast().ensure_for_event(&name).await?,
            (None, None) => {
                return Err(Problem::new(500, "topic-missing", "the source has no topic; this is a defect of hexaFn"));
            }
        };
        if single && let Some((trigger, timeout)) = &source.reply {
            let waits = app.system.replies().wait(arrival.event.trace.span_id.clone(), trigger.clone());
            waiting = Some((waits, arrival.event.id.clone(), *timeout));
        }
        if topic.durability == TopicDurability::Memory {
            to_memory.push((topic, arrival.event));
            continue;
        }
        let window = source.settings().dedupe_window;
        let dedupe = arrival.dedupe.map(|id| DedupeKey { scope: source.name.clone(), id, window });
        ops.push(Op::Append { topic: topic.id, event: Box::new(arrival.event), dedupe });
    }
    if to_memory.iter().any(|(topic, _)| !topic.front.is_open()) {
        let detail = "a topic of this request is being restarted; try again in a second";
        return Err(Problem::new(503, "restarting", detail).retry_after(1));
    }
    let mut appended = Vec::new();
    if !ops.is_empty() {
        appended.extend(app.system.commit(ops).await?.appended);
    }
    // After what can be refused.
    let mut in_memory: Vec<Arc<Record>> = Vec::with_capacity(to_memory.len());
    for (topic, event) in to_memory {
        let waits = !appended.is_empty() || !in_memory.is_empty();
        in_memory.push(remember(app, &topic, event, waits).await?);
    }
    let stored = began.elapsed();
    let mut steps = Vec::with_capacity(2 * (appended.len() + in_memory.len()));
    let fresh = appended.iter().filter_map(|a| if let Appended::Stored(r) = a { Some(r) } else { None });
    for record in fresh.chain(&in_memory) {
        let place = Detail::Place(record.topic.clone(), record.seq);
        let step = Step::ended(&record.event, Stage::Received, source.name.clone(), received);
        let mut step = step.begins(&record.event);
        step.at = Wall(step.at.0.saturating_sub_unsigned(stored.as_micros() as u64));
        steps.push(step);
        steps.push(Step::ended(&record.event, Stage::Stored, record.topic.clone(), stored).with(place));
    }
    let repeated = !appended.is_empty()
        && in_memory.is_empty()
        && appended.iter().all(|a| matches!(a, Appended::Duplicate { .. }));
    if repeated {
        source.duplicate.inc()
    } else {
        source.accepted.inc()
    }
    // Too late, or never: the event is stored, and is worked on.
    if !repeated
        && let Some((waiting, id, timeout)) = waiting
        && let Some(answer) = waiting.within(timeout).await
    {
        return Ok((answered(&answer, &id), steps));
    }
    let status = if repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let on_disk = super::durability(app, TopicDurability::Disk);
    Ok((told(status, single, &appended, &in_memory, on_disk), steps))
}

/// The result of a trigger as the answer.
fn answered(answer: &Answer, id: &str) -> HttpResponse {
    let mut response = match answer {
        Answer::Output(_) => HttpResponse::Ok(),
        Answer::Nothing => HttpResponse::NoContent(),
        // Why is in its trace and in the log: it may quote the program, the event and what others said to the function.
        Answer::Failed => {
            let detail = format!("the event {id} is stored, but its function failed and is tried again");
            return Problem::new(502, "function-failed", detail).response();
        }
    };
    if let Ok(value) = HeaderValue::from_str(id) {
        response.insert_header(("hexafn-event-id", value));
    }
    match answer {
        Answer::Output(body) => response.content_type("application/json").body(body.clone()),
        _ => response.finish(),
    }
}

fn told(
    status: StatusCode,
    single: bool,
    appended: &[Appended],
    in_memory: &[Arc<Record>],
    on_disk: &'static str,
) -> HttpResponse {
    let of_record = |r: &'_ Arc<Record>, durability| -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Accepted {
            id: &r.event.id,
            trace_id: &r.event.trace.trace_id,
            topic: &r.topic,
            seq: r.seq,
            durability,
            duplicate: false,
        })
    };
    let mut parts: Vec<Vec<u8>> = Vec::with_capacity(appended.len() + in_memory.len());
    for one in appended {
        let part = match one {
            Appended::Stored(r) => of_record(r, on_disk),
            Appended::Duplicate { topic, seq, event_id } => serde_json::to_vec(&Accepted {
                id: event_id,
                trace_id: "",
                topic,
                seq: *seq,
                durability: on_disk,
                duplicate: true,
            }),
        };
        parts.extend(part);
    }
    parts.extend(in_memory.iter().filter_map(|r| of_record(r, "memory").ok()));
    let body = if single {
        parts.pop().unwrap_or_default()
    } else {
        let mut body = b"{\"events\":[".to_vec();
        body.extend(parts.join(&b','));
        body.extend_from_slice(b"]}");
        body
    };
    HttpResponse::build(status).content_type("application/json").body(body)
}
