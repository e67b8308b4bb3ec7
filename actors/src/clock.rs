//! The two clocks: a monotonic one for waiting, a wall clock for what is written down.
//!
//! Plain state never reads a clock: it takes `now` as an argument, so a test moves time by passing another number.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds on the monotonic clock, from a beginning a hundred years before the process. Never goes back, so waits and
/// windows survive a wall clock that is set an hour forward or back. What is stored may be older than the process: it has a time
/// on this clock, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// When the process began, on its monotonic clock: 100 years. A thousand times as much still fits.
const BEGAN: u64 = 100 * 365 * 24 * 3_600 * 1_000_000;

impl Tick {
    /// Now.
    pub fn now() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = START.get_or_init(Instant::now);
        Self(BEGAN.saturating_add(micros(start.elapsed())))
    }

    /// The time `d` later; saturates.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(micros(d)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds since the Unix epoch on the wall clock: what is stored in records and shown to people.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// The time `d` later; saturates.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(d)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with microseconds, e.g. `2026-11-24T08:00:00.000001Z`.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0).map_or_else(|_| format!("{}us", self.0), |t| format!("{t:.6}"))
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_process_has_a_time_on_its_clock() {
        let (now, year) = (Tick::now(), Duration::from_secs(365 * 24 * 3_600));
        assert!(now.since(Tick(0)) > 99 * year);
        assert!(now.0.checked_mul(1_000).is_some(), "in nanoseconds, which rates are counted in");
    }
}
