//! The events of one key that were offered and are not over, in their order: which of them may be with the subscriber.
//!
//! A subscriber that keeps the order of what it is given (it sends many events at once) may have several of one key; any
//! other has one. Nothing of a key goes while an earlier event waits for another attempt, and an event that is answered
//! while an earlier one has yet to go does not count: it comes again behind that one.

use std::collections::{BTreeMap, BTreeSet};

use super::Again;
use crate::log::Seq;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// How many are with the subscriber.
    pub(super) flying: usize,
    /// Those that are offered next.
    ready: BTreeSet<Seq>,
    /// Those that wait for another attempt.
    waits: BTreeSet<Seq>,
    /// Those that wait for their turn.
    held: BTreeMap<Seq, Again>,
}

impl Line {
    /// Whether there is nothing of the key any more.
    pub(super) fn is_over(&self) -> bool {
        self.flying == 0 && self.ready.is_empty() && self.waits.is_empty() && self.held.is_empty()
    }

    /// Whether an earlier one has yet to go.
    pub(super) fn goes_before(&self, seq: Seq) -> bool {
        let first = [self.ready.first(), self.waits.first(), self.held.keys().next()];
        first.into_iter().flatten().any(|first| *first < seq)
    }

    /// One is with the subscriber.
    pub(super) fn took_off(&mut self, seq: Seq) {
        self.ready.remove(&seq);
        self.waits.remove(&seq);
        self.flying += 1;
    }

    /// One is given up.
    pub(super) fn leave(&mut self, seq: Seq) {
        self.ready.remove(&seq);
        self.waits.remove(&seq);
        self.held.remove(&seq);
    }

    /// One of those that wait for their turn is given up.
    pub(super) fn take_held(&mut self, seq: Seq) -> Option<Again> {
        self.held.remove(&seq)
    }

    /// One waits for its turn.
    pub(super) fn hold(&mut self, seq: Seq, again: Again) {
        self.waits.remove(&seq);
        self.held.insert(seq, again);
    }

    /// One waits for another attempt; those that were to be offered next and are behind it.
    pub(super) fn wait(&mut self, seq: Seq) -> BTreeSet<Seq> {
        self.waits.insert(seq);
        self.ready.split_off(&seq)
    }

    /// One that may be offered next, where only so many may be with the subscriber together.
    pub(super) fn next(&mut self, together: usize) -> Option<(Seq, Again)> {
        let first = *self.held.keys().next()?;
        let waits_for_another = self.waits.first().is_some_and(|waiting| *waiting < first);
        if waits_for_another || self.flying + self.ready.len() >= together {
            return None;
        }
        self.ready.insert(first);
        self.held.pop_first()
    }

    /// Those that wait for their turn.
    pub(super) fn held(&self) -> &BTreeMap<Seq, Again> {
        &self.held
    }

    /// The same, to be taken out of the order.
    pub(super) fn into_held(self) -> BTreeMap<Seq, Again> {
        self.held
    }
}
