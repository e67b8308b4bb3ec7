//! The actor of a source that fetches.
//!
//! Owns: a connection to a broker. Sends: a commit for each batch, which holds its events, their dedupe keys and its dead
//! letters; after the answer the batch is acknowledged upstream, never before. A batch at a time: while the journal is
//! behind or the disk is full nothing is fetched, so that memory is bounded by what the client buffers. Strategy: its own,
//! without an end: a broker that is away for a weekend is connected to again after it. A restart loses the batch that was
//! not acknowledged, which is fetched again, and known again by its dedupe keys.

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

use super::pull::{Decoded, Decoder, Pulled, Session, Upstream};
use crate::broker::Trouble;
use crate::clock::Wall;
use crate::definitions::TopicDurability;
use crate::event::Str;
use crate::log::{Appended, Back, Commit, Durability, Error, Op, Ops, Receipt, TopicId};
use crate::metrics::PullMetrics;
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::Front;
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::supervision::running::named;
use crate::supervision::strategy::{Backoff, OnExhausted, RestartStrategy};
use crate::topic::{TopicHandle, TopicMessage};
use crate::trace::{Detail, Stage, Step, Tracer};

/// How often it is tried again to store what has no room.
pub(super) const NO_ROOM: Duration = Duration::from_secs(1);

/// What the actor is made of; the same at every restart.
#[derive(Clone)]
pub struct PullSpec {
    /// The source's name.
    pub name: Str,
    /// Where records are fetched from.
    pub upstream: Arc<dyn Upstream>,
    /// What they become.
    pub decoder: Arc<Decoder>,
    /// Where events go.
    pub topic: TopicHandle,
    /// Where records go that cannot be read.
    pub dead: TopicId,
    /// The journal.
    pub journal: Front<Commit>,
    /// When a batch counts as stored.
    pub durability: Durability,
    /// Whether records together take more than they may.
    pub over_size: Arc<AtomicBool>,
    /// Takes the steps of events.
    pub tracer: Tracer,
    /// Its series.
    pub metrics: PullMetrics,
    /// What it shows.
    pub status: Arc<PullStatus>,
}

/// What a source shows of itself.
#[derive(Debug, Default)]
pub struct PullStatus(Mutex<Shown>);

/// What a source that fetches does at the moment.
#[derive(Debug, Clone, Default, serde::Serialize, schemars::JsonSchema)]
pub struct Shown {
    /// `connecting`, `running`, `paused`, `failed`, `stopped`.
    pub state: &'static str,
    /// Records not fetched yet, where that is known.
    pub lag: Option<u64>,
    /// When the last record was stored.
    last_record: Option<String>,
    /// Why it stopped last.
    pub last_error: Option<String>,
    /// When.
    last_error_at: Option<String>,
}

impl PullStatus {
    fn set(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self, state: &'static str) {
        self.set(|shown| shown.state = state);
    }

    fn error(&self, state: &'static str, why: &str) {
        self.set(|shown| {
            shown.state = state;
            shown.last_error = Some(why.to_owned());
            shown.last_error_at = Some(Wall::now().rfc3339());
        });
    }

    /// What it shows now.
    pub fn show(&self) -> Shown {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The strategy of a source that fetches: half a second doubling to 30 s, ±20 %, for as long as it takes.
pub fn strategy() -> RestartStrategy {
    RestartStrategy {
        backoff: Backoff::Exponential {
            base: Duration::from_millis(500),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.2,
        },
        intensity: None,
        on_exhausted: OnExhausted::Quarantine,
        ..RestartStrategy::actor()
    }
}

/// The actor.
pub struct Puller {
    spec: PullSpec,
    life: Lifeline,
    stop: watch::Sender<bool>,
}

impl Puller {
    /// One that is not connected yet.
    pub fn new(spec: PullSpec, life: Lifeline) -> Self {
        Self { spec, life, stop: watch::Sender::new(false) }
    }
}

impl Actor for Puller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let status = self.spec.status.clone();
        self.life.observe(move || serde_json::to_value(status.show()).unwrap_or_default());
        let run = named(self.life.path().clone(), run(self.spec.clone(), self.stop.subscribe()));
        ctx.spawn(run.into_actor(self).map(|ended, this, ctx| match ended {
            Ok(()) => {
                this.spec.status.state("stopped");
                this.life.finish(ctx);
            }
            Err(failure) => {
                this.spec.metrics.failures.inc();
                this.spec.status.error("failed", &failure.message);
                tracing::warn!(source = %this.spec.name, why = %failure.message, "a source lost its broker");
                this.life.fail(ctx, failure);
            }
        }));
    }
}

impl Handler<Stop> for Puller {
    type Result = ();

    /// The batch that is being stored is acknowledged first.
    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.stop.send_replace(true);
    }
}

fn failure(trouble: Trouble) -> Failure {
    Failure::new(FailureKind::Reported, trouble.to_string(), Wall::now())
}

/// Ends when the actor is asked to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the actor is gone, and this with it.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn run(spec: PullSpec, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
    spec.status.state("connecting");
    let mut session = tokio::select! {
        biased;
        () = stopped(&mut stop) => return Ok(()),
        session = spec.upstream.connect() => session.map_err(failure)?,
    };
    spec.status.state("running");
    tracing::info!(source = %spec.name, origin = %spec.upstream.origin(), "a source is connected");
    loop {
        let batch = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            batch = session.fetch() => batch.map_err(failure)?,
        };
        let lag = session.lag();
        spec.metrics.lag.set(lag.map_or(-1, |lag| i64::try_from(lag).unwrap_or(i64::MAX)));
        spec.status.set(|shown| shown.lag = lag);
        if batch.is_empty() {
            continue;
        }
        if !store(&spec, &mut *session, &batch, &mut stop).await? {
            break;
        }
        crate::failpoint!("source-before-ack");
        session.acknowledge().await.map_err(failure)?;
        spec.status.set(|shown| shown.last_record = Some(Wall::now().rfc3339()));
    }
    session.close().await;
    Ok(())
}

/// Stores a batch; `false` when it was not stored because the actor is asked to stop.
async fn store(
    spec: &PullSpec,
    session: &mut dyn Session,
    batch: &[Pulled],
    stop: &mut watch::Receiver<bool>,
) -> Result<bool, Failure> {
    let began = Instant::now();
    loop {
        let no_room = if spec.over_size.load(Ordering::Relaxed) {
            "all records together take more than storage.max_size allows".to_owned()
        } else {
            match write(spec, batch).await? {
                Ok(receipt) => {
                    spec.status.state("running");
                    told(spec, &receipt, began.elapsed());
                    return Ok(true);
                }
                Err(why) => why,
            }
        };
        // No failure of this source: like a full mailbox, it is waited for, and meanwhile nothing is fetched.
        spec.status.error("paused", &no_room);
        session.waiting().await;
        tokio::select! {
            biased;
            () = stopped(stop) => return Ok(false),
            () = tokio::time::sleep(NO_ROOM) => {}
        }
    }
}

/// Writes a batch; the inner error says why there is no room.
async fn write(spec: &PullSpec, batch: &[Pulled]) -> Result<Result<Receipt, String>, Failure> {
    let gone = |why: &str| Failure::new(FailureKind::Reported, why, Wall::now()).uncounted();
    let now = Wall::now();
    let mut ops = Ops::new();
    let mut in_memory = Vec::new();
    for pulled in batch {
        match spec.decoder.read(pulled, now) {
            Decoded::Events(events) if spec.topic.durability == TopicDurability::Memory => {
                in_memory.extend(events.into_iter().map(|(event, _)| event));
            }
            Decoded::Events(events) => ops.extend(events.into_iter().map(|(event, dedupe)| Op::Append {
                topic: spec.topic.id,
                event: Box::new(event),
                dedupe,
            })),
            Decoded::Dead(event, dedupe) => ops.push(Op::Append { topic: spec.dead, event, dedupe }),
        }
    }
    let mut receipt = Receipt::default();
    if !ops.is_empty() {
        let (reply, answer) = oneshot::channel();
        let commit = Commit { ops, back: Back::Reply(spec.durability, reply) };
        spec.journal.send(commit).await.map_err(|e| gone(&format!("the journal did not take a batch: {e}")))?;
        match answer.await {
            Ok(Ok(written)) => receipt = written,
            Ok(Err(Error::Full)) => return Ok(Err(Error::Full.to_string())),
            Ok(Err(error)) => return Err(gone(&error.to_string())),
            Err(_) => return Err(gone("the journal was restarted before a batch was stored")),
        }
    }
    for event in in_memory {
        let (reply, answer) = oneshot::channel();
        let message = TopicMessage::Publish { event: Box::new(event), reply: Some(reply) };
        let why = "the topic is being restarted";
        spec.topic.front.send(message).await.map_err(|_| gone(why))?;
        receipt.appended.push(Appended::Stored(answer.await.map_err(|_| gone(why))?));
    }
    Ok(Ok(receipt))
}

/// Counts what was stored, and tells the recorder.
fn told(spec: &PullSpec, receipt: &Receipt, took: Duration) {
    let mut steps = Vec::with_capacity(receipt.appended.len());
    for appended in &receipt.appended {
        match appended {
            Appended::Duplicate { .. } => spec.metrics.duplicate.inc(),
            Appended::Stored(record) if record.topic_id == spec.dead => {
                spec.metrics.dead.inc();
                let cause = crate::system::dead::mark(&record.event, "deadcause");
                tracing::warn!(source = %spec.name, id = %record.event.id, why = cause.map_or("", |c| &**c),
                    "a record cannot be read and is a dead letter");
            }
            Appended::Stored(record) => {
                spec.metrics.accepted.inc();
                let place = Detail::Place(record.topic.clone(), record.seq);
                steps.push(
                    Step::ended(&record.event, Stage::Received, spec.name.clone(), took)
                        .begins(&record.event)
                        .with(place),
                );
            }
        }
    }
    spec.tracer.record(steps);
}
