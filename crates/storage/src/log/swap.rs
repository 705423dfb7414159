//! Putting a segment that compaction has made in the place of those it was made from. Each step is done before the next
//! begins, so that a crash anywhere leaves either the old segments or the whole new one:
//!
//! 1. `.cleaned` → `.swap`, folder synced: from here on recovery finishes the swap.
//! 2. the checkpoint lists the new segment in place of the old ones; readers move over (to the `.swap` name).
//! 3. old files → `.deleted`;
//! 4. `.swap` → live; folder synced. `.deleted` files go after `file.delete.delay.ms`.

use types::Offset;

use super::folder::{FolderChange, FolderStep};
use super::{PartitionLog, Purpose};
use crate::checkpoint::SegmentFacts;
use crate::effect::IoFault;
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::segment::Segment;

/// What takes the place of what.
pub(super) struct Swap {
    state: SwapState,
    change: FolderChange,
    /// What is replaced, oldest first.
    replaced: Vec<SegmentId>,
    by: Segment,
    /// Everything below is compacted once the new segment has its name.
    clean_offset: Offset,
}

/// How far a swap is.
#[expect(clippy::enum_variant_names, reason = "states are named for what they await")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SwapState {
    /// `.cleaned` is becoming `.swap`.
    AwaitingNames,
    /// The checkpoint of this generation must list the new segment.
    AwaitingCheckpoint(u64),
    /// Old ones become `.deleted`, `.swap` becomes live.
    AwaitingPlace,
}

impl Swap {
    fn new(replaced: Vec<SegmentId>, by: Segment, clean_offset: Offset) -> Self {
        let [log, indexes @ ..] = SegmentFileKind::CLEANED.map(|kind| {
            let file = FileName::live(by.id, kind);
            FolderStep::Rename(file.at(Stage::Cleaned), file.at(Stage::Swap))
        });
        // The log's own name decides for recovery: it comes when the others are there.
        let change = FolderChange::new([indexes.to_vec(), vec![log], vec![FolderStep::SyncDir]]);
        Self { state: SwapState::AwaitingNames, change, replaced, by, clean_offset }
    }
}

impl PartitionLog {
    /// Puts each of the cleaned segments in the place of those it replaces, one swap after the other. When all are there,
    /// everything below `clean_offset` is compacted.
    pub(crate) fn begin_swaps(&mut self, cleaned: Vec<(Vec<SegmentId>, Segment)>, clean_offset: Offset) {
        let clean_before = self.clean_offset;
        self.swaps_waiting.extend(cleaned.into_iter().map(|(replaced, by)| Swap::new(replaced, by, clean_before)));
        match self.swaps_waiting.back_mut() {
            Some(last) => last.clean_offset = clean_offset,
            None => {
                self.clean_offset = self.clean_offset.max(clean_offset);
                self.mark_changed();
            }
        }
    }

    /// The segments as a checkpoint lists them. A swap that waits for one is written as done: from here on recovery
    /// finishes it.
    pub(super) fn segments_to_list(&self) -> Vec<SegmentFacts> {
        let mut segments = Vec::with_capacity(self.segments.len());
        let swap = self.swap.as_ref().filter(|swap| matches!(swap.state, SwapState::AwaitingCheckpoint(_)));
        for segment in &self.segments {
            match swap {
                Some(swap) if swap.replaced.contains(&segment.id) => {
                    if swap.replaced.first() == Some(&segment.id) {
                        segments.push(swap.by.facts());
                    }
                }
                _ => segments.push(segment.facts()),
            }
        }
        segments
    }

    /// Whether a swap is under way or waits.
    pub(crate) fn is_swapping(&self) -> bool {
        self.swap.is_some() || !self.swaps_waiting.is_empty()
    }

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
                    if let Some(segment) = self.segment_mut(swap.by.id) {
                        segment.stage = Stage::Live;
                    }
                    for &id in &swap.replaced {
                        for kind in SegmentFileKind::ALL {
                            self.delete_later(FileName::live(id, kind).at(Stage::Deleted));
                        }
                    }
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
        let mut segment = swap.by.clone();
        segment.stage = Stage::Swap;
        let place = SegmentFileKind::CLEANED
            .map(|kind| FolderStep::Rename(segment.file(kind), FileName::live(segment.id, kind)));
        self.segments.insert(first, segment);
        swap.change = FolderChange::new([retire, place.to_vec(), vec![FolderStep::SyncDir]]);
    }

    pub(super) fn on_swap_step(&mut self, file: FileName, result: Result<usize, IoFault>) {
        match result {
            Ok(_) => {
                if let Some(swap) = &mut self.swap {
                    swap.change.on_step_done();
                }
            }
            // Names and memory no longer agree, and only recovery puts that right.
            Err(fault) => self.poison(Some(file), fault),
        }
    }
}
