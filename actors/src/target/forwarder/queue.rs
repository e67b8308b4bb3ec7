//! What waits at a forwarder for its attempt: taken in, given back, and made attempts of.

use actix::{ActorContext, AsyncContext, Context};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::attempt::Batch;
use super::order::{self, Arrival, Order};
use super::{Forwarder, Mode, keep};
use crate::clock::Tick;
use crate::log::{Record, Seq};
use crate::supervision::breaker::Permit;
use crate::supervision::decision::Phase;
use crate::topic::subscription::Verdict;
use crate::topic::{Deliveries, Delivery, Overdue, Progress, Settlement, TopicMessage};

/// A delivery that waits for its attempt.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) delivery: Delivery,
    pub(super) since: Tick,
}

impl Queued {
    pub(super) fn bytes(&self) -> usize {
        self.delivery.record.event.data.len()
    }
}

impl Forwarder {
    /// Starts what the mode, the rate, the breaker and the switch allow.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let now = Tick::now();
        let (slots, per_call, max_bytes) = match self.spec.target.mode() {
            Mode::Each { concurrency } => (concurrency, 1, usize::MAX),
            Mode::Batch { max_records, max_bytes, concurrency, .. } => (concurrency, max_records, max_bytes),
        };
        while self.busy() < slots && !self.queue.is_empty() {
            let may = !self.off && !self.stopping;
            let permit = if may { Some(self.breaker.permit(now)) } else { None };
            let Some(permit) = permit.filter(|permit| !matches!(permit, Permit::No { .. })) else {
                if may && matches!(self.breaker.phase(), Phase::HalfOpen { .. }) {
                    // The probe is out. What came besides waits for what it says; given back it would come again at once.
                    return;
                }
                return self.release();
            };
            // Asked after the breaker, since it takes from the rate.
            let probe = matches!(permit, Permit::Probe(_));
            if let Err(wait) = self.pace(now, probe) {
                self.breaker.hand_back(permit);
                return self.wake_in(wait, now, ctx);
            }
            let per_call = if probe { 1 } else { per_call };
            let mut batch = Batch::with_capacity(per_call.min(self.queue.len()));
            let mut bytes = 0;
            while batch.len() < per_call
                && let Some(next) = self.queue.front()
            {
                let size = next.delivery.record.event.data.len();
                bytes += size;
                if !batch.is_empty() && bytes > max_bytes {
                    break;
                }
                self.queued_bytes -= size;
                batch.extend(self.queue.pop_front().map(|queued| queued.delivery));
            }
            if let Some(order) = &mut self.order {
                order.begin(batch.iter(), &mut self.queue);
                self.queued_bytes = self.queue.iter().map(Queued::bytes).sum();
            }
            self.attempts.begin(self.spec.target.clone(), batch, permit, self.life.pulse());
        }
    }

    /// Slots that are taken: by attempts, and by those whose outcome is not written yet, which a crash would have made again.
    /// So a crash repeats one delivery for each slot, and not what went through it before, too.
    pub(super) fn busy(&self) -> usize {
        let ended: usize = self.settled.iter().map(|settled| settled.ended).sum();
        self.attempts.len() + ended + self.unwritten.len()
    }

    /// Whether what came of attempts is to be written at once, since slots are wanted: something waits for one, or half of
    /// them are taken. A batch is never kept back: with one call at a time, a crash repeats no more than it and the one before.
    pub(super) fn wants_slots(&self) -> bool {
        match self.spec.target.mode() {
            Mode::Each { concurrency } => self.stopping || !self.queue.is_empty() || self.busy() * 2 > concurrency,
            Mode::Batch { .. } => true,
        }
    }

    /// Whether an attempt may begin now, which is counted then; else how long to wait: a batch that is not full waits
    /// for others, unless they cannot come before it is settled (a probe is one event), and no more attempts begin than `rate` allows.
    fn pace(&mut self, now: Tick, probe: bool) -> Result<(), Duration> {
        if let Some(wait) = self.waits_for_others(now).filter(|_| !probe) {
            return Err(wait);
        }
        self.rate.as_mut().map_or(Ok(()), |rate| rate.take(1, now))
    }

    /// How long what is there waits for others to make a batch with.
    pub(super) fn waits_for_others(&self, now: Tick) -> Option<Duration> {
        if let Mode::Batch { max_records, max_bytes, max_age, .. } = self.spec.target.mode()
            && self.queue.len() < max_records
            && self.queued_bytes < max_bytes
            && !self.order.as_ref().is_some_and(|order| order.is_alone() || self.holds_others_up())
            && let Some(first) = self.queue.front()
        {
            let waited = now.since(first.since);
            return (waited < max_age).then(|| max_age - waited);
        }
        None
    }

    /// In order: one that is tried again is here. Those behind it come when it is over.
    fn holds_others_up(&self) -> bool {
        self.queue.iter().any(|queued| queued.delivery.attempt > 1)
    }

    /// Looks again after a while; an earlier look that is planned is enough.
    fn wake_in(&mut self, wait: Duration, now: Tick, ctx: &mut Context<Self>) {
        let at = now.plus(wait);
        if self.waking.is_some_and(|planned| planned <= at) {
            return;
        }
        self.waking = Some(at);
        ctx.run_later(wait, move |this, ctx| {
            let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
            // A later look that was planned before this one finds nothing of its own.
            if this.waking == Some(at) {
                this.waking = None;
                this.advance(ctx);
                this.attempts.wake();
            }
        });
    }

    /// Gives back what was not tried: no attempt is consumed.
    pub(super) fn release(&mut self) {
        self.queued_bytes = 0;
        let mut released = std::mem::take(&mut self.queue);
        if let Some(order) = &mut self.order {
            let behind = order.give_all_back(&released);
            released.extend(behind);
        }
        for queued in released {
            self.give_back(&queued.delivery);
        }
    }

    fn give_back(&mut self, delivery: &Delivery) {
        let (seq, attempt) = (delivery.record.seq, delivery.attempt);
        keep(&mut self.settled, &delivery.record.topic, Settlement::new(seq, attempt, Verdict::Release));
    }

    /// Takes in what a topic hands over.
    pub(super) fn take(&mut self, deliveries: Deliveries) {
        let now = Tick::now();
        if let Some(order) = &mut self.order
            && order.arrive(&deliveries.topic, deliveries.heard) == Arrival::Forget
        {
            return;
        }
        for mut delivery in deliveries.items {
            if let Some((redactor, since)) = &self.spec.redact
                && delivery.record.stored < *since
            {
                let Record { topic, topic_id, seq, stored, event, .. } = &*delivery.record;
                let redacted = redactor.redact(event);
                delivery.record = Arc::new(Record::new(topic.clone(), *topic_id, *seq, *stored, redacted));
            }
            let queued = Queued { delivery, since: now };
            let ready = match self.order.as_mut().and_then(|order| Some((order.key(&queued.delivery)?, order))) {
                Some((key, order)) => {
                    if order.goes_back(&key) {
                        self.give_back(&queued.delivery);
                        continue;
                    }
                    order.wait(key, queued)
                }
                None => Some(queued),
            };
            self.queued_bytes += ready.as_ref().map_or(0, Queued::bytes);
            self.queue.extend(ready);
        }
    }

    /// Says how far this is with what topics ask for. What is settled is told before, so that what is neither here nor in an
    /// attempt is lost.
    pub(super) fn tell_progress(&mut self) {
        if self.answering || !self.settled.is_empty() {
            return;
        }
        for Overdue { topic, reply_to, question, items } in std::mem::take(&mut self.overdue) {
            let waiting = self.queue.iter().chain(self.order.iter().flat_map(Order::behind));
            let waiting = waiting.map(|queued| (&queued.delivery, Progress::Waits));
            let begun = self.attempts.begun().map(|(delivery, at)| (delivery, Progress::Begun(at)));
            let here = waiting.chain(begun).filter(|(delivery, _)| delivery.record.topic == topic);
            let here: HashMap<(Seq, u32), Progress> =
                here.map(|(delivery, progress)| ((delivery.record.seq, delivery.attempt), progress)).collect();
            let said = |asked: (Seq, u32)| (asked.0, here.get(&asked).copied().unwrap_or(Progress::Unknown));
            let items = items.into_iter().map(said).collect();
            let subscription = self.spec.subscription.clone();
            if reply_to.try_send(TopicMessage::Progress { subscription, question, items }).is_err() {
                tracing::debug!(to = %self.spec.name, "a topic was not answered, and asks again");
            }
        }
    }

    /// An attempt is over: what waited behind its keys goes on, or back with those of which an event did not arrive.
    pub(super) fn go_on(&mut self, keys: HashSet<order::Key>, failed: &HashSet<order::Key>) {
        for key in keys {
            let Some(order) = &mut self.order else { return };
            if failed.contains(&key) {
                let behind = order.give_back(key.clone());
                order.end(&key);
                for queued in behind {
                    self.give_back(&queued.delivery);
                }
            } else {
                for queued in order.end(&key).into_iter().rev() {
                    self.queued_bytes += queued.bytes();
                    self.queue.push_front(queued);
                }
            }
        }
    }
}
