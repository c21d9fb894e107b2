//! How long syncs take, as a histogram that one thread writes and anybody reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; the last bucket has none.
const BOUNDS_US: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

/// The counters. One thread adds; sums of different moments are read where it does so meanwhile.
#[derive(Debug, Default)]
pub(super) struct Times {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// How long something took, so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, the last one infinite, and how many took no longer than that and longer than the bound before.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Seconds of all together.
    pub sum: f64,
}

impl Times {
    pub(super) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    pub(super) fn read(&self) -> Histogram {
        let bounds = BOUNDS_US.iter().map(|us| Duration::from_micros(*us).as_secs_f64()).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.buckets.iter().map(|count| count.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Histogram { buckets, count, sum: Duration::from_micros(self.sum_us.load(Relaxed)).as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_in_its_bucket() {
        let times = Times::default();
        for us in [0, 100, 101, 2_500_000, 2_500_001] {
            times.add(Duration::from_micros(us));
        }

        let read = times.read();

        let filled: Vec<_> = read.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(filled, [(0.0001, 2), (0.00025, 1), (2.5, 1), (f64::INFINITY, 1)]);
        assert_eq!((read.count, read.sum), (5, 5.000_202));
    }
}
