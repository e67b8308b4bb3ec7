//! The journey of events: every step with its time, kept for the newest traces, found by event id or trace id.
//!
//! Steps come through a bounded queue ([`Tracer`]); when it is full they are dropped and counted, never waited for.

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use hexafn_runtimes::Usage;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;

use crate::clock::Wall;
use crate::event::Str;
use crate::supervision::lifeline::{Lifeline, Stop};

mod tracer;

pub use tracer::{Look, Tracer};

/// Steps kept of one trace; a trace that fans out further keeps its first ones and says how many are missing.
const MAX_STEPS: usize = 200;
/// Questions that may wait, and the word that there are steps.
pub(crate) const MAILBOX: usize = 256;
/// Steps that most traces have.
const USUAL_STEPS: usize = 8;

/// Which of the six steps of the flow this was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Received at a source and verified.
    Received,
    /// On disk in a topic.
    Stored,
    /// A trigger's condition.
    Evaluated,
    /// A function ran.
    Executed,
    /// A result went to a topic or an outbox.
    Produced,
    /// A delivery attempt.
    Attempted,
    /// Given up.
    DeadLettered,
}

/// One step of an event.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Step {
    /// The trace.
    pub trace_id: Str,
    /// The event.
    pub event_id: Str,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: Wall,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What it was.
    pub stage: Stage,
    /// Who did it: the source, topic, trigger, function or target.
    pub name: Str,
    /// Whether it went well.
    pub ok: bool,
    /// What there is to say: the topic and sequence, the failure, the attempt.
    #[schemars(with = "String")]
    pub detail: Detail,
    /// Its place among the spans of the trace.
    #[serde(skip)]
    pub span: Span,
}

/// The place of a step among the spans of its trace.
#[derive(Debug, Clone)]
pub struct Span {
    /// The span that the context of the event names: what others hang under who get the event.
    pub id: Str,
    /// Whether spans of the trace are to be exported.
    pub sampled: bool,
    /// Whether the step is that span itself, and what that hangs under; else the step is a span below it.
    pub own: Option<Option<Str>>,
}

/// Who is told of every step that is recorded, besides the recorder; called on the recorder's thread, and must not wait.
pub type Tap = std::sync::Arc<dyn Fn(&Step) + Send + Sync>;

/// What there is to say of a step; text is made only when somebody looks.
#[derive(Debug, Clone)]
pub enum Detail {
    /// Nothing.
    None,
    /// A place in a topic.
    Place(Str, u64),
    /// A place in a topic, and the version of the trigger that looked at it.
    Version(Str, u64, u64),
    /// A run of a function: its version, what it used where that was measured, and why it failed.
    Run(u64, Option<Box<Usage>>, Option<Str>),
    /// An attempt and what the target said.
    Attempt(u32, Str),
    /// Anything else.
    Text(Str),
}

impl std::fmt::Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Place(topic, seq) | Self::Version(topic, seq, _) => write!(f, "{topic}#{seq}"),
            Self::Run(version, usage, why) => {
                write!(f, "version {version:016x}")?;
                if let Some(usage) = usage {
                    used(usage, f)?;
                }
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::Attempt(n, what) => write!(f, "attempt {n}: {what}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What a run used, behind its version.
fn used(usage: &Usage, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    write!(f, ", ran {:?}", usage.wall)?;
    if let Some(cpu) = usage.cpu {
        write!(f, ", cpu {cpu:?}")?;
    }
    if let Some(fuel) = usage.fuel {
        write!(f, ", fuel {fuel}")?;
    }
    if let Some(peak) = usage.peak_memory {
        write!(f, ", memory {} KiB", peak / 1024)?;
    }
    write!(f, ", {} host calls, {} bytes out", usage.host_calls, usage.output_bytes)
}

impl Serialize for Detail {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

fn rfc3339<S: serde::Serializer>(at: &Wall, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.rfc3339())
}

impl Step {
    /// A step that began `took` ago.
    pub fn ended(event: &crate::event::Event, stage: Stage, name: Str, took: Duration) -> Self {
        Self::ended_at(event, stage, name, took, Wall::now())
    }

    /// The same for many steps that are told together: one look at the clock serves all.
    pub fn ended_at(event: &crate::event::Event, stage: Stage, name: Str, took: Duration, now: Wall) -> Self {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self {
            trace_id: event.trace.trace_id.clone(),
            event_id: event.id.clone(),
            at: Wall(now.0.saturating_sub_unsigned(took_us)),
            took_us,
            stage,
            name,
            ok: true,
            detail: Detail::None,
            span: Span { id: event.trace.span_id.clone(), sampled: event.trace.is_sampled(), own: None },
        }
    }

    /// With it the event came into being: it is the span that the event's context names.
    #[must_use]
    pub fn begins(mut self, event: &crate::event::Event) -> Self {
        self.span.own = Some(event.trace.parent.clone());
        self
    }

    /// With something to say.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// It failed.
    #[must_use]
    pub fn failed(mut self, why: Detail) -> Self {
        self.ok = false;
        self.detail = why;
        self
    }
}

/// A whole trace, as found.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Trace {
    /// The trace id.
    pub trace_id: Str,
    /// Its steps by time.
    pub steps: Vec<Step>,
    /// Steps beyond the bound.
    pub dropped: u64,
}

/// The newest traces, as plain state.
#[derive(Debug, Default)]
pub struct Recorder {
    traces: HashMap<Str, (Vec<Step>, u64)>,
    order: VecDeque<Str>,
    limit: usize,
}

impl Recorder {
    /// Keeps the newest `limit` traces.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Adds a step.
    pub fn add(&mut self, step: Step) {
        if self.limit == 0 {
            return;
        }
        if let Some((steps, dropped)) = self.traces.get_mut(&step.trace_id) {
            if steps.len() < MAX_STEPS {
                steps.push(step)
            } else {
                *dropped += 1
            }
            return;
        }
        let mut steps = Vec::new();
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
            && let Some((gone, _)) = self.traces.remove(&oldest)
        {
            // Its room serves the new one.
            steps = gone;
            steps.clear();
            steps.shrink_to(USUAL_STEPS);
        }
        self.order.push_back(step.trace_id.clone());
        let id = step.trace_id.clone();
        steps.push(step);
        self.traces.insert(id, (steps, 0));
    }

    /// Finds a trace by its id or by the id of one of its events. Ids of CloudEvents are the sender's, and more than one trace may
    /// have an event of this id: it is the newest of them.
    pub fn find(&self, id: &str) -> Option<Trace> {
        let has_event = |trace_id: &&Str| {
            self.traces.get(*trace_id).is_some_and(|(steps, _)| steps.iter().any(|s| &*s.event_id == id))
        };
        let (trace_id, (steps, dropped)) = self
            .traces
            .get_key_value(id)
            .or_else(|| self.traces.get_key_value(self.order.iter().rev().find(has_event)?))?;
        let mut steps = steps.clone();
        steps.sort_by_key(|s| s.at);
        Some(Trace { trace_id: trace_id.clone(), steps, dropped: *dropped })
    }

    /// The newest traces, newest first: their first step and how many they have.
    pub fn newest(&self, limit: usize) -> Vec<(Step, usize, bool)> {
        let newest = self.order.iter().rev().take(limit);
        newest
            .filter_map(|id| {
                let (steps, _) = self.traces.get(id)?;
                let first = steps.iter().min_by_key(|s| s.at)?;
                Some((first.clone(), steps.len(), steps.iter().all(|s| s.ok)))
            })
            .collect()
    }
}

/// Questions to the recorder.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Ask {
    /// One trace.
    Find(String, oneshot::Sender<Option<Trace>>),
    /// The newest ones.
    Newest(usize, oneshot::Sender<Vec<(Step, usize, bool)>>),
}

/// The recorder's actor. A restart loses the traces kept so far: they are a view, the log is the truth.
pub struct Traces {
    recorder: Recorder,
    tracer: Tracer,
    tap: Option<Tap>,
    life: Lifeline,
}

impl Traces {
    /// Keeps the newest `limit` traces of what `tracer` was given, and passes every step on to `tap`.
    pub fn new(limit: usize, tracer: Tracer, tap: Option<Tap>, life: Lifeline) -> Self {
        Self { recorder: Recorder::new(limit), tracer, tap, life }
    }

    /// Takes in what waits.
    fn take(&mut self) {
        for step in self.tracer.take().flatten() {
            if let Some(tap) = &self.tap {
                tap(&step);
            }
            self.recorder.add(step);
        }
    }
}

impl Actor for Traces {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // What came while there was nobody to be woken.
        self.take();
    }
}

impl Handler<Look> for Traces {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        crate::failpoint!("traces-panic");
        ctx.run_later(tracer::LATER, |this, ctx| {
            let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
            this.take();
        });
    }
}

impl Handler<Ask> for Traces {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        // What was told before the question is in the answer.
        self.take();
        let gone = match ask {
            Ask::Find(id, reply) => reply.send(self.recorder.find(&id)).is_err(),
            Ask::Newest(limit, reply) => reply.send(self.recorder.newest(limit)).is_err(),
        };
        if gone {
            tracing::debug!("nobody waits for the trace");
        }
    }
}

impl Handler<Stop> for Traces {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.take();
        self.life.finish(ctx);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Event;

    #[test]
    fn finds_by_event_and_by_trace_and_forgets_the_oldest() {
        let mut recorder = Recorder::new(2);
        let events: Vec<Event> = (0..3).map(|_| Event::new("s", "k", Default::default())).collect();
        for event in &events {
            recorder.add(Step::ended(event, Stage::Received, "a".into(), Duration::ZERO));
            recorder
                .add(Step::ended(event, Stage::Stored, "b".into(), Duration::ZERO).with(Detail::Place("t".into(), 1)));
        }
        assert!(recorder.find(&events[0].id).is_none());
        let found = recorder.find(&events[2].id).unwrap();
        assert_eq!(found.steps.len(), 2);
        assert_eq!(recorder.find(&events[2].trace.trace_id).unwrap().steps.len(), 2);
        assert_eq!(recorder.newest(10).len(), 2);
    }

    #[test]
    fn of_traces_with_one_event_id_the_newest_is_found() {
        let mut recorder = Recorder::new(100);
        let mut newest = None;
        for _ in 0..50 {
            let mut event = Event::new("s", "k", Default::default());
            event.id = "1".into();
            recorder.add(Step::ended(&event, Stage::Received, "a".into(), Duration::ZERO));
            newest = Some(event.trace.trace_id);
        }
        assert_eq!(recorder.find("1").map(|trace| trace.trace_id), newest);
    }
}
