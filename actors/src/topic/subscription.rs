//! One subscription of one topic, as plain state: what to deliver next, what is in flight, what waits for another
//! attempt, what is handled. The topic actor feeds it and carries out what it says.
//!
//! Invariant: every record above the cursor's floor is exactly one of handled, in flight, held for its key, ready to
//! be offered again, or not yet offered; one that waits for another attempt is handled in the cursor and has an entry
//! of its own that is kept until it is settled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Round;
use super::cursor::Cursor;
use crate::clock::{Tick, Wall};
use crate::definitions::Ordering;
use crate::event::Str;
use crate::log::Seq;
use crate::supervision::decision::{Decision, History, decide};
use crate::supervision::failure::Failure;
use crate::supervision::strategy::RestartStrategy;

mod budget;
mod expiry;
mod line;
mod progress;
pub(super) mod waiting;
pub mod waits;

use budget::Budget;
use line::Line;
pub use waiting::{Attempt, Waiting};
use waiting::{MAX_TOLD_TOGETHER, shorten, size, told};

/// How a subscription is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// At most this many deliveries are unsettled at a time: the credit.
    pub max_in_flight: usize,
    /// At most this many bytes of data are with the subscriber at a time, but one delivery in any case.
    pub max_bytes_in_flight: usize,
    /// A delivery not settled within this is a failure; where its subscriber says how far it is, from the beginning of its
    /// attempt on.
    pub ack_wait: Duration,
    /// The order of deliveries.
    pub ordering: Ordering,
    /// The schedule of failed deliveries, and when they are given up.
    pub retry: RestartStrategy,
    /// At most this many deliveries wait for another attempt; beyond it nothing new is taken.
    pub max_waiting: usize,
    /// Repeated attempts may be at most this share of all, see [`Budget`]; no bound when `None`.
    pub retry_budget: Option<f64>,
    /// An event that is older, since its topic got it, is given up, tried or not, unless it waits for a person.
    pub max_age: Option<Duration>,
    /// In order: how many events of a key (all events, where the order is strict) may be with the subscriber together,
    /// which keeps their order then.
    pub together: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_bytes_in_flight: 32 << 20,
            ack_wait: Duration::from_secs(30),
            ordering: Ordering::None,
            retry: RestartStrategy::delivery(),
            max_waiting: 100_000,
            retry_budget: None,
            max_age: None,
            together: 1,
        }
    }
}

/// Events of busy keys that are set aside before nothing new is taken.
const MAX_HELD: usize = 10_000;

/// A delivery that is with the subscriber.
#[derive(Debug, Clone)]
struct InFlight {
    attempt: u32,
    bytes: usize,
    deadline: Tick,
    /// The question after it that is not answered yet.
    asked: Option<Round>,
    key: Option<Str>,
    retried: Option<Waiting>,
}

impl InFlight {
    fn again(self) -> Again {
        Again { key: self.key, retried: self.retried }
    }
}

/// A delivery that is to be offered again at once.
#[derive(Debug, Default)]
struct Again {
    /// Its ordering key, where that is known.
    key: Option<Str>,
    retried: Option<Waiting>,
}

/// What the subscriber says of a delivery.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Done.
    Ack,
    /// Failed: the strategy decides when to try again, or to give up.
    Nak(Failure),
    /// Never to be tried again: straight to the dead letters.
    Term(Failure),
    /// Given up although it is with nobody: its time is over. It has no attempt of its own.
    Expire(Failure),
    /// Not tried at all (the breaker opened, the actor was replaced): offered again, no attempt counted.
    Release,
}

/// What settling a delivery changes, for the caller to store.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The delivery is over; `waited` says that its waiting entry must be deleted.
    Done {
        /// Whether a waiting entry exists.
        waited: bool,
    },
    /// It waits: its entry must be stored.
    Wait(Waiting),
    /// Given up: a dead letter must be written, and its waiting entry deleted when `waited`.
    Dead {
        /// Attempts made.
        attempts: u32,
        /// The last cause.
        cause: Str,
        /// Every failed attempt that is kept.
        failures: Vec<Attempt>,
        /// Whether a waiting entry exists.
        waited: bool,
    },
    /// It will be offered again; nothing to store.
    Again,
    /// Not in flight with that attempt: a late or repeated answer, to be ignored with all that came with it.
    Stale,
}

/// What to do with the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Deliver it as this attempt.
    Deliver(u32),
    /// Its key is busy: it waits for its turn.
    Held,
}

/// The state of a subscription.
#[derive(Debug)]
pub struct Subscription {
    settings: Settings,
    cursor: Cursor,
    /// The next record never offered.
    next: Seq,
    in_flight: BTreeMap<Seq, InFlight>,
    in_flight_bytes: usize,
    waiting: BTreeMap<Seq, Waiting>,
    /// The bytes of the failed attempts of all that wait, and of what has waited and is not over.
    told: usize,
    due: BTreeSet<(Tick, Seq)>,
    /// What is in order by its key.
    lines: HashMap<Str, Line>,
    /// What is in strict order.
    strict: Line,
    held: usize,
    /// To be offered before anything new: released deliveries, and held ones whose turn has come.
    ready: BTreeMap<Seq, Again>,
    /// The subscriber's own limit on the credit, as it was seen last.
    limit: usize,
    paused: bool,
    budget: Option<Budget>,
    /// When the budget lets the next repeated attempt through, as long as it does not.
    budget_at: Option<Tick>,
}

impl Subscription {
    /// A subscription at a cursor, with the deliveries that waited when it was stored.
    pub fn new(settings: Settings, cursor: Cursor, waiting: Vec<(Seq, Waiting)>) -> Self {
        let mut this = Self {
            budget: settings.retry_budget.map(Budget::new),
            budget_at: None,
            settings,
            next: cursor.floor() + 1,
            cursor,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            waiting: BTreeMap::new(),
            told: 0,
            due: BTreeSet::new(),
            lines: HashMap::new(),
            strict: Line::default(),
            held: 0,
            ready: BTreeMap::new(),
            limit: usize::MAX,
            paused: false,
        };
        for (seq, mut entry) in waiting {
            this.remember(&mut entry.failures);
            this.wait(seq, entry);
        }
        this
    }

    /// The cursor, for storing.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next record never offered.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Records before `next` that are not handled; what waits for another attempt counts as handled.
    pub fn lag(&self, next: Seq) -> u64 {
        self.cursor.behind(next)
    }

    /// Deliveries that wait for the turn of their key.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Deliveries with the subscriber.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Deliveries that have failed and are not over: those that wait for another attempt, and those whose attempt is due and that
    /// wait for their turn, for room, or for the breaker.
    pub fn failed(&self) -> usize {
        let held = self.in_order().flat_map(|line| line.held().values());
        self.waiting.len() + self.ready.values().chain(held).filter(|again| again.retried.is_some()).count()
    }

    /// The deliveries that have failed and are not over, as [`failed`](Self::failed) counts them, and those of them that are with the
    /// subscriber: each has an entry that is stored, or on its way there.
    pub fn tried(&self) -> impl Iterator<Item = Seq> {
        let held = self.in_order().flat_map(|line| line.held().iter());
        let again = self.ready.iter().chain(held).filter(|(_, again)| again.retried.is_some()).map(|(seq, _)| *seq);
        let flying = self.in_flight.iter().filter(|(_, flight)| flight.retried.is_some()).map(|(seq, _)| *seq);
        self.waiting.keys().copied().chain(again).chain(flying)
    }

    /// The oldest record that this subscription may still ask for.
    pub fn needs_from(&self) -> Seq {
        let oldest_waiting = self.waiting.first_key_value().map_or(Seq::MAX, |(seq, _)| *seq);
        let oldest_flying = self.in_flight.first_key_value().map_or(Seq::MAX, |(seq, _)| *seq);
        let oldest_ready = self.ready.first_key_value().map_or(Seq::MAX, |(seq, _)| *seq);
        // One that has been tried and waits for its turn again is below the floor.
        let held = self.in_order().filter_map(|line| line.held().keys().next());
        let oldest_held = held.min().copied().unwrap_or(Seq::MAX);
        (self.cursor.floor() + 1).min(oldest_waiting).min(oldest_flying).min(oldest_ready).min(oldest_held)
    }

    /// Whether deliveries are stopped by hand.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops or resumes deliveries by hand.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The subscriber's own limit: 0 stops, 1 lets one probe through.
    pub fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes new settings at a reload.
    pub fn configure(&mut self, settings: Settings) {
        if self.settings.retry_budget != settings.retry_budget {
            self.budget = settings.retry_budget.map(Budget::new);
        }
        let reordered = self.settings.ordering != settings.ordering;
        self.settings = settings;
        if reordered {
            // What waits behind the same key waits no longer, or for something else.
            let mut unsettled = std::mem::take(&mut self.ready);
            for line in self.lines.drain().map(|(_, line)| line).chain([std::mem::take(&mut self.strict)]) {
                unsettled.extend(line.into_held());
            }
            self.held = 0;
            let flying: Vec<_> = self.in_flight.iter().map(|(seq, flight)| (*seq, flight.key.clone())).collect();
            for (seq, key) in flying {
                if let Some(line) = self.line(key.as_ref()) {
                    line.took_off(seq);
                }
            }
            let waiting: Vec<_> = self.waiting.iter().map(|(seq, entry)| (*seq, entry.key.clone())).collect();
            for (seq, key) in waiting {
                if let Some(line) = self.line(key.as_ref()) {
                    line.wait(seq);
                }
            }
            for (seq, again) in unsettled {
                self.hold(seq, again);
            }
        }
    }

    /// Moves to another place of the topic (replay): everything from `next` on is offered again, what waited is
    /// forgotten. What is in flight stays with the subscriber, and its answers are stale.
    pub fn seek(&mut self, next: Seq) {
        let settings = self.settings.clone();
        let (limit, paused) = (self.limit, self.paused);
        *self = Self { limit, paused, ..Self::new(settings, Cursor::at(next.saturating_sub(1)), Vec::new()) };
    }

    /// Skips what retention removed.
    pub fn skip_to(&mut self, first: Seq) {
        self.cursor.skip_to(first);
        self.next = self.next.max(first);
    }

    fn has_credit(&self) -> bool {
        let strict = if self.settings.ordering == Ordering::Strict { self.settings.together } else { usize::MAX };
        let limit = self.settings.max_in_flight.min(self.limit).min(strict);
        let room = self.in_flight.is_empty() || self.in_flight_bytes < self.settings.max_bytes_in_flight;
        !self.paused && self.in_flight.len() < limit && room
    }

    /// Whether the next record, never offered, may be offered now.
    pub fn wants_new(&self) -> bool {
        let room = self.waiting.len() < self.settings.max_waiting && self.held < MAX_HELD;
        self.has_credit() && !self.holds_back() && room
    }

    /// Whether, in strict order, an event that is not over holds back what is new.
    fn holds_back(&self) -> bool {
        let all_with_the_subscriber = self.waiting.is_empty() && self.ready.is_empty() && self.held == 0;
        self.settings.ordering == Ordering::Strict && !all_with_the_subscriber
    }

    /// The record to offer again now, if any: a released one, one whose key is free, or one whose wait is over.
    pub fn take_again(&mut self, now: Tick) -> Option<Seq> {
        if !self.has_credit() {
            return None;
        }
        if let Some((&seq, _)) = self.ready.first_key_value() {
            return Some(seq);
        }
        self.budget_at = None;
        while let Some(&(due, seq)) = self.due.first()
            && due <= now
        {
            let wait = self.budget.as_mut().map_or(Duration::ZERO, |budget| budget.wait(now));
            if !wait.is_zero() {
                self.budget_at = Some(now.plus(wait));
                return None;
            }
            let Some(key) = self.waiting.get(&seq).map(|entry| entry.key.clone()) else { return Some(seq) };
            let together = self.settings.together;
            match self.line(key.as_ref()) {
                Some(line) if line.flying >= together || line.goes_before(seq) => self.set_aside(seq),
                _ => return Some(seq),
            }
        }
        None
    }

    /// One whose wait is over has to wait for its turn: several of a key wait where their order was asked for later.
    fn set_aside(&mut self, seq: Seq) {
        let Some(entry) = self.waiting.remove(&seq) else { return };
        self.due.remove(&(entry.due, seq));
        let key = entry.key.clone();
        self.hold(seq, Again { key, retried: Some(entry) });
    }

    /// When [`take_again`](Self::take_again) or [`expired`](Self::expired) has something to say next.
    pub fn next_wake(&self) -> Option<Tick> {
        let due = self.due.first().map(|(t, _)| (*t).max(self.budget_at.unwrap_or(*t)));
        // Without credit a settlement is what wakes it.
        let due = due.filter(|_| self.has_credit());
        // ack_wait is one value, so the oldest in flight is the first to expire but for redeliveries; the scan is
        // bounded by the credit.
        let deadline = self.in_flight.values().map(|f| f.deadline).min();
        due.into_iter().chain(deadline).min()
    }

    /// Whether the next new record is handled already (in the cursor above the floor).
    pub fn is_handled(&self, seq: Seq) -> bool {
        self.cursor.is_handled(seq)
    }

    /// The next new record is not for this subscription (its filter says so, or it is handled).
    pub fn skip(&mut self, seq: Seq) {
        self.next = self.next.max(seq + 1);
        self.cursor.mark(seq);
    }

    /// Takes a record: the next new one, or the one that `take_again` named.
    pub fn offer(&mut self, seq: Seq, key: Option<Str>, now: Tick) -> Offer {
        // One that was offered before is not the next new one, even when it is beyond it: after a restart the waiting
        // entries are known before the records in front of them have been offered again.
        let again = self.ready.remove(&seq);
        let is_new = again.is_none() && !self.waiting.contains_key(&seq);
        let Again { key: known, retried } = again.unwrap_or_else(|| {
            let retried = self.waiting.remove(&seq).inspect(|w| {
                self.due.remove(&(w.due, seq));
            });
            Again { key: retried.as_ref().and_then(|w| w.key.clone()), retried }
        });
        // A record that is gone or damaged has no key to tell, and what waits behind its key must go on all the same.
        let key = key.or(known);
        if is_new {
            self.next = seq + 1;
            let together = self.settings.together;
            if let Some(line) = self.line(key.as_ref())
                && (line.flying >= together || line.goes_before(seq))
            {
                line.hold(seq, Again { key, retried: None });
                self.held += 1;
                return Offer::Held;
            }
        }
        if let Some(line) = self.line(key.as_ref()) {
            line.took_off(seq);
        }
        let attempt = retried.as_ref().map_or(0, |w| w.attempts) + 1;
        if let Some(budget) = &mut self.budget {
            budget.spend(attempt);
        }
        let deadline = now.plus(self.settings.ack_wait);
        self.in_flight.insert(seq, InFlight { attempt, bytes: 0, deadline, asked: None, key, retried });
        Offer::Deliver(attempt)
    }

    /// Says how large a delivery is that was just offered.
    pub fn weigh(&mut self, seq: Seq, bytes: usize) {
        if let Some(flight) = self.in_flight.get_mut(&seq) {
            self.in_flight_bytes = self.in_flight_bytes - flight.bytes + bytes;
            flight.bytes = bytes;
        }
    }

    fn land(&mut self, seq: Seq) -> Option<InFlight> {
        let flight = self.in_flight.remove(&seq)?;
        self.in_flight_bytes -= flight.bytes;
        if let Some(line) = self.line(flight.key.as_ref()) {
            line.flying = line.flying.saturating_sub(1);
        }
        Some(flight)
    }

    /// Takes back a delivery that could not be handed over (the mailbox was full or its actor is being restarted).
    pub fn hand_back(&mut self, seq: Seq) {
        if let Some(flight) = self.land(seq) {
            self.hold(seq, flight.again());
        }
    }

    /// It goes when its turn comes: at once, where nothing is in order.
    fn hold(&mut self, seq: Seq, again: Again) {
        let key = again.key.clone();
        match self.line(key.as_ref()) {
            Some(line) => {
                line.hold(seq, again);
                self.held += 1;
                self.free(key.as_ref());
            }
            None => drop(self.ready.insert(seq, again)),
        }
    }

    /// Settles a delivery of the given attempt.
    pub fn settle(&mut self, seq: Seq, attempt: u32, verdict: Verdict, now: Tick, wall: Wall, random: f64) -> Effect {
        if let Verdict::Expire(failure) = verdict {
            return self.expire(seq, failure);
        }
        if self.in_flight.get(&seq).is_none_or(|flight| flight.attempt != attempt) {
            return Effect::Stale;
        }
        let Some(flight) = self.land(seq) else { return Effect::Stale };
        let waited = flight.retried.is_some();
        // Whatever became of it, the last that the other side hears of a key is its newest event.
        let early = self.line(flight.key.as_ref()).is_some_and(|line| line.goes_before(seq));
        let verdict = if early { Verdict::Release } else { verdict };
        if !matches!(verdict, Verdict::Release) {
            self.told -= flight.retried.as_ref().map_or(0, |waited| size(&waited.failures));
        }
        match verdict {
            Verdict::Ack => {
                self.cursor.mark(seq);
                self.free(flight.key.as_ref());
                Effect::Done { waited }
            }
            Verdict::Release => {
                self.hold(seq, flight.again());
                Effect::Again
            }
            // Taken above.
            Verdict::Expire(_) => Effect::Stale,
            Verdict::Term(failure) => {
                self.cursor.mark(seq);
                self.free(flight.key.as_ref());
                let failures = told(flight.retried.as_ref(), attempt, wall, &failure);
                Effect::Dead { attempts: attempt, cause: failure.message, failures, waited }
            }
            Verdict::Nak(failure) => {
                let since = flight.retried.as_ref().map_or(wall, |w| w.since);
                let first =
                    Tick(now.0.saturating_sub(u64::try_from(wall.since(since).as_micros()).unwrap_or(u64::MAX)));
                let mut history = History::resumed(attempt - 1, first);
                match decide(&self.settings.retry, &mut history, now, &failure, random) {
                    Decision::RestartAt(due) | Decision::OpenUntil(due) => {
                        let mut failures = told(flight.retried.as_ref(), attempt, wall, &failure);
                        self.remember(&mut failures);
                        let entry = Waiting {
                            failures,
                            attempts: attempt,
                            since,
                            due,
                            due_wall: wall.plus(due.since(now)),
                            key: flight.key,
                            cause: failure.message.clone(),
                            asked: failure.retry_after.is_some() && due.since(now) <= failure.floor(),
                        };
                        self.cursor.mark(seq);
                        self.wait(seq, entry.clone());
                        Effect::Wait(entry)
                    }
                    Decision::Quarantine | Decision::Escalate | Decision::DeadLetter => {
                        self.cursor.mark(seq);
                        self.free(flight.key.as_ref());
                        let failures = told(flight.retried.as_ref(), attempt, wall, &failure);
                        Effect::Dead { attempts: attempt, cause: failure.message, failures, waited }
                    }
                }
            }
        }
    }

    /// Counts the failed attempts of one that waits from now on; where there is no room for all, only some are kept.
    fn remember(&mut self, failures: &mut Vec<Attempt>) {
        if self.told + size(failures) > MAX_TOLD_TOGETHER {
            shorten(failures);
        }
        self.told += size(failures);
    }

    fn wait(&mut self, seq: Seq, entry: Waiting) {
        let key = entry.key.clone();
        self.due.insert((entry.due, seq));
        self.waiting.insert(seq, entry);
        let behind = self.line(key.as_ref()).map(|line| line.wait(seq)).unwrap_or_default();
        for seq in behind {
            if let Some(again) = self.ready.remove(&seq) {
                self.hold(seq, again);
            }
        }
    }

    /// The line of an event with this key; none where nothing is in order.
    fn line(&mut self, key: Option<&Str>) -> Option<&mut Line> {
        match self.settings.ordering {
            Ordering::None => None,
            Ordering::Strict => Some(&mut self.strict),
            Ordering::Key => {
                let key = key?;
                if !self.lines.contains_key(key) {
                    self.lines.insert(key.clone(), Line::default());
                }
                self.lines.get_mut(key)
            }
        }
    }

    fn in_order(&self) -> impl Iterator<Item = &Line> {
        self.lines.values().chain([&self.strict])
    }

    /// The next events of a key may go once enough of those before them are over.
    fn free(&mut self, key: Option<&Str>) {
        let together = self.settings.together;
        let Some(line) = self.line(key) else { return };
        let mut next = Vec::new();
        while let Some(one) = line.next(together) {
            next.push(one);
        }
        let over = line.is_over();
        self.held -= next.len();
        self.ready.extend(next);
        if let Some(key) = key.filter(|_| over) {
            self.lines.remove(key);
        }
    }

    /// Makes every waiting delivery due now (a reset of the target by hand).
    pub fn retry_now(&mut self, now: Tick) {
        let seqs: Vec<Seq> = self.waiting.keys().copied().collect();
        for seq in seqs {
            if let Some(entry) = self.waiting.get_mut(&seq) {
                self.due.remove(&(entry.due, seq));
                entry.due = now;
                self.due.insert((now, seq));
            }
        }
    }
}

#[cfg(test)]
mod tests;
