//! One segment of a log as memory knows it.

use batch::BatchInfo;
use types::{Offset, Timestamp};

use crate::checkpoint::SegmentFacts;
use crate::file::{FileName, SegmentFile, SegmentFileKind, SegmentId, Stage};
use crate::index::{Index, OffsetEntry, TimeEntry};

#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub id: SegmentId,
    /// `Live`, or `Swap` for the moment in which a compacted one takes its place.
    pub stage: Stage,
    /// Whether `.log` is there: it is made at the first append.
    pub log_exists: bool,
    /// Bytes written.
    pub bytes: u64,
    /// Of those, fsynced.
    pub synced_bytes: u64,
    /// The offset after the last batch written.
    pub next_offset: Offset,
    /// The first batch's max timestamp: `segment.ms` counts from it.
    pub first_timestamp: Option<Timestamp>,
    /// The largest timestamp and the last offset of the batch that has it.
    pub largest: Option<(Timestamp, Offset)>,
    pub offset_index: Index<OffsetEntry>,
    pub time_index: Index<TimeEntry>,
    /// The timestamp of the newest time index entry.
    pub last_time_entry: Option<Timestamp>,
    pub bytes_since_entry: u32,
    pub created: Timestamp,
}

impl Segment {
    pub(crate) fn new(base: Offset, created: Timestamp) -> Self {
        Self {
            id: SegmentId::new(base),
            stage: Stage::Live,
            log_exists: false,
            bytes: 0,
            synced_bytes: 0,
            next_offset: base,
            first_timestamp: None,
            largest: None,
            offset_index: Index::default(),
            time_index: Index::default(),
            last_time_entry: None,
            bytes_since_entry: 0,
            created,
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.id.base_offset()
    }

    pub(crate) fn file(&self, kind: SegmentFileKind) -> FileName {
        FileName::Segment(SegmentFile { segment: self.id, kind, stage: self.stage })
    }

    pub(crate) fn log(&self) -> FileName {
        self.file(SegmentFileKind::Log)
    }

    /// An offset as the indexes store it; `None` beyond the int32 they can hold.
    pub(crate) fn relative(&self, offset: Offset) -> Option<u32> {
        u32::try_from(offset.value().checked_sub(self.base().value())?)
            .ok()
            .filter(|&relative| i32::try_from(relative).is_ok())
    }

    /// A batch has been written (or was found) at the end.
    pub(crate) fn on_batch(&mut self, info: &BatchInfo, index_interval_bytes: u32) {
        let position = self.bytes as u32;
        if self.first_timestamp.is_none() {
            self.first_timestamp = Some(info.max_timestamp);
        }
        if self.largest.is_none_or(|(largest, _)| largest < info.max_timestamp) {
            self.largest = Some((info.max_timestamp, info.last_offset()));
        }
        if index_interval_bytes < self.bytes_since_entry
            && let Some(relative) = self.relative(info.last_offset())
        {
            self.offset_index.pending.push(OffsetEntry { relative, position });
            self.note_largest_timestamp();
            self.bytes_since_entry = 0;
        }
        self.bytes += u64::from(info.size_bytes);
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(info.size_bytes);
        self.next_offset = info.next_offset();
    }

    /// Adds a time index entry if the largest timestamp has none yet. Kafka takes a sealed segment's largest timestamp
    /// from the last entry, so this is also done before the index is written.
    pub(crate) fn note_largest_timestamp(&mut self) {
        if let Some((timestamp, offset)) = self.largest
            && self.last_time_entry.is_none_or(|last| last < timestamp)
            && let Some(relative) = self.relative(offset)
        {
            self.time_index.pending.push(TimeEntry { timestamp, relative });
            self.last_time_entry = Some(timestamp);
        }
    }

    pub(crate) fn facts(&self) -> SegmentFacts {
        SegmentFacts {
            base_offset: self.base().value(),
            bytes: self.bytes,
            next_offset: self.next_offset.value(),
            first_timestamp: self.first_timestamp.map(Timestamp::millis),
            largest: self.largest.map(|(timestamp, offset)| (timestamp.millis(), offset.value())),
            offset_entries: self.offset_index.entries(),
            time_entries: self.time_index.entries(),
            bytes_since_entry: self.bytes_since_entry,
            created_ms: self.created.millis(),
        }
    }

    /// A segment as a checkpoint describes it; its indexes stay on disk. `None` for facts that cannot be.
    pub(crate) fn from_facts(facts: &SegmentFacts) -> Option<Self> {
        let mut segment = Self::new(Offset::from_wire(facts.base_offset)?, Timestamp::from_millis(facts.created_ms));
        segment.bytes = facts.bytes;
        segment.synced_bytes = facts.bytes;
        segment.next_offset = Offset::from_wire(facts.next_offset)?;
        segment.first_timestamp = facts.first_timestamp.map(Timestamp::from_millis);
        segment.largest = match facts.largest {
            Some((timestamp, offset)) => Some((Timestamp::from_millis(timestamp), Offset::from_wire(offset)?)),
            None => None,
        };
        segment.offset_index.stored = facts.offset_entries;
        segment.time_index.stored = facts.time_entries;
        segment.last_time_entry =
            if facts.time_entries == 0 { None } else { segment.largest.map(|(timestamp, _)| timestamp) };
        segment.bytes_since_entry = facts.bytes_since_entry;
        Some(segment)
    }
}
