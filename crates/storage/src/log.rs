//! The partition log.

use bytes::BytesMut;
use types::{LeaderEpoch, Now, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

use batch::BatchInfo;

use crate::config::LogConfig;
use crate::effect::{Effect, IoFault, LogEvent, OpId};
use crate::epochs::EpochEnd;
use crate::file::SegmentId;
use crate::producers::ProducerInfo;
use crate::read::{FileScan, OutOfRange, ReadFault, ReadRange, ReadStep, TimeStep};

/// The marks of a log. `log_start <= durable <= written`; `last_stable <= visible`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// The first offset readers may ask for.
    pub log_start: Offset,
    /// The first offset of the earliest open transaction, else `visible`. The host caps it by the high watermark.
    pub last_stable: Offset,
    /// Everything below has been written.
    pub written: Offset,
    /// Everything below has been fsynced.
    pub durable: Offset,
    /// Where acks and the high watermark may go: `durable` with `flush.messages=1`, else `written`.
    pub visible: Offset,
}

/// How a batch was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It has its offsets; `Appended` or `AppendFailed` with its tag follows.
    Queued {
        /// Its first record.
        base_offset: Offset,
        /// Its last record.
        last_offset: Offset,
    },
    /// It is in the log already, at these offsets. Nothing follows. (Whether the high watermark has passed it is the host's to check.)
    Duplicate {
        /// The original's first record.
        base_offset: Offset,
        /// The original's last record.
        last_offset: Offset,
        /// The original's log append time, if the topic stamps it.
        log_append_time: Option<Timestamp>,
    },
    /// The same batch is on its way to disk; `Appended` or `AppendFailed` with this tag follows.
    AwaitsOriginal,
}

/// Why a batch was not taken. Nothing of the log has changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendFault {
    /// The caller's leader epoch is not this log's. (NOT_LEADER_OR_FOLLOWER)
    #[error("append in leader epoch {given}, the log is at {current:?}")]
    WrongEpoch {
        /// The caller's.
        given: LeaderEpoch,
        /// The log's; `None`: none was ever set.
        current: Option<LeaderEpoch>,
    },
    /// An append failed in this epoch; a higher one must be set first. (KAFKA_STORAGE_ERROR)
    #[error("an append failed in leader epoch {epoch}: {fault}; no more batches in it")]
    AwaitsNewEpoch {
        /// The epoch that is over.
        epoch: LeaderEpoch,
        /// What failed.
        fault: IoFault,
    },
    /// The log directory is not to be trusted. (KAFKA_STORAGE_ERROR)
    #[error("the log is poisoned: {fault}")]
    Poisoned {
        /// What failed.
        fault: IoFault,
    },
    /// The log is closing or closed. (NOT_LEADER_OR_FOLLOWER)
    #[error("the log is closed")]
    Closed,
    /// Too many bytes wait already. (KAFKA_STORAGE_ERROR, retriable)
    #[error("{queued_bytes} bytes wait to be written")]
    QueueFull {
        /// How many.
        queued_bytes: u64,
    },
    /// Larger than a segment. (RECORD_LIST_TOO_LARGE)
    #[error("batch of {bytes} bytes does not fit a segment of {segment_bytes}")]
    LargerThanSegment {
        /// The batch.
        bytes: u64,
        /// The bound.
        segment_bytes: u32,
    },
    /// Offsets would pass int64. (UNKNOWN_SERVER_ERROR)
    #[error("the partition's offsets are used up")]
    OffsetsExhausted,
    /// A sequence that does not follow. (OUT_OF_ORDER_SEQUENCE_NUMBER)
    #[error("producer {producer} epoch {epoch}: sequence {found} does not follow {last:?}")]
    OutOfOrderSequence {
        /// Whose.
        producer: ProducerId,
        /// Its epoch.
        epoch: ProducerEpoch,
        /// The batch's first sequence.
        found: Sequence,
        /// The last one taken; `None` at the start of an epoch.
        last: Option<Sequence>,
    },
    /// A producer epoch lower than the newest seen. (INVALID_PRODUCER_EPOCH)
    #[error("producer {producer}: epoch {found} is fenced by {current}")]
    InvalidProducerEpoch {
        /// Whose.
        producer: ProducerId,
        /// The batch's.
        found: ProducerEpoch,
        /// The newest.
        current: ProducerEpoch,
    },
}

/// A segment, for describe and for planning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Which.
    pub id: SegmentId,
    /// Bytes of its `.log`.
    pub bytes: u64,
    /// The offset after its last batch (for an empty one its base).
    pub next_offset: Offset,
    /// The largest timestamp in it; `None` when empty.
    pub largest_timestamp: Option<Timestamp>,
    /// Whether it takes appends.
    pub active: bool,
}

/// A partition's log.
/// Lives on: the partition's home shard. Dropped when the replica is gone or closed.
pub struct PartitionLog {
    config: LogConfig,
}

impl PartitionLog {
    /// A log with nothing in it. No file is made before the first append.
    #[must_use]
    pub fn create(_partition: TopicPartition, config: LogConfig, _now: Now) -> Self {
        Self { config }
    }
    /// Begins a leader epoch. Must be called before the first append.
    ///
    /// # Errors
    /// An epoch lower than the current one, or equal to one in which an append failed.
    pub fn set_leader_epoch(&mut self, _now: Now, _epoch: LeaderEpoch) -> Result<(), AppendFault> {
        unimplemented!()
    }
    /// Takes a validated batch: checks its sequence, gives it offsets, stamps it, queues it for the next gather.
    ///
    /// # Errors
    /// See [`AppendFault`]; nothing has changed then.
    pub fn append_as_leader(
        &mut self,
        _now: Now,
        _batch: BytesMut,
        _info: &BatchInfo,
        _epoch: LeaderEpoch,
        _tag: u64,
    ) -> Result<Admission, AppendFault> {
        unimplemented!()
    }
    /// The next piece of work for the host, if any.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        unimplemented!()
    }
    /// The outcome of an effect: bytes for a write, anything for the others.
    pub fn on_done(&mut self, _now: Now, _op: OpId, _result: Result<usize, IoFault>) {}
    /// The next thing that happened, if any.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        None
    }
    /// Time has passed: `next_deadline_ns` or later.
    pub fn on_tick(&mut self, _now: Now) {}
    /// When `on_tick` is due, on the monotonic clock.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        None
    }
    /// The marks.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        unimplemented!()
    }
    /// Bytes of all live `.log` files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        0
    }
    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        Vec::new()
    }
    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }
    /// New settings, in force from the next append.
    pub fn update_config(&mut self, _now: Now, config: LogConfig) {
        self.config = config;
    }
    /// Flushes everything and writes the clean marker; ends in `Closed`. Appends are refused from here on.
    pub fn close(&mut self, _now: Now) {}
    /// The current leader epoch.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        None
    }
    /// KIP-279: the largest epoch not above `asked` and where it ends. `None`: unknown (-1, -1 on the wire).
    #[must_use]
    pub fn end_offset_for_epoch(&self, _asked: LeaderEpoch) -> Option<EpochEnd> {
        None
    }
    /// For DescribeProducers.
    #[must_use]
    pub fn describe_producers(&self) -> Vec<ProducerInfo> {
        Vec::new()
    }
    /// Moves the log start to `to` (DeleteRecords). `StartMoved` follows when that is on disk.
    ///
    /// # Errors
    /// `to` lies above what is visible.
    pub fn delete_records(&mut self, _now: Now, _to: Offset) -> Result<Offset, OutOfRange> {
        unimplemented!()
    }
    /// Deletes what retention lets go, rolling the active segment if it is due too. Returns segments taken out.
    pub fn apply_retention(&mut self, _now: Now, _high_watermark: Offset) -> Vec<SegmentId> {
        Vec::new()
    }
    /// Where the bytes of `range` lie.
    ///
    /// # Errors
    /// `start` below log start or above log end.
    pub fn read(&self, _range: &ReadRange) -> Result<ReadStep, OutOfRange> {
        unimplemented!()
    }
    /// Goes on with a read after the host has read what `scan` asked for (`bytes` may be short at the end of the file).
    ///
    /// # Errors
    /// As `read` (the log may have moved), or bytes that are no batch.
    pub fn resume_read(&self, _range: &ReadRange, _scan: FileScan, _bytes: &[u8]) -> Result<ReadStep, ReadFault> {
        unimplemented!()
    }
    /// The first record with a timestamp of at least `at` below `end` (ListOffsets by time).
    pub fn lookup_time(&self, _at: Timestamp, _end: Offset) -> TimeStep {
        unimplemented!()
    }
    /// The record with the largest timestamp below `end` (ListOffsets -3).
    pub fn lookup_max_timestamp(&self, _end: Offset) -> TimeStep {
        unimplemented!()
    }
    /// Goes on with either look-up.
    ///
    /// # Errors
    /// Bytes that are no batch.
    pub fn resume_lookup(&self, _scan: FileScan, _bytes: &[u8]) -> Result<TimeStep, ReadFault> {
        unimplemented!()
    }
}
