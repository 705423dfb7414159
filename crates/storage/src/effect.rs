//! How the log asks for work on files, and how it hears of the outcome.

use bytes::Bytes;
use types::{Offset, Timestamp};

use crate::file::FileName;

/// Names one effect of one log, so that its completion can be told from others. Never reused by that log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// Work for the host. Each is answered by exactly one `on_done` with its `op`.
/// Everything it depends on has completed: effects in hand may run in any order and at once.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make the file, empty (truncate one that is there). The partition's folder is made first if it is missing.
    Create {
        /// Answers with this.
        op: OpId,
        /// The file.
        file: FileName,
    },
    /// Write the buffers, one after the other, at `position`. Done with the bytes written; fewer than asked is a failure.
    Write {
        /// Answers with this.
        op: OpId,
        /// The file; it exists.
        file: FileName,
        /// Where the first byte goes.
        position: u64,
        /// What goes there.
        buffers: Vec<Bytes>,
    },
    /// fdatasync the file.
    Sync {
        /// Answers with this.
        op: OpId,
        /// The file; it exists.
        file: FileName,
    },
    /// fsync the partition's folder, and the first time its parent.
    SyncDir {
        /// Answers with this.
        op: OpId,
    },
    /// Replace a small file whole: temporary file, fsync, rename, fsync of the folder.
    WriteFile {
        /// Answers with this.
        op: OpId,
        /// The file.
        file: FileName,
        /// Its new content.
        bytes: Bytes,
    },
    /// Cut the file to `bytes` and fdatasync it.
    Truncate {
        /// Answers with this.
        op: OpId,
        /// The file; it exists.
        file: FileName,
        /// What is left.
        bytes: u64,
    },
    /// Rename within the folder; `to` is replaced if it is there. Descriptors of `from` go on under the new name.
    /// A reader may still be told the old name until the log has heard of the end: where it finds no such file, it opens `to`.
    /// Renames that depend on each other are never in hand at once.
    Rename {
        /// Answers with this.
        op: OpId,
        /// The old name; a missing file is success (the step was done before a crash).
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Unlink; a missing file is success.
    Delete {
        /// Answers with this.
        op: OpId,
        /// The file.
        file: FileName,
    },
}

impl Effect {
    /// The id that `on_done` must name.
    #[must_use]
    pub const fn op(&self) -> OpId {
        match self {
            Self::Create { op, .. }
            | Self::Write { op, .. }
            | Self::Sync { op, .. }
            | Self::SyncDir { op }
            | Self::WriteFile { op, .. }
            | Self::Truncate { op, .. }
            | Self::Rename { op, .. }
            | Self::Delete { op, .. } => *op,
        }
    }
}

/// What kind of failure the operating system reported; it decides what still may be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoFaultKind {
    /// ENOSPC, EDQUOT: nothing is broken, the partition heals with a new epoch.
    DiskFull,
    /// EIO, EROFS and the like: the device is not to be trusted until a restart that fsyncs before it reads.
    Device,
    /// Anything else (descriptors, permissions): this operation failed, the disk is not blamed.
    Other,
}

/// A failed effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind:?}, errno {errno}")]
pub struct IoFault {
    /// What it means.
    pub kind: IoFaultKind,
    /// As the system numbered it; 0 if it gave none.
    pub errno: i32,
}

impl IoFault {
    /// ENOSPC.
    pub const DISK_FULL: Self = Self { kind: IoFaultKind::DiskFull, errno: 28 };
    /// EIO.
    pub const DEVICE: Self = Self { kind: IoFaultKind::Device, errno: 5 };

    /// Sorts an errno: EIO (5), ENXIO (6), ENODEV (19), EROFS (30), ESTALE (116), EUCLEAN (117), EREMOTEIO (121) blame the
    /// device;
    /// ENOSPC (28), EDQUOT (122), EFBIG (27) the space.
    #[must_use]
    pub const fn from_errno(errno: i32) -> Self {
        let kind = match errno {
            27 | 28 | 122 => IoFaultKind::DiskFull,
            5 | 6 | 19 | 30 | 116 | 117 | 121 => IoFaultKind::Device,
            _ => IoFaultKind::Other,
        };
        Self { kind, errno }
    }
}

impl From<&std::io::Error> for IoFault {
    fn from(error: &std::io::Error) -> Self {
        Self::from_errno(error.raw_os_error().unwrap_or(0))
    }
}

/// What happened in the log. Events come in the order of their causes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEvent {
    /// A batch admitted as `Queued` or `AwaitsOriginal` is in the log: written, or with `flush.messages=1` synced.
    Appended {
        /// As given at admission.
        tag: u64,
        /// Its first record (the original's, for a duplicate).
        base_offset: Offset,
        /// Its last record.
        last_offset: Offset,
        /// With `message.timestamp.type=LogAppendTime`: the time stamped.
        log_append_time: Option<Timestamp>,
    },
    /// A batch admitted earlier is not in the log and never will be at that offset in this epoch.
    AppendFailed {
        /// As given at admission.
        tag: u64,
        /// Why.
        fault: IoFault,
    },
    /// The log end moved. With `flush.messages=1` readers and acks go by `durable`, else by `written`
    /// ([`crate::Offsets::visible`] says which).
    EndMoved {
        /// Everything below has been written.
        written: Offset,
        /// Everything below has been fsynced.
        durable: Offset,
    },
    /// The log takes no more appends until a restart, and its log directory is not to be trusted.
    Poisoned {
        /// The file at fault; `None`: the folder.
        file: Option<FileName>,
        /// The end of what had been written.
        written: Offset,
        /// Why.
        fault: IoFault,
    },
    /// The log start moved, and that is on disk.
    StartMoved {
        /// The new one.
        log_start: Offset,
    },
    /// Everything that recovery or `create` ordered is done: names on disk are as reads expect them.
    Ready,
    /// `close` is complete: all is synced and the clean marker written. Nothing follows.
    Closed,
    /// Something in the background failed without harm to the data (an index, a checkpoint, a delete): it is tried
    /// again later. For the operator's log.
    BackgroundFailed {
        /// What was being worked on; `None`: the folder.
        file: Option<FileName>,
        /// Why.
        fault: IoFault,
    },
}
