//! A partition on its home shard: the sans-IO log and its leader state, and the hands that carry out what they decide.
//!
//! ```text
//!  append ─► PartitionLog ─► (end of turn) Effect::Write ─► log ring ─► on_done ─► Appended ─► reply, or parked until
//!                                                                          └─► EndMoved ─► high watermark ─► fetches woken
//! ```
//! A partition is touched by its home shard alone. Whoever runs on another shard sends a letter.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use batch::BatchInfo;
use bytes::BytesMut;
use replica::{FetchWaiters, Leader, Parked};
use shard::{LogFile, OpenMode};
use storage::compaction::{CompactionFault, CompactionJob, CompactionOutcome};
use storage::{
    Admission, AppendFault, Effect, FileName, IoFault, LogEvent, OpId, OutOfRange, PartitionLog, ReadRange, ReadStep,
};
use tokio::sync::{Notify, oneshot};
use types::limits::WRITEBACK_STEP_BYTES;
use types::{ErrorCode, LeaderEpoch, Now, Offset, ShardId, Timestamp, TopicPartition};

use crate::fetch::{Isolation, PartitionFetch, PartitionPlan};
use crate::file_work;
use crate::in_flight::InFlight;
use crate::log_dirs::LogDir;
use crate::mail::{Origin, PartitionKey, RequestToken, VisibleOffsets};
use crate::produce::{Appended, ProduceOutcome, ProduceRefusal};
use crate::shard_state::ShardState;

/// How much a producer wants to know (`acks`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acks {
    /// 0: nothing.
    Nothing,
    /// 1: the leader has it.
    Leader,
    /// -1: everyone in sync has it; wait this long at most.
    All { timeout: Duration },
}

/// Who waits for an append.
enum Waiting {
    /// A producer's request, here or on another shard.
    Request { origin: Origin, acks: Acks },
    /// One of our own coordinators.
    Internal(oneshot::Sender<ProduceOutcome>),
}

/// An append that is written and waits for the high watermark.
struct Acked {
    waiting: Waiting,
    appended: Appended,
}

/// Names a long poll that waits for more. Two of one slot are the same watcher: the later request of a slot takes the
/// place of the earlier, which has been answered, so idle partitions do not collect them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watcher {
    shard: ShardId,
    slot: u32,
    generation: u32,
}

impl Watcher {
    pub(crate) fn new(shard: ShardId, token: RequestToken) -> Self {
        Self { shard, slot: token.slot, generation: token.generation }
    }

    fn token(self) -> RequestToken {
        RequestToken { slot: self.slot, generation: self.generation }
    }
}

impl PartialEq for Watcher {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Watcher {}

impl PartialOrd for Watcher {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watcher {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.shard, self.slot).cmp(&(other.shard, other.slot))
    }
}

/// A read plan, or what it needs before it can go on.
pub(crate) enum PlanStep {
    /// Here it is.
    Done(PartitionPlan),
    /// These bytes, to `resume` with.
    Bytes(storage::FileScan),
    /// A moment: a compaction is renaming the file that was found, so begin again.
    Retry,
}

/// A partition that this shard leads.
///
/// Lives on: its home shard, from the image that names it until the one that does not, or the stop of the node.
pub(crate) struct Partition {
    pub(crate) key: PartitionKey,
    pub(crate) name: TopicPartition,
    pub(crate) log_dir: Arc<LogDir>,
    /// Names its timer; unique on its shard.
    pub(crate) number: u64,
    inner: RefCell<Inner>,
    /// Whether it is on the list of those that gather at the end of this turn.
    gathers: Cell<bool>,
    timer_ns: Cell<Option<u64>>,
    closed: RefCell<Option<oneshot::Sender<()>>>,
    /// Its topic was deleted: nothing more is done to its files, whose names another topic may have by now.
    removed: Cell<bool>,
    /// Told when what recovery ordered is on disk.
    ready: Notify,
}

struct Inner {
    log: PartitionLog,
    leader: Leader,
    epoch: LeaderEpoch,
    appends: InFlight<Waiting>,
    parked: Parked<Acked>,
    waiters: FetchWaiters<Watcher>,
    files: Vec<(FileName, Arc<LogFile>)>,
    /// The file being appended to, and where its next request for writeback begins.
    writeback: Option<(FileName, u64)>,
    /// Renames and removals under way.
    renames: BTreeSet<OpId>,
    /// DeleteRecords that wait until the log start they asked for is on disk.
    start_moves: Vec<(Offset, oneshot::Sender<()>)>,
    /// The log failed an append: the controller was asked for a new epoch.
    epoch_asked: bool,
}

impl Partition {
    pub(crate) fn new(
        key: PartitionKey,
        name: TopicPartition,
        log_dir: Arc<LogDir>,
        number: u64,
        log: PartitionLog,
        epoch: LeaderEpoch,
        (replication_factor, min_insync_replicas): (u32, u32),
    ) -> Rc<Self> {
        let leader = Leader::new(log.offsets().visible, replication_factor, min_insync_replicas);
        Rc::new(Self {
            key,
            name,
            log_dir,
            number,
            inner: RefCell::new(Inner {
                log,
                leader,
                epoch,
                appends: InFlight::default(),
                parked: Parked::new(),
                waiters: FetchWaiters::new(),
                files: Vec::new(),
                writeback: None,
                renames: BTreeSet::new(),
                start_moves: Vec::new(),
                epoch_asked: false,
            }),
            gathers: Cell::new(false),
            timer_ns: Cell::new(None),
            closed: RefCell::new(None),
            removed: Cell::new(false),
            ready: Notify::new(),
        })
    }

    /// Appends one validated batch; the outcome goes to `origin`, now or when it is written (and, for acks=all,
    /// committed).
    pub(crate) fn append(
        self: &Rc<Self>,
        state: &Rc<ShardState>,
        records: BytesMut,
        info: &BatchInfo,
        origin: Origin,
        acks: Acks,
    ) {
        self.append_for(state, records, info, Waiting::Request { origin, acks });
    }

    /// Appends one of our own batches with acks=all.
    pub(crate) fn append_internal(
        self: &Rc<Self>,
        state: &Rc<ShardState>,
        records: BytesMut,
        info: &BatchInfo,
    ) -> oneshot::Receiver<ProduceOutcome> {
        let (sender, receiver) = oneshot::channel();
        self.append_for(state, records, info, Waiting::Internal(sender));
        receiver
    }

    fn append_for(self: &Rc<Self>, state: &Rc<ShardState>, records: BytesMut, info: &BatchInfo, waiting: Waiting) {
        match self.admit(state, records, info, waiting) {
            Ok(()) => self.gather_at_end_of_turn(state),
            Err((waiting, outcome)) => self.answer(state, waiting, outcome),
        }
    }

    fn admit(
        &self,
        state: &Rc<ShardState>,
        records: BytesMut,
        info: &BatchInfo,
        waiting: Waiting,
    ) -> Result<(), (Waiting, ProduceOutcome)> {
        if self.removed.get() {
            return Err((waiting, Err(self.deleted())));
        }
        if let Some(message) = self.log_dir.refusal() {
            return Err((waiting, Err(ProduceRefusal::new(ErrorCode::KafkaStorageError, message))));
        }
        let mut inner = self.inner.borrow_mut();
        let wants_all = !matches!(waiting, Waiting::Request { acks: Acks::Nothing | Acks::Leader, .. });
        if wants_all && let Err(too_few) = inner.leader.check_in_sync() {
            let message = format!(
                "{} has {} replicas in sync and min.insync.replicas asks for {}",
                self.name, too_few.in_sync, too_few.required
            );
            return Err((waiting, Err(ProduceRefusal::new(ErrorCode::NotEnoughReplicas, message))));
        }
        let now = state.now();
        let epoch = inner.epoch;
        let from_client = matches!(waiting, Waiting::Request { .. });
        let token = inner.appends.insert(waiting);
        let admission = inner.log.append_as_leader(now, records, info, epoch, token.to_u64());
        match admission {
            Ok(Admission::Queued { .. }) => {
                if from_client {
                    state.metrics.produced(info.records, info.size_bytes);
                }
                Ok(())
            }
            Ok(Admission::AwaitsOriginal) => Ok(()),
            Ok(Admission::Duplicate { base_offset, last_offset, log_append_time }) => {
                let waiting = inner.appends.remove(token).expect("just inserted");
                let appended = Appended { base_offset, log_append_time, log_start: inner.log.offsets().log_start };
                let (now_ns, committed) = (now, last_offset < inner.leader.high_watermark());
                if committed || !wants_all {
                    return Err((waiting, Ok(appended)));
                }
                park(&mut inner, now_ns, last_offset, Acked { waiting, appended });
                Ok(())
            }
            Err(fault) => {
                let waiting = inner.appends.remove(token).expect("just inserted");
                Err((waiting, Err(self.refusal(&fault))))
            }
        }
    }

    fn refusal(&self, fault: &AppendFault) -> ProduceRefusal {
        let code = match fault {
            AppendFault::WrongEpoch { .. } | AppendFault::Closed => ErrorCode::NotLeaderOrFollower,
            // Retriable, so producers keep their records until the partition has healed.
            AppendFault::AwaitsNewEpoch { .. } | AppendFault::Poisoned { .. } | AppendFault::QueueFull { .. } => {
                ErrorCode::KafkaStorageError
            }
            AppendFault::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            AppendFault::OffsetsExhausted => ErrorCode::UnknownServerError,
            AppendFault::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendFault::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        };
        ProduceRefusal::new(code, format!("{}: {fault}", self.name))
    }

    fn deleted(&self) -> ProduceRefusal {
        ProduceRefusal::new(ErrorCode::UnknownTopicOrPartition, format!("{} was deleted", self.name))
    }

    fn answer(&self, state: &Rc<ShardState>, waiting: Waiting, outcome: ProduceOutcome) {
        match waiting {
            Waiting::Request { origin, .. } => state.produced(origin, outcome),
            // A coordinator that is gone needs no answer.
            Waiting::Internal(sender) => drop(sender.send(outcome)),
        }
    }

    fn gather_at_end_of_turn(self: &Rc<Self>, state: &Rc<ShardState>) {
        if !self.gathers.replace(true) {
            state.gather(Rc::clone(self));
        }
    }

    /// Carries out what the log wants, and hears what happened, until it wants and says nothing.
    pub(crate) fn run(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.gathers.set(false);
        if self.removed.get() {
            return;
        }
        loop {
            let effect = self.inner.borrow_mut().log.poll_effect();
            if let Some(effect) = effect {
                self.execute(state, effect);
                continue;
            }
            let event = self.inner.borrow_mut().log.poll_event();
            let Some(event) = event else { break };
            self.on_event(state, event);
        }
        self.set_timer(state);
    }

    /// An operation of the log's is done.
    pub(crate) fn on_done(self: &Rc<Self>, state: &Rc<ShardState>, op: OpId, result: io::Result<usize>) {
        if self.removed.get() {
            // Its folder is gone or going: that a file is missing there says nothing of the disk.
            return;
        }
        if let Err(error) = &result {
            tracing::error!(partition = %self.name, dir = %self.log_dir.path.display(), %error, "log I/O failed");
        }
        let result = result.map_err(|error| IoFault::from(&error));
        {
            let mut inner = self.inner.borrow_mut();
            if inner.renames.remove(&op) {
                // What was open under the names before may now have others.
                inner.files.clear();
            }
            inner.log.on_done(state.now(), op, result);
        }
        self.run(state);
    }

    /// The partition's timer fired.
    pub(crate) fn on_tick(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.timer_ns.set(None);
        let mut late = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            let now = state.now();
            inner.log.on_tick(now);
            inner.parked.on_tick(now.monotonic_ns, &mut late);
        }
        for acked in late {
            let message = format!("{}: not committed within the request's timeout", self.name);
            self.answer(state, acked.waiting, Err(ProduceRefusal::new(ErrorCode::RequestTimedOut, message)));
        }
        self.run(state);
    }

    fn set_timer(&self, state: &Rc<ShardState>) {
        let inner = self.inner.borrow();
        let next = [inner.log.next_deadline_ns(), inner.parked.next_deadline_ns()].into_iter().flatten().min();
        if next != self.timer_ns.get() {
            self.timer_ns.set(next);
            match next {
                Some(deadline_ns) => state.runtime.timer(self.number, deadline_ns),
                None => state.runtime.cancel(self.number),
            }
        }
    }

    fn on_event(self: &Rc<Self>, state: &Rc<ShardState>, event: LogEvent) {
        match event {
            LogEvent::Appended { tag, base_offset, last_offset, log_append_time } => {
                self.advance(state);
                let mut inner = self.inner.borrow_mut();
                let Some(waiting) = inner.appends.remove(RequestToken::from_u64(tag)) else { return };
                let appended = Appended { base_offset, log_append_time, log_start: inner.log.offsets().log_start };
                let committed = last_offset < inner.leader.high_watermark();
                if committed || matches!(waiting, Waiting::Request { acks: Acks::Nothing | Acks::Leader, .. }) {
                    drop(inner);
                    self.answer(state, waiting, Ok(appended));
                } else {
                    park(&mut inner, state.now(), last_offset, Acked { waiting, appended });
                }
            }
            LogEvent::AppendFailed { tag, fault } => {
                let waiting = self.inner.borrow_mut().appends.remove(RequestToken::from_u64(tag));
                let message = format!("{}: the append failed and nothing of it is kept: {fault}", self.name);
                if let Some(waiting) = waiting {
                    self.answer(state, waiting, Err(ProduceRefusal::new(ErrorCode::KafkaStorageError, message)));
                }
                self.ask_for_epoch(state);
            }
            LogEvent::EndMoved { .. } => {
                self.ready.notify_waiters();
                self.advance(state);
            }
            LogEvent::Poisoned { file, written, fault } => {
                let file = file.map_or_else(|| "(folder)".to_owned(), |file| file.to_string());
                tracing::error!(
                    partition = %self.name, dir = %self.log_dir.path.display(), file, offset = %written, errno = fault.errno,
                    "the log directory failed and takes no more records until a restart; check the disk"
                );
                let reason = format!("{}/{}/{file}: {fault}", self.log_dir.path.display(), self.name);
                if self.log_dir.poison(reason) {
                    state.give_up_leadership(&self.log_dir);
                }
                self.release_waiting();
            }
            LogEvent::StartMoved { log_start } => {
                let mut inner = self.inner.borrow_mut();
                let moves = std::mem::take(&mut inner.start_moves);
                for (start, moved) in moves {
                    if start <= log_start {
                        // Whoever asked may be gone.
                        let _ = moved.send(());
                    } else {
                        inner.start_moves.push((start, moved));
                    }
                }
                drop(inner);
                self.wake_all(state);
            }
            LogEvent::Ready => self.ready.notify_waiters(),
            LogEvent::Closed => {
                if let Some(closed) = self.closed.borrow_mut().take() {
                    // The node stops without waiting for it any longer.
                    let _ = closed.send(());
                }
            }
            LogEvent::BackgroundFailed { file, fault } => {
                let file = file.map_or_else(|| "(folder)".to_owned(), |file| file.to_string());
                tracing::warn!(partition = %self.name, file, errno = fault.errno, "background work failed, tried again later");
            }
        }
    }

    /// The log grew: the high watermark follows, what waited for it leaves, sleeping fetches wake.
    fn advance(self: &Rc<Self>, state: &Rc<ShardState>) {
        let (mut released, mut woken) = (Vec::new(), Vec::new());
        {
            let mut inner = self.inner.borrow_mut();
            let inner = &mut *inner;
            let visible = inner.log.offsets().visible;
            if visible <= inner.leader.log_end() {
                return;
            }
            let Some(high_watermark) = inner.leader.on_log_end(visible) else { return };
            if !inner.parked.is_empty() {
                inner.parked.on_high_watermark(high_watermark, &mut released);
            }
            if !inner.waiters.is_empty() {
                inner.waiters.on_visible_end(high_watermark, &mut woken);
            }
        }
        for acked in released {
            self.answer(state, acked.waiting, Ok(acked.appended));
        }
        for watcher in woken {
            state.wake_fetch(watcher.shard, watcher.token());
        }
    }

    /// What comes with a log's own progress will not come any more: nobody waits for it.
    fn release_waiting(&self) {
        self.ready.notify_waiters();
        self.inner.borrow_mut().start_moves.clear();
    }

    fn wake_all(&self, state: &Rc<ShardState>) {
        let mut woken = Vec::new();
        self.inner.borrow_mut().waiters.drain(&mut woken);
        for watcher in woken {
            state.wake_fetch(watcher.shard, watcher.token());
        }
    }

    /// After a failed append the log takes nothing until the controller has begun a new leader epoch: followers may
    /// hold what was lost here, and an offset is never given twice in one epoch.
    fn ask_for_epoch(self: &Rc<Self>, state: &Rc<ShardState>) {
        if std::mem::replace(&mut self.inner.borrow_mut().epoch_asked, true) {
            return;
        }
        let (state, partition) = (Rc::clone(state), Rc::clone(self));
        tokio::task::spawn_local(async move {
            // Again and again: the metadata log may lie on the same full disk, and then nobody can begin an epoch yet.
            while partition.with_log(PartitionLog::awaits_new_epoch)
                && state.partition(partition.key).is_some()
                && !state.stopping()
            {
                // Not at once: a full disk stays full for a while.
                tokio::time::sleep(Duration::from_millis(500)).await;
                state.node.control.new_leader_epoch(partition.key.topic, partition.key.partition).await;
            }
            partition.inner.borrow_mut().epoch_asked = false;
        });
    }

    /// The image names a leader epoch: appends go on in it.
    pub(crate) fn on_leader_epoch(self: &Rc<Self>, state: &Rc<ShardState>, epoch: LeaderEpoch) {
        {
            let mut inner = self.inner.borrow_mut();
            if epoch <= inner.epoch {
                return;
            }
            match inner.log.set_leader_epoch(state.now(), epoch) {
                Ok(()) => inner.epoch = epoch,
                Err(fault) => tracing::error!(partition = %self.name, %epoch, %fault, "leader epoch not taken"),
            }
        }
        self.gather_at_end_of_turn(state);
    }

    /// The topic's settings changed.
    pub(crate) fn on_config(self: &Rc<Self>, state: &Rc<ShardState>, config: storage::LogConfig, min_insync: u32) {
        {
            let mut inner = self.inner.borrow_mut();
            inner.log.update_config(state.now(), config);
            inner.leader.on_min_insync_replicas(min_insync);
        }
        self.gather_at_end_of_turn(state);
    }

    /// Lets retention take what is due.
    pub(crate) fn apply_retention(self: &Rc<Self>, state: &Rc<ShardState>) {
        {
            let mut inner = self.inner.borrow_mut();
            let high_watermark = inner.leader.high_watermark();
            let taken = inner.log.apply_retention(state.now(), high_watermark);
            if !taken.is_empty() {
                tracing::info!(partition = %self.name, segments = taken.len(), "retention took old segments");
                inner.files.clear();
            }
        }
        self.gather_at_end_of_turn(state);
    }

    /// A job that compacts this log, if it is due.
    pub(crate) fn begin_compaction(&self, state: &ShardState) -> Option<CompactionJob> {
        let mut inner = self.inner.borrow_mut();
        let high_watermark = inner.leader.high_watermark();
        inner.log.begin_compaction(state.now(), high_watermark)
    }

    /// What the job made takes its place.
    pub(crate) fn finish_compaction(
        self: &Rc<Self>,
        state: &Rc<ShardState>,
        outcome: Result<CompactionOutcome, CompactionFault>,
    ) {
        match &outcome {
            Ok(made) => tracing::info!(
                partition = %self.name, bytes_before = made.bytes_before, bytes_after = made.bytes_after, "compacted"
            ),
            Err(fault) => tracing::warn!(partition = %self.name, %fault, "compaction gave up; tried again later"),
        }
        self.inner.borrow_mut().log.finish_compaction(state.now(), outcome);
        self.gather_at_end_of_turn(state);
    }

    /// The job could not be run.
    pub(crate) fn abandon_compaction(self: &Rc<Self>, state: &Rc<ShardState>) {
        let busy = io::Error::other("the maintenance thread's queue is full");
        let fault = CompactionFault::Io { file: FileName::Checkpoint, source: busy };
        self.finish_compaction(state, Err(fault));
    }

    /// Moves the log start (DeleteRecords); `None` means the high watermark. The new log start, once it is on disk.
    pub(crate) async fn delete_records(
        self: &Rc<Self>,
        state: &Rc<ShardState>,
        to: Option<Offset>,
    ) -> Result<Offset, OutOfRange> {
        let (start, on_disk) = {
            let mut inner = self.inner.borrow_mut();
            let (before, high_watermark) = (inner.log.offsets().log_start, inner.leader.high_watermark());
            let to = to.unwrap_or(high_watermark);
            if high_watermark < to {
                return Err(OutOfRange { asked: to, log_start: before, log_end: high_watermark });
            }
            let start = inner.log.delete_records(state.now(), to)?;
            if start == before {
                return Ok(start);
            }
            let (moved, on_disk) = oneshot::channel();
            inner.start_moves.push((start, moved));
            (start, on_disk)
        };
        self.gather_at_end_of_turn(state);
        // A failure leaves the start where it is in memory; it is written with the next checkpoint.
        let _ = on_disk.await;
        Ok(start)
    }

    /// What readers see.
    pub(crate) fn visible(&self) -> VisibleOffsets {
        let inner = self.inner.borrow();
        visible(&inner)
    }

    /// Looks at the log.
    pub(crate) fn with_log<R>(&self, look: impl FnOnce(&PartitionLog) -> R) -> R {
        look(&self.inner.borrow().log)
    }

    /// The leader epoch it is led in.
    pub(crate) fn epoch(&self) -> LeaderEpoch {
        self.inner.borrow().epoch
    }

    /// The replies that wait here.
    pub(crate) fn waiting(&self) -> usize {
        let inner = self.inner.borrow();
        inner.parked.len() + inner.appends.len()
    }

    /// Where the records that a fetch wants lie.
    pub(crate) fn plan(&self, state: &Rc<ShardState>, fetch: &PartitionFetch) -> PlanStep {
        let inner = self.inner.borrow();
        let visible = visible(&inner);
        if let Some(plan) = check_epochs(&inner, fetch, visible) {
            return PlanStep::Done(plan);
        }
        let Some(start) = fetch.start else {
            return PlanStep::Done(PartitionPlan::refused(ErrorCode::OffsetOutOfRange, visible));
        };
        let range = read_range(fetch, start, visible);
        match inner.log.read(&range) {
            Ok(step) => {
                drop(inner);
                self.plan_step(state, step, visible)
            }
            Err(_) => PlanStep::Done(PartitionPlan::refused(ErrorCode::OffsetOutOfRange, visible)),
        }
    }

    /// Goes on after `scan` was read.
    pub(crate) fn resume(
        &self,
        state: &Rc<ShardState>,
        fetch: &PartitionFetch,
        scan: storage::FileScan,
        bytes: &[u8],
    ) -> PlanStep {
        let inner = self.inner.borrow();
        let visible = visible(&inner);
        let Some(start) = fetch.start else {
            return PlanStep::Done(PartitionPlan::refused(ErrorCode::OffsetOutOfRange, visible));
        };
        let range = read_range(fetch, start, visible);
        match inner.log.resume_read(&range, scan, bytes) {
            Ok(step) => {
                drop(inner);
                self.plan_step(state, step, visible)
            }
            Err(storage::ReadFault::OutOfRange(_)) => {
                PlanStep::Done(PartitionPlan::refused(ErrorCode::OffsetOutOfRange, visible))
            }
            Err(fault) => {
                tracing::error!(partition = %self.name, %fault, "the log cannot be read");
                PlanStep::Done(PartitionPlan::refused(ErrorCode::KafkaStorageError, visible))
            }
        }
    }

    fn plan_step(&self, state: &Rc<ShardState>, step: ReadStep, visible: VisibleOffsets) -> PlanStep {
        match step {
            ReadStep::Empty => PlanStep::Done(PartitionPlan::empty(visible)),
            ReadStep::Scan(scan) => PlanStep::Bytes(scan),
            ReadStep::Slice(slice) => match self.open(state, slice.file) {
                Ok(file) => {
                    let sealed = !self.with_log(|log| log.is_active(slice.segment));
                    PlanStep::Done(PartitionPlan::slice(file, &slice, sealed, visible))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => PlanStep::Retry,
                Err(error) => {
                    tracing::error!(partition = %self.name, file = %slice.file, %error, "the log cannot be opened");
                    PlanStep::Done(PartitionPlan::refused(ErrorCode::KafkaStorageError, visible))
                }
            },
        }
    }

    /// Tells `watcher` once when readers see more than `seen`; at once if they do already.
    pub(crate) fn watch(&self, state: &Rc<ShardState>, seen: Offset, watcher: Watcher) {
        let mut inner = self.inner.borrow_mut();
        if self.removed.get() || seen < inner.leader.high_watermark() {
            drop(inner);
            state.wake_fetch(watcher.shard, watcher.token());
        } else {
            inner.waiters.watch(seen, watcher);
        }
    }

    /// The file, open for reading and writing.
    pub(crate) fn open(&self, state: &Rc<ShardState>, name: FileName) -> io::Result<Arc<LogFile>> {
        let mut inner = self.inner.borrow_mut();
        if let Some((_, file)) = inner.files.iter().find(|(open, _)| *open == name) {
            return Ok(Arc::clone(file));
        }
        self.log_dir.place.check()?;
        let file = Arc::new(LogFile::open_blocking(self.path(name), OpenMode::ReadWrite)?);
        if inner.files.len() >= types::limits::PARTITION_FILES_OPEN_MAX {
            inner.files.remove(0);
        }
        inner.files.push((name, Arc::clone(&file)));
        state.files_opened();
        Ok(file)
    }

    /// Closes files that nobody reads, to stay within the node's descriptors.
    pub(crate) fn close_idle_files(&self) {
        self.inner.borrow_mut().files.retain(|(_, file)| Arc::strong_count(file) > 1);
    }

    pub(crate) fn files_open(&self) -> usize {
        self.inner.borrow().files.len()
    }

    /// The folder's path.
    pub(crate) fn dir(&self) -> std::path::PathBuf {
        self.log_dir.path.join(self.name.to_string())
    }

    fn path(&self, name: FileName) -> std::path::PathBuf {
        self.dir().join(name.to_string())
    }

    fn execute(self: &Rc<Self>, state: &Rc<ShardState>, effect: Effect) {
        let token = state.log_op(Rc::clone(self), effect.op());
        match effect {
            Effect::Write { file, position, buffers, .. } => match self.open(state, file) {
                Ok(opened) => {
                    self.start_writeback(file, &opened, position);
                    state.log_ring.write(token.to_u64(), opened, position, buffers);
                }
                Err(error) => state.complete_later(token, Err(error)),
            },
            Effect::Sync { file, .. } => self.sync(state, token, file),
            other => {
                if let Effect::Rename { op, .. } | Effect::Delete { op, .. } = &other {
                    self.inner.borrow_mut().renames.insert(*op);
                }
                state.file_work(token, &self.log_dir, self.dir(), other);
            }
        }
    }

    fn sync(self: &Rc<Self>, state: &Rc<ShardState>, token: RequestToken, file: FileName) {
        match self.open(state, file) {
            Ok(opened) => {
                let durable = self.with_log(|log| log.config().is_durable());
                state.sync(token, opened, durable, &self.log_dir);
            }
            // A failed fsync is final, but this one was not even begun.
            Err(error) if file_work::lacks_descriptors(&error) => {
                let (partition, state) = (Rc::clone(self), Rc::clone(state));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(file_work::DESCRIPTORS_RETRY).await;
                    partition.sync(&state, token, file);
                });
            }
            Err(error) => state.complete_later(token, Err(error)),
        }
    }

    /// Everything below `position` of `file` is written: every [`WRITEBACK_STEP_BYTES`] the kernel is asked to begin
    /// putting it on the disk, so that dirty pages never pile up into a long stall.
    fn start_writeback(&self, file: FileName, opened: &Arc<LogFile>, position: u64) {
        let mut inner = self.inner.borrow_mut();
        let from = match inner.writeback {
            Some((known, from)) if known == file => from,
            _ => position,
        };
        if position < from + WRITEBACK_STEP_BYTES {
            inner.writeback = Some((file, from));
            return;
        }
        inner.writeback = Some((file, position));
        // A full queue means that the thread is behind already; the kernel will do it in its own time.
        let _ = self.log_dir.writeback.start_range(Arc::clone(opened), from, position - from);
    }

    /// Waits until what recovery ordered is on disk and what it found is visible. With `flush.messages=1` that takes a
    /// sync; served before it, the log would end at its recovery point, and consumers that had read further would be told
    /// that their offset is out of range.
    pub(crate) async fn until_ready(&self) {
        loop {
            let told = self.ready.notified();
            let served = self.with_log(|log| {
                let offsets = log.offsets();
                log.poisoned().is_some() || (log.is_ready() && offsets.visible == offsets.written)
            });
            if served || self.removed.get() {
                return;
            }
            told.await;
        }
    }

    /// Stops taking appends, flushes, writes the clean marker; `closed` hears when that is on disk.
    pub(crate) fn close(self: &Rc<Self>, state: &Rc<ShardState>, closed: oneshot::Sender<()>) {
        *self.closed.borrow_mut() = Some(closed);
        let mut parked = Vec::new();
        {
            let mut inner = self.inner.borrow_mut();
            inner.parked.drain(&mut parked);
            inner.log.close(state.now());
        }
        for acked in parked {
            let message = format!("{}: the node stops", self.name);
            self.answer(state, acked.waiting, Err(ProduceRefusal::new(ErrorCode::NotLeaderOrFollower, message)));
        }
        self.wake_all(state);
        self.gather_at_end_of_turn(state);
    }

    /// The topic is gone: whoever waits here is told.
    pub(crate) fn remove(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.removed.set(true);
        let mut inner = self.inner.borrow_mut();
        let mut parked = Vec::new();
        inner.parked.drain(&mut parked);
        let tokens: Vec<_> = inner.appends.tokens().collect();
        let appends: Vec<_> = tokens.into_iter().filter_map(|token| inner.appends.remove(token)).collect();
        drop(inner);
        for waiting in parked.into_iter().map(|acked| acked.waiting).chain(appends) {
            self.answer(state, waiting, Err(self.deleted()));
        }
        self.wake_all(state);
        self.release_waiting();
        if let Some(closed) = self.closed.borrow_mut().take() {
            // The node stops without waiting for it any longer.
            let _ = closed.send(());
        }
        state.runtime.cancel(self.number);
    }
}

fn visible(inner: &Inner) -> VisibleOffsets {
    let offsets = inner.log.offsets();
    let high_watermark = inner.leader.high_watermark();
    VisibleOffsets {
        log_start: offsets.log_start,
        last_stable: offsets.last_stable.min(high_watermark),
        high_watermark,
    }
}

fn read_range(fetch: &PartitionFetch, start: Offset, visible: VisibleOffsets) -> ReadRange {
    let end = match fetch.isolation {
        Isolation::ReadUncommitted => visible.high_watermark,
        Isolation::ReadCommitted => visible.last_stable,
    };
    ReadRange { start, end, bytes_max: fetch.bytes_max, at_least_one: true }
}

/// KIP-320: a client that follows an older or newer leader than this one is told so before anything is read.
fn check_epochs(inner: &Inner, fetch: &PartitionFetch, visible: VisibleOffsets) -> Option<PartitionPlan> {
    if let Some(epoch) = fetch.current_epoch {
        if epoch < inner.epoch {
            return Some(PartitionPlan::refused(ErrorCode::FencedLeaderEpoch, visible));
        }
        if inner.epoch < epoch {
            return Some(PartitionPlan::refused(ErrorCode::UnknownLeaderEpoch, visible));
        }
    }
    let (last_epoch, start) = (fetch.last_fetched_epoch?, fetch.start?);
    let end = inner.log.end_offset_for_epoch(last_epoch);
    match end {
        Some(end) if end.epoch < last_epoch || end.end_offset < start => {
            Some(PartitionPlan::diverging(end.epoch, end.end_offset, visible))
        }
        Some(_) => None,
        None => Some(PartitionPlan::refused(ErrorCode::OffsetOutOfRange, visible)),
    }
}

fn park(inner: &mut Inner, now: Now, last_offset: Offset, acked: Acked) {
    let timeout = match &acked.waiting {
        Waiting::Request { acks: Acks::All { timeout }, .. } => *timeout,
        // Our own appends wait as long as it takes: a coordinator that gave up would have to ask what became of them.
        _ => Duration::from_secs(60 * 60),
    };
    inner.parked.park(last_offset.plus(1), now.deadline_ns(timeout), acked);
}

/// A record's stamp as a reply says it.
pub(crate) fn stamped(time: Option<Timestamp>) -> i64 {
    time.map_or(-1, Timestamp::millis)
}
