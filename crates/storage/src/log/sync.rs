//! Making durable what is written: the steps of a sync, and the commit (group commit) that consists of nothing else.

use types::Offset;

use super::{NS_PER_MS, PartitionLog, Purpose};
use crate::effect::{Effect, IoFault};
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::mutants::Mutant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SyncStep {
    CreateIndex(SegmentId, SegmentFileKind),
    WriteIndex { segment: SegmentId, kind: SegmentFileKind, entries: u32, bytes: usize },
    SyncLog { segment: SegmentId, bytes: u64 },
    SyncIndex(SegmentId, SegmentFileKind),
    SyncDir { changes: u64 },
    LeaderEpochs,
    Checkpoint,
}

impl SyncStep {
    pub(super) fn segment(self) -> Option<SegmentId> {
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
pub(super) struct Commit {
    target: Offset,
    begun_ns: u64,
    waiting: u32,
}

impl PartitionLog {
    pub(super) fn flush_due_ns(&self) -> Option<u64> {
        let flush_ns = self.config.flush_ms?.saturating_mul(NS_PER_MS);
        Some(self.unsynced_since_ns?.saturating_add(flush_ns))
    }

    pub(super) fn advance_commit(&mut self) {
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

    pub(super) fn on_commit_step(&mut self, step: SyncStep, result: Result<usize, IoFault>) {
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

    pub(super) fn move_durable(&mut self, to: Offset, begun_ns: u64) {
        if to <= self.durable {
            return;
        }
        assert!(to <= self.written);
        self.durable = to;
        self.unsynced_since_ns = (self.durable < self.written).then_some(begun_ns);
        self.publish();
        self.push_end_moved();
    }

    /// What must be synced so that everything written is durable.
    pub(super) fn sync_steps(&self) -> Vec<SyncStep> {
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
    pub(super) fn step_file(&self, step: SyncStep) -> Option<FileName> {
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
    pub(super) fn on_synced(&mut self, step: SyncStep) {
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
}
