//! The timer actor.
//!
//! Owns: one schedule. Sends: a commit for each tick, which holds the event, its dedupe key and the time of the tick, so
//! that after a crash no tick is doubled and the policy for missed ones knows where it stands. With it is stored what schedule it was
//! of: a timer owes nothing for a time in which it did not tick like that. Strategy: `RestartStrategy::actor`; a restart reads the
//! last tick back.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use super::pull_actor::NO_ROOM;
use super::timer::{Schedule, tick_event};
use crate::clock::Wall;
use crate::event::Str;
use crate::log::{Appended, Back, Commit, DedupeKey, Durability, Error, EventLog, Op, Receipt, Table, TopicId, keys};
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::Front;
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::trace::{Detail, Stage, Step, Tracer};

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
    /// Whether records together take more than they may.
    pub over_size: Arc<AtomicBool>,
    /// Takes the steps of events.
    pub tracer: Tracer,
    /// Counts ticks that were stored.
    pub ticks: prometheus::IntCounter,
}

/// The actor.
pub struct Timer {
    spec: TimerSpec,
    life: Lifeline,
    last: Option<Wall>,
    /// There is no room for what is due, which was said.
    waits: bool,
}

impl Timer {
    /// A timer that has not ticked yet.
    pub fn new(spec: TimerSpec, life: Lifeline) -> Self {
        Self { spec, life, last: None, waits: false }
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
        if !due.ticks.is_empty() && self.spec.over_size.load(Ordering::Relaxed) {
            return self.wait_for_room("records take more than `storage.max_size`", ctx);
        }
        let mut ops = crate::log::Ops::new();
        for at in &due.ticks {
            let mut event = tick_event(&self.spec.name, *at);
            if let Some(data) = &self.spec.data {
                event.data = data.clone();
            }
            let dedupe = DedupeKey { scope: self.spec.name.clone(), id: event.id.clone(), window: WINDOW };
            ops.push(Op::Append { topic: self.spec.topic, event: Box::new(event), dedupe: Some(dedupe) });
        }
        let (key, value) = (keys::timer(&self.spec.name), keys::encode_tick(last, self.spec.schedule.mark()));
        ops.push(Op::Put { table: Table::State, key, value });
        let (reply, answer) = oneshot::channel();
        let sent = self.spec.journal.send(Commit { ops, back: Back::Reply(Durability::Synced, reply) });
        let began = Instant::now();
        let written = async move {
            sent.await.map_err(|_| Error::Stopped)?;
            answer.await.unwrap_or(Err(Error::Stopped))
        };
        ctx.spawn(written.into_actor(self).map(move |written, this, ctx| match written {
            Ok(receipt) => {
                if due.skipped {
                    tracing::info!(timer = %this.spec.name, "ticks that were missed are left out, as its `missed` says");
                }
                this.told(&receipt, began.elapsed());
                (this.last, this.waits) = (Some(last), false);
                this.sleep(next, ctx);
            }
            Err(error @ Error::Full) => this.wait_for_room(&error.to_string(), ctx),
            Err(error) => {
                // The tick is not lost: the next incarnation finds it missed. Nor is it this one's fault.
                let why = format!("a tick could not be stored: {error}");
                this.life.fail(ctx, Failure::new(FailureKind::Reported, why, Wall::now()).uncounted());
            }
        }));
    }

    /// No failure of this timer: what is due is due still when there is room.
    fn wait_for_room(&mut self, why: &str, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.waits, true) {
            tracing::warn!(timer = %self.spec.name, why, "ticks wait for room");
        }
        ctx.run_later(NO_ROOM, Self::tick);
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
        self.spec.tracer.record(steps.collect());
    }

    fn sleep(&mut self, next: Option<Wall>, ctx: &mut Context<Self>) {
        let Some(next) = next else { return };
        ctx.run_later(next.since(Wall::now()).min(LONGEST_SLEEP), Self::tick);
    }
}

impl Actor for Timer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.spec.log.get(Table::State, &keys::timer(&self.spec.name)) {
            Ok(stored) => {
                self.last = stored.and_then(|value| keys::decode_tick(&value, self.spec.schedule.mark()));
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
