//! How often a source may deliver: a token bucket, kept as one number (the generic cell rate algorithm).
//!
//! Pure: it takes the monotonic time, so that a wall clock set back neither blocks a source nor opens it.

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

use crate::clock::Tick;

/// `rate = { per_second = 100, burst = 200 }`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Events a second in the long run, 1 to 1,000,000.
    pub per_second: u32,
    /// Events at once after a pause, 1 to 1,000,000; default: one second's worth. A batch larger than this never passes.
    #[serde(default)]
    pub burst: Option<u32>,
}

impl Limit {
    /// The largest rate and burst.
    pub const MAX: u32 = 1_000_000;

    /// The burst in force.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.per_second)
    }

    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let fits = |n: u32| (1..=Self::MAX).contains(&n);
        (!fits(self.per_second) || !fits(self.burst()))
            .then(|| format!("`per_second` and `burst` must be between 1 and {}", Self::MAX))
    }
}

/// The bucket of one source.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Nanoseconds that one event costs.
    cost: u64,
    /// Nanoseconds that may be owed: the burst.
    credit: u64,
    /// When the bucket is full again, in nanoseconds of [`Tick`].
    full_at: u64,
}

impl Bucket {
    /// A full bucket. Values outside the limits are brought within.
    pub fn new(limit: Limit) -> Self {
        let cost = 1_000_000_000 / u64::from(limit.per_second.clamp(1, Limit::MAX));
        Self { cost, credit: cost * u64::from(limit.burst().clamp(1, Limit::MAX)), full_at: 0 }
    }

    /// So many in a time, evenly spread: at once come no more than in ten milliseconds (at least one), which is what
    /// a timer can tell apart.
    pub fn spread(limit: u32, per: Duration) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let cost = (per / u64::from(limit.max(1))).max(1);
        Self { cost, credit: cost.max(10_000_000), full_at: 0 }
    }

    /// The same, with as much taken out as of the one before it: a reload lets nobody in who would have had to wait.
    #[must_use]
    pub fn in_place_of(self, before: &Self) -> Self {
        Self { full_at: before.full_at, ..self }
    }

    /// Takes `events` out, all or none.
    ///
    /// # Errors
    /// How long to wait until they would be let in (for more events than the burst: until the bucket is full).
    pub fn take(&mut self, events: u32, now: Tick) -> Result<(), Duration> {
        let now = now.0.saturating_mul(1_000);
        let owed_from = self.full_at.max(now);
        let full_at = owed_from.saturating_add(self.cost.saturating_mul(u64::from(events)));
        let owed = full_at - now;
        if owed <= self.credit {
            self.full_at = full_at;
            return Ok(());
        }
        let until_full = owed_from - now;
        let wait = (owed - self.credit).min(until_full.max(self.cost));
        Err(Duration::from_nanos(wait))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn bucket(per_second: u32, burst: u32) -> Bucket {
        Bucket::new(Limit { per_second, burst: Some(burst) })
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = bucket(10, 3);
        let now = Tick(5_000_000);
        for _ in 0..3 {
            bucket.take(1, now).unwrap();
        }
        assert_eq!(bucket.take(1, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(2, now), Err(Duration::from_millis(200)));
        assert!(bucket.take(1, now.plus(Duration::from_millis(99))).is_err());
        assert!(bucket.take(1, now.plus(Duration::from_millis(100))).is_ok());
        assert!(bucket.take(4, now.plus(Duration::from_secs(60))).is_err(), "more than the burst never passes");
        assert!(bucket.take(3, now.plus(Duration::from_secs(60))).is_ok());
    }

    #[test]
    fn so_many_in_a_time_evenly_spread() {
        let mut bucket = Bucket::spread(2, Duration::from_secs(3600));
        let now = Tick(1);
        bucket.take(1, now).unwrap();
        assert_eq!(bucket.take(1, now), Err(Duration::from_secs(1800)));
        let mut bucket = Bucket::spread(5000, Duration::from_secs(1));
        let at_once = (0..1000).take_while(|_| bucket.take(1, now).is_ok()).count();
        assert_eq!(at_once, 50);
    }

    #[test]
    fn limits_are_checked() {
        assert!(Limit { per_second: 0, burst: None }.problem().is_some());
        assert!(Limit { per_second: 1, burst: Some(0) }.problem().is_some());
        assert!(Limit { per_second: 1, burst: None }.problem().is_none());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(rate in 1u32..2_000, burst in 1u32..100, steps in prop::collection::vec(0u64..20_000, 1..200)) {
            let mut bucket = bucket(rate, burst);
            let (mut now, mut taken) = (0u64, 0u64);
            for step in steps {
                now += step;
                match bucket.take(1, Tick(now)) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        // What Retry-After promises holds.
                        let mut later = bucket.clone();
                        prop_assert!(later.take(1, Tick(now).plus(wait + Duration::from_micros(1))).is_ok());
                    }
                }
            }
            let allowed = u64::from(burst) + now * u64::from(rate) / 1_000_000 + 1;
            prop_assert!(taken <= allowed, "{taken} > {allowed}");
        }
    }
}
