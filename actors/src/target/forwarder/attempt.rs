//! The attempts of a forwarder: futures that its own context polls. What ends together is looked at together, and an
//! attempt costs neither an actor nor a message.

use actix::{ActorContext, ActorFuture, Context};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use super::Forwarder;
use crate::clock::{Tick, Wall};
use crate::event::Str;
use crate::log::Record;
use crate::supervision::breaker::Permit;
use crate::supervision::lifeline::Pulse;
use crate::target::{self, Failure, FailureClass, Mode, Outcome, Target};
use crate::topic::Delivery;

/// How often what ended is looked at in one turn of the actor; attempts that end as soon as they begin would keep the
/// thread.
const ROUNDS: usize = 8;

/// The deliveries of one attempt: one, or a batch.
pub(super) type Batch = SmallVec<[Delivery; 1]>;

/// An attempt that is over.
pub(super) struct Done {
    pub(super) results: SmallVec<[(Delivery, Outcome); 1]>,
    pub(super) permit: Permit,
    pub(super) took: Duration,
}

/// An attempt that is being made.
struct Running {
    began: Tick,
    batch: Batch,
    made: BoxFuture<'static, Done>,
}

impl Future for Running {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Done> {
        self.made.as_mut().poll(task)
    }
}

/// The attempts that are being made. Dropped with their forwarder, they are abandoned: as after a crash, nobody knows
/// what became of them, and they are made again under the same idempotency id.
#[derive(Default)]
pub(super) struct Attempts {
    running: FuturesUnordered<Running>,
    /// Of the turn that looks after them.
    waker: Option<Waker>,
}

impl Attempts {
    /// How many are being made.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Begins one.
    pub(super) fn begin(&mut self, target: Arc<dyn Target>, batch: Batch, permit: Permit, pulse: Pulse) {
        let (began, with) = (Tick::now(), batch.clone());
        let made = Box::pin(async move {
            let started = Instant::now();
            let first = batch.first().map_or(0, |delivery| delivery.record.seq);
            let mut made = pin!(make(&*target, batch));
            // To make the bodies of many attempts takes its time, and is no hang.
            let results = poll_fn(|task| {
                pulse.beat(first);
                made.as_mut().poll(task)
            });
            Done { results: results.await, permit, took: started.elapsed() }
        });
        self.running.push(Running { began, batch: with, made });
    }

    /// The deliveries of which an attempt is being made, each with its beginning.
    pub(super) fn begun(&self) -> impl Iterator<Item = (&Delivery, Tick)> {
        self.running.iter().flat_map(|attempt| attempt.batch.iter().map(|delivery| (delivery, attempt.began)))
    }

    /// Has the forwarder take its turn soon: something has begun, or is to be answered.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Those that have ended by now.
    fn ended(&mut self, task: &mut task::Context<'_>) -> Vec<Done> {
        let mut ended = Vec::new();
        while let Poll::Ready(Some(done)) = Pin::new(&mut self.running).poll_next(task) {
            ended.push(done);
        }
        ended
    }
}

/// Attempts whose outcome its topic was told, and is not written yet.
#[derive(Default)]
pub(super) struct Unwritten {
    told: FuturesUnordered<BoxFuture<'static, usize>>,
    attempts: usize,
}

impl Unwritten {
    /// How many attempts.
    pub(super) fn len(&self) -> usize {
        self.attempts
    }

    /// Some more; what is to be told, or dropped, when they are written.
    pub(super) fn wait(&mut self, attempts: usize) -> oneshot::Sender<()> {
        let (written, told) = oneshot::channel();
        self.attempts += attempts;
        self.told.push(Box::pin(async move {
            // Dropped where nothing had to be written, or its topic or the journal died with it: it is delivered again.
            told.await.ok();
            attempts
        }));
        written
    }

    /// Takes out what is written by now; whether there was any.
    fn look(&mut self, task: &mut task::Context<'_>) -> bool {
        let before = self.attempts;
        while let Poll::Ready(Some(attempts)) = Pin::new(&mut self.told).poll_next(task) {
            self.attempts -= attempts;
        }
        self.attempts < before
    }
}

/// The turns of a forwarder: its attempts go on, and what ended is answered. It never ends by itself.
pub(super) struct Turns;

impl ActorFuture<Forwarder> for Turns {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        this: &mut Forwarder,
        ctx: &mut Context<Forwarder>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let Some(_busy) = this.life.enter_own() else {
            ctx.stop();
            return Poll::Ready(());
        };
        if this.attempts.waker.as_ref().is_none_or(|known| !known.will_wake(task.waker())) {
            this.attempts.waker = Some(task.waker().clone());
        }
        for round in 0..ROUNDS {
            let ended = this.attempts.ended(task);
            // Replaced while that took so long: what it came to is not this incarnation's to tell.
            if this.life.is_revoked() {
                ctx.stop();
                return Poll::Ready(());
            }
            if ended.is_empty() {
                break;
            }
            this.ended(ended, ctx);
            if round + 1 == ROUNDS {
                task.waker().wake_by_ref();
            }
        }
        this.answer(ctx);
        this.tell_progress();
        // Looked at after it was told, so that this turn is woken when it is written.
        if this.unwritten.look(task) {
            this.advance(ctx);
            this.attempts.wake();
        }
        Poll::Pending
    }
}

async fn make(target: &dyn Target, batch: Batch) -> SmallVec<[(Delivery, Outcome); 1]> {
    let now = Wall::now();
    if let Mode::Batch { .. } = target.mode() {
        let records: Vec<Arc<Record>> = batch.iter().map(|d| d.record.clone()).collect();
        let outcomes = target::attempt_batch(target, &records, now).await;
        let missing =
            || Outcome::Failed(Failure::new(FailureClass::Panic, "the target gave no outcome for this event"));
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(missing));
        return batch.into_iter().zip(outcomes).collect();
    }
    let mut results = SmallVec::new();
    for delivery in batch {
        let outcome =
            target::attempt(target, target::Delivery { record: &delivery.record, attempt: delivery.attempt, now })
                .await;
        results.push((delivery, outcome));
    }
    results
}

/// What an attempt came to, in a line.
pub(super) fn describe(outcome: &Outcome) -> Str {
    /// Said of nearly all, so made once.
    static USUAL: LazyLock<[Str; 3]> =
        LazyLock::new(|| ["delivered", "delivered, status 200", "delivered, status 204"].map(Str::from));
    match outcome {
        Outcome::Delivered { detail } => match (detail.status, &detail.path) {
            (Some(200), _) => USUAL[1].clone(),
            (Some(204), _) => USUAL[2].clone(),
            (Some(status), _) => format!("delivered, status {status}").into(),
            (None, Some(path)) => path.clone(),
            (None, None) => USUAL[0].clone(),
        },
        Outcome::Failed(failure) => format!("{}: {}", failure.class.name(), failure.message).into(),
    }
}
