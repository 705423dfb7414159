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
//!
//! Here stand the log's state, what goes in and comes out, and what can be asked of it. Each act has a file of its own:
//!
//! | file | act |
//! |---|---|
//! | `log/append.rs` | takes a batch, gives it offsets, and answers for it once: appended, or failed and rolled back |
//! | `log/write.rs` | forms the gather, rolls to the next segment |
//! | `log/sync.rs` | what must be synced, and the commit |
//! | `log/checkpoint.rs` | the checkpoint, stage by stage, and the recovery point it moves |
//! | `log/delete.rs` | moves the log start, takes segments out, marks and unlinks their files |
//! | `log/folder.rs` | ordered changes of names and lengths: those that recovery orders, those of a swap |
//! | `log/swap.rs` | puts a compacted segment in the place of what it was made from |
//!
//! Reading is in `read`; what may go is decided in `retention` and `compaction`.

pub(crate) mod append;
mod checkpoint;
mod delete;
pub(crate) mod folder;
mod swap;
mod sync;
mod write;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use types::{LeaderEpoch, Now, Offset, Timestamp, TopicId, TopicPartition};

use crate::config::LogConfig;
use crate::effect::{Effect, IoFault, LogEvent, OpId};
use crate::epochs::{EpochEnd, LeaderEpochs};
use crate::file::{FileName, SegmentId};
use crate::index::IndexWindow;
use crate::producers::{ProducerInfo, Producers};
use crate::rate::AppendRate;
use crate::segment::Segment;

use append::{Ack, Queued};
use checkpoint::CheckpointJob;
use folder::FolderChange;
use swap::Swap;
use sync::{Commit, SyncStep};
use write::Writing;

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
    epochs: LeaderEpochs,
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
    swap: Option<Swap>,
    swaps_waiting: VecDeque<Swap>,
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

    /// The outcome of an effect: for a write the bytes written, for the others any number.
    pub fn on_done(&mut self, now: Now, op: OpId, result: Result<usize, IoFault>) {
        self.now = now;
        let Some(purpose) = self.ops.remove(&op) else { return };
        match purpose {
            Purpose::CreateLog(segment) => self.on_log_created(segment, result.map(|_| ())),
            Purpose::Gather => self.on_gather_done(result),
            Purpose::Cut(file) => self.on_cut(file, result),
            Purpose::Metadata => self.on_metadata_written(result),
            Purpose::Commit(step) => self.on_commit_step(step, result),
            Purpose::Checkpoint(step) => self.on_checkpoint_step(step, result),
            Purpose::Setup(file) => self.on_setup_step(file, result),
            Purpose::Swap(file) => self.on_swap_step(file, result),
            Purpose::MarkDeleted(file) => self.on_marked_deleted(file, result),
            Purpose::Delete(file) => self.on_deleted(file, result),
        }
    }

    /// Time has passed: `next_deadline_ns` or later.
    pub fn on_tick(&mut self, now: Now) {
        self.now = now;
        self.delete_due();
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

    /// New settings, in force from the next append.
    pub fn update_config(&mut self, now: Now, config: LogConfig) {
        self.now = now;
        self.config = config;
        self.publish();
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

    // ---- closing ----

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

    fn advance_close(&mut self) {
        let idle = matches!(self.writing, Writing::Idle) && self.queue.is_empty() && !self.is_swapping();
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

    fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    fn segment_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&id, |segment| segment.id).ok()?;
        self.segments.get_mut(at)
    }
}
