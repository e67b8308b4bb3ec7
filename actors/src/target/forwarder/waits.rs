//! What a forwarder holds and makes no attempt with yet, and why.

use super::Forwarder;
use super::order::Order;
use crate::clock::{Tick, Wall};
use crate::event::Str;
use crate::supervision::decision::Phase;
use crate::target::{Mode, Ordering};
use crate::topic::subscription::waits::Hold;
use crate::topic::{SHOWN_WAITS, WaitingStatus};

/// What waits at a forwarder.
#[derive(Debug, Default)]
pub struct Held {
    /// Why it takes nothing from its topics, and until when.
    pub stopped: Option<(Hold, Option<Wall>)>,
    /// How many of each topic wait here.
    pub counts: Vec<(Str, u64)>,
    /// The first of them, with their topics.
    pub first: Vec<(Str, WaitingStatus)>,
}

impl Forwarder {
    pub(super) fn held(&self) -> Held {
        let (now, wall) = (Tick::now(), Wall::now());
        let on_wall = |tick: Tick| wall.plus(tick.since(now));
        let stopped = if self.off || self.breaker.is_disabled() {
            Some((Hold::Disabled, None))
        } else {
            match self.breaker.phase() {
                Phase::Closed => None,
                Phase::Open { until } => Some((Hold::Breaker, Some(on_wall(until)))),
                Phase::HalfOpen { .. } => Some((Hold::Probe, None)),
            }
        };
        let slots = match self.spec.target.mode() {
            Mode::Each { concurrency } | Mode::Batch { concurrency, .. } => concurrency,
        };
        let (hold, next) = stopped.unwrap_or_else(|| {
            if self.busy() >= slots {
                return (Hold::Concurrency, None);
            }
            let hold = if self.waits_for_others(now).is_some() { Hold::Batch } else { Hold::Rate };
            match self.waking {
                Some(at) => (hold, Some(on_wall(at))),
                None => (Hold::Turn, None),
            }
        });
        let mut counts: Vec<(Str, u64)> = Vec::new();
        let behind = || self.order.iter().flat_map(Order::behind);
        for queued in self.queue.iter().chain(behind()) {
            let topic = &queued.delivery.record.topic;
            match counts.iter_mut().find(|(known, _)| known == topic) {
                Some((_, count)) => *count += 1,
                None => counts.push((topic.clone(), 1)),
            }
        }
        let ordered = if self.spec.ordering == Ordering::Strict { Hold::StrictOrder } else { Hold::KeyOrder };
        let first = self.queue.iter().map(|queued| (queued, hold, next)).chain(behind().map(|q| (q, ordered, None)));
        let shown = first.take(SHOWN_WAITS).map(|(queued, hold, next)| {
            let delivery = &queued.delivery;
            let (seq, attempts) = (delivery.record.seq, delivery.attempt - 1);
            let waiting = WaitingStatus { seq, attempts, due: None, reason: hold, cause: None, next: None };
            (delivery.record.topic.clone(), waiting.held(hold, next))
        });
        Held { stopped, counts, first: shown.collect() }
    }
}
