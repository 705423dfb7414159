//! `ringlog log repair`: a log that stays offline because records below its recovery point are damaged is cut at the
//! first bad batch. What follows it is lost; only an operator can decide that.

use std::fs;
use std::path::{Path, PathBuf};

use storage::{LogConfig, RecoveryHints, RecoveryReport};
use types::DirectoryId;

use super::{OfflineError, OfflineLog, OnProgress, io_error, partition_of};
use crate::log_dirs::{DirLock, LogDir, topic_id_of};

/// What a repair did, or would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairReport {
    /// The partition's folder.
    pub folder: PathBuf,
    /// What was found.
    pub recovery: RecoveryReport,
    /// Whether it was done.
    pub done: bool,
}

/// Looks at all of a partition's log and, with `accept_loss`, cuts it at the first bad batch and rebuilds what belongs
/// to it. Without it nothing is changed: the report says what would be lost. The new log end is given out again in a
/// higher leader epoch, which the node's next start begins.
///
/// # Errors
/// See [`OfflineError`]; a folder that a node has is refused.
pub fn repair(folder: &Path, accept_loss: bool, on_progress: OnProgress<'_>) -> Result<RepairReport, OfflineError> {
    let folder = &fs::canonicalize(folder).map_err(io_error(folder, "cannot be opened"))?;
    let refuse = |reason: &str| Err(OfflineError::Refused(format!("{}: {reason}", folder.display())));
    let (Some(partition), Some(parent)) = (partition_of(folder), folder.parent()) else {
        return refuse("is no partition's folder, such as ringlog-data/orders-0");
    };
    if &*partition.topic == quorum::image::CLUSTER_METADATA_TOPIC {
        return refuse("the metadata log is never cut: topics would be gone. Restore the folder from a backup");
    }
    let files = fs::read_dir(folder).map_err(io_error(folder, "cannot be listed"))?;
    if !files.flatten().any(|file| file.file_name().to_string_lossy().ends_with(".log")) {
        return refuse("has no .log file: there is nothing to repair");
    }
    // Held until the end.
    let log_dir = LogDir::open(parent, DirLock::take(parent)?, DirectoryId::UNASSIGNED)?;
    let metadata = fs::read_to_string(folder.join("partition.metadata")).unwrap_or_default();
    let config = LogConfig { topic_id: topic_id_of(&metadata), ..LogConfig::default() };
    let hints = RecoveryHints { last_stop: log_dir.last_stop, accept_loss: true };
    let log = OfflineLog::recover(folder, partition, config, hints, on_progress)?;
    let recovery = if accept_loss { log.close()? } else { log.report };
    Ok(RepairReport { folder: folder.clone(), recovery, done: accept_loss })
}
