//! What an engine that asks now and then whether to go on is answered by: the time and the steps of the call that runs.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::pace::Pace;
use crate::{Error, Limits, Session};

/// Of one engine and the call that runs on it. Its callbacks share it, on one thread.
pub(crate) struct Watch {
    limits: Limits,
    deadline: Cell<Instant>,
    /// Loops and calls so far.
    steps: Cell<u64>,
    /// The limit that the call broke. Once there is one, the engine stops whatever still runs, and whatever the function
    /// caught, the call ends with it.
    broken: RefCell<Option<Error>>,
    pace: RefCell<Pace>,
}

impl Watch {
    /// Of an engine that nothing runs on yet.
    pub fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            limits: limits.clone(),
            deadline: Cell::new(now),
            steps: Cell::new(0),
            broken: RefCell::new(None),
            pace: RefCell::new(Pace::new(now)),
        }
    }

    /// A call begins.
    pub fn begin(&self, session: &Session) {
        self.deadline.set(session.deadline());
        self.steps.set(0);
        self.broken.borrow_mut().take();
        *self.pace.borrow_mut() = Pace::new(session.began());
    }

    /// Counts loops and calls; gives how many there were so far.
    pub fn count(&self, steps: u64) -> u64 {
        let steps = self.steps.get().saturating_add(steps);
        self.steps.set(steps);
        steps
    }

    /// Loops and calls so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether the function must stop: it is late, now or before, or broke another limit. One that need not may have waited
    /// here for others.
    pub fn must_stop(&self) -> bool {
        if self.is_broken() {
            return true;
        }
        let most = self.limits.steps();
        if self.steps.get() > most {
            self.broke(Error::fuel(most, "loops and calls"));
            return true;
        }
        self.is_late(Instant::now())
    }

    fn is_late(&self, now: Instant) -> bool {
        if now >= self.deadline.get() {
            self.broke(Error::timeout(self.limits.wall));
            return true;
        }
        self.pace.borrow_mut().offer(now);
        false
    }

    /// Notes the limit that the call broke.
    pub fn broke(&self, limit: Error) {
        *self.broken.borrow_mut() = Some(limit);
    }

    /// Whether it broke one.
    pub fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    /// The one that it broke.
    pub fn broken(&self) -> Option<Error> {
        self.broken.borrow().clone()
    }

    /// The call is over. Gives how often it offered its processor to others.
    pub fn end(&self) -> u64 {
        let pace = self.pace.borrow();
        pace.end(Instant::now());
        pace.offers()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::{Code, NoHost, Settings};

    /// One that has run for so long of its second.
    fn after(ran: Duration, fuel: Option<u64>) -> (Watch, Instant) {
        let limits = Limits { fuel, ..Limits::default() };
        let watch = Watch::new(&limits);
        let settings = Arc::new(Settings { limits, ..Settings::default() });
        let session = Session::new(settings, Arc::default(), Arc::new(NoHost));
        watch.begin(&session);
        (watch, session.began() + ran)
    }

    #[test]
    fn it_stops_at_its_deadline_and_not_before() {
        let (watch, now) = after(Duration::from_secs(1), None);
        assert!(!watch.is_late(now - Duration::from_nanos(1)));
        assert!(!watch.is_broken());
        assert!(watch.is_late(now));
        assert_eq!(watch.broken().map(|e| e.code), Some(Code::Timeout));
        assert!(watch.must_stop());
    }

    #[test]
    fn it_stops_after_its_steps_whatever_the_time() {
        let (watch, _) = after(Duration::ZERO, Some(100));
        assert_eq!((watch.count(60), watch.count(40)), (60, 100));
        assert!(!watch.must_stop());
        watch.count(1);
        assert!(watch.must_stop());
        assert_eq!(watch.broken().map(|e| e.code), Some(Code::Fuel));
    }

    #[test]
    fn it_offers_the_processor_when_it_has_run_for_long() {
        let (watch, now) = after(Duration::from_micros(500), None);
        watch.is_late(now);
        assert_eq!(watch.end(), 0);
        watch.is_late(now + Duration::from_millis(10));
        assert_eq!(watch.end(), 1);
    }

    #[test]
    fn nothing_is_left_for_the_next_call() {
        let (watch, now) = after(Duration::from_millis(10), Some(100));
        watch.is_late(now);
        watch.count(101);
        watch.must_stop();
        let settings = Arc::new(Settings::default());
        watch.begin(&Session::new(settings, Arc::default(), Arc::new(NoHost)));
        assert_eq!((watch.steps(), watch.end(), watch.is_broken()), (0, 0, false));
    }
}
