//! What is given up without another attempt, because its time is over: `retry.max_age` of an event, and `retry.max_time` of
//! one that failed and now waits for an open breaker.
//!
//! | an event is | by `max_age` | by `max_time` |
//! |---|---|---|
//! | with the subscriber | when it comes back | by its next failure |
//! | of a key of which one is with the subscriber (or, in strict order, any is) | after that one | after that one |
//! | not offered yet, or set aside for its key | given up | stays: it has not failed |
//! | waiting for its pause | given up | stays until the pause is over: it has one more attempt |
//! | waiting behind a breaker that is not closed | given up | given up, if it has failed before |
//! | waiting for a person (paused, disabled) | stays | stays |

use std::time::Duration;

use super::{Again, Effect, Subscription, Waiting, size};
use crate::clock::{Tick, Wall};
use crate::definitions::Ordering;
use crate::event::Str;
use crate::log::Seq;
use crate::supervision::failure::Failure;

impl Subscription {
    /// The first events that nobody handles now, in their order, whatever they wait for; `end` is the sequence after the newest.
    pub fn untended(&self, end: Seq, most: usize) -> Vec<Seq> {
        let mut all: Vec<Seq> = self.waiting.keys().take(most).chain(self.ready.keys().take(most)).copied().collect();
        if self.held > 0 {
            all.extend(self.in_order().flat_map(|line| line.held().keys().take(most)));
        }
        let unoffered = self.next.max(self.cursor.floor() + 1)..end;
        all.extend(unoffered.filter(|seq| !self.cursor.is_handled(*seq)).take(most));
        all.sort_unstable();
        all.truncate(most);
        all
    }

    /// The first events that have failed, whose next attempt is due, and whose first failure is this long ago; each with its
    /// failures so far.
    pub fn overdue(&self, since: Duration, now: Tick, wall: Wall, most: usize) -> Vec<(Seq, Waiting)> {
        let over = |waiting: &Waiting| waiting.due <= now && wall.since(waiting.since) >= since;
        let due = self.due.iter().take_while(|(due, _)| *due <= now).filter_map(|(_, seq)| {
            let waiting = self.waiting.get(seq)?;
            Some((*seq, waiting))
        });
        let held = self.in_order().flat_map(|line| line.held().iter());
        let again = self.ready.iter().chain(held).filter_map(|(seq, again)| Some((*seq, again.retried.as_ref()?)));
        let again = again.chain(due).filter(|(_, waiting)| over(waiting) && !self.is_busy(waiting.key.as_ref()));
        let mut all: Vec<(Seq, Waiting)> = again.take(most).map(|(seq, waiting)| (seq, waiting.clone())).collect();
        all.sort_unstable_by_key(|(seq, _)| *seq);
        all
    }

    /// Why the last attempt with an event failed, of one that has failed.
    pub fn last_cause(&self, seq: Seq) -> Option<&Str> {
        let waits = || self.waiting.get(&seq);
        let again = || self.ready.get(&seq).or_else(|| self.in_order().find_map(|line| line.held().get(&seq)));
        waits().or_else(|| again()?.retried.as_ref()).map(|waiting| &waiting.cause)
    }

    /// Whether what comes of one that is with the subscriber decides about those of this key, which are behind it.
    pub fn is_busy(&self, key: Option<&Str>) -> bool {
        match self.settings.ordering {
            Ordering::None => false,
            Ordering::Strict => self.strict.flying > 0,
            Ordering::Key => key.and_then(|key| self.lines.get(key)).is_some_and(|line| line.flying > 0),
        }
    }

    /// Gives up an event that is not with the subscriber.
    pub(super) fn expire(&mut self, seq: Seq, failure: Failure) -> Effect {
        let Some(Again { key, retried }) = self.take_out(seq) else { return Effect::Stale };
        if let Some(line) = self.line(key.as_ref()) {
            line.leave(seq);
        }
        self.told -= retried.as_ref().map_or(0, |waited| size(&waited.failures));
        self.cursor.mark(seq);
        if seq == self.next {
            self.next += 1;
        }
        self.free(key.as_ref());
        let (attempts, failures) = retried.map_or((0, Vec::new()), |waited| (waited.attempts, waited.failures));
        Effect::Dead { attempts, cause: failure.message, waited: attempts > 0, failures }
    }

    /// Takes an event from where it waits, if it does.
    fn take_out(&mut self, seq: Seq) -> Option<Again> {
        if let Some(entry) = self.waiting.remove(&seq) {
            self.due.remove(&(entry.due, seq));
            return Some(Again { key: entry.key.clone(), retried: Some(entry) });
        }
        if let Some(again) = self.ready.remove(&seq) {
            return Some(again);
        }
        if self.held > 0 {
            let lines = self.lines.values_mut().chain([&mut self.strict]);
            if let Some(again) = lines.into_iter().find_map(|line| line.take_held(seq)) {
                self.held -= 1;
                return Some(again);
            }
        }
        let unoffered = seq >= self.next && !self.in_flight.contains_key(&seq) && !self.cursor.is_handled(seq);
        unoffered.then(Again::default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Offer, Settings, Verdict};
    use super::*;
    use crate::supervision::failure::FailureKind;
    use crate::topic::cursor::Cursor;

    fn failure() -> Failure {
        Failure::new(FailureKind::Reported, "no", Wall(0))
    }

    fn subscription(ordering: Ordering) -> Subscription {
        Subscription::new(Settings { ordering, ..Settings::default() }, Cursor::at(0), Vec::new())
    }

    fn fail(s: &mut Subscription, seq: Seq, key: Option<&str>) {
        assert_eq!(s.offer(seq, key.map(Str::from), Tick(0)), Offer::Deliver(1));
        assert!(matches!(s.settle(seq, 1, Verdict::Nak(failure()), Tick(0), Wall(0), 0.5), Effect::Wait(_)));
    }

    fn expire(s: &mut Subscription, seq: Seq) -> Effect {
        s.settle(seq, 0, Verdict::Expire(failure()), Tick(0), Wall(0), 0.5)
    }

    fn dead(effect: &Effect) -> (u32, usize, bool) {
        match effect {
            Effect::Dead { attempts, failures, waited, .. } => (*attempts, failures.len(), *waited),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_given_up_wherever_it_waits_and_only_there() {
        let mut s = subscription(Ordering::None);
        fail(&mut s, 1, None);
        s.offer(2, None, Tick(0));
        s.settle(2, 1, Verdict::Release, Tick(0), Wall(0), 0.5);
        s.offer(3, None, Tick(0));
        assert_eq!(s.untended(6, 10), [1, 2, 4, 5], "3 is with the subscriber");
        assert_eq!(s.untended(6, 2), [1, 2]);
        assert_eq!(dead(&expire(&mut s, 1)), (1, 1, true), "tried once, which is told, and its entry goes");
        assert_eq!(dead(&expire(&mut s, 2)), (0, 0, false), "given back, and so never tried");
        assert_eq!(expire(&mut s, 3), Effect::Stale);
        assert_eq!(dead(&expire(&mut s, 5)), (0, 0, false));
        assert_eq!(dead(&expire(&mut s, 4)), (0, 0, false));
        assert_eq!((s.next(), s.is_handled(5)), (5, true), "the topic passes over 5");
        assert_eq!(expire(&mut s, 4), Effect::Stale, "it is over");
        s.skip(5);
        s.settle(3, 1, Verdict::Ack, Tick(0), Wall(0), 0.5);
        assert_eq!((s.cursor().floor(), s.cursor().above(), s.told), (5, 0, 0));
    }

    #[test]
    fn in_order_what_is_behind_goes_on_when_the_first_is_given_up() {
        let mut s = subscription(Ordering::Key);
        fail(&mut s, 1, Some("a"));
        for seq in [2, 3] {
            assert_eq!(s.offer(seq, Some("a".into()), Tick(0)), Offer::Held);
        }
        s.offer(4, Some("b".into()), Tick(0));
        assert!(s.is_busy(Some(&"b".into())) && !s.is_busy(Some(&"a".into())));
        assert_eq!(s.untended(5, 10), [1, 2, 3]);
        assert_eq!(s.last_cause(1).map(|cause| &**cause), Some("no"));
        assert_eq!(dead(&expire(&mut s, 1)), (1, 1, true));
        assert_eq!((s.take_again(Tick(0)), s.held()), (Some(2), 1));
        assert_eq!(dead(&expire(&mut s, 2)), (0, 0, false), "also one whose turn it is");
        assert_eq!((s.take_again(Tick(0)), s.held()), (Some(3), 0));

        let mut s = subscription(Ordering::Strict);
        fail(&mut s, 1, None);
        assert_eq!((s.wants_new(), s.untended(4, 10)), (false, vec![1, 2, 3]));
        for seq in 1..=3 {
            expire(&mut s, seq);
        }
        assert!(s.wants_new() && s.cursor().floor() == 3);
    }

    #[test]
    fn what_failed_is_overdue_once_its_pause_is_over_and_its_time_too() {
        let mut s = subscription(Ordering::None);
        fail(&mut s, 1, None);
        let overdue = |s: &Subscription, now: u64| {
            let all = s.overdue(Duration::from_secs(5), Tick(now), Wall(now as i64), 10);
            all.into_iter().map(|(seq, waiting)| (seq, waiting.attempts)).collect::<Vec<_>>()
        };
        let (pause, time) = (500_000, 5_000_000);
        assert_eq!((overdue(&s, pause), overdue(&s, time - 1), overdue(&s, time)), (vec![], vec![], vec![(1, 1)]));
        let again = s.take_again(Tick(time)).unwrap();
        s.offer(again, None, Tick(time));
        assert_eq!(overdue(&s, time), [], "it is being tried");
        s.settle(1, 2, Verdict::Release, Tick(time), Wall(time as i64), 0.5);
        assert_eq!(overdue(&s, time), [(1, 1)], "the breaker has opened meanwhile, and gave it back");
        assert_eq!(s.overdue(Duration::from_secs(5), Tick(time), Wall(time as i64), 0).len(), 0);
    }
}
