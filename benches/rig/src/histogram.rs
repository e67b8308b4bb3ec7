//! Latencies in buckets of 1.6 % width, from 1 ns to hours.

const SUB: u32 = 6; // 64 buckets for each power of two
const BUCKETS: usize = (64 - SUB as usize + 1) << SUB;

/// How often each latency was seen.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

fn bucket(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    if bits <= SUB {
        return value as usize;
    }
    let shift = bits - SUB - 1;
    ((shift as usize + 1) << SUB) + (value >> shift) as usize - (1 << SUB)
}

/// The largest value of a bucket.
fn top(bucket: usize) -> u64 {
    if bucket < 1 << SUB {
        return bucket as u64;
    }
    let (shift, sub) = ((bucket >> SUB) - 1, bucket & ((1 << SUB) - 1));
    (((1 << SUB) + sub as u64 + 1) << shift) - 1
}

impl Histogram {
    /// Adds a latency in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were recorded.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was recorded.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The quantile in microseconds; 0 when nothing was recorded.
    pub fn micros(&self, quantile: f64) -> f64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && self.total > 0 {
                return top(at).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_is_at_most_a_64th_too_high() {
        for value in (0..200_000).chain([u64::MAX >> 1, u64::MAX - 1]) {
            let high = top(bucket(value));
            assert!(high >= value && high - value <= value / 64, "{value} {high}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|n| histogram.record(n * 1000));
        assert!((histogram.micros(0.5) - 500.0).abs() < 8.0);
        assert!((histogram.micros(0.99) - 990.0).abs() < 16.0);
        assert_eq!(histogram.micros(1.0), 1000.0);
    }
}
