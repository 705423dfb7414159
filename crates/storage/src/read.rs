//! Finding bytes by offset and offsets by time.
//!
//! ```text
//! read ──► tail in memory? ──────────────────────────────────────────────► Slice
//!            └─ no ─► index entries around it ─► headers there ─► Slice           each file access is a Scan step:
//!                     (memory, else file)        (Scan)                           the host preads, then resumes
//! lookup ─► segment whose largest timestamp reaches it ─► time index ─► index ─► headers ─► one batch's records
//! ```
//! A reader who asks for an offset inside a batch gets the batch from its beginning; one who asks for an offset that
//! compaction took away gets the next batch there is. What an index says is checked against the batch it points at.
//!
//! A reader that goes through a log from its beginning reads one batch header a fetch: the entries around its last look-up
//! are still in memory (`IndexWindow`), and where batches are large, the entry *above* an offset mostly names its batch.
//! Example with batches 0..9 at 0, 10..19 at 16384, 20..29 at 32768: 20 lies between the entries (19, 16384) and
//! (29, 32768), and the header at 32768 says that its batch begins at 20.

use batch::{BatchError, BatchInfo, BatchView, Inflated};
use types::limits::{BATCH_HEADER_BYTES, INFLATED_BATCH_BYTES_MAX};
use types::{LeaderEpoch, Offset, Timestamp};

use crate::file::{FileName, SegmentFileKind, SegmentId};
use crate::index::{BlockSearch, IndexEntry, IndexWindow, OffsetEntry, TimeEntry};
use crate::log::PartitionLog;
use crate::mutants::Mutant;
use crate::segment::Segment;

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
    state: ScanState,
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

/// Bytes read at once when looking for batch headers: an index interval and a batch.
const SCAN_BYTES: usize = 8 * 1024;

/// A batch found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Located {
    position: u64,
    base_offset: Offset,
    bytes: u32,
}

/// Where a scan stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ScanState {
    layout: u64,
    segment: SegmentId,
    phase: Phase,
    goal: Goal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    TimeIndex {
        search: BlockSearch,
        first: u32,
        floor: Option<TimeEntry>,
    },
    OffsetIndex {
        search: BlockSearch,
        first: u32,
        floor: Option<OffsetEntry>,
        target: u32,
    },
    /// Walking headers; the first one must end at `expected` if an index named it.
    Headers {
        expected: Option<Offset>,
    },
    /// One header, which must end at `expected`: the batch that the entry above the offset names. If the offset lies
    /// before it, `below` is where to walk from.
    Above {
        expected: Offset,
        below: Place,
    },
    /// A whole batch, for its records.
    Batch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    /// The first batch that ends at or after the offset.
    Start { offset: Offset },
    /// The first batch that ends at or after `end`, for a slice that begins at `start`.
    End { start: Located, end: Offset, limit: u64 },
    /// The first record of at least this time, not below `from`, below `end`.
    Time { at: Timestamp, from: Offset, end: Offset },
}

/// What one step of either kind of look-up leads to.
enum Step {
    Scan(FileScan),
    Slice(Slice),
    Found(FoundTime),
    Nothing,
}

/// Where headers are walked from: the segment's beginning, or a batch that an index entry names, which ends at `expected`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    position: u64,
    expected: Option<Offset>,
}

impl Place {
    const BEGINNING: Self = Self { position: 0, expected: None };

    fn of(segment: &Segment, entry: OffsetEntry) -> Self {
        Self { position: u64::from(entry.position), expected: Some(offset_of(segment, entry)) }
    }
}

/// What the offset index says of an offset.
enum Around {
    /// It is at or after the first entry and before the second, as far as these are known.
    Entries(Option<OffsetEntry>, Option<OffsetEntry>),
    /// The file must be searched.
    Search(BlockSearch),
}

impl PartitionLog {
    /// Where the bytes of `range` lie. Never beyond what is visible, whatever `range.end` says.
    ///
    /// # Errors
    /// `start` below the log start or above the log end. From the end of the range to the log end is `Empty`.
    pub fn read(&self, range: &ReadRange) -> Result<ReadStep, OutOfRange> {
        self.check_start(range)?;
        // Nothing has been read from the disk yet, so nothing can be corrupt.
        Ok(read_step(self.read_from(range, 0).unwrap_or(Step::Nothing)))
    }

    /// Goes on with a read after the host has read what `scan` asked for (`bytes` may be short at the end of the file).
    ///
    /// # Errors
    /// As `read` (the log may have moved), or bytes that are no batch.
    pub fn resume_read(&self, range: &ReadRange, scan: FileScan, bytes: &[u8]) -> Result<ReadStep, ReadFault> {
        self.check_start(range)?;
        if scan.state.layout != self.layout {
            return Ok(self.read(range)?);
        }
        Ok(read_step(self.resume(scan, bytes, Some(range))?))
    }

    /// The first record with a timestamp of at least `at`, below `end` (ListOffsets by time; `end` is the high
    /// watermark or last stable offset).
    #[must_use]
    pub fn lookup_time(&self, at: Timestamp, end: Offset) -> TimeStep {
        let goal = Goal::Time { at, from: self.log_start, end: end.min(self.visible) };
        time_step(self.lookup_from(goal, 0).unwrap_or(Step::Nothing))
    }

    /// The first record at or after `from`, below `end`: when was it made?
    #[must_use]
    pub fn lookup_offset(&self, from: Offset, end: Offset) -> TimeStep {
        let goal = Goal::Time { at: Timestamp::MIN, from: from.max(self.log_start), end: end.min(self.visible) };
        time_step(self.lookup_from(goal, 0).unwrap_or(Step::Nothing))
    }

    /// Bytes from `position` in `segment` to the end of the log.
    #[must_use]
    pub fn bytes_from(&self, segment: SegmentId, position: u64) -> u64 {
        let from = self.segments.partition_point(|other| other.id < segment);
        let bytes: u64 = self.segments.iter().skip(from).map(|segment| segment.bytes).sum();
        bytes.saturating_sub(position)
    }

    /// The first record with the largest timestamp, if it lies below `end` (ListOffsets -3).
    #[must_use]
    pub fn lookup_max_timestamp(&self, end: Offset) -> TimeStep {
        let mut largest: Option<(Timestamp, Offset, &Segment)> = None;
        for segment in self.segments.iter().filter(|segment| self.log_start < segment.next_offset) {
            if let Some((timestamp, offset)) = segment.largest
                && self.log_start <= offset
                && largest.is_none_or(|(largest, ..)| largest < timestamp)
            {
                largest = Some((timestamp, offset, segment));
            }
        }
        let Some((at, offset, segment)) = largest else { return TimeStep::NotFound };
        let goal = Goal::Time { at, from: self.log_start, end: end.min(self.visible) };
        time_step(self.scan_by_offset(segment, offset, goal))
    }

    /// Goes on with either look-up.
    ///
    /// # Errors
    /// Bytes that are no batch.
    pub fn resume_lookup(&self, scan: FileScan, bytes: &[u8]) -> Result<TimeStep, ReadFault> {
        if scan.state.layout != self.layout
            && let Goal::Time { at, from, end } = scan.state.goal
        {
            let goal = Goal::Time { at, from: from.max(self.log_start), end };
            return Ok(time_step(self.lookup_from(goal, 0).unwrap_or(Step::Nothing)));
        }
        Ok(time_step(self.resume(scan, bytes, None)?))
    }

    fn check_start(&self, range: &ReadRange) -> Result<(), OutOfRange> {
        if range.start < self.log_start || self.written < range.start {
            return Err(OutOfRange { asked: range.start, log_start: self.log_start, log_end: self.written });
        }
        Ok(())
    }

    fn segment(&self, id: SegmentId) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&id, |segment| segment.id).ok()?;
        self.segments.get(at)
    }

    /// The read of `range`, not looking at segments before number `first`.
    fn read_from(&self, range: &ReadRange, first: usize) -> Result<Step, ReadFault> {
        let end = range.end.min(self.visible);
        if end <= range.start {
            return Ok(Step::Nothing);
        }
        let holding = self.segments.partition_point(|segment| segment.base() <= range.start).saturating_sub(1);
        // A segment whose batches all end below was emptied towards its end by compaction.
        let Some(segment) =
            self.segments.iter().skip(holding.max(first)).find(|segment| range.start < segment.next_offset)
        else {
            return Ok(Step::Nothing);
        };
        match self.locate_in_tail(range.start) {
            Some((id, start)) if id == segment.id => self.cut(segment, start, range),
            _ => {
                let offset = range.start;
                Ok(self.scan_by_offset(segment, offset, Goal::Start { offset }))
            }
        }
    }

    /// The batch that contains `offset`, if it is among the recent ones.
    fn locate_in_tail(&self, offset: Offset) -> Option<(SegmentId, Located)> {
        let at = self.tail.partition_point(|batch| batch.last_offset < offset);
        let batch = self.tail.get(at)?;
        // In front of the oldest one remembered there may be others.
        if at == 0 && offset < batch.base_offset {
            return None;
        }
        let position = u64::from(batch.position);
        Some((batch.segment, Located { position, base_offset: batch.base_offset, bytes: batch.bytes }))
    }

    /// The slice that begins at `start`: where does it end?
    fn cut(&self, segment: &Segment, start: Located, range: &ReadRange) -> Result<Step, ReadFault> {
        let end = range.end.min(self.visible);
        if range.bytes_max < start.bytes && !range.at_least_one {
            return Ok(Step::Nothing);
        }
        let limit = start.position + u64::from(range.bytes_max.max(start.bytes));
        if segment.next_offset <= end {
            return Ok(slice(segment, start, limit.min(segment.bytes)));
        }
        if let Some((id, last)) = self.locate_in_tail(end)
            && id == segment.id
        {
            return Ok(slice(segment, start, limit.min(last.position)));
        }
        // Begin at the last entry in memory that lies below the end, if there is one.
        let relative = segment.relative(end).unwrap_or(u32::MAX);
        let pending = &segment.offset_index.pending;
        let below = pending.partition_point(|entry| entry.relative < relative);
        let from = below.checked_sub(1).map_or(start.position, |at| u64::from(pending[at].position));
        let goal = Goal::End { start, end, limit };
        Ok(self.scan_headers(segment, from.max(start.position), None, goal))
    }

    /// Begins the look-up of `goal` in the first segment, from number `first` on, whose times reach it.
    fn lookup_from(&self, goal: Goal, first: usize) -> Option<Step> {
        let Goal::Time { at, from, .. } = goal else { return None };
        let segment =
            self.segments.iter().skip(first).find(|segment| {
                from < segment.next_offset && segment.largest.is_some_and(|(largest, _)| at <= largest)
            })?;
        if at == Timestamp::MIN {
            return Some(self.scan_by_offset(segment, from.max(segment.base()), goal));
        }
        let index = &segment.time_index;
        let below = index.pending.partition_point(|entry| entry.timestamp <= at);
        if let Some(below) = below.checked_sub(1) {
            let offset = segment.base().plus(i64::from(index.pending[below].relative));
            return Some(self.scan_by_offset(segment, offset.max(from), goal));
        }
        if index.stored == 0 || !index.exists || index.distrusted.get() {
            return Some(self.scan_by_offset(segment, from.max(segment.base()), goal));
        }
        let search = BlockSearch { low: 0, high: index.stored };
        Some(self.scan_index(segment, search, Phase::TimeIndex { search, first: 0, floor: None }, goal))
    }

    /// A scan for `goal` that begins at or before the batch holding `offset`.
    fn scan_by_offset(&self, segment: &Segment, offset: Offset, goal: Goal) -> Step {
        let target = segment.relative(offset.max(segment.base())).unwrap_or(u32::MAX);
        match self.around(segment, target) {
            Around::Entries(below, above) => self.scan_around(segment, target, below, above, goal),
            Around::Search(search) => {
                self.scan_index(segment, search, Phase::OffsetIndex { search, first: 0, floor: None, target }, goal)
            }
        }
    }

    /// The index entries around `target`: from memory, if they are there.
    fn around(&self, segment: &Segment, target: u32) -> Around {
        let index = &segment.offset_index;
        let at = index.pending.partition_point(|entry| entry.relative <= target);
        let above = index.pending.get(at).copied();
        if let Some(below) = at.checked_sub(1) {
            return Around::Entries(Some(index.pending[below]), above);
        }
        if index.stored == 0 || !index.exists || index.distrusted.get() {
            return Around::Entries(None, above);
        }
        let window = self.index_window.borrow();
        let window = window.as_ref().filter(|window| window.is_of(segment.id, self.layout));
        match window.and_then(|window| window.around(target, index.stored)) {
            Some((below, above_stored)) => Around::Entries(below, above_stored.or(above)),
            None => Around::Search(BlockSearch { low: 0, high: index.stored }),
        }
    }

    /// Reads no more headers than it takes: those between two entries, or, where these lie far apart because batches are
    /// large, the one that most likely holds the offset.
    fn scan_around(
        &self,
        segment: &Segment,
        target: u32,
        below: Option<OffsetEntry>,
        above: Option<OffsetEntry>,
        goal: Goal,
    ) -> Step {
        let place = below.map_or(Place::BEGINNING, |entry| Place::of(segment, entry));
        let phase = Phase::Headers { expected: place.expected };
        if below.is_some_and(|entry| entry.relative == target) {
            return self.scan_log(segment, place.position, BATCH_HEADER_BYTES, phase, goal);
        }
        let Some(above) = above else {
            return self.scan_log(segment, place.position, SCAN_BYTES, phase, goal);
        };
        let between = (u64::from(above.position).saturating_sub(place.position)) as usize + BATCH_HEADER_BYTES;
        if SCAN_BYTES < between && matches!(goal, Goal::Start { .. }) {
            let phase = Phase::Above { expected: offset_of(segment, above), below: place };
            return self.scan_log(segment, u64::from(above.position), BATCH_HEADER_BYTES, phase, goal);
        }
        self.scan_log(segment, place.position, between.min(SCAN_BYTES), phase, goal)
    }

    fn scan_headers(&self, segment: &Segment, position: u64, expected: Option<Offset>, goal: Goal) -> Step {
        self.scan_log(segment, position, SCAN_BYTES, Phase::Headers { expected }, goal)
    }

    /// Up to `bytes` of the log from `position`.
    fn scan_log(&self, segment: &Segment, position: u64, bytes: usize, phase: Phase, goal: Goal) -> Step {
        let bytes = (segment.bytes - position.min(segment.bytes)).min(bytes as u64) as usize;
        let state = ScanState { layout: self.layout, segment: segment.id, phase, goal };
        Step::Scan(FileScan { file: segment.log(), position, bytes, state })
    }

    /// The next block of an index search, or, when it is over, what follows from it.
    fn scan_index(&self, segment: &Segment, search: BlockSearch, phase: Phase, goal: Goal) -> Step {
        let Some((first, width)) = search.next_block() else {
            return match phase {
                Phase::TimeIndex { floor, .. } => {
                    let Goal::Time { from, .. } = goal else { return Step::Nothing };
                    let offset = floor.map_or(segment.base(), |entry| segment.base().plus(i64::from(entry.relative)));
                    self.scan_by_offset(segment, offset.max(from), goal)
                }
                Phase::OffsetIndex { floor, target, .. } => {
                    let above = match self.around(segment, target) {
                        Around::Entries(_, above) => above,
                        Around::Search(_) => None,
                    };
                    self.scan_around(segment, target, floor, above, goal)
                }
                Phase::Headers { .. } | Phase::Above { .. } | Phase::Batch => Step::Nothing,
            };
        };
        let (kind, entry_bytes, phase) = match phase {
            Phase::TimeIndex { floor, .. } => {
                (SegmentFileKind::TimeIndex, TimeEntry::BYTES, Phase::TimeIndex { search, first, floor })
            }
            Phase::OffsetIndex { floor, target, .. } => {
                (SegmentFileKind::OffsetIndex, OffsetEntry::BYTES, Phase::OffsetIndex { search, first, floor, target })
            }
            Phase::Headers { .. } | Phase::Above { .. } | Phase::Batch => return Step::Nothing,
        };
        Step::Scan(FileScan {
            file: segment.file(kind),
            position: u64::from(first) * entry_bytes as u64,
            bytes: width as usize * entry_bytes,
            state: ScanState { layout: self.layout, segment: segment.id, phase, goal },
        })
    }

    fn resume(&self, scan: FileScan, bytes: &[u8], range: Option<&ReadRange>) -> Result<Step, ReadFault> {
        let ScanState { segment: id, phase, goal, .. } = scan.state;
        let Some(segment) = self.segment(id) else { return Ok(Step::Nothing) };
        match phase {
            Phase::OffsetIndex { mut search, first, floor, target } => {
                let found = search.narrow::<OffsetEntry>(first, bytes, |entry| entry.relative <= target);
                if search.next_block().is_none() {
                    let window = IndexWindow::new(segment.id, self.layout, first, bytes, target);
                    *self.index_window.borrow_mut() = Some(window);
                }
                let phase = Phase::OffsetIndex { search, first, floor: found.or(floor), target };
                Ok(self.scan_index(segment, search, phase, goal))
            }
            Phase::TimeIndex { mut search, first, floor } => {
                let Goal::Time { at, .. } = goal else { return Ok(Step::Nothing) };
                let found = search.narrow::<TimeEntry>(first, bytes, |entry| entry.timestamp <= at);
                let phase = Phase::TimeIndex { search, first, floor: found.or(floor) };
                Ok(self.scan_index(segment, search, phase, goal))
            }
            Phase::Headers { expected } => self.walk_headers(segment, &scan, bytes, expected, range),
            Phase::Above { expected, below } => self.look_above(segment, &scan, bytes, expected, below, range),
            Phase::Batch => self.look_into_batch(segment, &scan, bytes),
        }
    }

    fn walk_headers(
        &self,
        segment: &Segment,
        scan: &FileScan,
        bytes: &[u8],
        mut expected: Option<Offset>,
        range: Option<&ReadRange>,
    ) -> Result<Step, ReadFault> {
        let goal = scan.state.goal;
        let mut position = scan.position;
        loop {
            if segment.bytes <= position {
                if expected.is_some() {
                    return Ok(self.distrust_index(segment, goal));
                }
                return self.past_segment(segment, goal, range);
            }
            let at = usize::try_from(position - scan.position).unwrap_or(usize::MAX);
            let header = bytes.get(at..).unwrap_or_default();
            if header.len() < BATCH_HEADER_BYTES {
                // A jump over a large batch, or the end of this read. Unless nothing at all was gained by it.
                if at == 0 {
                    let needed_bytes = BATCH_HEADER_BYTES;
                    let short = BatchError::Short { needed_bytes, got_bytes: header.len() };
                    return self.not_a_batch(segment, position, expected, goal, &short);
                }
                return Ok(self.scan_headers(segment, position, expected, goal));
            }
            let info = match BatchView::parse_header(header) {
                Ok(info) => info,
                Err(error) => return self.not_a_batch(segment, position, expected, goal, &error),
            };
            if let Some(expected) = expected.take()
                && info.last_offset() != expected
            {
                return Ok(self.distrust_index(segment, goal));
            }
            let located = Located { position, base_offset: info.base_offset, bytes: info.size_bytes };
            match goal {
                Goal::Start { offset } => {
                    if offset <= info.last_offset() {
                        let Some(range) = range else { return Ok(Step::Nothing) };
                        return self.cut(segment, located, range);
                    }
                }
                Goal::End { start, end, limit } => {
                    if end <= info.last_offset() || limit <= position {
                        return Ok(slice(segment, start, limit.min(position)));
                    }
                }
                Goal::Time { at, from, end } => {
                    if end <= info.base_offset {
                        return Ok(Step::Nothing);
                    }
                    if at <= info.max_timestamp && from <= info.last_offset() {
                        return Ok(self.scan_batch(segment, &info, position, goal));
                    }
                }
            }
            position += u64::from(info.size_bytes);
        }
    }

    /// The batch that the index names above an offset: it holds the offset, or the offset lies in front of it.
    fn look_above(
        &self,
        segment: &Segment,
        scan: &FileScan,
        bytes: &[u8],
        expected: Offset,
        below: Place,
        range: Option<&ReadRange>,
    ) -> Result<Step, ReadFault> {
        let goal = scan.state.goal;
        let (Goal::Start { offset }, Some(range)) = (goal, range) else { return Ok(Step::Nothing) };
        match BatchView::parse_header(bytes) {
            Ok(info) if info.last_offset() == expected && info.base_offset <= offset => {
                let position = scan.position;
                self.cut(segment, Located { position, base_offset: info.base_offset, bytes: info.size_bytes }, range)
            }
            Ok(info) if info.last_offset() == expected => {
                Ok(self.scan_headers(segment, below.position, below.expected, goal))
            }
            _ => Ok(self.distrust_index(segment, goal)),
        }
    }

    fn scan_batch(&self, segment: &Segment, info: &BatchInfo, position: u64, goal: Goal) -> Step {
        let state = ScanState { layout: self.layout, segment: segment.id, phase: Phase::Batch, goal };
        Step::Scan(FileScan { file: segment.log(), position, bytes: info.size_bytes as usize, state })
    }

    fn look_into_batch(&self, segment: &Segment, scan: &FileScan, bytes: &[u8]) -> Result<Step, ReadFault> {
        let Goal::Time { at, from, end } = scan.state.goal else { return Ok(Step::Nothing) };
        let corrupt = |error: BatchError| ReadFault::Corrupt {
            file: segment.log(),
            position: scan.position,
            reason: error.to_string(),
        };
        let view = batch::check(bytes).map_err(corrupt)?;
        let inflated = Inflated::new(&view, INFLATED_BATCH_BYTES_MAX);
        // Records that cannot be read (their codec's data is the producer's fault) have no time: the search goes on.
        for record in inflated.iter().flat_map(Inflated::records).map_while(Result::ok) {
            let offset = view.base_offset().plus(i64::from(record.offset_delta.max(0)));
            if at <= record.timestamp && from <= offset {
                if end <= offset {
                    return Ok(Step::Nothing);
                }
                let (timestamp, leader_epoch) = (record.timestamp, view.leader_epoch());
                return Ok(Step::Found(FoundTime { offset, timestamp, leader_epoch }));
            }
        }
        let next = scan.position + view.size_bytes() as u64;
        if segment.bytes <= next {
            return self.past_segment(segment, scan.state.goal, None);
        }
        Ok(self.scan_headers(segment, next, None, scan.state.goal))
    }

    /// The segment ends before the goal was met.
    fn past_segment(&self, segment: &Segment, goal: Goal, range: Option<&ReadRange>) -> Result<Step, ReadFault> {
        let next = self.segments.partition_point(|other| other.id <= segment.id);
        match (goal, range) {
            (Goal::Start { .. }, Some(range)) => {
                if next < self.segments.len() {
                    self.read_from(range, next)
                } else {
                    Ok(Step::Nothing)
                }
            }
            (Goal::End { start, limit, .. }, _) => Ok(slice(segment, start, limit.min(segment.bytes))),
            (Goal::Time { .. }, _) => Ok(self.lookup_from(goal, next).unwrap_or(Step::Nothing)),
            (Goal::Start { .. }, None) => Ok(Step::Nothing),
        }
    }

    /// The index named a place where its batch is not: go without it, from the segment's beginning.
    fn distrust_index(&self, segment: &Segment, goal: Goal) -> Step {
        if Mutant::IndexTrustedAfterCrash.is_armed() {
            return Step::Nothing;
        }
        segment.offset_index.distrusted.set(true);
        segment.time_index.distrusted.set(true);
        self.scan_headers(segment, 0, None, goal)
    }

    fn not_a_batch(
        &self,
        segment: &Segment,
        position: u64,
        expected: Option<Offset>,
        goal: Goal,
        error: &BatchError,
    ) -> Result<Step, ReadFault> {
        if expected.is_some() {
            return Ok(self.distrust_index(segment, goal));
        }
        Err(ReadFault::Corrupt { file: segment.log(), position, reason: error.to_string() })
    }
}

/// The last offset of the batch that an entry names.
fn offset_of(segment: &Segment, entry: OffsetEntry) -> Offset {
    segment.base().plus(i64::from(entry.relative))
}

fn slice(segment: &Segment, start: Located, end: u64) -> Step {
    if end <= start.position {
        return Step::Nothing;
    }
    Step::Slice(Slice {
        file: segment.log(),
        segment: segment.id,
        position: start.position,
        bytes: (end - start.position) as u32,
        base_offset: start.base_offset,
        first_batch_bytes: start.bytes,
    })
}

fn read_step(step: Step) -> ReadStep {
    match step {
        Step::Scan(scan) => ReadStep::Scan(scan),
        Step::Slice(slice) => ReadStep::Slice(slice),
        Step::Found(_) | Step::Nothing => ReadStep::Empty,
    }
}

fn time_step(step: Step) -> TimeStep {
    match step {
        Step::Scan(scan) => TimeStep::Scan(scan),
        Step::Found(found) => TimeStep::Found(found),
        Step::Slice(_) | Step::Nothing => TimeStep::NotFound,
    }
}
