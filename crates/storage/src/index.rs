//! The sparse indexes beside a segment's log, in Kafka's bytes.
//!
//! ```text
//! .index       | last offset of a batch, minus base (4B) | position of that batch (4B) |            every index.interval.bytes
//! .timeindex   | largest timestamp so far (8B) | last offset of the batch that has it, minus base (4B) |
//! ```
//! Big-endian. An entry of `.index` says: a reader of this offset or a later one may begin at that position. Example with
//! batches 0..9 at 0, 10..19 at 5000, 20..29 at 10000: entries (19, 5000), (29, 10000); offset 25 begins at 5000.
//!
//! Entries are kept in memory until the next checkpoint, roll or close writes them; older ones are looked up in the
//! file. An index may be behind the log, never wrong: it is not written ahead of the bytes that it names, and a reader
//! who finds no batch ending at the entry's offset does not believe it and scans the segment.

use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};
use types::Timestamp;
use types::limits::INDEX_WINDOW_ENTRIES_MAX;

use crate::file::SegmentId;

/// An entry that can be stored in an index file.
pub(crate) trait IndexEntry: Copy {
    /// Bytes of one entry.
    const BYTES: usize;
    /// Appends its bytes.
    fn put(&self, out: &mut BytesMut);
    /// Reads one; `bytes` holds at least `BYTES`.
    fn get(bytes: &[u8]) -> Self;
    /// Whether `next` may follow.
    fn may_precede(&self, next: &Self) -> bool;
}

/// An entry of `.index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OffsetEntry {
    /// Last offset of the batch, minus the segment's base.
    pub relative: u32,
    /// Where the batch begins.
    pub position: u32,
}

/// An entry of `.timeindex`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeEntry {
    /// The largest timestamp up to and with that batch.
    pub timestamp: Timestamp,
    /// Last offset of the batch that has it, minus the segment's base.
    pub relative: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;
    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.relative);
        out.put_u32(self.position);
    }
    fn get(bytes: &[u8]) -> Self {
        Self { relative: u32_at(bytes, 0), position: u32_at(bytes, 4) }
    }
    fn may_precede(&self, next: &Self) -> bool {
        self.relative < next.relative && self.position < next.position
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;
    fn put(&self, out: &mut BytesMut) {
        out.put_i64(self.timestamp.millis());
        out.put_u32(self.relative);
    }
    fn get(bytes: &[u8]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        Self { timestamp: Timestamp::from_millis(i64::from_be_bytes(word)), relative: u32_at(bytes, 8) }
    }
    fn may_precede(&self, next: &Self) -> bool {
        self.timestamp < next.timestamp && self.relative < next.relative
    }
}

/// One index: what is in its file and what waits to be.
#[derive(Clone, Debug)]
pub(crate) struct Index<E> {
    /// Whether the file is there.
    pub exists: bool,
    /// Entries in the file that count.
    pub stored: u32,
    /// Entries after those, in memory.
    pub pending: Vec<E>,
    /// A reader found it wrong: not used until it is rebuilt.
    pub distrusted: Cell<bool>,
}

impl<E: IndexEntry> Default for Index<E> {
    fn default() -> Self {
        Self { exists: false, stored: 0, pending: Vec::new(), distrusted: Cell::new(false) }
    }
}

impl<E: IndexEntry> Index<E> {
    pub(crate) fn entries(&self) -> u32 {
        self.stored + self.pending.len() as u32
    }

    /// Bytes of the file once all is written.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.entries()) * E::BYTES as u64
    }

    /// Where the next write goes, and what it writes: the first `entries` of those pending.
    pub(crate) fn unwritten(&self, entries: u32) -> (u64, Bytes) {
        let pending = self.pending.get(..entries as usize).unwrap_or_default();
        (u64::from(self.stored) * E::BYTES as u64, encode(pending))
    }

    /// The first `entries` pending ones are in the file now.
    pub(crate) fn on_written(&mut self, entries: u32) {
        self.pending.drain(..entries as usize);
        self.stored += entries;
        self.exists = true;
    }
}

pub(crate) fn encode<E: IndexEntry>(entries: &[E]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(entries.len() * E::BYTES);
    for entry in entries {
        entry.put(&mut bytes);
    }
    bytes.freeze()
}

/// Reads entries; bytes of a last, incomplete one are ignored.
pub(crate) fn decode<E: IndexEntry>(bytes: &[u8]) -> impl Iterator<Item = E> {
    bytes.chunks_exact(E::BYTES).map(E::get)
}

/// Whether a whole index makes sense: every entry after the one before it.
pub(crate) fn rises<E: IndexEntry>(bytes: &[u8]) -> bool {
    let mut last: Option<E> = None;
    decode::<E>(bytes).all(|entry| last.replace(entry).is_none_or(|last| last.may_precede(&entry)))
}

/// A binary search over a file of entries, one block a step: the search holds a half-open range of entries, the
/// answer is the last entry for which the key is at or below the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockSearch {
    /// Entries before this one are at or below the target.
    pub low: u32,
    /// This one and those after it are above.
    pub high: u32,
}

/// Entries read in one step: 4 KiB of an offset index.
const BLOCK_ENTRIES: u32 = 512;

impl BlockSearch {
    /// The entries to look at next, or `None` when `low` is the answer's successor.
    pub(crate) fn next_block(&self) -> Option<(u32, u32)> {
        if self.high <= self.low {
            return None;
        }
        let width = self.high - self.low;
        if width <= BLOCK_ENTRIES {
            return Some((self.low, width));
        }
        let first = self.low + (width - BLOCK_ENTRIES) / 2;
        Some((first, BLOCK_ENTRIES))
    }

    /// Narrows by the block that starts at entry `first`. Returns the last entry at or below, if it is in the block.
    pub(crate) fn narrow<E: IndexEntry>(
        &mut self,
        first: u32,
        block: &[u8],
        at_or_below: impl Fn(&E) -> bool,
    ) -> Option<E> {
        let entries: Vec<E> = decode(block).collect();
        let below = entries.partition_point(at_or_below) as u32;
        if below < entries.len() as u32 {
            self.high = self.high.min(first + below);
        }
        if 0 < below {
            self.low = self.low.max(first + below);
        }
        if entries.is_empty() {
            // The file is shorter than it should be: end the search here.
            self.high = self.low;
        }
        below.checked_sub(1).map(|at| entries[at as usize])
    }
}

/// The entries of an offset index that the last search ended among, kept for the reader who comes back for what follows.
///
/// Entries in a file never change, but a segment may be replaced by one of the same name: `layout` counts that.
#[derive(Debug)]
pub(crate) struct IndexWindow {
    segment: SegmentId,
    layout: u64,
    /// The number of the first entry.
    first: u32,
    entries: Vec<OffsetEntry>,
}

impl IndexWindow {
    /// From `block`, whose first entry is number `first`: the last entry at or below `target` and those after it.
    pub(crate) fn new(segment: SegmentId, layout: u64, first: u32, block: &[u8], target: u32) -> Self {
        let skipped =
            decode::<OffsetEntry>(block).take_while(|entry| entry.relative <= target).count().saturating_sub(1);
        let entries = decode(block).skip(skipped).take(INDEX_WINDOW_ENTRIES_MAX).collect();
        Self { segment, layout, first: first + skipped as u32, entries }
    }

    pub(crate) fn is_of(&self, segment: SegmentId, layout: u64) -> bool {
        self.segment == segment && self.layout == layout
    }

    /// The last entry at or below `target` and the first above it, of `stored` in the file; `None` if that cannot be told
    /// from here.
    pub(crate) fn around(&self, target: u32, stored: u32) -> Option<(Option<OffsetEntry>, Option<OffsetEntry>)> {
        let at = self.entries.partition_point(|entry| entry.relative <= target);
        if at == 0 && self.first > 0 {
            return None;
        }
        let above = self.entries.get(at).copied();
        if above.is_none() && self.first + (self.entries.len() as u32) < stored {
            return None;
        }
        Some((at.checked_sub(1).map(|below| self.entries[below]), above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_answers_as_the_whole_index_would_or_not_at_all() {
        let entries: Vec<OffsetEntry> =
            (0..600).map(|i| OffsetEntry { relative: i * 3 + 3, position: i + 1 }).collect();
        let file = encode(&entries);
        let segment = SegmentId::new(types::Offset::ZERO);
        let mut answered = 0;
        for (first, width) in [(0_u32, 600_u32), (0, 5), (100, 400), (595, 5), (599, 1)] {
            let block = &file[first as usize * 8..(first + width) as usize * 8];
            for searched in [0, 1, 303, 304, 1700, 5000] {
                let window = IndexWindow::new(segment, 7, first, block, searched);
                assert!(window.is_of(segment, 7) && !window.is_of(segment, 8));
                assert!(window.entries.len() <= INDEX_WINDOW_ENTRIES_MAX);
                for target in 0..2000 {
                    let Some(answer) = window.around(target, 600) else { continue };
                    answered += 1;
                    let at = entries.partition_point(|entry| entry.relative <= target);
                    let expected = (at.checked_sub(1).map(|below| entries[below]), entries.get(at).copied());
                    assert_eq!(answer, expected, "block {first}+{width} searched for {searched}, target {target}");
                }
            }
        }
        assert!(answered > 5_000, "{answered}");
    }

    #[test]
    fn search_finds_the_last_entry_at_or_below_whatever_the_size() {
        for count in [0_u32, 1, 2, 511, 512, 513, 5000] {
            let entries: Vec<OffsetEntry> =
                (0..count).map(|i| OffsetEntry { relative: i * 3 + 3, position: i + 1 }).collect();
            let file = encode(&entries);
            for target in (0..count * 3 + 7).step_by(if count < 1000 { 1 } else { 97 }) {
                let mut search = BlockSearch { low: 0, high: count };
                let mut found = None;
                let mut steps = 0;
                while let Some((first, width)) = search.next_block() {
                    let block = &file[first as usize * 8..(first + width) as usize * 8];
                    found = search.narrow::<OffsetEntry>(first, block, |e| e.relative <= target).or(found);
                    steps += 1;
                    assert!(steps < 40);
                }
                let expected = entries.iter().rev().find(|e| e.relative <= target).copied();
                assert_eq!(found, expected, "{count} entries, target {target}");
            }
        }
    }
}
