//! Time as an argument. Only the hosts (`shard`, `broker::control`, `sim`) read a clock; everybody else is told.

use std::fmt;
use std::time::Duration;

/// Milliseconds since the Unix epoch, as Kafka stamps records. Negative values occur in records and are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// No record is earlier.
    pub const MIN: Self = Self(i64::MIN);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// One reading of both clocks, taken once a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Nanoseconds of a clock that never goes back; its zero is arbitrary. Deadlines are made of this.
    pub monotonic_ns: u64,
    /// The wall clock, for what people and records see. May jump.
    pub wall: Timestamp,
}

impl Now {
    /// The monotonic instant `delay` from now, in nanoseconds: a deadline.
    #[must_use]
    pub fn deadline_ns(self, delay: Duration) -> u64 {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_ns.saturating_add(delay_ns)
    }
}
