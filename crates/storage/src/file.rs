//! What lies in a partition's folder, by name.
//!
//! ```text
//! orders-3/
//!   00000000000000000000.log         batches, the first at this offset        Kafka's format, byte for byte
//!   00000000000000000000.index       offset -> position, sparse               Kafka's
//!   00000000000000000000.timeindex   timestamp -> offset, sparse              Kafka's
//!   00000000000000000000.txnindex    aborted transactions; only where needed  Kafka's
//!   leader-epoch-checkpoint          epoch -> first offset, text              Kafka's
//!   partition.metadata               topic id, text                           Kafka's
//!   ringlog.checkpoint               recovery point, producers, segments      ours (see `checkpoint`)
//! ```
//! A segment file ends in `.cleaned` while compaction writes it, `.swap` once it is whole and waits to take its place,
//! `.deleted` from the moment it no longer counts until it is unlinked.

use std::fmt;

use types::Offset;

/// A segment, named by the offset of its first record (or of the first one it could hold).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(Offset);

impl SegmentId {
    /// The segment that begins at `base`.
    #[must_use]
    pub const fn new(base: Offset) -> Self {
        Self(base)
    }

    /// The first offset it can hold.
    #[must_use]
    pub const fn base_offset(self) -> Offset {
        self.0
    }
}

/// Which of a segment's files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SegmentFileKind {
    /// The batches.
    Log,
    /// Offset to position.
    OffsetIndex,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
}

impl SegmentFileKind {
    /// Every kind, the log first.
    pub const ALL: [Self; 4] = [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::TxnIndex];

    /// Those that compaction makes of a segment, the log first.
    pub(crate) const CLEANED: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
        }
    }
}

/// Where in its life a segment file is; Kafka's last suffix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// In use.
    Live,
    /// Being written by compaction; worthless after a crash.
    Cleaned,
    /// Whole and synced, about to replace what it was made of.
    Swap,
    /// Out of use, unlinked after `file.delete.delay.ms`.
    Deleted,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Live, Self::Cleaned, Self::Swap, Self::Deleted];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Cleaned => ".cleaned",
            Self::Swap => ".swap",
            Self::Deleted => ".deleted",
        }
    }
}

/// One file of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentFile {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its files.
    pub kind: SegmentFileKind,
    /// Where in its life.
    pub stage: Stage,
}

/// A file of a partition's folder. Its text form ([`fmt::Display`]) is the name on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileName {
    /// A segment's file.
    Segment(SegmentFile),
    /// `leader-epoch-checkpoint`.
    LeaderEpochs,
    /// `partition.metadata`.
    PartitionMetadata,
    /// `ringlog.checkpoint`.
    Checkpoint,
}

impl FileName {
    /// A live file of `segment`.
    #[must_use]
    pub const fn live(segment: SegmentId, kind: SegmentFileKind) -> Self {
        Self::Segment(SegmentFile { segment, kind, stage: Stage::Live })
    }

    /// The live `.log` of `segment`.
    #[must_use]
    pub const fn log(segment: SegmentId) -> Self {
        Self::live(segment, SegmentFileKind::Log)
    }

    /// The same file at another stage; itself when it is no segment's file.
    #[must_use]
    pub const fn at(self, stage: Stage) -> Self {
        match self {
            Self::Segment(file) => Self::Segment(SegmentFile { segment: file.segment, kind: file.kind, stage }),
            other => other,
        }
    }

    /// Reads a name on disk. `None` for a file that is not ours: it is left alone.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "leader-epoch-checkpoint" => return Some(Self::LeaderEpochs),
            "partition.metadata" => return Some(Self::PartitionMetadata),
            "ringlog.checkpoint" => return Some(Self::Checkpoint),
            _ => {}
        }
        let (digits, suffix) = name.split_at_checked(20)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let segment = SegmentId::new(Offset::from_wire(digits.parse().ok()?)?);
        for kind in SegmentFileKind::ALL {
            for stage in Stage::ALL {
                if suffix.strip_prefix(kind.suffix()) == Some(stage.suffix()) {
                    return Some(Self::Segment(SegmentFile { segment, kind, stage }));
                }
            }
        }
        None
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(file) => {
                let base = file.segment.base_offset().value();
                write!(f, "{base:020}{}{}", file.kind.suffix(), file.stage.suffix())
            }
            Self::LeaderEpochs => f.write_str("leader-epoch-checkpoint"),
            Self::PartitionMetadata => f.write_str("partition.metadata"),
            Self::Checkpoint => f.write_str("ringlog.checkpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_and_read_back() {
        let segment = SegmentId::new(Offset::new(17));
        assert_eq!(FileName::log(segment).to_string(), "00000000000000000017.log");
        for kind in SegmentFileKind::ALL {
            for stage in Stage::ALL {
                let name = FileName::live(segment, kind).at(stage);
                assert_eq!(FileName::parse(&name.to_string()), Some(name));
            }
        }
        for name in [FileName::LeaderEpochs, FileName::PartitionMetadata, FileName::Checkpoint] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in ["0.log", "00000000000000000017.snapshot", "lost+found", "99999999999999999999.log", "é"] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}
