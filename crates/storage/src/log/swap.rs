//! Putting what compaction has made in the place of what it was made from, so that a crash anywhere leaves either.

use types::Offset;

use super::folder::{FolderChange, FolderStep};
use super::{NS_PER_MS, PartitionLog, Purpose};
use crate::effect::IoFault;
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::segment::Segment;

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

impl PartitionLog {
    pub(super) fn advance_swap(&mut self) {
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

    pub(super) fn on_swap_step(&mut self, file: FileName, result: Result<usize, IoFault>) {
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
