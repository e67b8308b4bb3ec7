//! The timer actor.
//!
//! Owns: one schedule. Sends: a commit for each tick, which holds the event, its dedupe key and the time of the tick, so
//! that after a crash no tick is doubled and the policy for missed ones knows where it stands. Strategy:
//! `RestartStrategy::actor`; a restart reads the last tick back.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use super::timer::{Schedule, tick_event};
use crate::clock::Wall;
use crate::event::Str;
use crate::log::{Appended, Back, Commit, DedupeKey, Durability, EventLog, Op, Receipt, Table, TopicId};
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::Front;
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::trace::{Detail, Stage, Step, Steps};

/// The longest sleep: the wall clock may be set while it lasts.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long the id of a tick is remembered.
const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What a timer is made of; the same at every restart.
#[derive(Clone)]
pub struct TimerSpec {
    /// Its name.
    pub name: Str,
    /// When it ticks.
    pub schedule: Schedule,
    /// Where its events go.
    pub topic: TopicId,
    /// Their data, as JSON; that of [`tick_event`] when `None`.
    pub data: Option<bytes::Bytes>,
    /// The log, for the last tick.
    pub log: Arc<dyn EventLog>,
    /// The journal.
    pub journal: Front<Commit>,
    /// The recorder.
    pub traces: Front<Steps>,
    /// Counts steps that the recorder could not take.
    pub steps_dropped: prometheus::IntCounter,
    /// Counts ticks that were stored.
    pub ticks: prometheus::IntCounter,
}

/// The actor.
pub struct Timer {
    spec: TimerSpec,
    life: Lifeline,
    last: Option<Wall>,
}

impl Timer {
    /// A timer that has not ticked yet.
    pub fn new(spec: TimerSpec, life: Lifeline) -> Self {
        Self { spec, life, last: None }
    }

    fn key(&self) -> Vec<u8> {
        format!("timer/{}", self.spec.name).into_bytes()
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        crate::failpoint!("timer-panic");
        let now = Wall::now();
        let due = self.spec.schedule.due(self.last, now);
        let next = due.next;
        // Without a last tick the schedule starts now: stored, so that a restart knows what was missed.
        let last = due.last.or_else(|| self.last.is_none().then_some(now)).filter(|last| self.last != Some(*last));
        let Some(last) = last else { return self.sleep(next, ctx) };
        let mut ops = crate::log::Ops::new();
        for at in &due.ticks {
            let mut event = tick_event(&self.spec.name, *at);
            if let Some(data) = &self.spec.data {
                event.data = data.clone();
            }
            let dedupe = DedupeKey { scope: self.spec.name.clone(), id: event.id.clone(), window: WINDOW };
            ops.push(Op::Append { topic: self.spec.topic, event: Box::new(event), dedupe: Some(dedupe) });
        }
        ops.push(Op::Put { table: Table::State, key: self.key(), value: last.0.to_be_bytes().to_vec() });
        let (reply, answer) = oneshot::channel();
        let sent = self.spec.journal.send(Commit { ops, durability: Durability::Synced, back: Back::Reply(reply) });
        let began = Instant::now();
        let written = async move {
            sent.await.ok()?;
            answer.await.ok()?.ok()
        };
        ctx.spawn(written.into_actor(self).map(move |written, this, ctx| {
            if let Some(receipt) = written {
                this.told(&receipt, began.elapsed());
                this.last = Some(last);
                this.sleep(next, ctx);
            } else {
                // The tick is not lost: the next incarnation finds it missed. Nor is it this one's fault.
                let failure = Failure::new(FailureKind::Reported, "a tick could not be stored", Wall::now());
                this.life.fail(ctx, failure.uncounted());
            }
        }));
    }

    /// Tells the recorder of the ticks that were stored.
    fn told(&self, receipt: &Receipt, took: Duration) {
        let stored = receipt.appended.iter().filter_map(|appended| match appended {
            Appended::Stored(record) => Some(record),
            Appended::Duplicate { .. } => None,
        });
        let steps = stored.map(|record| {
            self.spec.ticks.inc();
            let place = Detail::Place(record.topic.clone(), record.seq);
            Step::ended(&record.event, Stage::Received, self.spec.name.clone(), took).begins(&record.event).with(place)
        });
        crate::trigger::record(&self.spec.traces, steps.collect(), &self.spec.steps_dropped);
    }

    fn sleep(&mut self, next: Option<Wall>, ctx: &mut Context<Self>) {
        let Some(next) = next else { return };
        ctx.run_later(next.since(Wall::now()).min(LONGEST_SLEEP), Self::tick);
    }
}

impl Actor for Timer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.spec.log.get(Table::State, &self.key()) {
            Ok(stored) => {
                self.last = stored.and_then(|b| b.try_into().ok()).map(|b| Wall(i64::from_be_bytes(b)));
                self.tick(ctx);
            }
            Err(error) => self.life.fail(ctx, Failure::new(FailureKind::Reported, error.to_string(), Wall::now())),
        }
    }
}

impl Handler<Stop> for Timer {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.life.finish(ctx);
    }
}
