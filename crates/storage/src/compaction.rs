//! Compaction: of every key the last value stays, at its offset.
//!
//! ```text
//!   base                clean_offset          dirty end        active
//!    │ already compacted     │ dirty: keys read   │ too young,   │ never
//!    ▼                       ▼ into a map         ▼ not synced   ▼ touched
//!    [seg][seg][seg][seg]....[seg][seg][seg]......[seg]..........[seg]
//!    └──────── rewritten against the map, in groups ────┘
//! ```
//! [`plan`] decides whether and how far (pure). [`CompactionJob::run`] reads segments and writes `.cleaned` files (pure but
//! for the folder it is given; a maintenance thread runs it). `finish_compaction` has them put in place, so that a crash
//! anywhere leaves either the old segments or the whole new one (the steps are drawn in `log/swap.rs`).
//!
//! Kept, whatever the map says: records at or above the dirty end; each producer's newest batch and the last batch of a
//! group, without records if need be (sequence windows and the log end hold); tombstones until the delete horizon
//! (KIP-534), which the first cleaning of their batch writes into it; control batches; batches whose records cannot be
//! read. Records with a null key go. Dirty data of transactions ends the dirty range: which of it was aborted is not
//! known here yet.

use std::collections::BTreeMap;
use std::io;

use batch::{BatchView, Filtered, Inflated, Retention};
use bytes::BytesMut;
use types::io::Dir;
use types::limits::{COMPACTION_CHUNK_BYTES, COMPACTION_KEYS_BYTES_MAX, INFLATED_BATCH_BYTES_MAX};
use types::{Now, Offset, Timestamp};

use crate::config::LogConfig;
use crate::file::{FileName, SegmentFileKind, SegmentId, Stage};
use crate::index;
use crate::log::{PartitionLog, SegmentInfo};
use crate::segment::Segment;

/// What compaction goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `min.cleanable.dirty.ratio`, in thousandths.
    pub dirty_ratio_permille_min: u32,
    /// `min.compaction.lag.ms`.
    pub lag_ms_min: u64,
    /// `max.compaction.lag.ms`.
    pub lag_ms_max: Option<u64>,
    /// Everything below was compacted before.
    pub clean_offset: Offset,
    /// Nothing at or above it is touched: the smaller of high watermark, first open transaction and recovery point.
    pub stable_offset: Offset,
}

/// How far compaction goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The first dirty offset.
    pub dirty_from: Offset,
    /// The end of the dirty range: a segment's end.
    pub dirty_to: Offset,
    /// Dirty bytes of all that would be cleaned, in thousandths.
    pub dirty_ratio_permille: u32,
    /// Whether `max.compaction.lag.ms` has passed.
    pub overdue: bool,
}

/// Whether and how far to compact. `None`: nothing is dirty enough.
#[must_use]
pub fn plan(segments: &[SegmentInfo], now: Timestamp, policy: &Policy) -> Option<Plan> {
    let older = |timestamp: Option<Timestamp>, lag_ms: u64| {
        let lag_ms = i64::try_from(lag_ms).unwrap_or(i64::MAX);
        timestamp.is_none_or(|timestamp| lag_ms <= now.millis().saturating_sub(timestamp.millis()))
    };
    let (mut clean_bytes, mut dirty_bytes, mut dirty_to, mut overdue) = (0_u64, 0_u64, None, false);
    for segment in segments {
        if segment.next_offset <= policy.clean_offset {
            clean_bytes += segment.bytes;
            continue;
        }
        let settled =
            segment.next_offset <= policy.stable_offset && older(segment.largest_timestamp, policy.lag_ms_min);
        if segment.active || !settled {
            break;
        }
        dirty_bytes += segment.bytes;
        dirty_to = Some(segment.next_offset);
        overdue |= policy.lag_ms_max.is_some_and(|lag_ms| older(segment.first_timestamp, lag_ms));
    }
    let dirty_ratio_permille = (dirty_bytes * 1000).checked_div(clean_bytes + dirty_bytes)? as u32;
    if dirty_ratio_permille <= policy.dirty_ratio_permille_min && !overdue {
        return None;
    }
    Some(Plan { dirty_from: policy.clean_offset, dirty_to: dirty_to?, dirty_ratio_permille, overdue })
}

/// Where cleaned bytes go.
pub trait CleanedFiles {
    /// Adds bytes (perhaps none) to a `.cleaned` file; the first call makes it, replacing a left-over one. A writer that
    /// throttles waits in here.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn append(&mut self, file: FileName, bytes: &[u8]) -> io::Result<()>;

    /// The file is whole: fsync it.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn finish(&mut self, file: FileName) -> io::Result<()>;
}

/// Why a compaction gave up. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactionFault {
    /// The disk did not answer, or took no more.
    #[error("{file}: {source}")]
    Io {
        /// Which file.
        file: FileName,
        /// As the system says.
        source: io::Error,
    },
    /// A batch in a sealed segment is not good.
    #[error("{file} at byte {position}: {reason}")]
    Corrupt {
        /// Which file.
        file: FileName,
        /// Where in it.
        position: u64,
        /// In the batch crate's words.
        reason: String,
    },
}

/// Everything a maintenance thread needs to clean one log.
#[derive(Clone, Debug)]
pub struct CompactionJob {
    plan: Plan,
    groups: Vec<Vec<Source>>,
    /// Last offsets of batches whose headers stay; sorted.
    kept_headers: Vec<Offset>,
    now: Timestamp,
    delete_retention_ms: u64,
    index_interval_bytes: u32,
    keys_bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    id: SegmentId,
    bytes: u64,
    next_offset: Offset,
    created: Timestamp,
}

/// What a job has made.
#[derive(Debug)]
pub struct CompactionOutcome {
    groups: Vec<CleanedGroup>,
    clean_offset: Offset,
    /// Bytes of log read.
    pub bytes_before: u64,
    /// Bytes of log they became.
    pub bytes_after: u64,
}

#[derive(Debug)]
struct CleanedGroup {
    replaced: Vec<SegmentId>,
    segment: Segment,
    changed: bool,
}

/// The last offset of each key in the dirty range.
struct Keys {
    last: BTreeMap<Box<[u8]>, Offset>,
    bytes: usize,
    /// Offsets below it have been seen.
    end: Offset,
}

/// Bytes that a key costs beside its own.
const KEY_OVERHEAD_BYTES: usize = 48;

impl CompactionJob {
    /// How far it goes.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Reads the segments and writes the cleaned ones. Reads each byte of the log once, of the dirty range twice; holds
    /// the dirty keys (bounded) and one batch.
    ///
    /// # Errors
    /// See [`CompactionFault`]; `.cleaned` files may be left, the next run or recovery removes them.
    pub fn run(&self, dir: &impl Dir, out: &mut impl CleanedFiles) -> Result<CompactionOutcome, CompactionFault> {
        let keys = self.read_keys(dir)?;
        let mut outcome =
            CompactionOutcome { groups: Vec::new(), clean_offset: keys.end, bytes_before: 0, bytes_after: 0 };
        for group in &self.groups {
            if group.first().is_none_or(|first| keys.end <= first.id.base_offset()) {
                break;
            }
            let cleaned = self.clean_group(group, &keys, dir, out)?;
            outcome.bytes_before += group.iter().map(|source| source.bytes).sum::<u64>();
            outcome.bytes_after += cleaned.segment.bytes;
            outcome.groups.push(cleaned);
        }
        Ok(outcome)
    }

    fn read_keys(&self, dir: &impl Dir) -> Result<Keys, CompactionFault> {
        let mut keys = Keys { last: BTreeMap::new(), bytes: 0, end: self.plan.dirty_from };
        for source in self.groups.iter().flatten() {
            if source.next_offset <= self.plan.dirty_from {
                continue;
            }
            let mut batches = BatchFile::new(source);
            while let Some(bytes) = batches.next(dir)? {
                let view = batches.check(&bytes)?;
                let info = view.info();
                if info.last_offset() < self.plan.dirty_from {
                    continue;
                }
                if (info.transactional && !info.control) || self.keys_bytes_max <= keys.bytes {
                    return Ok(keys);
                }
                keys.end = info.next_offset();
                if info.control {
                    continue;
                }
                let Ok(inflated) = Inflated::new(&view, INFLATED_BATCH_BYTES_MAX) else { continue };
                // Of a batch that contradicts itself nothing counts: it will be kept as it is.
                let Ok(records) = inflated.records().collect::<Result<Vec<_>, _>>() else { continue };
                for record in records {
                    let Some(key) = record.key else { continue };
                    let offset = inflated.offset_of(&record);
                    if let Some(last) = keys.last.get_mut(key) {
                        *last = offset.max(*last);
                    } else {
                        keys.bytes += key.len() + KEY_OVERHEAD_BYTES;
                        keys.last.insert(key.into(), offset);
                    }
                }
            }
            keys.end = keys.end.max(source.next_offset);
        }
        Ok(keys)
    }

    fn clean_group(
        &self,
        group: &[Source],
        keys: &Keys,
        dir: &impl Dir,
        out: &mut impl CleanedFiles,
    ) -> Result<CleanedGroup, CompactionFault> {
        let first = group[0];
        let log = FileName::log(first.id).at(Stage::Cleaned);
        let fault = |file| move |source| CompactionFault::Io { file, source };
        let mut segment = Segment::new(first.id.base_offset(), first.created);
        let mut chunk = BytesMut::new();
        let mut changed = 1 < group.len();
        out.append(log, &[]).map_err(fault(log))?;
        for (at, source) in group.iter().enumerate() {
            let mut batches = BatchFile::new(source);
            while let Some(bytes) = batches.next(dir)? {
                let view = batches.check(&bytes)?;
                let ends_group = at + 1 == group.len() && batches.position == source.bytes;
                let kept = match self.clean_batch(&view, keys, ends_group) {
                    Filtered::Unchanged => {
                        chunk.extend_from_slice(view.bytes());
                        Some(view.info())
                    }
                    Filtered::Rewritten(bytes) | Filtered::EmptyKept(bytes) => {
                        changed = true;
                        chunk.extend_from_slice(&bytes);
                        BatchView::parse(&bytes).ok().map(|view| view.info())
                    }
                    Filtered::Gone => {
                        changed = true;
                        None
                    }
                };
                if let Some(info) = kept {
                    segment.on_batch(&info, self.index_interval_bytes);
                }
                if COMPACTION_CHUNK_BYTES <= chunk.len() {
                    out.append(log, &chunk).map_err(fault(log))?;
                    chunk.clear();
                }
            }
        }
        out.append(log, &chunk).map_err(fault(log))?;
        out.finish(log).map_err(fault(log))?;

        segment.note_largest_timestamp();
        let indexes = [
            (SegmentFileKind::OffsetIndex, index::encode(&segment.offset_index.pending)),
            (SegmentFileKind::TimeIndex, index::encode(&segment.time_index.pending)),
        ];
        for (kind, bytes) in indexes {
            let file = FileName::live(first.id, kind).at(Stage::Cleaned);
            out.append(file, &bytes).map_err(fault(file))?;
            out.finish(file).map_err(fault(file))?;
        }
        let (offset_entries, time_entries) =
            (segment.offset_index.pending.len() as u32, segment.time_index.pending.len() as u32);
        segment.offset_index.on_written(offset_entries);
        segment.time_index.on_written(time_entries);
        segment.log_exists = true;
        segment.synced_bytes = segment.bytes;
        Ok(CleanedGroup { replaced: group.iter().map(|source| source.id).collect(), segment, changed })
    }

    fn clean_batch(&self, view: &BatchView<'_>, keys: &Keys, ends_group: bool) -> Filtered {
        let info = view.info();
        if keys.end <= info.base_offset {
            return Filtered::Unchanged;
        }
        let retention = Retention {
            now: self.now,
            delete_retention_ms: i64::try_from(self.delete_retention_ms).unwrap_or(i64::MAX),
            keep_empty: ends_group || self.kept_headers.binary_search(&info.last_offset()).is_ok(),
            discard_records: false,
            marker_of_gone_transaction: false,
            inflated_bytes_max: INFLATED_BATCH_BYTES_MAX,
        };
        let horizon_passed = batch::filter::horizon_passed(&info, self.now);
        let keep = |record: &batch::RecordView<'_>, offset: Offset| {
            if keys.end <= offset {
                return true;
            }
            let Some(key) = record.key else { return false };
            let is_last = keys.last.get(key).is_none_or(|&last| last <= offset);
            is_last && (record.value.is_some() || !horizon_passed)
        };
        // Records that cannot be read are a consumer's to see, not ours to drop.
        batch::filter(view, &retention, keep).unwrap_or(Filtered::Unchanged)
    }
}

/// The batches of one segment, one after the other.
struct BatchFile {
    file: FileName,
    bytes: u64,
    position: u64,
    /// Where the batch handed out last begins.
    current: u64,
    window: BytesMut,
}

impl BatchFile {
    fn new(source: &Source) -> Self {
        Self { file: FileName::log(source.id), bytes: source.bytes, position: 0, current: 0, window: BytesMut::new() }
    }

    fn next(&mut self, dir: &impl Dir) -> Result<Option<BytesMut>, CompactionFault> {
        if self.bytes <= self.position {
            return Ok(None);
        }
        self.current = self.position;
        let mut needed = types::limits::BATCH_HEADER_BYTES;
        loop {
            if self.window.len() < needed {
                self.fill(dir, needed)?;
            }
            let size = BatchView::peek_size(&self.window).map_err(|error| self.corrupt(&error.to_string()))?;
            let size = size.ok_or_else(|| self.corrupt("it is cut short"))?;
            if size <= self.window.len() {
                self.position += size as u64;
                return Ok(Some(self.window.split_to(size)));
            }
            if needed == size {
                return Err(self.corrupt("it is cut short"));
            }
            needed = size;
        }
    }

    /// Reads on until `needed` bytes are at hand or the segment ends.
    fn fill(&mut self, dir: &impl Dir, needed: usize) -> Result<(), CompactionFault> {
        let at = self.position + self.window.len() as u64;
        let left = self.bytes.saturating_sub(at);
        let want = left.min(needed.max(COMPACTION_CHUNK_BYTES) as u64) as usize;
        let mut buffer = vec![0; want];
        let mut filled = 0;
        while filled < want {
            let read = dir
                .read_at(&self.file.to_string(), at + filled as u64, &mut buffer[filled..])
                .map_err(|source| CompactionFault::Io { file: self.file, source })?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        self.window.extend_from_slice(&buffer[..filled]);
        Ok(())
    }

    fn check<'b>(&self, bytes: &'b [u8]) -> Result<BatchView<'b>, CompactionFault> {
        batch::check(bytes).map_err(|error| self.corrupt(&error.to_string()))
    }

    fn corrupt(&self, reason: &str) -> CompactionFault {
        CompactionFault::Corrupt { file: self.file, position: self.current, reason: reason.to_owned() }
    }
}

impl Policy {
    /// The policy of a log with these settings.
    #[must_use]
    pub fn new(config: &LogConfig, clean_offset: Offset, stable_offset: Offset) -> Self {
        Self {
            dirty_ratio_permille_min: config.min_cleanable_dirty_ratio_permille,
            lag_ms_min: config.min_compaction_lag_ms,
            lag_ms_max: config.max_compaction_lag_ms,
            clean_offset,
            stable_offset,
        }
    }
}

impl PartitionLog {
    /// Whether a compaction of this log is under way.
    #[must_use]
    pub fn compacting(&self) -> bool {
        self.compaction_running || self.is_swapping()
    }

    /// How dirty the log is, whether or not it is due: `None` if it does not compact or nothing is dirty.
    #[must_use]
    pub fn compaction_plan(&self, now: Now, high_watermark: Offset) -> Option<Plan> {
        if !self.config.cleanup_policy.compact {
            return None;
        }
        let stable = high_watermark.min(self.offsets().last_stable).min(self.recovery_point());
        let clean_offset = self.clean_offset.max(self.segments.front()?.base());
        plan(&self.segments(), now.wall, &Policy::new(&self.config, clean_offset, stable))
    }

    /// A job for the maintenance thread, if the log is due. Until `finish_compaction` hands its outcome back, retention
    /// waits.
    pub fn begin_compaction(&mut self, now: Now, high_watermark: Offset) -> Option<CompactionJob> {
        self.now = now;
        if self.compacting()
            || self.sweeping_cleaned()
            || self.poisoned().is_some()
            || !self.is_ready()
            || self.is_closing()
        {
            return None;
        }
        let plan = self.compaction_plan(now, high_watermark)?;
        let mut groups: Vec<Vec<Source>> = Vec::new();
        let mut group_bytes = 0;
        // An active segment with nothing in it ends where the dirty range does; it takes appends, so it stays.
        let sealed = self.segments.len() - 1;
        for segment in self.segments.iter().take(sealed).filter(|segment| segment.next_offset <= plan.dirty_to) {
            let source = Source {
                id: segment.id,
                bytes: segment.bytes,
                next_offset: segment.next_offset,
                created: segment.created,
            };
            let joins = groups.last().is_some_and(|group| {
                let reach = segment.next_offset.records_since(group[0].id.base_offset());
                group_bytes + segment.bytes <= u64::from(self.config.segment_bytes) && reach <= i64::from(i32::MAX)
            });
            if let Some(group) = groups.last_mut().filter(|_| joins) {
                group.push(source);
                group_bytes += segment.bytes;
            } else {
                groups.push(vec![source]);
                group_bytes = segment.bytes;
            }
        }
        self.compaction_running = true;
        Some(CompactionJob {
            plan,
            groups,
            kept_headers: self.producers.last_offsets(),
            now: now.wall,
            delete_retention_ms: self.config.delete_retention_ms,
            index_interval_bytes: self.config.index_interval_bytes,
            keys_bytes_max: COMPACTION_KEYS_BYTES_MAX,
        })
    }

    /// The job is over; what it made takes its place, step by step. A failed one is tried again when the host asks the
    /// next time.
    pub fn finish_compaction(&mut self, now: Now, outcome: Result<CompactionOutcome, CompactionFault>) {
        self.now = now;
        self.compaction_running = false;
        let Ok(outcome) = outcome else { return };
        if self.poisoned().is_some() || self.is_closing() {
            return;
        }
        let (changed, unchanged): (Vec<_>, Vec<_>) = outcome.groups.into_iter().partition(|group| group.changed);
        let cleaned = changed.into_iter().map(|group| (group.replaced, group.segment));
        self.begin_swaps(cleaned.collect(), outcome.clean_offset);
        for group in unchanged {
            for kind in SegmentFileKind::CLEANED {
                self.delete_file(FileName::live(group.segment.id, kind).at(Stage::Cleaned));
            }
        }
    }
}
