//! How a topic and its subscriptions stand, for whoever asks.

use super::super::subscription::waits::{Hold, Wait};
use super::super::{SHOWN_WAITS, SubscriptionStatus, TopicStatus, WaitingStatus};
use super::{Served, Topic};
use crate::clock::{Tick, Wall};

impl Topic {
    pub(super) fn status(&self) -> TopicStatus {
        let bounds = self.on_disk().then(|| self.spec.log.bounds(self.spec.handle.id).ok()).flatten();
        let subscriptions = self.served.iter().map(|served| self.subscription_status(served));
        TopicStatus {
            name: self.spec.handle.name.clone(),
            durability: if self.on_disk() { "disk" } else { "memory" },
            first: self.first,
            last: self.next - 1,
            records: self.next.saturating_sub(self.first),
            bytes: bounds.map_or(self.tail.bytes() as u64, |b| b.bytes),
            viewers: self.viewers.len(),
            subscriptions: subscriptions.collect(),
        }
    }

    fn subscription_status(&self, served: &Served) -> SubscriptionStatus {
        let (now, wall) = (Tick::now(), Wall::now());
        let state = &served.state;
        let (waits, first) = state.waits(now, self.next, SHOWN_WAITS);
        let runs = served.spec.to.is_open();
        let shown = |wait: Wait| {
            let next = wait.next.map(|next| wall.plus(next.since(now)));
            WaitingStatus {
                seq: wait.seq,
                attempts: wait.attempts,
                due: next.map(Wall::rfc3339),
                reason: if runs || wait.hold != Hold::Turn { wait.hold } else { Hold::Actor },
                cause: wait.cause,
                next,
            }
        };
        SubscriptionStatus {
            name: served.spec.name.clone(),
            topic: self.spec.handle.name.clone(),
            durable: served.spec.durable,
            configured: true,
            paused: state.is_paused(),
            ack_floor: state.cursor().floor(),
            lag: state.lag(self.next),
            in_flight: state.in_flight(),
            waiting: state.failed(),
            attempts: served.attempts,
            delivered: served.delivered,
            dead_lettered: served.dead,
            waits,
            next_attempts: first.into_iter().map(shown).collect(),
        }
    }
}
