//! What leaves the log: records below a log start that moves, segments taken out, and their files: marked `.deleted` once
//! no checkpoint lists them, unlinked `file.delete.delay.ms` later.

use types::{Now, Offset};

use super::{NS_PER_MS, PartitionLog, Purpose};
use crate::effect::{Effect, IoFault, LogEvent};
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::read::OutOfRange;

impl PartitionLog {
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
    pub(super) fn retire_doomed(&mut self) {
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

    pub(super) fn on_marked_deleted(&mut self, file: FileName, result: Result<usize, IoFault>) {
        match result {
            Ok(_) => self.delete_later(file.at(Stage::Deleted)),
            Err(fault) => self.events.push_back(LogEvent::BackgroundFailed { file: Some(file), fault }),
        }
    }

    /// `file` is marked: it is unlinked `file.delete.delay.ms` from now.
    pub(super) fn delete_later(&mut self, file: FileName) {
        let delay_ns = self.config.file_delete_delay_ms.saturating_mul(NS_PER_MS);
        self.deletions.push((self.now.monotonic_ns.saturating_add(delay_ns), file));
    }

    /// Unlinks the marked files whose time has come.
    pub(super) fn delete_due(&mut self) {
        let now_ns = self.now.monotonic_ns;
        let due: Vec<FileName> = self.deletions.iter().filter(|(at, _)| *at <= now_ns).map(|&(_, file)| file).collect();
        self.deletions.retain(|(at, _)| now_ns < *at);
        for file in due {
            self.delete_file(file);
        }
    }

    pub(crate) fn delete_file(&mut self, file: FileName) {
        let op = self.op(Purpose::Delete(file));
        self.effects.push_back(Effect::Delete { op, file });
    }

    pub(super) fn on_deleted(&mut self, file: FileName, result: Result<usize, IoFault>) {
        if let Err(fault) = result {
            self.events.push_back(LogEvent::BackgroundFailed { file: Some(file), fault });
        }
    }
}
