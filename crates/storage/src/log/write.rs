//! Writing what is queued: one gathered write in flight, never over two segments; and rolling to the next segment.

use bytes::Bytes;
use types::Timestamp;
use types::limits::{GATHER_BATCHES_MAX, GATHER_BYTES_MAX, RECOVERY_POINT_BYTES_MAX, TAIL_BATCHES_MAX};

use batch::BatchInfo;

use super::{PartitionLog, Purpose, TailBatch};
use crate::effect::{Effect, IoFault, IoFaultKind, LogEvent};
use crate::file::{FileName, SegmentId};
use crate::mutants::Mutant;
use crate::segment::Segment;

/// The write in flight.
pub(super) struct Gather {
    segment: SegmentId,
    bytes: u64,
    batches: Vec<(BatchInfo, Option<Timestamp>)>,
}

/// What the active segment's file is busy with.
pub(super) enum Writing {
    Idle,
    AwaitingCreate,
    AwaitingWrite(Gather),
    AwaitingCut,
}

impl PartitionLog {
    pub(super) fn advance_writes(&mut self) {
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

    pub(super) fn on_log_created(&mut self, id: SegmentId, result: Result<(), IoFault>) {
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

    pub(super) fn on_metadata_written(&mut self, result: Result<usize, IoFault>) {
        if let Err(fault) = result {
            self.metadata_known = None;
            self.events.push_back(LogEvent::BackgroundFailed { file: Some(FileName::PartitionMetadata), fault });
        }
    }

    pub(super) fn on_gather_done(&mut self, result: Result<usize, IoFault>) {
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

    pub(super) fn on_cut(&mut self, file: FileName, result: Result<usize, IoFault>) {
        self.writing = Writing::Idle;
        // Bytes that nobody may read are still in the file; writing after them would make them part of the log.
        if let Err(fault) = result {
            self.poison(Some(file), fault);
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
}
