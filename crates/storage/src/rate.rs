//! How fast a log grows: what retention by size needs to say when it will reach a segment; and how much came in all.

use types::Now;

const MINUTE_NS: u64 = 60 * 1_000_000_000;
/// Whole minutes that count, beside the one that runs.
const MINUTES: u64 = 5;
/// One bucket a minute.
const BUCKETS: usize = MINUTES as usize + 1;

/// Bytes that came, and in how much time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Growth {
    /// Bytes appended.
    pub bytes: u64,
    /// Over this many milliseconds.
    pub over_ms: u64,
}

impl Growth {
    /// How long `bytes` more take at this rate; `None`: nothing comes.
    #[must_use]
    pub fn takes_ms(self, bytes: u64) -> Option<u64> {
        let ms = (u128::from(bytes) * u128::from(self.over_ms)).checked_div(u128::from(self.bytes))?;
        Some(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// Counts appended bytes by the minute. An idle log costs nothing: old minutes are dropped when it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendRate {
    began_ns: u64,
    /// The minute of the newest bucket.
    minute: u64,
    buckets: [u64; BUCKETS],
    total_bytes: u64,
}

impl AppendRate {
    pub(crate) fn new(now: Now) -> Self {
        Self { began_ns: now.monotonic_ns, minute: now.monotonic_ns / MINUTE_NS, buckets: [0; BUCKETS], total_bytes: 0 }
    }

    pub(crate) fn add(&mut self, now: Now, bytes: u64) {
        self.advance(now.monotonic_ns / MINUTE_NS);
        self.buckets[self.minute as usize % BUCKETS] += bytes;
        self.total_bytes += bytes;
    }

    /// All that was added.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The last five minutes and the begun one. A log opened less than a minute ago counts as one of a minute, so that
    /// the first batch is no storm.
    pub(crate) fn growth(&self, now: Now) -> Growth {
        let mut counted = *self;
        counted.advance(now.monotonic_ns / MINUTE_NS);
        let from_ns = (counted.minute.saturating_sub(MINUTES) * MINUTE_NS).max(self.began_ns);
        let over_ns = now.monotonic_ns.saturating_sub(from_ns).max(MINUTE_NS);
        Growth { bytes: counted.buckets.iter().sum(), over_ms: over_ns / 1_000_000 }
    }

    fn advance(&mut self, minute: u64) {
        while self.minute < minute {
            // A jump over all buckets empties each of them once.
            self.minute = (self.minute + 1).max(minute.saturating_sub(BUCKETS as u64));
            self.buckets[self.minute as usize % BUCKETS] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic_ns: seconds * 1_000_000_000, wall: Timestamp::from_millis(0) }
    }

    #[test]
    fn only_the_last_minutes_count() {
        let mut rate = AppendRate::new(at(30));
        rate.add(at(30), 600);
        assert_eq!(rate.growth(at(31)), Growth { bytes: 600, over_ms: 60_000 });
        rate.add(at(150), 300);
        assert_eq!(rate.growth(at(150)), Growth { bytes: 900, over_ms: 120_000 });
        // In the seventh minute the first is forgotten.
        assert_eq!(rate.growth(at(370)), Growth { bytes: 300, over_ms: 310_000 });
        assert_eq!(rate.growth(at(100_000)).bytes, 0);
        rate.add(at(100_000), 1);
        assert_eq!(rate.growth(at(100_000)).bytes, 1);
        assert_eq!(rate.total_bytes(), 901, "the total forgets nothing");
    }

    #[test]
    fn what_does_not_come_takes_for_ever() {
        assert_eq!(Growth { bytes: 0, over_ms: 60_000 }.takes_ms(1), None);
        assert_eq!(Growth { bytes: 100, over_ms: 60_000 }.takes_ms(50), Some(30_000));
        assert_eq!(Growth { bytes: 1, over_ms: u64::MAX }.takes_ms(u64::MAX), Some(u64::MAX));
    }
}
