//! What is with the subscriber for longer than an attempt may take (`ack_wait`).
//!
//! A subscriber that cannot be asked has failed then. One that can is asked: a delivery that waits there for its turn has had no
//! attempt, however long it waits; the time of one of which an attempt is being made began with that; and one that the
//! subscriber does not have is lost, and offered again. So what had no attempt is never counted as failed.
//!
//! The question can go astray with its subscriber, or its answer with its topic. It is asked anew when the time is over
//! again, and an answer counts only for what it was asked for: a delivery that was given back and offered again meanwhile is
//! another one.

use std::time::Duration;

use super::super::{Progress, Round};
use super::Subscription;
use crate::clock::Tick;
use crate::log::Seq;

/// What is overdue within this is asked for together with what is so already, so that a subscriber of many slow deliveries is
/// not asked for each of them alone.
const TOGETHER: Duration = Duration::from_secs(1);

/// What an answer says of deliveries that cannot stay as they are, each with its attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The attempt has taken too long.
    pub failed: Vec<(Seq, u32)>,
    /// The subscriber does not have it.
    pub lost: Vec<(Seq, u32)>,
}

impl Subscription {
    /// All deliveries with the subscriber, with their attempts: what a restart of it loses.
    pub fn flying(&self) -> Vec<(Seq, u32)> {
        self.in_flight.iter().map(|(seq, f)| (*seq, f.attempt)).collect()
    }

    /// The deliveries whose `ack_wait` is over, with their attempts.
    pub fn expired(&self, now: Tick) -> Vec<(Seq, u32)> {
        self.in_flight.iter().filter(|(_, f)| f.deadline <= now).map(|(seq, f)| (*seq, f.attempt)).collect()
    }

    /// The deliveries to ask the subscriber for, with their attempts; none where none is overdue.
    pub fn ask(&mut self, question: Round, now: Tick) -> Vec<(Seq, u32)> {
        if self.in_flight.values().all(|flight| flight.deadline > now) {
            return Vec::new();
        }
        let (until, again) = (now.plus(TOGETHER.min(self.settings.ack_wait / 2)), now.plus(self.settings.ack_wait));
        let overdue = self.in_flight.iter_mut().filter(|(_, flight)| flight.deadline <= until);
        let asked = overdue.map(|(seq, flight)| {
            (flight.asked, flight.deadline) = (Some(question), again);
            (*seq, flight.attempt)
        });
        asked.collect()
    }

    /// The subscriber did not get the question: it is asked again then.
    pub fn ask_at(&mut self, question: Round, at: Tick) {
        for flight in self.in_flight.values_mut().filter(|flight| flight.asked == Some(question)) {
            (flight.asked, flight.deadline) = (None, at);
        }
    }

    /// Takes an answer; what is not overdue by it has time again.
    pub fn answered(&mut self, question: Round, items: &[(Seq, Progress)], now: Tick) -> Answered {
        let mut answered = Answered::default();
        for (seq, progress) in items {
            let Some(flight) = self.in_flight.get_mut(seq).filter(|flight| flight.asked == Some(question)) else {
                continue;
            };
            flight.asked = None;
            let began = match progress {
                Progress::Waits => now,
                Progress::Begun(at) => *at,
                Progress::Unknown => {
                    answered.lost.push((*seq, flight.attempt));
                    continue;
                }
            };
            flight.deadline = began.plus(self.settings.ack_wait);
            if flight.deadline <= now {
                answered.failed.push((*seq, flight.attempt));
            }
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Effect, Offer, Settings, Verdict};
    use super::*;
    use crate::clock::Wall;
    use crate::topic::cursor::Cursor;

    const WAIT: u64 = 60_000_000;

    fn subscription() -> Subscription {
        let settings = Settings { ack_wait: Duration::from_secs(60), ..Settings::default() };
        Subscription::new(settings, Cursor::at(0), Vec::new())
    }

    #[test]
    fn what_waits_with_the_subscriber_never_fails_and_an_attempt_has_its_time_from_its_beginning() {
        let mut s = subscription();
        for seq in 1..=3 {
            assert_eq!(s.offer(seq, None, Tick(0)), Offer::Deliver(1));
        }
        assert_eq!(s.offer(4, None, Tick(2_000_000)), Offer::Deliver(1));
        assert_eq!(s.ask(Round::begin(), Tick(WAIT - 1)), []);
        let (question, now) = (Round::begin(), Tick(WAIT));
        assert_eq!(s.ask(question, now), [(1, 1), (2, 1), (3, 1)], "4 has its time still");
        assert_eq!(s.ask(Round::begin(), now), [], "asked once");
        let began = Tick(WAIT - 1);
        let answer = [(1, Progress::Begun(Tick(0))), (2, Progress::Begun(began)), (3, Progress::Waits)];
        let answered = s.answered(question, &answer, now);
        assert_eq!(answered, Answered { failed: vec![(1, 1)], lost: vec![] });
        assert_eq!(s.answered(question, &answer, now), Answered::default(), "it is answered");
        assert!(matches!(s.settle(1, 1, Verdict::Release, now, Wall(0), 0.5), Effect::Again));
        // Hours later it is no different.
        for round in 2..100 {
            let (question, now) = (Round::begin(), Tick(WAIT * round + 10_000_000));
            assert_eq!(s.ask(question, now), [(2, 1), (3, 1), (4, 1)]);
            let waits = [(2, Progress::Begun(now)), (3, Progress::Waits), (4, Progress::Waits)];
            assert_eq!(s.answered(question, &waits, now), Answered::default());
        }
    }

    #[test]
    fn what_the_subscriber_does_not_have_is_lost_unless_it_was_offered_again_since() {
        let mut s = subscription();
        for seq in 1..=2 {
            s.offer(seq, None, Tick(0));
        }
        let question = Round::begin();
        assert_eq!(s.ask(question, Tick(WAIT)).len(), 2);
        // Given back, and handed over anew, before the answer is there.
        s.settle(2, 1, Verdict::Release, Tick(WAIT), Wall(0), 0.5);
        assert_eq!(s.take_again(Tick(WAIT)), Some(2));
        assert_eq!(s.offer(2, None, Tick(WAIT)), Offer::Deliver(1));
        let unknown = [(1, Progress::Unknown), (2, Progress::Unknown)];
        let answered = s.answered(question, &unknown, Tick(WAIT));
        assert_eq!(answered, Answered { failed: vec![], lost: vec![(1, 1)] });
    }

    #[test]
    fn a_question_that_is_not_answered_is_asked_again() {
        let mut s = subscription();
        s.offer(1, None, Tick(0));
        let (lost, second) = (Round::begin(), Round::begin());
        assert_eq!(s.ask(lost, Tick(WAIT)), [(1, 1)]);
        assert_eq!(s.next_wake(), Some(Tick(2 * WAIT)));
        assert_eq!(s.ask(second, Tick(2 * WAIT)), [(1, 1)]);
        assert_eq!(s.answered(lost, &[(1, Progress::Unknown)], Tick(2 * WAIT)), Answered::default(), "too late");
        s.ask_at(second, Tick(2 * WAIT + 5));
        assert_eq!(s.next_wake(), Some(Tick(2 * WAIT + 5)));
        assert_eq!(s.ask(Round::begin(), Tick(2 * WAIT + 5)), [(1, 1)]);
    }
}
