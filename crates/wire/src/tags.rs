//! Ringlog's own tagged fields. A tagged field that the other side does not know is skipped by it (KIP-482), so a
//! message can carry more than Kafka's schema says without a version of its own. Ours begin at [`TAG_MIN`], far above
//! what Kafka hands out; every one is listed here with the message that carries it, and never used for anything else.
//! A response carries one only if the request asked for it by a tag of ours: other clients never see them.
//!
//! | tag | message, versions | carried by | content |
//! |-|-|-|-|
//! | 10000 | DescribeLogDirsRequest 2+ | the request | nothing: asks for tag 10000 of every partition |
//! | 10001 | DescribeLogDirsRequest 2+ | a topic | [`ReadPosition`]s: asks for tag 10001 of these partitions |
//! | 10000 | DescribeLogDirsResponse 2+ | a partition | [`LogFacts`] |
//! | 10001 | DescribeLogDirsResponse 2+ | a partition | [`Unread`]s, one for each position asked for |
//!
//! ```text
//! ReadPositions: count (4B) | count times: partition (4B) | offset (8B)
//! LogFacts:      log start (8B) | log end (8B) | recovery point (8B) | bytes appended (8B) | in milliseconds (8B)
//!                | next deletable segment: base offset (8B) | bytes (8B) | can go at (8B) | bytes until it goes by size (8B)
//!                | why it is kept (1B) | bytes appended since the log was opened (8B)
//! Unreads:       count (4B) | count times: offset (8B) | bytes (8B) | timestamp (8B) | kept until (8B) | goes by (1B)
//! ```
//! Numbers are big-endian, -1 is none, times are milliseconds since the epoch. A value may grow at its end: a reader
//! passes over bytes behind what it knows (a list's elements do not grow).

use bytes::{BufMut, BytesMut};
use types::limits::LOG_DIR_POSITIONS_MAX;
use types::{Offset, PartitionIndex, Timestamp};

use crate::codec::{DecodeError, DecodeFault, Reader, Tags};

/// The first tag that is ours.
pub const TAG_MIN: u32 = 10_000;

/// In a DescribeLogDirs request: asks for [`LogFacts`]; in its response: they.
pub const LOG_FACTS: u32 = TAG_MIN;

/// In a DescribeLogDirs request's topic: where readers stand; in the response's partition: what they have not read.
pub const UNREAD: u32 = TAG_MIN + 1;

const NONE: i64 = -1;
const POSITION_BYTES: usize = 12;
const UNREAD_BYTES: usize = 33;

/// What a node knows of a log beyond its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFacts {
    /// The first offset readers may ask for.
    pub log_start: Offset,
    /// The offset after the last record written.
    pub log_end: Offset,
    /// Below it everything is fsynced; recovery reads only what lies above.
    pub recovery_point: Offset,
    /// Bytes appended lately.
    pub appended_bytes: u64,
    /// In this many milliseconds: the last five minutes, or since the log was opened.
    pub appended_ms: u64,
    /// The oldest segment and what keeps it.
    pub next_deletable: NextDeletable,
    /// Bytes appended since the log was opened: how much came between two looks, whatever was deleted meanwhile.
    pub appended_total_bytes: u64,
}

/// The oldest segment of a log and what keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextDeletable {
    /// Its base offset; `None`: there is nothing in the log.
    pub segment: Option<Offset>,
    /// How much it would free.
    pub bytes: u64,
    /// When it can go, as far as one can see: by age, or by size at the present growth.
    pub at: Option<Timestamp>,
    /// How many bytes more until `retention.bytes` lets it go.
    pub bytes_until_size: Option<u64>,
    /// Why it is still there; `None`: for a reason that only a newer version knows.
    pub kept: Option<Kept>,
}

/// Why the oldest segment is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Kept {
    /// It is due and goes at the next check.
    NextCheck = 0,
    /// There is nothing in the log.
    Empty = 1,
    /// Neither `retention.ms` nor `retention.bytes` sets a limit.
    NoLimit = 2,
    /// `cleanup.policy` does not delete.
    NotByPolicy = 3,
    /// It reaches the high watermark: not every replica has it.
    HighWatermark = 4,
    /// Its newest record is younger than `retention.ms`.
    Young = 5,
    /// Its newest record claims a time that is still to come, and age counts from there.
    FutureTimestamp = 6,
    /// The log is smaller than `retention.bytes` and this segment.
    Small = 7,
    /// It takes appends: size counts from when it has rolled.
    Active = 8,
    /// Compaction is at work on these files.
    Compacting = 9,
    /// The log directory failed: nothing is deleted until a restart.
    Poisoned = 10,
}

impl Kept {
    /// Every reason, by its number.
    pub const ALL: [Self; 11] = [
        Self::NextCheck,
        Self::Empty,
        Self::NoLimit,
        Self::NotByPolicy,
        Self::HighWatermark,
        Self::Young,
        Self::FutureTimestamp,
        Self::Small,
        Self::Active,
        Self::Compacting,
        Self::Poisoned,
    ];

    fn from_wire(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| *kept as i8 == code)
    }
}

/// Where a reader stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadPosition {
    /// The partition, of the topic that carries the tag.
    pub partition: PartitionIndex,
    /// The offset it reads next.
    pub offset: Offset,
}

/// What a reader has not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// The offset it reads next, as asked.
    pub offset: Offset,
    /// Bytes stored from the batch that holds it to the end of the log.
    pub bytes: u64,
    /// The timestamp of the first record at or after it; `None`: there is none.
    pub timestamp: Option<Timestamp>,
    /// When retention lets go of the segment that holds it; `None`: never, as far as one can see.
    pub kept_until: Option<Timestamp>,
    /// Whether it goes by size, not by age.
    pub goes_by_size: bool,
}

fn offset(offset: Option<Offset>) -> i64 {
    offset.map_or(NONE, Offset::value)
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn time(time: Option<Timestamp>) -> i64 {
    time.map_or(NONE, Timestamp::millis)
}

fn count_from_wire(bytes: i64) -> Option<u64> {
    u64::try_from(bytes).ok()
}

fn time_from_wire(millis: i64) -> Option<Timestamp> {
    (millis != NONE).then(|| Timestamp::from_millis(millis))
}

impl LogFacts {
    /// Puts them into a partition's tagged fields.
    pub fn put(&self, tags: &mut Tags) {
        let next = &self.next_deletable;
        let mut value = BytesMut::with_capacity(81);
        value.put_i64(self.log_start.value());
        value.put_i64(self.log_end.value());
        value.put_i64(self.recovery_point.value());
        value.put_i64(count(self.appended_bytes));
        value.put_i64(count(self.appended_ms));
        value.put_i64(offset(next.segment));
        value.put_i64(count(next.bytes));
        value.put_i64(time(next.at));
        value.put_i64(next.bytes_until_size.map_or(NONE, count));
        value.put_i8(next.kept.map_or(-1, |kept| kept as i8));
        value.put_i64(count(self.appended_total_bytes));
        tags.push(LOG_FACTS, value.freeze());
    }

    /// Them, if `tags` have them and they make sense.
    #[must_use]
    pub fn find(tags: &Tags) -> Option<Self> {
        let mut r = Reader::new(tags.get(LOG_FACTS)?);
        Self::read(&mut r).ok().flatten()
    }

    fn read(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let marks = [r.int64("LogStart")?, r.int64("LogEnd")?, r.int64("RecoveryPoint")?].map(Offset::from_wire);
        let appended = [r.int64("AppendedBytes")?, r.int64("AppendedMs")?].map(count_from_wire);
        let next_deletable = NextDeletable {
            segment: Offset::from_wire(r.int64("Segment")?),
            bytes: count_from_wire(r.int64("SegmentBytes")?).unwrap_or(0),
            at: time_from_wire(r.int64("CanGoAt")?),
            bytes_until_size: count_from_wire(r.int64("BytesUntilSize")?),
            kept: Kept::from_wire(r.int8("Kept")?),
        };
        let appended_total_bytes = count_from_wire(r.int64("AppendedTotalBytes")?).unwrap_or(0);
        let ([Some(log_start), Some(log_end), Some(recovery_point)], [Some(appended_bytes), Some(appended_ms)]) =
            (marks, appended)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            log_start,
            log_end,
            recovery_point,
            appended_bytes,
            appended_ms,
            next_deletable,
            appended_total_bytes,
        }))
    }
}

impl ReadPosition {
    /// Puts positions into a topic's tagged fields. At most [`LOG_DIR_POSITIONS_MAX`] are answered in one request.
    pub fn put(positions: &[Self], tags: &mut Tags) {
        let mut value = BytesMut::with_capacity(4 + positions.len() * POSITION_BYTES);
        value.put_u32(u32::try_from(positions.len()).unwrap_or(u32::MAX));
        for position in positions {
            value.put_i32(position.partition.value());
            value.put_i64(position.offset.value());
        }
        tags.push(UNREAD, value.freeze());
    }

    /// The positions that `tags` ask about; none when they do not ask.
    ///
    /// # Errors
    /// Bytes that are no such list, or a longer one than is answered.
    pub fn find(tags: &Tags) -> Result<Vec<Self>, DecodeError> {
        list(tags, POSITION_BYTES, |r| {
            let (partition, offset) = (r.int32("Partition")?, r.int64("Offset")?);
            let position = PartitionIndex::from_wire(partition).zip(Offset::from_wire(offset));
            Ok(position.map(|(partition, offset)| Self { partition, offset }))
        })
    }
}

impl Unread {
    /// Puts answers into a partition's tagged fields, behind [`LogFacts`].
    pub fn put(answers: &[Self], tags: &mut Tags) {
        let mut value = BytesMut::with_capacity(4 + answers.len() * UNREAD_BYTES);
        value.put_u32(u32::try_from(answers.len()).unwrap_or(u32::MAX));
        for answer in answers {
            value.put_i64(answer.offset.value());
            value.put_i64(count(answer.bytes));
            value.put_i64(time(answer.timestamp));
            value.put_i64(time(answer.kept_until));
            value.put_i8(i8::from(answer.goes_by_size));
        }
        tags.push(UNREAD, value.freeze());
    }

    /// The answers in `tags`; none when there are none, or when they make no sense.
    #[must_use]
    pub fn find(tags: &Tags) -> Vec<Self> {
        let read = list(tags, UNREAD_BYTES, |r| {
            let (offset, bytes) = (r.int64("Offset")?, r.int64("Bytes")?);
            let (timestamp, kept_until) = (r.int64("Timestamp")?, r.int64("KeptUntil")?);
            let goes_by = r.int8("GoesBy")?;
            let known = Offset::from_wire(offset).zip(count_from_wire(bytes));
            Ok(known.map(|(offset, bytes)| Self {
                offset,
                bytes,
                timestamp: time_from_wire(timestamp),
                kept_until: time_from_wire(kept_until),
                goes_by_size: goes_by == 1,
            }))
        });
        read.unwrap_or_default()
    }
}

/// The list under [`UNREAD`]; elements that make no sense (`None`) are left out.
fn list<'a, T>(
    tags: &'a Tags,
    element_bytes: usize,
    element: impl Fn(&mut Reader<'a>) -> Result<Option<T>, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let Some(value) = tags.get(UNREAD) else { return Ok(Vec::new()) };
    let mut r = Reader::new(value);
    r.enter("Ringlog's tagged field 10001", 0);
    let length = r.int32("(count)")?;
    let fits =
        usize::try_from(length).is_ok_and(|length| length <= LOG_DIR_POSITIONS_MAX.min(r.remaining() / element_bytes));
    if !fits {
        return Err(r.error("(count)", DecodeFault::TooShort));
    }
    let mut elements = Vec::with_capacity(length as usize);
    for _ in 0..length {
        elements.extend(element(&mut r)?);
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn facts() -> LogFacts {
        LogFacts {
            log_start: Offset::new(1),
            log_end: Offset::new(9),
            recovery_point: Offset::new(5),
            appended_bytes: 1000,
            appended_ms: 300_000,
            next_deletable: NextDeletable {
                segment: Some(Offset::new(1)),
                bytes: 77,
                at: Some(Timestamp::from_millis(123)),
                bytes_until_size: None,
                kept: Some(Kept::Young),
            },
            appended_total_bytes: 2000,
        }
    }

    #[test]
    fn facts_come_back_as_they_were_put_even_when_the_value_has_grown() {
        for kept in Kept::ALL {
            let mut put = facts();
            put.next_deletable.kept = Some(kept);
            let mut tags = Tags::default();
            put.put(&mut tags);
            assert_eq!(LogFacts::find(&tags), Some(put));
        }
        let mut tags = Tags::default();
        facts().put(&mut tags);
        let mut grown = tags.get(LOG_FACTS).unwrap().to_vec();
        // The reason lies before the last eight bytes.
        let reason = grown.len() - 9;
        grown[reason] = 99;
        grown.extend_from_slice(b"more");
        let mut tags = Tags::default();
        tags.push(LOG_FACTS, Bytes::from(grown));
        assert_eq!(LogFacts::find(&tags).unwrap().next_deletable.kept, None);
    }

    #[test]
    fn positions_and_their_answers_come_back_as_they_were_put() {
        let positions = [(0, 0), (0, 7), (3, i64::MAX)].map(|(partition, offset)| ReadPosition {
            partition: PartitionIndex::new(partition),
            offset: Offset::new(offset),
        });
        let mut tags = Tags::default();
        ReadPosition::put(&positions, &mut tags);
        assert_eq!(ReadPosition::find(&tags).unwrap(), positions);

        let answer = Unread {
            offset: Offset::new(7),
            bytes: 1,
            timestamp: Some(Timestamp::from_millis(-5)),
            kept_until: None,
            goes_by_size: true,
        };
        let mut tags = Tags::default();
        Unread::put(&[answer, answer], &mut tags);
        assert_eq!(Unread::find(&tags), [answer, answer]);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_or_passed_over() {
        let with = |tag, value: &'static [u8]| {
            let mut tags = Tags::default();
            tags.push(tag, Bytes::from_static(value));
            tags
        };
        assert_eq!(LogFacts::find(&Tags::NONE), None);
        assert_eq!(LogFacts::find(&with(LOG_FACTS, &[0; 80])), None);
        assert_eq!(LogFacts::find(&with(LOG_FACTS, &[0xff; 81])), None);
        assert_eq!(ReadPosition::find(&Tags::NONE).unwrap(), []);
        // A count beyond the bytes that follow, a negative one, and one that the bound forbids.
        for value in [&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xff; 40], &[]] {
            assert!(ReadPosition::find(&with(UNREAD, value)).is_err(), "{value:?}");
            assert_eq!(Unread::find(&with(UNREAD, value)), []);
        }
        let mut tags = Tags::default();
        let position = ReadPosition { partition: PartitionIndex::ZERO, offset: Offset::ZERO };
        ReadPosition::put(&vec![position; LOG_DIR_POSITIONS_MAX + 1], &mut tags);
        assert!(ReadPosition::find(&tags).is_err());
    }
}
