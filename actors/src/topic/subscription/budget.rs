//! `retry.budget`: how much of what is sent may be repetitions.

use std::time::Duration;

use crate::clock::Tick;

/// How many repeated attempts may be made: one for each so many first ones, and ten a minute in any case, so that what
/// failed is tried again where nothing new comes.
#[derive(Debug)]
pub(super) struct Budget {
    /// What a first attempt earns.
    earned: f64,
    saved: f64,
    at: Tick,
}

impl Budget {
    /// The most that is saved: a target that was healthy for long may not repeat all at once either.
    const MOST: f64 = 100.0;
    const A_SECOND: f64 = 10.0 / 60.0;

    pub(super) fn new(share: f64) -> Self {
        // Of all attempts, `share` may be repeated: so each first one earns share / (1 - share).
        Self { earned: share / (1.0 - share).max(0.01), saved: 10.0, at: Tick(0) }
    }

    /// How long until one may be made; zero when it may be now.
    pub(super) fn wait(&mut self, now: Tick) -> Duration {
        if self.at != Tick(0) {
            self.saved = (self.saved + now.since(self.at).as_secs_f64() * Self::A_SECOND).min(Self::MOST);
        }
        self.at = now;
        Duration::from_secs_f64(((1.0 - self.saved) / Self::A_SECOND).max(0.0))
    }

    /// An attempt of this number is made.
    pub(super) fn spend(&mut self, attempt: u32) {
        let change = if attempt == 1 { self.earned } else { -1.0 };
        self.saved = (self.saved + change).clamp(0.0, Self::MOST);
    }
}
