//! Finding bytes by offset and offsets by time.

use types::{LeaderEpoch, Offset, Timestamp};

use crate::file::{FileName, SegmentId};

/// What a reader wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRange {
    /// From the batch that contains this offset.
    pub start: Offset,
    /// Up to here, exclusive, cut at a batch boundary: the high watermark or the last stable offset.
    pub end: Offset,
    /// Bytes at most; a last batch may be cut in the middle.
    pub bytes_max: u32,
    /// Return the first batch whole even if it is larger than `bytes_max`.
    pub at_least_one: bool,
}

/// Bytes of one segment's log, ready to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// The file.
    pub file: FileName,
    /// Its segment.
    pub segment: SegmentId,
    /// Where the first batch begins.
    pub position: u64,
    /// How much to send; at least 1.
    pub bytes: u32,
    /// The first batch's base offset (at or below the start asked for).
    pub base_offset: Offset,
    /// The first batch's size.
    pub first_batch_bytes: u32,
}

/// Bytes that the log must see before it can go on: the host reads them and calls `resume_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileScan {
    /// The file: a log or an index.
    pub file: FileName,
    /// From here.
    pub position: u64,
    /// This many; fewer only at the end of the file.
    pub bytes: usize,
}

/// One step of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadStep {
    /// Nothing there (yet).
    Empty,
    /// Here it is.
    Slice(Slice),
    /// Read this, then `resume_read`.
    Scan(FileScan),
}

/// An offset outside the log (OFFSET_OUT_OF_RANGE).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("offset {asked} is outside {log_start}..={log_end}")]
pub struct OutOfRange {
    /// What was asked for.
    pub asked: Offset,
    /// The first offset there is.
    pub log_start: Offset,
    /// The offset after the last.
    pub log_end: Offset,
}

/// Why a read could not go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFault {
    /// The log moved meanwhile.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The disk's bytes are no batch (KAFKA_STORAGE_ERROR).
    #[error("{file} at {position}: {reason}")]
    Corrupt {
        /// Where.
        file: FileName,
        /// Byte in it.
        position: u64,
        /// In the batch crate's words.
        reason: String,
    },
}

/// A record found by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundTime {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The leader epoch of its batch.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// One step of a look-up by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeStep {
    /// No such record.
    NotFound,
    /// Here it is.
    Found(FoundTime),
    /// Read this, then `resume_lookup`.
    Scan(FileScan),
}
