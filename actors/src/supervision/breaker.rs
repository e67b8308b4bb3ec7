//! The circuit breaker of a target: plain state on top of the one decision.
//!
//! A caller asks [`Breaker::permit`] before an attempt and hands the permit back with the result. The permit is what
//! tells a probe from a late result of an attempt that began before the breaker opened: the latter changes nothing.

use std::time::Duration;

use crate::clock::Tick;

use super::decision::{Decision, History, Phase, decide};
use super::failure::Failure;
use super::strategy::{OnExhausted, RestartStrategy};

/// Whether an attempt may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permit that is not handed back with a result keeps the only probe"]
pub enum Permit {
    /// Closed: go on.
    Yes,
    /// Half-open, and this is the one attempt that decides; the number tells probes apart.
    Probe(u64),
    /// Not before the time; [`Tick`]'s largest value when the target is disabled.
    No {
        /// When it is worth asking again.
        until: Tick,
    },
}

/// What a result changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The breaker opened, for the first time or again.
    Opened {
        /// When the next probe is allowed.
        until: Tick,
    },
    /// Enough probes succeeded.
    Closed,
    /// It failed for so long, or so definitely, that only a person enables it again. Its events are kept.
    Disabled,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Breaker {
    strategy: RestartStrategy,
    history: History,
    disabled: bool,
    probe: Option<Probe>,
    probes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    since: Tick,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, history: History::default(), disabled: false, probe: None, probes: 0 }
    }

    /// May an attempt be made now?
    pub fn permit(&mut self, now: Tick) -> Permit {
        if self.disabled {
            return Permit::No { until: Tick(u64::MAX) };
        }
        match self.history.phase() {
            Phase::Closed => return Permit::Yes,
            Phase::Open { until } if now < until => return Permit::No { until },
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
        // A probe whose caller died never reports; after the first open time another one is let through.
        if let Some(probe) = self.probe {
            let given_up = probe.since.plus(self.probe_deadline());
            if now < given_up {
                return Permit::No { until: given_up };
            }
        }
        self.history.probe(now);
        self.probes = self.probes.wrapping_add(1);
        self.probe = Some(Probe { number: self.probes, since: now });
        Permit::Probe(self.probes)
    }

    /// The result of an attempt that was made under `taken`.
    pub fn on_result(&mut self, taken: Permit, result: Result<(), &Failure>, now: Tick) -> Option<Turn> {
        let current = match taken {
            Permit::Yes => self.history.phase() == Phase::Closed,
            Permit::Probe(number) => self.probe.is_some_and(|p| p.number == number),
            Permit::No { .. } => false,
        };
        if !current || self.disabled {
            return None;
        }
        if matches!(taken, Permit::Probe(_)) {
            self.probe = None;
        }
        match result {
            Ok(()) => self.history.succeeded(&self.strategy, now).then_some(Turn::Closed),
            // The middle: a breaker waits by its open times, which have no jitter.
            Err(failure) => match decide(&self.strategy, &mut self.history, now, failure, 0.5) {
                Decision::OpenUntil(until) => Some(Turn::Opened { until }),
                Decision::Quarantine | Decision::Escalate | Decision::DeadLetter => {
                    self.disabled = true;
                    Some(Turn::Disabled)
                }
                Decision::RestartAt(_) => None,
            },
        }
    }

    /// The attempt under `taken` was not made after all.
    pub fn hand_back(&mut self, taken: Permit) {
        if let (Permit::Probe(number), Some(probe)) = (taken, self.probe)
            && probe.number == number
        {
            self.probe = None;
        }
    }

    /// A person enables the target again: closed, all counters anew.
    pub fn reset(&mut self) {
        self.history.reset();
        self.disabled = false;
        self.probe = None;
    }

    /// A person, or a reply such as 410, disables the target.
    pub fn disable(&mut self) {
        self.disabled = true;
        self.probe = None;
    }

    /// Whether only a person enables it again.
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.history.phase()
    }

    /// What it remembers, for the surfaces.
    pub fn history(&self) -> &History {
        &self.history
    }

    fn probe_deadline(&self) -> Duration {
        match self.strategy.on_exhausted {
            OnExhausted::Open(opening) => opening.first,
            _ => Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests;
