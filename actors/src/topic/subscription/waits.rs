//! What of a subscription waits, and for what: worked out when somebody asks.

use super::{MAX_HELD, Subscription};
use crate::clock::Tick;
use crate::definitions::Ordering;
use crate::event::Str;
use crate::log::Seq;

/// What an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// The pause after a failed attempt.
    Backoff,
    /// The time that the receiver asked for (`Retry-After`).
    RetryAfter,
    /// Its pause is over, and `retry.budget` allows no further repetition yet.
    RetryBudget,
    /// The breaker of its target is open.
    Breaker,
    /// The one attempt that decides about the breaker is being made.
    Probe,
    /// Its target is switched off, or has disabled itself.
    Disabled,
    /// The subscription is paused by hand.
    Paused,
    /// `rate`.
    Rate,
    /// Others, to be sent with them in a batch.
    Batch,
    /// As many are under way as `concurrency` lets.
    Concurrency,
    /// An earlier event of its key.
    KeyOrder,
    /// An earlier event, in strict order.
    StrictOrder,
    /// Too many others wait for another attempt.
    Backlog,
    /// The actor that handles it does not run.
    Actor,
    /// Nothing: it is its turn.
    Turn,
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// The record.
    pub seq: Seq,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is looked at again, where that is known.
    pub next: Option<Tick>,
    /// What for.
    pub hold: Hold,
    /// Why the last attempt failed.
    pub cause: Option<Str>,
}

impl Subscription {
    /// How many events wait that are not with the subscriber, and the first `most` of them; `end` is the sequence after the
    /// newest.
    pub fn waits(&self, now: Tick, end: Seq, most: usize) -> (u64, Vec<Wait>) {
        let stopped = match (self.paused, self.limit) {
            (true, _) => Some(Hold::Paused),
            (false, 0) => Some(Hold::Breaker),
            _ => None,
        };
        let strict = self.settings.ordering == Ordering::Strict;
        let busy = match (self.has_credit(), strict) {
            (true, _) => Hold::Turn,
            (false, true) => Hold::StrictOrder,
            (false, false) => Hold::Concurrency,
        };
        let idle = stopped.unwrap_or(busy);
        let budget = self.budget_at.filter(|at| *at > now);
        let mut first: Vec<Wait> = Vec::new();
        for (&seq, waiting) in self.waiting.iter().take(most) {
            let (hold, next) = match (stopped, budget) {
                (Some(Hold::Paused), _) => (Hold::Paused, None),
                _ if waiting.due > now => {
                    (if waiting.asked { Hold::RetryAfter } else { Hold::Backoff }, Some(waiting.due))
                }
                (None, Some(at)) => (Hold::RetryBudget, Some(at)),
                _ => (idle, None),
            };
            let (attempts, cause) = (waiting.attempts, Some(waiting.cause.clone()));
            first.push(Wait { seq, attempts, next, hold, cause });
        }
        let untried = |seq, hold| Wait { seq, attempts: 0, next: None, hold, cause: None };
        for (&seq, again) in self.ready.iter().take(most) {
            let retried = again.retried.as_ref();
            let (attempts, cause) = (retried.map_or(0, |w| w.attempts), retried.map(|w| w.cause.clone()));
            first.push(Wait { attempts, cause, ..untried(seq, idle) });
        }
        if self.held > 0 {
            let mut held: Vec<_> = self.in_order().flat_map(|line| line.held().iter()).collect();
            held.sort_unstable_by_key(|(seq, _)| **seq);
            let order = if strict { Hold::StrictOrder } else { Hold::KeyOrder };
            first.extend(held.into_iter().take(most).map(|(&seq, again)| {
                let retried = again.retried.as_ref();
                let (attempts, cause) = (retried.map_or(0, |w| w.attempts), retried.map(|w| w.cause.clone()));
                Wait { attempts, cause, ..untried(seq, order) }
            }));
        }
        let new = if let Some(stopped) = stopped {
            stopped
        } else if self.holds_back() {
            Hold::StrictOrder
        } else if self.waiting.len() >= self.settings.max_waiting || self.held >= MAX_HELD {
            Hold::Backlog
        } else {
            busy
        };
        let unoffered = self.next.max(self.cursor.floor() + 1)..end;
        let count = unoffered.end.saturating_sub(unoffered.start);
        first.extend(unoffered.take(most).map(|seq| untried(seq, new)));
        first.sort_by_key(|wait| wait.seq);
        first.truncate(most);
        let others = self.waiting.len() + self.ready.len() + self.held;
        (count + others as u64, first)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Settings, Verdict};
    use super::*;
    use crate::clock::Wall;
    use crate::supervision::failure::{Failure, FailureKind};
    use crate::topic::cursor::Cursor;
    use std::time::Duration;

    fn shown(s: &Subscription, now: u64, end: Seq) -> (u64, Vec<(Seq, Hold, Option<u64>)>) {
        let (count, first) = s.waits(Tick(now), end, 20);
        (count, first.into_iter().map(|w| (w.seq, w.hold, w.next.map(|tick| tick.0))).collect())
    }

    fn subscription(settings: Settings) -> Subscription {
        Subscription::new(settings, Cursor::at(0), Vec::new())
    }

    fn fail(s: &mut Subscription, seq: Seq, retry_after: Option<Duration>) {
        let mut failure = Failure::new(FailureKind::Reported, "no", Wall(0));
        failure.retry_after = retry_after;
        s.offer(seq, None, Tick(0));
        s.settle(seq, 1, Verdict::Nak(failure), Tick(0), Wall(0), 0.5);
    }

    #[test]
    fn each_that_waits_says_what_for_and_until_when() {
        let mut s = subscription(Settings { retry_budget: Some(0.1), max_in_flight: 2, ..Settings::default() });
        fail(&mut s, 1, None);
        fail(&mut s, 2, Some(Duration::from_secs(60)));
        assert_eq!(
            shown(&s, 0, 5),
            (
                4,
                vec![
                    (1, Hold::Backoff, Some(1_000_000)),
                    (2, Hold::RetryAfter, Some(60_000_000)),
                    (3, Hold::Turn, None),
                    (4, Hold::Turn, None)
                ]
            )
        );
        s.pause(true);
        assert!(shown(&s, 0, 5).1.iter().all(|(_, hold, _)| *hold == Hold::Paused));
        s.pause(false);
        s.limit(0);
        assert_eq!(
            shown(&s, 2_000_000, 4).1,
            [(1, Hold::Breaker, None), (2, Hold::RetryAfter, Some(60_000_000)), (3, Hold::Breaker, None)]
        );
        s.limit(usize::MAX);
        s.offer(3, None, Tick(0));
        s.offer(4, None, Tick(0));
        assert_eq!(
            shown(&s, 2_000_000, 6).1,
            [(1, Hold::Concurrency, None), (2, Hold::RetryAfter, Some(60_000_000)), (5, Hold::Concurrency, None)]
        );
    }

    #[test]
    fn the_budget_of_retries_is_named_with_its_time() {
        let mut s = subscription(Settings { retry_budget: Some(0.01), ..Settings::default() });
        for seq in 1..=30 {
            fail(&mut s, seq, None);
        }
        let later = 2_000_000;
        while let Some(seq) = s.take_again(Tick(later)) {
            s.offer(seq, None, Tick(later));
        }
        let (_, first) = shown(&s, later, 31);
        assert!(first.iter().all(|(_, hold, next)| *hold == Hold::RetryBudget && *next > Some(later)), "{first:?}");
    }

    #[test]
    fn order_is_named_as_what_holds() {
        let mut s = subscription(Settings { ordering: Ordering::Key, ..Settings::default() });
        for (seq, key) in [(1, "a"), (2, "a"), (3, "b")] {
            s.offer(seq, Some(key.into()), Tick(0));
        }
        assert_eq!(shown(&s, 0, 4), (1, vec![(2, Hold::KeyOrder, None)]), "1 and 3 are with the subscriber");
        let mut s = subscription(Settings { ordering: Ordering::Strict, ..Settings::default() });
        s.offer(1, None, Tick(0));
        assert_eq!(shown(&s, 0, 4), (2, vec![(2, Hold::StrictOrder, None), (3, Hold::StrictOrder, None)]));
    }

    #[test]
    fn what_is_shown_is_bounded_and_what_waits_is_counted() {
        let s = subscription(Settings::default());
        let (count, first) = s.waits(Tick(0), 1_000_001, 20);
        assert_eq!((count, first.len(), first[19].seq), (1_000_000, 20, 20));
    }
}
