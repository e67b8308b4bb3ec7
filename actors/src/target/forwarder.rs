//! The forwarder actor: one for each target outside, with a subscription and a breaker of its own, so that a target
//! that fails or hangs stalls nobody else.
//!
//! Owns: the target, its breaker, the attempts that are being made.
//! Receives: deliveries of its outbox.
//! Sends: settlements. Its limit is read by its topics: nothing while the breaker is open, then one delivery for the probe,
//! beside those that are being attempted from before.
//! Strategy: `RestartStrategy::actor`. A restart abandons the attempts that are being made: they are made again under
//! the same idempotency id. The failed delivery is the failed child: its subscription's strategy says when it starts anew.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

use super::log::{Attempted, DeliveryLog};
use super::redact::Redactor;
use super::veil::Veil;
use super::{Mode, Outcome, Target, Verdict as TargetVerdict};
use crate::clock::{Tick, Wall};
use crate::event::Str;
use crate::metrics::TargetMetrics;
use crate::source::rate::Bucket;
use crate::supervision::breaker::{Breaker, Permit, Turn};
use crate::supervision::decision::Phase;
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::{Front, SendError};
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::supervision::strategy::RestartStrategy;
use crate::topic::cast::Cast;
use crate::topic::subscription::Verdict;
use crate::topic::{Deliveries, Limit, Overdue, Round, Settlement, TopicMessage, Write};
use crate::trace::{Detail, Stage, Step, Tracer};

/// How long a target may take to close.
const CLOSE: Duration = Duration::from_secs(5);

mod attempt;
mod order;
mod queue;
mod status;
pub mod waits;

use attempt::{Attempts, Done, Turns, Unwritten, describe};
use order::Order;
use queue::Queued;
pub use status::{Defined, TargetStatus};

/// Told the target's name, who disabled it (`receiver` or `breaker`) and why.
pub type OnDisabled = Arc<dyn Fn(&str, &'static str, &str) + Send + Sync>;
/// See [`ForwarderSpec::on_breaker`].
pub type OnBreaker = Arc<dyn Fn(&str, &'static str, &str) + Send + Sync>;

/// What a forwarder is made of; the same at every restart.
#[derive(Clone)]
pub struct ForwarderSpec {
    /// The target's name.
    pub name: Str,
    /// Its subscription on its outbox.
    pub subscription: Str,
    /// What makes an attempt.
    pub target: Arc<dyn Target>,
    /// What of the receiver's words is not shown.
    pub veil: Option<Arc<Veil>>,
    /// What it must not see, and since when results are stored without it: what waits for longer may be from before.
    pub redact: Option<(Arc<Redactor>, Wall)>,
    /// What its topics let be with it.
    pub limit: Limit,
    /// When the breaker opens and closes.
    pub breaker: RestartStrategy,
    /// The most attempts in a time.
    pub rate: Option<super::Rate>,
    /// What an event waits for.
    pub ordering: super::Ordering,
    /// Switched by hand or by the receiver, as stored.
    pub enabled: Arc<AtomicBool>,
    /// The registry, told at each start.
    pub cast: Cast,
    /// The front of the outbox.
    pub outbox: Front<TopicMessage>,
    /// Takes the steps of events.
    pub tracer: Tracer,
    /// Its series.
    pub metrics: TargetMetrics,
    /// Told when the target disables itself (410, five days of failure), so that it is stored and an alert is raised.
    pub on_disabled: OnDisabled,
    /// Told when the breaker opens or closes: the target's name, `opened` or `closed`, and why.
    pub on_breaker: OnBreaker,
}

/// The name of a target's subscription on its outbox.
pub fn subscription_name(target: &str) -> Str {
    format!("target.{target}").into()
}

/// What a forwarder can be told.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ForwarderMessage {
    /// Switch on (closes the breaker) or off (events are kept).
    Switch(bool),
    /// Describe the state.
    Inspect(oneshot::Sender<TargetStatus>),
    /// What it holds, and why no attempt is made with it.
    Waits(oneshot::Sender<waits::Held>),
    /// The newest attempts, the last first.
    Log(oneshot::Sender<Vec<Attempted>>),
}

/// The actor.
pub struct Forwarder {
    spec: ForwarderSpec,
    life: Lifeline,
    breaker: Breaker,
    /// What waits for its attempt.
    queue: VecDeque<Queued>,
    /// The bytes of data in it.
    queued_bytes: usize,
    /// Where several events of a key may be here: their order.
    order: Option<Order>,
    /// The bound on attempts in a time.
    rate: Option<Bucket>,
    /// When this looks again at what waits.
    waking: Option<Tick>,
    attempts: Attempts,
    /// What became of deliveries, by the topic that they came from: nearly always all of one.
    settled: Vec<Settled>,
    /// Attempts that have ended, and what came of them is not written yet.
    unwritten: Unwritten,
    /// A topic that had no room is being told; what comes meanwhile goes along afterwards.
    answering: bool,
    /// What topics ask for.
    overdue: Vec<Overdue>,
    /// The topics that deliver: the outbox, and the one of what is delivered again.
    open: HashMap<Str, Front<TopicMessage>>,
    steps: Vec<Step>,
    off: bool,
    /// Asked to end: what is being attempted is finished first.
    stopping: bool,
    /// Then the target is closed.
    closing: bool,
    delivered: u64,
    failed: u64,
    last: Option<(Str, Wall)>,
    /// The newest attempts.
    log: DeliveryLog,
}

impl Forwarder {
    /// A forwarder with a closed breaker.
    pub fn new(spec: ForwarderSpec, life: Lifeline) -> Self {
        Self {
            breaker: Breaker::new(spec.breaker.clone()),
            off: !spec.enabled.load(Ordering::Relaxed),
            rate: spec.rate.map(|rate| Bucket::spread(rate.limit, rate.per)),
            order: Order::of(&*spec.target, spec.ordering),
            spec,
            life,
            queue: VecDeque::new(),
            queued_bytes: 0,
            waking: None,
            attempts: Attempts::default(),
            settled: Vec::new(),
            unwritten: Unwritten::default(),
            answering: false,
            overdue: Vec::new(),
            open: HashMap::new(),
            steps: Vec::new(),
            stopping: false,
            closing: false,
            delivered: 0,
            failed: 0,
            last: None,
            log: DeliveryLog::default(),
        }
    }

    /// Takes what became of attempts, and begins the next.
    fn ended(&mut self, ended: Vec<Done>, ctx: &mut Context<Self>) {
        let (now, wall) = (Tick::now(), Wall::now());
        for done in ended {
            self.done(done, now, wall, ctx);
        }
        self.advance(ctx);
    }

    fn done(&mut self, done: Done, now: Tick, wall: Wall, ctx: &mut Context<Self>) {
        self.spec.metrics.seconds.observe(done.took.as_secs_f64());
        let mut permit = done.permit;
        // A call is one attempt to the breaker, however many events it carries.
        let batched = matches!(self.spec.target.mode(), Mode::Batch { .. });
        let (mut arrived, mut failed) = (false, None);
        let (mut keys, mut not_over): (HashSet<order::Key>, HashSet<order::Key>) = Default::default();
        for (delivery, outcome) in done.results {
            let record = &delivery.record;
            let key = self.order.as_ref().and_then(|order| order.key(&delivery));
            if matches!(&outcome, Outcome::Failed(failure) if failure.verdict == TargetVerdict::NotSent) {
                // Nothing happened, so there is nothing to tell or to count.
                not_over.extend(key.clone());
                keys.extend(key);
                let kept = keep(
                    &mut self.settled,
                    &record.topic,
                    Settlement::new(record.seq, delivery.attempt, Verdict::Release),
                );
                if !batched {
                    kept.ended += 1;
                    self.breaker.hand_back(permit);
                }
                continue;
            }
            let outcome = match (outcome, &self.spec.veil) {
                (Outcome::Failed(failure), Some(veil)) => Outcome::Failed(veil.failure(failure)),
                (outcome, _) => outcome,
            };
            let said = describe(&outcome);
            let mut step = Step::ended_at(&record.event, Stage::Attempted, self.spec.name.clone(), done.took, wall)
                .with(Detail::Attempt(delivery.attempt, said.clone()));
            step.ok = outcome.is_delivered();
            self.steps.push(step);
            tracing::debug!(to = %self.spec.name, event_id = %record.event.id, trace_id = %record.event.trace.trace_id,
                attempt = delivery.attempt, took_us = done.took.as_micros() as u64, result = %said, "delivery");
            self.log.note(&delivery, &outcome, wall);
            let (verdict, turn) = match outcome {
                Outcome::Delivered { detail } => {
                    self.delivered += 1;
                    self.spec.metrics.delivered.inc();
                    arrived = true;
                    let turn = if batched { None } else { self.breaker.on_result(permit, Ok(()), now) };
                    if detail.disable_target {
                        self.disable("receiver", "it asked for no more events (`webhook-delivery: disable`)", ctx);
                    }
                    (Verdict::Ack, turn)
                }
                Outcome::Failed(failure) => {
                    self.failed += 1;
                    let kind = match failure.class {
                        super::FailureClass::Timeout => FailureKind::Deadline,
                        super::FailureClass::Panic => FailureKind::Panicked,
                        _ => FailureKind::Reported,
                    };
                    let mut report = Failure::new(kind, format!("{}: {}", failure.class.name(), failure.message), wall);
                    report.retry_after = failure.retry_after;
                    let turn = if batched {
                        if failed.is_none() && failure.counts_for_breaker() {
                            failed = Some(report.clone());
                        }
                        None
                    } else if failure.counts_for_breaker() {
                        self.breaker.on_result(permit, Err(&report), now)
                    } else {
                        self.breaker.hand_back(permit);
                        None
                    };
                    let behind = key.as_ref().is_some_and(|key| not_over.contains(key));
                    let verdict = match failure.verdict {
                        // It comes again behind an earlier one of its key, and has had no attempt of its own.
                        TargetVerdict::Retry | TargetVerdict::DeadLetter if behind => Verdict::Release,
                        TargetVerdict::NotSent => Verdict::Release,
                        TargetVerdict::Retry => Verdict::Nak(report),
                        TargetVerdict::DeadLetter => Verdict::Term(report),
                        TargetVerdict::DisableTarget => {
                            self.disable("receiver", &failure.message, ctx);
                            Verdict::Release
                        }
                    };
                    // Each attempt is counted once, so that a sum over the outcomes is that of all.
                    let metrics = &self.spec.metrics;
                    let counted = if matches!(verdict, Verdict::Term(_)) { &metrics.dead } else { &metrics.failed };
                    counted.inc();
                    (verdict, turn)
                }
            };
            self.last = Some((said, wall));
            if let Some(key) = key {
                if matches!(verdict, Verdict::Nak(_) | Verdict::Release) {
                    not_over.insert(key.clone());
                }
                keys.insert(key);
            }
            let kept = keep(&mut self.settled, &record.topic, Settlement::new(record.seq, delivery.attempt, verdict));
            kept.ended += usize::from(!batched);
            self.turned(turn, ctx);
            // A probe is one attempt: what else was in the same call counts as under no permit.
            if !batched && matches!(permit, Permit::Probe(_)) {
                permit = Permit::No { until: now };
            }
        }
        self.go_on(keys, &not_over);
        if batched {
            let turn = match (arrived, &failed) {
                (true, _) => self.breaker.on_result(permit, Ok(()), now),
                (false, Some(report)) => self.breaker.on_result(permit, Err(report), now),
                (false, None) => {
                    self.breaker.hand_back(permit);
                    None
                }
            };
            self.turned(turn, ctx);
        }
    }

    fn turned(&mut self, turn: Option<Turn>, ctx: &mut Context<Self>) {
        match turn {
            None => {}
            Some(Turn::Opened { until }) => {
                tracing::warn!(to = %self.spec.name, last = self.last.as_ref().map_or("", |l| &*l.0), "circuit breaker opened");
                let why = self.last.as_ref().map_or("", |last| &*last.0);
                (self.spec.on_breaker)(&self.spec.name, "opened", why);
                self.credit(Some(0));
                self.release();
                ctx.run_later(until.since(Tick::now()), move |this, ctx| {
                    let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
                    this.show_breaker();
                    match this.breaker.phase() {
                        // Reset by hand meanwhile, it has its whole credit already.
                        Phase::Closed => {}
                        // It has opened again after that, and that opening has a look of its own.
                        Phase::Open { until: later } if later != until => {}
                        Phase::Open { .. } | Phase::HalfOpen { .. } => {
                            // An attempt that hangs from before does not take the place of the probe. What comes with it waits.
                            this.credit(Some(1 + this.attempts.begun().count()));
                        }
                    }
                });
            }
            Some(Turn::Closed) => {
                tracing::info!(to = %self.spec.name, "circuit breaker closed");
                (self.spec.on_breaker)(&self.spec.name, "closed", "its probes arrived");
                self.credit(None);
            }
            Some(Turn::Disabled) => {
                let last = self.last.as_ref().map_or("", |(last, _)| &**last);
                self.disable(
                    "breaker",
                    &format!("it has failed for too long (`breaker.disable_after`), at last with {last}"),
                    ctx,
                );
            }
        }
        self.show_breaker();
    }

    fn disable(&mut self, by: &'static str, why: &str, ctx: &mut Context<Self>) {
        if self.off {
            return;
        }
        tracing::error!(to = %self.spec.name, by, why, "target disabled; its events are kept");
        (self.spec.on_disabled)(&self.spec.name, by, why);
        self.switch(false, ctx);
    }

    fn switch(&mut self, on: bool, ctx: &mut Context<Self>) {
        self.off = !on;
        self.spec.enabled.store(on, Ordering::Relaxed);
        if on {
            self.breaker.reset();
            self.credit(None);
            self.advance(ctx);
        } else {
            self.credit(Some(0));
            self.release();
        }
        self.show_breaker();
        self.attempts.wake();
    }

    /// Says how much may be with this target, to every topic that delivers here.
    fn credit(&self, credit: Option<usize>) {
        let off = self.off || self.stopping;
        self.spec.limit.switch(off);
        self.spec.limit.set(if off { Some(0) } else { credit });
        let again = self.open.values().filter(|front| !front.leads_where(&self.spec.outbox));
        for topic in std::iter::once(&self.spec.outbox).chain(again) {
            if let Err(error) = topic.try_send(TopicMessage::Look) {
                // It is busy, or being restarted, and looks by itself after that.
                tracing::debug!(to = %self.spec.name, %error, "a topic was not told");
            }
        }
    }

    fn show_breaker(&self) {
        let value = match (self.off, self.breaker.phase()) {
            (true, _) => 3,
            (_, Phase::Open { .. }) => 1,
            (_, Phase::HalfOpen { .. }) => 2,
            (_, Phase::Closed) => 0,
        };
        self.spec.metrics.breaker.set(value);
    }

    /// Tells the topics what became of their deliveries, one message each; and closes the target at the end of it all.
    fn answer(&mut self, ctx: &mut Context<Self>) {
        self.spec.tracer.record(std::mem::take(&mut self.steps));
        let soon = self.wants_slots();
        while !self.answering
            && let Some(Settled { topic, items, ended }) = self.settled.pop()
        {
            crate::failpoint!("forwarder-before-ack");
            let front = self.open.get(&topic).unwrap_or(&self.spec.outbox);
            let (subscription, round) = (self.spec.subscription.clone(), self.order.as_ref().map(|_| Round::begin()));
            let write = Write { soon, told: (ended > 0).then(|| self.unwritten.wait(ended)) };
            match front.try_send(TopicMessage::Settle { subscription, items, round, write }) {
                // One that is being restarted delivers anew what was not settled.
                Ok(()) | Err(SendError::Closed(_)) => {}
                Err(SendError::Full(message)) => {
                    // The attempts go on meanwhile: what waited for room would time them out.
                    self.answering = true;
                    let sent = front.send(message).into_actor(self);
                    ctx.spawn(sent.map(|_, this, _| {
                        this.answering = false;
                        this.attempts.wake();
                    }));
                }
            }
        }
        if self.stopping && self.attempts.len() == 0 && !self.answering && !self.closing {
            self.closing = true;
            let target = self.spec.target.clone();
            // What it holds is brought to its place; one that cannot does not keep the process from ending.
            let closed = async move { tokio::time::timeout(CLOSE, target.close()).await };
            ctx.spawn(closed.into_actor(self).map(|closed, this, ctx| {
                if closed.is_err() {
                    tracing::warn!(to = %this.spec.name, "the target did not close within {CLOSE:?}");
                }
                this.life.finish(ctx);
            }));
        }
    }
}

/// What a topic is to be told.
struct Settled {
    topic: Str,
    /// What became of deliveries.
    items: Vec<Settlement>,
    /// The attempts that they are of, each with a slot that is taken until what came of it is written.
    ended: usize,
}

/// Adds what became of a delivery to what its topic is to be told.
fn keep<'s>(settled: &'s mut Vec<Settled>, topic: &Str, item: Settlement) -> &'s mut Settled {
    let at = settled.iter().position(|known| known.topic == *topic).unwrap_or_else(|| {
        settled.push(Settled { topic: topic.clone(), items: Vec::new(), ended: 0 });
        settled.len() - 1
    });
    settled[at].items.push(item);
    &mut settled[at]
}

impl Actor for Forwarder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(2048);
        self.show_breaker();
        let began = self.order.as_ref().map(Order::began);
        self.spec.cast.restarted(&self.spec.subscription, None, began);
        self.credit(None);
        ctx.spawn(Turns);
    }
}

impl Handler<Deliveries> for Forwarder {
    type Result = ();

    fn handle(&mut self, deliveries: Deliveries, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        crate::failpoint!("forwarder-panic");
        self.open.entry(deliveries.topic.clone()).or_insert_with(|| deliveries.reply_to.clone());
        self.take(deliveries);
        self.advance(ctx);
        self.attempts.wake();
    }
}

impl Handler<Overdue> for Forwarder {
    type Result = ();

    fn handle(&mut self, overdue: Overdue, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        self.overdue.push(overdue);
        self.attempts.wake();
    }
}

impl Handler<Stop> for Forwarder {
    type Result = ();

    /// Attempts that are being made end first, as far as the supervisor's patience goes: at the end of the service that is
    /// `server.drain`, at a reload a few seconds, so that a target that hangs does not delay it.
    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.stopping = true;
        // Else what is given back would come again at once, until the last attempt has ended.
        self.spec.limit.switch(true);
        self.spec.limit.set(Some(0));
        self.release();
        self.attempts.wake();
    }
}

impl Handler<ForwarderMessage> for Forwarder {
    type Result = ();

    fn handle(&mut self, message: ForwarderMessage, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        match message {
            ForwarderMessage::Switch(on) => self.switch(on, ctx),
            ForwarderMessage::Log(reply) => {
                if reply.send(self.log.newest(self.spec.veil.as_deref())).is_err() {
                    tracing::debug!("nobody waits for the log");
                }
            }
            ForwarderMessage::Waits(reply) => {
                if reply.send(self.held()).is_err() {
                    tracing::debug!("nobody waits for what waits");
                }
            }
            ForwarderMessage::Inspect(reply) => {
                if reply.send(self.status()).is_err() {
                    tracing::debug!("nobody waits for the status");
                }
            }
        }
    }
}
