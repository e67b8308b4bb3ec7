//! Giving up what is too old (`retry.max_age`), and what failed and waits for a breaker beyond its time (`retry.max_time`).
//!
//! Looked at once a second, and only where it is asked for: the oldest event alone, as long as that is young enough.

use actix::{ActorContext, ActorFutureExt, Context, ContextFutureSpawner, WrapFuture};
use std::sync::Arc;
use std::time::Duration;

use super::super::Settlement;
use super::super::subscription::Verdict;
use super::{BATCH, READ_BYTES, Topic};
use crate::clock::{Tick, Wall};
use crate::event::Str;
use crate::log::{Record, Seq};
use crate::supervision::failure::{Failure, FailureKind};
use crate::target::Span;

impl Topic {
    /// Gives up what is too old, a batch of each subscription; goes on after others on this thread where there is more.
    pub(super) fn give_up_aged(&mut self, ctx: &mut Context<Self>) {
        let mut more = false;
        for at in 0..self.served.len() {
            let (spec, state) = (&self.served[at].spec, &self.served[at].state);
            // What waits for a person waits.
            if state.is_paused() || spec.limit.is_off() {
                continue;
            }
            let max_age = spec.settings.max_age;
            // Of whom the breaker is open, or lets probes through one by one.
            let max_time = spec.settings.retry.max_elapsed.filter(|_| spec.limit.get() < usize::MAX);
            let mut items = max_age.map_or_else(Vec::new, |age| self.too_old(at, age));
            if items.is_empty() {
                items = max_time.map_or_else(Vec::new, |time| self.too_long(at, time));
            }
            more |= items.len() == BATCH;
            let name = self.served[at].spec.name.clone();
            if !items.is_empty()
                && let Some(commit) = self.settle(&name, items, true)
            {
                self.commit(commit, ctx);
            }
        }
        if more {
            let others = tokio::task::yield_now().into_actor(self);
            let on = others.map(|(), this, ctx| {
                let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
                this.give_up_aged(ctx);
                this.schedule(ctx);
            });
            on.spawn(ctx);
        }
    }

    /// The events of a subscription that are older than they may be.
    fn too_old(&mut self, at: usize, max_age: Duration) -> Vec<Settlement> {
        let (next, wall) = (self.next, Wall::now());
        let Some(oldest) = self.served[at].state.untended(next, 1).first().copied() else { return Vec::new() };
        if self.served[at].young_until.is_some_and(|(seq, until)| seq == oldest && wall < until) {
            return Vec::new();
        }
        let mut items = Vec::new();
        for seq in self.served[at].state.untended(next, BATCH) {
            // Handing out says what becomes of one that is gone or cannot be read.
            let Some(record) = self.stored(seq) else { continue };
            let state = &self.served[at].state;
            let age = wall.since(record.stored);
            if age < max_age {
                if seq == oldest {
                    self.served[at].young_until = Some((seq, record.stored.plus(max_age)));
                }
                break;
            }
            if state.is_busy(record.event.key.as_ref()) {
                continue;
            }
            let (age, limit) = (whole_seconds(age), Span(max_age));
            let why = format!("expired: it came {age} ago, and is kept for {limit} (`retry.max_age`)");
            items.push(expired(seq, why, state.last_cause(seq)));
        }
        items
    }

    /// The events of a subscription that have failed, and wait for its breaker beyond their time.
    fn too_long(&self, at: usize, max_time: Duration) -> Vec<Settlement> {
        let wall = Wall::now();
        let overdue = self.served[at].state.overdue(max_time, Tick::now(), wall, BATCH);
        let items = overdue.into_iter().map(|(seq, waiting)| {
            let (since, limit) = (whole_seconds(wall.since(waiting.since)), Span(max_time));
            let why = format!(
                "expired: it failed {since} ago for the first time, and its {limit} (`retry.max_time`) ended while the breaker was open"
            );
            expired(seq, why, Some(&waiting.cause))
        });
        items.collect()
    }

    fn stored(&self, seq: Seq) -> Option<Arc<Record>> {
        if let Some(record) = self.tail.get(seq) {
            return Some(record.clone());
        }
        let read = self.spec.log.read(self.spec.handle.id, seq, 1, READ_BYTES).ok()?;
        read.into_iter().next().filter(|record| record.seq == seq)
    }
}

fn whole_seconds(time: Duration) -> Span {
    Span(Duration::from_secs(time.as_secs()))
}

fn expired(seq: Seq, mut why: String, last: Option<&Str>) -> Settlement {
    match last {
        Some(cause) => why.push_str(&format!("; its last attempt failed: {cause}")),
        None => why.push_str("; it was not tried"),
    }
    let failure = Failure::new(FailureKind::Deadline, why, Wall::now());
    Settlement::new(seq, 0, Verdict::Expire(failure))
}
