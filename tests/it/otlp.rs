//! Spans of the steps of events, as a collector of OpenTelemetry gets them.

use super::outlets::lines;
use super::receiver::Receiver;
use super::sender::{client, post};
use super::servers::program;
use super::service::{Scenario, Service};
use super::watch::eventually;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A collector that decodes with the official schema.
struct Collector {
    child: Child,
    url: String,
}

impl Collector {
    fn start(out: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/otlp.py");
        let mut command = Command::new(program("standardwebhooks-python"));
        let mut child = command.arg(script).arg(out).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, url: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn spans(service: &Service, trace: &str, count: usize) -> Vec<Value> {
    eventually("spans", async || {
        let mut spans = lines(&service.path("spans"));
        spans.retain(|span| span["trace"] == trace);
        (spans.len() >= count, spans)
    })
    .await
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let mut found = spans.iter().filter(|span| span["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("no `{name}` in {spans:#?}"));
    assert!(found.next().is_none(), "`{name}` twice in {spans:#?}");
    first
}

async fn metric(service: &Service, line: &str) -> u64 {
    let text = client().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap();
    text.lines().find_map(|l| l.strip_prefix(line)).map_or(0, |count| count.trim().parse().unwrap())
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_of_an_event_is_a_span_that_hangs_where_it_belongs() {
    let receiver = Receiver::start().await;
    let scenario = Scenario::new("pipeline").receiver(&receiver.base);
    let collector = Collector::start(&scenario.path("spans"));
    let telemetry = format!("[telemetry]\notlp = \"{}\"\nservice = \"of the test\"\n", collector.url);
    let service = scenario.file("telemetry.toml", &telemetry).start();
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let (status, told) = post(&service.url("/hooks/in"), &[("traceparent", &parent)], r#"{"n":7,"word":"hush"}"#).await;
    assert_eq!((status, &told["trace_id"]), (202, &TRACE.into()), "{told}");

    // Received and stored; evaluated, run, produced for each of three; delivered to two of them.
    let spans = spans(&service, TRACE, 9).await;
    assert_eq!(spans.len(), 9, "{spans:#?}");
    let received = named(&spans, "receive in");
    assert_eq!((&received["parent"], &received["kind"]), (&"b7ad6b7169203331".into(), &"SPAN_KIND_SERVER".into()));
    assert_eq!(received["resource"]["service.name"], "of the test");
    assert_eq!(received["attributes"]["hexafn.event.id"], told["id"]);
    for (name, kind, who) in [
        ("store in", "SPAN_KIND_INTERNAL", "hexafn.topic"),
        ("evaluate double", "SPAN_KIND_INTERNAL", "hexafn.trigger"),
        ("run double", "SPAN_KIND_INTERNAL", "hexafn.function"),
    ] {
        let span = named(&spans, name);
        assert_eq!((&span["parent"], &span["kind"]), (&received["span"], &kind.into()), "{name}: {span}");
        assert_eq!(span["attributes"][who], *name.split(' ').nth(1).unwrap(), "{span}");
        assert_eq!(span["status"], "STATUS_CODE_UNSET");
    }
    // The result is one event: its span is the first of the three, and the others hang under it with what becomes of it.
    let output = named(&spans, "produce out");
    assert_eq!(output["parent"], received["span"]);
    for (name, kind) in [
        ("produce file", "SPAN_KIND_INTERNAL"),
        ("produce web", "SPAN_KIND_INTERNAL"),
        ("deliver file", "SPAN_KIND_CLIENT"),
        ("deliver web", "SPAN_KIND_CLIENT"),
    ] {
        let span = named(&spans, name);
        assert_eq!((&span["parent"], &span["kind"]), (&output["span"], &kind.into()), "{name}: {span}");
    }
    assert_eq!(named(&spans, "deliver web")["attributes"]["hexafn.attempt"], 1);
    let mut ids: Vec<&str> = spans.iter().map(|span| span["span"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    assert!(ids.iter().all(|id| id.len() == 16 && *id != "0000000000000000"), "{ids:?}");
    assert!(spans.iter().all(|span| span["end"].as_u64() >= span["start"].as_u64()), "{spans:#?}");
    let all = serde_json::to_string(&spans).unwrap();
    assert!(!all.contains("hush") && !all.contains("twice"), "no data of events: {all}");
    eventually("the count", async || {
        let count = metric(&service, "hexafn_spans_total{outcome=\"exported\"}").await;
        (count == 9, count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_does_not_sample_is_heard_and_the_last_spans_go_out_at_the_end() {
    let receiver = Receiver::start().await;
    let scenario = Scenario::new("pipeline").receiver(&receiver.base);
    let collector = Collector::start(&scenario.path("spans"));
    let telemetry = format!("[telemetry]\notlp = \"{}\"\nsample = 0\n", collector.url);
    let mut service = scenario.file("telemetry.toml", &telemetry).start();
    let unsampled = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-b7ad6b7169203331-00";
    let sampled = format!("00-{TRACE}-b7ad6b7169203331-01");
    let hook = service.url("/hooks/in");
    // A condition that does not hold, so that there is little to do.
    for headers in [&[][..], &[("traceparent", unsampled)], &[("traceparent", &sampled)]] {
        assert_eq!(post(&hook, headers, r#"{"n":-1}"#).await.0, 202);
    }
    assert_eq!(service.terminate(), Some(0));
    let spans = lines(&service.path("spans"));
    assert!(!spans.is_empty() && spans.iter().all(|span| span["trace"] == TRACE), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_holds_nothing_up_and_is_counted() {
    let receiver = Receiver::start().await;
    let telemetry = "[telemetry]\notlp = \"http://127.0.0.1:9\"\n";
    let service = Scenario::new("pipeline").receiver(&receiver.base).file("telemetry.toml", telemetry).start();
    assert_eq!(post(&service.url("/hooks/in"), &[], r#"{"n":1}"#).await.0, 202);
    eventually("dropped spans", async || {
        let count = metric(&service, "hexafn_spans_total{outcome=\"dropped\"}").await;
        (count >= 9, count)
    })
    .await;
    assert_eq!(service.hexafn(&["check", "--config", "cfg"]).code, Some(0));
    for bad in
        ["otlp = \"127.0.0.1:4318\"", "otlp = \"ftp://a\"", "otlp = \"http://a:b@c\"", "sample = 1.5", "service = \"\""]
    {
        service.configure("telemetry.toml", &format!("[telemetry]\n{bad}\n"));
        let ran = service.hexafn(&["check", "--config", "cfg"]);
        let place = ran.code == Some(78) && ran.err.contains("telemetry.toml:2:");
        assert!(
            place
                && (ran.err.contains("from 0")
                    || ran.err.contains("write for example")
                    || ran.err.contains("1 to 255")),
            "{bad}: {ran:?}"
        );
    }
}
