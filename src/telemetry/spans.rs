//! Spans for a collector of OpenTelemetry, by OTLP over HTTP with protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! They are made of the steps that the recorder gets anyway, on a thread of their own: no event waits for them. What does not fit
//! into the queue, or that the collector does not take, is dropped and counted. Nothing is sent twice: a span is a view, the log
//! is the truth.
//!
//! A span says who did what with which event, when, and whether it went well. It does not say why something failed: reasons can
//! hold data of events. `GET /admin/traces/{id}` has them.

use hexafn_actors::metrics::Metrics;
use hexafn_actors::trace::{Detail, Stage, Step, Tap};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::config::settings::TelemetrySettings;

/// Steps that may wait: a few seconds of a busy service, and some 2 MB.
const QUEUE: usize = 16_384;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// The collector has so long for one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of a collector that is read.
const ANSWER: usize = 64 << 10;

enum Item {
    Step(Step),
    /// Everything before it has been sent, or dropped.
    Sent(oneshot::Sender<()>),
}

/// The export of spans; ends with the process.
pub struct Spans {
    queue: mpsc::Sender<Item>,
}

impl Spans {
    /// Starts the thread; `None` when no collector is named.
    ///
    /// # Errors
    /// The thread or the client could not be made.
    pub fn start(settings: &TelemetrySettings, metrics: &Metrics) -> Result<Option<Self>, String> {
        hexafn_actors::event::sample(settings.sample);
        let Some(base) = &settings.otlp else { return Ok(None) };
        let (queue, items) = mpsc::channel(QUEUE);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| format!("the client of the collector: {e}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let exporter = Exporter {
            http,
            url: traces_of(base),
            service: settings.service.clone(),
            exported: metrics.spans.with_label_values(&["exported"]),
            dropped: metrics.spans.with_label_values(&["dropped"]),
            failing: false,
        };
        let run = move || runtime.block_on(exporter.run(items));
        std::thread::Builder::new().name("spans".to_owned()).spawn(run).map_err(|e| e.to_string())?;
        Ok(Some(Self { queue }))
    }

    /// What the recorder calls with each step.
    pub fn tap(&self, metrics: &Metrics) -> Tap {
        let (queue, dropped) = (self.queue.clone(), metrics.spans.with_label_values(&["dropped"]));
        Arc::new(move |step| {
            if step.span.sampled && queue.try_send(Item::Step(step.clone())).is_err() {
                dropped.inc();
            }
        })
    }

    /// Waits until everything that was recorded has been sent, at most so long.
    pub async fn finish(&self, deadline: Duration) {
        let finished = async {
            let (sent, is_sent) = oneshot::channel();
            // An error of either means that the thread has ended: there is nothing to wait for.
            if self.queue.send(Item::Sent(sent)).await.is_ok() {
                is_sent.await.ok();
            }
        };
        if timeout(deadline, finished).await.is_err() {
            tracing::warn!("the collector of spans did not take the last ones in time");
        }
    }
}

/// `/v1/traces` below the address of the collector.
fn traces_of(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/v1/traces", base.path().trim_end_matches('/')));
    url
}

struct Exporter {
    http: reqwest::Client,
    url: Url,
    service: String,
    exported: prometheus::IntCounter,
    dropped: prometheus::IntCounter,
    /// The last request failed: said once, not for each.
    failing: bool,
}

impl Exporter {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut spans = Vec::with_capacity(BATCH);
        while let Some(first) = items.recv().await {
            let end = Instant::now() + WAIT;
            let mut next = Some(first);
            let mut waiter = None;
            while let Some(item) = next.take() {
                match item {
                    Item::Step(step) => spans.extend(span(&step)),
                    Item::Sent(sent) => {
                        waiter = Some(sent);
                        break;
                    }
                }
                if spans.len() < BATCH {
                    next = timeout_at(end, items.recv()).await.ok().flatten();
                }
            }
            if !spans.is_empty() {
                self.export(std::mem::replace(&mut spans, Vec::with_capacity(BATCH))).await;
            }
            if let Some(sent) = waiter {
                // Whoever waited may have given up.
                sent.send(()).ok();
            }
        }
    }

    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        match self.send(spans).await {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.exported.inc_by(count - rejected);
                self.dropped.inc_by(rejected);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(collector = %self.url, "the collector takes spans again");
                }
            }
            Err(why) => {
                self.dropped.inc_by(count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(collector = %self.url, why, "spans are dropped: the collector does not take them");
                }
            }
        }
    }

    /// How many the collector did not want.
    async fn send(&self, spans: Vec<Span>) -> Result<u64, String> {
        let body = self.request(spans).encode_to_vec();
        let request = self.http.post(self.url.clone()).header("content-type", "application/x-protobuf").body(body);
        let response = request.send().await.map_err(|e| {
            let e = e.without_url();
            std::error::Error::source(&e).map_or_else(|| e.to_string(), |source| format!("{e}: {source}"))
        })?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()));
        }
        if response.content_length().is_none_or(|length| length > ANSWER as u64) {
            return Ok(0);
        }
        let answer = response.bytes().await.map_err(|e| e.without_url().to_string())?;
        // A collector that answers something else took them nevertheless: 200 says so.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource {
            attributes: vec![text("service.name", &self.service), text("service.version", version)],
            ..Resource::default()
        };
        let scope = InstrumentationScope { name: "hexafn".into(), version: version.into(), ..Default::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// What is done, who does it, and on which side of the service that is.
fn terms(stage: Stage) -> (&'static str, &'static str, SpanKind) {
    match stage {
        Stage::Received => ("receive", "hexafn.source", SpanKind::Server),
        Stage::Stored => ("store", "hexafn.topic", SpanKind::Internal),
        Stage::Evaluated => ("evaluate", "hexafn.trigger", SpanKind::Internal),
        Stage::Executed => ("run", "hexafn.function", SpanKind::Internal),
        Stage::Produced => ("produce", "hexafn.target", SpanKind::Internal),
        Stage::Attempted => ("deliver", "hexafn.target", SpanKind::Client),
        Stage::DeadLettered => ("give up", "hexafn.target", SpanKind::Internal),
    }
}

/// The span of a step. `None` when the trace of the event is none that a collector would take.
fn span(step: &Step) -> Option<Span> {
    let bytes = |hex: &str, length: usize| hex::decode(hex).ok().filter(|bytes| bytes.len() == length);
    let trace_id = bytes(&step.trace_id, 16)?;
    let context = bytes(&step.span.id, 8)?;
    let (span_id, parent_span_id) = match &step.span.own {
        Some(parent) => (context, parent.as_deref().and_then(|parent| bytes(parent, 8)).unwrap_or_default()),
        None => {
            let mut id = [0; 8];
            getrandom::fill(&mut id).ok()?;
            // All zeros would be no id.
            id[7] |= 1;
            (id.to_vec(), context)
        }
    };
    let (verb, who, kind) = terms(step.stage);
    let mut attributes = vec![text("hexafn.event.id", &step.event_id), text(who, &step.name)];
    match &step.detail {
        Detail::Place(topic, seq) | Detail::Version(topic, seq, _) => {
            if step.stage != Stage::Stored {
                attributes.push(text("hexafn.topic", topic));
            }
            attributes.push(number("hexafn.seq", *seq));
        }
        Detail::Attempt(attempt, _) => attributes.push(number("hexafn.attempt", u64::from(*attempt))),
        Detail::Run(version, usage, _) => {
            attributes.push(text("hexafn.function.version", &format!("{version:016x}")));
            if let Some(usage) = usage {
                attributes.extend(
                    usage.cpu.map(|cpu| {
                        number("hexafn.function.cpu_us", u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX))
                    }),
                );
                attributes.extend(usage.peak_memory.map(|bytes| number("hexafn.function.memory_bytes", bytes)));
                attributes.push(number("hexafn.function.host_calls", usage.host_calls));
            }
        }
        Detail::None | Detail::Text(_) => {}
    }
    let start = u64::try_from(step.at.0).ok()?.saturating_mul(1_000);
    let code = if step.ok { StatusCode::Unset } else { StatusCode::Error };
    Some(Span {
        trace_id,
        span_id,
        parent_span_id,
        // Sampled.
        flags: 1,
        name: format!("{verb} {}", step.name),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(step.took_us.saturating_mul(1_000)),
        attributes,
        status: Some(Status { code: code.into(), ..Status::default() }),
        ..Span::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hexafn_actors::event::{Event, TraceContext};

    #[test]
    fn the_path_of_the_collector_is_kept() {
        for (base, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://example.org/otlp/", "https://example.org/otlp/v1/traces"),
        ] {
            assert_eq!(traces_of(&base.parse().unwrap()).as_str(), url);
        }
    }

    #[test]
    fn the_first_step_of_an_event_is_its_span_and_others_hang_under_it() {
        let mut event = Event::new("s", "k", "secret".into());
        let sender = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        event.trace = TraceContext::received(sender, None).unwrap();
        let step = |stage| Step::ended(&event, stage, "a".into(), Duration::from_millis(3));
        let received = span(&step(Stage::Received).begins(&event)).unwrap();
        assert_eq!(hex::encode(&received.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex::encode(&received.parent_span_id), "b7ad6b7169203331");
        assert_eq!(hex::encode(&received.span_id), *event.trace.span_id);
        assert_eq!(received.end_time_unix_nano - received.start_time_unix_nano, 3_000_000);
        let failed = span(&step(Stage::Executed).failed(Detail::Text("of secret data".into()))).unwrap();
        assert_eq!(failed.parent_span_id, received.span_id);
        assert_ne!(failed.span_id, received.span_id);
        assert_eq!((failed.name.as_str(), failed.status.clone().unwrap().code), ("run a", StatusCode::Error.into()));
        assert!(!format!("{failed:?}").contains("secret"), "{failed:?}");
    }
}
