//! What the journal did, as plain atomics that a metrics page reads at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds, in microseconds, of the buckets of [`JournalStats::sync_micros`]; the last bucket has none.
pub const SYNC_BUCKETS: [u64; 14] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000];

/// Counters of a journal since it was made; they survive its restarts. Read with [`Ordering::Relaxed`].
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Groups written.
    pub groups: AtomicU64,
    /// Of those, the synced ones.
    pub synced: AtomicU64,
    /// Commits in them.
    pub commits: AtomicU64,
    /// Records appended.
    pub records: AtomicU64,
    /// Appends that had come before.
    pub duplicates: AtomicU64,
    /// The data bytes of the records appended.
    pub bytes: AtomicU64,
    /// Of those, what was not written, since another record of the same group has the same data.
    pub shared: AtomicU64,
    /// Commits refused for want of space.
    pub refused_full: AtomicU64,
    /// Commits dropped because what came before them was lost with an earlier incarnation of the journal.
    pub stale: AtomicU64,
    /// Commits refused or failed otherwise.
    pub failed: AtomicU64,
    /// How many synced groups took (write and sync together) up to [`SYNC_BUCKETS`] microseconds; not cumulative.
    pub sync_micros: [AtomicU64; SYNC_BUCKETS.len() + 1],
    /// The sum of those times.
    pub sync_micros_sum: AtomicU64,
}

impl JournalStats {
    pub(super) fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn synced_in(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_BUCKETS.partition_point(|bound| *bound < micros);
        self.add(&self.sync_micros[bucket], 1);
        self.add(&self.sync_micros_sum, micros);
        self.add(&self.synced, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_in_the_first_bucket_that_holds_it() {
        let stats = JournalStats::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            stats.synced_in(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = stats.sync_micros.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
