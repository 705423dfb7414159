//! Ordered changes of the folder: what recovery found to be put right (`setup`), and the steps of a swap.

use std::collections::VecDeque;

use super::{PartitionLog, Purpose};
use crate::effect::{Effect, IoFault, LogEvent};
use crate::file::FileName;

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
    stages: VecDeque<Vec<FolderStep>>,
    /// Steps of the stage that began last which are not done.
    waiting: u32,
}

impl FolderChange {
    pub(crate) fn new(stages: impl Into<VecDeque<Vec<FolderStep>>>) -> Self {
        Self { stages: stages.into(), waiting: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.waiting == 0 && self.stages.is_empty()
    }

    pub(super) fn on_step_done(&mut self) {
        self.waiting -= 1;
    }
}

impl PartitionLog {
    pub(super) fn advance_setup(&mut self) {
        let Some(mut setup) = self.setup.take() else { return };
        if setup.is_done() {
            self.events.push_back(LogEvent::Ready);
            return;
        }
        self.order_folder_stage(&mut setup, Purpose::Setup);
        self.setup = Some(setup);
    }

    pub(super) fn on_setup_step(&mut self, file: FileName, result: Result<usize, IoFault>) {
        match result {
            Ok(_) => {
                if let Some(setup) = &mut self.setup {
                    setup.on_step_done();
                }
                self.advance_setup();
            }
            // What recovery found unfit to be read is still there.
            Err(fault) => self.poison(Some(file), fault),
        }
    }

    /// Orders the next stage of `change`, unless one is under way.
    pub(super) fn order_folder_stage(&mut self, change: &mut FolderChange, purpose: fn(FileName) -> Purpose) {
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
}
