//! Which segments may go. Whole ones only, from the beginning, nothing that reaches the high watermark.
//!
//! | why | which |
//! |---|---|
//! | `log start` | everything in it lies below the log start (DeleteRecords) |
//! | `retention.ms` | its largest timestamp is older |
//! | `retention.bytes` | without it the log still holds that much |
//!
//! Kafka's rules: time counts by the largest record timestamp, not by the file's; a segment is weighed only when all
//! before it go. When even the active one is due by time, the log rolls and lets it go too.

use types::{Now, Offset, Timestamp};

use crate::config::LogConfig;
use crate::file::SegmentId;
use crate::log::{PartitionLog, SegmentInfo};

/// What retention goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `retention.ms`; `None`: no limit, or the topic does not delete.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None`: no limit, or the topic does not delete.
    pub retention_bytes: Option<u64>,
    /// The log start.
    pub log_start: Offset,
    /// Nothing at or above it goes.
    pub high_watermark: Offset,
}

impl Policy {
    /// The policy of a log with these settings.
    #[must_use]
    pub fn new(config: &LogConfig, log_start: Offset, high_watermark: Offset) -> Self {
        let delete = config.cleanup_policy.delete;
        Self {
            retention_ms: config.retention_ms.filter(|_| delete),
            retention_bytes: config.retention_bytes.filter(|_| delete),
            log_start,
            high_watermark,
        }
    }
}

/// Why a segment goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Below the log start.
    LogStart,
    /// By age.
    Time,
    /// By size.
    Size,
}

/// The segments that may go, oldest first, each with its cause.
#[must_use]
pub fn plan(segments: &[SegmentInfo], now: Timestamp, policy: &Policy) -> Vec<(SegmentId, Cause)> {
    let mut bytes_left: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut due = Vec::new();
    for segment in segments {
        // An empty active segment is where the log goes on.
        if (segment.active && segment.bytes == 0) || policy.high_watermark < segment.next_offset {
            break;
        }
        let age_ms = segment.largest_timestamp.map(|largest| now.millis().saturating_sub(largest.millis()));
        let by_time = match (policy.retention_ms, age_ms) {
            (Some(retention_ms), Some(age_ms)) => i64::try_from(retention_ms).is_ok_and(|limit| limit < age_ms),
            // Compaction took everything out of it.
            (Some(_), None) => true,
            (None, _) => false,
        };
        let by_size = policy.retention_bytes.is_some_and(|limit| limit + segment.bytes <= bytes_left);
        let cause = if segment.next_offset <= policy.log_start && !segment.active {
            Cause::LogStart
        } else if by_time {
            Cause::Time
        } else if by_size && !segment.active {
            Cause::Size
        } else {
            break;
        };
        bytes_left -= segment.bytes;
        due.push((segment.id, cause));
    }
    due
}

impl PartitionLog {
    /// Lets go what retention lets go, rolling first if even the active segment is due (if a write is in flight it rolls
    /// after it, and goes the next time). Returns what was taken out; files are marked `.deleted` once that would
    /// survive a crash, and unlinked `file.delete.delay.ms` later.
    pub fn apply_retention(&mut self, now: Now, high_watermark: Offset) -> Vec<(SegmentId, Cause)> {
        self.now = now;
        // Compaction is at work on positions in these files.
        if self.compacting() || self.poisoned().is_some() || !self.is_ready() {
            return Vec::new();
        }
        let policy = Policy::new(&self.config, self.log_start, high_watermark.min(self.visible));
        let mut due = plan(&self.segments(), now.wall, &policy);
        let active = self.segments.back().map(|segment| segment.id);
        if due.last().map(|&(id, _)| id) == active && !self.roll_when_idle() {
            due.pop();
        }
        let ids: Vec<SegmentId> = due.iter().map(|&(id, _)| id).collect();
        self.take_out(&ids);
        if let (false, Some(first)) = (ids.is_empty(), self.segments.front()) {
            let base = first.base();
            self.move_log_start(base);
        }
        due
    }

    /// What would go next and why not yet: for people who ask where their disk space is.
    #[must_use]
    pub fn next_deletable(&self, now: Now, high_watermark: Offset) -> Option<NextDeletable> {
        let segments = self.segments();
        let first = segments.first().filter(|segment| 0 < segment.bytes)?;
        let policy = Policy::new(&self.config, self.log_start, high_watermark.min(self.visible));
        let expires = policy.retention_ms.zip(first.largest_timestamp).map(|(retention_ms, largest)| {
            let retention_ms = i64::try_from(retention_ms).unwrap_or(i64::MAX);
            Timestamp::from_millis(largest.millis().saturating_add(retention_ms))
        });
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        Some(NextDeletable {
            segment: first.id,
            bytes: first.bytes,
            expires,
            bytes_until_size: policy.retention_bytes.map(|limit| (limit + first.bytes).saturating_sub(bytes)),
            below_high_watermark: first.next_offset <= policy.high_watermark,
            due_now: !plan(&segments, now.wall, &policy).is_empty(),
        })
    }
}

/// The oldest segment and what keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextDeletable {
    /// Which.
    pub segment: SegmentId,
    /// How much it would free.
    pub bytes: u64,
    /// When `retention.ms` lets it go.
    pub expires: Option<Timestamp>,
    /// How many bytes more until `retention.bytes` lets it go.
    pub bytes_until_size: Option<u64>,
    /// Whether the high watermark has passed it.
    pub below_high_watermark: bool,
    /// Whether it goes at the next check.
    pub due_now: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, next: i64, bytes: u64, largest: i64, active: bool) -> SegmentInfo {
        SegmentInfo {
            id: SegmentId::new(Offset::new(base)),
            bytes,
            next_offset: Offset::new(next),
            first_timestamp: None,
            largest_timestamp: (0 < bytes).then_some(Timestamp::from_millis(largest)),
            active,
        }
    }

    fn due(retention_ms: Option<u64>, retention_bytes: Option<u64>, log_start: i64, high_watermark: i64) -> Vec<i64> {
        let segments = [
            segment(0, 10, 100, 1000, false),
            segment(10, 20, 100, 900, false),
            segment(20, 30, 100, 2000, false),
            segment(30, 40, 100, 2500, true),
        ];
        let policy = Policy {
            retention_ms,
            retention_bytes,
            log_start: Offset::new(log_start),
            high_watermark: Offset::new(high_watermark),
        };
        let due = plan(&segments, Timestamp::from_millis(3000), &policy);
        due.into_iter().map(|(id, _)| id.base_offset().value()).collect()
    }

    #[test]
    fn segments_go_by_time_from_the_beginning_only() {
        assert_eq!(due(Some(2500), None, 0, 40), Vec::<i64>::new());
        assert_eq!(due(Some(1999), None, 0, 40), [0, 10]);
        assert_eq!(due(Some(100), None, 0, 40), [0, 10, 20, 30]);
        // The second is old enough, the first is not.
        assert_eq!(due(Some(2050), None, 0, 40), Vec::<i64>::new());
    }

    #[test]
    fn segments_go_by_size_while_enough_is_left() {
        assert_eq!(due(None, Some(300), 0, 40), [0]);
        assert_eq!(due(None, Some(301), 0, 40), Vec::<i64>::new());
        assert_eq!(due(None, Some(0), 0, 40), [0, 10, 20]);
    }

    #[test]
    fn nothing_at_or_above_the_high_watermark_goes() {
        assert_eq!(due(Some(0), None, 0, 19), [0]);
        assert_eq!(due(Some(0), None, 0, 20), [0, 10]);
    }

    #[test]
    fn segments_below_the_log_start_go_whatever_the_policy() {
        assert_eq!(due(None, None, 20, 40), [0, 10]);
        assert_eq!(due(None, None, 19, 40), [0]);
    }
}
