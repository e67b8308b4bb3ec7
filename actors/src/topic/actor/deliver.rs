//! Handing out: to subscribers what their credit allows, to viewers what is new.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::subscription::{Offer, Verdict};
use super::super::{Deliveries, Delivery, Live};
use super::{BATCH, MISSED, READ_BYTES, Topic};
use crate::clock::{Tick, Wall};
use crate::log::{Record, Seq};
use crate::supervision::front::SendError;

impl Topic {
    pub(super) fn show(&mut self) {
        if !self.viewers.is_empty() {
            self.spec.shown.store(self.next.saturating_sub(1), Ordering::Release);
        }
        if self.fresh.is_empty() {
            return;
        }
        let records: Arc<[Arc<Record>]> = std::mem::take(&mut self.fresh).into();
        self.viewers.retain(|viewer| match viewer.to.try_send(Live { records: records.clone() }) {
            Ok(()) => true,
            Err(_) => {
                viewer.overrun.store(true, Ordering::Release);
                false
            }
        });
    }

    /// What was stored while no actor of the topic ran. Viewers that would miss more than they can be shown at once are
    /// closed with the place to resume at.
    pub(super) fn show_missed(&mut self) {
        let from = self.spec.shown.load(Ordering::Acquire) + 1;
        if self.viewers.is_empty() || from >= self.next {
            return;
        }
        let missed = if self.on_disk() {
            self.spec.log.read(self.spec.handle.id, from, MISSED, 4 * READ_BYTES).unwrap_or_default()
        } else {
            Vec::new()
        };
        if missed.last().is_some_and(|last| last.seq + 1 == self.next) {
            self.fresh = missed;
        } else {
            for viewer in self.viewers.drain(..) {
                viewer.overrun.store(true, Ordering::Release);
            }
        }
    }

    /// Hands out what the credit of each subscription allows.
    pub(super) fn pump(&mut self) {
        self.show();
        let now = Tick::now();
        for at in 0..self.served.len() {
            while let Some(items) = self.collect(at, now) {
                let served = &mut self.served[at];
                let count = items.len() as u64;
                let message = Deliveries {
                    topic: self.spec.handle.name.clone(),
                    reply_to: self.spec.handle.front.clone(),
                    items,
                };
                match served.spec.to.try_send(message) {
                    Ok(()) => served.delivered += count,
                    Err(SendError::Full(message) | SendError::Closed(message)) => {
                        // Offered again when something is settled, or when the subscriber has been restarted.
                        for item in message.items {
                            served.state.hand_back(item.record.seq);
                        }
                        break;
                    }
                }
            }
        }
    }

    /// The next deliveries of a subscription; `None` when there is nothing to do now.
    fn collect(&mut self, at: usize, now: Tick) -> Option<Vec<Delivery>> {
        let mut items = Vec::new();
        let served = &mut self.served[at];
        served.state.limit(served.spec.limit.get());
        while items.len() < BATCH {
            let again = self.served[at].state.take_again(now);
            let seq = match again {
                Some(seq) => seq,
                None if self.served[at].state.wants_new() && self.served[at].state.next() < self.next => {
                    self.served[at].state.next()
                }
                None => break,
            };
            if again.is_none() && self.served[at].state.is_handled(seq) {
                self.served[at].state.skip(seq);
                continue;
            }
            let record = match self.fetch(at, seq, again.is_some()) {
                Fetched::Record(record) => record,
                Fetched::Gone(first) => {
                    let served = &mut self.served[at];
                    if again.is_some() {
                        // Retention by hand removed what was waiting: it counts as handled.
                        if let Offer::Deliver(attempt) = served.state.offer(seq, None, now) {
                            served.state.settle(seq, attempt, Verdict::Ack, now, Wall::now(), 0.5);
                        }
                    } else {
                        served.state.skip_to(first);
                    }
                    served.dirty = true;
                    continue;
                }
                Fetched::Later => break,
            };
            let served = &mut self.served[at];
            if again.is_none() && !passes(served.spec.filter.as_ref(), &record) {
                served.state.skip(seq);
                served.dirty = true;
                continue;
            }
            match served.state.offer(seq, record.event.key.clone(), now) {
                Offer::Deliver(attempt) => {
                    served.state.weigh(seq, record.event.data.len());
                    items.push(Delivery { record, attempt });
                }
                Offer::Held => {}
            }
        }
        (!items.is_empty()).then_some(items)
    }

    fn fetch(&mut self, at: usize, seq: Seq, single: bool) -> Fetched {
        if let Some(record) = self.tail.get(seq) {
            return Fetched::Record(record.clone());
        }
        if !self.on_disk() {
            return Fetched::Gone(self.tail.first().unwrap_or(self.next));
        }
        let served = &mut self.served[at];
        if !single {
            while served.ahead.front().is_some_and(|r| r.seq < seq) {
                served.ahead.pop_front();
            }
            if served.ahead.front().is_some_and(|r| r.seq == seq)
                && let Some(record) = served.ahead.pop_front()
            {
                return Fetched::Record(record);
            }
        }
        let count = if single { 1 } else { BATCH };
        match self.spec.log.read(self.spec.handle.id, seq, count, READ_BYTES) {
            Ok(records) => match records.first().map(|r| r.seq) {
                Some(first) if first == seq => {
                    let mut records = records.into_iter();
                    let Some(record) = records.next() else { return Fetched::Later };
                    if !single {
                        served.ahead = records.collect();
                    }
                    Fetched::Record(record)
                }
                Some(first) => Fetched::Gone(first),
                None => Fetched::Later,
            },
            Err(error) => {
                // A damaged record: this subscription cannot pass it silently. It is said, counted as a dead letter
                // by its place, and passed, so that what is behind it is served.
                tracing::error!(topic = %self.spec.handle.name, seq, %error, "record cannot be read; it is passed over");
                served.dead += 1;
                self.spec.metrics.dead_letters.with_label_values(&[&*served.spec.name]).inc();
                Fetched::Gone(seq + 1)
            }
        }
    }
}

enum Fetched {
    Record(Arc<Record>),
    /// Removed; the next that is there.
    Gone(Seq),
    /// Not readable yet.
    Later,
}

fn passes(filter: Option<&hexafn_dsl::Program>, record: &Record) -> bool {
    let Some(filter) = filter else { return true };
    crate::function::test(filter, record, "", 1).unwrap_or_else(|error| {
        // A filter that fails is one that does not hold; the subscriber's owner reads why in the log.
        tracing::warn!(topic = %record.topic, seq = record.seq, %error, "filter failed; the record is passed over");
        false
    })
}
