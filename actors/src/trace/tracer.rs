//! The way of steps to the recorder.
//!
//! A step is not worth a wake-up: with one for each turn of a trigger and of a forwarder, an event cost more in the
//! switches to and from the recorder's thread than in what is done there. So steps wait in a bounded queue; the first of
//! them wakes the recorder, which takes all together [`LATER`], or when it is asked.

use actix::Message;
use crossbeam_queue::ArrayQueue;
use prometheus::IntCounter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Step;
use crate::supervision::front::Front;

/// For how long a step may wait for others.
pub(super) const LATER: Duration = Duration::from_millis(20);

/// What may wait: turns of actors, each with its steps.
const WAITING: usize = 4096;

/// Wakes the recorder: steps wait.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Look;

/// Takes steps for the recorder; cloning shares it. It outlives the recorder's actor, so that what waits is not lost with it.
#[derive(Clone)]
pub struct Tracer(Arc<Shared>);

struct Shared {
    waiting: ArrayQueue<Vec<Step>>,
    /// The recorder was told, and has not looked yet.
    told: AtomicBool,
    recorder: Front<Look>,
    dropped: IntCounter,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("waiting", &self.0.waiting.len()).finish_non_exhaustive()
    }
}

impl Tracer {
    /// One that wakes `recorder`, and counts in `dropped` the steps that found no room.
    pub fn new(recorder: Front<Look>, dropped: IntCounter) -> Self {
        let (waiting, told) = (ArrayQueue::new(WAITING), AtomicBool::new(false));
        Self(Arc::new(Shared { waiting, told, recorder, dropped }))
    }

    /// Hands over steps, or counts them as dropped; never waits.
    pub fn record(&self, steps: Vec<Step>) {
        if steps.is_empty() {
            return;
        }
        if let Err(steps) = self.0.waiting.push(steps) {
            self.0.dropped.inc_by(steps.len() as u64);
        }
        // One that is being started anew looks at its start.
        if !self.0.told.swap(true, Ordering::AcqRel) && self.0.recorder.try_send(Look).is_err() {
            self.0.told.store(false, Ordering::Release);
        }
    }

    /// What waits, oldest first, as far as there is any now; whoever comes later wakes the recorder again.
    pub(super) fn take(&self) -> impl Iterator<Item = Vec<Step>> + '_ {
        self.0.told.store(false, Ordering::Release);
        // No more than have room at once: with many who add, it would not end.
        std::iter::from_fn(|| self.0.waiting.pop()).take(WAITING)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Event;
    use crate::trace::Stage;

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_is_taken_in_order() {
        let dropped = IntCounter::new("dropped", "Steps.").unwrap();
        let tracer = Tracer::new(Front::new(), dropped.clone());
        let event = Event::new("s", "k", Default::default());
        let step = |n: usize| Step::ended(&event, Stage::Received, n.to_string().into(), Duration::ZERO);
        for n in 0..WAITING + 10 {
            tracer.record(vec![step(n), step(n)]);
        }
        assert_eq!(dropped.get(), 20);
        let names: Vec<_> = tracer.take().map(|steps| steps[0].name.to_string()).collect();
        assert_eq!(names, (0..WAITING).map(|n| n.to_string()).collect::<Vec<_>>());
        // There is room again.
        tracer.record(vec![step(0)]);
        assert_eq!((tracer.take().count(), dropped.get()), (1, 20));
    }
}
