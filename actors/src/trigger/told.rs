//! What is told of the runs of functions on the topic `hexafn.executions`: written with what the run led to, so that none is
//! missing, and none is told that did not count.

use hexafn_runtimes::Line;
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;

use super::run::{End, Ran};
use crate::clock::Wall;
use crate::event::{Event, Str};
use crate::function::Execution;
use crate::log::{Op, Record, Seq};
use crate::topic::{Feedback, first_place};
use crate::trigger::run::MAX_HOPS;

/// The topic of the runs of functions.
pub const EXECUTIONS: &str = "hexafn.executions";

/// An output that is longer, in bytes, is left out; its length is there.
const MAX_OUTPUT: usize = 16 << 10;

/// The data of such an event.
#[derive(Serialize)]
struct Told<'a> {
    function: &'a str,
    version: String,
    runtime: &'static str,
    trigger: &'a str,
    topic: &'a str,
    seq: Seq,
    event_id: &'a str,
    event_type: &'a str,
    attempt: u32,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    took_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[Line]>::is_empty")]
    logs: &'a [Line],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logs_cut: bool,
    /// Lines that it is not granted to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    logs_refused: Option<u64>,
}

/// An event for each run that is told. Nothing is told of what is told itself, nor of a circle.
pub fn executions(ran: &Ran, record: &Record, trigger: &str, attempt: u32, feedback: &Feedback, now: Wall) -> Vec<Op> {
    if &*record.topic == EXECUTIONS || record.event.hops >= MAX_HOPS {
        return Vec::new();
    }
    let told = ran.executions.iter().filter(|run| feedback.delivered || run.error.is_some());
    told.map(|run| told_of(run, ran, record, trigger, attempt, feedback, now)).collect()
}

fn told_of(
    run: &Execution,
    ran: &Ran,
    record: &Record,
    trigger: &str,
    attempt: u32,
    feedback: &Feedback,
    now: Wall,
) -> Op {
    let input = &record.event;
    let (topic, seq) = first_place(record);
    // Only the last of a chain can have one.
    let output = match &ran.end {
        End::Fired { output: Some(output), .. } if run.error.is_none() => Some(&*output.data),
        _ => None,
    };
    let shown = output.filter(|output| output.len() <= MAX_OUTPUT).and_then(|o| serde_json::from_slice(o).ok());
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let usage = run.usage.as_deref();
    let data = Told {
        function: &run.function,
        version: format!("{:016x}", run.version),
        runtime: run.runtime,
        trigger,
        topic,
        seq,
        event_id: &input.id,
        event_type: &input.kind,
        attempt,
        ok: run.error.is_none(),
        code: run.error.as_ref().map(|e| &*e.code),
        message: run.error.as_ref().map(|e| &*e.message),
        took_us: micros(run.took),
        cpu_us: usage.and_then(|u| u.cpu).map(micros),
        fuel: usage.and_then(|u| u.fuel),
        peak_memory: usage.and_then(|u| u.peak_memory),
        host_calls: usage.map(|u| u.host_calls),
        output_bytes: output.map(|output| output.len() as u64),
        output: shown,
        logs: &run.logs,
        logs_cut: run.logs_cut,
        logs_refused: usage.map(|u| u.logs_refused).filter(|refused| *refused > 0),
    };
    // Plain texts and numbers: there is nothing in it that JSON does not have.
    let data = serde_json::to_vec(&data).unwrap_or_default();
    let id = format!("{}-{trigger}.{}.run-{attempt}", input.stem(), run.function).into();
    let mut event: Event = input.derive(id, feedback.source.clone(), Some("application/json".into()), data.into(), now);
    event.kind = Str::from(if run.error.is_none() { "hexafn.function.succeeded" } else { "hexafn.function.failed" });
    event.subject = Some(run.function.clone());
    event.headers.clear();
    event.extensions.clear();
    Op::Append { topic: feedback.topic, event: Box::new(event), dedupe: None }
}
