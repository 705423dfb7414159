//! How far a reader is behind: arithmetic that the command line and the node's metrics share.

use crate::Offset;

/// Records between a committed offset and the end of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    /// Records that can still be read. Offsets that compaction or transactions took count too, as Kafka counts them.
    pub records: i64,
    /// Records that were deleted before they were read.
    pub lost: i64,
}

impl Lag {
    /// The lag of a reader that reads `committed` next. A commit beyond the end (the log was cut, or the topic made anew)
    /// has none.
    #[must_use]
    pub const fn of(committed: Offset, log_start: Offset, log_end: Offset) -> Self {
        let first = if committed.value() < log_start.value() { log_start } else { committed };
        Self { records: log_end.records_since(first), lost: log_start.records_since(committed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_what_can_be_read_and_what_is_lost() {
        let lag = |committed, start, end| {
            let lag = Lag::of(Offset::new(committed), Offset::new(start), Offset::new(end));
            (lag.records, lag.lost)
        };
        assert_eq!(lag(5, 0, 9), (4, 0));
        assert_eq!(lag(9, 0, 9), (0, 0));
        assert_eq!(lag(5, 5, 9), (4, 0));
        assert_eq!(lag(5, 7, 9), (2, 2));
        // Everything is gone, and the log is empty.
        assert_eq!(lag(5, 9, 9), (0, 4));
        assert_eq!(lag(12, 0, 9), (0, 0));
    }
}
