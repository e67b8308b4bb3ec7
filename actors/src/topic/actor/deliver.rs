//! Handing out: to subscribers what their credit allows, to viewers what is new.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::letter::{self, Given};
use super::super::subscription::{Effect, Offer, Verdict};
use super::super::{Deliveries, Delivery, Live, keys};
use super::settle::damaged;
use super::{BATCH, MISSED, READ_BYTES, Topic};
use crate::clock::{Tick, Wall};
use crate::log::{self, Op, Record, Seq, Table};
use crate::supervision::front::SendError;

/// How long subscriptions are looked through at a time for what their filters let through.
const SLICE: Duration = Duration::from_millis(20);

impl Topic {
    pub(super) fn show(&mut self) {
        if !self.viewers.is_empty() {
            self.spec.handle.shown.store(self.next.saturating_sub(1), Ordering::Release);
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
        let from = self.spec.handle.shown.load(Ordering::Acquire) + 1;
        if self.viewers.is_empty() || from >= self.next {
            return;
        }
        self.show_from(from);
    }

    /// Shows viewers what is stored from here on, which nobody has told this actor of; closes them when that is too much.
    pub(super) fn show_from(&mut self, from: Seq) {
        let mut missed = if self.on_disk() {
            self.spec.log.read(self.spec.handle.id, from, MISSED, 4 * READ_BYTES).unwrap_or_default()
        } else {
            Vec::new()
        };
        // More may have been stored since the place was taken; the journal tells of that.
        missed.retain(|record| record.seq < self.next);
        if missed.last().is_some_and(|last| last.seq + 1 == self.next) {
            self.fresh.extend(missed);
        } else {
            for viewer in self.viewers.drain(..) {
                viewer.overrun.store(true, Ordering::Release);
            }
        }
    }

    /// Hands out what the credit of each subscription allows. Where filters let little through it stops after [`SLICE`], to go
    /// on after others that share the thread.
    pub(super) fn pump(&mut self) {
        self.show();
        let now = Tick::now();
        let until = now.plus(SLICE);
        for at in 0..self.served.len() {
            while let Some(items) = self.collect(at, now, until) {
                let served = &mut self.served[at];
                let count = items.len() as u64;
                let message = Deliveries {
                    topic: self.spec.handle.name.clone(),
                    reply_to: self.spec.handle.front.clone(),
                    items,
                    heard: served.heard,
                };
                match served.spec.to.try_send(message) {
                    Ok(()) => served.attempts += count,
                    Err(SendError::Full(message) | SendError::Closed(message)) => {
                        // Offered again when something is settled, or when the subscriber has been restarted.
                        for item in message.items {
                            served.state.hand_back(item.record.seq);
                        }
                        break;
                    }
                }
                if self.unfinished {
                    break;
                }
            }
        }
    }

    /// The next deliveries of a subscription; `None` when there is nothing to do now.
    fn collect(&mut self, at: usize, now: Tick, until: Tick) -> Option<Vec<Delivery>> {
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
                    if again.is_some() {
                        // Retention by hand removed what was waiting: it counts as handled.
                        self.pass(at, seq, true, now);
                    } else {
                        let served = &mut self.served[at];
                        served.state.skip_to(first);
                        served.dirty = true;
                    }
                    continue;
                }
                Fetched::Damaged(error) => {
                    // It can be delivered to nobody, and what is behind it must not wait for ever: a dead letter says where
                    // it was.
                    tracing::error!(topic = %self.spec.handle.name, seq, %error, subscription = %self.served[at].spec.name,
                        "a record is damaged; it is given up");
                    self.give_up_damaged(at, seq, &error);
                    self.pass(at, seq, again.is_some(), now);
                    continue;
                }
                Fetched::Later => {
                    self.later = true;
                    break;
                }
            };
            let served = &mut self.served[at];
            if again.is_none() && !passes(served.spec.filter.as_ref(), &record) {
                served.state.skip(seq);
                served.dirty = true;
                if Tick::now() > until {
                    self.unfinished = true;
                    break;
                }
                continue;
            }
            // One that holds took its time, too.
            let late = served.spec.filter.is_some() && Tick::now() > until;
            match served.state.offer(seq, record.event.key.clone(), now) {
                Offer::Deliver(attempt) => {
                    served.state.weigh(seq, record.event.data.len());
                    items.push(Delivery { record, attempt });
                }
                Offer::Held => {}
            }
            if late {
                self.unfinished = true;
                break;
            }
        }
        (!items.is_empty()).then_some(items)
    }

    /// Counts a record as handled that nobody was given.
    fn pass(&mut self, at: usize, seq: Seq, waited: bool, now: Tick) {
        let (topic, stored) = (self.spec.handle.id, self.on_disk() && self.served[at].spec.durable);
        let served = &mut self.served[at];
        served.dirty = true;
        if !waited {
            return served.state.skip(seq);
        }
        if let Offer::Deliver(attempt) = served.state.offer(seq, None, now) {
            let effect = served.state.settle(seq, attempt, Verdict::Ack, now, Wall::now(), 0.5);
            if effect == (Effect::Done { waited: true }) && stored {
                self.owed.push(Op::Delete { table: Table::Waiting, key: keys::waiting(&served.spec.name, topic, seq) });
            }
        }
    }

    /// Writes down that a subscription will not get a record.
    fn give_up_damaged(&mut self, at: usize, seq: Seq, error: &log::Error) {
        let served = &mut self.served[at];
        served.dead += 1;
        self.spec.metrics.dead_letters.with_label_values(&[&*served.spec.name]).inc();
        if let Some(to) = served.spec.dead_letter {
            let record = damaged(&self.spec.handle, seq, error);
            let cause = error.to_string();
            let event = Box::new(letter::dead_letter(&record, &Given::new(&served.spec, 0, &cause, &[])));
            self.owed.push(Op::Append { topic: to, event, dedupe: None });
        }
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
                // All of the topic was removed.
                None if self.spec.log.bounds(self.spec.handle.id).is_ok_and(|bounds| seq < bounds.first) => {
                    Fetched::Gone(self.next)
                }
                None => Fetched::Later,
            },
            Err(error @ log::Error::Corrupt { .. }) => Fetched::Damaged(error),
            Err(error) => {
                // It is the machine's doing (no file can be opened, no memory), so it is there when that is over.
                tracing::warn!(topic = %self.spec.handle.name, seq, %error, "records cannot be read now; tried again in a second");
                Fetched::Later
            }
        }
    }
}

enum Fetched {
    Record(Arc<Record>),
    /// Removed; the next that is there.
    Gone(Seq),
    /// Not what was written.
    Damaged(log::Error),
    /// Not readable now; looked for again at the next tick.
    Later,
}

fn passes(filter: Option<&hexafn_dsl::Program>, record: &Record) -> bool {
    let Some(filter) = filter else { return true };
    crate::failpoint!("filter-runs");
    crate::function::test(filter, record, "", 1).unwrap_or_else(|error| {
        // A filter that fails is one that does not hold; the subscriber's owner reads why in the log.
        tracing::warn!(topic = %record.topic, seq = record.seq, %error, "filter failed; the record is passed over");
        false
    })
}
