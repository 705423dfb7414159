//! Compaction.

use crate::log::PartitionLog;

impl PartitionLog {
    /// Whether a compaction of this log is under way.
    #[must_use]
    pub fn compacting(&self) -> bool {
        self.swap.is_some()
    }
}
