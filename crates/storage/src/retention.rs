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
use crate::rate::Growth;

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

    /// What would go next, when, and why not yet: for people who ask where their disk space is.
    #[must_use]
    pub fn next_deletable(&self, now: Now, high_watermark: Offset) -> NextDeletable {
        let policy = Policy::new(&self.config, self.log_start, high_watermark.min(self.visible));
        let outlook = Outlook { now: now.wall, segment_bytes: self.config.segment_bytes, growth: self.growth(now) };
        let mut next = next_deletable(&self.segments(), &policy, &outlook);
        if next.segment.is_some() && self.poisoned().is_some() {
            next.kept = Kept::Poisoned;
        } else if next.kept == Kept::NextCheck && self.compacting() {
            next.kept = Kept::Compacting;
        } else if next.kept == Kept::NoLimit && !self.config.cleanup_policy.delete {
            next.kept = Kept::NotByPolicy;
        }
        next
    }

    /// When retention lets go of the segment that holds `offset`; `None`: never, as far as one can see.
    #[must_use]
    pub fn kept_until(&self, now: Now, high_watermark: Offset, offset: Offset) -> Option<(Timestamp, Cause)> {
        let policy = Policy::new(&self.config, self.log_start, high_watermark.min(self.visible));
        let outlook = Outlook { now: now.wall, segment_bytes: self.config.segment_bytes, growth: self.growth(now) };
        kept_until(&self.segments(), &policy, &outlook, offset)
    }

    /// How fast the log grew over the last five minutes.
    #[must_use]
    pub fn growth(&self, now: Now) -> Growth {
        self.append_rate.growth(now)
    }

    /// Bytes appended since the log was opened, those that are deleted by now among them.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.append_rate.total_bytes()
    }
}

/// What one must know to foresee what a policy will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// The time.
    pub now: Timestamp,
    /// `segment.bytes`: the active segment goes by size only after it has rolled.
    pub segment_bytes: u32,
    /// How fast the log grows.
    pub growth: Growth,
}

/// The oldest segment and what keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextDeletable {
    /// Which; `None`: there is nothing in the log.
    pub segment: Option<SegmentId>,
    /// How much it would free.
    pub bytes: u64,
    /// When it can go, as far as one can see: by age, or by size at the present growth.
    pub at: Option<Timestamp>,
    /// How many bytes more until `retention.bytes` lets it go.
    pub bytes_until_size: Option<u64>,
    /// Why it is still there.
    pub kept: Kept,
}

/// Why the oldest segment is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is due and goes at the next check (`log.retention.check.interval.ms`).
    NextCheck,
    /// There is nothing in the log.
    Empty,
    /// Neither `retention.ms` nor `retention.bytes` sets a limit.
    NoLimit,
    /// `cleanup.policy` does not delete: records go by compaction, or not at all.
    NotByPolicy,
    /// It reaches the high watermark: not every replica has it.
    HighWatermark,
    /// Its newest record is younger than `retention.ms`.
    Young,
    /// Its newest record claims a time that is still to come, and age counts from there.
    FutureTimestamp,
    /// The log is smaller than `retention.bytes` and this segment.
    Small,
    /// It takes appends: size counts from when it has rolled (`segment.bytes`, `segment.ms`).
    Active,
    /// Compaction is at work on these files.
    Compacting,
    /// The log directory failed: nothing is deleted until a restart.
    Poisoned,
}

/// When one segment is due, were it the first: by what, and how many bytes more it takes by size.
struct Due {
    at: Option<(Timestamp, Cause)>,
    bytes_until_size: Option<u64>,
}

/// `bytes_after`: those of all segments behind it.
fn due(segment: &SegmentInfo, bytes_after: u64, policy: &Policy, outlook: &Outlook) -> Due {
    let later = |from: Timestamp, ms: u64| {
        Timestamp::from_millis(from.millis().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    };
    if segment.next_offset <= policy.log_start && !segment.active {
        return Due { at: Some((outlook.now, Cause::LogStart)), bytes_until_size: None };
    }
    let by_time = policy.retention_ms.and_then(|retention_ms| match segment.largest_timestamp {
        Some(largest) => Some(later(largest, retention_ms)),
        // Compaction took everything out of it.
        None if segment.bytes == 0 && segment.active => None,
        None => Some(outlook.now),
    });
    let bytes_until_size = policy.retention_bytes.map(|limit| {
        let until_rolled =
            if segment.active { u64::from(outlook.segment_bytes).saturating_sub(segment.bytes) } else { 0 };
        limit.saturating_sub(bytes_after).saturating_add(until_rolled)
    });
    let by_size = bytes_until_size.and_then(|bytes| match bytes {
        0 => Some(outlook.now),
        bytes => outlook.growth.takes_ms(bytes).map(|ms| later(outlook.now, ms)),
    });
    let at = match (by_time, by_size) {
        (Some(time), Some(size)) if size < time => Some((size, Cause::Size)),
        (Some(time), _) => Some((time, Cause::Time)),
        (None, size) => size.map(|size| (size, Cause::Size)),
    };
    Due { at, bytes_until_size }
}

/// The oldest segment, when it can go, and why it has not.
#[must_use]
pub fn next_deletable(segments: &[SegmentInfo], policy: &Policy, outlook: &Outlook) -> NextDeletable {
    let Some(first) = segments.first().filter(|first| 0 < first.bytes || !first.active) else {
        return NextDeletable { segment: None, bytes: 0, at: None, bytes_until_size: None, kept: Kept::Empty };
    };
    let bytes_after = segments.iter().skip(1).map(|segment| segment.bytes).sum();
    let Due { at, bytes_until_size } = due(first, bytes_after, policy, outlook);
    let kept = if !plan(segments, outlook.now, policy).is_empty() {
        Kept::NextCheck
    } else if policy.retention_ms.is_none() && policy.retention_bytes.is_none() {
        Kept::NoLimit
    } else if policy.high_watermark < first.next_offset {
        Kept::HighWatermark
    } else if policy.retention_ms.is_some() {
        if first.largest_timestamp.is_some_and(|largest| outlook.now < largest) {
            Kept::FutureTimestamp
        } else {
            Kept::Young
        }
    } else if first.active {
        Kept::Active
    } else {
        Kept::Small
    };
    NextDeletable { segment: Some(first.id), bytes: first.bytes, at: at.map(|(at, _)| at), bytes_until_size, kept }
}

/// When the segment that holds `offset` can go, and by what. Segments go from the beginning only, so it waits for those
/// before it: one whose newest record is younger, or claims to be, holds up all behind it.
#[must_use]
pub fn kept_until(
    segments: &[SegmentInfo],
    policy: &Policy,
    outlook: &Outlook,
    offset: Offset,
) -> Option<(Timestamp, Cause)> {
    let mut bytes_after: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut latest: Option<(Timestamp, Cause)> = None;
    for segment in segments {
        bytes_after -= segment.bytes;
        let at = due(segment, bytes_after, policy, outlook).at?;
        if latest.is_none_or(|latest| latest.0 < at.0) {
            latest = Some(at);
        }
        if offset < segment.next_offset {
            return latest;
        }
    }
    None
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

    struct Case {
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
        now: i64,
        /// Bytes a second.
        rate: u64,
    }

    /// Segments of 100 bytes as above, the active one of at most 150.
    fn foreseen(case: &Case) -> (Policy, Outlook, [SegmentInfo; 4]) {
        let segments = [
            segment(0, 10, 100, 1000, false),
            segment(10, 20, 100, 900, false),
            segment(20, 30, 100, 2000, false),
            segment(30, 40, 100, 2500, true),
        ];
        let policy = Policy {
            retention_ms: case.retention_ms,
            retention_bytes: case.retention_bytes,
            log_start: Offset::ZERO,
            high_watermark: Offset::new(40),
        };
        let growth = Growth { bytes: case.rate, over_ms: 1000 };
        let outlook = Outlook { now: Timestamp::from_millis(case.now), segment_bytes: 150, growth };
        (policy, outlook, segments)
    }

    fn next(retention_ms: Option<u64>, retention_bytes: Option<u64>, now: i64, rate: u64) -> String {
        let (policy, outlook, segments) = foreseen(&Case { retention_ms, retention_bytes, now, rate });
        let next = next_deletable(&segments, &policy, &outlook);
        let at = next.at.map(Timestamp::millis);
        format!("{:?} at {at:?} after {:?} bytes", next.kept, next.bytes_until_size)
    }

    #[test]
    fn what_goes_next_says_when_and_why_not_yet() {
        assert_eq!(next(None, None, 3000, 0), "NoLimit at None after None bytes");
        assert_eq!(next(Some(5000), None, 3000, 0), "Young at Some(6000) after None bytes");
        assert_eq!(next(Some(1000), None, 3000, 0), "NextCheck at Some(2000) after None bytes");
        assert_eq!(next(Some(5000), None, 500, 0), "FutureTimestamp at Some(6000) after None bytes");
        assert_eq!(next(None, Some(500), 3000, 0), "Small at None after Some(200) bytes");
        assert_eq!(next(None, Some(500), 3000, 100), "Small at Some(5000) after Some(200) bytes");
        // By whichever comes first.
        assert_eq!(next(Some(5000), Some(500), 3000, 100), "Young at Some(5000) after Some(200) bytes");
        assert_eq!(next(Some(5000), Some(500), 3000, 1), "Young at Some(6000) after Some(200) bytes");
        assert_eq!(next(None, Some(300), 3000, 0), "NextCheck at Some(3000) after Some(0) bytes");
    }

    #[test]
    fn what_goes_next_of_an_empty_or_a_one_segment_log() {
        let (mut policy, outlook, segments) =
            foreseen(&Case { retention_ms: None, retention_bytes: Some(50), now: 3000, rate: 100 });
        assert_eq!(next_deletable(&[segment(0, 0, 0, 0, true)], &policy, &outlook).kept, Kept::Empty);
        // It must fill up (50 bytes) and be followed by as much as the limit (50).
        let active = next_deletable(&segments[3..], &policy, &outlook);
        assert_eq!(active.kept, Kept::Active);
        assert_eq!(active.bytes_until_size, Some(100));
        assert_eq!(active.at, Some(Timestamp::from_millis(4000)));
        policy.high_watermark = Offset::new(5);
        assert_eq!(next_deletable(&segments, &policy, &outlook).kept, Kept::HighWatermark);
    }

    fn until(retention_ms: Option<u64>, retention_bytes: Option<u64>, rate: u64, offset: i64) -> Option<(i64, Cause)> {
        let (policy, outlook, segments) = foreseen(&Case { retention_ms, retention_bytes, now: 3000, rate });
        kept_until(&segments, &policy, &outlook, Offset::new(offset)).map(|(at, cause)| (at.millis(), cause))
    }

    #[test]
    fn an_offset_is_kept_as_long_as_its_segment_and_those_before_it() {
        assert_eq!(until(None, None, 100, 0), None);
        assert_eq!(until(Some(5000), None, 0, 9), Some((6000, Cause::Time)));
        // The second segment's records are older than the first's, which holds them up.
        assert_eq!(until(Some(5000), None, 0, 10), Some((6000, Cause::Time)));
        assert_eq!(until(Some(5000), None, 0, 20), Some((7000, Cause::Time)));
        assert_eq!(until(Some(5000), None, 0, 39), Some((7500, Cause::Time)));
        assert_eq!(until(Some(5000), None, 0, 40), None);
        // By size: 300 bytes lie behind the first, 200 behind the second; the active one must fill up too.
        assert_eq!(until(None, Some(400), 100, 0), Some((4000, Cause::Size)));
        assert_eq!(until(None, Some(400), 100, 10), Some((5000, Cause::Size)));
        assert_eq!(until(None, Some(400), 100, 30), Some((7500, Cause::Size)));
        assert_eq!(until(None, Some(400), 0, 0), None);
        // The earlier of both, segment by segment.
        assert_eq!(until(Some(5000), Some(400), 100, 10), Some((5000, Cause::Size)));
        assert_eq!(until(Some(5000), Some(400), 10, 10), Some((6000, Cause::Time)));
    }

    #[test]
    fn what_is_foreseen_is_what_the_plan_does() {
        let limits = [None, Some(0), Some(100), Some(250), Some(1000)];
        for retention_ms in limits {
            for retention_bytes in limits {
                for now in [901, 1001, 1101, 2003, 2253, 3503] {
                    let (policy, outlook, segments) = foreseen(&Case { retention_ms, retention_bytes, now, rate: 0 });
                    let goes = plan(&segments, outlook.now, &policy);
                    for segment in segments.iter().filter(|segment| !segment.active) {
                        let until = kept_until(&segments, &policy, &outlook, segment.id.base_offset());
                        let is_due = until.is_some_and(|(at, _)| at <= outlook.now);
                        let is_gone = goes.iter().any(|(id, _)| *id == segment.id);
                        assert_eq!(is_gone, is_due, "{policy:?} at {now}: {until:?}");
                    }
                }
            }
        }
    }
}
