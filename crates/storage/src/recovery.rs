//! Opening a log again. Reads only; what must change on disk comes out as the log's first effects.
//!
//! The checkpoint says up to where everything was fsynced: the *recovery point*. Below it nothing is read, except the
//! log of an index that must be rebuilt. Above it every batch is read and checked, up to the first that is not good:
//!
//! | row | where | last stop | found | verdict |
//! |---|---|---|---|---|
//! | `below` | below the recovery point | any | a log missing or shorter than it was, a bad batch | corrupt: never cut |
//! | `torn` | above | any | the last batch ends beyond its file, nothing good follows | cut |
//! | `power-hole` | above | power lost | anything else: writeback has no order, a hole before good batches is normal | cut |
//! | `died-bad` | above | process died | anything else: the page cache lived, no write of ours makes this | corrupt |
//! | `blind-tail` | no readable checkpoint, though one is there | power lost | a bad batch, nothing good follows | cut |
//! | `blind-hole` | no readable checkpoint, though one is there | power lost | a bad batch before good ones: may be old, fsynced data | corrupt |
//! | `accept-loss` | anywhere | any | anything, and the operator has said so | cut |
//!
//! A log without a checkpoint file has never had one (it is never removed): its recovery point is its beginning, and the
//! rows of *above* hold. With a checkpoint that is cut or damaged nothing is known: everything is read, and the rows
//! *blind* take the place of `power-hole`.
//!
//! | row | found | done |
//! |---|---|---|
//! | `index-short` | an index missing or shorter than the checkpoint says | rebuilt from its log |
//! | `index-long` | an index longer than that | cut to it; the entries come again from the batches above the recovery point |
//! | `index-garbage` | after an unclean stop: the newest checkpointed segment's entries do not rise | rebuilt |
//! | `index-lies` | an entry in a sealed segment's index that names no batch | found by the reader, who scans instead (see `read`) |
//! | `cleaned` | `.cleaned` files | deleted |
//! | `swap` | a `.log.swap` that the checkpoint lists, or no checkpoint | finished: what it replaces is deleted, it takes the place; its indexes are rebuilt |
//! | `swap-early` | a `.log.swap` of another length or end than the checkpoint says | deleted: what it should replace is whole, and taking its place before a checkpoint says so would look like damage after a second crash |
//! | `swap-index` | an index `.swap` without its log | deleted |
//! | `deleted` | `.deleted` files | deleted |
//! | `retired` | a segment below the checkpoint's first one, or inside one that it lists | deleted: retention or compaction had taken it out |
//! | `empty` | an empty log that does not continue the one before | deleted |
//! | `gap` | above the recovery point, a segment that does not continue the one before | as a bad batch at its beginning |
//! | `orphan` | an index without its log | deleted |
//!
//! Offsets may be missing between batches (compaction) below the recovery point and in a log whose checkpoint cannot be
//! read; in one that has no checkpoint only after `ProcessDied`, which is what adopting a folder of Kafka's says.
//!
//! The host must go on giving `PowerLost` until the log has said `Ready`: a recovery may itself be interrupted.

use std::collections::{BTreeMap, VecDeque};

use batch::{BatchError, BatchInfo, BatchView, TimestampType};
use types::io::Dir;
use types::limits::{BATCH_HEADER_BYTES, TAIL_BATCHES_MAX};
use types::{LeaderEpoch, Now, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

use crate::checkpoint::{Checkpoint, ProducerFacts, SegmentFacts};
use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::file::{FileName, SegmentFile, SegmentFileKind, SegmentId, Stage};
use crate::index::{self, Index, IndexEntry, OffsetEntry, TimeEntry};
use crate::log::folder::{FolderChange, FolderStep};
use crate::log::{PartitionLog, Parts, TailBatch};
use crate::mutants::Mutant;
use crate::producers::{BatchSeen, Producer, Producers};
use crate::segment::Segment;

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

/// How a walk over batches ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Broken {
    /// The bytes end before the batch does.
    Torn,
    /// Bytes that are no batch, or not the next one.
    Bad(String),
}

/// What a verdict depends on: one column each of the table above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Case {
    below_recovery_point: bool,
    checkpoint_damaged: bool,
    last_stop: LastStop,
    torn: bool,
    good_follows: bool,
    accept_loss: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Cut,
    Corrupt,
}

/// The table.
fn plan(case: Case) -> Verdict {
    if case.accept_loss {
        return Verdict::Cut;
    }
    if case.below_recovery_point {
        return Verdict::Corrupt;
    }
    if case.torn && !case.good_follows {
        return Verdict::Cut;
    }
    match case.last_stop {
        LastStop::ProcessDied => Verdict::Corrupt,
        LastStop::PowerLost if case.checkpoint_damaged && case.good_follows => Verdict::Corrupt,
        LastStop::PowerLost => Verdict::Cut,
    }
}

/// Opens a log from its folder. Reads only; what must change on disk comes out as the log's first effects.
///
/// # Errors
/// See [`RecoverFault`].
pub fn recover(
    dir: &impl Dir,
    partition: TopicPartition,
    config: LogConfig,
    hints: &RecoveryHints,
    now: Now,
    progress: &mut dyn FnMut(RecoveryProgress),
) -> Result<Recovered, RecoverFault> {
    let mut files = BTreeMap::new();
    for entry in dir.list().map_err(|source| RecoverFault::Io { file: partition.to_string(), source })? {
        if let Some(name) = FileName::parse(&entry.name) {
            files.insert(name, entry.bytes);
        }
    }
    let recovery = Recovery {
        dir,
        config: &config,
        hints: RecoveryHints {
            accept_loss: hints.accept_loss || Mutant::RecoveryCutsBelowRecoveryPoint.is_armed(),
            ..*hints
        },
        now,
        progress,
        files,
        report: RecoveryReport::default(),
        producers: Producers::default(),
        epochs: LeaderEpochs::default(),
        tail: VecDeque::new(),
        segments: VecDeque::new(),
        done: RecoveryProgress { bytes_done: 0, bytes_total: 0 },
        deletes: Vec::new(),
        renames: Vec::new(),
        truncates: Vec::new(),
        dirty_bytes: 0,
        offsets_lost_to: None,
    };
    let (parts, report) = recovery.run()?;
    Ok(Recovered { log: PartitionLog::from_parts(partition, config, parts, now), report })
}

struct Recovery<'a, D> {
    dir: &'a D,
    config: &'a LogConfig,
    hints: RecoveryHints,
    now: Now,
    progress: &'a mut dyn FnMut(RecoveryProgress),
    files: BTreeMap<FileName, u64>,
    report: RecoveryReport,
    producers: Producers,
    epochs: LeaderEpochs,
    tail: VecDeque<TailBatch>,
    segments: VecDeque<Segment>,
    done: RecoveryProgress,
    deletes: Vec<FolderStep>,
    renames: Vec<FolderStep>,
    truncates: Vec<FolderStep>,
    dirty_bytes: u64,
    offsets_lost_to: Option<Offset>,
}

/// What is known of the log before its batches are looked at.
struct Known {
    log_start: Option<Offset>,
    recovery_point: Offset,
    clean: bool,
    clean_offset: Offset,
    facts: Vec<SegmentFacts>,
    damaged: bool,
    /// Offsets may be missing between batches: compaction may have been here.
    gaps_allowed: bool,
}

/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;

impl<D: Dir> Recovery<'_, D> {
    fn run(mut self) -> Result<(Parts, RecoveryReport), RecoverFault> {
        let known = self.read_checkpoint()?;
        self.sweep();
        self.finish_swaps(&known)?;
        self.retire(&known);
        self.open_known_segments(&known)?;
        self.scan_above(&known)?;
        Ok(self.finish(&known))
    }

    /// What is there of the last checkpoint.
    fn read_checkpoint(&mut self) -> Result<Known, RecoverFault> {
        let mut known = Known {
            log_start: None,
            recovery_point: Offset::ZERO,
            clean: false,
            clean_offset: Offset::ZERO,
            facts: Vec::new(),
            damaged: false,
            gaps_allowed: true,
        };
        let Some(&bytes) = self.files.get(&FileName::Checkpoint) else {
            // Without one we never compacted. A log adopted from Kafka may have been, and was not cut by a power loss.
            known.gaps_allowed = self.hints.accept_loss || self.hints.last_stop == LastStop::ProcessDied;
            return Ok(known);
        };
        let content = self.read_file(FileName::Checkpoint, 0, bytes as usize)?;
        let checkpoint = match Checkpoint::decode(&content) {
            Ok(checkpoint) => checkpoint,
            Err(reason) => {
                self.note(format!("{} is {reason}: the whole log is read", FileName::Checkpoint));
                known.damaged = true;
                return Ok(known);
            }
        };
        known.log_start = Offset::from_wire(checkpoint.log_start);
        if self.hints.accept_loss {
            // Everything is looked at again; only what was deleted on purpose stays deleted.
            return Ok(known);
        }
        known.recovery_point = Offset::from_wire(checkpoint.recovery_point).unwrap_or_default();
        known.clean = checkpoint.clean;
        known.clean_offset = Offset::from_wire(checkpoint.clean_offset).unwrap_or_default();
        known.gaps_allowed = false;
        for producer in &checkpoint.producers {
            if let Some((id, state)) = producer_of(producer)
                && !Mutant::ProducerSnapshotIgnored.is_armed()
            {
                self.producers.restore(id, state);
            }
        }
        self.epochs = LeaderEpochs::restore(
            checkpoint
                .epochs
                .iter()
                .filter_map(|&(epoch, start)| Some((LeaderEpoch::from_wire(epoch)?, Offset::from_wire(start)?))),
        );
        known.facts = checkpoint.segments;
        Ok(known)
    }

    /// Rows `cleaned`, `deleted`, `swap-index`.
    fn sweep(&mut self) {
        let names: Vec<FileName> = self.files.keys().copied().collect();
        for name in names {
            let FileName::Segment(file) = name else { continue };
            let log_swap = FileName::log(file.segment).at(Stage::Swap);
            let useless = match file.stage {
                Stage::Live => false,
                Stage::Cleaned | Stage::Deleted => true,
                Stage::Swap => file.kind != SegmentFileKind::Log || !self.files.contains_key(&log_swap),
            };
            if useless {
                self.delete(name);
            }
        }
    }

    /// Rows `swap` and `swap-early`.
    fn finish_swaps(&mut self, known: &Known) -> Result<(), RecoverFault> {
        let swaps: Vec<(SegmentId, u64)> = self
            .files
            .iter()
            .filter_map(|(name, &bytes)| match name {
                FileName::Segment(SegmentFile { segment, kind: SegmentFileKind::Log, stage: Stage::Swap }) => {
                    Some((*segment, bytes))
                }
                _ => None,
            })
            .collect();
        for (id, bytes) in swaps {
            let file = FileName::log(id).at(Stage::Swap);
            let mut segment = Segment::new(id.base_offset(), self.now.wall);
            self.done.bytes_total += bytes;
            let broken = self.walk(file, bytes, &mut segment, true, false)?;
            if let Some(broken) = broken {
                // It was whole and fsynced before it got this name.
                return Err(self.corrupt(file, segment.bytes, "a whole compacted segment", &broken));
            }
            // The length alone does not tell: what stays of two segments may be as long as the first of them was.
            let (base, next) = (id.base_offset().value(), segment.next_offset.value());
            let is_listed =
                |facts: &SegmentFacts| (facts.base_offset, facts.bytes, facts.next_offset) == (base, bytes, next);
            if !known.facts.is_empty() && !known.facts.iter().any(is_listed) {
                self.note(format!("{file}: a compaction was given up"));
                self.delete(file);
                continue;
            }
            let replaced: Vec<FileName> = self
                .files
                .keys()
                .copied()
                .filter(|name| match name {
                    FileName::Segment(other) => {
                        other.stage == Stage::Live
                            && id <= other.segment
                            && other.segment.base_offset() < segment.next_offset.max(id.base_offset().plus(1))
                    }
                    _ => false,
                })
                .collect();
            for name in replaced {
                self.delete(name);
            }
            self.note(format!("{file}: a compaction was finished"));
            self.files.remove(&file);
            self.files.insert(FileName::log(id), bytes);
            self.renames.push(FolderStep::Rename(file, FileName::log(id)));
            segment.log_exists = true;
            segment.synced_bytes = bytes;
            // Held back until the segments around it are opened.
            let at = self.segments.partition_point(|other| other.id < id);
            self.segments.insert(at, segment);
        }
        Ok(())
    }

    /// Rows `retired` and `orphan`.
    fn retire(&mut self, known: &Known) {
        let first = known.facts.first().map(|facts| facts.base_offset);
        let names: Vec<FileName> = self.files.keys().copied().collect();
        for name in names {
            let FileName::Segment(file) = name else { continue };
            let base = file.segment.base_offset().value();
            if !self.files.contains_key(&FileName::log(file.segment)) {
                self.delete(name);
                continue;
            }
            let swapped = self.segments.iter().any(|segment| segment.id == file.segment);
            let below = first.is_some_and(|first| base < first);
            let inside = known.facts.iter().any(|facts| facts.base_offset < base && base < facts.next_offset);
            if !swapped && (below || inside) {
                self.delete(name);
            }
        }
    }

    /// Everything up to the recovery point, by the checkpoint's word.
    fn open_known_segments(&mut self, known: &Known) -> Result<(), RecoverFault> {
        let mut swapped = std::mem::take(&mut self.segments);
        if known.facts.is_empty() {
            // They are read again with everything else: their batches count for producers and epochs too.
            return Ok(());
        }
        let holds = |swapped: &VecDeque<Segment>, base: Offset| {
            swapped.iter().any(|segment| segment.base() <= base && base < segment.next_offset)
        };
        let last = known.facts.len() - 1;
        for (at, facts) in known.facts.iter().enumerate() {
            let Some(mut segment) = Segment::from_facts(facts) else { continue };
            while let Some(done) = swapped.pop_front_if(|done| done.base() <= segment.base()) {
                self.segments.push_back(done);
            }
            if holds(&self.segments, segment.base()) {
                continue;
            }
            let name = FileName::log(segment.id);
            let Some(&bytes) = self.files.get(&name) else {
                if segment.bytes == 0 {
                    self.segments.push_back(segment);
                    continue;
                }
                if known.log_start.is_some_and(|log_start| segment.next_offset <= log_start) {
                    continue;
                }
                return Err(RecoverFault::Corrupt {
                    file: name.to_string(),
                    position: 0,
                    expected: format!("{} bytes", segment.bytes),
                    found: "no such file".to_owned(),
                });
            };
            segment.log_exists = true;
            if bytes < segment.bytes {
                return Err(RecoverFault::Corrupt {
                    file: name.to_string(),
                    position: bytes,
                    expected: format!("{} bytes", segment.bytes),
                    found: "the end of the file".to_owned(),
                });
            }
            if segment.bytes < bytes && at != last {
                // Nothing refers to them: the next segment begins where this one ends.
                self.note(format!("{name}: {} bytes behind its last batch were cut", bytes - segment.bytes));
                self.truncates.push(FolderStep::Truncate(name, segment.bytes));
                self.report.bytes_cut += bytes - segment.bytes;
            }
            self.open_indexes(&mut segment, at == last && !known.clean)?;
            self.segments.push_back(segment);
        }
        self.segments.append(&mut swapped);
        Ok(())
    }

    /// Rows `index-short`, `index-long`, `index-garbage`.
    fn open_indexes(&mut self, segment: &mut Segment, look_inside: bool) -> Result<(), RecoverFault> {
        let offset_ok = self.open_index::<OffsetEntry>(
            segment.id,
            SegmentFileKind::OffsetIndex,
            &mut segment.offset_index,
            look_inside,
        )?;
        let time_ok =
            self.open_index::<TimeEntry>(segment.id, SegmentFileKind::TimeIndex, &mut segment.time_index, look_inside)?;
        if offset_ok && time_ok {
            return Ok(());
        }
        let name = FileName::log(segment.id);
        let mut rebuilt = Segment::new(segment.base(), segment.created);
        self.done.bytes_total += segment.bytes;
        let broken = self.walk(name, segment.bytes, &mut rebuilt, true, false)?;
        if broken.is_some() || rebuilt.next_offset != segment.next_offset {
            let broken = broken.unwrap_or_else(|| Broken::Bad(format!("an end at offset {}", rebuilt.next_offset)));
            return Err(self.corrupt(name, rebuilt.bytes, "batches as fsynced", &broken));
        }
        for (kind, ok) in [(SegmentFileKind::OffsetIndex, offset_ok), (SegmentFileKind::TimeIndex, time_ok)] {
            if !ok {
                self.report.indexes_rebuilt.push(FileName::live(segment.id, kind));
            }
        }
        // Both are written anew: the walk gave both, and their entries belong together.
        rebuilt.log_exists = true;
        rebuilt.synced_bytes = segment.synced_bytes;
        *segment = rebuilt;
        Ok(())
    }

    fn open_index<E: IndexEntry>(
        &mut self,
        id: SegmentId,
        kind: SegmentFileKind,
        index: &mut Index<E>,
        look_inside: bool,
    ) -> Result<bool, RecoverFault> {
        let name = FileName::live(id, kind);
        let stored_bytes = u64::from(index.stored) * E::BYTES as u64;
        let Some(&bytes) = self.files.get(&name) else { return Ok(index.stored == 0) };
        if Mutant::IndexTrustedAfterCrash.is_armed() {
            index.stored = (bytes / E::BYTES as u64) as u32;
            index.exists = true;
            return Ok(true);
        }
        if bytes < stored_bytes {
            return Ok(false);
        }
        if look_inside && 0 < stored_bytes {
            let content = self.read_file(name, 0, stored_bytes as usize)?;
            if (content.len() as u64) < stored_bytes || !index::rises::<E>(&content) {
                return Ok(false);
            }
        }
        if stored_bytes < bytes {
            self.truncates.push(FolderStep::Truncate(name, stored_bytes));
        }
        index.exists = true;
        Ok(true)
    }

    /// Everything above the recovery point, batch by batch.
    fn scan_above(&mut self, known: &Known) -> Result<(), RecoverFault> {
        let mut todo: Vec<(SegmentId, u64)> = Vec::new();
        let opened_up_to = self.segments.back().map(|segment| segment.id);
        for (name, &bytes) in &self.files {
            if let FileName::Segment(SegmentFile { segment, kind: SegmentFileKind::Log, stage: Stage::Live }) = name
                && opened_up_to.is_none_or(|opened| opened <= *segment)
            {
                todo.push((*segment, bytes));
            }
        }
        for (id, bytes) in &todo {
            let have = self.segments.back().filter(|segment| segment.id == *id).map_or(0, |segment| segment.bytes);
            self.done.bytes_total += bytes.saturating_sub(have);
        }
        for (at, &(id, bytes)) in todo.iter().enumerate() {
            let opened = self.segments.pop_back_if(|segment| segment.id == id);
            let expected = opened
                .as_ref()
                .or(self.segments.back())
                .map_or(if known.facts.is_empty() { id.base_offset() } else { known.recovery_point }, |segment| {
                    segment.next_offset
                });
            let continues =
                opened.is_some() || id.base_offset() == expected || (known.gaps_allowed && expected < id.base_offset());
            if !continues && bytes == 0 {
                self.note(format!("{}: empty, not continuing the log, deleted", FileName::log(id)));
                self.delete_segment(id);
                continue;
            }
            let mut segment = opened.unwrap_or_else(|| Segment::new(id.base_offset(), self.now.wall));
            segment.log_exists = true;
            let from = segment.bytes;
            // Indexes of a segment above the recovery point are not trusted: they are made from its batches.
            let broken = if continues {
                self.walk(FileName::log(id), bytes, &mut segment, known.gaps_allowed, true)?
            } else {
                Some(Broken::Bad(format!("base offset {}, where {expected} should follow", id.base_offset())))
            };
            let Some(broken) = broken else {
                self.dirty_bytes += segment.bytes - from;
                self.segments.push_back(segment);
                continue;
            };
            self.judge(known, &segment, bytes, &broken, &todo[at..])?;
            self.dirty_bytes += segment.bytes - from;
            self.report.bytes_cut += bytes - segment.bytes;
            if continues {
                self.truncates.push(FolderStep::Truncate(FileName::log(id), segment.bytes));
                self.segments.push_back(segment);
            } else {
                self.delete_segment(id);
            }
            for &(later, bytes) in &todo[at + 1..] {
                self.report.bytes_cut += bytes;
                self.delete_segment(later);
            }
            break;
        }
        Ok(())
    }

    /// Applies the table to the first batch that is not good.
    fn judge(
        &mut self,
        known: &Known,
        segment: &Segment,
        bytes: u64,
        broken: &Broken,
        rest: &[(SegmentId, u64)],
    ) -> Result<(), RecoverFault> {
        let file = FileName::log(segment.id);
        let mut found = self.find_good_after(file, segment.bytes + 1, bytes, segment.next_offset)?;
        for &(later, bytes) in &rest[1..] {
            let mut probe = Segment::new(later.base_offset(), self.now.wall);
            self.probe(FileName::log(later), bytes, &mut probe)?;
            if 0 < probe.bytes {
                found = found.max(Some(probe.next_offset));
            }
        }
        let case = Case {
            below_recovery_point: false,
            checkpoint_damaged: known.damaged,
            last_stop: self.hints.last_stop,
            torn: *broken == Broken::Torn,
            good_follows: found.is_some(),
            accept_loss: self.hints.accept_loss,
        };
        if plan(case) == Verdict::Corrupt {
            return Err(self.corrupt(
                file,
                segment.bytes,
                &format!("the batch at offset {}", segment.next_offset),
                broken,
            ));
        }
        self.offsets_lost_to = found;
        let what = match broken {
            Broken::Torn => "a torn batch".to_owned(),
            Broken::Bad(what) => what.clone(),
        };
        self.note(format!("{file}: cut at byte {} (offset {}): {what}", segment.bytes, segment.next_offset));
        Ok(())
    }

    /// Walks batches of `file` from the end of `segment` up to `bytes`, adding them to it. With `replay` they also
    /// count for producers, epochs and tail.
    fn walk(
        &mut self,
        file: FileName,
        bytes: u64,
        segment: &mut Segment,
        gaps_allowed: bool,
        replay: bool,
    ) -> Result<Option<Broken>, RecoverFault> {
        let mut window = Vec::new();
        let mut window_at = segment.bytes;
        while segment.bytes < bytes {
            let at = (segment.bytes - window_at) as usize;
            let remaining = bytes - segment.bytes;
            let needed = match BatchView::peek_size(window.get(at..).unwrap_or_default()) {
                Ok(Some(size)) => size,
                Ok(None) | Err(_) => BATCH_HEADER_BYTES,
            };
            if window.len() < at + needed && (window.len() - at.min(window.len())) as u64 != remaining {
                // Never more than the file has, however long the batch says it is.
                let want = (needed.max(READ_BYTES) as u64).min(remaining) as usize;
                window = self.read_file(file, segment.bytes, want)?;
                window_at = segment.bytes;
                if (window.len() as u64) < (want as u64) {
                    return Ok(Some(Broken::Torn));
                }
                continue;
            }
            let here = &window[at..];
            let info = match next_batch(here, remaining, segment, gaps_allowed) {
                Ok(info) => info,
                Err(broken) => return Ok(Some(broken)),
            };
            let position = segment.bytes as u32;
            segment.on_batch(&info, self.config.index_interval_bytes);
            if replay {
                self.replay(&info, segment.id, position);
            }
            self.report.bytes_read += u64::from(info.size_bytes);
            self.done.bytes_done += u64::from(info.size_bytes);
            (self.progress)(self.done);
        }
        Ok(None)
    }

    /// A walk of which only the end counts.
    fn probe(&mut self, file: FileName, bytes: u64, segment: &mut Segment) -> Result<(), RecoverFault> {
        let done = self.done;
        self.walk(file, bytes, segment, true, false)?;
        self.done = done;
        Ok(())
    }

    fn replay(&mut self, info: &BatchInfo, segment: SegmentId, position: u32) {
        let log_append_time = (info.timestamp_type == TimestampType::LogAppendTime).then_some(info.max_timestamp);
        self.producers.apply(info, log_append_time, self.now.wall);
        if let Some(epoch) = info.leader_epoch {
            self.epochs.assign(epoch, info.base_offset);
        }
        if self.tail.len() == TAIL_BATCHES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(TailBatch {
            base_offset: info.base_offset,
            last_offset: info.last_offset(),
            segment,
            position,
            bytes: info.size_bytes,
        });
    }

    /// Looks for good batches behind a bad place; returns the offset after the last one found. A record may hold bytes
    /// that look like a batch: one counts only if its offset can be reached from here, records being 7 bytes at least.
    fn find_good_after(
        &mut self,
        file: FileName,
        from: u64,
        bytes: u64,
        expected: Offset,
    ) -> Result<Option<Offset>, RecoverFault> {
        let mut position = from;
        while position + (BATCH_HEADER_BYTES as u64) <= bytes {
            let want = (READ_BYTES as u64).min(bytes - position) as usize;
            let window = self.read_file(file, position, want)?;
            for (at, header) in window.windows(BATCH_HEADER_BYTES).enumerate() {
                // Magic first: it alone sorts out nearly every place.
                let candidate =
                    (header[16] == batch::header::MAGIC).then(|| BatchView::parse_header(header).ok()).flatten();
                let Some(info) = candidate else { continue };
                let here = position + at as u64;
                let skipped = i64::try_from((here - from + 1) / 7 + 1).unwrap_or(i64::MAX);
                let plausible = expected < info.base_offset && info.base_offset.records_since(expected) <= skipped;
                if !plausible || bytes < here + u64::from(info.size_bytes) {
                    continue;
                }
                let whole = self.read_file(file, here, info.size_bytes as usize)?;
                if batch::check(&whole).is_ok() {
                    let mut probe = Segment::new(info.base_offset, self.now.wall);
                    probe.bytes = here;
                    self.probe(file, bytes, &mut probe)?;
                    return Ok(Some(probe.next_offset));
                }
            }
            let Some(step) = window.len().checked_sub(BATCH_HEADER_BYTES - 1).filter(|&step| 0 < step) else { break };
            position += step as u64;
        }
        Ok(None)
    }

    fn finish(mut self, known: &Known) -> (Parts, RecoveryReport) {
        if self.segments.is_empty() {
            let base = known.recovery_point.max(known.log_start.unwrap_or_default());
            self.segments.push_back(Segment::new(base, self.now.wall));
        }
        let end = self.segments.back().map_or(Offset::ZERO, |segment| segment.next_offset);
        let first = self.segments.front().map_or(Offset::ZERO, Segment::base);
        let log_start = known.log_start.unwrap_or(first).max(first).min(end);
        self.epochs.truncate_end(end);

        // What is only deleted no longer counted: a close does not wait until it is gone.
        let only_deletes = self.renames.is_empty() && self.truncates.is_empty();
        // Later segments go before the cut: half of it done is a log with a gap at its end, which is cut again.
        let mut stages =
            [std::mem::take(&mut self.deletes), std::mem::take(&mut self.renames), std::mem::take(&mut self.truncates)]
                .into_iter()
                .filter(|stage| !stage.is_empty())
                .collect::<Vec<_>>();
        let folder_changed = !stages.is_empty();
        if folder_changed {
            stages.push(vec![FolderStep::SyncDir]);
        }

        let recovery_point = if known.facts.is_empty() { first.min(end) } else { known.recovery_point.min(end) };
        let clean = known.clean
            && self.dirty_bytes == 0
            && self.report.notes.is_empty()
            && only_deletes
            && self.report.indexes_rebuilt.is_empty();
        let nothing = end == Offset::ZERO && self.files.is_empty();
        self.epochs.dirty = !clean && !nothing;
        self.report.clean = clean;
        self.report.log_end = end;
        self.report.offsets_cut =
            self.offsets_lost_to.map(|lost_to| u64::try_from(lost_to.records_since(end)).unwrap_or(0));
        let metadata_known =
            self.files.contains_key(&FileName::PartitionMetadata).then_some(self.config.topic_id).flatten();
        let parts = Parts {
            segments: self.segments,
            log_start,
            recovery_point,
            clean_offset: known.clean_offset.min(end),
            producers: self.producers,
            epochs: self.epochs,
            tail: self.tail,
            setup: FolderChange::new(stages),
            dirty_bytes: self.dirty_bytes,
            changed: !clean && !nothing,
            metadata_known,
        };
        (parts, self.report)
    }

    // ---- small helps ----

    fn read_file(&self, name: FileName, position: u64, bytes: usize) -> Result<Vec<u8>, RecoverFault> {
        let fault = |source| RecoverFault::Io { file: name.to_string(), source };
        let text = self.name_on_disk(name).unwrap_or_else(|| name.to_string());
        let mut buffer = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.dir.read_at(&text, position + filled as u64, &mut buffer[filled..]).map_err(fault)? {
                0 => break,
                read => filled += read,
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// A finished swap is still under its old name: nothing is renamed before recovery is over.
    fn name_on_disk(&self, name: FileName) -> Option<String> {
        self.renames.iter().find_map(|step| match step {
            FolderStep::Rename(from, to) if *to == name => Some(from.to_string()),
            _ => None,
        })
    }

    fn delete(&mut self, name: FileName) {
        self.files.remove(&name);
        self.deletes.push(FolderStep::Delete(name));
    }

    fn delete_segment(&mut self, id: SegmentId) {
        for kind in SegmentFileKind::ALL {
            let name = FileName::live(id, kind);
            if self.files.contains_key(&name) {
                self.delete(name);
            }
        }
    }

    fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    fn corrupt(&self, file: FileName, position: u64, expected: &str, broken: &Broken) -> RecoverFault {
        let found = match broken {
            Broken::Torn => "a batch that ends beyond its file".to_owned(),
            Broken::Bad(what) => what.clone(),
        };
        RecoverFault::Corrupt { file: file.to_string(), position, expected: expected.to_owned(), found }
    }
}

/// The batch at the front of `here`, if it is whole, good, and follows `segment`.
fn next_batch(here: &[u8], remaining: u64, segment: &Segment, gaps_allowed: bool) -> Result<BatchInfo, Broken> {
    let expected = segment.next_offset;
    let follows = |base: i64| base == expected.value() || (gaps_allowed && expected.value() < base);
    let wrong_base = |base: i64| Broken::Bad(format!("base offset {base}, where {expected} should follow"));
    if let Some(base) = here.get(..8) {
        let mut word = [0; 8];
        word.copy_from_slice(base);
        let base = i64::from_be_bytes(word);
        if !follows(base) {
            return Err(wrong_base(base));
        }
    }
    if remaining < BATCH_HEADER_BYTES as u64 {
        // Too short to be judged; what there is must look like the beginning of a batch.
        let looks_right = here.get(16).is_none_or(|&magic| magic == batch::header::MAGIC);
        return Err(if looks_right { Broken::Torn } else { Broken::Bad("bytes that are no batch".to_owned()) });
    }
    match batch::check(here) {
        Ok(view) => {
            let info = view.info();
            if segment.relative(info.last_offset()).is_none() {
                return Err(wrong_base(info.base_offset.value()));
            }
            Ok(info)
        }
        Err(BatchError::Short { .. }) => Err(Broken::Torn),
        Err(error) => Err(Broken::Bad(error.to_string())),
    }
}

fn producer_of(facts: &ProducerFacts) -> Option<(ProducerId, Producer)> {
    let mut producer =
        Producer::new(ProducerEpoch::from_wire(facts.epoch)?, Timestamp::from_millis(facts.last_write_ms));
    for batch in &facts.batches {
        producer.batches.push_back(BatchSeen {
            base_sequence: Sequence::from_wire(batch.base_sequence)?,
            last_sequence: Sequence::from_wire(batch.last_sequence)?,
            base_offset: Offset::from_wire(batch.base_offset)?,
            last_offset: Offset::from_wire(batch.last_offset)?,
            log_append_time: batch.log_append_time.map(Timestamp::from_millis),
        });
    }
    Some((ProducerId::from_wire(facts.id)?, producer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOVE: Case = Case {
        below_recovery_point: false,
        checkpoint_damaged: false,
        last_stop: LastStop::PowerLost,
        torn: false,
        good_follows: true,
        accept_loss: false,
    };

    #[test]
    fn below_is_corrupt_whatever_else() {
        for last_stop in [LastStop::PowerLost, LastStop::ProcessDied] {
            for torn in [false, true] {
                let case = Case { below_recovery_point: true, last_stop, torn, good_follows: false, ..ABOVE };
                assert_eq!(plan(case), Verdict::Corrupt);
            }
        }
    }

    #[test]
    fn torn_is_cut_after_any_stop() {
        for last_stop in [LastStop::PowerLost, LastStop::ProcessDied] {
            for checkpoint_damaged in [false, true] {
                let case = Case { last_stop, checkpoint_damaged, torn: true, good_follows: false, ..ABOVE };
                assert_eq!(plan(case), Verdict::Cut);
            }
        }
    }

    #[test]
    fn power_hole_is_cut() {
        for good_follows in [false, true] {
            assert_eq!(plan(Case { good_follows, ..ABOVE }), Verdict::Cut);
        }
    }

    #[test]
    fn died_bad_is_corrupt() {
        let died = Case { last_stop: LastStop::ProcessDied, ..ABOVE };
        assert_eq!(plan(died), Verdict::Corrupt);
        assert_eq!(plan(Case { good_follows: false, ..died }), Verdict::Corrupt);
        assert_eq!(plan(Case { torn: true, ..died }), Verdict::Corrupt);
    }

    #[test]
    fn blind_tail_is_cut_and_blind_hole_is_corrupt() {
        let blind = Case { checkpoint_damaged: true, ..ABOVE };
        assert_eq!(plan(Case { good_follows: false, ..blind }), Verdict::Cut);
        assert_eq!(plan(blind), Verdict::Corrupt);
    }

    #[test]
    fn accept_loss_cuts_anything() {
        let worst = Case { below_recovery_point: true, last_stop: LastStop::ProcessDied, accept_loss: true, ..ABOVE };
        assert_eq!(plan(worst), Verdict::Cut);
    }
}
