//! The trigger actor.
//!
//! Owns: one trigger, resolved ([`run::Runner`]), and how healthy it has been.
//! Receives: deliveries of the topics it listens to.
//! Sends: settlements, each with the outputs that take effect with it.
//! Strategy: `RestartStrategy::actor`; quarantined when most of what it does fails. A restart loses nothing: what was
//! in flight is delivered again, and the record it was working on counts as failed.

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, ContextFutureSpawner, Handler, SpawnHandle, WrapFuture,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Tick, Wall};
use crate::event::{Event, Str};
use crate::function::Execution;
use crate::log::{Ops, Record, Seq, TopicId};
use crate::metrics::TriggerMetrics;
use crate::reply::{Answer, Replies};
use crate::runtime::Store;
use crate::runtime::pool::noting;
use crate::supervision::decision::{Decision, History, decide};
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::{Front, SendError};
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::supervision::strategy::{OnExhausted, RestartStrategy};
use crate::topic::cast::Cast;
use crate::topic::subscription::Verdict;
use crate::topic::{Deliveries, Feedback, Settlement, TopicMessage, Write};
use crate::trace::{Detail, Stage, Step, Tracer};
use run::{End, Fault, InMemory, Ran, Runner};
use ways::Ways;

pub mod dry;
pub mod run;
pub mod told;
pub mod ways;

/// How long a trigger keeps its thread at a time, where it runs functions on it. One run is never cut.
const SLICE: Duration = Duration::from_millis(20);

/// What is counted of a trigger, for tables; read by anybody at any time.
#[derive(Debug, Default)]
pub struct Counts {
    /// Fired.
    pub fired: AtomicU64,
    /// The condition did not hold.
    pub skipped: AtomicU64,
    /// Failed.
    pub failed: AtomicU64,
}

/// What a trigger actor is made of; the same at every restart.
#[derive(Clone)]
pub struct TriggerSpec {
    /// The trigger, resolved.
    pub runner: Arc<Runner>,
    /// Switched by hand; while off, events pass by.
    pub enabled: Arc<AtomicBool>,
    /// Whether requests wait for its results.
    pub answers: bool,
    /// The waiting requests.
    pub replies: Arc<Replies>,
    /// The registry, told at each start.
    pub cast: Cast,
    /// Takes the steps of events.
    pub tracer: Tracer,
    /// Its series.
    pub metrics: TriggerMetrics,
    /// Its counts.
    pub counts: Arc<Counts>,
    /// Which ways its results take.
    pub ways: Arc<Ways>,
    /// When it is quarantined.
    pub health: RestartStrategy,
    /// What functions stored.
    pub store: Arc<Store>,
    /// The record that is being worked on: outlives the actor, so that its successor knows the culprit.
    pub working: Arc<Mutex<Option<(TopicId, Seq)>>>,
    /// Counts the dead letters of targets whose condition fails.
    pub dead_letters: prometheus::IntCounterVec,
    /// Counts what went to their fallbacks.
    pub fell_back: prometheus::IntCounterVec,
    /// Where the runs of functions are told.
    pub executions: Option<Feedback>,
}

/// When a trigger is quarantined: ten failures in a row, or half of at least twenty within a minute.
pub fn health() -> RestartStrategy {
    RestartStrategy {
        intensity: None,
        consecutive: Some(10),
        on_exhausted: OnExhausted::Quarantine,
        ..RestartStrategy::breaker()
    }
}

impl TriggerSpec {
    /// Tells the request that waits for this event, if one does.
    fn answer(&self, record: &Record, answer: impl FnOnce() -> Answer) {
        if self.answers {
            self.replies.answer(&record.event.trace.span_id, &self.runner.definition.name, answer);
        }
    }

    /// Notes what is being worked on; what was before.
    fn working_on(&self, record: Option<(TopicId, Seq)>) -> Option<(TopicId, Seq)> {
        std::mem::replace(&mut *self.working.lock().unwrap_or_else(PoisonError::into_inner), record)
    }
}

/// The actor.
pub struct Trigger {
    spec: TriggerSpec,
    life: Lifeline,
    history: History,
    /// Why it is beyond help: said to the supervisor at the end of the batch.
    gave_up: Option<String>,
    /// What of the results since the last answer to a topic goes to topics in memory.
    memory: InMemory,
    /// What workers have finished since the last answer to a topic.
    finished: Vec<(Front<TopicMessage>, Settlement)>,
    steps: Vec<Step>,
    /// Runs that workers have, by a number, and whether they have begun.
    running: HashMap<u64, (SpawnHandle, Arc<AtomicBool>)>,
    /// The number of the next one.
    runs: u64,
    /// Whether it ends when they have ended.
    stopping: bool,
}

/// Answers topics for what workers have finished.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Answered;

impl Trigger {
    /// A trigger that has not failed yet.
    pub fn new(spec: TriggerSpec, life: Lifeline) -> Self {
        Self {
            spec,
            life,
            history: History::default(),
            gave_up: None,
            memory: InMemory::default(),
            finished: Vec::new(),
            steps: Vec::new(),
            running: HashMap::new(),
            runs: 0,
            stopping: false,
        }
    }

    /// Runs one record and says how it is settled.
    fn work(&mut self, record: &Record, attempt: u32, steps: &mut Vec<Step>) -> Settlement {
        let now = Wall::now();
        let ran = self.spec.runner.run_now(record, attempt, now);
        self.conclude(ran, record, attempt, now, steps)
    }

    /// What follows from a run.
    fn conclude(
        &mut self,
        mut ran: Ran,
        record: &Record,
        attempt: u32,
        now: Wall,
        steps: &mut Vec<Step>,
    ) -> Settlement {
        if matches!(ran.end, End::Fired { .. } | End::Dropped)
            && let Err(message) = self.spec.store.apply(&ran.writes)
        {
            ran.end = End::Failed { message, fault: Fault::Passing };
        }
        self.spec.ways.count(&ran);
        let name = &self.spec.runner.definition.name;
        let event = &record.event;
        tell(&ran, record, name, attempt);
        let executions = self.spec.executions.as_ref().filter(|_| !ran.executions.is_empty());
        let told =
            executions.map_or_else(Vec::new, |feedback| told::executions(&ran, record, name, attempt, feedback, now));
        if !matches!(ran.end, End::Skipped) || ran.condition > Duration::from_millis(1) {
            let mut step = Step::ended(event, Stage::Evaluated, name.clone(), ran.condition);
            // It is told after the functions have run, and began before them.
            let after: Duration = ran.executions.iter().map(|e| e.took).sum();
            step.at = Wall(step.at.0.saturating_sub_unsigned(u64::try_from(after.as_micros()).unwrap_or(0) + 1));
            let version = self.spec.runner.definition.fingerprint;
            steps.push(step.with(Detail::Version(record.topic.clone(), record.seq, version)));
        }
        let mut after: Duration = ran.executions.iter().map(|e| e.took).sum();
        for execution in &ran.executions {
            let mut step = Step::ended(event, Stage::Executed, execution.function.clone(), execution.took);
            // Told together at the end: each began before all that ran after it.
            after = after.saturating_sub(execution.took);
            step.at = Wall(step.at.0.saturating_sub_unsigned(u64::try_from(after.as_micros()).unwrap_or(0)));
            let why = execution.error.as_ref().map(|error| error.to_string().into());
            let failed = why.is_some();
            let detail = Detail::Run(execution.version, execution.usage.clone(), why);
            steps.push(if failed { step.failed(detail) } else { step.with(detail) });
        }
        let answer = |answer: &dyn Fn() -> Answer| self.spec.answer(record, answer);
        let (verdict, ops) = match ran.end {
            End::Skipped => {
                self.spec.metrics.skipped.inc();
                self.spec.counts.skipped.fetch_add(1, Ordering::Relaxed);
                answer(&|| Answer::Nothing);
                (Verdict::Ack, Ops::new())
            }
            End::Dropped => {
                self.spec.metrics.dropped.inc();
                answer(&|| Answer::Nothing);
                self.well();
                (Verdict::Ack, Ops::new())
            }
            End::Fired { output, to, failed, emitted } => {
                self.spec.metrics.fired.inc();
                self.spec.counts.fired.fetch_add(1, Ordering::Relaxed);
                answer(&|| output.as_ref().map_or(Answer::Nothing, |output| Answer::Output(output.data.clone())));
                for (n, (index, output)) in to.iter().filter_map(|index| Some((index, output.as_ref()?))).enumerate() {
                    let target = &self.spec.runner.outputs[*index];
                    let step = Step::ended(output, Stage::Produced, target.target.clone(), Duration::ZERO);
                    // One event, however many targets get it.
                    let step = if n == 0 { step.begins(output) } else { step };
                    steps.push(step.with(Detail::Text(target.topic_name.clone())));
                }
                for emission in &emitted {
                    let step = Step::ended(&emission.event, Stage::Produced, "emit".into(), Duration::ZERO);
                    let step = step.begins(&emission.event);
                    steps.push(step.with(Detail::Text(emission.topic.clone())));
                }
                self.well();
                let mut ops = self.spec.runner.ops(output.as_deref(), &to, emitted, &mut self.memory);
                if let Some(output) = output.filter(|_| !failed.is_empty()) {
                    self.undecided(record, &output, &failed, now, (&mut ops, steps));
                }
                (Verdict::Ack, ops)
            }
            End::Failed { message, fault } => {
                self.spec.metrics.failed.inc();
                self.spec.counts.failed.fetch_add(1, Ordering::Relaxed);
                answer(&|| Answer::Failed);
                let again = fault == Fault::Passing;
                let kind = if again { FailureKind::Reported } else { FailureKind::Permanent };
                let failure = Failure::new(kind, &message, now).ran(versions(&ran.executions));
                if fault != Fault::Event {
                    self.ill(&failure);
                }
                (if again { Verdict::Nak(failure) } else { Verdict::Term(failure) }, Ops::new())
            }
        };
        Settlement { seq: record.seq, attempt, verdict, ops, told }
    }

    /// What becomes of a result for targets whose own condition fails on it: it is given up for them alone.
    fn undecided(
        &self,
        record: &Record,
        output: &Event,
        failed: &[(usize, Str)],
        now: Wall,
        (ops, steps): (&mut Ops, &mut Vec<Step>),
    ) {
        for (index, why) in failed {
            let target = &self.spec.runner.outputs[*index];
            tracing::warn!(trigger = %self.spec.runner.definition.name, to = %target.target, event_id = %output.id,
                trace_id = %output.trace.trace_id, %why, "given up for this target");
            let step = Step::ended(output, Stage::Attempted, target.target.clone(), Duration::ZERO);
            steps.push(step.failed(Detail::Attempt(1, why.clone())));
            let Some(undecided) = &target.undecided else { continue };
            let went = if undecided.fallback.is_none() { &self.spec.dead_letters } else { &self.spec.fell_back };
            went.with_label_values(&[&*undecided.subscription]).inc();
            let (op, told) = undecided.ops(record, target.event(output), why, now);
            ops.push(op);
            ops.extend(told);
        }
    }

    fn well(&mut self) {
        self.history.succeeded(&self.spec.health, Tick::now());
    }

    /// One bad event is its own business; when most of them fail, it is the trigger's.
    fn ill(&mut self, failure: &Failure) {
        // Permanent is said of the event (trying it again cannot help), not of the trigger.
        let counted = Failure { kind: FailureKind::Reported, ..failure.clone() };
        if matches!(decide(&self.spec.health, &mut self.history, Tick::now(), &counted, 0.5), Decision::Quarantine) {
            self.gave_up = Some(format!("most of its events fail; the last: {}", failure.message));
        }
    }
}

/// The functions that ran and their versions: `score@0123456789abcdef, score-lua@…`.
fn versions(executions: &[Execution]) -> Option<Str> {
    let all: Vec<_> = executions.iter().map(|run| format!("{}@{:016x}", run.function, run.version)).collect();
    (!all.is_empty()).then(|| all.join(", ").into())
}

/// The log line of an evaluation and of each run.
fn tell(ran: &Ran, record: &Record, trigger: &str, attempt: u32) {
    let event = &record.event;
    let result = match &ran.end {
        End::Skipped => "skipped",
        End::Dropped => "dropped",
        End::Fired { .. } => "fired",
        End::Failed { .. } => "failed",
    };
    let condition_us = ran.condition.as_micros() as u64;
    let took_us = condition_us + ran.executions.iter().map(|run| run.took.as_micros() as u64).sum::<u64>();
    if let End::Failed { message, .. } = &ran.end {
        tracing::warn!(trigger, topic = %record.topic, seq = record.seq, attempt, event_id = %event.id,
            trace_id = %event.trace.trace_id, result, condition_us, took_us, error = %message, "evaluated");
    } else {
        tracing::debug!(trigger, topic = %record.topic, seq = record.seq, attempt, event_id = %event.id,
            trace_id = %event.trace.trace_id, result, condition_us, took_us, "evaluated");
    }
    for run in &ran.executions {
        tracing::debug!(trigger, function = %run.function, version = %format_args!("{:016x}", run.version),
            topic = %record.topic, seq = record.seq, attempt, event_id = %event.id, trace_id = %event.trace.trace_id,
            took_us = run.took.as_micros() as u64, result = if run.error.is_none() { "ok" } else { "failed" },
            error = run.error.as_ref().map(tracing::field::display), "ran");
    }
}

impl Actor for Trigger {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
        let culprit = self.spec.working_on(None);
        let culprit = culprit.map(|(topic, seq)| (topic, seq, "the trigger's actor failed while working on it".into()));
        self.spec.cast.restarted(&subscription_name(&self.spec.runner.definition.name), culprit, None);
    }
}

impl Handler<Deliveries> for Trigger {
    type Result = ();

    fn handle(&mut self, deliveries: Deliveries, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        if self.stopping {
            // Not begun: its successor is given it.
            return;
        }
        let enabled = self.spec.enabled.load(Ordering::Relaxed);
        if enabled && !self.spec.runner.is_inline() {
            return self.begin(deliveries, ctx);
        }
        self.run_here(deliveries, enabled, ctx);
    }
}

impl Trigger {
    /// Runs events on this thread: as many as [`SLICE`] has room for. The others follow after whoever else is on it.
    fn run_here(&mut self, mut deliveries: Deliveries, enabled: bool, ctx: &mut Context<Self>) {
        let began = Instant::now();
        let mut steps = Vec::with_capacity(deliveries.items.len() * 3);
        let mut items = Vec::with_capacity(deliveries.items.len());
        for delivery in &deliveries.items {
            if !items.is_empty() && began.elapsed() > SLICE {
                break;
            }
            let record = &delivery.record;
            self.life.working_on(record.seq);
            self.spec.working_on(Some((record.topic_id, record.seq)));
            crate::failpoint!("trigger-panic");
            items.push(if enabled {
                self.work(record, delivery.attempt, &mut steps)
            } else {
                // Nobody is to wait for a result that never comes.
                self.spec.answer(record, || Answer::Nothing);
                Settlement::new(record.seq, delivery.attempt, Verdict::Ack)
            });
        }
        self.spec.working_on(None);
        self.spec.tracer.record(steps);
        deliveries.items.drain(..items.len());
        let message = TopicMessage::Settle {
            subscription: subscription_name(&self.spec.runner.definition.name),
            items,
            round: None,
            write: Write::default(),
        };
        self.publish(ctx);
        settle(&deliveries.reply_to, message, self, ctx);
        self.give_up(ctx);
        if !deliveries.items.is_empty() {
            // Not by a message to itself, which would be handled before anything else on this thread.
            let others = tokio::task::yield_now().into_actor(self);
            others
                .map(move |(), this, ctx| {
                    let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
                    let enabled = this.spec.enabled.load(Ordering::Relaxed);
                    this.run_here(deliveries, enabled, ctx);
                })
                .spawn(ctx);
        }
    }

    /// Starts what workers run, as many at a time as the subscription lets be in flight.
    fn begin(&mut self, deliveries: Deliveries, ctx: &mut Context<Self>) {
        for delivery in deliveries.items {
            let (runner, record, attempt) = (self.spec.runner.clone(), delivery.record, delivery.attempt);
            let reply_to = deliveries.reply_to.clone();
            let now = Wall::now();
            let begun = Arc::new(AtomicBool::new(false));
            let run = noting(begun.clone(), async move {
                let ran = runner.run(&record, attempt, now).await;
                (ran, record)
            });
            let number = self.runs;
            self.runs += 1;
            let run = run.into_actor(self).map(move |(ran, record), this, ctx: &mut Context<Self>| {
                let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
                this.running.remove(&number);
                let mut steps = std::mem::take(&mut this.steps);
                let settlement = this.conclude(ran, &record, attempt, now, &mut steps);
                this.steps = steps;
                if this.finished.is_empty() {
                    ctx.notify(Answered);
                }
                this.finished.push((reply_to, settlement));
            });
            self.running.insert(number, (ctx.spawn(run), begun));
        }
    }

    /// Hands results to topics in memory. As with an answer, a trigger waits while such a topic has no room for more.
    fn publish(&mut self, ctx: &mut Context<Self>) {
        for (topic, events) in std::mem::take(&mut self.memory).0 {
            settle(&topic, TopicMessage::PublishAll(events), self, ctx);
        }
    }

    fn give_up(&mut self, ctx: &mut Context<Self>) {
        if let Some(message) = self.gave_up.take() {
            self.life.fail(ctx, Failure::new(FailureKind::Permanent, message, Wall::now()));
        }
    }
}

impl Handler<Answered> for Trigger {
    type Result = ();

    fn handle(&mut self, _: Answered, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        self.spec.tracer.record(std::mem::take(&mut self.steps));
        self.publish(ctx);
        let mut finished = std::mem::take(&mut self.finished);
        // One answer for each topic.
        while let Some((topic, _)) = finished.first() {
            let topic = topic.clone();
            let (its, others): (Vec<_>, Vec<_>) = finished.into_iter().partition(|(to, _)| to.leads_where(&topic));
            let items = its.into_iter().map(|(_, item)| item).collect();
            let subscription = subscription_name(&self.spec.runner.definition.name);
            settle(
                &topic,
                TopicMessage::Settle { subscription, items, round: None, write: Write::default() },
                self,
                ctx,
            );
            finished = others;
        }
        self.give_up(ctx);
        self.end(ctx);
    }
}

impl Handler<Stop> for Trigger {
    type Result = ();

    /// What workers have begun is waited for, as far as the supervisor's patience goes: what it did outside it would do once more.
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        self.stopping = true;
        self.running.retain(|_, (run, begun)| {
            let begun = begun.load(Ordering::Acquire);
            if !begun {
                ctx.cancel_future(*run);
            }
            begun
        });
        self.end(ctx);
    }
}

impl Trigger {
    /// Ends it, where it is to end and has no run under way.
    fn end(&mut self, ctx: &mut Context<Self>) {
        if self.stopping && self.running.is_empty() && self.finished.is_empty() {
            self.life.finish(ctx);
        }
    }
}

/// The name of a trigger's subscription.
pub fn subscription_name(trigger: &str) -> Str {
    format!("trigger.{trigger}").into()
}

/// Answers a topic. When its mailbox is full the subscriber waits, which stops its intake; when it is being restarted
/// the answer is not needed, since everything unsettled is delivered again.
pub fn settle<A>(topic: &Front<TopicMessage>, message: TopicMessage, actor: &A, ctx: &mut Context<A>)
where
    A: Actor<Context = Context<A>>,
{
    match topic.try_send(message) {
        Ok(()) | Err(SendError::Closed(_)) => {}
        Err(SendError::Full(message)) => {
            let sent = topic.send(message);
            sent.into_actor(actor).map(|_, _, _| ()).wait(ctx);
        }
    }
}
