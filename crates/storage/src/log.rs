//! The partition log: takes batches, gives them offsets, orders their writing, and says when they are there.
//!
//! ```text
//!             admitted            written             fsynced
//!  batch ──► [queue] ──► [gather in flight] ──► ... ──► recovery point
//!            next_offset             written      durable
//! ```
//! - One write is in flight per log. What arrives meanwhile is the next gather, so batches of many connections share one
//!   system call. A gather never spans two segments.
//! - Two kinds of sync run beside the writes, one of each at a time. A *commit* syncs the log files (group commit: all
//!   that was written when it began). A *checkpoint* also writes the indexes and then `ringlog.checkpoint`: it moves the
//!   recovery point, at the latest after 64 MiB, 60 s, a roll, or a moved log start.
//! - A failed write rolls everything back that was not written: queue, log end, sequence windows. The file is cut, and
//!   no batch is taken until a higher leader epoch is set: an offset given in an epoch is never given again in it. A
//!   failed fsync or a device fault poisons the log: what the page cache holds can no longer be trusted.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use types::limits::{
    GATHER_BATCHES_MAX, GATHER_BYTES_MAX, PARTITION_QUEUE_BYTES_MAX, RECOVERY_POINT_AGE_MS_MAX,
    RECOVERY_POINT_BYTES_MAX, TAIL_BATCHES_MAX,
};
use types::{LeaderEpoch, Now, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};

use batch::{BatchInfo, TimestampType};

use crate::checkpoint::{BatchFacts, Checkpoint, ProducerFacts};
use crate::config::LogConfig;
use crate::effect::{Effect, IoFault, IoFaultKind, LogEvent, OpId};
use crate::epochs::{EpochEnd, LeaderEpochs};
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::index::IndexWindow;
use crate::mutants::Mutant;
use crate::producers::{ProducerInfo, Producers, SequenceVerdict};
use crate::rate::AppendRate;
use crate::read::OutOfRange;
use crate::segment::Segment;

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
    /// The first batch's timestamp; `None` when empty.
    pub first_timestamp: Option<Timestamp>,
    /// The largest timestamp in it; `None` when empty.
    pub largest_timestamp: Option<Timestamp>,
    /// Whether it takes appends.
    pub active: bool,
}

/// A batch with offsets, waiting to be written.
struct Queued {
    bytes: Bytes,
    info: BatchInfo,
    log_append_time: Option<Timestamp>,
}

/// The write in flight.
struct Gather {
    segment: SegmentId,
    bytes: u64,
    batches: Vec<(BatchInfo, Option<Timestamp>)>,
}

/// Someone waits to hear of a batch.
struct Ack {
    tag: u64,
    base_offset: Offset,
    last_offset: Offset,
    log_append_time: Option<Timestamp>,
}

/// What the active segment's file is busy with.
enum Writing {
    Idle,
    AwaitingCreate,
    AwaitingWrite(Gather),
    AwaitingCut,
}

/// Where a recent batch lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailBatch {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub segment: SegmentId,
    pub position: u32,
    pub bytes: u32,
}

/// Why an effect was ordered.
enum Purpose {
    CreateLog(SegmentId),
    Gather,
    Cut(FileName),
    Metadata,
    Commit(SyncStep),
    Checkpoint(SyncStep),
    /// A step of `setup`.
    Setup(FileName),
    /// A step of `swap`.
    Swap(FileName),
    MarkDeleted(FileName),
    Delete(FileName),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SyncStep {
    CreateIndex(SegmentId, SegmentFileKind),
    WriteIndex { segment: SegmentId, kind: SegmentFileKind, entries: u32, bytes: usize },
    SyncLog { segment: SegmentId, bytes: u64 },
    SyncIndex(SegmentId, SegmentFileKind),
    SyncDir { changes: u64 },
    LeaderEpochs,
    Checkpoint,
}

impl SyncStep {
    fn segment(self) -> Option<SegmentId> {
        match self {
            Self::CreateIndex(segment, _)
            | Self::WriteIndex { segment, .. }
            | Self::SyncLog { segment, .. }
            | Self::SyncIndex(segment, _) => Some(segment),
            Self::SyncDir { .. } | Self::LeaderEpochs | Self::Checkpoint => None,
        }
    }
}

/// A commit under way.
struct Commit {
    target: Offset,
    begun_ns: u64,
    waiting: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CheckpointStage {
    CreatingIndexes,
    WritingIndexes,
    Syncing,
    WritingCheckpoint,
}

/// A checkpoint under way: everything was captured when it began.
struct CheckpointJob {
    stage: CheckpointStage,
    target: Offset,
    begun_ns: u64,
    waiting: u32,
    generation: u64,
    dirty_bytes: u64,
    closing: bool,
    content: Bytes,
    epochs: Option<Bytes>,
    /// Index entries pending at the start: (segment, offset entries, time entries).
    indexes: Vec<(SegmentId, u32, u32)>,
    failed: Option<(Option<FileName>, IoFault)>,
}

/// One step of an ordered change of the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FolderStep {
    Truncate(FileName, u64),
    Delete(FileName),
    Rename(FileName, FileName),
    SyncDir,
}

/// Ordered changes: the steps of a stage run at once, a stage begins when the one before it is done.
#[derive(Default)]
pub(crate) struct FolderChange {
    pub stages: VecDeque<Vec<FolderStep>>,
    waiting: u32,
}

impl FolderChange {
    pub(crate) fn is_done(&self) -> bool {
        self.waiting == 0 && self.stages.is_empty()
    }
}

/// What compaction has put in place of what.
pub(crate) struct Swap {
    pub state: SwapState,
    pub change: FolderChange,
    /// What is replaced, oldest first.
    pub replaced: Vec<SegmentId>,
    /// By this; `None`: nothing is left of them.
    pub by: Option<Segment>,
    pub clean_offset: Offset,
}

/// How far a swap is.
#[expect(clippy::enum_variant_names, reason = "states are named for what they await")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SwapState {
    /// `.cleaned` is becoming `.swap`.
    AwaitingNames,
    /// The checkpoint of this generation must list the new segment.
    AwaitingCheckpoint(u64),
    /// Old ones become `.deleted`, `.swap` becomes live.
    AwaitingPlace,
}

/// What `create` and recovery build a log from.
pub(crate) struct Parts {
    pub segments: VecDeque<Segment>,
    pub log_start: Offset,
    pub recovery_point: Offset,
    pub clean_offset: Offset,
    pub producers: Producers,
    pub epochs: LeaderEpochs,
    pub tail: VecDeque<TailBatch>,
    pub setup: FolderChange,
    /// Bytes past the recovery point.
    pub dirty_bytes: u64,
    /// Disk and memory differ: a checkpoint is due.
    pub changed: bool,
    pub metadata_known: Option<TopicId>,
}

/// A partition's log.
/// Lives on: the partition's home shard. Dropped when the replica is gone or closed.
///
/// Inputs: `append_as_leader`, `set_leader_epoch`, `on_done`, `on_tick`, `delete_records`, `apply_retention`, `close`.
/// After any of them `poll_effect` and `poll_event` until both are empty (events may be polled first or last).
pub struct PartitionLog {
    pub(crate) config: LogConfig,
    partition: TopicPartition,
    /// Oldest first, never empty; the last one takes appends.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) log_start: Offset,
    /// What the next batch gets.
    next_offset: Offset,
    pub(crate) written: Offset,
    durable: Offset,
    pub(crate) visible: Offset,
    recovery_point: Offset,
    pub(crate) clean_offset: Offset,

    leader_epoch: Option<LeaderEpoch>,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: Producers,
    pub(crate) tail: VecDeque<TailBatch>,

    queue: VecDeque<Queued>,
    queued_bytes: u64,
    writing: Writing,
    /// By last offset.
    acks: VecDeque<Ack>,
    /// An append failed in this epoch.
    refusing: Option<(LeaderEpoch, IoFault)>,
    poisoned: Option<IoFault>,
    closing: bool,
    closed: bool,
    roll_wanted: bool,

    commit: Option<Commit>,
    checkpoint: Option<CheckpointJob>,
    /// Counts changes that only a checkpoint makes lasting; a checkpoint carries the count it was captured at.
    generation: u64,
    generation_stored: u64,
    checkpoint_wanted: bool,
    /// Memory differs from the stored checkpoint.
    changed: bool,
    /// The stored checkpoint is one that a close wrote (or there is none and need not be).
    stored_clean: bool,
    checkpoint_retry_ns: Option<u64>,
    dirty_bytes: u64,
    dirty_since_ns: Option<u64>,
    unsynced_since_ns: Option<u64>,
    /// Names made or changed, and how many of those are fsynced.
    dir_changes: u64,
    dir_synced: u64,
    metadata_known: Option<TopicId>,
    /// The log start that waits for a checkpoint of this generation.
    start_moved: Option<(u64, Offset)>,

    setup: Option<FolderChange>,
    pub(crate) swap: Option<Swap>,
    pub(crate) swaps_waiting: VecDeque<Swap>,
    /// A maintenance thread is cleaning.
    pub(crate) compaction_running: bool,
    /// Segments taken out, to be marked deleted once a checkpoint of this generation is stored. Until then a crash
    /// brings them back, so syncs still go over them: a hole in one would cut everything after it.
    doomed: Vec<(u64, Segment)>,
    /// Marked files and when they go.
    deletions: Vec<(u64, FileName)>,
    producers_expire_ns: u64,

    ops: BTreeMap<OpId, Purpose>,
    op_next: u64,
    effects: VecDeque<Effect>,
    events: VecDeque<LogEvent>,
    /// Counts changes after which positions found earlier may lie elsewhere.
    pub(crate) layout: u64,
    pub(crate) append_rate: AppendRate,
    /// What the last look-up in an index file saw.
    pub(crate) index_window: RefCell<Option<IndexWindow>>,
    pub(crate) now: Now,
}

/// How long a checkpoint that could not be written waits for its next try.
const CHECKPOINT_RETRY_NS: u64 = 1_000_000_000;
/// How often silent producers are looked for.
const PRODUCERS_EXPIRE_NS: u64 = 600 * 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

impl PartitionLog {
    /// A log with nothing in it. No file is made before the first append.
    #[must_use]
    pub fn create(partition: TopicPartition, config: LogConfig, now: Now) -> Self {
        let parts = Parts {
            segments: VecDeque::from([Segment::new(Offset::ZERO, now.wall)]),
            log_start: Offset::ZERO,
            recovery_point: Offset::ZERO,
            clean_offset: Offset::ZERO,
            producers: Producers::default(),
            epochs: LeaderEpochs::default(),
            tail: VecDeque::new(),
            setup: FolderChange::default(),
            dirty_bytes: 0,
            changed: false,
            metadata_known: None,
        };
        Self::from_parts(partition, config, parts, now)
    }

    pub(crate) fn from_parts(partition: TopicPartition, config: LogConfig, parts: Parts, now: Now) -> Self {
        assert!(!parts.segments.is_empty());
        let written = parts.segments.back().map_or(Offset::ZERO, |active| active.next_offset);
        assert!(parts.log_start <= written);
        assert!(parts.recovery_point <= written);
        let durable = parts.recovery_point;
        let dirty = durable < written;
        let visible = if config.is_durable() { durable } else { written };
        let mut log = Self {
            config,
            partition,
            segments: parts.segments,
            log_start: parts.log_start,
            next_offset: written,
            written,
            durable,
            visible,
            recovery_point: parts.recovery_point,
            clean_offset: parts.clean_offset,
            leader_epoch: None,
            epochs: parts.epochs,
            producers: parts.producers,
            tail: parts.tail,
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing: Writing::Idle,
            acks: VecDeque::new(),
            refusing: None,
            poisoned: None,
            closing: false,
            closed: false,
            roll_wanted: false,
            commit: None,
            checkpoint: None,
            generation: 0,
            generation_stored: 0,
            checkpoint_wanted: parts.changed,
            changed: parts.changed,
            stored_clean: !parts.changed,
            checkpoint_retry_ns: None,
            dirty_bytes: parts.dirty_bytes,
            dirty_since_ns: dirty.then_some(now.monotonic_ns),
            unsynced_since_ns: dirty.then_some(now.monotonic_ns),
            // A file found here may have been made just before the last stop: its name is not known to be on disk.
            dir_changes: 1,
            dir_synced: 0,
            metadata_known: parts.metadata_known,
            start_moved: None,
            setup: Some(parts.setup),
            swap: None,
            swaps_waiting: VecDeque::new(),
            compaction_running: false,
            doomed: Vec::new(),
            deletions: Vec::new(),
            producers_expire_ns: now.monotonic_ns.saturating_add(PRODUCERS_EXPIRE_NS),
            ops: BTreeMap::new(),
            op_next: 0,
            effects: VecDeque::new(),
            events: VecDeque::new(),
            layout: 0,
            append_rate: AppendRate::new(now),
            index_window: RefCell::new(None),
            now,
        };
        log.advance_setup();
        log
    }

    // ---- inputs ----

    /// Begins a leader epoch. Must be called before the first append. The current epoch again changes nothing.
    ///
    /// # Errors
    /// An epoch lower than the current one, or equal to one in which an append failed; a poisoned log.
    pub fn set_leader_epoch(&mut self, now: Now, epoch: LeaderEpoch) -> Result<(), AppendFault> {
        self.now = now;
        if let Some(fault) = self.poisoned {
            return Err(AppendFault::Poisoned { fault });
        }
        // The log's own batches count too: an epoch below theirs was another leader's, long ago.
        let newest = self.leader_epoch.max(self.epochs.latest());
        if newest.is_some_and(|newest| epoch < newest) {
            return Err(AppendFault::WrongEpoch { given: epoch, current: newest });
        }
        if self.leader_epoch == Some(epoch) {
            return match self.refusing {
                Some((epoch, fault)) => Err(AppendFault::AwaitsNewEpoch { epoch, fault }),
                None => Ok(()),
            };
        }
        self.leader_epoch = Some(epoch);
        self.refusing = None;
        self.epochs.assign(epoch, self.next_offset);
        Ok(())
    }

    /// Takes a validated batch: checks its sequence, gives it offsets, stamps it in place, queues it for the next gather.
    /// `info` describes `batch` as it came (base offset and leader epoch are not looked at); `tag` comes back in its event.
    ///
    /// # Errors
    /// See [`AppendFault`]; nothing has changed then.
    pub fn append_as_leader(
        &mut self,
        now: Now,
        mut batch: BytesMut,
        info: &BatchInfo,
        epoch: LeaderEpoch,
        tag: u64,
    ) -> Result<Admission, AppendFault> {
        self.now = now;
        assert!(batch.len() as u64 == u64::from(info.size_bytes), "a batch and its facts differ in size");
        self.check_append(info, epoch)?;
        if let SequenceVerdict::DuplicateOf(original) = self.producers.check(info)? {
            let (base_offset, last_offset) = (original.base_offset, original.last_offset);
            let log_append_time = original.log_append_time;
            if last_offset < self.visible {
                return Ok(Admission::Duplicate { base_offset, last_offset, log_append_time });
            }
            let at = self.acks.partition_point(|ack| ack.last_offset <= last_offset);
            self.acks.insert(at, Ack { tag, base_offset, last_offset, log_append_time });
            return Ok(Admission::AwaitsOriginal);
        }

        let mut info = BatchInfo { base_offset: self.next_offset, leader_epoch: Some(epoch), ..*info };
        batch::stamp(&mut batch, info.base_offset, epoch);
        let log_append_time = (self.config.log_append_time && !info.control).then_some(now.wall);
        if let Some(time) = log_append_time {
            batch::stamp_log_append_time(&mut batch, time);
            info.max_timestamp = time;
            info.timestamp_type = TimestampType::LogAppendTime;
        }
        let (base_offset, last_offset) = (info.base_offset, info.last_offset());
        self.producers.admit(&info, log_append_time, now.wall);
        self.next_offset = info.next_offset();
        self.queued_bytes += u64::from(info.size_bytes);
        self.queue.push_back(Queued { bytes: batch.freeze(), info, log_append_time });
        self.acks.push_back(Ack { tag, base_offset, last_offset, log_append_time });
        Ok(Admission::Queued { base_offset, last_offset })
    }

    fn check_append(&self, info: &BatchInfo, epoch: LeaderEpoch) -> Result<(), AppendFault> {
        if let Some(fault) = self.poisoned {
            return Err(AppendFault::Poisoned { fault });
        }
        if self.closing {
            return Err(AppendFault::Closed);
        }
        if self.leader_epoch != Some(epoch) {
            return Err(AppendFault::WrongEpoch { given: epoch, current: self.leader_epoch });
        }
        if let Some((epoch, fault)) = self.refusing {
            return Err(AppendFault::AwaitsNewEpoch { epoch, fault });
        }
        let bytes = u64::from(info.size_bytes);
        if u64::from(self.config.segment_bytes) < bytes {
            return Err(AppendFault::LargerThanSegment { bytes, segment_bytes: self.config.segment_bytes });
        }
        // One batch is always taken, or a batch larger than the bound could never be.
        if !self.queue.is_empty() && PARTITION_QUEUE_BYTES_MAX < self.queued_bytes + bytes {
            return Err(AppendFault::QueueFull { queued_bytes: self.queued_bytes });
        }
        let next = self.next_offset.value().checked_add(i64::from(info.last_offset_delta) + 1);
        if next.is_none_or(|next| next == i64::MAX) {
            return Err(AppendFault::OffsetsExhausted);
        }
        Ok(())
    }

    /// The outcome of an effect: for a write the bytes written, for the others any number.
    pub fn on_done(&mut self, now: Now, op: OpId, result: Result<usize, IoFault>) {
        self.now = now;
        let Some(purpose) = self.ops.remove(&op) else { return };
        match purpose {
            Purpose::CreateLog(segment) => self.on_log_created(segment, result.map(|_| ())),
            Purpose::Gather => self.on_gather_done(result),
            Purpose::Cut(file) => {
                self.writing = Writing::Idle;
                // Bytes that nobody may read are still in the file; writing after them would make them part of the log.
                if let Err(fault) = result {
                    self.poison(Some(file), fault);
                }
            }
            Purpose::Metadata => {
                if let Err(fault) = result {
                    self.metadata_known = None;
                    self.events
                        .push_back(LogEvent::BackgroundFailed { file: Some(FileName::PartitionMetadata), fault });
                }
            }
            Purpose::Commit(step) => self.on_commit_step(step, result),
            Purpose::Checkpoint(step) => self.on_checkpoint_step(step, result),
            Purpose::Setup(file) => match result {
                Ok(_) => {
                    if let Some(setup) = &mut self.setup {
                        setup.waiting -= 1;
                    }
                    self.advance_setup();
                }
                // What recovery found unfit to be read is still there.
                Err(fault) => self.poison(Some(file), fault),
            },
            Purpose::Swap(file) => self.on_swap_step(file, result),
            Purpose::MarkDeleted(file) => match result {
                Ok(_) => {
                    let delay_ns = self.config.file_delete_delay_ms.saturating_mul(NS_PER_MS);
                    self.deletions.push((now.monotonic_ns.saturating_add(delay_ns), file.at(Stage::Deleted)));
                }
                Err(fault) => self.events.push_back(LogEvent::BackgroundFailed { file: Some(file), fault }),
            },
            Purpose::Delete(file) => {
                if let Err(fault) = result {
                    self.events.push_back(LogEvent::BackgroundFailed { file: Some(file), fault });
                }
            }
        }
    }

    /// Time has passed: `next_deadline_ns` or later.
    pub fn on_tick(&mut self, now: Now) {
        self.now = now;
        let due: Vec<FileName> =
            self.deletions.iter().filter(|(at, _)| *at <= now.monotonic_ns).map(|&(_, file)| file).collect();
        self.deletions.retain(|(at, _)| now.monotonic_ns < *at);
        for file in due {
            self.delete_file(file);
        }
        if self.producers_expire_ns <= now.monotonic_ns {
            self.producers.expire(now.wall, self.config.producer_id_expiration_ms);
            self.producers_expire_ns = now.monotonic_ns.saturating_add(PRODUCERS_EXPIRE_NS);
        }
        if self.checkpoint_retry_ns.is_some_and(|at| at <= now.monotonic_ns) {
            self.checkpoint_retry_ns = None;
        }
        if self.recovery_point_due_ns().is_some_and(|at| at <= now.monotonic_ns) {
            self.checkpoint_wanted = true;
        }
    }

    /// When `on_tick` is due, on the monotonic clock. `None`: nothing waits for time.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        if self.poisoned.is_some() || self.closed {
            return None;
        }
        let deletion = self.deletions.iter().map(|&(at, _)| at).min();
        let commit = if self.commit.is_none() { self.flush_due_ns() } else { None };
        let checkpoint =
            if self.checkpoint.is_none() && !self.checkpoint_wanted { self.recovery_point_due_ns() } else { None };
        let expiry = self.producers.iter().next().map(|_| self.producers_expire_ns);
        [deletion, commit, checkpoint, self.checkpoint_retry_ns, expiry].into_iter().flatten().min()
    }

    fn flush_due_ns(&self) -> Option<u64> {
        let flush_ns = self.config.flush_ms?.saturating_mul(NS_PER_MS);
        Some(self.unsynced_since_ns?.saturating_add(flush_ns))
    }

    fn recovery_point_due_ns(&self) -> Option<u64> {
        Some(self.dirty_since_ns?.saturating_add(RECOVERY_POINT_AGE_MS_MAX * NS_PER_MS))
    }

    /// New settings, in force from the next append.
    pub fn update_config(&mut self, now: Now, config: LogConfig) {
        self.now = now;
        self.config = config;
        self.publish();
    }

    /// Writes what is queued, flushes everything and writes the clean marker; ends in [`LogEvent::Closed`] (of a poisoned log at
    /// once, without the marker). Appends are refused from here on, reads go on.
    pub fn close(&mut self, now: Now) {
        self.now = now;
        self.closing = true;
        self.checkpoint_retry_ns = None;
        if self.poisoned.is_some() {
            self.finish_close();
        }
    }

    /// Moves the log start to `to` (DeleteRecords); lower than the log start changes nothing. Readers below get
    /// [`OutOfRange`] at once; `StartMoved` follows when that would survive a crash. Returns the log start.
    ///
    /// # Errors
    /// `to` lies above what is visible.
    pub fn delete_records(&mut self, now: Now, to: Offset) -> Result<Offset, OutOfRange> {
        self.now = now;
        if self.visible < to {
            return Err(OutOfRange { asked: to, log_start: self.log_start, log_end: self.visible });
        }
        self.move_log_start(to);
        Ok(self.log_start)
    }

    pub(crate) fn move_log_start(&mut self, to: Offset) {
        if to <= self.log_start {
            return;
        }
        assert!(to <= self.written);
        self.log_start = to;
        self.epochs.truncate_start(to);
        self.mark_changed();
        self.start_moved = Some((self.generation, to));
    }

    /// Something changed that a checkpoint must make lasting soon.
    pub(crate) fn mark_changed(&mut self) {
        self.generation += 1;
        self.changed = true;
        self.checkpoint_wanted = true;
    }

    // ---- outputs ----

    /// The next piece of work for the host, if any. The gather is formed here, so poll at the end of a turn.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.advance();
        }
        self.effects.pop_front()
    }

    /// The next thing that happened, if any.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    // ---- facts ----

    /// The marks.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        Offsets {
            log_start: self.log_start,
            last_stable: self.visible,
            written: self.written,
            durable: self.durable,
            visible: self.visible,
        }
    }

    /// Bytes of all `.log` files that count.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes of them that are written and not known to be fsynced.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes.saturating_sub(segment.synced_bytes)).sum()
    }

    /// Bytes taken and not yet handed to the disk.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Whether `segment` is the one that takes appends.
    #[must_use]
    pub fn is_active(&self, segment: SegmentId) -> bool {
        self.segments.back().is_some_and(|active| active.id == segment)
    }

    /// Counts changes after which positions found earlier may lie elsewhere: what was found under another number is to
    /// be looked up again.
    #[must_use]
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let active = self.segments.back().map(|segment| segment.id);
        self.segments
            .iter()
            .map(|segment| SegmentInfo {
                id: segment.id,
                bytes: segment.bytes,
                next_offset: segment.next_offset,
                first_timestamp: segment.first_timestamp,
                largest_timestamp: segment.largest.map(|(timestamp, _)| timestamp),
                active: Some(segment.id) == active,
            })
            .collect()
    }

    /// Which partition this is.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// The leader epoch set last.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The leader epoch that `offset` was written in; `None` if that is unknown.
    #[must_use]
    pub fn leader_epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.at(offset)
    }

    /// KIP-279: the largest epoch not above `asked` and where it ends. `None`: unknown (-1, -1 on the wire).
    #[must_use]
    pub fn end_offset_for_epoch(&self, asked: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_of(asked, self.visible)
    }

    /// For DescribeProducers.
    #[must_use]
    pub fn describe_producers(&self) -> Vec<ProducerInfo> {
        self.producers.describe()
    }

    /// Whether everything that `create` or recovery ordered is done ([`LogEvent::Ready`] has been emitted).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.setup.is_none()
    }

    /// Whether an append failed and nothing is taken until [`PartitionLog::set_leader_epoch`] begins another epoch.
    #[must_use]
    pub fn awaits_new_epoch(&self) -> bool {
        self.refusing.is_some()
    }

    /// Why the log takes nothing more until a restart.
    #[must_use]
    pub fn poisoned(&self) -> Option<IoFault> {
        self.poisoned
    }

    /// Whether `close` was called.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Everything below is covered by the stored checkpoint: recovery would not read it.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    // ---- writing ----

    fn op(&mut self, purpose: Purpose) -> OpId {
        let op = OpId(self.op_next);
        self.op_next += 1;
        self.ops.insert(op, purpose);
        op
    }

    fn advance(&mut self) {
        if self.setup.is_some() || self.poisoned.is_some() || self.closed {
            return;
        }
        if !self.doomed.is_empty() {
            self.retire_doomed();
        }
        self.advance_writes();
        self.advance_commit();
        self.advance_swap();
        self.advance_checkpoint();
        self.advance_close();
    }

    fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    pub(crate) fn segment_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&id, |segment| segment.id).ok()?;
        self.segments.get_mut(at)
    }

    /// Whether `next` must begin a new segment, `gather` being on its way to the active one.
    fn must_roll(&self, next: &BatchInfo, gather: &Gather) -> bool {
        let active = self.active();
        let bytes = gather.bytes;
        if active.bytes + bytes == 0 {
            return false;
        }
        if u64::from(self.config.segment_bytes) < active.bytes + bytes + u64::from(next.size_bytes) {
            return true;
        }
        let first_timestamp =
            active.first_timestamp.or_else(|| gather.batches.first().map(|(info, _)| info.max_timestamp));
        // What is not sealed is not compacted: the lag bounds a segment's age too, as Kafka has it.
        let lag_ms_max = self.config.max_compaction_lag_ms.filter(|_| self.config.cleanup_policy.compact);
        let segment_ms = [self.config.segment_ms, lag_ms_max].into_iter().flatten().min();
        if let (Some(segment_ms), Some(first)) = (segment_ms, first_timestamp) {
            let age_ms = next.max_timestamp.millis().saturating_sub(first.millis());
            let age_ms_max = segment_ms.saturating_sub(self.config.segment_jitter_ms);
            if i64::try_from(age_ms_max).unwrap_or(i64::MAX) < age_ms {
                return true;
            }
        }
        if active.relative(next.last_offset()).is_none() {
            return true;
        }
        // Room for an entry of this batch, of every one before it in the gather, and for the closing time entry.
        let index_bytes = |bytes: u64, entry: u64| bytes + (gather.batches.len() as u64 + 2) * entry;
        let index_bytes_max = u64::from(self.config.segment_index_bytes);
        index_bytes_max < index_bytes(active.offset_index.bytes(), 8)
            || index_bytes_max < index_bytes(active.time_index.bytes(), 12)
    }

    fn advance_writes(&mut self) {
        if !matches!(self.writing, Writing::Idle) {
            return;
        }
        let Some(first) = self.queue.front() else { return };
        let none = Gather { segment: self.active().id, bytes: 0, batches: Vec::new() };
        if self.roll_wanted || self.must_roll(&first.info, &none) {
            self.roll();
        }
        if !self.active().log_exists {
            self.create_log();
            return;
        }
        let mut gather = Gather { segment: self.active().id, bytes: 0, batches: Vec::new() };
        let mut buffers = Vec::new();
        while let Some(next) = self.queue.front() {
            let size = u64::from(next.info.size_bytes);
            let full = GATHER_BATCHES_MAX == buffers.len() || GATHER_BYTES_MAX as u64 <= gather.bytes + size;
            if !buffers.is_empty() && (full || self.must_roll(&next.info, &gather)) {
                break;
            }
            if let Some(next) = self.queue.pop_front() {
                gather.bytes += size;
                gather.batches.push((next.info, next.log_append_time));
                buffers.push(next.bytes);
            }
        }
        let (file, position) = (self.active().log(), self.active().bytes);
        if Mutant::AckBeforeWriteCompleted.is_armed() {
            self.on_gather_written(&gather);
        }
        self.writing = Writing::AwaitingWrite(gather);
        let op = self.op(Purpose::Gather);
        self.effects.push_back(Effect::Write { op, file, position, buffers });
    }

    fn create_log(&mut self) {
        let id = self.active().id;
        self.writing = Writing::AwaitingCreate;
        let op = self.op(Purpose::CreateLog(id));
        self.effects.push_back(Effect::Create { op, file: FileName::log(id) });
        if let Some(topic_id) = self.config.topic_id
            && self.metadata_known != Some(topic_id)
        {
            self.metadata_known = Some(topic_id);
            let op = self.op(Purpose::Metadata);
            let bytes = Bytes::from(format!("version: 0\ntopic_id: {topic_id}\n"));
            self.effects.push_back(Effect::WriteFile { op, file: FileName::PartitionMetadata, bytes });
        }
    }

    /// Seals the active segment and begins another at the log end. Nothing may be in flight.
    fn roll(&mut self) {
        assert!(matches!(self.writing, Writing::Idle));
        self.roll_wanted = false;
        let base = self.written;
        if base == self.active().base() {
            return;
        }
        self.active_mut().note_largest_timestamp();
        self.segments.push_back(Segment::new(base, self.now.wall));
        self.mark_changed();
    }

    /// Seals the active segment now if nothing is in flight, else before the next gather. Returns whether it is done.
    pub(crate) fn roll_when_idle(&mut self) -> bool {
        if self.active().bytes == 0 {
            return true;
        }
        if matches!(self.writing, Writing::Idle) && self.queue.is_empty() && self.setup.is_none() {
            self.roll();
            // The new file is made at once: without it the folder would not tell where the log ends.
            self.create_log();
            return true;
        }
        self.roll_wanted = true;
        false
    }

    fn on_log_created(&mut self, id: SegmentId, result: Result<(), IoFault>) {
        assert!(matches!(self.writing, Writing::AwaitingCreate));
        self.writing = Writing::Idle;
        match result {
            Ok(()) => {
                if let Some(segment) = self.segment_mut(id) {
                    segment.log_exists = true;
                }
                self.dir_changes += 1;
            }
            // A roll ahead of any batch has lost nothing: the next append tries again.
            Err(fault) if self.queue.is_empty() && fault.kind != IoFaultKind::Device => {
                self.events.push_back(LogEvent::BackgroundFailed { file: Some(FileName::log(id)), fault });
            }
            Err(fault) => self.fail_appends(FileName::log(id), fault),
        }
    }

    fn on_gather_done(&mut self, result: Result<usize, IoFault>) {
        let Writing::AwaitingWrite(gather) = std::mem::replace(&mut self.writing, Writing::Idle) else {
            return;
        };
        // Its batches were reported as failed when the log was poisoned.
        if self.poisoned.is_some() {
            return;
        }
        self.queued_bytes -= gather.bytes;
        let file = FileName::log(gather.segment);
        match result {
            Ok(_) if Mutant::AckBeforeWriteCompleted.is_armed() => {}
            Ok(bytes) if bytes as u64 == gather.bytes => self.on_gather_written(&gather),
            // The host has tried to go on: the space ran out without an error number.
            Ok(_) => self.fail_appends(file, IoFault::DISK_FULL),
            Err(fault) => self.fail_appends(file, fault),
        }
    }

    fn on_gather_written(&mut self, gather: &Gather) {
        let interval = self.config.index_interval_bytes;
        for (info, log_append_time) in &gather.batches {
            assert!(info.base_offset == self.written, "batches leave the gather in order");
            let position = self.active().bytes as u32;
            self.active_mut().on_batch(info, interval);
            if self.tail.len() == TAIL_BATCHES_MAX {
                self.tail.pop_front();
            }
            self.tail.push_back(TailBatch {
                base_offset: info.base_offset,
                last_offset: info.last_offset(),
                segment: gather.segment,
                position,
                bytes: info.size_bytes,
            });
            self.producers.apply(info, *log_append_time, self.now.wall);
            self.written = info.next_offset();
        }
        self.append_rate.add(self.now, gather.bytes);
        self.dirty_bytes += gather.bytes;
        self.changed = true;
        self.dirty_since_ns.get_or_insert(self.now.monotonic_ns);
        self.unsynced_since_ns.get_or_insert(self.now.monotonic_ns);
        if RECOVERY_POINT_BYTES_MAX <= self.dirty_bytes {
            self.checkpoint_wanted = true;
        }
        self.publish();
        self.push_end_moved();
    }

    /// Moves `visible` and tells those who waited for it.
    fn publish(&mut self) {
        let waits_for_sync = self.config.is_durable() && !Mutant::DurableAckBeforeSync.is_armed();
        let reached = if waits_for_sync { self.durable } else { self.written };
        // Turning durable mode on must not take back what readers have seen.
        self.visible = self.visible.max(reached);
        while let Some(ack) = self.acks.pop_front_if(|ack| ack.last_offset < self.visible) {
            self.events.push_back(LogEvent::Appended {
                tag: ack.tag,
                base_offset: ack.base_offset,
                last_offset: ack.last_offset,
                log_append_time: ack.log_append_time,
            });
        }
    }

    fn push_end_moved(&mut self) {
        self.events.push_back(LogEvent::EndMoved { written: self.written, durable: self.durable });
    }

    /// Everything that has an offset and is not written is lost.
    fn fail_appends(&mut self, file: FileName, fault: IoFault) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.next_offset = self.written;
        if !Mutant::SequenceWindowNotRolledBack.is_armed() {
            self.producers.roll_back();
        }
        self.epochs.truncate_end(self.written);
        if let Some(epoch) = self.leader_epoch
            && !Mutant::OffsetReusedAfterFailedAppend.is_armed()
        {
            self.refusing = Some((epoch, fault));
        }
        let kept = self.acks.partition_point(|ack| ack.last_offset < self.written);
        for ack in self.acks.drain(kept..) {
            self.events.push_back(LogEvent::AppendFailed { tag: ack.tag, fault });
        }
        if self.active().log_exists && !Mutant::FailedAppendNotCut.is_armed() {
            let bytes = self.active().bytes;
            self.writing = Writing::AwaitingCut;
            let op = self.op(Purpose::Cut(file));
            self.effects.push_back(Effect::Truncate { op, file, bytes });
        }
        if fault.kind == IoFaultKind::Device {
            self.poison(Some(file), fault);
        }
    }

    fn poison(&mut self, file: Option<FileName>, fault: IoFault) {
        if self.poisoned.is_some() {
            return;
        }
        self.poisoned = Some(fault);
        self.queue.clear();
        self.queued_bytes = 0;
        self.next_offset = self.written;
        if !Mutant::SequenceWindowNotRolledBack.is_armed() {
            self.producers.roll_back();
        }
        self.commit = None;
        self.checkpoint = None;
        for ack in self.acks.drain(..) {
            self.events.push_back(LogEvent::AppendFailed { tag: ack.tag, fault });
        }
        self.events.push_back(LogEvent::Poisoned { file, written: self.written, fault });
        if self.closing {
            self.finish_close();
        }
    }

    // ---- syncing ----

    fn advance_commit(&mut self) {
        if self.commit.is_some() || self.written <= self.durable {
            return;
        }
        let records = u64::try_from(self.written.records_since(self.durable)).unwrap_or(u64::MAX);
        let by_count = self.config.flush_messages.is_some_and(|flush_messages| flush_messages <= records);
        let by_time = self.flush_due_ns().is_some_and(|at| at <= self.now.monotonic_ns);
        if !self.config.is_durable() && !by_count && !by_time {
            return;
        }
        let mut commit = Commit { target: self.written, begun_ns: self.now.monotonic_ns, waiting: 0 };
        for step in self.sync_steps() {
            commit.waiting += 1;
            self.order_sync(step, Purpose::Commit(step));
        }
        self.commit = Some(commit);
        self.finish_commit();
    }

    /// What must be synced so that everything written is durable.
    fn sync_steps(&self) -> Vec<SyncStep> {
        let stored = self.generation_stored;
        let doomed = self.doomed.iter().filter(|(generation, _)| stored < *generation).map(|(_, segment)| segment);
        let mut steps: Vec<SyncStep> = doomed
            .chain(&self.segments)
            .filter(|segment| segment.synced_bytes < segment.bytes)
            .map(|segment| SyncStep::SyncLog { segment: segment.id, bytes: segment.bytes })
            .collect();
        if self.dir_synced < self.dir_changes && !Mutant::FolderNotSynced.is_armed() {
            steps.push(SyncStep::SyncDir { changes: self.dir_changes });
        }
        steps
    }

    fn order_sync(&mut self, step: SyncStep, purpose: Purpose) {
        let file = self.step_file(step);
        let op = self.op(purpose);
        self.effects.push_back(match file {
            Some(file) => Effect::Sync { op, file },
            None => Effect::SyncDir { op },
        });
    }

    /// The file a step works on, under the name it has now; `None`: the folder.
    fn step_file(&self, step: SyncStep) -> Option<FileName> {
        let named = |id: SegmentId, kind| {
            let stage = self
                .segments
                .binary_search_by_key(&id, |segment| segment.id)
                .map_or(Stage::Live, |at| self.segments[at].stage);
            Some(FileName::live(id, kind).at(stage))
        };
        match step {
            SyncStep::CreateIndex(id, kind)
            | SyncStep::WriteIndex { segment: id, kind, .. }
            | SyncStep::SyncIndex(id, kind) => named(id, kind),
            SyncStep::SyncLog { segment, .. } => named(segment, SegmentFileKind::Log),
            SyncStep::SyncDir { .. } => None,
            SyncStep::LeaderEpochs => Some(FileName::LeaderEpochs),
            SyncStep::Checkpoint => Some(FileName::Checkpoint),
        }
    }

    /// Books a sync that succeeded.
    fn on_synced(&mut self, step: SyncStep) {
        match step {
            SyncStep::SyncLog { segment, bytes } => {
                let doomed = self.doomed.iter_mut().map(|(_, segment)| segment);
                if let Some(segment) = doomed.chain(&mut self.segments).find(|other| other.id == segment) {
                    segment.synced_bytes = segment.synced_bytes.max(bytes);
                }
            }
            SyncStep::SyncDir { changes } => self.dir_synced = self.dir_synced.max(changes),
            _ => {}
        }
    }

    fn on_commit_step(&mut self, step: SyncStep, result: Result<usize, IoFault>) {
        if let Err(fault) = result
            && !Mutant::FailedSyncRetried.is_armed()
        {
            let file = self.step_file(step);
            self.poison(file, fault);
            return;
        }
        self.on_synced(step);
        if let Some(commit) = &mut self.commit {
            commit.waiting -= 1;
        }
        self.finish_commit();
    }

    fn finish_commit(&mut self) {
        if let Some(commit) = self.commit.take_if(|commit| commit.waiting == 0) {
            self.move_durable(commit.target, commit.begun_ns);
        }
    }

    fn move_durable(&mut self, to: Offset, begun_ns: u64) {
        if to <= self.durable {
            return;
        }
        assert!(to <= self.written);
        self.durable = to;
        self.unsynced_since_ns = (self.durable < self.written).then_some(begun_ns);
        self.publish();
        self.push_end_moved();
    }

    // ---- checkpoints ----

    fn advance_checkpoint(&mut self) {
        if self.checkpoint.is_some() || !self.checkpoint_wanted || self.checkpoint_retry_ns.is_some() {
            return;
        }
        self.begin_checkpoint(false);
    }

    fn begin_checkpoint(&mut self, closing: bool) {
        self.checkpoint_wanted = false;
        for segment in &mut self.segments {
            if !segment.time_index.exists
                || !segment.time_index.pending.is_empty()
                || !segment.offset_index.pending.is_empty()
            {
                segment.note_largest_timestamp();
            }
        }
        if closing {
            self.active_mut().note_largest_timestamp();
        }
        let indexes = self
            .segments
            .iter()
            .filter(|segment| segment.log_exists && segment.stage == Stage::Live)
            .filter(|segment| {
                !segment.offset_index.exists
                    || !segment.time_index.exists
                    || !segment.offset_index.pending.is_empty()
                    || !segment.time_index.pending.is_empty()
            })
            .map(|s| (s.id, s.offset_index.pending.len() as u32, s.time_index.pending.len() as u32))
            .collect();
        self.checkpoint = Some(CheckpointJob {
            stage: CheckpointStage::CreatingIndexes,
            target: self.written,
            begun_ns: self.now.monotonic_ns,
            waiting: 0,
            generation: self.generation,
            dirty_bytes: self.dirty_bytes,
            closing,
            content: self.checkpoint_content(closing).encode(),
            epochs: self.epochs.dirty.then(|| self.epochs.encode()),
            indexes,
            failed: None,
        });
        self.epochs.dirty = false;
        self.order_checkpoint_stage();
        self.advance_checkpoint_stage();
    }

    fn checkpoint_content(&self, closing: bool) -> Checkpoint {
        // A swap under way is written as done: from here on recovery finishes it.
        let mut segments = Vec::with_capacity(self.segments.len());
        let swap = self.swap.as_ref().filter(|swap| matches!(swap.state, SwapState::AwaitingCheckpoint(_)));
        for segment in &self.segments {
            match swap {
                Some(swap) if swap.replaced.contains(&segment.id) => {
                    if let Some(by) = &swap.by
                        && swap.replaced.first() == Some(&segment.id)
                    {
                        segments.push(by.facts());
                    }
                }
                _ => segments.push(segment.facts()),
            }
        }
        Checkpoint {
            clean: closing,
            log_start: self.log_start.value(),
            recovery_point: self.written.value(),
            clean_offset: self.clean_offset.value(),
            segments,
            epochs: self.epochs.entries().iter().map(|(epoch, start)| (epoch.value(), start.value())).collect(),
            producers: self
                .producers
                .iter()
                .map(|(id, producer)| ProducerFacts {
                    id: id.value(),
                    epoch: producer.epoch.value(),
                    last_write_ms: producer.last_write.millis(),
                    batches: producer
                        .batches
                        .iter()
                        .map(|seen| BatchFacts {
                            base_sequence: seen.base_sequence.value(),
                            last_sequence: seen.last_sequence.value(),
                            base_offset: seen.base_offset.value(),
                            last_offset: seen.last_offset.value(),
                            log_append_time: seen.log_append_time.map(Timestamp::millis),
                        })
                        .collect(),
                })
                .collect(),
        }
    }

    /// Orders everything of the stage that the job has just entered.
    fn order_checkpoint_stage(&mut self) {
        let Some(job) = self.checkpoint.take() else { return };
        let mut steps = Vec::new();
        const KINDS: [SegmentFileKind; 2] = [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex];
        for &(id, offset_entries, time_entries) in &job.indexes {
            let Some(segment) = self.segment_mut(id) else { continue };
            for (kind, entries) in KINDS.into_iter().zip([offset_entries, time_entries]) {
                let (exists, position_and_bytes) = match kind {
                    SegmentFileKind::OffsetIndex => {
                        (segment.offset_index.exists, segment.offset_index.unwritten(entries))
                    }
                    _ => (segment.time_index.exists, segment.time_index.unwritten(entries)),
                };
                match job.stage {
                    CheckpointStage::CreatingIndexes if !exists => {
                        steps.push((SyncStep::CreateIndex(id, kind), 0, Bytes::new()));
                    }
                    CheckpointStage::WritingIndexes if 0 < entries => {
                        let (position, bytes) = position_and_bytes;
                        let step = SyncStep::WriteIndex { segment: id, kind, entries, bytes: bytes.len() };
                        steps.push((step, position, bytes));
                    }
                    CheckpointStage::Syncing => steps.push((SyncStep::SyncIndex(id, kind), 0, Bytes::new())),
                    _ => {}
                }
            }
        }
        match job.stage {
            CheckpointStage::Syncing => {
                steps.extend(self.sync_steps().into_iter().map(|step| (step, 0, Bytes::new())));
                if let Some(epochs) = &job.epochs {
                    steps.push((SyncStep::LeaderEpochs, 0, epochs.clone()));
                }
            }
            CheckpointStage::WritingCheckpoint => steps.push((SyncStep::Checkpoint, 0, job.content.clone())),
            _ => {}
        }
        self.checkpoint = Some(CheckpointJob { waiting: steps.len() as u32, ..job });
        for (step, position, bytes) in steps {
            let file = self.step_file(step);
            let op = self.op(Purpose::Checkpoint(step));
            self.effects.push_back(match (step, file) {
                (SyncStep::CreateIndex(..), Some(file)) => Effect::Create { op, file },
                (SyncStep::WriteIndex { .. }, Some(file)) => Effect::Write { op, file, position, buffers: vec![bytes] },
                (SyncStep::LeaderEpochs | SyncStep::Checkpoint, Some(file)) => Effect::WriteFile { op, file, bytes },
                (_, Some(file)) => Effect::Sync { op, file },
                (_, None) => Effect::SyncDir { op },
            });
        }
    }

    fn on_checkpoint_step(&mut self, step: SyncStep, result: Result<usize, IoFault>) {
        let result = match (step, result) {
            (SyncStep::WriteIndex { bytes, .. }, Ok(written)) if written != bytes => Err(IoFault::DISK_FULL),
            (_, result) => result,
        };
        let file = self.step_file(step);
        match result {
            Ok(_) => {
                self.on_synced(step);
                match step {
                    SyncStep::CreateIndex(id, kind) => {
                        self.dir_changes += 1;
                        if let Some(segment) = self.segment_mut(id) {
                            match kind {
                                SegmentFileKind::OffsetIndex => segment.offset_index.exists = true,
                                _ => segment.time_index.exists = true,
                            }
                        }
                    }
                    SyncStep::WriteIndex { segment, kind, entries, .. } => {
                        if let Some(segment) = self.segment_mut(segment) {
                            match kind {
                                SegmentFileKind::OffsetIndex => segment.offset_index.on_written(entries),
                                _ => segment.time_index.on_written(entries),
                            }
                        }
                    }
                    _ => {}
                }
            }
            Err(fault) => {
                let sync =
                    matches!(step, SyncStep::SyncLog { .. } | SyncStep::SyncDir { .. } | SyncStep::SyncIndex(..));
                if sync || fault.kind == IoFaultKind::Device {
                    self.poison(file, fault);
                    return;
                }
                if let Some(job) = &mut self.checkpoint {
                    job.failed = Some((file, fault));
                }
            }
        }
        if let Some(job) = &mut self.checkpoint {
            job.waiting -= 1;
        }
        self.advance_checkpoint_stage();
    }

    fn advance_checkpoint_stage(&mut self) {
        while let Some(job) = &mut self.checkpoint
            && job.waiting == 0
        {
            if let Some((file, fault)) = job.failed {
                self.epochs.dirty |= job.epochs.is_some();
                self.checkpoint = None;
                self.checkpoint_wanted = true;
                self.checkpoint_retry_ns = Some(self.now.monotonic_ns.saturating_add(CHECKPOINT_RETRY_NS));
                self.events.push_back(LogEvent::BackgroundFailed { file, fault });
                return;
            }
            let next = match job.stage {
                CheckpointStage::CreatingIndexes => Some(CheckpointStage::WritingIndexes),
                CheckpointStage::WritingIndexes if Mutant::RecoveryPointBeforeSync.is_armed() => {
                    Some(CheckpointStage::WritingCheckpoint)
                }
                CheckpointStage::WritingIndexes => Some(CheckpointStage::Syncing),
                CheckpointStage::Syncing => Some(CheckpointStage::WritingCheckpoint),
                CheckpointStage::WritingCheckpoint => None,
            };
            if let Some(next) = next {
                job.stage = next;
                self.order_checkpoint_stage();
            } else if let Some(job) = self.checkpoint.take() {
                self.on_checkpoint_stored(&job);
            }
        }
    }

    fn on_checkpoint_stored(&mut self, job: &CheckpointJob) {
        assert!(self.recovery_point <= job.target);
        self.recovery_point = job.target;
        self.generation_stored = job.generation;
        self.dirty_bytes -= job.dirty_bytes;
        self.dirty_since_ns = (job.target < self.written).then_some(job.begun_ns);
        self.changed = job.target < self.written || job.generation < self.generation;
        self.stored_clean = job.closing;
        self.move_durable(job.target, job.begun_ns);
        if let Some((generation, log_start)) = self.start_moved
            && generation <= job.generation
        {
            self.start_moved = None;
            self.events.push_back(LogEvent::StartMoved { log_start });
        }
        self.retire_doomed();
        if job.closing {
            self.finish_close();
        }
    }

    /// Takes segments out of the log: they are marked deleted once a checkpoint no longer lists them.
    pub(crate) fn take_out(&mut self, ids: &[SegmentId]) {
        if ids.is_empty() {
            return;
        }
        self.layout += 1;
        self.mark_changed();
        let generation = self.generation;
        let taken = self.segments.iter().filter(|segment| ids.contains(&segment.id) && segment.log_exists);
        self.doomed.extend(taken.cloned().map(|segment| (generation, segment)));
        self.segments.retain(|segment| !ids.contains(&segment.id));
        self.tail.retain(|batch| !ids.contains(&batch.segment));
        assert!(!self.segments.is_empty(), "the active segment is never taken out");
    }

    /// Marks files deleted that no checkpoint lists any more and no sync is at work on.
    fn retire_doomed(&mut self) {
        let stored = self.generation_stored;
        let busy: Vec<SegmentId> = self
            .ops
            .values()
            .filter_map(|purpose| match purpose {
                Purpose::Commit(step) | Purpose::Checkpoint(step) => step.segment(),
                _ => None,
            })
            .collect();
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.doomed)
            .into_iter()
            .partition(|(generation, segment)| *generation <= stored && !busy.contains(&segment.id));
        self.doomed = waiting;
        for file in due.iter().flat_map(|(_, segment)| SegmentFileKind::ALL.map(|kind| segment.file(kind))) {
            let op = self.op(Purpose::MarkDeleted(file));
            self.effects.push_back(Effect::Rename { op, from: file, to: file.at(Stage::Deleted) });
        }
    }

    /// Whether a `.cleaned` file is still being deleted: another compaction would write one of the same name.
    pub(crate) fn sweeping_cleaned(&self) -> bool {
        self.ops.values().any(|purpose| match purpose {
            Purpose::Delete(FileName::Segment(file)) => file.stage == Stage::Cleaned,
            _ => false,
        })
    }

    pub(crate) fn delete_file(&mut self, file: FileName) {
        let op = self.op(Purpose::Delete(file));
        self.effects.push_back(Effect::Delete { op, file });
    }

    // ---- closing ----

    fn advance_close(&mut self) {
        let idle = matches!(self.writing, Writing::Idle)
            && self.queue.is_empty()
            && self.swap.is_none()
            && self.swaps_waiting.is_empty();
        if !self.closing || self.closed || !idle || self.checkpoint.is_some() || self.checkpoint_retry_ns.is_some() {
            return;
        }
        if self.changed || !self.stored_clean {
            self.begin_checkpoint(true);
        } else if self.commit.is_none() {
            self.finish_close();
        }
    }

    fn finish_close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.events.push_back(LogEvent::Closed);
        }
    }

    // ---- changes of the folder ----

    fn advance_setup(&mut self) {
        let Some(mut setup) = self.setup.take() else { return };
        if setup.is_done() {
            self.events.push_back(LogEvent::Ready);
            return;
        }
        self.order_folder_stage(&mut setup, Purpose::Setup);
        self.setup = Some(setup);
    }

    fn order_folder_stage(&mut self, change: &mut FolderChange, purpose: fn(FileName) -> Purpose) {
        if change.waiting != 0 {
            return;
        }
        let Some(stage) = change.stages.pop_front() else { return };
        for step in stage {
            change.waiting += 1;
            let named = match step {
                FolderStep::Truncate(file, _) | FolderStep::Delete(file) | FolderStep::Rename(file, _) => file,
                FolderStep::SyncDir => FileName::Checkpoint,
            };
            let op = self.op(purpose(named));
            self.effects.push_back(match step {
                FolderStep::Truncate(file, bytes) => Effect::Truncate { op, file, bytes },
                FolderStep::Delete(file) => Effect::Delete { op, file },
                FolderStep::Rename(from, to) => Effect::Rename { op, from, to },
                FolderStep::SyncDir => Effect::SyncDir { op },
            });
        }
    }

    fn advance_swap(&mut self) {
        let Some(mut swap) = self.swap.take().or_else(|| self.swaps_waiting.pop_front()) else { return };
        loop {
            if !swap.change.is_done() {
                self.order_folder_stage(&mut swap.change, Purpose::Swap);
                break;
            }
            match swap.state {
                SwapState::AwaitingNames => {
                    self.clean_offset = self.clean_offset.max(swap.clean_offset);
                    self.mark_changed();
                    swap.state = SwapState::AwaitingCheckpoint(self.generation);
                }
                SwapState::AwaitingCheckpoint(generation) => {
                    if self.generation_stored < generation {
                        break;
                    }
                    self.replace_segments(&mut swap);
                    swap.state = SwapState::AwaitingPlace;
                }
                SwapState::AwaitingPlace => {
                    if let Some(by) = &swap.by
                        && let Some(segment) = self.segment_mut(by.id)
                    {
                        segment.stage = Stage::Live;
                    }
                    let delay_ns = self.config.file_delete_delay_ms.saturating_mul(NS_PER_MS);
                    let due_ns = self.now.monotonic_ns.saturating_add(delay_ns);
                    let files =
                        swap.replaced.iter().flat_map(|&id| SegmentFileKind::ALL.map(|kind| FileName::live(id, kind)));
                    self.deletions.extend(files.map(|file| (due_ns, file.at(Stage::Deleted))));
                    match self.swaps_waiting.pop_front() {
                        Some(next) => swap = next,
                        None => return,
                    }
                }
            }
        }
        self.swap = Some(swap);
    }

    /// The new segment takes the old ones' place: in memory now, on disk by the steps ordered here.
    fn replace_segments(&mut self, swap: &mut Swap) {
        self.layout += 1;
        let mut retire = Vec::new();
        for segment in self.segments.iter().filter(|segment| swap.replaced.contains(&segment.id)) {
            for kind in SegmentFileKind::ALL {
                let file = segment.file(kind);
                retire.push(FolderStep::Rename(file, file.at(Stage::Deleted)));
            }
        }
        let first = self.segments.iter().position(|segment| swap.replaced.contains(&segment.id)).unwrap_or(0);
        self.segments.retain(|segment| !swap.replaced.contains(&segment.id));
        self.tail.retain(|batch| !swap.replaced.contains(&batch.segment));
        swap.change.stages.push_back(retire);
        if let Some(by) = &swap.by {
            let mut segment = by.clone();
            segment.stage = Stage::Swap;
            let place = [SegmentFileKind::Log, SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex]
                .map(|kind| FolderStep::Rename(segment.file(kind), FileName::live(segment.id, kind)));
            swap.change.stages.push_back(place.to_vec());
            self.segments.insert(first, segment);
        }
        swap.change.stages.push_back(vec![FolderStep::SyncDir]);
        assert!(!self.segments.is_empty());
    }

    fn on_swap_step(&mut self, file: FileName, result: Result<usize, IoFault>) {
        match result {
            Ok(_) => {
                if let Some(swap) = &mut self.swap {
                    swap.change.waiting -= 1;
                }
            }
            // Names and memory no longer agree, and only recovery puts that right.
            Err(fault) => self.poison(Some(file), fault),
        }
    }
}
