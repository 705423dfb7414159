//! What is done to logs while no node has them: taking in folders of another node ([`adopt`]), and giving up damaged
//! records so that the rest can be served ([`repair`]). The log directory's lock is held meanwhile, so that a node that
//! runs is never in the way.

mod adopt;
mod kafka_configs;
mod repair;

use std::io;
use std::path::{Path, PathBuf};

use shard::FileDir;
use storage::{IoFault, LastStop, LogConfig, LogEvent, PartitionLog, RecoverFault, RecoveryHints};
use types::TopicPartition;

pub use adopt::{AdoptOptions, AdoptReport, AdoptedFolder, Take, adopt};
pub use repair::{RepairReport, repair};
pub use storage::{RecoveryProgress, RecoveryReport};

use crate::file_work;
use crate::lifecycle::StartError;
use crate::log_dirs::LogDirError;

/// Why an offline command did not do its work; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The log directory cannot be had, mostly because a node runs on it.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// The metadata log cannot be opened or written.
    #[error(transparent)]
    Metadata(#[from] StartError),
    /// A folder cannot be read or written.
    #[error("{path}: {what}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The folder's log is damaged.
    #[error("{path}: {source}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and how.
        source: RecoverFault,
    },
    /// What was asked for cannot be done; nothing was changed.
    #[error("{0}")]
    Refused(String),
}

/// Said by the recovery of one folder.
pub type OnProgress<'a> = &'a mut dyn FnMut(&Path, RecoveryProgress);

fn io_error<'a>(path: &'a Path, what: &'static str) -> impl Fn(io::Error) -> OfflineError + 'a {
    move |source| OfflineError::Io { path: path.to_owned(), what, source }
}

/// A log whose effects are carried out here and now.
struct OfflineLog {
    folder: PathBuf,
    log: PartitionLog,
    report: RecoveryReport,
}

impl OfflineLog {
    /// Recovers the log in `folder`. Nothing is changed before [`Self::settle`].
    fn recover(
        folder: &Path,
        partition: TopicPartition,
        config: LogConfig,
        hints: RecoveryHints,
        on_progress: OnProgress<'_>,
    ) -> Result<Self, OfflineError> {
        let recovered =
            storage::recover(&FileDir::new(folder), partition, config, &hints, shard::clock::read(), &mut |progress| {
                on_progress(folder, progress)
            })
            .map_err(|source| OfflineError::Damaged { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), log: recovered.log, report: recovered.report })
    }

    /// Does all work that the log has. Returns whether it said that it is closed.
    fn settle(&mut self) -> Result<bool, OfflineError> {
        let mut closed = false;
        loop {
            let mut is_idle = true;
            while let Some(effect) = self.log.poll_effect() {
                is_idle = false;
                let op = effect.op();
                let result = file_work::run(&self.folder, &effect);
                let outcome = result.as_ref().map(|&bytes| bytes).map_err(IoFault::from);
                self.log.on_done(shard::clock::read(), op, outcome);
                result.map_err(io_error(&self.folder, "cannot be written"))?;
            }
            while let Some(event) = self.log.poll_event() {
                is_idle = false;
                closed |= matches!(event, LogEvent::Closed);
            }
            if is_idle {
                return Ok(closed);
            }
        }
    }

    /// Syncs everything and writes the clean marker.
    fn close(mut self) -> Result<RecoveryReport, OfflineError> {
        self.settle()?;
        self.log.close(shard::clock::read());
        if !self.settle()? {
            return Err(OfflineError::Refused(format!("{}: the log could not be closed", self.folder.display())));
        }
        Ok(self.report)
    }
}

/// A log of its own process's page cache: what lies in the folder is what was written there.
const UNDISTURBED: RecoveryHints = RecoveryHints { last_stop: LastStop::ProcessDied, accept_loss: false };

/// The partition that a folder's name says.
fn partition_of(folder: &Path) -> Option<TopicPartition> {
    folder.file_name().and_then(|name| name.to_str()).and_then(TopicPartition::from_dir_name)
}
