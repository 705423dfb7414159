//! Numbers that one thread writes and any thread reads, without a locked instruction: a shard counts what it does as
//! cheaply as in a variable of its own, and whoever scrapes reads them while it works.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writing thread. Readers see a value that was right a moment ago.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `amount`. Only the owning thread may: a second writer's additions would be lost.
    pub fn add(&self, amount: u64) {
        // A load and a store, not a fetch_add: nobody else writes, so the bus need not be locked.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value of this moment.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of [`Durations`]' buckets, in microseconds. What is longer than the last falls into one more.
pub const DURATION_BOUNDS_US: [u64; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// How long things took: a histogram with fixed buckets and one writing thread.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Tally; DURATION_BOUNDS_US.len() + 1],
    sum_ns: Tally,
}

impl Durations {
    /// Counts one that took `ns`.
    pub fn add_ns(&self, ns: u64) {
        let us = ns.div_ceil(1000);
        self.buckets[DURATION_BOUNDS_US.partition_point(|bound| *bound < us)].add(1);
        self.sum_ns.add(ns);
    }

    /// What was counted so far, read bucket by bucket: the count is the buckets' own.
    #[must_use]
    pub fn counts(&self) -> DurationCounts {
        DurationCounts { buckets: std::array::from_fn(|at| self.buckets[at].get()), sum_ns: self.sum_ns.get() }
    }
}

/// What a [`Durations`] held at one moment, or several of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurationCounts {
    /// One for each bound, and the last for what is above all of them; not cumulative.
    pub buckets: [u64; DURATION_BOUNDS_US.len() + 1],
    /// All of them together.
    pub sum_ns: u64,
}

impl DurationCounts {
    /// Adds what another thread counted of the same thing.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += other;
        }
        self.sum_ns += other.sum_ns;
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What one shard's runtime counts of itself.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// From the first thing that a turn did to its end.
    pub turns: Durations,
    /// Letters and completions taken from the mailbox.
    pub mail: Tally,
    /// The log ring's.
    pub ring: RingStats,
}

/// What one log ring counts.
#[derive(Debug, Default)]
pub struct RingStats {
    /// Calls of `io_uring_enter` that submitted something.
    pub submits: Tally,
    /// Operations ended, well or not, those of the inline backend too.
    pub writes: Tally,
    /// Operations ended.
    pub syncs: Tally,
    /// Operations ended.
    pub read_aheads: Tally,
    /// Operations handed to the kernel.
    pub submitted: Tally,
    /// Operations that the kernel had not ended when the call that submitted them returned: it gave them to a worker.
    pub punted: Tally,
    /// Operations that ended with an error.
    pub failed: Tally,
    /// Bytes written.
    pub written_bytes: Tally,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for ns in [0, 10_000, 10_001, 30_000_000_000, 30_000_000_001] {
            durations.add_ns(ns);
        }
        let counts = durations.counts();
        let (first, second) = (counts.buckets[0], counts.buckets[1]);
        assert_eq!((first, second), (2, 1), "a bound belongs to its bucket");
        assert_eq!(counts.buckets[DURATION_BOUNDS_US.len() - 1..], [1, 1]);
        assert_eq!(counts.count(), 5);
        assert_eq!(counts.sum_ns, 60_000_020_002);
        let mut both = counts;
        both.merge(&counts);
        assert_eq!((both.count(), both.sum_ns), (10, 120_000_040_004));
    }

    #[test]
    fn bounds_ascend() {
        assert!(DURATION_BOUNDS_US.is_sorted_by(|a, b| a < b));
    }
}
