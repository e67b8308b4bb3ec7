//! The one decision: what to do after a failure. Used for actors, deliveries and breakers.
//!
//! [`decide`] is pure: the strategy, what happened so far, the time and a random number go in, a [`Decision`] comes out,
//! and the [`History`] has been brought up to date. Properties are proven below over arbitrary sequences and clocks.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;

use super::failure::{Failure, FailureKind};
use super::strategy::{FailureRate, OnExhausted, RestartStrategy};

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again at this time.
    RestartAt(Tick),
    /// Try nothing until this time, then one probe.
    OpenUntil(Tick),
    /// Leave it down until a person resets it.
    Quarantine,
    /// The parent fails in its place.
    Escalate,
    /// Give it up; its event goes to the dead-letter topic.
    DeadLetter,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// All is allowed.
    #[default]
    Closed,
    /// Nothing is allowed before the time.
    Open {
        /// When a probe is allowed.
        until: Tick,
    },
    /// One probe at a time is allowed.
    HalfOpen {
        /// Probes in a row that succeeded.
        successes: u32,
    },
}

/// What happened so far to one child, delivery or target. Bounded: at most 1,000 failure times and twelve counters.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Times of the last failures, oldest first, at most as many as the intensity needs.
    window: VecDeque<Tick>,
    rate: RateWindow,
    consecutive: u32,
    attempts: u32,
    opens: u32,
    total: u64,
    first_failure: Option<Tick>,
    running_since: Option<Tick>,
    phase: Phase,
}

impl History {
    /// What is known of a delivery that was stored while it waited: its failures so far, and when the first was.
    pub fn resumed(failures: u32, first_failure: Tick) -> Self {
        let first_failure = (failures > 0).then_some(first_failure);
        let total = u64::from(failures);
        Self { attempts: failures, consecutive: failures, total, first_failure, ..Self::default() }
    }

    /// It was started: from now on it may prove healthy.
    pub fn started(&mut self, now: Tick) {
        self.running_since = Some(now);
    }

    /// It was stopped on purpose, which says nothing about health.
    pub fn stopped(&mut self) {
        self.running_since = None;
    }

    /// A success was seen: a probe that got through, a delivery of this target, a child that says so.
    /// Returns whether this closed a breaker.
    pub fn succeeded(&mut self, strategy: &RestartStrategy, now: Tick) -> bool {
        if let Some(rate) = &strategy.rate {
            self.rate.add(rate, now, true);
        }
        self.consecutive = 0;
        self.attempts = 0;
        self.first_failure = None;
        let Phase::HalfOpen { successes } = self.phase else { return false };
        let needed = match strategy.on_exhausted {
            OnExhausted::Open(opening) => opening.probes_to_close,
            _ => 1,
        };
        let successes = successes.saturating_add(1);
        if successes < needed {
            self.phase = Phase::HalfOpen { successes };
            return false;
        }
        self.reset();
        true
    }

    /// Counters start anew when it has been running long enough without a failure. Returns whether they did.
    pub fn heal(&mut self, strategy: &RestartStrategy, now: Tick) -> bool {
        match (self.running_since, strategy.reset_after) {
            (Some(since), Some(after)) if now.since(since) >= after => {
                let anything = self.attempts > 0 || self.phase != Phase::Closed;
                if anything {
                    let running = self.running_since;
                    self.reset();
                    self.running_since = running;
                }
                anything
            }
            _ => false,
        }
    }

    /// When [`heal`](Self::heal) is worth a call, if ever.
    pub fn heals_at(&self, strategy: &RestartStrategy) -> Option<Tick> {
        let anything = self.attempts > 0 || self.phase != Phase::Closed;
        if anything { Some(self.running_since?.plus(strategy.reset_after?)) } else { None }
    }

    /// The open time is over and a probe starts. Returns false, and changes nothing, before that.
    pub fn probe(&mut self, now: Tick) -> bool {
        match self.phase {
            Phase::Open { until } if now >= until => {
                self.phase = Phase::HalfOpen { successes: 0 };
                true
            }
            Phase::HalfOpen { .. } => true,
            Phase::Open { .. } | Phase::Closed => false,
        }
    }

    /// Forgets everything but the number of failures ever seen.
    pub fn reset(&mut self) {
        *self = Self { total: self.total, ..Self::default() };
    }

    /// Failures within the window of the intensity, as of `now`.
    pub fn failures_in_window(&self, strategy: &RestartStrategy, now: Tick) -> u32 {
        let Some(intensity) = strategy.intensity else { return self.consecutive };
        let within = self.window.iter().filter(|at| now.since(**at) < intensity.within).count();
        u32::try_from(within).unwrap_or(u32::MAX)
    }

    /// Counted failures since the last success or reset.
    pub fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// Attempts used up since the last success or reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How often it opened since it was last closed.
    pub fn opens(&self) -> u32 {
        self.opens
    }

    /// Counted failures ever.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Where the breaker stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn record(&mut self, strategy: &RestartStrategy, now: Tick) {
        self.consecutive = self.consecutive.saturating_add(1);
        self.attempts = self.attempts.saturating_add(1);
        self.total = self.total.saturating_add(1);
        self.first_failure.get_or_insert(now);
        if let Some(rate) = &strategy.rate {
            self.rate.add(rate, now, false);
        }
        if let Some(intensity) = strategy.intensity {
            self.window.push_back(now);
            while self.window.len() > intensity.failures.min(1_000) as usize {
                self.window.pop_front();
            }
        }
    }

    fn exhausted(&self, strategy: &RestartStrategy, now: Tick) -> bool {
        let by_intensity =
            strategy.intensity.is_some_and(|i| self.failures_in_window(strategy, now) >= i.failures.min(1_000));
        let by_row = strategy.consecutive.is_some_and(|n| self.consecutive >= n);
        let by_rate = strategy.rate.is_some_and(|rate| self.rate.exceeded(&rate, now));
        by_intensity || by_row || by_rate
    }

    fn exhausted_for_good(&self, strategy: &RestartStrategy, now: Tick) -> bool {
        let by_attempts = strategy.max_attempts.is_some_and(|n| self.attempts >= n);
        let elapsed = self.first_failure.map_or(Duration::ZERO, |first| now.since(first));
        by_attempts || strategy.max_elapsed.is_some_and(|longest| elapsed >= longest)
    }
}

/// Decides what happens after `failure`, and writes it into `history`. `random` is within 0..1.
///
/// - A failure that does not count is tried again after the first wait, and changes no counter.
/// - `retry_after` is a floor for every time that is returned, within its cap of 24 h.
/// - A failure while open (late, of something begun before) is not counted, and keeps it open.
pub fn decide(
    strategy: &RestartStrategy,
    history: &mut History,
    now: Tick,
    failure: &Failure,
    random: f64,
) -> Decision {
    history.heal(strategy, now);
    history.stopped();
    let floor = failure.floor();
    if let Phase::Open { until } = history.phase
        && now < until
    {
        let until = until.max(now.plus(floor));
        history.phase = Phase::Open { until };
        return Decision::OpenUntil(until);
    }
    if !failure.counts {
        let wait = strategy.backoff.delay(history.consecutive.max(1), random);
        return Decision::RestartAt(now.plus(wait.max(floor)));
    }
    history.record(strategy, now);
    if failure.kind == FailureKind::Permanent || history.exhausted_for_good(strategy, now) {
        return match strategy.on_exhausted {
            OnExhausted::Open(_) | OnExhausted::Quarantine => Decision::Quarantine,
            OnExhausted::Escalate => Decision::Escalate,
            OnExhausted::DeadLetter => Decision::DeadLetter,
        };
    }
    let probing = history.phase != Phase::Closed;
    if probing || history.exhausted(strategy, now) {
        match strategy.on_exhausted {
            OnExhausted::Open(opening) => {
                let until = now.plus(opening.open_for(history.opens).max(floor));
                history.opens = history.opens.saturating_add(1);
                history.phase = Phase::Open { until };
                return Decision::OpenUntil(until);
            }
            OnExhausted::Quarantine => return Decision::Quarantine,
            OnExhausted::Escalate => return Decision::Escalate,
            OnExhausted::DeadLetter => return Decision::DeadLetter,
        }
    }
    let wait = strategy.backoff.delay(history.consecutive, random);
    Decision::RestartAt(now.plus(wait.max(floor)))
}

const PARTS: usize = 12;

/// Results within a sliding window, counted in twelve parts so that a busy target costs no memory.
#[derive(Debug, Clone, Default)]
struct RateWindow {
    parts: [Part; PARTS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Which part of time since the start of the clock this counts, plus one; 0 is none.
    number: u64,
    ok: u32,
    failed: u32,
}

impl RateWindow {
    fn number(rate: &FailureRate, now: Tick) -> u64 {
        let width = u64::try_from(rate.within.as_micros() / PARTS as u128).unwrap_or(u64::MAX).max(1);
        (now.0 / width).saturating_add(1)
    }

    fn add(&mut self, rate: &FailureRate, now: Tick, ok: bool) {
        let number = Self::number(rate, now);
        let part = &mut self.parts[usize::try_from(number % PARTS as u64).unwrap_or(0)];
        if part.number != number {
            *part = Part { number, ok: 0, failed: 0 };
        }
        let count = if ok { &mut part.ok } else { &mut part.failed };
        *count = count.saturating_add(1);
    }

    fn exceeded(&self, rate: &FailureRate, now: Tick) -> bool {
        let number = Self::number(rate, now);
        let live = |part: &&Part| part.number > 0 && number.abs_diff(part.number) < PARTS as u64;
        let (mut ok, mut failed) = (0u64, 0u64);
        for part in self.parts.iter().filter(live) {
            ok += u64::from(part.ok);
            failed += u64::from(part.failed);
        }
        let all = ok + failed;
        all >= u64::from(rate.of_at_least) && failed as f64 >= rate.ratio * all as f64
    }
}

#[cfg(test)]
mod tests;
