//! How a call that keeps its processor shares it: at the polls of its engine it offers the processor to others.
//!
//! A kernel without preemption lets whoever runs go on to the end of a slice of 3 to 4 ms, and what takes 0.1 ms waits
//! behind it. Nothing is lost where nobody waits: an offer then takes less than a microsecond. A call that goes on for longer still
//! leaves the first processor altogether, for itself and for those that follow it on its thread, until one of them is short.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use crate::processors::{self, LONG};

/// How long a call has the processor for itself: longer than most calls run.
const OWN: Duration = Duration::from_millis(1);

/// The time from one offer to the next: a neighbour's wait is at most this and a poll, and an offer that nobody takes is less
/// than a hundredth of it.
const EVERY: Duration = Duration::from_micros(100);

thread_local! {
    /// Whether this thread has left the first processor.
    static AWAY: Cell<bool> = const { Cell::new(false) };
}

fn leave(leave: bool) {
    if AWAY.replace(leave) != leave {
        processors::leave_one(processors::this_thread(), leave);
    }
}

/// Of one call, which begins and ends on the same thread. What decides takes the time, so that a test can move it.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
    offers: u64,
    /// When it leaves the first processor.
    leaves: Instant,
}

impl Pace {
    /// Of a call that began at this time.
    pub fn new(began: Instant) -> Self {
        Self { next: began + OWN, offers: 0, leaves: began + LONG }
    }

    /// Offers the processor if it is time to.
    pub fn offer(&mut self, now: Instant) {
        if !self.is_due(now) {
            return;
        }
        if now >= self.leaves {
            leave(true);
        }
        thread::yield_now();
        self.is_back(now, Instant::now());
    }

    /// How often it was offered.
    pub fn offers(&self) -> u64 {
        self.offers
    }

    /// The call is over at this time: after a short one its thread runs on all processors again.
    pub fn end(&self, now: Instant) {
        if now < self.leaves {
            leave(false);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Whoever took a whole slice does not share, and would take the next one, too. By keeping the processor for as long as at
    /// its beginning a call still gets a third of it; otherwise it would get a twentieth (measured on Linux 6.18, where an
    /// offer gives up the rest of a turn; ADR 0006), and a good one that computes for long would be late.
    fn is_back(&mut self, left: Instant, now: Instant) {
        self.offers += 1;
        let away = now.saturating_duration_since(left);
        self.next = now + if away < OWN { EVERY } else { OWN };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn a_short_call_offers_nothing() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        assert!(!pace.is_due(began + OWN - MICRO));
        pace.offer(began);
        assert_eq!(pace.offers(), 0);
    }

    #[test]
    fn a_long_one_offers_the_processor_again_and_again_but_not_at_every_poll() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let (mut now, mut polls) = (began, 0);
        while now < began + 2 * OWN {
            polls += 1;
            now += 10 * MICRO;
            if pace.is_due(now) {
                pace.is_back(now, now + MICRO);
            }
        }
        assert_eq!((polls, pace.offers()), (200, 10));
    }

    #[test]
    fn one_that_lost_a_whole_slice_keeps_the_processor_for_a_while() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let mut now = began + OWN;
        for (away, kept) in [(OWN / 2, EVERY), (3 * OWN, OWN), (MICRO, EVERY), (1_000 * OWN, OWN)] {
            pace.is_back(now, now + away);
            now += away;
            assert!(!pace.is_due(now + kept - MICRO), "{away:?}");
            assert!(pace.is_due(now + kept), "{away:?}");
        }
        assert_eq!(pace.offers(), 4);
    }

    /// The processors that this thread may run on.
    #[cfg(target_os = "linux")]
    fn processors() -> Vec<usize> {
        let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        (0..nix::sched::CpuSet::count()).filter(|place| set.is_set(*place).unwrap()).collect()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_that_goes_on_leaves_the_first_processor_until_a_call_is_short() {
        let all = processors();
        let began = Instant::now();
        let mut pace = Pace::new(began);
        pace.offer(began + LONG - MICRO);
        assert_eq!(processors(), all);
        pace.offer(began + 2 * LONG);
        // Where there is one only, it stays.
        let left = if all.len() > 1 { &all[1..] } else { &all };
        assert_eq!(processors(), left);
        pace.end(began + 2 * LONG);
        assert_eq!(processors(), left, "the next one begins where the long one ended");
        Pace::new(began).end(began + LONG);
        assert_eq!(processors(), left);
        Pace::new(began).end(began + LONG - MICRO);
        assert_eq!(processors(), all);
    }

    #[test]
    fn an_offer_is_one() {
        let began = Instant::now() - OWN;
        let mut pace = Pace::new(began);
        pace.offer(began + OWN);
        assert_eq!(pace.offers(), 1);
        assert!(pace.next > began + OWN);
    }
}
