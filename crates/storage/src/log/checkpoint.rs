//! Moving the recovery point: a checkpoint creates and writes the indexes, syncs everything, and then stores
//! `ringlog.checkpoint` (whose form is in [`crate::checkpoint`]), a stage at a time.

use bytes::Bytes;
use types::limits::RECOVERY_POINT_AGE_MS_MAX;
use types::{Offset, Timestamp};

use super::sync::SyncStep;
use super::{NS_PER_MS, PartitionLog, Purpose};
use crate::checkpoint::{BatchFacts, Checkpoint, ProducerFacts};
use crate::effect::{Effect, IoFault, IoFaultKind, LogEvent};
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::mutants::Mutant;

/// How long a checkpoint that could not be written waits for its next try.
const CHECKPOINT_RETRY_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CheckpointStage {
    CreatingIndexes,
    WritingIndexes,
    Syncing,
    WritingCheckpoint,
}

/// A checkpoint under way: everything was captured when it began.
pub(super) struct CheckpointJob {
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

impl PartitionLog {
    /// Something changed that a checkpoint must make lasting soon.
    pub(super) fn mark_changed(&mut self) {
        self.generation += 1;
        self.changed = true;
        self.checkpoint_wanted = true;
    }

    pub(super) fn recovery_point_due_ns(&self) -> Option<u64> {
        Some(self.dirty_since_ns?.saturating_add(RECOVERY_POINT_AGE_MS_MAX * NS_PER_MS))
    }

    pub(super) fn advance_checkpoint(&mut self) {
        if self.checkpoint.is_some() || !self.checkpoint_wanted || self.checkpoint_retry_ns.is_some() {
            return;
        }
        self.begin_checkpoint(false);
    }

    pub(super) fn begin_checkpoint(&mut self, closing: bool) {
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
        Checkpoint {
            clean: closing,
            log_start: self.log_start.value(),
            recovery_point: self.written.value(),
            clean_offset: self.clean_offset.value(),
            segments: self.segments_to_list(),
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

    pub(super) fn on_checkpoint_step(&mut self, step: SyncStep, result: Result<usize, IoFault>) {
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
}
